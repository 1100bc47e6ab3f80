"""How the cores of the two chips store neurons and synapses: numbers only.

The arithmetic stands in `demand.py`, and once more in `measure.py`, which checks it. The sources are in the chips' data files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["LOIHI1", "LOIHI2", "MODELS", "MemoryModel", "Profile"]


@dataclass(frozen=True, slots=True)
class Profile:
    """A table of parameter sets on a core, one entry for each distinct set that its neurons have.

    Args:
        resource: name in the chip data.
        params: kernel parameters that make up an entry.
        most: entries of the table.
    """

    resource: str
    params: tuple[str, ...]
    most: int


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """The memory of a core, in words of 64 bits.

    Args:
        resources: names in the chip data, in its order.
        dense_index: index bits of a synapse of an axon that reaches all neurons of a slice.
        sparse_index: index bits of a synapse that is listed, those of listed convolutions too.
        delay: bits of the delay of every synapse of a projection with delays.
        header: bits before a run of synapses of an axon.
        run: synapses that one header serves at most; the bits of a run are rounded up to words.
        shared_kernels: the neurons of a core share the kernel rows of a convolution without delay; False lists all convolutions.
        neuron_words: words of a neuron's state by kernel, 1 where a kernel is not named.
        profiles: tables of parameter sets.
    """

    resources: tuple[str, ...]
    dense_index: int
    sparse_index: int
    delay: int
    header: int
    run: int
    shared_kernels: bool
    neuron_words: Mapping[str, int] = field(default_factory=dict)
    profiles: tuple[Profile, ...] = ()


LOIHI2: Final = MemoryModel(
    resources=("neurons", "neuron_groups", "synapse_memory", "input_axons", "axon_map", "axon_words", "memory_words"),
    dense_index=12, sparse_index=12, delay=0, header=10, run=1 << 31, shared_kernels=True, neuron_words={"loihi2.atrlif": 2},
)
LOIHI1: Final = MemoryModel(
    resources=(
        "neurons", "synapse_memory", "input_axons", "output_axons", "compartment_configs", "threshold_configs", "synapse_formats",
    ),
    dense_index=0, sparse_index=10, delay=6, header=10, run=64, shared_kernels=False,
    profiles=(Profile("compartment_configs", ("du", "dv"), 32), Profile("threshold_configs", ("vth",), 8)),
)
MODELS: Final[Mapping[str, MemoryModel]] = {"loihi1": LOIHI1, "loihi2": LOIHI2}
"""By target name."""
