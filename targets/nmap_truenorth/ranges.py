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
from nmap_truenorth.draft import counted
from nmap_truenorth.neuron import FLOOR

__all__ = ["FOR_EVER", "Range", "horizon", "prove_ranges", "ranges"]

FOR_EVER = 1 << 62
"""Ticks of a bound that always holds."""


def horizon(spec: ChipSpec, options: Options) -> int:
    """Return the network's steps for which bounds have to hold; see `Options.horizon`."""
    return options.horizon or options.steps or spec.horizon


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
        options: the steps of a run, see `horizon`.
        findings: receives what is not proved for ever, with `proved_steps` in its data (see `ChipSpec.horizon`), and where the chip's
            lowest floor may be met in the run.
    """
    limit, steps = spec.limits["v"], horizon(spec, options)
    # A run goes on until the last output has computed the last step; the network's steps begin when the first input arrives.
    run = steps + network.latency
    for population in network.populations:
        if population.kernel is None:
            continue
        found, name, where = ranges(network, population, spec), population.name, str(population.where)
        worst = int(found.inside.argmin())
        ticks, count = int(found.inside[worst]), int((found.inside < FOR_EVER).sum())
        if count:
            why = (
                f"Neuron {worst} may stand at {int(found.high[worst])} in the first tick, before it fires, and {int(found.rise[worst])}"
                " higher in each further one, if all its excitatory inputs spike in every tick: a spike takes"
                f" {int(population.params['alpha'][worst])} off. v has 20 bits, {limit.min} to {limit.max} ({limit.source}), and"
                " what happens beyond is not public."
            )
            proved = max(0, ticks - network.latency)
            data = {"population": name, "neurons": count, "ticks": ticks, "proved_steps": proved}
            held = f"v of {counted(count, 'neuron')} of `{name}` is proved to stay within 20 bits for {counted(ticks, 'tick')}"
            if ticks < run:
                findings.error(
                    "NM304", f"{held}, and {run} are needed", where=where, why=f"{counted(steps, 'step')} and the network's latency of"
                    f" {network.latency}: a run is as long as the samples or as --steps says, and {spec.horizon} steps are taken without"
                    f" both. {why}", help=(
                        *((f"--steps {proved}, if runs are as short as that",) if proved else ()),
                        "train with a reset to zero, higher thresholds or smaller weights",
                    ), data=data,
                )
            else:
                findings.note(
                    "NM304", f"{held}, not for ever", where=where,
                    why=f"A run of the bundle may have {counted(proved, 'step')}. {why}", data=data,
                )
        deep = found.floor < run
        if deep.any():
            first = int(found.floor.min())
            findings.note(
                "NM304",
                f"v of {counted(int(deep.sum()), 'neuron')} of `{name}` may meet the chip's floor at -{FLOOR} after"
                f" {counted(first, 'tick')}",
                where=where, why="That is, if all their inhibitory inputs spiked in every tick. The network has no such floor; the fixed"
                " level and the emulator do.",
                data={"population": name, "neurons": int(deep.sum()), "ticks": first},
            )
