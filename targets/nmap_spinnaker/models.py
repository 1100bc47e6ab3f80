"""Which of sPyNNaker's neurons computes a population, and what of it is exact."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from nmap.connectivity import Array
from nmap.network import Conventions, Network, Neuron, Population
from nmap.options import Options
from nmap.target.spec import ChipSpec
from nmap_spinnaker.factors import WHOLE

__all__ = ["Model", "chosen_model", "keeps_floor", "keeps_whole", "reset_value", "timestep_us"]

Model: TypeAlias = Literal["if_curr_delta", "if_curr_exp", "if_trunc"]
_OWN = 1000


def timestep_us(conventions: Conventions, spec: ChipSpec) -> int:
    """Return microseconds of a tick: the network's own step where sPyNNaker takes it, else 1 ms."""
    limit = spec.limits["timestep_us"]
    if conventions.dt is None:
        return _OWN
    stated = conventions.dt * 1e6
    whole = round(stated) if np.isfinite(stated) else 0
    return whole if limit.min <= whole <= limit.max and abs(stated - whole) <= 1e-6 * whole else _OWN


def reset_value(network: Network, neuron: Neuron) -> Array:
    """Return what v becomes on a spike, (n,): 0 where the network's reset takes a threshold off, which is approximated by a reset to 0."""
    # A subtracting reset does not use the file's reset value, so its approximation does not either.
    return neuron.v_reset if network.conventions.reset == "zero" else np.zeros_like(neuron.v_reset)


def keeps_whole(neuron: Neuron) -> bool:
    """Return whether a population never forgets: all of v is kept from step to step, and there is no synaptic current."""
    return bool((neuron.beta == 1).all() and not neuron.alpha.any())


def keeps_floor(network: Network, population: Population, neuron: Neuron) -> bool:
    """Return whether a floor at the reset value, as IF_trunc has it, changes nothing.

    That is where the network has this floor itself, and where nothing negative ever arrives.
    """
    reset, floor = reset_value(network, neuron), network.conventions.floor
    if (reset > 0).any():
        # v starts at 0.
        return False
    if floor is not None:
        lowest = floor * neuron.threshold
        if np.allclose(lowest, reset, rtol=1e-9, atol=0):
            return True
        if (lowest > reset).any():
            return False
    total = neuron.drive.copy()
    for p in network.projections:
        if p.target != population.name:
            continue
        if (p.connectivity.weights < 0).any():
            return False
        if p.bias is not None:
            total = total + neuron.gain_in * neuron.gain_v * p.bias
    return bool((total >= 0).all())


def chosen_model(network: Network, population: Population, neuron: Neuron, options: Options) -> Model:
    """Return the neuron that computes a population: exactly, or by the approximation that was allowed."""
    if keeps_whole(neuron) and (keeps_floor(network, population, neuron) or "leak" not in options.approximate):
        return "if_trunc"
    return "if_curr_exp" if neuron.alpha.any() else "if_curr_delta"


def rounds_to_one(neuron: Neuron) -> Array:
    """Return which neurons have a decay factor that the chip cannot tell from 1, (n,) bool."""
    return np.asarray((neuron.beta > WHOLE) | (neuron.alpha > WHOLE))
