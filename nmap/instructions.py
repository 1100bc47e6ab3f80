"""Building blocks of LLVM instructions, for routines that numba's own code would not make: vectors, unaligned memory, loops.

Addresses are integers of 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

__all__ = ["WORD", "broadcast", "constant", "emit_loop", "kind_of", "load", "store"]

WORD = ir.IntType(64)
"""Addresses and counters."""


def kind_of(bits: int, lanes: int = 1) -> Any:
    """Return the type of `lanes` integers; one is a plain integer."""
    return ir.IntType(bits) if lanes == 1 else ir.VectorType(ir.IntType(bits), lanes)


def constant(kind: Any, value: int) -> Any:
    """Return a constant, the same in every lane."""
    return ir.Constant(kind, value if isinstance(kind, ir.IntType) else [value] * kind.count)


def broadcast(builder: Any, value: Any, lanes: int) -> Any:
    """Return a scalar in every lane."""
    if lanes == 1:
        return value
    kind = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), constant(ir.VectorType(ir.IntType(32), lanes), 0))


def _at(builder: Any, address: Any, offset: Any, kind: Any) -> Any:
    """Return a pointer to `kind`, `offset` bytes (a number or a value) behind an address."""
    return builder.inttoptr(builder.add(address, constant(WORD, offset) if isinstance(offset, int) else offset), kind.as_pointer())


def load(builder: Any, address: Any, offset: Any, kind: Any, align: int = 1) -> Any:
    """Return what lies `offset` bytes behind an address."""
    value = builder.load(_at(builder, address, offset, kind))
    value.align = align
    return value


def store(builder: Any, value: Any, address: Any, offset: Any, align: int) -> None:
    """Store a value `offset` bytes behind an address."""
    builder.store(value, _at(builder, address, offset, value.type)).align = align


def emit_loop(builder: Any, first: Any, last: Any, step: int, carried: list[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """Emit `for k in range(first, last, step): carried = body(k, carried)` and return what is carried at the end."""
    entry = builder.block
    inside, after = builder.append_basic_block(), builder.append_basic_block()
    builder.cbranch(builder.icmp_signed("<", first, last), inside, after)
    builder.position_at_end(inside)
    counter, *held = [builder.phi(value.type) for value in (first, *carried)]
    following = body(counter, held)
    following = [builder.add(counter, constant(counter.type, step)), *following]
    end = builder.block
    for phi, start, value in zip((counter, *held), (first, *carried), following, strict=True):
        phi.add_incoming(start, entry)
        phi.add_incoming(value, end)
    builder.cbranch(builder.icmp_signed("<", following[0], last), inside, after)
    builder.position_at_end(after)
    results = []
    for start, value in zip(carried, following[1:], strict=True):
        result = builder.phi(value.type)
        result.add_incoming(start, entry)
        result.add_incoming(value, end)
        results.append(result)
    return results
