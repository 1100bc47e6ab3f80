"""Proved lower bounds on the number of cores of a partition problem.

Neurons are grouped (by the problem's hint; any grouping is valid). Every axon belongs to one group at most, and is counted only where it
reaches neurons of that group, so that no axon of a core is counted twice. Then, for each group and each n, the least of every resource
that *any* n of its neurons take on a core is bounded from below (`Group`), and a linear program over the numbers of neurons of each group
that one core can hold gives the bound (Gilmore and Gomory 1961; Farley 1990), in whole numbers where it counts.

The least number of distinct axons of any n neurons, a(n), is the best of three bounds:

- *fan-in*: among n neurons one has at least the n-th smallest fan-in;
- *counting*: n neurons have at least the sum of the n smallest fan-ins in synapses, and an axon brings at most min(fan-out, n) of them;
- *neighbourhood*, for layers with places on a grid, as convolutions and pools have them. Let neuron place (x, y) listen to X_x x Y_y,
  sets of source columns and rows, which is verified on the problem's own pins. Take any set of places, m_x of them in column x. Source
  column u has at least the largest f(m_x) over the x with u in X_x, where f(m) is the least union of m sets Y. Sum that over u, level by
  level: the rise f(t) - f(t - 1) counts for every u reached by a column with m_x >= t, of which there are at least g(c_t), with c_t such
  columns and g the least union of c sets X. So a is at least the minimum over c_1 >= c_2 >= ... with sum c = n of the sum over t of
  (f(t) - f(t - 1)) g(c_t): a minimum over Young diagrams, found by dynamic programming. For windows that overlap it is attained: an
  initial segment is best in each direction. n neurons, of which at most k share a place, take ceil(n / k) places at least, and places
  that have no source in common add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from nmap.compiled import compiled
from nmap.connectivity import Array
from nmap.distinct import distinct
from nmap.partition.neurons import PartitionProblem

__all__ = ["Group", "area_cores", "fewest_axons", "fewest_cores", "group_demands", "young_minimum"]

_SCALE = 1 << 30
_ROUNDS = 200
_NODES = 20_000_000
"""Nodes of one search for the best content of a core; beyond it a weaker bound of its value is used."""
_MOST_PARTS = 4096
"""Connected components of one group that are looked at one by one."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Neurons that are bounded together.

    Args:
        size: number of neurons.
        demand: (R, n + 1) int64, least that any m of them take of a core, m up to the most that fit an empty core.
    """

    size: int
    demand: Array


def area_cores(problem: PartitionProblem) -> int:
    """Return the bound by sums: every neuron once, every axon with a target once."""
    if not problem.neurons:
        return 0
    used = np.diff(problem.start) > 0
    total = problem.neuron.sum(1) + problem.axon[:, used].sum(1)
    return max([1, *(-(-int(t) // int(c)) for t, c in zip(total, problem.capacity, strict=True) if c)])


def _unions(first: Array, last: Array, weight: Array) -> Array:
    """Return (m + 1,) the least weight of the union of any k of m intervals [first, last], both ends non-decreasing.

    The part of an interval that no earlier one has is the part that the one before it has not.
    """
    m = first.size
    total = np.concatenate([[0], np.cumsum(weight)])
    # new[a, b]: what interval b adds to interval a < b.
    new = total[last + 1][None, :] - total[np.maximum(first[None, :], np.minimum(last[:, None], last[None, :]) + 1)]
    far = np.iinfo(np.int64).max // 4
    new[np.tril_indices(m)] = far
    ends = total[last + 1] - total[first]
    least = [0, int(ends.min())]
    for _ in range(1, m):
        ends = np.minimum((ends[:, None] + new).min(0), far)
        least.append(int(ends.min()))
    return np.array(least, np.int64)


@compiled()
def _young(rise, width, most):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return (most + 1,) the least sum_t rise[t] width[c_t] over c_1 >= c_2 >= ... with at least n in total."""
    far = np.int64(1) << 60
    columns = width.size - 1
    best = np.full((columns + 1, most + 1), far, np.int64)
    # best[c, n]: rows so far, the last of c columns.
    for n in range(most + 1):
        best[columns, n] = 0 if n == 0 else far
    answer = np.full(most + 1, far, np.int64)
    answer[0] = 0
    for t in range(rise.size):
        # least[c, n]: over last rows of at least c columns.
        for c in range(columns - 1, -1, -1):
            for n in range(most + 1):
                best[c, n] = min(best[c, n], best[c + 1, n])
        for c in range(1, columns + 1):
            cost = rise[t] * width[c]
            # From many to few, so that best[c, n - c] is still that of the row before.
            for n in range(most, -1, -1):
                before = best[c, max(n - c, 0)]
                if n > 0 and n < c:
                    before = best[c, 0]
                best[c, n] = before + cost if before < far and n > 0 else far
                answer[n] = min(answer[n], best[c, n])
        for n in range(most + 1):
            best[0, n] = far
    return answer


def young_minimum(height: Array, width: Array, most: int) -> Array:
    """Return (most + 1,) int64: least weight of the neighbourhood of any n places, n up to `most`; see the module.

    Args:
        height: (rows + 1,) int64, f: least union of that many row sets.
        width: (columns + 1,) int64, g: least union of that many column sets.
        most: at most rows x columns.
    """
    return np.asarray(_young(np.diff(np.maximum.accumulate(height)), np.maximum.accumulate(width), most), np.int64)


def _interval(position: Array, group: Array, groups: int) -> tuple[Array, Array]:
    """Return the least and the largest position by group."""
    first, last = np.full(groups, np.iinfo(np.int64).max), np.full(groups, -1, np.int64)
    np.minimum.at(first, group, position)
    np.maximum.at(last, group, position)
    return first, last


def _classes(rows: Array, other: Array, count: int) -> tuple[Array, Array]:
    """Return the class of each of `count` rows of a bipartite graph, equal exactly for equal sets of `other`, and one row of each class.

    Classes are numbered by their first row. Within a row `other` comes in one order, ascending or not.
    """
    order = np.argsort(rows, kind="stable")
    edges = (8 * np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))])).tolist()
    data = other[order].astype(np.int64).tobytes()
    known: dict[bytes, int] = {}
    label = np.array([known.setdefault(data[a:b], len(known)) for a, b in pairwise(edges)], np.int64)
    _, first = np.unique(label, return_index=True)
    return label, first


def _grid(places: int, sources: int, place: Array, source: Array, weight: Array, most: int) -> Array | None:
    """Return (most + 1,) least weight of the neighbourhood of any n places, or None where they are no grid.

    Args:
        places, sources: how many there are, in raster order if they are a grid.
        place, source: (pins,) the graph, each pair once.
        weight: (sources,) int64.
        most: at most `places`.
    """
    degree = np.bincount(place, minlength=places)
    # A few places rule out most widths, and all of them where there is no grid.
    probes = [source[place == k] for k in range(0, places, max(places // 8, 1))]
    widths = [
        width for width in range(1, sources + 1)
        if not sources % width and all(np.ptp(own % width) + 1 == own.size / (np.ptp(own // width) + 1) for own in probes)
    ]
    for columns in range(1, places + 1):
        if places % columns:
            continue
        for width in widths:
            x, y, u, v = place % columns, place // columns, source % width, source // width
            first_u, last_u = _interval(u, x, columns)
            first_v, last_v = _interval(v, y, places // columns)
            px, py = np.arange(places) % columns, np.arange(places) // columns
            area = (last_u - first_u + 1)[px] * (last_v - first_v + 1)[py]
            # All pins lie in the boxes, and there are as many as the boxes hold: every place listens to its whole box.
            if not np.array_equal(area, degree):
                continue
            if any((np.diff(ends) < 0).any() for ends in (first_u, last_u, first_v, last_v)):
                continue
            table = weight.reshape(-1, width)
            wu, wv = table[0], table[:, 0]
            unit = int(table[0, 0])
            if not np.array_equal(table * unit, np.outer(wv, wu)):
                wu, wv, unit = np.ones(width, np.int64), np.ones(table.shape[0], np.int64), 1
                scale = int(table.min())
            else:
                scale = 1
            height, across = _unions(first_v, last_v, wv), _unions(first_u, last_u, wu)
            return -(-scale * young_minimum(height, across, most) // unit)
    return None


def _sum_of(parts: list[tuple[Array, int]], most: int) -> Array:
    """Return (most + 1,) least sum of values when n is shared out over parts, each given as (values, number of equal ones)."""
    total = np.full(most + 1, 1 << 60, np.int64)
    total[0] = 0
    for values, number in parts:
        power = values
        while number:
            if number & 1:
                total = _plus(total, power, most)
            number >>= 1
            if number:
                power = _plus(power, power, most)
    return total


@compiled()
def _plus(a, b, most):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    size = min(a.size + b.size - 1, most + 1)
    out = np.full(size, np.int64(1) << 60, np.int64)
    for i in range(min(a.size, size)):
        for j in range(min(b.size, size - i)):
            out[i + j] = min(out[i + j], a[i] + b[j])
    return out


def fewest_axons(neurons: int, neuron: Array, axon: Array, most: int) -> Array:
    """Return (most + 1,) int64: a lower bound on the number of distinct axons of any n neurons, n up to `most`.

    Args:
        neurons: how many there are.
        neuron, axon: (pins,) which neuron listens to which axon, both from 0, each pair once; every axon has a pin.
        most: at most `neurons`.
    """
    bound = np.zeros(most + 1, np.int64)
    if not neuron.size:
        return bound
    fan_in = np.sort(np.bincount(neuron, minlength=neurons))
    bound[1:] = fan_in[:most]
    fan_out = np.sort(np.bincount(axon))[::-1]
    need = np.cumsum(fan_in[:most])
    # Smallest k whose k largest min(fan-out, n) reach the need: fan-outs above n come first, and all count n.
    total = np.concatenate([[0], np.cumsum(fan_out)])
    for n in range(1, most + 1):
        large = int(np.searchsorted(-fan_out, -n, side="right"))
        least = -(-int(need[n - 1]) // n)
        if least > large:
            left = int(need[n - 1]) - n * large
            least = large + int(np.searchsorted(total[large:] - total[large], left))
        bound[n] = max(int(bound[n]), least)
    near = _neighbourhoods(neurons, neuron, axon, most)
    if near is not None:
        bound = np.maximum(bound, near)
    return np.maximum.accumulate(bound)


def _neighbourhoods(neurons: int, neuron: Array, axon: Array, most: int) -> Array | None:
    """Return (most + 1,) the bound by neighbourhoods on grids, or None where there are none."""
    axons = int(axon.max()) + 1
    place_of, one = _classes(neuron, axon, neurons)
    source_of, _ = _classes(axon, neuron, axons)
    number = np.bincount(place_of)
    weight = np.bincount(source_of)
    kept = np.isin(neuron, one)
    pair = distinct(place_of[neuron[kept]] * weight.size + source_of[axon[kept]])
    place, source = pair // weight.size, pair % weight.size
    # Connected components by the smallest label around.
    label = np.arange(number.size)
    while True:
        least = np.full(weight.size, number.size)
        np.minimum.at(least, source, label[place])
        new = label.copy()
        np.minimum.at(new, place, least[source])
        new = new[new]
        if np.array_equal(new, label):
            break
        label = new
    order = np.argsort(label[place], kind="stable")
    roots, starts = np.unique(label[place][order], return_index=True)
    if roots.size > _MOST_PARTS:
        return None
    silent = int(number[np.bincount(place, minlength=number.size) == 0].sum())
    values: dict[tuple[bytes, ...], Array] = {}
    count: dict[tuple[bytes, ...], int] = {}
    for pins in np.split(order, starts[1:]):
        places, p = np.unique(place[pins], return_inverse=True)
        sources, s = np.unique(source[pins], return_inverse=True)
        mult, heavy = int(number[places].max()), weight[sources]
        key = (p.tobytes(), s.tobytes(), heavy.tobytes(), np.array([mult]).tobytes())
        if key not in values:
            capacity = min(places.size, -(-most // mult))
            found = _grid(places.size, sources.size, p.ravel(), s.ravel(), heavy, capacity)
            if found is None:
                return None
            # n neurons take at least ceil(n / neurons of one place) places.
            values[key] = found[np.minimum(-(-np.arange(min(most, places.size * mult) + 1) // mult), capacity)]
        count[key] = count.get(key, 0) + 1
    parts = [(values[key], count[key]) for key in values]
    if silent:
        parts.append((np.zeros(silent + 1, np.int64), 1))
    return _sum_of(parts, most)


def _owners(problem: PartitionProblem, group: Array, groups: int) -> Array:
    """Return (axons,) the group every axon is counted for: of axons from one group to the same groups, the one with most synapses."""
    source = np.where(problem.source >= 0, group[problem.source], groups)
    axon = np.repeat(np.arange(problem.axons), np.diff(problem.start))
    pairs = distinct(axon * groups + group[problem.target])
    # Beyond 62 groups some sets share a number: they are then counted for one group together, which is valid too.
    reached = np.zeros(problem.axons, np.int64)
    np.bitwise_or.at(reached, pairs // groups, np.int64(1) << (pairs % groups % 62))
    _, family = np.unique(np.stack([source, reached]), axis=1, return_inverse=True)
    family = family.ravel()
    pins = np.bincount(family[axon] * groups + group[problem.target], minlength=(int(family.max(initial=0)) + 1) * groups)
    return np.asarray(pins.reshape(-1, groups).argmax(1)[family])


def group_demands(problem: PartitionProblem) -> list[Group]:
    """Return the groups with the least that any n of their neurons take of each resource; sums over groups are valid for a core."""
    layer = np.zeros(problem.neurons, np.int64) if problem.layer is None else problem.layer
    _, group = np.unique(layer, return_inverse=True)
    group = group.ravel()
    groups = int(group.max()) + 1
    owner = _owners(problem, group, groups)
    axon = np.repeat(np.arange(problem.axons), np.diff(problem.start))
    mine = owner[axon] == group[problem.target]
    made = []
    for g in range(groups):
        members = np.flatnonzero(group == g)
        least = np.cumsum(np.sort(problem.neuron[:, members], axis=1), axis=1)
        most = int((least <= problem.capacity[:, None]).all(0).sum())
        if not most:
            raise ValueError("a neuron does not fit an empty core")
        pins = np.flatnonzero(mine & (group[problem.target] == g))
        used, local = np.unique(axon[pins], return_inverse=True)
        reach = fewest_axons(members.size, np.searchsorted(members, problem.target[pins]), local.ravel(), most)
        demand = np.zeros((problem.capacity.size, most + 1), np.int64)
        demand[:, 1:] = least[:, :most]
        if used.size:
            # k distinct axons take at least the k cheapest.
            price = np.concatenate([np.zeros((problem.capacity.size, 1), np.int64), np.cumsum(np.sort(problem.axon[:, used], 1), 1)], 1)
            demand += price[:, reach]
        fit = int((demand <= problem.capacity[:, None]).all(0).sum())
        made.append(Group(int(members.size), demand[:, :fit]))
    return made


@compiled()
def _best_core(table, start, most, profit, room, weights, over, stop, nodes):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return the best content of a core and an upper bound of every content's value, by depth-first search.

    Lagrange: with weights w >= 0 no content of groups k.. in room ρ is worth more than w ρ + over[w, k]. Branches that are worth at most
    `stop` more than the best content are left out, and all when there were too many; the bound covers them.
    """
    groups, size = profit.size, room.size
    units, best_units = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
    rooms = np.zeros((groups + 1, size), np.int64)
    rooms[0] = room
    values = np.zeros(groups + 1, np.int64)
    best, covered, count = 0, 0, 0
    k = 0
    fresh = True
    while k >= 0:
        if k == groups:
            if values[k] > best:
                best = values[k]
                best_units[:] = units
            k -= 1
            fresh = False
            continue
        if fresh:
            low, high = start[k], start[k] + most[k]
            while low < high:
                middle = (low + high + 1) // 2
                fits = True
                for r in range(size):
                    if table[r, middle] > rooms[k, r]:
                        fits = False
                        break
                if fits:
                    low = middle
                else:
                    high = middle - 1
            units[k] = low - start[k]
        else:
            units[k] -= 1
        moved = False
        while units[k] >= 0:
            count += 1
            for r in range(size):
                rooms[k + 1, r] = rooms[k, r] - table[r, start[k] + units[k]]
            values[k + 1] = values[k] + profit[k] * units[k]
            limit = np.int64(1) << 60
            for w in range(weights.shape[0]):
                most_more = over[w, k + 1]
                for r in range(size):
                    most_more += weights[w, r] * rooms[k + 1, r]
                limit = min(limit, most_more)
                if values[k + 1] + limit <= best + stop:
                    break
            if values[k + 1] + limit > best + stop and count <= nodes:
                moved = True
                break
            covered = max(covered, values[k + 1] + limit)
            units[k] -= 1
        if moved:
            k += 1
            fresh = True
        else:
            k -= 1
            fresh = False
    return best_units, max(best, covered), count


class _Contents:
    """Looks for what is worth most on one core."""

    def __init__(self, groups: list[Group], capacity: Array) -> None:
        self.most = np.array([min(group.size, group.demand.shape[1] - 1) for group in groups], np.int64)
        width = [group.demand.shape[1] for group in groups]
        self.start = np.concatenate([[0], np.cumsum(width)[:-1]]).astype(np.int64)
        self.table = np.ascontiguousarray(np.concatenate([group.demand for group in groups], axis=1))
        self.groups = groups
        self.capacity = capacity
        # Shares of the core's value by resource: each alone, and mixed in quarters for up to four resources that are ever short.
        short = [r for r in range(capacity.size) if capacity[r] and self.table[r].max()]
        short = sorted(short, key=lambda r: -float(max(g.demand[r, -1] for g in groups) / capacity[r]))[:4]
        mixes = [mix for mix in product(range(5), repeat=len(short)) if sum(mix) == 4]
        self.mixes = np.zeros((len(mixes), capacity.size))
        for row, mix in zip(self.mixes, mixes, strict=True):
            row[short] = np.array(mix) / 4
        self.mixes /= np.maximum(capacity, 1)

    def best(self, profit: Array) -> tuple[Array, int]:
        """Return (groups,) units of a good content and an upper bound of what any content is worth.

        Args:
            profit: (groups,) int64 >= 0, of one neuron; a core is worth about `_SCALE`.
        """
        weights = np.floor(np.concatenate([self.mixes * (_SCALE * level) for level in (0.25, 0.5, 0.75, 0.9, 1.0)])).astype(np.int64)
        over = np.zeros((weights.shape[0], profit.size + 1), np.int64)
        for k in range(profit.size - 1, -1, -1):
            demand = self.groups[k].demand[:, : self.most[k] + 1]
            own = (profit[k] * np.arange(demand.shape[1]) - weights @ demand).max(1)
            over[:, k] = over[:, k + 1] + np.maximum(own, 0)
        # The tightest ones first.
        order = np.argsort(weights @ self.capacity + over[:, 0], kind="stable")[:24]
        units, value, _ = _best_core(
            self.table, self.start, self.most, profit, self.capacity, np.ascontiguousarray(weights[order]),
            np.ascontiguousarray(over[order]), _SCALE >> 14, _NODES,
        )
        return units, int(value)


def _linear_bound(groups: list[Group], capacity: Array, bound: int) -> int:
    """Return the better of `bound` and the bound by the linear program over contents of cores."""
    from nmap.partition.glop import pywraplp

    # What fills a core with few neurons first: it leaves least to try.
    groups = sorted(groups, key=lambda group: min(group.size, group.demand.shape[1] - 1))
    sizes = [group.size for group in groups]
    contents = _Contents(groups, capacity)
    solver = pywraplp.Solver.CreateSolver("GLOP")
    solver.SetSolverSpecificParametersAsString("change_status_to_imprecise: false")
    rows = [solver.Constraint(size / int(most), solver.infinity()) for size, most in zip(sizes, contents.most, strict=True)]
    objective = solver.Objective()
    objective.SetMinimization()

    def add(units: Array) -> None:
        number = solver.NumVar(0.0, solver.infinity(), "")
        objective.SetCoefficient(number, 1.0)
        for row, n, most in zip(rows, units.tolist(), contents.most.tolist(), strict=True):
            if n:
                row.SetCoefficient(number, n / most)

    for units in np.diag(contents.most):
        add(units)
    for _ in range(_ROUNDS):
        if solver.Solve() != pywraplp.Solver.OPTIMAL:
            break
        value = float(objective.Value())
        if bound >= value - 1e-6:
            break
        dual = np.array([max(row.dual_value(), 0.0) for row in rows]) / contents.most
        profit = np.floor(dual * _SCALE).astype(np.int64)
        units, worth = contents.best(profit)
        # Farley: no core holds neurons worth more than `worth`, and together they are worth the sum.
        total = sum(int(p) * n for p, n in zip(profit, sizes, strict=True))
        bound = max(bound, -(-total // worth))
        if int(profit @ units) <= _SCALE + (_SCALE >> 14):
            break
        add(units)
    return bound


def fewest_cores(problem: PartitionProblem) -> int:
    """Return a proved lower bound on the number of cores: the best of sums over resources and the linear program over groups.

    It takes the distinct axons of neighbouring neurons into account and how groups of neurons share a core, not which destinations an axon
    has on other cores (`route`).

    Raises:
        ValueError: a neuron does not fit an empty core.
    """
    bound = area_cores(problem)
    if not problem.neurons:
        return bound
    return _linear_bound(group_demands(problem), problem.capacity, bound)
