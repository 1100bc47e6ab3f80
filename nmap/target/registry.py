"""Find installed plug-ins. A broken plug-in is a diagnostic and never hides the others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from nmap.diagnostics import Diagnostic, Exit, NmapError
from nmap.partition.partitioner import Partitioner
from nmap.target.backend import Target

__all__ = ["broken_plugins", "find_partitioner", "find_target", "partitioner_names", "target_names"]


def _points(group: str) -> dict[str, EntryPoint]:
    return _listed(entry_points, group, tuple(sys.path))


@lru_cache(maxsize=8)
def _listed(find: Callable[..., Iterable[EntryPoint]], group: str, path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Return what is found on a path: `find` reads the metadata of everything installed there, 10 ms each time."""
    del path
    return {point.name: point for point in sorted(find(group=group), key=lambda p: p.name)}


def target_names() -> tuple[str, ...]:
    """Names of the installed targets."""
    return tuple(_points("nmap.targets"))


def partitioner_names() -> tuple[str, ...]:
    """Names of the installed partitioners."""
    return tuple(_points("nmap.partitioners"))


def find_target(name: str) -> Target:
    """Return an installed target, by its name or by another name that a plug-in gives it.

    Raises:
        NmapError: NM003 unknown name, NM002 the plug-in cannot be loaded.
    """
    if name not in target_names():
        alias = _points("nmap.target_aliases").get(name)
        name = name if alias is None else alias.value
    target = _load("nmap.targets", "target", name, Target)
    assert isinstance(target, Target)
    return target


def find_partitioner(name: str) -> Partitioner:
    """Return an installed partitioner.

    Raises:
        NmapError: NM003 unknown name, NM002 the plug-in cannot be loaded.
    """
    partitioner = _load("nmap.partitioners", "partitioner", name, Partitioner)
    assert isinstance(partitioner, Partitioner)
    return partitioner


def _load(group: str, kind: str, name: str, contract: type) -> Any:
    points = _points(group)
    if name not in points:
        close = get_close_matches(name, points, 1)
        raise NmapError(Diagnostic(
            "NM003", "error", f"no {kind} `{name}` is installed", why=f"Installed: {', '.join(points) or 'none'}.",
            help=(f"did you mean `{close[0]}`?",) if close else (),
        ))
    try:
        plugin = points[name].load()
    except Exception as error:
        raise NmapError(_broken(kind, points[name], f"{type(error).__name__}: {error}"), Exit.MISSING) from error
    if not isinstance(plugin, contract):
        raise NmapError(_broken(kind, points[name], f"it does not implement nmap's {contract.__name__} contract"), Exit.MISSING)
    return plugin


def _broken(kind: str, point: EntryPoint, why: str) -> Diagnostic:
    return Diagnostic("NM002", "error", f"the {kind} plug-in `{point.name}` ({point.value}) cannot be loaded", why=why)


def broken_plugins() -> tuple[Diagnostic, ...]:
    """Return one diagnostic per installed plug-in that cannot be loaded."""
    found: list[Diagnostic] = []
    for names, find in ((target_names(), find_target), (partitioner_names(), find_partitioner)):
        for name in names:
            try:
                find(name)
            except NmapError as error:
                found.extend(error.diagnostics)
    return tuple(found)
