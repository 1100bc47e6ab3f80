from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.network import Network
from nmap.readers import read
from tests.unit.readers.builders import (
    affine,
    chain,
    conv,
    flatten,
    if_,
    lif,
    linear,
    pool,
    port,
    refused,
    sink,
    write_nir,
)

_RNG = np.random.default_rng(1)


def _weights(*shape: int) -> np.ndarray:
    return _RNG.normal(size=shape).astype(np.float32)


def _correlate(
    x: np.ndarray, w: np.ndarray, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int], groups: int
) -> np.ndarray:
    """Cross-correlation written from its definition."""
    x = np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2))
    c_out, per_in, kh, kw = w.shape
    h = (x.shape[1] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    v = (x.shape[2] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    out = np.zeros((c_out, h, v))
    for o in range(c_out):
        first = o // (c_out // groups) * per_in
        for i in range(h):
            for j in range(v):
                for c in range(per_in):
                    for a in range(kh):
                        for b in range(kw):
                            out[o, i, j] += w[o, c, a, b] * x[first + c, i * stride[0] + a * dilation[0], j * stride[1] + b * dilation[1]]
    return out


def _only(network: Network) -> Any:
    (projection,) = network.projections
    return projection


def test_a_small_network_in_full(tmp_path: Path) -> None:
    weight, bias = _weights(3, 2), _weights(3)
    path = write_nir(
        tmp_path / "net.nir",
        {"in": port(2), "fc": affine(weight, bias), "lif": lif(3, tau=1e-3, r=10.0, th=0.5), "out": sink(3)},
        chain("in", "fc", "lif", "out"),
    )
    network = read(path)
    assert [p.name for p in network.populations] == ["in", "lif"]
    assert (network.inputs, network.outputs, network.format) == (("in",), ("lif",), "nir")
    assert network["in"].neuron is None
    neuron = network["lif"].neuron
    assert neuron is not None
    for name, value in {"alpha": 0.0, "gain_in": 1.0, "gain_v": 1.0, "beta": 0.9, "drive": 0.0, "threshold": 0.5, "v_reset": 0.0}.items():
        np.testing.assert_allclose(getattr(neuron, name), np.full(3, value), atol=1e-12)
    projection = _only(network)
    assert (projection.name, projection.source, projection.target, projection.delay) == ("fc", "in", "lif", 0)
    np.testing.assert_array_equal(projection.connectivity.weights, weight)
    np.testing.assert_array_equal(projection.bias, bias)
    assert str(projection.where) == f"{path}:/node/nodes/fc"
    assert len(network.sha256) == 64


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (
            {"type": "LIF", "tau": 2e-3, "r": 5.0, "v_leak": 0.4, "v_threshold": 1.0, "v_reset": 0.1},
            {"alpha": 0, "gain_in": 1, "gain_v": 0.25, "beta": 0.95, "drive": 0.02, "threshold": 1, "v_reset": 0.1},
        ),
        ({"type": "LI", "tau": 2e-3, "r": 5.0, "v_leak": 0.4}, {"alpha": 0, "gain_v": 0.25, "beta": 0.95, "drive": 0.02}),
        ({"type": "I", "r": 5.0}, {"alpha": 0, "gain_v": 5e-4, "beta": 1, "drive": 0}),
        ({"type": "IF", "r": 5.0, "v_threshold": 2.0}, {"alpha": 0, "gain_v": 5e-4, "beta": 1, "drive": 0, "threshold": 2, "v_reset": 0}),
        (
            {"type": "CubaLIF", "tau_syn": 4e-4, "tau_mem": 2e-3, "r": 5.0, "v_leak": 0.4, "v_threshold": 1.0, "w_in": 3.0},
            {"alpha": 0.75, "gain_in": 0.75, "gain_v": 0.25, "beta": 0.95, "drive": 0.02, "threshold": 1},
        ),
        ({"type": "CubaLI", "tau_syn": 4e-4, "tau_mem": 2e-3, "r": 5.0, "v_leak": 0.0}, {"alpha": 0.75, "gain_in": 0.25, "gain_v": 0.25}),
        ({"type": "Threshold", "threshold": 0.7}, {"alpha": 0, "gain_in": 1, "gain_v": 1, "beta": 0, "drive": 0, "threshold": 0.7}),
    ],
)
def test_the_difference_equation_of_each_neuron(tmp_path: Path, node: dict[str, Any], expected: dict[str, float]) -> None:
    """Scalar (0-d) parameters throughout, so that each is broadcast to the layer too."""
    path = write_nir(tmp_path / "net.nir", {"in": port(4), "n": node, "out": sink(4)}, chain("in", "n", "out"))
    neuron = read(path, dt=1e-4)["n"].neuron
    assert neuron is not None
    assert neuron.model == node["type"]
    assert neuron.spiking == (node["type"] not in ("LI", "I", "CubaLI"))
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(neuron, name), np.full(4, float(value)), rtol=1e-6, atol=1e-12, err_msg=name)


def test_exact_decay(tmp_path: Path) -> None:
    node = {"type": "LIF", "tau": 1e-3, "r": 2.0, "v_leak": 0.5, "v_threshold": 1.0}
    path = write_nir(
        tmp_path / "net.nir", {"in": port(1), "n": node, "out": sink(1)}, chain("in", "n", "out"), {"nmap": {"decay": "exact"}}
    )
    neuron = read(path, dt=1e-3)["n"].neuron
    assert neuron is not None
    np.testing.assert_allclose(neuron.beta, [0.36787944117144233])
    np.testing.assert_allclose(neuron.gain_v, [2.0])
    np.testing.assert_allclose(neuron.drive, [0.5 * (1 - 0.36787944117144233)])


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups", "kernel", "pad"),
    [
        (1, 0, 1, 1, (3, 3), (0, 0)),
        (2, 1, 1, 1, (5, 5), (1, 1)),
        ([2, 1], [0, 2], [1, 2], 1, (3, 2), (0, 2)),
        (1, 1, 1, 2, (3, 3), (1, 1)),
        (1, "valid", 1, 4, (2, 3), (0, 0)),
        (1, "same", 1, 1, (3, 5), (1, 2)),
    ],
)
def test_convolutions(
    tmp_path: Path, stride: Any, padding: Any, dilation: Any, groups: int, kernel: tuple[int, int], pad: tuple[int, int]
) -> None:
    weight, bias = _weights(4, 4 // groups, *kernel), _weights(4)
    pair = [tuple(np.broadcast_to(v, 2).tolist()) for v in (stride, dilation)]
    image = _RNG.normal(size=(4, 9, 7))
    expected = _correlate(image, weight, pair[0], pad, pair[1], groups)
    path = write_nir(
        tmp_path / "net.nir",
        {
            "in": port(4, 9, 7),
            "c": conv(weight, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias, input_shape=np.array([9, 7])),
            "n": if_(expected.shape),
            "out": sink(*expected.shape),
        },
        chain("in", "c", "n", "out"),
    )
    network = read(path)
    projection = _only(network)
    assert isinstance(projection.connectivity, Conv2d)
    assert network["n"].shape == expected.shape
    np.testing.assert_allclose(projection.connectivity.apply(image.ravel()), expected.ravel(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(projection.bias, np.repeat(bias, expected[0].size))


@pytest.mark.parametrize(("kind", "factor"), [("Sum", 1.0), ("Avg", 1 / 4)])
def test_a_pool_between_neurons_is_a_depthwise_convolution(tmp_path: Path, kind: str, factor: float) -> None:
    nodes = {"in": port(2, 4, 6), "p": pool(kind, 2, 2), "n": if_((2, 2, 3)), "out": sink(2, 2, 3)}
    connectivity = _only(read(write_nir(tmp_path / "net.nir", nodes, chain("in", "p", "n", "out")))).connectivity
    assert isinstance(connectivity, Conv2d)
    assert (connectivity.groups, connectivity.stride, connectivity.weights.shape) == (2, (2, 2), (2, 1, 2, 2))
    np.testing.assert_array_equal(connectivity.weights, np.full((2, 1, 2, 2), factor))


def test_a_padded_pool_counts_the_padding(tmp_path: Path) -> None:
    nodes = {"in": port(1, 4, 4), "p": pool("Avg", 3, 2, 1), "n": if_((1, 2, 2)), "out": sink(1, 2, 2)}
    connectivity = _only(read(write_nir(tmp_path / "net.nir", nodes, chain("in", "p", "n", "out")))).connectivity
    np.testing.assert_allclose(connectivity.apply(np.ones(16)), [4 / 9, 6 / 9, 6 / 9, 1.0])


def test_a_chain_of_linear_nodes_is_one_projection_and_biases_pass_through_it(tmp_path: Path) -> None:
    w1, b1, s, w2, b2 = _weights(3, 2), _weights(3), _weights(3), _weights(4, 3), _weights(4)
    nodes = {"in": port(2), "a": affine(w1, b1), "s": {"type": "Scale", "scale": s}, "b": affine(w2, b2), "n": if_(4), "out": sink(4)}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain("in", "a", "s", "b", "n", "out")))
    projection = _only(network)
    x = _RNG.normal(size=2)
    np.testing.assert_allclose(projection.connectivity.apply(x) + projection.bias, w2 @ (s * (w1 @ x + b1)) + b2, rtol=1e-5)
    assert projection.name == "a+s+b"
    assert any("merged into one projection" in note for note in network.notes)


def test_the_bias_of_a_padded_chain_is_exact_at_the_border(tmp_path: Path) -> None:
    first, bias, second = _weights(2, 1, 3, 3), _weights(2), _weights(3, 2, 3, 3)
    nodes = {
        "in": port(1, 6, 6),
        "a": conv(first, padding=1, bias=bias),
        "b": conv(second, padding=1),
        "n": if_((3, 6, 6)),
        "out": sink(3, 6, 6),
    }
    projection = _only(read(write_nir(tmp_path / "net.nir", nodes, chain("in", "a", "b", "n", "out"))))
    image = _RNG.normal(size=(1, 6, 6))
    middle = _correlate(image, first, (1, 1), (1, 1), (1, 1), 1) + bias[:, None, None]
    expected = _correlate(middle, second, (1, 1), (1, 1), (1, 1), 1)
    np.testing.assert_allclose(projection.connectivity.apply(image.ravel()) + projection.bias, expected.ravel(), rtol=1e-4, atol=1e-5)


def test_pool_flatten_and_matrix_in_c_order(tmp_path: Path) -> None:
    weight = _weights(5, 12)
    nodes = {"in": port(2, 4, 6), "p": pool("Sum", [2, 2], [2, 2]), "f": flatten(), "w": linear(weight), "n": if_(5), "out": sink(5)}
    projection = _only(read(write_nir(tmp_path / "net.nir", nodes, chain("in", "p", "f", "w", "n", "out"))))
    assert isinstance(projection.connectivity, Dense)
    image = _RNG.normal(size=(2, 4, 6))
    pooled = image.reshape(2, 2, 2, 3, 2).sum((2, 4))
    np.testing.assert_allclose(projection.connectivity.apply(image.ravel()), weight @ pooled.ravel(), rtol=1e-5, atol=1e-5)


def test_edges_without_weights_connect_namesakes(tmp_path: Path) -> None:
    nodes = {"in": port(3), "a": if_(3), "b": if_(3), "out": sink(3)}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain("in", "a", "b", "out")))
    assert [(p.source, p.target) for p in network.projections] == [("in", "a"), ("a", "b")]
    for p in network.projections:
        assert isinstance(p.connectivity, Sparse)
        np.testing.assert_array_equal(p.connectivity.apply(np.array([1.0, 2.0, 3.0])), [1, 2, 3])


def test_several_edges_into_a_node_sum_and_its_bias_acts_once(tmp_path: Path) -> None:
    w, b = _weights(2, 2), _weights(2)
    nodes = {"in": port(2), "a": if_(2), "b": if_(2), "w": affine(w, b), "n": if_(2), "out": sink(2)}
    edges = [("in", "a"), ("in", "b"), ("a", "w"), ("b", "w"), ("w", "n"), ("a", "n"), ("n", "out")]
    network = read(write_nir(tmp_path / "net.nir", nodes, edges))
    into = [p for p in network.projections if p.target == "n"]
    assert sorted((p.source, p.connectivity.kind) for p in into) == [("a", "dense"), ("a", "sparse"), ("b", "dense")]
    np.testing.assert_array_equal(sum(p.bias for p in into if p.bias is not None), b)


def test_recurrent_edges_take_the_previous_step(tmp_path: Path) -> None:
    w = _weights(2, 2)
    nodes = {"in": port(2), "z": if_(2), "rec": linear(w), "a": if_(2), "back": linear(w), "out": sink(2)}
    edges = [("in", "z"), ("z", "rec"), ("rec", "z"), ("z", "a"), ("a", "back"), ("back", "z"), ("a", "out")]
    network = read(write_nir(tmp_path / "net.nir", nodes, edges))
    assert {p.name: p.delay for p in network.projections} == {"in->z": 0, "rec": 1, "z->a": 0, "back": 1}
    assert [p.name for p in network.populations] == ["in", "z", "a"]
    assert any(a.name == "timing" for a in network.assumptions)


def test_nested_graphs(tmp_path: Path) -> None:
    w, rec = _weights(3, 2), _weights(3, 3)
    cell = {
        "type": "NIRGraph",
        "nodes": {"input": port(7), "lif": lif(3), "w_rec": linear(rec), "output": sink(3)},
        "edges": [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
    }
    nodes = {"in": port(2), "fc": linear(w), "cell": cell, "out": sink(3)}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain("in", "fc", "cell", "out")))
    assert [(p.name, p.source, p.target, p.delay) for p in network.projections] == [
        ("fc", "in", "cell.lif", 0),
        ("cell.w_rec", "cell.lif", "cell.lif", 1),
    ]
    assert str(network["cell.lif"].where).endswith(":/node/nodes/cell/nodes/lif")


def test_edges_to_the_ports_of_nested_and_flattened_graphs(tmp_path: Path) -> None:
    cell = {"type": "NIRGraph", "nodes": {"input": port(2), "n": if_(2), "output": sink(2)}, "edges": chain("input", "n", "output")}
    path = write_nir(tmp_path / "a.nir", {"in": port(2), "c": cell, "out": sink(2)}, [("in", "c.input"), ("c.output", "out")])
    assert read(path).outputs == ("c.n",)
    one = {"type": "Scale", "scale": np.full(2, 2.0)}
    flat = {"in": port(2), "c.input": one, "c.n": if_(2), "c.output": if_(2), "out": sink(2)}
    network = read(write_nir(tmp_path / "b.nir", flat, [("in", "c"), ("c.input", "c.n"), ("c.n", "c.output"), ("c", "out")]))
    assert network.outputs == ("c.output",)
    assert any("flattened" in note for note in network.notes)


def test_a_nested_graph_with_two_inputs_needs_the_ports_name(tmp_path: Path) -> None:
    cell = {
        "type": "NIRGraph",
        "nodes": {"a": port(2), "b": port(2), "n": if_(2), "o": sink(2)},
        "edges": [("a", "n"), ("b", "n"), ("n", "o")],
    }
    nodes = {"in": port(2), "c": cell, "out": sink(2)}
    with refused("NM105") as found:
        read(write_nir(tmp_path / "a.nir", nodes, chain("in", "c", "out")))
    assert "`c.a`, `c.b`" in found[0].message
    network = read(write_nir(tmp_path / "b.nir", nodes, [("in", "c.a"), ("in", "c.b"), ("c", "out")]))
    assert [(p.source, p.target) for p in network.projections] == [("in", "c.n")]


def test_leading_ones_of_ports_are_stripped_with_a_note(tmp_path: Path) -> None:
    nodes = {"in": port(1, 1, 2), "w": linear(_weights(3, 2)), "n": if_(3), "out": sink(1, 1, 3)}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain("in", "w", "n", "out")))
    assert network["in"].shape == (2,)
    assert sum("stripped" in note for note in network.notes) == 2
    image = {"in": port(1, 1, 5, 5), "c": conv(_weights(2, 1, 3, 3)), "n": if_((2, 3, 3)), "out": sink(2, 3, 3)}
    assert read(write_nir(tmp_path / "image.nir", image, chain("in", "c", "n", "out")))["in"].shape == (1, 5, 5)


def test_a_channel_of_one_is_no_batch_dimension(tmp_path: Path) -> None:
    nodes = {"in": port(1, 5, 5), "c": conv(_weights(2, 1, 3, 3)), "n": if_((2, 3, 3)), "out": sink(2, 3, 3)}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain("in", "c", "n", "out")))
    assert network["in"].shape == (1, 5, 5)
    assert not any("stripped" in note for note in network.notes)


def test_parameters_broadcast(tmp_path: Path) -> None:
    per_channel = {"type": "IF", "r": np.ones(1), "v_threshold": np.array([1.0, 2.0]).reshape(2, 1, 1)}
    nodes = {
        "in": port(2, 2, 3),
        "n": per_channel,
        "s": {"type": "Scale", "scale": np.array([3.0, 4.0]).reshape(2, 1, 1)},
        "m": if_(),
        "out": sink(2, 2, 3),
    }
    network = read(write_nir(tmp_path / "net.nir", nodes, chain("in", "n", "s", "m", "out")))
    neuron = network["n"].neuron
    assert neuron is not None
    np.testing.assert_array_equal(neuron.threshold, np.repeat([1.0, 2.0], 6))
    np.testing.assert_array_equal(network.projections[1].connectivity.weights, np.repeat([3.0, 4.0], 6))
    assert network["m"].shape == (2, 2, 3)


def test_shapes_are_inferred_where_ports_do_not_state_them(tmp_path: Path) -> None:
    nodes = {"in": {"type": "Input"}, "w": linear(_weights(3, 2)), "n": if_(), "out": {"type": "Output"}}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain("in", "w", "n", "out")))
    assert (network["in"].shape, network["n"].shape) == ((2,), (3,))


@pytest.mark.parametrize(
    ("nodes", "names", "code", "words"),
    [
        ({"in": port(3), "w": linear(np.ones((2, 2))), "n": if_(2), "out": sink(2)}, "in w n out", "NM106", ("(3,)", "(2,)")),
        ({"in": port(2), "w": linear(np.ones((2, 2))), "n": if_(3), "out": sink(3)}, "in w n out", "NM106", ("`n`",)),
        ({"in": port(2), "n": if_(2), "out": sink(3)}, "in n out", "NM106", ("`out`",)),
        ({"in": port(2), "w": affine(np.ones((2, 2)), np.ones(3)), "n": if_(2), "out": sink(2)}, "in w n out", "NM106", ("bias",)),
        (
            {"in": port(3, 5, 5), "c": conv(np.ones((2, 4, 3, 3))), "n": if_(), "out": sink(2, 3, 3)},
            "in c n out",
            "NM106",
            ("4 channels", "3 arrive"),
        ),
        ({"in": port(1, 5, 5), "c": conv(np.ones((2, 1, 7, 7))), "n": if_(), "out": sink(1)}, "in c n out", "NM106", ("larger",)),
        (
            {"in": port(1, 5, 5), "c": conv(np.ones((2, 1, 3, 3)), input_shape=np.array([6, 6])), "n": if_(), "out": sink(1)},
            "in c n out",
            "NM106",
            ("(6, 6)",),
        ),
        ({"in": port(2, 5, 5), "c": conv(np.ones((3, 1, 3, 3)), groups=2), "n": if_(), "out": sink(1)}, "in c n out", "NM106", ("groups",)),
        (
            {"in": port(1, 5, 5), "c": conv(np.ones((2, 1, 3, 3)), padding="same", stride=2), "n": if_(), "out": sink(1)},
            "in c n out",
            "NM106",
            ("same",),
        ),
        ({"in": port(1, 5, 5), "c": conv(np.ones((2, 1, 3, 3)), stride=0), "n": if_(), "out": sink(1)}, "in c n out", "NM106", ("stride",)),
        (
            {"in": port(1, 5, 5), "c": conv(np.ones((2, 1, 3, 3)), padding="reflect"), "n": if_(), "out": sink(1)},
            "in c n out",
            "NM107",
            ("reflect",),
        ),
        ({"in": port(1, 5, 5), "p": pool("Sum", 7, 7), "n": if_(), "out": sink(1)}, "in p n out", "NM106", ("window",)),
        ({"in": port(8), "p": pool("Sum", 2, 2), "n": if_(), "out": sink(1)}, "in p n out", "NM106", ("channels, height, width",)),
        ({"in": port(2), "n": lif(2) | {"r": np.ones(3)}, "out": sink(2)}, "in n out", "NM106", ("different shapes",)),
        ({"in": port(2), "n": lif(2, tau=0.0), "out": sink(2)}, "in n out", "NM107", ("time constant",)),
        ({"in": port(2), "n": lif(2, r=float("inf")), "out": sink(2)}, "in n out", "NM107", ("`r`", "inf")),
        ({"in": port(2), "w": linear([[1, np.nan], [0, 0]]), "n": if_(2), "out": sink(2)}, "in w n out", "NM107", ("nan",)),
        ({"in": port(2), "w": linear(np.ones((2, 2))), "out": sink(2)}, "in w out", "NM104", ("not by a neuron",)),
        ({"in": port(2), "out": sink(2)}, "in out", "NM104", ("no neuron",)),
        ({"in": port(2), "n": if_(2)}, "in n", "NM108", ("Output",)),
        ({"n": if_(2), "out": sink(2)}, "n out", "NM108", ("Input",)),
        (
            {"in": port(2), "a": {"type": "LI", "tau": 1e-3, "r": 1.0, "v_leak": 0.0}, "n": if_(2), "out": sink(2)},
            "in a n out",
            "NM104",
            ("never fires",),
        ),
    ],
)
def test_refusals(tmp_path: Path, nodes: dict[str, Any], names: str, code: str, words: tuple[str, ...]) -> None:
    with refused(code) as found:
        read(write_nir(tmp_path / "net.nir", nodes, chain(*names.split())))
    assert all(word in found[0].message for word in words), found[0].message
    assert found[0].where is not None


def test_unreachable_parts_and_loops_without_neurons(tmp_path: Path) -> None:
    nodes = {"in": port(2), "n": if_(2), "lost": if_(2), "out": sink(2)}
    with refused("NM108") as found:
        read(write_nir(tmp_path / "a.nir", nodes, [("in", "n"), ("n", "out"), ("lost", "n")]))
    assert "`lost`" in found[0].message
    looped = {"in": port(2), "a": linear(np.eye(2)), "b": linear(np.eye(2)), "n": if_(2), "out": sink(2)}
    with refused("NM108") as found:
        read(write_nir(tmp_path / "b.nir", looped, [("in", "a"), ("a", "b"), ("b", "a"), ("b", "n"), ("n", "out")]))
    assert "loop" in found[0].message


def test_dead_ends_are_left_out_with_a_note(tmp_path: Path) -> None:
    nodes = {"in": port(2), "n": if_(2), "w": linear(np.ones((5, 2))), "v": linear(np.ones((5, 5))), "out": sink(2)}
    network = read(write_nir(tmp_path / "net.nir", nodes, [("in", "n"), ("n", "out"), ("n", "w"), ("w", "v")]))
    assert [p.name for p in network.projections] == ["in->n"]
    assert sum("leads to no output; left out" in note for note in network.notes) == 2


def test_a_chain_that_cannot_be_one_connection_is_refused(tmp_path: Path) -> None:
    nodes = {
        "in": port(1, 128, 128),
        "a": conv(np.ones((4, 1, 3, 3)), padding=1),
        "b": conv(np.ones((4, 4, 3, 3)), padding=1),
        "n": if_(),
        "out": sink(4, 128, 128),
    }
    with refused("NM106") as found:
        read(write_nir(tmp_path / "net.nir", nodes, chain("in", "a", "b", "n", "out")))
    assert "`a` (Conv2d) -> `b` (Conv2d)" in found[0].message


def test_all_edges_that_dangle_are_named(tmp_path: Path) -> None:
    nodes = {"in": port(2), "lif1": if_(2), "out": sink(2)}
    with refused("NM105", "NM105") as found:
        read(write_nir(tmp_path / "net.nir", nodes, [("in", "lif"), ("lif1", "outt")]))
    assert [d.help for d in found] == [("nearest name: `lif1`",), ("nearest name: `out`",)]


def test_missing_edges_and_types(tmp_path: Path) -> None:
    path = write_nir(tmp_path / "net.nir", {"in": port(2), "n": if_(2), "out": sink(2)}, chain("in", "n", "out"))
    with h5py.File(path, "a") as file:
        del file["node/edges"]
        del file["node/nodes/n/type"]
    with refused("NM103", "NM103"):
        read(path)


def test_a_slash_in_a_node_name_is_explained(tmp_path: Path) -> None:
    path = write_nir(tmp_path / "net.nir", {"in": port(2), "a/b": if_(2), "out": sink(2)}, chain("in", "a/b", "out"))
    with refused("NM103", "NM105", "NM105") as found:
        read(path)
    assert any("`/`" in str(d.why) for d in found)


def test_a_repeated_edge_is_read_once(tmp_path: Path) -> None:
    path = write_nir(tmp_path / "net.nir", {"in": port(2), "n": if_(2), "out": sink(2)}, [("in", "n"), ("in", "n"), ("n", "out")])
    network = read(path)
    assert len(network.projections) == 1
    assert any("twice" in note for note in network.notes)


def test_reading_does_not_depend_on_the_order_of_edges(tmp_path: Path) -> None:
    nodes = {"in": port(2), "z": if_(2), "b": if_(2), "a": if_(2), "out": sink(2)}
    edges = [("in", "z"), ("z", "b"), ("z", "a"), ("b", "a"), ("a", "z"), ("a", "out")]
    seen = set()
    for k in range(len(edges)):
        network = read(write_nir(tmp_path / f"{k}.nir", nodes, edges[k:] + edges[:k]))
        seen.add((tuple(p.name for p in network.populations), tuple((p.name, p.delay) for p in network.projections)))
    assert seen == {(("in", "z", "b", "a"), (("in->z", 0), ("a->z", 1), ("z->b", 0), ("z->a", 0), ("b->a", 0)))}


def test_sizes_beyond_the_limit_are_called_too_large(tmp_path: Path) -> None:
    nodes = {"input": port(2**40), "w": linear(_weights(2, 3)), "n": if_(2), "output": sink(2)}
    write_nir(tmp_path / "a.nir", nodes, chain(*nodes))
    with refused("NM110") as found:
        read(tmp_path / "a.nir")
    assert "too large" in found[0].message
    assert str(2**40) in found[0].message


@pytest.mark.parametrize(("node", "word"), [
    (linear(np.zeros((0, 64))), "weight of `w` is empty; a matrix"),
    (conv(np.zeros((0, 1, 3, 3))), "weight of `w` is empty; a kernel"),
])
def test_empty_weights_are_called_empty(tmp_path: Path, node: dict[str, Any], word: str) -> None:
    nodes = {"input": port(64), "w": node, "n": if_(2), "output": sink(2)}
    write_nir(tmp_path / "a.nir", nodes, chain(*nodes))
    with refused("NM106") as found:
        read(tmp_path / "a.nir")
    assert found[0].message.startswith(word)
