"""The emulated chip beside the vendor's own simulator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap.program import Program
from nmap.quantized import QuantizedNetwork
from nmap.recorded import Recorded
from nmap.report.model import VendorCheck
from nmap.samples import Samples
from nmap.target.backend import Target, VendorRun
from nmap.trace import SpikeEvents
from nmap.verify.comparison import samples_at_once
from nmap.verify.lockstep import compare, describe
from nmap.windows import told_window, window_count, windowed

__all__ = ["check_vendor", "side_by_side"]

_STEPS = 1000
"""Chip steps run with the vendor's simulator unless the user asked for that check alone; it takes milliseconds per step."""
_START = 60.0
"""Seconds that the vendor's simulator may take to start; to them come, generously, what each step may take."""
_PER_PROCESS = 0.05
"""Seconds per step and population or projection, which vendors' simulators run as processes of their own."""
_PER_SYNAPSE = 2e-8
"""Seconds per step and synapse."""
_SHOWN = 5
"""Differences between mappings that are told one by one."""
_LIMIT = 300.0
_LIMIT_ALONE = 900.0
"""Seconds of one run of the vendor's simulator at most; more samples are run in several."""


def check_vendor(
    target: Target, quantized: QuantizedNetwork, program: Program, artefact: Path, samples: Samples, findings: Findings,
    say: Callable[[str], None], *, alone: bool, jobs: int = 1, split: int = 1,
) -> VendorCheck:
    """Run the emitted artefact with the vendor's own software and compare what its populations send.

    Args:
        target, quantized, program: what was mapped.
        artefact: folder with the files of `Target.emit`.
        samples: at least one, or nothing is run.
        findings: receives NM703 with the first place that differs.
        say: called with a line of progress before each run.
        alone: True where the user asked for this check alone: all samples are run then, not the first few.
        jobs: threads of the emulator that samples are shared out to.
        split: threads of the emulator that share each sample.
    """
    from nmap.emulate.engine import Emulator

    windows = window_count(samples.steps, quantized.window)
    if alone:
        # Else the comparison with the reference has told it.
        findings.extend(told_window(samples.steps, quantized.window, samples.name or None))
    steps = windows + quantized.latency
    most = samples.samples if alone else min(samples.samples, max(1, _STEPS // max(1, steps)))
    longest = _LIMIT_ALONE if alone else _LIMIT
    sample = max(1, steps) * _step(quantized)
    at_once = max(1, min(most, samples_at_once(quantized, steps), int((longest - _START) / sample)))
    emulator: Emulator | None = None
    mismatches = done = 0
    answer: VendorRun | None = None
    for chunk in samples.chunks(at_once):
        part = {name: windowed(values[: most - done], quantized.window) for name, values in chunk.items()}
        # The vendor's program takes the ports side by side, in the network's order.
        flat = np.concatenate([part[name].reshape(*part[name].shape[:2], -1) for name in quantized.inputs], axis=2)
        limit = float(round(min(longest, _START + flat.shape[0] * sample)))
        say(f"vendor  {target.artefact} runs samples {done + 1} to {done + flat.shape[0]} of {most}, stopped after {limit:g} s")
        answer = target.run_vendor(artefact, flat, steps, limit)
        if answer.missing is not None:
            return VendorCheck(answer.name, answer.version, skipped_reason=answer.missing)
        if answer.compared == "mapping":
            return _mapped(answer, findings)
        # Lowered once, and not at all where the vendor's software is not installed.
        emulator = emulator or Emulator(program, target.kernels, split)
        chip = emulator.run(part, steps, record=list(answer.spikes), jobs=jobs, dense=False)
        difference = compare(*side_by_side(answer, chip.events))
        if difference.first is not None and not mismatches:
            findings.extend([describe(difference.counted_from(done), "NM703", f"{answer.name} {answer.version}", "the emulated chip")])
        mismatches += difference.mismatches
        done += flat.shape[0]
        if done >= most:
            break
    if answer is None:
        return VendorCheck(target.artefact, skipped_reason="there are no samples")
    return VendorCheck(answer.name, answer.version, mismatches, done)


def side_by_side(answer: VendorRun, events: Mapping[str, SpikeEvents]) -> tuple[Mapping[str, Array], Mapping[str, Recorded]]:
    """Return the steps that the vendor's software and the emulated chip have both computed, (samples, steps, neurons) by population.

    Args:
        answer: what the vendor's software computed.
        events: spikes of the same populations on the chip.
    """
    if not answer.first:
        return answer.spikes, events
    ours = {name: events[name].dense()[:, answer.first[name] :][:, : theirs.shape[1]] for name, theirs in answer.spikes.items()}
    return {name: theirs[:, : ours[name].shape[1]] for name, theirs in answer.spikes.items()}, ours


def _mapped(answer: VendorRun, findings: Findings) -> VendorCheck:
    """Return what the vendor's tools made of the artefact without computing; the samples make no difference to it."""
    if answer.differences:
        more = len(answer.differences) - _SHOWN
        findings.error(
            "NM703", f"{answer.name} {answer.version} maps the artefact otherwise than nmap does",
            why="; ".join(answer.differences[:_SHOWN]) + (f"; and {more} more" if more > 0 else ""),
        )
    return VendorCheck(answer.name, answer.version, len(answer.differences), compared="mapping", facts=answer.facts)


def _step(quantized: QuantizedNetwork) -> float:
    """Return the seconds that one step of the vendor's simulator may take."""
    processes = len(quantized.populations) + len(quantized.projections)
    synapses = sum(projection.connectivity.synapses for projection in quantized.projections)
    return _PER_PROCESS * processes + _PER_SYNAPSE * synapses
