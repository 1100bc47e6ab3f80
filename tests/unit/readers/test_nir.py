from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.diagnostics import NmapError
from nmap.network import Network
from nmap.readers import read
from nmap.readers.linear import MAX_EXPANDED, MAX_UNROLLED
from nmap.simulate.floating import simulate
from tests.unit.readers.builders import (
    VERSIONS,
    affine,
    chain,
    conv,
    conv1d,
    delay,
    flatten,
    if_,
    li,
    lif,
    linear,
    pool,
    port,
    refused,
    scale,
    sink,
    write_historic,
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


def _cuba(n: int) -> dict[str, Any]:
    fields = {"tau_syn": 2e-4, "tau_mem": 1e-3, "r": 10.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0, "w_in": 2.0}
    return {"type": "CubaLIF", **{name: np.full(n, value) for name, value in fields.items()}}


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


@pytest.mark.parametrize("behind", [False, True])
def test_a_separable_convolution_is_one_connection(tmp_path: Path, behind: bool) -> None:
    """Depthwise then pointwise, or the other way round, however large; biases of both included."""
    wide, bias = _weights(3, 1, 3, 3) if not behind else _weights(4, 1, 3, 3), _weights(4 if behind else 3)
    point, last = _weights(4, 3, 1, 1), _weights(4)
    depthwise = conv(wide, padding=1, groups=len(wide), bias=last if behind else bias)
    pointwise = conv(point, bias=bias if behind else last)
    nodes = {"in": port(3, 90, 90)} | ({"p": pointwise, "d": depthwise} if behind else {"d": depthwise, "p": pointwise})
    nodes |= {"n": if_((4, 90, 90)), "out": sink(4, 90, 90)}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain(*nodes)))
    projection = _only(network)
    assert isinstance(projection.connectivity, Conv2d)
    assert (projection.connectivity.weights.shape, projection.connectivity.padding) == ((4, 3, 3, 3), (1, 1))
    image = _RNG.normal(size=(3, 90, 90))
    stages = [(point, bias, 0, 1), (wide, last, 1, 4)] if behind else [(wide, bias, 1, 3), (point, last, 0, 1)]
    expected = image
    for weight, added, pad, groups in stages:
        expected = _correlate(expected, weight, (1, 1), (pad, pad), (1, 1), groups) + added[:, None, None]
    found = projection.connectivity.apply(image.ravel()) + projection.bias
    np.testing.assert_allclose(found, expected.ravel(), rtol=1e-4, atol=1e-4)


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
        ({"in": port(2), "out": sink(2)}, "in out", "NM104", ("no neuron",)),
        ({"in": port(2), "n": if_(2)}, "in n", "NM108", ("Output",)),
        ({"n": if_(2), "out": sink(2)}, "n out", "NM108", ("Input",)),
        ({"in": port(2), "f": flatten(), "out": sink(2)}, "in f out", "NM104", ("no neuron",)),
        ({"in": port(2), "d": delay([1e-4, -1e-4]), "n": if_(2), "out": sink(2)}, "in d n out", "NM107", ("`d`", "-0.0001", "negative")),
        ({"in": port(2), "d": delay(np.inf), "n": if_(2), "out": sink(2)}, "in d n out", "NM107", ("`d`", "inf")),
        ({"in": port(2), "d": delay(1e9), "n": lif(2), "out": sink(2)}, "in d n out", "NM110", ("`d`", "1e+13 steps")),
        ({"in": port(2), "d": delay([1e-4] * 3), "n": if_(3), "out": sink(3)}, "in d n out", "NM106", ("(2,)", "(3,)")),
        (
            {"in": port(2, 7), "c": conv1d(np.ones((4, 3, 3))), "n": if_(), "out": sink(4, 5)},
            "in c n out",
            "NM106",
            ("3 channels", "2 arrive"),
        ),
        ({"in": port(2, 3), "c": conv1d(np.ones((4, 2, 5))), "n": if_(), "out": sink(4, 1)}, "in c n out", "NM106", ("larger",)),
        (
            {"in": port(2, 7), "c": conv1d(np.ones((4, 2, 3)), input_shape=8), "n": if_(), "out": sink(4, 5)},
            "in c n out",
            "NM106",
            ("(8,)", "(7,)"),
        ),
        ({"in": port(2, 7), "c": conv1d(np.ones((4, 2, 3, 1))), "n": if_(), "out": sink(4, 5)}, "in c n out", "NM106", ("width)",)),
        ({"in": port(2), "n": lif(2) | {"tau": np.array([1e-3, -np.inf])}, "out": sink(2)}, "in n out", "NM107", ("`tau`", "-inf")),
        ({"in": port(2), "n": lif(2) | {"r": np.array([1.0, np.inf])}, "out": sink(2)}, "in n out", "NM107", ("`r`", "inf")),
        (
            {"in": port(2), "n": _cuba(2) | {"tau_syn": np.array([1e-3, np.inf])}, "out": sink(2)},
            "in n out",
            "NM107",
            ("`tau_syn`", "inf"),
        ),
        ({"in": port(0), "n": if_(2), "out": sink(2)}, "in n out", "NM106", ("`shape` of `in`",)),
        ({"in": port(2), "w": linear(np.ones((3, 0))), "n": if_(3), "out": sink(3)}, "in w n out", "NM106", ("`w` is empty",)),
        ({"in": port(2), "w": affine(np.ones((0, 2)), np.ones(0)), "n": if_(3), "out": sink(3)}, "in w n out", "NM106", ("`w` is empty",)),
        ({"in": port(2), "w": affine(np.ones((3, 2)), np.ones(0)), "n": if_(3), "out": sink(3)}, "in w n out", "NM106", ("bias of `w`",)),
        ({"in": port(2), "n": if_(0), "out": sink(2)}, "in n out", "NM106", ("`r`, `v_threshold` of `n` are empty",)),
        ({"in": port(2), "s": scale(np.ones(0)), "n": if_(2), "out": sink(2)}, "in s n out", "NM106", ("`scale` of `s` is empty",)),
        ({"in": port(2), "d": delay(np.ones(0)), "n": if_(2), "out": sink(2)}, "in d n out", "NM106", ("`delay` of `d` is empty",)),
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


@pytest.mark.parametrize(
    ("node", "word"),
    [
        (linear(np.zeros((0, 64))), "weight of `w` is empty; a matrix"),
        (conv(np.zeros((0, 1, 3, 3))), "weight of `w` is empty; a kernel"),
    ],
)
def test_empty_weights_are_called_empty(tmp_path: Path, node: dict[str, Any], word: str) -> None:
    nodes = {"input": port(64), "w": node, "n": if_(2), "output": sink(2)}
    write_nir(tmp_path / "a.nir", nodes, chain(*nodes))
    with refused("NM106") as found:
        read(tmp_path / "a.nir")
    assert found[0].message.startswith(word)


# Conv1d


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups", "kernel", "sides"),
    [
        (1, 0, 1, 1, 3, (0, 0)),
        (2, 2, 1, 1, 5, (2, 2)),
        (1, "valid", 2, 2, 3, (0, 0)),
        (1, "same", 1, 4, 4, (1, 2)),
        (3, 1, 2, 1, 2, (1, 1)),
    ],
)
def test_convolutions_over_one_dimension(
    tmp_path: Path, stride: int, padding: Any, dilation: int, groups: int, kernel: int, sides: tuple[int, int]
) -> None:
    weight, bias, x = _weights(4, 4 // groups, kernel), _weights(4), _RNG.normal(size=(4, 11))
    padded = np.pad(x, ((0, 0), sides))
    length = (padded.shape[1] - dilation * (kernel - 1) - 1) // stride + 1
    expected = np.zeros((4, length))
    for o in range(4):
        for t in range(length):
            for c in range(4 // groups):
                for k in range(kernel):
                    first = o // (4 // groups) * (4 // groups)
                    expected[o, t] += weight[o, c, k] * padded[first + c, t * stride + k * dilation]
    nodes = {
        "in": port(4, 11),
        "c": conv1d(weight, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias, input_shape=11),
        "n": if_((4, length)),
        "out": sink(4, length),
    }
    network = read(write_nir(tmp_path / "net.nir", nodes, chain("in", "c", "n", "out")))
    projection = _only(network)
    assert isinstance(projection.connectivity, Conv2d)
    assert (network["in"].shape, network["n"].shape, projection.connectivity.in_shape) == ((4, 11), (4, length), (4, 1, 11))
    np.testing.assert_allclose(projection.connectivity.apply(x.ravel()), expected.ravel(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(projection.bias, np.repeat(bias, length))


@pytest.mark.parametrize("shape", [(7,), (1, 7), (1, 1, 7)])
def test_one_channel_of_a_line(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nodes = {
        "in": port(*shape),
        "c": conv1d(_weights(2, 1, 3)),
        "n": if_((2, 5)),
        "f": flatten(),
        "w": linear(_weights(3, 10)),
        "m": if_(3),
    }
    nodes["out"] = sink(3)
    network = read(write_nir(tmp_path / "net.nir", nodes, chain("in", "c", "n", "f", "w", "m", "out")))
    assert (network["n"].shape, [p.name for p in network.projections]) == ((2, 5), ["c", "w"])


def test_a_matrix_for_each_block(tmp_path: Path) -> None:
    weight, bias, x = _weights(3, 2, 4), _weights(3, 2), _RNG.normal(size=(3, 4))
    nodes = {"in": port(3, 4), "w": affine(weight, bias), "n": if_((3, 2)), "out": sink(3, 2)}
    projection = _only(read(write_nir(tmp_path / "net.nir", nodes, chain("in", "w", "n", "out"))))
    expected = np.array([[weight[b, o] @ x[b] for o in range(2)] for b in range(3)])
    np.testing.assert_allclose(projection.connectivity.apply(x.ravel()), expected.ravel(), rtol=1e-5)
    np.testing.assert_array_equal(projection.bias, bias.ravel())


# What no chip takes, and a network has


def _wide_chain() -> dict[str, dict[str, Any]]:
    """Two padded convolutions in a row, too large to list their synapses."""
    assert MAX_EXPANDED < (128 * 128) * (4 * 128 * 128)
    return {
        "in": port(1, 128, 128),
        "a": conv(_weights(4, 1, 3, 3), padding=1, bias=np.array([0.5, 0.25, 0.0, 1.0])),
        "b": conv(_weights(2, 4, 3, 3), padding=1, bias=np.array([1.0, 2.0])),
        "n": if_(),
        "out": sink(2, 128, 128),
    }


def test_a_chain_that_cannot_be_one_connection_goes_through_a_relay(tmp_path: Path) -> None:
    nodes = _wide_chain()
    network = read(write_nir(tmp_path / "net.nir", nodes, chain(*nodes)))
    assert [(p.name, p.shape, p.silent) for p in network.populations] == [
        ("in", (1, 128, 128), False),
        ("a", (4, 128, 128), True),
        ("n", (2, 128, 128), False),
    ]
    assert [(p.name, p.source, p.target, p.delay) for p in network.projections] == [("a", "in", "a", 0), ("b", "a", "n", 0)]
    for projection, node in zip(network.projections, ("a", "b"), strict=True):
        np.testing.assert_array_equal(projection.connectivity.weights, nodes[node]["weight"])
        np.testing.assert_array_equal(projection.bias, np.repeat(nodes[node]["bias"], 128 * 128))
    relay = network["a"].neuron
    assert relay is not None
    assert (relay.alpha[0], relay.gain_in[0], relay.gain_v[0], relay.beta[0], relay.drive[0]) == (0, 1, 1, 0, 0)
    assert any("`a` (Conv2d) was read as a population `a` that passes its input on" in note for note in network.notes)


def test_a_loop_through_a_relay_delays_the_spikes_and_not_the_bias(tmp_path: Path) -> None:
    nodes = _wide_chain() | {"c": conv(_weights(1, 2, 3, 3), padding=1)}
    edges = [("in", "a"), ("a", "b"), ("b", "n"), ("n", "c"), ("c", "a"), ("n", "out")]
    network = read(write_nir(tmp_path / "net.nir", nodes, edges))
    assert {(p.source, p.target, p.delay) for p in network.projections} == {("in", "a", 0), ("n", "c", 1), ("c", "a", 0), ("a", "n", 0)}


def test_an_output_without_a_neuron_is_a_readout(tmp_path: Path) -> None:
    weight, bias = _weights(3, 2), _weights(3)
    nodes = {"in": port(2), "n": if_(2), "w": affine(weight, bias), "a": sink(3), "b": sink(3)}
    network = read(write_nir(tmp_path / "net.nir", nodes, [("in", "n"), ("n", "w"), ("w", "a"), ("w", "b")]), dt=1.0, reset="zero")
    assert (network.outputs, network["w"].silent) == (("w",), True)
    spikes = np.array([[[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]])
    run = simulate(network, spikes)
    np.testing.assert_allclose(run.v["w"][0], (spikes[0] / 2) @ weight.T.astype(float) + bias, rtol=1e-6)
    assert any("an Output reads it, with no neuron between them" in note for note in network.notes)


def test_an_output_that_sums(tmp_path: Path) -> None:
    weight = _weights(2, 2)
    nodes = {"in": port(2), "n": if_(2), "w": linear(weight), "out": sink(2)}
    network = read(write_nir(tmp_path / "a.nir", nodes, [("in", "n"), ("n", "w"), ("w", "out"), ("n", "out")]), dt=1.0)
    assert network.outputs == ("out",)
    run = simulate(network, np.array([[[2.0, 0.0]]]))
    np.testing.assert_allclose(run.v["out"][0, 0], [1 + weight[0, 0], weight[1, 0]], rtol=1e-6)
    nodes = {"in": port(2), "a": if_(2), "b": if_(2), "out": sink(2)}
    network = read(write_nir(tmp_path / "b.nir", nodes, [("in", "a"), ("in", "b"), ("a", "out"), ("b", "out")]))
    assert network.outputs == ("a", "b")
    assert any("sums `a`, `b`" in note for note in network.notes)


def test_integrators_feed_others_with_their_potential(tmp_path: Path) -> None:
    nodes = {"in": port(1), "a": li(1, tau=2.0, r=1.0), "n": if_(1, th=0.6), "out": sink(1)}
    stated = {"nmap": {"dt": 1.0, "reset": "zero", "decay": "euler", "compare": ">", "gain": "euler"}}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain(*nodes), stated))
    assert any("`a` (LI) never fires; what it sends to others is its membrane potential" in note for note in network.notes)
    run = simulate(network, np.array([[[1.0], [0.0], [0.0], [0.0]]]), record=["a", "n"])
    # v of a: 1/2, 1/4, 1/8, 1/16; their sums 1/2, 3/4 (fires and starts again), 1/8, 3/16
    np.testing.assert_array_equal(run.v["a"][0, :, 0], [0.5, 0.25, 0.125, 0.0625])
    np.testing.assert_array_equal(run.spikes["n"][0, :, 0], [0, 1, 0, 0])


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    nodes = {"a": port(2), "b": port(3), "v": linear(_weights(2, 3)), "n": if_(2), "m": if_(2), "x": sink(2), "y": sink(2), "z": sink(2)}
    edges = [("a", "n"), ("b", "v"), ("v", "n"), ("n", "m"), ("n", "x"), ("n", "y"), ("m", "z")]
    network = read(write_nir(tmp_path / "net.nir", nodes, edges))
    assert (network.inputs, network.outputs) == (("a", "b"), ("n", "m"))
    assert {(p.source, p.target) for p in network.projections} == {("a", "n"), ("b", "n"), ("n", "m")}


# Delays


@pytest.mark.parametrize(("values", "dt"), [(3e-4, 1e-4), (np.float32(3e-4), 1e-4), ([3e-4, 3e-4], 1e-4), (3.0, 1.0)])
def test_a_uniform_delay_counts_steps(tmp_path: Path, values: Any, dt: float) -> None:
    weight, bias = _weights(2, 2), _weights(2)
    nodes = {"in": port(2), "w": affine(weight, bias), "d": delay(values), "n": if_(2), "out": sink(2)}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain(*nodes)), dt=dt)
    projection = _only(network)
    assert (projection.name, projection.delay, projection.delays, projection.bias_from) == ("w+d", 3, None, 3)
    assert not network.diagnostics


def test_a_delay_before_the_weights_leaves_their_bias_alone(tmp_path: Path) -> None:
    nodes = {"in": port(2), "d": delay(2e-4), "w": affine(np.eye(2), np.ones(2)), "n": lif(2), "out": sink(2)}
    projection = _only(read(write_nir(tmp_path / "net.nir", nodes, chain(*nodes)), dt=1e-4))
    assert (projection.delay, projection.bias_from) == (2, 0)


def test_delays_of_sources_and_of_targets(tmp_path: Path) -> None:
    weight = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    nodes = {"in": port(3), "a": delay([0.0, 1.0, 4.0]), "w": linear(weight), "b": delay([0.0, 2.0]), "n": if_(2), "out": sink(2)}
    projection = _only(read(write_nir(tmp_path / "net.nir", nodes, chain(*nodes)), dt=1.0))
    assert (projection.connectivity.kind, projection.delay) == ("dense", 0)
    np.testing.assert_array_equal(projection.delays, [[0, 1, 4], [2, 3, 6]])


def test_delays_of_a_convolution_list_its_synapses(tmp_path: Path) -> None:
    weight = np.arange(1.0, 4.0).reshape(1, 1, 3)
    nodes = {"in": port(1, 4), "d": delay([[0.0, 1.0, 2.0, 3.0]]), "c": conv1d(weight), "n": if_((1, 2)), "out": sink(1, 2)}
    projection = _only(read(write_nir(tmp_path / "net.nir", nodes, chain(*nodes)), dt=1.0))
    assert isinstance(projection.connectivity, Sparse)
    np.testing.assert_array_equal(projection.connectivity.weights, [1, 2, 3, 1, 2, 3])
    np.testing.assert_array_equal(projection.delays, [0, 1, 2, 1, 2, 3])


@pytest.mark.parametrize("behind", [False, True])
def test_delays_beside_a_large_convolution_stand_apart(tmp_path: Path, behind: bool) -> None:
    weight = np.ones((32, 1, 5, 5))
    assert weight.size * 80 * 80 > MAX_UNROLLED
    steps = _RNG.integers(0, 3, (32, 80, 80) if behind else (1, 84, 84)).astype(float)
    inner = {"c": conv(weight), "d": delay(steps)} if behind else {"d": delay(steps), "c": conv(weight)}
    nodes = {"in": port(1, 84, 84), **inner, "n": if_(), "out": sink(32, 80, 80)}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain(*nodes)), dt=1.0)
    relay = "c" if behind else "d"
    assert [(p.name, p.silent) for p in network.populations] == [("in", False), (relay, True), ("n", False)]
    delayed = next(p for p in network.projections if p.delays is not None)
    assert delayed.connectivity.kind == "sparse"
    np.testing.assert_array_equal(delayed.delays, steps.ravel())


def test_delays_between_weights_behind_a_bias_and_between_biases_need_a_relay(tmp_path: Path) -> None:
    w, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 1.0])
    cases = {
        "between": ({"v": linear(w), "d": delay([0.0, 2.0]), "w": linear(w)}, "d"),
        "biased": ({"v": affine(w, b), "d": delay([0.0, 2.0])}, "v"),
        "twice": ({"v": affine(w, b), "d": delay([2.0, 2.0]), "w": affine(w, b)}, "d"),
    }
    for name, (inner, relay) in cases.items():
        nodes = {"in": port(2), **inner, "n": {"type": "I", "r": np.ones(2)}, "out": sink(2)}
        network = read(write_nir(tmp_path / f"{name}.nir", nodes, chain(*nodes)), dt=1.0)
        assert [p.name for p in network.populations] == ["in", relay, "n"], name
        assert any(f"`{relay}`" in note and "passes its input on" in note for note in network.notes)


def test_delays_that_are_no_whole_number_of_steps_are_rounded_with_a_warning(tmp_path: Path) -> None:
    nodes = {"in": port(3), "d": delay([1e-4, 2.6e-4, 3.1e-4]), "n": lif(3), "out": sink(3)}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain(*nodes)), dt=1e-4)
    assert _only(network).delay == 1
    np.testing.assert_array_equal(_only(network).delays, [0, 2, 2])
    (found,) = network.diagnostics
    assert (found.code, found.severity, found.data["count"]) == ("NM112", "warning", 2)
    assert found.data["worst"] == pytest.approx(0.4)
    assert "2 of 3 delays of `d`" in found.message
    assert str(found.where).endswith("/node/nodes/d/delay")


@pytest.mark.parametrize(
    ("values", "expected"), [(3.0, (3, None)), (1.0, (1, None)), (0.0, (1, None)), ([0.0, 2.0], (1, [[0, 0], [1, 1]]))]
)
def test_a_delay_closes_a_loop(tmp_path: Path, values: Any, expected: tuple[int, Any]) -> None:
    nodes = {"in": port(2), "n": if_(2), "w": affine(np.eye(2), np.ones(2)), "d": delay(values), "out": sink(2)}
    order = ("n", "w", "d", "n") if np.ndim(values) == 0 else ("n", "w2", "d", "n")
    if np.ndim(values):
        nodes["w2"] = linear(np.eye(2))
        del nodes["w"]
    network = read(write_nir(tmp_path / "net.nir", nodes, [("in", "n"), *chain(*order), ("n", "out")]), dt=1.0)
    back = next(p for p in network.projections if p.source == "n")
    assert back.delay == expected[0]
    np.testing.assert_array_equal(back.delays, expected[1])
    (timing,) = [a for a in network.assumptions if a.name == "timing"]
    assert timing.source == ("file" if np.ndim(values) == 0 and values >= 1 else "default")
    assert "`n` -> `n`" in timing.evidence


def test_a_loop_is_closed_where_its_delay_is(tmp_path: Path) -> None:
    nodes = {"in": port(2), "a": if_(2), "d": delay(2.0), "b": if_(2), "w": linear(np.eye(2)), "out": sink(2)}
    edges = [("in", "a"), ("a", "d"), ("d", "b"), ("b", "w"), ("w", "a"), ("b", "out")]
    network = read(write_nir(tmp_path / "net.nir", nodes, edges), dt=1.0)
    assert {(p.source, p.target): p.delay for p in network.projections} == {("in", "a"): 0, ("a", "b"): 2, ("b", "a"): 0}
    # What acts in the same step is computed first.
    assert [p.name for p in network.populations] == ["in", "b", "a"]


def test_a_loop_of_weights_with_a_delay_is_a_filter(tmp_path: Path) -> None:
    nodes = {"in": port(1), "s": scale([0.5]), "d": delay([1.0]), "n": {"type": "I", "r": np.ones(1)}, "out": sink(1)}
    edges = [("in", "s"), ("s", "d"), ("d", "s"), ("s", "n"), ("n", "out")]
    network = read(write_nir(tmp_path / "net.nir", nodes, edges), dt=1.0)
    run = simulate(network, np.array([[[8.0], [0.0], [0.0]]]))
    # s sends 4, 2, 1
    np.testing.assert_array_equal(run.v["n"][0, :, 0], [4, 6, 7])


def test_a_late_bias_waits_for_the_first_spike(tmp_path: Path) -> None:
    nodes = {"in": port(2), "n": if_(2), "w": affine(np.eye(2), np.ones(2)), "v": affine(np.eye(2), np.ones(2)), "out": sink(2)}
    edges = [("in", "v"), ("v", "n"), ("n", "w"), ("w", "n"), ("n", "out")]
    network = read(write_nir(tmp_path / "net.nir", nodes, edges, {"nmap": {"late_bias": True}}))
    assert {p.name: (p.delay, p.bias_from) for p in network.projections} == {"v": (0, 0), "w": (1, 1)}


# Membranes without leak


def test_infinite_time_constants_are_no_leak(tmp_path: Path) -> None:
    node = lif(3) | {"tau": np.array([1e-3, np.inf, np.inf]), "r": np.array([10.0, np.inf, 3.0])}
    network = read(write_nir(tmp_path / "net.nir", {"in": port(3), "n": node, "out": sink(3)}, chain("in", "n", "out")), dt=1e-4)
    neuron = network["n"].neuron
    assert neuron is not None
    np.testing.assert_allclose(neuron.beta, [0.9, 1, 1])
    np.testing.assert_allclose(neuron.gain_v, [1, 1, 3e-4])
    np.testing.assert_array_equal(neuron.drive, np.zeros(3))
    assert any("infinite in 2 of 3 neurons: a membrane without leak" in note for note in network.notes)


def test_infinite_time_constants_do_not_hide_the_time_step(tmp_path: Path) -> None:
    """snnTorch writes tau = dt / (1 - beta) and r = tau / dt, and the same for its synapse."""
    endless = lif(2, tau=np.inf, r=np.inf)
    syn = _cuba(2) | {"tau_syn": np.full(2, np.inf), "w_in": np.full(2, np.inf)}
    nodes = {"in": port(2), "a": endless, "b": lif(2, tau=2e-3, r=20.0), "c": syn, "out": sink(2)}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain(*nodes)))
    assert network.conventions.dt == pytest.approx(1e-4)
    neuron = network["c"].neuron
    assert neuron is not None
    np.testing.assert_array_equal((neuron.alpha, neuron.gain_in), np.ones((2, 2)))


def test_a_gain_for_inputs_held_over_a_step(tmp_path: Path) -> None:
    node = _cuba(2) | {"r": np.array([3.0, 3.0])}
    stated = {"nmap": {"dt": 1e-3, "decay": "exact", "gain": "exact"}}
    network = read(write_nir(tmp_path / "net.nir", {"in": port(2), "n": node, "out": sink(2)}, chain("in", "n", "out"), stated))
    neuron = network["n"].neuron
    assert neuron is not None
    np.testing.assert_allclose(neuron.gain_v, np.full(2, 3 * (1 - 0.36787944117144233)))
    np.testing.assert_allclose(neuron.gain_in, np.full(2, 2 * (1 - 0.006737946999085467)))
    with refused("NM104") as found:
        read(write_nir(tmp_path / "b.nir", {"in": port(2), "n": node, "out": sink(2)}, chain("in", "n", "out"), {"nmap": {"gain": "half"}}))
    assert "`half`" in found[0].message


# Names, ports, versions, metadata


def test_a_name_without_a_node_that_can_mean_only_one(tmp_path: Path) -> None:
    nodes = {"in": port(2), "lif1": if_(2), "out": sink(2)}
    network = read(write_nir(tmp_path / "a.nir", nodes, [("in", "lif"), ("lif", "out")]))
    (found,) = network.diagnostics
    assert (found.code, found.severity) == ("NM112", "warning")
    assert "`lif`" in found.message
    assert "`lif1`" in found.message
    assert [(p.source, p.target) for p in network.projections] == [("in", "lif1")]


@pytest.mark.parametrize(
    ("more", "codes"),
    [
        ({"lif2": if_(2)}, ("NM105", "NM105")),
        ({"lif1": if_(3)}, ("NM105", "NM106", "NM106")),
        ({"lif1": None, "zzz": if_(2)}, ("NM105", "NM105")),
    ],
)
def test_a_name_without_a_node_that_may_mean_others_is_refused(tmp_path: Path, more: dict[str, Any], codes: tuple[str, ...]) -> None:
    nodes = {k: v for k, v in ({"in": port(2), "lif1": if_(2), "out": sink(2)} | more).items() if v is not None}
    with refused(*codes) as found:
        read(write_nir(tmp_path / "a.nir", nodes, [("in", "lif"), ("lif", "out")]))
    assert all("`lif`" in d.message for d in found if d.code == "NM105")


def test_a_nested_graphs_port_declares_a_wrong_shape(tmp_path: Path) -> None:
    cell = {"type": "NIRGraph", "nodes": {"input": port(12), "lif": if_(38), "output": sink(38)}, "edges": chain("input", "lif", "output")}
    nodes = {"in": port(12), "w": linear(_weights(38, 12)), "cell": cell, "out": sink(38)}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain(*nodes)))
    assert network["cell.lif"].shape == (38,)
    assert any("port `cell.input` declares (12,)" in note and "(38,)" in note for note in network.notes)


def test_a_nested_graph_without_the_port_that_an_edge_needs(tmp_path: Path) -> None:
    cell = {"type": "NIRGraph", "nodes": {"input": port(2), "n": if_(2)}, "edges": [("input", "n")]}
    with refused("NM108", "NM108") as found:
        read(write_nir(tmp_path / "net.nir", {"in": port(2), "cell": cell, "out": sink(2)}, chain("in", "cell", "out")))
    assert "graph `cell`, which has no Output node" in found[0].message


def test_a_batch_is_stripped_in_front_of_images(tmp_path: Path) -> None:
    nodes = {
        "in": port(8, 1, 5, 5),
        "c": conv(_weights(2, 1, 3, 3)),
        "n": {"type": "IF", "r": 1.0, "v_threshold": 1.0},
        "out": sink(8, 2, 3, 3),
    }
    network = read(write_nir(tmp_path / "net.nir", nodes, chain(*nodes)))
    assert (network["in"].shape, network["n"].shape) == ((1, 5, 5), (2, 3, 3))
    assert any("batch of 8" in note for note in network.notes)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_layout_that_nir_wrote(tmp_path: Path, version: str) -> None:
    w, v, th = _weights(3, 2, 3, 3), _weights(2, 108), 0.75
    nodes = {
        "input": port(2, 6, 6),
        "conv": conv(
            w, padding=np.array([1, 1]), stride=np.array([1, 1]), dilation=np.array([1, 1]), bias=_weights(3), input_shape=np.array([6, 6])
        ),
        "if": if_((3, 6, 6), th=th),
        "flat": flatten() | {"input_type": np.array([3, 6, 6])},
        "fc": affine(v, _weights(2)),
        "cuba": _cuba(2) | {"w_in": np.ones(2)},
        "output": sink(2),
    }
    if version == "0.0.6":
        del nodes["flat"]
    network = read(write_historic(tmp_path / "net.nir", version, nodes, chain(*nodes)), dt=1e-4)
    new = read(write_nir(tmp_path / "new.nir", nodes, chain(*nodes)), dt=1e-4)
    assert [p.shape for p in network.populations] == [(2, 6, 6), (3, 6, 6), (2,)]
    for p, q in zip(network.projections, new.projections, strict=True):
        np.testing.assert_array_equal(p.connectivity.weights, q.connectivity.weights)
        np.testing.assert_array_equal(p.bias, q.bias)
    for a, b in zip(network.populations[1:], new.populations[1:], strict=True):
        for name in ("alpha", "gain_in", "gain_v", "beta", "drive", "threshold", "v_reset"):
            np.testing.assert_array_equal(getattr(a.neuron, name), getattr(b.neuron, name), err_msg=name)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "net.nir"
    with h5py.File(path, "w") as file:
        file.create_dataset("node/type", data="NIRGraph", dtype=h5py.string_dtype())
        file.create_dataset("node/edges", data=np.array([[b"in", b"n\xff"], [b"n\xff", b"out"]], object), dtype=h5py.string_dtype("ascii"))
        nodes = file.create_group("node/nodes")
        for name, fields in ((b"in", port(2)), (b"n\xff", if_(2)), (b"out", sink(2))):
            group = nodes.create_group(name)
            group.create_dataset("type", data=fields["type"], dtype=h5py.string_dtype())
            for entry, value in fields.items():
                if entry != "type":
                    group.create_dataset(entry, data=value)
    network = read(path)
    assert [p.name.isprintable() for p in network.populations] == [True, True]
    network.populations[1].name.encode()
    with h5py.File(path, "a") as file:
        file.copy(file[b"node/nodes/n\xff"], file["node/nodes"], b"n\xfe")
    with pytest.raises(NmapError) as caught:
        read(path)
    str(caught.value).encode()
    assert {d.code for d in caught.value.diagnostics} <= {"NM103", "NM105", "NM108"}


@pytest.mark.parametrize(
    ("stated", "field", "value"),
    [
        ({"multiple": True}, "multiple", True),
        ({"floor": -1.0}, "floor", -1.0),
        ({"lag": 1}, "lag", 1),
        ({"early_reset": np.bool_(True)}, "early_reset", True),
    ],
)
def test_the_fine_points_of_nmaps_own_metadata(tmp_path: Path, stated: dict[str, Any], field: str, value: Any) -> None:
    nodes = {"in": port(2), "n": if_(2), "out": sink(2)}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain(*nodes), {"nmap": {"reset": "subtract", **stated}}))
    assert getattr(network.conventions, field) == value


@pytest.mark.parametrize("stated", [{"lag": -1}, {"lag": 1.5}, {"lag": "late"}, {"floor": float("nan")}, {"floor": np.ones(2)}])
def test_fine_points_out_of_range(tmp_path: Path, stated: dict[str, Any]) -> None:
    nodes = {"in": port(2), "n": if_(2), "out": sink(2)}
    with refused("NM107") as found:
        read(write_nir(tmp_path / "net.nir", nodes, chain(*nodes), {"nmap": stated}))
    assert f"`{next(iter(stated))}` in the metadata" in found[0].message


def test_a_product_beyond_memory_is_kept_as_two_matrices(tmp_path: Path) -> None:
    wide = 2**14
    nodes = {"in": port(wide), "a": linear(np.ones((1, wide))), "b": linear(np.ones((wide, 1))), "n": if_(), "out": sink(wide)}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain(*nodes)))
    assert [p.synapses for p in (q.connectivity for q in network.projections)] == [wide, wide]


@pytest.mark.parametrize(("edge", "told"), [(("out", "a"), "leaves Output `out`"), (("a", "in"), "leads into Input `in`")])
def test_edges_on_the_wrong_side_of_a_port(tmp_path: Path, edge: tuple[str, str], told: str) -> None:
    nodes = {"in": port(2), "a": lif(2), "out": sink(2)}
    with refused("NM108") as found:
        read(write_nir(tmp_path / "net.nir", nodes, [*chain("in", "a", "out"), edge]))
    assert told in found[0].message
    assert f"`{edge[0]}` -> `{edge[1]}`" in found[0].message


def test_half_precision_shapes_do_not_overflow(tmp_path: Path) -> None:
    """The reader's limits are beyond what the type of the entry can hold."""
    nodes = {"in": {"type": "Input", "shape": np.array([2], np.float16)}, "a": lif(2), "out": sink(2)}
    assert read(write_nir(tmp_path / "net.nir", nodes, chain("in", "a", "out"))).neurons == 2


@pytest.mark.parametrize("node", [delay(2e-4), delay([2e-4, 2e-4]), scale([2.0, 3.0]), scale(2.0)])
def test_a_batch_is_stripped_before_nodes_that_keep_the_shape(tmp_path: Path, node: dict[str, Any]) -> None:
    nodes = {"in": port(1, 2), "x": node, "w": linear(np.eye(2)), "n": lif(2), "out": sink(1, 2)}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain(*nodes)))
    assert network["in"].shape == (2,)
    assert any("input `in`" in note for note in network.notes)


def test_a_flood_of_dangling_edges_is_counted_not_listed(tmp_path: Path) -> None:
    nodes = {"in": port(2), "n": lif(2), "out": sink(2)}
    edges = [*chain("in", "n", "out"), *((f"a{k}", "n") for k in range(1000))]
    with pytest.raises(NmapError) as caught:
        read(write_nir(tmp_path / "net.nir", nodes, edges))
    assert len(caught.value.diagnostics) == 257
    assert "744 more ends of edges" in caught.value.diagnostics[-1].message
