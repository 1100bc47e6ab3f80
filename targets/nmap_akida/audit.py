"""The rules of a plan, checked from the program alone: nothing of what made the plan is asked again.

    form, chain    every population has a form; each hears the one before it; pooled ones come behind convolutions
    unit           an image on the input unit as a whole, all else on NPs; a pooled population beside its layer, with the half of its box
    part           bits of weights, and rows, columns and filters of every part within the limits; weights inside an NP, but for a fully
                   connected layer on an FNP2, which is whole
    pass           a layer in one pass, passes in the order of the chain, none left out

What an NP holds in bytes is among the budgets, which `nmap.verify.mapping` compares with `nmap_akida.measure`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from nmap.diagnostics import Diagnostic
from nmap.program import ConvTile, NeuronGroup, Program, SynapseBlock
from nmap.target.machine import Machine
from nmap_akida.form import Form, Mode, sums_over_image
from nmap_akida.measure import kernel_sides, measure

__all__ = ["audit"]

_BITS = {Form.IMAGE: (8,), Form.SEPARABLE: (2, 4)}
"""Weight bits of forms that do not take 1, 2 and 4."""
_SHOWN = 10
"""Offences of one kind that are spelled out."""


def audit(program: Program, machine: Machine) -> tuple[Diagnostic, ...]:
    """Return NM702 errors for everything in a program that is no plan for this chip.

    Args:
        program: sound in itself, as `nmap.verify.mapping` finds out.
        machine: that it was made for.
    """
    forms = _forms(program)
    if isinstance(forms, str):
        return (_error("form", forms, 1),)
    view = _View(program, machine, forms)
    out: list[Diagnostic] = []
    for kind, check in (("chain", _chain), ("unit", _units), ("part", _parts), ("pass", _passes)):
        found = list(check(view))
        out += [_error(kind, message, len(found)) for message in found[:_SHOWN]]
        if len(found) > _SHOWN:
            out.append(_error(kind, f"and {len(found) - _SHOWN} more problems of this kind: {kind}", len(found)))
    return tuple(out)


def _error(kind: str, message: str, count: int) -> Diagnostic:
    return Diagnostic("NM702", "error", message, data={"kind": kind, "count": count})


def _forms(program: Program) -> dict[int, Form] | str:
    """Return the form of every population that is no input port, or what is wrong."""
    if program.settings.get("mode") not in tuple(Mode):
        return "the program does not say what an inference stands for"
    if program.settings["mode"] == Mode.RATE and program.settings.get("window", 0) < 1:
        return "the program does not say how many steps an inference stands for"
    forms = {}
    for index, population in enumerate(program.populations):
        if not population.is_input:
            stated = program.settings.get(f"{population.name}.form")
            if stated not in tuple(Form):
                return f"the program does not say how `{population.name}` is computed"
            forms[index] = Form(stated)
    return forms


class _View:
    """A program with what several checks need of it."""

    def __init__(self, program: Program, machine: Machine, forms: dict[int, Form]) -> None:
        self.program, self.forms = program, forms
        self.variant, self.spec = machine.spec.variants[program.variant], machine.spec
        self.groups: dict[int, list[int]] = {index: [] for index in forms}
        for number, group in enumerate(program.groups):
            self.groups[group.population].append(number)
        self.blocks: dict[int, list[SynapseBlock]] = {number: [] for number in range(len(program.groups))}
        for block in program.blocks:
            self.blocks[block.group].append(block)
        self.kinds = {core: kind for kind, cores in self.variant.classes.items() for core in cores}

    def name(self, index: int) -> str:
        """Return a population's name, quoted."""
        return f"`{self.program.populations[index].name}`"

    def kind(self, group: NeuronGroup) -> str:
        """Return the class of a group's core."""
        return self.kinds.get(self.program.cores[group.core].core % self.variant.cores, "")

    def at(self, group: NeuronGroup) -> int:
        """Return the pass of a group's core."""
        return self.program.cores[group.core].core // self.variant.cores

    def sums(self, index: int) -> bool:
        """Return whether a population's potentials are summed over its image."""
        return sums_over_image(self.program.settings, self.program.populations[index].name)

    def limit(self, name: str) -> int:
        """Return the most of a limit of the chip."""
        return self.spec.limits[name].max

    def members(self, index: int) -> list[NeuronGroup]:
        """Return the groups of a population."""
        return [self.program.groups[number] for number in self.groups[index]]

    def owner(self, index: int) -> int | None:
        """Return the population whose layer computes a pooled one: the one before it."""
        return index - 1 if index - 1 in self.forms else None


def _chain(view: _View) -> Iterator[str]:
    """Each population hears the one before it, and is at most a step behind it."""
    program = view.program
    ports = [index for index in range(len(program.populations)) if index not in view.forms]
    if ports != [0]:
        yield f"a chain begins with one input port; the program has {len(ports)}"
        return
    listeners = _listeners(program)
    last, late = len(program.populations) - 1, 0
    for index, population in enumerate(program.populations):
        heard_by = sorted(listeners.get(index, set()))
        # The network's own time may run late: by a step for every connection on the way that has a delay in the network.
        if not late <= index - population.latency <= index:
            yield (
                f"{view.name(index)} is {population.latency} steps behind the input at place {index} of the chain, where it is at most "
                f"{index - late}"
            )
        late = max(late, index - population.latency)
        if population.is_output != (index == last):
            yield f"{view.name(index)} is {'an' if population.is_output else 'no'} output; the last of the chain is the only one"
        if heard_by != ([] if index == last else [index + 1]):
            others = ", ".join(view.name(k) for k in heard_by) or "nobody"
            yield f"{view.name(index)} is heard by {others}; in a chain the next one does, alone"
    for block in program.blocks:
        if block.delay or block.delays is not None:
            yield f"a connection onto {view.name(program.groups[block.group].population)} has delays; the chip has none"


def _listeners(program: Program) -> dict[int, set[int]]:
    """Return by population which ones hear it."""
    owner: dict[int, list[tuple[int, int, int]]] = {}
    for block in program.blocks:
        owner.setdefault(block.core, []).append((block.axon, block.axon + block.axons, program.groups[block.group].population))
    found: dict[int, set[int]] = {}
    tables = [(group.population, routes) for group, routes in zip(program.groups, program.routes, strict=True)]
    for population, routes in (*program.inputs.items(), *tables):
        heard = found.setdefault(population, set())
        for core in np.unique(routes.core).tolist():
            axons = routes.axon[routes.core == core]
            heard.update(k for low, high, k in owner.get(core, []) if ((axons >= low) & (axons < high)).any())
    return found


def _units(view: _View) -> Iterator[str]:
    """Images on the input unit, all else on NPs, pooled populations beside their layers, one layer on a core."""
    program = view.program
    lies: dict[int, set[int]] = {}
    for index, form in view.forms.items():
        name, groups = view.name(index), view.members(index)
        for group in groups:
            kind = view.kind(group)
            if form is not Form.POOLED:
                lies.setdefault(group.core, set()).add(index)
                if (form is Form.IMAGE) != (kind == "hrc"):
                    yield f"{name} lies on core {program.cores[group.core].core}, {_title(view, kind)}"
        if form is Form.IMAGE and (index != 1 or len(groups) != 1):
            yield f"{name} is the convolution of an image: only the first layer can be, as a whole on the input unit"
        if form is Form.POOLED:
            yield from _beside(view, index)
    for core, indices in sorted(lies.items()):
        if len(indices) > 1:
            others = ", ".join(view.name(k) for k in sorted(indices))
            yield f"core {program.cores[core].core} computes parts of {len(indices)} layers: {others}"


def _title(view: _View, kind: str) -> str:
    return f"which is an {view.spec.classes[kind].title}" if kind in view.spec.classes else "which is of no kind that the chip has"


def _beside(view: _View, index: int) -> Iterator[str]:
    """Check that the parts of a pooled population are the halves of its layer's."""
    name, owner = view.name(index), view.owner(index)
    if owner is None or view.forms[owner] not in (Form.CONV, Form.SEPARABLE, Form.IMAGE) or view.sums(owner):
        yield f"{name} is pooled, and what comes before it is no convolution that could pool it"
        return
    if index + 1 not in view.forms or view.forms[index + 1] not in (Form.CONV, Form.SEPARABLE):
        yield f"{name} is pooled, and no convolution follows it"
    halves = {}
    for group in view.members(owner):
        part = group.slice
        if not isinstance(part, tuple) or any(end % 2 for span in part[1:] for end in span):
            yield f"a part of {view.name(owner)}, which pools 2 by 2, does not begin and end at even rows and columns"
            return
        halves[group.core] = (part[0], *((start // 2, stop // 2) for start, stop in part[1:]))
    boxes = {group.core: group.slice for group in view.members(index)}
    if boxes.keys() != halves.keys() or any(not isinstance(box, tuple) or box != halves[core] for core, box in boxes.items()):
        yield f"{name} is pooled by the layer of {view.name(owner)}, and does not lie beside it part by part"


def _parts(view: _View) -> Iterator[str]:
    """Rows, columns, filters and weights of the parts on NPs."""
    used, sides = measure(view.program), kernel_sides(view.program)
    for index, form in view.forms.items():
        groups = view.groups[index]
        if index in sides and sides[index] is None:
            over = ", summed over its image" if view.sums(index) else ""
            yield f"the connection of {view.name(index)} is no {form.name.lower()} layer of the chip{over}"
        if form is not Form.POOLED:
            yield from _weights(view, index, form)
        if form in (Form.POOLED, Form.IMAGE):
            continue
        for number in groups:
            group = view.program.groups[number]
            blocks = view.blocks[number]
            if len(blocks) != 1 or isinstance(blocks[0].synapses, ConvTile) != (form is not Form.DENSE):
                yield f"a part of {view.name(index)} does not have the connection of its form, {form.name.lower()}"
                continue
            connected = form is Form.DENSE and len(groups) == 1 and view.kind(group) in ("fnp2", "fnp3")
            if connected:
                yield from _connected(view, index, blocks[0])
                continue
            most = view.spec.classes["cnp"].budget["weight_memory"]
            if used[group.core]["weight_memory"] > most:
                taken = used[group.core]["weight_memory"]
                yield f"a part of {view.name(index)} takes {taken} bytes of weights on an NP for convolutions, which has {most}"
            if form is Form.DENSE:
                yield from _as_convolution(view, index, group, blocks[0])
            else:
                yield from _tile(view, index, blocks[0])


def _weights(view: _View, index: int, form: Form) -> Iterator[str]:
    """Check the bits of a layer's weights, and their range where the program holds them one by one."""
    blocks = [block for number in view.groups[index] for block in view.blocks[number]]
    bits = sorted({block.bits for block in blocks})
    allowed = _BITS.get(form, (1, 2, 4))
    if len(bits) != 1 or bits[0] not in allowed:
        yield f"{view.name(index)} has weights of {', '.join(map(str, bits)) or 'no'} bits; its form takes {', '.join(map(str, allowed))}"
        return
    if form is Form.SEPARABLE or view.sums(index):
        # Products of two factors, and sums over the image.
        return
    limit = view.spec.limits[f"weight_{bits[0]}"]
    low, high = (int(find([find(block.synapses.weights) for block in blocks])) for find in (np.min, np.max))
    if low < limit.min or high > limit.max:
        yield f"{view.name(index)} has weights {low}..{high} of {bits[0]} bits, outside {limit.min}..{limit.max}"


def _connected(view: _View, index: int, block: SynapseBlock) -> Iterator[str]:
    if block.axons > view.limit("dense_inputs"):
        yield f"{view.name(index)} is a fully connected layer of {block.axons} inputs; an FNP takes {view.limit('dense_inputs')}"


def _as_convolution(view: _View, index: int, group: NeuronGroup, block: SynapseBlock) -> Iterator[str]:
    """Check a dense layer that is a convolution with a kernel of 1."""
    name, before = view.name(index), index - 1
    shape = view.program.populations[before].shape
    if before in view.forms and view.forms[before] is not Form.DENSE and prod(shape[1:]) != 1:
        yield f"{name} hears an image, so that it is no convolution with a kernel of 1, and must lie whole on an FNP"
    filters = prod(view.program.populations[index].shape)
    for what, amount, most in (
        ("channels", block.axons, view.limit("channels")), ("filters", filters, view.limit("filters")),
        ("filters on one NP", group.size, view.limit(f"np_filters_{view.program.variant}")),
    ):
        if amount > most:
            yield f"{name} as a convolution with a kernel of 1 has {amount} {what}; the most is {most}"


def _tile(view: _View, index: int, block: SynapseBlock) -> Iterator[str]:
    tile = block.synapses
    if not isinstance(tile, ConvTile):
        return
    name = view.name(index)
    (low, high), rows, columns = tile.out_box
    most = view.limit(f"np_filters_{view.program.variant}")
    if high - low > most:
        yield f"{name} has {high - low} filters on one NP; the most is {most}"
    single = view.spec.limits.get(f"single_channel_filters_{view.program.variant}")
    if single is not None and tile.in_shape[0] == 1:
        count = (high - low + single.max - 1) // single.max
        if count > 1 and count % 2:
            yield f"{name} has {high - low} filters of one channel on one NP, {count} times {single.max}: more than one, and odd"
    if tile.in_shape[0] > view.limit("channels") or tile.out_shape[0] > view.limit("filters"):
        yield f"{name} has {tile.in_shape[0]} channels and {tile.out_shape[0]} filters, more than a convolution takes"
    spans = ((0, tile.in_shape[1]), (0, tile.in_shape[2])) if view.sums(index) else (rows, columns)
    steps = (1, 1) if view.sums(index) else tile.stride
    for what, (start, stop), step, size, limit in zip(
        ("rows", "columns"), spans, steps, tile.in_shape[1:], (view.limit("tile_rows"), view.limit("tile_columns")), strict=True
    ):
        given = min(stop * step, size) - min(start * step, size)
        if given > limit:
            yield f"a part of {name} is given {given} {what} of its image; the most is {limit}"


def _passes(view: _View) -> Iterator[str]:
    """A layer in one pass, and passes in order."""
    reached = 0
    for index in view.forms:
        here = sorted({view.at(group) for group in view.members(index)})
        if len(here) > 1:
            yield f"{view.name(index)} is computed in passes {', '.join(map(str, here))}; a layer is computed in one"
            continue
        if here and not reached <= here[0] <= reached + 1:
            yield f"{view.name(index)} is computed in pass {here[0]}, behind a layer of pass {reached}"
        reached = max([reached, *here])
