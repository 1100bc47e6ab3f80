"""The independent check of a mapping: every limit, capacity and route, derived again from the stored program and the chip data.

Nothing of what computed the mapping is used here: neither the partition, nor the placement, nor the emulator. A program that passes
covers every neuron once, uses only cores the machine has, stays within every budget and field, and has every input axon fed by exactly
one neuron.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nmap.connectivity import Array, Sparse
from nmap.diagnostics import Diagnostic
from nmap.program import Box, ConvTile, NeuronGroup, Program, Routes, Slice, SynapseBlock, box_indices, slice_indices
from nmap.target.backend import Target
from nmap.target.machine import Machine
from nmap.target.spec import ChipSpec, Variant

__all__ = ["verify_mapping"]

_SHOWN = 10
_LAST_AXON = 2**31 - 1  # routes hold 32-bit axon numbers
_SIGNS = ("mixed", "excitatory", "inhibitory")


class _Problems:
    """Offences by kind; only the first few of a kind are spelled out."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}
        self.counts: dict[str, int] = {}

    def add(self, kind: str, message: str, count: int = 1) -> None:
        """Record one offence, standing for `count` of them."""
        self.found.setdefault(kind, []).append(message)
        self.counts[kind] = self.counts.get(kind, 0) + count

    def within(self, kind: str, what: str, low: int, high: int, limit: tuple[int, int]) -> None:
        """Record an offence unless the range low..high lies inside the limit, both ends included."""
        if low < limit[0] or high > limit[1]:
            span = f"{low}" if low == high else f"{low}..{high}"
            self.add(kind, f"{what} is {span}, outside {limit[0]}..{limit[1]}")

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Return one error per offence, at most `_SHOWN` of a kind and a last one that counts the others."""
        out: list[Diagnostic] = []
        for kind, messages in self.found.items():
            data = {"kind": kind, "count": self.counts[kind]}
            out.extend(Diagnostic("NM702", "error", message, data=data) for message in messages[:_SHOWN])
            if len(messages) > _SHOWN:
                out.append(Diagnostic("NM702", "error", f"and {len(messages) - _SHOWN} more problems of this kind: {kind}", data=data))
        return tuple(out)


def verify_mapping(program: Program, target: Target, machine: Machine | None = None) -> tuple[Diagnostic, ...]:
    """Check a mapped program against the chip data.

    Args:
        program: as stored in a bundle.
        target: the chip; its `spec`, `kernels` and `measure` are used.
        machine: the machine it was mapped onto; without it, the whole variant with no dead core.

    Returns:
        NM702 errors, all of them together; empty when the mapping is sound. `data` holds the kind of the problem and how often it occurs.
    """
    problems, spec = _Problems(), target.spec
    variant = _check_variant(program, spec, machine, problems)
    if variant is not None:
        _check_cores(program, variant, machine, problems)
    # A dangling number would make every later check misread the program, so each part is checked only as far as it hangs together.
    groups = {k for k, group in enumerate(program.groups) if _group_hangs_together(k, group, program, problems)}
    blocks = {k for k, block in enumerate(program.blocks) if _block_hangs_together(k, block, program, groups, problems)}
    _check_cover(program, groups, problems)
    for k in sorted(groups):
        _check_neurons(program, program.groups[k], target, problems)
    for k in sorted(blocks):
        block = program.blocks[k]
        _check_fields(_block_name(program, k), block, spec, problems)
        _check_weights(_block_name(program, k), block, spec, problems)
    _check_axons_and_routes(program, blocks, problems)
    if len(groups) == len(program.groups) and len(blocks) == len(program.blocks):
        _check_budgets(program, target, problems)
    return problems.diagnostics()


def _check_variant(program: Program, spec: ChipSpec, machine: Machine | None, problems: _Problems) -> Variant | None:
    if program.target != spec.name:
        problems.add("target", f"the program is for `{program.target}`, not for `{spec.name}`")
    if machine is not None and machine.variant != program.variant:
        problems.add("variant", f"the program is for variant `{program.variant}`, the machine is a `{machine.variant}`")
    variant = spec.variants.get(program.variant)
    if variant is None:
        problems.add("variant", f"`{spec.name}` has no variant `{program.variant}`")
    return variant


def _check_cores(program: Program, variant: Variant, machine: Machine | None, problems: _Problems) -> None:
    chips = variant.max_chips if machine is None else machine.chips
    dead, lacking = (set(), set()) if machine is None else (set(machine.dead), set(machine.lacking))
    seen: dict[tuple[int, int], int] = {}
    for k, core in enumerate(program.cores):
        place = (core.chip, core.core)
        name = f"core {core.core} of chip {core.chip}"
        if not (0 <= core.chip < chips and 0 <= core.core < variant.cores * variant.passes):
            passes = f" in {variant.passes} passes" if variant.passes > 1 else ""
            problems.add("core", f"{name} does not exist: there are {chips} chips of {variant.cores} cores{passes}")
            continue
        in_any_pass = (core.chip, core.core % variant.cores)
        if in_any_pass in lacking:
            problems.add("core", f"{name} does not exist: that chip has fewer cores than others")
        if place in seen:
            problems.add("core", f"{name} is used twice, as cores {seen[place]} and {k} of the program")
        seen[place] = k
        if in_any_pass in dead:
            problems.add("dead core", f"{name} is marked dead")
        row, column = divmod(core.core % variant.cores // variant.cores_per_router, variant.mesh[0])
        if (core.x, core.y) != (column, row):
            problems.add("position", f"{name} is said to stand at ({core.x}, {core.y}); it stands at ({column}, {row})")


def _box_fits(box: Box, shape: tuple[int, ...]) -> bool:
    return len(box) == len(shape) and all(0 <= start < stop <= size for (start, stop), size in zip(box, shape, strict=True))


def _slice_fits(part: Slice, shape: tuple[int, ...]) -> bool:
    if isinstance(part, tuple):
        return _box_fits(part, shape)
    inside = part.ndim == 1 and part.size > 0 and int(part.min()) >= 0 and int(part.max()) < int(np.prod(shape))
    return inside and bool((part[1:] > part[:-1]).all())


def _group_hangs_together(k: int, group: NeuronGroup, program: Program, problems: _Problems) -> bool:
    if not 0 <= group.core < len(program.cores):
        problems.add("group", f"neuron group {k} lies on core {group.core} of {len(program.cores)}")
        return False
    if not 0 <= group.population < len(program.populations):
        problems.add("group", f"neuron group {k} belongs to population {group.population} of {len(program.populations)}")
        return False
    population = program.populations[group.population]
    if population.is_input:
        problems.add("group", f"neuron group {k} belongs to the input port `{population.name}`")
        return False
    if not _slice_fits(group.slice, population.shape):
        what = group.slice if isinstance(group.slice, tuple) else "a list that is not ascending or leads outside"
        problems.add("group", f"neuron group {k} takes {what} of `{population.name}`, whose shape is {population.shape}")
        return False
    return True


def _block_name(program: Program, k: int) -> str:
    population = program.populations[program.groups[program.blocks[k].group].population].name
    return f"synapse block {k} into `{population}`"


def _block_hangs_together(k: int, block: SynapseBlock, program: Program, groups: set[int], problems: _Problems) -> bool:
    if not 0 <= block.group < len(program.groups):
        problems.add("block", f"synapse block {k} serves neuron group {block.group} of {len(program.groups)}")
        return False
    if block.group not in groups:
        return False
    group = program.groups[block.group]
    name = _block_name(program, k)
    if block.core != group.core:
        problems.add("block", f"{name} lies on core {block.core}, its neurons on core {group.core}")
        return False
    synapses = block.synapses
    before = len(problems.found.get("shape", ()))
    if isinstance(synapses, ConvTile):
        _check_tile(name, synapses, group, program, problems)
    else:
        if synapses.out_size != group.size:
            problems.add("shape", f"{name} has {synapses.out_size} targets, its group {group.size} neurons")
        if isinstance(synapses, Sparse) and (np.diff(synapses.indptr) < 0).any():
            problems.add("shape", f"{name} has row pointers that go back")
    if block.delays is not None and block.delays.shape != synapses.weights.shape:
        problems.add("shape", f"{name} has delays of shape {block.delays.shape} for weights of shape {synapses.weights.shape}")
    if not 0 <= block.axon <= _LAST_AXON:
        problems.add("shape", f"{name} starts at axon {block.axon}")
    return len(problems.found.get("shape", ())) == before


def _check_tile(name: str, tile: ConvTile, group: NeuronGroup, program: Program, problems: _Problems) -> None:
    """Check that a tile's kernel and halo are what its output box needs; `Conv2d` says how positions relate."""
    if tile.weights.ndim != 4 or tile.groups < 1 or tile.in_shape[0] % tile.groups or tile.out_shape[0] % tile.groups:
        problems.add("shape", f"{name} has a kernel of shape {tile.weights.shape} with {tile.groups} groups")
        return
    if tile.out_shape != program.populations[group.population].shape:
        problems.add("shape", f"{name} computes {tile.out_shape}, its population has shape {program.populations[group.population].shape}")
        return
    if not isinstance(group.slice, tuple) or tile.out_box != group.slice:
        what = group.slice if isinstance(group.slice, tuple) else "a list of indices"
        problems.add("shape", f"{name} computes {tile.out_box}, its neurons are {what}")
        return
    if not all(0 <= a <= b <= size for (a, b), size in zip(tile.in_box, tile.in_shape, strict=True)):
        problems.add("shape", f"{name} listens to {tile.in_box} of a source of shape {tile.in_shape}")
        return
    rows, kernel = tile.out_box[0], tile.weights.shape
    if kernel[:2] != (rows[1] - rows[0], tile.in_shape[0] // tile.groups):
        problems.add("shape", f"{name} has a kernel of shape {kernel} for output channels {rows} of {tile.groups} groups")
        return
    per_in, per_out = tile.in_shape[0] // tile.groups, tile.out_shape[0] // tile.groups
    needed = [(rows[0] // per_out * per_in, ((rows[1] - 1) // per_out + 1) * per_in)]
    for axis in (0, 1):
        size, taps = tile.in_shape[axis + 1], kernel[axis + 2]
        stride, padding, dilation = tile.stride[axis], tile.padding[axis], tile.dilation[axis]
        whole = (size + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
        if whole != tile.out_shape[axis + 1]:
            problems.add("shape", f"{name} has output size {tile.out_shape[axis + 1]} where its geometry gives {whole}")
            return
        low, high = tile.out_box[axis + 1]
        reach = np.arange(low, high)[:, None] * stride - padding + np.arange(taps) * dilation
        inside = reach[(reach >= 0) & (reach < size)]
        needed.append((int(inside.min()), int(inside.max()) + 1) if inside.size else (0, 0))
    for dimension, ((a, b), (low, high)) in enumerate(zip(tile.in_box, needed, strict=True)):
        if low < high and (a > low or b < high) and all(p < q for p, q in needed):
            problems.add("shape", f"{name} listens to {a}..{b} in dimension {dimension} of its source, it needs {low}..{high}")


def _check_cover(program: Program, groups: Iterable[int], problems: _Problems) -> None:
    held = {k: np.zeros(p.shape, np.int32) for k, p in enumerate(program.populations) if not p.is_input}
    for k in groups:
        group = program.groups[k]
        if isinstance(group.slice, tuple):
            held[group.population][tuple(slice(start, stop) for start, stop in group.slice)] += 1
        else:
            held[group.population].reshape(-1)[group.slice] += 1
    for k, counts in held.items():
        name = program.populations[k].name
        for kind, where in (("no core holds", counts == 0), ("several cores hold", counts > 1)):
            number = int(np.count_nonzero(where))
            if number:
                first = int(np.flatnonzero(where.ravel())[0])
                problems.add("cover", f"{kind} {number} of the {counts.size} neurons of `{name}`, first neuron {first}", number)


def _check_neurons(program: Program, group: NeuronGroup, target: Target, problems: _Problems) -> None:
    name = f"a slice of `{program.populations[group.population].name}`"
    kernel = target.kernels.get(group.kernel)
    if kernel is None:
        problems.add("kernel", f"{name} runs `{group.kernel}`, which `{target.name}` does not have")
        return
    if set(group.params) != set(kernel.params):
        problems.add("kernel", f"{name} has parameters {sorted(group.params)}, `{group.kernel}` takes {sorted(kernel.params)}")
    unknown = sorted(set(group.initial) - set(kernel.state))
    if unknown:
        problems.add("kernel", f"{name} starts {', '.join(unknown)}, which `{group.kernel}` does not have")
    for key, values in (*group.params.items(), *group.initial.items()):
        if values.shape != (group.size,):
            problems.add("kernel", f"{name} has {values.size} values of `{key}` for {group.size} neurons")
            continue
        # A model's own range (`delta_vth`) comes before the one that all models with such a parameter share.
        limits, model = target.spec.limits, group.kernel.rpartition(".")[2]
        limit = limits.get(f"{model}_{key}", limits.get(key))
        if limit is not None and limit.enforced:
            problems.within("parameter", f"`{key}` of {name}", int(values.min()), int(values.max()), (limit.min, limit.max))


def _check_fields(name: str, block: SynapseBlock, spec: ChipSpec, problems: _Problems) -> None:
    longest = shortest = block.delay
    if block.delays is not None and block.delays.size:
        shortest, longest = block.delay + int(block.delays.min()), block.delay + int(block.delays.max())
    for key, low, high in (
        ("delay", shortest, longest), ("weight_exp", block.exponent, block.exponent), ("weight_bits", block.bits, block.bits),
        ("message_bits", block.message_bits, block.message_bits),
    ):
        limit = spec.limits.get(key)
        if limit is not None and limit.enforced:
            problems.within("field", f"`{key}` of {name}", low, high, (limit.min, limit.max))
    if block.sign not in _SIGNS:
        problems.add("field", f"{name} has sign mode `{block.sign}`")


def _check_weights(name: str, block: SynapseBlock, spec: ChipSpec, problems: _Problems) -> None:
    """Check that the stored weights are on the grid of their sign mode and bits, where the chip data gives ranges by sign mode.

    b bits cut the sign mode's range, rounded up to a power of two, into 2^b steps: -256..254 with 8 bits holds multiples of 2.
    A chip with one range for all weights (`weight`) states no grid.
    """
    by_sign, weights = spec.limits.get(f"weight_{block.sign}"), block.synapses.weights
    limit = by_sign or spec.limits.get("weight")
    if limit is None or weights.size == 0:
        return
    problems.within("weight", f"a weight of {name} ({block.sign})", int(weights.min()), int(weights.max()), (limit.min, limit.max))
    if by_sign is None:
        return
    step = 1 << max((limit.max - limit.min).bit_length() - block.bits, 0)
    off = int(np.count_nonzero(weights % step))
    if off:
        problems.add("weight", f"{off} weights of {name} are no multiples of {step}, the step of {block.bits} bits ({block.sign})", off)


class _Axons:
    """All input axons of the sound blocks in one row: by core, then by first axon of the block.

    Blocks that serve groups of one core from the very same axons, as a crossbar's columns do, are one entry of `order`; `blocks` has all.
    """

    def __init__(self, program: Program, blocks: set[int]) -> None:
        runs: dict[tuple[int, int, int], list[int]] = {}
        for k in sorted(k for k in blocks if program.blocks[k].axons):
            block = program.blocks[k]
            runs.setdefault((block.core, block.axon, block.axons), []).append(k)
        self.blocks = [runs[key] for key in sorted(runs)]
        self.order = [same[0] for same in self.blocks]
        listed = [program.blocks[k] for k in self.order]
        self.core = np.array([block.core for block in listed], np.int64)
        self.first = np.array([block.axon for block in listed], np.int64)
        self.count = np.array([block.axons for block in listed], np.int64)
        self.row = np.concatenate([[0], np.cumsum(self.count)]).astype(np.int64)

    def shared(self) -> Array:
        """Return which blocks, in `order`, begin before another block of the same core ends."""
        shared = np.zeros(len(self.order), bool)
        for core in np.unique(self.core):
            here = np.flatnonzero(self.core == core)
            ends = np.maximum.accumulate((self.first + self.count)[here])
            shared[here[1:]] = self.first[here[1:]] < ends[:-1]
        return shared

    def places(self, core: Array, axon: Array) -> Array:
        """Return where (core, axon) pairs stand in the row, -1 where there is no such axon; int64."""
        if not self.order:
            return np.full(core.shape, -1, np.int64)
        key = core.astype(np.int64) << 32
        at = np.searchsorted((self.core << 32) + self.first, key + axon, side="right") - 1
        behind = axon - self.first[at]
        good = (at >= 0) & (axon >= 0) & (self.core[at] == core) & (behind < self.count[at])
        return np.where(good, self.row[at] + behind, -1)


def _check_axons_and_routes(program: Program, blocks: set[int], problems: _Problems) -> None:
    axons = _Axons(program, blocks)
    for number in np.flatnonzero(axons.shared()).tolist():
        name = _block_name(program, axons.order[number])
        problems.add("axon", f"{name} shares input axons with another block from axon {axons.first[number]} on")
    start = _starts(program)
    feeder, fed = _feeders(program, axons, start, problems)
    for number, k in enumerate(axons.order):
        span, block = slice(axons.row[number], axons.row[number + 1]), program.blocks[k]
        name, counts = _block_name(program, k), fed[span]
        for kind, wrong in (("fed by no neuron", counts == 0), ("fed by several neurons", counts > 1)):
            found = int(np.count_nonzero(wrong))
            if found:
                problems.add("axon", f"{found} of the {block.axons} input axons of {name} are {kind}", found)
        if (counts == 1).all():
            for same in axons.blocks[number]:
                _check_source(_block_name(program, same), program.blocks[same], feeder[span], start, program, problems)
        if len({program.blocks[same].group for same in axons.blocks[number]}) < len(axons.blocks[number]):
            problems.add("axon", f"{name} shares its input axons with another block of the same neurons")


def _starts(program: Program) -> Array:
    """Return the number of the first neuron of each population, all populations in a row, and the number of all neurons."""
    return np.concatenate([[0], np.cumsum([int(np.prod(p.shape)) for p in program.populations])])


def _feeders(program: Program, axons: _Axons, start: Array, problems: _Problems) -> tuple[Array, Array]:
    """Return, per axon of the row, the number of the neuron that feeds it (all populations in a row, C order) and how many do."""
    feeder, fed = np.full(axons.row[-1], -1, np.int64), np.zeros(axons.row[-1], np.int32)
    if len(program.routes) != len(program.groups):
        problems.add("route", f"there are {len(program.routes)} route tables for {len(program.groups)} neuron groups")
    tables: list[tuple[str, Routes, Array]] = []
    for k, (group, routes) in enumerate(zip(program.groups, program.routes, strict=False)):
        if 0 <= group.population < len(program.populations):
            population = program.populations[group.population]
            if _slice_fits(group.slice, population.shape):
                name = f"neuron group {k} of `{population.name}`"
                tables.append((name, routes, start[group.population] + slice_indices(group.slice, population.shape)))
    ports = {k for k, p in enumerate(program.populations) if p.is_input}
    for k in sorted(ports ^ set(program.inputs)):
        what = f"population {k} is no input port"
        problems.add("route", f"input port `{program.populations[k].name}` has no routes" if k in ports else what)
    for k in sorted(ports & set(program.inputs)):
        size = int(np.prod(program.populations[k].shape))
        tables.append((f"input port `{program.populations[k].name}`", program.inputs[k], start[k] + np.arange(size)))
    for name, routes, neurons in tables:
        lengths, entries = np.diff(routes.indptr), routes.core.size
        if (
            lengths.size != neurons.size or routes.axon.size != entries or (lengths < 0).any() or routes.indptr[0] != 0
            or routes.indptr[-1] != entries
        ):
            problems.add("route", f"the route table of {name} does not fit its {neurons.size} neurons")
            continue
        place = axons.places(routes.core, routes.axon)
        good = place >= 0
        lost = int(np.count_nonzero(~good))
        if lost:
            first = int(np.flatnonzero(~good)[0])
            where = f"axon {routes.axon[first]} of core {routes.core[first]}"
            problems.add("route", f"{lost} routes of {name} lead to no input axon, first to {where}", lost)
        np.add.at(fed, place[good], 1)
        feeder[place[good]] = np.repeat(neurons, lengths)[good]
    return feeder, fed


def _check_source(name: str, block: SynapseBlock, feeders: Array, start: Array, program: Program, problems: _Problems) -> None:
    """Check that one population feeds a block, and that a convolution's axons stand for the positions it takes them for."""
    source = np.searchsorted(start, feeders[[0, -1]], side="right") - 1
    low, high = start[source[0]], start[source[0] + 1]
    if (feeders < low).any() or (feeders >= high).any():
        problems.add("axon", f"the input axons of {name} are fed by several populations")
        return
    synapses = block.synapses
    if isinstance(synapses, ConvTile):
        population = program.populations[int(source[0])]
        if high - low != np.prod(synapses.in_shape):
            problems.add("axon", f"{name} takes a source of shape {synapses.in_shape}, `{population.name}` has shape {population.shape}")
        elif (feeders - low != box_indices(synapses.in_box, synapses.in_shape)).any():
            problems.add("axon", f"the input axons of {name} are not fed by the positions {synapses.in_box} of `{population.name}`")
    elif np.unique(feeders).size != feeders.size:
        problems.add("axon", f"a neuron feeds several input axons of {name}")


def _check_budgets(program: Program, target: Target, problems: _Problems) -> None:
    budgets = target.spec.resources
    used = target.measure(program)
    variant = target.spec.variants.get(program.variant)
    smaller = {core: target.spec.classes[kind].budget for kind, cores in (variant.classes if variant else {}).items() for core in cores}
    cores = variant.cores if variant else 1
    if len(used) != len(program.cores):
        problems.add("budget", f"{len(used)} cores were measured of {len(program.cores)}")
        return
    for core, demand in zip(program.cores, used, strict=True):
        name = f"core {core.core} of chip {core.chip}"
        for key in sorted(set(demand) ^ set(budgets)):
            problems.add("budget", f"`{key}` is {'measured on' if key in demand else 'not measured on'} {name}, and the chip data "
                                   f"{'has no such budget' if key in demand else 'has a budget'}")
        for key, resource in budgets.items():
            most = smaller.get(core.core % cores, {}).get(key, resource.max)
            if demand.get(key, 0) > most:
                problems.add("budget", f"{name} takes {demand[key]} {resource.unit} of {resource.title}, it has {most}")
