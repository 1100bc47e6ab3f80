"""NIRData (nir 1.0.8): recordings in HDF5, by node and observable; input samples are those of the network's input nodes.

Layout: root attribute `__type__` = `NIRGraphData`; `nodes/<node>` of type `NIRNodeData`; `observables/<name>` of type

- `TimeGriddedData`: `data` (samples, time, neurons), attribute `dt` in seconds;
- `EventData`: `idx` and `time` (samples, events), padded with -1 and infinity, attributes `n_neurons` and `t_max`. An event carries no
  magnitude, so several of one neuron in one step are one spike, as nir's own conversion has it;
- `ValuedEventData`: the same with `value` (samples, events).

Spikes are those of the observable `spikes`, of the only other one named as something that a node sends (`events`, `output`, ...), or of
the only one of all if it is binary; anything else, such as a recorded voltage, is refused.

Datasets are read in slices and need not fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap.samples.archive import short
from nmap.samples.events import EVENT_BYTES, SPAN_HELP, STEP_HELP, Block, Clock, bin_events, last_step, steps_per, tally_events, to_steps
from nmap.samples.model import CHUNK_BYTES, DType, Found, Tally, check_length, most_steps, narrowed
from nmap.samples.stored import SLAB_BYTES, Node, Rows

__all__ = ["is_nirdata", "read_nirdata"]

_BLOCK = 2**20
_SENT = frozenset(("spikes", "spike", "events", "event", "output", "outputs", "input", "inputs"))
"""Names, in lower case, of observables that are what a node sends; that of an input node is the network's input."""


def is_nirdata(root: Node) -> bool:
    """Return whether an open HDF5 file looks like NIRData."""
    return root.has_attribute("__type__") and "nodes" in root


@dataclass(frozen=True, slots=True, eq=False)
class _Gridded:
    """`TimeGriddedData`."""

    data: Rows

    def tally(self, steps: int) -> Tally:
        """See `Source.tally`."""
        low = high = 0
        for _, rows in self.data.pieces(SLAB_BYTES):
            part = rows[:, :steps]
            if part.size:
                low, high = min(low, int(part.min())), max(high, int(part.max()))
        return Tally(low, high)

    def scratch(self, size: int) -> int:
        """See `Source.scratch`."""
        return min(max(size, 1) * self.data.row_bytes, CHUNK_BYTES) + self.data.band_bytes

    def chunks(self, size: int, steps: int, dtype: DType) -> Iterator[Array]:
        """See `Source.chunks`."""
        samples, length, neurons = self.data.shape
        piece = max(1, CHUNK_BYTES // self.data.row_bytes)
        with self.data.open() as rows:
            for start in range(0, samples, size):
                count = min(size, samples - start)
                out = np.zeros((count, steps, neurons), dtype)
                for first in range(0, count, piece):
                    part = rows.take(min(piece, count - first))
                    out[first : first + part.shape[0], : min(length, steps)] = narrowed(part[:, :steps], dtype)
                yield out


@dataclass(frozen=True, slots=True, eq=False)
class _Listed:
    """`EventData` or `ValuedEventData`: `rate` time steps in a second."""

    idx: Rows
    time: Rows
    value: Rows | None
    rate: Fraction
    neurons: int

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield the events of `size` samples at a time, in pieces."""
        samples, events = self.idx.shape
        piece, width = max(1, _BLOCK // events), min(events, _BLOCK)
        value = self.value if self.value is not None else self.idx
        with self.idx.open() as indices, self.time.open() as times, value.open() as values:
            for start in range(0, samples, size):
                count = min(size, samples - start)
                for first in range(0, count, piece):
                    rows = min(piece, count - first)
                    idx, time, worth = indices.take(rows), times.take(rows), None if self.value is None else values.take(rows)
                    for column in range(0, events, width):
                        part = (slice(None), slice(column, column + width))
                        there = idx[part] != -1
                        yield (
                            start, count, np.nonzero(there)[0] + first, to_steps(time[part][there], self.rate),
                            idx[part][there].astype(np.int64), None if worth is None else worth[part][there],
                        )

    def scratch(self, size: int) -> int:
        """See `Source.scratch`."""
        return min(size * self.idx.shape[1], _BLOCK) * EVENT_BYTES + self.idx.band_bytes + self.time.band_bytes

    def chunks(self, size: int, steps: int, dtype: DType) -> Iterator[Array]:
        """See `Source.chunks`."""
        return bin_events(self.blocks(size), steps, self.neurons, dtype, binary=self.value is None)

    def tally(self, steps: int) -> Tally:
        """See `Source.tally`."""
        return tally_events(self.blocks, steps, self.neurons, valued=self.value is not None, binary=self.value is None)


def read_nirdata(root: Node, ports: dict[str, int], clock: Clock, cut: int | None, findings: Findings) -> dict[str, Found]:
    """Return what an open NIRData file holds for the network's inputs.

    Args:
        root: the file.
        ports: neurons of each input by name.
        clock: length of the network's time step.
        cut: time steps that are run; None for all.
        findings: receives the diagnostics.
    """
    found: dict[str, Found] = {}
    nodes = root.child("nodes")
    if nodes is None:
        return {}
    missing = [name for name in ports if name not in nodes]
    if missing:
        listed = ", ".join(f"`{name}`" for name in nodes.names[:12]) or "nothing"
        findings.error(
            "NM802", f"the recording has no node {', '.join(f'`{name}`' for name in missing)}, the network's input", where=nodes.where,
            why=f"its nodes are {listed}", help=("name the recorded node as the network's file names its Input node",),
        )
    for port, size in ports.items():
        chosen = _observable(nodes, port, findings) if port not in missing else None
        if chosen is None:
            continue
        observable, name, others = chosen
        # The type's name is a string of variable length, which is not read; the members tell as much.
        if "data" in observable:
            held = _gridded(observable, name, port, size, clock, cut, findings)
        elif "idx" in observable and "time" in observable:
            held = _listed(observable, port, size, clock, cut, findings)
        else:
            held = None
            told = ", ".join(f"`{name}`" for name in observable.names[:12]) or "nothing"
            findings.error(
                "NM103", f"the observable holds {told}", where=observable.where,
                why="TimeGriddedData is `data`; EventData is `idx` and `time`, ValuedEventData `value`, too",
            )
        if held is not None and _sends(held, port, size, name, others, findings):
            found[port] = held
    return found


def _sends(held: Found, port: str, size: int, name: str, others: int, findings: Findings) -> bool:
    """Record NM802 where an observable that is not named as spikes holds anything but 0 and 1; a note where it is not `spikes`."""
    if name.casefold() not in _SENT:
        tally = held.source.tally(min(held.steps, most_steps(size)))
        if tally.low < 0 or tally.high > 1:
            findings.error(
                "NM802",
                f"the node `{port}` records only `{name}`, with values from {short(tally.low)} to {short(tally.high)}; these are not "
                "known to be spikes",
                where=held.where,
                help=("record the spikes of the node", "name the observable `spikes` if it holds graded spikes"),
            )
            return False
    if name != "spikes" or others:
        beside = f", not the {others} other observable{'s' if others > 1 else ''}" if others else ""
        findings.note("NM803", f"the observable `{name}` of the node `{port}` was read as spikes{beside}", where=held.where)
    return True


def _observable(nodes: Node, port: str, findings: Findings) -> tuple[Node, str, int] | None:
    """Return the observable that holds what a node sends, its name, and how many others there are."""
    node = nodes.child(port)
    observables = None if node is None else node.child("observables")
    if observables is None:
        return None
    names = observables.names
    sent = ["spikes"] if "spikes" in names else [name for name in names if name.casefold() in _SENT] if len(names) > 1 else list(names)
    if len(sent) != 1:
        held = ", ".join(f"`{name}`" for name in names[:12]) or "nothing"
        findings.error(
            "NM802", f"the node `{port}` records {held}; which of them are the input's spikes is not known", where=observables.where,
            help=("name the observable `spikes`",),
        )
        return None
    observable = observables.child(sent[0])
    return None if observable is None else (observable, sent[0], len(names) - 1)


def _fits(what: str, neurons: int, port: str, size: int, where: str, findings: Findings) -> bool:
    if neurons != size:
        findings.error("NM802", f"{what} has {short(neurons)} neurons; the network's input `{port}` has {size}", where=where)
    return neurons == size


def _gridded(group: Node, name: str, port: str, size: int, clock: Clock, cut: int | None, findings: Findings) -> Found | None:
    where = group.where
    dt, data = group.number("dt"), group.rows("data", "(samples, time, neurons)")
    if dt is not None and clock.network is not None and abs(dt - clock.network) > 1e-6 * clock.network:
        findings.error(
            "NM802", f"the recording has a time step of {dt:g} s, the network one of {clock.network:g} s", where=where,
            why=f"the network's: {clock.evidence}",
            help=(f"--dt {dt:g} if that is the network's time step", "record the samples again with the network's time step"),
        )
    if data is None or not _fits("the recording", data.shape[2], port, size, data.where, findings) or dt is None or findings.errors:
        return None
    if not check_length(data.shape[1], cut, size, data.where, findings) or not _whole(data, name, port, findings):
        return None
    return Found(_Gridded(data), data.shape[0], data.shape[1], False, data.where)


def _whole(data: Rows, name: str, port: str, findings: Findings) -> bool:
    """Record NM802 unless all values are whole numbers; the format stores spikes as real numbers, too."""
    if data.dtype.kind != "f":
        return True
    for start, samples in data.pieces():
        width = max(1, CHUNK_BYTES // (8 * samples.shape[0] * samples.shape[2]))
        for step in range(0, samples.shape[1], width):
            rows = samples[:, step : step + width]
            fine = np.isfinite(rows)
            fine &= np.floor(np.where(fine, rows, 0.5)) == rows
            if not fine.all():
                at = np.argwhere(~fine)[0]
                place = (start + int(at[0]), step + int(at[1]), int(at[2]))
                known = name.casefold() in _SENT
                findings.error(
                    "NM802", f"`data` holds {float(rows[tuple(at)])} at {place}; spikes are whole numbers", where=data.where,
                    why=None if known else f"the node `{port}` records only `{name}`",
                    help=("encode the values as spikes over time",) if known else ("record the spikes of the node",),
                )
                return False
    return True


def _listed(group: Node, port: str, size: int, clock: Clock, cut: int | None, findings: Findings) -> Found | None:
    where = group.where
    neurons, end = group.number("n_neurons"), group.number("t_max")
    idx, time = group.rows("idx", "(samples, events)"), group.rows("time", "(samples, events)")
    valued = "value" in group
    value = group.rows("value", "(samples, events)") if valued else None
    members = [("idx", idx), ("time", time), *([("value", value)] if valued else [])]
    shapes = {name: rows.shape for name, rows in members if rows is not None}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"`{name}` {shape}" for name, shape in shapes.items())
        findings.error("NM802", f"the arrays of the events have different shapes: {told}", where=where)
    if idx is not None and idx.dtype.kind not in "iu":
        findings.error("NM802", f"`idx` is of type {idx.dtype}; integers are needed", where=idx.where)
    if neurons is not None:
        _fits("the recording", int(neurons), port, size, where, findings)
    if clock.network is None:
        findings.error(
            "NM802", "the events have times in seconds, and nothing says how long a time step is", where=where,
            why="the network counts in steps whose length its file does not state",
            help=(STEP_HELP, "store the spikes as TimeGriddedData"),
        )
    if findings.errors or idx is None or time is None or end is None or clock.network is None:
        return None
    rate = steps_per(Fraction(1), clock.network)
    last = _scan(idx, time, value, size, end, rate, findings)
    if findings.errors:
        return None
    exact = end / clock.network
    if exact > 2**62:
        whole = ceil(Fraction(end) * rate)
    else:
        whole = round(exact) if abs(exact - round(exact)) <= 1e-9 * max(1.0, exact) else ceil(exact)
    span = max(whole, last + 1)
    if not check_length(span, cut, size, where, findings, (SPAN_HELP,)):
        return None
    source = _Listed(idx, time, value, rate, size)
    if value is not None:
        merged = source.tally(min(span, most_steps(size))).merged
        if merged:
            findings.error(
                "NM802", f"{merged} events with a value fall into a time step in which their neuron has one already", where=where,
                why="the format keeps only the last of them",
                help=("store one event per neuron and step", "give a shorter time step with --dt"),
            )
            return None
    rule = f"`time` was divided into time steps of {clock.network:g} s ({clock.origin}); "
    rule += "each carries its value" if valued else "events of one neuron in one step count once, as the format has it"
    return Found(source, idx.shape[0], span, True, where, rule)


def _scan(
    idx: Rows, time: Rows, value: Rows | None, size: int, end: float, rate: Fraction, findings: Findings
) -> int:
    """Check every event; return the last time step, -1 without events."""
    last = -1
    wrong: dict[str, tuple[int, str, str]] = {}

    def see(kind: str, bad: Array, rows: Array, where: str) -> None:
        found = int(np.count_nonzero(bad & there))
        if found:
            at = np.argwhere(bad & there)[0]
            place = f"{where}[{start + int(at[0])}, {column + int(at[1])}]"
            count, first, seen = wrong.get(kind, (0, place, str(rows[tuple(at)])))
            wrong[kind] = (count + found, first, seen)

    rows, width = max(1, _BLOCK // idx.shape[1]), min(idx.shape[1], _BLOCK)
    with idx.open() as indices, time.open() as clock, (idx if value is None else value).open() as amounts:
        for start in range(0, idx.shape[0], rows):
            count = min(rows, idx.shape[0] - start)
            held = indices.take(count), clock.take(count), None if value is None else amounts.take(count)
            for column in range(0, idx.shape[1], width):
                places, times = held[0][:, column : column + width], held[1][:, column : column + width]
                there, finite = places != -1, np.isfinite(times)
                see(f"`idx` outside 0..{size - 1}, and not -1", (places < 0) | (places >= size), places, idx.where)
                see("`time` that are not finite", ~finite, times, time.where)
                see("`time` before the start of the sample", finite & (times < 0), times, time.where)
                see(f"`time` after `t_max` = {end:g}", finite & (times > end * (1 + 1e-9)), times, time.where)
                if value is not None and held[2] is not None:
                    values = held[2][:, column : column + width]
                    fine = np.isfinite(values)
                    fine &= np.floor(np.where(fine, values, 0.5)) == values
                    see("`value` that are no whole numbers", ~fine, values, value.where)
                    see("`value` beyond 32 bits", fine & (np.abs(values.astype(np.float64)) > 2**31 - 1), values, value.where)
                good = there & finite & (times >= 0)
                if good.any():
                    last = max(last, last_step(times[good], rate))
    for kind, (count, first, seen) in wrong.items():
        findings.error("NM802", f"there are {count} entries of {kind}; the first is {seen}", where=first)
    return last
