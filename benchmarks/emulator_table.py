"""The tables that `emulator.py` prints: ratios first, against the bars."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["AT_LEAST", "LIMITS", "Comparison", "Limit", "compared", "milliseconds", "times", "verdict"]

AT_LEAST = {
    ("W1", "lava"): 600.0, ("W1", "brian2"): 25.0, ("W1", "brian2-32"): 25.0, ("W1", "nest"): 300.0, ("W2", "snntorch"): 10.0,
    ("W3", "lava"): 150.0, ("W3", "nest"): 30.0, ("W3", "brian2"): 2.5, ("W3", "brian2-32"): 2.5, ("W4", "nest"): 50.0,
    ("pilotnet", "lava"): 50.0, ("pilotnet", "lava-lists"): 50.0,
}
"""How many times as fast as a peer the emulator must be, by workload and peer."""
LIMITS = {"W2": 4.0, "W3": 1.1, "W4": 1.2}
"""Within which factor of the machine's limit a workload must be."""


def milliseconds(value: float) -> str:
    """Return milliseconds with three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.001 else f"{value:.2g}"


def times(value: float) -> str:
    """Return a ratio as `1.23x` or `456x`."""
    return f"{value:.0f}x" if value >= 100 else f"{value:.3g}x"


def verdict(value: float | None, bar: float | None, *, most: bool = False) -> str:
    """Return whether a value reaches its bar: empty where there is no bar, `-` where there is no value."""
    if bar is None:
        return ""
    if value is None:
        return "-"
    return "pass" if (value <= bar if most else value >= bar) else "MISSED"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The emulator against one peer on one workload; times are milliseconds per step and sample.

    Args:
        workload, peer, version: names.
        ours, theirs: medians; `theirs` is None where the peer gave nothing.
        ratio: how many times as long the peer takes.
        best: the same with the fastest repetition of both.
        bar: what the ratio must reach, or None.
        spikes: what came of comparing the spikes.
        note: why there is nothing, or what else is worth telling.
    """

    workload: str
    peer: str
    version: str
    ours: float
    theirs: float | None
    ratio: float | None
    best: float | None
    bar: float | None
    spikes: str
    note: str

    @property
    def row(self) -> tuple[str, ...]:
        """Cells of the table."""
        known = self.ratio is not None and self.best is not None and self.theirs is not None
        return (
            self.workload, self.peer, times(self.ratio) if known and self.ratio else "-", times(self.best) if known and self.best else "-",
            "" if self.bar is None else f">= {times(self.bar)}", verdict(self.ratio, self.bar), milliseconds(self.ours),
            milliseconds(self.theirs) if known and self.theirs else "-", self.spikes, " ".join(filter(None, (self.version, self.note))),
        )


def compared(
    workload: str, key: str, title: str, ours: Sequence[float], told: dict[str, object], missing: str | None, ours_spikes: dict[str, int],
    ours_digests: dict[str, str],
) -> Comparison:
    """Put a peer's answer beside the emulator's times.

    Args:
        workload, key, title: of the comparison; key of the peer.
        ours: milliseconds per step and sample, one number per repetition.
        told: the peer's JSON object.
        missing: why there is none.
        ours_spikes, ours_digests: of the first sample, by population.
    """
    bar = AT_LEAST.get((workload, key))
    mine = statistics.median(ours)
    if missing is not None:
        return Comparison(workload, title, "", mine, None, None, None, bar, "", missing)
    ms = [float(value) for value in told["ms"]]  # type: ignore[attr-defined]
    theirs = statistics.median(ms)
    note = str(told.get("note", ""))
    if "batch" in told:
        note = f"{note}, batch {told['batch']}"
    return Comparison(
        workload, title, str(told.get("version", "")), mine, theirs, theirs / mine, min(ms) / min(ours), bar,
        spikes_told(told, ours_spikes, ours_digests), note,
    )


def spikes_told(told: dict[str, object], counts: dict[str, int], digests: dict[str, str]) -> str:
    """Return `equal` or `DIFFERENT` for a peer that gave digests, else its spikes beside ours."""
    given = told.get("digests")
    if isinstance(given, dict) and given:
        wrong = [name for name, value in given.items() if digests.get(name) != value]
        return f"DIFFERENT: {', '.join(wrong)}" if wrong else "equal"
    theirs = told.get("counts")
    if not isinstance(theirs, dict) or not theirs:
        return ""
    return f"{sum(theirs.values())} against {sum(counts[name] for name in theirs)}"


@dataclass(frozen=True, slots=True)
class Limit:
    """A workload's synaptic events against what the machine can do.

    Args:
        workload, what: names.
        rate: the emulator's G events/s, all of its work counted.
        alone: the same with the time of neurons and of finding spikes left out.
        limit: the machine's, in the same run.
    """

    workload: str
    what: str
    rate: float
    alone: float
    limit: float

    @property
    def row(self) -> tuple[str, ...]:
        """Cells of the table."""
        bar = LIMITS.get(self.workload)
        factor = self.limit / self.rate
        return (
            self.workload, self.what, f"{self.limit:.3g}", f"{self.rate:.3g}", f"{self.alone:.3g}", times(factor),
            times(self.limit / self.alone), "" if bar is None else f"<= {times(bar)}", verdict(factor, bar, most=True),
        )
