"""Weights as crossbar bits: for every population the four values of each neuron, and which axons of a source make which weight.

A neuron has four values s_j^g and an axon has one of four types, so a source p with d_g axons of type g gives neuron j any weight
sum_g e_g s_j^g with 0 <= e_g <= d_g: the neuron's bits choose e. All afferents of a population share the values of its neurons.

One axon a source is enough where its axons can be given types so that every neuron hears all sources of one type with one weight
(`nmap_truenorth.colouring`). Elsewhere all neurons have the same pattern of values, each times the greatest common divisor of its own
weights, and the pattern is the one that takes the fewest axons over all sources (`nmap_truenorth.patterns`); or, where that takes fewer
still, every neuron has values of its own for the few weights that it has.

On a core a source has as many axons of a type as the neuron there that uses most of them; axons that no neuron there uses are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from math import prod
from typing import ParamSpec, TypeVar

import numpy as np

from nmap.connectivity import Array, Conv2d, Dense, Sparse, frozen_array
from nmap.distinct import distinct
from nmap.program import Program, Slice, slice_indices
from nmap.quantized import QuantizedNetwork, QuantizedProjection
from nmap_truenorth.afferents import Listed, conv_synapses, phases, reach, synapses
from nmap_truenorth.colouring import colour_sources
from nmap_truenorth.patterns import (
    LARGEST,
    TYPES,
    Pattern,
    fewest_axons,
    interval_patterns,
    one_sided_patterns,
    solve,
    uses,
)

__all__ = [
    "Code", "Needed", "code_of", "encode_core", "fan_in", "fan_ins", "needed", "needed_by_all", "needed_of", "remembered", "why_no_code",
]

_WEIGHT = 1 << 14
"""Weights beyond this are not looked at: no core has the axons for one."""
_SETS = 256
"""Sets of weights, different in more than a factor, up to which neurons may get values of their own."""
_SET = 64
"""Weights of a neuron up to which it may."""
_OWN = 9
"""Axons a source from which on values of their own save none but where there are hardly any sources."""
_CHUNK = 1 << 22
"""Synapses looked at together."""
_REMEMBERED = 1 << 24
"""Weights of projections whose answers are remembered, by each function; small ones count as `_LEAST`."""
_LEAST = 1 << 10

_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")


def remembered(function: Callable[_Given, _Found]) -> Callable[_Given, _Found]:
    """Remember what a function of projections and hashable values returns, the latest answers until their projections are too many.

    A network of thousands of small populations is asked of again and again, and a few large projections must not stay in memory for ever.
    """
    known: dict[Hashable, tuple[_Found, int]] = {}
    held = [0]

    @wraps(function)
    def answer(*args: _Given.args, **named: _Given.kwargs) -> _Found:
        found = known.pop(args, None)
        if found is None:
            projections = [p for arg in args for p in (arg if isinstance(arg, tuple) else (arg,)) if isinstance(p, QuantizedProjection)]
            found = function(*args, **named), max(_LEAST, sum(int(p.connectivity.weights.size) for p in projections))
            held[0] += found[1]
            while held[0] > _REMEMBERED and known:
                held[0] -= known.pop(next(iter(known)))[1]
        known[args] = found
        return found[0]

    return answer


@dataclass(frozen=True, slots=True, eq=False)
class Code:
    """How the weights of a population's afferents are made.

    Args:
        kind: `silent` (no weights), `colours` (one axon a source), `pattern` (all neurons alike but for a factor) or `codebooks`.
        axons: most axons of a source on a core with all neurons that hear it: the replication factor r.
        values: (n, 4) int16, what each neuron adds for an axon of each type.
        scale: (n,) int64, a factor of each neuron's weights, of either sign.
        book: (n,) int64, which table a neuron's weights are looked up in.
        table: (books, 2 m + 1, 4) uint8, the axons of each type that make the weight w, at w / scale + m.
        colours: by afferent the type of each source's axon: (delays, sources) uint8, or (channels, phases, phases) of a convolution;
            empty unless `kind` is `colours`.
        proved: whether `colours` was decided: False where there may be one that was not found.
    """

    kind: str
    axons: int
    values: Array
    scale: Array
    book: Array
    table: Array
    colours: tuple[Array, ...] = ()
    proved: bool = True

    def uses(self, afferent: int, targets: Array, sources: Array, delays: Array, weights: Array) -> Array:
        """Return how many axons of each type synapses of a dense or sparse afferent switch on: (k, 4) uint8.

        Args:
            afferent: place among the population's afferents.
            targets, sources, delays, weights: (k,) int64, of each synapse; see `nmap_truenorth.afferents.Listed`.
        """
        if self.colours:
            return np.asarray(np.eye(TYPES, dtype=np.uint8)[self.colours[afferent][delays, sources]])
        return self._looked_up(targets, weights)

    def conv_uses(self, afferent: int, conv: Conv2d) -> Array:
        """Return how many axons of each type every weight of a kernel switches on: (*kernel's shape, 4) uint8, 0 for a weight of 0."""
        return _kernel_uses(self, afferent, conv)

    def _switched(self, afferent: int, conv: Conv2d) -> Array:
        if self.colours:
            rows, columns = phases(conv)
            per_in, per_out = conv.in_shape[0] // conv.groups, conv.weights.shape[0] // conv.groups
            channel = np.arange(conv.weights.shape[0])[:, None] // per_out * per_in + np.arange(per_in)
            types = self.colours[afferent][channel[:, :, None, None], rows[:, None], columns]
            return np.asarray(np.eye(TYPES, dtype=np.uint8)[types] * (conv.weights != 0)[..., None].astype(np.uint8))
        plane = self.scale.size // conv.weights.shape[0]
        first = np.repeat(np.arange(conv.weights.shape[0]) * plane, prod(conv.weights.shape[1:]))
        return self._looked_up(first, conv.weights.ravel().astype(np.int64)).reshape(*conv.weights.shape, TYPES)

    def _looked_up(self, targets: Array, weights: Array) -> Array:
        middle = self.table.shape[1] // 2
        return np.asarray(self.table[self.book[targets], weights // self.scale[targets] + middle])


@lru_cache(maxsize=64)
def _kernel_uses(code: Code, afferent: int, conv: Conv2d) -> Array:
    return frozen_array(code._switched(afferent, conv))


# ---- what a slice of neurons hears ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Needed:
    """The axons that some neurons need of one afferent.

    Args:
        delay: (m,) int64, steps that the axons add to the projection's delay.
        source: (m,) int64, ascending for each delay.
        axons: (m, 4) uint8, by type, at least one in all.
        synapses: what they are needed for.
        uses: (k, 4) uint8, the axons that each of the synapses switches on.
    """

    delay: Array
    source: Array
    axons: Array
    synapses: Listed = field(repr=False)
    uses: Array = field(repr=False)


def needed(network: QuantizedNetwork, population: str, part: Slice) -> tuple[Needed, ...]:
    """Return what the neurons of a slice need on a core, one entry per afferent, in their order.

    Raises:
        ValueError: the population has no code, or the targets of a convolution are not a box.
    """
    code, shape = _checked(network, population), network[population].shape
    return tuple(needed_of(code, number, p, part, shape) for number, p in enumerate(network.afferents(population)))


def needed_of(code: Code, number: int, projection: QuantizedProjection, part: Slice, shape: tuple[int, ...]) -> Needed:
    """Return what the neurons of a slice need of one afferent.

    Args:
        code: of the population.
        number: place of the afferent among the population's.
        projection: the afferent.
        part: slice of the population, a box for a convolution.
        shape: of the population.

    Raises:
        ValueError: the targets of a convolution are not a box.
    """
    whole = projection.connectivity
    if isinstance(whole, Conv2d):
        if not isinstance(part, tuple):
            raise ValueError(f"the targets of the convolution {projection.name} are not a box")
        listed = conv_synapses(whole, part)
        assert listed.tap is not None
        return _needed(listed, code.conv_uses(number, whole).reshape(-1, TYPES)[listed.tap], whole.in_size)
    neurons = slice_indices(part, shape)
    listed = synapses(projection, neurons)
    return _needed(listed, code.uses(number, neurons[listed.target], listed.source, listed.delay, listed.weight), whole.in_size)


def _needed(listed: Listed, switched: Array, sources: int) -> Needed:
    key = listed.delay * sources + listed.source
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.append(True, np.diff(key[order]) > 0)[: key.size])
    axons = np.maximum.reduceat(switched[order], first) if first.size else np.zeros((0, TYPES), np.uint8)
    delay, source = np.divmod(key[order][first], sources)
    return Needed(delay, source, axons, listed, switched)


def _portions(projection: QuantizedProjection) -> Iterator[Array]:
    """Yield the targets of a dense or sparse projection, some at a time."""
    whole = projection.connectivity
    at_once = max(1, _CHUNK * whole.out_size // max(1, whole.synapses))
    for start in range(0, whole.out_size, at_once):
        yield np.arange(start, min(start + at_once, whole.out_size))


@remembered
def _needed_by_all(code: Code, projection: QuantizedProjection, number: int) -> Array:
    """Return (sources,) int64: the axons that each source of an afferent needs if all neurons lie together."""
    whole = projection.connectivity
    if isinstance(whole, Conv2d):
        return _needed_of_conv(code.conv_uses(number, whole), whole)
    delays = 1 if projection.delays is None else int(projection.delays.max(initial=0)) + 1
    most = np.zeros((delays * whole.in_size, TYPES), np.uint8)
    for neurons in _portions(projection):
        listed = synapses(projection, neurons)
        part = _needed(listed, code.uses(number, neurons[listed.target], listed.source, listed.delay, listed.weight), whole.in_size)
        key = part.delay * whole.in_size + part.source
        most[key] = np.maximum(most[key], part.axons)
    return frozen_array(most.reshape(delays, -1, TYPES).sum((0, 2), dtype=np.int64).reshape(whole.in_size))


def _needed_of_conv(switched: Array, conv: Conv2d) -> Array:
    """Return (sources,) int64: the axons of each source of a convolution whose weights switch on `switched`, (*kernel's shape, 4)."""
    groups = switched.reshape(conv.groups, -1, *switched.shape[1:]).max(1)
    by_channel = groups.reshape(conv.in_shape[0], *conv.kernel_size, TYPES)
    rows, columns = (reach(conv, axis, 0, conv.out_shape[1 + axis]) for axis in (0, 1))
    total = np.zeros(conv.in_shape, np.int64)
    for down in set(rows.taps) - {0}:
        heard = by_channel[:, _bits(down)].max(1)
        at_rows = rows.first + np.flatnonzero(np.array(rows.taps) == down)
        for across in set(columns.taps) - {0}:
            axons = heard[:, _bits(across)].max(1).sum(1, dtype=np.int64)
            at_columns = columns.first + np.flatnonzero(np.array(columns.taps) == across)
            total[:, at_rows[:, None], at_columns] = axons[:, None, None]
    return frozen_array(total.ravel())


def _bits(mask: int) -> list[int]:
    """Return the numbers of the bits that are set."""
    return [k for k in range(mask.bit_length()) if mask >> k & 1]


def needed_by_all(network: QuantizedNetwork, population: str) -> tuple[Array, ...]:
    """Return the axons that each source needs if a population lies on one core: (sources,) int64 per afferent.

    However the population is shared out over cores, all of them together need no fewer axons of a source.

    Raises:
        ValueError: the population has no code.
    """
    code = _checked(network, population)
    return tuple(_needed_by_all(code, projection, number) for number, projection in enumerate(network.afferents(population)))


@remembered
def _fan_in(code: Code, projection: QuantizedProjection, number: int) -> Array:
    """Return (n,) int64: the axons of one afferent that each neuron needs by itself."""
    whole = projection.connectivity
    if isinstance(whole, Conv2d):
        switched = code.conv_uses(number, whole).sum((1, -1), dtype=np.int64)
        inside = []
        for axis in (0, 1):
            at = np.arange(whole.out_shape[1 + axis])[:, None] * whole.stride[axis] - whole.padding[axis]
            at = at + np.arange(whole.kernel_size[axis]) * whole.dilation[axis]
            inside.append(((at >= 0) & (at < whole.in_shape[1 + axis])).astype(np.int64))
        return frozen_array(np.einsum("ckl,yk,xl->cyx", switched, *inside).ravel())
    total = np.zeros(whole.out_size, np.int64)
    for neurons in _portions(projection):
        listed = synapses(projection, neurons)
        switched = code.uses(number, neurons[listed.target], listed.source, listed.delay, listed.weight)
        total[neurons] = np.bincount(listed.target, switched.sum(1, dtype=np.int64), neurons.size)
    return frozen_array(total)


def fan_ins(network: QuantizedNetwork, population: str) -> tuple[Array, ...]:
    """Return the axons of each afferent that each neuron of a population needs by itself, which are its crossbar bits: (n,) int64 each.

    Raises:
        ValueError: the population has no code.
    """
    code = _checked(network, population)
    return tuple(_fan_in(code, projection, number) for number, projection in enumerate(network.afferents(population)))


def fan_in(network: QuantizedNetwork, population: str) -> Array:
    """Return the axons that each neuron of a population needs by itself, (n,) int64.

    Raises:
        ValueError: the population has no code.
    """
    return np.sum([np.zeros(network[population].size, np.int64), *fan_ins(network, population)], axis=0)


def _checked(network: QuantizedNetwork, population: str) -> Code:
    code = code_of(network, population)
    if code is None:
        raise ValueError(why_no_code(network, population))
    return code


# ---- the search for a code --------------------------------------------------------------------------------------------------------------


def code_of(network: QuantizedNetwork, population: str) -> Code | None:
    """Return the code of a population's weights; None where no four values of at most 255 make all of them."""
    whole = network[population]
    return _code(network.afferents(population), whole.shape)


def why_no_code(network: QuantizedNetwork, population: str) -> str:
    """Return a sentence that says why a population has no code."""
    largest = max((int(np.abs(p.connectivity.weights.astype(np.int64)).max(initial=0)) for p in network.afferents(population)), default=0)
    return (
        f"the weights of `{population}` reach {largest} in size: no four values of at most {LARGEST} each, with at most 64 axons a source,"
        " make all of them"
    )


@remembered
def _code(projections: tuple[QuantizedProjection, ...], shape: tuple[int, ...]) -> Code | None:
    wiring = _wired(projections, shape)
    if wiring is None:
        return None
    if not wiring.weight.size:
        size = prod(shape)
        return Code(
            "silent", 0, np.zeros((size, TYPES), np.int16), np.ones(size, np.int64), np.zeros(size, np.int64),
            np.zeros((1, 1, TYPES), np.uint8),
        )
    coloured, proved = _coloured(wiring)
    return coloured or _patterned(wiring, proved)


@dataclass(frozen=True, slots=True, eq=False)
class _Wiring:
    """All weights of a population's afferents, for the search alone.

    A row stands for neurons with the same weights: a channel where an afferent is a convolution, else a neuron. A vertex stands for
    sources that are heard alike: a source and a delay, or a channel and a phase of a convolution.

    Args:
        size: neurons.
        rows: number of rows; neuron n belongs to row n // (size / rows).
        row, vertex, weight: (k,) int64, distinct triples.
        times: (vertices,) int64, sources that each vertex stands for.
        first: by afferent its first vertex and the shape in which its vertices are numbered.
        row_start, levels: the distinct weights of each row, ascending: those of row r are levels[row_start[r] : row_start[r + 1]].
    """

    size: int
    rows: int
    row: Array
    vertex: Array
    weight: Array
    times: Array
    first: tuple[tuple[int, tuple[int, ...]], ...]
    row_start: Array
    levels: Array

    def per_neuron(self, values: Array) -> Array:
        """Return values of rows as those of neurons."""
        return np.repeat(values, self.size // self.rows, axis=0)


def _wired(projections: tuple[QuantizedProjection, ...], shape: tuple[int, ...]) -> _Wiring | None:
    """Return the weights of a population's afferents; None where one is beyond all bounds."""
    size = prod(shape)
    rows = shape[0] if any(isinstance(p.connectivity, Conv2d) for p in projections) else size
    plane = size // rows
    parts: list[tuple[Array, Array, Array]] = []
    times: list[Array] = []
    first: list[tuple[int, tuple[int, ...]]] = []
    vertices = 0
    for projection in projections:
        whole = projection.connectivity
        if int(np.abs(whole.weights.astype(np.int64)).max(initial=0)) > _WEIGHT:
            return None
        if isinstance(whole, Conv2d):
            row_phase, column_phase = phases(whole)
            per_in, per_out = whole.in_shape[0] // whole.groups, whole.weights.shape[0] // whole.groups
            numbering: tuple[int, ...] = (whole.in_shape[0], whole.stride[0], whole.stride[1])
            out, i, ky, kx = np.nonzero(whole.weights)
            vertex = np.ravel_multi_index((out // per_out * per_in + i, row_phase[ky], column_phase[kx]), numbering)
            parts.append((out, vertex + vertices, whole.weights[out, i, ky, kx].astype(np.int64)))
            times.append(np.full(prod(numbering), max(1, whole.in_shape[1] * whole.in_shape[2] // prod(whole.stride))))
        else:
            delays = 1 if projection.delays is None else int(projection.delays.max(initial=0)) + 1
            numbering = (delays, whole.in_size)
            listed = synapses(projection, np.arange(whole.out_size))
            parts.append((listed.target // plane, vertices + listed.delay * whole.in_size + listed.source, listed.weight))
            times.append(np.ones(prod(numbering), np.int64))
        first.append((vertices, numbering))
        vertices += prod(numbering)
    row, vertex, weight = (np.concatenate([np.zeros(0, np.int64), *(part[k] for part in parts)]) for k in range(3))
    if rows < size:
        key = distinct((row * max(vertices, 1) + vertex) * (2 * _WEIGHT + 1) + weight + _WEIGHT)
        key, weight = key // (2 * _WEIGHT + 1), key % (2 * _WEIGHT + 1) - _WEIGHT
        row, vertex = key // max(vertices, 1), key % max(vertices, 1)
    pairs = distinct(row * (2 * _WEIGHT + 1) + weight + _WEIGHT)
    start = np.concatenate([[0], np.cumsum(np.bincount(pairs // (2 * _WEIGHT + 1), minlength=rows))])
    return _Wiring(
        size, rows, row, vertex, weight, np.concatenate([np.zeros(0, np.int64), *times]), tuple(first), start,
        pairs % (2 * _WEIGHT + 1) - _WEIGHT,
    )


def _coloured(wiring: _Wiring) -> tuple[Code | None, bool]:
    """Return a code with one axon a source, and whether it is proved that there is none where there is no code."""
    if np.diff(wiring.row_start).max() > TYPES or int(np.abs(wiring.levels).max()) > LARGEST:
        return None, True
    answer = colour_sources(wiring.vertex, wiring.row, wiring.weight, wiring.times.size)
    if answer.colours is None:
        # What a convolution's channel and phase hears is that of many sources, which might be coloured one by one.
        return None, answer.status == "none" and wiring.rows == wiring.size
    values = np.zeros((wiring.rows, TYPES), np.int16)
    values[wiring.row, answer.colours[wiring.vertex]] = wiring.weight
    colours = tuple(
        frozen_array(answer.colours[first : first + prod(numbering)].reshape(numbering)) for first, numbering in wiring.first
    )
    return Code(
        "colours", 1, frozen_array(wiring.per_neuron(values)), np.ones(wiring.size, np.int64),
        np.zeros(wiring.size, np.int64), np.zeros((1, 1, TYPES), np.uint8), colours,
    ), True


def _patterned(wiring: _Wiring, proved: bool) -> Code | None:
    """Return the code with the fewest axons over all sources among those with one pattern, and those with values of each neuron's own."""
    best: tuple[int, int, Code] | None = None
    for turned in (False, True):
        found = _best_pattern(wiring, turned, proved)
        if found is not None and (best is None or found[:2] < best[:2]):
            best = found
    least = fewest_axons(int(np.diff(wiring.row_start).max()) + 1)
    if best is None or least < best[2].axons:
        own = _codebooks(wiring, least, _OWN if best is None else min(best[2].axons, _OWN), proved)
        if own is not None and (best is None or own[:2] < best[:2]):
            best = own
    return None if best is None else best[2]


def _scales(wiring: _Wiring, turned: bool) -> Array:
    """Return a factor for each row, (rows,) int64: the greatest common divisor of its weights.

    Args:
        turned: negative where the row's weights reach further up than down.
    """
    heard = np.flatnonzero(np.diff(wiring.row_start))
    scale = np.ones(wiring.rows, np.int64)
    first = wiring.row_start[heard]
    scale[heard] = np.gcd.reduceat(wiring.levels, first)
    if turned:
        high, low = np.maximum.reduceat(wiring.levels, first), np.minimum.reduceat(wiring.levels, first)
        scale[heard] *= np.where(high > -low, -1, 1)
    return scale


def _best_pattern(wiring: _Wiring, turned: bool, proved: bool) -> tuple[int, int, Code] | None:
    """Return (axons over all sources, most axons of one, code) of the best pattern."""
    scale = _scales(wiring, turned)
    owner = np.repeat(np.arange(wiring.rows), np.diff(wiring.row_start))
    best: tuple[int, int, Code] | None = None
    for last in (False, True, True):
        levels = wiring.levels // scale[owner]
        numbers = distinct(levels)
        place = np.searchsorted(numbers, levels)
        sets, times = _heard_sets(wiring, scale, numbers)
        priced: list[tuple[int, int, int, Pattern, Array]] = []
        for rank, pattern in enumerate(_patterns(tuple(numbers.tolist()))):
            made = uses(pattern)
            switched = np.array([made[number] for number in numbers.tolist()], np.int64)
            axons = np.sum([np.where(sets, switched[:, g], 0).max(1) for g in range(TYPES)], axis=0)
            priced.append((int((axons * times).sum()), int(axons.max()), rank, pattern, switched))
        over = np.zeros(wiring.rows, bool)
        for cost, most, _, pattern, switched in sorted(priced, key=lambda entry: entry[:3]):
            used = np.zeros((wiring.rows, TYPES), bool)
            np.logical_or.at(used, owner, switched[place] > 0)
            large = (used & (np.abs(scale[:, None] * np.array(pattern.values)) > LARGEST)).any(1)
            if not large.any():
                if best is None or (cost, most) < best[:2]:
                    best = cost, most, _pattern_code(wiring, scale, numbers, pattern, used, most, proved)
                break
            over |= large
        if not over.any():
            break
        # Values that are too large with the factor may do without it.
        scale = np.where(over | last, np.sign(scale), scale)
    return best


def _patterns(numbers: tuple[int, ...]) -> list[Pattern]:
    """Return patterns that make a set of numbers, 0 not among them."""
    low, high = max(0, -numbers[0]), max(0, numbers[-1])
    found = list(interval_patterns(low, high, LARGEST, 1 if low and high and low + high < _SET else 0))
    most = min((pattern.axons for pattern in found), default=_SET)
    if low and high:
        found += one_sided_patterns(low, high)
    if len(numbers) <= TYPES:
        made = solve(numbers, (1,) * len(numbers))
        found += [] if made is None else [made]
    if len(numbers) <= _SET:
        for axons in range(fewest_axons(len(numbers) + 1), most):
            shorter = [made for copies in _partitions(axons) if (made := solve(numbers, copies)) is not None]
            found += shorter
            if shorter:
                break
    return list(dict.fromkeys(found))


@lru_cache(maxsize=128)
def _partitions(axons: int) -> tuple[tuple[int, ...], ...]:
    """Return the ways of sharing so many axons out over at most four types, descending."""
    found = {
        tuple(sorted((a, b, c, axons - a - b - c), reverse=True))
        for a in range(axons + 1) for b in range(axons + 1 - a) for c in range(axons + 1 - a - b)
    }
    return tuple(sorted((tuple(r for r in copies if r) for copies in found), key=lambda copies: (-len(copies), copies)))


def _heard_sets(wiring: _Wiring, scale: Array, numbers: Array) -> tuple[Array, Array]:
    """Return the distinct sets of numbers with which vertices are heard, (sets, numbers) bool, and how many sources have each."""
    place = np.searchsorted(numbers, wiring.weight // scale[wiring.row])
    heard = np.zeros((wiring.times.size, numbers.size), bool)
    heard[wiring.vertex, place] = True
    packed, inverse = np.unique(np.packbits(heard, axis=1), axis=0, return_inverse=True)
    times = np.zeros(len(packed), np.int64)
    np.add.at(times, inverse.reshape(-1), wiring.times)
    return np.unpackbits(packed, axis=1, count=numbers.size).astype(bool), times


def _pattern_code(wiring: _Wiring, scale: Array, numbers: Array, pattern: Pattern, used: Array, most: int, proved: bool) -> Code:
    middle = int(np.abs(numbers).max())
    table = np.zeros((1, 2 * middle + 1, TYPES), np.uint8)
    made = uses(pattern)
    for number in numbers.tolist():
        table[0, number + middle] = made[number]
    values = scale[:, None] * np.array(pattern.values, np.int64)
    # A value that is too large for its field belongs to a type that the neuron does not use.
    values[~used & (np.abs(values) > LARGEST)] = 0
    return Code(
        "pattern", most, frozen_array(wiring.per_neuron(values.astype(np.int16))), wiring.per_neuron(scale),
        np.zeros(wiring.size, np.int64), frozen_array(table), proved=proved,
    )


def _codebooks(wiring: _Wiring, least: int, most: int, proved: bool) -> tuple[int, int, Code] | None:
    """Return a code with values of each neuron's own and fewer axons a source than `most`; None where none was found."""
    if int(np.diff(wiring.row_start).max()) > _SET:
        return None
    scale = _scales(wiring, turned=True)
    known: dict[tuple[int, ...], int] = {}
    book = np.zeros(wiring.rows, np.int64)
    largest: list[int] = []
    for row in range(wiring.rows):
        levels = tuple(sorted((wiring.levels[wiring.row_start[row] : wiring.row_start[row + 1]] // scale[row]).tolist()))
        book[row] = known.setdefault(levels, len(known))
        if len(known) > _SETS:
            return None
        if book[row] == len(largest):
            largest.append(1)
        largest[book[row]] = max(largest[book[row]], abs(int(scale[row])))
    for axons in range(max(least, 1), most):
        for copies in _partitions(axons):
            found: list[Pattern] = []
            for levels, factor in zip(known, largest, strict=True):
                made = solve(levels, copies, LARGEST // factor) if factor <= LARGEST else None
                if made is None:
                    break
                found.append(made)
            if len(found) == len(known):
                return _book_code(wiring, scale, book, list(known), _aligned(found, copies), copies, proved)
    return None


def _aligned(found: list[Pattern], copies: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the values of each pattern in the order of the copies: types with as many axons by value."""
    aligned = []
    for pattern in found:
        left = sorted((pair for pair in zip(pattern.copies, pattern.values, strict=True) if pair[0]), key=lambda pair: (-pair[0], pair[1]))
        values = [0] * TYPES
        for k, number in enumerate(copies):
            at = next((i for i, pair in enumerate(left) if pair[0] == number), None)
            if at is not None:
                values[k] = left.pop(at)[1]
        aligned.append(tuple(values))
    return aligned


def _book_code(
    wiring: _Wiring, scale: Array, book: Array, sets: list[tuple[int, ...]], values: list[tuple[int, ...]], copies: tuple[int, ...],
    proved: bool,
) -> tuple[int, int, Code]:
    middle = max(abs(number) for levels in sets for number in levels)
    table = np.zeros((len(sets), 2 * middle + 1, TYPES), np.uint8)
    full = (*copies, *([0] * (TYPES - len(copies))))
    for k, (levels, own) in enumerate(zip(sets, values, strict=True)):
        made = uses(Pattern(full, own))
        for number in levels:
            table[k, number + middle] = made[number]
    switched = table[book[wiring.row], wiring.weight // scale[wiring.row] + middle]
    most = np.zeros((wiring.times.size, TYPES), np.uint8)
    np.maximum.at(most, wiring.vertex, switched)
    axons = most.sum(1, dtype=np.int64)
    each = (scale[:, None] * np.array(values, np.int64)[book]).astype(np.int16)
    code = Code(
        "codebooks", int(axons.max()), frozen_array(wiring.per_neuron(each)), wiring.per_neuron(scale), wiring.per_neuron(book),
        frozen_array(table), proved=proved,
    )
    return int((axons * wiring.times).sum()), int(axons.max()), code


# ---- types and values found again in a program ------------------------------------------------------------------------------------------


def encode_core(program: Program, core: int) -> tuple[Array, Array, Array]:
    """Return axon types, neuron values and crossbar bits that make the weights of a core's blocks.

    Args:
        program: with blocks of one axon type each, as `nmap_truenorth.build` makes them.
        core: index into `Program.cores`.

    Returns:
        Types (axons,) uint8, by axon; values (columns, 4) int16, 0 where a column has no bit on an axon of that type; bits
        (axons, columns) bool. Columns are the neurons of the core's groups, group by group in the program's order.

    Raises:
        ValueError: no four types make the weights.
    """
    groups = [k for k, group in enumerate(program.groups) if group.core == core]
    column = dict(zip(groups, np.cumsum([0, *(program.groups[k].size for k in groups)]).tolist(), strict=False))
    columns = sum(program.groups[k].size for k in groups)
    blocks = [block for block in program.blocks if block.core == core]
    axons = max((block.axon + block.axons for block in blocks), default=0)
    weights = np.zeros((axons, columns), np.int64)
    for block in blocks:
        held = block.synapses
        at = column[block.group]
        if isinstance(held, Dense):
            target, source = np.nonzero(held.weights)
            weights[block.axon + source, at + target] = held.weights[target, source]
        elif isinstance(held, Sparse):
            weights[block.axon + held.indices, at + held.targets] = held.weights
        else:
            raise ValueError(f"core {core} holds a convolution's tile, whose axons have no types")
    runs = sorted({(block.axon, block.axons) for block in blocks})
    first = np.array([axon for axon, _ in runs], np.int64)
    of_axon = np.repeat(np.arange(len(runs)), [count for _, count in runs])
    run_of = np.zeros(axons, np.int64)
    run_of[np.concatenate([np.arange(axon, axon + count) for axon, count in runs] or [first])] = of_axon
    axon, neuron = np.nonzero(weights)
    answer = colour_sources(run_of[axon], neuron, weights[axon, neuron], len(runs))
    if answer.colours is None:
        raise ValueError(f"the axons of core {core} have no types with one weight a neuron each")
    types = answer.colours[run_of].astype(np.uint8)
    values = np.zeros((columns, TYPES), np.int16)
    values[neuron, types[axon]] = weights[axon, neuron]
    return types, values, weights != 0
