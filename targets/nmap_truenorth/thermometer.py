"""Neurons that hear more than a core has axons for: told with the numbers, or split into gates where that is exact and affordable.

A gate without memory fires where its part of a sum reaches a number. One gate for every number from 1 to the largest value of a positive
part, and for every one down to the lowest of a negative part, delivers the part exactly, one tick later, with weights 1 and -1: a
thermometer. The neuron then needs as many axons as its parts have values, which helps where these are fewer than the axons of its weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nmap.connectivity import Array, Conv2d, Sparse
from nmap.diagnostics import Findings
from nmap.quantized import QuantizedNetwork
from nmap.target.spec import ChipSpec
from nmap_truenorth.codes import code_of, fan_in, why_no_code
from nmap_truenorth.draft import Draft, Edge, Unit, gate_parameters, nonzero, row_maxima, unlisted
from nmap_truenorth.scales import AXONS

__all__ = ["GATES", "Wide", "check_fan_in", "levels", "split_sums"]

GATES = 4096
"""Gates that a population may cost: 16 cores' worth of neurons."""


@dataclass(frozen=True, slots=True, eq=False)
class Wide:
    """A population with a neuron that no core can hold.

    Args:
        name, where: of the population.
        neurons: how many such neurons there are.
        synapses: weights other than 0 of the widest of them.
        axons: what these need by themselves; None where no code makes the weights.
        room: axons of a core.
        largest: size of the largest weight, in steps of the neuron's own.
        gates: axons that the widest would need as a thermometer.
        conv: (inputs that the kernel sees, groups) where an afferent is a convolution.
        why: why there is no code, if there is none.
    """

    name: str
    where: str
    neurons: int
    synapses: int
    axons: int | None
    room: int
    largest: int
    gates: int
    conv: tuple[int, int] | None
    why: str

    def tell(self, findings: Findings) -> None:
        """Record NM401, with the numbers and what would fit."""
        data = {"population": self.name, "synapses": self.synapses, "axons": self.axons, "room": self.room}
        if self.axons is None:
            findings.error("NM401", f"no core can hold a neuron of `{self.name}`: {self.why}", where=self.where, data=data)
            return
        bits = self.largest.bit_length() + 1
        fewer = max((b for b in AXONS if b < min(bits, 9) and self.synapses * AXONS[b] <= self.room), default=None)
        most = max((self.room // axons for axons in AXONS.values()), default=0)
        findings.error(
            "NM401", f"{self.neurons} neuron{'' if self.neurons == 1 else 's'} of `{self.name}` hear{'s' if self.neurons == 1 else ''} more"
            f" than a core has axons for: {self.axons} of {self.room}", where=self.where,
            why=f"Sources x axons a source must be at most {self.room}: {self.synapses} sources with weights of at most {self.largest}"
            f" step{'' if self.largest == 1 else 's'} take {self.axons} axons, {self.axons / self.synapses:.3g} each. As gates that count"
            f" its partial sums (an exact split) a neuron would take {self.gates}.",
            help=(
                *(() if fewer is None else (
                    f"--bits {fewer} rounds the weights to {fewer} bits, {AXONS[fewer]} axons a source: {self.synapses * AXONS[fewer]}",
                )),
                *(() if self.conv is None else (
                    (
                        f"train the convolution with more groups: its kernel sees {self.conv[0]} inputs in {self.conv[1]}"
                        f" group{'' if self.conv[1] == 1 else 's'}"
                    ),
                )),
                f"train with at most {most} inputs a neuron and weights -1, 0 and 1, or {self.room} with one sign for each input",
            ), data=data,
        )


def levels(network: QuantizedNetwork, name: str) -> Array:
    """Return the axons that each neuron needs as a thermometer, (n,) int64: its weights' sizes over their common divisor."""
    total, divisor = _sizes(network, name)
    return total // np.maximum(divisor, 1)


def _sizes(network: QuantizedNetwork, name: str) -> tuple[Array, Array]:
    """Return the sum of the sizes of each neuron's weights and their greatest common divisor, (n,) int64 each."""
    total, divisor = np.zeros(network[name].size, np.int64), np.zeros(network[name].size, np.int64)
    for p in network.afferents(name):
        size, connectivity = np.abs(p.connectivity.weights.astype(np.int64)), p.connectivity
        if isinstance(connectivity, Sparse):
            np.add.at(total, connectivity.targets, size)
            np.gcd.at(divisor, connectivity.targets, size)
            continue
        # A convolution's channels share their kernel, which is not listed place by place.
        rows = size.reshape(size.shape[0], -1)
        repeat = network[name].size // rows.shape[0]
        total += np.repeat(rows.sum(1), repeat)
        divisor = np.gcd(divisor, np.repeat(np.gcd.reduce(rows, axis=1), repeat))
    return total, divisor


def check_fan_in(network: QuantizedNetwork, spec: ChipSpec) -> list[Wide]:
    """Return every population with a neuron that alone needs more axons than a core has."""
    room, found = spec.resources["axons"].max, []
    for population in network.populations:
        if population.kernel is None:
            continue
        name = population.name
        into = network.afferents(name)
        synapses = sum((nonzero(p.connectivity) for p in into), np.zeros(population.size, np.int64))
        if not synapses.any():
            continue
        # More synapses than axons need no code to be too many; and a search for one would take long.
        many = int(synapses.max()) > room and not any(isinstance(p.connectivity, Conv2d) for p in into)
        code = None if many else code_of(network, name)
        axons = synapses if many else None if code is None else fan_in(network, name)
        if axons is not None and axons.max() <= room:
            continue
        worst = int((synapses if axons is None else axons).argmax())
        total, divisors = _sizes(network, name)
        largest, divisor = max(int(row_maxima(p.connectivity)[worst]) for p in into), max(int(divisors[worst]), 1)
        conv = next((p.connectivity for p in into if isinstance(p.connectivity, Conv2d)), None)
        found.append(Wide(
            name, str(population.where), population.size if axons is None else int((axons > room).sum()), int(synapses[worst]),
            None if axons is None else int(axons[worst]), room, largest // divisor, int(total[worst]) // divisor,
            None if conv is None else (int(np.prod(conv.weights.shape[1:])), conv.groups),
            why_no_code(network, name) if axons is None else "",
        ))
    return found


def split_sums(draft: Draft, network: QuantizedNetwork, refused: list[Wide], findings: Findings) -> Draft:
    """Return the draft with gates before the populations that fit with them; the others stay as they are.

    Args:
        draft: the network in integers.
        network: the same in the chip's time.
        refused: what no core can hold as it is.
        findings: receives a note for every population that is split.
    """
    for one in refused:
        if one.axons is None or one.conv is not None:
            continue
        steps = levels(network, one.name)
        # Those of neurons that would fit as they are count too: a population has one code.
        if steps.max() > one.room or steps.sum() > GATES:
            continue
        draft, gates = _split(draft, one.name, one.room)
        findings.note(
            "NM203", f"the sums into `{one.name}` are split exactly into {gates} gates, one tick earlier", where=one.where,
            why=f"A neuron would need up to {one.axons} of a core's {one.room} axons; the gates that count its partial sums need"
            f" {int(steps.max())}.", data={"population": one.name, "gates": gates},
        )
    return draft


def _split(draft: Draft, name: str, room: int) -> tuple[Draft, int]:
    """Return the draft with every sum into a population counted by gates, and the number of gates."""
    unit, into = draft[name], draft.into(name)
    listed = [(edge, *unlisted(edge.connectivity, edge.delays)) for edge in into]
    divisor = np.zeros(unit.size, np.int64)
    for _, synapses, _ in listed:
        np.gcd.at(divisor, synapses.targets, np.abs(synapses.weights).astype(np.int64))
    # By gate: the neuron it serves, its sign and number; by edge: its synapses as (gate, source, weight, delay).
    serves: list[int] = []
    signs: list[int] = []
    numbers: list[int] = []
    parts: dict[str, list[tuple[int, int, int, int]]] = {edge.name: [] for edge in into}
    for neuron in range(unit.size):
        heard = [
            (edge.name, int(synapses.indices[k]), int(synapses.weights[k]) // int(divisor[neuron]), 0 if delays is None else int(delays[k]))
            for edge, synapses, delays in listed
            for k in range(int(synapses.indptr[neuron]), int(synapses.indptr[neuron + 1]))
        ]
        largest = max((abs(weight) for _, _, weight, _ in heard), default=1)
        chunk = max(1, room // AXONS.get(largest.bit_length() + 1, AXONS[9]))
        for first in range(0, len(heard), chunk):
            some = heard[first : first + chunk]
            for sign in (1, -1):
                for number in range(1, sum(max(sign * weight, 0) for _, _, weight, _ in some) + 1):
                    for edge_name, source, weight, delay in some:
                        parts[edge_name].append((len(serves), source, sign * weight, delay))
                    serves.append(neuron)
                    signs.append(sign)
                    numbers.append(number)
    count = len(serves)
    part = Unit(
        draft.fresh(f"{name}.part"), (count,), unit.where, gate_parameters(np.array(numbers, np.int64)), np.zeros(count, np.int64),
        np.ones(count),
    )
    changed: dict[str, tuple[Edge, ...]] = {}
    for edge in into:
        synapses, delays = _sparse(parts[edge.name], count, edge.connectivity.in_size)
        changed[edge.name] = (replace(edge, target=part.name, connectivity=synapses, delays=delays if edge.delays is not None else None),)
    weights = np.array(signs, np.int64) * divisor[np.array(serves, np.int64)]
    order = np.argsort(serves, kind="stable")
    last = Edge(
        draft.fresh(f"{name}.part->{name}"), part.name, name, Sparse(
            np.concatenate([[0], np.cumsum(np.bincount(serves, minlength=unit.size))]), order, weights[order].astype(np.int32), count,
        ), 0, unit.where,
    )
    changed[into[-1].name] = (*changed[into[-1].name], last)
    place = draft.units.index(unit)
    drafted = replace(draft.with_edges(changed), units=(*draft.units[:place], part, *draft.units[place:]))
    return drafted, count


def _sparse(synapses: list[tuple[int, int, int, int]], targets: int, sources: int) -> tuple[Sparse, Array]:
    """Return synapses (target, source, weight, delay) by rows, ascending, and their delays."""
    rows = sorted(synapses)
    table = np.array(rows, np.int64).reshape(-1, 4)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(table[:, 0], minlength=targets))])
    return Sparse(indptr, table[:, 1], table[:, 2].astype(np.int32), sources), table[:, 3]
