"""The one way in which nmap and its plug-ins compile inner loops with numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

__all__ = ["compiled"]

_Function: TypeAlias = Callable[..., Any]


def compiled(signature: str | None = None, **options: Any) -> Callable[[_Function], _Function]:
    """Compile a function with numba: machine code is kept on disk where numba finds a place for it, else in memory only.

    numba keeps machine code beside the source, in the user's cache folder, or in NUMBA_CACHE_DIR, and refuses a function when it can
    write to none of them, as in a container that runs under a user number without a home and with packages it cannot write to. Then, or
    when the place is full, the function is compiled in every process anew, which takes seconds and changes no result.

    numba itself is imported when a function is decorated, not with this module.

    Args:
        signature: numba's signature, compiled at once; None compiles for the types of the first call.
        options: further options of `numba.njit`; `nogil` is true unless given, `cache` cannot be given.

    Returns:
        A decorator; the function it returns takes the same arguments.

    Raises:
        numba.core.errors.NumbaError: from the decorator (or the first call), the function cannot be compiled.
    """
    settings = {"nogil": True, **options}

    def decorate(function: _Function) -> _Function:
        from numba import njit

        signatures = () if signature is None else (signature,)
        try:
            return njit(*signatures, cache=True, **settings)(function)
        except OSError:
            # The place was there and took no file: a full disk, or another user's entries.
            pass
        except RuntimeError as error:
            # https://github.com/numba/numba/blob/main/numba/core/caching.py, `CacheImpl`, has no type of its own for this.
            if "no locator available" not in str(error):
                raise
        return njit(*signatures, **settings)(function)

    return decorate
