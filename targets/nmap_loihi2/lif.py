"""Current-based neurons (LIF, IF, CUBA) in Loihi 2's integers, and what of them adaptive ones share.

All weights that meet in one membrane share one scale s (weight units per unit of the network's weight, gains included) and one
exponent e, so a state variable counts 64 s 2^e units per unit of the network's v; thresholds, biases and decays follow from that. Field
widths are those of `lava/proc/lif/models.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array, Conv2d, Dense
from nmap.diagnostics import Findings
from nmap.network import Model, Network, Neuron, Population, Projection
from nmap.options import Options
from nmap.quantized import LayerLoss, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.spec import ChipSpec
from nmap_loihi2.adaptive import adaptive_threshold
from nmap_loihi2.synapses import Job, Made, connect, counted, grid, scaled, shared_scale, split_signs

__all__ = ["fed", "quantize_lif"]

_STATE_MAX = (1 << 23) - 1
_FAR_LEAK = 0.1
"""Relative error of a leak above which a warning says so."""
_PLAIN_BIAS_EXP = 6
"""The bias exponent of `Options.plain`: netx's, see `nmap_loihi2.netx`."""


@dataclass(frozen=True, slots=True, eq=False)
class _Membrane:
    """A population's neurons in coordinates whose reset value is 0.

    Args:
        gain: weight to v, (n,).
        bias: constant into v per step, (n,).
        fed: constants that must arrive as spikes, in units of v per step, (n,) each, by the network's step in which they begin: those
            that build up in a leaky synaptic current, and those that begin later than step 0.
        threshold: (n,).
        start: v before the first step, (n,).
    """

    gain: Array
    bias: Array
    fed: dict[int, Array]
    threshold: Array
    start: Array

    @property
    def current(self) -> Array:
        """The sum of the constants that arrive as spikes at its farthest from 0 while one after the other begins, (n,)."""
        if not self.fed:
            return np.zeros_like(self.gain)
        total = np.cumsum([self.fed[first] for first in sorted(self.fed)], axis=0)
        peak: Array = np.take_along_axis(total, np.abs(total).argmax(0)[None], 0)[0]
        return peak


def fed(neuron: Model | None, bias: Array, first: int) -> Array:
    """Return which of a projection's biases must arrive as spikes, (n,) bool."""
    if not isinstance(neuron, Neuron):
        return np.zeros(bias.shape, bool)
    wanted: Array = (bias != 0) & ((neuron.alpha > 0) | (first > 0))
    return wanted


def _membrane(neuron: Neuron, afferents: list[Projection], reset: str) -> _Membrane:
    gain = neuron.gain_in * neuron.gain_v
    # A subtracting reset does not use the file's reset value, so its approximation by a reset to zero does not either.
    floor = neuron.v_reset if reset == "zero" else np.zeros_like(gain)
    bias = neuron.drive + (neuron.beta - 1) * floor
    spikes: dict[int, Array] = {}
    for p in afferents:
        if p.bias is not None:
            through = gain * p.bias
            as_spikes = fed(neuron, p.bias, p.bias_from)
            bias = bias + np.where(as_spikes, 0, through)
            if as_spikes.any():
                spikes[p.bias_from] = spikes.get(p.bias_from, 0) + np.where(as_spikes, through, 0)
    return _Membrane(gain, bias, spikes, neuron.threshold - floor, -floor)


def _level(membrane: _Membrane, afferents: list[Projection]) -> Array:
    """Return a factor per neuron, (n,), that makes the scaled thresholds of all neurons equal, or ones where that is impossible.

    A neuron's state may be scaled freely as long as its threshold is scaled too, so unequal thresholds become unequal weights and
    the chip's one threshold per population is enough. Neurons that share a kernel row must share the factor. Thresholds more than a
    factor of 2 apart would cost the weights more than a bit, so they stay as they are.
    """
    threshold = membrane.threshold
    if (threshold <= 0).any() or threshold.max() > 2 * threshold.min():
        return np.ones_like(threshold)
    level: Array = threshold[0] / threshold
    for p in afferents:
        if isinstance(p.connectivity, Conv2d):
            per_channel = level.reshape(p.connectivity.out_shape[0], -1)
            if not np.allclose(per_channel, per_channel[:, :1], rtol=1e-9, atol=0):
                return np.ones_like(threshold)
    return level


def quantize_lif(job: Job, neuron: Neuron, taken: set[str]) -> Made:
    """Return current-based neurons, with a periodic reset or an adaptive threshold where the network has one.

    Args:
        job: the population.
        neuron: its neurons.
        taken: names of populations and projections; receives new ones.
    """
    population, findings, spec, conventions = job.population, job.findings, job.spec, job.network.conventions
    integer = conventions.decay == "steps"
    membrane = _membrane(neuron, job.afferents, "none" if neuron.adaptation is not None else conventions.reset)
    # The integers of a file stay as they are; Lava's CPU models take one threshold per neuron.
    level = np.ones(population.size) if integer or neuron.adaptation is not None else _level(membrane, job.afferents)
    real = {p.name: scaled(p.connectivity, membrane.gain * level) for p in job.afferents}
    grids = split_signs(job, real)
    scale, exponent = 1.0, 0
    if not integer:
        scale, exponent = _choose_scale(job, neuron, membrane, level, real, shared_scale(real, grids))
    # Weight units per unit of the network's v, per neuron.
    unit = scale * level
    state_unit = unit * 2.0**exponent
    made = connect(job, real, grids, scale, exponent, integer, taken)
    du = np.rint(4096 * (1 - neuron.alpha)).astype(np.int64) - 1
    dv = np.rint(4096 * (1 - neuron.beta)).astype(np.int64)
    mantissa, bias_exp, bias_error = _bias(
        membrane, state_unit, integer, job.where, job.name, spec, findings, job.options.plain
    )
    populations, projections = list(made.relays), dict(made.projections)
    for first, current in sorted(membrane.fed.items()):
        clock, carriers, error = _bias_neuron(population, current * unit * 2.0**exponent, job.latency + first, taken, findings)
        taken.add(clock.name)
        populations.append(clock)
        projections.update((p.name, p) for p in carriers)
        bias_error = max(bias_error, error)
    bias = {"bias_mant": mantissa, "bias_exp": np.full(population.size, bias_exp)}
    if neuron.adaptation is not None:
        kernel = "loihi2.atrlif"
        thresholds, limit = adaptive_threshold(job, neuron, neuron.adaptation)
        params, threshold_error = {"delta_i": du, "delta_v": dv, **thresholds, **bias}, 0.0
        fields = {"delta_i": du, "delta_v": dv, **thresholds}
    else:
        kernel = "loihi2.lif"
        vth, threshold_error = _threshold(job.network, neuron, membrane, state_unit, job.where, job.name, spec, findings)
        fields, limit = {"du": du, "dv": dv, "vth": vth}, vth << 6
        params = {**fields, **bias}
        if conventions.reset_interval:
            # A time step of Lava is the chip step plus 1.
            phase = (conventions.reset_offset + population.hops + job.latency + 1) % conventions.reset_interval
            kernel = "loihi2.lif_reset"
            params |= {"reset_interval": np.array(conventions.reset_interval), "reset_offset": np.array(phase)}
    _report_fields(neuron, du, dv, fields, job.where, job.name, findings)
    start = np.rint(membrane.start * state_unit * 64).astype(np.int64)
    if job.options.plain and not start.any():
        initial = start
        _tell_early_bias(job, mantissa)
    else:
        initial = _initial_voltage(job, dv, mantissa << bias_exp, limit, start)
    decay_error = max(
        float(np.abs((4095 - du) / 4096 - neuron.alpha).max(initial=0)), float(np.abs((4096 - dv) / 4096 - neuron.beta).max(initial=0))
    )
    tally = made.tally
    loss = LayerLoss(
        job.name, made.bits, scale, exponent, tally.sqnr_db, tally.clipped, tally.zeroed, threshold_error, decay_error, bias_error,
    )
    populations.append(QuantizedPopulation(
        job.name, population.shape, kernel, params, population.where, {"v": initial} if initial.any() else {}, 64 * state_unit,
        job.timing.spikes[job.name],
    ))
    return Made(populations, projections, loss)


def _choose_scale(
    job: Job, neuron: Neuron, membrane: _Membrane, level: Array, real: dict[str, Array], finest: float
) -> tuple[float, int]:
    """Return scale and exponent of real weights, and tell what room for a threshold, bias or sum costs them."""
    spec, findings, bits = job.spec, job.findings, job.bits
    has_conv = any(isinstance(p.connectivity, Conv2d) for p in job.afferents)
    peaks = _row_peaks(job.network, job.afferents, real, finest, job.options)
    scale, exponent = _fit(spec, neuron, membrane, level, finest, peaks, has_conv, job.options.plain)
    if exponent < 0:
        findings.note(
            "NM302", f"sums into `{job.name}` are rounded down to multiples of {2.0**-exponent:g} weight units, so that the"
            " largest possible one stays within 24 bits", where=job.where,
        )
    if scale < finest:
        findings.warning(
            "NM302", f"weights into `{job.name}` keep {max(bits - float(np.log2(finest / scale)), 0):.1f} of {bits} bits, to"
            " make room for a threshold, bias or sum far above them", where=job.where,
            why=f"The threshold field ends at {spec.limits['vth'].max} weight units, the bias at {spec.limits['bias_mant'].max} x "
            f"2^{spec.limits['bias_exp'].max} state units, 64 per weight unit, and the current at {_STATE_MAX}.",
        )
    return scale, exponent


def _bias_neuron(
    population: Population, current: Array, first: int, taken: set[str], findings: Findings
) -> tuple[QuantizedPopulation, list[QuantizedProjection], float]:
    """Return a neuron that spikes in every step, the synapses through which it feeds biases into synaptic currents, and their error.

    The chip adds biases to the membrane from its first step on, so one that must build up in the current first, or begins later, has to
    arrive as spikes. The neuron gains one state unit per step and fires above 0; it starts so low that its first spike arrives when the
    bias begins. Its synapses are eight bits wide whatever the weights are; a second matrix, and a third, carry what the first leaves over,
    so that whole units are carried exactly.

    Args:
        current: whole dendritic units per step, (n,).
        first: chip step in which the first spike arrives.
        taken: names of populations.
    """
    name = f"{population.name}.bias"
    while name in taken:
        name += "_"
    params = {"du": 4095, "dv": 0, "vth": 0, "bias_mant": 1, "bias_exp": 0}
    start = max(first - 1, 0)
    clock = QuantizedPopulation(
        name, (1,), "loihi2.lif", {key: np.array(value) for key, value in params.items()}, population.where,
        {"v": np.array(-start)} if start else {}, 64 * np.ones(1), start,
    )
    carriers: list[QuantizedProjection] = []
    rest = current.copy()
    for exponent in (7, 6, 5, 4, 3, 2, 1, 0):
        cells = grid(rest, 8)
        # The finest exponent at which all that is left fits; below the last bit nothing is left to carry.
        if exponent and (rest.max() <= cells.high * 2 ** (exponent - 1) and rest.min() >= cells.low * 2 ** (exponent - 1)):
            continue
        # A matrix of both signs holds even weights only, so odd biases take one for each sign.
        odd = exponent == 0 and cells.sign == "mixed" and bool((np.rint(rest) % 2).any())
        for part in (np.maximum(rest, 0), np.minimum(rest, 0)) if odd else (rest,):
            cells = grid(part, 8)
            stored = np.clip(np.rint(part / 2.0**exponent / cells.step) * cells.step, cells.low, cells.high).astype(np.int32)
            if stored.any():
                carriers.append(QuantizedProjection(
                    f"{name}>{population.name}" + "'" * len(carriers), name, population.name, Dense(stored[:, None]),
                    SynapseFormat(8, exponent, cells.sign), 0, population.where,
                ))
            rest = rest - stored * 2.0**exponent
    gone = (np.abs(rest) >= np.abs(current)) & (current != 0)
    lost = int(np.count_nonzero(gone))
    if lost:
        findings.warning(
            "NM302", f"the bias of {counted(lost, 'neuron')} of `{population.name}` rounds to 0:"
            f" {_farthest(current[gone]):.4g} weight units per step", where=str(population.where),
        )
    beyond = int(np.count_nonzero(np.abs(rest) > 2))
    if beyond:
        findings.error(
            "NM305",
            f"{_farthest(current):.4g} units per step, the bias of `{population.name}`, are beyond what synapses can feed into a current",
            where=str(population.where), why=f"A synapse gives 255 x 2^7. So it is with {counted(beyond, 'neuron')}.",
        )
    error = np.abs(rest) / np.where(current != 0, np.abs(current), 1)
    return clock, carriers, float(error.max(initial=0))


def _farthest(values: Array) -> float:
    """Return the value farthest from 0."""
    return float(values[np.abs(values).argmax()])


def _row_peaks(
    network: Network, afferents: list[Projection], real: dict[str, Array], scale: float, options: Options
) -> tuple[Array, Array]:
    """Return the largest and smallest dendritic sum of one step, per neuron, in weight units before the exponent."""
    high, low = np.zeros(1), np.zeros(1)
    for p in afferents:
        up, down = p.connectivity.with_weights(real[p.name] * scale).row_sums()
        least, most = options.payload if p.source in network.inputs else (0, 1)
        forward, backward = max(most, 0), max(-least, 0)
        high = high + up * forward - down * backward
        low = low + down * forward - up * backward
    return high, low


def _fit(
    spec: ChipSpec, neuron: Neuron, membrane: _Membrane, level: Array, scale: float, peaks: tuple[Array, Array], has_conv: bool,
    plain: bool = False,
) -> tuple[float, int]:
    """Return the scale and the weight exponent with which thresholds and biases hold in their fields.

    A positive exponent makes the state finer, so that less is lost to the decays' rounding and the threshold is better resolved; it is
    taken as far as neither state variable can leave its 24 bits, which only leaky neurons allow to prove. Thresholds too far above the
    weights take scale from the weights. Sums of one step that could leave the current's 24 bits get a negative exponent, which rounds
    down sums that are large; convolutions have no exponent, since Lava's ignores it, and give up scale there too, as all do if `plain`.
    """
    has_conv = has_conv or plain
    bias_exp = _PLAIN_BIAS_EXP if plain else spec.limits["bias_exp"].max
    unit = scale * level
    bias = np.abs(membrane.bias) * unit
    room = max(
        float(np.abs(membrane.threshold * unit).max(initial=0)) / spec.limits["vth"].max,
        float(bias.max(initial=0)) * 64 / (spec.limits["bias_mant"].max << bias_exp),
    )
    shrink = max(1.0, room)
    # A constant current is certain, and no sum that rounding down would leave small beside it.
    steady = np.abs(membrane.current) * unit / np.where(neuron.alpha < 1, 1 - neuron.alpha, 1)
    shrink = max(shrink, 2 * float(steady.max(initial=0)) * 64 / _STATE_MAX)
    single = float(np.maximum(peaks[0], -peaks[1]).max(initial=0)) / shrink * 64 / _STATE_MAX + (0.5 if steady.any() else 0.0)
    if single > 1:
        exponent = 0 if has_conv else max(-int(np.ceil(np.log2(single))), spec.limits["weight_exp"].min)
        return scale / shrink / max(1.0, single * 2.0**exponent), exponent
    if shrink > 1 or has_conv or (neuron.beta >= 1).any() or (neuron.alpha >= 1).any():
        return scale / shrink, 0
    reach = (np.maximum(peaks[0], -peaks[1]) + np.abs(membrane.current) * unit) / (1 - neuron.alpha)
    for exponent in range(spec.limits["weight_exp"].max, 0, -1):
        factor = 64 * (1 << exponent)
        proved = (reach * factor < _STATE_MAX) & ((reach + bias) * factor / (1 - neuron.beta) < _STATE_MAX)
        if room * (1 << exponent) <= 1 and proved.all():
            return scale, exponent
    return scale, 0


def _threshold(
    network: Network, neuron: Neuron, membrane: _Membrane, unit: Array, where: str, name: str, spec: ChipSpec, findings: Findings
) -> tuple[Array, float]:
    exact = membrane.threshold * unit
    # Here v only takes whole weight units: without a leak, or without any memory.
    whole = ((neuron.beta == 1) | (neuron.beta == 0)) & (neuron.alpha == 0) & (membrane.bias == 0)
    nudge = 1e-9 * np.maximum(np.abs(exact), 1)
    if network.conventions.compare == ">":
        # v > t is v > floor(t), without any error, on whole units; else the nearest.
        vth = np.where(whole, np.floor(exact + nudge), np.rint(exact)).astype(np.int64)
    else:
        # v >= t is v > ceil(t) - 1, without any error, on whole units; elsewhere early by less than a weight unit, since a sum that
        # meets the threshold exactly must fire.
        vth = (np.ceil(exact - nudge) - 1).astype(np.int64)
    limit = spec.limits["vth"]
    outside = np.maximum(limit.min - vth, vth - limit.max)
    if (outside > 0).any():
        bad = counted(int(np.count_nonzero(outside > 0)), "neuron")
        findings.error(
            "NM305", f"the threshold of {bad} of `{name}` is outside {limit.min}..{limit.max}: {int(vth[outside.argmax()])} weight units",
            where=where, why=f"The file's v counts {unit.min():.4g} weight units per unit ({limit.source}).",
        )
        vth = np.clip(vth, limit.min, limit.max)
    gone = (vth == 0) & (exact > 1) & ~whole
    if gone.any():
        lost = counted(int(np.count_nonzero(gone)), "neuron")
        findings.warning(
            "NM302", f"the threshold of {lost} of `{name}` rounds to 0: {_farthest(exact[gone]):.4g} weight units", where=where
        )
    error = np.abs(np.where(whole, 0, vth - exact)) / np.where(exact != 0, np.abs(exact), 1)
    return vth, float(error.max(initial=0))


def _bias(
    membrane: _Membrane, unit: Array, integer: bool, where: str, name: str, spec: ChipSpec, findings: Findings,
    plain: bool = False,
) -> tuple[Array, int, float]:
    exact = membrane.bias * unit * 64
    mantissa, exps = spec.limits["bias_mant"], spec.limits["bias_exp"]
    candidates = [
        e for e in ((_PLAIN_BIAS_EXP,) if plain else range(exps.min, exps.max + 1))
        if (np.rint(exact / (1 << e)) <= mantissa.max).all() and (np.rint(exact / (1 << e)) >= mantissa.min).all()
    ]
    # The smallest exponent is the finest, and any larger one that is exact too is no better.
    exponent = candidates[0] if candidates else None
    if exponent is None:
        over = int(np.count_nonzero(np.abs(exact) > mantissa.max << exps.max))
        findings.error(
            "NM305", f"the bias of {counted(over, 'neuron')} of `{name}` is beyond {mantissa.max} x 2^{exps.max} state units:"
            f" {_farthest(exact):.6g}", where=where,
            why=f"It is {_farthest(membrane.bias):.6g} in the file's v per step ({mantissa.source}).",
        )
        return np.zeros(exact.shape, np.int64), 0, 1.0
    stored = np.rint(exact / (1 << exponent)).astype(np.int64)
    gone = (stored == 0) & (exact != 0)
    if gone.any():
        lost = counted(int(np.count_nonzero(gone)), "neuron")
        findings.note("NM302", f"the bias of {lost} of `{name}` rounds to 0: {_farthest(exact[gone]):.4g} state units", where=where)
    off = np.abs((stored << exponent) - exact)
    if integer and off.any():
        worst = int(off.argmax())
        findings.warning(
            "NM302", f"a bias of {exact[worst] / 64:.10g} of `{name}` becomes {(int(stored[worst]) << exponent) / 64:.10g}"
            f" beside the largest, {_farthest(exact) / 64:.10g}", where=where,
            why=f"They share the exponent {exponent}, so they are multiples of {2.0**(exponent - 6):g}; it is the farthest of"
            f" {counted(int(np.count_nonzero(off)), 'rounded one')}.",
        )
    error = off / np.where(exact != 0, np.abs(exact), 1)
    return stored, exponent, float(error.max(initial=0))


def _report_fields(
    neuron: Neuron, du: Array, dv: Array, fields: dict[str, Array], where: str, name: str, findings: Findings
) -> None:
    for label, factor, gone, kept, leak in (
        ("current", neuron.alpha, du < 0, du >= 4095, (du + 1) / 4096), ("voltage", neuron.beta, dv <= 0, dv >= 4096, dv / 4096),
    ):
        wanted = 1 - factor
        far = int(np.count_nonzero(~gone & ~kept & (np.abs(leak - wanted) > _FAR_LEAK * wanted)))
        if far:
            findings.warning(
                "NM303",
                f"the {label} decay of {counted(far, 'neuron')} of `{name}` is off by more than {_FAR_LEAK:.0%} after rounding",
                where=where,
                why=f"The smallest step is 1/4096; the file asks for {float(wanted.min()):.3g} per step.",
            )
        no_leak = int(np.count_nonzero(gone & (factor < 1)))
        no_memory = int(np.count_nonzero(kept & (factor > 0)))
        if no_leak:
            findings.warning("NM303", f"the {label} decay of {counted(no_leak, 'neuron')} of `{name}` rounds to no leak", where=where,
                             why=f"The smallest step is 1/4096; the file asks for {float((1 - factor[gone]).max()):.3g} per step.")
        if no_memory:
            findings.warning("NM303", f"the {label} decay of {counted(no_memory, 'neuron')} of `{name}` rounds to no memory", where=where)
    if (du < 0).any() or (dv > 4095).any():
        which = ", ".join(text for text, hit in (("du = -1", (du < 0).any()), ("dv = 4096", (dv > 4095).any())) if hit)
        findings.note("NM206", f"`{name}` uses {which}, which Lava's models take although the field has 12 bits", where=where)
    for label, values in fields.items():
        if np.unique(values).size > 1:
            findings.note(
                "NM206", f"`{name}` has one `{label}` per neuron, which Lava documents as a scalar and its CPU models take as an array",
                where=where,
            )


def _tell_early_bias(job: Job, mantissa: Array) -> None:
    count = int(np.count_nonzero(mantissa))
    if count and job.latency:
        job.findings.warning(
            "NM306", f"{counted(count, 'neuron')} of `{job.name}` cannot be kept at rest until their first input arrives", where=job.where,
            why=f"Their bias acts for {job.latency} steps before it, and the file's format has no initial states: they start from v = 0.",
        )


def _initial_voltage(job: Job, dv: Array, bias: Array, limit: Array, start: Array) -> Array:
    """Return the voltage at power-up from which the neuron stands at `start` when its population's first step begins.

    A population `latency` hops from the input runs that many steps before its first input can arrive. Its bias acts in them, so
    it is started where bias and decay bring it to the network's own starting point. With k = 4096 - dv the step v -> T0(v k, 12) + b
    takes every integer value (its slope is at most 1), so it can be undone exactly. A periodic reset among these steps forgets all that.

    Args:
        job: the population.
        dv, bias: (n,) int64, of the kernel; the bias in state units.
        limit: (n,) int64, voltage above which the neuron fires.
        start: (n,) int64, wanted voltage in state units.
    """
    keep = 4096 - dv
    v, ok = start.copy(), np.ones(start.shape, bool)
    for _ in range(job.latency):
        ok &= v <= limit
        wanted = v - bias
        # The smallest magnitude that decays to `wanted`; a neuron without memory forgets where it stood.
        v = np.where(keep > 0, np.sign(wanted) * -((-np.abs(wanted) * 4096) // np.maximum(keep, 1)), 0)
        ok &= np.abs(v) <= _STATE_MAX
        ok &= (keep > 0) | (bias <= limit)
        v = np.where(ok, v, 0)
    conventions = job.network.conventions
    why = f"Their bias acts for {job.latency} steps before it; they start from v = 0 instead. The fixed-point reference does the same."
    if conventions.reset_interval:
        first = (conventions.reset_offset + job.population.hops) % conventions.reset_interval
        if first == 0:
            # The reset before the network's first step does it.
            return np.where(ok, v, 0)
        if job.latency + first >= conventions.reset_interval:
            ok &= (bias == 0) & (start == 0)
            why = (
                f"They run {job.latency} steps before it, and a reset every {conventions.reset_interval} steps falls among them, after"
                " which their bias acts. The fixed-point reference does the same."
            )
    lost = int(np.count_nonzero(~ok))
    if lost:
        job.findings.warning(
            "NM306", f"{counted(lost, 'neuron')} of `{job.name}` cannot be kept at rest until their first input arrives", where=job.where,
            why=why,
        )
    return np.where(ok, v, 0)
