"""Recorded activity of a run, in chip time, whatever computed it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic, Exit, NmapError

__all__ = ["Probe", "SpikeEvents", "SpikeTrace", "parse_probes"]


@dataclass(frozen=True, slots=True)
class Probe:
    """A request to record one variable (`spikes` or a state variable) of one population."""

    population: str
    variable: str

    @property
    def key(self) -> str:
        """Name of the recorded array."""
        return f"{self.population}.{self.variable}"


@dataclass(frozen=True, slots=True, eq=False)
class SpikeEvents:
    """Spikes of one population as a list, by sample, step and neuron.

    Args:
        samples, steps, neurons: how many.
        offsets: (samples * steps + 1,) int64: the spikes of step t of sample s are those from offsets[s * steps + t] to the next offset.
        neuron: (spikes,) int32, ascending inside a step.
        payload: (spikes,) int32; None where all are 1.
    """

    samples: int
    steps: int
    neurons: int
    offsets: Array
    neuron: Array
    payload: Array | None = None

    def dense(self) -> Array:
        """Return the payloads, (samples, steps, neurons) int32."""
        rows = np.repeat(np.arange(self.offsets.size - 1), np.diff(self.offsets))
        out = np.zeros((self.samples * self.steps, self.neurons), np.int32)
        out[rows, self.neuron] = 1 if self.payload is None else self.payload
        return out.reshape(self.samples, self.steps, self.neurons)


@dataclass(frozen=True, slots=True, eq=False)
class SpikeTrace:
    """What was recorded.

    Args:
        spikes: payloads, (samples, steps, neurons) int32 by population name; column c is chip step c.
        state: state after each step, (samples, steps, neurons) int64 by `POPULATION.VARIABLE`.
        counts: number of spikes per population over everything run, recorded or not.
        events: spikes as lists by population name, where they were asked for in this form; `spikes` is empty then.
        tallies: what the state variables that count events counted over everything run, by `POPULATION.VARIABLE`.
    """

    spikes: dict[str, Array]
    state: dict[str, Array] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    events: dict[str, SpikeEvents] = field(default_factory=dict)
    tallies: dict[str, int] = field(default_factory=dict)


def parse_probes(texts: Iterable[str], populations: dict[str, tuple[str, ...]]) -> tuple[Probe, ...]:
    """Turn `POP`, `POP:v`, `POP:spikes` into probes; `POP` alone means everything it has.

    Args:
        texts: as typed.
        populations: state variables by population name (empty for an input port).

    Raises:
        NmapError: NM004 with every text that names nothing.
    """
    probes: list[Probe] = []
    wrong: list[str] = []
    for text in texts:
        name, _, variable = text.rpartition(":") if ":" in text and text not in populations else (text, "", "")
        known = (*populations.get(name, ()), "spikes")
        if name not in populations or (variable and variable not in known):
            wrong.append(text)
            continue
        probes.extend(Probe(name, v) for v in ((variable,) if variable else known))
    if wrong:
        choices = "; ".join(f"{name}: {', '.join((*state, 'spikes'))}" for name, state in populations.items())
        raise NmapError(Diagnostic(
            "NM004", "error", f"nothing to probe under {', '.join(f'`{w}`' for w in wrong)}", why=f"There is {choices}."
        ), Exit.USAGE)
    return tuple(dict.fromkeys(probes))
