"""How many links spikes take on SpiNNaker 1, mapped by nmap and by sPyNNaker, both counted in sPyNNaker's own routing tables.

    python benchmarks/spinnaker_mapping.py                          all networks, 64 and 256 neurons a core
    python benchmarks/spinnaker_mapping.py modular mlp --per-core 64
    python benchmarks/spinnaker_mapping.py --file NETWORK.npz       a network of your own

sPyNNaker runs in a process of its own, by the interpreter that NMAP_SPYNNAKER_PYTHON names (else this one), in virtual mode on a board of
48 chips. Without it its columns are empty. It maps each network twice: left to itself, and with nmap's slices fixed where nmap put them.

Hops are the links that are used if every neuron spikes once: of every slice the links on the way of its key through the routing tables,
times its neurons. CPU seconds are nmap's partition and placement, and sPyNNaker's partitioner, placer, router, keys and tables. Padding
are the silent neurons that make the slices of a PyNN population equally long.

A file holds `meta`, JSON with `pops` [[name, size]] and `edges` [[source, target]], and for edge k arrays `e{k}_pre` and `e{k}_post`.
A population without afferents is a spike source.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["NETWORKS", "Graph", "convolutions", "fixed_job", "free_job", "layers", "modular", "read", "recurrent", "vendor"]

_SOURCES = 2048
"""Neurons of a SpikeSourceArray's slice."""
_CFG = "[Machine]\nvirtual_board = True\nversion = 5\n[Mode]\nmode = Production\n[Reports]\nwrite_network_graph = False\n"
_STAGES = ("_execute_splitter_partitioner", "_do_placer", "_do_routing", "_do_info_allocator", "_do_routing_table_generator")


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A network as populations and lists of synapses.

    Args:
        populations: (name, size).
        edges: (source, target) names.
        synapses: (source neurons, target neurons), int64, for each edge.
    """

    populations: tuple[tuple[str, int], ...]
    edges: tuple[tuple[str, str], ...]
    synapses: tuple[tuple[Any, Any], ...]

    @property
    def sources(self) -> set[str]:
        """Populations without afferents."""
        return {name for name, _ in self.populations} - {target for _, target in self.edges}


def read(path: Path) -> Graph:
    """Read a network from a file; see the module's text."""
    with np.load(path) as file:
        meta = json.loads(str(file["meta"]))
        synapses = tuple((file[f"e{k}_pre"].astype(np.int64), file[f"e{k}_post"].astype(np.int64)) for k in range(len(meta["edges"])))
    return Graph(tuple((name, int(size)) for name, size in meta["pops"]), tuple((a, b) for a, b in meta["edges"]), synapses)


def _all(sources: int, targets: int) -> tuple[Any, Any]:
    pre, post = np.divmod(np.arange(sources * targets), targets)
    return pre, post


def layers(*sizes: int) -> Graph:
    """Return dense layers, the first one spike sources."""
    names = ["in", *(f"layer{k}" for k in range(1, len(sizes)))]
    return Graph(tuple(zip(names, sizes, strict=True)), tuple(pairwise(names)), tuple(_all(a, b) for a, b in pairwise(sizes)))


def convolutions(shape: tuple[int, int, int], *convs: tuple[int, int, int], outputs: int = 10) -> Graph:
    """Return convolutions, (channels, kernel, stride) each, synapse by synapse, and a dense layer."""
    populations, edges, synapses = [("in", int(np.prod(shape)))], [], []
    for number, (channels, kernel, stride) in enumerate(convs):
        deep, high, wide = shape
        rows, columns = ((n + 2 * (kernel // 2) - kernel) // stride + 1 for n in (high, wide))
        y, x, dy, dx = np.ogrid[:rows, :columns, :kernel, :kernel]
        y_in, x_in = np.broadcast_arrays(y * stride + dy - kernel // 2, x * stride + dx - kernel // 2)
        inside = (y_in >= 0) & (y_in < high) & (x_in >= 0) & (x_in < wide)
        seen, made = (y_in * wide + x_in)[inside], np.broadcast_to(y * columns + x, inside.shape)[inside]
        pairs = [(d, c) for c in range(channels) for d in range(deep)]
        pre = np.concatenate([seen + d * high * wide for d, _ in pairs])
        synapses.append((pre, np.concatenate([made + c * rows * columns for _, c in pairs])))
        edges.append((populations[-1][0], f"conv{number + 1}"))
        shape = (channels, rows, columns)
        populations.append((f"conv{number + 1}", int(np.prod(shape))))
    edges.append((populations[-1][0], "out"))
    synapses.append(_all(populations[-1][1], outputs))
    return Graph((*populations, ("out", outputs)), tuple(edges), tuple(synapses))


def recurrent(neurons: int, fan_in: int = 100, seed: int = 0) -> Graph:
    """Return one population that listens to random neurons of itself."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(0, 100, 2000), rng.integers(0, neurons, 2000)
    wires = inputs, (rng.integers(0, neurons, neurons * fan_in), rng.integers(0, neurons, neurons * fan_in))
    return Graph((("in", 100), ("all", neurons)), (("in", "all"), ("all", "all")), wires)


def modular(sizes: list[int], own: int = 50, near: int = 15, far: int = 5, reach: int = 2, cut: str = "modules", seed: int = 0) -> Graph:
    """Return modules on a ring, each with synapses to itself, to the next `reach` ones, and to one anywhere.

    Args:
        sizes: neurons of each module.
        own, near, far: synapses per target neuron.
        reach: see above.
        cut: populations are the `modules`, in shuffled order; runs of 1000 neurons along the ring, whatever module they are of
            (`runs`); or all neurons in shuffled order (`one`).
        seed: of all random choices.
    """
    rng = np.random.default_rng(seed)
    first = np.cumsum([0, *sizes])
    order = rng.permutation(len(sizes)).tolist()
    pre, post = [], []

    def connect(a: int, b: int, fan_in: int) -> None:
        pre.append(first[a] + rng.integers(0, sizes[a], fan_in * sizes[b]))
        post.append(first[b] + rng.integers(0, sizes[b], fan_in * sizes[b]))

    for a in range(len(sizes)):
        connect(a, a, own)
        for step in range(1, reach + 1):
            connect(a, (a + step) % len(sizes), near)
        connect(a, int(rng.integers(len(sizes))), far)
    neurons = int(first[-1])
    inputs = rng.integers(0, 100, 5000), rng.integers(0, sizes[0], 5000)
    place = rng.permutation(neurons) if cut == "one" else np.arange(neurons)
    edges_of = {"modules": first, "runs": np.append(np.arange(0, neurons, 1000), neurons), "one": np.array([0, neurons])}[cut]
    source, target = place[np.concatenate(pre)], place[np.concatenate(post)]
    names = [f"part{k}" for k in range(edges_of.size - 1)]
    edges: list[tuple[str, str]] = []
    synapses: list[tuple[Any, Any]] = []
    for name, begin, wires in (("in", None, (inputs[0], place[inputs[1]])), ("", edges_of, (source, target))):
        a = np.zeros(wires[0].size, np.int64) if begin is None else np.searchsorted(begin, wires[0], "right") - 1
        b = np.searchsorted(edges_of, wires[1], "right") - 1
        key = a * len(names) + b
        for pair in np.unique(key).tolist():
            chosen = key == pair
            u, v = divmod(pair, len(names))
            edges.append((name or names[u], names[v]))
            synapses.append((wires[0][chosen] - (0 if begin is None else begin[u]), wires[1][chosen] - edges_of[v]))
    listed = [(names[k], int(edges_of[k + 1] - edges_of[k])) for k in (order if cut == "modules" else range(len(names)))]
    return Graph((("in", 100), *listed), tuple(edges), tuple(synapses))


def _uneven(seed: int) -> list[int]:
    sizes = np.random.default_rng(seed).integers(100, 500, 34).tolist()
    return [int(size) for size in sizes]


NETWORKS: dict[str, Callable[[], Graph]] = {
    "modular": lambda: modular([250] * 40), "modular-other": lambda: modular([250] * 40, seed=1),
    "modular-100": lambda: modular([100] * 100, seed=2), "modular-400": lambda: modular([400] * 25, seed=3),
    "modular-1000": lambda: modular([1000] * 10, seed=4), "modular-uneven": lambda: modular(_uneven(5), seed=5),
    "modular-sparse": lambda: modular([250] * 40, 40, 5, 1, seed=6), "modular-far": lambda: modular([250] * 40, 30, 10, 20, 1, seed=7),
    "modular-runs": lambda: modular([250] * 40, cut="runs", seed=8), "modular-one": lambda: modular([250] * 40, cut="one", seed=9),
    "mlp-784-512-10": lambda: layers(784, 512, 10), "mlp-784-1024-1024-512-10": lambda: layers(784, 1024, 1024, 512, 10),
    "mlp-deep": lambda: layers(784, *[512] * 8, 10), "mlp-wide": lambda: layers(784, 2048, 2048, 10),
    "mlp-mixed": lambda: layers(784, 1500, 700, 1100, 300, 900, 10),
    "conv": lambda: convolutions((2, 34, 34), (8, 3, 1), (16, 3, 2), (32, 3, 2)), "recurrent-1000": lambda: recurrent(1000),
}


def _arrays(wires: list[tuple[Any, Any]]) -> dict[str, Any]:
    return {f"e{k}_{end}": part for k, pair in enumerate(wires) for end, part in zip(("pre", "post"), pair, strict=True)}


def free_job(graph: Graph, per_core: int, path: Path) -> None:
    """Write what sPyNNaker is to map as it likes."""
    rows = [[name, size, per_core, name in graph.sources, None, None] for name, size in graph.populations]
    np.savez(path, meta=json.dumps({"pops": rows, "edges": graph.edges}), **_arrays(list(graph.synapses)))


def fixed_job(graph: Graph, cores: dict[str, Any], places: Any, path: Path) -> tuple[int, int]:
    """Write what sPyNNaker is to map with slices fixed to cores; return silent neurons and PyNN populations.

    A PyNN population has the slices of one population that lie on one chip and are heard on the same chips: sPyNNaker's router takes a
    population's slices as one, wants their chips next to each other, and sends all spikes wherever one slice's go.

    Args:
        graph: the network.
        cores: (size,) int64 by population, the core of each neuron.
        places: (cores, 3) int64, column and row of the chip, and processor.
        path: of the file.
    """
    heard: dict[int, set[tuple[int, int]]] = {}
    for (a, b), (pre, post) in zip(graph.edges, graph.synapses, strict=True):
        for pair in np.unique(cores[a][pre] * len(places) + cores[b][post]).tolist():
            one, two = divmod(pair, len(places))
            heard.setdefault(one, set()).add((int(places[two][0]), int(places[two][1])))
    rows: list[list[Any]] = []
    padding = 0
    where: dict[str, tuple[Any, Any, list[str]]] = {}
    for name, size in graph.populations:
        source = name in graph.sources
        groups: dict[Any, list[int]] = {}
        for core in np.unique(cores[name]).tolist():
            key = (*places[core][:2].tolist(), *sorted(heard.get(core, set())), core if source else -1)
            groups.setdefault(key, []).append(core)
        group_of, index, labels = np.empty(size, np.int64), np.empty(size, np.int64), []
        for number, members in enumerate(groups.values()):
            sizes = [int((cores[name] == core).sum()) for core in members]
            members = [members[k] for k in np.argsort([-s for s in sizes], kind="stable")]
            sizes = sorted(sizes, reverse=True)
            for k, core in enumerate(members):
                inside = np.flatnonzero(cores[name] == core)
                group_of[inside], index[inside] = number, k * sizes[0] + np.arange(inside.size)
            labels.append(f"{name}.{number}")
            total = sizes[0] * (len(members) - 1) + sizes[-1]
            padding += total - sum(sizes)
            rows.append([labels[-1], total, sizes[0], source, [places[core].tolist() for core in members], sizes])
        where[name] = group_of, index, labels
    edges: list[tuple[str, str]] = []
    wires: list[tuple[Any, Any]] = []
    for (a, b), (pre, post) in zip(graph.edges, graph.synapses, strict=True):
        key = where[a][0][pre] * len(where[b][2]) + where[b][0][post]
        order = np.argsort(key, kind="stable")
        begins = np.flatnonzero(np.append(True, key[order][1:] != key[order][:-1]))
        for chosen in np.split(order, begins[1:]):
            u, v = divmod(int(key[chosen[0]]), len(where[b][2]))
            edges.append((where[a][2][u], where[b][2][v]))
            wires.append((where[a][1][pre[chosen]], where[b][1][post[chosen]]))
    np.savez(path, meta=json.dumps({"pops": rows, "edges": edges}), **_arrays(wires))
    return padding, len(rows)


def _vendor_main(job: Path, answer: Path) -> None:
    """Run sPyNNaker's mapping on a job and write its figures; in the interpreter that has sPyNNaker."""
    with np.load(job) as file:
        meta = json.loads(str(file["meta"]))
        wires = [np.stack([file[f"e{k}_pre"], file[f"e{k}_post"]], 1) for k in range(len(meta["edges"]))]
    Path("spynnaker.cfg").write_text(_CFG, encoding="utf-8")
    import pyNN.spiNNaker as sim  # noqa: N813 - everybody's name for it
    from pacman.data import PacmanDataView
    from spinn_front_end_common.interface.abstract_spinnaker_base import AbstractSpinnakerBase
    from spynnaker.pyNN.extra_algorithms.splitter_components import SplitterPopulationVertexFixed

    spent: dict[str, float] = {}

    def timed(name: str) -> None:
        inner = getattr(AbstractSpinnakerBase, name)

        def outer(self: Any, *args: Any, **keywords: Any) -> Any:
            begin = time.process_time()
            try:
                return inner(self, *args, **keywords)
            finally:
                spent[name] = spent.get(name, 0.0) + time.process_time() - begin

        setattr(AbstractSpinnakerBase, name, outer)

    for stage in _STAGES:
        timed(stage)
    # Routing tables are all that is asked: no core's memory is written.
    AbstractSpinnakerBase._do_load = lambda self: None
    AbstractSpinnakerBase._do_run = lambda self, *steps: None

    class Fixed(SplitterPopulationVertexFixed):  # type: ignore[misc]
        def __init__(self, places: list[list[int]]) -> None:
            super().__init__()
            self.places = places

        def create_machine_vertices(self, chip_counter: Any) -> None:
            super().create_machine_vertices(chip_counter)
            for vertex, place in zip(self.governed_app_vertex.machine_vertices, self.places, strict=True):
                vertex.set_fixed_location(*place)

    sim.setup(timestep=1.0, time_scale_factor=1)
    made = {}
    for name, size, per_core, source, places, _ in meta["pops"]:
        if source:
            made[name] = sim.Population(size, sim.SpikeSourceArray([[1.0 + k % 7] for k in range(size)]), label=name)
            if places:
                made[name].add_placement_constraint(*places[0])
        else:
            more = {"neurons_per_core": per_core} | ({"splitter": Fixed(places)} if places else {})
            made[name] = sim.Population(size, sim.IF_curr_exp(), label=name, additional_parameters=more)
    for (pre, post), pairs in zip(meta["edges"], wires, strict=True):
        rows = np.concatenate([pairs, np.ones_like(pairs)], 1).astype(np.float64)
        sim.Projection(made[pre], made[post], sim.FromListConnector(rows), receptor_type="excitatory", synapse_type=sim.StaticSynapse())
    sim.run(10)

    machine, infos = PacmanDataView.get_machine(), PacmanDataView.get_routing_infos()
    tables = {(table.x, table.y): list(table.multicast_routing_entries) for table in PacmanDataView.get_uncompressed()}
    sending = {partition.pre_vertex.label: partition.identifier for partition in PacmanDataView.iterate_partitions()}
    hops = deliveries = cores = 0
    chips = set()
    for name, _, _, _, places, sizes in meta["pops"]:
        for number, vertex in enumerate(made[name]._vertex.machine_vertices):
            at = PacmanDataView.get_placement_of_vertex(vertex)
            if places and [at.x, at.y, at.p] != places[number]:
                raise RuntimeError(f"slice {number} of {name} lies at {at}, not at {places[number]}")
            chips.add((at.x, at.y))
            cores += 1
            if name not in sending:
                continue
            key = infos.get_key_from(vertex, sending[name])
            links = arrivals = 0
            todo: list[tuple[tuple[int, int], int | None]] = [((at.x, at.y), None)]
            while todo:
                chip, came = todo.pop()
                found = [entry for entry in tables.get(chip, []) if key & entry.mask == entry.key]
                # Without an entry a router passes packets straight on.
                out = found[0].link_ids if found else [came]
                arrivals += len(found[0].processor_ids) if found else 0
                links += len(out)
                todo += [(machine.xy_over_link(*chip, link), link) for link in out]
            neurons = sizes[number] if sizes else vertex.vertex_slice.n_atoms
            hops += neurons * links
            deliveries += neurons * arrivals
    table = max((len(entries) for entries in tables.values()), default=0)
    figures = {"hops": hops, "deliveries": deliveries, "cores": cores, "chips": len(chips), "table": table, "cpu": sum(spent.values())}
    answer.write_text(json.dumps(figures), encoding="utf-8")
    sim.end()


def vendor(job: Path, timeout: float = 600.0) -> dict[str, Any] | str:
    """Return sPyNNaker's figures of a job, or why there are none."""
    python = os.environ.get("NMAP_SPYNNAKER_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [python, str(Path(__file__).resolve()), "--vendor", str(job.resolve()), str(answer)]
        try:
            run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if run.returncode or not answer.exists():
            lines = run.stderr.strip().splitlines()
            return lines[-1] if lines else f"exit status {run.returncode}"
        figures: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return figures


def mapped(graph: Graph, per_core: int, effort: int, seed: int, partitioner: str) -> dict[str, Any]:
    """Return nmap's cores of all neurons, places, objective, bound, seconds."""
    from nmap.connectivity import Sparse
    from nmap.network import Provenance
    from nmap.options import Options
    from nmap.partition.cut import pack_network, place_network
    from nmap.program import slice_indices
    from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
    from nmap.target.machine import build_machine
    from nmap.target.registry import find_partitioner

    target = _slices(per_core)
    nowhere = Provenance("benchmark", "/")
    ports = sorted(graph.sources)
    populations = [QuantizedPopulation(f"{name}.port", (dict(graph.populations)[name],), None, {}, nowhere) for name in ports]
    populations += [
        QuantizedPopulation(name, (size,), "source" if name in graph.sources else "cells", {}, nowhere) for name, size in graph.populations
    ]
    form, sizes = SynapseFormat(16), dict(graph.populations)
    projections = [
        QuantizedProjection(f"{name}.load", f"{name}.port", name, Sparse.diagonal(np.ones(sizes[name], np.int32)), form, 0, nowhere)
        for name in ports
    ]
    for number, ((a, b), (pre, post)) in enumerate(zip(graph.edges, graph.synapses, strict=True)):
        wires = _wires(pre, post, sizes[a], sizes[b])
        projections.append(QuantizedProjection(f"{a}->{b} {number}", a, b, wires, form, 0, nowhere))
    network = QuantizedNetwork(tuple(populations), tuple(projections), tuple(f"{name}.port" for name in ports), (graph.populations[-1][0],))
    machine = build_machine(target.spec, "48chip")
    options, plugin = Options(effort=effort, seed=seed, partitioner=partitioner), find_partitioner(partitioner)
    begin = time.process_time()
    packed = pack_network(network, target, machine, plugin, options)
    middle = time.process_time()
    mapping = place_network(network, target, machine, plugin, options, packed)
    end = time.process_time()
    cores = {name: np.full(size, -1, np.int64) for name, size in graph.populations}
    for shard in mapping.shards:
        cores[shard.population][slice_indices(shard.slice, (sizes[shard.population],))] = shard.cluster
    slots = machine.board().slots
    index = {(core.chip, core.core): k for k, core in enumerate(machine.cores)}
    places = np.array([(*slots[index[core.chip, core.core]].tolist(), core.core + 2) for core in mapping.cores], np.int64)
    return {
        "cores": cores, "places": places, "hops": mapping.placement.objective, "bound": mapping.placement.lower_bound,
        "pack": middle - begin, "place": end - middle,
    }


def _wires(pre: Any, post: Any, sources: int, targets: int) -> Any:
    """Return synapses as a matrix where all are there, else as a list; double ones count once."""
    from nmap.connectivity import Dense, Sparse

    synapse = np.unique(post * sources + pre)
    if synapse.size == sources * targets:
        return Dense(np.ones((targets, sources), np.int32))
    start = np.searchsorted(synapse, np.arange(targets + 1) * sources)
    return Sparse(start, (synapse % sources).astype(np.int32), np.ones(synapse.size, np.int32), sources)


def _slices(per_core: int) -> Any:
    """Return a target with the chip data of SpiNNaker 1 whose cores hold so many neurons of one population, and nothing else counts."""
    from nmap.program import slice_size
    from nmap.target.backend import NeuronDemand
    from nmap.target.registry import find_target

    spec = find_target("spinnaker1").spec
    most = {"populations": 1, "neurons": per_core, "sources": _SOURCES}
    resources = {name: spec.resources[name].model_copy(update={"max": value}) for name, value in most.items()}

    class Slices:
        name = "slices"

        def __init__(self) -> None:
            self.spec = spec.model_copy(update={"resources": resources, "classes": {}})

        def demand(self, network: Any, population: str, part: Any) -> dict[str, int]:
            return self._amounts(network, population, slice_size(part))

        def demand_at_most(self, network: Any, population: str, extent: tuple[int, ...]) -> dict[str, int]:
            return self._amounts(network, population, int(np.prod(extent)))

        def demand_floor(self, network: Any, population: str) -> dict[str, float]:
            size = network[population].size
            amounts = self._amounts(network, population, size)
            return {**amounts, "populations": max(-(-amounts["neurons"] // per_core), -(-amounts["sources"] // _SOURCES))}

        def neuron_demand(self, network: Any, population: str) -> Any:
            neuron = np.zeros((3, network[population].size), np.int64)
            neuron[2 if network[population].kernel == "source" else 1] = 1
            free = (np.zeros((3, 1), np.int64),) * len(network.afferents(population))
            return NeuronDemand(tuple(most), 1, neuron, free, np.array([1, 0, 0]), np.zeros(3, np.int64))

        @staticmethod
        def _amounts(network: Any, population: str, neurons: int) -> dict[str, int]:
            source = network[population].kernel == "source"
            return {"populations": 1, "neurons": 0 if source else neurons, "sources": neurons if source else 0}

    return Slices()


def measure(graph: Graph, per_core: int, effort: int, seed: int, partitioner: str, compare: bool = True) -> dict[str, Any]:
    """Return a row of the table."""
    ours = mapped(graph, per_core, effort, seed, partitioner)
    row: dict[str, Any] = {
        "cores": len(ours["places"]), "objective": ours["hops"], "bound": ours["bound"], "pack_s": ours["pack"], "place_s": ours["place"],
    }
    with tempfile.TemporaryDirectory() as folder:
        fixed, free = Path(folder) / "fixed.npz", Path(folder) / "free.npz"
        row["padding"], row["pynn_populations"] = fixed_job(graph, ours["cores"], ours["places"], fixed)
        if compare:
            free_job(graph, per_core, free)
            for name, job in (("vendor", free), ("nmap", fixed)):
                row[name] = vendor(job)
    return row


def main() -> None:
    """Measure and print a table, or one JSON object a line."""
    if sys.argv[1:2] == ["--vendor"]:
        _vendor_main(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"beginnings of: {', '.join(NETWORKS)}")
    parser.add_argument("--per-core", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--file", type=Path, nargs="*", default=[], help="networks from files")
    parser.add_argument("--effort", type=int, choices=(0, 1, 2), default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--partitioner", default="cpsat")
    parser.add_argument("--alone", action="store_true", help="without sPyNNaker")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    cases = {str(path.stem): (lambda path=path: read(path)) for path in args.file}
    if args.names or not args.file:
        cases |= {name: make for name, make in NETWORKS.items() if not args.names or name.startswith(tuple(args.names))}
    heads = (
        ("network", 26), ("/core", 6), ("cores", 6), ("sPyNN.", 9), ("nmap", 9), ("saved", 7), ("goal", 9), ("bound", 8), ("table", 9),
        ("padding", 8), ("pack s", 8), ("place s", 8), ("sPyNN. s", 9),
    )
    if not args.json:
        print("".join(f"{head:<{width}}" if head == "network" else f"{head:>{width}}" for head, width in heads))
    for name, make in cases.items():
        graph = make()
        for per_core in args.per_core:
            row = measure(graph, per_core, args.effort, args.seed, args.partitioner, not args.alone)
            if args.json:
                print(json.dumps({"network": name, "per_core": per_core, **row}), flush=True)
                continue
            theirs, ours = row.get("vendor", "left out"), row.get("nmap", "left out")
            figures = [""] * 5
            if isinstance(theirs, dict):
                figures[0], figures[3], figures[4] = f"{theirs['hops']}", f"{theirs['table']}", f"{theirs['cpu']:.2f}"
            if isinstance(ours, dict):
                figures[1] = f"{ours['hops']}"
                figures[3] += f"/{ours['table']}"
            if isinstance(theirs, dict) and isinstance(ours, dict) and theirs["hops"]:
                figures[2] = f"{1 - ours['hops'] / theirs['hops']:.0%}"
            cells = (
                name, per_core, row["cores"], *figures[:3], f"{row['objective']:.0f}", f"{row['bound']:.0f}", figures[3], row["padding"],
                f"{row['pack_s']:.2f}", f"{row['place_s']:.2f}", figures[4],
            )
            print("".join(f"{cell:<{w}}" if k == 0 else f"{cell:>{w}}" for k, (cell, (_, w)) in enumerate(zip(cells, heads, strict=True))))
            for who, figure in (("sPyNNaker", theirs), ("sPyNNaker with nmap's places", ours)):
                if isinstance(figure, str) and not args.alone:
                    print(f"    {who}: {figure}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
