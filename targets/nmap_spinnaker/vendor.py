"""Map an emitted script with sPyNNaker itself, onto a machine that is not there, and compare what it would load with the script's arrays.

sPyNNaker's virtual mode writes the memory images of all cores (`ds.sqlite3`), the placements and the routing tables. Compared are: every
slice on its processor, the raw parameters and initial state of every neuron, the ring-buffer shifts, every synaptic word, and the way of
every slice's packets through the routing tables. The cores compute from these bytes alone, so where they are equal the machine computes
what the kernels compute. Nothing is imported from sPyNNaker here.

Sources of the formats: sPyNNaker 7.4.1, `population_machine_neurons.py` (core parameters), `population_machine_synapses.py` (synapse
parameters), `neuron_impl_standard.py` and the structs of its components (neuron parameters), `master_pop_table.py`, `synapse_io.py`;
SpiNNFrontEndCommon 7.4.1, `reverse_ip_tag_multicast_source_machine_vertex.py`; SpiNNMachine's `spinnaker_route` (links 0 to 5, then
processors).
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeAlias

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Check
from nmap.processes import end_all, last_line, version_elsewhere
from nmap.quantized import QuantizedNetwork
from nmap.target.backend import VendorRun
from nmap_spinnaker.pynn import quantized, start_values
from nmap_spinnaker.reread import Stored, read_folder, stored_synapses

__all__ = ["INTERPRETER_VARIABLE", "MOST_ENTRIES", "compare", "find_spynnaker", "run_vendor", "vendor_tools"]

INTERPRETER_VARIABLE = "NMAP_SPYNNAKER_PYTHON"
"""Environment variable with the path of a Python that has sPyNNaker, for use from another Python."""
MOST_ENTRIES = 1023
"""Entries of a router's table that are free for a network (SpiNNMachine 7.4.1, `version_spin1.py`)."""

_NAME, _PACKAGE = "sPyNNaker", "spynnaker"
_HELP = f'pip install "spynnaker==1!7.4.1", or set {INTERPRETER_VARIABLE} to a Python that has it'
_ASK_TIMEOUT = 20.0
"""Seconds an interpreter has to say its version of sPyNNaker."""
_TOLD = 20
"""Differences that are told."""
_WORDS = 4096
"""Bytes of what a failed run printed that are looked at."""
_LEAK = ("v", "v_rest", "cm", "tau_m", "i_offset", "v_reset", "tau_refrac", "refract_timer", "timestep")
_TRUNC = ("v", "cm", "tau_m", "i_offset", "v_reset", "tau_refrac", "refract_timer", "timestep")
_DELTA = ("isyn_exc", "isyn_inh")
_STRUCTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "spinnaker1.if_curr_exp": (_LEAK, ("v_thresh",), ("tau_syn_E", "isyn_exc", "tau_syn_I", "isyn_inh", "timestep")),
    "spinnaker1.if_curr_delta": (_LEAK, ("timestep",), ("v_thresh",), _DELTA),
    "spinnaker1.if_trunc": (_TRUNC, ("v_thresh",), _DELTA),
}
"""Words of a neuron's parameters, struct by struct; each struct is repeated for all neurons."""
_CORE_PARAMS, _NEURON_PARAMS, _SYNAPSE_PARAMS, _POP_TABLE, _MATRIX = 1, 2, 4, 5, 6
"""Regions of a core of neurons."""
_CONFIGURATION, _KEY = 1, 5
"""Region of a core of sources, and its word with the key."""
_HEADER = 3
"""Words of a row before its synapses."""
_INVALID = (1 << 24) - 1
"""Address of an entry without a matrix."""
_LINKS = ((1, 0), (1, 1), (0, 1), (-1, 0), (-1, -1), (0, -1))
"""Columns and rows to the neighbour at links E, NE, N, W, SW, S."""

_Image: TypeAlias = Mapping[tuple[int, int, int, int], bytes]
"""What the cores' memory holds, by x, y, processor and region."""
_Keys: TypeAlias = Mapping[tuple[int, int, int], int | None]
"""The key of a slice's first neuron, by its core; None where it sends nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    """A slice that was written: its population and PyNN population, its first neuron there, its neurons, and its processor."""

    population: str
    label: str
    first: int
    neurons: Array
    core: tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Sender:
    """A slice that sends to others, and the key of its first neuron."""

    key: int
    slice: _Slice


def find_spynnaker() -> tuple[str, str] | str:
    """Return (interpreter, version of sPyNNaker), or the reason why there is none."""
    there = version_elsewhere(INTERPRETER_VARIABLE, _PACKAGE, _ASK_TIMEOUT)
    if there is not None:
        return there
    try:
        return sys.executable, version(_PACKAGE)
    except PackageNotFoundError:
        return f"sPyNNaker is not installed for this Python: {_HELP}"


def vendor_tools() -> tuple[Check, ...]:
    """Return whether sPyNNaker is there, for `nmap doctor`."""
    found = find_spynnaker()
    if not isinstance(found, str):
        return (Check(_NAME, "ok", f"{found[1]} at {found[0]}"),)
    if os.environ.get(INTERPRETER_VARIABLE):
        return (Check(_NAME, "broken", found, _HELP),)
    return (Check(_NAME, "absent", "it is not installed", _HELP),)


def run_vendor(folder: Path, inputs: Array, steps: int, timeout: float) -> VendorRun:
    """Return how sPyNNaker's virtual mode maps the emitted script, compared with its arrays, or the reason why it does not.

    Args:
        folder: where the files of `nmap_spinnaker.emit` lie; nothing is written there.
        inputs: (samples, time, input neurons) integers; only the first sample is loaded, for nothing is computed.
        steps: chip steps to run.
        timeout: seconds until the run is given up and its process ended.
    """
    found = find_spynnaker()
    if isinstance(found, str):
        return VendorRun(_NAME, None, missing=found, compared="mapping")
    interpreter, number = found
    with tempfile.TemporaryDirectory(prefix="nmap-spynnaker-") as name:
        scratch = Path(name)
        np.savez(scratch / "samples.npz", inputs=inputs[:1])
        command = [
            interpreter, str((folder / "run.py").resolve()), "--input", str(scratch / "samples.npz"), "--steps", str(steps), "--virtual",
            "--work", str(scratch / "work"),
        ]
        # Settings in the home folder may name a machine; without any sPyNNaker writes some there and stops.
        (scratch / ".spynnaker.cfg").write_text("[Machine]\n", encoding="utf-8")
        environment = {**os.environ, "HOME": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
        failed = _map(command, environment, scratch, timeout)
        if failed is not None:
            return VendorRun(_NAME, number, missing=failed, compared="mapping")
        reports = sorted((scratch / "work" / "reports").glob("*/run_1"))
        if not reports:
            return VendorRun(_NAME, number, missing="sPyNNaker wrote no reports", compared="mapping")
        try:
            differences, facts = compare(read_folder(folder), reports[-1])
        except (OSError, ValueError, KeyError, TypeError, IndexError, sqlite3.Error) as error:
            said = f"what sPyNNaker wrote cannot be read: {type(error).__name__}: {error}"
            return VendorRun(_NAME, number, missing=said, compared="mapping")
    return VendorRun(_NAME, number, compared="mapping", differences=differences, facts=facts)


def _map(command: list[str], environment: Mapping[str, str], scratch: Path, timeout: float) -> str | None:
    """Run the script; return what went wrong, None where nothing did."""
    said = scratch / "said.txt"
    with said.open("w", encoding="utf-8") as output:
        try:
            process = subprocess.Popen(
                command, cwd=scratch, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, text=True,
                start_new_session=True,
            )
        except OSError as error:
            return f"{command[0]} cannot be run: {error.strerror or error}"
        with process:
            try:
                process.wait(max(0.0, timeout))
            except subprocess.TimeoutExpired:
                return f"sPyNNaker did not finish within {timeout:g} s and was stopped"
            finally:
                end_all(process)
    if process.returncode:
        text = said.read_bytes()[-_WORDS:].decode(errors="replace")
        # sPyNNaker ends with a summary of its warnings, so the error stands further up.
        errors = [line for line in text.splitlines() if "Error" in line or "Exception" in line or line.startswith("run.py: ")]
        return f"sPyNNaker stopped with status {process.returncode}: {last_line(errors[-1] if errors else text)}"
    return None


# ---- what was written -------------------------------------------------------------------------------------------------------------------


def compare(stored: Stored, report: Path) -> tuple[tuple[str, ...], dict[str, int | float | str]]:
    """Return what in sPyNNaker's mapping is not as in the emitted files, and facts of the mapping.

    Args:
        stored: the emitted files.
        report: folder `run_1` of sPyNNaker's reports, of mode Debug.

    Raises:
        OSError, ValueError, KeyError, TypeError, IndexError, sqlite3.Error: the reports are not in the form of sPyNNaker 7.4.1.
    """
    network, _ = quantized(stored.network, strict=False)
    slices = list(_slices(stored))
    with closing(sqlite3.connect(f"file:{report / 'ds.sqlite3'}?mode=ro", uri=True)) as database:
        regions = {
            (x, y, p, number): content
            for x, y, p, number, content in database.execute("SELECT x, y, p, region_num, content FROM region") if content is not None
        }
    placed = json.loads((report / "json_files" / "placements.json").read_bytes())
    found = list(_placement(slices, placed))
    facts: dict[str, int | float | str] = {}
    if not found:
        keys = {one.core: _key(one, network, regions) for one in slices}
        senders = [_Sender(key, one) for one in slices if (key := keys[one.core]) is not None]
        found += _contents(stored, network, slices, regions, senders)
        more, facts = _ways(network, slices, keys, report)
        found += more
    facts |= {"cores": len(slices), "chips": len({one.core[:2] for one in slices})}
    return tuple([*found[:_TOLD], f"{len(found) - _TOLD} more differences"] if len(found) > _TOLD else found), facts


def _slices(stored: Stored) -> Iterator[_Slice]:
    for name, parts in stored.parts.items():
        for part in parts:
            first = 0
            for piece in part.slices:
                yield _Slice(name, part.label, first, piece.neurons, piece.core)
                first += piece.neurons.size


def _placement(slices: list[_Slice], placed: list[dict[str, int | str]]) -> Iterator[str]:
    """Yield slices that lie elsewhere, or are of other neurons: sPyNNaker names each by its population, first and last neuron."""
    where = {str(place["vertex_label"]): (place["x"], place["y"], place["p"]) for place in placed}
    mine = [f"{one.label}({one.first}:{one.first + one.neurons.size - 1})" for one in slices]
    for label in where:
        if label.startswith("Delay extension") and label not in mine:
            yield f"sPyNNaker adds a core that delays spikes, `{label}`"
    for one, label in zip(slices, mine, strict=True):
        if label not in where:
            yield f"sPyNNaker has no slice `{label}`"
        elif where[label] != one.core:
            yield f"sPyNNaker puts `{label}` on (x, y, p) {where[label]}, not on {one.core}"


def _words(regions: _Image, core: tuple[int, int, int], number: int) -> Array:
    """Return a region's content, word by word, int64."""
    content = regions[core[0], core[1], core[2], number]
    return np.frombuffer(content[: len(content) // 4 * 4], "<u4").astype(np.int64)


def _key(one: _Slice, network: QuantizedNetwork, regions: _Image) -> int | None:
    """Return the key of a slice's first neuron, None for one that sends nothing."""
    if network[one.population].kernel is None:
        return int(_words(regions, one.core, _CONFIGURATION)[_KEY])
    words = _words(regions, one.core, _CORE_PARAMS)
    return int(words[5 + words[4]]) if words[0] else None


def _contents(
    stored: Stored, network: QuantizedNetwork, slices: list[_Slice], regions: _Image, senders: list[_Sender],
) -> Iterator[str]:
    """Yield what differs in the memory images of cores of neurons."""
    due = {population.name: stored_synapses(network, population.name) for population in network.populations if population.kernel}
    for one in slices:
        population = network[one.population]
        if population.kernel is None:
            continue
        shifts = [int(population.params[f"shift_{receptor}"][0]) for receptor in (0, 1)]
        core = _words(regions, one.core, _CORE_PARAMS)
        synapses = _words(regions, one.core, _SYNAPSE_PARAMS)
        if core[1] != one.neurons.size:
            yield f"sPyNNaker gives processor {one.core} {core[1]} neurons of `{one.label}`, not {one.neurons.size}"
            continue
        if core[5:7].tolist() != shifts or synapses[7:9].tolist() != shifts:
            yield f"sPyNNaker takes ring-buffer shifts {synapses[7:9].tolist()} for `{one.label}`, not {shifts}"
        if synapses[6] != stored.buffers[one.population]:
            yield f"sPyNNaker makes a buffer of {synapses[6]} spikes for `{one.label}`, not of {stored.buffers[one.population]}"
        yield from _parameters(one, network, _words(regions, one.core, _NEURON_PARAMS))
        yield from _matrix(one, network, regions, senders, synapses, due[one.population])


def _parameters(one: _Slice, network: QuantizedNetwork, words: Array) -> Iterator[str]:
    """Yield what differs in the parameters of a slice's neurons."""
    population = network[one.population]
    count, at = one.neurons.size, 1
    real = np.flatnonzero(one.neurons >= 0)
    here = one.neurons[real]
    zero = np.zeros(population.size, np.int64)
    started = start_values(str(population.kernel), population.params, population.initial)
    wanted = {**population.params, "isyn_exc": zero, "isyn_inh": zero, **started}
    if words[0] != 1 or words.size != 1 + count * sum(map(len, _STRUCTS[str(population.kernel)])):
        yield f"the parameters of `{one.label}` on {one.core} take {words.size} words in sPyNNaker"
        return
    for struct in _STRUCTS[str(population.kernel)]:
        table = words[at : at + count * len(struct)].reshape(count, len(struct))
        at += table.size
        for column, name in enumerate(struct):
            held = _signed(table[real, column])
            wrong = np.flatnonzero(held != wanted[name][here])
            if wrong.size:
                first = wrong[0]
                yield (f"`{name}` of neuron {here[first]} of `{one.population}` is {held[first]} in sPyNNaker, "
                       f"{wanted[name][here[first]]} in the script's arrays")


def _signed(words: Array) -> Array:
    return (words + 2**31) % 2**32 - 2**31


def _matrix(
    one: _Slice, network: QuantizedNetwork, regions: _Image, senders: list[_Sender], settings: Array, due: Array,
) -> Iterator[str]:
    """Yield what differs in the synaptic rows of a core, in what a spike of any neuron finds there."""
    index_bits, type_bits = settings[2:4].tolist()
    table, blocks = _words(regions, one.core, _POP_TABLE), _words(regions, one.core, _MATRIX)
    entries = table[2 : 2 + 5 * table[0]].reshape(-1, 5)
    addresses = table[2 + 5 * table[0] :]
    place = {population.name: k for k, population in enumerate(network.populations)}
    rows = [np.zeros((0, 6), np.int64)]
    for key, mask, third, fourth, fifth in entries.tolist():
        start, count = third & 0x1FFF, third >> 16
        matching = [sender for sender in senders if sender.key & mask == key]
        if not matching:
            yield f"sPyNNaker lets {one.core} receive keys {key:#010x} under {mask:#010x}, which no slice sends"
            continue
        shift, core_mask, per_core = fourth >> 16, fourth & 0xFFFF, fifth & 0xFFFF
        for word in addresses[start : start + count].tolist():
            if word >> 8 == _INVALID:
                continue
            length = (word & 0xFF) + 1
            for other in matching:
                first = ((other.key >> shift) & core_mask) * per_core
                begin = (word >> 8) * 4 + first * (length + _HEADER)
                rows.append(_row_synapses(
                    blocks, begin, length, other.slice, one, place[other.slice.population], (index_bits, type_bits),
                ))
    held = np.concatenate(rows)
    held = held[np.lexsort(held.T[::-1])]
    own = due[np.isin(due[:, 0], one.neurons)]
    if held.shape != own.shape:
        yield f"sPyNNaker has {len(held)} synapses onto `{one.label}` on {one.core}, the script's arrays have {len(own)}"
    elif (held != own).any():
        wrong = int(np.flatnonzero((held != own).any(axis=1))[0])
        yield (f"a synapse onto `{one.label}` on {one.core} is {held[wrong].tolist()} in sPyNNaker, {own[wrong].tolist()} in the arrays "
               f"of the script (target, source population, source, receptor, weight, delay)")


def _row_synapses(
    blocks: Array, begin: int, length: int, sender: _Slice, target: _Slice, place: int, bits: tuple[int, int],
) -> Array:
    """Return the synapses in the rows of one slice's neurons, columns as in `stored_synapses`.

    A row is three words (no plastic synapses; how many fixed ones; no plastic controls) and the words of its synapses.
    """
    size = sender.neurons.size
    table = blocks[begin : begin + size * (length + _HEADER)].reshape(size, length + _HEADER)
    if table[:, 0].any() or table[:, 2].any() or (table[:, 1] > length).any():
        raise ValueError(f"the rows of `{sender.label}` on {target.core} are not of static synapses")
    row, column = np.nonzero(np.arange(length) < table[:, 1][:, None])
    word = table[row, _HEADER + column]
    index_bits, type_bits = bits
    index, receptor = word & ((1 << index_bits) - 1), (word >> index_bits) & ((1 << type_bits) - 1)
    delay = (word & 0xFFFF) >> (index_bits + type_bits)
    source, neuron = sender.neurons[row], target.neurons[index]
    return np.stack([neuron, np.full(row.size, place), source, receptor, word >> 16, delay], axis=1)


# ---- routes -----------------------------------------------------------------------------------------------------------------------------


def _ways(
    network: QuantizedNetwork, slices: list[_Slice], keys: _Keys, report: Path,
) -> tuple[list[str], dict[str, int | float | str]]:
    """Follow every slice's packets through sPyNNaker's tables; return what is wrong with them, and their hops."""
    files = json.loads((report / "json_files" / "routing_tables.json").read_bytes())
    machine = json.loads((report / "json_files" / "machine.json").read_bytes())
    size = int(machine["width"]), int(machine["height"])
    tables = {(t["x"], t["y"]): [(e["key"], e["mask"], e["spinnaker_route"]) for e in t["entries"]] for t in files}
    heard: dict[tuple[str, int], set[tuple[int, int, int]]] = {}
    for one in slices:
        if network[one.population].kernel is None:
            continue
        rows = stored_synapses(network, one.population)
        rows = rows[np.isin(rows[:, 0], one.neurons)]
        for place in np.unique(rows[:, 1]).tolist():
            sources = np.unique(rows[rows[:, 1] == place, 2])
            for number, other in enumerate(slices):
                if network.populations[place].name == other.population and np.isin(other.neurons, sources).any():
                    heard.setdefault((other.population, number), set()).add(one.core)
    found, hops, deliveries, neurons = [], 0, 0, 0
    for number, one in enumerate(slices):
        wanted = heard.get((one.population, number), set())
        key = keys[one.core]
        real = int((one.neurons >= 0).sum())
        neurons += real
        if key is None:
            if wanted:
                found.append(f"sPyNNaker gives `{one.label}` on {one.core} no key")
            continue
        links, reached = _follow(key, one.core, tables, size)
        hops += links * real
        deliveries += len(reached) * real
        lost = wanted - reached
        if lost:
            found.append(f"packets of `{one.label}` on {one.core} do not reach {sorted(lost)} in sPyNNaker's tables")
    entries = [len(table) for table in tables.values()]
    if max(entries, default=0) > MOST_ENTRIES:
        found.append(f"a router needs {max(entries)} entries; {MOST_ENTRIES} are free")
    return found, {
        "hops": hops, "hops_per_spike": round(hops / max(1, neurons), 6), "deliveries": deliveries,
        "table_entries": sum(entries), "largest_table": max(entries, default=0),
    }


def _follow(
    key: int, core: tuple[int, int, int], tables: Mapping[tuple[int, int], list[tuple[int, int, int]]], size: tuple[int, int],
) -> tuple[int, set[tuple[int, int, int]]]:
    """Return the links that a packet takes, copies included, and the processors that it reaches.

    Raises:
        ValueError: it goes round for ever, or a first router does not know it.
    """
    waiting: list[tuple[tuple[int, int], int | None]] = [(core[:2], None)]
    links, reached, seen = 0, set(), set()
    while waiting:
        chip, came = waiting.pop()
        if (chip, came) in seen:
            raise ValueError(f"packets of {core} go round at chip {chip}")
        seen.add((chip, came))
        route = next((route for value, mask, route in tables.get(chip, ()) if key & mask == value), None)
        if route is None:
            if came is None:
                return 0, set()
            # Without an entry a packet goes straight on.
            route = 1 << came
        for link, (dx, dy) in enumerate(_LINKS):
            if route >> link & 1:
                links += 1
                waiting.append((((chip[0] + dx) % size[0], (chip[1] + dy) % size[1]), link))
        reached |= {(*chip, p) for p in range(26) if route >> (6 + p) & 1}
    return links, reached
