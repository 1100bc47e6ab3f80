"""Why layers do not fit the chip, with the arithmetic, and remedies that were tried on the numbers. All of it is the estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nmap.diagnostics import Diagnostic
from nmap.quantized import QuantizedNetwork
from nmap.target.machine import Machine, build_machine
from nmap_akida.demand import LayerSize
from nmap_akida.form import Form
from nmap_akida.passes import Plan, choose, fewest_fnp2
from nmap_akida.ways import Room, Way, ways_of

__all__ = ["Task", "explain", "misfits"]

_ESTIMATE = (
    "This is nmap's estimate: weight bits x weights, activation bits x activations; how the chip packs them is not published."
)
_LIMITS = "Sizes and limits are those of the device objects and messages of the vendor's public API (`nmap targets akida` lists them)."
_ELSEWHERE = "`nmap check NET --target all` says which other targets take the network"
_NAMED = 4
"""Layers of which a message says everything; the rest are counted."""
_ENOUGH = 10**6
"""Units of a kind where there are to be enough."""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What was to be planned.

    Args:
        network: for where in the file layers come from.
        machine, room: what there is.
        sizes: of the layers, in order.
        pooled: the pooled population by the name of the layer that computes it.
        ways: of each layer.
        reasons: sentences for each layer that say why it has no other ways.
    """

    network: QuantizedNetwork
    machine: Machine
    room: Room
    sizes: Sequence[LayerSize]
    pooled: dict[str, str]
    ways: Sequence[tuple[Way, ...]]
    reasons: Sequence[tuple[str, ...]]

    @property
    def chip(self) -> str:
        """Name of the chip and its variant."""
        return f"{self.machine.spec.name}:{self.machine.variant}"

    @property
    def sources(self) -> str:
        """Where the limits come from, and what the numbers are worth."""
        return f"{_LIMITS} {_ESTIMATE}"


def misfits(task: Task) -> tuple[Diagnostic, ...]:
    """Return an error for every layer that an empty chip cannot compute in one pass.

    NM401 where not even its smallest part fits an NP, NM402 where it needs more units than there are.
    """
    one = replace(task.room, passes=1)
    bad = [k for k, ways in enumerate(task.ways) if not ways or choose([ways], one).status == "infeasible"]
    if not bad:
        return ()
    remedies = _remedies(task)
    return tuple(_misfit(task, k, remedies) for k in bad)


def _misfit(task: Task, number: int, remedies: tuple[str, ...]) -> Diagnostic:
    size, ways, reasons, room = task.sizes[number], task.ways[number], task.reasons[number], task.room
    data: dict[str, object] = {
        "layer": size.name, "weight_bits": size.weight_bits, "weight_bytes": size.weight_bytes(size.filters),
        "weight_memory": room.weight_bytes, "input_memory": room.input_bytes,
    }
    fewest = min((way.nps for way in ways if way.unit == "CNP"), default=1)
    told = list(reasons)
    if not ways:
        code, message = "NM401", f"no NP of {task.chip} can compute even the smallest part of `{size.name}`"
    else:
        needed = f"{fewest:,} NP{'s' if fewest > 1 else ''}"
        code, message = "NM402", f"`{size.name}` alone needs {needed}, and {task.chip} has {room.nps} usable"
        if ways[0].unit == "HRC":
            message = f"`{size.name}` needs the input convolution unit (HRC), which is marked dead on this {task.chip}"
        elif fewest <= room.nps:
            message = f"`{size.name}` needs an FNP2, and {task.chip} has none that is usable"
        elif room.passes > 1:
            told.append("A layer is computed in one pass: whether the chip can divide one over several is not documented.")
        told += [f"{unit}: {room.units[unit.lower()]}." for unit in ("FNP3", "FNP2") if any(way.unit == unit for way in ways)]
        data |= {"lower_bound": fewest, "available": room.nps}
    why = " ".join((*told, task.sources))
    return Diagnostic(
        code, "error", message, str(task.network[size.name].where), why, (*remedies, *_smaller(size, room), _ELSEWHERE), data
    )


def _smaller(size: LayerSize, room: Room) -> tuple[str, ...]:
    """Say how small a layer would have to be for one NP."""
    if size.form is Form.IMAGE:
        return ()
    if size.conv is None:
        most = 8 * room.weight_bytes // size.filter_bits
        if most >= size.filters:
            # There is no NP for it, however small it is.
            return ()
        if most:
            return (f"train `{size.name}` with at most {most:,} outputs, or with fewer inputs: its weights then fit one NP",)
        return (f"pool or convolve before `{size.name}`, so that it has fewer inputs",)
    if size.over_image:
        return (f"pool before `{size.name}`, so that its image is smaller",)
    return (f"train `{size.name}` with fewer channels, or pool before it",)


def explain(task: Task) -> Diagnostic:
    """Return NM402 for layers that fit one by one and not together."""
    room = task.room
    data: dict[str, object] = {
        "available": room.nps, "fnp3": room.units["fnp3"], "fnp2": room.units["fnp2"], "passes": room.passes,
        "layers": {size.name: min(way.nps for way in ways) for size, ways in zip(task.sizes, task.ways, strict=True)},
    }
    if room.passes > 1:
        plan = choose(task.ways, replace(room, passes=len(task.sizes)))
        data["lower_bound"] = plan.passes
        message = f"the network needs {plan.passes} passes over {task.chip}, and nmap plans at most {room.passes}"
        return Diagnostic("NM402", "error", message, why=task.sources, help=(*_remedies(task), _ELSEWHERE), data=data)
    needed = fewest_fnp2(task.ways, room)
    if needed is not None and needed > room.units["fnp2"]:
        data["lower_bound"] = needed
        message = f"the network needs at least {needed} NPs with FNP2, and {task.chip} has {room.units['fnp2']} usable"
        return Diagnostic("NM402", "error", message, why=_competing(task), help=(*_remedies(task), _ELSEWHERE), data=data)
    plan = choose(task.ways, replace(room, units={**room.units, "cnp": _ENOUGH}))
    data["lower_bound"] = plan.lower_bound
    message = f"the network needs at least {plan.lower_bound:,} NPs, and {task.chip} has {room.nps} usable"
    return Diagnostic("NM402", "error", message, why=_shares(task, plan), help=(*_remedies(task), _ELSEWHERE), data=data)


def _competing(task: Task) -> str:
    """Say which layers can be nothing but fully connected ones, and why."""
    only = [k for k, ways in enumerate(task.ways) if all(way.unit in ("FNP2", "FNP3") for way in ways)]
    # Those that fit an FNP3 say nothing of their weights.
    told = [
        f"`{size.name}`: {' '.join((*(() if any(way.unit == 'FNP2' for way in ways[:1]) else (_weights(size, room),)), *reasons))}"
        for size, ways, reasons, room in ((task.sizes[k], task.ways[k], task.reasons[k], task.room) for k in only[:_NAMED])
    ]
    if len(only) > _NAMED:
        told.append(f"And {len(only) - _NAMED} more such layers: {', '.join(f'`{task.sizes[k].name}`' for k in only[_NAMED:])}.")
    units = f"FNP3: {task.room.units['fnp3']}, FNP2: {task.room.units['fnp2']}, one fully connected layer each."
    return " ".join((*told, units, task.sources))


def _weights(size: LayerSize, room: Room) -> str:
    return f"its weights take {size.weight_bytes(size.filters):,} bytes; an FNP3 holds {room.weight_bytes:,}."


def _shares(task: Task, plan: Plan) -> str:
    order = sorted(zip(task.sizes, plan.ways, strict=True), key=lambda pair: -pair[1].nps)
    told = [f"`{size.name}` {way.nps:,} ({_what(size, way)})" for size, way in order[: 2 * _NAMED]]
    rest = order[2 * _NAMED :]
    if rest:
        told.append(f"{len(rest)} more layers {sum(way.nps for _, way in rest):,}")
    return f"Lower bound proved. NPs by layer: {', '.join(told)}. {task.sources}"


def _what(size: LayerSize, way: Way) -> str:
    needed = f"{size.weight_bytes(size.filters):,} bytes of weights"
    if way.unit != "CNP":
        return f"{way.unit}, {needed}"
    parts = [f"{count} {what}" for count, what in ((way.filters, "parts of its filters"), (way.rows * way.columns, "tiles")) if count > 1]
    return ", ".join((needed, *parts))


def _remedies(task: Task) -> tuple[str, ...]:
    """Return what was tried and fits by the estimate: fewer weight bits, other variants, no dead cores."""
    told = []
    most = max((size.weight_bits for size in task.sizes if size.form is not Form.IMAGE), default=0)
    for bits in (2, 1):
        plan = _planned([size.with_bits(bits) for size in task.sizes], task.room, task.pooled) if bits < most else None
        if plan is not None:
            told.append(
                f"store weights in {bits} bit{'s' if bits > 1 else ''} (`--bits {bits}`): by the estimate the network takes {_taken(plan)}"
            )
            break
    spec, variant = task.machine.spec, task.machine.variant
    for other in spec.variants:
        plan = None if other == variant else _planned(task.sizes, Room.of(build_machine(spec, other)), task.pooled)
        if plan is not None:
            told.append(f"`--target {spec.name}:{other}`: by the estimate the network takes {_taken(plan)}")
    if task.machine.dead and _planned(task.sizes, Room.of(build_machine(spec, variant)), task.pooled) is not None:
        dead = len(task.machine.dead)
        told.append(f"without the {dead} dead cores it would fit" if dead > 1 else "without the dead core it would fit")
    return tuple(told)


def _planned(sizes: Sequence[LayerSize], room: Room, pooled: dict[str, str]) -> Plan | None:
    """Return the plan of layers, or None where they do not fit or that is not known."""
    layers = [ways_of(size, size.name in pooled, room)[0] for size in sizes]
    if not all(layers):
        return None
    plan = choose(layers, room)
    return plan if plan.ways else None


def _taken(plan: Plan) -> str:
    passes = f" in {plan.passes} passes" if plan.passes > 1 else ""
    return f"{plan.nps} NP{'s' if plan.nps != 1 else ''}{passes}"
