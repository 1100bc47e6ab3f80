"""Steps of the network that one step of the chip stands for.

Where a chip computes several steps of the network at once, it is given the sum of what arrives in them, and what a population sends in a
step of the chip is compared with what it sends in all of these steps of the network. With a window of one step nothing is summed, and
nothing is copied.
"""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic, NmapError

__all__ = ["told_window", "window_count", "windowed"]

_LIMIT = 2**31 - 1


def window_count(steps: int, window: int) -> int:
    """Return how many windows so many steps of the network are; the last one may be shorter."""
    return -(-steps // window)


def windowed(values: Array, window: int) -> Array:
    """Return values summed over windows.

    Args:
        values: (samples, steps, ...), of any type of numbers.
        window: steps of the network in one.

    Returns:
        (samples, windows, ...): int32 of whole numbers, float64 of real ones; `values` themselves where a window is one step.

    Raises:
        NmapError: NM802, a sum of whole numbers is beyond 32 bits.
    """
    if window == 1:
        return values
    # Bytes cannot add up to more than 32 bits within any window that a chip has.
    wide = values.dtype.itemsize > 1
    dtype = np.float64 if values.dtype.kind == "f" else np.int64 if wide else np.int32
    sums: Array = np.zeros((values.shape[0], window_count(values.shape[1], window), *values.shape[2:]), dtype)
    # The first step of every window, then the second one: several times faster than window by window.
    for step in range(min(window, values.shape[1])):
        part = values[:, step::window]
        sums[:, : part.shape[1]] += part
    if dtype is np.float64:
        return sums
    if wide and sums.size and max(int(sums.max()), -int(sums.min())) > _LIMIT:
        raise NmapError(Diagnostic(
            "NM802", "error", f"the sum of what is sent in {window} steps is beyond 32 bits",
            why=f"One step of the chip stands for {window} steps of the network and takes their sum.",
            help=("send smaller graded payloads",),
        ))
    return np.asarray(sums, np.int32)


def told_window(steps: int, window: int, where: str | None = None) -> tuple[Diagnostic, ...]:
    """Return a warning where samples are not a whole number of windows.

    Args:
        steps: of the network, of each sample.
        window: steps in one.
        where: name of the samples' file.
    """
    left = steps % window
    if not left:
        return ()
    return (Diagnostic(
        "NM803", "warning",
        f"the samples have {steps} steps, and one step of the chip stands for {window}: the last {left} are run as if they were {window}",
        where, "What arrives in the missing steps is silence, but biases count for a whole window.",
        (f"deploy again with `--steps {steps}`" if steps < window else f"run a multiple of {window} steps with --steps",),
    ),)
