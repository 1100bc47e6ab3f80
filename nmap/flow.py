"""The pipeline: read, check, quantize, partition, place, route, emit, verify.

One function per command. Each stage takes values and returns a value; a stage that fails raises all its diagnostics together, and what
was found until then stays in the `Outcome`.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nmap.bundle import Bundle, check_lock, check_place, read_bundle, write_bundle
from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic, Exit, Findings, NmapError
from nmap.manifest import read_manifest
from nmap.mapping import Mapping
from nmap.network import Network
from nmap.options import Options, split_target
from nmap.program import Program, read_program, write_program
from nmap.quantized import QuantizedNetwork
from nmap.report.json import portable_command, portable_report
from nmap.report.model import ChipVsFixed, ChipVsFloat, Estimate, Outcome, RunResult, Samples, Status, VendorCheck, Verification
from nmap.report.versions import nmap_version, package_version
from nmap.rules import refusal, run_rules
from nmap.samples import Samples as InputSamples
from nmap.target.backend import Target
from nmap.target.machine import Machine, build_machine
from nmap.trace import parse_probes

__all__ = ["STAGES", "check", "deploy", "inspect", "run", "verify"]

STAGES = ("read", "check", "quantize", "partition", "place", "route", "emit", "verify")

Progress = Callable[[str, str], None]

_RATE_SAMPLES = 16
"""Samples whose activity weighs the traffic: enough for a mean rate per neuron."""
_PROBED_SAMPLES = 2
"""Samples whose every state variable is compared; spikes are compared on all."""
_VENDOR_STEPS = 1000
"""Chip steps run with the vendor's simulator unless the user asked for that check alone; it takes milliseconds per step."""
_VENDOR_TIMEOUT = 300.0
_VENDOR_TIMEOUT_ALONE = 3600.0
_COMPARE_ELEMENTS = 1 << 25
"""Recorded places per chunk of the comparison, which bounds its memory."""

_STATUS: dict[Exit, Status] = {
    Exit.OK: "ok", Exit.DOES_NOT_FIT: "does_not_fit", Exit.DIFFERS: "differs", Exit.UNKNOWN: "unknown",
}


@dataclass
class _Journal:
    """What a command has found out so far."""

    command: tuple[str, ...]
    progress: Progress | None
    facts: dict[str, Any] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, text: str = "") -> Iterator[None]:
        """Time a stage and announce it."""
        self.say(name, text)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - start

    def say(self, stage: str, text: str) -> None:
        if self.progress is not None:
            self.progress(stage, text)

    def outcome(self, exit_status: Exit, extra: Sequence[Diagnostic] = ()) -> Outcome:
        seen = tuple(self.findings)
        diagnostics = seen + tuple(d for d in extra if d not in seen)
        return Outcome(
            status=_STATUS.get(exit_status, "error"), exit_status=exit_status, command=self.command, diagnostics=diagnostics,
            timings=dict(self.timings), **self.facts,
        )

    def finish(self, strict: bool) -> Outcome:
        """Return the outcome of a command that ran to its end."""
        warned = strict and any(d.severity == "warning" for d in self.findings)
        if self.findings.errors:
            return self.outcome(Exit.DIFFERS)
        if warned:
            # It fits, but the user wants no warnings.
            return replace(self.outcome(Exit.DOES_NOT_FIT), status="error")
        return self.outcome(Exit.OK)


@contextmanager
def _scratch() -> Iterator[Path]:
    """Give a temporary folder.

    Raises:
        NmapError: NM601, it cannot be made or is full.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="nmap-") as folder:
            yield Path(folder)
    except OSError as error:
        raise NmapError(Diagnostic(
            "NM601", "error", f"the temporary folder `{tempfile.gettempdir()}` cannot be used", where=error.filename,
            why=str(error.strerror or error), help=("name another one in the environment variable TMPDIR",),
        )) from error


class _Stop(Exception):  # noqa: N818 - not an error
    """A stage asked for by `--stop-after` is done."""


def _guarded(journal: _Journal, strict: bool, body: Callable[[], None]) -> Outcome:
    try:
        body()
    except NmapError as error:
        return journal.outcome(error.exit_status, error.diagnostics)
    except _Stop as stop:
        journal.facts["stopped_after"] = str(stop)
    return journal.finish(strict)


# ---- stages -----------------------------------------------------------------------------------------------------------------------------


def _read(journal: _Journal, path: Path, conventions: dict[str, Any]) -> Network:
    from nmap.readers import read

    with journal.stage("read", path.name):
        network = read(path, **conventions)
    journal.findings.extend(network.diagnostics)
    journal.facts["network"] = network
    return network


def _load_samples(journal: _Journal, path: Path | None, network: Network, options: Options) -> tuple[InputSamples | None, Options]:
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise NmapError(Diagnostic(
            "NM203", "error", f"the network has {len(network.inputs)} inputs and {len(network.outputs)} outputs; one of each can be mapped",
            where=network.file,
        ), Exit.DOES_NOT_FIT)
    if path is None:
        return None, options
    from nmap.samples import load

    with journal.stage("read", path.name):
        samples = load(path, network)
    if options.steps is not None:
        samples = replace(samples, inputs=_resized(samples.inputs, options.steps))
    journal.facts["samples"] = Samples(
        path.name, samples.sha256, samples.inputs.shape[0], samples.inputs.shape[1], samples.labels is not None
    )
    low, high = (int(samples.inputs.min()), int(samples.inputs.max())) if samples.inputs.size else (0, 1)
    return samples, replace(options, payload=(min(low, 0), max(high, 1)))


def _resized(inputs: Array, steps: int) -> Array:
    """Cut the time axis to `steps`, or extend it with silence."""
    if inputs.shape[1] >= steps:
        return inputs[:, :steps]
    silence = np.zeros((inputs.shape[0], steps - inputs.shape[1], *inputs.shape[2:]), inputs.dtype)
    return np.concatenate([inputs, silence], axis=1)


def _stand_in(network: Network, options: Options) -> Array:
    """Return seeded random spikes, for a verification without samples: 4 samples, 10 % of inputs per step."""
    rng = np.random.default_rng(options.seed)
    shape = (4, options.steps or 32, *network[network.inputs[0]].shape)
    return (rng.random(shape) < 0.1).astype(np.int32)


def _rates(journal: _Journal, network: Network, samples: InputSamples | None) -> dict[str, Array] | None:
    if samples is None or not samples.inputs.size:
        return None
    from nmap.simulate.floating import simulate

    with journal.stage("check", "activity on the samples"):
        inputs = samples.inputs[:_RATE_SAMPLES]
        names = [p.name for p in network.populations]
        activity = simulate(network, inputs, record=names).spikes
        return {name: np.count_nonzero(spikes, axis=(0, 1)) / (spikes.shape[0] * spikes.shape[1]) for name, spikes in activity.items()}


def _find(journal: _Journal, text: str, options: Options, others: Sequence[str] = ()) -> tuple[Target, Machine]:
    """Return a target and its machine; `others` are the further targets of the same command, which may know other approximations."""
    from nmap.target.registry import find_target, target_names

    name, variant = split_target(text)
    target = find_target(name)
    machine = build_machine(target.spec, variant, options.chips, options.dead)
    known = dict(target.spec.approximations)
    for other in {split_target(text)[0] for text in others} & set(target_names()):
        known.update(find_target(other).spec.approximations)
    unknown = sorted(options.approximate - known.keys())
    if unknown:
        raise NmapError(Diagnostic(
            "NM004", "error", f"nothing is approximated under {', '.join(f'`{name}`' for name in unknown)}",
            why=f"`{name}` knows {'; '.join(f'`{key}`: {text}' for key, text in sorted(known.items())) or 'no approximation'}.",
        ))
    journal.facts.update(
        target=name, spec=target.spec, variant=machine.variant, machine=machine, partitioner=options.partitioner, seed=options.seed
    )
    return target, machine


def _check_rules(journal: _Journal, network: Network, target: Target, options: Options) -> None:
    with journal.stage("check", target.spec.title):
        journal.facts["rules"] = run_rules(network, target, options, journal.findings)


def _quantize(journal: _Journal, network: Network, target: Target, options: Options) -> QuantizedNetwork:
    with journal.stage("quantize"):
        quantized = target.quantize(network, options, journal.findings)
        journal.findings.raise_errors(refusal(journal.findings))
    journal.facts["quantized"] = quantized
    return quantized


def _map(
    journal: _Journal, quantized: QuantizedNetwork, target: Target, machine: Machine, options: Options, rates: dict[str, Array] | None,
    stop_after: str | None,
) -> Mapping:
    from nmap.partition import pack_network, place_network
    from nmap.target.registry import find_partitioner

    if rates is not None:
        # Populations that only the chip has (a source of constant spikes) are taken to spike in every step.
        rates = {**{p.name: np.ones(p.size) for p in quantized.populations}, **rates}
    partitioner = find_partitioner(options.partitioner)
    with journal.stage("partition", partitioner.name):
        packed = pack_network(
            quantized, target, machine, partitioner, options, progress=lambda text: journal.say("partition", text)
        )
    journal.facts["packed"] = packed
    _stop(stop_after, "partition")
    with journal.stage("place", f"{packed.packing.clusters} cores"):
        mapping = place_network(
            quantized, machine, partitioner, options, packed, rates, progress=lambda text: journal.say("place", text)
        )
    # No event energies of the chip itself are published, and those of its predecessor are not its own.
    journal.facts.update(mapping=mapping, estimate=Estimate(None, None))
    if mapping.rates:
        journal.facts["spike_hops_per_step"] = mapping.placement.objective
    _stop(stop_after, "place")
    return mapping


def _one_of(name: str, value: str | None, choices: Sequence[str]) -> None:
    if value is not None and value not in choices:
        known = ", ".join(f"`{choice}`" for choice in choices)
        raise NmapError(Diagnostic("NM004", "error", f"`{name}` is `{value}`, which is none of {known}"))


def _stop(stop_after: str | None, stage: str) -> None:
    if stop_after == stage:
        raise _Stop(stage)


# ---- commands ---------------------------------------------------------------------------------------------------------------------------


def inspect(
    path: Path, *, dt: float | None = None, reset: str | None = None, source: str | None = None, command: Sequence[str] = (),
    progress: Progress | None = None,
) -> Outcome:
    """Read a network and say what is in it and what was assumed."""
    journal = _Journal(tuple(command), progress)

    def body() -> None:
        _read(journal, path, {"dt": dt, "reset": reset, "source": source})

    return _guarded(journal, False, body)


def check(
    path: Path, *, targets: Sequence[str], options: Options, dt: float | None = None, reset: str | None = None,
    source: str | None = None, input: Path | None = None, command: Sequence[str] = (),  # noqa: A002 - the command line's name
    progress: Progress | None = None,
) -> list[Outcome]:
    """Say whether a network fits each target and what limits it; writes nothing."""
    outcomes: list[Outcome] = []
    for text in targets:
        journal = _Journal(tuple(command), progress)

        def body(journal: _Journal = journal, text: str = text) -> None:
            target, machine = _find(journal, text, options, targets)
            network = _read(journal, path, {"dt": dt, "reset": reset, "source": source})
            samples, chosen = _load_samples(journal, input, network, options)
            _check_rules(journal, network, target, chosen)
            quantized = _quantize(journal, network, target, chosen)
            _map(journal, quantized, target, machine, chosen, _rates(journal, network, samples), None)

        outcomes.append(_guarded(journal, options.strict, body))
    return outcomes


def deploy(
    path: Path, *, target: str, options: Options, dt: float | None = None, reset: str | None = None, source: str | None = None,
    input: Path | None = None, output: Path | None = None, verify: bool = True,  # noqa: A002 - the command line's name
    stop_after: str | None = None, locked: bool = False, progress: Progress | None = None, command: Sequence[str] = (),
) -> Outcome:
    """Take a network file to a chip: a bundle with the mapped program, the vendor's artefact and the proof that it computes the same.

    Args:
        path: NIR or netx file.
        target: chip family, optionally with a variant (`loihi2:kapoho-point`).
        options: the user's choices.
        dt, reset, source: conventions the file does not state.
        input: samples, for traffic and verification; random spikes stand in for the verification without them.
        output: bundle folder; `build/<network>.<target>` by default.
        verify: False skips the emulation; the independent check of the mapping always runs.
        stop_after: a name of `STAGES`.
        locked: fail when inputs, chip data or versions differ from the bundle's `nmap.lock`.
        progress: called with (stage, text).
        command: the words of the command line, for the record.
    """
    journal = _Journal(tuple(command), progress)

    def body() -> None:
        _one_of("stop_after", stop_after, STAGES)
        chip, machine = _find(journal, target, options)
        conventions = {"dt": dt, "reset": reset, "source": source}
        network = _read(journal, path, conventions)
        samples, chosen = _load_samples(journal, input, network, options)
        _stop(stop_after, "read")
        folder = output if output is not None else Path("build") / f"{path.stem}.{target.replace(':', '-')}"
        check_place(folder)
        manifest = _manifest(network, chip, machine, chosen, conventions, samples, command)
        if locked:
            check_lock(folder, manifest)
        _check_rules(journal, network, chip, chosen)
        rates = _rates(journal, network, samples)
        _stop(stop_after, "check")
        quantized = _quantize(journal, network, chip, chosen)
        _stop(stop_after, "quantize")
        mapping = _map(journal, quantized, chip, machine, chosen, rates, stop_after)
        with journal.stage("route"):
            from nmap.compile import build_program

            program = build_program(quantized, chip.name, mapping, chosen.seed)
        _stop(stop_after, "route")
        with _scratch() as scratch:
            with journal.stage("emit", chip.artefact):
                stored = scratch / "program.h5"
                write_program(program, stored)
                artefact = chip.emit(quantized, program)
                contents: dict[str, bytes | Path] = {"program.h5": stored, f"network/{path.name}": path}
                contents.update({f"{chip.artefact}/{name}": data for name, data in artefact.items()})
            # What is checked is what was written: the program is read back from its file.
            program = read_program(stored)
            unpacked = scratch / chip.artefact
            for name, data in artefact.items():
                (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
                (unpacked / name).write_bytes(data)
            _verify(
                journal, network, chip, machine, quantized, program, samples, chosen, unpacked,
                against=("fixed", "float", "vendor") if verify and stop_after != "emit" else (),
            )
            if chosen.strict and any(d.severity == "warning" for d in journal.findings):
                return
            with journal.stage("emit", str(folder)):
                journal.facts["written"] = tuple(sorted([*contents, "report.json", "manifest.json", "nmap.lock"]))
                checked = journal.facts["verification"].vendor
                manifest["vendor"] = None if checked is None else {"name": checked.name, "version": checked.version}
                report = portable_report(_portable_outcome(journal.finish(chosen.strict)))
                contents["report.json"] = (json.dumps(report, indent=1, sort_keys=True) + "\n").encode()
                if locked:
                    _check_reproduced(folder, contents)
                write_bundle(folder, contents, manifest)
        journal.facts["bundle"] = folder
        _stop(stop_after, "emit")

    return _guarded(journal, options.strict, body)


def _chip_sha256(target: Target) -> str:
    chip = package_files(type(target).__module__.partition(".")[0]).joinpath("chip.toml").read_bytes()
    return hashlib.sha256(chip).hexdigest()


def _portable_outcome(outcome: Outcome) -> Outcome:
    """Return the outcome as a bundle keeps it: why the vendor's simulator did not run depends on the machine, not on the bundle."""
    checked = outcome.verification
    if checked is None or checked.vendor is None or checked.vendor.skipped_reason is None:
        return outcome
    vendor = replace(checked.vendor, skipped_reason="not available where the bundle was written")
    return replace(outcome, verification=replace(checked, vendor=vendor))


def _check_reproduced(folder: Path, contents: dict[str, bytes | Path]) -> None:
    """Compare what is about to be written with the lock's hashes; the report may differ, since it tells which checks were run.

    Raises:
        NmapError: NM603, naming every file that came out differently.
    """
    recorded = json.loads((folder / "nmap.lock").read_text(encoding="utf-8"))["files"]
    differing = [
        name for name, content in sorted(contents.items())
        if name != "report.json"
        and recorded.get(name) != hashlib.sha256(content if isinstance(content, bytes) else content.read_bytes()).hexdigest()
    ]
    if differing:
        raise NmapError(Diagnostic(
            "NM603", "error", f"{', '.join(f'`{name}`' for name in differing)} came out differently from what the lock records",
            where=str(folder / "nmap.lock"), why="Inputs, options and versions are the same, so the machine or the installation is not.",
        ))


def _manifest(
    network: Network, target: Target, machine: Machine, options: Options, conventions: dict[str, Any], samples: InputSamples | None,
    command: Sequence[str],
) -> dict[str, Any]:
    return {
        "nmap": nmap_version(),
        "network": {"file": Path(network.file).name, "sha256": network.sha256, "format": network.format},
        "samples": None if samples is None else {"file": samples.name, "sha256": samples.sha256},
        "target": {
            "name": target.name, "variant": machine.variant, "chips": machine.chips, "data_version": target.spec.data_version,
            "chip_sha256": _chip_sha256(target), "artefact": target.artefact,
        },
        "options": options.to_json(),
        "conventions": conventions,
        "versions": {name: package_version(name) for name in ("numpy", "ortools", "h5py")},
        "command": portable_command(command),
    }


def _verify(
    journal: _Journal, network: Network, target: Target, machine: Machine | None, quantized: QuantizedNetwork, program: Program,
    samples: InputSamples | None, options: Options, artefact: Path, *, against: Sequence[str],
) -> None:
    """Check a program against everything there is; findings and the `verification` fact receive the result."""
    from nmap.verify.mapping import verify_mapping

    with journal.stage("verify", "mapping"):
        broken = verify_mapping(program, target, machine)
        journal.findings.extend(broken)
    result = Verification(mapping="broken" if any(d.severity == "error" for d in broken) else "ok")
    journal.facts["verification"] = result
    if not against:
        return
    inputs = samples.inputs if samples is not None else _stand_in(network, options)
    if samples is None:
        journal.facts["samples"] = Samples(None, None, inputs.shape[0], inputs.shape[1])
    flat = inputs.reshape(*inputs.shape[:2], -1)
    with journal.stage("verify", "emulator"):
        agreement, chip_output = _chip_vs_fixed(journal, target, quantized, program, flat, compare_fixed="fixed" in against)
        result = replace(result, chip_vs_fixed=agreement)
    if "float" in against:
        with journal.stage("verify", "float"):
            labels = samples.labels if samples is not None else None
            result = replace(result, chip_vs_float=_chip_vs_float(network, quantized, inputs, chip_output, labels))
    if "vendor" in against:
        with journal.stage("verify", "vendor"):
            result = replace(result, vendor=_vendor(journal, target, quantized, program, artefact, flat, alone=len(against) == 1))
    journal.facts["verification"] = result


def _chip_vs_fixed(
    journal: _Journal, target: Target, quantized: QuantizedNetwork, program: Program, inputs: Array, *, compare_fixed: bool
) -> tuple[ChipVsFixed | None, Array]:
    """Run emulator and reference side by side; return their agreement and the chip's output spikes (samples, steps, outputs)."""
    from nmap.emulate.engine import emulate
    from nmap.simulate.fixed import simulate
    from nmap.verify.lockstep import compare, describe

    steps = inputs.shape[1] + quantized.latency
    names = [p.name for p in quantized.populations if p.kernel is not None]
    places = max(1, steps * sum(p.size for p in quantized.populations))
    chunk = max(1, _COMPARE_ELEMENTS // places)
    output, mismatches, spikes, told = [], 0, 0, False
    states = {p.name: target.kernels[p.kernel].state if p.kernel else () for p in quantized.populations}
    for start in range(0, inputs.shape[0], chunk):
        part = inputs[start : start + chunk]
        if not compare_fixed:
            output.append(emulate(program, target.kernels, part, steps).spikes[quantized.outputs[0]])
            continue
        chip = emulate(program, target.kernels, part, steps, record=names)
        fixed = simulate(quantized, target.kernels, part, steps, record=names)
        difference = compare(fixed.spikes, chip.spikes)
        if start == 0 and not difference.mismatches:
            probes = parse_probes(names, states)
            few = part[:_PROBED_SAMPLES]
            difference = compare(
                simulate(quantized, target.kernels, few, steps, probes=probes).state,
                emulate(program, target.kernels, few, steps, probes=probes).state,
            )
        mismatches += difference.mismatches
        if difference.mismatches and not told:
            journal.findings.extend([describe(difference, "NM701", "the fixed-point reference", "the emulated chip")])
            told = True
        spikes += sum(fixed.counts[name] for name in names)
        output.append(chip.spikes[quantized.outputs[0]])
        journal.say("verify", f"{min(start + chunk, inputs.shape[0])} of {inputs.shape[0]} samples")
    found = ChipVsFixed(inputs.shape[0], steps, spikes, mismatches) if compare_fixed else None
    return found, np.concatenate(output) if output else np.zeros((0, steps, quantized[quantized.outputs[0]].size), np.int32)


def _chip_vs_float(
    network: Network, quantized: QuantizedNetwork, inputs: Array, chip: Array, labels: Array | None
) -> ChipVsFloat:
    from nmap.simulate.floating import simulate

    output, length = quantized.outputs[0], inputs.shape[1]
    latency = quantized[output].latency
    ours = chip[:, latency : latency + length]
    theirs = simulate(network, inputs).spikes[output]
    agreement = float(np.mean((ours != 0) == (theirs != 0))) if ours.size else None
    right = [None if labels is None or not labels.size else float(np.mean(a.sum(1).argmax(1) == labels)) for a in (theirs, ours)]
    return ChipVsFloat(agreement, right[0], right[1], inputs.shape[0])


def _vendor(
    journal: _Journal, target: Target, quantized: QuantizedNetwork, program: Program, artefact: Path, inputs: Array, *, alone: bool
) -> VendorCheck:
    from nmap.emulate.engine import emulate
    from nmap.verify.lockstep import compare, describe

    steps = inputs.shape[1] + quantized.latency
    if not alone:
        inputs = inputs[: max(1, _VENDOR_STEPS // max(1, steps))]
    answer = target.run_vendor(artefact, inputs, steps, _VENDOR_TIMEOUT_ALONE if alone else _VENDOR_TIMEOUT)
    if answer.missing is not None:
        return VendorCheck(answer.name, answer.version, skipped_reason=answer.missing)
    chip = emulate(program, target.kernels, inputs, steps, record=list(answer.spikes))
    difference = compare(answer.spikes, chip.spikes)
    if difference.mismatches:
        journal.findings.extend([describe(difference, "NM703", f"{answer.name} {answer.version}", "the emulated chip")])
    return VendorCheck(answer.name, answer.version, difference.mismatches, inputs.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class _Opened:
    """A bundle with everything needed to run it at any level."""

    bundle: Bundle
    network: Network
    target: Target
    machine: Machine
    options: Options


def _open(journal: _Journal, folder: Path) -> _Opened:
    with journal.stage("read", folder.name):
        bundle = read_bundle(folder)
    manifest = read_manifest(folder, bundle.manifest)
    options = manifest.choices()
    target, machine = _find(journal, f"{manifest.target.name}:{manifest.target.variant}", options)
    _compare_origin(journal, bundle, target)
    journal.facts["bundle"] = folder
    network = _read(journal, bundle.path(f"network/{manifest.network.file}"), manifest.conventions.model_dump())
    return _Opened(bundle, network, target, machine, options)


def _compare_origin(journal: _Journal, bundle: Bundle, target: Target) -> None:
    """Warn where a bundle was written with another nmap or other chip data than the ones that now judge it."""
    was, now = bundle.manifest.get("nmap"), nmap_version()
    if was != now:
        journal.findings.warning("NM603", f"the bundle was written by nmap {was}, this is {now}", where=str(bundle.folder))
    if bundle.manifest["target"].get("chip_sha256") != _chip_sha256(target):
        journal.findings.warning(
            "NM603", f"the bundle was written with other chip data of `{target.name}` than those installed", where=str(bundle.folder),
            help=("deploy the network again to have it checked against today's limits",),
        )


def _requantize(journal: _Journal, opened: _Opened) -> QuantizedNetwork:
    with journal.stage("quantize"):
        quantized = opened.target.quantize(opened.network, opened.options, Findings())
    journal.facts["quantized"] = quantized
    return quantized


def verify(
    bundle: Path, *, input: Path | None = None,  # noqa: A002 - the command line's name
    against: str | None = None, steps: int | None = None,
    command: Sequence[str] = (), strict: bool = False, progress: Progress | None = None,
) -> Outcome:
    """Check a bundle again: the mapping, the emulator against the reference, the network in real numbers, the vendor's simulator.

    Args:
        bundle: folder written by `deploy`.
        input: samples; random spikes stand in without them.
        against: `fixed`, `float` or `vendor`; None for all three. A vendor package that was asked for and is missing is an error.
        steps: time steps to run; None for the input's length.
    """
    journal = _Journal(tuple(command), progress)

    def body() -> None:
        _one_of("against", against, ("fixed", "float", "vendor"))
        opened = _open(journal, bundle)
        chosen = replace(opened.options, steps=steps)
        samples, _ = _load_samples(journal, input, opened.network, chosen)
        _check_payload(samples, opened.options)
        quantized = _requantize(journal, opened)
        with journal.stage("read", "program.h5"):
            program = read_program(opened.bundle.path("program.h5"))
        artefact = opened.bundle.path(opened.target.artefact)
        kinds = (against,) if against else ("fixed", "float", "vendor")
        _verify(
            journal, opened.network, opened.target, opened.machine, quantized, program, samples, chosen, artefact, against=kinds,
        )
        checked = journal.facts["verification"]
        if against == "vendor" and checked.vendor.skipped_reason is not None:
            missing = Diagnostic("NM005", "error", f"{checked.vendor.name} could not be run", why=checked.vendor.skipped_reason)
            raise NmapError(missing, Exit.MISSING)

    return _guarded(journal, strict, body)


def _check_payload(samples: InputSamples | None, options: Options) -> None:
    if samples is None or not samples.inputs.size:
        return
    low, high = int(samples.inputs.min()), int(samples.inputs.max())
    if low < options.payload[0] or high > options.payload[1]:
        kind = "binary spikes" if options.message_bits == 0 else f"graded spikes from {options.payload[0]} to {options.payload[1]}"
        raise NmapError(Diagnostic(
            "NM802", "error", f"the bundle was built for {kind}, these samples hold values from {low} to {high}", where=samples.name,
            help=("deploy again with --input and these samples",),
        ))


def run(
    source: Path, *, input: Path, level: Literal["chip", "fixed", "float"] | None = None,  # noqa: A002 - the command line's name
    probes: Sequence[str] = (), steps: int | None = None, raw_time: bool = False, dt: float | None = None, reset: str | None = None,
    framework: str | None = None, progress: Progress | None = None,
) -> RunResult:
    """Run samples through a bundle (`chip`, `fixed` or `float` level) or a network file (`float`).

    Args:
        source: bundle folder or network file.
        input: samples.
        level: None for `chip` of a bundle and `float` of a file.
        probes: `POP`, `POP:v`, `POP:u` or `POP:spikes`.
        steps: time steps to run; None for the input's length.
        raw_time: keep the chip's own time instead of realigning to the network's.
        dt, reset, framework: conventions, for a network file.

    Raises:
        NmapError: anything a user can mend.
    """
    journal = _Journal((), progress)
    _one_of("level", level, ("chip", "fixed", "float"))
    is_bundle = source.is_dir()
    stated = [name for name, value in (("--dt", dt), ("--reset", reset), ("--source", framework)) if value is not None]
    if is_bundle and stated:
        raise NmapError(Diagnostic(
            "NM004", "error", f"{', '.join(stated)}: a bundle's conventions are settled", where=str(source),
            help=("deploy the network again with them",),
        ))
    chosen = level or ("chip" if is_bundle else "float")
    opened = _open(journal, source) if is_bundle else None
    if opened is None:
        if chosen != "float":
            raise NmapError(Diagnostic(
                "NM004", "error", f"`{source.name}` is a network file: level `{chosen}` needs a bundle",
                help=(f"nmap deploy {source.name} --target TARGET -o DIR, then nmap run DIR",),
            ))
        network, options = _read(journal, source, {"dt": dt, "reset": reset, "source": framework}), Options()
    else:
        network, options = opened.network, opened.options
    samples, _ = _load_samples(journal, input, network, replace(options, steps=steps))
    assert samples is not None
    length, output = samples.inputs.shape[1], network.outputs[0]
    if opened is None or chosen == "float":
        arrays, recorded = _run_float(journal, network, samples.inputs, probes)
        latency = dict.fromkeys((p.name for p in network.populations), 0)
    else:
        _check_payload(samples, options)
        arrays, recorded, latency = _run_integer(journal, opened, samples.inputs, chosen, probes)
    if not raw_time:
        arrays = {name: values[:, latency[name] : latency[name] + length] for name, values in arrays.items()}
        recorded = {key: values[:, latency[key.rpartition(".")[0]] :][:, :length] for key, values in recorded.items()}
    shape = network[output].shape
    spikes = arrays[output].astype(np.int32)
    counts = spikes.sum(1, dtype=np.int64)
    accuracy = None if samples.labels is None or not samples.labels.size else float(np.mean(counts.argmax(1) == samples.labels))
    shapes = {p.name: p.shape for p in network.populations}
    shaped = {key: values.reshape(*values.shape[:2], *shapes.get(key.rpartition(".")[0], (-1,))) for key, values in recorded.items()}
    return RunResult(
        level=chosen, spikes=spikes.reshape(*spikes.shape[:2], *shape), counts=counts, probes=shaped, labels=samples.labels,
        accuracy=accuracy, raw_time=raw_time, samples=journal.facts["samples"], diagnostics=tuple(journal.findings),
        timings=dict(journal.timings), network=network.file,
        target=None if opened is None else f"{opened.target.name}:{opened.machine.variant}", bundle=source if is_bundle else None,
    )


def _run_float(journal: _Journal, network: Network, inputs: Array, probes: Sequence[str]) -> tuple[dict[str, Array], dict[str, Array]]:
    from nmap.simulate.floating import simulate

    wanted = parse_probes(probes, {p.name: ("v", "u") if p.neuron is not None else () for p in network.populations})
    with journal.stage("float"):
        names = [p.population if p.variable == "spikes" else f"{p.population}:{p.variable}" for p in wanted]
        result = simulate(
            network, inputs, record=[network.outputs[0], *names],
            progress=lambda done, of: journal.say("float", f"{done} of {of} samples"),
        )
    kinds = {"spikes": result.spikes, "v": result.v, "u": result.u}
    recorded = {p.key: kinds[p.variable][p.population] for p in wanted}
    return {network.outputs[0]: result.spikes[network.outputs[0]]}, recorded


def _run_integer(
    journal: _Journal, opened: _Opened, inputs: Array, level: str, probes: Sequence[str]
) -> tuple[dict[str, Array], dict[str, Array], dict[str, int]]:
    flat = inputs.reshape(*inputs.shape[:2], -1)
    kernels = opened.target.kernels
    program = read_program(opened.bundle.path("program.h5"))
    groups = {program.populations[g.population].name: g.kernel for g in program.groups}
    wanted = parse_probes(probes, {p.name: kernels[groups[p.name]].state if p.name in groups else () for p in program.populations})
    steps = flat.shape[1] + program.latency
    if level == "chip":
        from nmap.emulate.engine import emulate

        with journal.stage("chip"):
            trace = emulate(
                program, kernels, flat, steps, probes=wanted, progress=lambda done, of: journal.say("chip", f"{done} of {of} samples")
            )
    else:
        from nmap.simulate.fixed import simulate

        quantized = _requantize(journal, opened)
        with journal.stage("fixed"):
            trace = simulate(quantized, kernels, flat, steps, probes=wanted)
    recorded = dict(trace.state)
    recorded.update({p.key: trace.spikes[p.population] for p in wanted if p.variable == "spikes"})
    output = next(p.name for p in program.populations if p.is_output)
    return {output: trace.spikes[output]}, recorded, {p.name: p.latency for p in program.populations}
