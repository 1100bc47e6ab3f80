"""numba's side of the machine code that is kept between runs: see `nmap.machine_code`. This module imports numba."""

from __future__ import annotations

import pickle
from functools import cache
from types import FunctionType
from typing import Any

from llvmlite.binding import add_symbol, address_of_symbol
from numba import njit
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.runtime import _nrt_python
from numba.core.serialize import dumps

from nmap.machine_code import Recipe

__all__ = ["COMPILING", "callback", "compile_only", "dispatcher"]

COMPILING = global_compiler_lock
"""Held while a function is made ready, which may make others ready. It is numba's own lock, since numba makes functions ready, too."""


class _Kept(_Cache):  # type: ignore[misc]
    """What numba asks for machine code before it compiles, and gives it to after."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    @property
    def cache_path(self) -> str | None:
        folder = self._recipe.folder
        return None if folder is None else str(folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function of a signature, None where none is kept.

        numba's own caches call `target_context.refresh()` before, which imports and registers all that numba can compile, scipy where it is
        installed, and takes 0.15 to 0.5 s. Code that is there already needs numba's runtime and what it calls by name only; compiling
        calls it itself.
        """
        body = self._recipe.load(_variant(sig, target_context.codegen()))
        if body is None:
            return None
        _add_runtime()
        names, reduced = pickle.loads(body)
        if not all(address_of_symbol(name) for name in names):
            target_context.refresh()
        return CompileResult._rebuild(target_context, *reduced)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function, unless its code holds addresses of this process."""
        if data.library.has_dynamic_globals or data.lifted:
            return
        module = data.library._final_module
        names = [value.name for value in (*module.functions, *module.global_variables) if value.is_declaration]
        # LLVM's own intrinsics become instructions or calls of the C library.
        names = [name for name in names if not name.startswith("llvm.")]
        *reduced, environments = data._reduce()
        # An environment holds a function's Python constants; to load one imports its module, and parts of numba for numba's own functions.
        reduced.append(tuple(environment for environment in environments if environment.consts))
        self._recipe.save(_variant(sig, data.codegen), dumps((names, reduced)))

    def enable(self) -> None:
        """Do nothing: it is always enabled."""

    def disable(self) -> None:
        """Do nothing: it is always enabled."""

    def flush(self) -> None:
        """Do nothing: entries never go stale."""


@cache
def _add_runtime() -> None:
    """Make numba's runtime known by name, without what only compiling needs, as `numba.core.runtime.nrt` does both."""
    for name, address in getattr(_nrt_python, "c_helpers", {}).items():
        add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


def _variant(signature: Any, codegen: Any) -> str:
    return f"{signature} {codegen.magic_tuple()}"


def _named(recipe: Recipe) -> Any:
    """Return the function under a name of its own.

    numba names machine code by the function's name and a number that starts anew in every process, so that code of two functions that the
    same lines define, made in two processes, could have one name, of which only one is found.
    """
    function: Any = recipe.function
    copy = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__, copy.__module__, copy.__doc__ = function.__kwdefaults__, function.__module__, function.__doc__
    copy.__qualname__ = recipe.name or function.__qualname__
    return copy


def dispatcher(recipe: Recipe, options: dict[str, Any]) -> Any:
    """Return what `numba.njit` makes of a function: with NUMBA_DISABLE_JIT the Python function."""
    made = njit(**options)(_named(recipe))
    if hasattr(made, "_cache"):
        made._cache = _Kept(recipe)
    return made


def compile_only(made: Any, signature: str) -> None:
    """Compile for a signature and from then on for no other."""
    if hasattr(made, "_cache"):
        made.compile(signature)
        made.disable_compile()


def callback(recipe: Recipe, signature: str) -> Any:
    """Return what `numba.cfunc` makes of a function."""
    from numba.core.ccallback import CFunc
    from numba.core.sigutils import normalize_signature

    made: Any = CFunc(_named(recipe), normalize_signature(signature), locals={}, options={"nopython": True})
    made._cache = _Kept(recipe)
    made.compile()
    return made
