"""Interval analysis of a quantized network: no membrane leaves the 20 bits of V, for ever or for a stated number of ticks.

Every source sends 0 or 1, so the sum of a tick lies between the sums of the negative and of the positive weights, d- and d+ with the
leak. After a tick V lies at -beta or above (kappa = 1), and below alpha, or at the reset value, where a spike resets it (gamma = 0): before
the comparison it is then at most alpha - 1 + d+, for ever. A spike that takes alpha off (gamma = 1) holds that bound too where d+ <= alpha;
else V may grow by d+ - alpha in a tick, and the bound holds for a number of ticks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap.options import Options
from nmap.quantized import QuantizedNetwork, QuantizedPopulation
from nmap.target.spec import ChipSpec
from nmap_truenorth.neuron import FLOOR

__all__ = ["FOR_EVER", "Range", "horizon", "prove_ranges", "ranges"]

FOR_EVER = 1 << 62
"""Ticks of a bound that always holds."""
_HORIZON = 1000
"""Ticks for which a bound has to hold where the user names no number: one second of the chip's own time."""


def horizon(options: Options) -> int:
    """Return the ticks for which bounds have to hold."""
    return _HORIZON if options.steps is None else options.steps


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """How far a population's membranes may go, whatever arrives; (n,) int64 each.

    Args:
        high, low: largest and smallest V of the first tick, before threshold and floor.
        rise: by how much `high` may grow with every tick; 0 where it holds for ever.
        inside: ticks in which V is proved to stay inside its 20 bits; `FOR_EVER` where it always does.
        floor: ticks in which the lowest floor there is is not reached; `FOR_EVER` where it never is, or where it is the network's own.
    """

    high: Array
    low: Array
    rise: Array
    inside: Array
    floor: Array


def ranges(network: QuantizedNetwork, population: QuantizedPopulation, spec: ChipSpec) -> Range:
    """Return the bounds of a population that the compiler made: kappa is 1, and epsilon where the leak is negative only."""
    most, least = np.zeros(population.size, np.int64), np.zeros(population.size, np.int64)
    for p in network.afferents(population.name):
        up, down = p.connectivity.row_sums()
        most, least = most + up.astype(np.int64), least + down.astype(np.int64)
    params = population.params
    alpha, beta, leak = params["alpha"], params["beta"], np.where(params["epsilon"] == 1, 0, params["leak"])
    start = population.initial.get("v", np.zeros(population.size, np.int64))
    up, down = most + np.maximum(leak, 0), least + np.minimum(leak, 0)
    reset = np.where(params["sigma_vr"] < 0, -1, 1) * (2 ** params["vr"] - 1)
    linear = params["gamma"] == 1
    top = np.maximum(np.maximum(alpha - 1, start), np.where(linear, 0, np.maximum(reset, -beta)))
    bottom = np.minimum(np.minimum(-beta, start), np.where(linear, 0, reset))
    rise = np.where(linear, np.maximum(up - alpha, 0), 0)
    limit = spec.limits["v"]
    high, low = top + up, bottom + down
    room = limit.max - high
    inside = np.where(rise > 0, room // np.maximum(rise, 1) + 1, FOR_EVER)
    inside = np.where((room < 0) | (low < limit.min), 0, inside)
    floor = np.where((beta == FLOOR) & (down < 0), (FLOOR + np.minimum(start, 0)) // np.maximum(-down, 1), FOR_EVER)
    return Range(high, low, rise, inside, floor)


def prove_ranges(network: QuantizedNetwork, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Tell which membranes are not proved to stay in their field (NM304): an error where not even the run's own steps are.

    Args:
        network: the whole network.
        spec: the range of v.
        options: `steps`, if the user names a number; else 1000.
        findings: receives what is not proved for ever, and where the chip's lowest floor may be met in the run.
    """
    limit, steps = spec.limits["v"], horizon(options)
    for population in network.populations:
        if population.kernel is None:
            continue
        found, name, where = ranges(network, population, spec), population.name, str(population.where)
        worst = int(found.inside.argmin())
        ticks, count = int(found.inside[worst]), int((found.inside < FOR_EVER).sum())
        # The network's steps begin when the first input arrives.
        run = steps + population.latency
        if count:
            why = (
                f"Neuron {worst} may stand at {int(found.high[worst])} in the first tick, before it fires, and {int(found.rise[worst])}"
                " higher in each further one, if all its excitatory inputs spike in every tick: a spike takes"
                f" {int(population.params['alpha'][worst])} off. v has 20 bits, {limit.min} to {limit.max} ({limit.source}), and"
                " what happens beyond is not public."
            )
            data = {"population": name, "neurons": count, "ticks": ticks}
            if ticks < run:
                findings.error(
                    "NM304", f"v of {count} neurons of `{name}` is proved to stay within 20 bits for {ticks} ticks, and the run has {run}",
                    where=where, why=why, help=(
                        *((f"--steps {ticks - population.latency}, if runs are as short as that",) if ticks > population.latency else ()),
                        "train with a reset to zero, higher thresholds or smaller weights",
                    ), data=data,
                )
            else:
                findings.note(
                    "NM304", f"v of {count} neurons of `{name}` is proved to stay within 20 bits for {ticks} ticks, not for ever",
                    where=where, why=why, data=data,
                )
        deep = found.floor < run
        if deep.any():
            first = int(found.floor.min())
            findings.note(
                "NM304", f"v of {int(deep.sum())} neurons of `{name}` may meet the chip's floor at -{FLOOR} after {first} ticks",
                where=where, why="That is, if all their inhibitory inputs spiked in every tick. The network has no such floor; the fixed"
                " level and the emulator do.",
                data={"population": name, "neurons": int(deep.sum()), "ticks": first},
            )
