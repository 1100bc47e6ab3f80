"""numba's side of the machine code that is kept between runs, for functions that Python calls: see `nmap.machine_code`.

This module takes numba's private names, which any version may change; `nmap.numba_code` does without it then.
"""

from __future__ import annotations

import pickle
from contextlib import suppress
from functools import cache
from typing import Any

from llvmlite.binding import add_symbol, address_of_symbol
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.runtime import _nrt_python
from numba.core.serialize import dumps

from nmap.machine_code import Recipe

__all__ = ["Kept", "add_runtime"]


class Kept(_Cache):  # type: ignore[misc]
    """What numba asks for machine code before it compiles, and gives it to after."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    @property
    def cache_path(self) -> str | None:
        """The folder, None where nothing is kept."""
        folder = self._recipe.folder
        return None if folder is None else str(folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function of a signature, None where none is kept.

        numba's own caches call `target_context.refresh()` before, which imports and registers all that numba can compile, scipy where it is
        installed, and takes 0.15 to 0.5 s. Code that is there already needs numba's runtime and what it calls by name only; compiling
        calls it itself.
        """
        with suppress(Exception):
            body = self._recipe.load(_variant(sig, target_context.codegen()))
            if body is not None:
                add_runtime()
                names, reduced = pickle.loads(body)
                if not all(address_of_symbol(name) for name in names):
                    target_context.refresh()
                return CompileResult._rebuild(target_context, *reduced)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function, unless its code holds addresses of this process."""
        with suppress(Exception):
            self._save(_variant(sig, data.codegen), data)

    def _save(self, variant: str, data: Any) -> None:
        if data.library.has_dynamic_globals or data.lifted:
            return
        module = data.library._final_module
        names = [value.name for value in (*module.functions, *module.global_variables) if value.is_declaration]
        # LLVM's own intrinsics become instructions or calls of the C library.
        names = [name for name in names if not name.startswith("llvm.")]
        *reduced, environments = data._reduce()
        # An environment holds a function's Python constants; to load one imports its module, and parts of numba for numba's own functions.
        reduced.append(tuple(environment for environment in environments if environment.consts))
        self._recipe.save(variant, dumps((names, reduced)))

    def enable(self) -> None:
        """Do nothing: it is always enabled."""

    def disable(self) -> None:
        """Do nothing: it is always enabled."""

    def flush(self) -> None:
        """Do nothing: entries never go stale."""


@cache
def add_runtime() -> None:
    """Make numba's runtime known by name, without what only compiling needs, as `numba.core.runtime.nrt` does both."""
    for name, address in getattr(_nrt_python, "c_helpers", {}).items():
        add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


def _variant(signature: Any, codegen: Any) -> str:
    return f"{signature} {codegen.magic_tuple()}"


