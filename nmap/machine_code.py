"""Where machine code is kept between runs, and when it may be used again.

numba itself keeps machine code under the path of the source and takes it back while that one file is unchanged. That recompiles everything
when a package is installed again, and misses a change in another file whose functions were compiled in. Here an entry is found by what it
was made from, see `Recipe`; the folder may be deleted at any time.

An entry is code that is run, so a folder that others can write to is not used. This module imports no numba.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from types import CodeType
from typing import Any

__all__ = ["Recipe", "cache_folder", "refusal"]

_Function = Callable[..., Any]

_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]*(\([^)]*\)|[^\n]*)|import[ \t]+([^\n]*))", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z_][\w.]*")
_VERSIONED = ("numba", "llvmlite", "numpy")
_SETTINGS = (
    "NUMBA_BOUNDSCHECK", "NUMBA_CPU_FEATURES", "NUMBA_CPU_NAME", "NUMBA_DEBUGINFO", "NUMBA_DISABLE_INTEL_SVML", "NUMBA_ENABLE_AVX",
    "NUMBA_LOOP_VECTORIZE", "NUMBA_OPT", "NUMBA_SLP_VECTORIZE",
)
"""Environment variables of numba that change the code it makes."""
_IN_HOME = {"darwin": "Library/Caches", "win32": "AppData/Local"}
"""Where each system keeps caches below the home folder; elsewhere in .cache."""
_DIGEST = sha256().digest_size
_VERSIONS_KEPT = 8
"""Entries of one module's earlier sources, or of other versions and settings, that stay."""
_DAYS_KEPT = 90
_DAY = 86400


def cache_folder() -> Path | None:
    """Return the folder for machine code, which need not exist, in NUMBA_CACHE_DIR or the user's cache folder; None without a home."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        return Path(chosen).absolute() / "nmap"
    stated = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    if Path(stated).is_absolute() and sys.platform != "darwin":
        base = Path(stated)
    else:
        try:
            base = Path.home() / _IN_HOME.get(sys.platform, ".cache")
        except RuntimeError:
            return None
    return base / "nmap-snn" / "machine-code"


def refusal(folder: Path) -> str:
    """Return why a folder, which may be missing, must not hold machine code; empty where it may.

    It must be the user's own or root's, and nobody else may write to it or exchange it for another.
    """
    if os.name != "posix":
        return ""
    try:
        place = folder.resolve()
        found = place.lstat()
        if found.st_uid not in (0, os.geteuid()):
            return f"{folder} belongs to another user"
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"others can write to {folder}"
    except FileNotFoundError:
        pass
    except (OSError, RuntimeError) as error:
        return f"{folder} cannot be read: {error}"
    for above in place.parents:
        try:
            found = above.stat()
        except OSError:
            continue
        if found.st_uid not in (0, os.geteuid()):
            return f"{above} belongs to another user, who can exchange {folder} for another"
        if found.st_mode & stat.S_ISVTX:
            continue
        if found.st_mode & stat.S_IWOTH:
            return f"everybody can write to {above}"
        # A group of the user's own is usual for what a user makes.
        if found.st_mode & stat.S_IWGRP and found.st_gid not in (0, os.getegid()):
            return f"a group that is not the user's own can write to {above}"
    return ""


@cache
def _usable(folder: Path) -> bool:
    """Whether entries may be read from a folder and written to it, which is made."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return not refusal(folder)


def _imported(text: str, package: str) -> Iterator[str]:
    """Yield the dotted names that a source imports, and those of what it takes from them."""
    for origin, names, modules in _IMPORT.findall(text):
        if modules:
            yield from _WORD.findall(modules)
            continue
        dots = len(origin) - len(origin.lstrip("."))
        base = origin.lstrip(".")
        if dots:
            above = package.split(".")[: package.count(".") + 2 - dots]
            base = ".".join([*above, *([base] if base else [])])
        yield base
        yield from (f"{base}.{name}" for name in _WORD.findall(names))


@cache
def _file(folders: tuple[str, ...], parts: tuple[str, ...]) -> tuple[Path, bool] | None:
    """Return the source of a module below the folders of its top package, and whether it is a package itself."""
    for folder in folders:
        path = Path(folder, *parts)
        for candidate, is_package in ((path / "__init__.py", True), (path.parent / f"{path.name}.py", False)):
            if candidate.is_file():
                return candidate, is_package
    return None


@cache
def _read(path: Path, package: str) -> tuple[bytes, tuple[str, ...]]:
    """Return the digest of a source and what it imports."""
    content = path.read_bytes()
    return sha256(content).digest(), tuple(_imported(content.decode("utf-8", "replace"), package))


def _folders(top: str) -> tuple[str, ...]:
    return tuple(getattr(sys.modules.get(top), "__path__", ()))


@cache
def _sources(module: str) -> bytes | None:
    """Return a digest of a module's source and of every source of its package and of nmap that it imports, directly or not.

    Compiled code holds what it calls and the values of the names it uses, from wherever these were imported; packages above a module
    count where something is imported from them. None where the module has no source that can be read.
    """
    own = getattr(sys.modules.get(module), "__file__", None)
    if own is None or not own.endswith(".py"):
        return None
    tops = {top: _folders(top) for top in {"nmap", module.partition(".")[0]}}
    digest = sha256()
    waiting, seen = {module}, set()
    found: dict[str, bytes] = {}
    try:
        while waiting:
            name = waiting.pop()
            seen.add(name)
            top, *parts = name.split(".")
            place = (Path(own), own.endswith("__init__.py")) if name == module else _file(tops.get(top, ()), tuple(parts))
            if place is None:
                continue
            package = name if place[1] else name.rpartition(".")[0]
            found[name], imports = _read(place[0], package)
            waiting |= {target for target in imports if target.partition(".")[0] in tops} - seen
    except OSError:
        return None
    for name in sorted(found):
        digest.update(f"{name}\n".encode() + found[name])
    return digest.digest()


@cache
def _versions() -> str:
    from importlib.metadata import version

    installed = [f"{name} {getattr(sys.modules.get(name), '__version__', None) or version(name)}" for name in _VERSIONED]
    settings = [f"{name}={os.environ[name]}" for name in _SETTINGS if name in os.environ]
    return "\n".join([str(sys.implementation.cache_tag), sys.platform, *installed, *settings])


def _code(code: CodeType) -> tuple[Any, ...]:
    """Return what a function does, without where its source lies."""
    constants = tuple(_code(value) if isinstance(value, CodeType) else repr(value) for value in code.co_consts)
    return code.co_code.hex(), constants, code.co_names, code.co_varnames, code.co_freevars, code.co_argcount


def _value(value: Any, seen: tuple[int, ...]) -> Any:
    """Describe what a function has from the function around it.

    Raises:
        TypeError: it cannot be told apart from another.
    """
    for name in ("py_func", "function", "_defn"):
        value = getattr(value, name, value)
    if isinstance(getattr(value, "__code__", None), CodeType):
        return _described(value, seen)
    if isinstance(value, (tuple, list)):
        return [_value(part, seen) for part in value]
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return type(value).__name__, repr(value)
    try:
        return type(value).__name__, pickle.dumps(value, 4).hex()
    except (pickle.PicklingError, AttributeError) as error:
        raise TypeError(str(error)) from error


def _described(function: _Function, seen: tuple[int, ...] = ()) -> tuple[Any, ...]:
    if id(function) in seen:
        return (seen.index(id(function)),)
    seen = (*seen, id(function))
    cells = [_value(cell.cell_contents, seen) for cell in function.__closure__ or ()]
    defaults = [_value(value, seen) for value in function.__defaults__ or ()]
    return function.__module__, function.__qualname__, _code(function.__code__), defaults, cells


class Recipe:
    """What the machine code of a function is made from: its key on disk.

    That is the function; the sources of its module and of all that this imports of its own top package and of nmap; options; the versions
    of Python, numba, llvmlite and numpy; and, given to `load` and `save`, its signature and the processor. Neither paths nor dates count.

    Args:
        function: a Python function.
        options: compiler options, which change the code.
    """

    def __init__(self, function: _Function, options: Iterable[tuple[str, Any]] = ()) -> None:
        self.function = function
        self.options = sorted((name, repr(value)) for name, value in options)

    @cached_property
    def name(self) -> str | None:
        """The function's name with a digest of what makes it this one among all that the same lines define; None where that has no text."""
        try:
            described = _described(self.function)
        except TypeError:
            return None
        digest = sha256(repr((described, self.options)).encode()).hexdigest()[:16]
        return f"{re.sub('[^A-Za-z0-9_]', '_', self.function.__name__)}_{digest}"

    @cached_property
    def folder(self) -> Path | None:
        """Where the entries of the function's module are; None where nothing is kept."""
        root = cache_folder()
        if root is None or not _usable(root):
            return None
        sources = _sources(self.function.__module__)
        if sources is None:
            return None
        digest = sha256(sources + _versions().encode()).hexdigest()[:20]
        return root / f"{self.function.__module__}-{digest}"

    def _path(self, variant: str) -> Path | None:
        if self.folder is None or self.name is None:
            return None
        return self.folder / f"{self.name}-{sha256(variant.encode()).hexdigest()[:20]}"

    def load(self, variant: str) -> bytes | None:
        """Return what was saved, None where nothing or something damaged lies there.

        Args:
            variant: signature and processor.
        """
        path = self._path(variant)
        if path is None:
            return None
        try:
            content = path.read_bytes()
        except OSError:
            return None
        # An administrator's cache cannot be touched and need not be.
        with suppress(OSError):
            if time.time() - path.parent.stat().st_mtime > _DAY:
                os.utime(path.parent)
        body = content[_DIGEST:]
        return body if sha256(body).digest() == content[:_DIGEST] else None

    def save(self, variant: str, body: bytes) -> None:
        """Keep machine code; where that is impossible nothing happens.

        A file appears whole under its name, which says all that it was made from: processes at the same time write the same.
        """
        path = self._path(variant)
        if path is None:
            return
        temporary = None
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                _prune(path.parent.parent, path.parent)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
                temporary = Path(file.name)
                file.write(sha256(body).digest() + body)
            temporary.replace(path)
        except OSError:
            if temporary is not None:
                temporary.unlink(missing_ok=True)


def _prune(root: Path, keep: Path) -> None:
    """Remove what has not been used for long, and a module's entries beyond the last used."""
    used: dict[str, list[tuple[float, Path]]] = {}
    for folder in root.iterdir():
        if folder != keep:
            used.setdefault(folder.name.rpartition("-")[0], []).append((folder.stat().st_mtime, folder))
    oldest = time.time() - _DAYS_KEPT * _DAY
    for folders in used.values():
        folders.sort(reverse=True)
        for rank, (when, folder) in enumerate(folders):
            if when < oldest or rank >= _VERSIONS_KEPT - 1:
                shutil.rmtree(folder, ignore_errors=True)
