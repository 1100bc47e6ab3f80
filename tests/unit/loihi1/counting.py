"""Core demands counted the slow way: synapse by synapse, on small networks."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.mapping import Mapping, Shard
from nmap.network import Provenance
from nmap.program import Core
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.machine import Machine

W = Provenance("net.h5", "/")
PARAMS = {"du": 0, "dv": 0, "vth": 1, "bias_mant": 0, "bias_exp": 0}
PARAMS_OF_ONE = {name: np.array(value) for name, value in PARAMS.items()}


def network(shape, *afferents, kernel="loihi2.lif", params=None):
    """One population fed by every given (connection, bits, delay, delays or None), each from an input of its own size."""
    inputs = [QuantizedPopulation(f"in{k}", (c.in_size,), None, {}, W) for k, (c, *_) in enumerate(afferents)]
    projections = tuple(
        QuantizedProjection(f"p{k}", f"in{k}", "a", c, SynapseFormat(bits), delay, W, delays)
        for k, (c, bits, delay, delays) in enumerate(afferents)
    )
    values = {name: np.asarray(value) for name, value in {**PARAMS, **(params or {})}.items()}
    populations = (*inputs, QuantizedPopulation("a", shape, kernel, values, W))
    return QuantizedNetwork(populations, projections, tuple(p.name for p in inputs), ("a",))


def synapses_by_source(connection, neurons):
    """Return how many of the neurons every source reaches, zeros included, taps on the padding not."""
    if isinstance(connection, Dense):
        return dict.fromkeys(range(connection.in_size), len(neurons))
    listed = connection
    if isinstance(connection, Conv2d):
        listed = connection.with_weights(np.ones_like(connection.weights)).unrolled()
    count = Counter()
    for neuron in neurons:
        count.update(listed.indices[listed.indptr[neuron] : listed.indptr[neuron + 1]].tolist())
    return dict(count)


def words_in_runs(synapses, width, run):
    """64-bit words of one list: runs of at most `run` synapses behind 10 bits each."""
    words = 0
    while synapses:
        first = min(synapses, run)
        words += -(-(first * width + 10) // 64)
        synapses -= first
    return words


def halo(conv, box):
    """Return the number of sources from the first to the last tap of an output box along each axis, those on the padding left out."""
    per_out, per_in = conv.weights.shape[0] // conv.groups, conv.weights.shape[1]
    sources = len({channel // per_out for channel in range(*box[0])}) * per_in
    for axis in (0, 1):
        low, high = box[axis + 1]
        first = low * conv.stride[axis] - conv.padding[axis]
        last = (high - 1) * conv.stride[axis] - conv.padding[axis] + (conv.kernel_size[axis] - 1) * conv.dilation[axis]
        sources *= sum(0 <= place < conv.in_shape[axis + 1] for place in range(first, last + 1))
    return sources


@st.composite
def convolutions(draw, shape):
    """A convolution into a population of the shape: 1x1 one to one, or any kernel not smaller than its stride."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    channels, height, width = shape
    if draw(st.booleans()):
        return Conv2d(np.ones((channels, 1, 1, 1), np.int32), shape, groups=channels), True
    groups = draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
    kernel, stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3))), (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    dilation = draw(st.integers(1, 2))
    stride = tuple(1 if dilation > 1 else min(s, k) for s, k in zip(stride, kernel, strict=True))
    padding = tuple(draw(st.integers(0, min(1, dilation * (k - 1)))) for k in kernel)
    inside = [
        (size - 1) * s - 2 * p + dilation * (k - 1) + 1
        for size, s, p, k in zip((height, width), stride, padding, kernel, strict=True)
    ]
    if min(inside) < 1:
        return Conv2d(np.ones((channels, 1, 1, 1), np.int32), shape, groups=channels), True
    per_in = draw(st.integers(1, 2))
    weights = rng.integers(-3, 3, (channels, per_in, *kernel)).astype(np.int32)
    return Conv2d(weights, (groups * per_in, *inside), stride, padding, (dilation, dilation), groups), False


@st.composite
def cuts(draw, shape):
    """A complete cut of a shape into boxes."""
    boxes = [()]
    for size in shape:
        axis = sorted({0, size, *draw(st.lists(st.integers(1, size), max_size=2))})
        boxes = [(*box, (a, b)) for box in boxes for a, b in pairwise(axis)]
    return boxes


def mapped(target, variant, slices, demands):
    """A mapping of one shard of population `a` per core."""
    shards = tuple(Shard("a", part, k, need) for k, (part, need) in enumerate(zip(slices, demands, strict=True)))
    cores = tuple(Core(0, 0, 0, k) for k in range(len(slices)))
    return Mapping(Machine(target.spec, variant, 1, ()), shards, cores, None, None, False)


@st.composite
def flat_networks(draw, kernel):
    """Dense and sparse afferents with and without delays, and parameters that differ between neurons."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, bits = draw(st.integers(1, 90)), draw(st.integers(1, 8))
    dense = Dense(rng.integers(-9, 9, (n, draw(st.integers(1, 12)))).astype(np.int32))
    listed = Sparse.from_dense((rng.random((n, 30)) < draw(st.sampled_from([0, 0.02, 0.4, 1]))).astype(np.int32))
    delays = rng.integers(0, 9, listed.weights.shape) if draw(st.booleans()) else None
    levels = draw(st.sampled_from([1, 2, 9, 40]))
    params = {"vth": rng.integers(1, 1 + levels, n), "du": rng.integers(0, levels, n), "dv": rng.integers(0, 2, n)}
    return network((n,), (dense, bits, draw(st.sampled_from([0, 0, 5])), None), (listed, 5, 0, delays), kernel=kernel, params=params)
