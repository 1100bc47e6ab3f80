"""Random NIR graphs: nmap's float simulation against an evaluation of the graph node by node, and files written by the `nir` package.

The evaluation knows nothing of populations: every node maps its summed input to an output, step by step, by the equations of NIR's
primitives in forward Euler with a step of 1; convolutions and pools are loops. All numbers are short binary fractions, so that both
sides compute exactly and spikes can be compared one by one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from nmap.network import Network
from nmap.readers import read
from nmap.readers.graph import FIELDS
from nmap.simulate.floating import simulate
from tests.unit.readers.builders import Edges, Nodes, write_nir

_SPIKING = ("IF", "LIF", "CubaLIF", "Threshold")
_STEPS = 7
_STATED = {"nmap": {"dt": 1.0, "reset": "zero", "decay": "euler", "compare": ">", "gain": "euler"}}


def _pair(value: Any) -> tuple[int, int]:
    flat = np.ravel(value)
    return int(flat[0]), int(flat[-1])


def _correlate(x: np.ndarray, w: np.ndarray, stride: Any, padding: Any, dilation: Any, groups: int) -> np.ndarray:
    (sh, sw), (dh, dw) = _pair(stride), _pair(dilation)
    out_channels, per_in, kh, kw = w.shape
    if isinstance(padding, str) and padding == "same":
        sides = [(d * (k - 1) // 2, d * (k - 1) - d * (k - 1) // 2) for d, k in ((dh, kh), (dw, kw))]
    else:
        sides = [(p, p) for p in ((0, 0) if isinstance(padding, str) else _pair(padding))]
    x = np.pad(x, [(0, 0), *sides])
    h, v = (x.shape[1] - dh * (kh - 1) - 1) // sh + 1, (x.shape[2] - dw * (kw - 1) - 1) // sw + 1
    out = np.zeros((out_channels, h, v))
    for o in range(out_channels):
        first = o // (out_channels // groups) * per_in
        for i in range(h):
            for j in range(v):
                for c in range(per_in):
                    for a in range(kh):
                        for b in range(kw):
                            out[o, i, j] += w[o, c, a, b] * x[first + c, i * sh + a * dh, j * sw + b * dw]
    return out


def _pool(x: np.ndarray, kernel: Any, stride: Any, padding: Any, factor: float) -> np.ndarray:
    (kh, kw), (sh, sw), (ph, pw) = _pair(kernel), _pair(stride), _pair(padding)
    x = np.pad(x, [(0, 0), (ph, ph), (pw, pw)])
    h, v = (x.shape[1] - kh) // sh + 1, (x.shape[2] - kw) // sw + 1
    out = np.zeros((x.shape[0], h, v))
    for c in range(x.shape[0]):
        for i in range(h):
            for j in range(v):
                out[c, i, j] = x[c, i * sh : i * sh + kh, j * sw : j * sw + kw].sum() * factor
    return out


class _Evaluation:
    """Evaluate a graph node by node; `late` are the edges that carry the output of the step before."""

    def __init__(self, nodes: Nodes, edges: Edges, late: Edges) -> None:
        self.nodes, self.edges, self.late = nodes, edges, set(late)
        self.v: dict[str, Any] = {}
        self.i: dict[str, Any] = {}
        self.seen: dict[str, list[np.ndarray]] = {name: [] for name in nodes}
        order = nx.DiGraph()
        order.add_nodes_from(nodes)
        order.add_edges_from((a, b) for a, b in edges if (a, b) not in self.late and not self._lags(b))
        self.order = list(nx.topological_sort(order))

    def _lags(self, name: str) -> bool:
        return self.nodes[name]["type"] == "Delay" and bool(np.all(np.asarray(self.nodes[name]["delay"]) >= 1))

    def run(self, inputs: dict[str, np.ndarray], steps: int) -> dict[str, list[np.ndarray]]:
        sent: dict[str, list[np.ndarray]] = {name: [] for name in self.nodes}
        for t in range(steps):
            for name in [n for n in self.order if self._lags(n)]:
                sent[name].append(self._delayed(name, t))
            for name in [n for n in self.order if not self._lags(n)]:
                if self.nodes[name]["type"] == "Input":
                    sent[name].append(inputs[name][t].astype(float))
                else:
                    sent[name].append(self._node(name, self._arriving(name, sent, t), t))
            for name in [n for n in self.order if self._lags(n)]:
                self.seen[name].append(self._arriving(name, sent, t))
        return sent

    def _arriving(self, name: str, sent: dict[str, list[np.ndarray]], t: int) -> Any:
        total: Any = 0.0
        for source, target in self.edges:
            if target == name:
                lag = int((source, target) in self.late)
                if t >= lag:
                    total = total + sent[source][t - lag]
        return total

    def _delayed(self, name: str, t: int) -> Any:
        steps = np.asarray(self.nodes[name]["delay"]).astype(int)
        if steps.ndim == 0:
            return self.seen[name][t - steps] if t >= steps else 0.0
        out = np.zeros(steps.shape)
        for index in np.ndindex(*steps.shape):
            if t >= steps[index] and np.ndim(self.seen[name][t - steps[index]]):
                out[index] = self.seen[name][t - steps[index]][index]
        return out

    def _node(self, name: str, x: Any, t: int) -> Any:
        f, kind = self.nodes[name], self.nodes[name]["type"]
        if kind in ("Affine", "Linear"):
            return f["weight"] @ (x if np.ndim(x) else np.zeros(f["weight"].shape[1])) + f.get("bias", 0.0)
        if kind == "Scale":
            return f["scale"] * x
        if kind == "Conv1d":
            line = _correlate(
                x[:, None], f["weight"][:, :, None], (1, f["stride"]), self._side(f["padding"]), (1, f["dilation"]), f["groups"]
            )
            return line[:, 0] + f["bias"][:, None]
        if kind == "Conv2d":
            return _correlate(x, f["weight"], f["stride"], f["padding"], f["dilation"], f["groups"]) + f["bias"][:, None, None]
        if kind in ("SumPool2d", "AvgPool2d"):
            factor = 1 / np.prod(_pair(f["kernel_size"])) if kind == "AvgPool2d" else 1.0
            return _pool(x, f["kernel_size"], f["stride"], f["padding"], float(factor))
        if kind == "Flatten":
            return x.reshape(*x.shape[: f["start_dim"]], -1)
        if kind == "Delay":
            self.seen[name].append(x)
            return self._delayed(name, t)
        if kind == "Output":
            return x
        return self._neuron(name, f, kind, x)

    def _side(self, padding: Any) -> Any:
        return padding if isinstance(padding, str) else (0, padding)

    def _neuron(self, name: str, f: dict[str, Any], kind: str, x: Any) -> np.ndarray:
        if kind == "Threshold":
            return (x > f["threshold"]).astype(float)
        v = self.v.get(name, 0.0)
        if kind.startswith("Cuba"):
            i = self.i.get(name, 0.0)
            x = self.i[name] = i + (-i + f["w_in"] * x) / f["tau_syn"]
        if kind in ("I", "IF"):
            v = v + f["r"] * x
        else:
            v = v + ((f["v_leak"] - v) + f["r"] * x) / f["tau_mem" if kind.startswith("Cuba") else "tau"]
        if kind not in _SPIKING:
            self.v[name] = v
            return v
        fired = v > f["v_threshold"]
        self.v[name] = np.where(fired, f["v_reset"], v)
        return fired.astype(float)


class _Random:
    """Grow a random graph of all primitives."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: Nodes = {}
        self.edges: Edges = []
        self.late: Edges = []

    def pick(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def eighths(self, *shape: int) -> np.ndarray:
        return self.rng.integers(-12, 13, shape) / 8

    def add(self, name: str, node: dict[str, Any], *sources: str) -> str:
        name = f"{name}{len(self.nodes)}"
        self.nodes[name] = node
        self.edges += [(s, name) for s in sources]
        return name

    def neuron(self, shape: tuple[int, ...]) -> dict[str, Any]:
        kind = self.pick("IF", "LIF", "CubaLIF", "Threshold", "I", "LI", "CubaLI", "LIF", "IF", "CubaLIF")

        def among(*values: float) -> np.ndarray:
            return self.rng.choice(values, shape)

        if kind == "Threshold":
            return {"type": kind, "threshold": among(0.0, 0.5, 1.0)}
        node = {"type": kind, "r": among(0.5, 1.0, 2.0)}
        if kind in ("LI", "LIF"):
            node |= {"tau": among(1.0, 2.0, 4.0), "v_leak": among(0.0, 0.25)}
        if kind.startswith("Cuba"):
            node |= {"tau_mem": among(1.0, 2.0, 4.0), "tau_syn": among(1.0, 2.0), "v_leak": among(0.0, 0.25), "w_in": among(1.0, 2.0)}
        if kind in _SPIKING:
            node |= {"v_threshold": among(0.5, 1.0, 1.5), "v_reset": among(0.0, 0.0, -0.25)}
        return node

    def linear(self, name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        options = ["Scale", "Delay", "Delays", "Flatten"]
        options += {1: ["Affine", "Linear"], 2: ["Conv1d"], 3: ["Conv2d", "SumPool2d", "AvgPool2d"]}[len(shape)] * 3
        kind = self.pick(*options)
        if kind == "Scale":
            return self.add("s", {"type": kind, "scale": self.eighths(*shape)}, name), shape
        if kind == "Delay":
            return self.add("d", {"type": kind, "delay": np.full(shape, float(self.rng.integers(0, 3)))}, name), shape
        if kind == "Delays":
            return self.add("d", {"type": "Delay", "delay": self.rng.integers(0, 4, shape).astype(float)}, name), shape
        if kind == "Flatten":
            start = int(self.rng.integers(len(shape)))
            return self.add("f", {"type": kind, "start_dim": start, "end_dim": -1}, name), (*shape[:start], int(np.prod(shape[start:])))
        if kind in ("Affine", "Linear"):
            size = int(self.rng.integers(1, 7))
            node = {"type": kind, "weight": self.eighths(size, shape[0])}
            return self.add("w", node | ({"bias": self.eighths(size)} if kind == "Affine" else {}), name), (size,)
        return self.image(kind, name, shape)

    def image(self, kind: str, name: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        sides = len(shape) - 1
        if kind.startswith("Conv"):
            groups = self.pick(1, shape[0])
            channels = groups * int(self.rng.integers(1, 3))
            kernel = self.rng.integers(1, 4, sides)
            dilation, padding = self.rng.integers(1, 3, sides), self.pick("same", "valid", self.rng.integers(0, 3, sides))
            stride = np.ones(sides, int) if isinstance(padding, str) else self.rng.integers(1, 3, sides)
            wide = np.zeros(sides, int) if isinstance(padding, str) else padding
            if np.any(np.array(shape[1:]) + 2 * wide < dilation * (kernel - 1) + 1):
                return name, shape
            node = {"type": kind, "weight": self.eighths(channels, shape[0] // groups, *kernel), "bias": self.eighths(channels)}
            fields: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
            if sides == 1:
                fields = {k: v if isinstance(v, str) else int(v[0]) for k, v in fields.items()}
            node |= fields | {"groups": groups}
            x = np.zeros((shape[0], *((1, shape[1]) if sides == 1 else shape[1:])))
            weight = node["weight"][:, :, None] if sides == 1 else node["weight"]
            if sides == 1:
                padding = padding if isinstance(padding, str) else (0, padding[0])
                stride, dilation = (1, stride[0]), (1, dilation[0])
            found = _correlate(x, weight, stride, padding, dilation, groups).shape
            return self.add("c", node, name), (found[0], *found[3 - sides :])
        kernel, stride = self.pick((2, 2), (1, 2), (2, 1), (4, 2)), self.rng.integers(1, 3, 2)
        padding = np.array([self.pick(0, 0, k // 2) for k in kernel])
        if np.any(np.array(shape[1:]) + 2 * padding < kernel):
            return name, shape
        node = {"type": kind, "kernel_size": np.array(kernel), "stride": stride, "padding": padding}
        return self.add("p", node, name), _pool(np.zeros(shape), kernel, stride, padding, 1.0).shape

    def grow(self) -> None:
        shape: tuple[int, ...] = self.pick((3,), (5,), (2, 6), (1, 5), (2, 5, 4), (1, 6, 6))
        inputs = [self.add("in", {"type": "Input", "shape": np.array(shape)}) for _ in range(self.pick(1, 1, 2))]
        sources, outputs = inputs, []
        for _ in range(int(self.rng.integers(1, 4))):
            name, start = sources[0], len(self.nodes)
            for _ in range(int(self.rng.integers(0, 4))):
                name, shape = self.linear(name, shape)
            if len(self.nodes) > start and len(sources) > 1:
                first = list(self.nodes)[start]
                self.edges += [(s, first) for s in sources[1:]]
                sources = sources[:1]
            before = sources if len(self.nodes) == start else [name]
            neuron = self.add("n", self.neuron(shape), *before)
            if len(shape) == 1 and self.pick(True, False):
                self.loop(neuron, shape[0])
            if self.pick(True, False, False):
                outputs.append(neuron)
            sources = [neuron]
        last = sources[0]
        for _ in range(self.pick(0, 0, 1, 2)):
            last, shape = self.linear(last, shape)
        for name in {last: None, **dict.fromkeys(outputs)}:
            self.add("out", {"type": "Output", "shape": np.array(self.shapes()[name])}, name)

    def loop(self, neuron: str, size: int) -> None:
        back = self.add("w", {"type": "Affine", "weight": self.eighths(size, size), "bias": self.eighths(size)}, neuron)
        kind = self.pick("late", "delay", "delays")
        if kind == "late":
            self.edges.append((back, neuron))
            self.late.append((neuron, back))
            return
        steps = np.full(size, 2.0) if kind == "delay" else self.rng.integers(1, 4, size).astype(float)
        self.add("d", {"type": "Delay", "delay": steps}, back)
        self.edges.append((list(self.nodes)[-1], neuron))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        inputs = {n: np.zeros((1, *f["shape"])) for n, f in self.nodes.items() if f["type"] == "Input"}
        sent = _Evaluation(self.nodes, self.edges, self.late).run(inputs, 1)
        return {name: np.shape(values[0]) for name, values in sent.items()}


def _graph(seed: int) -> _Random:
    made = _Random(seed)
    made.grow()
    return made


def _feeders(made: _Random) -> dict[str, str]:
    """Return what each Output reads, behind nodes that change nothing."""
    before = {b: a for a, b in made.edges}
    found = {}
    for name, node in made.nodes.items():
        if node["type"] == "Output":
            key = before[name]
            while made.nodes[key]["type"] == "Flatten" or (made.nodes[key]["type"] == "Delay" and not np.any(made.nodes[key]["delay"])):
                key = before[key]
            found[name] = key
    return found


def _compare(network: Network, made: _Random, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = {n: rng.integers(0, 2, (_STEPS, *f["shape"])) for n, f in made.nodes.items() if f["type"] == "Input"}
    expected = _Evaluation(made.nodes, made.edges, made.late).run(inputs, _STEPS)
    neurons = [p.name for p in network.populations if p.neuron is not None]
    run = simulate(network, {name: x[None] for name, x in inputs.items()}, record=neurons)
    assert set(network.outputs) == set(_feeders(made).values())
    for name in neurons:
        found = run.v[name][0] if network[name].silent else run.spikes[name][0]
        # A cascade of integrators outgrows 53 bits now and then.
        np.testing.assert_allclose(found, np.reshape(expected[name], (_STEPS, -1)), rtol=1e-12, atol=0, err_msg=name)


@pytest.mark.parametrize("block", range(6))
def test_random_graphs_compute_what_their_nodes_say(tmp_path: Path, block: int) -> None:
    for seed in range(40 * block, 40 * block + 40):
        made = _graph(seed)
        _compare(read(write_nir(tmp_path / f"{seed}.nir", made.nodes, made.edges, _STATED)), made, seed)


def _as_nir(nir: Any, made: _Random) -> Any:
    """Return the graph as objects of the `nir` package."""
    nodes = {}
    for name, node in made.nodes.items():
        fields = {k: v for k, v in node.items() if k != "type"}
        if node["type"] == "Input":
            fields = {"input_type": {"input": fields["shape"]}}
        elif node["type"] == "Output":
            fields = {"output_type": {"output": fields["shape"]}}
        elif node["type"] == "Flatten":
            feeder = next(a for a, b in made.edges if b == name)
            fields["input_type"] = {"input": np.array(made.shapes()[feeder])}
        elif node["type"] in ("Conv1d", "Conv2d"):
            feeder = next(a for a, b in made.edges if b == name)
            plane = made.shapes()[feeder][1:]
            fields["input_shape"] = plane if len(plane) == 2 else plane[0]
        nodes[name] = getattr(nir, node["type"])(**fields)
    return nir.NIRGraph(nodes=nodes, edges=list(made.edges), metadata=_STATED, type_check=False)


def test_files_that_nir_writes_compute_the_same(tmp_path: Path) -> None:
    nir = pytest.importorskip("nir", reason="the `nir` package, which writes the files of this test, is not installed")
    for seed in range(1000, 1060):
        made = _graph(seed)
        nir.write(tmp_path / f"{seed}.nir", _as_nir(nir, made))
        _compare(read(tmp_path / f"{seed}.nir"), made, seed)


def test_the_random_graphs_hold_every_primitive() -> None:
    kinds = {node["type"] for seed in range(80) for node in _graph(seed).nodes.values()}
    assert kinds == set(FIELDS)
