"""Damage network files at random, and read them in watched processes.

A mutation is a function of the seed file's bytes and a number, so that every one can be replayed:

    python tests/property/fuzzing.py FILE NUMBER [MUTANT]      read mutation NUMBER of FILE; keep it as MUTANT
    python tests/property/fuzzing.py                           read `FILE<tab>NUMBER` lines from stdin, answer with JSON lines

A third of the mutations change bytes, a third change the structure (valid HDF5, senseless network), a third do both.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import random
import resource
import selectors
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

TIMEOUT_S = 30.0
MEMORY_BYTES = 6 * 2**30
IMPORTED_FROM = (str(Path(__file__).resolve().parents[2]),)
"""Folders in which a watched process looks for `nmap` first."""
_BLOCKS = (b"TREE", b"SNOD", b"HEAP", b"GCOL", b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"BTHD", b"BTLF", b"\x89HDF")
_NUMBERS = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
_NAMES = (
    b"", b".", b"..", b"/", b"a/b", b"0", b"00", b"-1", b"1.0", b"10000000000000000000000", b":input", b"input", b"output", b"in.out",
    b"caf\xe9", "\u202etxt".encode(), b"\x1b[2J\x1b[31mred", b"new\nline", b"tab\t", b"[bold]", b"`", "\u5c3e".encode(),
    b"x" * 2000, b"type", b"nodes", b"edges", b"weight", b"shape", b"metadata",
)  # fmt: skip
_TYPES = (
    *("Input", "Output", "Affine", "Linear", "Scale", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten", "Delay", "Threshold"),
    *("I", "IF", "LI", "LIF", "CubaLI", "CubaLIF", "NIRGraph"),
    *("input", "dense", "conv", "pool", "flatten", "average", "convT", "dense_rec", "concat", "add"),
    *("CUBA", "LOIHI", "ALIF", "RF", "RF_PHASE", "ADRF", "ADRF_IZ", "RF_IZ", "SDNN", "Sigma", "Delta"),
    *("", " ", "lif", "\x1b[31m", "None"),
)
_VALUES = (0.0, -0.0, 1.0, -1.0, 1e-300, 1e300, -1e300, np.nan, np.inf, -np.inf, 2.0**31, 2.0**53, 2.0**63, 1e-4, 0.5, 3.0)
_GROWN = 2**22
_DTYPES = ("f2", "f4", "f8", ">f4", ">f8", "i1", "u1", "i2", ">i2", "i8", "u8", "?", "c8", "g", "S4", "V3")


# Bytes


@cache
def _metadata_ranges(content: bytes) -> tuple[tuple[int, int], ...]:
    """Return (start, length) of what is no raw data, by the block's signature, and the places between them."""
    data: list[tuple[int, int]] = []
    with h5py.File(io.BytesIO(content), "r") as file:

        def note(_: str, member: Any) -> None:
            if isinstance(member, h5py.Dataset) and member.id.get_offset() and member.id.get_storage_size() > 256:
                data.append((member.id.get_offset(), member.id.get_storage_size()))

        file.visititems(note)
    ranges, position = [], 0
    for start, length in sorted(data):
        if start > position:
            ranges.append((position, start - position))
        position = max(position, start + length)
    ranges.append((position, max(1, len(content) - position)))
    return tuple(ranges)


def _somewhere(rng: random.Random, content: bytearray, ranges: tuple[tuple[int, int], ...]) -> int:
    if rng.random() < 0.15 or not content:
        return rng.randrange(max(1, len(content)))
    if rng.random() < 0.3:
        at = content.find(rng.choice(_BLOCKS), rng.randrange(len(content)))
        if at >= 0:
            return min(at + rng.randrange(96), len(content) - 1)
    start, length = rng.choices(ranges, [r[1] for r in ranges])[0]
    return min(start + rng.randrange(length), len(content) - 1)


def mutate_bytes(rng: random.Random, seed: bytes) -> bytes:
    """Return a file with a few bytes, numbers or stretches changed."""
    ranges, content = _metadata_ranges(seed), bytearray(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 12))):
        at, kind = _somewhere(rng, content, ranges), rng.randrange(12)
        if kind < 3:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 3:
            content[at] = rng.choice((0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
        elif kind < 7:
            # A whole number where the format keeps them: addresses and lengths lie at multiples of 8 from a block's start.
            width = rng.choice((1, 2, 4, 8, 8))
            at -= at % rng.choice((1, width))
            old = int.from_bytes(content[at : at + width], "little")
            near = old + rng.choice((-8, -1, 1, 8, 16))
            value = rng.choice((rng.choice(_NUMBERS), near, len(content), rng.randrange(len(content)), old * 2))
            content[at : at + width] = (value % 256**width).to_bytes(width, "little")
        elif kind == 7:
            length = rng.randrange(1, 64)
            content[at : at + length] = bytes([rng.choice((0, 0xFF, rng.randrange(256)))]) * min(length, len(content) - at)
        elif kind == 8:
            source, length = _somewhere(rng, content, ranges), rng.choice((8, 16, 24, 40, 128, 544))
            piece = bytes(content[source : source + length])
            content[at : at + len(piece)] = piece
        elif kind == 9 and rng.random() < 0.4:
            del content[at : at + rng.choice((1, 4, 8, 100))]
        elif kind == 10 and rng.random() < 0.4:
            content[at:at] = rng.randbytes(rng.choice((1, 4, 8, 100)))
        elif kind == 11 and rng.random() < 0.4:
            del content[rng.choice((at, rng.randrange(len(content)))) :]
        if not content:
            break
    return bytes(content)


# Structure


def _datasets(file: Any) -> tuple[list[str], list[str]]:
    """Return the paths of all groups and of all datasets."""
    groups, data = ["/"], []

    def note(name: str, member: Any) -> None:
        (data if isinstance(member, h5py.Dataset) else groups).append(f"/{name}")

    file.visititems(note)
    return groups, data


def _put(file: Any, path: str, value: Any, **options: Any) -> None:
    if path in file:
        del file[path]
    if isinstance(value, str):
        options.setdefault("dtype", h5py.string_dtype())
    file.create_dataset(path, data=value, **options)


def _values(file: Any, path: str) -> Any:
    return np.array(file[path][()], np.float64)


def _any_values(rng: random.Random, file: Any, path: str) -> None:
    values = _values(file, path)
    if rng.random() < 0.5:
        values = np.full(values.shape, rng.choice(_VALUES))
    elif values.size:
        values.reshape(-1)[rng.randrange(values.size)] = rng.choice(_VALUES)
    _put(file, path, values)


def _any_integers(rng: random.Random, file: Any, path: str) -> None:
    values = file[path][()]
    shape = np.shape(values)
    _put(file, path, np.full(shape, rng.choice((0, -1, 1, 2, 3, 31, 2**15, 2**20, 2**31, 2**62, 2**63 - 1)), np.int64))


def _any_shape(rng: random.Random, file: Any, path: str) -> None:
    values = _values(file, path)
    choices: tuple[Callable[[], Any], ...] = (
        lambda: values.reshape(-1),
        lambda: values.reshape((1, *values.shape)),
        lambda: values.reshape((*values.shape, 1)),
        lambda: values.T,
        lambda: values[..., :0],
        lambda: values[:0],
        lambda: values[: max(1, len(values) // 2)],
        lambda: np.concatenate([values, values]),
        lambda: values.reshape(-1)[0],
        lambda: values.reshape((1,) * rng.choice((5, 8, 9, 31)) + (-1,)),
        lambda: np.zeros((0, 2**40)),
        lambda: h5py.Empty("f8"),
        lambda: values.reshape(-1)[:1],
        lambda: values.reshape((-1, 1)),
    )
    _put(file, path, rng.choice(choices)())


def _any_dtype(rng: random.Random, file: Any, path: str) -> None:
    dtype = rng.choice(_DTYPES)
    values = file[path][()]
    _put(file, path, np.zeros(np.shape(values), dtype) if dtype[0] in "V" else np.array(values).astype(dtype))


def _any_storage(rng: random.Random, file: Any, path: str) -> None:
    values = file[path][()]
    options: dict[str, Any] = {"dtype": h5py.string_dtype()} if file[path].dtype.kind == "O" else {}
    single = ({}, {"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True}, {"fletcher32": True})
    filters: dict[str, Any] = rng.choice(single)
    if rng.random() < 0.3:
        filters = {"compression": "gzip", "shuffle": True, "fletcher32": True}
    shape = np.shape(values)
    chunks = tuple(max(1, n // rng.choice((1, 2, 3))) for n in shape)
    if rng.random() < 0.2:
        # Declared, never written: h5py would make a whole chunk of gigabytes.
        chunks = tuple(rng.choice((1, 2**10, 2**20, 2**28)) for _ in shape)
        del file[path]
        file.create_dataset(path, shape, "f4", maxshape=(None,) * len(shape), chunks=chunks, **filters)
    else:
        _put(file, path, values, chunks=chunks, **filters, **options)


def _other_type(rng: random.Random, file: Any, path: str) -> None:
    if not path.endswith("/type"):
        path = f"{path.rpartition('/')[0]}/type"
    kind = rng.choice(_TYPES)
    _put(file, path, np.array([kind.encode()], "S16") if rng.random() < 0.3 else kind)


def _other_edges(rng: random.Random, file: Any, groups: list[str]) -> None:
    graph = rng.choice([g for g in groups if f"{g}/edges" in file])
    edges = [[str(end, "utf-8", "replace") for end in edge] for edge in file[f"{graph}/edges"][()]]
    names = [*file.get(f"{graph}/nodes", {}), "nowhere", "", "\x1b[31m"]
    for _ in range(rng.randrange(1, 4)):
        kind = rng.randrange(7)
        if kind == 0:
            rng.shuffle(edges)
        elif kind == 1 and edges:
            edges.append(rng.choice(edges))
        elif kind == 2:
            edges.append([rng.choice(names), rng.choice(names)])
        elif kind == 3 and edges:
            edges.pop(rng.randrange(len(edges)))
        elif kind == 4 and edges:
            rng.choice(edges)[rng.randrange(2)] = rng.choice(names)
        elif kind == 5 and edges:
            rng.choice(edges).reverse()
        else:
            name = rng.choice(names)
            edges.append([name, name])
    stored = np.array(edges, object).reshape(-1, 2)
    if rng.random() < 0.1:
        stored = stored[:, : rng.randrange(2)]
    chunked = {"chunks": (1, 2), "compression": "gzip"} if rng.random() < 0.2 and stored.shape[0] and stored.shape[1] == 2 else {}
    _put(file, f"{graph}/edges", stored, dtype=h5py.string_dtype(), **chunked)


def _nested(rng: random.Random, file: Any, groups: list[str]) -> None:
    """Put a graph, or the whole file, inside a node."""
    graphs = [g for g in groups if f"{g}/nodes" in file]
    inner, outer = rng.choice(graphs), rng.choice(graphs)
    name = rng.choice([*file[f"{outer}/nodes"], "sub"])
    copy = io.BytesIO()
    with h5py.File(copy, "w") as other:
        file.copy(inner, other, "copy")
        if f"{outer}/nodes/{name}" in file:
            del file[f"{outer}/nodes/{name}"]
        other.copy("copy", file[f"{outer}/nodes"], name)


def _link(rng: random.Random, file: Any, groups: list[str], path: str) -> None:
    target = rng.choice((*groups, path, "/nowhere", path.rpartition("/")[0] or "/"))
    kind = rng.randrange(5)
    if kind == 0:
        del file[path]
        file[path] = h5py.SoftLink(target)
    elif kind == 1:
        del file[path]
        file[path] = h5py.ExternalLink("/dev/null", target)
    elif kind == 2:
        file[f"{rng.choice(groups)}/again"] = file[target]
    elif kind == 3:
        member = file[target]
        del file[path]
        file[path] = member
    else:
        parent = file[path].parent.id
        parent.links.create_hard(rng.choice(_NAMES), parent, path.rpartition("/")[2].encode())


def _swap(rng: random.Random, file: Any, paths: list[str]) -> None:
    first, second = rng.choice(paths), rng.choice(paths)
    file.move(first, "/swap")
    file.move(second, first)
    file.move("/swap", second)


def _rename(rng: random.Random, file: Any, path: str) -> None:
    parent, name = path.rpartition("/")[0] or "/", path.rpartition("/")[2]
    new = rng.choice((*_NAMES, *file[parent].id, b"type", *(str(k).encode() for k in range(4))))
    group = file[parent].id
    group.links.move(name.encode(), group, new)


def _attributes(rng: random.Random, file: Any, path: str) -> None:
    for k in range(rng.choice((1, 1, 20))):
        file[path].attrs[f"a{k}"] = rng.choice((1.0, "text", np.arange(100), ["a", "b"], h5py.Empty("f4")))


def _grow(rng: random.Random, file: Any, data: list[str]) -> None:
    """Make everything larger together, so that it still fits: inputs, kernels, windows, paddings, matrices."""
    factor = rng.choice((2, 3, 5, 10, 40, 150, 400))
    growing = ("kernel_size", "padding", *rng.choice(((), (), (), ("stride",), ("dilation",))))
    for path in data:
        entry, values = path.rpartition("/")[2], np.asarray(file[path][()])
        kind = file.get(f"{path.rpartition('/')[0]}/type")
        port = kind is not None and np.ravel(kind[()])[0] in (b"Input", b"input")
        if entry == "shape" and port:
            _put(file, path, np.array([n if k == 0 and np.size(values) > 1 else n * factor for k, n in enumerate(np.ravel(values))]))
        elif entry in growing and np.issubdtype(values.dtype, np.integer):
            _put(file, path, values * factor)
        elif entry in ("weight", "weight_rec") and values.ndim in (2, 4) and values.size * factor**2 <= _GROWN:
            _put(file, path, np.ones((*values.shape[:-2], *(n * factor for n in values.shape[-2:])), np.float32), compression="gzip")
        elif entry not in ("shape", "type", "edges") and values.dtype.kind == "f" and values.size > 1:
            _put(file, path, values.reshape(-1)[0])
        elif entry == "shape":
            del file[path]


def _window(rng: random.Random, file: Any, data: list[str]) -> None:
    """Give one window, kernel or stride another size, with the padding that belongs to it."""
    nodes = sorted({path.rpartition("/")[0] for path in data if path.endswith(("/kernel_size", "/stride"))})
    node = rng.choice(nodes)
    size = rng.choice((1, 2, 3, 16, 255, 1000, 5000, 30_000, 2**20, 2**31 - 2))
    pair = [size, rng.choice((1, size))]
    half = [n // 2 for n in pair]
    if f"{node}/kernel_size" in file:
        _put(file, f"{node}/kernel_size", np.array(pair))
    elif f"{node}/weight" in file and file[f"{node}/weight"].ndim == 4 and prod(pair) <= _GROWN:
        channels = file[f"{node}/weight"].shape[:2]
        _put(file, f"{node}/weight", np.ones((*channels, *pair), np.int8), compression="gzip")
    if rng.random() < 0.7:
        _put(file, f"{node}/stride", np.array(rng.choice((pair, [1, 1], [2**20, 2**20]))))
    if rng.random() < 0.7:
        _put(file, f"{node}/padding", np.array(half))


def mutate_structure(rng: random.Random, seed: bytes) -> bytes:
    """Return a valid HDF5 file whose network is another, or none."""
    stream = io.BytesIO(seed)
    with h5py.File(stream, "r+") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(rng.choice((1, 1, 2, 3))):
            groups, data = _datasets(file)
            # Datasets of one value are rarer in real files than in what people get wrong.
            path, member = rng.choice(data or groups), rng.choice([*data, *groups[1:]] or groups)
            changes: tuple[Callable[[], Any], ...] = (
                lambda path=path: _any_values(rng, file, path),
                lambda path=path: _any_integers(rng, file, path),
                lambda path=path: _any_shape(rng, file, path),
                lambda path=path: _any_dtype(rng, file, path),
                lambda path=path: _any_storage(rng, file, path),
                lambda path=path: _other_type(rng, file, path),
                lambda groups=groups: _other_edges(rng, file, groups),
                lambda groups=groups: _nested(rng, file, groups),
                lambda groups=groups, member=member: _link(rng, file, groups, member),
                lambda groups=groups, data=data: _swap(rng, file, [*data, *groups[1:]]),
                lambda member=member: _rename(rng, file, member),
                lambda member=member: file.__delitem__(member),
                lambda member=member: file.copy(member, f"{member}2"),
                lambda member=member: _attributes(rng, file, member),
                lambda data=data: _grow(rng, file, data),
                lambda data=data: _window(rng, file, data),
            )
            try:
                rng.choice(changes)()
            except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, OverflowError):
                continue  # not every change applies to every file
    return stream.getvalue()


def mutant(seed: bytes, number: int) -> bytes:
    """Return mutation `number` of a seed file."""
    rng = random.Random(number)
    if number % 3 != 0:
        seed = mutate_structure(rng, seed)
    return mutate_bytes(rng, seed) if number % 3 != 1 else seed


def _builders() -> Any:
    """Return the module that writes networks for tests; by its place, since an installed package may be called `tests` too."""
    spec = importlib.util.spec_from_file_location("builders", Path(__file__).resolve().parents[1] / "unit" / "readers" / "builders.py")
    if spec is None or spec.loader is None:
        raise ImportError("tests/unit/readers/builders.py is not there")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_seeds(folder: Path) -> list[Path]:
    """Write small networks of every layout into a folder, and return their paths; no other data is needed."""
    layer = _builders()
    chain, port, sink, linear, lif, if_, cuba = layer.chain, layer.port, layer.sink, layer.linear, layer.lif, layer.if_, layer.cuba
    write_graph, write_netx, write_nir = layer.write_graph, layer.write_netx, layer.write_nir

    ones = np.ones
    dense = {"in": port(3), "w": linear(ones((4, 3))), "n": lif(4), "r": layer.affine(ones((4, 4)), ones(4)), "m": if_(4), "out": sink(4)}
    edges = [*chain("in", "w", "n", "m", "out"), ("n", "r"), ("r", "n")]
    grid = {
        "in": port(1, 8, 8), "c": layer.conv(ones((2, 1, 3, 3)), padding=1, bias=ones(2)), "n": if_((2, 8, 8)),
        "p": layer.pool("Avg", 2, 2), "f": layer.flatten(), "w": linear(ones((3, 32))), "m": lif(3), "out": sink(3),
    }  # fmt: skip
    inner = {"type": "NIRGraph", "nodes": {"input": port(4), "n": lif(4), "output": sink(4)}, "edges": chain("input", "n", "output")}
    images = {
        "in": port(1, 12, 12), "c": layer.conv(ones((1, 1, 3, 3)), padding=[1, 1], bias=ones(1)), "p": layer.pool("Sum", [3, 3], [1, 1]),
        "d": layer.conv(ones((1, 1, 2, 2)), padding=[1, 1]), "s": layer.scale(2.0), "a": layer.pool("Avg", [2, 2], [2, 2], [1, 1]),
        "n": {"type": "IF", "r": 1e4, "v_threshold": 1.0}, "b": layer.pool("Avg", [2, 2], [1, 1]),
        "e": layer.conv(ones((1, 1, 2, 2))), "m": {"type": "IF", "r": 1e4, "v_threshold": 1.0}, "out": sink(1, 4, 4),
    }  # fmt: skip
    nested = {"in": port(3), "w": linear(ones((4, 3))), "g": inner, "out": sink(4)}
    seeds = [
        write_nir(folder / "dense.nir", dense, edges, {"dt": 1e-4, "reset_mechanism": "zero"}),
        write_nir(folder / "grid.nir", grid, chain("in", "c", "n", "p", "f", "w", "m", "out")),
        write_nir(folder / "nested.nir", nested, chain("in", "w", "g", "out")),
        write_nir(folder / "images.nir", images, chain("in", "c", "p", "d", "s", "a", "n", "b", "e", "m", "out")),
        write_netx(folder / "dense.net", [
            {"type": "input", "shape": [4]},
            {"type": "dense", "shape": [3], "weight": ones((3, 4)), "delay": ones(4), "neuron": cuba()},
            {"type": "dense", "shape": [2], "weight": ones((2, 3)), "bias": ones(2), "neuron": cuba(i_decay=ones(2))},
        ]),
        write_netx(folder / "grid.net", [
            {"type": "input", "shape": [1, 8, 8], "neuron": cuba()},
            {"type": "conv", "shape": [2, 4, 4], "weight": ones((2, 1, 3, 3)), "stride": [2, 2], "padding": [1, 1], "dilation": [1, 1],
             "groups": 1, "neuron": cuba()},
            {"type": "flatten", "shape": [32]},
            {"type": "dense", "shape": [2], "weight": ones((2, 32)), "neuron": cuba()},
        ]),
    ]  # fmt: skip
    latest = folder / "latest.nir"
    with h5py.File(latest, "w", libver="latest", userblock_size=512) as file:
        write_graph(file.create_group("node"), dense, edges)
    packed = folder / "packed.nir"
    with h5py.File(seeds[0]) as old, h5py.File(packed, "w", track_order=True) as new:
        old.copy("node", new)
        for path in _datasets(new)[1]:
            values = new[path][()]
            if np.ndim(values):
                text = {"dtype": h5py.string_dtype()} if values.dtype.kind == "O" else {}
                del new[path]
                new.create_dataset(path, data=values, compression="gzip", shuffle=True, chunks=values.shape, **text)
    return [*seeds, latest, packed]


# Reading

_OPTIONS: tuple[dict[str, Any], ...] = ({}, {}, {"dt": 1e-4}, {"dt": 1.0, "reset": "subtract"}, {"reset": "delayed"}, {"source": "norse"})
_SMALL = 20_000, 2_000_000


def outcome(path: Path, number: int) -> list[str]:
    """Read a file; return `network`, or the codes of the refusal.

    Raises:
        AssertionError, Exception: the reader's fault.
    """
    from nmap.diagnostics import NmapError
    from nmap.readers import read

    options = _OPTIONS[number // 3 % len(_OPTIONS)]
    try:
        network = read(path, **options)
    except NmapError as error:
        refusal = error
    else:
        _judge(network)
        return ["network"]
    found = refusal.diagnostics
    shown = [text for d in found for text in (d.message, d.where or "", d.why or "", *d.help)]
    if not found or any(not d.code.startswith("NM1") for d in found) or not all(map(str.isprintable, shown)):
        raise AssertionError(f"not a proper refusal: {found}")
    return sorted({d.code for d in found})


def _judge(network: Any) -> None:
    """Check a network, and run it for two steps where it is small."""
    from nmap.diagnostics import NmapError
    from nmap.simulate.floating import simulate

    network.check()
    shown = [*network.notes, *map(str, network.assumptions), *(p.name for p in (*network.populations, *network.projections))]
    shown += [text for d in network.diagnostics for text in (d.message, d.where or "", d.why or "")]
    if not all(map(str.isprintable, shown)):
        raise AssertionError(f"not printable: {shown}")
    inputs = {name: network[name] for name in network.inputs}
    if network.neurons > _SMALL[0] or network.synapses > _SMALL[1] or sum(p.size for p in inputs.values()) > _SMALL[0]:
        return
    ones = {name: np.ones((1, 2, *population.shape)) for name, population in inputs.items()}
    try:
        simulate(network, ones if len(ones) > 1 else next(iter(ones.values())), steps=2)
    except NmapError as error:
        if any(not d.code.startswith("NM8") for d in error.diagnostics):
            raise


def _worker() -> None:
    """Answer `FILE<tab>NUMBER` lines with JSON lines."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory(prefix="nmap-fuzz-") as folder:
        path, seeds = Path(folder) / "mutant.h5", {}
        for line in sys.stdin:
            name, number = line.rstrip("\n").split("\t")
            content = mutant(seeds.setdefault(name, Path(name).read_bytes()), int(number))
            path.write_bytes(content)
            start = time.perf_counter()
            answer: dict[str, Any] = {"fault": None}
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    answer["outcome"] = outcome(path, int(number))
            except Exception:  # the fault that is looked for
                answer["fault"] = traceback.format_exc()
            answer["seconds"] = time.perf_counter() - start
            answer["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


@dataclass(slots=True)
class Result:
    """What became of one mutation.

    Args:
        seed: the seed file.
        number: the mutation.
        outcome: `network` or diagnostic codes; empty where `fault` is set.
        fault: a traceback, or how the process ended; None for a proper outcome.
        seconds: time taken to read it.
        peak: peak memory of the process so far, in bytes.
    """

    seed: Path
    number: int
    outcome: list[str] = field(default_factory=list)
    fault: str | None = None
    seconds: float = 0.0
    peak: int = 0

    @property
    def replay(self) -> str:
        """The command that repeats it."""
        return f"python tests/property/fuzzing.py {self.seed} {self.number} /tmp/mutant.h5"


class _Process:
    def __init__(self) -> None:
        self.task: tuple[Path, int] | None = None
        self.since = 0.0
        self.popen = self._start()

    def _start(self) -> subprocess.Popen[str]:
        paths = [*IMPORTED_FROM, *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip

    def give(self, seed: Path, number: int) -> None:
        assert self.popen.stdin is not None
        self.task, self.since = (seed, number), time.monotonic()
        self.popen.stdin.write(f"{seed}\t{number}\n")
        self.popen.stdin.flush()

    def stop(self) -> int:
        for stream in (self.popen.stdin, self.popen.stdout):
            assert stream is not None
            stream.close()
        self.popen.kill()
        return self.popen.wait()


def run(tasks: Iterable[tuple[Path, int]], processes: int = 2, timeout: float = TIMEOUT_S) -> Iterator[Result]:
    """Read mutations in watched processes; a process that crashes or hangs is a fault, and is started anew.

    Args:
        tasks: seed file and number of each mutation.
        processes: how many at a time.
        timeout: seconds after which a mutation counts as hanging.
    """
    waiting = iter(tasks)
    with selectors.DefaultSelector() as selector:
        busy: list[_Process] = []

        def feed(process: _Process) -> None:
            task = next(waiting, None)
            if task is None:
                process.stop()
                busy.remove(process)
            else:
                process.give(*task)
                selector.register(process.popen.stdout, selectors.EVENT_READ, process)  # type: ignore[arg-type]

        for _ in range(processes):
            busy.append(_Process())
            feed(busy[-1])
        try:
            while busy:
                ready = {key.data for key, _ in selector.select(0.5)}
                for process in [*busy]:
                    hangs = time.monotonic() - process.since > timeout
                    if process not in ready and not hangs:
                        continue
                    assert process.task is not None
                    assert process.popen.stdout is not None
                    selector.unregister(process.popen.stdout)
                    line = process.popen.stdout.readline() if process in ready else ""
                    if line:
                        yield Result(*process.task, **{"outcome": [], **json.loads(line)})
                    else:
                        status = process.popen.wait() if process in ready else None
                        process.stop()
                        fault = f"no answer after {timeout:.0f} s" if status is None else f"the process died with status {status}"
                        yield Result(*process.task, fault=fault, seconds=time.monotonic() - process.since)
                        process.popen = process._start()
                    feed(process)
        finally:
            for process in busy:
                process.stop()


def main() -> None:
    """Replay one mutation, or work for `run`."""
    if len(sys.argv) < 3:
        _worker()
        return
    content, number = mutant(Path(sys.argv[1]).read_bytes(), int(sys.argv[2])), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[3]) if len(sys.argv) > 3 else Path(folder) / "mutant.h5"
        path.write_bytes(content)
        sys.stdout.write(f"{outcome(path, number)}\n")


if __name__ == "__main__":
    main()
