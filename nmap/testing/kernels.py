"""Neuron kernels by themselves: the compiled step, called on arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from nmap.connectivity import Array
from nmap.emulate.kernel import Kernel, shared_rows

__all__ = ["advance", "run_kernel"]


def advance(
    kernel: Kernel, constants: Array, state: Array, dendrite: Array, sent: Array, time: int = 0, *, shared: int = 0,
    first: int = 0, last: int | None = None,
) -> None:
    """Call `kernel.step` once.

    Args:
        kernel: the kernel.
        constants: (rows, n) int32.
        state: (variables, n) int32, updated in place.
        dendrite: (receptors, n) int32.
        sent: (n,), int32 where the kernel is graded, else uint8; written.
        time: chip step.
        shared: which rows of constants hold one number, `nmap.emulate.kernel.shared_rows`.
        first, last: the neurons to advance, as in a slice.

    Raises:
        ValueError: an array has another shape or dtype, or is not contiguous.
    """
    n = sent.size
    expected = (
        ("state", state, (len(kernel.state), n), np.int32), ("dendrite", dendrite, (kernel.receptors, n), np.int32),
        ("sent", sent, (n,), np.int32 if kernel.graded else np.uint8),
        ("constants", constants, (len(constants), n) if constants.size else constants.shape, np.int32),
    )
    for name, array, shape, dtype in expected:
        if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
            raise ValueError(f"{name} of {kernel.name} is {array.dtype} {array.shape}, not contiguous {np.dtype(dtype)} {shape}")
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 9)(kernel.step.address)
    addresses = [array.ctypes.data for array in (state, dendrite, sent)]
    call(constants.ctypes.data, shared, *addresses, n, first, n if last is None else last, time)


def run_kernel(
    kernel: Kernel, params: Mapping[str, Array], state: Array, dendrite: Array, first_step: int = 0, pieces: int = 1,
) -> tuple[Array, Array]:
    """Run `kernel.step` over some steps.

    Args:
        kernel: the kernel.
        params: (n,) integers by name, or numbers that hold for all neurons. The step is told which constants are one number n times.
        state: (variables, n) integers of 32 bits at the start.
        dendrite: (steps, receptors, n) integers; their low 32 bits count.
        first_step: chip step of the first row.
        pieces: calls per step, each for a part of the neurons.

    Returns:
        Payloads, (steps, n), and the states after each step, (steps, variables, n), int64.
    """
    steps, _, n = dendrite.shape
    constants = kernel.constants({name: np.broadcast_to(np.asarray(params[name], np.int64), n) for name in kernel.params})
    shared = shared_rows(constants)
    arrived = np.ascontiguousarray(dendrite.astype(np.int32))
    now = np.ascontiguousarray(state, np.int32).copy()
    payloads, states = np.empty((steps, n), np.int64), np.empty((steps, *now.shape), np.int64)
    ends = [n * k // pieces for k in range(pieces + 1)]
    for step in range(steps):
        # A neuron that is not written, or written as something that is no payload, shows.
        sent = np.full(n, -99, np.int32) if kernel.graded else np.full(n, 99, np.uint8)
        for first, last in pairwise(ends):
            advance(kernel, constants, now, arrived[step], sent, first_step + step, shared=shared, first=first, last=last)
        payloads[step], states[step] = sent, now
    return payloads, states
