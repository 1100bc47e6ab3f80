"""Interval analysis of a quantized network: which sums and currents are proved to stay in the chip's fields.

Every population sends payloads between two bounds, every synapse multiplies them, so the sum of a step lies between two numbers that the
weights' signs give. Where these lie inside an accumulator's width nothing needs to be done; elsewhere the accumulator gets its width, so
that emulator and reference wrap as Lava does, and the user is told.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nmap.connectivity import Array, Conv2d
from nmap.diagnostics import Findings, named
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap.target.spec import ChipSpec

__all__ = ["accumulator_bits", "prove_ranges"]

_ACCUMULATOR = 32
"""Bits of Lava's dense and sparse sums, before and after the weight exponent."""
_SUMMED_IN = "Lava 0.10.0, PyDenseModelBitAcc and PySparseModelBitAcc: int32"
_CONV_ACCUMULATOR = 24
"""Bits of Lava's convolution sums (`PyConvModelFixed.clamp_precision`)."""
_UNDEFINED = " Lava leaves open what a convolution's sum of 2^31 and more becomes."
_MEMBRANES = ("loihi2.lif", "loihi2.ternary_lif", "loihi2.lif_reset", "loihi2.atrlif")
_DELTAS = ("loihi2.delta", "loihi2.sigma_delta")
_UNBOUNDED = (-(1 << 31), (1 << 31) - 1)
"""Messages are 32-bit integers in Lava."""

Interval = tuple[int, int]


def prove_ranges(network: QuantizedNetwork, payload: Interval, spec: ChipSpec, findings: Findings) -> QuantizedNetwork:
    """Give every projection whose sums may leave its accumulator the accumulator's width; tell what is not proved.

    Args:
        network: the whole network.
        payload: smallest and largest value that the input ports send.
        spec: the ranges of states and accumulators.
        findings: receives NM304 where a sum, or the synaptic current built from it, may wrap.
    """
    sent: dict[str, Interval] = {}
    # A relay sends what it receives, so its bounds follow from those of its source.
    for population in sorted(network.populations, key=lambda p: p.kernel == "loihi2.relay"):
        sent[population.name] = _payloads(network, population, sent, payload)
    projections = {p.name: p for p in network.projections}
    unproved = []
    for population in network.populations:
        low, high = np.zeros(1), np.zeros(1)
        for p in network.afferents(population.name):
            least, most = _sums(p, sent[p.source])
            bits = accumulator_bits(p)
            # The sum has to fit before its shift to the right and after its shift to the left.
            over = max(float(most.max(initial=0)), -float(least.min(initial=0))) * 2.0 ** max(p.format.exponent, 0)
            if over >= 1 << (bits - 1):
                projections[p.name] = replace(p, format=replace(p.format, accumulator=bits))
                unproved.append((p, over, bits))
            low, high = low + least * 2.0**p.format.exponent, high + most * 2.0**p.format.exponent
        if population.kernel in _MEMBRANES:
            _current(population, low, high, spec, findings)
    _tell(unproved, spec, findings)
    return replace(network, projections=tuple(projections[p.name] for p in network.projections))


def accumulator_bits(p: QuantizedProjection) -> int:
    """Return the width of a projection's sums in Lava, in units of its stored weights.

    Lava's Conv sums the weights without a shift in 24 bits. Stored ones that are 2^k times as large, with the exponent -k, wrap alike in
    k bits more. A convolution that Lava's Conv cannot compute (a delay, or a shift that rounds) is a list of synapses there.
    """
    if not isinstance(p.connectivity, Conv2d) or p.delay or p.delays is not None:
        return _ACCUMULATOR
    exponent = p.format.exponent
    if exponent < 0 and (p.connectivity.weights % 2**-exponent).any():
        return _ACCUMULATOR
    return _CONV_ACCUMULATOR - min(exponent, 0)


def _payloads(network: QuantizedNetwork, population: QuantizedPopulation, sent: dict[str, Interval], payload: Interval) -> Interval:
    """Return bounds of what a neuron of the population sends in a step; 0 lies between them."""
    if population.kernel is None:
        return min(payload[0], 0), max(payload[1], 0)
    if population.kernel in _DELTAS:
        # The shift that drops the state's fraction is all that bounds them.
        exponent = int(population.params["state_exp"].min(initial=31))
        return _UNBOUNDED[0] >> exponent, _UNBOUNDED[1] >> exponent
    if population.kernel == "loihi2.sigma":
        return _UNBOUNDED
    if population.kernel == "loihi2.relay":
        bounds = [_sums(p, sent.get(p.source, _UNBOUNDED)) for p in network.afferents(population.name)]
        low, high = (sum(float(side[k]) for side in ((b[0].min(), b[1].max()) for b in bounds)) for k in (0, 1))
        return max(int(low), _UNBOUNDED[0]), min(int(high), _UNBOUNDED[1])
    return (-1 if population.kernel == "loihi2.ternary_lif" else 0), 1


def _sums(p: QuantizedProjection, sent: Interval) -> tuple[Array, Array]:
    """Return bounds of the sum of one step before the exponent, (targets,) float64 each."""
    low, high = sent if p.format.message_bits else (0, 1)
    up, down = p.connectivity.row_sums()
    return down * float(high) + up * float(low), up * float(high) + down * float(low)


def _current(population: QuantizedPopulation, low: Array, high: Array, spec: ChipSpec, findings: Findings) -> None:
    """Tell where the synaptic current may wrap at 24 bits, or the sum that enters it at 32."""
    reach = np.maximum(high, -low)
    bound = spec.limits["accumulator"]
    over = int(np.count_nonzero(reach > bound.max))
    if over:
        findings.warning(
            "NM304", f"the summed input of {over} neurons of `{population.name}` may overflow", where=str(population.where),
            why=f"It may reach {float(reach.max()):.4g} in one step, the field holds {bound.max} ({bound.source}). Emulator, reference and"
            " the emitted program wrap as Lava's models do.",
            help=("send smaller graded payloads",),
        )
        return
    if "du" not in population.params:
        return
    kept = (4095 - population.params["du"]) / 4096
    limit = np.where(kept < 1, reach * 64 / np.where(kept < 1, 1 - kept, 1), np.where(reach > 0, np.inf, 0))
    risky = int(np.count_nonzero(limit > spec.limits["state"].max))
    if risky:
        findings.note(
            "NM304", f"the current of {risky} neurons of `{population.name}` is not proved to stay within 24 bits",
            where=str(population.where),
            why="If all their inputs of one sign fired together it would wrap; emulator and reference wrap as Lava does.",
        )


def _tell(unproved: list[tuple[QuantizedProjection, float, int]], spec: ChipSpec, findings: Findings) -> None:
    graded = [item for item in unproved if item[0].format.message_bits]
    sources = ((_CONV_ACCUMULATOR, spec.limits["conv_accumulator"].source), (_ACCUMULATOR, _SUMMED_IN))
    for bits, source in sources:
        found = [item for item in graded if (item[2] == _ACCUMULATOR) == (bits == _ACCUMULATOR)]
        if not found:
            continue
        names = named([p.name for p, _, _ in found])
        worst = max(over for _, over, _ in found)
        findings.note(
            "NM304", f"sums of {names} are not proved to stay within {bits} bits", where=str(found[0][0].where),
            why=f"The largest payloads could make one of them {worst:.3g} large; beyond {bits} bits it wraps, on the emulator as in Lava"
            f" ({source}).{_UNDEFINED if bits == _CONV_ACCUMULATOR and worst >= 1 << 31 else ''}",
        )
    for p, over, bits in unproved:
        if not p.format.message_bits:
            findings.warning(
                "NM304", f"sums of `{p.name}` may leave the {bits} bits of their accumulator", where=str(p.where),
                why=f"One of them may reach {over:.4g}. Beyond {bits} bits it wraps, on the emulator as in Lava.",
            )
