"""The JSON report, schema `nmap.report/1`: the one dictionary behind every rendering.

The JSON Schema lies beside this module (`schema/nmap.report-1.json`). A number that is not known is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.resources import files
from json import loads
from math import isfinite
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d
from nmap.diagnostics import Diagnostic, NmapError
from nmap.mapping import Mapping
from nmap.network import Model, Network, Neuron, Projection, Resonator, SigmaDelta
from nmap.program import Core
from nmap.report.model import Estimate, ModelResult, Outcome, RunResult, Samples, Traffic, Verification
from nmap.report.versions import nmap_version
from nmap.target.machine import Machine
from nmap.target.spec import ChipSpec

if TYPE_CHECKING:
    from nmap.target.backend import Survey

__all__ = [
    "COMPARISON", "SCHEMA", "comparison_to_json", "core_label", "failure_to_json", "model_to_json", "name_target", "portable_command",
    "portable_report", "run_to_json", "schema", "to_json",
]

SCHEMA = "nmap.report/1"
COMPARISON = "nmap.comparison/1"

_NOT_IN_BUNDLES = {
    "-o": 1, "--output": 1, "--format": 1, "-q": 0, "--quiet": 0, "-v": 0, "--verbose": 0, "--locked": 0, "--jobs": 1, "--memory-limit": 1,
}
"""Options, with their number of values, that say how to print, where to write or what of the machine to use: a bundle is the same with or
without them."""


def schema() -> dict[str, Any]:
    """Return the JSON Schema of `nmap.report/1`."""
    text = files("nmap.report").joinpath("schema/nmap.report-1.json").read_text(encoding="utf-8")
    return dict(loads(text))


def portable_report(outcome: Outcome) -> dict[str, Any]:
    """Return the report without times and folders, for a bundle: the same input, options and versions give the same report."""
    report = to_json(outcome)
    report = {**report, "command": portable_command(report["command"]), "bundle": None, "timings_s": None}
    names = {}
    for part in ("network", "samples"):
        file = report[part] and report[part]["file"]
        if file and PurePath(file).name != file:
            names[file] = PurePath(file).name
    return dict(_renamed(report, names))


def to_json(outcome: Outcome) -> dict[str, Any]:
    """Return the report of one network on one target."""
    network, mapping, spec = outcome.network, outcome.mapping, outcome.spec
    if spec is None and outcome.machine is not None:
        spec = outcome.machine.spec
    report = _empty(outcome.command, outcome.status, int(outcome.exit_status), outcome.diagnostics)
    report["network"] = None if network is None else _network(network)
    if outcome.target is not None:
        variant = outcome.variant or (outcome.machine.variant if outcome.machine else None)
        report["target"] = {
            "name": outcome.target, "variant": variant, "title": spec.title if spec else None,
            "chips": outcome.machine.chips if outcome.machine else None,
            "cores": _usable(outcome.machine, 1) if outcome.machine else None,
            "dead_cores": _dead(outcome.machine) if outcome.machine else None,
            "passes": outcome.passes,
            "data_version": spec.data_version if spec else None,
        }
    report["fits"] = outcome.fits
    report["utilization"] = _utilization(outcome)
    report["basis"] = _basis(outcome)
    report["survey"] = None if outcome.survey is None else _survey(outcome.survey, mapping)
    report["layers"] = None if network is None else _layers(network, mapping, outcome.survey)
    report["projections"] = None if network is None else [_projection(p) for p in network.projections]
    report["rules"] = outcome.rules
    if outcome.partition is not None:
        packing = outcome.partition.packing
        report["partition"] = {
            "cores": packing.clusters, "lower_bound": packing.lower_bound, "optimal": packing.clusters == packing.lower_bound,
            "gap": _gap(packing.clusters, packing.lower_bound),
            "packets": None if outcome.traffic is None else _number(outcome.traffic.packets),
            "packets_bound": None if outcome.traffic is None else _number(outcome.traffic.packets_bound),
            "partitioner": outcome.partitioner, "shards": len(outcome.partition.shards), "status": packing.status,
            "deterministic_time": _number(packing.deterministic_time), "interrupted": "partition" in outcome.interrupted,
        }
    if mapping is not None:
        placement = mapping.placement
        report["placement"] = {
            "objective": _number(placement.objective), "lower_bound": _number(placement.lower_bound),
            "gap": _gap(placement.objective, placement.lower_bound), "spike_hops_per_step": _number(outcome.spike_hops_per_step),
            "traffic": "measured" if mapping.rates else "assumed", "seed": placement.seed, "status": placement.status,
            "deterministic_time": _number(placement.deterministic_time), **_traffic(outcome.traffic),
            "interrupted": "place" in outcome.interrupted,
        }
    report["incremental"] = None if outcome.remap is None else _remap(outcome)
    if outcome.quantized is not None:
        losses = outcome.quantized.losses
        report["quantization"] = {
            "clipped": sum(loss.clipped for loss in losses), "zeroed": sum(loss.zeroed for loss in losses),
            "latency_steps": outcome.quantized.latency, "window": outcome.quantized.window,
            "layers": [
                {
                    "name": loss.name, "bits": loss.bits, "scale": _number(loss.scale), "exponent": loss.exponent,
                    "sqnr_db": _number(loss.sqnr_db), "clipped": loss.clipped, "zeroed": loss.zeroed,
                    "threshold_error": _number(loss.threshold_error), "decay_error": _number(loss.decay_error),
                    "bias_error": _number(loss.bias_error),
                }
                for loss in losses
            ],
        }
    report["verification"] = None if outcome.verification is None else _verification(outcome.verification)
    report["samples"] = _samples(outcome.samples)
    report["details"] = _details(outcome)
    report["estimate"] = None if outcome.estimate is None else _estimate(outcome.estimate, outcome.machine)
    report["stopped_after"] = outcome.stopped_after
    report["written"] = list(outcome.written)
    report["bundle"] = None if outcome.bundle is None else str(outcome.bundle)
    report["timings_s"] = {stage: _number(seconds) for stage, seconds in outcome.timings.items()}
    return report


def failure_to_json(error: NmapError, command: Sequence[str]) -> dict[str, Any]:
    """Return the report of a command that failed before it had anything else to say."""
    return _empty(command, "error", int(error.exit_status), error.diagnostics)


def run_to_json(result: RunResult, command: Sequence[str], output: str | None) -> dict[str, Any]:
    """Return the report of `nmap run`; spikes themselves are written to a file, never printed.

    Args:
        result: what ran.
        command: the words of the command line.
        output: the file the spikes were written to, or None.
    """
    report = _empty(command, "ok", 0, result.diagnostics)
    if result.target is not None:
        report = name_target(report, result.target)
    report["network"] = None if result.imported is None else _network(result.imported)
    report["samples"] = _samples(result.samples)
    report["bundle"] = None if result.bundle is None else str(result.bundle)
    report["timings_s"] = {stage: _number(seconds) for stage, seconds in result.timings.items()}
    report["written"] = [] if output is None else [output]
    report["run"] = {
        "level": result.level, "network": result.network, "target": result.target,
        # A network that is not mapped has no time of its own chip.
        "raw_time": result.raw_time and result.level != "float",
        "samples": int(result.spikes.shape[0]) if result.ran is None else result.ran, "steps": int(result.spikes.shape[1]),
        "window": result.window, "output_spikes": result.output_spikes, "accuracy": _number(result.accuracy),
        "probes": {
            name: [values.shape[0] if result.ran is None else result.ran, *values.shape[1:]]
            for name, values in sorted(result.probes.items())
        },
        "memory": None if result.memory is None else {
            "peak_bytes": result.memory.peak, "limit_bytes": result.memory.limit, "samples_at_once": result.memory.at_once,
            "jobs": result.memory.jobs, "split": result.memory.split,
        },
        "model": None,
    }
    return report


def model_to_json(result: ModelResult, command: Sequence[str], output: str | None) -> dict[str, Any]:
    """Return the report of `nmap run` on a model file of a chip's own tools.

    Args:
        result: what ran.
        command: the words of the command line.
        output: the file the spikes were written to, or None.
    """
    run = result.run
    report = name_target(_empty(command, "ok", 0, result.diagnostics), result.target)
    report["timings_s"] = {stage: _number(seconds) for stage, seconds in result.timings.items()}
    report["written"] = [] if output is None else [output]
    report["run"] = {
        "level": "chip", "network": None, "target": result.target, "raw_time": True, "samples": 1, "steps": run.steps, "window": 1,
        # Among the spikes of all neurons, those of the outputs are not told apart.
        "output_spikes": None if run.every else len(run.events), "accuracy": None, "probes": {}, "memory": None,
        "model": {
            "file": result.model, "format": run.format, "kind": result.kind, "sha256": run.sha256, "cores": run.cores,
            "neurons": run.neurons, "input": result.input, "input_spikes": run.given, "merged": run.merged,
            "steps_after_input": result.tail, "recorded": "all" if run.every else "outputs",
            "events": len(run.events), "exact": run.exact, "why_not_exact": run.why, "seed": result.seed,
            "seconds_per_tick": None if run.seconds is None or run.steps == 0 else _number(run.seconds / run.steps),
        },
    }
    return report


def name_target(report: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the report with a target of which only the name is known, as `--target` takes it."""
    family, _, variant = name.partition(":")
    return {**report, "target": {
        "name": family, "variant": variant or None, "title": None, "chips": None, "cores": None, "dead_cores": None, "passes": None,
        "data_version": None,
    }}


def comparison_to_json(
    reports: Sequence[dict[str, Any]], command: Sequence[str], status: str, exit_status: int, diagnostics: Iterable[Diagnostic]
) -> dict[str, Any]:
    """Return the object printed for several targets: every report in full.

    Args:
        reports: objects of schema `nmap.report/1`, by target.
        command: the words of the command line.
        status, exit_status: of the target that went worst.
        diagnostics: of all targets, once each.
    """
    return {
        "schema": COMPARISON, "nmap": nmap_version(), "command": list(command), "status": status, "exit_status": exit_status,
        "diagnostics": [diagnostic.to_json() for diagnostic in diagnostics], "reports": list(reports),
    }


def portable_command(command: Iterable[str]) -> list[str]:
    """Return a command line without what changes no bundle, paths cut to their last part."""
    words, skip = [], 0
    for word in command:
        name, _, _ = word.partition("=")
        if skip:
            skip -= 1
        elif name in _NOT_IN_BUNDLES:
            skip = _NOT_IN_BUNDLES[name] if "=" not in word else 0
        else:
            option, sign, value = word.partition("=") if word.startswith("--") else ("", "", word)
            words.append(option + sign + (PurePath(value).name if "/" in value else value))
    return words


def core_label(core: Core, chips: int) -> str:
    """Return a core's short name: `c17` on a single chip, `2:17` (chip, core) otherwise; `--dead-cores` takes both."""
    return f"c{core.core}" if chips == 1 else f"{core.chip}:{core.core}"


def _empty(command: Sequence[str], status: str, exit_status: int, diagnostics: Iterable[Diagnostic]) -> dict[str, Any]:
    return {
        "schema": SCHEMA, "nmap": nmap_version(), "command": list(command), "status": status, "exit_status": exit_status,
        "network": None, "target": None, "fits": None, "utilization": None, "basis": None, "survey": None, "layers": None,
        "projections": None, "rules": None,
        "partition": None, "placement": None, "incremental": None, "quantization": None, "verification": None, "samples": None,
        "details": None, "estimate": None, "run": None,
        "diagnostics": [diagnostic.to_json() for diagnostic in diagnostics], "stopped_after": None, "bundle": None, "written": [],
        "timings_s": None,
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not isfinite(value) else float(value)


def _gap(objective: float, bound: float) -> float | None:
    if objective <= bound:
        return 0.0
    return _number(1 - bound / objective) if bound > 0 else None


def _traffic(traffic: Traffic | None) -> dict[str, Any]:
    if traffic is None:
        return dict.fromkeys(("kind", "unicast_hops", "multicast_hops", "max_link"))
    return {
        "kind": traffic.kind, "unicast_hops": _number(traffic.unicast_hops), "multicast_hops": _number(traffic.multicast_hops),
        "max_link": _number(traffic.max_link),
    }


def _estimate(estimate: Estimate, machine: Machine | None) -> dict[str, Any]:
    busiest, published = estimate.busiest, estimate.published
    return {
        "energy_j_per_sample": _number(estimate.energy_j_per_sample), "latency_s": _number(estimate.latency_s),
        "step_s": _number(estimate.step_s), "steps": estimate.steps, "energy_j": _numbers(estimate.energy_j),
        "per_step": _numbers(estimate.per_step),
        "busiest_core": None if busiest is None else {
            "core": core_label(busiest.core, 1) if machine is None else _label(busiest.core, machine),
            "synaptic_operations": _number(busiest.operations), "neuron_updates": busiest.updates,
        },
        "activity": None if estimate.level is None else {"level": estimate.level, "samples": estimate.samples},
        "as_published": None if published is None else {
            "generation": published.generation, "step_s": _number(published.step_s), "dynamic_energy_j": _number(published.energy_j),
        },
        "factor": _number(estimate.factor), "within": estimate.within,
        "constants": [
            {"name": name, "value": used.value, "unit": used.unit, "measured_on": used.measured_on, "source": used.source}
            for name, used in estimate.constants.items()
        ],
        "excludes": list(estimate.excludes), "chips": estimate.powered, "sources": list(estimate.sources), "reason": estimate.reason,
    }


def _numbers(values: dict[str, float | None] | None) -> dict[str, float | None] | None:
    return None if values is None else {name: _number(value) for name, value in values.items()}


def _details(outcome: Outcome) -> dict[str, Any] | None:
    details, mapping = outcome.details, outcome.mapping
    if details is None or mapping is None:
        return None
    return {
        "titles": dict(details.titles), "totals": _facts(details.totals),
        "layers": [{"name": name, **_facts(facts)} for name, facts in details.layers.items()],
        "cores": [
            {"core": _label(core, mapping.machine), **_facts(facts)}
            for core, facts in zip(mapping.cores, details.cores, strict=True)
        ],
    }


def _facts(facts: dict[str, int | float | str | None]) -> dict[str, int | float | str | None]:
    return {name: _number(value) if isinstance(value, float) else value for name, value in facts.items()}


def _remap(outcome: Outcome) -> dict[str, Any]:
    remap, machine = outcome.remap, outcome.machine
    assert remap is not None
    assert machine is not None
    chips = max([machine.chips, *(1 + move.old.chip for move in remap.moved)])
    return {
        "program_sha256": outcome.remapped_from, "cores_before": remap.before, "kept": remap.kept,
        "moved": [
            {"from": core_label(move.old, chips), "to": core_label(move.new, chips), "why": move.why} for move in remap.moved
        ],
        "freed": remap.freed, "new": remap.new, "recut": list(remap.recut), "removed": list(remap.removed), "repacked": remap.repacked,
    }


def _network(network: Network) -> dict[str, Any]:
    conventions = network.conventions
    return {
        "file": network.file, "format": network.format, "sha256": network.sha256, "dt": _number(conventions.dt),
        "conventions": {
            "reset": conventions.reset, "decay": conventions.decay, "compare": conventions.compare, "multiple": conventions.multiple,
            "floor": _number(conventions.floor), "early_reset": conventions.early_reset, "lag": conventions.lag,
            "late_bias": conventions.late_bias, "gain": conventions.gain, "in_steps": conventions.in_steps,
            "reset_interval": conventions.reset_interval, "reset_offset": conventions.reset_offset,
        },
        "assumptions": [{"name": a.name, "value": a.value, "source": a.source, "evidence": a.evidence} for a in network.assumptions],
        "notes": list(network.notes), "populations": sum(p.neuron is not None for p in network.populations),
        "neurons": network.neurons, "synapses": network.synapses,
        "inputs": [{"name": name, "shape": list(network[name].shape)} for name in network.inputs],
        "outputs": [{"name": name, "shape": list(network[name].shape)} for name in network.outputs],
    }


def _layers(network: Network, mapping: Mapping | None, survey: Survey | None) -> list[dict[str, Any]]:
    layers, surveyed = [], {} if survey is None else survey.layers
    for population in network.populations:
        if population.neuron is None:
            continue
        afferents = [p for p in network.projections if p.target == population.name]
        kinds = dict.fromkeys(_detail(p.connectivity) + (" recurrent" if p.source == p.target else "") for p in afferents)
        layers.append({
            "name": population.name, "kind": "+".join(dict.fromkeys(p.connectivity.kind for p in afferents)) or "none",
            "model": population.neuron.model, "shape": list(population.shape), "detail": ", ".join(kinds), "where": str(population.where),
            "family": _family(population.neuron), "sends": _sends(population.neuron), "parameters": _parameters(population.neuron),
            "neurons": population.size, "synapses": sum(p.connectivity.synapses for p in afferents),
            **({"cores": None, "limited_by": None} if mapping is None else _layer_cores(population.name, mapping)),
            **({"cores": surveyed[population.name]} if population.name in surveyed else {}),
        })
    return layers


def _family(neuron: Model) -> str:
    if isinstance(neuron, Resonator):
        return "resonator"
    return "sigma-delta" if isinstance(neuron, SigmaDelta) else "integrate-and-fire"


def _sends(neuron: Model) -> str:
    if isinstance(neuron, SigmaDelta):
        return "sigma" if neuron.role == "sigma" else "graded spikes"
    if not neuron.spiking:
        # Without memory what arrives in a step is what is sent in it.
        return "v" if isinstance(neuron, Neuron) and (neuron.alpha.any() or neuron.beta.any()) else "sum"
    return "spikes"


def _parameters(neuron: Model) -> dict[str, Any]:
    values: dict[str, Array] = {}
    if isinstance(neuron, SigmaDelta):
        unit = 2.0 ** (neuron.spike_exp + neuron.state_exp)
        values = {"threshold": neuron.threshold / unit} | ({"bias": neuron.bias / unit} if neuron.bias.any() else {})
    elif isinstance(neuron, Resonator):
        degrees = np.degrees(np.arctan2(neuron.sin, neuron.cos))
        values = {"threshold": neuron.threshold, "decay": np.hypot(neuron.cos, neuron.sin), "degrees": degrees}
    else:
        values = {"threshold": neuron.threshold} if neuron.spiking else {}
        values["v_decay"] = neuron.beta
        if neuron.alpha.any():
            values["i_decay"] = neuron.alpha
        for name, value in (("drive", neuron.drive), ("v_reset", neuron.v_reset)):
            if value.any():
                values[name] = value
    if not isinstance(neuron, SigmaDelta) and neuron.adaptation is not None:
        values |= {"threshold_decay": neuron.adaptation.threshold_decay, "refractory_decay": neuron.adaptation.refractory_decay,
                   "threshold_step": neuron.adaptation.step}
    return {name: {"min": _number(value.min()), "max": _number(value.max())} for name, value in values.items() if value.size}


def _projection(p: Projection) -> dict[str, Any]:
    slowest = 0 if p.delays is None or not p.delays.size else int(p.delays.max())
    fastest = 0 if p.delays is None or not p.delays.size else int(p.delays.min())
    return {
        "name": p.name, "source": p.source, "target": p.target, "kind": p.connectivity.kind, "detail": _geometry(p.connectivity),
        "weights": list(p.connectivity.weights.shape), "synapses": p.connectivity.synapses,
        "delay": {"min": p.delay + fastest, "max": p.delay + slowest},
        "biases": None if p.bias is None else int(np.count_nonzero(p.bias)), "bias_from": p.bias_from, "receptor": p.receptor,
        "where": str(p.where),
    }


def _geometry(connectivity: Connectivity) -> str:
    """Return a connection's kind and sizes with all that is not usual about a convolution."""
    text = _detail(connectivity)
    if not isinstance(connectivity, Conv2d):
        return text
    for word, pair, usual in (
        ("stride", connectivity.stride, (1, 1)), ("padding", connectivity.padding, (0, 0)), ("dilation", connectivity.dilation, (1, 1)),
    ):
        if pair != usual:
            text += f", {word} {pair[0] if pair[0] == pair[1] else f'{pair[0]}×{pair[1]}'}"
    return text if connectivity.groups == 1 else f"{text}, {connectivity.groups} groups"


def _layer_cores(name: str, mapping: Mapping) -> dict[str, Any]:
    shards = [shard for shard in mapping.shards if shard.population == name]
    limit = None
    # A population in one piece is limited by nothing.
    if len(shards) > 1:
        budgets, spec = _budgets(mapping), mapping.machine.spec
        worst = {
            resource: max(_ratio(shard.demand.get(resource, 0), budgets[shard.cluster][resource]) for shard in shards)
            for resource in _sizing(spec)
        }
        most = max(worst, key=lambda resource: worst[resource])
        # A population that takes nothing of its own, since what it computes comes with another one, is not limited either.
        limit = spec.resources[most].title if worst[most] else None
    return {"cores": _cores_of(name, mapping), "limited_by": limit}


def _cores_of(name: str, mapping: Mapping) -> int:
    return len({shard.cluster for shard in mapping.shards if shard.population == name})


def _ratio(used: int, capacity: int) -> float:
    return used / capacity if capacity else float("inf") if used else 0.0


def _sizing(spec: ChipSpec) -> list[str]:
    """Return the resources that set how much a core holds: what it has one of is taken or not, and says nothing of that."""
    return [name for name, resource in spec.resources.items() if resource.max > 1] or list(spec.resources)


def _budgets(mapping: Mapping) -> list[dict[str, int]]:
    """Return what each used core has of each resource."""
    classes = mapping.machine.classes
    if len(classes) == 1:
        return [classes[0].capacity] * len(mapping.cores)
    kind = np.empty(len(mapping.machine.cores), np.int64)
    for k, (_, _, cores) in enumerate(classes):
        kind[cores] = k
    return [classes[k].capacity for k in kind[mapping.placement.slot].tolist()]


def _detail(connectivity: Connectivity) -> str:
    if isinstance(connectivity, Conv2d):
        height, width = connectivity.kernel_size
        return f"conv {height}×{width} {connectivity.in_shape[0]}→{connectivity.out_shape[0]}"
    return f"{connectivity.kind} {connectivity.in_size}→{connectivity.out_size}"


def _chip_passes(machine: Machine) -> int:
    """Return in how many parts, one after the other, a chip can compute a network: the machine has its cores once for each."""
    variant = machine.spec.variants.get(machine.variant)
    return 1 if variant is None else variant.passes


def _usable(machine: Machine, passes: int) -> int:
    """Return the usable cores of so many passes."""
    return len(machine.cores) // _chip_passes(machine) * passes


def _dead(machine: Machine) -> int:
    """Return the dead cores, each of them once."""
    if _chip_passes(machine) == 1:
        return len(machine.dead)
    return len({(chip, core % machine.spec.variants[machine.variant].cores) for chip, core in machine.dead})


def _label(core: Core, machine: Machine) -> str:
    """Return a core's short name, with the pass, from 0 on, where a chip has several."""
    if _chip_passes(machine) == 1:
        return core_label(core, machine.chips)
    step, number = divmod(core.core, machine.spec.variants[machine.variant].cores)
    return f"{core_label(replace(core, core=number), machine.chips)} (pass {step})"


def _basis(outcome: Outcome) -> str | None:
    """Return what the numbers of cores rest on where they are not exact."""
    survey, spec = outcome.survey, outcome.spec or (outcome.machine.spec if outcome.machine else None)
    if survey is not None and survey.cores is not None:
        return f"{survey.name} {survey.version}"
    return "estimate" if spec is not None and spec.estimated else None


def _survey(survey: Survey, mapping: Mapping | None) -> dict[str, Any]:
    held = set() if mapping is None else {shard.population for shard in mapping.shards}
    return {
        "name": survey.name, "version": survey.version, "missing": survey.missing, "fits": survey.fits, "reason": survey.reason,
        "cores": survey.cores, "estimated_cores": None if mapping is None else len(mapping.cores),
        "layers": [
            {"name": name, "cores": cores, "estimated_cores": _cores_of(name, mapping) if mapping is not None and name in held else None}
            for name, cores in survey.layers.items()
        ],
        "facts": _facts(dict(survey.facts)),
    }


def _utilization(outcome: Outcome) -> dict[str, Any] | None:
    machine, mapping, survey = outcome.machine, outcome.mapping, outcome.survey
    if machine is None:
        return None
    passes = outcome.passes or 1
    surveyed = None if survey is None else survey.cores
    table: dict[str, Any] = {
        "cores": {
            "title": "cores", "unit": "cores", "used": surveyed if mapping is None or surveyed is not None else len(mapping.cores),
            "available": _usable(machine, passes), "fullest": None, "limiting": False,
        },
    }
    used, budgets = ([], []) if mapping is None else (mapping.used(), _budgets(mapping))
    for name, resource in machine.spec.resources.items():
        # What routes take is not known before there are routes.
        cores_use = outcome.measured if resource.routed else used
        amounts = [core.get(name, 0) for core in cores_use or ()]
        fullest = None
        if mapping is not None and amounts:
            top = max(range(len(amounts)), key=lambda k: _ratio(amounts[k], budgets[k][name]))
            if budgets[top][name]:
                fullest = {"core": _label(mapping.cores[top], machine), "used": amounts[top], "capacity": budgets[top][name]}
        table[name] = {
            "title": resource.title, "unit": resource.unit, "used": None if mapping is None or cores_use is None else sum(amounts),
            "available": sum(kind.capacity[name] * len(kind.cores) for kind in machine.classes) // _chip_passes(machine) * passes,
            "fullest": fullest, "limiting": False,
        }
    # Where no population is cut, none was too large for a core.
    held = set() if mapping is None else {(shard.population, shard.cluster) for shard in mapping.shards}
    sizing = _sizing(machine.spec) if len(held) > len({population for population, _ in held}) else list(table)
    filled = {
        name: (_ratio(row["fullest"]["used"], row["fullest"]["capacity"]), _ratio(row["used"], row["available"]))
        for name, row in table.items() if row["fullest"] and name in sizing
    }
    # What lies on one core is limited by nothing.
    if filled and mapping is not None and len(mapping.cores) > 1:
        table[max(filled, key=lambda name: filled[name])]["limiting"] = True
    return table


def _verification(verification: Verification) -> dict[str, Any]:
    fixed, real, vendor = verification.chip_vs_fixed, verification.chip_vs_float, verification.vendor
    return {
        "mapping": verification.mapping,
        "chip_vs_fixed": None if fixed is None else {
            "samples": fixed.samples, "steps": fixed.steps, "spikes": fixed.spikes, "mismatches": fixed.mismatches,
        },
        "chip_vs_float": None if real is None else {
            "spike_agreement": _number(real.spike_agreement), "accuracy_float": _number(real.accuracy_float),
            "accuracy_chip": _number(real.accuracy_chip), "samples": real.samples, "count_agreement": _number(real.count_agreement),
            "argmax_agreement": _number(real.argmax_agreement), "window": real.window,
        },
        "vendor": None if vendor is None else {
            "name": vendor.name, "version": vendor.version, "mismatches": vendor.mismatches, "samples": vendor.samples,
            "skipped_reason": vendor.skipped_reason, "compared": None if vendor.mismatches is None else vendor.compared,
            "facts": dict(vendor.facts),
        },
    }


def _samples(samples: Samples | None) -> dict[str, Any] | None:
    if samples is None:
        return None
    return {
        "file": samples.file, "sha256": samples.sha256, "samples": samples.samples, "steps": samples.steps, "labels": samples.labels,
        "scored": samples.scored,
    }


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        for old, new in names.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if isinstance(value, dict):
        return {key: _renamed(item, names) for key, item in value.items()}
    return value
