"""Synapses in Loihi 2's integers: which weights a matrix can hold, with which exponent, and what of them is lost.

The grids are those of `lava/proc/dense/models.py` and `lava/utils/weightutils.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.diagnostics import Findings
from nmap.network import Network, Population, Projection, SigmaDelta
from nmap.options import Options
from nmap.quantize.timing import Timing
from nmap.quantized import LayerLoss, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.spec import ChipSpec
from nmap_loihi2.relays import relay

__all__ = ["Grid", "Job", "Made", "Sign", "Tally", "connect", "counted", "grid", "infer_sign", "scaled", "shared_scale", "split_signs"]

_SPARSE_BELOW = 0.5
"""A dense matrix with fewer non-zero weights than this share is stored synapse by synapse: zeros cost as much as weights."""
_MANY_ZEROED = 0.25
"""Share of weights rounded to zero above which a warning says so; the table of losses counts them always."""
_GRADED_BITS = 24
"""Width of the messages of sigma-delta neurons: Lava 0.10.0, `proc/sdn/models.py`, s_out int32 with precision 24."""

Sign = Literal["mixed", "excitatory", "inhibitory"]


def counted(number: int, noun: str) -> str:
    """Return `1 neuron` or `5 neurons`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One population to be quantized, and what that depends on."""

    network: Network
    population: Population
    timing: Timing
    spec: ChipSpec
    options: Options
    findings: Findings

    @property
    def name(self) -> str:
        """The population's name."""
        return self.population.name

    @property
    def where(self) -> str:
        """Its place in the file."""
        return str(self.population.where)

    @property
    def bits(self) -> int:
        """Weight bits."""
        return self.options.bits or int(self.spec.limits["weight_bits"].max)

    @property
    def latency(self) -> int:
        """Chip steps by which the population's own step is later than the network's."""
        return self.timing.latency[self.name]

    @property
    def afferents(self) -> list[Projection]:
        """Projections into the population, in the network's order."""
        return [p for p in self.network.projections if p.target == self.name]

    @property
    def weights(self) -> dict[str, Array]:
        """Real weights by projection, float64, in the connectivity's own layout."""
        return {p.name: np.asarray(p.connectivity.weights, np.float64) for p in self.afferents}

    def message_bits(self, source: str) -> int:
        """Return the width of the payloads that a population sends; 0 for binary spikes."""
        if source in self.network.inputs:
            return self.options.message_bits
        return _GRADED_BITS if isinstance(self.network[source].neuron, SigmaDelta) else 0

    def whole(self, values: Array, what: str, limit: str) -> Array:
        """Return values rounded to integers (n,) int64 within a field; what does not fit is an error (NM305) and becomes 0."""
        bound, rounded = self.spec.limits[limit], np.rint(values)
        outside = (rounded < bound.min) | (rounded > bound.max)
        if outside.any():
            worst = float(rounded[np.maximum(bound.min - rounded, rounded - bound.max).argmax()])
            number = counted(int(np.count_nonzero(outside)), "neuron")
            self.findings.error(
                "NM305", f"{what} of {number} of `{self.name}` is outside {bound.min}..{bound.max}: {worst:.10g}",
                where=self.where, why=bound.source,
            )
        kept: Array = np.where(outside, 0, rounded).astype(np.int64)
        return kept


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A population in integers: itself and its helpers, what leads to them, and what was lost."""

    populations: list[QuantizedPopulation]
    projections: dict[str, QuantizedProjection]
    loss: LayerLoss


@dataclass(frozen=True, slots=True)
class Grid:
    """Weights a sign mode can hold: low..high in steps of `step`."""

    sign: Sign
    step: int
    low: int
    high: int


def infer_sign(weights: Array) -> Sign:
    """Return the sign mode Lava infers from a whole matrix (`lava/utils/weightutils.py determine_sign_mode`); zeros are excitatory."""
    if weights.size == 0 or weights.min() >= 0:
        return "excitatory"
    return "inhibitory" if weights.max() <= 0 else "mixed"


def grid(weights: Array, bits: int) -> Grid:
    """Return the grid of a whole matrix."""
    sign = infer_sign(weights)
    step = 1 << (8 - bits + (sign == "mixed"))
    if sign == "mixed":
        return Grid(sign, step, -256, 256 - step)
    return Grid(sign, step, 0, 256 - step) if sign == "excitatory" else Grid(sign, step, step - 256, 0)


def _plain_grid(cells: Grid, weights: Array, alone: bool) -> Grid:
    """Return the weights of a grid that a file without bits and sign modes keeps (`nmap_loihi2.netx.applied_weights`).

    Odd weights, -255 and 255 get lost in a matrix that is nowhere positive, or that shares bits with others; so does -256 where the
    positive weights round to 0.
    """
    nowhere = cells.sign == "inhibitory" or (
        cells.sign == "mixed" and float(weights.max()) * cells.low / float(weights.min()) <= cells.step / 2
    )
    if alone and not nowhere:
        return cells
    step = max(cells.step, 2)
    return Grid(cells.sign, step, max(cells.low, step - 256) if nowhere else cells.low, min(cells.high, 256 - step))


@dataclass(slots=True)
class Tally:
    """Weights lost so far, and the energies of the wanted weights and of their error.

    Args:
        clipped: beyond the grid; the farthest of them is `farthest`, in units of the wanted weights, and `held` is what its grid holds.
        zeroed: wanted other than 0 and stored as 0; nonzero: wanted other than 0; inexact: stored as another value.
        broken: wanted with a fraction, which the shift of a sum drops.
        moved: of the weights on the grid, the one stored with the largest error: as wanted and as stored, in units of the wanted ones.
        signal, noise: sums of squares.
    """

    clipped: int = 0
    zeroed: int = 0
    nonzero: int = 0
    inexact: int = 0
    broken: int = 0
    signal: float = 0.0
    noise: float = 0.0
    farthest: float = 0.0
    held: tuple[float, float] = (0.0, 0.0)
    moved: tuple[float, float] = (0.0, 0.0)

    @property
    def sqnr_db(self) -> float | None:
        """Signal to noise of the weights in decibel, None where nothing was lost."""
        return 10 * float(np.log10(self.signal / self.noise)) if self.noise > 0 and self.signal > 0 else None

    def add(self, wanted: Array, realised: Array, cells: Grid, shift: float) -> None:
        """Count one matrix; `shift` is what a step of its stored integers is worth in units of the wanted weights."""
        error = np.abs(wanted - realised)
        beyond = error > (0.5 + 1e-6) * cells.step * shift
        self.clipped += int(np.count_nonzero(beyond))
        if beyond.any():
            lost = wanted[beyond]
            farthest = float(lost[np.abs(lost).argmax()])
            if abs(farthest) > abs(self.farthest):
                self.farthest, self.held = farthest, (cells.low * shift, cells.high * shift)
        near = np.where(beyond, 0, error)
        if near.max(initial=0) > abs(self.moved[0] - self.moved[1]):
            worst = int(near.argmax())
            self.moved = (float(wanted.flat[worst]), float(realised.flat[worst]))
        self.zeroed += int(np.count_nonzero((wanted != 0) & (realised == 0)))
        self.nonzero += int(np.count_nonzero(wanted))
        self.inexact += int(np.count_nonzero(error))
        self.broken += int(np.count_nonzero(wanted % 1))
        self.signal += float((wanted**2).sum())
        self.noise += float((error**2).sum())


def split_signs(job: Job, real: dict[str, Array]) -> dict[str, Grid]:
    """Return the grid of each matrix; a sign mode that so few bits cannot hold is an error (NM004)."""
    grids = {name: grid(w, job.bits) for name, w in real.items()}
    if job.options.plain:
        grids = {name: _plain_grid(cells, real[name], len(grids) == 1) for name, cells in grids.items()}
    unholdable = [name for name, w in real.items() if grids[name].high == 0 and w.max(initial=0) > 0]
    if unholdable:
        job.findings.error(
            "NM004",
            f"--bits {job.bits} holds no positive weight of a matrix with both signs: {', '.join(f'`{name}`' for name in unholdable)}",
            where=job.where, why="One bit goes to the sign; what is left are the values -256 and 0.", help=("use --bits 2 or more",),
        )
    return grids


def scaled(connectivity: Connectivity, factor: Array) -> Array:
    """Return the real weights times each target's factor, in the connectivity's own layout."""
    w = np.asarray(connectivity.weights, np.float64)
    if isinstance(connectivity, Dense):
        return w * factor[:, None]
    if isinstance(connectivity, Sparse):
        return w * factor[connectivity.targets]
    return w * factor.reshape(connectivity.out_shape[0], -1)[:, 0][:, None, None, None]


def shared_scale(real: dict[str, Array], grids: dict[str, Grid]) -> float:
    """Return the largest scale at which every matrix fits its grid."""
    bounds = []
    for name, w in real.items():
        high, low = w.max(initial=0), w.min(initial=0)
        if high > 0 and grids[name].high > 0:
            bounds.append(grids[name].high / high)
        if low < 0:
            bounds.append(grids[name].low / low)
    return float(min(bounds)) if bounds else 1.0


@dataclass(slots=True)
class Connected:
    """The synapses into a population.

    Args:
        projections: by name.
        relays: populations that delay what a convolution reads.
        tally: what was lost.
        bits: of the widest weights.
    """

    projections: dict[str, QuantizedProjection] = field(default_factory=dict)
    relays: list[QuantizedPopulation] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    bits: int = 0


def connect(
    job: Job, real: dict[str, Array], grids: dict[str, Grid], scale: float, exponent: int, integer: bool, taken: set[str]
) -> Connected:
    """Store the weights into a population and tell what they lose.

    Args:
        job: the population.
        real: by projection, the weights in the network's own units, gains included, in the connectivity's layout.
        grids: by projection.
        scale: stored units, before the exponent, per unit of `real`.
        exponent: shared by all.
        integer: the network's weights are integers that the chip should hold as they are.
        taken: names of populations and projections; receives new ones.
    """
    made = Connected(bits=0 if job.afferents else job.bits)
    for p in job.afferents:
        cells = grids[p.name]
        stored, e = _store(real[p.name], cells, scale, exponent, integer)
        shift = 2.0 ** (e - exponent)
        made.tally.add(real[p.name] * scale, stored * shift, cells, shift)
        width = _width(stored, cells, job.bits) if integer else job.bits
        made.bits = max(made.bits, width)
        bits, connectivity = job.message_bits(p.source), _encode(p, stored)
        source, delay = p.source, job.timing.delay[p.name]
        if isinstance(connectivity, Conv2d) and delay:
            late, feed = relay(p, connectivity, delay, job.timing.spikes[p.source], bits, taken)
            taken.add(late.name)
            made.relays.append(late)
            made.projections[feed.name] = feed
            source, delay = late.name, 0
        made.projections[p.name] = QuantizedProjection(
            p.name, source, p.target, connectivity, SynapseFormat(width, e, cells.sign, bits), delay, p.where,
            _encode_delays(p, connectivity, stored), 1 if p.receptor == "imaginary" else 0,
        )
    _report(job, made.tally, min((g.step for g in grids.values()), default=1) / scale, scale, integer)
    return made


def _store(real: Array, cells: Grid, scale: float, exponent: int, integer: bool) -> tuple[Array, int]:
    """Return the stored integer weights and the exponent that goes with them.

    A matrix with room on its grid is stored shifted up, with an exponent as much smaller: the scale of its effect stays the shared one.
    The integers of a file are shifted as far as there is room, which leaves their low bits empty and loses nothing of their sums; real
    weights as far as the exponent stays at 0 or above, since a negative one rounds sums down. (The emitted program gives a convolution
    its weights without the shift: Lava's has no exponent.)
    """
    wanted = real * scale
    room = 0
    while room < 7 and wanted.max(initial=0) * 2.0 ** (room + 1) <= cells.high and wanted.min(initial=0) * 2.0 ** (room + 1) >= cells.low:
        room += 1
    shift = room if integer else min(room, max(exponent, 0))
    stored = np.clip(np.rint(wanted * 2.0**shift / cells.step) * cells.step, cells.low, cells.high).astype(np.int32)
    return stored, exponent - shift


def _width(stored: Array, cells: Grid, bits: int) -> int:
    """Return the fewest bits that hold stored integers: their empty low bits take no memory (as lava-dl netx counts them)."""
    empty = next((k for k in range(8) if (stored & (1 << k)).any()), 8)
    return max(1, min(bits, 8 - empty + (cells.sign == "mixed")))


def _encode(p: Projection, stored: Array) -> Connectivity:
    if isinstance(p.connectivity, Dense) and np.count_nonzero(stored) < _SPARSE_BELOW * stored.size:
        return Sparse.from_dense(stored)
    return p.connectivity.with_weights(stored)


def _encode_delays(p: Projection, connectivity: Connectivity, stored: Array) -> Array | None:
    if p.delays is not None and isinstance(p.connectivity, Dense) and isinstance(connectivity, Sparse):
        return p.delays[stored != 0]
    return p.delays


def _report(job: Job, tally: Tally, step: float, scale: float, integer: bool) -> None:
    """Tell what the weights lost; `step` is the smallest difference of two weights, in the network's own units."""
    bits, name, where, findings = job.bits, job.name, job.where, job.findings
    if tally.clipped:
        low, high = (end / scale for end in tally.held)
        more = f" and {counted(tally.clipped - 1, 'other weight')} are" if tally.clipped > 1 else " is"
        findings.warning(
            "NM301", f"{tally.farthest / scale:.6g} into `{name}`{more} clipped: {bits} bits hold {low:.6g} to {high:.6g}", where=where,
            why=f"The range is that of the matrix with the farthest weight ({job.spec.limits['weight_mixed'].source}).",
        )
    if tally.zeroed > _MANY_ZEROED * tally.nonzero:
        findings.warning(
            "NM302", f"{tally.zeroed} of {tally.nonzero} weights into `{name}` round to 0", where=where,
            why=f"One weight step is {step:.3g}; a few large weights set the scale of all.",
            help=("clip or regularise outlying weights in training", *(("use more bits: --bits 8",) if bits < 8 else ())),
        )
    if integer and tally.inexact > tally.clipped:
        findings.warning(
            "NM302",
            f"the chip's grid lacks {counted(tally.inexact - tally.clipped, 'integer weight')} into `{name}`: {tally.moved[0] / scale:.6g}"
            f" becomes {tally.moved[1] / scale:.6g}",
            where=where, why=f"{bits} bits of a matrix with both signs hold even integers from -256 to 254, or half of them, and so on.",
        )
    if integer and tally.broken:
        findings.warning(
            "NM302", f"{counted(tally.broken, 'weight')} into `{name}` with a fraction: the sums of these are rounded down", where=where,
            why="The membrane takes whole weight units; what an exponent shifts out of a sum is lost.",
        )
