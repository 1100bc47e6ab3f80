"""Graphs in memory, as plain objects: nothing here needs the `nir` package."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nmap
from nmap.network import Network
from nmap.writers.compare import differences
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

_RNG = np.random.default_rng(3)


@dataclass
class NIRGraph:
    nodes: dict[Any, Any]
    edges: Any
    metadata: dict[Any, Any] = field(default_factory=dict)


def node(entries: dict[str, Any]) -> Any:
    """Return a node as `nir` has it: the class name is the type, and shapes lie in `input_type` and `output_type`."""
    kind = entries["type"]
    if kind == "NIRGraph":
        return graph(entries["nodes"], entries["edges"])
    fields = {name: value for name, value in entries.items() if name not in ("type", "shape", "input_type")}
    shape = entries.get("shape", entries.get("input_type"))
    types = {} if shape is None else {"input_type": {"input": shape}, "output_type": {"output": shape}}
    names = [*fields, "metadata", *types]
    made = make_dataclass(kind, [(name, Any) for name in names])
    return made(**{"metadata": {}, **fields, **types})


def graph(nodes: dict[str, Any], edges: Any, metadata: dict[str, Any] | None = None) -> NIRGraph:
    return NIRGraph({name: node(entries) for name, entries in nodes.items()}, edges, metadata or {})


class Tensor:
    """What matters of a torch tensor: it gives NumPy its numbers only when asked the right way."""

    def __init__(self, values: Any, state: str = "grad on cuda", dtype: str = "torch.float32") -> None:
        self.values, self.state, self.dtype = np.asarray(values, np.float32), state, dtype

    def detach(self) -> Tensor:
        return Tensor(self.values, self.state.replace("grad on ", ""), self.dtype)

    def cpu(self) -> Tensor:
        return Tensor(self.values, self.state.replace("cuda", ""), self.dtype)

    def float(self) -> Tensor:
        return Tensor(self.values, self.state)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if self.state or self.dtype == "torch.bfloat16":
            raise TypeError(f"cannot convert: {self.state} {self.dtype}")
        return self.values if dtype is None else self.values.astype(dtype)


def _weights(*shape: int) -> np.ndarray:
    return _RNG.normal(size=shape).astype(np.float32)


def _deep() -> tuple[dict[str, Any], list[tuple[str, str]]]:
    nodes = {
        "input": port(2, 9, 8),
        "c": conv(_weights(3, 2, 3, 3), padding="same", bias=_weights(3)),
        "s1": if_((3, 9, 8)),
        "p": pool("Avg", np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flat": {**flatten(), "input_type": np.array([3, 4, 4])},
        "fc": affine(_weights(5, 48), _weights(5)),
        "sub": {
            "type": "NIRGraph",
            "nodes": {"input": port(5), "lif": lif(5), "rec": linear(_weights(5, 5)), "output": sink(5)},
            "edges": [("input", "lif"), ("lif", "rec"), ("rec", "lif"), ("lif", "output")],
        },
        "output": sink(5),
    }
    return nodes, [*chain("input", "c", "s1", "p", "flat", "fc", "sub", "output")]


GRAPHS: dict[str, tuple[dict[str, Any], list[tuple[str, str]], dict[str, Any]]] = {
    "small": (
        {"input": port(3), "0": affine(_weights(2, 3), [0.5, -1]), "1": lif(2), "output": sink(2)},
        chain("input", "0", "1", "output"),
        {},
    ),
    "deep": (*_deep(), {"nmap": {"dt": 1e-3, "reset": "subtract", "multiple": True, "floor": -1.0}}),
    "stated": (
        {"input": port(2), "0": linear(np.eye(2)), "1": lif(2), "output": sink(2)},
        chain("input", "0", "1", "output"),
        {"dt": 1e-4, "reset_mechanism": "subtract", "reset_delay": True, "authors": ["A", "B"], "accuracy": 0.97},
    ),
    "scalars": (
        {"input": port(4), "0": linear(_weights(4, 4)), "1": lif(1, tau=2e-3), "output": sink(4)},
        [*chain("input", "0", "1", "output"), ("1", "0")],
        {},
    ),
    "twice": (
        {"input": port(1, 2), "0": linear(np.eye(2)), "1": if_(2), "idle": linear(np.eye(2)), "output": sink(1, 2)},
        [*chain("input", "0", "1", "output"), ("input", "0"), ("1", "idle")],
        {},
    ),
}


def _facts(network: Network) -> Any:
    """Everything about a network but its arrays, which `differences` compares, and the name of its file."""
    return (
        [(p.name, p.where.path) for p in network.populations],
        [(p.name, p.where.path) for p in network.projections],
        network.conventions,
        network.assumptions,
        network.notes,
        [(d.code, d.message) for d in network.diagnostics],
    )


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_in_memory_reads_as_its_file(name: str, tmp_path: Path) -> None:
    nodes, edges, metadata = GRAPHS[name]
    stored = {k: v for k, v in metadata.items() if k != "authors"}
    file = nmap.read(write_nir(tmp_path / "net.nir", nodes, edges, stored))
    memory = nmap.read(graph(nodes, edges, metadata))
    assert differences(file, memory) == []
    assert _facts(file) == _facts(memory)
    assert (memory.file, memory.format) == ("NIRGraph", "nir")
    assert str(memory.populations[0].where) == "NIRGraph:/node/nodes/input"


def test_options_hold_for_graphs_in_memory() -> None:
    nodes, edges, _ = GRAPHS["small"]
    network = nmap.read(graph(nodes, edges), dt=2e-4, reset="delayed")
    assert (network.conventions.dt, network.conventions.reset) == (2e-4, "delayed")
    with refused("NM004"):
        nmap.read(graph(nodes, edges), dt=-1)


def test_numbers_may_be_tensors_lists_and_numbers() -> None:
    weight = [[0.5, 0.25], [1.0, -2.0]]
    nodes = {"input": port(2), "fc": affine(weight, [1, 2]), "n": if_(2, r=2.0), "output": sink(2)}
    edges = chain("input", "fc", "n", "output")
    plain = nmap.read(graph(nodes, edges))
    made = graph(nodes, edges)
    made.nodes["fc"].weight, made.nodes["fc"].bias = Tensor(weight), Tensor([1, 2], dtype="torch.bfloat16")
    made.nodes["n"].r, made.nodes["n"].v_threshold = 2, [1.0, 1]
    made.nodes["input"].input_type = {"input": (2,)}
    made.nodes["output"].output_type = {"output": Tensor([2])}
    assert differences(plain, nmap.read(made)) == []


def test_a_field_that_is_none_is_absent() -> None:
    nodes = {"input": port(1, 4, 4), "c": conv(_weights(2, 1, 3, 3)), "n": if_((2, 2, 2)), "output": sink(2, 2, 2)}
    made = graph(nodes, chain("input", "c", "n", "output"))
    made.nodes["c"] = node({**nodes["c"], "bias": None, "input_shape": None})
    (projection,) = nmap.read(made).projections
    assert projection.bias is None
    made.nodes["n"].r = None
    with refused("NM103") as found:
        nmap.read(made)
    assert found[0].where == "NIRGraph:/node/nodes/n"


def test_names_need_not_be_texts_and_may_hold_slashes() -> None:
    nodes, _, _ = GRAPHS["small"]
    made = graph(nodes, None)
    made.nodes = {0: made.nodes["input"], 1: made.nodes["0"], "a/b": made.nodes["1"], "out": made.nodes["output"]}
    made.edges = [(0, 1), (1, "a/b"), ("a/b", "out")]
    network = nmap.read(made)
    assert [p.name for p in network.populations] == ["0", "a/b"]
    assert [p.name for p in network.projections] == ["1"]


def test_what_is_read_does_not_change_with_the_graph() -> None:
    nodes, edges, _ = GRAPHS["small"]
    made = graph({k: {e: np.array(v) if isinstance(v, np.ndarray) else v for e, v in n.items()} for k, n in nodes.items()}, edges)
    network = nmap.read(made)
    before = network.projections[0].connectivity.weights.copy(), network["1"].neuron.threshold.copy()  # type: ignore[union-attr]
    made.nodes["0"].weight *= 3
    made.nodes["1"].v_threshold += 1
    np.testing.assert_array_equal(network.projections[0].connectivity.weights, before[0])
    np.testing.assert_array_equal(network["1"].neuron.threshold, before[1])  # type: ignore[union-attr]


def test_diagnostics_name_the_place_in_the_graph() -> None:
    nodes, edges, _ = GRAPHS["small"]
    made = graph(nodes, edges)
    made.nodes["1"].tau = np.array([1e-3, -1e-3])
    made.nodes["0"].weight = np.array([[1j, 0, 0], [0, 0, 0]])
    made.nodes["0"].bias = object()
    with refused("NM107", "NM107", "NM107") as found:
        nmap.read(made)
    assert sorted(str(d.where) for d in found) == [
        "NIRGraph:/node/nodes/0/bias",
        "NIRGraph:/node/nodes/0/weight",
        "NIRGraph:/node/nodes/1/tau[1]",
    ]
    assert {d.message for d in found} >= {
        "`bias` holds an object of type `object` where numbers belong",
        "`weight` holds complex numbers where numbers belong",
    }


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "None is not a network"),
        (7, "an object of type `int`"),
        (b"net.nir", "an object of type `bytes`"),
        ({"nodes": {}, "edges": []}, "dict2NIRNode"),
        (node(lif(2) | {"input_type": np.array([2])}), "from_list"),
        (type("Module", (), {"state_dict": dict, "parameters": list})(), "export"),
        (NIRGraph([("a", 1)], []), "NIRGraph"),  # type: ignore[arg-type]
        (NIRGraph({}, "ab"), "NIRGraph"),
    ],
)
def test_what_is_no_network_is_refused_with_what_is_accepted(value: object, told: str) -> None:
    with refused("NM101") as found:
        nmap.read(value)
    assert told in found[0].message + "".join(found[0].help)
    assert "`nodes`" in str(found[0].why)
    assert "a NIR or netx file" in "".join(found[0].help)


@pytest.mark.parametrize(
    ("edges", "place"), [([("input", "0"), "01"], "[1]"), ([("input", "0", "1")], "[0]"), ([("input", "0"), ("0", "1"), 3], "[2]")]
)
def test_an_edge_is_a_pair(edges: Any, place: str) -> None:
    nodes, _, _ = GRAPHS["small"]
    with refused("NM103") as found:
        nmap.read(graph(nodes, edges))
    assert found[0].where == f"NIRGraph:/node/edges{place}"


def test_a_graph_that_holds_itself_ends() -> None:
    made = NIRGraph({}, [])
    made.nodes.update(a=made, b=made)
    made.metadata["more"] = made.metadata
    made.metadata["again"] = made.metadata
    with pytest.raises(nmap.NmapError) as caught:
        nmap.read(made)
    assert "NM110" in {d.code for d in caught.value.diagnostics}


def test_arrays_beyond_the_limit_are_refused_before_they_are_copied() -> None:
    nodes, edges, _ = GRAPHS["small"]
    made = graph(nodes, edges)
    made.nodes["0"].weight = np.broadcast_to(np.float32(1), (2**20, 2**20))
    with refused("NM110") as found:
        nmap.read(made)
    assert found[0].where == "NIRGraph:/node/nodes/0/weight"


_HASHES = """
import numpy as np, nmap
def made(kind, **fields):
    found = type(kind, (), {})()
    vars(found).update(fields)
    return found
ones = np.ones(2)
graph = made("NIRGraph", metadata={"b": 1, "a": {"c": "text"}}, nodes={
    "input": made("Input", input_type={"input": np.array([2])}),
    "fc": made("Linear", weight=np.eye(2)),
    "if": made("IF", r=ones, v_threshold=ones),
    "output": made("Output", output_type={"output": np.array([2])}),
}, edges={("input", "fc"), ("fc", "if"), ("if", "output")})
print(nmap.read(graph).sha256)
"""


def test_the_hash_is_the_contents() -> None:
    nodes, edges, metadata = GRAPHS["stated"]
    told = nmap.read(graph(nodes, edges, metadata)).sha256
    shuffled = graph(dict(reversed(nodes.items())), edges[::-1], dict(reversed(metadata.items())))
    assert nmap.read(shuffled).sha256 == told
    tensors = graph(nodes, edges, metadata)
    tensors.nodes["0"].weight = Tensor(np.eye(2))
    assert nmap.read(tensors).sha256 == told
    assert len(told) == 64
    other = [graph(nodes, edges, metadata) for _ in range(4)]
    other[0].nodes["0"].weight = np.array([[1, 0], [0, 1 + 1e-7]], np.float32)
    other[1].metadata = metadata | {"accuracy": 0.98}
    other[2].nodes["1"].tau = other[2].nodes["1"].tau.astype(np.float32)
    other[3].nodes["2"] = other[3].nodes.pop("1")
    other[3].edges = chain("input", "0", "2", "output")
    assert len({told, *(nmap.read(g).sha256 for g in other)}) == 5


def test_the_hash_is_the_same_in_every_process() -> None:
    """Edges often come from a set, whose order changes from process to process."""
    found = [
        subprocess.run(
            [sys.executable, "-c", _HASHES], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    ]
    assert len(found[0]) == 64
    assert found[0] == found[1]


def test_masked_parameters_are_refused() -> None:
    """A mask would be lost in silence."""
    nodes = {"in": port(2), "n": lif(2) | {"tau": np.ma.masked_array(np.ones(2), [False, True])}, "out": sink(2)}
    with refused("NM107") as found:
        nmap.read(graph(nodes, chain("in", "n", "out")))
    assert "tau" in found[0].message
