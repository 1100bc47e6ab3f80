"""What a mapped network does per step: synaptic operations, neuron updates, spikes. Targets turn that into time and energy.

Everything is counted in whole numbers from spike counts, in closed form: a convolution's synapses are never listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Literal

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, frozen_array
from nmap.mapping import Shard
from nmap.network import Network
from nmap.program import ConvTile, Core, Program, Routes, Slice, slice_indices, slice_size
from nmap.quantized import QuantizedNetwork

if TYPE_CHECKING:
    from nmap.report.model import Traffic

__all__ = ["Activity", "Load", "activity_of_rates", "load_of", "load_of_program", "operations"]


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """Spikes that were counted.

    Args:
        level: `chip` for the emulated program, `float` for the network as read.
        samples: number of samples run.
        steps: chip steps of one sample, those that the last output runs behind included.
        counts: spikes of each neuron over all samples and steps, (n,) int64 by population, input ports included. A graded spike is one.
        behind: how many of the steps the network itself does not have: those that the last output runs behind.
    """

    level: Literal["chip", "float"]
    samples: int
    steps: int
    counts: dict[str, Array]
    behind: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """What the cores do, summed over every step of every sample.

    Args:
        cores: the used cores.
        operations: (cores,) int64 synaptic operations: spikes times the synapses that they reach on the core.
        updates: (cores,) int64 neurons updated in one step: all that lie on the core.
        spikes: (cores,) int64 spikes that the core's neurons send.
        activity: what it was counted from.
        packets, hops: per chip step, from the mapping's traffic: packets to other cores, and the links that they pass; None when not known.
        settings: those of the quantized network.
    """

    cores: tuple[Core, ...]
    operations: Array
    updates: Array
    spikes: Array
    activity: Activity
    packets: float | None = None
    hops: float | None = None
    settings: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("operations", "updates", "spikes"):
            object.__setattr__(self, name, frozen_array(getattr(self, name), np.int64))

    @property
    def runs(self) -> int:
        """Steps over all samples."""
        return self.activity.samples * self.activity.steps


def activity_of_rates(rates: Mapping[str, Array], samples: int, steps: int, network: QuantizedNetwork) -> Activity:
    """Return the activity behind mean rates of the network in real numbers.

    The chip computes the same steps within `network.latency` more of its own. Populations that only the chip has are taken to spike in
    every step.

    Args:
        rates: share of steps in which each neuron spikes, (n,) float64 by population.
        samples: number of samples that the rates are the mean of, at least 1.
        steps: the network's own steps of one sample, at least 1.
        network: what was quantized.
    """
    runs = samples * steps
    counts = {
        p.name: np.rint(rates[p.name].ravel() * runs).astype(np.int64) if p.name in rates else np.full(p.size, runs, np.int64)
        for p in network.populations
    }
    return Activity("float", samples, steps + network.latency, counts, network.latency)


def operations(connectivity: Connectivity, part: Slice, shape: tuple[int, ...], counts: Array) -> int:
    """Return the synaptic operations that spikes cause on the neurons of a slice.

    A convolution has one per spike and non-zero weight whose target lies inside the slice, which is what Loihi 2's own counter says (see
    the tests of PilotNet); a dense or listed connection has one per spike and stored synapse, zero weights included.

    Args:
        connectivity: the projection.
        part: neurons of its target population; a box for a convolution.
        shape: of the target population.
        counts: spikes of each source neuron, (sources,) integers.

    Raises:
        ValueError: the targets of a convolution are not a box.
    """
    if isinstance(connectivity, Conv2d):
        if not isinstance(part, tuple):
            raise ValueError("the targets of a convolution are not a box")
        return _conv_operations(connectivity, part, counts.reshape(connectivity.in_shape))
    if isinstance(connectivity, Dense):
        return int(counts.sum()) * slice_size(part)
    return int(counts[connectivity.indices[connectivity.entries(slice_indices(part, shape))]].sum())


def _conv_operations(conv: Conv2d, box: tuple[tuple[int, int], ...], counts: Array) -> int:
    (low, high), rows, columns = box
    channels, per_in, per_out = conv.weights.shape[0], conv.in_shape[0] // conv.groups, conv.weights.shape[0] // conv.groups
    first, last = low // per_out, (high - 1) // per_out + 1
    kernel = np.zeros((channels, *conv.weights.shape[1:]), bool)
    kernel[low:high] = conv.weights[low:high] != 0
    # Targets that a spike of each channel reaches by each tap.
    reached = kernel.reshape(conv.groups, per_out, *kernel.shape[1:]).sum(1, dtype=np.int64)[first:last].reshape(-1, *conv.kernel_size)
    heard = counts[first * per_in : last * per_in]
    total = 0
    for a in range(conv.kernel_size[0]):
        _, lines = conv.overlap(0, a, rows)
        for b in range(conv.kernel_size[1]):
            _, places = conv.overlap(1, b, columns)
            spikes = heard[:, lines, places].sum((1, 2), dtype=np.int64)
            total += int((spikes * reached[:, a, b]).sum())
    return total


def load_of(
    network: QuantizedNetwork | Network, shards: Sequence[Shard], cores: Sequence[Core], activity: Activity, traffic: Traffic | None = None,
) -> Load:
    """Return what the cores of a mapped network do.

    Args:
        network: connectivities and shapes by name.
        shards: all neurons; clusters are indices of `cores`.
        cores: the used cores.
        activity: counted spikes.
        traffic: packets and hops of the placement in a step of the network, under the rates that it was made for.
    """
    shapes = {p.name: p.shape for p in network.populations}
    done, sent, updates = ([0] * len(cores) for _ in range(3))
    for shard in shards:
        k, shape = shard.cluster, shapes[shard.population]
        updates[k] += slice_size(shard.slice)
        own = activity.counts[shard.population]
        if slice_size(shard.slice) == prod(shape):
            sent[k] += int(own.sum())
        else:
            sent[k] += int(own[slice_indices(shard.slice, shape)].sum())
        for projection in network.projections:
            if projection.target == shard.population:
                done[k] += operations(projection.connectivity, shard.slice, shape, activity.counts[projection.source])
    packets, passed = _per_step(activity, traffic)
    settings = dict(network.settings) if isinstance(network, QuantizedNetwork) else {}
    return Load(
        tuple(cores), np.array(done, np.int64), np.array(updates, np.int64), np.array(sent, np.int64), activity, packets, passed, settings
    )


def _per_step(activity: Activity, traffic: Traffic | None) -> tuple[float | None, float | None]:
    """Return packets and hops per chip step: those of the network's steps, spread over the chip's."""
    if traffic is None:
        return None, None
    hops = traffic.multicast_hops if traffic.kind == "multicast" else traffic.unicast_hops
    share = (activity.steps - activity.behind) / activity.steps
    return traffic.packets * share, None if hops is None else hops * share


def load_of_program(program: Program, activity: Activity, traffic: Traffic | None = None) -> Load:
    """Return what the cores of a program do, its copies of neurons included.

    An operation is a spike on an axon and a synapse of that axon whose weight is not 0.

    Args:
        program: without convolution tiles, as targets with copies build it.
        activity: counted spikes of the network's populations.
        traffic: as for `load_of`.

    Raises:
        ValueError: the program has a convolution tile.
    """
    done, sent, updates = ([0] * len(program.cores) for _ in range(3))
    axons = [0] * len(program.cores)
    for block in program.blocks:
        axons[block.core] = max(axons[block.core], block.axon + block.axons)
    arriving = [np.zeros(count, np.int64) for count in axons]

    def spread(routes: Routes, counts: Array) -> None:
        each = np.repeat(counts, np.diff(routes.indptr))
        for core in np.unique(routes.core).tolist():
            here = routes.core == core
            np.add.at(arriving[core], routes.axon[here], each[here])

    for index, routes in program.inputs.items():
        spread(routes, activity.counts[program.populations[index].name].ravel())
    for group, routes in zip(program.groups, program.routes, strict=True):
        origin, neurons = program.computed(group)
        counts = activity.counts[program.populations[origin].name].ravel()[neurons]
        updates[group.core] += group.size
        sent[group.core] += int(counts.sum())
        spread(routes, counts)
    for block in program.blocks:
        synapses = block.synapses
        if isinstance(synapses, ConvTile):
            raise ValueError("a program with convolution tiles is counted by `load_of`")
        spikes = arriving[block.core][block.axon : block.axon + block.axons]
        if isinstance(synapses, Dense):
            done[block.core] += int(spikes @ np.count_nonzero(synapses.weights, axis=0))
        else:
            done[block.core] += int(spikes[synapses.indices[synapses.weights != 0]].sum())
    packets, passed = _per_step(activity, traffic)
    return Load(
        program.cores, np.array(done, np.int64), np.array(updates, np.int64), np.array(sent, np.int64), activity, packets, passed,
        dict(program.settings),
    )
