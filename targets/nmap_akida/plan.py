"""Which units compute each layer, and in which pass: what `nmap.target.backend.Arranging` asks for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nmap.diagnostics import Diagnostic, Exit, NmapError
from nmap.mapping import Packed, Shard, in_order
from nmap.options import Options
from nmap.partition.partitioner import Budget
from nmap.partition.problem import PackingSolution, Piece
from nmap.program import Box, Slice, slice_size
from nmap.quantized import QuantizedNetwork
from nmap.target.machine import Machine
from nmap_akida.demand import LayerSize, part_demand, size_of
from nmap_akida.form import Form, form_of
from nmap_akida.passes import Plan, choose
from nmap_akida.refusal import Task, explain, misfits
from nmap_akida.ways import Room, Way, parts_of, ways_of

__all__ = ["arrange"]

_PREFERRED = {"CNP": ("cnp", "cnp2", "fnp3", "fnp2"), "FNP3": ("fnp3",), "FNP2": ("fnp2",), "HRC": ("hrc",)}
"""Classes of cores that a part may lie on, those first that few others need."""


def arrange(network: QuantizedNetwork, machine: Machine, options: Options, budget: Budget) -> Packed:
    """Return which cores compute each layer; a core of a later pass is a core of its own.

    Args:
        network: as `nmap_akida.quantize` makes it.
        machine: what there is.
        options: effort.
        budget: told of the progress.

    Returns:
        The shards; the packing's lower bound holds for plans with as few passes whose layers are cut as evenly as possible, under the
        estimate of `nmap_akida.demand`.

    Raises:
        NmapError: NM401 or NM402 where it is proved not to fit by the estimate (exit status 1), NM501 where no answer was found (5).
    """
    room = Room.of(machine)
    sizes, pooled = layer_sizes(network)
    found = [ways_of(size, size.name in pooled, room) for size in sizes]
    task = Task(network, machine, room, sizes, pooled, [ways for ways, _ in found], [reasons for _, reasons in found])
    errors = misfits(task)
    if errors:
        raise NmapError(errors, Exit.DOES_NOT_FIT)
    budget.say(f"choosing among the ways of {len(sizes)} layers onto {room.nps} NPs")
    plan = choose(task.ways, room, options.effort)
    if plan.status == "unknown":
        raise NmapError(
            Diagnostic(
                "NM501", "error", "no way of sharing the layers out over NPs was found, and it was not proved that there is none",
                help=("`--effort 2` searches longer",),
            ), Exit.UNKNOWN,
        )
    if plan.status == "infeasible":
        raise NmapError(explain(task), Exit.DOES_NOT_FIT)
    return _packed(network, machine, sizes, pooled, plan)


def layer_sizes(network: QuantizedNetwork) -> tuple[list[LayerSize], dict[str, str]]:
    """Return the layers in order, and the pooled population by the name of the one that computes it."""
    sizes: list[LayerSize] = []
    pooled: dict[str, str] = {}
    for population in network.populations:
        if population.kernel is None:
            continue
        if form_of(network.settings, population.name) is Form.POOLED:
            pooled[network.afferents(population.name)[0].source] = population.name
        else:
            sizes.append(size_of(network, population.name))
    return sizes, pooled


def _packed(network: QuantizedNetwork, machine: Machine, sizes: list[LayerSize], pooled: dict[str, str], plan: Plan) -> Packed:
    shards: list[Shard] = []
    kinds: list[int] = []
    slots: list[int] = []
    classes = {kind.name: number for number, kind in enumerate(machine.classes)}
    order = sorted(range(len(sizes)), key=lambda k: (plan.at[k], not plan.ways[k].plain, k))
    free = _Free(machine)
    taken = {k: [free.take(plan.at[k], plan.ways[k]) for _ in range(_cores(plan.ways[k]))] for k in order}
    for number, (size, way) in enumerate(zip(sizes, plan.ways, strict=True)):
        beside = pooled.get(size.name)
        parts = parts_of(size, way, beside is not None)
        for part, (kind, slot) in zip(parts, taken[number], strict=True):
            cluster = len(slots)
            slots.append(slot)
            kinds.append(classes[kind])
            shards.append(Shard(size.name, part, cluster, part_demand(size, part)))
            if beside is not None:
                behind = size_of(network, beside)
                shards.append(Shard(beside, _halved(part), cluster, part_demand(behind, _halved(part))))
    ordered = in_order(shards, network)
    names = {population.name: number for number, population in enumerate(network.populations)}
    pieces = tuple(Piece(names[shard.population], slice_size(shard.slice), shard.cluster) for shard in ordered)
    bound = plan.lower_bound + sum(way.unit == "HRC" for way in plan.ways)
    packing = PackingSolution(pieces, len(slots), bound, plan.status, plan.deterministic_time, tuple(kinds))
    return Packed(ordered, packing, np.array(slots, np.int64))


def _cores(way: Way) -> int:
    return max(1, way.nps)


def _halved(part: Slice) -> Box:
    """Return what 2 by 2 pooling makes of a box that begins and ends at even rows and columns."""
    if not isinstance(part, tuple):
        raise ValueError("what is pooled is no box")
    filters, *spans = part
    return (filters, *((start // 2, stop // 2) for start, stop in spans))


class _Free:
    """Cores that no part has taken, by pass and class, in ascending order."""

    def __init__(self, machine: Machine) -> None:
        self.cores = machine.spec.variants[machine.variant].cores
        self.left: dict[tuple[int, str], Iterator[int]] = {}
        self.indices = {kind.name: np.sort(kind.cores) for kind in machine.classes}
        self.at = {name: np.array([machine.cores[int(k)].core // self.cores for k in found]) for name, found in self.indices.items()}

    def take(self, number: int, way: Way) -> tuple[str, int]:
        """Return the class and the machine's index of a core for one part, which is no longer free."""
        for name in _PREFERRED[way.unit]:
            if name not in self.indices:
                continue
            if (number, name) not in self.left:
                self.left[number, name] = iter(self.indices[name][self.at[name] == number].tolist())
            slot = next(self.left[number, name], None)
            if slot is not None:
                return name, slot
        raise ValueError("the plan takes more cores than there are")
