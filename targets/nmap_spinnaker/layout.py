"""What sPyNNaker 7.4.1 lays out for a slice of neurons: bytes of SDRAM and DTCM, rows of synapses, tables, instructions of a tick.

SDRAM is what sPyNNaker itself asks for, region by region (read in `population_vertex.py`, `synaptic_matrices.py`, `master_pop_table.py`,
`bit_field_utilities.py`, and compared with its vertices in virtual mode). It counts every slice of a population like its largest one.

    cells       692 + core parameters 28 + 4 n + twice the neurons 4 + 4 w n + recording 52 + 8 e + builder 196 + 8 q + 24 q n + 8 e
                (w words a neuron, q = w + 1 parameters, e = n rounded up to even)
    matrix      rows of all source neurons, each 3 words and the longest row's words, from multiples of 16 bytes on; sources in multiples of
                their own neurons a core
    tables      population table 8 + 20 a source population + 4 a projection; filters 8 + 32 a source population + its bits in words;
                builder 92 + 4 a source population.

DTCM is not stated by sPyNNaker. Ring buffers are 2 bytes times 2^(neuron bits + 1 + delay bits); neurons take their words, keys and
recording lists; two rows are fetched at a time; a received key waits in 4 bytes. `ALLOWANCE` is ours, for everything else.

The ring buffers of a core have 2^14 slots at most. sPyNNaker passes a spike whose delay does not fit through a delay-extension core, whose
rows version 7.4.1 lays out by the target's neurons per core instead of the source's, so that synapses are lost without a word. A core
therefore holds only as many neurons as leave room for the longest delay of their population (`cells_at_most`).

Instructions were counted on the shipped binaries: a tick takes 582 and 113.2 a neuron, a received row 453 and 25.0 a synapse in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache

from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap_spinnaker.arithmetic import RING_BITS, field_bits

__all__ = [
    "ALLOWANCE", "ASSUMED_RATE", "CELLS_PER_CORE", "CHIP_SDRAM", "FULL_TICK", "GATHERER_SDRAM", "LONGEST_DELAY", "LONGEST_ROW",
    "MANY_SPIKES", "MONITOR_SDRAM", "MOST_KEYS", "SOURCE", "SOURCES_PER_CORE", "WORDS", "align", "busy_of", "cells_at_most", "cells_dtcm",
    "cells_sdram", "duration_us", "matrix_sdram", "own_ticks", "places_of", "population_delay", "population_dtcm", "received", "ring_bytes",
    "rows_dtcm", "source_sdram", "spike_buffer", "spike_ticks", "steps_of", "tables_sdram",
]

SOURCE = "spinnaker1.source"
"""Kernel of the populations that stand for a SpikeSourceArray."""
WORDS = {"spinnaker1.if_curr_exp": 15, "spinnaker1.if_curr_delta": 13, "spinnaker1.if_trunc": 11}
"""Words of parameters and state of a neuron, by kernel."""
CELLS_PER_CORE = 256
SOURCES_PER_CORE = 2048
LONGEST_ROW = 256
"""Words that a row can have (master_pop_table.py)."""
CHIP_SDRAM = 123_469_792
"""Bytes of a chip's SDRAM (version_spin1.py)."""
MONITOR_SDRAM = 488_476
GATHERER_SDRAM = 477_250
"""Bytes that the monitor of every chip and the gatherer of an Ethernet chip take, as placed in virtual mode."""
LONGEST_DELAY = 1 << (RING_BITS - 2)
"""Steps of delay that ring buffers can hold: the receptor takes one bit, and the neuron one even where a core has only one."""
MANY_SPIKES = 100
"""Spikes of a SpikeSourceArray in one step above which sPyNNaker warns (spike_source_array_vertex.py)."""
ALLOWANCE = 4096
"""Bytes of DTCM for population tables, event queues and recording lists' headers, ours."""
MOST_KEYS = 4096
"""Keys that a core's buffer of received spikes is given at most."""
FULL_TICK = 1_000_000_000
"""Billionths of a tick in a tick."""
ASSUMED_RATE = 30
"""Hz of a neuron whose population's busiest step is not known, sPyNNaker's own default."""
_CYCLES = Fraction(13, 10)
"""Cycles an instruction: the safe end of 1 to 1.3, since memory is not modelled."""
_CYCLES_PER_US = 200
_CORE, _NEURON, _ROW, _SYNAPSE = Fraction(582), Fraction(1132, 10), Fraction(453), Fraction(25)


# ---- SDRAM ------------------------------------------------------------------------------------------------------------------------------


def align(address: int) -> int:
    """Return the next multiple of 16: matrices are addressed in such units."""
    return -(-address // 16) * 16


def cells_sdram(kernel: str, neurons: int) -> int:
    """Return the bytes of a slice without synapses, recordings left out.

    Args:
        kernel: a key of `WORDS`.
        neurons: of the population's largest slice.
    """
    words, even = WORDS[kernel], neurons + neurons % 2
    builder = 196 + 8 * (words + 1) + 24 * (words + 1) * neurons + 8 * even
    return 692 + (28 + 4 * neurons) + 2 * (4 + 4 * words * neurons) + (52 + 8 * even) + builder


def source_sdram(sources: int) -> int:
    """Return at most what a SpikeSourceArray's slice takes: 512 bytes, and the packets of one step where all of its sources spike.

    A packet takes 4 bytes, and every message of 68 of them 6 more.
    """
    return 518 + 5 * sources


def matrix_sdram(address: int, sources: int, per_core: int, words: int) -> int:
    """Return where a matrix that begins behind `address` ends.

    Args:
        address: bytes.
        sources: rows, those of neurons of the source population.
        per_core: neurons of the largest slice of the source population.
        words: of the longest row; 0 takes nothing.
    """
    if not words:
        return address
    for _ in range(-(-sources // per_core)):
        address = align(address) + min(per_core, sources) * 4 * (3 + words)
    return address


def tables_sdram(sources: list[int], projections: int) -> int:
    """Return the bytes of population table, filters and builder.

    Args:
        sources: neurons of every source population.
        projections: rows' matrices.
    """
    filters = 8 + sum(32 + 4 * -(-size // 32) for size in sources)
    return 8 + 20 * len(sources) + 4 * projections + filters + 92 + 4 * len(sources)


# ---- DTCM -------------------------------------------------------------------------------------------------------------------------------


def steps_of(delay: int) -> int:
    """Return the steps that the ring buffers of a population are made for: the least power of 2 from 2 on that is not below `delay`.

    Args:
        delay: largest delay of the population's synapses in steps, at least 1. As many steps as the ring has are the step itself, whose
            slot has been read before.
    """
    return 1 << field_bits(delay)


def cells_at_most(delay: int) -> int:
    """Return how many neurons a core holds beside ring buffers for so many steps: 256 up to 32 steps, 2 up to 4096, 0 beyond.

    With n neurons, 2 receptors and S steps, ceil(log2 n) + 1 + log2 S may be 14 at most.

    Args:
        delay: as for `steps_of`.
    """
    return min(CELLS_PER_CORE, (1 << (RING_BITS - 1)) // steps_of(delay)) if delay <= LONGEST_DELAY else 0


def places_of(delay: int) -> int:
    """Return how many of a core's 256 places a neuron takes: 256 / `cells_at_most`, a power of 2; more than there are beyond 4096 steps.

    Args:
        delay: as for `steps_of`.
    """
    return CELLS_PER_CORE // cells_at_most(delay) if delay <= LONGEST_DELAY else CELLS_PER_CORE + 1


def ring_bytes(delay: int, neurons: int) -> int:
    """Return the bytes of a core's ring buffers.

    Args:
        delay: as for `steps_of`.
        neurons: of the core, at least 1.
    """
    return 4 * (1 << field_bits(neurons)) * steps_of(delay)


def spike_buffer(busy: Fraction) -> int:
    """Return for how many keys a core's buffer of received spikes is made: sPyNNaker's 256, or a power of 2 above those of a busy step."""
    return min(MOST_KEYS, max(256, 1 << int(busy).bit_length()))


def cells_dtcm(kernel: str, neurons: int) -> int:
    """Return the bytes of the neurons themselves: words, key and four recording indices of two bytes each."""
    return (4 * WORDS[kernel] + 4 + 8) * neurons


def rows_dtcm() -> int:
    """Return the bytes of the two rows that are fetched at a time."""
    return 2 * 4 * (3 + LONGEST_ROW)


def population_dtcm(size: int, delay: int, busy: Fraction) -> int:
    """Return what every core of a population takes, whatever its neurons: rings as for the largest slice that it may have.

    Args:
        size: neurons of the population.
        delay: largest delay of its synapses in steps; 1 without any.
        busy: spikes that it receives in a busy step.
    """
    return ALLOWANCE + rows_dtcm() + ring_bytes(delay, max(1, min(size, cells_at_most(delay)))) + 4 * spike_buffer(busy)


# ---- time -------------------------------------------------------------------------------------------------------------------------------


def duration_us(settings: Mapping[str, int]) -> int:
    """Return how long a tick lasts on the wall: microseconds of a time step times the time scale."""
    return settings.get("timestep_us", 1000) * settings.get("time_scale", 1)


def _billionths(instructions: Fraction, settings: Mapping[str, int]) -> int:
    share = instructions * _CYCLES * FULL_TICK / (_CYCLES_PER_US * duration_us(settings))
    return -(-share.numerator // share.denominator)


def own_ticks(settings: Mapping[str, int]) -> tuple[int, int]:
    """Return what a core's tick takes without any spike, and what each neuron adds: billionths of a tick."""
    return _billionths(_CORE, settings), _billionths(_NEURON, settings)


def busy_of(busy: float | None, size: int, settings: Mapping[str, int]) -> Fraction:
    """Return how many spikes a population sends in a busy step: those of the samples, else 30 Hz a neuron."""
    if busy is not None:
        return Fraction(busy)
    return Fraction(size * ASSUMED_RATE * settings.get("timestep_us", 1000), 1_000_000)


def spike_ticks(busy: float | None, size: int, settings: Mapping[str, int]) -> tuple[int, int]:
    """Return what a source neuron costs a core that has a row of it, and what every synapse of the row adds: billionths of a tick.

    Both are for a busy step, whose spikes are shared out evenly over the source population.
    """
    each = busy_of(busy, size, settings) / size
    return _billionths(_ROW * each, settings), _billionths(_SYNAPSE * each, settings)


def population_delay(network: QuantizedNetwork, population: str) -> int:
    """Return the largest delay of a population's synapses in steps, counted as sPyNNaker does from 1 on; 1 without synapses."""
    return max((_slowest(p) for p in network.afferents(population) if p.connectivity.synapses), default=1)


@lru_cache(maxsize=512)
def _slowest(projection: QuantizedProjection) -> int:
    return 1 + projection.delay + (0 if projection.delays is None else int(projection.delays.max(initial=0)))


def received(network: QuantizedNetwork, population: QuantizedPopulation) -> Fraction:
    """Return how many spikes may reach one core of a population in a busy step; every source population counts once."""
    sources = {p.source for p in network.afferents(population.name) if p.connectivity.synapses}
    return sum((busy_of(network[name].busy, network[name].size, network.settings) for name in sorted(sources)), Fraction(0))
