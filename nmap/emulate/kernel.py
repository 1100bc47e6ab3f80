"""The contract between the emulation engine and a target's neuron model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from nmap.compiled import Native
from nmap.connectivity import Array

__all__ = ["SHARED", "STEP", "Counted", "Counting", "Floating", "Kernel", "counters", "floats", "shared_rows"]

SHARED = -1
"""What a step is told where all neurons have the same constants."""

STEP = "void(int64, int64, int64, int64, int64, int64, int64, int64, int64)"
"""Signature of a step: constants, shared, state, dendrite, sent, n, first, last, time; see `Kernel.step`."""


@runtime_checkable
class Kernel(Protocol):
    """A target's neuron model in the chip's integer arithmetic.

    `step` is the compiled form the emulator uses; `reference_step` is the same equation in plain numpy, written separately and
    used by the reference simulator only. State variables are numbers of 32 bits (or whatever 32 bits stand for on the chip), and so is
    what a dendritic accumulator holds: sums are taken modulo 2^32, in two's complement.
    """

    @property
    def name(self) -> str:
        """Name used in programs, unique across targets: `<target>.<model>`."""

    @property
    def params(self) -> tuple[str, ...]:
        """Parameter names."""

    @property
    def receptors(self) -> int:
        """Number of dendritic inputs: 1, or 2 for a neuron whose state has two parts with an input each."""

    @property
    def state(self) -> tuple[str, ...]:
        """State variables, in the row order `step` expects."""

    @property
    def graded(self) -> bool:
        """Whether a spike carries a payload other than 1."""

    @property
    def step(self) -> Native:
        """The compiled step, `nmap.compiled.native` with the signature `STEP`: neurons first..last-1 of n advance by one step.

        Its arguments, addresses but for the last four and `shared`:
            constants: (rows of `constants`, n) int32.
            shared: `SHARED` where every row of `constants` holds one number n times, so that the first of each row will do; else bit r is
                set for every row r that does.
            state: (len(self.state), n) int32, updated in place.
            dendrite: (receptors, n) int32, what the dendritic accumulators received in this step; left as it is.
            sent: the payload sent, 0 for none, written for every neuron: (n,) int32 where `graded`, else uint8, 0 or 1.
            time: chip step, from 0, for neurons whose behaviour depends on it.
        """

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return what `step` reads of each neuron, (rows, n) int32, C order, from the parameters, (n,) int64 each."""

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:
        """Advance one step in plain numpy; replace entries of `state`, return the payloads, int64.

        Parameters are (n,), state (samples, n) or (n,) and the dendrite (samples, receptors n) or (receptors n,), so the arithmetic must
        broadcast. The dendrite's values are those of 32 bits, in int64.
        """


class Counted(NamedTuple):
    """An event that a kernel counts: what happens, as a clause, and what a user can do about it."""

    what: str
    remedy: str


@runtime_checkable
class Counting(Protocol):
    """A kernel that counts events which are no spikes."""

    @property
    def counters(self) -> Mapping[str, Counted]:
        """What is counted, by the state variable that counts it from 0 on in every sample."""


@runtime_checkable
class Floating(Protocol):
    """A kernel with state variables that are real numbers."""

    @property
    def floats(self) -> tuple[str, ...]:
        """State variables whose 32 bits are those of a float32 number."""


def floats(kernel: Kernel) -> tuple[str, ...]:
    """Return the state variables of a kernel that are real numbers."""
    return kernel.floats if isinstance(kernel, Floating) else ()


def counters(kernel: Kernel | None) -> Mapping[str, Counted]:
    """Return what a kernel counts; nothing for an input port."""
    return kernel.counters if isinstance(kernel, Counting) else {}


def shared_rows(constants: Array) -> int:
    """Return what a step is told of constants, (rows, n) int32: see `Kernel.step`."""
    same = (constants == constants[:, :1]).all(1)
    return SHARED if same.all() else sum(1 << int(row) for row in np.flatnonzero(same))
