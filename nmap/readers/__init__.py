"""Read networks: NIR and lava-dl netx, told apart by content."""

from __future__ import annotations

from pathlib import Path

from nmap.diagnostics import Findings
from nmap.digest import sha256_of
from nmap.network import Network
from nmap.readers.conventions import check_options
from nmap.readers.netx import read_netx
from nmap.readers.nir import read_nir
from nmap.readers.sniff import identify, open_tree

__all__ = ["read"]


def read(path: str | Path, *, dt: float | None = None, reset: str | None = None, source: str | None = None) -> Network:
    """Read a network from a NIR or netx file.

    Args:
        path: the file; its format is told by its content, never by its suffix.
        dt: seconds per time step, over anything the file says.
        reset: `zero`, `subtract` or `delayed`, over anything the file says.
        source: the framework that wrote the file, whose conventions then stand in for what the file does not say
            (`nmap.readers.conventions.PRESETS`).

    Raises:
        NmapError: NM004 for options without meaning, NM101 to NM111 for everything that is wrong with the file; all problems of
            a stage together.
    """
    findings = Findings()
    check_options(dt, reset, source, findings)
    findings.raise_errors()
    with open_tree(Path(path), findings) as tree:
        kind = identify(tree)
        sha256 = sha256_of(Path(path))
        if kind == "nir":
            return read_nir(tree, sha256, dt=dt, reset=reset, source=source)
        return read_netx(tree, sha256, dt=dt, reset=reset, source=source)
