"""Results of a run in HDF5, written as they come, so that memory does not grow with the samples.

Root attributes: `schema` = `nmap.recording/1`, `nmap` (version), `samples`, `steps`, and what the run says of itself (`level`,
`raw_time`; `window`, where a step of the chip stands for several of the network). Names are those of `nmap run -o OUT.npz`:

- what was sent (`spikes`, `spikes.NAME`, `POP.spikes`) is a group of events, in the order of samples, steps and neurons, as event lists of
  samples have it (`nmap.samples.reader`): `offsets` (samples + 1,) says where each sample's events begin and where the last one's end;
  `t` (events,) is the time step, `index` (events,) the neuron, in C order over the attribute `shape`; `value` (events,) is the payload, and
  is missing where all are 1;
- states (`POP.v`, `NAME.v` of an output that never fires) are datasets (samples, steps, *shape), compressed;
- `counts`, `counts.NAME` (samples, neurons) are datasets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nmap.connectivity import Array
from nmap.recorded import Recorded, Result
from nmap.report.versions import nmap_version
from nmap.trace import SpikeEvents
from nmap.writers.place import new_file, unwritable

__all__ = ["SCHEMA", "Recording", "recording"]

SCHEMA = "nmap.recording/1"

_CHUNK = 2**16
"""Elements of a chunk of a dataset."""
_PACKED: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
"""Higher levels take several times as long and save little."""


@contextmanager
def recording(path: Path, samples: int, steps: int, facts: Mapping[str, str | int | bool]) -> Iterator[Recording]:
    """Give a file that takes results; it is there, whole, when everything went well, and not at all otherwise.

    Args:
        path: of the file; an existing one is replaced at the end.
        samples, steps: how many there will be.
        facts: attributes of the file.

    Raises:
        NmapError: NM601, it cannot be written.
    """
    if path.exists() and not path.is_file():
        raise unwritable(path, "HDF5 goes into a regular file.")
    with _guarded(path), new_file(path) as scratch, h5py.File(scratch, "w") as file:
        file.attrs.update({"schema": SCHEMA, "nmap": nmap_version(), "samples": samples, "steps": steps, **facts})
        yield Recording(path, file, samples, steps)


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritable(path, f"{error.strerror or str(error).splitlines()[0]}.") from error


class Recording:
    """A file that takes results; see `recording`.

    Args:
        path: of the file.
        file: open for writing.
        samples, steps: how many there will be.
    """

    def __init__(self, path: Path, file: h5py.File, samples: int, steps: int) -> None:
        self._path, self._file, self._samples, self._steps = path, file, samples, steps

    def add(self, result: Result, first: int, values: Recorded) -> None:
        """See `nmap.recorded.Sink`.

        Raises:
            NmapError: NM601, the file takes no more.
        """
        with _guarded(self._path):
            if not result.spikes:
                self._add_state(result, first, values.dense() if isinstance(values, SpikeEvents) else values)
            elif isinstance(values, SpikeEvents):
                rows = np.repeat(np.arange(values.offsets.size - 1), np.diff(values.offsets))
                self._add_events(result, first, values.samples, rows, values.neuron, values.payload)
            else:
                flat = values.reshape(values.shape[0] * self._steps, -1)
                rows, neuron = np.nonzero(flat)
                payload = flat[rows, neuron]
                self._add_events(result, first, values.shape[0], rows, neuron, None if (payload == 1).all() else payload)

    def put(self, arrays: Mapping[str, Array]) -> None:
        """Write whole arrays by name.

        Raises:
            NmapError: NM601, the file takes no more.
        """
        with _guarded(self._path):
            for name, values in arrays.items():
                self._file.create_dataset(name, data=values, **(_PACKED if values.size else {}))

    def _add_state(self, result: Result, first: int, values: Array) -> None:
        if result.name not in self._file:
            size = prod(result.shape)
            rows = max(1, min(self._steps, _CHUNK // max(1, size)))
            together = max(1, min(self._samples, _CHUNK // max(1, rows * size)))
            self._file.create_dataset(
                result.name, (self._samples, self._steps, *result.shape), values.dtype, chunks=(together, rows, *result.shape), **_PACKED
            )
        self._file[result.name][first : first + values.shape[0]] = values.reshape(*values.shape[:2], *result.shape)

    def _add_events(
        self, result: Result, first: int, samples: int, rows: Array, neuron: Array, payload: Array | None
    ) -> None:
        """Append events; `rows` counts the steps of all samples of the chunk."""
        group = self._file.get(result.name)
        if group is None:
            group = self._file.create_group(result.name)
            group.attrs["shape"] = result.shape
            group.create_dataset("offsets", data=np.zeros(self._samples + 1, np.int64))
            for name, most in (("t", self._steps), ("index", prod(result.shape))):
                group.create_dataset(name, (0,), np.min_scalar_type(max(0, most - 1)), maxshape=(None,), chunks=(_CHUNK,), **_PACKED)
        done = group["t"].shape[0]
        sample, step = np.divmod(rows, self._steps)
        group["offsets"][first + 1 : first + samples + 1] = done + np.cumsum(np.bincount(sample, minlength=samples))
        for name, values in (("t", step), ("index", neuron)):
            _append(group[name], done, values)
        if "value" in group:
            _append(group["value"], done, np.ones(rows.size, np.int32) if payload is None else payload)
        elif payload is not None:
            # What was sent before was 1 throughout, and is never written: it is what the dataset is filled with.
            group.create_dataset("value", (done,), payload.dtype, maxshape=(None,), chunks=(_CHUNK,), fillvalue=1, **_PACKED)
            _append(group["value"], done, payload)


def _append(dataset: h5py.Dataset, done: int, values: Array) -> None:
    if values.size:
        dataset.resize((done + values.size,))
        dataset[done:] = values
