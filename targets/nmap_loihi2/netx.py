"""Which quantized networks a netx file can hold, and how: for lava-dl's `netx.hdf5.Network`, which builds them in Lava.

What a file says and what netx makes of it was read in lava-dl 0.6.0, `netx/hdf5.py`, `netx/utils.py` and `netx/blocks/process.py`:

- Layers form a chain. A bias enters the membrane and has the exponent 6. There are no initial states.
- Weights of dense layers are shifted up as far as they fit, and their bits and exponent follow (`optimize_weight_bits`, together for
  the two matrices of a recurrent layer); Lava then infers each matrix's sign mode anew. Some matrices do not survive that, so it is
  computed here and compared. Convolutions have no exponent.
- Rotations of resonators are computed anew in floating point and truncated. Where that is one unit off, half a unit is added to what is
  stored, which the truncation takes off again.
- A neuron parameter of an image is one value, or one per channel: of others netx and torch disagree on the order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Sparse
from nmap.diagnostics import Findings, named
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap.readers.netx_neurons import recomputed
from nmap.target.backend import VendorFile
from nmap.target.spec import ChipSpec
from nmap.writers.netx import Entry, NetxLayer, conv_entries, dense_entries, netx_bytes
from nmap_loihi2.integers import prepare_weights
from nmap_loihi2.synapses import infer_sign

__all__ = ["applied_weights", "netx_file", "stored_rotation"]

_BIAS_EXP = 6
_SDNN_EXP = 6
_DECAY_BITS = 12
_MAX_DELAY = 62
_MAX_SYNAPSES = 1 << 27
"""Entries of a dense layer: half a gigabyte on disk."""
_LIF = ("loihi2.lif", "loihi2.lif_reset")
_RESONATORS = {"loihi2.rf": "RF_PHASE", "loihi2.rf_iz": "RF_IZHIKEVICH"}
_SDNN = ("loihi2.delta", "loihi2.sigma_delta", "loihi2.sigma")


def applied_weights(matrices: tuple[Array, ...]) -> tuple[Array, ...] | None:
    """Return what Lava applies, exponent included, of the matrices of one dense layer as netx prepares them; None where that fails.

    Args:
        matrices: integer weights (targets, sources) as the file holds them: one, or those of a recurrent layer, which share bits and
            exponent.

    Returns:
        int64 each. They are the matrices themselves where all is well.
    """
    low, high = min(int(m.min()) for m in matrices), max(int(m.max()) for m in matrices)
    if low == high == 0:
        return None
    # Beyond these netx clips a matrix of both signs, and its scale of the others comes out below 1, which it cannot shift by.
    matrices = tuple(np.clip(m, -256, 254) for m in matrices) if low < 0 < high else matrices
    low, high = (max(low, -256), min(high, 254)) if low < 0 < high else (low, high)
    mixed = low < 0 <= high
    if mixed:
        scale = min(127 / high if high else np.inf, -128 / low)
    else:
        scale = -256 / low if high < 0 else 255 / high
    shift = int(np.floor(np.log2(scale))) + mixed
    divisible = next((k for k in range(8, 0, -1) if not any((m % (1 << k)).any() for m in matrices)), 0)
    bits = 8 - shift - (divisible - mixed)
    if shift < 0 or not 1 <= bits <= 8:
        return None
    return tuple(prepare_weights(m << shift, infer_sign(m), bits).astype(np.int64) >> shift for m in matrices)


def stored_rotation(sin: Array, cos: Array) -> tuple[Array, Array]:
    """Return what to store as `sinDecay` and `cosDecay` so that netx ends up with these rotations, (n,) integers of 1/4096 each.

    They are the integers themselves (int64) where all survive netx's way through a period and a decay in floating point; else float64,
    with half a unit more where one does not.
    """
    wanted = np.stack([sin, cos])
    off = (recomputed(sin, cos) != wanted).any(0)
    if not off.any():
        return sin, cos
    stored = wanted + np.where(off, 0.5 * np.sign(wanted), 0)
    return stored[0], stored[1]


class _Offences:
    """What a file cannot hold: reasons in the order found, each with everything it is about."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[str | None, str | None, list[str], list[str]]] = {}

    def __bool__(self) -> bool:
        return bool(self.found)

    def add(self, reason: str, name: str, where: object, why: str | None = None, remedy: str | None = None) -> None:
        """Note a population; `reason` goes on behind `a netx file`."""
        _, _, names, places = self.found.setdefault(reason, (why, remedy, [], []))
        if name not in names:
            names.append(name)
            places.append(str(where))

    def tell(self, findings: Findings) -> None:
        for reason, (why, remedy, names, places) in self.found.items():
            findings.error("NM104", f"a netx file {reason}: {named(names)}", where=places[0], why=why,
                           help=() if remedy is None else (remedy,), data={"parts": names})


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """A population of the chain, with what reaches it.

    Args:
        population: with neurons.
        feeds: from the population before, by receptor.
        loop: from itself.
        opens: whether it is an input block: neurons that take the input as it is.
    """

    population: QuantizedPopulation
    feeds: dict[int, QuantizedProjection]
    loop: QuantizedProjection | None
    opens: bool

    @property
    def image(self) -> bool:
        """Whether netx lays the neurons out in three dimensions."""
        return len(self.population.shape) == 3 and (self.opens or any(isinstance(p.connectivity, Conv2d) for p in self.feeds.values()))


def _stages(network: QuantizedNetwork, offences: _Offences) -> list[_Stage]:
    """Return the populations with neurons in the order of the chain, or in their own where it is none."""
    for what, names in (("input", network.inputs), ("output", network.outputs)):
        for name in names if len(names) > 1 else ():
            offences.add(f"has one {what}", name, network[name].where)
    next_of: dict[str, list[str]] = {p.name: [] for p in network.populations}
    for p in network.projections:
        if p.source != p.target and p.target not in next_of[p.source]:
            next_of[p.source].append(p.target)
    found: dict[str, _Stage] = {}
    for population in network.populations:
        name, where = population.name, population.where
        feeds = [p for p in network.afferents(name) if p.source != name]
        loops = [p for p in network.afferents(name) if p.source == name]
        if population.kernel is not None and not feeds:
            offences.add(
                "has no neurons that nothing feeds", name, where,
                "These send a constant into a synaptic current; a netx bias enters the membrane and does not build up.",
                "train without a bias on weights that lead to neurons with a synaptic current",
            )
            continue
        if len(next_of[name]) > 1:
            offences.add("is a chain, and has no population that several others read", name, where)
        if not next_of[name] and name not in network.outputs:
            offences.add("ends in its output, and has no other end", name, where)
        if next_of[name] and name in network.outputs:
            offences.add("ends in its output, which nothing reads", name, where)
        if population.kernel is None:
            continue
        sources = {p.source for p in feeds if network[p.source].kernel is None or network.afferents(p.source)}
        if len(sources) > 1:
            offences.add("is a chain, and has no population that reads several others", name, where)
        by_receptor: dict[int, QuantizedProjection] = {}
        for p in feeds:
            if p.source not in sources or len(sources) > 1:
                continue
            if p.receptor in by_receptor:
                offences.add("has one matrix between two layers", name, where)
            by_receptor[p.receptor] = p
        if len(loops) > 1:
            offences.add("has one matrix for the loop of a layer", name, where)
        for p in loops:
            if isinstance(p.connectivity, Conv2d) or p.receptor:
                offences.add("has loops of dense layers only", name, where)
            if p.delay or (p.delays is not None and bool((p.delays[p.connectivity.weights != 0] != 0).any())):
                offences.add("has no delays in a loop", name, where, "netx gives a recurrent layer's delays to both of its matrices.")
        found[name] = _Stage(population, by_receptor, loops[0] if loops else None, _opens(network, population, feeds, loops))
    if offences or len(network.inputs) != 1:
        return list(found.values())
    ordered, at = [], network.inputs[0]
    while next_of[at]:
        at = next_of[at][0]
        ordered.append(found[at])
    for stage in found.values():
        if stage not in ordered:
            offences.add("is a chain, and has no population beside it", stage.population.name, stage.population.where)
    return ordered


def _opens(
    network: QuantizedNetwork, population: QuantizedPopulation, feeds: list[QuantizedProjection], loops: list[QuantizedProjection]
) -> bool:
    """Return whether a population is an input block: it takes each value of the input port as it is, one step later."""
    if loops or len(feeds) != 1 or network[feeds[0].source].kernel is not None:
        return False
    p, params = feeds[0], population.params
    if population.kernel not in (*_LIF, "loihi2.delta") or ("bias_mant" in params and params["bias_mant"].any()):
        return False
    return (
        _one_to_one(p.connectivity) and not p.delay and p.delays is None and p.format.exponent <= 0
        and bool((p.connectivity.weights == 1 << -p.format.exponent).all())
    )


def _one_to_one(c: Connectivity) -> bool:
    """Return whether neuron k reads neuron k and no other."""
    if isinstance(c, Conv2d):
        return c.groups == c.in_shape[0] == c.weights.shape[0] and c.kernel_size == (1, 1) and c.in_shape == c.out_shape
    n = c.out_size
    return isinstance(c, Sparse) and c.in_size == n and np.array_equal(c.indptr, np.arange(n + 1)) and np.array_equal(
        c.indices, np.arange(n)
    )


def _effective(p: QuantizedProjection, offences: _Offences) -> Array | None:
    """Return a projection's weights times 2^exponent, in the connectivity's own layout, int64; None where they are no integers."""
    weights, exponent = p.connectivity.weights.astype(np.int64), p.format.exponent
    if exponent >= 0:
        return weights << exponent
    if (weights % (1 << -exponent)).any():
        offences.add(
            "has integer weights, and these act with a fraction", p.target, p.where,
            "The sum of a step is shifted right by the weight exponent; netx derives an exponent of its own, which loses nothing.",
        )
        return None
    return weights >> -exponent


def _matrix(p: QuantizedProjection, offences: _Offences) -> tuple[Array, Array | None] | None:
    """Return the effective weights (targets, sources) of a dense or sparse projection, and its delays where it has some."""
    c = p.connectivity
    if c.in_size * c.out_size > _MAX_SYNAPSES:
        offences.add(f"lists every synapse of a dense layer, of which nmap writes {_MAX_SYNAPSES}", p.target, p.where)
        return None
    weights = _effective(p, offences)
    if weights is None or isinstance(c, Conv2d):
        return None
    steps = p.delay + (np.zeros(weights.shape, np.int64) if p.delays is None else p.delays)
    if isinstance(c, Sparse):
        place = c.targets * c.in_size + c.indices
        if np.unique(place).size < place.size and np.unique(steps).size > 1:
            offences.add("has one delay between two neurons", p.target, p.where)
            return None
        listed, weights, steps_listed = weights, np.zeros((c.out_size, c.in_size), np.int64), steps
        np.add.at(weights.reshape(-1), place, listed)
        steps = np.full(weights.shape, p.delay, np.int64)
        steps.reshape(-1)[place] = steps_listed
    if steps.max(initial=0) > _MAX_DELAY:
        offences.add(f"has delays of at most {_MAX_DELAY} steps beyond the one of a layer", p.target, p.where)
    if not steps.any():
        return weights, None
    return weights, steps.reshape(-1)[:1].reshape(()) if (steps == steps.flat[0]).all() else steps


def _check_applied(stage: _Stage, matrices: tuple[Array, ...], offences: _Offences) -> None:
    """Refuse dense weights that netx would change or fail on."""
    name, where = stage.population.name, next(iter(stage.feeds.values())).where
    applied = applied_weights(matrices)
    if applied is not None and all(np.array_equal(a, m) for a, m in zip(applied, matrices, strict=True)):
        return
    low, high = min(int(m.min()) for m in matrices), max(int(m.max()) for m in matrices)
    if low == high == 0:
        offences.add("has no dense layer without a single weight", name, where, "netx fails on a matrix of zeros.")
    elif low < -256 or high > 255 or (low < 0 and high > 254):
        offences.add(
            "has dense weights from -256 to 254, or 0 to 255", name, where,
            f"Those of `{name}` act as {low} to {high}: their weight exponent makes the state finer, and a file has none.",
        )
    else:
        offences.add(
            "has no weights that netx changes", name, where,
            f"Those of `{name}` lie from {low} to {high}. netx infers bits and sign of a matrix from its largest and smallest weight, and"
            " loses the last bits of some that are nowhere positive, or that share a layer with others.",
        )


def _parameter(stage: _Stage, values: Array, what: str, offences: _Offences) -> Entry | None:
    """Return one value, one per channel of an image, or one per neuron of a flat layer."""
    if (values == values[0]).all():
        return values[0].item() if values.dtype.kind == "i" else values[:1].reshape(())
    if not stage.image:
        return values
    per_channel = values.reshape(stage.population.shape[0], -1)
    if (per_channel == per_channel[:, :1]).all():
        return np.ascontiguousarray(per_channel[:, 0])
    offences.add(
        f"has one {what} per channel of an image", stage.population.name, stage.population.where,
        "netx takes one per neuron too, but in another order of the axes than every other entry has.",
    )
    return None


def _neuron(stage: _Stage, spec: ChipSpec, offences: _Offences) -> tuple[dict[str, Entry], Array | None]:
    """Return the entries of the group `neuron`, and the bias in netx's units, (n,) or None."""
    population = stage.population
    kernel, params = population.kernel, population.params
    name, where = population.name, population.where
    if any(values.any() for values in population.initial.values()):
        offences.add(
            "has no initial state", name, where, "The neurons start above or below 0, so that their bias leaves them at rest until the"
            " first input arrives.",
        )
    if kernel == "loihi2.relay":
        offences.add("has no delayed convolutions", name, where, "A relay population holds the spikes back, and netx has no such neuron.")
        return {}, None
    if kernel not in (*_LIF, *_RESONATORS, *_SDNN):
        offences.add(
            "has only LIF, sigma-delta and resonate-and-fire neurons", name, where, f"`{name}` has the neurons `{kernel}`.",
        )
        return {}, None

    def value(values: Array, what: str) -> Entry:
        found = _parameter(stage, values, what, offences)
        return 0 if found is None else found

    if kernel in _LIF:
        bias = params["bias_mant"] << params["bias_exp"]
        limit = spec.limits["bias_mant"]
        if (bias % (1 << _BIAS_EXP)).any() or not ((bias >> _BIAS_EXP <= limit.max) & (bias >> _BIAS_EXP >= limit.min)).all():
            offences.add(
                f"has biases of multiples of {1 << _BIAS_EXP} state units, up to {limit.max} of them", name, where,
                f"netx fixes the bias exponent at {_BIAS_EXP}.",
            )
        entries: dict[str, Entry] = {
            "type": "CUBA", "iDecay": value(params["du"] + 1, "iDecay"), "vDecay": value(params["dv"], "vDecay"),
            "vThMant": value(params["vth"], "vThMant"), "refDelay": 1, "gradedSpike": False,
        }
        return entries, bias >> _BIAS_EXP if bias.any() else None
    if kernel in _RESONATORS:
        usual = (params["decay_bits"] == _DECAY_BITS) & (params["state_exp"] == _SDNN_EXP)
        if not usual.all() or (params["vth"] % (1 << _SDNN_EXP)).any():
            offences.add(
                f"has resonators of {_SDNN_EXP} state bits and {_DECAY_BITS} decay bits, with whole thresholds", name, where,
            )
        if set(stage.feeds) != {0, 1}:
            offences.add("has resonators with complex weights only", name, where, "netx wires no others to such neurons.")
        if (params["vth"] != params["vth"][0]).any():
            offences.add("has one threshold for a layer of resonators", name, where, "Lava's models take one number.")
        sin, cos = stored_rotation(params["sin"], params["cos"])
        if (recomputed(sin, cos) != np.stack([params["sin"], params["cos"]])).any():
            offences.add("has no rotations that netx computes differently", name, where)
        entries = {
            "type": _RESONATORS[kernel], "sinDecay": value(sin, "sinDecay"), "cosDecay": value(cos, "cosDecay"),
            "vThMant": value(params["vth"] >> _SDNN_EXP, "vThMant"), "gradedSpike": False,
        }
        return entries, None
    if kernel == "loihi2.sigma":
        return {"type": "SDNN", "activation": "relu", "sigma_output": True}, None
    unit = 1 << 2 * _SDNN_EXP
    whole = ("vth", "bias") if kernel == "loihi2.sigma_delta" else ("vth",)
    if not all((params[key] == _SDNN_EXP).all() for key in ("spike_exp", "state_exp")) or any((params[k] % unit).any() for k in whole):
        offences.add(f"has sigma-delta neurons of {_SDNN_EXP} spike and state bits, with whole thresholds and biases", name, where)
    if params["cum_error"].any():
        offences.add("has no sigma-delta neurons with a cumulative error", name, where)
    if kernel == "loihi2.sigma_delta" and not params["rectify"].all():
        offences.add("has rectified sigma-delta neurons only", name, where, "netx computes a rectified linear unit whatever a file says.")
    entries = {"type": "SDNN", "activation": "relu", "vThMant": value(params["vth"] // unit, "vThMant")}
    bias = params["bias"] // unit if kernel == "loihi2.sigma_delta" else np.zeros(1, np.int64)
    return entries, bias if bias.any() else None


def _resets(stages: list[_Stage], offences: _Offences) -> tuple[int, int] | None:
    """Return netx's interval and offset of the periodic reset, or None without one.

    netx resets layer k before Lava's step t with t % interval == (offset + 1 + k) % interval.
    """
    with_reset = [stage for stage in stages if stage.population.kernel == "loihi2.lif_reset"]
    if not with_reset:
        return None
    asked = set()
    for k, stage in enumerate(stages):
        params = stage.population.params
        if stage in with_reset:
            interval = int(params["reset_interval"][0])
            asked |= {(int(n), int(o - 1 - k) % interval) for n, o in zip(params["reset_interval"], params["reset_offset"], strict=True)}
        elif stage.population.kernel == "loihi2.lif":
            asked.add((0, 0))
    if len(asked) > 1:
        for stage in with_reset:
            offences.add("is reset layer by layer, each one step after the one before", stage.population.name, stage.population.where)
        return None
    return asked.pop()


@dataclass(slots=True)
class _Writer:
    """The layers written so far, and what a user has to know."""

    spec: ChipSpec
    offences: _Offences
    layers: list[NetxLayer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    image: bool = False

    def port(self, port: QuantizedPopulation, first: _Stage) -> None:
        """Write the input's shape where it is an image: an input block without neurons, which takes no step."""
        self.shape, self.image = port.shape, len(port.shape) == 3
        if self.image and not first.opens:
            self.layers.append(NetxLayer("input", port.shape))

    def stage(self, stage: _Stage) -> None:
        """Write one layer, with the flattening before it."""
        population, neuron = stage.population, _neuron(stage, self.spec, self.offences)
        entries, bias = neuron
        if stage.opens:
            # Weight and bias of the affine scaling that netx leaves to the caller; the quantized network takes the input as it is.
            self.layers.append(NetxLayer("input", population.shape, {"weight": 1, "bias": 0}, entries))
            self.shape, self.image = population.shape, stage.image
            return
        if population.kernel == "loihi2.delta":
            self.offences.add("has delta neurons at its input only", population.name, population.where)
        feeds = dict(sorted(stage.feeds.items()))
        if any(isinstance(p.connectivity, Conv2d) for p in feeds.values()):
            self._convolution(stage, feeds, entries, bias)
        else:
            self._dense(stage, feeds, entries, bias)

    def _convolution(
        self, stage: _Stage, feeds: dict[int, QuantizedProjection], entries: dict[str, Entry], bias: Array | None
    ) -> None:
        population, p = stage.population, feeds.get(0)
        name, where = population.name, population.where
        if p is None or len(feeds) > 1 or not isinstance(p.connectivity, Conv2d):
            self.offences.add("has no complex convolutions", name, where)
            return
        if stage.loop is not None:
            self.offences.add("has loops of dense layers only", name, where)
        if p.delay or p.delays is not None:
            self.offences.add("has no delayed convolutions", name, where)
        conv = p.connectivity
        if not self.image or self.shape != conv.in_shape:
            self.offences.add(
                "has convolutions that read the layer before as it lies", name, where,
                f"`{p.name}` reads {conv.in_shape}, the layer before it {'is flat' if not self.image else f'has {self.shape}'}.",
            )
        weights = _effective(p, self.offences)
        if weights is not None and (weights.min(initial=0) < -256 or weights.max(initial=0) > 255):
            self.offences.add(
                "has convolutions with weights from -256 to 255, the chip's, since netx gives them no exponent", name, where,
            )
        if weights is None:
            return
        found = conv_entries(conv.with_weights(weights))
        if bias is not None:
            stored = _parameter(stage, bias, "bias", self.offences)
            # netx wants a list where lava-dl writes one: a value per channel.
            found["bias"] = np.broadcast_to(np.asarray(0 if stored is None else stored), conv.out_shape[:1]).astype(np.float32)
        self.layers.append(NetxLayer("conv", conv.out_shape, found, entries))
        self.shape, self.image = conv.out_shape, True

    def _dense(self, stage: _Stage, feeds: dict[int, QuantizedProjection], entries: dict[str, Entry], bias: Array | None) -> None:
        population = stage.population
        read = {receptor: _matrix(p, self.offences) for receptor, p in feeds.items()}
        loop = None if stage.loop is None else _matrix(stage.loop, self.offences)
        found = {receptor: matrix for receptor, matrix in read.items() if matrix is not None}
        if len(found) < len(read) or (loop is None) != (stage.loop is None) or 0 not in found:
            return
        for p in (*feeds.values(), *([] if stage.loop is None else [stage.loop])):
            if isinstance(p.connectivity, Sparse):
                self.notes.append(f"`{p.name}` is listed synapse by synapse in nmap; the file holds it as a matrix, zeros included")
        delays = [delay for _, delay in found.values() if delay is not None]
        if self.image:
            self.layers.append(NetxLayer("flatten", (prod(self.shape),)))
        written = dense_entries(found[0][0])
        if 1 in found:
            for weights, _ in found.values():
                _check_applied(stage, (weights,), self.offences)
            if delays:
                self.offences.add("has no delays of complex weights", population.name, population.where)
            real, imaginary = (found[k][0].astype(np.float32) for k in (0, 1))
            del written["weight"]
            written.update({"weight/real": real, "weight/imag": imaginary})
        elif loop is not None:
            _check_applied(stage, (found[0][0], loop[0]), self.offences)
            written["weight_rec"] = loop[0].astype(np.float32)
            if delays:
                self.offences.add(
                    "has no delays in a recurrent layer", population.name, population.where,
                    "netx gives them to both of its matrices, and drops the weight exponent.",
                )
        else:
            _check_applied(stage, (found[0][0],), self.offences)
            if delays:
                written["delay"] = delays[0]
        if bias is not None:
            written["bias"] = np.broadcast_to(bias, (population.size,)).astype(np.float32)
        self.layers.append(NetxLayer("dense" if loop is None else "dense_rec", (population.size,), written, entries))
        self.shape, self.image = (population.size,), False


def netx_file(network: QuantizedNetwork, spec: ChipSpec, findings: Findings) -> VendorFile | None:
    """Return a quantized network as a netx file, or None with every reason why it has none in `findings` (NM104).

    A netx file that nmap reads back computes, at the float level, what the quantized network computes, step by step of the chip's time.
    """
    offences = _Offences()
    stages = _stages(network, offences)
    broken = bool(offences)
    writer = _Writer(spec, offences)
    sdnn = [stage.population.kernel in _SDNN for stage in stages]
    if any(sdnn) and not all(sdnn):
        for stage in stages:
            if stage.population.kernel not in _SDNN:
                offences.add("does not mix sigma-delta neurons with others", stage.population.name, stage.population.where)
    for stage in stages:
        if stage.population.kernel in _SDNN and stage.loop is not None:
            offences.add("has no loop of sigma-delta neurons", stage.population.name, stage.population.where)
        if stage is stages[0] and not broken:
            writer.port(network[network.inputs[0]], stage)
        elif broken:
            # Where there is no chain, what each population reads is not what was written last.
            source = next(iter(stage.feeds.values()), None)
            before = None if source is None else network[source.source]
            writer.shape, writer.image = ((), False) if before is None else (before.shape, len(before.shape) == 3)
        writer.stage(stage)
    resets = _resets(stages, offences)
    if offences:
        offences.tell(findings)
        return None
    conventions = {}
    if resets is not None:
        interval, offset = resets
        # nmap counts an offset in steps of the input, which reaches layer k in chip step k + 1, Lava's time step k + 2.
        conventions = {"reset_interval": interval, "reset_offset": (offset - 1) % interval}
    return VendorFile(netx_bytes(tuple(writer.layers)), (*writer.notes, *_usage(network, stages, resets, conventions)), conventions)


def _usage(
    network: QuantizedNetwork, stages: list[_Stage], resets: tuple[int, int] | None, conventions: dict[str, int]
) -> list[str]:
    """Return how the file is used, one sentence each."""
    port, first = network[network.inputs[0]], next(iter(stages[0].feeds.values()))
    arguments = ["net_config=FILE"]
    if first.format.message_bits and not stages[0].opens:
        arguments.append(f"input_message_bits={first.format.message_bits}")
    if resets is not None:
        arguments.append(f"reset_interval={resets[0]}, reset_offset={resets[1]}")
    notes = [f"load it with `lava.lib.dl.netx.hdf5.Network({', '.join(arguments)})`"]
    if conventions:
        told = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in conventions.items())
        notes.append(f"the periodic reset is not in the file: nmap takes it as {told}")
    if stages[0].opens:
        notes.append(
            "netx does not wire its input block: connect the spikes to `net.in_layer.neuron.a_in`; they act in the step in which they"
            " arrive, one step before nmap's own count"
        )
    elif len(port.shape) == 3 and any(isinstance(p.connectivity, Conv2d) for p in stages[0].feeds.values()):
        channels, height, width = port.shape
        notes.append(f"the input is an image: netx takes it as (width, height, channels) = ({width}, {height}, {channels})")
    else:
        notes.append(f"the input is a vector of {port.size} values, in C order of the shape {port.shape}")
    late = sum(1 + _delay(stage) for stage in stages)
    last = "1 step" if late == 1 else f"{late} steps"
    notes.append(f"every layer takes one step, as on the chip: what the last layer makes of an input comes {last} behind it")
    return notes


def _delay(stage: _Stage) -> int:
    """Return the steps beyond the one of a hop that every synapse into a population waits."""
    steps = [p.delay + (0 if p.delays is None else int(p.delays.min(initial=_MAX_DELAY))) for p in stage.feeds.values()]
    return min(steps, default=0)
