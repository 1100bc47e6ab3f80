"""From real numbers to Loihi 2's integers.

All weights that meet in one membrane share one scale s (weight units per unit of the network's weight, gains included) and one
exponent e, so a state variable counts 64 s 2^e units per unit of the network's v; thresholds, biases and decays follow from that. Weight
grids and field widths are those of `lava/proc/dense/models.py` and `lava/proc/lif/models.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.diagnostics import Findings
from nmap.network import Model, Network, Neuron, Population, Projection
from nmap.options import Options
from nmap.quantize.timing import Timing, realise_delays
from nmap.quantized import LayerLoss, QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.spec import ChipSpec
from nmap_loihi2.ranges import prove_ranges
from nmap_loihi2.relays import relay

__all__ = ["quantize", "realise_time"]

_STATE_MAX = (1 << 23) - 1
_SPARSE_BELOW = 0.5
"""A dense matrix with fewer non-zero weights than this share is stored synapse by synapse: zeros cost as much as weights."""

_FAR_LEAK = 0.1
"""Relative error of a leak above which a warning says so."""
_MANY_ZEROED = 0.25
"""Share of weights rounded to zero above which a warning says so; the table of losses counts them always."""

Sign = Literal["mixed", "excitatory", "inhibitory"]


@dataclass(frozen=True, slots=True)
class _Grid:
    """Weights a sign mode can hold: low..high in steps of `step`."""

    sign: Sign
    step: int
    low: int
    high: int


def _grid(weights: Array, bits: int) -> _Grid:
    low, high = (weights.min(), weights.max()) if weights.size else (0, 0)
    # An all-zero matrix counts as excitatory, as in Lava.
    sign: Sign = "excitatory" if low >= 0 else "inhibitory" if high <= 0 else "mixed"
    step = 1 << (8 - bits + (sign == "mixed"))
    if sign == "mixed":
        return _Grid(sign, step, -256, 256 - step)
    return _Grid(sign, step, 0, 256 - step) if sign == "excitatory" else _Grid(sign, step, step - 256, 0)


@dataclass(slots=True)
class _Tally:
    """Weights lost so far, and the energies of the wanted weights and of their error."""

    clipped: int = 0
    zeroed: int = 0
    nonzero: int = 0
    inexact: int = 0
    signal: float = 0.0
    noise: float = 0.0

    @property
    def sqnr_db(self) -> float | None:
        return 10 * float(np.log10(self.signal / self.noise)) if self.noise > 0 and self.signal > 0 else None

    def add(self, wanted: Array, realised: Array, step: float) -> None:
        error = np.abs(wanted - realised)
        self.clipped += int(np.count_nonzero(error > (0.5 + 1e-6) * step))
        self.zeroed += int(np.count_nonzero((wanted != 0) & (realised == 0)))
        self.nonzero += int(np.count_nonzero(wanted))
        self.inexact += int(np.count_nonzero(error))
        self.signal += float((wanted**2).sum())
        self.noise += float((error**2).sum())


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


def realise_time(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> Timing:
    """Return latencies and delays in chip steps; what cannot line up is recorded (NM204, or NM205 under `--approximate delay`)."""
    # A bias that arrives as a spike needs a step before the network's first one in which that spike is sent.
    fed = {p.target for p in network.projections if p.bias is not None and _fed(network[p.target].neuron, p.bias, p.bias_from).any()}
    return realise_delays(
        network, findings, max_delay=spec.limits["delay"].max, allow_longer="delay" in options.approximate, earliest=dict.fromkeys(fed, 1)
    )


def _fed(neuron: Model | None, bias: Array, first: int) -> Array:
    """Return which of a projection's biases must arrive as spikes, (n,) bool."""
    if not isinstance(neuron, Neuron):
        return np.zeros(bias.shape, bool)
    wanted: Array = (bias != 0) & ((neuron.alpha > 0) | (first > 0))
    return wanted


def quantize(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> QuantizedNetwork:
    """Return the network in Loihi 2's integers.

    Args:
        network: every rule of the target has passed.
        spec: field ranges.
        options: `bits` (default 8) and allowed approximations.
        findings: receives every loss and every range that is not proved.
    """
    timing = realise_time(network, spec, options, findings)
    populations, projections, losses = [], [], []
    quantized: dict[str, QuantizedProjection] = {}
    for population in network.populations:
        neuron = population.neuron
        if neuron is None:
            populations.append(QuantizedPopulation(
                population.name, population.shape, None, {}, population.where, latency=timing.spikes[population.name]
            ))
            continue
        if not isinstance(neuron, Neuron):
            raise TypeError(f"{population.name} is a {type(neuron).__name__}, which the rules refuse")
        afferents = [p for p in network.projections if p.target == population.name]
        out, into, loss = _quantize_population(network, population, neuron, afferents, timing, spec, options, findings)
        populations.extend(out)
        quantized.update(into)
        losses.append(loss)
    _tell_lag(network, findings)
    order = {p.name: k for k, p in enumerate(network.projections)}
    projections = sorted(quantized.values(), key=lambda p: order.get(p.name, len(order)))
    made = QuantizedNetwork(tuple(populations), tuple(projections), network.inputs, network.outputs, tuple(losses))
    return prove_ranges(made, options.payload, spec, findings)


def _tell_lag(network: Network, findings: Findings) -> None:
    lag = network.conventions.lag
    late = [p for p in network.populations if p.neuron is not None and not p.silent]
    if lag and late:
        steps = f"{lag} step{'' if lag == 1 else 's'}"
        findings.note(
            "NM204", f"spikes leave {steps} after the crossing of their threshold, which synaptic delays realise", where=str(late[0].where),
            why=f"States recorded on the chip (`--probe`) stand {steps} late beside the network's own.",
        )


def _membrane(neuron: Neuron, afferents: list[Projection], reset: str) -> _Membrane:
    gain = neuron.gain_in * neuron.gain_v
    # A subtracting reset does not use the file's reset value, so its approximation by a reset to zero does not either.
    floor = neuron.v_reset if reset == "zero" else np.zeros_like(gain)
    bias = neuron.drive + (neuron.beta - 1) * floor
    fed: dict[int, Array] = {}
    for p in afferents:
        if p.bias is not None:
            through = gain * p.bias
            as_spikes = _fed(neuron, p.bias, p.bias_from)
            bias = bias + np.where(as_spikes, 0, through)
            if as_spikes.any():
                fed[p.bias_from] = fed.get(p.bias_from, 0) + np.where(as_spikes, through, 0)
    return _Membrane(gain, bias, fed, neuron.threshold - floor, -floor)


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


def _scaled(connectivity: Connectivity, factor: Array) -> Array:
    """Return the real weights times each target's factor, in the connectivity's own layout."""
    w = np.asarray(connectivity.weights, np.float64)
    if isinstance(connectivity, Dense):
        return w * factor[:, None]
    if isinstance(connectivity, Sparse):
        return w * factor[connectivity.targets]
    return w * factor.reshape(connectivity.out_shape[0], -1)[:, 0][:, None, None, None]


def _quantize_population(
    network: Network, population: Population, neuron: Neuron, afferents: list[Projection], timing: Timing, spec: ChipSpec,
    options: Options, findings: Findings,
) -> tuple[list[QuantizedPopulation], dict[str, QuantizedProjection], LayerLoss]:
    latency, delays = timing.latency[population.name], timing.delay
    where, bits = str(population.where), options.bits or spec.limits["weight_bits"].max
    membrane = _membrane(neuron, afferents, network.conventions.reset)
    level = _level(membrane, afferents)
    real = {p.name: _scaled(p.connectivity, membrane.gain * level) for p in afferents}
    grids = {name: _grid(w, bits) for name, w in real.items()}
    unholdable = [p.name for p in afferents if grids[p.name].high == 0 and real[p.name].max(initial=0) > 0]
    if unholdable:
        findings.error(
            "NM004", f"--bits {bits} holds no positive weight of a matrix with both signs: {', '.join(f'`{name}`' for name in unholdable)}",
            where=where, why="One bit goes to the sign; what is left are the values -256 and 0.", help=("use --bits 2 or more",),
        )
    integer = network.conventions.decay == "steps"
    has_conv = any(isinstance(p.connectivity, Conv2d) for p in afferents)
    scale, exponent = 1.0, 0
    if not integer:
        finest = _shared_scale(real, grids)
        peaks = _row_peaks(network, afferents, real, finest, options)
        scale, exponent = _fit(spec, neuron, membrane, level, finest, peaks, has_conv)
        if exponent < 0:
            findings.note(
                "NM302", f"sums into `{population.name}` are rounded down to multiples of {2.0**-exponent:g} weight units, so that the"
                " largest possible one stays within 24 bits", where=where,
            )
        if scale < finest:
            findings.warning(
                "NM302", f"weights into `{population.name}` keep {max(bits - float(np.log2(finest / scale)), 0):.1f} of {bits} bits, to"
                " make room for a threshold, bias or sum far above them", where=where,
                why=f"The threshold field ends at {spec.limits['vth'].max} weight units, the bias at {spec.limits['bias_mant'].max} x "
                f"2^{spec.limits['bias_exp'].max} state units, 64 per weight unit, and the current at {_STATE_MAX}.",
            )
    # Weight units per unit of the network's v, per neuron.
    unit = scale * level

    du = np.rint(4096 * (1 - neuron.alpha)).astype(np.int64) - 1
    dv = np.rint(4096 * (1 - neuron.beta)).astype(np.int64)

    projections, populations, tally = {}, [], _Tally()
    taken = {p.name for p in network.populations} | {p.name for p in network.projections}
    for p in afferents:
        stored, e = _store(real[p.name], grids[p.name], scale, exponent, integer)
        shift = 2.0 ** (e - exponent)
        tally.add(real[p.name] * scale, stored * shift, grids[p.name].step * shift)
        message_bits = options.message_bits if p.source in network.inputs else 0
        connectivity = _encode(p, stored)
        source, delay = p.source, delays[p.name]
        if isinstance(connectivity, Conv2d) and delay:
            late, feed = relay(p, connectivity, delay, timing.spikes[p.source], message_bits, taken)
            taken.add(late.name)
            populations.append(late)
            projections[feed.name] = feed
            source, delay = late.name, 0
        projections[p.name] = QuantizedProjection(
            p.name, source, p.target, connectivity, SynapseFormat(bits, e, grids[p.name].sign, message_bits), delay,
            p.where, _encode_delays(p, connectivity, stored),
        )
    _report_weights(tally, min((g.step for g in grids.values()), default=1) / scale, bits, integer, where, population.name, findings)

    state_unit = unit * 2.0**exponent
    vth, threshold_error = _threshold(network, neuron, membrane, state_unit, where, population.name, spec, findings)
    mantissa, bias_exp, bias_error = _bias(membrane, state_unit, integer, where, population.name, spec, findings)
    for first, current in sorted(membrane.fed.items()):
        clock, carriers, error = _bias_neuron(population, current * unit * 2.0**exponent, latency + first, taken, findings)
        taken.add(clock.name)
        populations.append(clock)
        projections.update((p.name, p) for p in carriers)
        bias_error = max(bias_error, error)
    _report_fields(neuron, du, dv, vth, where, population.name, findings)
    params = {"du": du, "dv": dv, "vth": vth, "bias_mant": mantissa, "bias_exp": np.full(population.size, bias_exp)}
    start = np.rint(membrane.start * state_unit * 64).astype(np.int64)
    initial = _initial_voltage(params, start, latency, where, population.name, findings)
    decay_error = max(
        float(np.abs((4095 - du) / 4096 - neuron.alpha).max(initial=0)), float(np.abs((4096 - dv) / 4096 - neuron.beta).max(initial=0))
    )
    loss = LayerLoss(
        population.name, bits, scale, exponent, tally.sqnr_db,
        tally.clipped, tally.zeroed, threshold_error, decay_error, bias_error,
    )
    out = QuantizedPopulation(
        population.name, population.shape, "loihi2.lif", params, population.where, {"v": initial} if initial.any() else {},
        64 * state_unit, timing.spikes[population.name],
    )
    return [*populations, out], projections, loss


def _report_weights(tally: _Tally, step: float, bits: int, integer: bool, where: str, name: str, findings: Findings) -> None:
    """Tell what the weights lost; `step` is the smallest difference of two weights, in the network's own units."""
    if tally.clipped:
        findings.warning(
            "NM301", f"{tally.clipped} weights into `{name}` are beyond what {bits} bits hold and were clipped", where=where
        )
    if tally.zeroed > _MANY_ZEROED * tally.nonzero:
        findings.warning(
            "NM302", f"{tally.zeroed} of {tally.nonzero} weights into `{name}` round to 0", where=where,
            why=f"One weight step is {step:.3g}; a few large weights set the scale of all.",
            help=("clip or regularise outlying weights in training", *(("use more bits: --bits 8",) if bits < 8 else ())),
        )
    if integer and tally.inexact > tally.clipped:
        findings.warning(
            "NM302",
            f"{tally.inexact - tally.clipped} integer weights into `{name}` are not on the chip's grid and were rounded",
            where=where, why=f"{bits} bits of a matrix with both signs hold even integers from -256 to 254, or half of them, and so on.",
        )


def _bias_neuron(
    population: Population, current: Array, first: int, taken: set[str], findings: Findings
) -> tuple[QuantizedPopulation, list[QuantizedProjection], float]:
    """Return a neuron that spikes in every step, the synapses through which it feeds biases into synaptic currents, and their error.

    The chip adds biases to the membrane from its first step on, so one that must build up in the current first, or begins later, has to
    arrive as spikes. The neuron gains one state unit per step and fires above 0; it starts so low that its first spike arrives when the
    bias begins. Its synapses are eight bits wide whatever the weights are; a second matrix, and a third, carry what the first leaves over.

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
        grid = _grid(rest, 8)
        # The finest exponent at which all that is left fits; below the last bit nothing is left to carry.
        if exponent and (rest.max() <= grid.high * 2 ** (exponent - 1) and rest.min() >= grid.low * 2 ** (exponent - 1)):
            continue
        stored = np.clip(np.rint(rest / 2.0**exponent / grid.step) * grid.step, grid.low, grid.high).astype(np.int32)
        if stored.any():
            carriers.append(QuantizedProjection(
                f"{name}>{population.name}" + "'" * len(carriers), name, population.name, Dense(stored[:, None]),
                SynapseFormat(8, exponent, grid.sign), 0, population.where,
            ))
        rest = rest - stored * 2.0**exponent
    lost = int(np.count_nonzero((np.abs(rest) >= np.abs(current)) & (current != 0)))
    if lost:
        findings.warning("NM302", f"the bias of {lost} neurons of `{population.name}` rounds to 0", where=str(population.where))
    beyond = int(np.count_nonzero(np.abs(rest) > 2))
    if beyond:
        findings.error(
            "NM305", f"the bias of {beyond} neurons of `{population.name}` is beyond what synapses can feed into a current",
            where=str(population.where),
            why=f"The largest is {float(np.abs(current).max()):.4g} units per step, a synapse gives 255 x 2^7.",
        )
    error = np.abs(rest) / np.where(current != 0, np.abs(current), 1)
    return clock, carriers, float(error.max(initial=0))


def _shared_scale(real: dict[str, Array], grids: dict[str, _Grid]) -> float:
    bounds = []
    for name, w in real.items():
        high, low = w.max(initial=0), w.min(initial=0)
        if high > 0 and grids[name].high > 0:
            bounds.append(grids[name].high / high)
        if low < 0:
            bounds.append(grids[name].low / low)
    return float(min(bounds)) if bounds else 1.0


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
    spec: ChipSpec, neuron: Neuron, membrane: _Membrane, level: Array, scale: float, peaks: tuple[Array, Array], has_conv: bool
) -> tuple[float, int]:
    """Return the scale and the weight exponent with which thresholds and biases hold in their fields.

    A positive exponent makes the state finer, so that less is lost to the decays' rounding and the threshold is better resolved; it is
    taken as far as neither state variable can leave its 24 bits, which only leaky neurons allow to prove. Thresholds too far above the
    weights take scale from the weights. Sums of one step that could leave the current's 24 bits get a negative exponent, which rounds
    down sums that are large; convolutions have no exponent, since Lava's ignores it, and give up scale there too.
    """
    unit = scale * level
    bias = np.abs(membrane.bias) * unit
    room = max(
        float(np.abs(membrane.threshold * unit).max(initial=0)) / spec.limits["vth"].max,
        float(bias.max(initial=0)) * 64 / (spec.limits["bias_mant"].max << spec.limits["bias_exp"].max),
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


def _store(real: Array, grid: _Grid, scale: float, exponent: int, integer: bool) -> tuple[Array, int]:
    """Return the stored integer weights and the exponent that goes with them.

    A matrix with room on its grid is stored shifted up, with an exponent as much smaller: the scale of its effect stays the shared one.
    The integers of a file are shifted until all lie on the grid; real weights as far as the exponent stays at 0 or above, since a
    negative one rounds sums down.
    """
    wanted = real * scale
    room = 0
    while room < 7 and wanted.max(initial=0) * 2.0 ** (room + 1) <= grid.high and wanted.min(initial=0) * 2.0 ** (room + 1) >= grid.low:
        room += 1
    if integer:
        shift = next((k for k in range(room + 1) if not (wanted * 2.0**k % grid.step).any()), room)
    else:
        shift = min(room, max(exponent, 0))
    stored = np.clip(np.rint(wanted * 2.0**shift / grid.step) * grid.step, grid.low, grid.high).astype(np.int32)
    return stored, exponent - shift


def _encode(p: Projection, stored: Array) -> Connectivity:
    if isinstance(p.connectivity, Dense) and np.count_nonzero(stored) < _SPARSE_BELOW * stored.size:
        return Sparse.from_dense(stored)
    return p.connectivity.with_weights(stored)


def _encode_delays(p: Projection, connectivity: Connectivity, stored: Array) -> Array | None:
    if p.delays is not None and isinstance(p.connectivity, Dense) and isinstance(connectivity, Sparse):
        return p.delays[stored != 0]
    return p.delays


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
    if (vth < limit.min).any() or (vth > limit.max).any():
        bad = int(np.count_nonzero((vth < limit.min) | (vth > limit.max)))
        findings.error(
            "NM305", f"the threshold of {bad} neurons of `{name}` is outside {limit.min}..{limit.max} weight units", where=where,
            why=f"Smallest {int(vth.min())}, largest {int(vth.max())} at {unit.min():.4g} units per unit of the file's v ({limit.source}).",
        )
        vth = np.clip(vth, limit.min, limit.max)
    lost = int(np.count_nonzero((vth == 0) & (exact > 1) & ~whole))
    if lost:
        findings.warning("NM302", f"the threshold of {lost} neurons of `{name}` rounds to 0", where=where)
    error = np.abs(np.where(whole, 0, vth - exact)) / np.where(exact != 0, np.abs(exact), 1)
    return vth, float(error.max(initial=0))


def _bias(
    membrane: _Membrane, unit: Array, integer: bool, where: str, name: str, spec: ChipSpec, findings: Findings
) -> tuple[Array, int, float]:
    exact = membrane.bias * unit * 64
    mantissa, exps = spec.limits["bias_mant"], spec.limits["bias_exp"]
    peak = float(np.abs(exact).max(initial=0))
    candidates = [
        e for e in range(exps.min, exps.max + 1)
        if (np.rint(exact / (1 << e)) <= mantissa.max).all() and (np.rint(exact / (1 << e)) >= mantissa.min).all()
    ]
    # The smallest exponent is the finest, and any larger one that is exact too is no better.
    exponent = candidates[0] if candidates else None
    if exponent is None:
        over = int(np.count_nonzero(np.abs(exact) > mantissa.max << exps.max))
        findings.error(
            "NM305", f"the bias of {over} neurons of `{name}` is beyond {mantissa.max} x 2^{exps.max} state units", where=where,
            why=f"Largest {peak:.6g} units, {float(np.abs(membrane.bias).max()):.4g} in the file's v per step ({mantissa.source}).",
        )
        return np.zeros(exact.shape, np.int64), 0, 1.0
    stored = np.rint(exact / (1 << exponent)).astype(np.int64)
    lost = int(np.count_nonzero((stored == 0) & (exact != 0)))
    if lost:
        findings.note("NM302", f"the bias of {lost} neurons of `{name}` rounds to 0", where=where)
    changed = int(np.count_nonzero((stored << exponent) != exact))
    if integer and changed:
        findings.warning(
            "NM302", f"{changed} integer biases of `{name}` cannot be held beside the largest and were rounded", where=where,
            why=f"They share the exponent {exponent}, so they are multiples of {2.0**(exponent - 6):g}.",
        )
    error = np.abs((stored << exponent) - exact) / np.where(exact != 0, np.abs(exact), 1)
    return stored, exponent, float(error.max(initial=0))


def _report_fields(neuron: Neuron, du: Array, dv: Array, vth: Array, where: str, name: str, findings: Findings) -> None:
    for label, factor, gone, kept, leak in (
        ("current", neuron.alpha, du < 0, du >= 4095, (du + 1) / 4096), ("voltage", neuron.beta, dv <= 0, dv >= 4096, dv / 4096),
    ):
        wanted = 1 - factor
        far = int(np.count_nonzero(~gone & ~kept & (np.abs(leak - wanted) > _FAR_LEAK * wanted)))
        if far:
            findings.warning(
                "NM303", f"the {label} decay of {far} neurons of `{name}` is off by more than {_FAR_LEAK:.0%} after rounding", where=where,
                why=f"The smallest step is 1/4096; the file asks for {float(wanted.min()):.3g} per step.",
            )
        no_leak = int(np.count_nonzero(gone & (factor < 1)))
        no_memory = int(np.count_nonzero(kept & (factor > 0)))
        if no_leak:
            findings.warning("NM303", f"the {label} decay of {no_leak} neurons of `{name}` rounds to no leak", where=where,
                             why=f"The smallest step is 1/4096; the file asks for {float((1 - factor[gone]).max()):.3g} per step.")
        if no_memory:
            findings.warning("NM303", f"the {label} decay of {no_memory} neurons of `{name}` rounds to no memory", where=where)
    if (du < 0).any() or (dv > 4095).any():
        which = ", ".join(text for text, hit in (("du = -1", (du < 0).any()), ("dv = 4096", (dv > 4095).any())) if hit)
        findings.note("NM206", f"`{name}` uses {which}, which Lava's models take although the field has 12 bits", where=where)
    for label, values in (("du", du), ("dv", dv), ("vth", vth)):
        if np.unique(values).size > 1:
            findings.note(
                "NM206", f"`{name}` has one `{label}` per neuron, which Lava documents as a scalar and its CPU models take as an array",
                where=where,
            )


def _initial_voltage(params: dict[str, Array], start: Array, latency: int, where: str, name: str, findings: Findings) -> Array:
    """Return the voltage at power-up from which the neuron stands at `start` after `latency` steps without input.

    A population `latency` hops from the input runs that many steps before its first input can arrive. Its bias acts in them, so
    it is started where bias and decay bring it to the network's own starting point. With k = 4096 - dv the step v -> T0(v k, 12) + b
    takes every integer value (its slope is at most 1), so it can be undone exactly.
    """
    keep = 4096 - params["dv"]
    bias = params["bias_mant"] << params["bias_exp"]
    limit = params["vth"] << 6
    v, ok = start.copy(), np.ones(start.shape, bool)
    for _ in range(latency):
        ok &= v <= limit
        wanted = v - bias
        # The smallest magnitude that decays to `wanted`; a neuron without memory forgets where it stood.
        v = np.where(keep > 0, np.sign(wanted) * -((-np.abs(wanted) * 4096) // np.maximum(keep, 1)), 0)
        ok &= np.abs(v) <= _STATE_MAX
        ok &= (keep > 0) | (bias <= limit)
        v = np.where(ok, v, 0)
    lost = int(np.count_nonzero(~ok))
    if lost:
        findings.warning(
            "NM306", f"{lost} neurons of `{name}` cannot be kept at rest until their first input arrives", where=where,
            why=f"Their bias acts for {latency} steps before it; they start from v = 0 instead. The fixed-point reference does the same.",
        )
    return np.where(ok, v, 0)
