"""Realise a network's delays on a chip where every hop takes one step."""

from __future__ import annotations

from dataclasses import dataclass

from nmap.diagnostics import Findings
from nmap.network import Network

__all__ = ["Timing", "realise_delays"]


@dataclass(frozen=True, slots=True)
class Timing:
    """Chip time of a network.

    Args:
        latency: by population: it computes the network's step t in chip step t + latency.
        delay: by projection: chip steps beyond the one step of a hop.
    """

    latency: dict[str, int]
    delay: dict[str, int]


def realise_delays(network: Network, findings: Findings, *, max_delay: int, allow_longer: bool) -> Timing:
    """Choose latencies so that every projection acts when the network says.

    A projection p -> q of network delay d needs latency(q) >= latency(p) + 1 - d; what is left over becomes a synaptic delay. A loop
    with fewer steps of delay than hops has no solution: its recurrent projections then act later than stated, which is
    refused unless `allow_longer`.

    Args:
        network: the network.
        findings: NM204 errors for loops and for delays beyond `max_delay`, NM205 warnings for loops made longer on request.
        max_delay: largest synaptic delay of the chip, in steps.
        allow_longer: make a loop longer instead of refusing it.

    Returns:
        The realised timing; meaningless for the projections that `findings` names as errors.
    """
    latency = {p.name: 0 for p in network.populations}
    bound = len(network.populations)
    late: list[str] = []
    edges = list(network.projections)
    while True:
        # Longest path by relaxation; still improving after one round per population means a loop of positive length.
        latency = dict.fromkeys(latency, 0)
        improving: list[str] = []
        for _ in range(bound + 1):
            improving = []
            for p in edges:
                if latency[p.target] < latency[p.source] + 1 - p.delay:
                    latency[p.target] = latency[p.source] + 1 - p.delay
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
        extra = latency[p.target] + p.delay - latency[p.source] - 1
        longest = extra + (int(p.delays.max()) if p.delays is not None and p.delays.size else 0)
        if extra < 0:
            message = f"`{p.name}` acts {1 - p.delay + latency[p.source] - latency[p.target]} steps later on the chip than in the network"
            why = f"Every hop takes one step, and the loop it closes has {p.delay} step of delay for more hops than that."
            if allow_longer:
                findings.warning("NM205", message, where=str(p.where), why=why)
            else:
                findings.error(
                    "NM204", message, where=str(p.where), why=why,
                    help=("--approximate delay lets the loop be longer and measures what that costs",),
                )
        elif longest > max_delay:
            findings.error(
                "NM204", f"`{p.name}` needs a synaptic delay of {longest} steps, the chip has at most {max_delay}", where=str(p.where)
            )
        delay[p.name] = max(extra, 0)
    return Timing(latency, delay)
