"""Real weights in the integers of axon codes: which grid they lie on, how many bits there is room for, and what rounding costs.

Every neuron has weights of its own for each axon type, so every neuron has a scale of its own; the channels of a convolution, whose neurons
share a kernel, have one each. Inside a group of neurons with one scale, an integer weight k stands for the real weight k / scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense
from nmap.network import Network, Projection

__all__ = ["AXONS", "Integers", "Rows", "axons_per_source", "bits_for", "fits_grid", "integers", "on_grid"]

AXONS = {2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 10, 8: 14, 9: 18}
"""Axons a source by bits of its weights, where those have both signs: the least that a mixed-radix code of four values needs."""
_LARGEST = 255
TOLERANCE = 1e-6
"""Relative distance from a multiple of the grid's step within which a number counts as one."""
_PROBES = 8
"""Weights of a group that a step is tried on before all of them are."""
_SHARES = np.arange(20, 7, -1) / 20
"""Shares of the largest weight that the largest integer may stand for; larger weights are clipped to it."""


def axons_per_source(largest: int, signed: bool) -> int:
    """Return the axons that a source takes where its weights reach a size, in dense layers.

    Args:
        largest: of the integers' sizes.
        signed: whether one neuron has weights of both signs.
    """
    if largest == 0:
        return 0
    bits = int(largest).bit_length() + 1
    # Without a sign three values and a last one of their sum plus 1 reach half as far with one axon less.
    return AXONS[bits] if signed else {2: 1, 3: 2, 4: 3, 5: 4}.get(bits, AXONS[min(bits, 9) - 1])


def bits_for(synapses: int, room: int, least: int, most: int) -> int:
    """Return the most weight bits with which a neuron of so many synapses fits a core of `room` axons; the least where none does."""
    return max((bits for bits in range(least, most + 1) if synapses * AXONS[bits] <= room), default=least)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The real weights that meet in one population, by groups of neurons with one scale.

    Args:
        group: (n,) int64, group of each neuron.
        groups: number of groups.
        weights: (w,) float64, gains included, of all projections in turn.
        owner: (w,) int64, group of each weight.
        spans: by projection, first and end of its weights.
    """

    group: Array
    groups: int
    weights: Array
    owner: Array
    spans: dict[str, tuple[int, int]]

    @staticmethod
    def of(network: Network, name: str, gain: Array) -> Rows:
        """Collect the weights into a population; `gain` is what each neuron multiplies its input with, (n,)."""
        afferents = [p for p in network.projections if p.target == name]
        shared = next((p.connectivity.out_shape[0] for p in afferents if isinstance(p.connectivity, Conv2d)), None)
        group = np.arange(gain.size) if shared is None else np.arange(gain.size) * shared // gain.size
        weights, owners, spans, end = [], [], {}, 0
        for p in afferents:
            values = np.asarray(p.connectivity.weights, np.float64)
            target = _targets(p.connectivity)
            neuron = target * (gain.size // p.connectivity.out_shape[0]) if isinstance(p.connectivity, Conv2d) else target
            weights.append(values.ravel() * gain[neuron])
            owners.append(group[neuron])
            spans[p.name] = (end, end + values.size)
            end += values.size
        none = np.zeros(0)
        return Rows(
            group, int(group[-1]) + 1, np.concatenate([none, *weights]), np.concatenate([none.astype(np.int64), *owners]), spans
        )

    def largest(self, values: Array) -> Array:
        """Return the largest size of each group's weights, (groups,)."""
        out = np.zeros(self.groups, values.dtype)
        np.maximum.at(out, self.owner, np.abs(values))
        return out

    def total(self, values: Array) -> Array:
        """Return the sum of values over each group's weights, (groups,) float64."""
        return np.bincount(self.owner, values, minlength=self.groups)

    def highest(self, values: Array) -> Array:
        """Return the largest of (n,) values of neurons in each group, (groups,)."""
        out = np.full(self.groups, -np.inf)
        np.maximum.at(out, self.group, values)
        return out


def _targets(connectivity: Connectivity) -> Array:
    """Return the target (of a convolution: the channel) of each weight, in the order of the flat weights."""
    if isinstance(connectivity, Dense | Conv2d):
        return np.repeat(np.arange(connectivity.weights.shape[0]), int(np.prod(connectivity.weights.shape[1:])))
    return connectivity.targets


def fits_grid(values: Array) -> Array:
    """Return which numbers are integers within the tolerance, bool."""
    fits: Array = np.abs(values - np.rint(values)) <= TOLERANCE * np.maximum(1, np.abs(values))
    return fits


def on_grid(rows: Rows) -> Array:
    """Return the largest integer of each group whose weights are all multiples of one step, 0 for the other groups: (groups,) int64.

    The coarsest such step counts, and no integer is larger than 255; a group without weights has 1.
    """
    kept = rows.weights != 0
    weights, owner = rows.weights[kept], rows.owner[kept]
    order = np.argsort(owner, kind="stable")
    weights, owner = weights[order], owner[order]
    counts = np.bincount(owner, minlength=rows.groups)
    start = np.concatenate([[0], np.cumsum(counts)])
    largest = rows.largest(rows.weights)
    ratio = weights / largest[owner]
    found = np.where(counts == 0, 1, 0)
    place = np.arange(owner.size) - start[owner]
    probe = place < _PROBES
    for step in range(1, _LARGEST + 1):
        likely = found == 0
        if not likely.any():
            break
        at = probe & likely[owner]
        likely &= np.bincount(owner[at], ~fits_grid(ratio[at] * step), rows.groups) == 0
        for group in np.flatnonzero(likely):
            if fits_grid(ratio[start[group] : start[group + 1]] * step).all():
                found[group] = step
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Integers:
    """Weights as integers.

    Args:
        values: (w,) int64, one for each of `Rows.weights`.
        scale: (groups,) float64, integers per unit of the real weights.
        lossless: (groups,) bool.
        clipped: number of weights beyond the largest integer.
        zeroed: number of weights that became 0.
        sqnr_db: see `nmap.quantized.LayerLoss`.
    """

    values: Array
    scale: Array
    lossless: Array
    clipped: int
    zeroed: int
    sqnr_db: float | None


def integers(rows: Rows, grid: Array, bits: int, most: Array, threshold: Array) -> Integers:
    """Return the weights in integers of some bits, or on their own grid.

    Args:
        rows: the weights.
        grid: (groups,) int64, largest integer of a group that lies on a grid, 0 for others; see `on_grid`.
        bits: of the weights of the others, -(2^(bits-1) - 1) to 2^(bits-1) - 1.
        most: (groups,) float64, scale that the other fields of a neuron allow.
        threshold: (groups,) float64, a number that becomes an integer where the weights leave a choice; 0 for none.
    """
    top = 2 ** (bits - 1) - 1
    largest = rows.largest(rows.weights)
    held = np.where(largest > 0, largest, 1)
    own = np.where(largest > 0, grid / held, np.minimum(most, 1.0))
    lossless = (grid > 0) & (own <= most * (1 + TOLERANCE))
    scale, least = np.where(lossless, own, 0.0), np.full(rows.groups, np.inf)
    for candidate in _candidates(top, held, most, threshold):
        error = rows.total((np.clip(np.rint(rows.weights * candidate[rows.owner]), -top, top) / candidate[rows.owner] - rows.weights) ** 2)
        better = ~lossless & (error < least)
        scale, least = np.where(better, candidate, scale), np.where(better, error, least)
    wanted = rows.weights * scale[rows.owner]
    values = np.rint(wanted)
    loose = ~lossless[rows.owner]
    clipped = int((loose & (np.abs(values) > top)).sum())
    values = np.where(loose, np.clip(values, -top, top), values).astype(np.int64)
    zeroed = int(((values == 0) & (rows.weights != 0)).sum())
    noise = float((((values / scale[rows.owner] - rows.weights) ** 2)[loose]).sum())
    signal = float((rows.weights**2).sum())
    return Integers(values, scale, lossless, clipped, zeroed, None if noise == 0 else float(10 * np.log10(signal / noise)))


def _candidates(top: int, largest: Array, most: Array, threshold: Array) -> Iterator[Array]:
    for share in _SHARES:
        scale = np.minimum(top / (share * largest), most)
        whole = np.floor(threshold * scale * (1 + TOLERANCE))
        yield np.where(whole > 0, whole / np.where(threshold > 0, threshold, 1), scale)


def biases(network: Network, name: str, gain: Array) -> Array:
    """Return what the projections' biases add to v in every step, (n,) float64."""
    into: list[Projection] = [p for p in network.projections if p.target == name and p.bias is not None]
    total = np.zeros_like(gain)
    for p in into:
        total = total + gain * p.bias
    return total
