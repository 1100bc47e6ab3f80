"""From a network in real numbers to what SpiNNaker 1's cores are told: raw parameters, 16-bit weights, shifts, start values.

A neuron's equations are linear up to its threshold, so that weights, currents and membrane may each have a unit of their own. With u
16-bit units per unit of the network's weights, s the ring buffer's shift, k the share of a shifted slot that acts in its step (I0,
1 / timestep or 1), E the membrane's factor and R its resistance:

    raw current per unit of the network's current     kappa = u 2^s k / gain_in
    raw v per unit of the network's v                 sigma = kappa (1 - E) R / gain_v        (IF_trunc: kappa R / gain_v)
    i_offset = kappa (drive / gain_v + gain_in b / (1 - alpha));  v_thresh, v_reset = sigma times the network's

u fills the 16 bits of the largest weight or of the largest sum that is to be held without loss; s and R are the largest with which nothing
can leave its 32 bits (`nmap_spinnaker.ranges`). What a core makes of tau_m, cm and tau_syn by its own rounding enters kappa and sigma as it
is, so that only E and D themselves are off (`nmap_spinnaker.factors`). The leak rounds v up, by half a unit on average: v_rest takes that
off.

A projection's bias b builds up in the current, on its way to the stationary value that i_offset states: what is missing of it starts in a
synaptic current of the opposite sign, which decays. Its start value is that of the kernel's `syn_r`, from before the decay of a step, so
that sPyNNaker's isyn is decay(syn_r, D).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from nmap.connectivity import Array, Connectivity, Sparse
from nmap.diagnostics import Findings, named
from nmap.network import Network, Neuron, Population, Projection
from nmap.options import Options
from nmap.quantize.timing import Timing, realise_delays
from nmap.quantized import LayerLoss, QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.spec import ChipSpec
from nmap_spinnaker.arithmetic import ONE, SATURATION, decay_and_init, kdivk, mulk, raw
from nmap_spinnaker.factors import WHOLE, leak, membrane_time, synapse_time
from nmap_spinnaker.models import Model, chosen_model, reset_value, timestep_us
from nmap_spinnaker.ranges import ROOM, Current, current, largest_resistance, leaves
from nmap_spinnaker.start import current_before, integral_before, membrane_before

__all__ = ["MARGIN", "quantize", "timing"]

MARGIN: Final = 1.25
"""Sums that the ring buffers hold, in units of the largest one on the samples."""
_SHIFT: Final = 14
"""Largest shift: a full slot then takes half of an accum; `chip1.toml` states the same number and a test compares them."""
_APART = 6
"""Bits by which the shifts of both receptors differ at most: a finer last bit on one of them is lost in the other's."""
_ROOM_FOR_START = 4
"""Bits of the currents that may go to a start value; one that needs more is left out and told."""
_FAR_LEAK = 0.1
"""Relative error of a leak above which a warning says so."""
_FORMAT: Final = SynapseFormat(16, 0, "excitatory")
_INTEGRATORS_TIME = ONE
"""tau_m and cm of IF_trunc: their ratio is a resistance of exactly 1."""


def timing(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> Timing:
    """Return latencies and delays in steps, without the source's own; what cannot line up is recorded (NM204; NM205 if allowed)."""
    return realise_delays(network, findings, max_delay=spec.limits["delay"].max, allow_longer="delay" in options.approximate)


def quantize(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> QuantizedNetwork:
    """Return the network in SpiNNaker 1's numbers. The network has passed `nmap_spinnaker.rules.RULES`.

    Every input port feeds a population of its own, `PORT.source`, which stands for the SpikeSourceArray, so that all else runs one step
    behind what the delays need. A projection with weights of both signs becomes two, on either receptor; the second is
    `PROJECTION.inhibitory`.

    Args:
        network: in real numbers.
        spec: of the chip.
        options: `bits`, `approximate`, `calibration` and `slowdown` matter.
        findings: receives every loss, every range that is not proved, and how the ring buffers were sized.
    """
    from nmap_spinnaker.load import least_time_scale

    time = timing(network, spec, options, findings)
    step = timestep_us(network.conventions, spec)
    taken = {p.name for p in network.populations} | {p.name for p in network.projections}
    populations: list[QuantizedPopulation] = []
    loads: list[QuantizedProjection] = []
    made: list[_Made] = []
    source: dict[str, str] = {}
    for population in network.populations:
        calibrated = options.calibrated(population.name)
        busy = None if calibrated is None else calibrated.busy
        if population.neuron is None:
            port = QuantizedPopulation(population.name, population.shape, None, {}, population.where, busy=busy)
            source[population.name] = _free(f"{population.name}.source", taken)
            fed = replace(port, name=source[population.name], kernel="spinnaker1.source", latency=1)
            populations += [port, fed]
            one_to_one = Sparse.diagonal(np.ones(port.size, np.int32))
            loads.append(QuantizedProjection(
                _free(f"{population.name}.load", taken), population.name, fed.name, one_to_one, _FORMAT, 0, population.where,
            ))
            continue
        if not isinstance(population.neuron, Neuron):
            raise TypeError(f"{population.name} is a {type(population.neuron).__name__}, which the rules refuse")
        job = _Job(network, population, population.neuron, time.latency[population.name] + 1, step, spec, options, findings)
        made.append(_population(job))
        populations.append(replace(made[-1].population, latency=time.spikes[population.name] + 1, busy=busy))
    _tell(made, network, step, findings)
    weights = {name: form for item in made for name, form in item.weights.items()}
    projections = [
        QuantizedProjection(
            p.name if receptor == first else _free(f"{p.name}.inhibitory", taken), source.get(p.source, p.source), p.target, connectivity,
            _FORMAT, time.delay[p.name], p.where, delays, receptor,
        )
        for p in network.projections for first in (weights[p.name][0][0],) for receptor, connectivity, delays in weights[p.name]
    ]
    whole = QuantizedNetwork(
        tuple(populations), (*loads, *projections), network.inputs, network.outputs, tuple(item.loss for item in made),
        settings={"timestep_us": step, "time_scale": 1},
    )
    scale = options.slowdown or least_time_scale(whole)
    return replace(whole, settings={"timestep_us": step, "time_scale": scale})


def _free(name: str, taken: set[str]) -> str:
    """Return a name that nothing has yet, and take it."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """A population to quantize: `latency` chip steps pass before its first input can arrive, of `step` microseconds."""

    network: Network
    population: Population
    neuron: Neuron
    latency: int
    step: int
    spec: ChipSpec
    options: Options
    findings: Findings

    @property
    def afferents(self) -> list[Projection]:
        return [p for p in self.network.projections if p.target == self.population.name]

    @property
    def timestep(self) -> int:
        """Raw ms."""
        return int(raw(self.step / 1000))

    @property
    def bits(self) -> int:
        return self.options.bits or self.spec.limits["weight_bits"].max


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """A population in the chip's numbers.

    Args:
        population: the neurons.
        weights: by projection of the network: receptor, connection and delays of its parts.
        loss: of the weights.
        calibrated: whether the samples sized its ring buffers.
        lsb: what the last bit of a weight stands for, in the network's weights, on either receptor; None where nothing leads there.
        excess: the largest possible sum of a slot over what it holds.
    """

    population: QuantizedPopulation
    weights: dict[str, list[tuple[int, Connectivity, Array | None]]]
    loss: LayerLoss
    calibrated: bool
    lsb: tuple[float | None, float | None]
    excess: float


@dataclass(frozen=True, slots=True, eq=False)
class _Weights:
    """Weights on either receptor: the network's sums and the 16-bit ones.

    Args:
        unit: u of the receptor with the larger shift.
        apart: how much less either receptor's shift is.
        stored: by projection, signed 16-bit units (negative: inhibitory), float64, of the connection's shape.
        sums: largest sum of a neuron's stored weights on either receptor, (n,) each.
    """

    unit: float
    apart: tuple[int, int]
    stored: dict[str, Array]
    sums: tuple[Array, Array]

    def units(self) -> tuple[float, float]:
        """Return u of either receptor."""
        return self.unit * 2.0 ** self.apart[0], self.unit * 2.0 ** self.apart[1]


@dataclass(frozen=True, slots=True, eq=False)
class _Cell:
    """What the chip makes of a population's time constants, (n,) each.

    Args:
        tau_m: raw.
        tau_syn: raw, or None without a synaptic current.
        leak: E, raw; ONE for IF_trunc.
        kept: D, u0.32 raw; 0 without a synaptic current.
        share: k.
    """

    tau_m: Array
    tau_syn: Array | None
    leak: Array
    kept: Array
    share: Array


def _cell(job: _Job, model: Model) -> _Cell:
    n, neuron, step = job.population.size, job.neuron, job.timestep
    nothing = np.zeros(n, np.int64)
    if model == "if_trunc":
        return _Cell(np.full(n, _INTEGRATORS_TIME), None, np.full(n, ONE), nothing, np.ones(n))
    tau_m = membrane_time(neuron.beta, step)
    if model == "if_curr_delta":
        return _Cell(tau_m, None, leak(tau_m, step), nothing, np.full(n, float(kdivk(ONE, step)) / ONE))
    tau_syn = synapse_time(neuron.alpha, step)
    kept, first = decay_and_init(tau_syn, np.full(n, step))
    return _Cell(tau_m, tau_syn, leak(tau_m, step), kept, first / 2.0**32)


@dataclass(frozen=True, slots=True, eq=False)
class _Scaled:
    """A choice of shift and resistance, and what follows from it; (n,) each, raw where the chip has such a number.

    Args:
        shifts: of the receptors.
        kappa, sigma: raw current and raw v per unit of the network's.
        cm, resistance: raw.
        offset: i_offset, and what it should be.
        transient: start value of the difference of the synaptic currents.
        bounds: of the currents.
        unprepared: neurons whose current cannot start as it should, bool.
    """

    shifts: tuple[int, int]
    kappa: Array
    sigma: Array
    cm: Array
    resistance: Array
    offset: Array
    real_offset: Array
    transient: Array
    bounds: Current
    unprepared: Array


def _population(job: _Job) -> _Made:
    model = chosen_model(job.network, job.population, job.neuron, job.options)
    cell = _cell(job, model)
    stated, decaying = _constants(job, cell)
    finest, calibrated = _weigh(job)
    weights, scaled = finest, None
    while scaled is None:
        scaled = _scale(job, model, cell, weights, stated, decaying)
        if scaled is None:
            weights = _stored(job, weights.unit / 2, weights.apart)
    _tell_shrunk(job, finest, weights)
    threshold, real_threshold = _threshold(job, cell, scaled.sigma)
    gone = real_threshold < 1
    if gone.any():
        job.findings.error(
            "NM305", f"the thresholds of {_count(gone, 'neuron')} of `{job.population.name}` are lost beside its inputs",
            where=_where(job), help=("train with thresholds that are not so far below the weights",),
            why=f"The lowest is {float(real_threshold.min()):.3g} of the last of the 32 bits in which the largest sum of weights still"
            " fits.",
        )
    reset = np.minimum(np.rint(reset_value(job.network, job.neuron) * scaled.sigma).astype(np.int64), threshold - 1)
    rest = np.zeros_like(threshold) if model == "if_trunc" else -np.where(cell.leak > 0, ONE // 2 // (ONE - cell.leak), 0)
    initial = _start(job, model, cell, scaled, threshold, reset, rest)
    start = initial.get("v", np.zeros_like(threshold))
    over = leaves(scaled.bounds, scaled.resistance, threshold, reset, start, rest, model == "if_trunc")
    if over.any():
        job.findings.warning(
            "NM304", f"{_count(over, 'neuron')} of `{job.population.name}` may leave the 32 bits of an accum", where=_where(job),
            why="If all their inputs of one sign fired together v would wrap; emulator and reference wrap as the chip does.",
        )
    params = {"tau_m": cell.tau_m, "cm": scaled.cm, "v_reset": reset, "v_thresh": threshold, "i_offset": scaled.offset,
              "tau_refrac": np.zeros_like(reset), "timestep": np.array(job.timestep), "shift_0": np.array(scaled.shifts[0]),
              "shift_1": np.array(scaled.shifts[1])}
    if model != "if_trunc":
        params["v_rest"] = rest
    if cell.tau_syn is not None:
        params |= {"tau_syn_E": cell.tau_syn, "tau_syn_I": cell.tau_syn}
    quantized = QuantizedPopulation(
        job.population.name, job.population.shape, f"spinnaker1.{model}", params, job.population.where, initial, scaled.sigma,
    )
    loss = _loss(job, cell, weights, scaled, threshold, real_threshold)
    used = [bool((np.concatenate([w.ravel() for w in weights.stored.values()] or [np.zeros(0)]) * sign > 0).any()) for sign in (1, -1)]
    units = weights.units()
    return _Made(
        quantized, {p.name: _parts(p, weights.stored[p.name]) for p in job.afferents}, loss, calibrated,
        (1 / units[0] if used[0] else None, 1 / units[1] if used[1] else None),
        max(float(total.max(initial=0)) for total in weights.sums) / SATURATION,
    )


def _constants(job: _Job, cell: _Cell) -> tuple[Array, Array]:
    """Return a step's constant current, and the part of it that an exponential synapse has to build up: (n,), the network's current."""
    bias = np.zeros(job.population.size)
    for p in job.afferents:
        if p.bias is not None:
            bias = bias + p.bias
    neuron = job.neuron
    filtered = np.where(bias != 0, neuron.gain_in * bias / np.where(neuron.alpha < 1, 1 - neuron.alpha, 1), 0)
    return neuron.drive / neuron.gain_v + filtered, np.where(cell.kept > 0, filtered, 0)


def _sums(job: _Job, weights: dict[str, Array]) -> tuple[Array, Array]:
    """Return the largest sums of positive and of negated negative weights that can arrive in one step, (n,) each."""
    high, low = np.zeros(job.population.size), np.zeros(job.population.size)
    for p in job.afferents:
        up, down = p.connectivity.with_weights(weights[p.name]).row_sums()
        high, low = high + up, low - down
    return high, low


def _weigh(job: _Job) -> tuple[_Weights, bool]:
    """Return the finest 16-bit weights that the ring buffers can add up, and whether samples said how large their sums are."""
    real = {p.name: np.asarray(p.connectivity.weights, np.float64) for p in job.afferents}
    possible = [float(side.max(initial=0)) for side in _sums(job, real)]
    listed = np.concatenate([w.ravel() for w in real.values()] or [np.zeros(0)])
    largest = [float(np.maximum(listed, 0).max(initial=0)), float(np.maximum(-listed, 0).max(initial=0))]
    found = job.options.calibrated(job.population.name)
    held = list(possible)
    if found is not None:
        measured = (found.excitatory, found.inhibitory)
        held = [min(possible[r], max(largest[r], MARGIN * measured[r])) for r in (0, 1)]
    top = 2**job.bits - 1
    finest = [min(SATURATION / held[r], top / largest[r]) if largest[r] > 0 else np.inf for r in (0, 1)]
    unit = min(finest)
    if not np.isfinite(unit):
        return _stored(job, float(SATURATION), (0, 0)), found is not None
    unit = _on_grid(listed, unit)
    while True:
        apart = tuple(min(int(np.floor(np.log2(side / unit))), _APART) if np.isfinite(side) else 0 for side in finest)
        weights = _stored(job, unit, (max(apart[0], 0), max(apart[1], 0)))
        # Rounding up must not fill a slot over what was to be held; where samples bound it they leave room enough.
        excess = max(
            (float(total.max(initial=0)) for r, total in enumerate(weights.sums) if held[r] == possible[r]), default=0.0
        ) / SATURATION
        if excess <= 1:
            return weights, found is not None
        unit = unit / excess * (1 - 2.0**-40)


def _on_grid(weights: Array, unit: float) -> float:
    """Return the largest unit up to `unit` in which all weights are whole, where there is one above half of it; else `unit`."""
    least = np.abs(weights[weights != 0]).min()
    # Multiples of the least weight leave more to choose from than those of a power of two.
    for grid in (float(least), 2.0 ** -np.floor(np.log2(unit))):
        whole = weights / grid
        if unit * grid >= 1 and (np.abs(whole - np.rint(whole)) <= 2.0**-40 * np.abs(whole)).all():
            return float(np.floor(unit * grid * (1 + 2.0**-40)) / grid)
    return unit


def _stored(job: _Job, unit: float, apart: tuple[int, int]) -> _Weights:
    stored = {}
    for p in job.afferents:
        real = np.asarray(p.connectivity.weights, np.float64) * unit
        stored[p.name] = np.rint(np.where(real > 0, real * 2.0 ** apart[0], real * 2.0 ** apart[1]))
    return _Weights(unit, apart, stored, _sums(job, stored))


def _scale(job: _Job, model: Model, cell: _Cell, weights: _Weights, stated: Array, decaying: Array) -> _Scaled | None:
    """Return the largest shift and resistance with which nothing leaves its range; None where there is none for these weights."""
    plain = next((s for s in range(_SHIFT, -1, -1) if _at(job, model, cell, weights, s, stated, None) is not None), None)
    if plain is None:
        return None
    if not decaying.any():
        return _at(job, model, cell, weights, plain, stated, np.zeros_like(stated))
    for shift in range(plain, max(plain - _ROOM_FOR_START, 0) - 1, -1):
        found = _at(job, model, cell, weights, shift, stated, decaying)
        if found is not None and not found.unprepared.any():
            return found
    return _at(job, model, cell, weights, plain, stated, decaying, partly=True)


def _at(
    job: _Job, model: Model, cell: _Cell, weights: _Weights, shift: int, stated: Array, decaying: Array | None, *, partly: bool = False
) -> _Scaled | None:
    """Return what follows from a shift of the coarser receptor, or None where something may leave its range.

    Args:
        decaying: what has to build up in the currents; None to leave it out.
        partly: leave it out for neurons that would leave their range with it.
    """
    neuron = job.neuron
    shifts = max(shift - weights.apart[0], 0), max(shift - weights.apart[1], 0)
    if shift < max(weights.apart):
        return None
    kappa = weights.unit * 2.0**shift * cell.share / neuron.gain_in
    real_offset = stated * kappa
    if np.abs(real_offset).max(initial=0) > ROOM:
        return None
    offset = np.rint(real_offset).astype(np.int64)
    transient, unprepared = np.zeros_like(offset), np.zeros(offset.shape, bool)
    if decaying is not None and decaying.any():
        before, possible = current_before(np.rint(np.abs(decaying) * kappa).astype(np.int64), cell.kept, job.latency)
        transient, unprepared = -np.sign(decaying).astype(np.int64) * before, ~possible
    bounds = current(weights.sums, shifts, cell.share, cell.kept / 2.0**32, offset, transient)
    if partly and not bounds.fits.all():
        unprepared = unprepared | ~bounds.fits
        transient = np.where(bounds.fits, transient, 0)
        bounds = current(weights.sums, shifts, cell.share, cell.kept / 2.0**32, offset, transient)
    if not bounds.fits.all():
        return None
    free = (ONE - cell.leak) / ONE if model != "if_trunc" else np.ones(offset.shape)
    # Raw v per unit of the network's for a resistance of 1.
    base = kappa * free / neuron.gain_v
    nothing = np.zeros_like(base)
    reset = reset_value(job.network, neuron) * base
    if model == "if_trunc":
        resistance = np.full(offset.shape, ONE)
        if leaves(bounds, resistance, neuron.threshold * base, reset, nothing, nothing, True).any():
            return None
        return _Scaled(shifts, kappa, base, cell.tau_m, resistance, offset, real_offset, transient, bounds, unprepared)
    most = np.minimum(np.floor(largest_resistance(bounds, neuron.threshold * base, reset, nothing)), 2.0**31 - 1).astype(np.int64)
    if (most < 1).any():
        return None
    cm = np.maximum(-(-(cell.tau_m << 15) // most), 1)
    resistance = kdivk(cell.tau_m, cm)
    if (cm > 2**31 - 1).any() or (resistance < 1).any():
        return None
    return _Scaled(shifts, kappa, base * resistance / ONE, cm, resistance, offset, real_offset, transient, bounds, unprepared)


def _threshold(job: _Job, cell: _Cell, sigma: Array) -> tuple[Array, Array]:
    """Return v_thresh, (n,) int64 raw, with which the chip's >= is the network's comparison, and the network's threshold, float64 raw.

    A membrane that stands exactly at its threshold in the network (weights on a grid do that) is off by about as much on the chip as half
    of the last bit of E is of 1; v_thresh is moved by that much to the side on which such a tie counts as in the network.
    """
    real = job.neuron.threshold * sigma
    # What is a whole number but for the rounding of these products is one.
    near = np.rint(real)
    real = np.where(np.abs(real - near) <= 2.0**-44 * np.abs(real), near, real)
    off = np.where((cell.leak > 0) & (cell.leak < ONE), np.floor(real / (2 * ONE)), 0)
    least = np.floor(real) + 1 + off if job.network.conventions.compare == ">" else np.ceil(real) - off
    return np.maximum(least, 1).astype(np.int64), real


def _start(
    job: _Job, model: Model, cell: _Cell, scaled: _Scaled, threshold: Array, reset: Array, rest: Array
) -> dict[str, Array]:
    """Return the start values with which neurons stand at the network's own start when their first input can arrive."""
    currents = np.maximum(scaled.transient, 0), np.maximum(-scaled.transient, 0)
    if model == "if_trunc":
        v, possible = integral_before(mulk(scaled.offset, scaled.resistance), threshold, reset, job.latency)
    else:
        v, possible = membrane_before(
            currents, cell.kept, scaled.offset, scaled.resistance, cell.leak, rest, threshold, job.latency
        )
    possible &= ~leaves(scaled.bounds, scaled.resistance, threshold, reset, v, rest, model == "if_trunc")
    v = np.where(possible, v, 0)
    if scaled.unprepared.any():
        job.findings.warning(
            "NM306", f"the currents of {_count(scaled.unprepared, 'neuron')} of `{job.population.name}` start at the value to which their"
            " bias would bring them", where=_where(job),
            why=f"It acts for {job.latency} steps before the first input; the start from which they would be 0 then is beyond an accum.",
            data={"population": job.population.name, "neurons": int(scaled.unprepared.sum())},
        )
    # Where no v leads to 0 the refractory timer holds v at 0 until the first input can arrive.
    states = {"v": v, "syn_0": currents[0], "syn_1": currents[1], "refract": np.where(possible, 0, job.latency)}
    return {name: values for name, values in states.items() if values.any()}


def _parts(p: Projection, stored: Array) -> list[tuple[int, Connectivity, Array | None]]:
    """Return receptor, connection and delays of a projection's excitatory and inhibitory part; one of them at least."""
    parts: list[tuple[int, Connectivity, Array | None]] = []
    for receptor, sign in ((0, 1), (1, -1)):
        weights = np.maximum(sign * stored, 0).astype(np.int32)
        if not weights.any() and (receptor == 0 or parts):
            continue
        parts.append((receptor, *_kept(p, weights)))
    return parts


def _kept(p: Projection, weights: Array) -> tuple[Connectivity, Array | None]:
    """Return a connection with these weights; of listed synapses only those that have one."""
    connectivity = p.connectivity
    if not isinstance(connectivity, Sparse):
        return connectivity.with_weights(weights), p.delays
    kept = np.flatnonzero(weights)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(connectivity.targets[kept], minlength=connectivity.out_size))])
    return (
        Sparse(indptr, connectivity.indices[kept], weights[kept], connectivity.in_size), None if p.delays is None else p.delays[kept]
    )


def _loss(job: _Job, cell: _Cell, weights: _Weights, scaled: _Scaled, threshold: Array, real_threshold: Array) -> LayerLoss:
    """Return what was lost, and tell of what is lost altogether."""
    neuron, name, units = job.neuron, job.population.name, weights.units()
    signal = noise = 0.0
    zeroed, most = 0, 0.0
    for p in job.afferents:
        real, stored = np.asarray(p.connectivity.weights, np.float64), weights.stored[p.name]
        signal += float((real**2).sum())
        noise += float(((np.where(real > 0, stored / units[0], stored / units[1]) - real) ** 2).sum())
        zeroed += int(((stored == 0) & (real != 0)).sum())
        most = max(most, float(np.abs(stored).max(initial=0)))
    if zeroed:
        job.findings.warning(
            "NM302", f"{zeroed} weight{'' if zeroed == 1 else 's'} into `{name}` round{'s' if zeroed == 1 else ''} to 0", where=_where(job),
            why=f"The last bit of a weight is {1 / max(units):.3g}.", data={"population": name, "weights": zeroed},
        )
    lost = (scaled.offset == 0) & (scaled.real_offset != 0)
    if lost.any():
        job.findings.warning(
            "NM302", f"the bias of {_count(lost, 'neuron')} of `{name}` rounds to 0", where=_where(job),
            data={"population": name, "biases": int(lost.sum())},
        )
    kept, held = cell.leak / ONE, cell.kept / 2.0**32
    wanted = 1 - neuron.beta
    far = (neuron.beta < WHOLE) & (np.abs(1 - kept - wanted) > _FAR_LEAK * wanted)
    for label, gone in (
        ("no memory", (neuron.beta > 0) & (cell.leak == 0)), ("no memory of its current", (neuron.alpha > 0) & (cell.kept == 0)),
        (f"one that is off by more than {_FAR_LEAK:.0%}", far),
    ):
        if gone.any():
            job.findings.warning(
                "NM303", f"the decay of {_count(gone, 'neuron')} of `{name}` rounds to {label}", where=_where(job),
                why="The chip's factor has 15 fraction bits.", data={"population": name, "neurons": int(gone.sum())},
            )
    strict = job.network.conventions.compare == ">"
    threshold_error = np.abs(threshold - strict - real_threshold) / np.maximum(real_threshold, 1.0)
    biased = scaled.real_offset != 0
    return LayerLoss(
        name, int(most).bit_length(), units[0] if weights.apart[0] <= weights.apart[1] else units[1], max(scaled.shifts),
        None if noise == 0 else float(10 * np.log10(signal / noise)), 0, zeroed, float(threshold_error.max(initial=0)),
        max(float(np.abs(kept - neuron.beta).max(initial=0)), float(np.abs(held - neuron.alpha).max(initial=0))),
        float(np.abs(scaled.offset[biased] / scaled.real_offset[biased] - 1).max()) if biased.any() else None,
    )


def _tell_shrunk(job: _Job, finest: _Weights, weights: _Weights) -> None:
    """Tell of weights that lost bits because a threshold or a bias is far beyond them."""
    lost = float(np.log2(finest.unit / weights.unit))
    if lost >= 1 and any(w.any() for w in finest.stored.values()):
        job.findings.warning(
            "NM302", f"weights into `{job.population.name}` lose {lost:.0f} of their {job.bits} bits, to make room for a threshold or bias"
            " far above them", where=_where(job), why="Currents and membranes have 32 bits.",
        )


def _tell(made: list[_Made], network: Network, step: int, findings: Findings) -> None:
    """Tell how the ring buffers were sized and how long a step lasts."""
    for sized in (True, False):
        found = [item for item in made if item.calibrated == sized and any(item.lsb)]
        if not found:
            continue
        bits = [(item.population.name, " and ".join(f"{lsb:.3g}" for lsb in item.lsb if lsb is not None)) for item in found]
        told = ", ".join(f"`{name}` {lsb}" for name, lsb in bits[:6]) + (f" and of {len(bits) - 6} more" if len(bits) > 6 else "")
        if sized:
            over = [item for item in found if item.excess > 1]
            findings.note(
                "NM304",
                f"ring buffers hold {MARGIN:g} times the largest sum on the samples; the last bit of a weight is, by population, {told}",
                where=network.file, why=(
                    f"Sums of {named([item.population.name for item in over])} may be larger on other samples, up to"
                    f" {max(item.excess for item in over):.3g} times a full slot if all inputs fired together; slots that are cut are"
                    " counted." if over else "A full slot holds the largest possible sum, too."
                ),
            )
        else:
            findings.note(
                "NM304", f"ring buffers hold the largest possible sums; the last bit of a weight is, by population, {told}",
                where=network.file, why="No sum can be larger. Real ones are mostly far smaller, and samples would say how large.",
                help=("give samples: `--input SAMPLES`",),
            )
    dt = network.conventions.dt
    if dt is None or not np.isclose(dt * 1e6, step, rtol=1e-9, atol=0):
        stated = "is not stated" if dt is None else f"lasts {dt * 1e3:.6g} ms"
        findings.note(
            "NM112", f"a step of the network {stated}; the chip's lasts {step / 1000:g} ms", where=network.file,
            why="Decay factors, delays and inputs count steps, so that nothing else changes. sPyNNaker takes 0.1 to 2 ms, in whole"
            " microseconds.",
        )


def _where(job: _Job) -> str:
    return str(job.population.where)


def _count(which: Array, noun: str) -> str:
    number = int(np.count_nonzero(which))
    return f"{number} {noun}{'' if number == 1 else 's'}"
