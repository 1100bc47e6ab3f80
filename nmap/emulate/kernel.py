"""The contract between the emulation engine and a target's neuron model."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from nmap.connectivity import Array

__all__ = ["Kernel"]


@runtime_checkable
class Kernel(Protocol):
    """A target's neuron model in the chip's integer arithmetic.

    `run` is the compiled form the emulator uses; `reference_step` is the same equation in plain numpy, written separately and
    used by the reference simulator only.
    """

    @property
    def name(self) -> str:
        """Name used in programs, unique across targets: `<target>.<model>`."""

    @property
    def params(self) -> tuple[str, ...]:
        """Parameter names, in the row order `run` expects."""

    @property
    def receptors(self) -> int:
        """Number of dendritic inputs: 1, or 2 for a neuron whose state has two parts with an input each."""

    @property
    def state(self) -> tuple[str, ...]:
        """State variables, in the row order `run` expects."""

    def run(self, params: Array, state: Array, dendrite: Array, spikes: Array, probe: Array, first_step: int) -> None:
        """Advance all neurons by the rows of `dendrite`.

        Args:
            params: (len(self.params), n) int64.
            state: (len(self.state), n) int64, updated in place.
            dendrite: (steps, receptors n) int64, what the dendritic accumulators received in each step; the inputs of receptor r are the
                columns r n .. (r + 1) n.
            spikes: (steps, n) int32, written: the payload sent in each step, 0 for none.
            probe: (steps, len(self.state), n) int64, written with the state after each step; or of size 0 when not wanted.
            first_step: chip step of row 0, for neurons whose behaviour depends on time.
        """

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:
        """Advance one step in plain numpy; replace entries of `state`, return the payloads, int64.

        Parameters are (n,), state (samples, n) or (n,) and the dendrite (samples, receptors n) or (receptors n,), so the arithmetic must
        broadcast.
        """
