"""The numpy side of Akida's neuron."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from nmap.connectivity import Array

if TYPE_CHECKING:
    from nmap.compiled import Native

__all__ = ["BINARY", "GRADED", "POTENTIAL", "STEP_MAX", "THRESHOLD", "AkidaNeuron"]

POTENTIAL: Final = 1 << 19
"""A potential lies between minus this and one less than this; `chip.toml` states the same numbers and a test compares them."""
THRESHOLD: Final = 1 << 23
"""So does a threshold of the input convolution; those of the other layers have the potential's range."""
STEP_MAX: Final = 65535 * 16
"""Largest `act_step` in sixteenths."""


@dataclass(frozen=True, slots=True)
class AkidaNeuron:
    """A neuron of Akida 1.0 with activation; the contract is `nmap.emulate.kernel.Kernel`.

    Parameters: `threshold` -2^23..2^23 - 1; graded ones also `act_step` 1..1048560 in sixteenths and `act_bits` 1..4
    (a layer of the chip has 1, 2 or 4).
    """

    name: str
    graded: bool
    params: tuple[str, ...]
    receptors: int = 1
    state: tuple[str, ...] = ()

    @property
    def step(self) -> Native:
        """The compiled step."""
        # numba takes longer to import than the whole command line, so only a run pays for it.
        from nmap_akida.kernels import loops

        return loops.graded if self.graded else loops.binary

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return the threshold and, graded, 16 times the width of a level and the highest level: (1 or 3, n) int32.

        Raises:
            ValueError: a parameter is outside its range, where 32 bits would not hold what `step` computes.
        """
        rows = [params["threshold"]]
        if ((rows[0] < -THRESHOLD) | (rows[0] >= THRESHOLD)).any():
            raise ValueError("a threshold has more than 24 bits")
        if self.graded:
            step, bits = params["act_step"], params["act_bits"]
            if ((bits < 1) | (bits > 4) | (step < 1) | (step > STEP_MAX)).any():
                raise ValueError(f"act_bits are not in 1..4, or act_step is not in 1..{STEP_MAX}")
            rows += [step << 4 - bits, (1 << bits) - 1]
        return np.stack(rows).astype(np.int32)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:  # noqa: ARG002
        """Return the payloads in plain numpy, int64; shapes as in the contract."""
        above = np.clip(dendrite, -POTENTIAL, POTENTIAL - 1) - params["threshold"]
        if not self.graded:
            return (above > 0).astype(np.int64)
        levels = -(-16 * above // (params["act_step"] * 2 ** (4 - params["act_bits"])))
        return np.asarray(np.clip(levels, 0, 2 ** params["act_bits"] - 1))


GRADED = AkidaNeuron("akida.neuron", True, ("threshold", "act_step", "act_bits"))
"""Sends a level of 1, 2 or 4 bits."""
BINARY = AkidaNeuron("akida.binary", False, ("threshold",))
"""Sends one bit: the same with `act_bits` = 1."""
