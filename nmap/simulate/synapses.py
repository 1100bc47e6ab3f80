"""Projections applied to whole stretches of time, with delays that can differ from synapse to synapse.

Memory and time are in proportion to the number of synapses, whatever the delays are. Delays that the sources or the targets decide
shift what goes into or comes out of one matrix product; others take each synapse's value from the steps it reaches back over. Synapses
whose delay is as long as the run never act and are dropped.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from nmap.connectivity import Array, Connectivity, Dense, Sparse
from nmap.network import Projection

__all__ = ["Applied", "Source", "applied", "sum_synapses"]

_BUFFER = 2**20
"""Values of a temporary array, which should stay in the processor's cache."""
_PRODUCT = 2**12
"""Synapses that are summed one by one in the time of one small product; in a loop, each step has a product for each delay."""


class Source(Protocol):
    """What a population has sent."""

    def span(self, first: int, stop: int) -> Array:
        """Return what was sent in the steps from `first` to `stop`, exclusive: (samples, stop - first, neurons)."""
        ...


class Applied(Protocol):
    """A projection ready to be applied."""

    reach: int
    """Steps before the present one whose messages still act."""

    def add(self, total: Array, source: Source, step: int) -> None:
        """Add what arrives from `source` in the steps from `step` on to `total` (samples, steps, targets), in place."""
        ...


def applied(projection: Projection, steps: int, *, looped: bool) -> Applied:
    """Return a projection in the form that fits its delays.

    Args:
        projection: the projection.
        steps: length of the run.
        looped: whether it is part of a loop, and so is applied one step at a time.
    """
    connectivity, delays = projection.connectivity, projection.delays
    if delays is None or delays.size == 0:
        return _Uniform(connectivity, projection.delay, steps)
    if isinstance(connectivity, Dense):
        by_target, by_source = bool((delays == delays[:, :1]).all()), bool((delays == delays[:1]).all())
        if by_target and by_source:
            return _Uniform(connectivity, projection.delay + int(delays[0, 0]), steps)
        if by_target and not (looped and connectivity.synapses < _PRODUCT * np.unique(delays[:, 0]).size):
            return _PerTarget(connectivity, projection.delay + delays[:, 0], steps)
        if by_source:
            return _PerSource(connectivity, projection.delay + delays[0], steps)
    return _PerSynapse(connectivity, delays.reshape(-1), projection.delay, steps)


class _Uniform:
    """One delay for all synapses."""

    def __init__(self, connectivity: Connectivity, delay: int, steps: int) -> None:
        self.connectivity, self.delay = connectivity, delay
        self.reach = delay if delay < steps else 0

    def add(self, total: Array, source: Source, step: int) -> None:
        stop = step + total.shape[1] - self.delay
        if stop > 0:
            first = max(0, step - self.delay)
            total[:, first - stop :] += _product(self.connectivity, source.span(first, stop))


class _PerTarget:
    """A delay for each target: products in the time of the sources, shifted target by target."""

    def __init__(self, dense: Dense, delays: Array, steps: int) -> None:
        order = np.argsort(delays, kind="stable")
        self.targets = order[: np.searchsorted(delays[order], steps)]
        self.delays = delays[self.targets]
        self.weights = dense.weights[self.targets]
        self.reach = int(self.delays.max(initial=0))

    def add(self, total: Array, source: Source, step: int) -> None:
        length = total.shape[1]
        start = 0
        acting = int(np.searchsorted(self.delays, step + length))
        while start < acting:
            # Targets whose delays differ by less than the stretch share a product of at most twice its length.
            shortest = int(self.delays[start])
            end = min(acting, int(np.searchsorted(self.delays, shortest + length)))
            longest = int(self.delays[end - 1])
            first = max(0, step - longest)
            targets, product = (
                self.targets[start:end],
                _dense_product(self.weights[start:end], source.span(first, step + length - shortest)),
            )
            if longest == shortest:
                total[:, length - product.shape[1] :, targets] += product
            else:
                columns = np.arange(end - start)
                for a, b in _pieces(length, end - start):
                    total[:, a:b, targets] += _shifted(product, first, columns, self.delays[start:end], step + a, b - a)
            start = end


class _PerSource:
    """A delay for each source: one product of the shifted sources."""

    def __init__(self, dense: Dense, delays: Array, steps: int) -> None:
        self.dense = dense
        self.sources = np.flatnonzero(delays < steps)
        self.delays = delays[self.sources]
        self.reach = int(self.delays.max(initial=0))

    def add(self, total: Array, source: Source, step: int) -> None:
        length, first = total.shape[1], max(0, step - self.reach)
        sent = source.span(first, step + length)
        for a, b in _pieces(length, self.dense.in_size):
            shifted = np.zeros((total.shape[0], b - a, self.dense.in_size))
            shifted[:, :, self.sources] = _shifted(sent, first, self.sources, self.delays, step + a, b - a)
            total[:, a:b] += _dense_product(self.dense.weights, shifted)


class _PerSynapse:
    """A delay for each synapse: a sparse connection from the neurons of all steps it reaches back over."""

    def __init__(self, connectivity: Connectivity, delays: Array, delay: int, steps: int) -> None:
        kept = np.flatnonzero((connectivity.weights.ravel() != 0) & (delays < steps - delay))
        delays = delays[kept] + delay
        self.reach = int(delays.max(initial=0))
        self.weights = connectivity.weights.ravel()[kept].astype(np.float64, copy=False)
        if isinstance(connectivity, Sparse):
            targets = np.repeat(np.arange(connectivity.out_size), np.diff(connectivity.indptr))[kept]
            sources = connectivity.indices[kept]
        else:
            targets, sources = np.divmod(kept, connectivity.in_size)
        self.indices = (self.reach - delays) * connectivity.in_size + sources
        self.starts = np.flatnonzero(np.diff(targets, prepend=-1))
        self.targets = targets[self.starts]

    def add(self, total: Array, source: Source, step: int) -> None:
        samples, length, first = total.shape[0], total.shape[1], max(0, step - self.reach)
        sent = source.span(first, step + length)
        if step < self.reach:
            silence = np.zeros((samples, self.reach - step, sent.shape[2]), sent.dtype)
            sent = np.concatenate([silence, sent], axis=1)
        size = sent.shape[2]
        windows = np.lib.stride_tricks.sliding_window_view(sent.reshape(samples, -1), (self.reach + 1) * size, axis=1)[:, ::size]
        if self.targets.size:
            for part, reached in zip(total, windows, strict=True):
                for a, b in _pieces(length, self.indices.size):
                    part[a:b, self.targets] += sum_synapses(reached[a:b], self.indices, self.weights, self.starts)


def _pieces(length: int, width: int) -> list[tuple[int, int]]:
    """Cut `length` rows of `width` values into pieces (first, stop) that fit a buffer."""
    rows = max(1, _BUFFER // max(1, width))
    return [(first, min(first + rows, length)) for first in range(0, length, rows)]


def _shifted(values: Array, first: int, columns: Array, delays: Array, step: int, length: int) -> Array:
    """Return `columns` of `values` (samples, steps from `first` on, neurons), each late by its delay: (samples, length, columns).

    The first row is that of `step`; what would come from before the run is 0.
    """
    when = np.arange(step, step + length)[:, None] - delays
    taken: Array = values[:, np.maximum(when - first, 0), columns]
    if delays.size and when.min() < 0:
        taken[:, when < 0] = 0
    return taken


def sum_synapses(rows: Array, indices: Array, weights: Array, starts: Array) -> Array:
    """Return the sums of weights times `rows` (rows, values) at `indices`, over the stretches that begin at `starts`: (rows, stretches).

    Args:
        weights: (synapses,) float64.
        starts: ascending, the first one 0; no stretch is empty.
    """
    return np.asarray(np.add.reduceat(rows[:, indices] * weights, starts, axis=1))


def _dense_product(weights: Array, x: Array) -> Array:
    """Return weights (targets, sources) times x (samples, steps, sources), in float64."""
    x = np.asarray(x, np.float64)
    # One step of many samples is one product; the general case is one for each sample.
    return (x[:, 0] @ weights.T)[:, None] if x.shape[1] == 1 else np.asarray(x @ weights.T)


def _product(connectivity: Connectivity, x: Array) -> Array:
    """Return `connectivity.apply(x)`, (samples, steps, sources) -> (samples, steps, targets), in numpy calls over many rows at once."""
    if isinstance(connectivity, Dense):
        return _dense_product(connectivity.weights, x)
    if not isinstance(connectivity, Sparse):
        return connectivity.apply(x)
    flat = np.asarray(x, np.float64).reshape(-1, connectivity.in_size)
    out = np.zeros((flat.shape[0], connectivity.out_size))
    targets = np.flatnonzero(np.diff(connectivity.indptr))
    if targets.size:
        for a, b in _pieces(flat.shape[0], connectivity.synapses):
            out[a:b, targets] = sum_synapses(flat[a:b], connectivity.indices, connectivity.weights, connectivity.indptr[targets])
    return out.reshape(*x.shape[:2], connectivity.out_size)
