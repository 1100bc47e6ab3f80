"""Neurons in every mode with potentials that were computed by hand."""

from __future__ import annotations

from dataclasses import dataclass

from nmap_truenorth.model.model import Events, Model
from tests.unit.truenorth.random_models import one_core, spikes


@dataclass(frozen=True)
class Case:
    name: str
    model: Model
    events: Events
    potentials: list[int]
    """After each tick."""
    fired: list[int]
    """Ticks."""


def _leaks(name: str, potentials: list[int], fired: list[int], **values: object) -> Case:
    return Case(name, one_core([[1]], **values), spikes(), potentials, fired)


CASES = [
    _leaks("gamma 0 resets to R", [9, 14, 3, 8, 13], [2], leak=5, threshold=15, reset=3, potential=4),
    _leaks("the threshold itself fires", [0, 5, 0, 5], [0, 2], leak=5, threshold=10, potential=5),
    _leaks("gamma 1 takes the threshold away", [8, 6, 4, 2, 0, 8], [1, 2, 3, 4], leak=8, gamma=1),
    _leaks("gamma 1 fires once a tick", [23, 16, 9, 2, 5], [0, 1, 2, 3], leak=3, gamma=1, potential=30),
    _leaks("gamma 2 goes no higher than the threshold", [10, 10, 10], [0, 1, 2], leak=7, gamma=2, potential=6),
    _leaks("a threshold of 0 always fires", [0, 0], [0, 1], threshold=0, floor=0),
    _leaks("gamma 0 below the floor resets to -R", [-3, -6, 7, 4, 1], [], leak=-3, floor=7, reset=-7),
    _leaks("the floor itself is kept", [-4, -8, 0, -4], [], leak=-4, floor=8),
    _leaks("gamma 1 below the floor adds it", [-5, -2, -7, -4], [], leak=-5, floor=8, gamma=1),
    _leaks("gamma 2 has no floor", [-5, -10, -15], [], leak=-5, floor=8, gamma=2),
    _leaks("kappa holds the floor, gamma 0", [-5, -8, -8], [], leak=-5, floor=8, gamma=0, kappa=True, reset=3),
    _leaks("kappa holds the floor, gamma 1", [-5, -8, -8], [], leak=-5, floor=8, gamma=1, kappa=True),
    _leaks("kappa holds the floor, gamma 2", [-5, -8, -8], [], leak=-5, floor=8, gamma=2, kappa=True),
    _leaks("RANC's symmetric floor", [-4, 0, -4, 0], [], leak=-4, floor=8, symmetric=True, gamma=1, dialect="ranc"),
    _leaks("RANC's floor above 0", [-1, -4, -7], [], leak=2, floor=-5, threshold=20, gamma=1, dialect="ranc", potential=2),
    _leaks("leak reversal away from 0", [5, 7, 9, 0, 0], [3], leak=2, leak_reversal=True, potential=3),
    _leaks("leak reversal away from 0, below it", [-5, -7, -9], [], leak=2, leak_reversal=True, potential=-3),
    _leaks("leak reversal towards 0 does not ring", [3, 1, 0, 0], [], leak=-2, leak_reversal=True, potential=5),
    _leaks("leak reversal towards 0, below it", [-3, -1, 0, 0], [], leak=-2, leak_reversal=True, potential=-5),
    _leaks("leak reversal rests at 0", [0, 0], [], leak=9, leak_reversal=True),
    _leaks("a disabled neuron stays as it is", [3, 3, 3], [], leak=9, potential=3, enabled=False),
    _leaks(
        "RANC's potentials are 32 bits wide", [2**31 - 1, -(2**31)], [0], leak=1, potential=2**31 - 2, threshold=2**31 - 1,
        reset=2**31 - 1, dialect="ranc", floor=2**31,
    ),
    Case(
        "synapses, then the leak", one_core([[4], [-9]], leak=2), spikes((0, 0, 0), (1, 0, 0), (1, 0, 1), (3, 0, 0), (4, 0, 0)),
        [6, 3, 5, 0, 6], [3],
    ),
    Case(
        "the leak follows what the synapses leave", one_core([[4], [-9]], leak=-2, leak_reversal=True), spikes((0, 0, 0), (1, 0, 1)),
        [2, -5, -3, -1, 0], [],
    ),
]  # fmt: skip
