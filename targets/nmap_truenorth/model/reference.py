"""A model file's cores in plain numpy: the equations one after another, all neurons of all cores each tick, nothing left out.

It is written from the equations and shares no code with the emulator, which is compared with it.
"""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Array
from nmap_truenorth.model.model import NOWHERE, OFF_CHIP, Events, Model

__all__ = ["reference"]


def reference(model: Model, events: Events, ticks: int, *, every: bool = False, seed: int = 0) -> tuple[Array, int, Array, Array]:
    """Run a small model; arguments as for `nmap_truenorth.model.engine.simulate`.

    Returns:
        Spikes (n, 3) int32: tick, core's id, neuron; how many spikes merged; potentials after each tick, (ticks, cores, neurons) int32; and
        ticks in which a potential left 20 bits, (cores,) int64.
    """
    cores, axons, neurons = model.cores, model.axons, model.neurons
    crossbar = np.unpackbits(model.crossbar, axis=2, count=neurons).astype(np.int64)
    weights = np.zeros((cores, axons, neurons), np.int64)
    random = np.zeros((cores, axons, neurons), bool)
    for core in range(cores):
        for axon in range(axons):
            kind = model.axon_types[core, axon]
            weights[core, axon] = crossbar[core, axon] * model.weights[core, :, kind]
            random[core, axon] = model.stochastic[core, :, kind]
    leak, alpha, beta = model.leak.astype(np.int64), model.threshold.astype(np.int64), model.floor.astype(np.int64)
    reset, gamma, kappa, epsilon = model.reset.astype(np.int64), model.gamma, model.kappa, model.leak_reversal
    mask = 2 ** model.mask.astype(np.int64) - 1
    slots = [np.zeros((cores, axons), bool) for _ in range(ticks + 16)]
    merged = 0
    for when, core, axon in zip(events.tick + model.input_delay, events.core, events.axon, strict=True):
        if 0 <= when < ticks:
            merged += bool(slots[when][core, axon])
            slots[when][core, axon] = True
    potential = model.potential.astype(np.int64)
    spikes: list[tuple[int, int, int]] = []
    history = np.zeros((ticks, cores, neurons), np.int32)
    outside = np.zeros(cores, np.int64)
    for tick in range(ticks):
        rho, rho_leak, rho_threshold = _draws(model, tick, seed)
        active = slots[tick][:, :, None].astype(np.int64)
        drawn = np.where(random, np.sign(weights) * (abs(weights) >= rho), weights)
        v = _wrapped(potential + (active * drawn).sum(1))
        step = np.where(model.leak_stochastic, np.sign(leak) * (abs(leak) >= rho_leak), leak)
        moved = v + np.where(epsilon, np.sign(v), 1) * step
        moved = _wrapped(np.where(epsilon & (leak < 0) & (np.sign(moved) != np.sign(v)), 0, moved))
        eta = rho_threshold & mask
        fires = model.enabled & (moved >= alpha + eta)
        lowest = -(beta + np.where(kappa, 0, eta))
        below = moved <= lowest if model.symmetric else moved < lowest
        fired = np.choose(gamma, [reset, moved - (alpha + eta), np.minimum(moved, alpha + mask)])
        raised = np.where(kappa, -beta, np.choose(gamma, [-reset, moved + beta + eta, moved]))
        after = np.where(fires, fired, np.where(below, raised, moved))
        potential = np.where(model.enabled, _wrapped(after), potential)
        history[tick] = potential
        if model.dialect == "truenorth":
            large = [(x < -(2**19)) | (x >= 2**19) for x in (v, moved)]
            outside += (model.enabled & (large[0] | large[1])).any(1)
        for core, neuron in np.argwhere(fires):
            target = model.target[core, neuron]
            if target not in (NOWHERE, OFF_CHIP):
                slot = slots[tick + model.delay[core, neuron]]
                merged += bool(slot[target, model.target_axon[core, neuron]])
                slot[target, model.target_axon[core, neuron]] = True
            if every or target == OFF_CHIP:
                spikes.append((tick, int(model.ids[core]), int(neuron)))
    return np.array(sorted(spikes), np.int32).reshape(-1, 3), merged, history, outside


def _wrapped(values: Array) -> Array:
    """Return numbers as 32 bits hold them, int64."""
    return values.astype(np.int32).astype(np.int64)


def _draws(model: Model, tick: int, seed: int) -> tuple[Array, Array, Array]:
    """Return a tick's random numbers: of synapses (cores, axons, neurons), of leaks and of thresholds (cores, neurons), int64."""
    golden, each = np.uint64(0x9E3779B97F4A7C15), model.axons + 2
    with np.errstate(over="ignore"):
        start = _mix(np.array([seed % 2**64], np.uint64) + golden)
        keys = _mix(start ^ ((model.ids.astype(np.uint64) << np.uint64(32)) + model.seeds.astype(np.uint64)))
        count = model.neurons * each
        numbers = np.arange(tick * count + 1, (tick + 1) * count + 1).astype(np.uint64)
        stream = _mix(keys[:, None] + numbers * golden).reshape(model.cores, model.neurons, each)
    rho = (stream >> np.uint64(56)).astype(np.int64)
    return rho[:, :, :-2].transpose(0, 2, 1), rho[:, :, -2], (stream[:, :, -1] >> np.uint64(32)).astype(np.int64)


def _mix(z: Array) -> Array:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
