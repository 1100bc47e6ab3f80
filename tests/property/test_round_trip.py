"""Networks written and read back, and graphs in memory against their files."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nmap
from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.network import Conventions, Network, Neuron, Population, Projection, Provenance
from nmap.simulate.floating import simulate
from nmap.writers.compare import differences
from tests.unit.readers.builders import affine, conv, flatten, if_, lif, linear, pool, port, sink, write_nir
from tests.unit.readers.test_memory import graph

_WHERE = Provenance("made.py", "/")
_KINDS = ("LIF", "CubaLIF", "IF", "LI", "I", "CubaLI", "Threshold")
_SETTINGS = settings(
    max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
Rng = np.random.Generator


def _values(rng: Rng, n: int, low: float, high: float) -> np.ndarray:
    """One value per neuron: all the same, all different, or in single precision."""
    values = rng.uniform(low, high, n if rng.random() < 0.6 else 1)
    return np.broadcast_to(values.astype(np.float32) if rng.random() < 0.3 else values, n).astype(np.float64)


def random_neuron(rng: Rng, n: int, conventions: Conventions) -> Neuron:
    """Neurons from time constants, in the equations of NIR; half of them keep their file's fields."""
    kind = str(rng.choice(_KINDS[: -1 if conventions.reset == "delayed" or conventions.multiple else None]))
    dt = conventions.dt or 1.0
    zero, one = np.zeros(n), np.ones(n)
    silent = kind in ("LI", "I", "CubaLI")
    threshold = np.full(n, np.inf) if silent else _values(rng, n, 0.5, 2)
    reset = zero if silent or rng.random() < 0.5 else _values(rng, n, -1, 0.4)
    if kind == "Threshold":
        return Neuron(kind, zero, one, one, zero, zero, threshold, zero)
    r = _values(rng, n, 0.5, 20)
    if kind in ("I", "IF"):
        return Neuron(kind, zero, one, r * dt, one, zero, threshold, reset, not silent)

    def decay(tau: np.ndarray) -> np.ndarray:
        return np.exp(-dt / tau) if conventions.decay == "exact" else 1 - dt / tau

    def gain(factor: np.ndarray, tau: np.ndarray) -> np.ndarray:
        return factor * -np.expm1(-dt / tau) if conventions.gain == "exact" else factor * dt / tau

    tau, tau_syn, leak = _values(rng, n, 1.5, 60) * dt, _values(rng, n, 1.5, 20) * dt, _values(rng, n, -0.3, 0.3)
    alpha, gain_in, own = zero, one, {"tau": tau, "r": r, "v_leak": leak}
    if kind.startswith("Cuba"):
        w_in = _values(rng, n, 0.5, 9)
        alpha, gain_in = decay(tau_syn), gain(w_in, tau_syn)
        own = {"tau_mem": tau, "tau_syn": tau_syn, "r": r, "v_leak": leak, "w_in": w_in}
    fields = own | ({} if silent else {"v_threshold": threshold, "v_reset": reset})
    beta = decay(tau)
    kept = fields if rng.random() < 0.5 else {}
    return Neuron(kind, alpha, gain_in, gain(r, tau), beta, leak * (1 - beta), threshold, reset, not silent, fields=kept)


def random_conventions(rng: Rng) -> Conventions:
    reset = rng.choice(["zero", "subtract", "delayed"])
    return Conventions(
        dt=rng.choice(np.array([None, 1e-3, 1e-4, rng.uniform(1e-5, 1e-2)], object)),
        reset=str(reset),  # type: ignore[arg-type]
        decay=str(rng.choice(["euler", "exact"])),  # type: ignore[arg-type]
        compare=str(rng.choice([">", ">="])),  # type: ignore[arg-type]
        multiple=bool(rng.random() < 0.2),
        floor=None if rng.random() < 0.7 else float(rng.uniform(-2, 0)),
        early_reset=bool(reset == "subtract" and rng.random() < 0.3),
        lag=int(rng.random() < 0.2),
        gain=str(rng.choice(["euler", "exact"])),  # type: ignore[arg-type]
    )


def _sparse(rng: Rng, rows: int, columns: int) -> Sparse:
    return Sparse.from_dense(rng.normal(size=(rows, columns)) * (rng.random((rows, columns)) < 0.5))


def _forward(rng: Rng, source: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """A connection from a population of some shape, and a shape for its target."""
    n = prod(source)
    kinds = ["dense", "sparse", "ones", "one to one"] + ["conv"] * 3 * (len(source) in (2, 3))
    kind = rng.choice(kinds)
    if kind == "conv":
        channels, groups = source[0], int(rng.choice([1, source[0]]))
        line = len(source) == 2
        size = (1, *source[1:]) if line else source[1:]
        kernel = tuple(int(rng.integers(1, min(3, s) + 1)) for s in size)
        stride, padding = (tuple(1 if line and k == 0 else int(rng.integers(1, 3)) for k in range(2)) for _ in range(2))
        padding = tuple(p - 1 for p in padding)
        weights = rng.normal(size=(groups * int(rng.integers(1, 3)), channels // groups, *kernel))
        made = Conv2d(weights, (channels, *size), stride, padding, groups=groups)  # type: ignore[arg-type]
        out = (made.out_shape[0], made.out_shape[2]) if line else made.out_shape
        return made, out if rng.random() < 0.8 and 1 not in out else (prod(out),)
    if kind in ("ones", "one to one"):
        return Sparse.diagonal(np.ones(n) if kind == "ones" else rng.normal(size=n)), source if rng.random() < 0.7 else (n,)
    target = (int(rng.integers(1, 7)),) if rng.random() < 0.7 else tuple(int(k) for k in rng.integers(2, 4, rng.integers(2, 4)))
    rows = prod(target)
    return (Dense(rng.normal(size=(rows, n)).astype(rng.choice(["f4", "f8"]))) if kind == "dense" else _sparse(rng, rows, n)), target


def _waiting(rng: Rng, connectivity: Any, bias: Any, least: int) -> dict[str, Any]:
    if rng.random() < 0.6:
        return {"delay": least}
    delay = least + int(rng.integers(0, 4))
    start = int(rng.integers(0, delay + 1)) if bias is not None else 0
    if isinstance(connectivity, Conv2d) or rng.random() < 0.5 or not connectivity.synapses:
        return {"delay": delay, "bias_from": start}
    by_source = bias is not None or rng.random() < 0.5
    steps = rng.integers(0, 4, connectivity.in_size if by_source else connectivity.out_size)
    if isinstance(connectivity, Sparse):
        return {"delay": delay, "bias_from": start, "delays": steps[connectivity.indices if by_source else connectivity.targets]}
    wide = np.broadcast_to(steps if by_source else steps[:, None], connectivity.weights.shape)
    return {"delay": delay, "bias_from": start, "delays": wide}


def random_network(seed: int) -> Network:
    """A network of what NIR can say: every neuron, connection, bias, delay and convention, skips, loops, several inputs and outputs."""
    rng = np.random.default_rng(seed)
    conventions = random_conventions(rng)
    populations: list[Population] = []
    projections: list[Projection] = []

    def connect(source: str, target: str, connectivity: Any, least: int) -> None:
        bias = rng.normal(size=connectivity.out_size) if rng.random() < 0.4 else None
        if bias is not None and isinstance(connectivity, Conv2d) and rng.random() < 0.7:
            channels = connectivity.out_shape[0]
            bias = np.repeat(bias[:channels], connectivity.out_size // channels)
        more = _waiting(rng, connectivity, bias, least)
        projections.append(Projection(f"p{len(projections)}", source, target, connectivity, bias, where=_WHERE, **more))

    for k in range(int(rng.integers(1, 3))):
        shape = tuple(int(s) for s in rng.integers(2, 7, rng.integers(1, 4)))
        populations.append(Population(f"in{k}", shape, None, _WHERE))
    inputs = [p.name for p in populations]
    idle = list(inputs)
    for k in range(int(rng.integers(1, 5))):
        name = idle[k] if k < len(idle) else str(rng.choice([p.name for p in populations]))
        source = next(p for p in populations if p.name == name)
        connectivity, shape = _forward(rng, source.shape)
        made = Population(f"n{k}", shape, random_neuron(rng, prod(shape), conventions), _WHERE)
        populations.append(made)
        connect(name, made.name, connectivity, 0)
        for other in populations:
            if rng.random() < 0.3:
                # From an earlier population a skip, from itself a loop.
                connect(other.name, made.name, Dense(rng.normal(size=(made.size, other.size))), int(other is made))
            if rng.random() < 0.2 and other.neuron is not None and other is not made:
                connect(made.name, other.name, _sparse(rng, other.size, made.size), 1)
    used = {p.source for p in projections}
    outputs = [p.name for p in populations if p.neuron is not None and (p.name not in used or rng.random() < 0.4)] or [populations[-1].name]
    network = Network(
        "made.py", "nir", "0" * 64, tuple(p for p in populations if p.neuron is not None or p.name in used), tuple(projections),
        tuple(name for name in inputs if name in used), tuple(rng.permutation(outputs).tolist()), conventions,
    )
    network.check()
    return network


@_SETTINGS
@given(st.integers(0, 2**32 - 1))
def test_a_network_written_and_read_is_equal(tmp_path: Path, seed: int) -> None:
    made = random_network(seed)
    back = nmap.read(nmap.write(made, tmp_path / "net.nir"))
    assert differences(made, back) == []
    again = nmap.read(nmap.write(back, tmp_path / "again.nir"))
    assert differences(back, again) == []
    # A connection may be said by other nodes the second time; from then on nothing changes.
    third = nmap.read(nmap.write(again, tmp_path / "third.nir"))
    assert [p.name for p in again.projections] == [p.name for p in third.projections]


@settings(_SETTINGS, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_a_network_written_and_read_computes_the_same_spikes(tmp_path: Path, seed: int) -> None:
    """The comparison of networks cannot hide a change: what comes back spikes at the same times."""
    made = random_network(seed)
    if len(made.inputs) != 1:
        return
    back = nmap.read(nmap.write(made, tmp_path / "net.nir"))
    inputs = np.random.default_rng(seed).integers(0, 3, (2, 9, *made[made.inputs[0]].shape))
    spiking = [p.name for p in made.populations if p.neuron is not None and p.neuron.spiking]
    mine, theirs = simulate(made, inputs, record=spiking), simulate(back, inputs, record=spiking)
    for name in spiking:
        np.testing.assert_array_equal(mine.spikes[name], theirs.spikes[name])


def random_graph(seed: int) -> tuple[dict[str, Any], list[tuple[str, str]], dict[str, Any]]:
    """A NIR graph as exporters write it: chains of linear nodes, scalars, pools, nested graphs, recurrent and skip edges."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    side = int(rng.integers(6, 10))
    nodes: dict[str, Any] = {"in": port(2, side, side)}
    edges: list[tuple[str, str]] = []
    name, shape = "in", (2, side, side)

    def add(kind: str, node: dict[str, Any], shape_out: tuple[int, ...]) -> None:
        nonlocal name, shape
        label = f"{kind}{len(nodes)}"
        nodes[label] = node
        edges.append((name, label))
        name, shape = label, shape_out

    for _ in range(int(rng.integers(1, 3))):
        padding: Any = "same" if rng.random() < 0.3 else int(rng.integers(0, 2))
        grow = 0 if padding == "same" else 2 * padding - 2
        more = {"bias": weights(3)} if rng.random() < 0.5 else {}
        more |= {"input_shape": np.array(shape[1:])} if rng.random() < 0.7 else {}
        add("conv", conv(weights(3, shape[0], 3, 3), padding=padding, **more), (3, shape[1] + grow, shape[2] + grow))
        if rng.random() < 0.5:
            add("if", if_(shape, r=float(rng.uniform(0.5, 3))), shape)
        if rng.random() < 0.5:
            half = (3, shape[1] // 2, shape[2] // 2)
            add("pool", pool(str(rng.choice(["Sum", "Avg"])), np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), half)
    add("flat", {**flatten(), "input_type": np.array(shape)}, (prod(shape),))
    add("fc", affine(weights(4, shape[0]), weights(4)) if rng.random() < 0.5 else linear(weights(4, shape[0])), (4,))
    if rng.random() < 0.3:
        add("scale", {"type": "Scale", "scale": weights(4)}, (4,))
    if rng.random() < 0.3:
        inner = {"input": port(4), "lif": lif(4), "rec": linear(weights(4, 4)), "output": sink(4)}
        inside = [("input", "lif"), ("lif", "rec"), ("rec", "lif"), ("lif", "output")]
        add("sub", {"type": "NIRGraph", "nodes": inner, "edges": inside}, (4,))
    else:
        add("lif", lif(4 if rng.random() < 0.7 else 1, tau=float(rng.uniform(1e-3, 1e-2))), (4,))
        if rng.random() < 0.5:
            nodes["rec"] = affine(weights(4, 4), weights(4))
            edges += [(name, "rec"), ("rec", name)]
    if rng.random() < 0.3:
        add("delay", {"type": "Delay", "delay": np.full(4, 2e-4)}, (4,))
    if rng.random() < 0.5:
        add("readout", affine(weights(3, 4), weights(3)), (3,))
    if rng.random() < 0.6:
        add("li", {"type": "LI", "tau": np.full(shape, 5e-3), "r": np.full(shape, 2.0), "v_leak": np.zeros(shape)}, shape)
    nodes["out"] = sink(*shape)
    edges.append((name, "out"))
    rng.shuffle(edges)
    stated: dict[str, Any] = {"dt": 1e-4, "note": "made"} if rng.random() < 0.8 else {}
    return nodes, edges, stated | ({"nmap": {"reset": "subtract", "lag": 1}} if rng.random() < 0.3 else {})


@settings(_SETTINGS, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_a_graph_in_memory_and_its_file_are_the_same_network(tmp_path: Path, seed: int) -> None:
    nodes, edges, metadata = random_graph(seed)
    path = write_nir(tmp_path / "net.nir", nodes, edges, metadata)
    memory, file = (_outcome(source) for source in (graph(nodes, edges, metadata), path))
    if isinstance(file, Network) and isinstance(memory, Network):
        assert differences(file, memory) == []
        assert [p.name for p in file.projections] == [p.name for p in memory.projections]
        assert (file.assumptions, file.notes) == (memory.assumptions, memory.notes)
        back = nmap.read(nmap.write(file, tmp_path / "back.nir"))
        assert differences(file, back) == []
    else:
        assert memory == [(code, text.replace(str(path), "NIRGraph"), where.replace(str(path), "NIRGraph")) for code, text, where in file]


def _outcome(source: Any) -> Any:
    try:
        return nmap.read(source)
    except nmap.NmapError as error:
        return [(d.code, d.message, str(d.where)) for d in error.diagnostics]


def test_random_networks_cover_what_nir_can_say() -> None:
    """The property test above is worth as much as its networks are different."""
    made = [random_network(seed) for seed in range(150)]
    projections = [p for network in made for p in network.projections]
    assert {p.neuron.model for n in made for p in n.populations if isinstance(p.neuron, Neuron)} == set(_KINDS)
    assert {type(p.connectivity) for p in projections} == {Dense, Sparse, Conv2d}
    counts = {
        "biased": sum(p.bias is not None for p in projections),
        "delayed": sum(p.delay > 1 for p in projections),
        "late": sum(p.bias_from > 0 for p in projections),
        "delays": sum(p.delays is not None for p in projections),
        "loops": sum(p.source == p.target for p in projections),
        "inputs": sum(len(n.inputs) > 1 for n in made),
        "outputs": sum(len(n.outputs) > 1 for n in made),
        "images": sum(len(p.shape) > 1 for n in made for p in n.populations if p.neuron is not None),
    }
    assert min(counts.values()) >= 10, counts


def test_a_difference_is_seen() -> None:
    """Any number of a random network changed by one bit is a difference."""
    for seed in range(40):
        made = random_network(seed)
        rng = np.random.default_rng(seed)
        k = int(rng.integers(len(made.projections)))
        old = made.projections[k]
        weights = np.array(old.connectivity.weights, np.float64)
        if not weights.size:
            continue
        weights.flat[int(rng.integers(weights.size))] += 1
        changed = replace(old, connectivity=old.connectivity.with_weights(weights))
        other = replace(made, projections=(*made.projections[:k], changed, *made.projections[k + 1 :]))
        assert {d.field for d in differences(made, other)} == {"connectivity"}
        p = next(p for p in made.populations if p.neuron is not None)
        assert isinstance(p.neuron, Neuron)
        moved = replace(p, neuron=replace(p.neuron, gain_v=np.nextafter(p.neuron.gain_v, np.inf)))
        other = replace(made, populations=tuple(moved if q is p else q for q in made.populations))
        assert [(d.name, d.field) for d in differences(made, other)] == [(p.name, "gain_v")]


@pytest.mark.parametrize("seed", range(3))
def test_writing_leaves_the_network_as_it_was(seed: int, tmp_path: Path) -> None:
    made = random_network(seed)
    nmap.write(made, tmp_path / "net.nir")
    assert differences(made, random_network(seed)) == []
