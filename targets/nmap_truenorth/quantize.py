"""From a real-valued network to TrueNorth's integers and the chip's own time (README.md, section 4).

A neuron's integers count `scale` units of v per unit of the network's v: its weights are k g, with k on a grid of few bits and a gain g
that costs no axons (each neuron has its own four weights) and gives threshold and bias their resolution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap.network import Network, Neuron, Population, Projection
from nmap.options import Options
from nmap.quantize.timing import Timing, realise_delays
from nmap.quantized import LayerLoss, QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap.target.spec import ChipSpec
from nmap_truenorth.draft import FORMAT, Draft, Edge, Unit, counted, gate_parameters
from nmap_truenorth.neuron import FLOOR, NEURON
from nmap_truenorth.ranges import horizon, prove_ranges
from nmap_truenorth.scales import AXONS, TOLERANCE, Integers, Rows, biases, bits_for, fits_grid, integers, on_grid
from nmap_truenorth.splitters import chained, longest_delay, with_splitters
from nmap_truenorth.thermometer import check_fan_in, split_sums

__all__ = ["gain", "kinds", "linear_leak", "quantize", "timing"]

_ANY = 1 << 62
"""More ticks than any delay takes."""
_RESOLUTION = 1000
"""Units of v that a threshold has at least, where a gain can give them and nothing makes them exact."""
_MANY_ZEROED = 0.25
"""Share of weights rounded to zero above which a warning says so; the table of losses counts them always."""


def gain(neuron: Neuron) -> Array:
    """Return g of v = beta v + g x + drive: (n,) float64. Valid for neurons without synaptic current."""
    return neuron.gain_in * neuron.gain_v


def kinds(neuron: Neuron) -> tuple[Array, Array]:
    """Return which neurons have no memory, and which have one that decays: (n,) bool each."""
    return neuron.beta == 0, (neuron.beta != 0) & (neuron.beta != 1)


def linear_leak(neuron: Neuron) -> Array:
    """Return the constant step towards 0, per tick, that is nearest to an exponential decay between 0 and the threshold, (n,) float64.

    The decay takes (1 - beta) v; the constant with the least square error over v uniform between 0 and theta is (1 - beta) theta / 2.
    """
    return np.where(kinds(neuron)[1], (1 - neuron.beta) * np.abs(neuron.threshold) / 2, 0.0)


def timing(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> Timing:
    """Return latencies and delays in chip steps; what cannot line up is recorded (NM204, or NM205 under `--approximate delay`).

    Delays beyond a neuron's 14 are realised by chains of relays, so the largest one is that of the longest chain.
    """
    time = realise_delays(network, findings, max_delay=_ANY, allow_longer="delay" in options.approximate)
    most = longest_delay(spec)
    for p in network.projections:
        delay = time.delay[p.name] + (int(p.delays.max(initial=0)) if p.delays is not None else 0)
        if delay > most:
            findings.error(
                "NM204", f"`{p.name}` needs a delay of {delay} ticks beyond the one of its hop; nmap makes up to {most}",
                where=str(p.where),
                why=f"A neuron of TrueNorth delays by {spec.limits['delay'].max} such ticks itself; longer delays take chains of relay"
                f" neurons, and nmap makes chains of {spec.limits['relays'].max} at most.",
                help=("train with shorter delays", *(("delay the samples instead",) if p.source in network.inputs else ())),
            )
    return time


def quantize(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> QuantizedNetwork:
    """Return the network in TrueNorth's integers.

    Args:
        network: every rule of the target has passed.
        spec: field ranges.
        options: `bits` (default: as many as the fan-in leaves room for) and allowed approximations.
        findings: receives every loss, fan-in beyond a core (NM401), and ranges that are not proved (NM304).
    """
    drafted, losses = _draft(network, spec, options, findings)
    made = _realise(network, drafted, spec, options, findings, told=False)
    refused = check_fan_in(made, spec)
    if refused:
        if network.conventions.lag == 0:
            drafted = split_sums(drafted, made, refused, findings)
            made = _realise(network, drafted, spec, options, Findings(), told=False)
            refused = check_fan_in(made, spec)
        for one in refused:
            one.tell(findings)
    elif network.conventions.lag == 0:
        drafted = with_splitters(drafted, made, spec, findings)
    made = replace(_realise(network, drafted, spec, options, findings, told=True), losses=tuple(losses))
    prove_ranges(made, spec, options, findings)
    return made


# ---- numbers ----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One population to be quantized, and what that depends on; v and the values beside it are the network's, (n,) float64."""

    network: Network
    population: Population
    neuron: Neuron
    spec: ChipSpec
    options: Options
    findings: Findings

    @property
    def subtract(self) -> bool:
        return self.network.conventions.reset != "zero"

    @property
    def strict(self) -> bool:
        return self.network.conventions.compare == ">"

    @property
    def bias(self) -> Array:
        """What is added to v in every step."""
        return self.neuron.drive + biases(self.network, self.population.name, gain(self.neuron))

    @property
    def floor(self) -> Array | None:
        """The lowest v, or None."""
        floor = self.network.conventions.floor
        return None if floor is None else floor * self.neuron.threshold

    @property
    def reset(self) -> Array:
        """The value that a spike leaves, where it sets one."""
        if self.subtract:
            return np.zeros(self.population.size)
        return self.neuron.v_reset if self.floor is None else np.maximum(self.neuron.v_reset, self.floor)


def _draft(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> tuple[Draft, list[LayerLoss]]:
    units, losses, weights = [], [], {}
    for population in network.populations:
        neuron = population.neuron
        if neuron is None:
            units.append(Unit(population.name, population.shape, population.where))
            continue
        if not isinstance(neuron, Neuron):
            raise TypeError(f"{population.name} is a {type(neuron).__name__}, which the rules refuse")
        unit, stored, loss = _neurons(_Job(network, population, neuron, spec, options, findings))
        units.append(unit)
        weights.update(stored)
        losses.append(loss)
    edges = tuple(
        Edge(p.name, p.source, p.target, p.connectivity.with_weights(weights[p.name]), p.delay, p.where, p.delays)
        for p in network.projections
    )
    return Draft(tuple(units), edges), losses


def _neurons(job: _Job) -> tuple[Unit, dict[str, Array], LayerLoss]:
    """Return a population in integers, the weights into it by projection, int32, and what was lost."""
    name, neuron = job.population.name, job.neuron
    rows = _heard(job, Rows.of(job.network, name, gain(neuron)))
    grid, bits = _grid(job, rows)
    # Thresholds that a spike takes off want to be whole; where a group has several, that of its first neuron is.
    _, first = np.unique(rows.group, return_index=True)
    whole = np.where(kinds(neuron)[0] | (neuron.threshold < 0), 0, neuron.threshold)[first]
    most = -rows.highest(-_most(job, rows))
    made = integers(rows, grid, bits, most, whole)
    unit_gain, exact = _gain(job, rows, made)
    scale = (made.scale * unit_gain)[rows.group]
    values = made.values * unit_gain[rows.owner]
    memoryless, _ = kinds(neuron)
    gates, gate_loss = _gate(job, rows, values, scale)
    fields, start, errors = _integrator(job, scale)
    params = {key: np.where(memoryless, gates[key], fields[key]) for key in NEURON.params}
    start = np.where(memoryless, 0, start)
    _check_fields(job, params)
    stored = {
        p.name: values[slice(*rows.spans[p.name])].reshape(p.connectivity.weights.shape).astype(np.int32)
        for p in job.network.projections if p.target == name
    }
    _tell_weights(job, rows, made, bits, most)
    _tell_biases(job, params["leak"])
    lossless = bool((made.lossless & exact).all())
    integrates = ~memoryless
    loss = LayerLoss(
        name, bits, float(np.median(made.scale)), 0, made.sqnr_db, made.clipped, made.zeroed,
        max(gate_loss, float(errors.threshold[integrates].max(initial=0))),
        float(errors.decay[integrates].max(initial=0)),
        0.0 if lossless else float(errors.bias[integrates].max(initial=0)),
    )
    return Unit(name, job.population.shape, job.population.where, params, start, scale), stored, loss


def _needed(job: _Job, rows: Rows) -> tuple[Array, Array, Array]:
    """Return the sum of a tick at which each neuron fires from v = 0, and the lowest and the highest sum there is, (n,) float64 each."""
    high, low = (rows.total(np.maximum(sign * rows.weights, 0))[rows.group] for sign in (1, -1))
    return job.neuron.threshold - job.bias, -low, high


def _heard(job: _Job, rows: Rows) -> Rows:
    """Return the rows without the weights into gates that fire always, or never, whatever arrives: these need neither axons nor a scale."""
    needed, low, high = _needed(job, rows)
    margin = TOLERANCE * (high - low)
    settled = kinds(job.neuron)[0] & ((needed > high + margin) | (needed < low - margin))
    deaf = np.bincount(rows.group, ~settled, rows.groups) == 0
    return replace(rows, weights=np.where(deaf[rows.owner], 0.0, rows.weights))


def _grid(job: _Job, rows: Rows) -> tuple[Array, int]:
    """Return the grids that are kept, see `on_grid`, and the bits of the weights."""
    wide = _synapses(rows)
    limits, asked = job.spec.limits["rounded_bits"], job.options.bits
    grid = on_grid(rows)
    if asked is None and (grid > 0).all():
        return grid, max(int(grid.max()).bit_length() + 1, limits.min)
    bits = asked or bits_for(wide, job.spec.resources["axons"].max, limits.min, limits.max)
    if asked is None:
        room = job.spec.resources["axons"].max
        more = f"; {bits + 1} bits would take {wide * AXONS[bits + 1]}" if bits < limits.max else ""
        job.findings.note(
            "NM302", f"weights into `{job.population.name}` are rounded to {bits} bits", where=str(job.population.where),
            why=f"A neuron has up to {wide} synapses of {AXONS[bits]} axons each: {wide * AXONS[bits]} of a core's {room} axons{more}.",
            help=("--bits N takes another number",), data={"population": job.population.name, "bits": bits, "synapses": wide},
        )
    return np.where(grid <= 2 ** (bits - 1) - 1, grid, 0), bits


def _synapses(rows: Rows) -> int:
    """Return the largest number of synapses of one neuron whose weight is not 0."""
    return int(np.bincount(rows.owner, rows.weights != 0, rows.groups).max(initial=0))


def _most(job: _Job, rows: Rows) -> Array:
    """Return the largest scale at which threshold and bias fit their fields, (n,) float64, infinite where any does."""
    neuron, bias = job.neuron, np.abs(job.bias)
    memoryless, _ = kinds(neuron)
    leak, alpha = job.spec.limits["leak"].max, job.spec.limits["alpha"].max
    # Beyond what can arrive the gate fires always, or never, whatever the number says.
    far = np.abs(np.clip(*_needed(job, rows)))
    lowest = np.zeros_like(bias) if job.floor is None else np.maximum(-job.floor, 0)
    height = np.abs(neuron.threshold) + np.abs(job.reset) + lowest
    with np.errstate(divide="ignore"):
        # One unit less: a comparison with `>` adds one.
        gate, walk = (leak - 1) / far, np.minimum((leak - 1) / (bias + linear_leak(neuron)), (alpha - 1) / height)
    return np.where(memoryless, gate, walk)


def _gain(job: _Job, rows: Rows, made: Integers) -> tuple[Array, Array]:
    """Return g of each group, int64, and whether threshold, bias, reset value and floor are exact with it, bool."""
    neuron = job.neuron
    memoryless, leaky = kinds(neuron)
    scale = made.scale[rows.group]
    largest = rows.largest(made.values)
    # A code's largest value is the next power of two.
    code = 255 // np.left_shift(1, np.array([int(k).bit_length() for k in largest]))
    with np.errstate(divide="ignore"):
        # Where even a gain of 1 is at the edge of a field, rounding must not make it 0.
        field = np.where(memoryless, np.inf, np.floor(_most(job, rows) / scale * (1 + TOLERANCE)))
        wanted = np.where(memoryless | ~leaky & (job.bias == 0), np.ceil(_RESOLUTION / (np.abs(neuron.threshold) * scale)), np.inf)
    if job.subtract:
        # What arrives beyond a threshold a tick piles up, so that a large gain fills the 20 bits of v sooner. A rounded threshold and a
        # rounded bias add one a tick; splitters and gates make at most three ticks of latency of a population.
        up = rows.total(np.maximum(made.values, 0))[rows.group] + np.maximum(job.bias, 0) * scale
        rise = np.maximum(up - neuron.threshold * scale, 0)
        steps = horizon(job.spec, job.options) + 3 * len(job.network.populations) + job.network.conventions.lag
        room = np.floor((job.spec.limits["v"].max - steps) / np.maximum(rise * steps + up + neuron.threshold * scale, 1))
        field = np.minimum(field, np.where((rise > 0) & ~memoryless, room, np.inf))
    most = np.clip(np.minimum(code, -rows.highest(-field)), 1, 127).astype(np.int64)
    placed = [job.bias, job.reset] + ([neuron.threshold] if job.subtract else []) + ([] if job.floor is None else [job.floor])
    # A gate compares with a number between two of its sums, which is exact at any scale.
    placed = [np.where(memoryless, 0, values) for values in placed]
    found = np.zeros(rows.groups, np.int64)
    for g in range(1, int(most.max()) + 1):
        fits = np.logical_and.reduce([fits_grid(values * scale * g) for values in placed])
        bad = np.bincount(rows.group, ~fits, rows.groups) > 0
        found = np.where((found == 0) & ~bad & (g <= most), g, found)
    exact = (found > 0) & (np.bincount(rows.group, leaky, rows.groups) == 0)
    coarse = np.minimum(most, np.maximum(rows.highest(np.where(np.isfinite(wanted), wanted, 127)), 1)).astype(np.int64)
    return np.where(exact, found, coarse), exact


def _reached(values: Array, strict: bool) -> Array:
    """Return the least integers that pass thresholds, int64: above them if `strict`, else at them or above."""
    near = np.where(fits_grid(values), np.rint(values), values)
    return (np.floor(near) + 1 if strict else np.ceil(near)).astype(np.int64)


def _gate(job: _Job, rows: Rows, values: Array, scale: Array) -> tuple[dict[str, Array], float]:
    """Return the parameters of neurons without memory, and the largest relative error of their thresholds, which is none."""
    high, low = (rows.total(np.maximum(sign * values, 0))[rows.group].astype(np.int64) for sign in (1, -1))
    # What no sum reaches is as far beyond the sums as need be: a threshold may be too large for any integer.
    needed = np.clip((job.neuron.threshold - job.bias) * scale, -low - 1, high + 1)
    return gate_parameters(np.clip(_reached(needed, job.strict), -low, high + 1)), 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Errors:
    threshold: Array
    decay: Array
    bias: Array


def _integrator(job: _Job, scale: Array) -> tuple[dict[str, Array], Array, _Errors]:
    """Return the parameters of neurons with a memory, v before the network's first step, and what was lost.

    V counts from `shift`: a reset to another value than 0 or +-(2^k - 1) becomes one to 0 by it, and a comparison with `>` that takes off
    exactly the threshold becomes one with `>=`. Both are the same neuron, since nothing but a decay depends on where 0 is.
    """
    neuron = job.neuron
    memoryless, leaky = kinds(neuron)
    # What a gate has may be too large for any integer, and its parameters come from elsewhere.
    scale = np.where(memoryless, 0.0, scale)
    zero = np.zeros(job.population.size, np.int64)
    real = neuron.threshold * scale
    if job.subtract:
        moved = job.strict & ~leaky
        alpha = np.where(leaky, _reached(real, job.strict), np.maximum(np.rint(real), np.ceil(np.sign(real)))).astype(np.int64)
        reset, vr, sign, shift = zero, zero, zero + 1, np.where(moved, -1, 0)
        error = np.abs(alpha - leaky * job.strict - real)
    else:
        reset = np.rint(job.reset * scale).astype(np.int64)
        power = np.log2(np.abs(reset) + 1)
        named = power == np.rint(power)
        shift = np.where(named, 0, -reset)
        vr, sign = np.where(named, np.rint(power), 0).astype(np.int64), np.where(named & (reset < 0), -1, 1)
        alpha = _reached(real, job.strict) + shift
        error = np.where(leaky, np.abs(alpha - shift - real), 0.0)
    away = job.bias - linear_leak(neuron)
    leak = np.rint(away * scale).astype(np.int64)
    # A leak towards 0 is one for both signs; one that moves V up on the whole has no such form.
    epsilon = (leaky & (leak < 0)).astype(np.int64)
    beta = zero + FLOOR if job.floor is None else -(np.rint(job.floor * scale).astype(np.int64) + shift)
    params = {
        "alpha": alpha, "beta": beta, "leak": leak, "epsilon": epsilon, "gamma": zero + job.subtract, "kappa": zero + 1,
        "sigma_vr": sign, "vr": vr,
    }
    effective = np.where(leaky, np.abs(neuron.beta - np.maximum(1 - linear_leak(neuron) / np.maximum(neuron.threshold, 1e-300), 0)), 0.0)
    biased = (job.bias != 0) & ~memoryless
    bias = np.where(biased, np.abs(leak - away * scale) / np.where(biased, np.abs(job.bias) * scale, 1), 0.0)
    return params, shift, _Errors(error / np.maximum(np.abs(real), 1.0), effective, bias)


def _check_fields(job: _Job, params: dict[str, Array]) -> None:
    for key, values in params.items():
        limit = job.spec.limits[key]
        outside = (values < limit.min) | (values > limit.max)
        if outside.any():
            worst = int(values[np.maximum(limit.min - values, values - limit.max).argmax()])
            job.findings.error(
                "NM305",
                f"{key} of {counted(int(outside.sum()), 'neuron')} of `{job.population.name}` is outside {limit.min} to {limit.max}:"
                f" {worst}",
                where=str(job.population.where), why=limit.source,
                help=("train with thresholds, biases and reset values that are smaller beside the weights",),
            )


def _tell_weights(job: _Job, rows: Rows, made: Integers, bits: int, most: Array) -> None:
    name, where = job.population.name, str(job.population.where)
    nonzero = int(np.count_nonzero(rows.weights))
    if made.clipped:
        job.findings.note(
            "NM301", f"{made.clipped} of {counted(nonzero, 'weight')} into `{name}` {'is' if made.clipped == 1 else 'are'} clipped",
            where=where,
            why=f"Each neuron's scale is the one with the least square error at {bits} bits, where the largest weights give way.",
            data={"population": name, "weights": made.clipped},
        )
    largest = rows.largest(rows.weights)
    short = int((~made.lossless & (largest > 0) & (most < (2 ** (bits - 1) - 1) / np.where(largest > 0, largest, 1))).sum())
    lower = "train with thresholds and biases that are smaller beside the weights"
    if made.zeroed > _MANY_ZEROED * nonzero:
        size = np.abs(rows.weights[rows.weights != 0])
        job.findings.warning(
            "NM302", f"{made.zeroed} of {counted(nonzero, 'weight')} into `{name}` {'rounds' if made.zeroed == 1 else 'round'} to 0",
            where=where,
            why=f"{bits} bits hold {2 ** bits - 1} values a neuron; the largest weight is {size.max() / np.median(size):.3g} times the"
            " median.",
            help=(lower if short else "train with weights of few bits and without outliers",),
            data={"population": name, "weights": made.zeroed},
        )
    if short:
        owners = counted(short, "neuron" if rows.groups == rows.group.size else "channel")
        job.findings.warning(
            "NM302", f"the weights of {owners} of `{name}` keep fewer than {bits} bits", where=where,
            why=f"Beside them a threshold or bias is so large that it would leave its field: alpha ends at {job.spec.limits['alpha'].max},"
            f" the leak at {job.spec.limits['leak'].max}.", help=(lower,), data={"population": name, "groups": short},
        )


def _tell_biases(job: _Job, leak: Array) -> None:
    memoryless, leaky = kinds(job.neuron)
    lost = int(((leak == 0) & (job.bias != 0) & ~memoryless & ~leaky).sum())
    if lost:
        job.findings.warning(
            "NM302", f"{lost} {'bias' if lost == 1 else 'biases'} of `{job.population.name}` {'rounds' if lost == 1 else 'round'} to 0",
            where=str(job.population.where),
            why="They are far smaller than a step of the weights.", data={"population": job.population.name, "biases": lost},
        )


# ---- time -------------------------------------------------------------------------------------------------------------------------------


def _realise(
    network: Network, draft: Draft, spec: ChipSpec, options: Options, findings: Findings, told: bool
) -> QuantizedNetwork:
    """Return a draft in the chip's time, with relays for delays that a neuron cannot make.

    Args:
        network: whose conventions hold.
        draft: its integers.
        spec, options: as in `quantize`.
        findings: receives NM205 for loops that are made longer, and NM306 for neurons that cannot be kept at rest.
        told: whether this is the network that is returned, of which the user is told.
    """
    by_name = {p.name: p for p in network.populations}
    inner = next((p.neuron for p in network.populations if p.neuron is not None), None)
    # All that timing asks of a population is whether it is a port; relays and gates stand for neurons.
    populations = tuple(
        by_name[unit.name] if unit.name in by_name else Population(unit.name, unit.shape, inner, unit.where) for unit in draft.units
    )
    projections = tuple(Projection(e.name, e.source, e.target, e.connectivity, None, e.delay, e.where, e.delays) for e in draft.edges)
    skeleton = replace(network, populations=populations, projections=projections)
    time = timing(skeleton, spec, options, findings if told else Findings())
    made = []
    for unit in draft.units:
        if unit.params is None:
            made.append(QuantizedPopulation(unit.name, unit.shape, None, {}, unit.where, latency=time.spikes[unit.name]))
            continue
        start = np.zeros(unit.size, np.int64) if unit.start is None else unit.start
        initial = _at_rest(unit, unit.params, start, time.latency[unit.name], findings if told else Findings())
        made.append(QuantizedPopulation(
            unit.name, unit.shape, NEURON.name, dict(unit.params), unit.where, {"v": initial} if initial.any() else {}, unit.scale,
            time.spikes[unit.name],
        ))
    whole = QuantizedNetwork(
        tuple(made), tuple(
            QuantizedProjection(e.name, e.source, e.target, e.connectivity, FORMAT, time.delay[e.name], e.where, e.delays)
            for e in draft.edges
        ), network.inputs, network.outputs,
    )
    return chained(whole, draft, spec, findings if told else Findings())


def _at_rest(unit: Unit, params: dict[str, Array], start: Array, latency: int, findings: Findings) -> Array:
    """Return a v from which each neuron comes to `start` in `latency` ticks without input or a spike, (n,) int64; `start` if none does."""
    leak = np.where(params["epsilon"] == 1, 0, params["leak"])
    # What the leak is to bring there; what stays there; and what the first tick's floor catches, which gates with a leak need.
    tried = (start - latency * leak, start, -(params["beta"] + np.maximum(leak, 0) + 1))
    initial, ready = start, np.zeros(unit.size, bool)
    for begin in tried:
        state, quiet = {"v": begin}, np.ones(unit.size, bool)
        for step in range(latency):
            quiet &= NEURON.reference_step(params, state, np.zeros(unit.size, np.int64), step) == 0
        works = quiet & (state["v"] == start) & ~ready
        initial, ready = np.where(works, begin, initial), ready | works
    lost = int((~ready).sum())
    if lost:
        findings.warning(
            "NM306",
            f"{counted(lost, 'neuron')} of `{unit.name}` cannot be kept at rest until {'its' if lost == 1 else 'their'} first input"
            " arrives",
            where=str(unit.where),
            why=f"`{unit.name}` runs {counted(latency, 'step')} late. What a neuron does by itself, by its bias or a threshold that v meets"
            " without input, it does from the chip's first step on, and no start of v makes up for that. The fixed-point reference does the"
            " same.",
            data={"population": unit.name, "neurons": lost},
        )
    return initial
