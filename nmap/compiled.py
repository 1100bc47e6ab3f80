"""The ways in which nmap and its plug-ins compile inner loops with numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeAlias

__all__ = ["Native", "compiled", "native"]

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
    signatures = () if signature is None else (signature,)

    def decorate(function: _Function) -> _Function:
        from numba import njit

        return _kept(lambda cache: njit(*signatures, cache=cache, **settings)(function))

    return decorate


def native(signature: str) -> Callable[[_Function], Native]:
    """Compile a function that other compiled code calls by its address.

    Args:
        signature: numba's signature of numbers, addresses as int64; see `nmap.pointers` for how they become arrays.

    Returns:
        A decorator; see `Native`.
    """
    return lambda function: Native(signature, function)


class Native:
    """A function that is compiled when its address is first asked for."""

    def __init__(self, signature: str, function: _Function) -> None:
        self.signature, self.function = signature, function

    @cached_property
    def _code(self) -> Any:
        from numba import cfunc

        return _kept(lambda cache: cfunc(self.signature, cache=cache, nopython=True)(self.function))

    @property
    def address(self) -> int:
        """Where its machine code begins.

        Raises:
            numba.core.errors.NumbaError: it cannot be compiled.
        """
        return int(self._code.address)


def _kept(make: Callable[[bool], Any]) -> Any:
    """Return what `make` compiles, kept on disk where that is possible."""
    try:
        return make(True)
    except OSError:
        # The place was there and took no file: a full disk, or another user's entries.
        pass
    except RuntimeError as error:
        # https://github.com/numba/numba/blob/main/numba/core/caching.py, `CacheImpl`, has no type of its own for this.
        if "no locator available" not in str(error):
            raise
    return make(False)
