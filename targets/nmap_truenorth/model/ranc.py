"""RANC's JSON model and configuration, read and written, and the neutral JSON in which recorded networks come.

RANC (github.com/UA-RCL/RANC) is an open architecture like TrueNorth's with a simulator of its own and an FPGA implementation.
Its model file holds the input (`packets`), the `output_bus` and the `cores` on a grid; sizes and the kind of the floor test are
in a configuration file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isqrt
from typing import Any

import numpy as np

from nmap.connectivity import Array
from nmap_truenorth.model.model import NOWHERE, OFF_CHIP, Events, Model
from nmap_truenorth.model.source import MalformedError, Problems, Scanner, whole

__all__ = ["CONFIG_KEYS", "as_ranc", "ranc_reasons", "read_config", "read_neutral", "read_ranc", "write_packets", "write_ranc"]

CONFIG_KEYS = ("num_neurons", "num_axons", "num_cores_x", "num_cores_y", "num_weights", "max_tick_offset", "neuron_reset_type")
"""Entries of a configuration that say what a model means; the others say what is logged."""
_LOGGED = ("neuron_block_trace_verbosity", "core_controller_trace_verbosity", "scheduler_trace_verbosity")

_MOST_SIZE = 2**16
_MOST_NEURONS = 2**22
_MOST_SYNAPSE_BYTES = 2**28
_INT32 = 2**31
_FIELDS = ("leak", "positive_threshold", "negative_threshold", "reset_potential", "reset_mode", "current_potential")
_NEUTRAL = ("leak", "alpha", "beta", "reset", "gamma", "v0")
_NEUTRAL_FLAGS = ("kappa", "epsilon", "c")


@dataclass(slots=True)
class _Core:
    place: str
    types: Array
    """(axons listed,) uint8."""
    synapses: Array
    """(axons listed, neurons listed) packed along the neurons."""
    values: Array
    """(neurons listed, ...) int64: fields, then four weights, then target core, axon and delay."""
    neurons: int


@dataclass(slots=True)
class _Reader:
    problems: Problems
    weights: int = 4
    most_delay: int = 15
    cores: list[_Core] = field(default_factory=list)
    told: set[str] = field(default_factory=set)

    def whole(self, value: Any, what: str, place: str, least: int = -_INT32, most: int = _INT32 - 1) -> int:
        """Return a whole number; 0 with an error where it is none of the range."""
        if whole(value, least, most):
            return int(value)
        if value is None:
            self.problems.error("NM103", f"{what} is not there", place, kind="a number that is not there")
        else:
            limits = "" if least == -_INT32 else f" from {least} to {most}"
            message = f"{what} is {_short(value)}, not a whole number{limits}"
            self.problems.error("NM107", message, place, kind="a number out of its range")
        return 0

    def flag(self, value: Any, what: str, place: str) -> int:
        """Return a flag; 0 with an error where it is none."""
        if isinstance(value, bool) or whole(value, 0, 1):
            return int(value)
        self.problems.error("NM107", f"{what} is {_short(value)}, not true or false", place, kind="a flag that is none")
        return 0

    def pair(self, value: Any, what: str, place: str) -> tuple[int, int]:
        if not isinstance(value, list) or len(value) != 2:
            code = "NM103" if value is None else "NM106"
            self.problems.error(code, f"{what} is no pair of coordinates", place, kind="coordinates that are no pair")
            return 0, 0
        return self.whole(value[0], what, place), self.whole(value[1], what, place)

    def types(self, value: Any, place: str, key: str) -> Array:
        if not isinstance(value, list) or len(value) > _MOST_SIZE:
            self.problems.error("NM103", f"{place} has no list `{key}` of axon types", place, kind="a core without axon types")
            return np.zeros(0, np.uint8)
        most = min(self.weights, 4) - 1
        kinds = np.zeros(len(value), np.uint8)
        for axon, kind in enumerate(value):
            if whole(kind, 0, most):
                kinds[axon] = kind
            else:
                message = f"the type of axon {axon} of {place} is {_short(kind)}, not 0 to {most}"
                self.problems.error("NM107", message, f"{place}:axon {axon}", kind="an axon's type")
        return kinds

    def synapses(self, value: Any, place: str, key: str, row: str) -> Array:
        """Return a list of lists of 0 and 1 as (rows, longest row) bool; shorter rows are padded with zeros."""
        if not isinstance(value, list) or len(value) > _MOST_SIZE:
            self.problems.error("NM103", f"{place} has no list `{key}`", place, kind="a core without a crossbar")
            return np.zeros((0, 0), bool)
        lengths = [len(items) if isinstance(items, list) else -1 for items in value]
        width = max(lengths, default=0)
        bits = np.zeros((len(value), max(width, 0)), bool)
        for at, items in enumerate(value):
            where = f"{place}:{row} {at}"
            if lengths[at] < 0 or width > _MOST_SIZE:
                self.problems.error("NM106", f"`{key}` of {row} {at} of {place} is no list", where, kind="a crossbar row that is no list")
                continue
            try:
                numbers = np.asarray(items)
            except (ValueError, OverflowError):
                numbers = np.zeros(0, object)
            if not items:
                continue
            if numbers.dtype.kind != "i" or numbers.ndim != 1 or numbers.min() < 0 or numbers.max() > 1:
                message = f"`{key}` of {row} {at} of {place} has something that is neither 0 nor 1"
                self.problems.error("NM107", message, where, kind="a crossbar row that is not of 0 and 1")
                continue
            bits[at, : len(items)] = numbers
        return bits

    def neuron_weights(self, value: Any, most: int, place: str, j: int) -> list[int]:
        where = f"{place}:neuron {j}"
        if not isinstance(value, list):
            self.problems.error("NM103", f"neuron {j} of {place} has no list `weights`", where, kind="a neuron without weights")
            return [0] * 4
        if len(value) > most:
            message = f"neuron {j} of {place} has {len(value)} weights; {most} are the most"
            self.problems.error("NM106", message, where, kind="a neuron with too many weights")
            return [0] * 4
        weights = [self.whole(weight, f"a weight of neuron {j} of {place}", where) for weight in value[:4]]
        return weights + [0] * (4 - len(weights))

    def assembled(self, file: str, axons: int, neurons: int) -> dict[str, Any] | None:
        """Return the arrays that both formats share; None with an error where the model is too large."""
        count = len(self.cores)
        width = -(-neurons // 8)
        if not count or not axons or not neurons:
            self.problems.error("NM103", "the file has no core with axons and neurons")
            return None
        if count * neurons > _MOST_NEURONS or count * axons * width > _MOST_SYNAPSE_BYTES:
            message = f"{count} cores of {axons} axons and {neurons} neurons are more than is read"
            self.problems.error("NM110", message, why=f"at most {_MOST_NEURONS} neurons and {_MOST_SYNAPSE_BYTES} bytes of crossbar are")
            return None
        types = np.zeros((count, axons), np.uint8)
        crossbar = np.zeros((count, axons, width), np.uint8)
        listed = np.zeros((count, neurons), bool)
        values = np.zeros((count, neurons, self.cores[0].values.shape[1]), np.int64)
        for at, core in enumerate(self.cores):
            types[at, : core.types.size] = core.types
            rows = core.synapses
            crossbar[at, : rows.shape[0], : rows.shape[1]] = rows
            values[at, : core.neurons] = core.values
            listed[at, : core.neurons] = True
        shape = (count, neurons)
        none = np.zeros(shape, bool)
        return {
            "file": file,
            "ids": np.arange(count),
            "axon_types": types,
            "crossbar": crossbar,
            "stochastic": np.zeros((*shape, 4), bool),
            "leak_stochastic": none,
            "leak_reversal": none,
            "kappa": none,
            "mask": np.zeros(shape, np.uint8),
            "seeds": np.full(count, 2**32 - 1, np.uint32),
            "input_delay": 0,
            "values": values,
            "listed": listed,
        }


def _short(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**30:
        return "a number of more than 30 digits"
    text = json.dumps(value) if isinstance(value, (str, bool)) or value is None else repr(value)
    return f"`{text if len(text) <= 40 else text[:37] + '...'}`"


def read_config(scanner: Scanner, problems: Problems) -> dict[str, int]:
    """Read RANC's configuration. Without an entry there are 4 weights, 16 tick offsets and an asymmetric floor test (a warning).

    Raises:
        NmapError: where an entry is no number of its range.
        MalformedError: where the text is not JSON.
    """
    value = scanner.value()
    scanner.end()
    reader = _Reader(problems)
    config = {"num_weights": 4, "max_tick_offset": 16}
    ranges = {"neuron_reset_type": (0, 1), "max_tick_offset": (2, _MOST_SIZE)}
    if not isinstance(value, dict):
        problems.error("NM106", "the configuration is no object")
        value = {}
    for key in CONFIG_KEYS:
        if key in value:
            least, most = ranges.get(key, (1, _MOST_SIZE))
            config[key] = reader.whole(value[key], f"`{key}` of the configuration", "", least, most)
        elif key == "neuron_reset_type":
            config[key] = 0
            problems.warning(f"the configuration has no `{key}`; the floor test is taken to be V < negative_threshold (0)")
        elif key not in config:
            problems.error("NM103", f"the configuration has no `{key}`")
    problems.raise_errors()
    return config


def read_ranc(file: str, scanner: Scanner, problems: Problems, config: Mapping[str, int] | None = None) -> Model:
    """Read RANC's model; its packets are left to the reader of spikes.

    Neurons that a core does not list, and listed ones with the values RANC gives those (no synapse, threshold 1), are disabled:
    they never fire. A neuron whose target is a cell of the grid without a core sends its spikes nowhere.

    Args:
        file: the file's name for messages.
        scanner: the text, at its start.
        problems: receives what is wrong or odd.
        config: sizes, as `read_config` gives them. None: sizes are the largest that the model needs, the grid ends with its
            last core, and the floor test is asymmetric, as on TrueNorth.

    Raises:
        NmapError: with every problem found.
        MalformedError: where the text is not JSON.
    """
    reader = _Reader(problems)
    if config is not None:
        reader.weights = config["num_weights"]
        reader.most_delay = min(15, config["max_tick_offset"] - 1)
    else:
        reader.weights = 4
    bus: Any = None
    places: list[tuple[int, int]] = []
    found = False
    for key in scanner.members():
        if key == "cores" and scanner.peek() == "[":
            found = True
            for item in scanner.elements():
                if len(reader.cores) >= _MOST_SIZE:
                    raise MalformedError(f"the file has more than {_MOST_SIZE} cores", None, "NM110")
                places.append(_ranc_core(reader, item))
        elif key == "output_bus":
            bus = scanner.value()
        else:
            scanner.value()
            if key != "packets":
                problems.note(f"`{key[:60]}` is not known, and is not used", kind="keys that are not known, and are not used")
    scanner.end()
    if not found:
        problems.error("NM103", "the file has no list `cores`")
    outputs, bus_at = _bus(reader, bus)
    model = _ranc_model(reader, file, np.array(places, np.int64).reshape(-1, 2), bus_at, outputs, config)
    problems.raise_errors()
    if model is None:
        raise ValueError("a problem was not told")
    return model


def _bus(reader: _Reader, bus: Any) -> tuple[int, tuple[int, int]]:
    if not isinstance(bus, dict):
        reader.problems.error("NM103", "the file has no `output_bus`")
        return 0, (-1, -1)
    at = reader.pair(bus.get("coordinates"), "`coordinates` of the output bus", "output_bus")
    return reader.whole(bus.get("num_outputs"), "`num_outputs`", "output_bus", 0), at


def _ranc_core(reader: _Reader, item: Any) -> tuple[int, int]:
    """Read one core into `reader.cores` and return its coordinates."""
    problems = reader.problems
    place = f"core {len(reader.cores)}"
    if not isinstance(item, dict):
        problems.error("NM106", f"{place} is no object", place, kind="a core that is no object")
        item = {"axons": [], "connections": [], "neurons": [], "coordinates": [0, 0]}
    for key in item:
        if key not in ("axons", "connections", "neurons", "coordinates") and key not in reader.told:
            reader.told.add(key)
            problems.note(f"`{key[:60]}` of a core is not known, and is not used", kind="keys that are not known, and are not used")
    at = reader.pair(item.get("coordinates"), f"`coordinates` of {place}", place)
    types = reader.types(item.get("axons"), place, "axons")
    synapses = reader.synapses(item.get("connections"), place, "connections", "neuron")
    neurons = item.get("neurons")
    if not isinstance(neurons, list) or len(neurons) > _MOST_SIZE:
        problems.error("NM103", f"{place} has no list `neurons`", place, kind="a core without neurons")
        neurons = []
    if synapses.shape[0] < len(neurons):
        message = f"{place} has {len(neurons)} neurons but `connections` of {synapses.shape[0]}"
        problems.error("NM106", message, place, kind="a core with fewer connections than neurons")
        synapses = np.zeros((len(neurons), 0), bool)
    values = np.zeros((len(neurons), 14), np.int64)
    for j, neuron in enumerate(neurons):
        values[j] = _ranc_neuron(reader, neuron, place, j, at)
    # RANC reads the connections of listed neurons only.
    packed = np.packbits(synapses[: len(neurons)].T, axis=1)
    reader.cores.append(_Core(place, types, packed, values, len(neurons)))
    return at


def _ranc_neuron(reader: _Reader, neuron: Any, place: str, j: int, at: tuple[int, int]) -> list[int]:
    where = f"{place}:neuron {j}"
    if not isinstance(neuron, dict):
        reader.problems.error("NM106", f"neuron {j} of {place} is no object", where, kind="a neuron that is no object")
        return [0] * 14
    fields = [reader.whole(neuron.get(key), f"`{key}` of neuron {j} of {place}", where) for key in _FIELDS]
    if fields[4] not in (0, 1):
        message = f"`reset_mode` of neuron {j} of {place} is {fields[4]}, not 0 or 1"
        reader.problems.error("NM107", message, where, kind="a reset mode")
    weights = reader.neuron_weights(neuron.get("weights"), reader.weights, place, j)
    key = "destination_core_offset"
    if key not in neuron and "destination_core" in neuron:
        message = f"neuron {j} of {place} has `destination_core`, which RANC no longer reads, but no `{key}`"
        reader.problems.error("NM103", message, where, kind="a neuron without an offset to its destination")
        offset = (0, 0)
    else:
        offset = reader.pair(neuron.get(key), f"`{key}` of neuron {j} of {place}", where)
    axon = reader.whole(neuron.get("destination_axon"), f"`destination_axon` of neuron {j} of {place}", where)
    tick = reader.whole(neuron.get("destination_tick"), f"`destination_tick` of neuron {j} of {place}", where)
    if not 1 <= tick + 1 <= reader.most_delay:
        message = f"neuron {j} of {place} has a delay of {tick + 1} ticks (`destination_tick` + 1); delays are 1 to {reader.most_delay}"
        reader.problems.error("NM107", message, where, kind="a delay out of range")
    return [*fields, *weights, at[0] + offset[0], at[1] + offset[1], axon, tick + 1]


def _ranc_model(
    reader: _Reader, file: str, places: Array, bus: tuple[int, int], outputs: int, config: Mapping[str, int] | None
) -> Model | None:
    problems, cores = reader.problems, reader.cores
    if not cores:
        problems.error("NM103", "the file has no core")
        return None
    for at, core in enumerate(cores):
        if tuple(places[at].tolist()) == bus:
            problems.error("NM107", f"{core.place} lies on the cell of the output bus", core.place, kind="a core on the output bus")
    order = np.lexsort((places[:, 1], places[:, 0]))
    again = order[1:][np.all(np.diff(places[order], axis=0) == 0, axis=1)]
    problems.errors(
        "NM107",
        "a core on the cell of another",
        again,
        lambda c: (f"two cores lie at {places[c].tolist()}", f"core {c}"),
    )
    axons = max(max(core.types.size, core.synapses.shape[0]) for core in cores)
    neurons = max(core.neurons for core in cores)
    if config is not None:
        grid = config["num_cores_x"], config["num_cores_y"]
        for what, most, listed in (("axons", config["num_axons"], axons), ("neurons", config["num_neurons"], neurons)):
            if listed > most:
                problems.error("NM106", f"a core lists {listed} {what}; the configuration has {most}")
        axons, neurons = config["num_axons"], config["num_neurons"]
    else:
        grid = max(int(places[:, 0].max()), bus[0]) + 1, max(int(places[:, 1].max()), bus[1]) + 1
    for place, (x, y) in [*((core.place, at) for core, at in zip(cores, places.tolist(), strict=True)), ("output_bus", bus)]:
        if not (0 <= x < grid[0] and 0 <= y < grid[1]):
            message = f"{place} lies at [{x}, {y}], outside the grid of {grid[0]} x {grid[1]}"
            problems.error("NM107", message, place, kind="a core outside the grid")
    if problems.failed:
        return None
    if config is None:
        on_chip = np.concatenate([core.values[:, 12][np.any(core.values[:, 10:12] != bus, axis=1)] for core in cores])
        axons = max(axons, min(int(on_chip.max(initial=-1)) + 1, _MOST_SIZE))
    content = reader.assembled(file, axons, neurons)
    if content is None:
        return None
    values, listed = content.pop("values"), content.pop("listed")
    leak, alpha, lowest, reset, mode, potential = (values[:, :, k] for k in range(6))
    alpha = np.where(listed, alpha, 1)
    weights = values[:, :, 6:10]
    # A listed neuron that cannot be told from one that RANC adds to a short list does nothing.
    enabled = listed & ~_idle(content["crossbar"], weights, (leak, alpha - 1, lowest, reset, potential, mode))
    target = _on_grid(problems, values[:, :, 10:13], listed, places, bus, outputs, grid, axons)
    if problems.failed:
        return None
    target = np.where(enabled, target, NOWHERE)
    return Model(
        dialect="ranc",
        places=places,
        weights=weights,
        leak=leak,
        threshold=alpha,
        floor=-lowest,
        gamma=mode,
        reset=reset,
        potential=potential,
        enabled=enabled,
        target=target,
        target_core=np.where(target == OFF_CHIP, values[:, :, 12], NOWHERE),
        target_axon=np.where(target == NOWHERE, -1, values[:, :, 12]),
        delay=np.where(target == NOWHERE, 0, values[:, :, 13]),
        symmetric=bool(config and config["neuron_reset_type"]),
        **content,
    )


def _idle(crossbar: Array, weights: Array, zeros: tuple[Array, ...]) -> Array:
    """Return which neurons (C, N) have no synapse, no weight and nothing but zeros."""
    rows = np.bitwise_or.reduce(crossbar, axis=1)
    used = np.unpackbits(rows, axis=1, count=weights.shape[1]).astype(bool)
    return np.logical_and.reduce([~used, np.all(weights == 0, axis=2), *(values == 0 for values in zeros)])


def _on_grid(
    problems: Problems, to: Array, listed: Array, places: Array, bus: tuple[int, int], outputs: int, grid: tuple[int, int], axons: int
) -> Array:
    """Return `Model.target` of destinations `to` (C, N, 3): x, y and axon or line of the bus."""
    x, y, axon = (to[:, :, k] for k in range(3))
    inside = (x >= 0) & (x < grid[0]) & (y >= 0) & (y < grid[1])
    lattice = places[:, 0] * grid[1] + places[:, 1]
    order = np.argsort(lattice)
    cell = np.where(inside, x * grid[1] + y, -1)
    at = np.minimum(np.searchsorted(lattice[order], cell), len(places) - 1)
    target = np.where(lattice[order][at] == cell, order[at], NOWHERE)
    target = np.where((x == bus[0]) & (y == bus[1]), OFF_CHIP, target)
    problems.errors(
        "NM107",
        "a destination outside the grid",
        np.argwhere(listed & ~inside),
        lambda n: (
            f"neuron {n[1]} of core {n[0]} sends its spikes to {to[n[0], n[1], :2].tolist()}, outside the grid of {grid[0]} x {grid[1]}",
            f"core {n[0]}:neuron {n[1]}",
        ),
    )
    most = np.where(target == OFF_CHIP, outputs, axons)
    for core, j in np.argwhere(listed & inside & ((axon < 0) | (axon >= most))):
        what = "line" if target[core, j] == OFF_CHIP else "axon"
        message = f"neuron {j} of core {core} sends its spikes to {what} {axon[core, j]} of {most[core, j]}"
        problems.error("NM107", message, f"core {core}:neuron {j}", kind="a destination axon out of range")
    return target


def read_neutral(file: str, scanner: Scanner, problems: Problems) -> Model:
    """Read the neutral JSON: `axons`, `neurons` and `cores`, each with `types`, `crossbar` (axon by axon) and `neurons`.

    A neuron has `weights`, `leak`, `alpha`, `beta`, `reset` (R), `gamma`, `v0` and `dest`: `[core, axon, delay]`, `["out", number]`
    or null; `kappa`, `epsilon`, `c`, `TM` and `b` where it has them. Numbers of cores are places in the list.

    Raises:
        NmapError: with every problem found.
        MalformedError: where the text is not JSON.
    """
    reader = _Reader(problems)
    sizes: dict[str, int] = {}
    for key in scanner.members():
        if key == "cores" and scanner.peek() == "[":
            for item in scanner.elements():
                if len(reader.cores) >= _MOST_SIZE:
                    raise MalformedError(f"the file has more than {_MOST_SIZE} cores", None, "NM110")
                _neutral_core(reader, item)
        elif key in ("axons", "neurons"):
            sizes[key] = reader.whole(scanner.value(), f"`{key}`", "", 1, _MOST_SIZE)
        else:
            scanner.value()
            problems.note(f"`{key[:60]}` is not known, and is not used", kind="keys that are not known, and are not used")
    scanner.end()
    model = _neutral_model(reader, file, sizes)
    problems.raise_errors()
    if model is None:
        raise ValueError("a problem was not told")
    return model


def _neutral_core(reader: _Reader, item: Any) -> None:
    place = f"core {len(reader.cores)}"
    if not isinstance(item, dict):
        reader.problems.error("NM106", f"{place} is no object", place, kind="a core that is no object")
        item = {"types": [], "crossbar": [], "neurons": []}
    types = reader.types(item.get("types"), place, "types")
    synapses = reader.synapses(item.get("crossbar"), place, "crossbar", "axon")
    neurons = item.get("neurons")
    if not isinstance(neurons, list) or len(neurons) > _MOST_SIZE:
        reader.problems.error("NM103", f"{place} has no list `neurons`", place, kind="a core without neurons")
        neurons = []
    if synapses.shape[1] > len(neurons):
        if synapses[:, len(neurons) :].any():
            message = f"the crossbar of {place} has synapses of neuron {len(neurons)} and above, which the core does not list"
            reader.problems.error("NM106", message, place, kind="a crossbar that is wider than the neurons")
        synapses = synapses[:, : len(neurons)]
    values = np.zeros((len(neurons), 21), np.int64)
    for j, neuron in enumerate(neurons):
        values[j] = _neutral_neuron(reader, neuron, place, j)
    reader.cores.append(_Core(place, types, np.packbits(synapses, axis=1), values, len(neurons)))


def _neutral_neuron(reader: _Reader, neuron: Any, place: str, j: int) -> list[int]:
    where = f"{place}:neuron {j}"
    if not isinstance(neuron, dict):
        reader.problems.error("NM106", f"neuron {j} of {place} is no object", where, kind="a neuron that is no object")
        return [0] * 21
    fields = [
        reader.whole(neuron.get(key), f"`{key}` of neuron {j} of {place}", where, *((0, 2) if key == "gamma" else ())) for key in _NEUTRAL
    ]
    weights = reader.neuron_weights(neuron.get("weights"), 4, place, j)
    flags = [reader.flag(neuron.get(key, False), f"`{key}` of neuron {j} of {place}", where) for key in _NEUTRAL_FLAGS]
    mask = reader.whole(neuron.get("TM", 0), f"`TM` of neuron {j} of {place}", where, 0, 18)
    drawn = neuron.get("b", [False] * 4)
    if isinstance(drawn, list) and len(drawn) == 4:
        drawn = [reader.flag(flag, f"an entry of `b` of neuron {j} of {place}", where) for flag in drawn]
    else:
        message = f"`b` of neuron {j} of {place} is {_short(drawn)}, not a list of 4 flags"
        reader.problems.error("NM106", message, where, kind="a list of flags")
        drawn = [0] * 4
    dest = neuron.get("dest")
    to = [NOWHERE, -1, 0]
    if isinstance(dest, list) and len(dest) == 2 and dest[0] == "out":
        to = [OFF_CHIP, reader.whole(dest[1], f"the output of neuron {j} of {place}", where, 0), 1]
    elif isinstance(dest, list) and len(dest) == 3:
        to = [reader.whole(dest[0], f"the destination of neuron {j} of {place}", where, 0)]
        to += [reader.whole(number, f"the destination of neuron {j} of {place}", where) for number in dest[1:]]
    elif dest is not None:
        message = f'`dest` of neuron {j} of {place} is {_short(dest)}; it is `[core, axon, delay]`, `["out", number]` or null'
        reader.problems.error("NM106", message, where, kind="a destination that is none")
    return [*fields, *weights, *to, *flags, mask, *drawn]


def _neutral_model(reader: _Reader, file: str, sizes: Mapping[str, int]) -> Model | None:
    problems, cores = reader.problems, reader.cores
    for key, listed in (
        ("axons", max((max(core.types.size, core.synapses.shape[0]) for core in cores), default=0)),
        ("neurons", max((core.neurons for core in cores), default=0)),
    ):
        if key not in sizes:
            problems.error("NM103", f"the file has no `{key}`")
        elif listed > sizes[key]:
            problems.error("NM106", f"a core lists {listed} {key}; the file says {sizes[key]}")
    if problems.failed:
        return None
    content = reader.assembled(file, sizes["axons"], sizes["neurons"])
    if content is None:
        return None
    values, listed = content.pop("values"), content.pop("listed")
    leak, alpha, beta, reset, gamma, potential = (values[:, :, k] for k in range(6))
    core, axon, delay = (np.where(listed, values[:, :, k], empty) for k, empty in ((10, NOWHERE), (11, -1), (12, 0)))
    tell = problems.errors
    tell(
        "NM107",
        "a destination that no core has",
        np.argwhere(core >= len(cores)),
        lambda n: (
            f"neuron {n[1]} of core {n[0]} sends its spikes to core {core[tuple(n)]}; the file has {len(cores)}",
            f"core {n[0]}:neuron {n[1]}",
        ),
    )
    tell(
        "NM107",
        "a destination axon out of range",
        np.argwhere((core >= 0) & ((axon < 0) | (axon >= sizes["axons"]))),
        lambda n: (
            f"neuron {n[1]} of core {n[0]} sends its spikes to axon {axon[tuple(n)]}; a core has {sizes['axons']}",
            f"core {n[0]}:neuron {n[1]}",
        ),
    )
    tell(
        "NM107",
        "a delay out of range",
        np.argwhere((core >= 0) & ((delay < 1) | (delay > 15))),
        lambda n: (
            f"neuron {n[1]} of core {n[0]} has a delay of {delay[tuple(n)]} ticks; delays are 1 to 15",
            f"core {n[0]}:neuron {n[1]}",
        ),
    )
    if problems.failed:
        return None
    content |= {
        "kappa": values[:, :, 13],
        "leak_reversal": values[:, :, 14],
        "leak_stochastic": values[:, :, 15],
        "mask": values[:, :, 16],
        "stochastic": values[:, :, 17:21],
    }
    return Model(
        dialect="neutral",
        places=None,
        weights=values[:, :, 6:10],
        leak=leak,
        threshold=np.where(listed, alpha, 1),
        floor=beta,
        gamma=gamma,
        reset=reset,
        potential=potential,
        enabled=listed,
        target=core,
        target_core=np.where(core == OFF_CHIP, axon, np.where(core >= 0, core, NOWHERE)),
        target_axon=axon,
        delay=delay,
        **content,
    )


def ranc_reasons(model: Model, unreached: Array | None = None) -> list[str]:
    """Say why RANC cannot compute what a model computes; [] where it can.

    RANC has the two resets, four weights, a constant leak and delays 1 to 15; of the floor it has what kappa = 0 does.

    Args:
        model: of any dialect.
        unreached: (C, N) bool, neurons whose potential is proved never to pass the floor: their kappa makes no difference.
    """
    on = model.enabled
    reasons: list[str] = []

    def told(wrong: Array, what: str) -> None:
        where = np.argwhere(on & wrong)
        if where.size:
            core, neuron = where[0]
            more = f" and {len(where) - 1} more" if len(where) > 1 else ""
            reasons.append(f"neuron {neuron} of core {model.ids[core]}{more}: {what}")

    told(model.gamma == 2, "a spike does not reset the potential (gamma = 2)")
    told(model.leak_reversal & (model.leak != 0), "the leak takes the sign of the potential (epsilon)")
    told(np.any(model.stochastic & (model.weights != 0), axis=2), "a stochastic synapse (b)")
    told(model.leak_stochastic & (model.leak != 0), "a stochastic leak (c)")
    told(model.mask > 0, "a stochastic threshold (TM)")
    held = model.kappa & ~((model.gamma == 0) & (model.floor == model.reset))
    told(held if unreached is None else held & ~unreached, "the floor holds the potential (kappa = 1)")
    bounds = (model.leak, model.threshold, model.floor, model.reset, model.potential)
    told(np.any([np.abs(values.astype(np.int64)) >= _INT32 for values in bounds], axis=0), "a number beyond 32 bits")
    return reasons


def as_ranc(model: Model, unreached: Array | None = None) -> Model:
    """Return a model as RANC's file states it: what `write_ranc` writes and `read_ranc` gives back.

    Cores keep their order and their places on the grid, where they have some; others are laid out row by row in a square.
    Outputs keep their line of the bus in a RANC model; of others, they are numbered in the order of cores and neurons.

    Raises:
        ValueError: with the reasons, where RANC cannot compute what the model computes.
    """
    reasons = ranc_reasons(model, unreached)
    if reasons:
        raise ValueError("; ".join(reasons))
    zeros = (model.leak, model.threshold - 1, model.floor, model.reset, model.potential, model.gamma)
    columns = np.packbits(model.enabled, axis=1)[:, None, :]
    crossbar = model.crossbar & columns
    enabled = model.enabled & ~_idle(crossbar, model.weights, zeros)
    off = enabled & (model.target == OFF_CHIP)
    lines = model.target_core
    if model.dialect != "ranc":
        lines = np.where(off, np.cumsum(off.reshape(-1)).reshape(off.shape) - 1, NOWHERE)
    none = np.zeros_like(model.kappa)
    target = np.where(enabled, model.target, NOWHERE)
    return replace(
        model,
        dialect="ranc",
        ids=np.arange(model.cores),
        places=_places(model),
        crossbar=crossbar,
        enabled=enabled,
        kappa=none,
        leak_reversal=none,
        leak_stochastic=none,
        stochastic=np.zeros_like(model.stochastic),
        target=target,
        target_core=np.where(off, lines, NOWHERE),
        target_axon=np.where(off, lines, np.where(target == NOWHERE, -1, model.target_axon)),
        delay=np.where(target == NOWHERE, 0, model.delay),
        input_delay=0,
        corelets=(),
    )


def _places(model: Model) -> Array:
    if model.places is not None:
        return model.places
    side = isqrt(model.cores) + 1
    cores = np.arange(model.cores)
    return np.stack([cores % side, cores // side], axis=1)


def write_packets(model: Model, events: Events) -> list[list[dict[str, Any]]]:
    """Return spikes as RANC's `packets`: a list for every tick, the one in which they are seen.

    Args:
        model: the model the events are for, of any dialect; its cores lie where `as_ranc` places them.
        events: spikes into it.

    Raises:
        ValueError: where a spike is seen before tick 0.
    """
    places = _places(model)
    seen = events.tick + model.input_delay
    if seen.size and seen[0] < 0:
        raise ValueError("a spike is seen before tick 0")
    packets: list[list[dict[str, Any]]] = [[] for _ in range(int(seen[-1]) + 1 if seen.size else 0)]
    for tick, core, axon in zip(seen.tolist(), events.core.tolist(), events.axon.tolist(), strict=True):
        packets[tick].append({"destination_core": places[core].tolist(), "destination_axon": axon, "destination_tick": 0})
    return packets


def write_ranc(model: Model, events: Events | None = None, unreached: Array | None = None) -> tuple[bytes, bytes]:
    """Return a model as RANC's JSON and its configuration. Every neuron is written, disabled ones as ones that never fire.

    RANC sends every spike somewhere: those of neurons without a target go to a cell of the grid that has no core.

    Args:
        model: of any dialect.
        events: spikes to write as the file's `packets`; none where None.
        unreached: (C, N) bool, neurons whose potential is proved never to pass the floor.

    Raises:
        ValueError: with the reasons, where RANC cannot compute what the model computes.
    """
    ranc = as_ranc(model, unreached)
    places = _places(ranc)
    packets = [] if events is None else write_packets(model, events)
    width, height = int(places[:, 0].max()) + 1, int(places[:, 1].max()) + 1
    taken = {tuple(place) for place in places.tolist()} | {(0, 0)}
    free = ((x, y) for y in range(height + 3) for x in range(width) if (x, y) not in taken)
    bus, sink = next(free), next(free)
    off = ranc.enabled & (ranc.target == OFF_CHIP)
    lost = ranc.enabled & (ranc.target == NOWHERE)
    height = max(height, bus[1] + 1, sink[1] + 1 if lost.any() else 0)
    cell = np.where(off[..., None], np.array(bus), np.array(sink))
    to = np.where((off | lost)[..., None], cell, places[np.maximum(ranc.target, 0)]) - places[:, None, :]
    axon = np.where(lost, np.minimum(np.arange(ranc.neurons), ranc.axons - 1), ranc.target_axon)
    cores = []
    for core in range(ranc.cores):
        bits = np.unpackbits(ranc.crossbar[core], axis=1, count=ranc.neurons).T
        neurons = []
        for j in range(ranc.neurons):
            on = bool(ranc.enabled[core, j])
            neurons.append(
                {
                    "weights": ranc.weights[core, j].tolist() if on else [0, 0, 0, 0],
                    "leak": int(ranc.leak[core, j]) if on else 0,
                    "positive_threshold": int(ranc.threshold[core, j]) if on else 1,
                    "negative_threshold": -int(ranc.floor[core, j]) if on else 0,
                    "reset_potential": int(ranc.reset[core, j]) if on else 0,
                    "reset_mode": int(ranc.gamma[core, j]) if on else 0,
                    "current_potential": int(ranc.potential[core, j]) if on else 0,
                    "destination_core_offset": to[core, j].tolist() if on else [0, 0],
                    "destination_axon": int(axon[core, j]) if on else 0,
                    "destination_tick": max(int(ranc.delay[core, j]) - 1, 0) if on else 0,
                }
            )
        cores.append(
            {
                "coordinates": places[core].tolist(),
                "axons": ranc.axon_types[core].tolist(),
                "connections": bits.tolist(),
                "neurons": neurons,
            }
        )
    bus_entry = {"coordinates": list(bus), "num_outputs": int(ranc.target_core[off].max(initial=-1)) + 1}
    content = json.dumps({"packets": packets, "output_bus": bus_entry, "cores": cores}, separators=(",", ":"))
    config = {
        "num_neurons": ranc.neurons,
        "num_axons": ranc.axons,
        "num_cores_x": width,
        "num_cores_y": height,
        "num_weights": 4,
        "max_tick_offset": 16,
        **dict.fromkeys(_LOGGED, 0),
        "neuron_reset_type": int(ranc.symmetric),
    }
    return (content + "\n").encode(), (json.dumps(config, indent=4) + "\n").encode()
