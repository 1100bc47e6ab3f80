"""Make one virtual environment per framework of docs/export.md, `.venv-frameworks-NAME`, and keep it until the page changes it.

A framework that cannot be installed leaves the reason in `.venv-frameworks-NAME/failed`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.frameworks.recipes import Environment, environments

__all__ = ["folder_of", "make", "make_all", "python_of", "reason"]

_ROOT = Path(__file__).resolve().parents[2]
_MINUTES = 30


def folder_of(framework: str) -> Path:
    """Return the folder of a framework's environment."""
    return _ROOT / f".venv-frameworks-{framework}"


def python_of(framework: str) -> Path:
    """Return the interpreter of a framework's environment."""
    return folder_of(framework) / "bin" / "python"


def reason(environment: Environment) -> str | None:
    """Return why a framework cannot be run, or None where it can."""
    failed = folder_of(environment.framework) / "failed"
    if failed.exists():
        return failed.read_text(encoding="utf-8")
    if _stamp(environment) != _made_for(environment):
        return f"its environment is not made: run `make test-frameworks` (it needs Python {environment.python})"
    return None


def make(environment: Environment) -> str | None:
    """Make a framework's environment unless it is there; return why that failed, or None."""
    folder = folder_of(environment.framework)
    if _made_for(environment) == _stamp(environment) and not (folder / "failed").exists():
        return None
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    interpreter = _interpreter(environment.python)
    problem = f"no Python {environment.python} was found" if interpreter is None else None
    if interpreter is not None:
        pip = [str(python_of(environment.framework)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        problem = _run([interpreter, "-m", "venv", str(folder)]) or _run([*pip, *environment.packages])
    if problem is None:
        (folder / "made-for").write_text(_stamp(environment), encoding="utf-8")
    else:
        (folder / "failed").write_text(problem, encoding="utf-8")
    return problem


def _stamp(environment: Environment) -> str:
    return "\n".join((str(_ROOT), environment.python, *environment.packages))


def _made_for(environment: Environment) -> str | None:
    stamp = folder_of(environment.framework) / "made-for"
    return stamp.read_text(encoding="utf-8") if stamp.exists() else None


def _interpreter(version: str) -> str | None:
    """Return a Python of a version that runs, from the search path or a version manager's folder."""
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for candidate in (f"python{version}", *map(str, sorted(managed.glob(f"{version}.*/bin/python"))), "python3", "python"):
        found = shutil.which(candidate)
        told = "import sys, ensurepip, venv; print('%d.%d' % sys.version_info[:2])"
        # A version manager's stand-in is found and does not run.
        if found and subprocess.run([found, "-c", told], capture_output=True, text=True, check=False).stdout.strip() == version:
            return found
    return None


def _run(command: list[str]) -> str | None:
    """Run a command; return the last line it printed where it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * _MINUTES, check=False)
    except subprocess.TimeoutExpired:
        return f"`{' '.join(command[1:5])} ...` took more than {_MINUTES} minutes"
    if done.returncode == 0:
        return None
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else f"exit status {done.returncode}")


def make_all() -> None:
    """Make every environment of the page; say on stderr which could not be made."""
    for environment in environments():
        known = _made_for(environment) == _stamp(environment)
        if not known:
            print(f"making {folder_of(environment.framework).name}: {' '.join(environment.packages)}", file=sys.stderr)
        problem = make(environment)
        if problem is not None:
            print(f"{environment.framework} is skipped: {problem}", file=sys.stderr)

