"""The neutral `.npz` formats of mapping problems and their solutions, and an independent scorer.

Partition problem: `n` neurons; axons `hsrc` (a neuron, or -1 for the input port) with targets `hdst[hptr[k]:hptr[k + 1]]` and `rate` spikes
per step; `caps` of a core (neurons, distinct incoming axons, synapses); `mesh` (width, height); `io_xy` of the port; `dead` cores
(y * width + x); `layer` of each neuron, a hint. Its solution: `part` (n,) cluster of each neuron, `xy` (clusters, 2) core of each cluster.

Placement problem: `K` clusters with traffic `src`, `dst`, `w` packets per step; `mesh` and `dead` as above. Its solution: `xy`.

The scorer here is plain NumPy and shares no code with what it scores.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, fields
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nmap.connectivity import Array

if TYPE_CHECKING:
    from nmap.partition.neurons import PartitionProblem
    from nmap.place.board import Board
    from nmap.place.problem import PlacementProblem

__all__ = [
    "BadFileError", "NeutralPartition", "NeutralPlacement", "Score", "as_partition", "as_placement", "board", "distinct", "read_problem",
    "read_solution", "save", "score_partition", "score_placement", "with_dead",
]

_MOST_BYTES = 2**31
"""Largest array that is read."""
_MOST_CORES = 2**22
_MOST_NEURONS = 2**26
"""Largest mesh and network: a file may name a number without storing anything, and each core and neuron takes memory."""
_MOST_RATIO = 1100
"""Deflate packs at most 1032 : 1; a larger ratio is a declaration with nothing behind it."""
_MOST_HEADER = 10_000
_LARGEST = 1e100
"""Largest rate: sums of all packets and hops stay finite."""


class BadFileError(Exception):
    """A file is not a problem or a solution of these formats; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class NeutralPartition:
    """A partition problem; fields as in the file."""

    n: int
    hsrc: Array
    hptr: Array
    hdst: Array
    rate: Array
    caps: Array
    mesh: tuple[int, int]
    io_xy: tuple[int, int]
    dead: Array
    layer: Array


@dataclass(frozen=True, slots=True, eq=False)
class NeutralPlacement:
    """A placement problem; fields as in the file."""

    K: int
    src: Array
    dst: Array
    w: Array
    mesh: tuple[int, int]
    dead: Array


@dataclass(frozen=True, slots=True)
class Score:
    """What a solution is worth, or why it is none.

    Args:
        errors: empty for a feasible solution.
        cores: cores that hold a neuron.
        packets: per step, one for every spike and other core that listens.
        unicast: packets times hops.
        multicast: links that the spikes' XY routes take, shared ones once.
        longest: hops of the farthest packet.
        link: packets per step on the busiest link, multicast.
    """

    errors: tuple[str, ...]
    cores: int = 0
    packets: float = 0.0
    unicast: float = 0.0
    multicast: float = 0.0
    longest: int = 0
    link: float = 0.0


def distinct(values: Array) -> Array:
    """Return the distinct numbers, ascending. NumPy's `unique` hashes whole numbers since 2.3, which takes fifty times as long."""
    rising = np.sort(values)
    return rising[np.concatenate([[True], rising[1:] != rising[:-1]])] if rising.size else rising


def _array(archive: zipfile.ZipFile, stored: int, name: str, kind: str, shape: tuple[int | None, ...]) -> Array:
    """Return one array; `kind` is "i" for whole numbers, "f" for any. Nothing is allocated before the sizes are known to be true."""
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise BadFileError(f"array `{name}` is missing") from None
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadFileError(f"array `{name}` is packed in a way that NumPy does not write")
    if info.compress_size > stored or info.file_size > info.compress_size * _MOST_RATIO + 2**12 or info.file_size > _MOST_BYTES:
        raise BadFileError(f"array `{name}` declares {info.file_size} bytes, more than the file holds or than the limit of {_MOST_BYTES}")
    try:
        with archive.open(info) as stream:
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):
                # Later versions have room for headers that plain numbers never need.
                raise BadFileError(f"array `{name}` is in version {version} of the format; plain numbers are in version (1, 0)")
            found, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_MOST_HEADER)
            if dtype.kind not in ("iu" if kind == "i" else "iuf"):
                raise BadFileError(f"array `{name}` holds no {'whole ' if kind == 'i' else ''}numbers")
            if len(found) != len(shape) or any(want not in (None, have) for want, have in zip(shape, found, strict=True)):
                expected = ", ".join("any" if want is None else str(want) for want in shape)
                raise BadFileError(f"array `{name}` has shape {found}; it must be ({expected})")
            size = prod(found) * dtype.itemsize
            if min(found, default=0) < 0 or size > info.file_size:
                raise BadFileError(f"array `{name}` declares {size} bytes and holds fewer")
            content = stream.read(size)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, OverflowError, SyntaxError, TypeError) as error:
        raise BadFileError(f"array `{name}` is damaged: {str(error)[:200]}") from error
    if len(content) != size:
        raise BadFileError(f"array `{name}` ends early")
    values = np.frombuffer(content, dtype).reshape(found, order="F" if fortran else "C")
    if kind == "i" and dtype.kind == "u" and values.size and int(values.max()) >= 2**63:
        raise BadFileError(f"array `{name}` holds numbers beyond 2^63")
    if kind == "f" and not np.isfinite(values).all():
        raise BadFileError(f"array `{name}` holds numbers that are not finite")
    return values


class _File:
    """An open archive of the formats."""

    def __init__(self, path: Path) -> None:
        try:
            self._stored = path.stat().st_size
            self._archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise BadFileError(f"cannot be read as an .npz file: {str(error)[:200]}") from error

    def __contains__(self, name: str) -> bool:
        return f"{name}.npy" in self._archive.namelist()

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def whole(self, name: str, *shape: int | None) -> Array:
        """Return an array of whole numbers, int64."""
        return _array(self._archive, self._stored, name, "i", shape).astype(np.int64)

    def real(self, name: str, *shape: int | None) -> Array:
        """Return an array of numbers below `_LARGEST`, float64."""
        values = _array(self._archive, self._stored, name, "f", shape).astype(np.float64)
        if values.size and np.abs(values).max() > _LARGEST:
            raise BadFileError(f"array `{name}` holds {np.abs(values).max():g}; numbers up to {_LARGEST:g} are possible")
        return values

    def one(self, name: str, least: int, most: int) -> int:
        """Return a single number within limits."""
        value = int(self.whole(name))
        _inside(name, np.array([value]), least, most)
        return value


def _inside(name: str, values: Array, least: int, most: int) -> None:
    outside = values[(values < least) | (values > most)]
    if outside.size:
        raise BadFileError(f"array `{name}` holds {int(outside[0])}; numbers from {least} to {most} are possible")


def _machine(file: _File) -> tuple[tuple[int, int], Array]:
    """Return mesh and dead cores."""
    mesh = file.whole("mesh", 2)
    _inside("mesh", mesh, 1, _MOST_CORES)
    width, height = int(mesh[0]), int(mesh[1])
    if width * height > _MOST_CORES:
        raise BadFileError(f"a mesh of {width} x {height} cores is beyond the limit of {_MOST_CORES} cores")
    dead = file.whole("dead", None) if "dead" in file else np.zeros(0, np.int64)
    _inside("dead", dead, 0, width * height - 1)
    return (width, height), np.unique(dead).astype(np.int32)


def _partition(file: _File) -> NeutralPartition:
    n = file.one("n", 0, _MOST_NEURONS)
    mesh, dead = _machine(file)
    source = file.whole("hsrc", None)
    _inside("hsrc", source, -1, n - 1)
    start = file.whole("hptr", source.size + 1)
    target = file.whole("hdst", None)
    _inside("hdst", target, 0, n - 1)
    if start[0] != 0 or start[-1] != target.size or (np.diff(start) < 0).any():
        raise BadFileError(f"array `hptr` must rise from 0 to {target.size}, the number of targets")
    within = np.ones(target.size, bool)
    within[start[:-1][start[:-1] < target.size]] = False
    if (np.diff(target, prepend=-1)[within] <= 0).any():
        raise BadFileError("array `hdst` must be ascending and distinct within an axon")
    rate = file.real("rate", source.size)
    if (rate < 0).any():
        raise BadFileError("array `rate` holds negative numbers")
    caps = file.whole("caps", 3)
    _inside("caps", caps, 0, 2**53)
    port = file.whole("io_xy", 2) if "io_xy" in file else np.zeros(2, np.int64)
    for axis in range(2):
        _inside("io_xy", port[axis : axis + 1], 0, mesh[axis] - 1)
    layer = file.whole("layer", n) if "layer" in file else np.zeros(n, np.int64)
    _inside("layer", layer, -(2**31), 2**31 - 1)
    return NeutralPartition(
        n, source.astype(np.int32), start, target.astype(np.int32), rate, caps, mesh, (int(port[0]), int(port[1])), dead,
        layer.astype(np.int32),
    )


def _placement(file: _File) -> NeutralPlacement:
    clusters = file.one("K", 0, _MOST_CORES)
    mesh, dead = _machine(file)
    source = file.whole("src", None)
    target, weight = file.whole("dst", source.size), file.real("w", source.size)
    for name, values in (("src", source), ("dst", target)):
        _inside(name, values, 0, clusters - 1)
    if (weight < 0).any():
        raise BadFileError("array `w` holds negative numbers")
    return NeutralPlacement(clusters, source.astype(np.int32), target.astype(np.int32), weight, mesh, dead)


def read_problem(path: Path) -> NeutralPartition | NeutralPlacement:
    """Read a problem of either format.

    Raises:
        BadFileError: an array is missing, damaged, of the wrong shape or out of range. Nothing in the file is executed, and no memory is
            asked for that the file does not fill.
    """
    with _File(path) as file:
        if "n" in file:
            return _partition(file)
        if "K" in file:
            return _placement(file)
        raise BadFileError("neither array `n` (a partition problem) nor array `K` (a placement problem) is there")


def read_solution(path: Path) -> tuple[Array | None, Array]:
    """Read `part` (None for a placement problem's solution) and `xy`.

    Raises:
        BadFileError: as `read_problem`.
    """
    with _File(path) as file:
        return file.whole("part", None) if "part" in file else None, file.whole("xy", None, 2)


def save(path: Path, item: NeutralPartition | NeutralPlacement | tuple[Array | None, Array]) -> None:
    """Write a problem, or a solution as (part or None, xy). The same arrays give the same bytes."""
    arrays: dict[str, Any]
    if isinstance(item, tuple):
        part, xy = item
        arrays = {"xy": np.asarray(xy, np.int32)} if part is None else {"part": np.asarray(part, np.int32), "xy": np.asarray(xy, np.int32)}
    else:
        arrays = {field.name: np.asarray(getattr(item, field.name)) for field in fields(item)}
        for name in ("n", "K", "mesh", "io_xy"):
            if name in arrays:
                arrays[name] = arrays[name].astype(np.int64)
    # An interrupted run leaves no half of a file. NumPy would add an ending to a name.
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with unfinished.open("wb") as stream:
            np.savez_compressed(stream, **arrays)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def with_dead(problem: NeutralPartition, dead: Array) -> NeutralPartition:
    """Return the problem with other dead cores."""
    values = {field.name: getattr(problem, field.name) for field in fields(problem)}
    return NeutralPartition(**{**values, "dead": np.unique(dead).astype(np.int32)})


def board(problem: NeutralPartition | NeutralPlacement) -> Board:
    """Return the mesh without its dead cores, in the order of their numbers."""
    from nmap.place.board import Board

    width, height = problem.mesh
    alive = np.setdiff1d(np.arange(width * height), problem.dead)
    port = problem.io_xy if isinstance(problem, NeutralPartition) else (0, 0)
    return Board(np.stack([alive % width, alive // width], 1), port)


def as_partition(problem: NeutralPartition, slack: float = 0.05, previous: Array | None = None) -> PartitionProblem:
    """Return the problem as partitioners take it."""
    from nmap.partition.neurons import PartitionProblem

    slots = board(problem)
    fan_in = np.bincount(problem.hdst, minlength=problem.n)
    none = np.zeros(problem.n, np.int64)
    taken = np.zeros((3, problem.hsrc.size), np.int64)
    taken[1] = 1
    return PartitionProblem(
        ("neurons", "axons", "synapses"), problem.caps, np.stack([none + 1, none, fan_in]), taken, np.zeros(3, np.int64),
        problem.hsrc, problem.hptr, problem.hdst, problem.rate, slots.size, slack, problem.layer, slots, previous,
    )


def as_placement(problem: NeutralPlacement) -> PlacementProblem:
    """Return the problem as partitioners take it; traffic of a cluster with itself costs nothing and is left out."""
    from nmap.place.problem import PlacementProblem

    apart = problem.src != problem.dst
    return PlacementProblem(problem.K, board(problem), problem.src[apart], problem.dst[apart], problem.w[apart])


def _misplaced(problem: NeutralPartition | NeutralPlacement, xy: Array) -> tuple[str, ...]:
    width, height = problem.mesh
    if xy.size and not ((xy >= 0).all() and (xy[:, 0] < width).all() and (xy[:, 1] < height).all()):
        return ("a cluster lies outside of the mesh",)
    core = xy[:, 1] * width + xy[:, 0]
    found = []
    if np.unique(core).size != core.size:
        found.append("two clusters on one core")
    if np.isin(core, problem.dead).any():
        found.append("a dead core is used")
    return tuple(found)


def score_placement(problem: NeutralPlacement, xy: Array) -> Score:
    """Score the answer to a placement problem: packets times hops."""
    xy = np.asarray(xy, np.int64)
    if xy.shape != (problem.K, 2):
        return Score((f"`xy` has shape {xy.shape} for {problem.K} clusters",))
    errors = _misplaced(problem, xy)
    if errors:
        return Score(errors)
    far = np.abs(xy[problem.src] - xy[problem.dst]).sum(1)
    return Score((), problem.K, float(problem.w[far > 0].sum()), float(problem.w @ far), longest=int(far.max(initial=0)))


def score_partition(problem: NeutralPartition, part: Array, xy: Array) -> Score:
    """Score the answer to a partition problem.

    Multicast routes go along the source's row first, then along the columns of the targets.
    """
    part, xy = np.asarray(part, np.int64), np.asarray(xy, np.int64)
    if part.shape != (problem.n,) or (part.size and part.min() < 0):
        return Score((f"`part` has shape {part.shape} or numbers below 0 for {problem.n} neurons",))
    clusters = xy.shape[0]
    if xy.shape != (clusters, 2) or int(part.max(initial=-1)) >= clusters:
        return Score(("`xy` has fewer rows than there are clusters",))
    errors = _misplaced(problem, xy)
    if errors:
        return Score(errors)
    axons = problem.hsrc.size
    pins = np.repeat(np.arange(axons), np.diff(problem.hptr)) * max(clusters, 1) + part[problem.hdst]
    reached = distinct(pins)
    axon, cluster = np.divmod(reached, max(clusters, 1))
    taken = (
        ("neurons", np.bincount(part, minlength=clusters)), ("axons", np.bincount(cluster, minlength=clusters)),
        ("synapses", np.bincount(part[problem.hdst], minlength=clusters)),
    )
    over = tuple(
        f"{name}: {int(load.max())} of {int(cap)} on a core"
        for (name, load), cap in zip(taken, problem.caps, strict=True) if load.max(initial=0) > cap
    )
    home = np.where(problem.hsrc >= 0, part[problem.hsrc] if problem.n else -1, -1)
    away = home[axon] != cluster
    axon, cluster = axon[away], cluster[away]
    origin = np.where(home[:, None] >= 0, xy[home] if clusters else np.zeros((axons, 2), np.int64), np.asarray(problem.io_xy))
    rate = np.asarray(problem.rate, np.float64)
    start, goal = origin[axon], xy[cluster]
    far = np.abs(start - goal).sum(1)
    multicast, busiest = _trees(problem.mesh, axon, origin, goal, rate)
    return Score(
        over, int(np.unique(part).size), float(rate[axon].sum()), float(rate[axon] @ far), multicast, int(far.max(initial=0)), busiest,
    )


def _trees(mesh: tuple[int, int], axon: Array, origin: Array, goal: Array, rate: Array) -> tuple[float, float]:
    """Return the links that all trees take, weighted, and the load of the busiest; `axon` is ascending, one entry per destination."""
    width, height = mesh
    if not axon.size:
        return 0.0, 0.0
    axes = origin[axon]
    # East and west along the row of the source: to the farthest column on either side.
    first = np.flatnonzero(np.diff(axon, prepend=-1))
    names = axon[first]
    x, y = origin[names].T
    east = np.maximum.reduceat(np.maximum(goal[:, 0] - axes[:, 0], 0), first)
    west = np.maximum.reduceat(np.maximum(axes[:, 0] - goal[:, 0], 0), first)
    # North and south along a column: to the farthest row on either side, once per axon and column.
    order = np.lexsort((goal[:, 0], axon))
    column = axon[order] * width + goal[order, 0]
    turn = np.flatnonzero(np.diff(column, prepend=-1))
    rise = goal[order, 1] - axes[order, 1]
    north, south = (np.maximum.reduceat(np.maximum(way, 0), turn) for way in (rise, -rise))
    turned = axon[order][turn]
    turn_x, turn_y = goal[order, 0][turn], origin[turned, 1]
    links = rate[names] @ (east + west) + rate[turned] @ (north + south)
    busiest = 0.0
    for line, at, length, weight, size in (
        (y, x, east, rate[names], width), (y, width - 1 - x, west, rate[names], width),
        (turn_x, turn_y, north, rate[turned], height), (turn_x, height - 1 - turn_y, south, rate[turned], height),
    ):
        # Every route adds its rate from where it starts and takes it away where it ends.
        edge = np.zeros((int(line.max()) + 1, size + 1))
        np.add.at(edge, (line, at), weight)
        np.add.at(edge, (line, at + length), -weight)
        busiest = max(busiest, float(edge.cumsum(1).max()))
    return float(links), busiest
