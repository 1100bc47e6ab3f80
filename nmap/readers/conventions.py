"""Settle what a NIR file leaves open: time step, reset, decay and comparison.

Each is taken from the first of: command line, the file's metadata, the preset of a named exporter, inference from the
parameters, default; and each becomes an `Assumption` with its evidence. How the exporting frameworks encode their time step in
(tau, r), and how they discretise, was measured on their published traces and read in their source:

========================  ===========================  =========  ========  =======
exporter                  encoding                     reset      decay     compare
========================  ===========================  =========  ========  =======
snnTorch 1.0              r = tau/dt, w_in = tau_syn/dt  delayed    1-dt/tau  >
Norse 1.1                 r = 1, dt = 1e-3             zero       1-dt/tau  >
SpikingJelly 2.0          r in {1, tau/dt}; IF r=1/dt  zero       1-dt/tau  >=
Sinabs 3.1                tau in steps, r = 1          subtract   exp       >=
Rockpool 3.1              r = (tau/dt) exp(-dt/tau)    subtract   exp       >=
Lava (NIR's example)      dt = 1e-4                    zero       1-dt/tau  >
========================  ===========================  =========  ========  =======
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import floor, isclose, isfinite, log10
from typing import Any, Literal

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap.network import Assumption, Conventions, Provenance

__all__ = ["PRESETS", "RESETS", "NeuronFacts", "Preset", "Stated", "check_options", "settle"]

RESETS = ("zero", "subtract", "delayed")
DEFAULT_DT = 1e-4
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Preset:
    """What one exporting framework does.

    Args:
        title: the framework's name.
        dt: seconds per step where its files do not tell; 1 for a framework that counts in steps.
        reset, decay, compare: as in `Conventions`.
        rule: how its files encode dt: `euler` dt = tau/r and 1/r of an IF, `exact` r = (tau/dt) exp(-dt/tau), None not at all.
    """

    title: str
    dt: float
    reset: Literal["zero", "subtract", "delayed"]
    decay: Literal["euler", "exact"]
    compare: Literal[">", ">="]
    rule: Literal["euler", "exact"] | None


PRESETS: dict[str, Preset] = {
    "snntorch": Preset("snnTorch", 1e-4, "delayed", "euler", ">", "euler"),
    "norse": Preset("Norse", 1e-3, "zero", "euler", ">", None),
    "sinabs": Preset("Sinabs", 1.0, "subtract", "exact", ">=", None),
    "rockpool": Preset("Rockpool", 1e-3, "subtract", "exact", ">=", "exact"),
    "spikingjelly": Preset("SpikingJelly", 1e-4, "zero", "euler", ">=", "euler"),
    "lava": Preset("Lava", 1e-4, "zero", "euler", ">", None),
}


@dataclass(frozen=True, slots=True, eq=False)
class NeuronFacts:
    """The parameters of one neuron node that bear on the time step.

    Args:
        name: node name.
        where: place in the file.
        r: input resistance, (n,) or (1,).
        tau: membrane time constant, like r; None for a neuron without leak.
        tau_syn, w_in: synaptic time constant and gain; None for a neuron without synaptic current.
    """

    name: str
    where: Provenance
    r: Array
    tau: Array | None = None
    tau_syn: Array | None = None
    w_in: Array | None = None


@dataclass(frozen=True, slots=True)
class Stated:
    """Conventions a file states: for each key (`dt`, `reset`, `decay`, `compare`, `exporter`) the values and their places."""

    values: dict[str, list[tuple[Any, str]]] = field(default_factory=dict)

    def add(self, key: str, value: Any, where: str) -> None:
        """Record one statement."""
        self.values.setdefault(key, []).append((value, where))

    def get(self, key: str, findings: Findings) -> tuple[Any, str] | None:
        """Return the value and place of a convention; record NM111 where the file contradicts itself."""
        stated = self.values.get(key, [])
        if not stated:
            return None
        first, where = stated[0]
        for value, place in stated[1:]:
            if not (isclose(value, first, rel_tol=1e-6) if isinstance(value, float) else value == first):
                message = f"the file's metadata states two values of {key}: {first} and {value}"
                findings.error("NM111", message, where=place, why=f"{first} is stated in {where}")
        return first, where


@dataclass(frozen=True, slots=True)
class _Inference:
    dt: float
    evidence: str
    framework: str | None


def check_options(dt: float | None, reset: str | None, source: str | None, findings: Findings) -> None:
    """Record NM004 for each option that has no meaning."""
    if dt is not None and not (isinstance(dt, int | float) and isfinite(dt) and dt > 0):
        findings.error("NM004", f"the time step must be a positive number of seconds, not {dt!r}", help=("--dt 1e-4",))
    if reset is not None and reset not in RESETS:
        findings.error("NM004", f"unknown reset `{reset}`", help=(f"--reset {'|'.join(RESETS)}",))
    if source is not None and source not in PRESETS:
        findings.error("NM004", f"unknown exporter `{source}`", help=(f"--source {'|'.join(PRESETS)}",))


def settle(
    nodes: Sequence[NeuronFacts], stated: Stated, findings: Findings, *, dt: float | None, reset: str | None, source: str | None, file: str
) -> tuple[Conventions, tuple[Assumption, ...], list[str]]:
    """Settle the conventions of a NIR file.

    Args:
        nodes: its neuron nodes.
        stated: what its metadata says.
        findings: receives NM111 where layers or statements contradict each other.
        dt, reset, source: the command line's choices, valid, or None.
        file: the file's name, for diagnostics.

    Returns:
        The conventions, one assumption for each, and notes.
    """
    notes: list[str] = []
    exporter = stated.get("exporter", findings)
    preset, preset_evidence, preset_source = None, "", "inferred"
    if source is not None:
        preset, preset_evidence, preset_source = PRESETS[source], f"--source {source}", "command line"
    elif exporter is not None:
        key = next((name for name in PRESETS if str(exporter[0]).lower().startswith(name)), None)
        if key is not None:
            preset, preset_evidence = PRESETS[key], f"the file names its exporter, {exporter[0]}"

    stated_dt = stated.get("dt", findings)
    complaint = Findings()
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inference = _infer(nodes, preset.rule if preset else "any", complaint, file)
    framework = preset or (PRESETS[inference.framework] if inference and inference.framework else None)
    found: list[Assumption] = []

    step: float
    if dt is not None:
        step = float(dt)
        found.append(Assumption("dt", _seconds(step), "command line", "--dt"))
    elif stated_dt is not None:
        step = stated_dt[0]
        found.append(Assumption("dt", _seconds(step), "file", f"metadata at {stated_dt[1].rpartition(':')[2]}"))
    else:
        findings.extend(complaint)
        if inference is not None:
            step = inference.dt
            found.append(Assumption("dt", _seconds(step), "inferred", inference.evidence))
        elif preset is not None:
            step = preset.dt
            found.append(Assumption("dt", _seconds(step), _literal(preset_source), f"{preset_evidence}: {preset.title}'s own time step"))
        else:
            step = DEFAULT_DT
            found.append(Assumption("dt", _seconds(step), "default", "nothing in the file tells the time step"))
    told = [(stated_dt[0], "metadata", stated_dt[1])] if stated_dt else []
    told += [(inference.dt, "parameters", inference.evidence)] if inference else []
    for value, label, evidence in told:
        if not isclose(value, step, rel_tol=_TOLERANCE):
            notes.append(f"dt is {_seconds(step)}, while the file's {label} tell {_seconds(value)} ({evidence})")
    if preset is None and inference is not None and inference.framework:
        preset_evidence = f"{PRESETS[inference.framework].title} writes such files ({inference.evidence})"

    fallback = framework is not None
    chosen: dict[str, Any] = {}
    defaults = {"reset": "zero", "decay": "euler", "compare": ">"}
    for key, default in defaults.items():
        said = stated.get(key, findings)
        label = "comparison" if key == "compare" else key
        if key == "reset" and reset is not None:
            chosen[key] = reset
            found.append(Assumption(label, reset, "command line", "--reset"))
            if said is not None and said[0] != reset:
                notes.append(f"reset is {reset}, while the file's metadata tell {said[0]}")
        elif said is not None:
            chosen[key] = said[0]
            found.append(Assumption(label, said[0], "file", f"metadata at {said[1].rpartition(':')[2]}"))
        elif fallback and framework is not None:
            chosen[key] = getattr(framework, key)
            found.append(Assumption(label, chosen[key], _literal(preset_source), f"{framework.title}'s own: {preset_evidence}"))
        else:
            chosen[key] = default
            found.append(Assumption(label, default, "default", _DEFAULT_EVIDENCE[key]))
    if framework in (PRESETS["sinabs"], PRESETS["rockpool"]):
        notes.append(f"{framework.title} may send several spikes per neuron and step; nmap sends one")
    # A step of 1 means that the file counts in steps; how long one lasts is not known.
    return Conventions(None if step == 1 else step, chosen["reset"], chosen["decay"], chosen["compare"]), tuple(found), notes


_DEFAULT_EVIDENCE = {
    "reset": "NIR's own equations set v to v_reset; the exporter's reset is not in the file",
    "decay": "forward Euler, as most exporters do",
    "compare": "NIR's own equations fire where v > v_threshold",
}


def _literal(text: str) -> Literal["command line", "inferred"]:
    return "command line" if text == "command line" else "inferred"


def _seconds(value: float) -> str:
    return "1 step" if value == 1 else f"{value:.6g} s"


def _infer(nodes: Sequence[NeuronFacts], rule: str | None, findings: Findings, file: str) -> _Inference | None:
    """Return the time step that the parameters tell, with the exporter it betrays, or None."""
    leaky = [n for n in nodes if n.tau is not None]
    taus = [t for n in leaky for t in (n.tau, n.tau_syn) if t is not None]
    plain = [n for n in nodes if n.tau is None]
    if rule == "any":
        if leaky and all(_all(n.tau, lambda t: t >= 1) and _all(n.r, lambda r: r <= 1) for n in leaky) and all(_ones(n.r) for n in plain):
            low, high = min(float(t.min()) for t in taus), max(float(t.max()) for t in taus)
            sinabs = all(_ones(n.r) for n in nodes)
            gain = "r = 1" if sinabs else "r <= 1"
            return _Inference(1.0, f"time constants of {low:.4g} to {high:.4g} with {gain} count steps", "sinabs" if sinabs else None)
        if not leaky and plain and all(_ones(n.r) for n in plain):
            return _Inference(1.0, f"r = 1 for {len(plain)} of {len(plain)} IF nodes", "sinabs")
    if rule is None:
        return None
    scaled = [n for n in leaky if not _ones(n.r)]
    euler = [(n, dt) for n in scaled for dt in (_agreed(n.tau / n.r), *_synaptic(n))] if rule in ("any", "euler") else []
    exact = [(n, _agreed(_solve_exact(n.tau, n.r))) for n in scaled if n.tau is not None] if rule in ("any", "exact") else []
    fires = [(n, _agreed(1 / n.r)) for n in plain if _all(n.r, lambda r: r > 1)] if rule in ("any", "euler") else []

    same_euler, same_exact = _common(dt for _, dt in euler), _common(dt for _, dt in exact)
    several = len({round(float(np.median(n.tau)), 12) for n in scaled if n.tau is not None}) > 1
    leak: _Inference | None = None
    if same_euler is not None and (_is_round(same_euler) or rule == "euler" or (several and not (same_exact and _is_round(same_exact)))):
        leak = _Inference(_rounded(same_euler), f"r*dt/tau = 1 for {len(scaled)} of {len(leaky)} neuron nodes", None)
    elif same_exact is not None and (_is_round(same_exact) or rule == "exact" or several):
        leak = _Inference(_rounded(same_exact), f"r = (tau/dt) exp(-dt/tau) for {len(scaled)} of {len(leaky)} neuron nodes", "rockpool")
    elif any(dt is not None and _is_round(dt) for _, dt in euler):
        told = [f"`{n.name}` tells {_seconds(_rounded(dt))}" for n, dt in euler if dt is not None]
        findings.error(
            "NM111",
            f"the layers tell different time steps: {', '.join(told[:4])}{', ...' if len(told) > 4 else ''}",
            where=file,
            why="exporters write r = tau/dt, so tau/r is the time step, the same in every layer",
            help=("state it: --dt SECONDS",),
        )
        return None
    same_fires = _common(dt for _, dt in fires)
    if fires and same_fires is not None:
        if leak is not None and not isclose(leak.dt, same_fires, rel_tol=_TOLERANCE):
            findings.error(
                "NM111",
                f"the layers tell different time steps: 1/r of `{fires[0][0].name}` is {_seconds(_rounded(same_fires))}, "
                f"tau/r of `{scaled[0].name}` is {_seconds(leak.dt)}",
                where=file,
                help=("state it: --dt SECONDS",),
            )
            return None
        if leak is None:
            evidence = f"r*dt = 1 for {len(fires)} of {len(plain)} IF nodes"
            return _Inference(_rounded(same_fires), evidence, "spikingjelly" if rule == "any" else None)
    return leak


def _all(values: Array | None, test: Any) -> bool:
    return values is not None and bool(np.all(test(values)))


def _ones(values: Array) -> bool:
    return bool(np.allclose(values, 1, rtol=1e-6, atol=0))


def _synaptic(node: NeuronFacts) -> tuple[float | None, ...]:
    if node.tau_syn is None or node.w_in is None or _ones(node.w_in) or np.any(node.w_in <= 0):
        return ()
    return (_agreed(node.tau_syn / node.w_in),)


def _agreed(values: Array) -> float | None:
    """Return the value all entries share, or None."""
    if values.size == 0 or not np.all(np.isfinite(values)) or np.any(values <= 0):
        return None
    return float(np.median(values)) if float(values.max() / values.min()) - 1 < _TOLERANCE else None


def _common(values: Iterable[float | None]) -> float | None:
    """Return the value of all layers, or None where one has none or differs."""
    found = list(values)
    known = [v for v in found if v is not None]
    return _agreed(np.array(known)) if known and len(known) == len(found) else None


def _solve_exact(tau: Array, r: Array) -> Array:
    """Solve r = (tau/dt) exp(-dt/tau) for dt: with x = dt/tau, x exp(x) = 1/r, by Newton's method on x + ln x + ln r."""
    if np.any(r <= 0):
        return np.full(r.shape, np.nan)
    x = 1 / (1 + r)
    for _ in range(30):
        x = np.maximum(x - (x + np.log(x) + np.log(r)) / (1 + 1 / x), 1e-300)
    return np.asarray(x * tau)


def _is_round(value: float) -> bool:
    """Return whether a time step has at most two significant digits, as people choose them."""
    return isclose(value, _rounded(value), rel_tol=1e-5) and isclose(_digits(value, 2), value, rel_tol=1e-5)


def _digits(value: float, digits: int) -> float:
    return round(value, digits - 1 - floor(log10(value)))


def _rounded(value: float) -> float:
    """Return the time step without single-precision noise in its 7th digit."""
    near = _digits(value, 6)
    return near if isclose(near, value, rel_tol=1e-5) else value
