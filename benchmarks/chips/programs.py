"""Random programs of other chips' shape, each for the chip's own neuron or for Loihi 2's LIF on the same cores, synapses and routes.

Activity comes from the neurons: leak or offset brings them to their thresholds about every 100 (TrueNorth) or 50 steps (SpiNNaker), and
synapses whose mean is about zero spread their times. Weights are held in arrays of 8 bits where they fit, read-only, so that a program of
4096 dense cores is 268 MB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, prod

import numpy as np

from chips.truenorth import NEURON
from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.program import ConvTile, Core, NeuronGroup, Program, ProgramPopulation, Routes, SynapseBlock
from nmap_akida.kernels import BINARY, GRADED
from nmap_loihi2.kernels import KERNELS as LOIHI2
from nmap_spinnaker.kernels import IF_CURR_EXP
from nmap_spinnaker.second.kernels import LIF
from nmap_spinnaker.second.numbers import bits

__all__ = ["ALL_KERNELS", "Workload", "akida", "spinnaker", "truenorth"]

ALL_KERNELS = {**LOIHI2, **{kernel.name: kernel for kernel in (NEURON, IF_CURR_EXP, LIF, GRADED, BINARY)}}
"""The kernels of every program here by name."""
_SIDE = 256
"""Axons and neurons of a TrueNorth core (Merolla et al. 2014), and neurons of a SpiNNaker core (sPyNNaker's own limit)."""
_LIF = "loihi2.lif"


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """A program with its input.

    Args:
        program: to run with `ALL_KERNELS`.
        inputs: (samples, time, *shape) by port.
        steps: chip steps.
        fan_out: synapses that a spike reaches, zeros left out, (neurons,) int64 by population.
    """

    program: Program
    inputs: dict[str, Array]
    steps: int
    fan_out: dict[str, Array]


def _loihi(threshold: Array, bias: Array | int, du: int, dv: int) -> dict[str, Array]:
    """Return LIF's parameters; threshold and bias in units of a weight of 1, of which Loihi 2 keeps 64ths."""
    exponent = np.zeros(threshold.size, np.int64)
    mantissa = np.broadcast_to(np.asarray(bias, np.int64) * 64, threshold.shape)
    while np.abs(mantissa).max() >= 1 << 15:
        mantissa, exponent = mantissa >> 1, exponent + 1
    return {
        "du": np.full(threshold.size, du), "dv": np.full(threshold.size, dv), "vth": threshold, "bias_mant": mantissa.copy(),
        "bias_exp": exponent,
    }


def _quiet(steps: int) -> dict[str, Array]:
    """Return the input of a port that drives nothing, for networks that are active by themselves."""
    return {"input": np.zeros((1, steps, 1), np.uint8)}


_PORT = ProgramPopulation("input", (1,), 0, True, False)
_NOWHERE = Routes(np.zeros(2), np.zeros(0), np.zeros(0))


def _frozen(weights: Array) -> Array:
    weights.setflags(write=False)
    return weights


def truenorth(cores: int, steps: int, loihi: bool = False, own: bool = True, together: bool = True, seed: int = 0) -> Workload:
    """Return cores of 256 axons and 256 neurons, half of each crossbar set, 1 % of the neurons active in a step.

    Every neuron drives one axon of the chip and every axon is driven by one neuron, so no two spikes meet in an axon's slot, where the
    chip would merge them. Weights are those of an axon's type (0..3) and of the neuron, -3..3.

    Args:
        cores: number of cores, 4096 on the chip.
        steps: ticks.
        loihi: take Loihi 2's LIF with the same thresholds and leaks.
        own: draw thresholds and modes (linear reset or to a value, floor) for each neuron, else one threshold and reset to 0.
        together: one population of all neurons, else one for each core.
        seed: of the random numbers.
    """
    random = np.random.default_rng([20, seed])
    neurons = cores * _SIDE
    types = random.integers(0, 4, (cores, _SIDE))
    level = random.integers(1, 4, (cores, _SIDE, 4), dtype=np.int8) * np.array([1, 1, -1, -1], np.int8)
    to = random.permutation(neurons)
    alpha = random.integers(85, 126, neurons) if own else np.full(neurons, 105)
    initial = random.integers(0, 80, neurons)
    modes = {name: random.integers(0, 2, neurons) if own else np.zeros(neurons, np.int64) for name in ("gamma", "kappa", "vr")}
    groups, blocks, routes = [], [], []
    fan_out = np.zeros((cores, _SIDE), np.int64)
    for core in range(cores):
        part = slice(core * _SIDE, (core + 1) * _SIDE)
        weights = np.take_along_axis(level[core], np.broadcast_to(types[core], (_SIDE, _SIDE)), 1)
        weights = weights * random.integers(0, 2, (_SIDE, _SIDE), dtype=np.int8)
        fan_out[core] = np.count_nonzero(weights, axis=0)
        box = (((core * _SIDE, (core + 1) * _SIDE),), 1) if together else (((0, _SIDE),), 1 + core)
        if loihi:
            params, scale, kernel, variable = _loihi(alpha[part] - 1, 1, 4095, 0), 64, _LIF, "v"
        else:
            one = np.ones(_SIDE, np.int64)
            params = {
                "alpha": alpha[part], "beta": 5000 * one, "leak": one, "epsilon": 0 * one, "sigma_vr": one,
                **{name: values[part] for name, values in modes.items()},
            }
            scale, kernel, variable = 1, NEURON.name, "v"
        groups.append(NeuronGroup(core, box[1], box[0], kernel, params, {variable: initial[part] * scale}))
        blocks.append(SynapseBlock(core, core, 0, Dense(_frozen(weights)), None, 0, 0, 0, 8, "mixed"))
        routes.append(Routes(np.arange(_SIDE + 1), to[part] // _SIDE, to[part] % _SIDE))
    populations: tuple[ProgramPopulation, ...]
    if together:
        populations = (_PORT, ProgramPopulation("chip", (neurons,), 0, False, True))
        reached = {"chip": fan_out.ravel()[to]}
    else:
        populations = (_PORT, *(ProgramPopulation(f"core{core:04d}", (_SIDE,), 0, False, True) for core in range(cores)))
        reached = {f"core{core:04d}": fan_out.ravel()[to[core * _SIDE : (core + 1) * _SIDE]] for core in range(cores)}
    places = tuple(Core(0, core % 64, core // 64, core) for core in range(cores))
    program = Program("truenorth", "random", populations, places, tuple(groups), tuple(blocks), tuple(routes), {0: _NOWHERE})
    return Workload(program, _quiet(steps), steps, reached | {"input": np.zeros(1, np.int64)})


def spinnaker(chip: int, neurons: int, steps: int, loihi: bool = False, own: bool = True, density: float = 0.01, seed: int = 0) -> Workload:
    """Return neurons in cores of 256 (SpiNNaker 2: 250) that are connected at random, 2 % of them active in a step.

    A fifth of the neurons are inhibitory, with weights four times as large. SpiNNaker 1: weights of 16 bits and delays of 1..16 steps;
    SpiNNaker 2: weights of 4 bits and a sign, delays of 1..8 steps.

    Args:
        chip: 1 or 2.
        neurons: in the population.
        steps: time steps.
        loihi: take Loihi 2's LIF; inhibitory weights are negative then, where SpiNNaker 1 has a receptor of their own.
        own: draw thresholds for each neuron.
        density: probability of a synapse.
        seed: of the random numbers.
    """
    random = np.random.default_rng([21, seed])
    side, largest, delays = (_SIDE, 255, 16) if chip == 1 else (250, 3, 8)
    excitatory = neurons * 4 // 5
    spread = random.uniform(0.8, 1.2, neurons) if own else np.ones(neurons)
    start = random.uniform(0, 0.8, neurons)
    groups, blocks = [], []
    fan_out = np.zeros(neurons, np.int64)
    starts = range(0, neurons, side)
    for core, first in enumerate(starts):
        last = min(neurons, first + side)
        kernel, params, initial = _spinnaker_neurons(chip, loihi, spread[first:last], start[first:last])
        groups.append(NeuronGroup(core, 1, ((first, last),), kernel, params, initial))
        for receptor, (low, high, heavy) in enumerate(((0, excitatory, 1), (excitatory, neurons, 4))):
            target, source = np.nonzero(random.random((last - first, high - low)) < density)
            weights = random.integers(1, largest * heavy + 1, source.size, dtype=np.int32)
            if receptor and (loihi or chip == 2):
                weights = -weights
            fan_out[low:high] += np.bincount(source, minlength=high - low)
            indptr = np.searchsorted(target, np.arange(last - first + 1))
            blocks.append(SynapseBlock(
                core, core, low, Sparse(indptr, source, weights, high - low), random.integers(0, delays, source.size), 0, 0, 0, 16,
                "mixed" if chip == 2 else "excitatory", 0 if loihi or chip == 2 else receptor,
            ))
    every = np.tile(np.arange(len(starts)), neurons)
    routes = tuple(
        Routes(
            np.arange(group.size + 1) * len(starts), every[: group.size * len(starts)],
            np.repeat(np.arange(first, first + group.size), len(starts)),
        )
        for first, group in zip(starts, groups, strict=True)
    )
    populations = (_PORT, ProgramPopulation("cells", (neurons,), 0, False, True))
    places = tuple(Core(core // 16, core // 16 % 8, core // 128, core % 16) for core in range(len(starts)))
    program = Program(f"spinnaker{chip}", "random", populations, places, tuple(groups), tuple(blocks), routes, {0: _NOWHERE})
    return Workload(program, _quiet(steps), steps, {"cells": fan_out, "input": np.zeros(1, np.int64)})


def _spinnaker_neurons(chip: int, loihi: bool, spread: Array, start: Array) -> tuple[str, dict[str, Array], dict[str, Array]]:
    """Return kernel, parameters and initial state of neurons whose potential falls by 1 % in a step and crosses every 50 steps."""
    rise = 1 - exp(-0.48)
    if loihi and chip == 1:
        threshold = np.rint(25000 * spread).astype(np.int64)
        return _LIF, _loihi(threshold, int(25000 / rise / 100), 2048, 41), {"v": np.rint(threshold * start * 64).astype(np.int64)}
    if loihi:
        threshold = np.rint(400 * spread).astype(np.int64)
        return _LIF, _loihi(threshold, 10, 4095, 41), {"v": np.rint(threshold * start * 64).astype(np.int64)}
    if chip == 2:
        level = 400 * spread
        params = {"alpha_decay": 0.99 + 0 * level, "threshold": level, "i_offset": 4 / rise + 0 * level, "v_reset": 0 * level}
        return LIF.name, {name: bits(value) for name, value in params.items()} | {"subtract": np.ones(level.size, np.int64)}, {
            "v": bits(level * start),
        }
    one = np.ones(spread.size, np.int64)
    threshold = np.rint(20 * rise * spread * 2**15).astype(np.int64)
    # In ms: the membrane keeps 99 % of its potential in a step, and the synapses' currents fall with 5 steps; R is 1.
    params = {name: ms << 15 for name, ms in {
        "tau_m": 100 * one, "cm": 100 * one, "tau_refrac": 2 * one, "tau_syn_E": 5 * one, "tau_syn_I": 5 * one, "timestep": one,
    }.items()}
    params |= {"v_rest": 0 * one, "i_offset": 20 * one << 15, "v_thresh": threshold, "v_reset": 0 * one}
    params |= {"shift_0": 7 * one, "shift_1": 7 * one}
    return IF_CURR_EXP.name, params, {"v": np.rint(threshold * start).astype(np.int64)}


def akida(steps: int, graded: bool = True, loihi: bool = False, scale: int = 1, samples: int = 1, seed: int = 0) -> Workload:
    """Return three convolutions (3 by 3, the second with stride 2) and two dense layers, weights of 4 bits, 15 % of the neurons active.

    A step is one inference of Akida, each layer one step behind the one before. A core has 32 filters of a layer.

    Args:
        steps: time steps; every one has an input of its own, 10 % of it active.
        graded: inputs and activations of 4 bits, else of 1 bit.
        loihi: take Loihi 2's LIF without memory, which sends 1 bit.
        scale: divides numbers of channels and the input's 31 rows and columns.
        samples: number of input samples.
        seed: of the random numbers.
    """
    random = np.random.default_rng([22, seed])
    size = 31 // scale | 1
    shape: tuple[int, ...] = (2, size, size)
    inputs = random.random((samples, steps, *shape)) < 0.1
    images = (inputs * random.integers(1, 16 if graded else 2, inputs.shape)).astype(np.uint8)
    layers: list[Conv2d | Dense] = []
    for channels, stride in ((32, 1), (64, 2), (64, 1)):
        kernel = random.integers(-7, 8, (channels // scale, shape[0], 3, 3)).astype(np.int32)
        layer = Conv2d(kernel, (shape[0], shape[1], shape[2]), (stride, stride), (1, 1))
        layers.append(layer)
        shape = layer.out_shape
    for units in (128, 10):
        layers.append(Dense(random.integers(-7, 8, (units, prod(shape))).astype(np.int32)))
        shape = (units,)
    groups: list[NeuronGroup] = []
    blocks: list[SynapseBlock] = []
    of_layer: list[list[int]] = []
    populations = [ProgramPopulation("input", tuple(images.shape[2:]), 0, True, False)]
    seen = images.reshape(-1, prod(images.shape[2:]))[:32].astype(np.float64)
    for number, one in enumerate(layers):
        out = one.out_shape if isinstance(one, Conv2d) else (one.out_size,)
        populations.append(ProgramPopulation(f"layer{number}", out, 0, False, number == len(layers) - 1))
        activate, kernel_name, level = _activation(one.apply(seen), graded, loihi)
        seen = activate(one.apply(seen))
        of_layer.append([])
        for first in range(0, out[0], 32):
            last = min(out[0], first + 32)
            box = ((first, last), *((0, extent) for extent in out[1:]))
            synapses: ConvTile | Dense
            if isinstance(one, Conv2d):
                synapses = ConvTile(
                    one.weights[first:last], one.in_shape, one.out_shape, tuple((0, extent) for extent in one.in_shape), box,
                    one.stride, one.padding, one.dilation, 1,
                )
            else:
                synapses = Dense(one.weights[first:last])
            of_layer[-1].append(len(groups))
            neurons = (last - first) * prod(out[1:])
            groups.append(NeuronGroup(len(groups), 1 + number, box, kernel_name, level(neurons), {}))
            blocks.append(SynapseBlock(len(blocks), len(blocks), 0, synapses, None, 0, 0, 4 if graded else 0, 4, "mixed"))
    routes = []
    for number, of in enumerate(of_layer):
        targets = np.array(of_layer[number + 1] if number + 1 < len(layers) else [], np.int64)
        before = 0
        for group in of:
            routes.append(_to_all(before, groups[group].size, targets))
            before += groups[group].size
    places = tuple(Core(0, core % 10, core // 10, core) for core in range(len(groups)))
    program = Program(
        "akida", "random", tuple(populations), places, tuple(groups), tuple(blocks), tuple(routes),
        {0: _to_all(0, layers[0].in_size, np.array(of_layer[0]))},
    )
    names = [population.name for population in populations]
    return Workload(program, {"input": images}, steps, {
        **{name: _reached(layer) for name, layer in zip(names, layers, strict=False)}, names[-1]: np.zeros(layers[-1].out_size, np.int64),
    })


def _to_all(first: int, count: int, targets: Array) -> Routes:
    """Return routes from sources to the axons first..first + count - 1 of every target core."""
    return Routes(np.arange(count + 1) * targets.size, np.tile(targets, count), np.repeat(np.arange(first, first + count), targets.size))


def _activation(sums: Array, graded: bool, loihi: bool) -> tuple[Callable[[Array], Array], str, Callable[[int], dict[str, Array]]]:
    """Return activation, kernel and its parameters for a number of neurons, set so that 15 % of the sums are above the threshold."""
    threshold, high = int(np.quantile(sums, 0.85)), int(np.quantile(sums, 0.999))
    if loihi:
        return lambda p: (p > threshold).astype(np.float64), _LIF, lambda n: _loihi(np.full(n, threshold), 0, 4095, 4096)
    if not graded:
        return lambda p: (p > threshold).astype(np.float64), BINARY.name, lambda n: {"threshold": np.full(n, threshold)}
    step = max(16, (high - threshold) * 16 // 15)

    def parameters(n: int) -> dict[str, Array]:
        return {"threshold": np.full(n, threshold), "act_step": np.full(n, step), "act_bits": np.full(n, 4)}

    return lambda p: np.clip(np.ceil(16 * (p - threshold) / step), 0, 15), GRADED.name, parameters


def _reached(layer: Conv2d | Dense) -> Array:
    """Return how many synapses each source has, (sources,) int64; weights of 0 are left out."""
    ones = np.abs(np.sign(layer.weights)).astype(np.int64)
    if isinstance(layer, Dense):
        return ones.sum(0)
    return np.bincount(layer.with_weights(ones).unrolled().indices, minlength=layer.in_size)
