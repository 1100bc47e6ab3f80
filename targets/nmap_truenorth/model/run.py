"""Run a model file with its spike file on the emulator: what `nmap run MODEL --target truenorth` does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic, Findings, NmapError
from nmap.digest import sha256_of
from nmap.models import TAIL
from nmap.target.backend import ModelRun
from nmap_truenorth.model.model import Events, Model

__all__ = ["MODELS", "Run", "run_model", "spike_file"]

MODELS = {
    "truenorth": "TrueNorth model file", "ranc": "RANC model in JSON", "neutral": "model in plain JSON: cores, crossbars, neurons",
}
"""Kinds of model files, by `Model.dialect`."""

_MOST_TICKS = 2**31 - 1
_NOTHING = Events(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int32))


@dataclass(frozen=True, slots=True, eq=False)
class Run(ModelRun):
    """A run with the model it is of, which says where its spikes went.

    Args:
        model: what was run.
    """

    model: Model | None = None


def run_model(
    path: Path, spikes: Path | None, *, steps: int | None, every: bool, seed: int, jobs: int, progress: Callable[[str], None] | None
) -> Run:
    """Read a model file and its spikes, and run it from the potentials that the file states.

    Args:
        path: model file, see `nmap_truenorth.model.read.read_model`.
        spikes: spike file, see `nmap_truenorth.model.read.read_spikes`; None for the packets in a RANC file, and
            for models that run by themselves.
        steps: ticks from tick 0 on; None up to `TAIL` ticks beyond the last one in which an input spike is seen.
        every: record all neurons, not only those that send off the chip.
        seed: of stochastic synapses, leaks and thresholds, see `nmap_truenorth.model.engine`.
        jobs: threads.
        progress: told how far the run is.

    Raises:
        NmapError: NM101 to NM110 with everything that is wrong in the files, NM004 where nothing says how many ticks to run.
    """
    from nmap_truenorth.model.engine import Simulator
    from nmap_truenorth.model.read import read_model

    findings = Findings()
    model = read_model(path, findings)
    findings.raise_errors()
    events = _events(path, spikes, model, findings)
    findings.raise_errors()
    ticks = _ticks(path, spikes, model, events, steps)
    if progress is not None:
        progress("the emulator; at first use it is compiled for this machine")
    simulator = Simulator(model, seed=seed, jobs=jobs)
    # What is compiled at first use is no part of the ticks' time.
    simulator.run(_NOTHING, 1)
    start = time.perf_counter()
    done = simulator.run(
        events, ticks, every=every, progress=None if progress is None else lambda tick: progress(f"tick {tick} of {ticks}")
    )
    seconds = time.perf_counter() - start
    if spikes is not None and not len(events):
        findings.warning("NM803", "the spike file holds no spikes", where=str(spikes))
    if done.given < len(events):
        findings.note(
            "NM803", f"{len(events) - done.given} of {len(events)} input spikes come after the last of the {ticks} ticks, and are not seen",
            where=str(spikes or path),
        )
    why = _not_exact(model, done.outside)
    return Run(
        events=done.events, steps=ticks, cores=model.cores, neurons=int(np.count_nonzero(model.enabled)), given=len(events), every=every,
        exact=why is None, why=why, format=model.dialect, merged=done.merged, sha256=sha256_of(path), diagnostics=tuple(findings),
        seconds=seconds, model=model,
    )


def _events(path: Path, spikes: Path | None, model: Model, findings: Findings) -> Events:
    from nmap_truenorth.model.read import read_spikes

    if spikes is not None:
        return read_spikes(spikes, model, findings)
    # RANC keeps the packets to be injected beside the cores.
    return read_spikes(path, model, findings) if model.dialect == "ranc" else _NOTHING


def _ticks(path: Path, spikes: Path | None, model: Model, events: Events, steps: int | None) -> int:
    if steps is not None:
        return steps
    if spikes is None and not len(events):
        raise NmapError(Diagnostic(
            "NM004", "error", "without input spikes nothing says how many ticks to run", str(path),
            help=("--input FILE: the spikes to be injected", "--steps N: ticks of a model that runs by itself"),
        ))
    last = int(events.tick[-1]) + model.input_delay if len(events) else -1
    if last + 1 + TAIL > _MOST_TICKS:
        raise NmapError(Diagnostic(
            "NM107", "error", f"an input spike is in tick {int(events.tick[-1])}; a run has {_MOST_TICKS} ticks at most",
            str(spikes or path), help=("--steps N: only the first N ticks",),
        ))
    return last + 1 + TAIL


def _not_exact(model: Model, outside: Array) -> str | None:
    """Say why spikes may not be the chip's, or return None.

    Args:
        model: what was run.
        outside: (cores,) ticks in which a potential left 20 bits.
    """
    reasons = [] if model.why_not_exact is None else [model.why_not_exact]
    cores = np.flatnonzero(outside)
    if cores.size:
        more = f" and {cores.size - 1} more" if cores.size > 1 else ""
        reasons.append(
            f"potentials of core {model.ids[cores[0]]}{more} left the chip's 20 bits, and what the chip does then is not public"
        )
    return "; ".join(reasons) or None


def spike_file(run: ModelRun, suffix: str) -> bytes | None:
    """Return a run's spikes as a file of TrueNorth's tools, or None for an ending that none of them has.

    Args:
        run: of `run_model`; one without a model has no spikes.
        suffix: `.sfto` (TEXT) or `.rawo6`.
    """
    from nmap_truenorth.model import spikes

    writers = {".sfto": spikes.write_sfto, ".rawo6": spikes.write_rawo6}
    if suffix not in writers:
        return None
    return writers[suffix](run.events, run.model) if isinstance(run, Run) and run.model is not None else b""
