"""The emulator of model files: every core of a `Model` tick by tick, bit for bit where the chip's arithmetic is public.

A tick t of a core with axons i, neurons j, crossbar w, axon types G and this tick's active axons A_i in {0, 1}, with sgn(0) = 0:

    synapses   V  = V + sum over i of A_i w_ij s_j^G_i;    where b_j^G_i is set, sgn(s) if |s| >= rho_ij, else 0, in place of s
    leak       V' = V + lam, or V + sgn(V) lam where epsilon = 1;    where c is set, sgn(lam) if |lam| >= rho_j, else 0, in place of lam
               0 where epsilon = 1, lam < 0 and sgn(V') is not sgn(V)
    threshold  eta = rho'_j & M, M = 2^TM - 1
    spike      where V' >= alpha + eta: V = R, V' - (alpha + eta) or min(V', alpha + M) for gamma = 0, 1, 2
    floor      else where V' < -(beta + (1 - kappa) eta), in RANC's symmetric form V' <= -beta:
               V = -beta where kappa = 1, else -R, V' + beta + eta or V' for gamma = 0, 1, 2
    else       V = V'

A neuron that fires in tick t sets the bit of its target axon for tick t + delay. A second spike for a bit that is set merges with the
first. Ticks count from 0, and tick 0 is computed.

Sources: Cassidy et al., IJCNN 2013, in the order that recorded traces of IBM's simulator show, which also pin the ceiling for gamma = 2;
RANC's own simulator for its subset, where potentials are 32 bits wide.

Not public, and therefore chosen here:

*   Potentials are held in 32 bits and wrap there, as RANC's; nothing saturates at the chip's 20 bits. `Simulated.outside` counts the ticks
    in which a potential of a TrueNorth core leaves 20 bits after the synapses or after the leak: such a run is not bit-accurate.
*   Random numbers. Core k has a stream of its own, the generator SplitMix64 started at

        key = mix(mix(seed + g) xor (2^32 id + rngSeed)) modulo 2^64,    g = 0x9E3779B97F4A7C15

    with the run's `seed`, the core's id and its seed in the file, and SplitMix64's output function mix. A tick draws A + 2 numbers for
    every neuron, neuron by neuron: rho_ij for axon 0 to A - 1, then rho_j, then rho'_j. All are counted, needed or not, so number n of
    tick t and neuron j of N is number (t N + j) (A + 2) + n of the stream, from 0. rho_ij and rho_j are its upper 8 bits, rho'_j its upper
    32.

Results depend neither on the number of threads nor on the length of blocks.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from nmap.connectivity import Array, frozen_array
from nmap_truenorth.model.loops import (
    BLOCK,
    CHUNK,
    EPSILON,
    HIGHEST,
    LISTED,
    NARROW,
    NOTHING,
    RANDOM,
    ROW,
    SLOTS,
    TABLE,
    THREAD,
    WIDE,
    K,
    P,
    R,
    run,
)
from nmap_truenorth.model.model import OFF_CHIP, Events, Model

__all__ = ["Simulated", "Simulator", "simulate", "stream_key"]

_MASK = (1 << 64) - 1
_ROOM = 1 << 18
"""Spikes of a thread that are recorded before they are collected, at least."""
_WORK = 1 << 28
"""Neurons times ticks between two looks at what else happens."""
_ALIGN = 64
_DRAWS = 12
"""How many times longer a core with random numbers takes, about."""
_WORTH = 16
"""Cores below which another thread does not pay."""


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """What a run of a model gave.

    Args:
        events: (n, 3) int32, the tick a neuron fires in, its core's id, its number; in that order. All spikes, or those that leave the
            chip.
        merged: spikes that met another on their axon in the same tick.
        potentials: (cores, neurons) int32, V after the last tick.
        outside: (cores,) int64, ticks in which a potential left 20 bits; 0 for models whose potentials are 32 bits wide.
        given: input spikes that are seen in these ticks.
    """

    events: Array
    merged: int
    potentials: Array
    outside: Array
    given: int


def simulate(
    model: Model, events: Events, ticks: int, *, every: bool = False, seed: int = 0, jobs: int = 1,
    progress: Callable[[int], object] | None = None,
) -> Simulated:  # fmt: skip
    """Run a model once, from the potentials it holds; see `Simulator.run`."""
    return Simulator(model, seed=seed, jobs=jobs).run(events, ticks, every=every, progress=progress)


def stream_key(model: Model, core: int, seed: int) -> int:
    """Return where the stream of random numbers of a core (its index) starts, 64 bits; see this module."""
    return _mix(_mix(seed + 0x9E3779B97F4A7C15) ^ ((int(model.ids[core]) << 32) + int(model.seeds[core])))


def _mix(z: int) -> int:
    z &= _MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
    return z ^ z >> 31


class Simulator:
    """A model made ready to run.

    Args:
        model: the model.
        seed: start of the random numbers, any whole number.
        jobs: threads at most; each has some of the cores.
    """

    def __init__(self, model: Model, *, seed: int = 0, jobs: int = 1) -> None:
        self.model = model
        cores, neurons = model.cores, model.neurons
        self._pitch = -(-max(neurons, 1) // BLOCK) * BLOCK
        self._words = -(-max(model.axons, 1) // 64)
        self._crossbar = _padded(model.crossbar, self._pitch // 8)
        self._kinds = _kinds(model)
        self._bounds = _bounds(self._kinds, jobs)
        self._team = len(self._bounds) - 1
        self._rows, self._pool, self._sizes = _constants(model, self._kinds, self._pitch)
        self._routes = np.full((cores, self._pitch), -1, np.int64)
        places = model.target.astype(np.int64) * (64 * self._words) + model.target_axon
        self._routes[:, :neurons] = np.where(model.target >= 0, places << 4 | model.delay, model.target)
        keys = [stream_key(model, core, seed) if self._kinds[core] == RANDOM else 0 for core in range(cores)]
        self._keys = np.array(keys, np.uint64).view(np.int64)

    def run(
        self, events: Events, ticks: int, *, every: bool = False, progress: Callable[[int], object] | None = None
    ) -> Simulated:
        """Run a number of ticks from the potentials that the model holds.

        Args:
            events: input spikes; those seen after the last tick, or before tick 0, are not.
            ticks: how many, at least 0.
            every: record all spikes, not only those that leave the chip.
            progress: told from time to time how many ticks are through.

        Raises:
            ValueError: an input spike for a core or an axon that the model does not have.
        """
        model = self.model
        cores, neurons = model.cores, model.neurons
        if len(events) and (
            events.core.min() < 0 or events.core.max() >= cores or events.axon.min() < 0 or events.axon.max() >= model.axons
        ):
            raise ValueError("an input spike for a core or an axon that the model does not have")
        potentials, small = _room((cores, self._pitch), np.int32), _room((cores, self._pitch), np.int16)
        potentials[:, :neurons] = np.where(model.enabled, model.potential, 0)
        # Where they are in 16 bits, and how large they are there at most.
        sizes = np.abs(potentials.astype(np.int64)).max(1)
        sizes[(sizes > HIGHEST) | (self._kinds != NARROW)] = -1
        small[sizes >= 0] = potentials[sizes >= 0]
        schedule = _room((self._team, SLOTS, cores, self._words), np.int64)
        idle, outside = np.zeros(cores, np.uint8), np.zeros(cores, np.int64)
        table = _room((TABLE,), np.int64)
        table[K.CORES], table[K.TEAM], table[K.AXONS], table[K.NEURONS] = cores, self._team, model.axons, neurons
        table[K.PITCH], table[K.WORDS], table[K.STRIDE] = self._pitch, self._words, self._crossbar.shape[2]
        table[K.BOUNDED], table[K.EVERY], table[K.FULL], table[K.YIELD] = model.dialect == "truenorth", every, -1, _yielding()
        for place, array in (
            (K.CROSSBAR, self._crossbar), (K.TYPES, model.axon_types), (K.KINDS, self._kinds), (K.ROWS, self._rows),
            (K.LARGEST, self._sizes[0]), (K.MARGIN, self._sizes[1]), (K.SIZES, sizes), (K.SMALL, small), (K.POTENTIALS, potentials),
            (K.ROUTES, self._routes), (K.IDS, model.ids), (K.KEYS, self._keys), (K.SCHEDULE, schedule), (K.IDLE, idle),
            (K.OUTSIDE, outside),
        ):  # fmt: skip
            table[place] = _address(array)
        threads = [_Thread(self, events, part, every, ticks) for part in zip(self._bounds[:-1], self._bounds[1:], strict=True)]
        found: list[Array] = []
        tick, stride = 0, max(1, _WORK // max(1, cores * neurons))
        with ThreadPoolExecutor(self._team, "nmap-cores") as pool:
            while tick < ticks:
                tick = self._together(pool, table, threads, tick, min(ticks, tick + stride))
                found += self._collected(threads)
                if progress is not None:
                    progress(tick)
        written, read = (sum(int(thread.table[place]) for thread in threads) for place in (P.WRITTEN, P.READ))
        waiting = np.bitwise_or.reduce(schedule, axis=0)
        pending = sum(int(np.unpackbits(part.view(np.uint8)).sum()) for part in waiting)
        held = np.where(sizes[:, None] >= 0, small, potentials)
        final = np.where(model.enabled, held[:, :neurons], model.potential)
        rows = np.concatenate(found) if found else np.zeros((0, 3), np.int32)
        given = sum(thread.given for thread in threads)
        return Simulated(frozen_array(rows), written - read - pending, frozen_array(final, np.int32), frozen_array(outside), given)

    def _together(self, pool: ThreadPoolExecutor, table: Array, threads: list[_Thread], tick: int, last: int) -> int:
        """Let all threads run until `last` or until a record is full; return the next tick."""

        def work(number: int) -> int:
            return int(run(_address(table), _address(threads[number].table), number, tick, last))

        if len(threads) == 1:
            return work(0)
        table[K.ARRIVED] = 0
        for thread in threads:
            thread.table[P.MEETINGS] = 0
        members = [pool.submit(work, number) for number in range(len(threads))]
        try:
            return {member.result() for member in members}.pop()
        finally:
            # Whoever waits for a thread that never came must not wait for ever.
            table[K.STOP] = 1
            wait(members)
            table[K.STOP] = 0

    def _collected(self, threads: list[_Thread]) -> list[Array]:
        """Return the rows that all threads have recorded, in order, and empty their records."""
        rows = np.concatenate([thread.record[: thread.table[P.KEPT]] for thread in threads])
        for thread in threads:
            thread.table[P.KEPT] = 0
        if not rows.size:
            return []
        if np.any(np.diff(self.model.ids) < 0):
            return [rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]]
        return [rows if len(threads) == 1 else rows[np.argsort(rows[:, 0], kind="stable")]]


class _Thread:
    """Tables and records of a thread, which has the cores of a range."""

    def __init__(self, simulator: Simulator, events: Events, cores: tuple[int, int], every: bool, ticks: int) -> None:
        first, last = cores
        model, width = simulator.model, simulator._words * 64
        seen = events.tick + model.input_delay
        mine = (events.core >= first) & (events.core < last) & (seen >= 0) & (seen < ticks)
        self.ticks = seen[mine]
        self.places = events.core[mine].astype(np.int64) * width + events.axon[mine]
        self.given = int(self.ticks.size)
        own = model.enabled[first:last]
        most = int(np.count_nonzero(own if every else own & (model.target[first:last] == OFF_CHIP)))
        self.record = np.zeros((most + _ROOM, 3), np.int32)
        self.listed, self.counts = np.zeros((LISTED + model.axons, 2), np.int64), np.zeros(CHUNK, np.int64)
        self.fired = _room((simulator._pitch // 64,), np.int64)
        self.senders = _room((CHUNK * simulator._pitch,), np.int64)
        self.before = _room((simulator._pitch // 2,), np.int64)
        self.table = _room((THREAD,), np.int64)
        self.table[P.FIRST], self.table[P.LAST], self.table[P.INPUTS] = first, last, self.given
        self.table[P.ROOM], self.table[P.MOST] = len(self.record), most
        for place, array in (
            (P.INPUT_TICKS, self.ticks), (P.INPUT_PLACES, self.places), (P.RECORD, self.record), (P.LIST, self.listed),
            (P.COUNTS, self.counts), (P.FIRED, self.fired), (P.SENDERS, self.senders), (P.BEFORE, self.before),
        ):  # fmt: skip
            self.table[place] = _address(array)


def _address(array: Array) -> int:
    return int(array.ctypes.data)


def _room(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return zeros that begin at a cache line."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize
    space = np.zeros(size + _ALIGN, np.uint8)
    start = -_address(space) % _ALIGN
    return space[start : start + size].view(kind).reshape(shape)


def _yielding() -> int:
    """Return the address of the system's function that lets other threads run; 0 where it has another name."""
    function = getattr(ctypes.CDLL(None), "sched_yield", None) if os.name == "posix" else None
    return 0 if function is None else int(ctypes.cast(function, ctypes.c_void_p).value or 0)


def _padded(crossbar: Array, width: int) -> Array:
    """Return a crossbar with rows of `width` bytes: itself where it has them, and no bit set where the neurons end before a byte does."""
    if crossbar.shape[2] == width:
        return crossbar
    padded = _room((*crossbar.shape[:2], width), np.uint8)
    padded[:, :, : crossbar.shape[2]] = crossbar
    return padded


def _kinds(model: Model) -> Array:
    """Return what kind each core is, (cores,) uint8; a core that is neither of the others is narrow or wide, which its numbers say."""
    drawn = (model.stochastic & (model.weights != 0)).any(2) | model.leak_stochastic & (model.leak != 0) | (model.mask > 0)
    kinds = np.full(model.cores, NARROW, np.uint8)
    kinds[(model.leak_reversal & (model.leak != 0) & model.enabled).any(1)] = EPSILON
    kinds[(drawn & model.enabled).any(1)] = RANDOM
    kinds[~model.enabled.any(1)] = NOTHING
    return kinds


def _constants(model: Model, kinds: Array, pitch: int) -> tuple[Array, Array, Array]:
    """Return the addresses of each core's rows, (cores, rows) int64, what they lie in, and `K.LARGEST` and `K.MARGIN` of narrow cores.

    Equal rows of different cores are one: cores that share a threshold or a table of weights read it from the fastest cache. Cores that
    are narrow but for their numbers become wide.
    """
    rows, sizes = np.zeros((model.cores, len(ROW)), np.int64), np.ones((2, model.cores), np.int64)
    shared: dict[bytes, int] = {}
    stored: list[Array] = []
    size = 0
    for core in range(model.cores):
        if kinds[core] == NOTHING:
            continue
        values = _random_rows(model, core) if kinds[core] == RANDOM else _plain_rows(model, core, pitch)
        if kinds[core] == NARROW:
            if np.abs(values.astype(np.int64)).max() <= HIGHEST:
                sizes[0, core] = max(1, int(np.abs(values[: ROW.LEAK]).max()))
                # Beside the leak, what a spike or the floor takes away can add only where a threshold is on the other side of 0.
                above, under = -int(values[ROW.ALPHA].min()), int(values[ROW.LOWEST].max())
                sizes[1, core] = int(np.abs(values[ROW.LEAK]).max()) + max(0, above) + max(0, under) + 1
                values = values.astype(np.int16)
            else:
                kinds[core] = WIDE
        for place, part in enumerate([values.reshape(-1)] if kinds[core] == RANDOM else values):
            data = part.tobytes()
            if data not in shared:
                shared[data] = size
                stored.append(part)
                size += -(-len(data) // _ALIGN) * _ALIGN
            rows[core, place] = shared[data]
    pool = _room((max(size, _ALIGN),), np.uint8)
    at = 0
    for part in stored:
        pool[at : at + part.nbytes] = part.view(np.uint8)
        at += -(-part.nbytes // _ALIGN) * _ALIGN
    return rows + _address(pool), pool, sizes


def _plain_rows(model: Model, core: int, pitch: int) -> Array:
    """Return a core's constants without random numbers, (rows, pitch) int32; see `nmap_truenorth.model.loops`.

    A neuron that is not enabled, and what fills the last block, stays at 0: nothing reaches it, and its threshold is above that.
    """
    on = model.enabled[core]
    rows = np.zeros((len(ROW), pitch), np.int64)
    gamma, kappa = model.gamma[core], model.kappa[core]
    reset, alpha, floor = model.reset[core].astype(np.int64), model.threshold[core], model.floor[core]
    rows[ROW.ALPHA, :] = 1
    used = rows[:, : model.neurons]
    used[:4] = np.where(on, model.weights[core].T, 0)
    used[ROW.LEAK] = np.where(on, model.leak[core], 0)
    used[ROW.ALPHA] = np.where(on, alpha, 1)
    used[ROW.LINEAR] = np.where(on & (gamma == 1), -1, 0)
    # A spike of gamma 2 leaves alpha where M is 0: V is not below it.
    used[ROW.FIRED] = np.where(on, np.choose(gamma, [reset, -alpha, alpha]), 0)
    # No potential that does not fire is the highest number of 32 bits.
    used[ROW.LOWEST] = np.where(on, np.minimum(-floor + model.symmetric, 2**31 - 1), 0)
    used[ROW.KEEP] = np.where(on & ~kappa & (gamma > 0), -1, 0)
    used[ROW.RAISED] = np.where(on, np.where(kappa, -floor, np.choose(gamma, [-reset, floor, 0 * floor])), 0)
    used[ROW.EPSILON] = np.where(on & model.leak_reversal[core], -1, 0)
    return rows.astype(np.int32)


def _random_rows(model: Model, core: int) -> Array:
    """Return a core's constants with random numbers, (rows, neurons) int32; see `nmap_truenorth.model.loops`."""
    rows = np.zeros((len(R), model.neurons), np.int64)
    for place, values in (
        (R.ENABLED, model.enabled), (R.LEAK, model.leak), (R.ALPHA, model.threshold), (R.BETA, model.floor), (R.GAMMA, model.gamma),
        (R.KAPPA, model.kappa), (R.RESET, model.reset), (R.EPSILON, model.leak_reversal), (R.C, model.leak_stochastic),
    ):  # fmt: skip
        rows[place] = values[core]
    rows[R.LOWEST] = np.minimum(-model.floor[core] + model.symmetric, 2**31 - 1)
    rows[R.M] = (np.int64(1) << model.mask[core].astype(np.int64)) - 1
    rows[R.W : R.W + 4], rows[R.B : R.B + 4] = model.weights[core].T, model.stochastic[core].T
    return rows.astype(np.int32)


def _bounds(kinds: Array, jobs: int) -> list[int]:
    """Return where each thread's cores begin, and the end: about the same work for each, and enough to be worth a meeting."""
    work = np.where(kinds == RANDOM, _DRAWS, np.where(kinds == NOTHING, 0, 1)).cumsum()
    total = int(work[-1]) if work.size else 0
    team = max(1, min(jobs, total // _WORTH))
    return [0, *(int(np.searchsorted(work, total * k / team)) for k in range(1, team)), int(kinds.size)]
