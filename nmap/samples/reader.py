"""Read a file of samples, whatever its format, and check it against the network's inputs.

Formats are told apart by content, per input of the network. NAME is the input's name; a network with one input takes the arrays
without `.NAME`, too.

`.npz`, dense: `inputs.NAME` (samples, time, *input shape) of any integer or bool type.

`.npz`, event lists, flat arrays with one entry per event:
    `t.NAME` in time steps, or `t_s`, `t_ms`, `t_us`, `t_ns` in that unit, divided by the length of the network's time step;
    `index.NAME`, the input in C order over the input's shape, or `x`, `y` and `p`: column, row and channel of a shape (polarity,
    height, width), without `p` where there is one channel;
    `value.NAME`, integers, optional; an event without a value counts 1;
    `offsets.NAME` (samples + 1,), where each sample begins, and the end; without it there is one sample;
    `binary.NAME`: True makes several events of one input in one step a single spike; otherwise they add up.

Beside them, all optional: `steps`, the number of time steps (by default up to the last event of all samples); `dt`, the seconds of a
time step, compared with the network's and used where the network does not know its own; `labels` (samples,), which number the neurons of
the network's first output, or `labels.OUTPUT` those of another one (`label` is taken as well).

An input has one form of samples: files that hold two contradict themselves and are refused. Arrays that nothing reads are told, but for
what scripts store beside samples: `spikes`, `counts` and `reference...`.

HDF5: NIRData, see `nmap.samples.nirdata`, and no labels.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import h5py
import numpy as np

from nmap.connectivity import Array, frozen_array
from nmap.diagnostics import Findings, NmapError
from nmap.digest import sha256_of
from nmap.network import Network
from nmap.samples.archive import HELD_BYTES, READ_ERRORS, Archive, Keep, listed, short, stamp, told, type_name
from nmap.samples.dense import check_integers, read_dense
from nmap.samples.events import Clock, read_events
from nmap.samples.keys import did_you_mean, foreign_labels, near, suffixes_of, tell_unread
from nmap.samples.model import MAX_SAMPLE_BYTES, MAX_STEPS, SHORTER, DType, Found, Samples, Tally, most_steps
from nmap.samples.nirdata import is_nirdata, read_nirdata
from nmap.samples.stored import open_recording

__all__ = ["load"]

_Reader: TypeAlias = Callable[[Path, Network, int | None, Findings, Keep], "tuple[dict[str, Found], Array | None, str | None]"]
_WRITE = "write it with `np.savez_compressed(file, inputs=..., labels=...)`"


def load(path: str | Path, network: Network, steps: int | None = None, held: int | None = None) -> Samples:
    """Read samples for a network; their content is checked now and read in pieces later.

    Args:
        path: the file.
        network: whose inputs the samples must fit; labels must number the neurons of an output.
        steps: time steps to run: samples are cut, or continued with silence; None for the file's own.
        held: bytes of a compressed file's arrays that may stay in memory, so that they are unpacked only once; None for `HELD_BYTES`.

    Raises:
        NmapError: NM801 (or the readers' codes for HDF5) where the file cannot be read or lacks its arrays, NM802 where what it holds does
            not fit the network; all problems of a file together.
    """
    path, findings = Path(path), Findings()
    name = str(path)
    read: _Reader | None = None
    sha256 = ""
    try:
        if path.is_dir():
            findings.error("NM801", f"`{name}` is a folder, not a file of samples", where=name)
        elif not path.exists():
            findings.error("NM801", f"`{name}` does not exist", where=name)
        elif not path.is_file():
            findings.error("NM801", f"`{name}` is not a regular file", where=name)
        elif zipfile.is_zipfile(path):
            read = _archive
        elif h5py.is_hdf5(name):
            read = _recording
        else:
            findings.error("NM801", f"`{name}` is not a .npz file, and not NIRData", where=name, help=(_WRITE,))
        if read is not None:
            with ThreadPoolExecutor(1) as other:
                digest = other.submit(sha256_of, path)
                samples = _load(path, network, steps, read, findings, Keep(HELD_BYTES if held is None else held))
                sha256 = digest.result()
    except NmapError as error:
        findings.extend(d for d in error.diagnostics if d not in findings.errors)
    except READ_ERRORS as error:
        findings.error("NM801", f"`{name}` cannot be read", where=name, why=told(error))
    findings.raise_errors()
    return replace(samples, sha256=sha256, diagnostics=tuple(findings))


def _load(path: Path, network: Network, steps: int | None, read: _Reader, findings: Findings, keep: Keep) -> Samples:
    found, labels, scored = read(path, network, steps, findings, keep)
    lacking = [port for port in network.inputs if port not in found]
    if lacking and not findings.errors:
        findings.error("NM801", f"`{path}` holds no samples for {', '.join(f'`{port}`' for port in lacking)}", where=str(path))
    findings.raise_errors()
    length = _length(found, steps, network, findings)
    findings.raise_errors()
    low = high = 0
    graded: dict[str, Tally] = {}
    dtypes: dict[str, DType] = {}
    for port, held in found.items():
        tally = held.source.tally(length)
        if tally.low < -(2**31) or tally.high > 2**31 - 1:
            worst = tally.high if tally.high > 2**31 - 1 else tally.low
            findings.error("NM802", f"the samples hold values up to {short(worst)}; spikes are 32-bit integers", where=held.where)
        low, high = min(low, tally.low), max(high, tally.high)
        dtypes[port] = tally.dtype
        if tally.low < 0 or tally.high > 1:
            graded[port] = tally
        _describe(port, held, tally, len(found) == 1, findings)
    findings.raise_errors()
    _tell_graded(found, graded, findings)
    return Samples(
        samples=next(iter(found.values())).samples, steps=length, shapes={port: network[port].shape for port in found},
        sources={port: held.source for port, held in found.items()}, dtypes=dtypes, low=low, high=high, labels=labels, scored=scored,
        sha256="", name=path.name,
    )


def _clock(network: Network, file: float | None) -> Clock:
    stated = next((f"{a.source}, {a.evidence}" for a in network.assumptions if a.name == "dt"), "stated by its file")
    return Clock(network.conventions.dt, file, stated)


def _recording(
    path: Path, network: Network, cut: int | None, findings: Findings, keep: Keep
) -> tuple[dict[str, Found], Array | None, str | None]:
    with open_recording(path, stamp(path), findings, keep) as root:
        if not is_nirdata(root):
            held = ", ".join(f"`{name}`" for name in root.names[:8]) or "nothing"
            findings.error(
                "NM801", f"`{path}` is HDF5 but not NIRData", where=str(path), why=f"its root holds {held}",
                help=("write samples with `nir.write_data`", _WRITE),
            )
            return {}, None, None
        ports = {port: network[port].size for port in network.inputs}
        return read_nirdata(root, ports, _clock(network, None), cut, findings), None, None


def _archive(
    path: Path, network: Network, cut: int | None, findings: Findings, keep: Keep
) -> tuple[dict[str, Found], Array | None, str | None]:
    archive = Archive(path, findings, keep)
    suffixes = suffixes_of(archive, network, findings)
    if len(suffixes) < len(network.inputs):
        if not findings.errors:
            _missing(archive, network, [port for port in network.inputs if port not in suffixes], findings)
        foreign_labels(archive, network, findings)
        return {}, None, None
    foreign_labels(archive, network, findings)
    clock = _clock(network, _seconds(archive, network, findings))
    stated = _steps(archive, findings)
    found: dict[str, Found] = {}
    samples = None
    for port, suffix in suffixes.items():
        held = None
        if f"inputs{suffix}" in archive:
            member = archive.member(f"inputs{suffix}")
            if member is not None:
                samples = member.shape[0] if member.shape else 0
                held = read_dense(member, port, network[port].shape, cut, findings)
            if held is not None and stated not in (None, held.steps):
                findings.error(
                    "NM802", f"`inputs{suffix}` has {held.steps} time steps, `steps` states {stated}", where=f"{path}:steps",
                    help=("leave `steps` out of the file and cut the run with --steps",),
                )
        else:
            held = read_events(archive, suffix, port, network[port].shape, clock, stated, cut, findings)
            samples = samples if held is None else held.samples
        if held is not None:
            found[port] = held
    labels = _labels(archive, samples, network, findings)
    if not findings.errors:
        tell_unread(archive, network, suffixes, findings)
    return found, *labels


def _missing(archive: Archive, network: Network, ports: list[str], findings: Findings) -> None:
    path, held = archive.path, listed(archive.keys) or "nothing"
    if len(network.inputs) == 1:
        raw = archive.holds_file("inputs")
        meant = near([name for name in archive.keys if name != "inputs"], ["inputs", f"inputs.{ports[0]}"])
        findings.error(
            "NM801",
            f"`{path}` has no array `inputs`",
            where=str(path),
            why=(
                "its member `inputs` is not in NumPy's format: arrays of a .npz file are members named `*.npy`" if raw
                else f"it holds {held}"
            ),
            help=(
                *did_you_mean(meant, 1),
                _WRITE if raw else "store the samples under the name `inputs`, of shape (samples, time, *input shape)",
                "or events as `t` with `index`, or with `x`, `y` and `p`",
            ),
        )
        return
    names = ", ".join(f"`inputs.{port}`" for port in ports)
    meant = near(archive.keys, [f"inputs.{port}" for port in ports])
    findings.error(
        "NM802",
        f"the network has {len(network.inputs)} inputs ({', '.join(f'`{port}`' for port in network.inputs)}); "
        f"`{path}` has no samples for {', '.join(f'`{port}`' for port in ports)}",
        where=str(path),
        why=f"it holds {held}",
        help=(*did_you_mean(meant, 2), f"store an array for each: {names}"),
    )


def _number(archive: Archive, key: str, kinds: str, findings: Findings) -> float | None:
    values = archive.whole(key)
    if values is None:
        return None
    if values.size != 1 or values.dtype.kind not in kinds:
        what = "a number of seconds" if "f" in kinds else "a whole number"
        findings.error(
            "NM802", f"`{key}` is of type {type_name(values.dtype)} and shape {values.shape}; {what} is needed",
            where=f"{archive.path}:{key}",
        )
        return None
    value = values.reshape(-1)[0].item()
    if not np.isfinite(value) or value <= 0:
        findings.error("NM802", f"`{key}` is {value}; a number above 0 is needed", where=f"{archive.path}:{key}")
        return None
    return float(value)


def _seconds(archive: Archive, network: Network, findings: Findings) -> float | None:
    """Return the file's own length of a time step; record NM802 where the network's is another."""
    dt, ours = _number(archive, "dt", "iuf", findings), network.conventions.dt
    if dt is not None and ours is not None and abs(dt - ours) > 1e-6 * ours:
        findings.error(
            "NM802", f"the samples have a time step of {dt:g} s, the network one of {ours:g} s", where=f"{archive.path}:dt",
            why=f"the network's: {_clock(network, dt).evidence}",
            help=(f"--dt {dt:g} if that is the network's time step", "make the samples again with the network's time step"),
        )
    return dt


def _steps(archive: Archive, findings: Findings) -> int | None:
    steps = _number(archive, "steps", "iu", findings)
    return None if steps is None else int(steps)


def _labels(archive: Archive, samples: int | None, network: Network, findings: Findings) -> tuple[Array | None, str | None]:
    choices = {"labels": network.outputs[0], "label": network.outputs[0], **{f"labels.{name}": name for name in network.outputs}}
    keys = [key for key in choices if key in archive]
    if not keys:
        return None, None
    if len(keys) > 1:
        findings.error(
            "NM802", f"{listed(keys)} {'both' if len(keys) == 2 else 'all'} label the samples; one output is scored",
            where=str(archive.path), help=("leave all but one of them out",),
        )
        return None, None
    key, output = keys[0], choices[keys[0]]
    where, size = f"{archive.path}:{key}", network[output].size
    member = archive.member(key)
    if member is None or not check_integers(member, findings):
        whole = False
        values = None if member is None else archive.whole(key)
    else:
        whole, values = True, archive.whole(key)
    if values is None:
        return None, None
    if key == "label" and values.ndim == 0:
        values = values.reshape(1)
    if samples is not None and values.shape != (samples,):
        findings.error(
            "NM802",
            f"`{key}` has shape {values.shape}; ({samples},) is needed, one for each sample",
            where=where,
            help=(f"`{key}.argmax(axis=1)` for one-hot labels",) if values.shape == (samples, size) else (),
        )
    elif whole and values.size and (int(values.min()) < 0 or int(values.max()) >= size):
        bad = int(np.flatnonzero((values < 0) | (values >= size))[0])
        what = f"the network's {size} outputs" if len(network.outputs) == 1 else f"the {size} neurons of output `{output}`"
        findings.error("NM802", f"label {int(values[bad])} of sample {bad} is outside {what}", where=f"{where}[{bad}]")
    return (frozen_array(values, np.int64), output) if whole else (None, None)


def _length(found: dict[str, Found], steps: int | None, network: Network, findings: Findings) -> int:
    """Return the number of time steps to run; record NM802 where the inputs do not agree, NM004 for too many steps."""
    first = next(iter(found.values()))
    for port, held in found.items():
        if held.samples != first.samples:
            findings.error(
                "NM802", f"there are {held.samples} samples for `{port}` and {first.samples} for `{next(iter(found))}`", where=held.where
            )
    ends = {port: held.steps for port, held in found.items() if not held.open_end}
    length = max(held.steps for held in found.values()) if not ends else next(iter(ends.values()))
    for port, held in found.items():
        if held.steps > length or (not held.open_end and held.steps != length):
            findings.error(
                "NM802", f"the samples of `{port}` have {held.steps} time steps, those of `{next(iter(ends))}` {length}", where=held.where
            )
    chosen = length if steps is None else steps
    width = sum(network[port].size for port in found)
    if chosen > most_steps(width):
        findings.error(
            "NM802" if steps is None else "NM004",
            f"one sample of {short(chosen)} time steps would be beyond the limit of {MAX_SAMPLE_BYTES} bytes or {MAX_STEPS} steps",
            where=first.where if steps is None else "--steps", why=f"{short(chosen)} steps of {width} inputs, 4 bytes each",
            help=SHORTER if steps is None else (f"--steps {max(1, most_steps(width))} at most",),
        )
    return chosen


def _tell_graded(found: dict[str, Found], graded: dict[str, Tally], findings: Findings) -> None:
    """Record the note that says which values other than 0 and 1 the inputs receive, once for all of them."""
    if not graded:
        return
    low, high = min(tally.low for tally in graded.values()), max(tally.high for tally in graded.values())
    each = "; ".join(f"`{port}`: {tally.low} to {tally.high}" for port, tally in list(graded.items())[:8])
    findings.note(
        "NM803", f"the samples hold values from {low} to {high}, not only 0 and 1: they act as graded spikes",
        where=found[next(iter(graded))].where,
        why=("" if len(found) == 1 else f"{each}. ") + "A value is a current: it is multiplied with the weight of each synapse",
        data={"low": low, "high": high},
    )


def _describe(port: str, held: Found, tally: Tally, alone: bool, findings: Findings) -> None:
    """Record the note that says how events became spikes."""
    if held.rule is None or tally.events is None:
        return
    what = f"{tally.events} events became spikes" if alone else f"{tally.events} events of `{port}` became spikes"
    merged = f"{tally.merged} fall together with another one" if tally.merged else "none falls together with another one"
    findings.note(
        "NM803", f"{what}: {merged}", where=held.where, why=held.rule[0].upper() + held.rule[1:],
        help=("store `binary` = True in the file for at most one spike per step",) if tally.high > 1 and tally.merged else (),
        data={"events": tally.events, "merged": tally.merged, "largest": tally.high},
    )
