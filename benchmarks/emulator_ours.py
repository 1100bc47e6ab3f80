"""The workloads in nmap's own terms, and what its emulator takes for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from emulator_networks import Cells, Link, Net, degrees, digest, folded

from nmap.compile import build_program
from nmap.connectivity import Connectivity, Conv2d, Dense, Sparse
from nmap.emulate.engine import Emulator
from nmap.emulate.kernel import Kernel
from nmap.emulate.native import find_bytes
from nmap.mapping import Mapping as Placed
from nmap.mapping import Shard
from nmap.network import Provenance
from nmap.program import Box, ConvTile, Core, NeuronGroup, Program, ProgramPopulation, Routes, SynapseBlock
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.machine import Machine

__all__ = ["Engine", "kernels", "neurons_of", "pilotnet", "quantized", "scattered", "unmapped"]

_HERE = Provenance("benchmark", "/")


def kernels() -> Mapping[str, Kernel]:
    """Return the kernels of Loihi 2."""
    from nmap_loihi2.kernels import KERNELS

    return KERNELS


# ---- networks


def _frozen(values: np.ndarray, dtype: Any) -> np.ndarray:
    """Return an array that nmap takes over without copying it."""
    array = np.ascontiguousarray(values, dtype)
    if array is values or array.base is not None:
        array = array.copy()
    array.setflags(write=False)
    return array


def _connectivity(net: Net, link: Link) -> Connectivity:
    whole = folded(net, link)
    weights = _frozen(whole.weights, np.int32)
    if whole.kind == "dense":
        return Dense(weights)
    if whole.kind == "conv":
        return Conv2d(weights, net[link.source].shape, whole.stride, whole.padding, groups=whole.groups)
    # Closed to writing in place: a hundred million synapses are not copied.
    for array in (whole.indices, whole.indptr):
        array.setflags(write=False)
    return Sparse(whole.indptr, whole.indices, weights, net[link.source].size)


def quantized(net: Net) -> QuantizedNetwork:
    """Return a workload as the quantized network that a Loihi 2 target would hand over."""
    populations = []
    for cells in net.cells:
        if cells.vth is None:
            populations.append(QuantizedPopulation(cells.name, cells.shape, None, {}, _HERE))
            continue
        params = {key: np.asarray(getattr(cells, key)) for key in ("du", "dv", "vth", "bias_mant", "bias_exp")}
        start = {"v": np.asarray(cells.start)} if np.any(cells.start) else {}
        populations.append(QuantizedPopulation(cells.name, cells.shape, "loihi2.lif", params, _HERE, start))
    projections = [
        QuantizedProjection(f"{link.source}>{link.target}", link.source, link.target, _connectivity(net, link),
                            SynapseFormat(8, link.exponent), 0, _HERE)
        for link in net.links
    ]
    return QuantizedNetwork(tuple(populations), tuple(projections), (net.cells[0].name,), (net.cells[-1].name,))


def pilotnet(path: Path, image: Path, steps: int = 96) -> Net:
    """Return lava-dl's PilotNet LIF, looking at one image, (x, y, channel), which is its first layer's bias: the input port is silent.

    That layer keeps no current, so a constant bias does what an input of the same size in every step would do.
    """
    import nmap
    from nmap.diagnostics import Findings
    from nmap.options import Options
    from nmap.target.registry import find_target

    findings = Findings()
    network = find_target("loihi2").quantize(nmap.read(path), Options(), findings)
    findings.raise_errors()
    cells, links = [], []
    for p in network.populations:
        if p.kernel is None:
            cells.append(Cells(p.name, p.shape))
            continue
        one = {key: int(np.unique(p.params[key]).item()) for key in ("du", "dv", "vth", "bias_exp")}
        bias = np.array(p.params["bias_mant"], np.int32)
        if len(cells) == 1:
            one["bias_exp"], bias = 6, np.load(image).transpose(2, 1, 0).ravel().astype(np.int32)
        cells.append(Cells(p.name, p.shape, **one, bias_mant=bias, start=p.initial.get("v", 0)))
    for q in network.projections:
        c, where = q.connectivity, {"source": q.source, "target": q.target, "exponent": q.format.exponent}
        weights = c.weights.astype(np.int16)
        if isinstance(c, Conv2d):
            links.append(Link(**where, weights=weights, stride=c.stride, padding=c.padding, groups=c.groups))
        elif isinstance(c, Sparse):
            links.append(Link(**where, weights=weights, indptr=c.indptr, indices=c.indices))
        else:
            links.append(Link(**where, weights=weights))
    silent = np.zeros((1, steps, cells[0].size), np.uint8)
    return Net("pilotnet", "PilotNet LIF, 158,509 neurons", tuple(cells), tuple(links), silent, steps)


# ---- programs


def unmapped(network: QuantizedNetwork) -> Program:
    """Return a program of one core per population, whatever a core can hold, without a copy of a synapse."""
    index = {p.name: k for k, p in enumerate(network.populations)}
    populations = tuple(
        ProgramPopulation(p.name, p.shape, p.latency, p.name in network.inputs, p.name in network.outputs) for p in network.populations
    )
    neurons = [p for p in network.populations if p.kernel is not None]
    core = {p.name: k for k, p in enumerate(neurons)}
    groups = tuple(
        NeuronGroup(core[p.name], index[p.name], tuple((0, n) for n in p.shape), str(p.kernel), p.params, p.initial) for p in neurons
    )
    axons = [0] * len(neurons)
    blocks, listeners = [], {p.name: [] for p in network.populations}
    for q in network.projections:
        here, c = core[q.target], q.connectivity
        boxes = [tuple((0, n) for n in network[name].shape) for name in (q.source, q.target)]
        synapses = c if not isinstance(c, Conv2d) else ConvTile(
            c.weights, c.in_shape, c.out_shape, *boxes, c.stride, c.padding, c.dilation, c.groups
        )
        form = q.format
        blocks.append(SynapseBlock(
            here, here, axons[here], synapses, q.delays, q.delay, form.exponent, form.message_bits, form.bits, form.sign, q.receptor,
            form.accumulator,
        ))
        listeners[q.source].append((here, axons[here]))
        axons[here] += network[q.source].size

    def routes(name: str) -> Routes:
        count, n = len(listeners[name]), network[name].size
        cores = np.array([here for here, _ in listeners[name]], np.int32)
        firsts = np.array([first for _, first in listeners[name]], np.int32)
        return Routes(
            np.arange(n + 1) * count, np.tile(cores, n), (np.arange(n, dtype=np.int32)[:, None] + firsts).ravel(),
        )

    cores = tuple(Core(0, k, 0, k) for k in range(len(neurons)))
    inputs = {index[name]: routes(name) for name in network.inputs}
    return Program("loihi2", "benchmark", populations, cores, groups, tuple(blocks), tuple(routes(p.name) for p in neurons), inputs)


def _pieces(shape: tuple[int, ...], neurons: int) -> list[Box]:
    """Cut a population into boxes of `neurons` neurons at most, but for one row of all columns and up to 8 channels."""
    if len(shape) == 1:
        return [((a, min(a + neurons, shape[0])),) for a in range(0, shape[0], neurons)]
    channels, height, width = shape
    deep = min(channels, 8)
    high = max(1, neurons // (deep * width))
    return [
        ((c, min(c + deep, channels)), (y, min(y + high, height)), (0, width))
        for c in range(0, channels, deep) for y in range(0, height, high)
    ]


def scattered(network: QuantizedNetwork, neurons: int = 128) -> Program:
    """Return the network cut into pieces of about so many neurons, one core each."""
    shards = [
        Shard(p.name, box, 0, {}) for p in network.populations if p.kernel is not None for box in _pieces(p.shape, neurons)
    ]
    shards = [Shard(shard.population, shard.slice, k, {}) for k, shard in enumerate(shards)]
    cores = tuple(Core(0, k % 64, k // 64, k) for k in range(len(shards)))
    machine = Machine(type("Spec", (), {"name": "benchmark", "resources": {}})(), "benchmark", 1, ())
    return build_program(network, "loihi2", Placed(machine, tuple(shards), cores, None, None, False))


# ---- measuring


@dataclass
class Engine:
    """A workload ready to run, and the times it took.

    Args:
        net: the workload.
        program: as lowered.
        samples: how many of its samples a timed run takes.
    """

    net: Net
    program: Program
    samples: int
    ms: list[float] = field(default_factory=list)
    one: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        begin = time.process_time()
        self.emulator = Emulator(self.program, kernels())
        self.lowering = time.process_time() - begin
        self.rasters = np.ascontiguousarray(self.net.rasters[: self.samples])
        self._run(1)

    def _run(self, samples: int, jobs: int = 1, **options: Any) -> Any:
        return self.emulator.run(self.rasters[:samples], self.net.steps, jobs=jobs, dense=False, **options)

    def measure(self, times: int, jobs: int = 1) -> list[float]:
        """Run all samples so often; return, and with one thread keep, milliseconds per step and sample."""
        taken = [_timed(lambda: self._run(self.samples, jobs)) / self.net.steps / self.samples for _ in range(times)]
        if jobs == 1:
            self.ms += taken
            self.one += [_timed(lambda: self._run(1)) / self.net.steps for _ in range(times)]
        return taken

    def first(self) -> tuple[dict[str, np.ndarray], dict[str, str], dict[str, tuple[np.ndarray, np.ndarray]]]:
        """Return of the first sample the spikes of each neuron, the digests, and (offsets by step, neurons), by population."""
        events = self._run(1, record=[c.name for c in self.net.cells]).events
        counts, digests, lists = {}, {}, {}
        for name, spikes in events.items():
            counts[name] = np.bincount(spikes.neuron, minlength=spikes.neurons)
            digests[name] = digest(np.repeat(np.arange(spikes.steps), np.diff(spikes.offsets)), spikes.neuron)
            lists[name] = (spikes.offsets, spikes.neuron)
        return counts, digests, lists

    def layout(self, counts: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return what synapse memory holds, and how many bytes of it the spikes of a run read.

        Padding counts as bytes and not as events.
        """
        layout, steps = self.emulator.layout, self.net.steps
        moved = 0
        for part in layout.parts:
            source = layout.units[part.source]
            spikes = counts[self.net.cells[source.population].name][source.order]
            moved += int(_row_bytes(part) @ spikes)
        events = sum(int(degrees(self.net, link) @ counts[link.source]) for link in self.net.links)
        return {
            "bytes_per_event": moved / events, "events": events / steps, "kinds": [part.kind for part in layout.parts],
            "tables_mib": layout.nbytes / 2**20, "synapse_bytes": sum(part.nbytes for part in layout.parts),
        }

    def split(self, counts: dict[str, np.ndarray]) -> dict[str, float]:
        """Return milliseconds per step of the neurons' steps and of finding spikes, each repeated alone with its data in cache."""
        neurons, finding = 0.0, 0.0
        for unit in self.emulator.layout.units:
            if unit.kernel is not None:
                rate = counts[self.net.cells[unit.population].name].sum() / unit.size / self.net.steps
                step, find = _alone(unit, rate)
                neurons, finding = neurons + step, finding + find
        return {"neurons": neurons, "finding": finding}


def _alone(unit: Any, rate: float) -> tuple[float, float]:
    """Return the milliseconds of one step of a unit's neurons, and of finding the spikes of one step when a share of `rate` spikes."""
    # Not above, because it imports numba, which the emulator need not have done.
    from emulator_limits import repeat

    n = unit.size
    state, sent, dendrite = np.zeros(unit.initial.size + 64, np.int32), np.zeros(n + 64, np.uint8), np.zeros(n + 64, np.int32)
    ids, count = np.zeros(n + 64, np.int32), np.zeros(1, np.int64)
    constants, at_state, at_dendrite, at_sent, at_ids, at_count = (
        int(array.ctypes.data) for array in (unit.constants, state, dendrite, sent, ids, count)
    )
    times = max(3, 2_000_000 // n)
    arguments = (constants, int(unit.shared), at_state, at_dendrite, at_sent, n, 0, n, 0)
    step = _fastest(lambda: repeat(unit.kernel.step.address, arguments, times)) / times
    sent[:n] = np.random.default_rng(0).random(n) < rate
    find = _fastest(lambda: repeat(find_bytes.address, (at_sent, n, at_ids, 0, at_count), times)) / times
    return step, find


def _timed(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - begin)


def _fastest(work: Callable[[], Any], times: int = 5) -> float:
    work()
    return min(_timed(work) for _ in range(times))


def _row_bytes(part: Any) -> np.ndarray:
    """Return the bytes of weights and target numbers that one spike of each source reads: (sources,) int64."""
    if part.kind == "matrix":
        each = part.columns * part.weights.itemsize
        return np.full(part.weights.shape[0], each) if part.rows is None else np.where(part.rows >= 0, each, 0)
    if part.kind == "rows":
        return np.where(part.tables[0] >= 0, part.columns * part.weights.itemsize, 0)
    if part.kind == "lists":
        pointer, index = part.tables
        # Pointers count blocks of eight synapses.
        return np.diff(pointer) * 8 * (index.itemsize + part.weights.itemsize)
    base, sets, pointer, _, _, length = part.tables
    lengths = np.concatenate([[0], np.cumsum(length, dtype=np.int64)])
    per_set = lengths[pointer[1:]] - lengths[pointer[:-1]]
    return np.where(base >= 0, per_set[sets], 0) * part.weights.itemsize


def neurons_of(net: Net) -> int:
    """Return the number of neurons, input ports left out."""
    return sum(prod(c.shape) for c in net.cells if c.vth is not None)
