from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import nmap
import nmap.writers
from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.network import (
    Adaptation,
    Assumption,
    Conventions,
    Network,
    Neuron,
    Population,
    Projection,
    Provenance,
    Resonator,
    SigmaDelta,
)
from nmap.simulate.floating import simulate
from nmap.writers.compare import LEFT_OUT, differences
from nmap.writers.images import MAX_WORK, shaped
from tests.support import shared_data
from tests.unit.readers.builders import affine, chain, conv, flatten, lif, linear, pool, port, refused, sink, write_nir

_RNG = np.random.default_rng(5)
_WHERE = Provenance("made.py", "/")


def neurons(n: int, kind: str = "LIF", *, dt: float = 1e-3, **more: Any) -> Neuron:
    """A population's model with a different value for every neuron, from the equations of NIR and forward Euler."""
    spread = 1 + np.arange(n) / 7
    zero, one = np.zeros(n), np.ones(n)
    tau, r, leak = 0.02 * spread, 3.0 + spread, 0.125 * spread
    entries: dict[str, Any] = {
        "alpha": zero, "gain_in": one, "gain_v": r * dt / tau, "beta": 1 - dt / tau, "drive": zero, "threshold": spread, "v_reset": -spread
    }
    entries["drive"] = leak * (1 - entries["beta"])
    if kind.startswith("Cuba"):
        entries |= {"alpha": 1 - dt / (tau / 2), "gain_in": spread * dt / (tau / 2)}
    if kind in ("I", "IF"):
        entries |= {"gain_v": r * dt, "beta": one, "drive": zero}
    if kind == "Threshold":
        entries |= {"gain_v": one, "beta": zero, "drive": zero, "v_reset": zero}
    if kind in ("I", "LI", "CubaLI"):
        entries |= {"threshold": np.full(n, np.inf), "v_reset": zero, "spiking": False}
    return Neuron(**({"model": kind} | entries | more))


def population(name: str, shape: tuple[int, ...], kind: str | None = "LIF", **more: Any) -> Population:
    size = int(np.prod(shape))
    return Population(name, shape, None if kind is None else neurons(size, kind, **more), _WHERE)


def projection(source: str, target: str, connectivity: Any, bias: Any = None, delay: int = 0, **more: Any) -> Projection:
    return Projection(more.pop("name", f"{source}-{target}"), source, target, connectivity, bias, delay, _WHERE, **more)


def network(populations: list[Population], projections: list[Projection], *, outputs: tuple[str, ...] = (), **more: Any) -> Network:
    inputs = tuple(p.name for p in populations if p.neuron is None)
    conventions = more.pop("conventions", Conventions(1e-3))
    made = Network(
        "made.py", "nir", "0" * 64, tuple(populations), tuple(projections), more.pop("inputs", inputs),
        outputs or (populations[-1].name,), conventions, **more,
    )
    made.check()
    return made


def weights(*shape: int) -> np.ndarray:
    return _RNG.normal(size=shape)


def small(**more: Any) -> Network:
    populations = [population("in", (3,), None), population("a", (4,)), population("b", (2,), "CubaLIF")]
    projections = [
        projection("in", "a", Dense(weights(4, 3)), weights(4)),
        projection("a", "b", Dense(weights(2, 4))),
        projection("b", "a", Dense(weights(4, 2)), delay=1),
    ]
    return network(populations, projections, **more)


def round_trip(made: Network, folder: Path) -> Network:
    return nmap.read(nmap.write(made, folder / "net.nir"))


def nodes_of(path: Path) -> dict[str, dict[str, Any]]:
    with h5py.File(path, "r") as file:
        return {
            name: {entry: data[()] for entry, data in node.items() if isinstance(data, h5py.Dataset)}
            for name, node in file["node/nodes"].items()
        }


def edges_of(path: Path) -> set[tuple[str, str]]:
    with h5py.File(path, "r") as file:
        return {(a.decode(), b.decode()) for a, b in file["node/edges"][()]}


# What the file holds


def test_a_small_network_in_full(tmp_path: Path) -> None:
    tau, weight = np.array([0.02, 0.03]), np.array([[1.0, -2, 0.5], [0.25, 0, 4]])
    neuron = Neuron(
        "LIF", np.zeros(2), np.ones(2), 2 * 1e-3 / tau, 1 - 1e-3 / tau, np.zeros(2), np.array([1.0, 2]), np.zeros(2),
        fields={"tau": tau, "r": np.array([2.0, 2]), "v_leak": np.zeros(2), "v_threshold": np.array([1.0, 2])},
    )
    made = network(
        [population("in", (3,), None), Population("out", (2,), neuron, _WHERE)],
        [projection("in", "out", Dense(weight), np.array([0.5, 0.1]), name="fc")],
        conventions=Conventions(1e-3, "subtract", "euler", ">=", multiple=True, floor=-1.0),
    )
    path = nmap.write(made, tmp_path / "net.nir")
    assert path == tmp_path / "net.nir"
    with h5py.File(path, "r") as file:
        assert file["version"][()] == b"1.0.8"
        assert file["node/type"][()] == b"NIRGraph"
        stated = {k: v[()] for k, v in file["node/metadata/nmap"].items()}
        assert file["node/metadata/dt"][()] == 1e-3
    unsaid = ("lag", "late_bias", "early_reset", "gain", "in_steps", "reset_interval", "reset_offset")
    assert {k: v for k, v in stated.items() if k not in unsaid} == {
        "dt": 1e-3, "reset": b"subtract", "decay": b"euler", "compare": b">=", "multiple": True, "floor": -1.0
    }
    nodes = nodes_of(path)
    assert {name: entries.pop("type") for name, entries in nodes.items()} == {
        "in": b"Input", "fc": b"Affine", "out": b"LIF", "output": b"Output"
    }
    assert edges_of(path) == {("in", "fc"), ("fc", "out"), ("out", "output")}
    # Numbers that single precision holds are stored in it, others are not.
    assert nodes["fc"]["weight"].dtype == np.float32
    np.testing.assert_array_equal(nodes["fc"]["weight"], weight)
    assert nodes["fc"]["bias"].dtype == np.float64
    np.testing.assert_array_equal(nodes["fc"]["bias"], [0.5, 0.1])
    np.testing.assert_array_equal(nodes["out"]["tau"], tau)
    assert set(nodes["out"]) == {"tau", "r", "v_leak", "v_threshold"}
    np.testing.assert_array_equal(nodes["in"]["shape"], [3])
    np.testing.assert_array_equal(nodes["output"]["shape"], [2])


def test_parameters_have_the_shape_of_their_population(tmp_path: Path) -> None:
    made = network(
        [population("in", (2, 6, 5), None), population("c", (3, 4, 3)), population("d", (36,))],
        [
            projection("in", "c", Conv2d(weights(3, 2, 3, 3), (2, 6, 5)), np.repeat([1.0, 2, 3], 12)),
            projection("c", "d", Dense(weights(36, 36))),
        ],
    )
    path = nmap.write(made, tmp_path / "net.nir")
    nodes = nodes_of(path)
    assert {entries[e].shape for n, entries in nodes.items() if n == "c" for e in entries if e != "type"} == {(3, 4, 3)}
    np.testing.assert_array_equal(nodes["in-c"]["bias"], [1, 2, 3])
    np.testing.assert_array_equal(nodes["in-c"]["input_shape"], [6, 5])
    assert nodes["c.flat"]["type"] == b"Flatten"
    assert edges_of(path) >= {("in", "in-c"), ("in-c", "c"), ("c", "c.flat"), ("c.flat", "c-d"), ("c-d", "d")}
    assert differences(made, nmap.read(path)) == []


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    made = small()
    first, second = nmap.write(made, tmp_path / "1.nir"), nmap.write(made, str(tmp_path / "2.nir"))
    assert first.read_bytes() == second.read_bytes()
    again = nmap.write(nmap.read(first), tmp_path / "3.nir")
    assert differences(nmap.read(first), nmap.read(again)) == []


# What comes back


@pytest.mark.parametrize("kind", ["LIF", "CubaLIF", "IF", "LI", "I", "CubaLI", "Threshold"])
@pytest.mark.parametrize("dt", [1e-3, None, 3.7e-4])
@pytest.mark.parametrize("own", [True, False])
def test_every_neuron_comes_back_bit_by_bit(kind: str, dt: float | None, own: bool, tmp_path: Path) -> None:
    step = 1.0 if dt is None else dt
    neuron = neurons(5, kind)
    if kind in ("I", "IF"):
        neuron = replace(neuron, gain_v=(3 + 1 + np.arange(5) / 7) * step)
    made = network(
        [population("in", (5,), None), Population("n", (5,), neuron, _WHERE)],
        [projection("in", "n", Dense(np.eye(5)))],
        conventions=Conventions(dt),
    )
    if own:
        # The fields of a file that was read.
        made = round_trip(made, tmp_path)
        assert made["n"].neuron.fields  # type: ignore[union-attr]
    back = round_trip(made, tmp_path)
    assert differences(made, back) == []
    for entry in ("alpha", "gain_in", "gain_v", "beta", "drive", "threshold", "v_reset"):
        mine, theirs = getattr(made["n"].neuron, entry), getattr(back["n"].neuron, entry)
        assert mine.tobytes() == theirs.tobytes(), entry


def test_parameters_changed_after_reading_are_written_not_the_files_old_ones(tmp_path: Path) -> None:
    first = round_trip(small(), tmp_path)
    neuron = first["a"].neuron
    assert isinstance(neuron, Neuron)
    changed = replace(neuron, beta=np.full(4, 0.75), threshold=neuron.threshold * 3, gain_v=neuron.gain_v / 3, drive=np.zeros(4))
    second = replace(first, populations=tuple(replace(p, neuron=changed) if p.name == "a" else p for p in first.populations))
    back = round_trip(second, tmp_path)
    assert differences(second, back) == []
    assert back["a"].neuron.beta.tolist() == [0.75] * 4  # type: ignore[union-attr]
    assert {d.field for d in differences(first, back)} == {"beta", "threshold", "gain_v", "drive"}


def test_another_time_step_is_written_with_other_time_constants(tmp_path: Path) -> None:
    first = round_trip(small(), tmp_path)
    second = replace(first, conventions=replace(first.conventions, dt=0.5))
    back = round_trip(second, tmp_path)
    assert differences(second, back) == []
    assert back.conventions.dt == 0.5


@pytest.mark.parametrize("decay", ["euler", "exact"])
@pytest.mark.parametrize(("beta", "alpha"), [(1.0, 0.5), (0.0, 0.5), (0.96875, 0.0), (0.96875, 1.0)])
def test_no_leak_and_no_memory_come_back(decay: Any, beta: float, alpha: float, tmp_path: Path) -> None:
    neuron = neurons(2, "CubaLIF", beta=np.full(2, beta), alpha=np.full(2, alpha), drive=np.zeros(2), gain_v=np.ones(2))
    made = network(
        [population("in", (2,), None), Population("n", (2,), neuron, _WHERE)],
        [projection("in", "n", Dense(np.eye(2)))],
        conventions=Conventions(1e-3, decay=decay),
    )
    assert differences(made, round_trip(made, tmp_path)) == []


def _between(kind: str) -> Network:
    """Two populations and a projection of some kind, beside a dense one."""
    source: tuple[int, ...] = (4,)
    target: tuple[int, ...] = (4,)
    connectivity: Any = Dense(weights(4, 4))
    bias, more = None, {}
    if kind in ("ones", "two direct"):
        connectivity = Sparse.diagonal(np.ones(4))
    elif kind == "one to one":
        source = target = (2, 3, 2)
        connectivity = Sparse.diagonal(weights(12))
    elif kind == "one to one, biased":
        connectivity, bias = Sparse.diagonal(weights(4)), weights(4)
    elif kind == "one to one, other shape":
        source, target = (2, 3, 2), (12,)
        connectivity = Sparse.diagonal(weights(12))
    elif kind == "sparse":
        connectivity = Sparse.from_dense(weights(4, 4) * (_RNG.random((4, 4)) < 0.4))
    elif kind == "sparse, biased":
        connectivity, bias = Sparse.from_dense(weights(4, 4) * (_RNG.random((4, 4)) < 0.4)), weights(4)
    elif kind == "dense to image":
        target = (2, 3, 2)
        connectivity = Dense(weights(12, 4))
    elif kind == "conv":
        source = (2, 7, 6)
        connectivity = Conv2d(weights(4, 2, 3, 3), source, (2, 1), (1, 0))
    elif kind == "conv, grouped":
        source = (4, 7, 6)
        connectivity, bias = Conv2d(weights(6, 2, 2, 3), source, (1, 2), (0, 2), (2, 1), 2), np.repeat(weights(6), 5 * 4)
    elif kind == "conv, flattened":
        source = (1, 5, 5)
        connectivity = Conv2d(weights(2, 1, 3, 3), source)
    elif kind == "conv, biased by neuron":
        source = (1, 5, 5)
        connectivity, bias = Conv2d(weights(2, 1, 3, 3), source), weights(18)
    elif kind == "conv from a vector":
        source = (50,)
        connectivity = Conv2d(weights(2, 2, 3, 3), (2, 5, 5))
    elif kind == "conv on a line":
        source = (3, 9)
        connectivity, bias = Conv2d(weights(4, 3, 1, 3), (3, 1, 9), (1, 2), (0, 1), (1, 2)), np.repeat(weights(4), 4)
    elif kind == "conv of height 1":
        source = (3, 1, 9)
        connectivity = Conv2d(weights(4, 3, 1, 3), source)
    elif kind in ("sum pool", "average pool", "scaled pool", "padded pool"):
        source = (3, 7, 8)
        window = np.full((3, 1, 2, 3), {"sum pool": 1.0, "scaled pool": 0.3}.get(kind, 1 / 6))
        connectivity = Conv2d(window, source, (2, 1), (1, 1) if kind == "padded pool" else (0, 0), groups=3)
    elif kind == "rows":
        source, target = (2, 3, 4), (2, 3, 5)
        connectivity, bias = Conv2d(weights(30, 1, 1, 4), (6, 1, 4), groups=6), weights(30)
    elif kind == "one to one, biased image":
        source = target = (2, 3, 2)
        connectivity, bias = Sparse.diagonal(weights(12)), weights(12)
    elif kind == "ones to image":
        source, target = (12,), (2, 3, 2)
        connectivity = Sparse.diagonal(np.ones(12))
    elif kind == "image to matrix":
        source, target = (2, 3, 2), (2, 6)
        connectivity = Sparse.diagonal(weights(12))
    elif kind == "dense to matrix":
        target = (3, 5)
        connectivity, bias = Dense(weights(15, 4)), weights(15)
    elif kind == "delays of both ends":
        connectivity = Sparse.from_dense(np.triu(weights(4, 4), 1))
        ends = np.array([0, 3, 1, 2]), np.array([5, 0, 2, 4])
        more = {"delays": ends[0][connectivity.indices] + ends[1][connectivity.targets], "delay": 1}
    elif kind == "delay":
        more = {"delay": 3}
    elif kind == "delay, direct":
        connectivity, more = Sparse.diagonal(np.ones(4)), {"delay": 2}
    elif kind == "delays by source":
        more = {"delays": np.tile([0, 2, 1, 2], (4, 1)), "delay": 1}
        bias = weights(4)
    elif kind == "delays by target":
        more = {"delays": np.tile([[1], [2], [1], [5]], (1, 4))}
    elif kind == "delays of sparse synapses":
        connectivity = Sparse.from_dense(np.triu(weights(4, 4)))
        more = {"delays": connectivity.indices.astype(np.int64) % 3}
    elif kind == "late bias":
        bias, more = weights(4), {"delay": 5, "bias_from": 2}
    elif kind == "late bias with the spikes":
        bias, more = weights(4), {"delay": 2, "bias_from": 2}
    if isinstance(connectivity, Conv2d) and kind != "rows":
        target = connectivity.out_shape
        target = (target[0], target[2]) if kind == "conv on a line" else target
        target = (int(np.prod(target)),) if kind == "conv, flattened" else target
    made = [projection("in", "a", Dense(weights(int(np.prod(source)), 3))), projection("a", "b", connectivity, bias, **more)]
    if kind == "two direct":
        made.append(projection("a", "b", connectivity, name="again"))
    return network([population("in", (3,), None), population("a", source), population("b", target, "IF")], made)


KINDS = (
    "dense", "ones", "two direct", "one to one", "one to one, biased", "one to one, other shape", "sparse", "sparse, biased",
    "dense to image", "conv", "conv, grouped", "conv, flattened", "conv, biased by neuron", "conv from a vector", "conv on a line",
    "conv of height 1", "delay", "delay, direct", "delays by source", "delays by target", "delays of sparse synapses", "late bias",
    "late bias with the spikes", "sum pool", "average pool", "scaled pool", "padded pool", "rows", "one to one, biased image",
    "ones to image", "image to matrix", "dense to matrix", "delays of both ends",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_projection_comes_back(kind: str, tmp_path: Path) -> None:
    made = _between(kind)
    back = round_trip(made, tmp_path)
    assert differences(made, back) == []
    inputs = _RNG.integers(0, 2, (3, 12, 3))
    mine, theirs = simulate(made, inputs, record=["b:v"]), simulate(back, inputs, record=["b:v"])
    np.testing.assert_allclose(mine.v["b"], theirs.v["b"], rtol=1e-9, atol=1e-9)
    # Nodes that were split or merged do not make names grow.
    again = round_trip(back, tmp_path)
    assert [p.name for p in round_trip(again, tmp_path).projections] == [p.name for p in again.projections]
    assert max(len(p.name) for p in again.projections) < 40


@pytest.mark.parametrize(
    ("kind", "types"),
    [
        ("sum pool", {"a-b": "SumPool2d"}),
        ("average pool", {"a-b": "AvgPool2d"}),
        ("padded pool", {"a-b": "AvgPool2d"}),
        ("scaled pool", {"a-b": "SumPool2d", "a-b.scale": "Scale"}),
        ("rows", {"a-b": "Affine"}),
        ("one to one, biased image", {"a-b": "Affine"}),
        ("conv, biased by neuron", {"a-b": "Conv2d", "a-b.bias": "Affine"}),
        ("image to matrix", {"a-b": "Scale", "a-b.flat": "Flatten"}),
    ],
)
def test_a_connection_is_the_node_that_says_it(kind: str, types: dict[str, str], tmp_path: Path) -> None:
    found = nodes_of(nmap.write(_between(kind), tmp_path / "net.nir"))
    assert {name: entries["type"].decode() for name, entries in found.items() if name.startswith("a-b")} == types


def _correlated(x: np.ndarray, entries: dict[str, Any]) -> np.ndarray:
    """A convolution as its definition says, one output at a time; a line is a plane of height 1."""
    line = entries["type"] == "Conv1d"
    kernel = entries["weight"][:, :, None] if line else entries["weight"]
    image = x[:, None] if line else x
    stride, padding, dilation = ((1, entries[e]) if line else entries[e] for e in ("stride", "padding", "dilation"))
    padding = (0, padding[1]) if line else padding
    image = np.pad(image, ((0, 0), (padding[0],) * 2, (padding[1],) * 2))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel.shape[2:], strict=True)]
    size = [(n - s) // step + 1 for n, s, step in zip(image.shape[1:], spans, stride, strict=True)]
    out = np.zeros((kernel.shape[0], *size))
    for k, y, z in np.ndindex(*out.shape):
        top, left = y * stride[0], z * stride[1]
        out[k, y, z] = (image[:, top : top + spans[0] : dilation[0], left : left + spans[1] : dilation[1]] * kernel[k]).sum()
    return out[:, 0] if line else out


@pytest.mark.parametrize(
    "shape", [(1, 5), (4, 3), (7, 1), (1, 1), (1, 1, 5), (1, 4, 1), (6, 1, 1), (3, 4, 2), (2, 2, 5), (1, 3, 4), (34, 2, 1), (17, 1, 2)]
)
def test_the_nodes_of_a_shape_put_values_in_c_order(shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape))
    values = np.arange(1.0, size + 1)
    links = shaped((size,), shape, 1)
    found, at = values, (size,)
    for link in links:
        assert link.reads == at
        at = link.shape
        found = found.reshape(at) if link.node["type"] == "Flatten" else _correlated(found, link.node)
    assert at == shape
    np.testing.assert_array_equal(found, values.reshape(shape))


def test_shapes_without_nodes_stay_vectors() -> None:
    assert shaped((16,), (2, 2, 2, 2), 1) == []
    assert shaped((6,), (6,), 1) == []
    assert shaped((60,), (3, 4, 5), MAX_WORK // 60) == []


@pytest.mark.parametrize("shape", [(1, 1, 4), (1, 30), (1, 1, 1), (1, 4), (1, 2, 2), (1, 1)])
@pytest.mark.parametrize("direct", [True, False])
def test_leading_ones_of_a_shape_come_back(shape: tuple[int, ...], direct: bool, tmp_path: Path) -> None:
    size = int(np.prod(shape))
    first = Sparse.diagonal(np.ones(size)) if direct else Dense(weights(size, size))
    made = network(
        [population("in", (size,), None), population("a", shape), population("b", shape, "CubaLIF")],
        [
            projection("in", "a", first, None if direct else weights(size)),
            projection("a", "b", Dense(weights(size, size))),
            projection("b", "a", Dense(weights(size, size)), delay=1),
        ],
    )
    back = round_trip(made, tmp_path)
    assert differences(made, back) == []
    assert (back["a"].shape, back["b"].shape) == (shape, shape)


def test_time_constants_that_count_steps_come_back_with_delays(tmp_path: Path) -> None:
    made = _between("delays by source")
    # The neurons' equations are in steps already: no dt enters them.
    made = replace(made, conventions=replace(made.conventions, dt=2e-3, in_steps=True))
    back = round_trip(made, tmp_path)
    assert differences(made, back) == []
    assert (back.conventions.dt, back.conventions.in_steps) == (2e-3, True)
    delay = next(e["delay"] for e in nodes_of(tmp_path / "net.nir").values() if e["type"] == b"Delay")
    assert delay.tolist() == [1, 3, 2, 3]


@pytest.mark.parametrize("delays", [(0, 1), (1, 0), (1, 1), (2, 0), (0, 3), (2, 4)])
def test_loops_keep_their_delays(delays: tuple[int, int], tmp_path: Path) -> None:
    made = network(
        [population("in", (2,), None), population("a", (3,)), population("b", (3,))],
        [
            projection("in", "a", Dense(weights(3, 2))),
            projection("a", "b", Dense(weights(3, 3)), delay=delays[0]),
            projection("b", "a", Dense(weights(3, 3)), weights(3), delay=delays[1]),
        ],
    )
    back = round_trip(made, tmp_path)
    assert differences(made, back) == []
    # The step that a loop takes anyway needs no node; all others have one.
    named = [name for name, node in nodes_of(tmp_path / "net.nir").items() if node["type"] == b"Delay"]
    assert len(named) == (0 if delays == (0, 1) else sum(d > 0 for d in delays))


def test_late_biases_of_recurrent_layers_come_back(tmp_path: Path) -> None:
    populations = [population("in", (2,), None), population("a", (3,))]
    made = network(
        populations,
        [projection("in", "a", Dense(weights(3, 2))), projection("a", "a", Dense(weights(3, 3)), weights(3), 1, bias_from=1)],
        conventions=Conventions(1e-3, late_bias=True),
    )
    assert differences(made, round_trip(made, tmp_path)) == []
    # Without the convention a Delay behind the weights says the same.
    plain = replace(made, conventions=Conventions(1e-3))
    assert differences(plain, round_trip(plain, tmp_path)) == []


def test_several_inputs_and_outputs_keep_their_order(tmp_path: Path) -> None:
    names = ["z", "b", "a", *(f"n{k}" for k in range(10))]
    made = network(
        [population("p", (2,), None), population("q", (3,), None), *(population(name, (2,)) for name in names)],
        [projection("p", name, Dense(weights(2, 2))) for name in names] + [projection("q", "z", Dense(weights(2, 3)))],
        outputs=tuple(names),
    )
    back = round_trip(made, tmp_path)
    assert (back.inputs, back.outputs) == (("p", "q"), tuple(names))
    assert differences(made, back) == []
    swapped = replace(made, inputs=("q", "p"))
    with refused("NM104") as found:
        nmap.write(swapped, tmp_path / "net.nir")
    assert "inputs are q, p, then p, q" in found[0].message


@pytest.mark.parametrize("relay", ["readout", "biased readout", "sum", "inside"])
def test_linear_nodes_read_as_populations_come_back(relay: str, tmp_path: Path) -> None:
    nodes = {"input": port(3), "a": linear(weights(4, 3)), "n": lif(4), "fc": linear(weights(2, 4)), "output": sink(2)}
    edges = chain("input", "a", "n", "fc", "output")
    if relay == "biased readout":
        nodes["fc"] = affine(weights(2, 4), weights(2))
    if relay == "sum":
        nodes |= {"skip": linear(weights(2, 3))}
        edges += chain("input", "skip", "output")
    if relay == "inside":
        # A kernel of even size after a padded one, on an image too large to list the synapses of both together.
        nodes = {
            "input": port(1, 70, 70),
            "c": conv(weights(1, 1, 3, 3), padding=1),
            "d": conv(weights(1, 1, 3, 3), padding=1),
            "n": lif((1, 70, 70)),
            "output": sink(1, 70, 70),
        }
        edges = chain("input", "c", "d", "n", "output")
    first = nmap.read(write_nir(tmp_path / "first.nir", nodes, edges, {"dt": 1e-4}))
    assert [p.name for p in first.populations if p.neuron is not None and p.neuron.model == "Relay"] == [
        {"sum": "output", "inside": "c"}.get(relay, "fc")
    ]
    back = round_trip(first, tmp_path)
    assert differences(first, back) == []


def _relays(made: Network) -> list[str]:
    return [p.name for p in made.populations if p.neuron is not None and p.neuron.model == "Relay"]


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 3), (3,)])
@pytest.mark.parametrize("scale", [True, False])
def test_a_delay_between_one_to_one_weights_and_a_convolution_stays_a_relay(shape: tuple[int, ...], scale: bool, tmp_path: Path) -> None:
    size, steps = int(np.prod(shape)), np.arange(np.prod(shape)).reshape(shape) % 3
    one = {"type": "Conv2d", "weight": np.ones((2, 1, 1, 1)), "groups": 2, "stride": 1, "padding": 0, "dilation": 1}
    before = {3: one, 2: linear(np.tile(np.eye(shape[-1]), (shape[0], 1, 1))), 1: linear(np.eye(size))}[len(shape)]
    behind = {3: one | {"weight": weights(2, 1, 1, 1)}, 2: linear(weights(*shape, shape[-1])), 1: linear(weights(3, 3))}[len(shape)]
    nodes = {
        "input": port(*shape), "n": lif(shape), "w": before, "s": {"type": "Scale", "scale": 1 + weights(*shape) * scale},
        "d": {"type": "Delay", "delay": steps * 1e-4}, "c": behind, "m": lif(shape), "output": sink(*shape),
    }  # fmt: skip
    first = nmap.read(write_nir(tmp_path / "first.nir", nodes, chain(*nodes), {"dt": 1e-4}))
    assert _relays(first) == ["d"]
    made = replace(
        first,
        projections=tuple(
            # As a reader lists it that has no node for it.
            _as_listed(p) if p.target == "d" else p
            for p in first.projections
        ),
    )
    assert differences(first, made) == []
    assert differences(made, round_trip(made, tmp_path)) == []


def _as_listed(made: Projection) -> Projection:
    c = made.connectivity
    if not isinstance(c, Dense) or made.delays is None:
        return made
    return replace(made, connectivity=Sparse.from_dense(c.weights), delays=made.delays[np.nonzero(c.weights)])


def test_names_that_files_cannot_carry_are_replaced(tmp_path: Path) -> None:
    names = ["a/b", "a_b", ".", "", ":input", "c\x1b[31m", "d" * 3000, "d" * 3000 + "e", "\ud800", "é"]
    made = network(
        [population("in", (2,), None), *(population(name, (2,)) for name in names)],
        [projection("in", name, Dense(np.eye(2)), name=f"in/{k}") for k, name in enumerate(names)],
        outputs=tuple(names),
    )
    back = round_trip(made, tmp_path)
    told = dict(zip(names, back.outputs, strict=True))
    assert len(set(back.outputs)) == len(names)
    assert (told["a_b"], told["é"], told["."], told["c\x1b[31m"]) in {("a_b", "é", "_", "c_[31m"), ("a_b_2", "é", "_", "c_[31m")}
    assert {told["a/b"], told["a_b"]} == {"a_b", "a_b_2"}
    assert differences(made, back, told) == []


@pytest.mark.parametrize("folder", ["nir", "trained"])
def test_real_files_keep_their_spikes(folder: str, tmp_path: Path) -> None:
    files = sorted((shared_data() / folder).glob("*.nir"))
    kept = 0
    for path in files:
        try:
            first = nmap.read(path)
        except nmap.NmapError:
            assert path.name == "truncated_scnn_model.nir"
            continue
        back = round_trip(first, tmp_path)
        assert differences(first, back) == []
        inputs = np.random.default_rng(1).integers(0, 2, (2, 6, *first[first.inputs[0]].shape))
        spiking = [p.name for p in first.populations if p.neuron is not None and p.neuron.spiking]
        mine, theirs = simulate(first, inputs, record=spiking), simulate(back, inputs, record=spiking)
        for name in spiking:
            np.testing.assert_array_equal(mine.spikes[name], theirs.spikes[name])
            kept += int(mine.spikes[name].sum())
    assert len(files) > 4
    assert kept > 100


# What would be lost


def _with(made: Network, name: str, **changes: Any) -> Network:
    return replace(made, populations=tuple(replace(p, **changes) if p.name == name else p for p in made.populations))


def _neuron(**changes: Any) -> Callable[[Network], Network]:
    return lambda made: _with(made, "a", neuron=replace(made["a"].neuron, **changes))  # type: ignore[type-var]


def _model(model: Any) -> Callable[[Network], Network]:
    return lambda made: _with(made, "a", neuron=model)


def _first(**changes: Any) -> Callable[[Network], Network]:
    return lambda made: replace(made, projections=(replace(made.projections[0], **changes), *made.projections[1:]))


def _last(**changes: Any) -> Callable[[Network], Network]:
    return lambda made: replace(made, projections=(*made.projections[:-1], replace(made.projections[-1], **changes)))


def _stated(**changes: Any) -> Callable[[Network], Network]:
    return lambda made: replace(made, conventions=replace(made.conventions, **changes))


def _renamed(made: Network) -> Network:
    names = {"a": "renamed"}
    moved = [replace(p, source=names.get(p.source, p.source), target=names.get(p.target, p.target)) for p in made.projections]
    populations = [replace(p, name=names.get(p.name, p.name)) for p in made.populations]
    return replace(made, populations=tuple(populations), projections=tuple(moved))


_FOUR = np.full(4, 0.25)
_ADAPTATION = Adaptation(_FOUR, _FOUR, _FOUR)
_RESONATOR = Resonator("RF", _FOUR, _FOUR, _FOUR, _FOUR, "phase")
_SIGMA_DELTA = SigmaDelta("SDNN", "sigma_delta", _FOUR, _FOUR)
# For every field of a network: a change to another value of it. `None` stands for fields that do not say what a network computes,
# `unsayable` for changes that NIR has no word for; all others must come back.
CHANGES: dict[type, dict[str, Any]] = {
    Network: {
        "file": None, "format": None, "sha256": None, "assumptions": None, "notes": None, "diagnostics": None,
        "populations": lambda made: replace(
            made,
            populations=(*made.populations, population("new", (4,))),
            projections=(*made.projections, projection("a", "new", Dense(np.eye(4)))),
            outputs=("b", "new"),
        ),
        "projections": lambda made: replace(made, projections=made.projections[:2]),
        "inputs": lambda made: replace(
            made,
            populations=(population("also", (2,), None), *made.populations),
            projections=(*made.projections, projection("also", "b", Dense(np.eye(2)))),
            inputs=("also", "in"),
        ),
        "outputs": lambda made: replace(made, outputs=("b", "a")),
        "conventions": _stated(compare=">="),
    },
    Population: {
        "where": None,
        "name": _renamed,
        "shape": lambda made: _with(made, "a", shape=(2, 2)),
        "neuron": _model(neurons(4, "IF")),
        "hops": ("unsayable", lambda made: _with(made, "a", hops=1)),
    },
    Projection: {
        "name": None, "where": None,
        "source": _last(source="in", connectivity=Dense(np.ones((4, 3)))),
        "target": _last(target="b", connectivity=Dense(np.ones((2, 2)))),
        "connectivity": _first(connectivity=Dense(np.full((4, 3), 0.1))),
        "bias": _first(bias=np.full(4, 0.3)),
        "delay": _first(delay=4),
        "delays": _first(delays=np.tile([1, 2, 3], (4, 1))),
        "bias_from": _first(bias_from=2, delay=2),
        "receptor": ("unsayable", _first(receptor="imaginary")),
    },
    Neuron: {
        "fields": None,
        "model": _model(neurons(4, "LIF", alpha=np.full(4, 0.5), model="CubaLIF")),
        "alpha": _model(neurons(4, "CubaLIF", alpha=np.full(4, 0.5))),
        "gain_in": _model(neurons(4, "CubaLIF", gain_in=np.full(4, 3.0))),
        "gain_v": _neuron(gain_v=np.full(4, 0.7)),
        "beta": _neuron(beta=np.full(4, 0.8125)),
        "drive": _neuron(drive=np.full(4, 0.03125)),
        "threshold": _neuron(threshold=np.full(4, 0.9)),
        "v_reset": _neuron(v_reset=np.full(4, 0.1)),
        "spiking": _model(neurons(4, "LI")),
        "quantum": ("unsayable", _neuron(quantum=1.0)),
        "adaptation": ("unsayable", _neuron(adaptation=_ADAPTATION)),
    },
    Adaptation: {f.name: ("unsayable", _neuron(adaptation=_ADAPTATION)) for f in fields(Adaptation)},
    Resonator: {f.name: ("unsayable", _model(_RESONATOR)) for f in fields(Resonator)},
    SigmaDelta: {f.name: ("unsayable", _model(_SIGMA_DELTA)) for f in fields(SigmaDelta)},
    Conventions: {
        "dt": _stated(dt=2e-3),
        "reset": _stated(reset="subtract"),
        "decay": ("unsayable", _stated(decay="steps")),
        "compare": _stated(compare=">="),
        "multiple": _stated(multiple=True),
        "floor": _stated(floor=-1.0),
        "early_reset": _stated(reset="subtract", early_reset=True),
        "lag": _stated(lag=1),
        "late_bias": lambda made: replace(made, conventions=replace(made.conventions, late_bias=True)),
        "gain": _stated(gain="exact"), "in_steps": _stated(in_steps=True), "reset_interval": _stated(reset_interval=7),
        "reset_offset": _stated(reset_interval=7, reset_offset=3),
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGES)
def test_every_field_is_written_or_refused(kind: type, tmp_path: Path) -> None:
    assert set(CHANGES[kind]) == {f.name for f in fields(kind)}, "a field was added: say here that it is written, refused or left out"
    left_out = {name for name, change in CHANGES[kind].items() if change is None}
    if kind not in (Resonator, SigmaDelta):
        assert left_out == LEFT_OUT[kind]
    made = small()
    for name, change in CHANGES[kind].items():
        if change is None:
            continue
        unsayable = isinstance(change, tuple)
        other = (change[1] if unsayable else change)(made)
        assert differences(made, other), f"the comparison does not see {name}"
        if unsayable:
            with refused("NM104"):
                nmap.write(other, tmp_path / "net.nir")
        else:
            assert differences(other, round_trip(other, tmp_path)) == [], name


def test_all_that_has_no_word_is_named_at_once(tmp_path: Path) -> None:
    two = np.ones(2)
    models = {
        "rf": Resonator("RF", two, two, two, two, "phase"),
        "sdnn": SigmaDelta("SDNN", "delta", two, two),
        "alif": replace(neurons(2), adaptation=Adaptation(two, two, two)),
        "cuba": replace(neurons(2), model="CUBA", quantum=1.0),
        "odd": replace(neurons(2), model="Lapicque"),
    }
    made = network(
        [population("in", (2,), None), *(Population(name, (2,), model, _WHERE) for name, model in models.items())],
        [
            projection("in", "rf", Dense(np.eye(2)), name="im", receptor="imaginary"),
            projection("in", "sdnn", Dense(np.eye(2)), name="mixed", delays=np.array([[0, 1], [1, 0]])),
            projection("in", "alif", Dense(np.eye(2)), two, name="target", delays=np.array([[0, 0], [1, 1]])),
            projection("in", "cuba", Dense(np.eye(2)), two, name="later", bias_from=1),
            projection("in", "odd", Dense(np.eye(2)), name="fine"),
        ],
        conventions=Conventions(None, decay="steps"),
    )
    with refused("NM104") as found:
        nmap.write(made, tmp_path / "net.nir")
    (told,) = found
    assert told.where == "made.py"
    for name in (*models, "im", "mixed", "target", "later"):
        assert f"`{name}`" in told.message
    assert "`fine`" not in told.message
    assert "12-bit" in told.message
    assert len(told.data["parts"]) == 10
    assert list(tmp_path.iterdir()) == []


def test_a_sparse_connection_beyond_the_limit_is_refused_by_name(tmp_path: Path) -> None:
    n = 5000
    wide = Sparse(np.arange(n + 1), (np.arange(n) + 1) % n, np.ones(n), n)
    made = network([population("in", (n,), None), population("a", (n,))], [projection("in", "a", wide, name="shifted")])
    with refused("NM104") as found:
        nmap.write(made, tmp_path / "net.nir")
    assert "`shifted`" in found[0].message
    assert "5000 x 5000" in found[0].message


def test_what_would_come_back_changed_is_refused(tmp_path: Path) -> None:
    # No time constant gives these: 1 - dt/tau has no value between 0 and 2**-53.
    tiny = _neuron(beta=np.full(4, 1e-30))(small())
    with refused("NM104") as found:
        nmap.write(tiny, tmp_path / "net.nir")
    assert "population `a`: beta[0] is 1e-30" in found[0].message
    # Nothing leads to `alone`, so readers refuse the graph.
    made = small()
    alone = replace(made, populations=(*made.populations, population("alone", (2,))))
    with refused("NM104") as found:
        nmap.write(alone, tmp_path / "net.nir")
    assert "no input reaches `alone`" in found[0].message
    assert list(tmp_path.iterdir()) == []


# The file


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    with refused("NM004") as found:
        nmap.write("net.nir", tmp_path / "net.nir")  # type: ignore[arg-type]
    assert "nmap.read" in found[0].help[0]


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with refused("NM601") as found:
        nmap.write(small(), tmp_path)
    assert found[0].where == str(tmp_path)
    assert tmp_path.is_dir()


@pytest.mark.parametrize("path", [None, 5, b"net.nir", ["net.nir"]])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with refused("NM004") as found:
        nmap.write(small(), path)
    assert "is no path" in found[0].message


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_may_be_relative_and_of_either_kind(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inner").mkdir()
    made = small()
    for name in ("net.nir", "./inner/../inner/net.nir", "net.nir"):
        assert nmap.write(made, kind(name)) == Path(name)
        assert differences(made, nmap.read(name)) == []
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["inner", "net.nir", "net.nir"]


def test_an_older_file_stays_open_to_its_readers(tmp_path: Path) -> None:
    path = nmap.write(small(), tmp_path / "net.nir")
    before = path.read_bytes()
    with path.open("rb") as reader:
        nmap.write(_between("conv"), path)
        assert reader.read() == before
    assert path.read_bytes() != before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    with refused("NM601") as found:
        nmap.write(small(), tmp_path / "shut" / "net.nir")
    assert found[0].why == "Permission denied."


def test_a_link_to_itself_is_told(tmp_path: Path) -> None:
    (tmp_path / "loop.nir").symlink_to(tmp_path / "loop.nir")
    with refused("NM601") as found:
        nmap.write(small(), tmp_path / "loop.nir" / "net.nir")
    assert found[0].where == str(tmp_path / "loop.nir" / "net.nir")


@pytest.mark.parametrize("name", ["absent/net.nir", "file/net.nir", "a\0b", "x" * 300])
def test_a_place_that_cannot_be_written_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with refused("NM601") as found:
        nmap.write(small(), tmp_path / name)
    assert found[0].where == str(tmp_path / name)
    assert found[0].why


def test_a_failure_midway_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = nmap.write(small(), tmp_path / "net.nir")
    before = path.read_bytes()

    def fail(group: Any, members: Any) -> None:
        group.create_dataset("half", data=np.zeros(1000))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nmap.writers, "_store", fail)
    with refused("NM601") as found:
        nmap.write(small(), path)
    assert found[0].why == "No space left on device."
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["net.nir"]


def test_links_are_followed_and_stay(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    target = nmap.write(small(), tmp_path / "inner" / "net.nir")
    link = tmp_path / "link.nir"
    link.symlink_to(target)
    made = small()
    nmap.write(made, link)
    assert link.is_symlink()
    assert differences(made, nmap.read(target)) == []


# The comparison


def test_what_has_no_meaning_makes_no_difference() -> None:
    made = small()
    first = made.projections[0]
    assert isinstance(first.connectivity, Dense)
    unbiased = replace(made.projections[1], bias=np.zeros(2), bias_from=3)
    same = [
        replace(made, file="x", sha256="1", notes=("n",), assumptions=(Assumption("a", "b", "file", "c"),)),
        replace(made, populations=made.populations[::-1], projections=made.projections[::-1]),
        _first(connectivity=Sparse.from_dense(first.connectivity.weights), name="other")(made),
        _first(delays=np.zeros((4, 3), np.int64))(made),
        replace(made, projections=(made.projections[0], unbiased, made.projections[2])),
    ]
    for other in same:
        assert differences(made, other) == []
        assert differences(other, made) == []
    split = _first(delay=3)(made), _first(delay=1, delays=np.full((4, 3), 2))(made)
    assert differences(*split) == []
    unpadded = Conv2d(np.ones((1, 1, 3, 3)), (1, 1, 1), padding=(1, 1))
    ends = [population("in", (1, 1, 1), None), population("a", (1,))]
    pair = [network(ends, [projection("in", "a", c)]) for c in (unpadded, Dense(np.ones((1, 1))))]
    assert differences(pair[0], pair[1]) == []


def test_pooled_and_merged_layers_come_back(tmp_path: Path) -> None:
    nodes = {
        "input": port(2, 12, 12),
        "c": conv(weights(4, 2, 3, 3), padding=1, bias=weights(4)),
        "p": pool("Avg", np.array([2, 2]), np.array([2, 2])),
        "n": lif((4, 6, 6)),
        "q": pool("Sum", np.array([3, 3]), np.array([3, 3])),
        "flat": flatten(),
        "fc": affine(weights(5, 16), weights(5)),
        "out": lif(5),
        "output": sink(5),
    }
    path = write_nir(tmp_path / "first.nir", nodes, chain(*nodes), {"dt": 1e-4})
    first = nmap.read(path)
    back = round_trip(first, tmp_path)
    assert differences(first, back) == []
    assert [p.name for p in back.projections] == [p.name for p in first.projections]


def test_pipes_links_to_nowhere_and_folders_stay_what_they_are(tmp_path: Path) -> None:
    pipe, loop = tmp_path / "pipe", tmp_path / "loop"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    for place in (pipe, loop, f"{tmp_path}/new/"):
        with refused("NM601"):
            nmap.write(small(), place)
    assert pipe.is_fifo()
    assert loop.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["loop", "pipe"]


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "net.nir"
    path.write_bytes(b"old")
    path.chmod(0o600)
    nmap.write(small(), path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert nmap.read(path).neurons == small().neurons
