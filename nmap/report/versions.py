"""Versions of nmap and of what its results depend on, read without importing any of it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["DISTRIBUTION", "PACKAGES", "nmap_version", "package_version", "package_versions"]

DISTRIBUTION = "nmap-snn"
PACKAGES = ("numpy", "h5py", "ortools", "numba", "networkx")
"""Packages whose version may change a result."""


def package_version(name: str) -> str | None:
    """Return the installed version of a distribution, or None when it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def nmap_version() -> str:
    """Return nmap's version; `unknown` when it runs from a source tree that is not installed."""
    return package_version(DISTRIBUTION) or "unknown"


def package_versions() -> dict[str, str | None]:
    """Return the versions a result depends on: nmap, Python and `PACKAGES`; None for a package that is not installed."""
    return {"nmap": nmap_version(), "python": platform.python_version(), **{name: package_version(name) for name in PACKAGES}}
