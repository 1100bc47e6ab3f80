"""Spike files of TrueNorth's tools, RANC's packets and the neutral list of spikes, read and written.

TEXT (sfti in, sfto out), RAWI3, RAWO6 and CONNPIN (sfcp) start with JSON objects that say which encoding follows; 0xFF ends
the header of the binary ones. A spike sent at srcTime t with a delay of d, 1 to 15, is seen in tick t + d; d is 1 unless the file
says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nmap.connectivity import Array
from nmap_truenorth.model.model import NOWHERE, OFF_CHIP, Events, Model
from nmap_truenorth.model.source import MalformedError, Problems, Scanner, uncommented, whole

__all__ = [
    "NO_SPIKES",
    "STARTS",
    "Connector",
    "read_connectors",
    "read_events",
    "read_outputs",
    "write_connectors",
    "write_rawi3",
    "write_rawo6",
    "write_sfcp",
    "write_sfti",
    "write_sfto",
]

STARTS = (b"[", b"{", b"/")
"""What spike files start with, blanks aside."""
NO_SPIKES = "no spike file; TEXT, RAWI3, RAWO6, CONNPIN, RANC's `packets` and `[[tick, core, axon], ...]` are read"
"""What is said of a file that holds no spikes of a known format."""

_HEADER = frozenset({
    "class", "encoding", "nscsVersion", "version", "defaultDestinationDelay", "buildKey64", "connectors", "ioMapFile", "lastTimeStamp",
    "maxBlockSize", "monotonicTimeStamp",
})  # fmt: skip
"""Entries of the headers that TrueNorth's tools write."""
_NAMING = frozenset({"encoding", "nscsVersion", "defaultDestinationDelay"})
"""Entries of which a file without spikes has one: the others are those of many a file."""
_MARK = b"\xfe\xfc\xfe\xfc"
_LAST = 2**32 - 1
_HEADER_BYTES = 2**22
_MOST_TICK = 2**31 - 1
_LONGEST = 15
"""The largest delay that a spike on its way can hold."""


@dataclass(frozen=True, slots=True)
class Connector:
    """A named group of pins, as a connector map (`*_inpMap.bin`, `*_outMap.bin`) lists it.

    Args:
        name: the connector's name.
        output: whether its pins are neurons, not axons.
        core: (n,) int64, number of the core of each pin.
        pin: (n,) int64, axon (of an input) or neuron (of an output) of each pin.
    """

    name: str
    output: bool
    core: Array
    pin: Array


@dataclass(slots=True)
class _Spikes:
    """Spikes as a file states them; columns of a text file that are not there hold -1."""

    time: Array
    core: Array
    axon: Array
    delay: Array
    source: Array | None = None
    """(n, 2) core and neuron that sent each spike."""
    place: Callable[[int], str] = field(default=lambda at: f"spike {at}")


def read_events(data: bytearray, model: Model, problems: Problems, connectors: Callable[[str, bool], list[Connector] | None]) -> Events:
    """Read spikes into a model.

    Args:
        data: the file's content; it is changed.
        model: says which cores and axons there are.
        problems: receives what is wrong or odd.
        connectors: gives the connectors of the map with the given name ("" where the file names none), for CONNPIN; the flag
            says whether it is a map of outputs.

    Returns:
        Events: sorted by tick, core and axon. Ticks of the neutral list are taken as they are, whatever the model.

    Raises:
        NmapError: with every problem found; NM102 for an object that is neither a header nor a spike, NM107 for cores and axons that
            the model does not have, ticks and delays out of range.
        MalformedError: where the file is of no known format.
    """
    header, spikes = _read(data, model, problems, connectors, False)
    if spikes is None:
        raise MalformedError(f"this is {NO_SPIKES}", None, "NM102")
    _check_times(spikes, problems)
    if header is None:
        seen = spikes.time
    else:
        seen = spikes.time + spikes.delay - model.input_delay
        problems.errors(
            "NM107",
            "a delay out of range",
            np.flatnonzero((spikes.delay < 1) | (spikes.delay > _LONGEST)),
            lambda n: (f"a spike has a delay of {spikes.delay[n]} ticks; delays are 1 to {_LONGEST}", spikes.place(n)),
        )
    order = np.argsort(model.ids, kind="stable")
    at = np.minimum(np.searchsorted(model.ids[order], spikes.core), model.cores - 1)
    known = model.ids[order][at] == spikes.core
    problems.errors(
        "NM107",
        "a spike to a core that the model does not have",
        np.flatnonzero(~known),
        lambda n: (f"a spike is sent to core {spikes.core[n]}; the model has no such core", spikes.place(n)),
    )
    outside = known & ((spikes.axon < 0) | (spikes.axon >= model.axons))
    problems.errors(
        "NM107",
        "a spike to an axon that the model does not have",
        np.flatnonzero(outside),
        lambda n: (f"a spike is sent to axon {spikes.axon[n]} of core {spikes.core[n]}; cores have {model.axons}", spikes.place(n)),
    )
    problems.raise_errors()
    return Events.ordered(seen, order[at], spikes.axon)


def read_outputs(data: bytearray, problems: Problems, connectors: Callable[[str, bool], list[Connector] | None]) -> Array:
    """Read spikes that a simulator or a chip recorded: TEXT sfto, RAWO6, or CONNPIN with its map of outputs.

    Returns:
        Array: (n, 3) int32 tick (srcTime), core and neuron, sorted in this order.

    Raises:
        NmapError: with every problem found.
        MalformedError: where the file does not say which neurons sent the spikes.
    """
    _, spikes = _read(data, None, problems, connectors, True)
    if spikes is not None:
        _check_times(spikes, problems)
    problems.raise_errors()
    if spikes is None or spikes.source is None:
        raise MalformedError("the file does not say which neurons sent its spikes", None, "NM102")
    rows = np.column_stack([spikes.time, spikes.source]).astype(np.int32)
    return rows[np.lexsort(rows.T[::-1])]


def _check_times(spikes: _Spikes, problems: Problems) -> None:
    problems.errors(
        "NM107",
        "a tick out of range",
        np.flatnonzero((spikes.time < 0) | (spikes.time > _MOST_TICK)),
        lambda n: (f"a spike is sent at {spikes.time[n]}; ticks are 0 to {_MOST_TICK}", spikes.place(n)),
    )


def _read(
    data: bytearray, model: Model | None, problems: Problems, connectors: Callable[[str, bool], list[Connector] | None], output: bool
) -> tuple[dict[str, Any] | None, _Spikes | None]:
    """Return the header (None for the neutral list and RANC's packets, whose ticks are absolute) and the spikes."""
    start = bytes(data[:64]).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"["):
        return None, _neutral(Scanner(uncommented(data)), problems)
    if not start.startswith((b"{", b"/")):
        raise MalformedError(f"this is {NO_SPIKES}", None, "NM102")
    end = data.find(b"\xff", 0, _HEADER_BYTES)
    if end >= 0:
        return _binary(data, end, problems, connectors, output)
    scanner = Scanner(uncommented(data))
    header: dict[str, Any] = {}
    columns: list[tuple[int, ...]] = []
    lines: list[int] = []
    unknown: list[tuple[int, dict[str, Any], bool]] = []
    while scanner.peek():
        line = scanner.at
        item = scanner.value()
        scanner.separator()
        spike = item.get("spike") if isinstance(item, dict) else None
        if spike is None:
            if not isinstance(item, dict):
                raise MalformedError("a header or a spike is expected", line)
            if not columns and not header and model is not None and ("packets" in item or _is_ranc(item)):
                return None, _packets(item.get("packets", []), model, problems)
            if _HEADER.isdisjoint(item):
                meant = any(isinstance(value, dict) and "srcTime" in value for value in item.values())
                unknown.append((line, item, meant or bool(columns)))
            else:
                header |= item
            continue
        columns.append(_stated(spike, scanner, line, problems))
        lines.append(line)
    if header.get("encoding", "TEXT") != "TEXT":
        raise MalformedError(f"the header says `{str(header['encoding'])[:20]}`, but no 0xFF ends it")
    for line, item, wrong in unknown:
        _tell_unknown(item, scanner, line, problems, wrong or not columns)
    if not columns and not unknown and _NAMING.isdisjoint(header):
        raise MalformedError(f"this is {NO_SPIKES}", None, "NM102")
    table = np.array(columns, np.int64).reshape(-1, 6)
    delay = _default_delay(header, problems)
    time, source_core, source_neuron, core, axon, stated = table.T
    source = np.column_stack([source_core, source_neuron]) if columns and source_core.min() >= 0 and source_neuron.min() >= 0 else None
    spikes = _Spikes(time, core, axon, np.where(stated < 0, delay, stated), source, lambda at: scanner.line(lines[at]))
    if output and not columns:
        spikes.source = np.zeros((0, 2), np.int64)
    return header, spikes


def _is_ranc(item: dict[str, Any]) -> bool:
    """Whether an object is a RANC model, which may have no packets."""
    return "output_bus" in item and "cores" in item


def _tell_unknown(item: dict[str, Any], scanner: Scanner, line: int, problems: Problems, wrong: bool) -> None:
    """Record an error for an object that is neither a header nor a spike; a note where it may be a header that others write."""
    keys = list(item)
    found = ", ".join(f"`{key[:40]}`" for key in keys[:4]) + (" and more" if len(keys) > 4 else "")
    if not wrong:
        problems.note(
            f"a header of {found or 'nothing'} is not known, and is not used", kind="headers that are not known, and are not used"
        )
        return
    message = f"an object of {found or 'nothing'} is neither a spike (`spike`) nor a header (`class`, `encoding`, `version`, ...)"
    problems.error("NM102", message, lambda: scanner.line(line), kind="an object that is neither a header nor a spike")


def _stated(spike: Any, scanner: Scanner, line: int, problems: Problems) -> tuple[int, ...]:
    """Return srcTime, srcCore, srcNeuron, destCore, destAxon and destDelay of a spike; -1 for those that may be absent and are."""
    if not isinstance(spike, dict):
        raise MalformedError("a spike is no object", line)
    time: Any = spike.get("srcTime")
    core: Any = spike.get("destCore")
    axon: Any = spike.get("destAxon")
    if len(spike) == 3 and whole(time, 0, _MOST_TICK) and whole(core, 0, _MOST_TICK) and whole(axon, 0, _MOST_TICK):
        return time, -1, -1, core, axon, -1
    values = []
    for key, least, needed in (
        ("srcTime", 0, True),
        ("srcCore", 0, False),
        ("srcNeuron", 0, False),
        ("destCore", -(2**31), True),
        ("destAxon", -(2**31), True),
        ("destDelay", 0, False),
    ):
        value: Any = spike.get(key)
        if value is None and not needed:
            values.append(-1)
        elif whole(value, least, _MOST_TICK):
            values.append(int(value))
        else:
            missing = value is None
            message = f"a spike has no `{key}`" if missing else f"`{key}` of a spike is {str(value)[:40]}, not a number from {least}"
            problems.error("NM103" if missing else "NM107", message, lambda: scanner.line(line), kind="a spike that cannot be read")
            values.append(0)
    return tuple(values)


def _default_delay(header: dict[str, Any], problems: Problems) -> int:
    delay = header.get("defaultDestinationDelay", 1)
    if not whole(delay, 1, _LONGEST):
        problems.error("NM107", f"`defaultDestinationDelay` is {str(delay)[:40]}, not 1 to {_LONGEST}", "header")
        return 1
    return int(delay)


def _neutral(scanner: Scanner, problems: Problems) -> _Spikes:
    """Read `[[tick, core, axon], ...]`."""
    rows: list[tuple[int, int, int]] = []
    for at, item in enumerate(scanner.elements()):
        if isinstance(item, list) and len(item) == 3 and whole(item[0], 0, _MOST_TICK) and all(whole(n, 0, 2**31 - 1) for n in item[1:]):
            rows.append((item[0], item[1], item[2]))
        else:
            message = f"spike {at} is {str(item)[:40]}; it is a list of tick, core and axon"
            problems.error("NM107", message, f"spike {at}", kind="a spike that cannot be read")
    scanner.end()
    time, core, axon = np.array(rows, np.int64).reshape(-1, 3).T
    return _Spikes(time, core, axon, np.zeros_like(time))


def _packets(packets: Any, model: Model, problems: Problems) -> _Spikes | None:
    """Read RANC's packets; those to a cell without a core do nothing there, and are left out with a note."""
    if not isinstance(packets, list):
        problems.error("NM106", "`packets` is no list", "packets")
        problems.raise_errors()
        return None
    if model.places is None:
        raise MalformedError("RANC's packets name cells of a grid, which this model does not have")
    at = {tuple(place): core for core, place in enumerate(model.places.tolist())}
    rows: list[tuple[int, int, int]] = []
    for tick, items in enumerate(packets):
        place = f"packets of tick {tick}"
        if not isinstance(items, list):
            problems.error("NM106", f"{place} are no list", place, kind="packets that are no list")
            continue
        for packet in items:
            cell = packet.get("destination_core") if isinstance(packet, dict) else None
            axon = packet.get("destination_axon") if isinstance(packet, dict) else None
            later = packet.get("destination_tick") if isinstance(packet, dict) else None
            placed = isinstance(cell, list) and len(cell) == 2 and all(whole(n, 0, 2**31 - 1) for n in cell)
            if cell is None or axon is None or later is None or not (placed and whole(axon, 0, 2**31 - 1) and whole(later, 0, 14)):
                message = f"a packet of tick {tick} is {str(packet)[:120]}; it needs a `destination_core` [x, y], a `destination_axon` "
                message += "and a `destination_tick` from 0 to 14"
                problems.error("NM107", message, place, kind="a packet that cannot be read")
                continue
            core = at.get(tuple(cell))
            if core is None:
                problems.note(f"a packet of tick {tick} goes to {cell}, where no core is", place, kind="packets to cells without a core")
            else:
                rows.append((tick + later, int(model.ids[core]), axon))
    time, core_ids, axons = np.array(rows, np.int64).reshape(-1, 3).T
    return _Spikes(time, core_ids, axons, np.zeros_like(time))


def _headers(text: str) -> dict[str, Any]:
    scanner = Scanner(text)
    header: dict[str, Any] = {}
    while scanner.peek():
        item = scanner.value()
        if not isinstance(item, dict):
            raise MalformedError("the header is no JSON object")
        header |= item
    return header


def _binary(
    data: bytearray, end: int, problems: Problems, connectors: Callable[[str, bool], list[Connector] | None], output: bool
) -> tuple[dict[str, Any], _Spikes | None]:
    header = _headers(uncommented(bytearray(data[:end])))
    encoding = header.get("encoding")
    delay = _default_delay(header, problems)
    body = memoryview(data)[end + 1 :]
    if encoding == "CONNPIN":
        return header, _connpin(header, body, delay, problems, connectors, output)
    words = {"RAWI3": 3, "RAWO6": 6}.get(str(encoding))
    if words is None:
        raise MalformedError(f"the encoding `{str(encoding)[:20]}` is not known; TEXT, RAWI3, RAWO6 and CONNPIN are")
    if len(body) % (4 * words):
        message = f"the last spike is cut short: {len(body)} bytes are no whole number of spikes of {4 * words}"
        problems.error("NM103", message)
    count = len(body) // (4 * words)
    # An input's words have no sign; outputs are numbered from -32 down.
    table = np.frombuffer(body[: count * 4 * words], ">u4" if words == 3 else ">i4").reshape(count, words).astype(np.int64)
    if words == 3:
        time, core, axon = table.T
        return header, _Spikes(time, core, axon, np.full(count, delay, np.int64))
    time, source_core, source_neuron, core, axon, stated = table.T
    return header, _Spikes(time, core, axon, stated, np.column_stack([source_core, source_neuron]))


def _connpin(
    header: dict[str, Any],
    body: memoryview,
    delay: int,
    problems: Problems,
    connectors: Callable[[str, bool], list[Connector] | None],
    output: bool,
) -> _Spikes | None:
    listed = header.get("connectors")
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise MalformedError("the header has no list `connectors`")
    name = header.get("ioMapFile", "")
    pins_of = connectors(name if isinstance(name, str) else "", output)
    if pins_of is None:
        return None
    form: dict[int, tuple[int, bool, int, Connector]] = {}
    for at, item in enumerate(listed):
        number, bits, mode = item.get("ID", at), item.get("bpp", 8), item.get("delayMode", 0)
        if not whole(number, 0, 2**16 - 1) or bits not in (8, 16, 32) or mode not in (0, 1):
            raise MalformedError(f"connector {at} of the header has no `ID`, `bpp` (8, 16 or 32) and `delayMode` (0 or 1)")
        called = item.get("name")
        alike = [connector for connector in pins_of if connector.name == called]
        found = alike[0] if len(alike) == 1 else pins_of[at] if at < len(pins_of) else None
        if found is None or item.get("csize", found.core.size) != found.core.size:
            message = f"connector `{str(called)[:60]}` of the spike file is not in the connector map, or has another size there"
            problems.error("NM106", message, kind="a connector that is not in the map")
        else:
            form[number] = bits // 8, mode == 1, _default_delay({"defaultDestinationDelay": delay} | item, problems), found
    problems.raise_errors()
    pieces: list[Array] = []
    at, time = 0, 0
    while at < len(body):
        if bytes(body[at : at + 4]) == _MARK:
            if at + 16 > len(body):
                raise MalformedError("the last block is cut short", None, "NM103")
            time = int.from_bytes(body[at + 4 : at + 8], "big")
            at += 16
            if time == _LAST:
                break
            continue
        number, count = (int.from_bytes(body[at + k : at + k + 2], "big") for k in (0, 2))
        if at == 0 or number not in form:
            raise MalformedError(
                f"a block names connector {number}, which the header does not list" if at else "the spikes start with no block"
            )
        size, delayed, usual, connector = form[number]
        stop = at + 4 + count * (size + delayed)
        if stop > len(body):
            raise MalformedError("the last block is cut short", None, "NM103")
        pins = np.frombuffer(body[at + 4 : at + 4 + count * size], f">u{size}").astype(np.int64)
        delays = np.frombuffer(body[stop - count : stop], np.uint8).astype(np.int64) if delayed else np.full(count, usual, np.int64)
        outside = pins >= connector.core.size
        if outside.any():
            message = f"pin {pins[outside][0]} of connector `{connector.name[:60]}`, which has {connector.core.size}"
            problems.error("NM107", message, kind="a pin that its connector does not have")
            pins, delays = pins[~outside], delays[~outside]
        pieces.append(np.column_stack([np.full(pins.size, time), connector.core[pins], connector.pin[pins], delays]))
        at = stop
    problems.raise_errors()
    time_of, core, pin, delays = (np.concatenate(pieces) if pieces else np.zeros((0, 4), np.int64)).T
    return _Spikes(time_of, core, pin, delays, np.column_stack([core, pin]) if output else None)


def read_connectors(data: bytes) -> list[Connector]:
    """Read a connector map: for each connector seven little-endian words, its name, and the core and axon or neuron of each pin.

    The words are a number, 0 for inputs and 1 for outputs, the number of pins (twice), two ones and the length of the name,
    which is UTF-16; cores are 32-bit and pins 16-bit.

    Raises:
        MalformedError: where the map is cut short.
    """
    found: list[Connector] = []
    at = 0
    while at < len(data):
        if at + 28 > len(data):
            raise MalformedError("the connector map is cut short", None, "NM103")
        _, kind, size, _, _, _, length = np.frombuffer(data[at : at + 28], "<u4").tolist()
        start = at + 28 + 2 * length
        at = start + 6 * size
        if at > len(data):
            raise MalformedError("the connector map is cut short", None, "NM103")
        name = bytes(data[start - 2 * length : start]).decode("utf-16-le", "replace")
        core = np.frombuffer(data[start : start + 4 * size], "<u4").astype(np.int64)
        pin = np.frombuffer(data[start + 4 * size : at], "<u2").astype(np.int64)
        found.append(Connector(name, kind == 1, core, pin))
    return found


def write_connectors(connectors: list[Connector]) -> bytes:
    """Return a connector map; `read_connectors` gives the connectors back."""
    parts: list[bytes] = []
    for number, connector in enumerate(connectors):
        name = connector.name.encode("utf-16-le")
        size = connector.core.size
        words = np.array([number, int(connector.output), size, size, 1, 1, len(name) // 2], "<u4")
        parts += [words.tobytes(), name, connector.core.astype("<u4").tobytes(), connector.pin.astype("<u2").tobytes()]
    return b"".join(parts)


def _sent(events: Events, model: Model) -> tuple[Array, Array, Array]:
    """Return srcTime, core id and axon of spikes, for files whose spikes are seen one tick later."""
    time = events.tick + model.input_delay - 1
    if time.size and time[0] < 0:
        raise ValueError("a spike is seen in tick 0; TrueNorth's spike files cannot send one that early")
    return time, model.ids[events.core], events.axon.astype(np.int64)


def write_sfti(events: Events, model: Model) -> bytes:
    """Return spikes into a model as a TEXT file (sfti).

    Raises:
        ValueError: where a spike is seen in tick 0, which the format cannot state.
    """
    head = '{"class":"SpikeWriter","encoding":"TEXT","nscsVersion":"1.4.0"}\n{"version":"sfti1.0","defaultDestinationDelay":1}\n'
    rows = zip(*(column.tolist() for column in _sent(events, model)), strict=True)
    lines = [f'{{"spike":{{"srcTime":{time},"destCore":{core},"destAxon":{axon}}}}}\n' for time, core, axon in rows]
    return (head + "".join(lines)).encode()


def write_rawi3(events: Events, model: Model) -> bytes:
    """Return spikes into a model as a RAWI3 file.

    Raises:
        ValueError: where a spike is seen in tick 0, which the format cannot state.
    """
    head = b'{"class":"SpikeWriter","nscsVersion":"1.4.0","encoding":"RAWI3","defaultDestinationDelay":1}\xff'
    return head + np.column_stack(_sent(events, model)).astype(">u4").tobytes()


def _destinations(events: Array, model: Model) -> Iterator[tuple[int, ...]]:
    """Yield srcTime, srcCore, srcNeuron, destCore, destAxon and destDelay of spikes (n, 3) out of a model."""
    rows = np.asarray(events, np.int64).reshape(-1, 3)
    order = np.argsort(model.ids, kind="stable")
    core = order[np.searchsorted(model.ids[order], rows[:, 1])]
    neuron = rows[:, 2]
    target = model.target[core, neuron]
    inside = target >= 0
    stated = np.where(target == OFF_CHIP, model.target_core[core, neuron], NOWHERE)
    to = np.where(inside, model.ids[np.maximum(target, 0)], stated)
    axon = np.where(target == NOWHERE, -1, model.target_axon[core, neuron])
    table = np.column_stack([rows, to, axon, np.maximum(model.delay[core, neuron], 1)])
    yield from (tuple(row) for row in table.tolist())


def write_sfto(events: Array, model: Model) -> bytes:
    """Return spikes out of a model (n, 3: tick, core id, neuron) as a TEXT file (sfto)."""
    head = '{"class":"SpikeWriter","encoding":"TEXT","nscsVersion":"1.4.0"}\n{"version":"sfto1.0","defaultDestinationDelay":1}\n'
    keys = ("srcTime", "srcCore", "srcNeuron", "destCore", "destAxon", "destDelay")
    lines = [json.dumps({"spike": dict(zip(keys, row, strict=True))}, separators=(",", ":")) + "\n" for row in _destinations(events, model)]
    return (head + "".join(lines)).encode()


def write_rawo6(events: Array, model: Model) -> bytes:
    """Return spikes out of a model (n, 3: tick, core id, neuron) as a RAWO6 file."""
    head = b'{"class":"SpikeWriter","encoding":"RAWO6","nscsVersion":"1.4.0"}\n{"defaultDestinationDelay":1}\xff'
    return head + np.array(list(_destinations(events, model)), ">i4").reshape(-1, 6).tobytes()


def write_sfcp(events: Array, connectors: list[Connector], map_file: str) -> bytes:
    """Return spikes (n, 3: tick, core id, pin) as a CONNPIN file, each with a delay of 1. Spikes of no connector are left out.

    Args:
        events: srcTime, core and axon or neuron of each spike.
        connectors: where the pins lie; at most 65,536 pins each.
        map_file: name of the connector map.
    """
    rows = np.asarray(events, np.int64).reshape(-1, 3)
    sizes = [1 if one.core.size <= 256 else 2 for one in connectors]
    listed = [
        {"ID": at, "name": one.name, "csize": one.core.size, "bpp": 8 * sizes[at], "delayMode": 1} for at, one in enumerate(connectors)
    ]
    head = json.dumps({"class": "SpikeWriter", "encoding": "CONNPIN", "nscsVersion": "1.4.0"}, separators=(",", ":")) + "\n"
    entries = {"maxBlockSize": 1024, "lastTimeStamp": 0, "monotonicTimeStamp": 1, "ioMapFile": map_file, "defaultDestinationDelay": 1}
    head += json.dumps({**entries, "connectors": listed})
    parts = [head.encode(), b"\xff"]
    where = {
        (core, pin): (at, k)
        for at, one in enumerate(connectors)
        for k, (core, pin) in enumerate(zip(one.core.tolist(), one.pin.tolist(), strict=True))
    }
    blocks: dict[int, dict[int, list[int]]] = {}
    for time, core, pin in rows.tolist():
        if (core, pin) in where:
            at, k = where[core, pin]
            blocks.setdefault(time, {}).setdefault(at, []).append(k)
    for time in sorted(blocks):
        parts.append(_MARK + time.to_bytes(4, "big") + bytes(8))
        for at, pins in sorted(blocks[time].items()):
            parts.append(at.to_bytes(2, "big") + len(pins).to_bytes(2, "big") + np.array(sorted(pins), f">u{sizes[at]}").tobytes())
            parts.append(b"\x01" * len(pins))
    parts.append(_MARK + _LAST.to_bytes(4, "big") + bytes(8))
    return b"".join(parts)
