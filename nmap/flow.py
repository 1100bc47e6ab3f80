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
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from math import fsum
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nmap.bundle import Bundle, check_lock, check_manifest, check_place, read_bundle, write_bundle
from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic, Exit, Findings, NmapError
from nmap.estimate import Activity, activity_of_rates, load_of, load_of_program
from nmap.manifest import read_manifest
from nmap.mapping import Mapping
from nmap.network import Network
from nmap.options import Calibration, Options, split_target
from nmap.partition.partitioner import Budget
from nmap.partition.problem import PackingSolution
from nmap.place.problem import PlacementProblem, PlacementSolution, placement_cost
from nmap.program import Program, read_program, write_program
from nmap.quantized import LayerLoss, QuantizedNetwork
from nmap.report.json import portable_command, portable_report
from nmap.report.model import Estimate, Outcome, RunResult, Samples, Status, Traffic, VendorCheck, Verification
from nmap.report.versions import nmap_version, package_version
from nmap.rules import refusal, run_rules
from nmap.samples import Samples as InputSamples
from nmap.target.backend import (
    Arranging,
    Auditing,
    Detailed,
    Estimating,
    Exporter,
    Replicating,
    Rereader,
    SampleEmitter,
    Survey,
    Surveying,
    Target,
    VendorFile,
)
from nmap.target.machine import Machine, build_machine
from nmap.target.spec import ChipSpec, Variant
from nmap.verify.comparison import Comparison, samples_at_once
from nmap.verify.lockstep import Difference, compare, describe
from nmap.verify.tallies import told_tallies
from nmap.verify.vendor import check_vendor
from nmap.windows import told_window, window_count, windowed

__all__ = ["STAGES", "Exported", "check", "deploy", "export", "inspect", "run", "verify"]

STAGES = ("read", "check", "quantize", "partition", "place", "route", "emit", "verify")

Progress = Callable[[str, str], None]

KeepBest = Callable[[Callable[[], None]], AbstractContextManager[Callable[[], bool]]]
"""Around a search: told what to call at the user's first interrupt, it gives what says from then on that the best so far is wanted."""

_RATE_SAMPLES = 16
"""Samples whose activity weighs the traffic: enough for a mean rate per neuron."""
_STAND_IN_STEPS = 32
"""Steps of the random spikes that stand in for samples."""
_EMITTED_SAMPLES = 16
"""Samples that are written as files of the chip's tools."""
_CHECKS = ("fixed", "float", "vendor")
"""What a program is verified against."""
_FOREIGN_SHOWN = 5
"""Parts of a program that are not the network's, told one by one."""

_LATER: dict[type[ChipSpec] | type[Variant], tuple[str, ...]] = {
    ChipSpec: ("horizon", "inputs", "calibrates", "paced", "estimated", "vendor"), Variant: ("routes", "lacking", "passes"),
}
"""What chip data of the first version could not state."""

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
    proved: int | None = None
    """Steps for which the states of a bundle's network are proved to stay in their ranges; None for ever."""

    @contextmanager
    def stage(self, name: str, text: str = "") -> Iterator[None]:
        """Time a stage and announce it."""
        self.say(name, text)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - start

    @contextmanager
    def searching(self, name: str, text: str, options: Options, keep_best: KeepBest | None) -> Iterator[Budget]:
        """Time and announce a stage that searches, and give its budget; with `keep_best` the user may stop it."""
        progress = None if self.progress is None else lambda found: self.say(name, f"{text}  {found}")
        with self.stage(name, text), ExitStack() as stack:
            if keep_best is None:
                yield Budget(options.effort, options.seed, progress)
                return
            stopped = stack.enter_context(keep_best(lambda: self.say(name, "taking the best so far; Ctrl-C again aborts")))
            yield Budget(options.effort, options.seed, progress, stopped)
            if stopped():
                self.facts["interrupted"] = (*self.facts.get("interrupted", ()), name)

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


def _load_samples(
    journal: _Journal, path: Path | None, network: Network, options: Options, held: int | None = None
) -> tuple[InputSamples | None, Options]:
    if path is None:
        return None, options
    from nmap.samples import load

    with journal.stage("read", path.name):
        samples = load(path, network, options.steps, held)
    journal.findings.extend(samples.diagnostics)
    scored = samples.scored if len(network.outputs) > 1 else None
    journal.facts["samples"] = Samples(path.name, samples.sha256, samples.samples, samples.steps, samples.labels is not None, scored)
    return samples, replace(options, payload=(min(samples.low, 0), max(samples.high, 1)))


def _proving(options: Options, target: Target, samples: InputSamples | None) -> Options:
    """Return the options with the steps that a target proves its states for: all that the samples have or `--steps` asks for."""
    if not target.spec.horizon:
        return options
    steps = max(0 if samples is None else samples.steps, options.steps or 0)
    return replace(options, horizon=steps or target.spec.horizon)


def _stand_in(network: Network, options: Options) -> InputSamples:
    """Return seeded random spikes, for a verification without samples: 4 samples, 10 % of inputs per step."""
    from nmap.samples import in_memory

    rng = np.random.default_rng(options.seed)
    # They need not last longer than what is proved.
    steps = options.steps or min(_STAND_IN_STEPS, options.horizon or _STAND_IN_STEPS)
    shapes = {name: (4, steps, *network[name].shape) for name in network.inputs}
    return in_memory({name: (rng.random(shape) < 0.1).astype(np.int32) for name, shape in shapes.items()})


@dataclass(frozen=True, slots=True, eq=False)
class _Observed:
    """What the network in real numbers did on the first samples.

    Args:
        rates: share of steps in which each neuron spikes, (n,) float64 by population; None without samples.
        calibration: see `Options.calibration`; empty for a target that does not ask for it.
    """

    rates: dict[str, Array] | None = None
    calibration: tuple[Calibration, ...] = ()


def _observe(journal: _Journal, network: Network, target: Target, samples: InputSamples | None) -> _Observed:
    if samples is None or not samples.samples or not samples.steps:
        return _Observed()
    from nmap.calibrate import calibrate
    from nmap.simulate.floating import simulate

    with journal.stage("check", "activity on the samples"):
        names = [p.name for p in network.populations]
        activity = simulate(network, samples.first(_RATE_SAMPLES), record=names).spikes
        rates = {name: np.count_nonzero(spikes, axis=(0, 1)) / (spikes.shape[0] * spikes.shape[1]) for name, spikes in activity.items()}
        return _Observed(rates, calibrate(network, activity) if target.spec.calibrates else ())


def _find(journal: _Journal, text: str, options: Options, others: Sequence[str] = ()) -> tuple[Target, Machine]:
    """Return a target and its machine; `others` are the further targets of the same command, which may know other approximations."""
    from nmap.target.registry import find_target, target_names

    name, variant = split_target(text)
    target = find_target(name)
    name = target.name
    machine = build_machine(target.spec, variant, options.chips, options.dead, options.dead_links)
    known = dict(target.spec.approximations)
    for other in {split_target(text)[0] for text in others} & set(target_names()):
        known.update(find_target(other).spec.approximations)
    unknown = sorted(options.approximate - known.keys())
    if unknown:
        raise NmapError(Diagnostic(
            "NM004", "error", f"nothing is approximated under {', '.join(f'`{name}`' for name in unknown)}",
            why=f"`{name}` knows {'; '.join(f'`{key}`: {text}' for key, text in sorted(known.items())) or 'no approximation'}.",
        ))
    if options.slowdown is not None and not target.spec.paced and len(others) < 2:
        raise NmapError(Diagnostic(
            "NM004", "error", f"the steps of `{name}` last as long as they take: nobody tells it how long", "--slowdown",
            help=("leave --slowdown out",),
        ))
    journal.findings.extend(machine.warnings)
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
    stop_after: str | None, earlier: Program | None = None, keep_best: KeepBest | None = None,
) -> Mapping:
    from nmap.partition.cut import pack_network, place_clusters, placement_problem
    from nmap.partition.incremental import pack_again, place_again, told
    from nmap.target.registry import find_partitioner

    if rates is not None:
        # In a step of the chip a neuron sends one packet at most, however many of the network's steps it stands for.
        rates = {name: np.minimum(1.0, values * quantized.window) for name, values in rates.items()}
        # Populations that only the chip has (a source of constant spikes) are taken to spike in every step.
        rates = {**{p.name: np.ones(p.size) for p in quantized.populations}, **rates}
    partitioner = find_partitioner(options.partitioner)
    arranges = isinstance(target, Arranging)
    if arranges:
        journal.facts["partitioner"] = target.name
    with journal.searching("partition", target.name if arranges else partitioner.name, options, keep_best) as budget:
        if earlier is None or arranges:
            packed, start = pack_network(quantized, target, machine, partitioner, options, budget, rates=rates), None
        else:
            packed, start = pack_again(quantized, target, machine, partitioner, options, earlier, budget, rates)
    journal.facts["packed"] = packed
    _stop(stop_after, "partition")
    with journal.searching("place", _cores(packed.packing), options, keep_best) as budget:
        problem = placement_problem(quantized, target, machine, packed, rates)
        placement = partitioner.place(problem, budget) if start is None else place_again(problem, start, partitioner, budget)
        mapping = place_clusters(machine, packed, problem, placement, rates is not None)
    journal.facts.update(mapping=mapping, traffic=_traffic(problem, placement))
    if mapping.rates:
        journal.facts["spike_hops_per_step"] = mapping.placement.objective
    if start is not None:
        journal.facts["remap"] = told(start, mapping.cores, machine)
    _stop(stop_after, "place")
    return mapping


def _surveyed(journal: _Journal, quantized: QuantizedNetwork, target: Target, machine: Machine) -> Survey | None:
    """Ask the vendor's own mapper, where the chip's memory is estimated only."""
    if not isinstance(target, Surveying):
        return None
    with journal.stage("check", f"the mapper of `{target.name}`'s vendor"):
        found = target.survey(quantized, machine)
    journal.facts["survey"] = found
    return found


def _refused_by_vendor(journal: _Journal, target: Target, machine: Machine, survey: Survey | None) -> None:
    """Let the vendor's own mapper overrule an estimate by which a network fits.

    Raises:
        NmapError: NM402, it does not map the network.
    """
    if survey is None or survey.fits is not False:
        return
    used = len(journal.facts["mapping"].cores)
    others = ",".join(f"{target.name}:{name}" for name in target.spec.variants if name != machine.variant)
    raise NmapError(Diagnostic(
        "NM402", "error", f"{survey.name} {survey.version} does not map the network onto `{target.name}:{machine.variant}`",
        why=f"It says: {survey.reason} By nmap's estimate the network fits, on {used} core{'s' if used > 1 else ''}.",
        help=(*((f"ask it about the other variants: nmap check NET --target {others}",) if others else ()),
              f"nmap targets {target.name} lists the limits that are known"),
        data={"estimated_cores": used},
    ), Exit.DOES_NOT_FIT)


def _mapped_by_vendor(journal: _Journal, survey: Survey | None, misfit: NmapError) -> None:
    """Let the vendor's own mapper overrule an estimate by which a network does not fit.

    Raises:
        NmapError: the misfit, where that mapper does not say otherwise.
    """
    if survey is not None and survey.fits is False:
        journal.findings.note("NM404", f"{survey.name} {survey.version} does not map the network either", why=f"It says: {survey.reason}")
    if survey is None or not survey.fits or misfit.exit_status not in (Exit.DOES_NOT_FIT, Exit.UNKNOWN):
        raise misfit
    for told in misfit.diagnostics:
        journal.findings.warning(
            "NM404", f"by nmap's estimate the network does not fit, yet {survey.name} {survey.version} maps it", where=told.where,
            why=f"The estimate says: {told.message}", help=told.help,
        )


def _activity(quantized: QuantizedNetwork, samples: InputSamples | None, rates: dict[str, Array] | None) -> Activity | None:
    """Return the float level's activity; None without samples."""
    if samples is None or rates is None or not samples.samples or not samples.steps:
        return None
    return activity_of_rates(rates, min(samples.samples, _RATE_SAMPLES), window_count(samples.steps, quantized.window), quantized)


def _estimate(
    journal: _Journal, quantized: QuantizedNetwork, target: Target, activity: Activity | None, program: Program | None = None,
) -> None:
    """Put down what the target makes of the activity, once the network is mapped.

    Args:
        program: of a target with copies of neurons, whose work is counted in it.
    """
    mapping: Mapping = journal.facts["mapping"]
    if not isinstance(target, Estimating):
        estimate = Estimate(None, None, reason=f"no constants of time and energy are published for `{target.name}`")
    elif activity is None:
        estimate = Estimate(None, None, reason="time and energy depend on the activity, give samples with --input")
    else:
        if isinstance(target, Replicating) and program is not None:
            load = load_of_program(program, activity, journal.facts["traffic"])
        else:
            load = load_of(quantized, mapping.shards, mapping.cores, activity, journal.facts["traffic"])
        estimate = target.estimate(load, mapping.machine)
    journal.facts["estimate"] = estimate


def _routed(journal: _Journal, quantized: QuantizedNetwork, target: Target, mapping: Mapping, options: Options) -> Program:
    """Return the program of a mapped network, and put down what is known with it only.

    Raises:
        NmapError: see `_count_routed`.
    """
    from nmap.compile import compile_program

    program = compile_program(quantized, target, mapping, options.seed)
    _count_routed(journal, target, program)
    if isinstance(target, Auditing):
        _audited(journal, target, program, mapping.machine)
    if isinstance(target, Detailed):
        journal.facts["details"] = target.details(quantized, program)
    return program


def _audited(journal: _Journal, target: Auditing, program: Program, machine: Machine) -> None:
    """Ask a target what is wrong with a placed program beyond its cores' budgets.

    Raises:
        NmapError: what is wrong; another mapping might do.
    """
    found = target.audit(program, machine)
    journal.findings.extend(found)
    journal.findings.raise_errors(Exit.UNKNOWN)


def _count_routed(journal: _Journal, target: Target, program: Program) -> None:
    """Count what depends on where the routes lead, which no partitioner saw.

    Raises:
        NmapError: NM501, a core of this mapping has too little of it; another mapping might do.
    """
    limits = {name: resource for name, resource in target.spec.resources.items() if resource.routed}
    if not limits:
        return
    measured = target.measure(program)
    journal.facts["measured"] = measured
    wrong = Findings()
    for name, resource in limits.items():
        used = [demand[name] for demand in measured]
        over = sum(amount > resource.max for amount in used)
        if over:
            worst = max(range(len(used)), key=used.__getitem__)
            held = ", ".join(sorted({f"`{program.populations[g.population].name}`" for g in program.groups if g.core == worst}))
            wrong.error(
                "NM501", f"{over} of {len(used)} cores would need more {resource.title} than a core has",
                why=f"The fullest, with neurons of {held}, needs {used[worst]}, a core has {resource.max} ({resource.source}). They are"
                " counted along the routes of this mapping; that no other one does with fewer is not proved.",
                help=("make the layers behind it narrower: a neuron takes one for every core that holds targets of it",),
            )
    wrong.raise_errors(Exit.UNKNOWN)


def _traffic(problem: PlacementProblem, placement: PlacementSolution) -> Traffic:
    pairs, trees = (
        None if multicast and problem.nets is None else placement_cost(replace(problem, multicast=multicast, home=None), placement.slot)
        for multicast in (False, True)
    )
    kind: Literal["unicast", "multicast"] = "multicast" if problem.multicast else "unicast"
    return Traffic(kind, fsum(problem.weight.tolist()), pairs, trees, placement.max_link)


def _cores(packing: PackingSolution) -> str:
    proof = "optimal" if packing.clusters == packing.lower_bound else f">= {packing.lower_bound} proved"
    return f"cores {packing.clusters} ({proof})"


def _one_of(name: str, value: str | None, choices: Sequence[str]) -> None:
    if value is not None and value not in choices:
        known = ", ".join(f"`{choice}`" for choice in choices)
        raise NmapError(Diagnostic("NM004", "error", f"`{name}` is `{value}`, which is none of {known}"))


def _stop(stop_after: str | None, stage: str) -> None:
    if stop_after == stage:
        raise _Stop(stage)


# ---- commands ---------------------------------------------------------------------------------------------------------------------------


def _stated(
    dt: float | None, reset: str | None, source: str | None, reset_interval: int | None, reset_offset: int | None
) -> dict[str, Any]:
    """Return the conventions that the user states, as `nmap.readers.read` takes them and a manifest keeps them.

    The periodic reset has entries where it is stated only, so that any other manifest stays what it was.
    """
    periodic = {"reset_interval": reset_interval, "reset_offset": reset_offset}
    return {"dt": dt, "reset": reset, "source": source, **{key: value for key, value in periodic.items() if value is not None}}


def inspect(
    path: Path, *, dt: float | None = None, reset: str | None = None, source: str | None = None, reset_interval: int | None = None,
    reset_offset: int | None = None, command: Sequence[str] = (), progress: Progress | None = None,
) -> Outcome:
    """Read a network and say what is in it and what was assumed."""
    journal = _Journal(tuple(command), progress)

    def body() -> None:
        _read(journal, path, _stated(dt, reset, source, reset_interval, reset_offset))

    return _guarded(journal, False, body)


def check(
    path: Path, *, targets: Sequence[str], options: Options, dt: float | None = None, reset: str | None = None,
    source: str | None = None, reset_interval: int | None = None, reset_offset: int | None = None,
    input: Path | None = None, command: Sequence[str] = (), progress: Progress | None = None,  # noqa: A002 - the command line's name
) -> list[Outcome]:
    """Say whether a network fits each target and what limits it; writes nothing."""
    outcomes: list[Outcome] = []
    for text in targets:
        journal = _Journal(tuple(command), progress)

        def body(journal: _Journal = journal, text: str = text) -> None:
            target, machine = _find(journal, text, options, targets)
            network = _read(journal, path, _stated(dt, reset, source, reset_interval, reset_offset))
            samples, chosen = _load_samples(journal, input, network, options)
            chosen = _proving(chosen, target, samples)
            _check_rules(journal, network, target, chosen)
            seen = _observe(journal, network, target, samples)
            rates, chosen = seen.rates, replace(chosen, calibration=seen.calibration)
            quantized = _quantize(journal, network, target, chosen)
            survey = _surveyed(journal, quantized, target, machine)
            try:
                mapping = _map(journal, quantized, target, machine, chosen, rates, None)
            except NmapError as misfit:
                _mapped_by_vendor(journal, survey, misfit)
                return
            _refused_by_vendor(journal, target, machine, survey)
            program = None
            routed = any(resource.routed for resource in target.spec.resources.values())
            if routed or isinstance(target, Auditing | Detailed):
                with journal.stage("route"):
                    program = _routed(journal, quantized, target, mapping, chosen)
            _estimate(journal, quantized, target, _activity(quantized, samples, rates), program)

        outcomes.append(_guarded(journal, options.strict, body))
    return outcomes


def deploy(
    path: Path, *, target: str, options: Options, dt: float | None = None, reset: str | None = None, source: str | None = None,
    reset_interval: int | None = None, reset_offset: int | None = None,
    input: Path | None = None, output: Path | None = None, verify: bool = True,  # noqa: A002 - the command line's name
    stop_after: str | None = None, locked: bool = False, from_bundle: Path | None = None, keep_best: KeepBest | None = None,
    jobs: int | None = None, memory_limit: int | None = None, progress: Progress | None = None, command: Sequence[str] = (),
) -> Outcome:
    """Take a network file to a chip: a bundle with the mapped program, the vendor's artefact and the proof that it computes the same.

    Args:
        path: NIR or netx file.
        target: chip family, optionally with a variant (`loihi2:kapoho-point`).
        options: the user's choices.
        dt, reset, source, reset_interval, reset_offset: conventions the file does not state.
        input: samples, for traffic and verification; random spikes stand in for the verification without them.
        output: bundle folder; `build/<network>.<target>` by default.
        verify: False skips the emulation; the independent check of the mapping always runs.
        stop_after: a name of `STAGES`.
        locked: fail when inputs, chip data or versions differ from the bundle's `nmap.lock`.
        from_bundle: an earlier bundle for the same target and variant, whose mapping is kept as far as possible.
        keep_best: see `KeepBest`; None: an interrupt ends the deployment.
        jobs: threads of the verification; None for as many as there are cores that this process may use.
        memory_limit: bytes that this process may take in the verification; None for no limit.
        progress: called with (stage, text).
        command: the words of the command line, for the record.
    """
    journal = _Journal(tuple(command), progress)

    def body() -> None:
        _one_of("stop_after", stop_after, STAGES)
        chip, machine = _find(journal, target, options)
        conventions = _stated(dt, reset, source, reset_interval, reset_offset)
        network = _read(journal, path, conventions)
        samples, chosen = _load_samples(journal, input, network, options, None if memory_limit is None else memory_limit // 4)
        chosen = _proving(chosen, chip, samples)
        _stop(stop_after, "read")
        folder = output if output is not None else Path("build") / f"{path.stem}.{target.replace(':', '-')}"
        check_place(folder)
        earlier = None if from_bundle is None else _earlier(journal, from_bundle, chip, machine)
        _check_rules(journal, network, chip, chosen)
        seen = _observe(journal, network, chip, samples)
        rates, chosen = seen.rates, replace(chosen, calibration=seen.calibration)
        manifest = _manifest(network, chip, machine, chosen, conventions, samples, command)
        manifest["from"] = None if earlier is None else {"program_sha256": earlier.sha256}
        if locked:
            check_lock(folder, manifest)
        _stop(stop_after, "check")
        quantized = _quantize(journal, network, chip, chosen)
        _stop(stop_after, "quantize")
        survey = _surveyed(journal, quantized, chip, machine)
        mapping = _map(
            journal, quantized, chip, machine, chosen, rates, stop_after, None if earlier is None else earlier.program, keep_best
        )
        _refused_by_vendor(journal, chip, machine, survey)
        if journal.facts.get("interrupted"):
            manifest["interrupted"] = True
            journal.findings.note(
                "NM502", "the search for a mapping was stopped, and the best until then was taken",
                why="The same options do not give this bundle again: it depends on when the search was stopped.",
            )
        with journal.stage("route"):
            program = _routed(journal, quantized, chip, mapping, chosen)
        _estimate(journal, quantized, chip, _activity(quantized, samples, rates), program)
        _stop(stop_after, "route")
        with _scratch() as scratch:
            with journal.stage("emit", chip.artefact):
                stored = scratch / "program.h5"
                write_program(program, stored)
                artefact = chip.emit(quantized, program)
                contents: dict[str, bytes | Path] = {"program.h5": stored, f"network/{path.name}": path}
                if isinstance(chip, SampleEmitter) and samples is not None:
                    artefact.update(_emit_samples(journal, chip, program, samples, quantized))
                contents.update({f"{chip.artefact}/{name}": data for name, data in artefact.items()})
            # What is checked is what was written: the program is read back from its file.
            program = read_program(stored)
            unpacked = scratch / chip.artefact
            for name, data in artefact.items():
                (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
                (unpacked / name).write_bytes(data)
            _verify(
                journal, network, chip, machine, quantized, program, samples, chosen, unpacked,
                against=_CHECKS if verify and stop_after != "emit" else (), jobs=jobs, memory_limit=memory_limit,
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


def _emit_samples(
    journal: _Journal, chip: SampleEmitter, program: Program, samples: InputSamples, quantized: QuantizedNetwork
) -> dict[str, bytes]:
    """Return the first samples as files of the chip's tools."""
    part = samples.first(min(_EMITTED_SAMPLES, samples.samples))
    count = next(iter(part.values())).shape[0]
    if count < samples.samples:
        journal.findings.note(
            "NM604", f"the first {count} of {samples.samples} samples are written as spike files",
            why="A sample of many thousand spikes takes as many lines; `nmap run` takes all of them.",
        )
    part = {name: windowed(values, quantized.window) for name, values in part.items()}
    singly = ({name: values[k] for name, values in part.items()} for k in range(count))
    return chip.emit_samples(program, singly, window_count(samples.steps, quantized.window) + quantized.latency)


@dataclass(frozen=True, slots=True, eq=False)
class _Earlier:
    """The program of an earlier bundle."""

    program: Program
    sha256: str


def _earlier(journal: _Journal, folder: Path, target: Target, machine: Machine) -> _Earlier:
    """Read the program whose mapping is to be kept.

    Raises:
        NmapError: NM602, the bundle is damaged; NM004, it is for another target or variant, whose cores are not these.
    """
    with journal.stage("read", folder.name):
        bundle = read_bundle(folder)
        program = read_program(bundle.path("program.h5"))
    was, now = f"{program.target}:{program.variant}", f"{target.name}:{machine.variant}"
    if was != now:
        raise NmapError(Diagnostic(
            "NM004", "error", f"the bundle `{folder}` is for `{was}`, this deployment for `{now}`", "--from",
            "Only a mapping onto the same cores can be kept.", (f"give a bundle for `{now}`", "deploy without --from"),
        ))
    sha256 = bundle.manifest["files"]["program.h5"]
    journal.facts["remapped_from"] = sha256
    return _Earlier(program, sha256)


def _chip_sha256(target: Target) -> str:
    """Return the hash of the chip's data, whatever file or comments they are in: of their JSON with sorted keys."""
    data = target.spec.model_dump(mode="json")
    # What later versions can state is hashed where it is stated, so that bundles of the other targets keep their hash.
    _leave_out(data, ChipSpec)
    for variant in data["variants"].values():
        _leave_out(variant, Variant)
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _leave_out(data: dict[str, Any], known: type[ChipSpec] | type[Variant]) -> None:
    """Delete what chip data of the first version could not state, where nothing is stated."""
    for name in _LATER[known]:
        if data[name] == known.model_fields[name].default:
            del data[name]


def _portable_outcome(outcome: Outcome) -> Outcome:
    """Return the outcome as a bundle keeps it: why the vendor's simulator did not run depends on the machine, not on the bundle."""
    # So does what the vendor's own mapper says.
    outcome = replace(outcome, survey=None)
    checked = outcome.verification
    if checked is None or checked.vendor is None or checked.vendor.skipped_reason is None:
        return outcome
    if outcome.spec is not None and outcome.spec.vendor == "asked":
        # It was not run, whatever the machine.
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
    samples: InputSamples | None, options: Options, artefact: Path, *, against: Sequence[str], jobs: int | None,
    memory_limit: int | None, split: int = 1, scheduler: str | None = None,
) -> None:
    """Check a program against everything there is; findings and the `verification` fact receive the result."""
    from nmap.verify.mapping import verify_mapping

    with journal.stage("verify", "mapping"):
        broken = verify_mapping(program, target, machine)
        if isinstance(target, Auditing) and machine is not None and not broken:
            # What it warns of has been told where the program was made.
            broken = tuple(d for d in target.audit(program, machine) if d.severity == "error")
        journal.findings.extend(broken)
        if isinstance(target, Rereader) and not broken:
            journal.findings.extend(_reread(target, artefact, quantized, program))
    result = Verification(mapping="broken" if any(d.severity == "error" for d in broken) else "ok")
    journal.facts["verification"] = result
    if not against:
        return
    generated = samples is None
    if samples is None:
        samples = _stand_in(network, options)
        journal.facts["samples"] = Samples(None, None, samples.samples, samples.steps)
    if "fixed" in against or "float" in against:
        with journal.stage("verify", "emulator"):
            comparison = Comparison(
                network, target, quantized, program, samples, journal.findings, lambda text: journal.say("verify", text),
                jobs=_threads(jobs, split), split=split, memory_limit=memory_limit, scheduler=scheduler,
            )
            comparison.run(fixed="fixed" in against, real="float" in against)
            result = replace(result, chip_vs_fixed=comparison.chip_vs_fixed, chip_vs_float=comparison.chip_vs_float)
        if "mapping" in journal.facts and not generated and comparison.activity is not None:
            _estimate(journal, quantized, target, comparison.activity, program)
    alone = len(against) == 1
    if "vendor" in against and target.spec.vendor == "asked" and not alone:
        result = replace(result, vendor=VendorCheck(
            target.artefact, skipped_reason="its package runs on request only (nmap verify BUNDLE --against vendor)",
        ))
    elif "vendor" in against:
        with journal.stage("verify", "vendor"):
            result = replace(result, vendor=check_vendor(
                target, quantized, program, artefact, samples, journal.findings, lambda text: journal.say("verify", text),
                alone=alone, jobs=_threads(jobs, split), split=split,
            ))
    journal.facts["verification"] = result


def _reread(target: Rereader, artefact: Path, quantized: QuantizedNetwork, program: Program) -> tuple[Diagnostic, ...]:
    """Return an error where what was written for the chip's tools, read back, is not the program."""
    differing = target.reread(artefact, quantized, program)
    if not differing:
        return ()
    return (Diagnostic(
        "NM701", "error", f"the files in `{artefact.name}` are not the program's", str(artefact), _first_few(differing),
        ("deploy the network again",),
    ),)


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
    check_manifest(bundle)
    options = manifest.choices()
    target, machine = _find(journal, f"{manifest.target.name}:{manifest.target.variant}", options)
    _compare_origin(journal, bundle, target)
    journal.facts["bundle"] = folder
    network = _read(journal, bundle.path(f"network/{manifest.network.file}"), manifest.conventions.stated())
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
        told = Findings()
        quantized = opened.target.quantize(opened.network, opened.options, told)
    journal.facts["quantized"] = quantized
    journal.proved = min((int(d.data["proved_steps"]) for d in told if "proved_steps" in d.data), default=None)
    return quantized


def _stored_program(opened: _Opened, quantized: QuantizedNetwork) -> Program:
    """Return a bundle's program.

    Raises:
        NmapError: NM602, the program is damaged, or one of another network.
    """
    from nmap.verify.belonging import foreign_parts

    place = opened.bundle.path("program.h5")
    program = read_program(place)
    foreign = foreign_parts(program, quantized)
    if foreign:
        raise NmapError(Diagnostic(
            "NM602", "error", f"`{place.name}` is not a program of the bundle's network", str(place), _first_few(foreign),
            help=("deploy the network again",),
        ))
    return program


def _refuse_changed(opened: _Opened, quantized: QuantizedNetwork, program: Program) -> None:
    """Refuse a program that no neuron model can be trusted with, before it is run.

    Raises:
        NmapError: NM702, it breaks a limit of the chip; NM701, numbers in it are not the network's.
    """
    from nmap.verify.belonging import changed_values
    from nmap.verify.mapping import verify_mapping

    changed = changed_values(program, quantized)
    if changed:
        place = opened.bundle.path("program.h5")
        raise NmapError((*verify_mapping(program, opened.target, opened.machine), Diagnostic(
            "NM701", "error", f"`{place.name}` holds other neurons or synapses than the bundle's network", str(place), _first_few(changed),
            help=("deploy the network again",),
        )), Exit.DIFFERS)


def _first_few(sentences: Sequence[str]) -> str:
    more = len(sentences) - _FOREIGN_SHOWN
    return "; ".join(sentences[:_FOREIGN_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def verify(
    bundle: Path, *, input: Path | None = None,  # noqa: A002 - the command line's name
    against: str | None = None, steps: int | None = None, jobs: int | None = None, split: int = 1, memory_limit: int | None = None,
    scheduler: str | None = None, command: Sequence[str] = (), strict: bool = False, progress: Progress | None = None,
) -> Outcome:
    """Check a bundle again: the mapping, the emulator against the reference, the network in real numbers, the vendor's simulator.

    Args:
        bundle: folder written by `deploy`.
        input: samples; random spikes stand in without them.
        against: `fixed`, `float` or `vendor`; None for all three. A vendor package that was asked for and is missing is an error.
        steps: time steps to run; None for the input's length.
        jobs: threads; None for as many as there are cores that this process may use.
        split: threads of the emulator that share each sample; not together with `jobs`.
        memory_limit: bytes that this process may take; None for no limit.
        scheduler: address of a Dask scheduler, whose workers compare emulator, reference and network; None for this machine.
    """
    journal = _Journal(tuple(command), progress)

    def body() -> None:
        _one_of("against", against, ("fixed", "float", "vendor"))
        _threads(jobs, split)
        if scheduler is not None:
            from nmap.distribute import usable_scheduler

            usable_scheduler(scheduler)
        opened = _open(journal, bundle)
        chosen = replace(opened.options, steps=steps)
        samples, _ = _load_samples(journal, input, opened.network, chosen, None if memory_limit is None else memory_limit // 4)
        _check_payload(samples, opened.options)
        quantized = _requantize(journal, opened)
        _check_proved(
            journal.proved, chosen.steps if samples is None else samples.steps, None if samples is None else samples.name, quantized.window,
        )
        if samples is None and chosen.steps is None and journal.proved is not None:
            # Random spikes stand in, and need not last longer than the proof.
            chosen = replace(chosen, steps=max(1, min(_STAND_IN_STEPS, journal.proved)))
        with journal.stage("read", "program.h5"):
            program = _stored_program(opened, quantized)
        _refuse_changed(opened, quantized, program)
        artefact = opened.bundle.path(opened.target.artefact)
        kinds = (against,) if against else _CHECKS
        _verify(
            journal, opened.network, opened.target, opened.machine, quantized, program, samples, chosen, artefact, against=kinds,
            jobs=jobs, memory_limit=memory_limit, split=split, scheduler=scheduler,
        )
        checked = journal.facts["verification"]
        if against == "vendor" and checked.vendor.skipped_reason is not None:
            missing = Diagnostic("NM005", "error", f"{checked.vendor.name} could not be run", why=checked.vendor.skipped_reason)
            raise NmapError(missing, Exit.MISSING)

    return _guarded(journal, strict, body)


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """What `export` made.

    Args:
        outcome: what was found out; `quantized` is what the file holds.
        content: of the file; None where there is none.
        plain: whether the network was quantized anew for the format, and so is not the one that `deploy` makes.
        checked: spikes (messages other than 0) that the file, read back, sent beside the quantized network; None without that check.
    """

    outcome: Outcome
    content: bytes | None
    plain: bool = False
    checked: int | None = None


def export(
    source: Path, *, format: str, target: str | None = None, options: Options | None = None, dt: float | None = None,  # noqa: A002
    reset: str | None = None, framework: str | None = None, reset_interval: int | None = None, reset_offset: int | None = None,
    input: Path | None = None, verify: bool = True, strict: bool = False, command: Sequence[str] = (),  # noqa: A002
    progress: Progress | None = None,
) -> Exported:
    """Turn a quantized network into a file of a vendor's own tools; writes nothing.

    A network file is quantized as for `deploy` if the format holds that, else anew (`Options.plain`), and a warning says what that costs.
    A bundle's network is exported as it was deployed, or not at all.

    Args:
        source: NIR or netx file, or a bundle, which settles target, options and conventions.
        format: a name of the target's `Exporter.formats`.
        target, options, dt, reset, framework, reset_interval, reset_offset: of a network file, as for `deploy`.
        input: samples; random spikes stand in for the check without them.
        verify: read the file back and compare what every population sends.
        strict: warnings count as errors.
        progress: called with (stage, text).
        command: the words of the command line, for the record.
    """
    journal = _Journal(tuple(command), progress)
    result: dict[str, Any] = {"content": None}

    def body() -> None:
        if source.is_dir():
            settled = {
                "target": target, "options": options, "--dt": dt, "--reset": reset, "--source": framework,
                "--reset-interval": reset_interval, "--reset-offset": reset_offset,
            }
            stated = [name for name, value in settled.items() if value is not None]
            if stated:
                raise NmapError(Diagnostic(
                    "NM004", "error", f"{', '.join(stated)}: a bundle settles its target, options and conventions", where=str(source),
                    help=("leave them out", "export the network file itself with them"),
                ))
            opened = _open(journal, source)
            network, chip, chosen = opened.network, opened.target, opened.options
            _check_format(chip, format, source)
            samples, _ = _load_samples(journal, input, network, chosen)
            _check_payload(samples, chosen)
        else:
            if target is None:
                raise NmapError(Diagnostic(
                    "NM004", "error", "a network file is exported for a target", "--target", help=("name one: --target loihi2",),
                ))
            chip, _ = _find(journal, target, options or Options())
            _check_format(chip, format, source)
            network = _read(journal, source, _stated(dt, reset, framework, reset_interval, reset_offset))
            samples, chosen = _load_samples(journal, input, network, options or Options())
            chosen = _proving(chosen, chip, samples)
            _check_rules(journal, network, chip, chosen)
        file, deployed = _vendor_file(journal, chip, network, chosen, format, source if source.is_dir() else None)
        result["plain"] = deployed is not None
        if verify:
            result["checked"] = _check_file(journal, chip, network, samples, chosen, file, format, deployed)
        for note in file.notes:
            journal.findings.note("NM604", note)
        result["content"] = file.content

    outcome = _guarded(journal, strict, body)
    return Exported(outcome, **result if outcome.exit_status == Exit.OK else {**result, "content": None})


def _check_format(chip: Target, format: str, source: Path) -> None:  # noqa: A002
    if not isinstance(chip, Exporter):
        raise NmapError(Diagnostic(
            "NM004", "error", f"the vendor of `{chip.name}` has no file format that nmap writes", "--format",
            help=(f"nmap deploy {source.name} --target {chip.name} writes what its tools run",),
        ))
    _one_of("format", format, tuple(chip.formats))


def _vendor_file(
    journal: _Journal, chip: Target, network: Network, options: Options, format: str, bundle: Path | None  # noqa: A002
) -> tuple[VendorFile, QuantizedNetwork | None]:
    """Return the file, and the network as deployed where it was quantized anew for the file; `quantized` is what the file holds.

    Raises:
        NmapError: with everything that the format cannot hold.
    """
    if not isinstance(chip, Exporter):
        raise TypeError(f"{chip.name} exports nothing")
    forms: list[tuple[QuantizedNetwork, Findings, VendorFile | None, Findings]] = []
    for plain in (False, True):
        with journal.stage("quantize"):
            told = Findings()
            quantized = chip.quantize(network, replace(options, plain=plain), told)
            told.raise_errors(refusal(told))
        with journal.stage("emit", format):
            refused = Findings()
            forms.append((quantized, told, chip.export(quantized, format, refused), refused))
        if forms[-1][2] is not None:
            break
    quantized, told, file, refused = forms[-1 if bundle is None else 0]
    if file is None:
        if bundle is not None and forms[-1][2] is not None:
            # The bundle's conventions and choices, as options again.
            stated = {
                **read_manifest(bundle, read_bundle(bundle).manifest).conventions.stated(), "bits": options.bits,
                "approximate": ",".join(sorted(options.approximate)) or None,
            }
            words = [f"--{name.replace('_', '-')} {value}" for name, value in stated.items() if value is not None]
            named = " ".join(["nmap export", f"{bundle}/network/{Path(network.file).name}", "--target", chip.name, *words, "-o FILE"])
            refused.error(
                "NM104", f"`{bundle}` is quantized for the chip, and a {format} file holds less", where=str(bundle),
                help=(f"quantize the network anew for the file: {named}",),
            )
        refused.raise_errors()
        raise TypeError(f"{chip.name} neither exports nor says why not")
    journal.findings.extend(told)
    journal.facts["quantized"] = quantized
    if quantized is not forms[0][0]:
        deployed = {loss.name: loss for loss in forms[0][0].losses}
        changed = [_changed_loss(deployed[loss.name], loss) for loss in quantized.losses if loss.name in deployed]
        journal.findings.warning(
            "NM302", f"the network was quantized anew, since a {format} file cannot hold it as `nmap deploy` makes it",
            why="; ".join(text for text in changed if text) or None, data={"refused": [d.message for d in forms[0][3].errors]},
        )
    return file, None if quantized is forms[0][0] else forms[0][0]


def _changed_loss(before: LayerLoss, after: LayerLoss) -> str:
    """Say what one population loses more, or nothing where it is the same."""
    if before == after:
        return ""

    def share(value: float | None) -> str:
        return "0" if not value else f"{100 * value:.2g} %"

    facts = [f"weight exponent {before.exponent} becomes {after.exponent}"] if before.exponent != after.exponent else []
    for what, old, new in (
        ("threshold", before.threshold_error, after.threshold_error), ("bias", before.bias_error, after.bias_error),
    ):
        facts += [f"{what} error {share(old)} becomes {share(new)}"] if share(old) != share(new) else []
    return f"`{after.name}`: {', '.join(facts)}" if facts else ""


def _check_file(
    journal: _Journal, chip: Target, network: Network, samples: InputSamples | None, options: Options, file: VendorFile, format: str,  # noqa: A002
    deployed: QuantizedNetwork | None,
) -> int:
    """Read a file back and compare, step by step of the chip's time, what each population sends; return how many messages were not 0.

    Args:
        deployed: the network as `deploy` makes it where the file holds another; what both send at the output is told.
    """
    from nmap.readers import read
    from nmap.simulate.fixed import simulate as simulate_fixed
    from nmap.simulate.floating import simulate as simulate_floating

    quantized: QuantizedNetwork = journal.facts["quantized"]
    if samples is None:
        samples = _stand_in(network, options)
        journal.facts["samples"] = Samples(None, None, samples.samples, samples.steps)
    with _scratch() as scratch, journal.stage("verify", format):
        place = scratch / f"network.{format}"
        place.write_bytes(file.content)
        back = read(place, **file.conventions)
        steps = samples.steps + quantized.latency
        part = samples.first(min(_RATE_SAMPLES, samples_at_once(quantized, steps)))
        names = [p.name for p in quantized.populations if p.kernel is not None]
        theirs = [p.name for p in back.populations if p.neuron is not None]
        want = simulate_fixed(quantized, chip.kernels, part, steps, record=names)
        ((_, given),) = part.items()
        padded = np.concatenate([given, np.zeros((given.shape[0], quantized.latency, *given.shape[2:]), given.dtype)], axis=1)
        again = {back.inputs[0]: padded.reshape(*padded.shape[:2], *back[back.inputs[0]].shape)}

        def differing(sent: dict[str, Array]) -> Difference:
            found = {ours: sent[name].reshape(want.spikes[ours].shape) for ours, name in zip(names, theirs, strict=True)}
            return compare({name: want.spikes[name] for name in names}, found)

        difference, level = differing(simulate_floating(back, again, record=theirs).spikes), "float"
        if difference.first is not None:
            # Real numbers have no end where the chip's states saturate or wrap.
            exact = chip.quantize(back, replace(options, plain=False, approximate=frozenset()), Findings())
            difference, level = differing(simulate_fixed(exact, chip.kernels, again, steps, record=theirs).spikes), "fixed"
        if difference.first is not None:
            journal.findings.extend([describe(difference, "NM701", "the quantized network", f"the {format} file read back")])
    total = sum(int(np.count_nonzero(want.spikes[name])) for name in names)
    if difference.first is None:
        journal.findings.note(
            "NM604", f"read back, the file sends what the quantized network sends, {total} messages of all populations",
            why=f"{given.shape[0]} sample{'' if given.shape[0] == 1 else 's'} of {steps} steps: the file at the {level} level, the"
            " quantized network at the fixed level.",
        )
    if deployed is not None:
        (output,) = quantized.outputs
        others = simulate_fixed(deployed, chip.kernels, part, steps, record=[output]).spikes[output]
        share = float(np.mean(others == want.spikes[output]))
        journal.findings.note(
            "NM604", f"{100 * share:.4g} % of what the output sends, in steps and neurons, is what it sends as `nmap deploy` makes it",
            why=f"On {'the first samples' if journal.facts['samples'].file else 'random spikes; give samples with --input'}.",
        )
    return total


def _check_payload(samples: InputSamples | None, options: Options) -> None:
    if samples is None:
        return
    low, high = samples.low, samples.high
    if low < options.payload[0] or high > options.payload[1]:
        kind = "binary spikes" if options.message_bits == 0 else f"graded spikes from {options.payload[0]} to {options.payload[1]}"
        raise NmapError(Diagnostic(
            "NM802", "error", f"the bundle was built for {kind}, these samples hold values from {low} to {high}", where=samples.name,
            help=("deploy again with --input and these samples",),
        ))


def _check_proved(proved: int | None, steps: int | None, samples: str | None, window: int) -> None:
    """Refuse a run that is longer than the network's states are proved to stay in their ranges.

    Args:
        proved: steps; None for ever.
        steps: of the run; None where nobody said.
        samples: name of their file, None where random spikes stand in.
        window: steps of the network that one step of the chip stands for.

    Raises:
        NmapError: NM802.
    """
    if proved is None or steps is None or steps <= proved:
        return
    if samples is None:
        given, cut, again = "the run has", "take fewer steps with", f"deploy again with `--steps {steps}`"
    else:
        given, cut, again = "these samples have", "cut the run with", f"deploy again with --input and these samples, or --steps {steps}"
    if window == proved > 1:
        raise NmapError(Diagnostic(
            "NM802", "error", f"one step of the chip stands for {window} steps of the network, {given} {steps}", where=samples,
            why="Nothing is kept from one such step of the chip to the next.", help=(f"{cut} `--steps {window}`",),
        ))
    raise NmapError(Diagnostic(
        "NM802", "error", f"the bundle is proved for {proved} step{'' if proved == 1 else 's'}, {given} {steps}", where=samples,
        why="A state of a neuron may leave its range in a longer run, and what the chip then does is not known.",
        help=(*((f"{cut} `--steps {proved}`",) if proved else ()), again),
    ))


def run(
    source: Path, *, input: Path, level: Literal["chip", "fixed", "float"] | None = None,  # noqa: A002 - the command line's name
    probes: Sequence[str] = (), steps: int | None = None, raw_time: bool = False, dt: float | None = None, reset: str | None = None,
    framework: str | None = None, reset_interval: int | None = None, reset_offset: int | None = None, jobs: int | None = None,
    split: int = 1, memory_limit: int | None = None, scheduler: str | None = None, output: Path | None = None, keep: bool = True,
    progress: Progress | None = None,
) -> RunResult:
    """Run samples through a bundle (`chip`, `fixed` or `float` level) or a network file (`float`).

    Args:
        source: bundle folder or network file.
        input: samples.
        level: None for `chip` of a bundle and `float` of a file.
        probes: `POP`, `POP:v`, `POP:u` or `POP:spikes`.
        steps: time steps to run; None for the input's length.
        raw_time: keep the chip's own time instead of realigning to the network's.
        dt, reset, framework, reset_interval, reset_offset: conventions, for a network file.
        jobs: threads of the emulator; None for as many as there are cores that this process may use.
        split: threads of the emulator that share each sample; not together with `jobs`.
        memory_limit: bytes that this process may take; None for no limit.
        scheduler: address of a Dask scheduler, whose workers run the samples; None for this machine.
        output: HDF5 file that results are written to as they come, see `nmap.writers.recording`.
        keep: whether spikes and probes are in the result as well.
        progress: called with (stage, text).

    Raises:
        NmapError: anything a user can mend.
    """
    from nmap import running

    journal = _Journal((), progress)
    _one_of("level", level, ("chip", "fixed", "float"))
    threads = _threads(jobs, split)
    is_bundle = source.is_dir()
    given = {
        "--dt": dt, "--reset": reset, "--source": framework, "--reset-interval": reset_interval, "--reset-offset": reset_offset,
    }
    stated = [name for name, value in given.items() if value is not None]
    if is_bundle and stated:
        raise NmapError(Diagnostic(
            "NM004", "error", f"{', '.join(stated)}: a bundle's conventions are settled", where=str(source),
            help=("deploy the network again with them",),
        ))
    chosen = level or ("chip" if is_bundle else "float")
    if split > 1 and chosen != "chip":
        raise NmapError(Diagnostic(
            "NM004", "error", f"level `{chosen}` runs on one thread: only the emulator, level `chip`, can split a sample", "--split",
        ))
    workers = 0
    if scheduler is not None:
        from nmap.distribute import usable_scheduler

        workers = usable_scheduler(scheduler)
    opened = _open(journal, source) if is_bundle else None
    if opened is None:
        if chosen != "float":
            raise NmapError(Diagnostic(
                "NM004", "error", f"`{source.name}` is a network file: level `{chosen}` needs a bundle",
                help=(f"nmap deploy {source.name} --target TARGET -o DIR, then nmap run DIR",),
            ))
        network, options = _read(journal, source, _stated(dt, reset, framework, reset_interval, reset_offset)), Options()
    else:
        network, options = opened.network, opened.options

    def tell(text: str) -> None:
        journal.say(chosen, text)

    def prepared() -> tuple[running.Level, Program | None]:
        make: Callable[[], running.Local]
        known: Callable[[], running.Described]
        program = None
        if opened is None or chosen == "float":
            make = known = partial(running.FloatLevel, network, probes)
        else:
            quantized, program = _trusted(journal, opened)
            name, known = opened.target.name, partial(running.Mapped, program, opened.target.kernels, probes)
            make = partial(running.fixed_level, name, quantized, program, probes)
            if chosen == "chip":
                # Each of a cluster's threads has samples of its own already.
                jobs = threads if scheduler is None else 1
                make = partial(running.chip_level, name, program, probes, jobs=jobs, split=split, dense=keep)
        if scheduler is not None:
            return running.Remote(make, known(), network.outputs, scheduler, workers, tell), program
        with journal.stage("lower", "the emulator; at first use it is compiled for this machine") if chosen == "chip" else nullcontext():
            return make(), program

    with ThreadPoolExecutor(1) as other:
        # Reading samples and laying out the program are as long as each other, and neither needs the other.
        preparing = other.submit(prepared)
        samples, _ = _load_samples(
            journal, input, network, replace(options, steps=steps), None if memory_limit is None else memory_limit // 4
        )
        assert samples is not None
        if opened is not None and chosen != "float":
            _check_payload(samples, options)
        runner, mapped = preparing.result()
        if chosen != "float":
            _check_proved(journal.proved, samples.steps, samples.name, 1 if mapped is None else mapped.window)
    real = chosen == "float"
    facts = {"level": chosen, "raw_time": raw_time and not real}
    with journal.stage(chosen):
        ran = running.run_samples(
            samples, network, runner, tell, real=real, raw_time=raw_time,
            jobs=max(1, workers) if scheduler is not None else threads if chosen == "chip" else 1, split=split, memory_limit=memory_limit,
            output=output, facts=facts, keep=keep,
        )
    if opened is not None and mapped is not None:
        journal.findings.extend(told_window(samples.steps, mapped.window, samples.name))
        journal.findings.extend(told_tallies(mapped, opened.target.kernels, ran.tallies, samples.samples))
    first, accuracy = network.outputs[0], None
    if samples.labels is not None and samples.scored is not None and samples.samples:
        accuracy = float(np.mean(ran.scores[samples.scored].argmax(1) == samples.labels))
    return RunResult(
        level=chosen, spikes=ran.outputs[first], counts=ran.scores[first], probes=ran.probes, labels=samples.labels, accuracy=accuracy,
        raw_time=raw_time, samples=journal.facts["samples"], diagnostics=tuple(journal.findings), timings=dict(journal.timings),
        network=network.file, target=None if opened is None else f"{opened.target.name}:{opened.machine.variant}",
        bundle=source if is_bundle else None, outputs=ran.outputs, scores=ran.scores,
        silent=tuple(name for name in network.outputs if network[name].silent), scored=samples.scored, imported=network,
        ran=samples.samples, sent=ran.sent, memory=ran.memory, window=ran.window,
    )


def _threads(jobs: int | None, split: int = 1) -> int:
    """Return the threads to share samples out to.

    Args:
        jobs: as asked for; None for the cores that this process may use.
        split: threads that share each sample.

    Raises:
        NmapError: NM004, a number below 1 or beyond what a machine has cores for, or both of them above 1.
    """
    from nmap.running import usable_cores

    # A mistyped number would start thousands of threads, each with its own neurons; a team's threads wait for each other in every step.
    most = {"--jobs": max(256, usable_cores()), "--split": max(8, usable_cores())}

    for number, where in ((jobs, "--jobs"), (split, "--split")):
        if number is not None and not isinstance(number, int):
            raise NmapError(Diagnostic("NM004", "error", f"{number!r} is not a whole number of threads", where), Exit.USAGE)
        if number is not None and number < 1:
            raise NmapError(Diagnostic("NM004", "error", f"{number} threads cannot run anything", where), Exit.USAGE)
        if number is not None and number > most[where]:
            raise NmapError(Diagnostic(
                "NM004", "error", f"{number} threads are too many: `{where}` takes {most[where]} at most", where,
                why=f"This process may use {usable_cores()} cores; threads beyond them make nothing faster.",
            ), Exit.USAGE)
    if split > 1 and jobs is not None and jobs > 1:
        raise NmapError(Diagnostic(
            "NM004", "error", "`--jobs` gives each thread samples of its own, `--split` lets threads share each one: use one of them",
            "--split",
        ))
    return 1 if split > 1 else usable_cores() if jobs is None else jobs


def _trusted(journal: _Journal, opened: _Opened) -> tuple[QuantizedNetwork, Program]:
    """Return a bundle's network in integers, and its program once it has passed every check that needs no run.

    Raises:
        NmapError: NM602, NM701 or NM702.
    """
    from nmap.verify.mapping import verify_mapping

    quantized = _requantize(journal, opened)
    with journal.stage("verify", "mapping"):
        program = _stored_program(opened, quantized)
        _refuse_changed(opened, quantized, program)
        broken = verify_mapping(program, opened.target, opened.machine)
    if broken:
        raise NmapError(broken, Exit.DIFFERS)
    return quantized, program
