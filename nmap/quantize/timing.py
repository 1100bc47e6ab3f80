"""Realise a network's delays on a chip where every hop takes one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nmap.diagnostics import Findings
from nmap.network import Network, Projection

__all__ = ["Timing", "realise_delays"]


@dataclass(frozen=True, slots=True)
class Timing:
    """Chip time of a network.

    Args:
        latency: by population: it computes the network's step t in chip step t + latency.
        delay: by projection: chip steps beyond the one step of a hop.
        spikes: by population: what it sends in the network's step t leaves in chip step t + spikes. Where the network's spikes lag behind
            the crossing of the threshold (`Conventions.lag`) the chip's leave that much earlier, and are delayed on their way.
    """

    latency: dict[str, int]
    delay: dict[str, int]
    spikes: dict[str, int]


def realise_delays(
    network: Network, findings: Findings, *, max_delay: int, allow_longer: bool, earliest: Mapping[str, int] | None = None
) -> Timing:
    """Choose latencies so that every projection acts when the network says.

    A projection p -> q of network delay d needs latency(q) >= latency(p) + 1 - d; what is left over becomes a synaptic delay. A loop
    with fewer steps of delay than hops has no solution: its recurrent projections then act later than stated, which is
    refused unless `allow_longer`. Spikes that lag behind their threshold's crossing are a delay like any other, d + lag from the crossing,
    in loops too; every latency of such neurons is at least the lag, so that none of their spikes is due before the chip starts.

    Args:
        network: the network.
        findings: NM204 errors for loops and for delays beyond `max_delay`, NM205 warnings for loops made longer on request.
        max_delay: largest synaptic delay of the chip, in steps.
        allow_longer: make a loop longer instead of refusing it.
        earliest: least latencies of populations that must have some; 0 for any other.

    Returns:
        The realised timing; meaningless for the projections that `findings` names as errors.
    """
    lag = {p.name: 0 if p.neuron is None or p.silent else network.conventions.lag for p in network.populations}
    least = {name: max(steps, (earliest or {}).get(name, 0)) for name, steps in lag.items()}
    latency = dict(least)
    bound = len(network.populations)
    late: list[str] = []
    edges = list(network.projections)
    while True:
        # Longest path by relaxation; still improving after one round per population means a loop of positive length.
        latency = dict(least)
        improving: list[str] = []
        for _ in range(bound + 1):
            improving = []
            for p in edges:
                needed = latency[p.source] + 1 - p.delay - lag[p.source]
                if latency[p.target] < needed:
                    latency[p.target] = needed
                    improving.append(p.name)
            if not improving:
                break
        if not improving:
            break
        # The loop's own recurrent projection gives way: it is the one that goes back in the file's order of populations.
        order = {p.name: k for k, p in enumerate(network.populations)}
        back = [p for p in edges if p.delay > 0 and order[p.source] >= order[p.target] and p.source != p.target]
        if not back:
            break
        worst = max(back, key=lambda p: latency[p.source] - latency[p.target])
        late.append(worst.name)
        edges.remove(worst)
    delay = {}
    for p in network.projections:
        stated = p.delay + lag[p.source]
        extra = latency[p.target] + stated - latency[p.source] - 1
        longest = extra + (int(p.delays.max()) if p.delays is not None and p.delays.size else 0)
        if extra < 0:
            message = f"`{p.name}` acts {_steps(-extra)} later on the chip than in the network"
            why = f"Every hop takes one step, and the loop it closes has {_steps(stated)} of delay for more hops than that."
            if allow_longer:
                findings.warning("NM205", message, where=str(p.where), why=why)
            else:
                findings.error(
                    "NM204", message, where=str(p.where), why=why,
                    help=("--approximate delay lets the loop be longer and measures what that costs",), data={"approximate": "delay"},
                )
        elif longest > max_delay:
            findings.error(
                "NM204", f"`{p.name}` needs a synaptic delay of {longest} steps, the chip has at most {max_delay}", where=str(p.where),
                why=_parts(p, extra, lag[p.source]),
            )
        delay[p.name] = max(extra, 0)
    return Timing(latency, delay, {name: steps - lag[name] for name, steps in latency.items()})


def _steps(number: int) -> str:
    return f"{number} step{'' if number == 1 else 's'}"


def _parts(p: Projection, extra: int, lag: int) -> str | None:
    """Return where a delay too long comes from, if not from the file alone."""
    synapses = int(p.delays.max()) if p.delays is not None and p.delays.size else 0
    waiting = extra - p.delay - lag
    parts = [(p.delay, "of the edge"), (synapses, "of its slowest synapse"), (lag, "between crossing and spike"),
             (waiting, "to meet a longer path")]
    told = [f"{steps} {what}" for steps, what in parts if steps > 0]
    return f"{', '.join(told)}; the hop itself takes 1." if told else None
