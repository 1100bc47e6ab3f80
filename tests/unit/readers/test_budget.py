"""Small files that ask for much memory or much work: each is read, divided or refused, in seconds."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nmap.connectivity import Array, Conv2d, Sparse
from nmap.diagnostics import Findings
from nmap.network import Network
from nmap.readers import hdf5, read, wiring
from nmap.readers.hdf5 import MAX_TOTAL_BYTES, MAX_WORK, Tree
from nmap.readers.sniff import open_tree
from nmap.simulate.floating import simulate
from tests.unit.readers.builders import (
    Edges,
    Nodes,
    affine,
    chain,
    conv,
    conv1d,
    cuba,
    delay,
    flatten,
    if_,
    linear,
    pool,
    port,
    refused,
    scale,
    sink,
    write_netx,
    write_nir,
)

_RNG = np.random.default_rng(5)
# A busy machine takes several times the ten seconds that the reader's limit stands for.
_SECONDS = 45.0


@contextmanager
def _swift() -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < _SECONDS


@contextmanager
def _small(most: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def _one() -> dict[str, Any]:
    """Neurons of one layer with the same parameters, of whatever shape arrives."""
    return {"type": "IF", "r": 1e4, "v_threshold": 1.0}


def _kernel(*shape: int) -> Array:
    return _RNG.integers(-4, 5, shape).astype(np.float32)


def _written(path: Path, nodes: Nodes, edges: Edges) -> Path:
    with h5py.File(write_nir(path, {k: n for k, n in nodes.items() if "weight" not in n}, edges), "a") as file:
        for name, node in nodes.items():
            if "weight" in node:
                for entry, value in node.items():
                    packed = {"compression": "gzip"} if entry == "weight" else {}
                    text = {"dtype": h5py.string_dtype()} if entry == "type" else {}
                    file.create_dataset(f"node/nodes/{name}/{entry}", data=value, **packed, **text)
    return path


# Memory


def test_a_padded_window_is_claimed_before_it_is_made(tmp_path: Path) -> None:
    nodes = {"in": port(1, 1, 1), "p": pool("Avg", [30000, 30000], [30000, 30000], [15000, 15000]), "n": _one(), "out": sink(1, 1, 1)}
    path = write_nir(tmp_path / "net.nir", nodes, chain("in", "p", "n", "out"))
    with _small(2**26), refused("NM110") as found:
        read(path)
    assert found[0].where == f"{path}:/node/nodes/p"
    assert "the kernel of `p` has 900000000 elements" in found[0].message


def test_a_window_without_padding_is_claimed_before_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = {"in": port(1, 9000, 9000), "p": pool("Sum", 9000, 9000), "n": _one(), "out": sink(1, 1, 1)}
    path = write_nir(tmp_path / "net.nir", nodes, chain("in", "p", "n", "out"))
    monkeypatch.setattr(hdf5, "MAX_BYTES", 9000 * 9000 * 8 - 1)
    with _small(2**26), refused("NM110"):
        read(path)
    monkeypatch.setattr(hdf5, "MAX_TOTAL_BYTES", 9000 * 9000 * 8 * 3 // 2)
    monkeypatch.setattr(hdf5, "MAX_BYTES", 2**30)
    with _small(2**26), refused("NM110") as found:
        read(path)
    assert "together beyond the reader's limit, reached at `p`" in found[0].message


def test_narrow_numbers_count_as_what_they_become(tmp_path: Path) -> None:
    nodes = {"in": port(1, 12000, 12000), "c": conv(np.zeros((1, 1, 2, 2), np.int8)), "n": _one(), "out": sink(1, 1, 1)}
    path = write_nir(tmp_path / "net.nir", nodes, chain("in", "c", "n", "out"))
    with h5py.File(path, "a") as file:
        del file["node/nodes/c/weight"]
        # 144 MB of int8 in a few hundred kilobytes; as float64 beyond the limit of one array.
        file.create_dataset("node/nodes/c/weight", data=np.zeros((1, 1, 12000, 12000), np.int8), compression="gzip")
    with _small(2**27), refused("NM110") as found:
        read(path)
    assert "1152000000 bytes" in (found[0].why or "")


def test_products_are_claimed_before_they_are_made(tmp_path: Path) -> None:
    nodes: Nodes = {"in": port(4000), "out": sink(3000)}
    edges: Edges = [("n0", "out")]
    for k in range(4):
        nodes |= {f"a{k}": linear(_kernel(1, 4000)), f"b{k}": linear(_kernel(3000, 1)), f"n{k}": _one()}
        edges += chain("in", f"a{k}", f"b{k}", f"n{k}")
    path = write_nir(tmp_path / "net.nir", nodes, edges)
    product = 4000 * 3000 * 8
    # Four products and nothing of their size besides: none is copied when it becomes a connection.
    with _small(int(4.6 * product)):
        network = read(path, dt=1e-4, reset="zero")
    assert [p.connectivity.weights.nbytes for p in network.projections] == [product] * 4


def test_products_beyond_half_of_the_limit_stay_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "MAX_TOTAL_BYTES", 2**20)
    nodes: Nodes = {"in": port(200), "out": sink(200)}
    edges: Edges = [("n0", "out")]
    for k in range(4):
        nodes |= {f"a{k}": linear(np.ones((1, 200))), f"b{k}": linear(np.ones((200, 1))), f"n{k}": _one()}
        edges += chain("in", f"a{k}", f"b{k}", f"n{k}")
    network = read(write_nir(tmp_path / "net.nir", nodes, edges), dt=1e-4, reset="zero")
    merged = [p for p in network.projections if p.connectivity.synapses == 200 * 200]
    assert len(merged) == 1
    assert len(network.populations) == 1 + 4 + 3
    _same_input(network, 200, lambda x: np.full(200, x.sum()), "n3")


def _same_input(network: Network, size: int, expected: Any, name: str) -> None:
    """Check what reaches a population in one step, relays before it included."""
    x = _RNG.integers(0, 2, size)
    found = {network.inputs[0]: x.astype(float)}
    for population in network.populations:
        if population.name in found:
            continue
        total = np.zeros(population.size)
        for p in network.projections:
            if p.target == population.name:
                total += p.connectivity.apply(found[p.source]) + (0 if p.bias is None else p.bias)
        found[population.name] = total
    np.testing.assert_allclose(found[name], expected(x), rtol=1e-12)


# Work


def _heavy() -> dict[str, tuple[Nodes, Edges, int]]:
    """Return files that would take hours, by what takes them, with the number of populations to be read."""
    big, line = _kernel(1, 1, 700, 700), chain("in", "a", "b", "n", "out")
    branches: Nodes = {"in": port(1, 64, 64), "out": sink(1, 64, 64)}
    edges: Edges = [("n0", "out")]
    for k in range(20):
        branches |= {
            f"c{k}": conv(_kernel(1, 1, 63, 63), padding=31), f"s{k}": scale(_RNG.normal(size=(1, 64, 64))),
            f"d{k}": conv(_kernel(1, 1, 63, 63), padding=31), f"n{k}": _one(),
        }  # fmt: skip
        edges += chain("in", f"c{k}", f"s{k}", f"d{k}", f"n{k}")
    return {
        "two convolutions": ({"in": port(1, 1500, 1500), "a": conv(big), "b": conv(big), "n": _one(), "out": sink(1, 102, 102)}, line, 3),
        "two pools": (
            {"in": port(1, 2000, 2000), "a": pool("Sum", 1000, 1), "b": pool("Sum", 1000, 1), "n": _one(), "out": sink(1, 2, 2)}, line, 3,
        ),
        "pool and matrix": (
            {"in": port(1, 1000, 1000), "a": pool("Avg", 500, 1), "f": flatten(), "b": linear(np.ones((4, 501 * 501))), "n": _one(),
             "out": sink(4)},
            chain("in", "a", "f", "b", "n", "out"), 3,
        ),
        "convolution and pool": (
            {"in": port(1, 1500, 1500), "a": conv(big), "b": pool("Sum", 700, 1), "n": _one(), "out": sink(1, 102, 102)}, line, 3,
        ),
        "expansions": (branches, edges, 61),
        "a bias": (
            {"in": port(1, 1500, 1500), "a": conv(_kernel(1, 1, 3, 3), padding=1, bias=np.ones(1)),
             "b": conv(_kernel(1, 1, 300, 300), padding=150), "n": _one(), "out": sink(1, 1501, 1501)}, line, 3,
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", _heavy())
def test_what_would_take_hours_is_divided(name: str, tmp_path: Path) -> None:
    nodes, edges, populations = _heavy()[name]
    path = _written(tmp_path / "net.nir", nodes, edges)
    with _swift():
        network = read(path, dt=1e-4, reset="zero")
    assert len(network.populations) == populations
    assert any("work" in note for note in network.notes)


def test_a_bias_too_far_from_its_neurons_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = {
        "in": port(1, 6, 6), "a": conv(_kernel(2, 1, 3, 3), padding=1, bias=[1.0, -2.0]), "f": flatten(0), "b": linear(_kernel(5, 72)),
        "n": if_(5), "out": sink(5),
    }  # fmt: skip
    path = write_nir(tmp_path / "net.nir", nodes, chain("in", "a", "f", "b", "n", "out"))
    whole = read(path, dt=1.0, reset="zero")
    monkeypatch.setattr(Tree, "spare", lambda self, work, size: False)
    parted = read(path, dt=1.0, reset="zero")
    assert [p.name for p in whole.populations] == ["in", "n"]
    assert [p.name for p in parted.populations] == ["in", "a", "n"]
    assert parted.projections[0].bias is not None
    assert parted.projections[1].bias is None
    x = _RNG.integers(0, 2, (3, 7, 1, 6, 6))
    first, second = (simulate(net, x, record=["n:v"]) for net in (whole, parted))
    np.testing.assert_allclose(first.v["n"], second.v["n"], rtol=1e-12)


def test_listed_pools_of_netx_are_swift(tmp_path: Path) -> None:
    weight = np.ones((1, 1, 999, 999))
    layers: list[dict[str, Any]] = [
        {"type": "input", "shape": [1, 2000, 2000]},
        {"type": "pool", "shape": [1, 2, 2], "weight": weight, "stride": [999, 999], "padding": [0, 0], "dilation": [1, 1],
         "neuron": cuba()},
    ]  # fmt: skip
    with _swift():
        network = read(write_netx(tmp_path / "net.net", layers))
    connection = network.projections[0].connectivity
    assert isinstance(connection, Sparse)
    x = np.zeros((2000, 2000))
    x[[0, 998, 999, 1997, 1998], [998, 999, 0, 1997, 1998]] = [1, 2, 4, 8, 16]
    np.testing.assert_array_equal(connection.apply(x.ravel()), [1, 2, 4, 8])


def test_listed_synapses_of_netx_are_counted_as_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers: list[dict[str, Any]] = [
        {"type": "input", "shape": [1, 9, 9]},
        {"type": "pool", "shape": [1, 5, 5], "weight": np.ones((1, 1, 2, 2)), "stride": [2, 2], "padding": [0, 0], "dilation": [1, 1],
         "neuron": cuba()},
    ]  # fmt: skip
    path = write_netx(tmp_path / "net.net", layers)
    read(path)
    monkeypatch.setattr(hdf5, "MAX_WORK", 1000)
    with refused("NM110") as found:
        read(path)
    assert "the list of synapses of layer 1" in found[0].message


# Ways


def test_all_to_all_modules_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # More ways in all than one node may have: 66 modules have more than 4096.
    monkeypatch.setattr(wiring, "_MAX_TERMS", 64)
    modules = 14
    nodes: Nodes = {"in": port(1), "iw": linear(np.ones((2, 1))), "out": sink(2)}
    edges = chain("in", "iw", "n0", "out")
    for i in range(modules):
        nodes[f"n{i}"] = if_(2)
        for j in range(modules):
            nodes[f"w{i}_{j}"] = linear([[i, j], [1, 2]])
            edges += [(f"n{i}", f"w{i}_{j}"), (f"w{i}_{j}", f"n{j}")]
    network = read(write_nir(tmp_path / "net.nir", nodes, edges), dt=1.0, reset="zero")
    assert len(network.projections) == modules**2 + 1
    found = {p.name: p for p in network.projections}
    assert found["w3_11"].connectivity.weights.tolist() == [[3, 11], [1, 2]]
    assert (found["w3_11"].source, found["w3_11"].target) == ("n3", "n11")


def test_a_long_chain_of_populations_is_read(tmp_path: Path) -> None:
    names = [f"n{k}" for k in range(1000)]
    path = write_nir(tmp_path / "net.nir", {"in": port(1), **{n: _one() for n in names}, "out": sink(1)}, chain("in", *names, "out"))
    with _swift():
        network = read(path, dt=1e-4, reset="zero")
    assert [p.name for p in network.populations] == ["in", *names]


def _diamonds(levels: int, width: int) -> tuple[Nodes, Edges]:
    nodes: Nodes = {"in": port(1), "n": if_(1), "out": sink(1)}
    edges, last = [("n", "out")], "in"
    for level in range(levels):
        for k in range(width):
            nodes[f"w{level}_{k}"] = linear([[1.0]])
            edges.append((last, f"w{level}_{k}"))
        nodes[f"j{level}"] = linear([[1.0]])
        edges += [(f"w{level}_{k}", f"j{level}") for k in range(width)]
        last = f"j{level}"
    return nodes, [*edges, (last, "n")]


def test_ways_are_limited_for_each_node(tmp_path: Path) -> None:
    assert len(read(write_nir(tmp_path / "few.nir", *_diamonds(3, 4)), dt=1.0, reset="zero").projections) == 64
    with _swift(), refused("NM110") as found:
        read(write_nir(tmp_path / "many.nir", *_diamonds(30, 2)), dt=1.0, reset="zero")
    assert "more than 4096 ways lead through linear nodes to `j12`" in found[0].message


def test_all_ways_together_are_limited_by_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "MAX_WORK", 10 * wiring._CARRY)
    with refused("NM110") as found:
        read(write_nir(tmp_path / "net.nir", *_diamonds(3, 4)), dt=1.0, reset="zero")
    assert "takes more work to read than the reader's limit, reached at the ways through linear nodes to" in found[0].message


# Accounts


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    nodes = {"in": port(1), "n": if_(1), "out": sink(1)}
    with open_tree(write_nir(tmp_path / "net.nir", nodes, chain("in", "n", "out")), Findings()) as opened:
        yield opened


def test_work_is_counted_over_the_file(tree: Tree) -> None:
    assert tree.work(MAX_WORK - 10, "a", "this")
    assert tree.work(10, "a", "this")
    assert not tree.work(1, "b", "that")
    assert not tree.work(1, "c", "these")
    (told,) = tree.findings
    assert (told.code, told.where) == ("NM110", "b")
    assert "that" in told.message
    assert f"{MAX_WORK} elementary steps so far and 1 more" in (told.why or "")


def test_half_of_the_limits_can_be_spared(tree: Tree) -> None:
    assert tree.spare(MAX_WORK // 2, 0)
    assert not tree.spare(1, 0)
    tree.release(1, 0)
    assert tree.spare(1, 0)
    assert tree.work(MAX_WORK // 2, "a", "this")
    assert not tree.findings.errors


def test_bytes_are_spared_and_released(tree: Tree) -> None:
    gigabyte = 2**30
    assert not tree.spare(0, gigabyte + 1)
    assert tree.spare(0, gigabyte)
    assert tree.spare(0, gigabyte)
    assert not tree.spare(0, 1)
    tree.release(0, gigabyte)
    assert tree.spare(0, gigabyte)
    assert [tree.claim(gigabyte, 1, "a", "this") for _ in range(3)] == [True, True, False]
    assert 4 * gigabyte == MAX_TOTAL_BYTES


# Reshapes between images, and biases behind Delays


@pytest.mark.parametrize("first", ["conv", "Sum", "Avg"])
@pytest.mark.parametrize("start", [0, 1])
def test_a_flatten_between_an_image_and_a_line_is_kept(first: str, start: int, tmp_path: Path) -> None:
    kernel = _kernel(2, 2, 2, 2)
    image = conv(kernel) if first == "conv" else pool(first, 2, 1)
    joint = {"type": "Flatten", "start_dim": start, "end_dim": 1 if start == 0 else -1}
    shape = (2 * 3, 4) if start == 0 else (2, 3 * 4)
    taps = _kernel(3, shape[0], 2)
    nodes = {
        "in": port(2, 4, 5), "a": image, "f": joint, "c": conv1d(taps), "n": {"type": "I", "r": np.ones((3, shape[1] - 1))},
        "out": sink(3, shape[1] - 1),
    }  # fmt: skip
    network = read(write_nir(tmp_path / "net.nir", nodes, chain("in", "a", "f", "c", "n", "out")), dt=1.0, reset="zero")
    x = _RNG.integers(0, 3, (1, 1, 2, 4, 5))
    if first == "conv":
        parts = [[(x[0, 0, :, i : i + 2, j : j + 2] * kernel[c]).sum() for i in range(3) for j in range(4)] for c in range(2)]
    else:
        factor = 0.25 if first == "Avg" else 1.0
        parts = [[x[0, 0, c, i : i + 2, j : j + 2].sum() * factor for i in range(3) for j in range(4)] for c in range(2)]
    line = np.reshape(parts, shape)
    expected = [[(line[:, k : k + 2] * taps[o]).sum() for k in range(shape[1] - 1)] for o in range(3)]
    np.testing.assert_allclose(simulate(network, x, record=["n:v"]).v["n"].reshape(3, -1), expected, rtol=1e-12)


def test_a_bias_is_delayed_by_every_delay_behind_it(tmp_path: Path) -> None:
    nodes = {
        "in": port(1), "a": affine([[2.0]], [3.0]), "d": delay([2.0]), "w": linear([[1.0]]), "e": delay([3.0]),
        "n": {"type": "I", "r": np.ones(1)}, "out": sink(1),
    }  # fmt: skip
    network = read(write_nir(tmp_path / "net.nir", nodes, chain("in", "a", "d", "w", "e", "n", "out")), dt=1.0, reset="zero")
    (projection,) = network.projections
    assert (projection.delay, projection.bias_from) == (5, 5)
    x = np.zeros((1, 8, 1))
    x[0, 1] = 1
    # The bias arrives from step 5 on, the spike of step 1 in step 6.
    assert simulate(network, x, record=["n:v"]).v["n"].ravel().tolist() == [0, 0, 0, 0, 0, 3, 8, 11]


# Synapse by synapse


def _naive_list(c: Conv2d) -> Array:
    matrix = np.zeros((c.out_size, c.in_size))
    (c_in, h_in, w_in), (c_out, h_out, w_out) = c.in_shape, c.out_shape
    for o in range(c_out):
        for i in range(c_in // c.groups):
            channel = o // (c_out // c.groups) * (c_in // c.groups) + i
            for y, x, a, b in np.ndindex(h_out, w_out, *c.kernel_size):
                row = y * c.stride[0] - c.padding[0] + a * c.dilation[0]
                column = x * c.stride[1] - c.padding[1] + b * c.dilation[1]
                if 0 <= row < h_in and 0 <= column < w_in:
                    matrix[(o * h_out + y) * w_out + x, (channel * h_in + row) * w_in + column] += c.weights[o, i, a, b]
    return matrix


@pytest.mark.parametrize("seed", range(25))
def test_a_convolution_is_listed_as_its_definition_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, own, per_out = (int(n) for n in rng.integers(1, 4, 3))
    kernel, dilation, padding, stride = ([int(n) for n in rng.integers(low, high, 2)] for low, high in ((1, 4), (1, 3), (0, 4), (1, 4)))
    size = [int(rng.integers(1, 7)) + max(0, d * (k - 1) - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    c = Conv2d(
        rng.integers(-2, 3, (groups * per_out, own, *kernel)).astype(np.int32), (groups * own, size[0], size[1]),
        (stride[0], stride[1]), (padding[0], padding[1]), (dilation[0], dilation[1]), groups,
    )  # fmt: skip
    listed, matrix = c.unrolled(), _naive_list(c)
    assert listed.weights.dtype == np.int32
    assert np.all(listed.weights != 0)
    assert listed.synapses == np.count_nonzero(matrix)
    order = [(int(t), int(s)) for t, s in zip(listed.targets, listed.indices, strict=True)]
    assert order == sorted(set(order))
    found = np.zeros_like(matrix)
    found[listed.targets, listed.indices] = listed.weights
    np.testing.assert_array_equal(found, matrix)


def test_a_list_of_a_million_taps_is_swift() -> None:
    c = Conv2d(np.ones((1, 1, 1000, 1000)), (1, 1001, 1001))
    with _swift():
        listed = c.unrolled()
    assert listed.synapses == prod((2, 2, 1000, 1000))
    np.testing.assert_array_equal(listed.apply(np.ones(1001**2)), np.full(4, 1e6))


@pytest.mark.parametrize("dtype", ["f2", "f4", "u1", "u8"])
def test_sizes_may_be_numbers_of_any_width(dtype: str, tmp_path: Path) -> None:
    layers: list[dict[str, Any]] = [
        {"type": "input", "shape": np.array([1, 4, 4], dtype)},
        {"type": "pool", "shape": np.array([1, 2, 2], dtype), "weight": np.ones((1, 1, 2, 2)), "stride": np.array([2, 2], dtype),
         "padding": [0, 0], "dilation": [1, 1], "neuron": cuba()},
    ]  # fmt: skip
    assert read(write_netx(tmp_path / "net.net", layers))["layer1"].shape == (1, 2, 2)


@pytest.mark.parametrize("seed", range(25))
def test_a_convolution_is_applied_as_its_definition_says(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    groups, own, per_out = (int(n) for n in rng.integers(1, 4, 3))
    kernel, dilation, padding, stride = ([int(n) for n in rng.integers(low, high, 2)] for low, high in ((1, 4), (1, 3), (0, 9), (1, 5)))
    size = [int(rng.integers(1, 7)) + max(0, d * (k - 1) - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    c = Conv2d(
        rng.integers(-2, 3, (groups * per_out, own, *kernel)), (groups * own, size[0], size[1]), (stride[0], stride[1]),
        (padding[0], padding[1]), (dilation[0], dilation[1]), groups,
    )  # fmt: skip
    x = rng.integers(-3, 4, (2, 3, c.in_size))
    np.testing.assert_array_equal(c.apply(x), x @ _naive_list(c).T)


def test_padding_without_bounds_takes_no_memory(tmp_path: Path) -> None:
    far = 2**20
    nodes = {
        "in": port(1, 2, 2), "a": conv(np.ones((1, 1, 1, 1)), padding=[far, far], stride=[far, far], bias=np.array([3.0])),
        "b": conv(_kernel(1, 1, 2, 2)), "n": _one(), "out": sink(1, 2, 2),
    }  # fmt: skip
    path = write_nir(tmp_path / "net.nir", nodes, chain("in", "a", "b", "n", "out"))
    with _small(2**26):
        network = read(path, dt=1e-4, reset="zero")
        (projection,) = network.projections
        found = projection.connectivity.apply(np.array([5.0, 7, 11, 13]))
    weights = np.asarray(nodes["b"]["weight"], np.float64)[0, 0]
    # Of the input, only the first pixel is read, by the middle one of the 3 x 3 that the padded convolution computes.
    np.testing.assert_array_equal(found.reshape(2, 2), 5 * weights[::-1, ::-1])
    assert projection.bias is not None
    np.testing.assert_array_equal(projection.bias, np.full(4, 3 * weights.sum()))
