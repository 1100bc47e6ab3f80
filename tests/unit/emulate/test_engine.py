"""The emulator against the plain reference on random integer networks, mapped by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nmap.compile import build_program
from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.emulate.engine import emulate
from nmap.mapping import Mapping, Shard
from nmap.network import Provenance
from nmap.program import Core, read_program, write_program
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.simulate.fixed import simulate
from nmap.target.machine import Machine
from nmap.trace import Probe
from nmap_loihi2.kernels import KERNELS

HERE = Provenance("net.h5", "/")


def population(rng, name, shape, *, kernel="loihi2.lif", **override):
    params = {
        "du": rng.integers(-1, 4096, shape).ravel(), "dv": rng.integers(0, 4097, shape).ravel(),
        "vth": rng.integers(1, 400, shape).ravel(), "bias_mant": rng.integers(-50, 50, shape).ravel(), "bias_exp": np.array(3),
    }
    if kernel == "loihi2.ternary_lif":
        params["vth_lo"] = -rng.integers(1, 400, shape).ravel()
    params.update(override)
    return QuantizedPopulation(name, shape, kernel, params, HERE, {"v": rng.integers(-99, 99, int(np.prod(shape)))})


def projection(rng, source, target, connectivity, *, exponent=0, message_bits=0, delay=0, delays=None):
    form = SynapseFormat(8, exponent, "mixed", message_bits)
    return QuantizedProjection(f"{source}-{target}", source, target, connectivity, form, delay, HERE, delays)


def weights(rng, *shape):
    return rng.integers(-128, 128, shape).astype(np.int32) * 2


def network(rng):
    """A convolution (strided, padded, grouped), a sparse recurrent population with delays, a ternary one, and a skip."""
    conv = Conv2d(weights(rng, 6, 1, 3, 2), (2, 7, 6), (2, 1), (1, 1), (1, 2), groups=2)
    n_conv = conv.out_size
    mask = rng.random((20, 20)) < 0.3
    dense = weights(rng, 20, n_conv)
    populations = (
        QuantizedPopulation("in", (2, 7, 6), None, {}, HERE),
        population(rng, "conv", conv.out_shape),
        population(rng, "rec", (20,), kernel="loihi2.ternary_lif"),
        population(rng, "out", (9,)),
    )
    projections = (
        projection(rng, "in", "conv", conv, message_bits=8),
        projection(rng, "conv", "rec", Dense(dense), exponent=-2),
        projection(rng, "rec", "rec", Sparse.from_dense(weights(rng, 20, 20) * mask), exponent=-3, message_bits=2, delay=1),
        projection(rng, "rec", "out", Dense(weights(rng, 9, 20)), message_bits=2, delays=rng.integers(0, 5, (9, 20)), exponent=-1),
        projection(rng, "in", "out", Sparse.from_dense(weights(rng, 9, 84) * (rng.random((9, 84)) < 0.2)), exponent=1),
    )
    return QuantizedNetwork(populations, projections, ("in",), ("out",))


def by_hand(net, machine=None):
    """Three cores; populations cut so that pieces of different ones share a core."""
    c, h, w = net["conv"].shape
    boxes = [
        ("conv", ((0, c), (0, 1), (0, w)), 0), ("conv", ((0, 4), (1, h), (0, 3)), 1), ("conv", ((0, 4), (1, h), (3, w)), 2),
        ("conv", ((4, c), (1, h), (0, w)), 2), ("rec", ((0, 7),), 0), ("rec", ((7, 20),), 1), ("out", ((0, 9),), 1),
    ]
    shards = tuple(Shard(name, box, cluster, {}) for name, box, cluster in boxes)
    spec = type("Spec", (), {"name": "x", "resources": {}})()
    return Mapping(Machine(spec, "x", 1, ()), shards, (Core(0, 0, 0, 0), Core(0, 1, 0, 1), Core(0, 0, 1, 2)), None, None, False)


@pytest.mark.parametrize("seed", range(6))
def test_mapped_program_equals_reference(seed, tmp_path):
    rng = np.random.default_rng(seed)
    net = network(rng)
    program = build_program(net, "loihi2", by_hand(net))
    inputs = (rng.random((3, 12, 84)) < 0.2) * rng.integers(-9, 10, (3, 12, 84))
    probes = [Probe(p, v) for p in ("conv", "rec", "out") for v in ("u", "v", "spikes")]
    fixed = simulate(net, KERNELS, inputs, 20, probes=probes)
    write_program(program, tmp_path / "program.h5")
    chip = emulate(read_program(tmp_path / "program.h5"), KERNELS, inputs, 20, probes=probes)
    assert fixed.counts["rec"] > 0
    assert fixed.counts == chip.counts
    for name in ("conv", "rec", "out"):
        np.testing.assert_array_equal(fixed.spikes[name], chip.spikes[name])
        for variable in ("u", "v"):
            np.testing.assert_array_equal(fixed.state[f"{name}.{variable}"], chip.state[f"{name}.{variable}"])


def test_samples_do_not_disturb_each_other():
    rng = np.random.default_rng(7)
    net = network(rng)
    program = build_program(net, "loihi2", by_hand(net))
    inputs = (rng.random((4, 10, 84)) < 0.3).astype(np.int32)
    together = emulate(program, KERNELS, inputs, 12)
    for k in range(4):
        alone = emulate(program, KERNELS, inputs[k : k + 1], 12)
        np.testing.assert_array_equal(alone.spikes["out"][0], together.spikes["out"][k])


def test_same_program_same_bytes(tmp_path):
    net = network(np.random.default_rng(3))
    program = build_program(net, "loihi2", by_hand(net))
    write_program(program, tmp_path / "a.h5")
    write_program(read_program(tmp_path / "a.h5"), tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
