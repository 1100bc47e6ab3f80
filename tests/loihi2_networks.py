"""Random integer networks of every kind for Loihi 2, and Lava's documented equations for them in plain Python.

The equations are written from the reference of Lava's fixed-point models, one neuron and one step after the other, and share no code with
nmap: integers of any size, cut to the width that Lava computes with where it matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.network import Provenance
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat

HERE = Provenance("test", "/")
HALF = 1 << 23
KERNELS = (
    "loihi2.lif", "loihi2.lif_reset", "loihi2.ternary_lif", "loihi2.delta", "loihi2.sigma_delta", "loihi2.sigma", "loihi2.rf",
    "loihi2.rf_iz", "loihi2.atrlif", "loihi2.relay",
)
TRACED = {
    "loihi2.lif": ("u", "v"), "loihi2.lif_reset": ("u", "v"), "loihi2.ternary_lif": ("u", "v"), "loihi2.rf": ("u", "v"),
    "loihi2.rf_iz": ("u", "v"), "loihi2.atrlif": ("u", "v", "theta", "rho"), "loihi2.delta": ("v", "residue", "error"),
    "loihi2.sigma_delta": ("u", "v", "residue", "error"), "loihi2.sigma": ("v",), "loihi2.relay": ("v",),
}
"""State variables that Lava's models have too."""


# ---------------------------------------------------------------- building blocks

def population(name, shape, kernel="loihi2.lif", initial=None, **params):
    return QuantizedPopulation(name, shape, kernel, {k: np.asarray(v) for k, v in params.items()}, HERE, initial or {})


def port(name, shape):
    return QuantizedPopulation(name, shape, None, {}, HERE)


def projection(source, target, connectivity, delay=0, delays=None, receptor=0, number=0, **form):
    return QuantizedProjection(
        f"{source} to {target}{f' ({number})' if number else ''}", source, target, connectivity, SynapseFormat(**{"bits": 8, **form}),
        delay, HERE, delays, receptor,
    )


# ---------------------------------------------------------------- reference

def wrap(value, bits):
    """Two's complement of a Python integer or an array."""
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def toward_zero(value, bits=12):
    return value >> bits if value >= 0 else -(-value >> bits)


def current_wrap(u):
    return u - 2 * HALF if u > HALF else u + 2 * HALF if u <= -HALF else u


def clip(v):
    return max(1 - HALF, min(HALF - 1, v))


def matrices(p: QuantizedProjection) -> tuple[np.ndarray, np.ndarray]:
    """Expand a projection synapse by synapse: weights and steps between sending and acting, (targets, sources) each."""
    c = p.connectivity
    weights = np.zeros((c.out_size, c.in_size), np.int64)
    delays = np.zeros((c.out_size, c.in_size), np.int64)
    if isinstance(c, Dense):
        weights += c.weights
        if p.delays is not None:
            delays += p.delays
    elif isinstance(c, Sparse):
        for row in range(c.out_size):
            for k in range(c.indptr[row], c.indptr[row + 1]):
                weights[row, c.indices[k]] = c.weights[k]
                delays[row, c.indices[k]] = 0 if p.delays is None else p.delays[k]
    else:
        (_, high, wide), (channels, rows, columns) = c.in_shape, c.out_shape
        per_in, per_out = c.in_shape[0] // c.groups, channels // c.groups
        for o, y, x, i, a, b in np.ndindex(channels, rows, columns, *c.weights.shape[1:]):
            row, column = y * c.stride[0] - c.padding[0] + a * c.dilation[0], x * c.stride[1] - c.padding[1] + b * c.dilation[1]
            if 0 <= row < high and 0 <= column < wide:
                source = ((o // per_out * per_in + i) * high + row) * wide + column
                weights[(o * rows + y) * columns + x, source] += c.weights[o, i, a, b]
    return weights, delays + p.delay + 1


def magnitude(value):
    """Of a 32-bit integer, where -2^31 is its own."""
    return wrap(abs(value), 32)


class Neuron:
    """One neuron of any model: parameters and state are Python integers."""

    def __init__(self, kernel, params, initial):
        self.model = kernel.removeprefix("loihi2.")
        self.p = params
        self.s = dict.fromkeys(("u", "v", "residue", "error", "theta", "rho"), 0) | initial
        if self.model == "atrlif":
            self.s["theta"] = params["theta_0"] << 6

    def step(self, a, c):
        """Take the inputs of chip step c (one per receptor), return the payload."""
        return getattr(self, self.model)(*(wrap(x, 32) for x in a), c)

    def membrane(self, a, du, dv):
        p, s = self.p, self.s
        s["u"] = current_wrap(wrap(toward_zero(s["u"] * (4095 - du)) + wrap(a << 6, 32), 32))
        bias = p["bias_mant"] << p["bias_exp"] if p["bias_exp"] >= 0 else p["bias_mant"] >> -p["bias_exp"]
        s["v"] = clip(wrap(toward_zero(s["v"] * (4096 - dv)) + s["u"] + bias, 32))

    def lif(self, a, _):
        self.membrane(a, self.p["du"], self.p["dv"])
        spike = int(self.s["v"] > self.p["vth"] << 6) - int("vth_lo" in self.p and self.s["v"] < self.p["vth_lo"] << 6)
        if spike:
            self.s["v"] = 0
        return spike

    ternary_lif = lif

    def lif_reset(self, a, c):
        if (c + 1) % self.p["reset_interval"] == self.p["reset_offset"] % self.p["reset_interval"]:
            self.s["u"] = self.s["v"] = 0
        return self.lif(a, c)

    def atrlif(self, a, _):
        p, s = self.p, self.s
        self.membrane(a, p["delta_i"], p["delta_v"])
        rest = p["theta_0"] << 6
        s["theta"] = toward_zero((s["theta"] - rest) * (4096 - p["delta_theta"])) + rest
        s["rho"] = toward_zero(s["rho"] * (4096 - p["delta_r"]))
        if s["v"] - s["rho"] < s["theta"]:
            return 0
        s["rho"] = wrap(s["rho"] + 2 * s["theta"], 32)
        s["theta"] = wrap(s["theta"] + (p["theta_step"] << 6), 32)
        return 1

    def turned(self, re, im):
        p, s = self.p, self.s
        u, v, n = s["u"], s["v"], p["decay_bits"]
        return (
            clip(toward_zero(p["cos"] * u, n) - toward_zero(p["sin"] * v, n) + wrap(re << p["state_exp"], 32)),
            clip(toward_zero(p["sin"] * u, n) + toward_zero(p["cos"] * v, n) + wrap(im << p["state_exp"], 32)),
        )

    def rf(self, re, im, _):
        before = self.s["v"]
        self.s["u"], self.s["v"] = self.turned(re, im)
        return int(self.s["u"] >= self.p["vth"] and self.s["v"] >= 0 and before < 0)

    def rf_iz(self, re, im, _):
        self.s["u"], self.s["v"] = self.turned(re, im)
        spike = int(self.s["v"] >= self.p["vth"])
        if spike:
            self.s["u"], self.s["v"] = 0, self.p["vth"] - 1
        return spike

    def encode(self, x):
        p, s = self.p, self.s
        d = wrap(x - s["v"] + s["residue"], 32)
        measure = d
        if p["cum_error"]:
            measure = s["error"] = wrap(s["error"] + d, 32)
        sent = d if magnitude(measure) >= p["vth"] else 0
        if p["cum_error"] and magnitude(sent) > 0:
            s["error"] = 0
        s["residue"], s["v"] = wrap(d - sent, 32), x
        return sent >> p["state_exp"]

    def delta(self, a, _):
        return self.encode(wrap(a << self.p["spike_exp"] + self.p["state_exp"], 32))

    def sigma_delta(self, a, _):
        self.s["u"] = wrap(self.s["u"] + a, 32)
        x = wrap(self.s["u"] + self.p["bias"], 32)
        return self.encode(max(x, 0) if self.p["rectify"] else x)

    def sigma(self, a, _):
        self.s["v"] = wrap(self.s["v"] + a, 32)
        return self.s["v"]

    def relay(self, a, _):
        total, self.s["v"] = wrap(self.s["v"] + a, 32), 0
        return total if magnitude(total) > 0 else 0


@dataclass
class Reference:
    """What the equations give: spikes (samples, steps, neurons) by population, states by `population.variable`, widths exceeded."""

    spikes: dict[str, np.ndarray]
    states: dict[str, np.ndarray]
    wrapped: set[int]


def reference(network: QuantizedNetwork, inputs: dict[str, np.ndarray], steps: int) -> Reference:
    """Run one sample, one step and one neuron after the other. Inputs are (samples, time, ...) by port."""
    expanded = {}
    for p in network.projections:
        weights, delays = matrices(p)
        expanded[p.name] = [(int(d), np.where(delays == d, weights, 0)) for d in np.unique(delays)]
    samples, wrapped = len(next(iter(inputs.values()))), set()
    out = {p.name: np.zeros((samples, steps, p.size), np.int64) for p in network.populations}
    states = {
        f"{p.name}.{v}": np.zeros((samples, steps, p.size), np.int64)
        for p in network.populations if p.kernel is not None for v in TRACED[p.kernel]
    }
    for name, values in inputs.items():
        out[name][:, : min(steps, values.shape[1])] = values.reshape(*values.shape[:2], -1)[:, :steps]
    for sample in range(samples):
        cells = {
            p.name: [
                Neuron(p.kernel, {k: int(v[n]) for k, v in p.params.items()}, {k: int(v[n]) for k, v in p.initial.items()})
                for n in range(p.size)
            ]
            for p in network.populations if p.kernel is not None
        }
        for step in range(steps):
            for p in network.populations:
                if p.kernel is None:
                    continue
                a = np.zeros((2 if p.kernel in ("loihi2.rf", "loihi2.rf_iz") else 1, p.size), np.int64)
                for q in network.afferents(p.name):
                    for delay, weights in expanded[q.name]:
                        if step >= delay:
                            a[q.receptor] += summed(q.format, weights, out[q.source][sample, step - delay], wrapped)
                for n, cell in enumerate(cells[p.name]):
                    out[p.name][sample, step, n] = cell.step(a[:, n].tolist(), step)
                    for variable in TRACED[p.kernel]:
                        states[f"{p.name}.{variable}"][sample, step, n] = cell.s[variable]
    return Reference(out, states, wrapped)


def summed(form: SynapseFormat, weights: np.ndarray, sent: np.ndarray, wrapped: set[int]) -> np.ndarray:
    """What one delay's synapses add: sum, wrap, shift, wrap."""
    total = weights @ ((sent != 0).astype(np.int64) if form.message_bits == 0 else sent)
    held = wrap(total, form.accumulator) if form.accumulator else total
    shifted = held << form.exponent if form.exponent >= 0 else held >> -form.exponent
    kept = wrap(shifted, form.accumulator) if form.accumulator else shifted
    if (held != total).any() or (kept != shifted).any():
        wrapped.add(form.accumulator)
    return kept


# ---------------------------------------------------------------- random networks

@dataclass
class Case:
    """A random network with samples: inputs (samples, time, *shape) by port."""

    network: QuantizedNetwork
    inputs: dict[str, np.ndarray]
    steps: int

    @property
    def flat(self) -> np.ndarray:
        """The ports side by side, as the emitted program takes them: 0 and 1 only where none of a port's synapses takes payloads."""
        graded = {p.source for p in self.network.projections if p.format.message_bits}
        parts = [values if name in graded else (values != 0).astype(values.dtype) for name, values in self.inputs.items()]
        return np.concatenate([values.reshape(*values.shape[:2], -1) for values in parts], axis=2)


class _Maker:
    def __init__(self, seed):
        self.rng = np.random.default_rng([5, seed])
        self.populations, self.projections = [], []
        self.peak = {}

    def pick(self, *choices, p=None):
        return choices[self.rng.choice(len(choices), p=p)]

    def weights(self, shape):
        """Return (weights on the chip's grid, bits, sign)."""
        bits, sign = int(self.rng.integers(1, 9)), self.pick("mixed", "excitatory", "inhibitory", p=[0.6, 0.3, 0.1])
        step = 1 << 8 - bits + (sign == "mixed")
        low = -256 if sign == "mixed" else 0
        w = self.rng.integers(low // step, 256 // step, shape) * step
        w[self.rng.random(shape) < 0.2] = 0
        return (-w if sign == "inhibitory" else w).astype(np.int32), bits, sign

    def connect(self, source, target, conv=None, receptor=0):
        """Connect two populations; `conv` is the geometry of a convolution (kernel shape, keywords) that fits."""
        rng, m, n = self.rng, source.size, target.size
        delay = int(self.pick(0, rng.integers(1, 6), rng.integers(6, 40), p=[0.6, 0.3, 0.1]))
        delays = None
        if conv is not None:
            weights, bits, sign = self.weights(conv[0])
            connectivity, delay = Conv2d(weights, source.shape, **conv[1]), 0
        else:
            weights, bits, sign = self.weights((n, m))
            if rng.random() < 0.5:
                connectivity = Dense(weights)
            else:
                connectivity = Sparse.from_dense(weights * (rng.random((n, m)) < 0.4))
            if rng.random() < 0.3:
                stored = connectivity.weights.shape
                delays = np.where(rng.random(stored) < 0.1, rng.integers(0, 63, stored), rng.integers(0, 5, stored))
                delay = 0 if delays.max(initial=0) > 40 else delay
        peak = self.peak[source.name]
        graded = peak > 1 or (peak == 1 and rng.random() < 0.2)
        message_bits = (24 if peak > 1 << 16 else int(peak).bit_length() + 1) if graded and rng.random() < 0.9 else 0
        # The accumulator may be named even where it is wide enough; where it is not it has to be.
        largest = float(np.abs(matrices_of(connectivity)).sum(1).max(initial=0)) * (peak if message_bits else 1)
        exponent = int(rng.integers(-8, 8))
        accumulator = 0
        upward = max(exponent, 0) if rng.random() < 0.5 else 0
        if conv is not None and largest * 2.0**upward < 1 << 31 and rng.random() < 0.7:
            # What Lava's own convolution computes, whose sums beyond 32 bits are not defined; the others are lists of synapses.
            exponent = upward
            if largest * 2.0**exponent >= HALF or rng.random() < 0.3:
                accumulator = 24
        elif largest * 2.0 ** max(exponent, 0) >= (1 << 31 if conv is None else HALF) or rng.random() < 0.3:
            accumulator = 32
        number = sum(q.source == source.name and q.target == target.name for q in self.projections)
        self.projections.append(projection(
            source.name, target.name, connectivity, delay, delays, receptor, number, bits=bits, exponent=exponent, sign=sign,
            message_bits=message_bits, accumulator=accumulator,
        ))

    def drive(self, name):
        """Return roughly what a neuron receives in a step, in weight units."""
        total = 1.0
        for q in self.projections:
            if q.target == name:
                per_step = np.abs(matrices_of(q.connectivity)).sum(1).mean() * 2.0**q.format.exponent * 0.25
                total += min(per_step * (self.peak[q.source] * 0.5 if q.format.message_bits else 1), 2.0**24)
        return total

    def neurons(self, name, shape, kernel, drive):
        rng, n = self.rng, int(np.prod(shape))

        def each(low, high):
            """One value for all, or one per neuron."""
            return rng.integers(low, high, n) if rng.random() < 0.5 else rng.integers(low, high)

        def level(low, high, most):
            return np.clip(np.asarray(drive * rng.uniform(low, high, n if rng.random() < 0.5 else ())), 1, most).astype(np.int64)

        initial = {}
        if kernel in ("loihi2.lif", "loihi2.lif_reset", "loihi2.ternary_lif"):
            du = self.pick(each(0, 4096), 4095, -1, p=[0.8, 0.1, 0.1])
            params = {
                "du": du, "dv": self.pick(each(0, 4096), 4096, 0, p=[0.8, 0.1, 0.1]), "vth": level(0.2, 3, 131071),
                "bias_mant": each(-300, 500), "bias_exp": each(0, 8),
            }
            if kernel == "loihi2.ternary_lif":
                params["vth_lo"] = -level(0.2, 3, 131072)
            if kernel == "loihi2.lif_reset":
                params |= {"reset_interval": int(rng.integers(2, 12)), "reset_offset": int(rng.integers(0, 20))}
            if rng.random() < 0.5:
                initial = {"u": rng.integers(-9000, 9000, n), "v": rng.integers(-90000, 90000, n)}
        elif kernel == "loihi2.atrlif":
            params = {
                "delta_i": each(0, 4096), "delta_v": each(0, 4096), "delta_theta": each(0, 4096), "delta_r": each(0, 4096),
                "theta_0": level(0.1, 1, 4095), "theta_step": each(0, 500), "bias_mant": each(-300, 500), "bias_exp": each(0, 8),
            }
            if rng.random() < 0.5:
                initial = {"u": rng.integers(-9000, 9000, n), "v": rng.integers(-90000, 90000, n), "rho": rng.integers(0, 9000, n)}
        elif kernel in ("loihi2.rf", "loihi2.rf_iz"):
            state_exp, decay_bits = int(rng.integers(0, 8)), int(rng.integers(4, 13))
            angle, length = rng.uniform(-np.pi, np.pi, n), rng.uniform(0.7, 1, n)
            params = {
                "cos": np.trunc(length * np.cos(angle) * 2**decay_bits), "sin": np.trunc(length * np.sin(angle) * 2**decay_bits),
                "vth": level(0.2, 1.5, (HALF >> 7) - 1) << state_exp, "state_exp": state_exp, "decay_bits": decay_bits,
            }
            if rng.random() < 0.3:
                params |= {"cos": params["cos"][0], "sin": params["sin"][0]}
            if rng.random() < 0.5:
                initial = {"u": rng.integers(-9000, 9000, n), "v": rng.integers(-90000, 90000, n)}
        elif kernel in ("loihi2.delta", "loihi2.sigma_delta"):
            spike_exp, state_exp = int(rng.integers(0, 7)), int(rng.integers(0, 7))
            scale = spike_exp + state_exp if kernel == "loihi2.delta" else 0
            params = {
                "vth": level(0, 1.5, (HALF >> 12) - 1 if scale else HALF - 1) << scale, "spike_exp": spike_exp, "state_exp": state_exp,
                "cum_error": int(rng.random() < 0.4),
            }
            if kernel == "loihi2.sigma_delta":
                params |= {"bias": each(-5000, 9000), "rectify": int(rng.random() < 0.6)}
            if rng.random() < 0.5:
                names = ("v", "residue", "error") if kernel == "loihi2.delta" else ("u", "v", "residue", "error")
                initial = {key: rng.integers(-5000, 5000, n) for key in names}
        else:
            params = {}
            if rng.random() < 0.5:
                initial = {"v": rng.integers(-5000, 5000, n)}
        return population(name, shape, kernel, initial, **{k: np.asarray(v).astype(np.int64) for k, v in params.items()})

    def peak_of(self, kernel, name):
        """Return a bound of the payload's magnitude, for choosing formats."""
        if kernel in ("loihi2.sigma", "loihi2.relay", "loihi2.delta", "loihi2.sigma_delta"):
            return float(1 << 31)
        return 1.0


def matrices_of(connectivity):
    """Return the whole matrix, (targets, sources)."""
    return matrices(projection("", "", connectivity))[0]


def random_network(seed: int) -> Case:
    """Return a network of three to five populations, each of a random model, on one or two ports, and two or three samples."""
    maker = _Maker(seed)
    rng = maker.rng
    # Two of the models by turns, so that a few seeds in a row have them all.
    planned = [KERNELS[seed % len(KERNELS)], KERNELS[(seed + 5) % len(KERNELS)], *rng.choice(KERNELS, rng.integers(1, 4))]
    rng.shuffle(planned)
    time, ports, inputs = int(rng.integers(12, 30)), [], {}
    for k in range(rng.integers(1, 3)):
        shape = (int(rng.integers(1, 3)), int(rng.integers(3, 6)), int(rng.integers(3, 6))) if k == 0 else (int(rng.integers(2, 9)),)
        ports.append(port(f"port{k}", shape))
        peak = maker.pick(1, 7, 127, 1 << 15, HALF - 1, p=[0.4, 0.2, 0.2, 0.1, 0.1])
        values = rng.integers(-peak if peak > 1 or rng.random() < 0.3 else 0, peak + 1, (2, time, *shape))
        inputs[ports[-1].name] = values * (rng.random(values.shape) < 0.4)
        maker.peak[ports[-1].name] = float(peak)
    made = list(ports)
    for k, kernel in enumerate(planned):
        kernel = str(kernel)
        name = f"{kernel.removeprefix('loihi2.')} {k}"
        images = [p for p in made if len(p.shape) == 3]
        source = images[rng.integers(len(images))] if rng.random() < 0.55 else made[rng.integers(len(made))]
        conv = geometry(rng, source.shape) if len(source.shape) == 3 and rng.random() < 0.8 else None
        if kernel == "loihi2.relay" and len(source.shape) == 3:
            # As a delayed convolution makes it: one-to-one, some steps late.
            c = source.shape[0]
            shape, conv = source.shape, None
            ones = Conv2d(np.ones((c, 1, 1, 1), np.int32), shape, groups=c)
            bits = 0 if maker.peak[source.name] <= 1 else 24
            maker.projections.append(projection(
                source.name, name, ones, int(rng.integers(0, 6)), bits=8, sign="excitatory", message_bits=bits,
                accumulator=32 if rng.random() < 0.5 else 0,
            ))
            maker.peak[name] = maker.peak[source.name]
            made.append(maker.neurons(name, shape, kernel, 1.0))
            continue
        shape = Conv2d(np.zeros(conv[0], np.int32), source.shape, **conv[1]).out_shape if conv else (int(rng.integers(2, 8)),)
        receptors = 2 if kernel in ("loihi2.rf", "loihi2.rf_iz") else 1
        placeholder = port(name, shape)
        maker.peak[name] = maker.peak_of(kernel, name)
        maker.connect(source, placeholder, conv, int(rng.integers(receptors)))
        for extra in range(rng.integers(0, 3)):
            other = made[rng.integers(len(made))] if extra or rng.random() < 0.6 else placeholder
            maker.connect(other, placeholder, None, int(rng.integers(receptors)))
        made.append(maker.neurons(name, shape, kernel, maker.drive(name)))
    if rng.random() < 0.3:
        # A loop over two populations, or a second edge between the same.
        maker.connect(made[-1], made[-2] if made[-2].kernel else made[-1])
    neurons = [p for p in made if p.kernel is not None]
    outputs = {made[-1].name} | {neurons[k].name for k in rng.integers(0, len(neurons), 1)}
    network = QuantizedNetwork(
        tuple(made), tuple(maker.projections), tuple(p.name for p in ports), tuple(p.name for p in neurons if p.name in outputs)
    )
    return Case(network, inputs, time + int(rng.integers(0, 50)))


def geometry(rng, shape):
    """Return a convolution that fits a (channels, height, width) source: (kernel shape, keywords)."""
    channels, *size = shape
    groups = channels if rng.random() < 0.3 else 1
    dilation = tuple(int(v) for v in rng.integers(1, 3, 2))
    padding = tuple(int(v) for v in rng.integers(0, 3, 2))
    kernel = tuple(
        int(rng.integers(1, max(1, min(3, (n + 2 * p - 1) // d + 1)) + 1)) for n, p, d in zip(size, padding, dilation, strict=True)
    )
    out = groups * int(rng.integers(1, 3))
    return (out, channels // groups, *kernel), {
        "stride": tuple(int(v) for v in rng.integers(1, 3, 2)), "padding": padding, "dilation": dilation, "groups": groups,
    }
