"""Tell what a file is from its content; the suffix is no guide (`.h5` may be any of a dozen formats)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from nmap.diagnostics import Findings, NmapError
from nmap.readers.hdf5 import Group, Tree, printable
from nmap.readers.storage import Unaccepted, snapshot

__all__ = ["identify", "open_tree"]

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive (a .npz, a Keras .keras or a torch .pt file)"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x93NUMPY", "a NumPy .npy array"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"CDF\x01", "a netCDF 3 file"),
    (b"{", "a JSON file"),
    (b"<", "an XML or HTML file"),
)


def open_tree(path: Path, findings: Findings) -> Tree:
    """Open an HDF5 file.

    Args:
        path: the file.
        findings: receives the diagnostics met while reading.

    Raises:
        NmapError: NM101 where the file is absent, a folder, unreadable or not HDF5; NM102 for a Git LFS pointer; NM103 where
            an HDF5 file was cut short, is open for writing, or changes while it is read; NM109 and NM110 where it is beyond what
            the reader accepts.
    """
    name = str(path)
    try:
        if path.is_dir():
            findings.error("NM101", f"`{name}` is a folder, not a network file", where=name)
        elif not path.exists():
            findings.error("NM101", f"`{name}` does not exist", where=name)
        elif not path.is_file():
            findings.error("NM101", f"`{name}` is not a regular file", where=name)
        else:
            return _opened(path, name, findings)
    except Unaccepted as refusal:
        findings.error(refusal.code, f"`{name}` {refusal}", where=name, help=(refusal.help,) if refusal.help else ())
    except (OSError, ValueError) as error:
        findings.error("NM101", f"`{name}` cannot be opened", where=name, why=str(error))
    raise NmapError(findings.errors)


def _opened(path: Path, name: str, findings: Findings) -> Tree:
    content, superblock = snapshot(path)
    if superblock is None:
        _not_hdf5(name, content, findings)
    elif superblock.widths != (8, 8):
        findings.error(
            "NM109",
            f"`{name}` stores addresses and lengths in {superblock.widths} bytes, not in 8 as every exporter does",
            where=name,
        )
    elif superblock.open_for_writing:
        findings.error(
            "NM103",
            f"`{name}` was not closed by the program that wrote it",
            where=name,
            why="it is marked as open for writing, so what it holds may be incomplete",
            help=("wait until that program is done", "if it has died: `h5clear --status FILE`, of the HDF5 tools"),
        )
    else:
        try:
            return Tree(name, content, superblock.base, findings)
        except (OSError, RuntimeError, ValueError, LookupError) as error:
            findings.error(
                "NM103",
                f"`{name}` starts as an HDF5 file but is cut short or damaged",
                where=name,
                why=printable(str(error)),
                help=("copy or download the file again and compare its size with the original",),
            )
    raise NmapError(findings.errors)


def _not_hdf5(name: str, head: bytes, findings: Findings) -> None:
    if head.startswith(b"version https://git-lfs"):
        findings.error(
            "NM102",
            f"`{name}` is a Git LFS pointer, not the network itself",
            where=name,
            help=("run `git lfs pull` in the repository it came from",),
        )
    elif not head:
        findings.error("NM101", f"`{name}` is empty", where=name)
    else:
        kind = next((kind for signature, kind in _SIGNATURES if head.startswith(signature)), None)
        findings.error(
            "NM101",
            f"`{name}` is not an HDF5 file" + (f" but {kind}" if kind else ""),
            where=name,
            help=("export the network as NIR (`nir.write`) or as lava-dl netx (`export_hdf5`)",),
        )


def identify(tree: Tree) -> Literal["nir", "netx"]:
    """Return the format of an open HDF5 file.

    A NIR file has a root group `node` with `type` NIRGraph; a netx file has a root group `layer` with integer names.

    Raises:
        NmapError: NM102 naming what the file is instead; NM103 where a NIR file lacks its type.
    """
    root = tree.root
    node = root.group("node") if "node" in root else None
    if node is not None:
        kind = node.string("type") if "type" in node else None
        if kind == "NIRGraph":
            return "nir"
        if kind is None and ("nodes" in node or "edges" in node or "version" in root):
            tree.findings.error(
                "NM103", "the NIR graph lacks its entry `type`: the file was cut short while it was written", where=node.place("type")
            )
            tree.findings.raise_errors()
    layer = root.group("layer") if "layer" in root else None
    if layer is not None and any(name.isdecimal() for name in layer.names()):
        return "netx"
    tree.findings.error(
        "NM102",
        f"`{tree.name}` is {_other(root)}, not a network that nmap reads",
        where=tree.name,
        why=f"its root holds {', '.join(f'`{n}`' for n in root.names()[:8]) or 'nothing'}",
        help=("export the network as NIR (`nir.write`) or as lava-dl netx (`export_hdf5`)",),
    )
    raise NmapError(tree.findings.errors)


def _other(root: Group) -> str:
    names = set(root.names())
    if root.has_attribute("__type__"):
        return "a NIRData file (recorded or input data, not a network)"
    if root.has_attribute("model_config") or root.has_attribute("keras_version") or "model_weights" in names:
        return "a Keras model"
    if "_layer_checkpoint_dependencies" in names or {"layers", "vars"} <= names:
        return "a Keras weights file"
    if {"nodes", "edges"} & names and root.has_attribute("magic"):
        return "a SONATA network"
    if {"nodes", "edges"} <= names or ("edges" in names and root.is_group("edges")) or ("nodes" in names and root.is_group("nodes")):
        return "a SONATA network"
    if {"spikes", "labels"} <= names:
        return "a spike data set in the layout of SHD"
    if "spikes" in names and root.is_group("spikes"):
        return "a SONATA spike file"
    if "layer" in names:
        return "an HDF5 file with a group `layer` that lists no layers"
    if not names:
        return "an empty HDF5 file"
    return "an HDF5 file of an unknown kind"
