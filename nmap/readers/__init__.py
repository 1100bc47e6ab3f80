"""Read networks: NIR and lava-dl netx files, told apart by content, and NIR graphs in memory."""

from __future__ import annotations

import os
from pathlib import Path

from nmap.diagnostics import Findings
from nmap.network import Network
from nmap.readers.conventions import Periodic, check_options
from nmap.readers.sniff import identify, open_tree

__all__ = ["read"]


def read(
    network: str | os.PathLike[str] | object, *, dt: float | None = None, reset: str | None = None, source: str | None = None,
    reset_interval: int | None = None, reset_offset: int | None = None,
) -> Network:
    """Read a network from a NIR or netx file, or from a NIR graph in memory.

    Args:
        network: the file's path; its format is told by its content, never by its suffix. Or a `nir.NIRGraph`, or what looks like one
            (see `nmap.readers.memory`): the result is that of the file `nir.write` would make of it, with `NIRGraph` for the
            file's name and the hash of the graph's content for the file's.
        dt: seconds per time step, over anything the file says.
        reset: `zero`, `subtract` or `delayed`, over anything the file says.
        source: the framework that wrote the file, whose conventions then stand in for what the file does not say
            (`nmap.readers.conventions.PRESETS`).
        reset_interval: steps after which the neurons' state is cleared again and again, see `nmap.network.Conventions`; 0 for never;
            over anything the file says.
        reset_offset: the input's step at which that begins; needs an interval.

    Raises:
        NmapError: NM004 for options without meaning, NM101 to NM112 for everything that is wrong with the file; all problems of
            a stage together.
    """
    findings = Findings()
    check_options(dt, reset, source, findings)
    periodic = Periodic(reset_interval, reset_offset)
    periodic.check(findings)
    findings.raise_errors()
    dt = None if dt is None else float(dt)
    # Few files are netx files and few networks in memory: one reader is all that most runs need.
    if not isinstance(network, str | os.PathLike):
        from nmap.readers.memory import tree_of
        from nmap.readers.nir import read_nir

        graph = tree_of(network, findings)
        return read_nir(graph, graph.sha256, dt=dt, reset=reset, source=source, periodic=periodic)
    with open_tree(Path(network), findings) as tree:
        if identify(tree) == "nir":
            from nmap.readers.nir import read_nir as reader
        else:
            from nmap.readers.netx import read_netx as reader
        return reader(tree, tree.sha256, dt=dt, reset=reset, source=source, periodic=periodic)
