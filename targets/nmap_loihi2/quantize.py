"""From real numbers to Loihi 2's integers: timing, and one module for each family of neurons."""

from __future__ import annotations

from nmap.diagnostics import Findings
from nmap.network import Network, Neuron, Resonator, SigmaDelta
from nmap.options import Options
from nmap.quantize.timing import Timing, realise_delays
from nmap.quantized import LayerLoss, QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap.target.spec import ChipSpec
from nmap_loihi2.lif import fed, quantize_lif
from nmap_loihi2.ranges import prove_ranges
from nmap_loihi2.resonator import quantize_resonator
from nmap_loihi2.sigma_delta import quantize_sigma_delta
from nmap_loihi2.synapses import Job, Made

__all__ = ["quantize", "realise_time"]


def realise_time(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> Timing:
    """Return latencies and delays in chip steps; what cannot line up is recorded (NM204, or NM205 under `--approximate delay`)."""
    # A bias that arrives as a spike needs a step before the network's first one in which that spike is sent.
    biased = {p.target for p in network.projections if p.bias is not None and fed(network[p.target].neuron, p.bias, p.bias_from).any()}
    return realise_delays(
        network, findings, max_delay=spec.limits["delay"].max, allow_longer="delay" in options.approximate,
        earliest=dict.fromkeys(biased, 1),
    )


def quantize(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> QuantizedNetwork:
    """Return the network in Loihi 2's integers.

    Args:
        network: every rule of the target has passed.
        spec: field ranges.
        options: `bits` (default 8) and allowed approximations.
        findings: receives every loss and every range that is not proved.
    """
    timing = realise_time(network, spec, options, findings)
    populations: list[QuantizedPopulation] = []
    projections: dict[str, QuantizedProjection] = {}
    losses: list[LayerLoss] = []
    taken = {p.name for p in network.populations} | {p.name for p in network.projections}
    for population in network.populations:
        if population.neuron is None:
            populations.append(QuantizedPopulation(
                population.name, population.shape, None, {}, population.where, latency=timing.spikes[population.name]
            ))
            continue
        made = _neurons(Job(network, population, timing, spec, options, findings), taken)
        populations.extend(made.populations)
        projections.update(made.projections)
        losses.append(made.loss)
    _tell_lag(network, findings)
    order = {p.name: k for k, p in enumerate(network.projections)}
    sorted_projections = sorted(projections.values(), key=lambda p: order.get(p.name, len(order)))
    whole = QuantizedNetwork(tuple(populations), tuple(sorted_projections), network.inputs, network.outputs, tuple(losses))
    return prove_ranges(whole, options.payload, spec, findings)


def _neurons(job: Job, taken: set[str]) -> Made:
    model = job.population.neuron
    if isinstance(model, Neuron):
        return quantize_lif(job, model, taken)
    if isinstance(model, Resonator):
        return quantize_resonator(job, model, taken)
    if isinstance(model, SigmaDelta):
        return quantize_sigma_delta(job, model, taken)
    raise TypeError(f"{job.name} is a {type(model).__name__}, which is no model of neurons")


def _tell_lag(network: Network, findings: Findings) -> None:
    lag = network.conventions.lag
    late = [p for p in network.populations if p.neuron is not None and not p.silent]
    if lag and late:
        steps = f"{lag} step{'' if lag == 1 else 's'}"
        findings.note(
            "NM204", f"spikes leave {steps} after the crossing of their threshold, which synaptic delays realise", where=str(late[0].where),
            why=f"States recorded on the chip (`--probe`) stand {steps} late beside the network's own.",
        )
