"""Design rules of Loihi 2: what its neurons and synapses cannot express, each explained, all offences at once."""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Conv2d
from nmap.diagnostics import Findings
from nmap.network import Network, Population
from nmap.options import Options
from nmap.target.backend import Rule
from nmap.target.spec import ChipSpec

__all__ = ["RULES"]


def _names(populations: list[Population]) -> str:
    shown = ", ".join(f"`{p.name}`" for p in populations[:6])
    return shown if len(populations) <= 6 else f"{shown} and {len(populations) - 6} more"


def _where(populations: list[Population]) -> str:
    return ", ".join([str(populations[0].where), *(p.where.path for p in populations[1:6])])


def weight_bits(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Weight bits are 1 to 8."""
    del network
    limit = spec.limits["weight_bits"]
    if options.bits is not None and not limit.min <= options.bits <= limit.max:
        findings.error("NM004", f"--bits {options.bits}: Loihi 2 stores {limit.min} to {limit.max} bits per weight", why=limit.source)


def spiking_neurons(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Every population spikes: a non-spiking integrator has no output the chip could send."""
    del options
    silent = [p for p in network.populations if p.neuron is not None and not p.neuron.spiking]
    if silent:
        findings.error(
            "NM201", f"loihi2 has no non-spiking neuron whose state can be sent ({len(silent)} populations: {_names(silent)})",
            where=_where(silent), why=spec.features["li"].note,
            help=("end the network in a spiking population (`LIF`, `CubaLIF`, `IF`) and count its spikes",),
        )


def decay_factors(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Decay factors lie between 0 and 1: a time step longer than a time constant has no stable equation."""
    del spec, options
    for p in network.populations:
        if p.neuron is None:
            continue
        for label, factor in (("membrane", p.neuron.beta), ("synaptic current", p.neuron.alpha)):
            bad = int(np.count_nonzero((factor < 0) | (factor > 1)))
            if bad:
                findings.error(
                    "NM305", f"the {label} decay factor of {bad} neurons of `{p.name}` is outside 0..1", where=str(p.where),
                    why=f"It is {float(factor.min()):.4g} at dt = {network.conventions.dt} s: the step is longer than the time constant.",
                    help=("give the time step the network was trained with: --dt SECONDS",),
                )


def reset_to_zero(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Resets set the membrane to a value; taking the threshold off is not in the chip's documented neuron models."""
    spiking = [p for p in network.populations if p.neuron is not None and p.neuron.spiking]
    if network.conventions.reset == "zero" or not spiking:
        return
    what = "reset by subtraction" if network.conventions.reset == "subtract" else "delayed reset by subtraction"
    if "reset" in options.approximate:
        findings.warning(
            "NM205", f"{what} of {len(spiking)} populations is approximated by a reset to zero: {_names(spiking)}", where=_where(spiking),
            why="The cost is what `chip_vs_float` measures on the given samples.",
        )
    else:
        findings.error(
            "NM202", f"loihi2's neurons reset to zero, the network's reset by {'subtraction' if what[0] == 'r' else 'delayed subtraction'}"
            f" ({len(spiking)} populations: {_names(spiking)})", where=_where(spiking), why=spec.features["reset_subtract"].note,
            help=(
                "--approximate reset maps it to a reset to zero and measures what that costs on --input",
                "train with a reset to zero (snnTorch: reset_mechanism='zero', reset_delay=False)",
                "if the file was trained with a reset to zero, say so: --reset zero",
            ),
        )


def lossless_bias(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A bias into a synaptic current that never decays grows without bound."""
    del spec, options
    for p in network.projections:
        neuron = network[p.target].neuron
        if p.bias is not None and neuron is not None and ((neuron.alpha >= 1) & (p.bias != 0)).any():
            count = int(np.count_nonzero((neuron.alpha >= 1) & (p.bias != 0)))
            findings.error("NM203", f"{count} neurons of `{p.target}` have a bias into a current that never decays", where=str(p.where))


def shared_kernels(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Neurons of one output channel share their kernel row, so they must share their input gain."""
    del spec, options
    for p in network.projections:
        neuron = network[p.target].neuron
        if not isinstance(p.connectivity, Conv2d) or neuron is None:
            continue
        gain = (neuron.gain_in * neuron.gain_v).reshape(p.connectivity.out_shape[0], -1)
        if not np.allclose(gain, gain[:, :1], rtol=1e-6, atol=0):
            findings.error(
                "NM203", f"neurons of one channel of `{p.target}` have different input gains, but share the kernel of `{p.name}`",
                where=str(p.where), why="The gain (r, tau, dt) is folded into the weights; a kernel row has one value for all positions.",
                help=("use one tau and one r per channel",),
            )


def delayed_convolutions(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Convolution synapses carry no delay."""
    del spec, options
    for p in network.projections:
        if isinstance(p.connectivity, Conv2d) and p.delays is not None:
            findings.error("NM203", f"convolution `{p.name}` has synaptic delays, which loihi2 offers for dense and sparse synapses only",
                           where=str(p.where))


RULES: tuple[Rule, ...] = (
    weight_bits, spiking_neurons, decay_factors, reset_to_zero, lossless_bias, shared_kernels, delayed_convolutions,
)
