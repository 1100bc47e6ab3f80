"""Core programs for TrueNorth put together by hand, without the compiler: every axon, type and column is known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nmap.connectivity import Dense
from nmap.program import Core, NeuronGroup, Program, ProgramPopulation, Routes, SynapseBlock

KERNEL = "truenorth.neuron"


def params(n: int, **values: object) -> dict[str, np.ndarray]:
    """Neurons that fire at 1 and are reset to 0, changed by `values`."""
    plain = {"alpha": 1, "beta": 262143, "leak": 0, "epsilon": 0, "gamma": 0, "kappa": 1, "sigma_vr": 1, "vr": 0}
    return {name: np.broadcast_to(np.asarray(values.get(name, number), np.int64), (n,)).copy() for name, number in plain.items()}


@dataclass
class Population:
    """Where each neuron lies, and what it is like."""

    name: str
    core: np.ndarray
    params: dict[str, np.ndarray]
    v: np.ndarray
    output: bool = False
    latency: int = 0


@dataclass
class Run:
    """Axons of one type on one core that some neurons of a population (or port) drive.

    values (n of the target population, 1): what each of its neurons on the core adds; bits (n, sources).
    """

    core: int
    source: str
    neurons: np.ndarray
    target: str
    kind: int
    delay: int
    values: np.ndarray
    bits: np.ndarray


@dataclass
class Plan:
    ports: dict[str, int]
    populations: list[Population]
    runs: list[Run]
    cores: int
    axons: dict[tuple[int, int], int] = field(default_factory=dict)
    """Type of each (core, axon) of the program made of it."""


def assemble(plan: Plan) -> Program:
    """Return the program: representatives drive first, copies where a neuron has more to drive; outputs drive by copies alone."""
    by_name = {p.name: p for p in plan.populations}
    free = {p.name: np.full(p.core.size, not p.output) for p in plan.populations}
    copied: dict[str, list[int]] = {p.name: [] for p in plan.populations}
    sent: dict[str, list[tuple[int, int, int]]] = {name: [] for name in plan.ports}
    sent |= {p.name: [] for p in plan.populations} | {f"{p.name}.copies": [] for p in plan.populations}
    next_axon = [0] * plan.cores
    pieces: list[tuple[int, int, Run, np.ndarray]] = []
    for run in plan.runs:
        if run.source in plan.ports:
            parts = [(np.arange(run.neurons.size), run.source)]
        else:
            now = free[run.source][run.neurons]
            parts = [(np.flatnonzero(now), run.source), (np.flatnonzero(~now), f"{run.source}.copies")]
            free[run.source][run.neurons] = False
        for places, driver in parts:
            if not places.size:
                continue
            first = next_axon[run.core]
            next_axon[run.core] += places.size
            for k, place in enumerate(places):
                plan.axons[run.core, first + k] = run.kind
                neuron = int(run.neurons[place])
                if driver.endswith(".copies"):
                    copied[run.source].append(neuron)
                    neuron = len(copied[run.source]) - 1
                sent[driver].append((neuron, run.core, first + k))
            pieces.append((run.core, first, run, places))
    names = [*plan.ports, *by_name]
    populations = [ProgramPopulation(name, (size,), 0, True, False) for name, size in plan.ports.items()]
    populations += [ProgramPopulation(p.name, (p.core.size,), p.latency, False, p.output) for p in plan.populations]
    copies: dict[int, tuple[int, np.ndarray]] = {}
    ordered: dict[str, np.ndarray] = {}
    for p in plan.populations:
        if not copied[p.name]:
            continue
        of = np.array(copied[p.name])
        # By core, then by the neuron copied, as the compiler orders them.
        order = np.lexsort((np.arange(of.size), of, p.core[of]))
        place = np.empty_like(order)
        place[order] = np.arange(order.size)
        ordered[p.name] = of[order]
        sent[f"{p.name}.copies"] = [(int(place[k]), core, axon) for k, core, axon in sent[f"{p.name}.copies"]]
        copies[len(populations)] = (names.index(p.name), of[order])
        names.append(f"{p.name}.copies")
        populations.append(ProgramPopulation(f"{p.name}.copies", (of.size,), p.latency, False, False))
    groups, routes, blocks = [], [], []
    lies: list[tuple[str, bool, np.ndarray]] = []
    for core in range(plan.cores):
        for p in plan.populations:
            for copy in (False, True):
                of = ordered.get(p.name, np.zeros(0, np.int64)) if copy else np.arange(p.core.size)
                here = np.flatnonzero(p.core[of] == core)
                if not here.size:
                    continue
                name = f"{p.name}.copies" if copy else p.name
                own = of[here]
                groups.append(NeuronGroup(
                    core, names.index(name), here, KERNEL, {key: values[own] for key, values in p.params.items()}, {"v": p.v[own]},
                ))
                lies.append((p.name, copy, own))
                routes.append(_routes([[(c, a) for n, c, a in sent[name] if n == k] for k in here]))
    for core, first, run, places in pieces:
        for number, (group, (name, _copy, own)) in enumerate(zip(groups, lies, strict=True)):
            if group.core == core and name == run.target:
                weights = (run.values[own] * run.bits[own][:, places]).astype(np.int32)
                blocks.append(SynapseBlock(core, number, first, Dense(weights), None, run.delay, 0, 0, 9, "mixed"))
    inputs = {
        names.index(name): _routes([[(c, a) for n, c, a in sent[name] if n == k] for k in range(size)]) for name, size in plan.ports.items()
    }
    places = tuple(Core(0, 3 + k % 5, 7 + k // 5, (7 + k // 5) * 64 + 3 + k % 5) for k in range(plan.cores))
    return Program(
        "truenorth", "ns1e", tuple(populations), places, tuple(groups), tuple(blocks), tuple(routes), inputs, 0, copies,
    )


def _routes(pins: list[list[tuple[int, int]]]) -> Routes:
    flat = np.array([pin for some in pins for pin in some], np.int64).reshape(-1, 2)
    return Routes(np.concatenate([[0], np.cumsum([len(some) for some in pins])]), flat[:, 0], flat[:, 1])


def random_plan(seed: int, *, ranc: bool = False) -> Plan:
    """A random plan: two ports, three populations over some cores, loops, skips, delays, neurons with several axons to drive.

    With `ranc` all neurons are of the kinds that RANC has.
    """
    rng = np.random.default_rng(seed)
    cores = int(rng.integers(1, 5))
    ports = {"in": int(rng.integers(2, 9)), "more": int(rng.integers(1, 5))}
    populations = []
    for number in range(3):
        n = int(rng.integers(2, 9))
        gamma = rng.integers(0, 2 if ranc else 3, n)
        kappa = np.zeros(n, np.int64) if ranc else rng.integers(0, 2, n)
        populations.append(Population(
            f"p{number}", np.sort(rng.integers(0, cores, n)),
            params(
                n, alpha=rng.integers(1, 30, n), beta=rng.integers(0, 40, n), leak=rng.integers(-3, 6, n),
                epsilon=0 if ranc else rng.integers(0, 2, n), gamma=gamma, kappa=kappa, sigma_vr=rng.choice([-1, 1], n),
                vr=rng.integers(0, 4, n),
            ),
            rng.integers(-5, 6, n), output=number > 0 and bool(rng.integers(0, 2) or number == 2), latency=number,
        ))
    values = {p.name: rng.choice([-1, 1], (p.core.size, 4)) * rng.integers(1, 40, (p.core.size, 4)) for p in populations}
    sizes = ports | {p.name: p.core.size for p in populations}
    runs = []
    for core in range(cores):
        for p in populations:
            if not (p.core == core).any():
                continue
            for source, size in sizes.items():
                for kind in np.flatnonzero(rng.random(4) < 0.3):
                    neurons = np.flatnonzero(rng.random(size) < 0.7)
                    if neurons.size:
                        runs.append(Run(
                            core, source, neurons, p.name, int(kind), int(rng.integers(0, 15)), values[p.name][:, kind, None],
                            rng.random((p.core.size, neurons.size)) < 0.6,
                        ))
    return Plan(ports, populations, runs, cores)
