"""Compile a trained spiking network to a neuromorphic chip, and prove on a bit-accurate emulator that it computes the same spikes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nmap.api import Deployment, check, deploy, export, read, run, verify, write
    from nmap.diagnostics import Diagnostic, NmapError
    from nmap.network import Network
    from nmap.options import Options
    from nmap.report.model import ModelResult, RunResult
    from nmap.target.registry import target_names as targets

__all__ = [
    "Deployment", "Diagnostic", "ModelResult", "Network", "NmapError", "Options", "RunResult", "check", "deploy", "export", "read", "run",
    "targets", "verify", "write",
]

# Resolved on first use, so that `nmap --help` does not wait for h5py, numba and ortools.
_HOME = {
    "Deployment": ("nmap.api", "Deployment"), "check": ("nmap.api", "check"), "deploy": ("nmap.api", "deploy"),
    "export": ("nmap.api", "export"),
    "read": ("nmap.api", "read"), "run": ("nmap.api", "run"), "verify": ("nmap.api", "verify"),
    "write": ("nmap.api", "write"),
    "Diagnostic": ("nmap.diagnostics", "Diagnostic"), "NmapError": ("nmap.diagnostics", "NmapError"),
    "Network": ("nmap.network", "Network"), "Options": ("nmap.options", "Options"), "RunResult": ("nmap.report.model", "RunResult"),
    "ModelResult": ("nmap.report.model", "ModelResult"),
    "targets": ("nmap.target.registry", "target_names"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from nmap.report.versions import nmap_version

        return nmap_version()
    if name not in _HOME:
        raise AttributeError(f"module `nmap` has no attribute `{name}`")
    module, attribute = _HOME[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
