"""What compiled code is written with: arrays that begin at an address, calls of what lies at one, LLVM instructions.

Compiled functions that others call by address (`nmap.compiled.native`) take plain numbers. The names here stand for numba's own, which
are imported when something is compiled: a process that finds all its machine code on disk goes without numba.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from llvmlite import ir

__all__ = [
    "atomic_add", "call_native", "carray", "float32_at", "instructions", "int16_at", "int32_at", "int64_at", "types", "uint8_at",
]


class _Types:
    """The numba types, by their names."""

    def __getattr__(self, name: str) -> Any:
        from numba import types as known

        return getattr(known, name)


types: Any = _Types()


class _Deferred:
    """A name in compiled code, whose meaning is asked for when that is compiled.

    Args:
        meaning: returns what the name stands for.
    """

    def __init__(self, meaning: Callable[[], Any]) -> None:
        self._meaning = meaning

    @cached_property
    def _numba_type_(self) -> Any:
        # What numba asks a name's value for, when it compiles a function that uses the name.
        from nmap.numba_code import type_of

        return type_of(self._meaning())


def instructions(write: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Decorate what writes a compiled function's instructions, as `numba.extending.intrinsic` does and with its options."""
    if write is None:
        return partial(instructions, **options)

    def meaning() -> Any:
        from numba.extending import intrinsic

        return intrinsic(**options)(write) if options else intrinsic(write)

    return _Deferred(meaning)


def _carray() -> Any:
    from numba import carray as known

    return known


carray: Any = _Deferred(_carray)
"""`numba.carray`: an array of a shape that begins at a pointer."""


def _pointer_to(kind: str, width: Any) -> Any:
    """Return what takes an address, int64, and returns a pointer for `carray(pointer, shape)`."""

    @instructions
    def typed(_context: Any, address: Any) -> Any:  # noqa: ARG001 - numba's signature
        def generate(_code: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], width.as_pointer())

        return types.CPointer(getattr(types, kind))(types.int64), generate

    return typed


uint8_at = _pointer_to("uint8", ir.IntType(8))
int16_at = _pointer_to("int16", ir.IntType(16))
int32_at = _pointer_to("int32", ir.IntType(32))
int64_at = _pointer_to("int64", ir.IntType(64))
float32_at = _pointer_to("float32", ir.FloatType())


@instructions
def call_native(_context: Any, address: Any, arguments: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Call the function at an address, int64, with a tuple of int64."""
    count = len(arguments)

    def generate(_code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        word = ir.IntType(64)
        function = builder.inttoptr(given[0], ir.FunctionType(ir.VoidType(), [word] * count).as_pointer())
        builder.call(function, [builder.extract_value(given[1], k) for k in range(count)])
        return _code.get_dummy_value()

    return types.void(types.int64, types.UniTuple(types.int64, count)), generate


@instructions
def atomic_add(_context: Any, address: Any, value: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Add to the int64 at an address, all threads seeing it in one order; return what was there."""

    def generate(_code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        pointer = builder.inttoptr(given[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", pointer, given[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate
