"""TrueNorth's text model format, both dialects: what the Corelet Programming Environment and its companions write and run.

One object with comments and a repeated key: `model` (counts), `crossbarTypes` (crossbars that cores share), `neuronTypes`
(parameters that neurons share), then `core` once for every core. In the usual dialect a core's `neurons` are five compact
lists; in the older one they are a list of objects that name their type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from re import compile as pattern
from typing import Any

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap_truenorth.model.lists import compact, expand
from nmap_truenorth.model.model import NOWHERE, OFF_CHIP, Model
from nmap_truenorth.model.source import MalformedError, Problems, Scanner, whole

__all__ = ["MOST_CORES", "OUTPUTS", "SIZE", "checked_targets", "read_text", "text_reasons", "write_text"]

SIZE = 256
"""Axons and neurons of a core."""
MOST_CORES = 2**16
"""Cores of the largest model that is read: a board of 16 chips."""
OUTPUTS = -32
"""The largest number of a core that stands for an output of the chip."""

_UNUSED, _UNCONNECTED = -1, -2
_SEED = 2**32 - 1
_NAME = pattern(r"N([0-9A-Fa-f]{1,12})")
_TYPE_OF_ROW = {"S0": 0, "S1": 1, "S2": 2, "S3": 3}
_MOST_POTENTIAL = 2**19

_RANGES: dict[str, tuple[int, int]] = {
    **{f"sigma{kind}": (-1, 1) for kind in range(4)},
    **{f"s{kind}": (0, 255) for kind in range(4)},
    "sigma_lambda": (-1, 1),
    "lambda": (0, 255),
    "alpha": (0, 2**18 - 1),
    "beta": (0, 2**18 - 1),
    "TM": (0, 18),
    "gamma": (0, 2),
    "sigma_VR": (-1, 1),
    "VR": (0, 19),
    "V": (-_MOST_POTENTIAL, _MOST_POTENTIAL - 1),
}
"""Least and largest value of every number of a neuron type."""
_FLAGS = ("b0", "b1", "b2", "b3", "c_lambda", "epsilon", "kappa")
_ENTRIES = (*_RANGES, *_FLAGS)

_KNOWN = {
    "model": {"coreCount", "neuronclass", "neuronClass", "crossbarSize", "crossbarclass", "crossbarClass", "buildKey64", "networking"}
    | {"useCrossbarPrototypes"},
    "neuron type": {"name", "class", *_ENTRIES},
    "core": {"metadata", "id", "timeScaleExponent", "rngSeed", "neurons", "crossbar"},
    "neurons": {"dendrites", "types", "destCores", "destAxons", "destDelays"},
    "neuron": {"type", "dendrite", "destCore", "destAxon", "delay", "destDelay"},
}


@dataclass(slots=True)
class _Core:
    number: int
    """The core's id; the place in the file, below zero, where it has none."""
    seed: int
    metadata: dict[str, Any]
    types: Array
    """(N,) int32 codes of `_Reader.keys`; -1 where no neuron is listed."""
    dest_core: Array
    dest_axon: Array
    delay: Array
    crossbar: str | tuple[Array, Array] | None

    @property
    def place(self) -> str:
        return f"core {self.number}" if self.number >= 0 else f"{-self.number}. core"


@dataclass(slots=True)
class _Reader:
    problems: Problems
    size: int = SIZE
    stated: int | None = None
    crossbars: dict[str, tuple[Array, Array] | None] = field(default_factory=dict)
    types: dict[str, tuple[int, ...]] = field(default_factory=dict)
    faulty: set[str] = field(default_factory=set)
    keys: dict[int | str, int] = field(default_factory=dict)
    cores: list[_Core] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)
    unread: dict[str, Any] = field(default_factory=dict)
    """Rows of crossbars that are faulty: what is wrong is told with a core that has them."""

    def unknown(self, level: str, keys: Iterable[str]) -> None:
        for key in keys:
            if key not in _KNOWN[level] and (level, key) not in self.seen:
                self.seen.add((level, key))
                if len(self.seen) <= 20:
                    self.problems.note(f"`{key[:60]}` of a {level} is not known, and is not used")

    def header(self, value: Any) -> None:
        if not isinstance(value, dict):
            self.problems.error("NM106", "`model` is no object", "model")
            return
        self.unknown("model", value)
        stated = value.get("coreCount")
        if stated is None:
            self.problems.error("NM103", "`model` has no `coreCount`", "model")
        elif not whole(stated, 0, 2**63):
            self.problems.error("NM107", f"`coreCount` is {_short(stated)}, not a number of cores", "model")
        else:
            self.stated = stated
        size = value.get("crossbarSize", SIZE)
        if not whole(size, 1, SIZE):
            self.problems.error("NM107", f"`crossbarSize` is {_short(size)}; cores of 1 to {SIZE} axons and neurons are read", "model")
        else:
            self.size = size
        for key, only in (("neuronclass", "NeuronGeneral"), ("crossbarclass", "CrossbarBinary")):
            stated_class = value.get(key, value.get(key.replace("class", "Class"), only))
            if stated_class != only:
                self.problems.error("NM104", f"`{key}` is {_short(stated_class)}; only `{only}` is read", "model")

    def crossbar_types(self, value: Any) -> None:
        if not isinstance(value, list):
            self.problems.error("NM106", "`crossbarTypes` is no list", "crossbarTypes")
            return
        for at, item in enumerate(value):
            name = item.get("name") if isinstance(item, dict) else None
            if not isinstance(name, str):
                self.problems.error(
                    "NM103", f"item {at} of `crossbarTypes` has no `name`", "crossbarTypes", kind="a crossbar without a name"
                )
                continue
            content = item.get("crossbar", item)
            place = f"crossbar {name[:60]}"
            if name in self.crossbars:
                self.problems.error("NM106", f"crossbar `{name[:60]}` is there twice", place, kind="a crossbar that is there twice")
            rows = content.get("rows") if isinstance(content, dict) else None
            told, self.problems = self.problems, Problems(self.problems.file, Findings())
            self.crossbars[name] = self.rows(rows, place)
            self.problems = told
            if self.crossbars[name] is None:
                self.unread[name] = rows

    def rows(self, rows: Any, place: str) -> tuple[Array, Array] | None:
        """Return axon types (A,) and packed crossbar (A, ceil(N / 8)) of a list of rows."""
        if not isinstance(rows, list):
            self.problems.error("NM103", "a crossbar has no `rows`", place, kind="a crossbar without rows")
            return None
        if len(rows) != self.size:
            message = f"the crossbar of {place} has {len(rows)} rows, not {self.size}"
            self.problems.error("NM106", message, place, kind="a crossbar with a wrong number of rows")
            return None
        width = -(-self.size // 8)
        types = np.zeros(self.size, np.uint8)
        texts: list[str] = []
        fit = True
        for axon, row in enumerate(rows):
            kind = row.get("type") if isinstance(row, dict) else None
            kind = _TYPE_OF_ROW.get(kind, kind) if isinstance(kind, str) else kind
            text = row.get("synapses") if isinstance(row, dict) else None
            if kind is None or text is None:
                message = f"axon {axon} of {place} has no `{'type' if kind is None else 'synapses'}`"
                self.problems.error("NM103", message, f"{place}:axon {axon}", kind="an axon without a type or synapses")
                fit = False
            elif not whole(kind, 0, 3):
                message = f"the type of axon {axon} of {place} is {_short(row['type'])}, not `S0` to `S3`"
                self.problems.error("NM107", message, f"{place}:axon {axon}", kind="an axon's type")
                fit = False
            elif not isinstance(text, str):
                message = f"the synapses of axon {axon} of {place} are {_short(text)}, not hexadecimal digits"
                self.problems.error("NM107", message, f"{place}:axon {axon}", kind="synapses that are no hexadecimal digits")
                fit = False
            else:
                types[axon] = kind
                texts.append(text)
        if not fit:
            return None
        packed = _decoded(texts, width)
        if packed is None:
            packed = np.zeros((self.size, width), np.uint8)
            for axon, text in enumerate(texts):
                fit &= self.row(text, width, packed[axon], axon, place)
            if not fit:
                return None
        if self.size % 8:
            packed[:, -1] &= 0xFF << (8 - self.size % 8) & 0xFF
        return types, packed

    def row(self, text: str, width: int, into: Array, axon: int, place: str) -> bool:
        """Decode one crossbar row; the way for rows whose spacing is not the usual one, and for faulty ones."""
        try:
            data = bytes.fromhex(text)
        except ValueError:
            message = f"the synapses of axon {axon} of {place} are no hexadecimal bytes: {_short(text)}"
            self.problems.error("NM107", message, f"{place}:axon {axon}", kind="synapses that are no hexadecimal digits")
            return False
        if len(data) != width:
            message = f"the crossbar row of axon {axon} of {place} has {len(data)} bytes, not {width}"
            self.problems.error("NM106", message, f"{place}:axon {axon}", kind="a crossbar row of a wrong width")
            return False
        into[:] = np.frombuffer(data, np.uint8)
        return True

    def neuron_types(self, value: Any) -> None:
        if not isinstance(value, list):
            self.problems.error("NM106", "`neuronTypes` is no list", "neuronTypes")
            return
        for at, item in enumerate(value):
            name = item.get("name") if isinstance(item, dict) else None
            if not isinstance(name, str):
                self.problems.error(
                    "NM103", f"item {at} of `neuronTypes` has no `name`", "neuronTypes", kind="a neuron type without a name"
                )
                continue
            self.unknown("neuron type", item)
            parameters = self.parameters(item, name)
            if parameters is None:
                self.faulty.add(name)
            elif self.types.setdefault(name, parameters) != parameters:
                message = f"neuron type `{name[:60]}` is there twice with different parameters"
                self.problems.error("NM106", message, f"neuron type {name[:60]}", kind="a neuron type that is there twice")

    def parameters(self, item: dict[str, Any], name: str) -> tuple[int, ...] | None:
        """Return the values of `_ENTRIES`, or None where one is wrong."""
        place = f"neuron type {name[:60]}"
        count = 0
        if item.get("class", "NeuronGeneral") != "NeuronGeneral":
            message = f"neuron type `{name[:60]}` is of class {_short(item['class'])}; only `NeuronGeneral` is read"
            self.problems.error("NM104", message, place, kind="a class of neurons")
            count += 1
        missing = [key for key in _ENTRIES if key not in item]
        if missing:
            message = f"neuron type `{name[:60]}` has no {', '.join(f'`{key}`' for key in missing)}"
            self.problems.error("NM103", message, place, kind="a neuron type without a parameter")
            return None
        for key, (least, most) in _RANGES.items():
            if not whole(item[key], least, most):
                message = f"`{key}` of neuron type `{name[:60]}` is {_short(item[key])}, not a whole number from {least} to {most}"
                self.problems.error("NM107", message, place, kind="a neuron type's number out of its range")
                count += 1
        for key in _FLAGS:
            if not (isinstance(item[key], bool) or whole(item[key], 0, 1)):
                message = f"`{key}` of neuron type `{name[:60]}` is {_short(item[key])}, not true or false"
                self.problems.error("NM107", message, place, kind="a neuron type's flag")
                count += 1
        return None if count else tuple(int(item[key]) for key in _ENTRIES)

    def core(self, value: Any) -> None:
        at = len(self.cores) + 1
        if at > MOST_CORES:
            raise MalformedError(f"the file has more than {MOST_CORES} cores", None, "NM110")
        place = f"{at}. core"
        if not isinstance(value, dict):
            self.problems.error("NM106", f"the {place} is no object", place, kind="a core that is no object")
            value = {}
        self.unknown("core", value)
        number = value.get("id")
        if not whole(number, 0, 2**31 - 1):
            missing = number is None
            message = f"the {place} has no `id`" if missing else f"the `id` of the {place} is {_short(number)}, not a number from 0"
            self.problems.error("NM103" if missing else "NM107", message, place, kind="a core's id")
            number = -at
        place = f"core {number}" if number >= 0 else place
        scale = value.get("timeScaleExponent", 0)
        if scale != 0:
            message = f"`timeScaleExponent` of {place} is {_short(scale)}; only cores that compute in every tick (0) are read"
            self.problems.error("NM104", message, place, kind="a core's time scale")
        seed = value.get("rngSeed", _SEED)
        if not whole(seed, 0, 2**32 - 1):
            self.problems.error("NM107", f"`rngSeed` of {place} is {_short(seed)}, not a number of 32 bits", place, kind="a core's seed")
            seed = 0
        metadata = value.get("metadata", {})
        types, dest_core, dest_axon, delay = self.neurons(value.get("neurons"), place)
        crossbar = value.get("crossbar")
        content: str | tuple[Array, Array] | None = None
        if not isinstance(crossbar, dict) or not ("rows" in crossbar or isinstance(crossbar.get("name"), str)):
            self.problems.error("NM103", f"{place} has no `crossbar` with `rows` or a `name`", place, kind="a core without a crossbar")
        elif "rows" in crossbar:
            content = self.rows(crossbar["rows"], place)
        else:
            content = str(crossbar["name"])
        metadata = metadata if isinstance(metadata, dict) else {}
        self.cores.append(_Core(number, seed, metadata, types, dest_core, dest_axon, delay, content))

    def neurons(self, value: Any, place: str) -> tuple[Array, Array, Array, Array]:
        """Return codes of types (N,) int32 (-1 where nothing is listed), destination cores, axons and delays (N,) int64."""
        size = self.size
        columns = np.full(size, -1, np.int32), np.full(size, _UNUSED, np.int64), np.full(size, -1, np.int64), np.ones(size, np.int64)
        if isinstance(value, dict):
            listed = self.lists(value, place)
        elif isinstance(value, list):
            listed = self.objects(value, place)
        else:
            self.problems.error("NM103", f"{place} has no `neurons`", place, kind="a core without neurons")
            listed = None
        if listed is None:
            return columns
        dendrites = listed[0]
        outside = np.flatnonzero((dendrites < 0) | (dendrites >= size))
        order = np.argsort(dendrites, kind="stable")
        again = order[1:][np.diff(dendrites[order]) == 0] if not outside.size else order[:0]
        for found, message in ((outside, f"not a number from 0 to {size - 1}"), (again, "which another neuron of the core has")):
            for j in found:
                told = f"neuron {j} of {place} has dendrite {dendrites[j]}, {message}"
                self.problems.error("NM107", told, f"{place}:neuron {j}", kind=f"a dendrite {message}")
        if not outside.size and not again.size:
            for at, values in enumerate(listed[1:]):
                columns[at][dendrites] = values
            if dendrites.size < size:
                message = f"{place} lists {dendrites.size} neurons; the others of its {size} are disabled"
                self.problems.note(message, place, kind="cores that list fewer neurons than they have; the others are disabled")
        return columns

    def lists(self, value: dict[str, Any], place: str) -> tuple[Array, ...] | None:
        self.unknown("neurons", value)
        columns: list[Array] = []
        for key in ("types", "destCores", "destAxons", "destDelays", "dendrites"):
            items = value.get(key)
            if items is None and key == "dendrites" and columns:
                columns.append(np.arange(columns[0].size))
                continue
            if items is None:
                self.problems.error("NM103", f"`neurons` of {place} have no `{key}`", place, kind="a list of neurons that is not there")
                return None
            try:
                columns.append(expand(items, self.size))
            except MalformedError as error:
                message = f"`{key}` of {place}: {error}"
                self.problems.error("NM106", message, f"{place}:{key}", kind="a list of neurons that cannot be read")
                return None
        lengths = {column.size for column in columns}
        if len(lengths) > 1:
            told = ", ".join(
                f"{column.size} `{key}`"
                for key, column in zip(("types", "destCores", "destAxons", "destDelays", "dendrites"), columns, strict=True)
            )
            self.problems.error(
                "NM106", f"the lists of {place} have different lengths: {told}", place, kind="lists of neurons of different lengths"
            )
            return None
        types, *destinations, dendrites = columns
        numbers, codes = np.unique(types, return_inverse=True)
        known = np.array([self.keys.setdefault(int(number), len(self.keys)) for number in numbers], np.int32)
        return dendrites, known[codes.reshape(-1)] if known.size else np.zeros(0, np.int32), *destinations

    def objects(self, value: list[Any], place: str) -> tuple[Array, ...] | None:
        if len(value) > self.size:
            message = f"{place} lists {len(value)} neurons; it has {self.size}"
            self.problems.error("NM106", message, place, kind="a core that lists too many neurons")
            return None
        columns = np.zeros((5, len(value)), np.int64)
        fit = True
        for j, item in enumerate(value):
            where = f"{place}:neuron {j}"
            if not isinstance(item, dict):
                self.problems.error("NM106", f"neuron {j} of {place} is no object", where, kind="a neuron that is no object")
                fit = False
                continue
            self.unknown("neuron", item)
            kind = item.get("type")
            values = [item.get("dendrite", j), kind, item.get("destCore"), item.get("destAxon"), item.get("delay", item.get("destDelay"))]
            for key, number in zip(("dendrite", "type", "destCore", "destAxon", "delay"), values, strict=True):
                named = key == "type" and isinstance(number, str)
                if not named and not whole(number, -(2**31), 2**31 - 1):
                    missing = number is None
                    message = (
                        f"neuron {j} of {place} has no `{key}`" if missing else f"`{key}` of neuron {j} of {place} is {_short(number)}"
                    )
                    told = "a neuron without an entry" if missing else "an entry of a neuron that is no whole number"
                    self.problems.error("NM103" if missing else "NM107", message, where, kind=told)
                    fit = False
            if fit:
                values[1] = self.keys.setdefault(values[1], len(self.keys))
                columns[:, j] = values
        return tuple(columns) if fit else None

    def table(self) -> tuple[Array, Array]:
        """Return the type's place in `types` for every code: -1 disabled, -2 unknown; and the values (types, entries)."""
        names = list(self.types)
        by_name = {name: at for at, name in enumerate(names)}
        by_number: dict[int, int] = {}
        for name, at in by_name.items():
            if found := _NAME.fullmatch(name):
                by_number.setdefault(int(found[1], 16), at)
        faulty = {int(found[1], 16) for name in self.faulty if (found := _NAME.fullmatch(name))}
        places = np.full(len(self.keys) + 1, -1, np.int64)
        for key, code in self.keys.items():
            if key == 0:
                continue
            place = by_name.get(key) if isinstance(key, str) else by_number.get(key, by_name.get(str(key)))
            # What is wrong with a faulty type has been told; its neurons are not.
            excused = key in self.faulty if isinstance(key, str) else key in faulty or str(key) in self.faulty
            places[code] = -1 if place is None and excused else -2 if place is None else place
        values = np.array([self.types[name] for name in names], np.int64).reshape(len(names), len(_ENTRIES))
        return places, values

    def tell_unused(self, typed: Array, enabled: Array) -> None:
        """Note how many neurons (C, N) have a type, and are not used for their destination alone."""
        where = np.argwhere(typed & ~enabled)
        if where.size:
            core, j = where[0]
            place = self.cores[core].place
            others = f", and neither are {len(where) - 1} more" if len(where) > 1 else ""
            message = f"neuron {j} of {place} has a type, but a `destCore` of -1: it is not used{others}"
            self.problems.note(message, f"{place}:neuron {j}")

    def model(self, file: str) -> Model | None:
        """Put the cores together; None where something does not fit."""
        problems = self.problems
        count = len(self.cores)
        if self.stated is not None and self.stated != count:
            problems.error("NM106", f"`coreCount` is {self.stated}, but the file has {count} core{'s' if count != 1 else ''}", "model")
        if not count:
            if self.stated is None or self.stated == 0:
                problems.error("NM103", "the file has no core")
            return None
        ids = np.array([core.number for core in self.cores], np.int64)
        order = np.argsort(ids, kind="stable")
        again = order[1:][np.diff(ids[order]) == 0]
        problems.errors(
            "NM107", "a core's id that another core has", again, lambda c: (f"two cores have the id {ids[c]}", f"core {ids[c]}")
        )
        having = {core.crossbar: core.place for core in reversed(self.cores) if isinstance(core.crossbar, str)}
        for name, rows in self.unread.items():
            self.rows(rows, having.get(name, f"crossbar {name[:60]}"))
        for core in self.cores:
            if isinstance(core.crossbar, str) and core.crossbar not in self.crossbars:
                message = f"{core.place} names the crossbar `{core.crossbar[:60]}`, which is not among `crossbarTypes`"
                problems.error("NM103", message, core.place, kind="a core whose crossbar is not there")
        places, values = self.table()
        codes = np.stack([core.types for core in self.cores])
        types = places[codes]
        names = {code: key for key, code in self.keys.items()}

        def unknown(core: int, j: int) -> str:
            key = names[int(codes[core, j])]
            told = f"`{key[:60]}`" if isinstance(key, str) else f"{key} (`N{key:08X}`)" if key > 0 else str(key)
            return f"is of type {told}, which is not among `neuronTypes`"

        called = [core.place for core in self.cores]
        _tell_neurons(problems, called, "NM103", "neurons whose type is not there", types == -2, codes, unknown)
        if np.any(ids < 0):
            return None
        stated = np.stack([core.dest_core for core in self.cores])
        enabled = (types >= 0) & (stated != _UNUSED)
        self.tell_unused(types >= 0, enabled)
        types = np.where(enabled, types, -1)
        dest_core = np.where(enabled, stated, _UNUSED)
        dest_axon = np.stack([core.dest_axon for core in self.cores])
        delay = np.stack([core.delay for core in self.cores])
        target, delay = checked_targets(problems, called, ids, dest_core, dest_axon, delay, self.size)
        if problems.failed:
            return None
        crossbar = np.empty((count, self.size, -(-self.size // 8)), np.uint8)
        axon_types = np.empty((count, self.size), np.uint8)
        for at, core in enumerate(self.cores):
            content = self.crossbars[core.crossbar] if isinstance(core.crossbar, str) else core.crossbar
            if content is None:
                raise ValueError("a faulty crossbar was not told")
            axon_types[at], crossbar[at] = content
        column = {key: values[:, at] for at, key in enumerate(_ENTRIES)}

        def neurons(table: Array, dtype: Any, disabled: int = 0) -> Array:
            padded = np.concatenate([table.astype(dtype), np.full((1, *table.shape[1:]), disabled, dtype)])
            return padded[types]

        weights = np.stack([column[f"sigma{kind}"] * column[f"s{kind}"] for kind in range(4)], axis=1)
        flags = np.stack([column[f"b{kind}"] for kind in range(4)], axis=1)
        metadata = tuple(core.metadata for core in self.cores)
        return Model(
            file=file,
            dialect="truenorth",
            ids=ids,
            places=None,
            axon_types=axon_types,
            crossbar=crossbar,
            weights=neurons(weights, np.int32),
            stochastic=neurons(flags, np.bool_),
            leak=neurons(column["sigma_lambda"] * column["lambda"], np.int32),
            leak_stochastic=neurons(column["c_lambda"], np.bool_),
            leak_reversal=neurons(column["epsilon"], np.bool_),
            threshold=neurons(column["alpha"], np.int64, 1),
            floor=neurons(column["beta"], np.int64),
            mask=neurons(column["TM"], np.uint8),
            gamma=neurons(column["gamma"], np.uint8),
            kappa=neurons(column["kappa"], np.bool_),
            reset=neurons(column["sigma_VR"] * (2 ** column["VR"] - 1), np.int32),
            potential=neurons(column["V"], np.int32),
            enabled=enabled,
            target=target,
            target_core=dest_core,
            target_axon=dest_axon,
            delay=delay,
            seeds=np.array([core.seed for core in self.cores], np.uint32),
            corelets=metadata if any(metadata) else (),
        )


def checked_targets(
    problems: Problems, places: list[str], ids: Array, dest_core: Array, dest_axon: Array, delay: Array, axons: int
) -> tuple[Array, Array]:
    """Return `Model.target` (C, N) int32 and delays (C, N), 0 where there is no target and none from 1 to 15 is stated.

    Args:
        problems: receives an error for every destination that no core has, axon and delay out of range.
        places: how messages call each core.
        ids: (C,) the cores' numbers.
        dest_core: (C, N) number of a core, `OUTPUTS` or less, -1 or -2.
        dest_axon: (C, N).
        delay: (C, N).
        axons: axons of a core.
    """
    order = np.argsort(ids, kind="stable")
    at = np.minimum(np.searchsorted(ids[order], dest_core), ids.size - 1)
    found = ids[order][at] == dest_core
    target = np.where(found & (dest_core >= 0), order[at], np.where(dest_core <= OUTPUTS, OFF_CHIP, NOWHERE)).astype(np.int32)
    nobody = ((dest_core >= 0) & ~found) | ((dest_core < _UNCONNECTED) & (dest_core > OUTPUTS))

    def core_of(core: int, j: int) -> str:
        to = int(dest_core[core, j])
        known = "no core of the file has this id" if to >= 0 else f"outputs are {OUTPUTS} and below"
        return f"sends its spikes to core {to}; {known}"

    _tell_neurons(problems, places, "NM107", "destinations that are neither a core of the file nor an output", nobody, dest_core, core_of)
    sent = target != NOWHERE
    outside = ((target >= 0) & ((dest_axon < 0) | (dest_axon >= axons))) | ((target == OFF_CHIP) & (dest_axon < -1))

    def axon_of(core: int, j: int) -> str:
        return f"sends its spikes to axon {dest_axon[core, j]}; a core has axons 0 to {axons - 1}"

    _tell_neurons(problems, places, "NM107", "destination axons out of range", outside, dest_axon, axon_of)
    wrong = (delay < 1) | (delay > 15)

    def delay_of(core: int, j: int) -> str:
        return f"has a delay of {delay[core, j]} ticks; delays are 1 to 15"

    _tell_neurons(problems, places, "NM107", "delays out of range", wrong & sent, delay, delay_of)
    return target, np.where(wrong, 0, delay)


def _tell_neurons(
    problems: Problems, places: list[str], code: str, kind: str, wrong: Array, values: Array, tell: Callable[[int, int], str]
) -> None:
    """Record an error for every core and value (C, N) of neurons that are `wrong`: its first neuron, and how many more."""
    where = np.argwhere(wrong)
    if not where.size:
        return
    keys = np.column_stack([where[:, 0], values[wrong]])
    _, first, counts = np.unique(keys, axis=0, return_index=True, return_counts=True)
    for at in np.argsort(first):
        core, j = (int(number) for number in where[first[at]])
        more = int(counts[at]) - 1
        others = f"; {more} more neuron{'s' if more > 1 else ''} of the core too" if more else ""
        problems.error(code, f"neuron {j} of {places[core]} {tell(core, j)}{others}", f"{places[core]}:neuron {j}", kind=kind)


def _decoded(texts: list[str], width: int) -> Array | None:
    """Return the bytes of rows written as two digits and a blank throughout, (rows, width); None where one is not."""
    if any(len(text) != 3 * width - 1 for text in texts):
        return None
    joined = " ".join(texts)
    if not joined.isascii():
        return None
    characters = np.frombuffer(f"{joined} ".encode(), np.uint8).reshape(len(texts), width, 3)
    if np.any(characters[:, :, 2] != 32):
        return None
    try:
        data = bytes.fromhex(joined)
    except ValueError:
        return None
    return np.frombuffer(data, np.uint8).reshape(len(texts), width).copy() if len(data) == len(texts) * width else None


def _short(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**30:
        return "a number of more than 30 digits"
    text = json.dumps(value) if isinstance(value, (str, bool)) or value is None else repr(value)
    return f"`{text if len(text) <= 40 else text[:37] + '...'}`"


def read_text(file: str, scanner: Scanner, problems: Problems) -> Model:
    """Read a model of either dialect.

    The neuron at position i of a core's lists is neuron `dendrites[i]`: that column of the crossbar and that `srcNeuron`.
    Dendrites that are not listed are disabled, and so are neurons of type 0 and those with a destination of -1, which is how the
    older dialect says that a neuron is not used: it has no type 0, and the type of such neurons would fire in every tick. A
    destination of -2 is that of a neuron without a target.

    Args:
        file: the file's name for messages.
        scanner: the text, at its start.
        problems: receives what is wrong or odd.

    Raises:
        NmapError: with every problem found; NM103 for what is missing, NM106 for counts and widths, NM107 for values out of
            range, NM104 for other kinds of neurons, NM110 for too many cores.
        MalformedError: where the text is not JSON.
    """
    reader = _Reader(problems)
    size = _size_of(scanner.text)
    if size is not None:
        reader.size = size
    late = False
    parts = {"model": reader.header, "crossbarTypes": reader.crossbar_types, "neuronTypes": reader.neuron_types, "core": reader.core}
    once: set[str] = set()
    for key in scanner.members():
        value = scanner.value()
        part = parts.get(key)
        if part is None:
            problems.note(f"`{key[:60]}` is not known, and is not used", kind="keys that are not known, and are not used")
            continue
        if key in once:
            problems.error("NM106", f"`{key}` is there twice", key)
            if key == "model":
                continue
        late |= (key == "model" and bool(once or reader.cores)) or (key == "crossbarTypes" and bool(reader.cores))
        if key != "core":
            once.add(key)
        part(value)
    scanner.end()
    if late:
        problems.warning("IBM's programs expect `model` before all else, and `crossbarTypes` before the cores; here it is not so")
    if "model" not in once:
        problems.error("NM103", "the file has no `model`")
    if "neuronTypes" not in once:
        problems.error("NM103", "the file has no `neuronTypes`")
    model = reader.model(file)
    problems.raise_errors()
    if model is None:
        raise ValueError("a problem was not told")
    return model


def _size_of(text: str) -> int | None:
    """Return the `crossbarSize` of a text whose `model` does not stand first; None where it does, or states none that is read."""
    scanner = Scanner(text)
    first = True
    for key in scanner.members():
        value = scanner.value()
        if key == "model":
            size: Any = None if first or not isinstance(value, dict) else value.get("crossbarSize")
            return int(size) if whole(size, 1, SIZE) else None
        first = False
        del value
    return None


def text_reasons(model: Model) -> list[str]:
    """Say why a model cannot be written in the text format; [] where it can."""
    reasons: list[str] = []
    on = model.enabled

    def told(wrong: Array, what: str) -> None:
        where = np.argwhere(wrong)
        if where.size:
            core, neuron = where[0]
            more = f" and {len(where) - 1} more" if len(where) > 1 else ""
            reasons.append(f"neuron {neuron} of core {model.ids[core]}{more}: {what}")

    if model.axons != model.neurons or model.axons > SIZE:
        reasons.append(f"cores of {model.axons} axons and {model.neurons} neurons; the format holds square ones of at most {SIZE}")
    if model.symmetric:
        reasons.append("the floor test is V <= -beta; the chip's is V < -beta")
    if np.any(model.ids < 0) or np.any(model.ids >= 2**31):
        reasons.append("a core's id is not a number from 0 to 2147483647")
    told(on & np.any(np.abs(model.weights) > 255, axis=2), "a weight beyond 255")
    told(on & (np.abs(model.leak) > 255), "a leak beyond 255")
    told(on & ((model.threshold < 0) | (model.threshold >= 2**18)), "a threshold that is not 0 to 262143")
    told(on & ((model.floor < 0) | (model.floor >= 2**18)), "a floor (beta) that is not 0 to 262143")
    told(on & (model.gamma > 2), "a gamma beyond 2")
    told(on & (model.mask > _RANGES["TM"][1]), f"a TM beyond {_RANGES['TM'][1]}")
    magnitude = np.abs(model.reset.astype(np.int64)) + 1
    told(
        on & (((magnitude & (magnitude - 1)) != 0) | (magnitude > 2 ** _RANGES["VR"][1])), "a reset value that is not +-(2**k - 1), k <= 19"
    )
    told(on & ((model.potential < -_MOST_POTENTIAL) | (model.potential >= _MOST_POTENTIAL)), "a potential beyond 20 bits")
    told(on & (model.target != NOWHERE) & ((model.delay < 1) | (model.delay > 15)), "a delay that is not 1 to 15")
    return reasons


def write_text(model: Model) -> bytes:
    """Return a model as a file of TrueNorth's text format (the usual dialect); `read_text` gives an equal model back.

    Neurons of equal parameters share a type; crossbars of two or more cores are written once. Outputs keep the numbers of the
    model where they are `OUTPUTS` or below; others are numbered 256 to an output core, from `OUTPUTS` down.

    Args:
        model: of any dialect.

    Raises:
        ValueError: with the reasons, where the format cannot hold the model.
    """
    reasons = text_reasons(model)
    if reasons:
        raise ValueError("; ".join(reasons))
    types, rows = _shared_types(model)
    bars, shared = _shared_crossbars(model)
    lines = [
        "{",
        "\t/* General model parameters */",
        '\t"model":{',
        f'\t\t"coreCount":{model.cores},',
        '\t\t"neuronclass":"NeuronGeneral",',
        f'\t\t"crossbarSize":{model.axons},',
        '\t\t"crossbarclass":"CrossbarBinary",',
        '\t\t"networking":"INTRA",',
        f'\t\t"useCrossbarPrototypes":{"true" if shared else "false"}',
        "\t},",
    ]
    if shared:
        lines += ["\t/* Crossbar type library */", '\t"crossbarTypes":[']
        for at, core in enumerate(shared):
            lines += ["\t\t{", f'\t\t\t"name":"coreProt{at + 1:07d}",', '\t\t\t"crossbar":{']
            lines += [*_rows(model, core, "\t\t\t"), "\t\t\t}", "\t\t}" + ("," if at + 1 < len(shared) else "")]
        lines.append("\t],")
    lines += ["\t/* Neuron type library */", '\t"neuronTypes":[']
    lines += [f"\t\t{_type(at + 1, row)}" + ("," if at + 1 < len(rows) else "") for at, row in enumerate(rows)]
    lines.append("\t],")
    parts = ["\n".join(lines)]
    dest_core, dest_axon = _destinations(model)
    delay = np.where(model.target == NOWHERE, 1, model.delay)
    for core in range(model.cores):
        lines = ["\t/* Core parameters */", '\t"core":{']
        if model.corelets:
            lines.append(f'\t\t"metadata":{json.dumps(model.corelets[core], separators=(",", ":"), sort_keys=True)},')
        lines += [
            f'\t\t"id":{model.ids[core]},',
            '\t\t"timeScaleExponent":0,',
            f'\t\t"rngSeed":{model.seeds[core]},',
            '\t\t"neurons":{',
            f'\t\t\t"dendrites":["0:{model.neurons - 1}"],' if model.neurons > 1 else '\t\t\t"dendrites":[0],',
        ]
        for key, values, end in (
            ("types", types[core], ","),
            ("destCores", dest_core[core], ","),
            ("destAxons", dest_axon[core], ","),
            ("destDelays", delay[core], ""),
        ):
            lines.append(f'\t\t\t"{key}":{json.dumps(compact(values), separators=(",", ":"))}{end}')
        lines += ["\t\t},", '\t\t"crossbar":{']
        lines += [f'\t\t\t"name":"coreProt{bars[core] + 1:07d}"'] if bars[core] >= 0 else _rows(model, core, "\t\t")
        lines += ["\t\t}", "\t}" + ("," if core + 1 < model.cores else "")]
        parts.append("\n".join(lines))
    parts.append("}\n")
    return "\n".join(parts).encode()


def _rows(model: Model, core: int, indent: str) -> list[str]:
    kinds, packed = model.axon_types[core], model.crossbar[core]
    last = model.axons - 1
    rows = [
        f'{indent}\t\t{{"type":"S{kinds[i]}","synapses":"{packed[i].tobytes().hex(" ").upper()}"}}' + ("," if i < last else "")
        for i in range(model.axons)
    ]
    return [f'{indent}\t"rows":[', *rows, f"{indent}\t]"]


def _type(number: int, row: tuple[int, ...]) -> str:
    value = dict(zip(_ENTRIES, row, strict=True))
    keys = [*(f"sigma{k}" for k in range(4)), *(f"s{k}" for k in range(4)), *(f"b{k}" for k in range(4))]
    keys += ["sigma_lambda", "lambda", "c_lambda", "epsilon", "alpha", "beta", "TM", "gamma", "kappa", "sigma_VR", "VR", "V"]
    told = ",".join(f'"{key}":{str(bool(value[key])).lower() if key in _FLAGS else value[key]}' for key in keys)
    return f'{{"name":"N{number:08X}","class":"NeuronGeneral",{told}}}'


def _shared_types(model: Model) -> tuple[Array, list[tuple[int, ...]]]:
    """Return the number of each neuron's type (C, N), 0 for disabled ones, and the values of `_ENTRIES` of types 1, 2, ..."""
    sign = np.where(model.weights < 0, -1, 1)
    columns = {f"sigma{kind}": sign[:, :, kind] for kind in range(4)}
    columns |= {f"s{kind}": np.abs(model.weights[:, :, kind]) for kind in range(4)}
    columns |= {f"b{kind}": model.stochastic[:, :, kind] for kind in range(4)}
    exponent = np.rint(np.log2(np.abs(model.reset.astype(np.float64)) + 1)).astype(np.int64)
    columns |= {
        "sigma_lambda": np.where(model.leak < 0, -1, 1),
        "lambda": np.abs(model.leak),
        "alpha": model.threshold,
        "beta": model.floor,
        "TM": model.mask,
        "gamma": model.gamma,
        "sigma_VR": np.where(model.reset < 0, -1, 1),
        "VR": exponent,
        "V": model.potential,
        "c_lambda": model.leak_stochastic,
        "epsilon": model.leak_reversal,
        "kappa": model.kappa,
    }
    types = np.zeros((model.cores, model.neurons), np.int64)
    numbers: dict[tuple[int, ...], int] = {}
    for core in range(model.cores):
        on = np.flatnonzero(model.enabled[core])
        table = np.stack([columns[key][core, on].astype(np.int64) for key in _ENTRIES], axis=1)
        for j, row in zip(on, table.tolist(), strict=True):
            types[core, j] = numbers.setdefault(tuple(row), len(numbers) + 1)
    return types, list(numbers)


def _shared_crossbars(model: Model) -> tuple[list[int], list[int]]:
    """Return for every core the place of its crossbar among the shared ones, -1 for its own; and a core of each shared one."""
    first: dict[bytes, int] = {}
    groups: dict[int, list[int]] = {}
    for core in range(model.cores):
        content = model.axon_types[core].tobytes() + model.crossbar[core].tobytes()
        groups.setdefault(first.setdefault(content, core), []).append(core)
    shared = [core for core, members in groups.items() if len(members) > 1]
    bars = [-1] * model.cores
    for at, core in enumerate(shared):
        for member in groups[core]:
            bars[member] = at
    return bars, shared


def _destinations(model: Model) -> tuple[Array, Array]:
    """Return the destination cores and axons (C, N) as the format states them."""
    inside = model.target >= 0
    off = model.target == OFF_CHIP
    stated = off & (model.target_core <= OUTPUTS)
    line = np.where(off & ~stated, np.maximum(model.target_core, 0), 0)
    none = np.where(model.enabled, _UNCONNECTED, _UNUSED)
    output = np.where(stated, model.target_core, OUTPUTS - line // SIZE)
    core = np.where(inside, model.ids[np.maximum(model.target, 0)], np.where(off, output, none))
    axon = np.where(inside | stated, model.target_axon, np.where(off, line % SIZE, np.where(model.enabled, -1, 0)))
    return core, axon
