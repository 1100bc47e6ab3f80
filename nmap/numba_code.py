"""numba's side of what is compiled: functions that Python calls, and those that are called by address. This module imports numba.

Where a version of numba lacks what keeping code takes, functions are compiled in every process.
"""

from __future__ import annotations

from contextlib import suppress
from types import FunctionType
from typing import Any

from numba import cfunc, njit
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from nmap.machine_code import Recipe
from nmap.object_code import assemble, load, save

__all__ = ["COMPILING", "compile_native", "compile_only", "dispatcher", "type_of"]

COMPILING = global_compiler_lock
"""Held while a function is made ready, which may make others ready. It is numba's own lock, since numba makes functions ready, too."""


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
        with suppress(Exception):
            from nmap.numba_cache import Kept

            made._cache = Kept(recipe)
    return made


def compile_only(made: Any, signature: str) -> None:
    """Compile for a signature and from then on for no other."""
    if hasattr(made, "_cache"):
        made.compile(signature)
        made.disable_compile()


def type_of(value: Any) -> Any:
    """Return the type of something that compiled code calls."""
    known = cpu_target.typing_context
    known.refresh()
    return known.resolve_value_type(value)


def compile_native(recipe: Recipe, signature: str) -> Any:
    """Return something with the address of a function: what `numba.cfunc` makes of it, kept for other processes."""
    with COMPILING:
        with suppress(Exception):
            from nmap.numba_cache import add_runtime

            # It was kept, perhaps, and calls numba's runtime.
            add_runtime()
            kept = load(recipe, signature)
            if kept is not None:
                return kept
        made = cfunc(signature, nopython=True, error_model="numpy")(_named(recipe))
    # Whatever a version of numba or LLVM does otherwise, there is code that runs.
    with suppress(Exception):
        body = assemble(made.inspect_llvm(), made.native_name)
        if body is not None:
            save(recipe, signature, body)
    return made
