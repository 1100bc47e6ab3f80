"""Is everything there that nmap needs: interpreter, packages, solver, caches, plug-ins, vendors' software, and no name taken twice."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nmap.diagnostics import Check, Diagnostic, Exit, NmapError
from nmap.machine_code import cache_folder, refusal
from nmap.report.versions import PACKAGES, nmap_version, package_version
from nmap.target.backend import Vendored

__all__ = ["SCHEMA", "Check", "diagnose", "exit_status", "to_json", "to_text"]

SCHEMA = "nmap.doctor/1"


def diagnose() -> tuple[Check, ...]:
    """Look at everything; a check that fails never hides the others."""
    checks = [
        Check("nmap-snn", "ok", nmap_version()),
        Check("python", "ok" if sys.version_info >= (3, 10) else "broken", f"{platform.python_version()} ({sys.executable})"),
        Check("platform", "ok", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"),
    ]
    for name in PACKAGES:
        version = package_version(name)
        checks.append(Check(name, "broken", "not installed", f"pip install {name}") if version is None else Check(name, "ok", version))
    checks += [_guarded("solver", _solver), _guarded("numba cache", _numba_cache), _guarded("temporary folder", _temporary_folder)]
    checks += _plugins()
    checks += _names()
    return tuple(checks)


def exit_status(checks: tuple[Check, ...]) -> Exit:
    """Return OK, or MISSING where something nmap needs is broken."""
    return Exit.MISSING if any(check.state == "broken" for check in checks) else Exit.OK


def to_json(checks: tuple[Check, ...], command: Sequence[str] = ()) -> dict[str, Any]:
    """Return the object of `nmap doctor --format json`; `diagnostics` repeats what is broken as other commands would tell it.

    Args:
        checks: what was found.
        command: the words of the command line.
    """
    status = exit_status(checks)
    broken = (check for check in checks if check.state == "broken")
    found = (Diagnostic(_code(c.name), "error", f"{c.name}: {c.detail}", help=(c.help,) if c.help else ()) for c in broken)
    return {
        "schema": SCHEMA, "nmap": nmap_version(), "command": list(command), "status": "error" if status else "ok",
        "exit_status": int(status), "checks": [asdict(check) for check in checks], "diagnostics": [d.to_json() for d in found],
    }


def _code(name: str) -> str:
    """Return the code under which the catalogue has a broken check."""
    if name == "import name nmap":
        return "NM001"
    if name.startswith(("target", "partitioner")):
        return "NM002"
    return "NM601" if name in ("numba cache", "temporary folder") else "NM005"


def to_text(checks: tuple[Check, ...]) -> str:
    """Return one line per check, with a remedy below what needs one."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"  {check.state:<7} {check.name:<{width}}  {check.detail}")
        if check.help:
            lines.append(f"  {'':<7} {'':<{width}}  help: {check.help}")
    broken = sum(check.state == "broken" for check in checks)
    verdict = "everything nmap needs is there" if not broken else f"{broken} of {len(checks)} checks found something broken"
    return "\n".join([*lines, "", f"verdict: {verdict} (exit {int(exit_status(checks))})"]) + "\n"


def _guarded(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except Exception as error:
        # Whatever a broken installation raises is the finding itself.
        return Check(name, "broken", f"{type(error).__name__}: {error}".splitlines()[0])


def _solver() -> Check:
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    x, y = model.new_int_var(0, 9, "x"), model.new_int_var(0, 9, "y")
    model.add(2 * x + 3 * y <= 12)
    model.maximize(3 * x + 4 * y)
    solver = cp_model.CpSolver()
    solver.parameters.max_deterministic_time = 1.0
    solver.parameters.num_workers = 1
    # Otherwise CP-SAT takes Ctrl-C for itself, and leaves the process without Python's handler.
    solver.parameters.catch_sigint_signal = False
    status = solver.solve(model)
    # x = 6, y = 0: the optimum of the relaxation, 18, is integral.
    if status != cp_model.OPTIMAL or solver.objective_value != 18:
        return Check("solver", "broken", f"CP-SAT solves a two-variable problem as {solver.status_name(status)}", "reinstall ortools")
    return Check("solver", "ok", "CP-SAT proves the optimum of a small problem")


def _numba_cache() -> Check:
    folder, remedy = cache_folder(), "set NUMBA_CACHE_DIR to a folder of your own"
    if folder is None:
        return Check("numba cache", "broken", "there is no home folder", remedy)
    why = refusal(folder)
    if not why and not _writable(folder):
        why = f"{folder} cannot be written"
    if why:
        return Check("numba cache", "broken", f"{why}; every run compiles anew", remedy)
    return Check("numba cache", "ok", str(folder))


def _temporary_folder() -> Check:
    folder = Path(tempfile.gettempdir())
    return Check("temporary folder", "ok" if _writable(folder) else "broken", str(folder))


def _writable(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _plugins() -> list[Check]:
    from nmap.target.registry import find_partitioner, find_target, partitioner_names, target_names

    checks: list[Check] = []
    tools: dict[str, Check] = {}
    for kind, names, find in (("target", target_names(), find_target), ("partitioner", partitioner_names(), find_partitioner)):
        for name in names:
            try:
                found = find(name)
                if isinstance(found, Vendored):
                    # Targets of one family name the same software.
                    tools |= {tool.name: tool for tool in found.vendor_tools()}
                checks.append(Check(f"{kind} {name}", "ok", "loads"))
            except NmapError as error:
                checks += [Check(f"{kind} {name}", "broken", f"{d.message}: {d.why}") for d in error.diagnostics]
        if not names:
            checks.append(Check(f"{kind}s", "broken", "none is installed", "pip install --force-reinstall nmap-snn"))
    return [*tools.values(), *checks]


def _names() -> list[Check]:
    from nmap.cli.conflicts import name_conflicts, other_command

    checks = [Check("import name nmap", "broken", f"{d.message} ({d.where})", d.help[0]) for d in name_conflicts()]
    if not checks:
        checks.append(Check("import name nmap", "ok", "belongs to nmap-snn alone"))
    other = other_command()
    if other is None:
        checks.append(Check("command nmap", "ok", "no other on PATH"))
    else:
        checks.append(Check("command nmap", "ok", f"another one is {other}", "`nmap-snn` always means this one"))
    return checks
