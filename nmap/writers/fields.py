"""The fields of a NIR neuron node that give a population's difference equation.

A reader makes the equation from the fields: beta = 1 - dt/tau (`euler`) or exp(-dt/tau) (`exact`), gain_v = r dt/tau (`euler`) or
r (1 - exp(-dt/tau)) (`exact`), r dt without leak, gain_in likewise from w_in and tau_syn, drive = v_leak (1 - beta). Where the network
still has the file's own fields these are written. Otherwise they are solved for here, to the last bit: the algebraic inverse may
be off by a rounding, so its neighbours are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from nmap.connectivity import Array
from nmap.network import Conventions, Neuron

__all__ = ["MODELS", "own_fields", "solved_fields"]

MODELS: dict[str, tuple[str, ...]] = {
    "IF": ("r", "v_threshold", "v_reset"),
    "I": ("r",),
    "LI": ("tau", "r", "v_leak"),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    "Threshold": ("threshold",),
}
"""The neuron types of NIR with their fields."""
# What a file means that lacks the field.
_ABSENT = {"v_reset": 0.0, "w_in": 1.0}
# A decay of exactly 1 or 0 is a time constant of this many steps, or one step in this many: powers of two, which lose no bit.
_NO_LEAK, _NO_MEMORY = 2.0**64, 2.0**10
# Neighbours of a gain, and of the time constant beside it, that are tried; a decay near 1 has many time constants.
_NEIGHBOURS, _TRIALS = 3, 64


def own_fields(neuron: Neuron) -> dict[str, Array] | None:
    """Return the fields the network's file had, (n,) float64 each, or None where they are not all there."""
    size, found = neuron.threshold.size, {}
    for name in MODELS[neuron.model]:
        if name not in neuron.fields and name not in _ABSENT:
            return None
        values = np.asarray(neuron.fields.get(name, _ABSENT.get(name)), np.float64)
        if values.size not in (1, size):
            return None
        found[name] = np.broadcast_to(values.ravel(), size)
    return found


def solved_fields(neuron: Neuron, conventions: Conventions) -> dict[str, Array]:
    """Return fields that give the population's equation, (n,) float64 each; as near as can be where none do exactly."""
    dt = conventions.unit
    kind, size = neuron.model, neuron.threshold.size
    found = {"v_threshold": neuron.threshold, "threshold": neuron.threshold, "v_reset": neuron.v_reset}
    if kind in ("I", "IF"):
        found["r"] = _solve(partial(np.multiply, dt), neuron.gain_v)
    elif kind != "Threshold":
        if "tau_syn" in MODELS[kind]:
            found["tau_syn"], found["w_in"], _ = _leak(neuron.alpha, neuron.gain_in, np.zeros(size), dt, conventions)
        tau = "tau_mem" if "tau_mem" in MODELS[kind] else "tau"
        found[tau], found["r"], found["v_leak"] = _leak(neuron.beta, neuron.gain_v, neuron.drive, dt, conventions)
    return {name: found[name] for name in MODELS[kind]}


def _leak(decay: Array, gain: Array, drive: Array, dt: float, conventions: Conventions) -> tuple[Array, Array, Array]:
    """Return time constant, resistance and resting potential, (n,) each, of a decay, gain and drive per step."""
    exact, full = conventions.decay == "exact", conventions.gain == "exact"
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        guess = -dt / np.log(decay) if exact else dt / (1 - decay)
    guess = np.where(decay == 1, dt * _NO_LEAK, np.where(decay == 0, dt / _NO_MEMORY if exact else dt, guess))
    guess = np.where(np.isfinite(guess) & (guess > 0), guess, dt)
    tau, r, rest = guess.copy(), np.zeros_like(guess), np.zeros_like(guess)
    left = np.arange(decay.size)
    for trial in _near(guess, _TRIALS):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            t = trial[left]
            reached = np.exp(-dt / t) if exact else np.maximum(1 - dt / t, 0.0)
            rate = 1 - reached
            found_r = _solve(partial(_full_gain if full else _gain, dt=dt, tau=t), gain[left])
            found_rest = _solve(partial(np.multiply, rate), drive[left])
            reads = (_full_gain if full else _gain)(found_r, dt=dt, tau=t)
            good = (reached == decay[left]) & (reads == gain[left]) & (found_rest * rate == drive[left])
        kept = good | (trial is guess)
        for values, found in ((tau, t), (r, found_r), (rest, found_rest)):
            values[left[kept]] = found[kept]
        left = left[~good]
        if not left.size:
            break
    return tau, r, rest


def _gain(r: Array, *, dt: float, tau: Array) -> Array:
    return r * dt / tau


def _full_gain(r: Array, *, dt: float, tau: Array) -> Array:
    return r * -np.expm1(-dt / tau)


def _solve(forward: Callable[[Array], Array], wanted: Array) -> Array:
    """Return x, (n,), with forward(x) == wanted; as near as can be where no x is found. `forward` is a multiplication."""
    factor = forward(np.ones_like(wanted))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        guess = np.where((factor == 0) | (wanted == 0), 0.0, wanted / factor)
    guess = np.where(np.isfinite(guess), guess, 0.0)
    found, done = guess.copy(), np.zeros(guess.shape, bool)
    for trial in _near(guess, _NEIGHBOURS):
        hit = ~done & (forward(trial) == wanted)
        found[hit], done = trial[hit], done | hit
        if done.all():
            break
    return found


def _near(values: Array, distance: int) -> Iterator[Array]:
    """Yield the values themselves, then their neighbours in floating point, nearest first."""
    yield values
    below = above = values
    for _ in range(distance):
        below, above = np.nextafter(below, -np.inf), np.nextafter(above, np.inf)
        yield below
        yield above
