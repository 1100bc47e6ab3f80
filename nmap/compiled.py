"""The ways in which nmap and its plug-ins compile inner loops with numba.

Machine code is kept in the user's cache folder and used again by every installation of the same sources, see `nmap.machine_code`. Where
nothing can be kept, as in a container that runs under a user number without a home, or when the disk is full, functions are compiled in
every process anew, which takes seconds and changes no result.

Neither this module nor its decorators import numba: the first call of a compiled function does, and the first address of a native one
that is not on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import CFUNCTYPE, c_int64
from functools import update_wrapper
from threading import RLock
from typing import Any, TypeAlias

from nmap.machine_code import Recipe

__all__ = ["Native", "compiled", "native"]

_Function: TypeAlias = Callable[..., Any]
_LOADING = RLock()
"""Held while a native function is made ready."""


def compiled(signature: str | None = None, **options: Any) -> Callable[[_Function], _Function]:
    """Compile a function with numba when it is first called, from Python or by another compiled function that is made ready.

    Args:
        signature: numba's signature, the only one; None compiles for the types of every call.
        options: further options of `numba.njit`; `nogil` is true unless given, `cache` cannot be given.

    Returns:
        A decorator; the function it returns takes the same arguments. Its first call raises `numba.core.errors.NumbaError` where it cannot
        be compiled.
    """
    return lambda function: _Compiled(function, signature, {"nogil": True, **options})


class _Compiled:
    """A function that is compiled when it is first called."""

    def __init__(self, function: _Function, signature: str | None, options: dict[str, Any]) -> None:
        update_wrapper(self, function)
        # numba looks for these two names where it may put the function's own lines in place of a call.
        self.py_func, self.targetoptions = function, options
        self._signature = signature
        self._dispatcher: Any = None
        self._ready: Any = None

    def _get_ready(self) -> Any:
        from nmap.numba_code import COMPILING, compile_only, dispatcher

        with COMPILING:
            if self._dispatcher is None:
                recipe = Recipe(self.py_func, (*self.targetoptions.items(), ("signature", self._signature)))
                self._dispatcher = dispatcher(recipe, self.targetoptions)
                try:
                    if self._signature is not None:
                        compile_only(self._dispatcher, self._signature)
                except BaseException:
                    self._dispatcher = None
                    raise
            self._ready = self._dispatcher
        return self._ready

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return (self._ready or self._get_ready())(*args, **kwargs)

    @property
    def _numba_type_(self) -> Any:
        # What numba asks a name's value for, when it compiles a function that uses the name, which may be this one.
        if self._dispatcher is None:
            self._get_ready()
        return self._dispatcher._numba_type_


def native(signature: str) -> Callable[[_Function], Native]:
    """Compile a function that other compiled code calls by its address.

    Args:
        signature: numba's signature of numbers, addresses as int64; see `nmap.pointers` for how they become arrays. A number that is
            divided by 0 gives 0, and an error raised inside is printed and ends the function.

    Returns:
        A decorator; see `Native`.
    """
    return lambda function: Native(signature, function)


class Native:
    """A function that is compiled when its address is first asked for, or when it is first called."""

    def __init__(self, signature: str, function: _Function) -> None:
        self.signature, self.function = signature, function
        # The code lives as long as this object.
        self._code: Any = None
        self._address: int | None = None
        self._entry: Any = None

    @property
    def address(self) -> int:
        """Where its machine code begins.

        Raises:
            numba.core.errors.NumbaError: it cannot be compiled.
        """
        if self._address is None:
            with _LOADING:
                if self._address is None:
                    self._get_ready()
        assert self._address is not None
        return self._address

    def _get_ready(self) -> None:
        recipe = Recipe(self.function, [("native", self.signature)])
        try:
            from nmap.object_code import load

            self._code = load(recipe, self.signature)
        except Exception:
            # Whatever is wrong with the code kept, or with how another llvmlite takes it: there is the source.
            self._code = None
        if self._code is None:
            from nmap.numba_code import compile_native

            self._code = compile_native(recipe, self.signature)
        self._address = int(self._code.address)

    def __call__(self, *numbers: int) -> Any:
        """Call it from Python, without the interpreter's lock; its arguments, and what it returns if anything, are int64.

        Raises:
            numba.core.errors.NumbaError: it cannot be compiled.
        """
        if self._entry is None:
            returned, _, arguments = self.signature.partition("(")
            kinds = [c_int64] * (arguments.count(",") + (arguments != ")"))
            self._entry = CFUNCTYPE(None if returned == "void" else c_int64, *kinds)(self.address)
        return self._entry(*numbers)
