"""Addresses in compiled code: arrays that begin at one, and calls of what lies at one.

Compiled functions that others call by address (`nmap.compiled.native`) take plain numbers. This module imports numba, so only modules
that hold compiled code import it, and nothing imports those before something runs.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["atomic_add", "call_native", "float32_at", "int16_at", "int32_at", "int64_at", "uint8_at"]


def _pointer_to(kind: Any, width: Any) -> Any:
    """Return an intrinsic that takes an address, int64, and returns a pointer for `numba.carray(pointer, shape)`."""

    def typed(_context: Any, address: Any) -> Any:  # noqa: ARG001 - numba's signature
        def generate(_code: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], width.as_pointer())

        return types.CPointer(kind)(types.int64), generate

    return intrinsic(typed)


uint8_at = _pointer_to(types.uint8, ir.IntType(8))
int16_at = _pointer_to(types.int16, ir.IntType(16))
int32_at = _pointer_to(types.int32, ir.IntType(32))
int64_at = _pointer_to(types.int64, ir.IntType(64))
float32_at = _pointer_to(types.float32, ir.FloatType())


@intrinsic  # type: ignore[misc]
def call_native(_context: Any, address: Any, arguments: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Call the function at an address, int64, with a tuple of int64."""
    count = len(arguments)

    def generate(_code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        word = ir.IntType(64)
        function = builder.inttoptr(given[0], ir.FunctionType(ir.VoidType(), [word] * count).as_pointer())
        builder.call(function, [builder.extract_value(given[1], k) for k in range(count)])
        return _code.get_dummy_value()

    return types.void(types.int64, types.UniTuple(types.int64, count)), generate


@intrinsic  # type: ignore[misc]
def atomic_add(_context: Any, address: Any, value: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Add to the int64 at an address, all threads seeing it in one order; return what was there."""

    def generate(_code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        pointer = builder.inttoptr(given[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", pointer, given[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate
