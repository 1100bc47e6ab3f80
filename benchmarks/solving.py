"""One problem in, one answer out: calls a partitioner plug-in by its public methods and proves the answer feasible before it counts."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import numpy as np
from neutral import NeutralPartition, NeutralPlacement, Score, as_partition, as_placement, board, distinct, score_partition, score_placement

from nmap.connectivity import Array

if TYPE_CHECKING:
    from nmap.partition.partitioner import Budget, Partitioner

__all__ = ["NoSuchPartitionerError", "Outcome", "compiling", "find", "interruptible", "placed_bound", "solve"]


class NoSuchPartitionerError(Exception):
    """No plug-in of that name is installed, or it cannot be loaded."""


@dataclass(slots=True)
class Outcome:
    """An answer and what is known about it.

    Args:
        status: `optimal`, `feasible`, `infeasible` or `unknown`; of a partition problem in the number of cores.
        reason: why there is no answer.
        part, xy: the answer; None without one, and `part` None for placement problems.
        score: by the independent scorer.
        cores_bound, packets_bound, hops_bound: proved lower bounds; that of hops holds for this partition.
    """

    status: str
    reason: str = ""
    part: Array | None = None
    xy: Array | None = None
    score: Score = field(default_factory=lambda: Score(()))
    cores_bound: int = 0
    packets_bound: float = 0.0
    hops_bound: float = 0.0

    def numbers(self) -> dict[str, Any]:
        """Return what is printed."""
        score = self.score
        told: dict[str, Any] = {"status": self.status}
        if self.xy is None:
            return {**told, "reason": self.reason, "cores_bound": self.cores_bound}
        told |= {
            "cores": score.cores, "cores_bound": self.cores_bound, "packets": _digits(score.packets),
            "packets_bound": _digits(self.packets_bound), "unicast_hops": _digits(score.unicast), "hops_bound": _digits(self.hops_bound),
            "hops_gap": round(1 - self.hops_bound / score.unicast, 6) if score.unicast else 0.0, "max_hop": score.longest,
        }
        # The routes of packets that several clusters share are known with the axons only.
        return told if self.part is None else {**told, "multicast_hops": _digits(score.multicast), "max_link": _digits(score.link)}


def _digits(value: float) -> float:
    """Return a number to ten digits, however small it is."""
    return float(f"{value:.10g}")


def find(name: str) -> Partitioner:
    """Return an installed partitioner without importing the rest of nmap.

    Raises:
        NoSuchPartitionerError: there is none of that name, or it cannot be loaded.
    """
    points = {point.name: point for point in entry_points(group="nmap.partitioners")}
    if name not in points:
        raise NoSuchPartitionerError(f"no partitioner `{name}` is installed (there are: {', '.join(sorted(points)) or 'none'})")
    try:
        plugin: Partitioner = points[name].load()
    except Exception as error:
        raise NoSuchPartitionerError(f"the partitioner `{name}` cannot be loaded: {type(error).__name__}: {error}") from error
    return plugin


@contextmanager
def compiling() -> Iterator[Callable[[], float]]:
    """Give a function that returns the CPU seconds numba has spent on compiling since; machine code kept on disk takes none."""
    from numba.core import event

    class Meter(event.Listener):
        depth, begin, seconds = 0, 0.0, 0.0

        def on_start(self, event: Any) -> None:
            if self.depth == 0:
                self.begin = time.process_time()
            self.depth += 1

        def on_end(self, event: Any) -> None:
            self.depth -= 1
            if self.depth == 0:
                self.seconds += time.process_time() - self.begin

    meter = Meter()
    event.register("numba:compile", meter)
    try:
        yield lambda: meter.seconds
    finally:
        event.unregister("numba:compile", meter)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a wish for the best answer so far; a second one interrupts as usual."""
    asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("interrupted: taking the best answer so far (once more to drop it)", file=sys.stderr)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def placed_bound(problem: NeutralPartition, part: Array) -> float:
    """Return a proved lower bound of the unicast hops of any placement of a partition."""
    from nmap.place.bound import lower_bound
    from nmap.place.problem import PlacementProblem

    clusters = int(part.max(initial=-1)) + 1
    if not clusters:
        return 0.0
    axon = np.repeat(np.arange(problem.hsrc.size), np.diff(problem.hptr))
    axon, cluster = np.divmod(distinct(axon * clusters + part[problem.hdst]), clusters)
    home = np.where(problem.hsrc >= 0, part[problem.hsrc], -1)[axon]
    # One edge per pair of clusters, row 0 is the port.
    pair, edge = np.unique((home + 1) * clusters + cluster, return_inverse=True)
    weight = np.bincount(edge.ravel(), problem.rate[axon].astype(np.float64), minlength=pair.size)
    source, target = pair // clusters - 1, pair % clusters
    apart = source != target
    return float(lower_bound(PlacementProblem(clusters, board(problem), source[apart], target[apart], weight[apart])))


def _oversized(problem: NeutralPartition) -> str:
    """Return which neuron fits no core, with the numbers, or nothing."""
    neurons, axons, synapses = (int(c) for c in problem.caps)
    fan_in = np.bincount(problem.hdst, minlength=problem.n)
    worst = int(fan_in.argmax()) if problem.n else 0
    if problem.n and neurons < 1:
        return "a core holds no neuron at all"
    if problem.n and fan_in[worst] > min(axons, synapses):
        many = int(np.count_nonzero(fan_in > min(axons, synapses)))
        return (
            f"neuron {worst} listens to {fan_in[worst]} axons, and a core takes {axons} axons and {synapses} synapses"
            f" ({many} such neuron{'s' if many > 1 else ''})"
        )
    return ""


def _partition(problem: NeutralPartition, plugin: Partitioner, budget: Budget, slack: float, previous: Array | None) -> Outcome:
    cores = problem.mesh[0] * problem.mesh[1] - problem.dead.size
    too_large = _oversized(problem)
    if too_large:
        return Outcome("infeasible", too_large)
    if not problem.n:
        return Outcome("optimal", part=np.zeros(0, np.int64), xy=np.zeros((0, 2), np.int64))
    task = as_partition(problem, slack, previous)
    answer = plugin.partition(task, budget)
    bound = int(answer.lower_bound)
    if not answer.part.size:
        if answer.status == "infeasible":
            return Outcome("infeasible", f"at least {bound} cores are needed (proved), and the machine has {cores}", cores_bound=bound)
        found = f"; {answer.clusters} cores were found to be enough" if answer.clusters > cores else ""
        return Outcome("unknown", f"no answer was found on {cores} cores; at least {bound} are needed{found}", cores_bound=bound)
    if answer.slot is None or task.board is None:
        raise ValueError("the partitioner gave no placement for a problem with a board")
    xy = np.asarray(task.board.slots[answer.slot])
    score = score_partition(problem, answer.part, xy)
    return Outcome(
        answer.status, "", answer.part, xy, score, bound, float(answer.packets_bound), placed_bound(problem, answer.part)
    )


def _place(problem: NeutralPlacement, plugin: Partitioner, budget: Budget) -> Outcome:
    cores = problem.mesh[0] * problem.mesh[1] - problem.dead.size
    if cores < problem.K:
        reason = f"{problem.K} clusters need a core each, and the machine has {cores}"
        return Outcome("infeasible", reason, cores_bound=problem.K)
    task = as_placement(problem)
    answer = plugin.place(task, budget)
    xy = np.asarray(task.board.slots[answer.slot]).reshape(-1, 2)
    score = score_placement(problem, xy)
    # Every cluster has a core of its own, so all packets between different clusters travel.
    return Outcome(answer.status, "", None, xy, score, problem.K, float(task.weight.sum()), float(answer.lower_bound))


def solve(
    problem: NeutralPartition | NeutralPlacement, plugin: Partitioner, budget: Budget, slack: float = 0.05, previous: Array | None = None,
) -> Outcome:
    """Return a plug-in's answer, scored.

    Args:
        problem: of either kind.
        plugin, budget: who answers, and how hard it tries.
        slack: share of cores beyond the fewest that may be spent on less traffic.
        previous: (n,) cluster of each neuron to start from.

    Raises:
        ValueError: the answer breaks a rule of the problem, which is a defect of the plug-in.
    """
    if isinstance(problem, NeutralPlacement):
        outcome = _place(problem, plugin, budget)
    else:
        outcome = _partition(problem, plugin, budget, slack, previous)
    if outcome.score.errors:
        raise ValueError(f"the partitioner's answer is wrong: {'; '.join(outcome.score.errors)}")
    return outcome
