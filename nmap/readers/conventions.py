"""Settle what a NIR file leaves open: the time step and the other `Conventions` of its network.

Each is taken from the first of: command line, the file's metadata, the preset of a named exporter, inference from the
parameters, default; and each that matters becomes an `Assumption` with its evidence. How the exporting frameworks encode their time
step in (tau, r), and how they discretise, was measured on their published traces, on themselves, and read in their source:

========================  =============================  =========  =======================  =======  =========================
exporter                  encoding                       reset      decay                    compare  further
========================  =============================  =========  =======================  =======  =========================
snnTorch 1.0              r = tau/dt, w_in = tau_syn/dt  delayed    1-dt/tau                 >        `subtract`: early reset
Norse 1.1                 r = 1, tau times 1e-3          zero       1-dt/tau                 >        late recurrent bias
SpikingJelly 2.0          r in {1, tau/dt}; IF r = 1/dt  zero       1-dt/tau                 >=
Sinabs 3.1                tau in steps, r = 1            subtract   exp, gain 1-exp          >=       IF: v >= -threshold
Rockpool 3.1              r = (tau/dt) exp(-dt/tau)      subtract   exp                      >=       several spikes a step
Lava (NIR's example)      dt = 1e-4                      zero       1-dt/tau                 >
Spyx 0.1                  dt as given                    delayed *  1-dt/tau                 >        spikes 1 step late
========================  =============================  =========  =======================  =======  =========================

Spyx's recurrent CubaLIF (RCuBaLIF, *) takes the threshold off before the decay, which is `subtract`. Sinabs' spike function is the
user's choice and not in the file: SingleSpike is preset `sinabs`, its default MultiSpike `sinabs-multispike`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import floor, isclose, log10
from numbers import Real
from typing import Any, Literal

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap.network import Assumption, Conventions, Provenance

__all__ = ["MAX_INTERVAL", "PRESETS", "RESETS", "NeuronFacts", "Periodic", "Preset", "Settled", "Stated", "check_options", "settle"]

RESETS = ("zero", "subtract", "delayed")
DEFAULT_DT = 1e-4
_TOLERANCE = 1e-3
_LONGEST = 0.02
"""Seconds; no network in use has a longer time step."""
_FOREVER = 1e9
MAX_INTERVAL = 1 << 30
"""Steps; a count of steps that fits into 32 bits wherever it is stored."""
_NOISE = 3e-7
"""Relative error that single precision leaves in a ratio of two parameters."""


@dataclass(frozen=True, slots=True)
class Preset:
    """What one exporting framework does.

    Args:
        title: the framework's name.
        dt: seconds per step where its files do not tell; 1 for a framework that counts in steps; None for one without a step of its own.
        reset, decay, compare: as in `Conventions`.
        rule: how its files encode dt: `euler` dt = tau/r and 1/r of an IF, `exact` r = (tau/dt) exp(-dt/tau), None not at all.
        gain, multiple, lag, late_bias: as in `Conventions`.
        floor: as in `Conventions`; where there are IF neurons.
        early_reset: as in `Conventions`; where the reset is `subtract`.
        cuba_reset: the reset of its neurons with synaptic current, where it differs.
    """

    title: str
    dt: float | None
    reset: Literal["zero", "subtract", "delayed"]
    decay: Literal["euler", "exact"]
    compare: Literal[">", ">="]
    rule: Literal["euler", "exact"] | None
    gain: Literal["euler", "exact"] = "euler"
    multiple: bool = False
    floor: float | None = None
    early_reset: bool = False
    lag: int = 0
    late_bias: bool = False
    cuba_reset: Literal["subtract"] | None = None


_NORSE_DT = 1e-3
_NORSE = Preset("Norse", _NORSE_DT, "zero", "euler", ">", "euler", late_bias=True)
_SINABS = Preset("Sinabs", 1.0, "subtract", "exact", ">=", None, gain="exact", floor=-1.0)
PRESETS: dict[str, Preset] = {
    "snntorch": Preset("snnTorch", 1e-4, "delayed", "euler", ">", "euler", early_reset=True),
    "norse": _NORSE,
    "sinabs": _SINABS,
    "sinabs-multispike": replace(_SINABS, multiple=True),
    "rockpool": Preset("Rockpool", 1e-3, "subtract", "exact", ">=", "exact", multiple=True),
    "spikingjelly": Preset("SpikingJelly", 1e-4, "zero", "euler", ">=", "euler"),
    "lava": Preset("Lava", 1e-4, "zero", "euler", ">", "euler"),
    "spyx": Preset("Spyx", None, "delayed", "euler", ">", "euler", lag=1, cuba_reset="subtract"),
}
_LONGEST_FIRST = sorted(PRESETS, key=len, reverse=True)
_DEFAULTS: dict[str, Any] = {"reset": "zero", "decay": "euler", "compare": ">"}
_FURTHER: dict[str, Any] = {"gain": "euler", "multiple": False, "floor": None, "early_reset": False, "lag": 0, "late_bias": False}
_LABELS = {
    "compare": "comparison",
    "multiple": "several spikes a step",
    "early_reset": "early reset",
    "late_bias": "late recurrent bias",
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
        spiking: False for an integrator that never fires.
    """

    name: str
    where: Provenance
    r: Array
    tau: Array | None = None
    tau_syn: Array | None = None
    w_in: Array | None = None
    spiking: bool = True


@dataclass(frozen=True, slots=True)
class Stated:
    """Conventions a file states: for each key (`exporter` or a field of `Conventions`) the values and their places.

    A file that states one of `gain`, `multiple`, `floor`, `early_reset`, `lag`, `late_bias` and `in_steps` states them all: those it
    leaves out have their defaults, whatever its exporter's are.
    """

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
    if dt is not None and not (isinstance(dt, Real) and not isinstance(dt, bool) and 0 < dt < _FOREVER):
        findings.error("NM004", f"the time step must be a positive number of seconds, not {str(dt)[:40]}", help=("--dt 1e-4",))
    if reset is not None and (not isinstance(reset, str) or reset not in RESETS):
        findings.error("NM004", f"unknown reset `{reset}`", help=(f"--reset {'|'.join(RESETS)}",))
    if source is not None and (not isinstance(source, str) or source not in PRESETS):
        findings.error("NM004", f"unknown exporter `{source}`", help=(f"--source {'|'.join(PRESETS)}",))


@dataclass(frozen=True, slots=True)
class Clearing:
    """The settled periodic reset, see `Conventions.reset_interval`; interval 0 for none, else 0 <= offset < interval."""

    interval: int
    offset: int


@dataclass(frozen=True, slots=True)
class Periodic:
    """The command line's periodic reset: `Conventions.reset_interval` and `reset_offset`, None where not given."""

    interval: int | None = None
    offset: int | None = None

    def check(self, findings: Findings) -> None:
        """Record NM004 for a number that has no meaning."""
        # An interval of 0 is only for callers from Python, who clear a file's own with it.
        for name, value, least in (("--reset-interval", self.interval, 1), ("--reset-offset", self.offset, 0)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_INTERVAL):
                findings.error("NM004", f"{name} is a number of steps from {least} to {MAX_INTERVAL}, not {str(value)[:40]}")

    def settle(self, stated: Stated, findings: Findings) -> tuple[Clearing, tuple[Assumption, ...]]:
        """Return the two fields of `Conventions`, and the assumption that tells of them where there is a periodic reset."""
        said = {key: stated.get(key, findings) for key in ("reset_interval", "reset_offset")}
        file, place = said["reset_interval"] or (0, "")
        interval = int(file) if self.interval is None else self.interval
        begins = said["reset_offset"]
        offset = self.offset if self.offset is not None else int(begins[0]) if begins is not None and self.interval is None else 0
        if self.offset is not None and not interval:
            findings.error(
                "NM004", "--reset-offset says when a periodic reset begins, and there is none", help=("give --reset-interval N as well",)
            )
        if not interval:
            return Clearing(0, 0), ()
        value = f"every {interval} step{'' if interval == 1 else 's'}" + (f", from step {offset % interval}" if offset % interval else "")
        assumption = Assumption("periodic reset", value, "file", _metadata(place))
        if self.interval is not None or self.offset is not None:
            told = "--reset-interval" if self.interval is not None else "--reset-offset"
            assumption = Assumption("periodic reset", value, "command line", told)
        return Clearing(interval, offset % interval), (assumption,)


@dataclass(frozen=True, slots=True)
class Settled:
    """What `settle` found.

    Args:
        conventions: of the whole network.
        assumptions: one for each.
        notes: where statements differ, and what a preset leaves out.
        exporter: a key of `PRESETS`: the framework that was named or inferred, or None.
    """

    conventions: Conventions
    assumptions: tuple[Assumption, ...]
    notes: tuple[str, ...]
    exporter: str | None

    def amend(self, nodes: Sequence[NeuronFacts]) -> tuple[str, dict[str, Callable[[Array, float], Array]]]:
        """Return how gains must be read that the exporter writes otherwise than it computes.

        Rockpool 3.1 writes r = (tau/dt) exp(-dt/tau) and w_in = 1, yet its membrane takes the current whole and its current
        exp(-dt/tau_syn) of the input; Norse 1.1 writes w_in = 1 for a current, and r = 1 for an IF neuron beside leaky ones, that take
        their input whole; Sinabs 3.1 writes r = 1 for an integrator (ExpLeak) that does so. All were measured on the frameworks
        themselves. Files whose gains are not these are taken at their word.

        Args:
            nodes: the neuron nodes.

        Returns:
            The reason, and by field (`r` of leaky neurons, `w_in`, `r of IF`, `r of LI`) a function of the time constant and dt that
            gives the field's value.
        """
        dt = self.conventions.unit
        leaky = [n for n in nodes if n.tau is not None]
        currents = [n for n in leaky if n.tau_syn is not None]
        unweighed = all(n.w_in is None or _ones(n.w_in) for n in currents)
        if self.exporter == "rockpool" and leaky and unweighed and all(_encodes(n, dt) for n in leaky):
            return "Rockpool's membrane takes the current whole, and its current exp(-dt/tau_syn) of the input", {
                "r": lambda tau, dt: tau / dt,
                "w_in": lambda tau, dt: tau / dt * np.exp(-dt / tau),
            }
        gains: dict[str, Callable[[Array, float], Array]] = {}
        if self.exporter == "norse":
            if currents and unweighed:
                gains["w_in"] = lambda tau, dt: tau / dt
            if leaky and any(n.tau is None for n in nodes) and all(_ones(n.r) for n in nodes if n.tau is None):
                gains["r of IF"] = lambda r, dt: r / dt
            return "Norse's currents and IF neurons take their input whole", gains
        if self.exporter in ("sinabs", "sinabs-multispike") and any(n.tau is not None and not n.spiking for n in nodes):
            gains["r of LI"] = lambda tau, dt: -1 / np.expm1(-dt / tau)
            return "Sinabs' ExpLeak takes its input whole", gains
        return "", {}

    def doubts(self, nodes: Sequence[NeuronFacts], rests: bool) -> list[str]:
        """Return what the conventions leave uncertain, one sentence each.

        Args:
            nodes: the neuron nodes.
            rests: whether a neuron has a resting or reset potential other than 0.
        """
        found, dt = [], self.conventions.unit
        starts = {"norse": "v_leak", "spikingjelly": "v_reset"}.get(self.exporter or "")
        if rests and starts is not None:
            found.append(f"{PRESETS[self.exporter or ''].title} starts at {starts}, nmap at 0: the first steps may differ")
        unscaled = [n.name for n in nodes if n.tau is None and _ones(n.r)]
        if dt != 1 and unscaled and self.exporter != "norse":
            listed = ", ".join(f"`{name}`" for name in unscaled[:4])
            found.append(f"{listed}: an IF neuron with r = 1 adds its input times dt, as NIR's equation says; exporters write r = 1/dt")
        taus = [float(t.min()) for n in nodes for t in (n.tau, n.tau_syn) if t is not None and t.size]
        if self.exporter == "norse" and taus and dt == _NORSE_DT and all(_ones(n.r) for n in nodes):
            found.append(
                f"time constants of {min(taus):.3g} s and more were taken as they are; Norse 1.1 writes them times 1e-3 unless told dt=1 "
                "(then say --dt 1e-6)"
            )
        return found


def settle(
    nodes: Sequence[NeuronFacts], stated: Stated, findings: Findings, *, dt: float | None, reset: str | None, source: str | None, file: str,
    seconds: bool = False, periodic: Periodic = Periodic(),
) -> Settled:
    """Settle the conventions of a NIR file.

    Args:
        nodes: its neuron nodes.
        stated: what its metadata says.
        findings: receives NM111 where layers or statements contradict each other.
        dt, reset, source: the command line's choices, valid, or None.
        file: the file's name, for diagnostics.
        seconds: whether something else in the file (a delay of a fraction) cannot count steps.
        periodic: the command line's periodic reset.

    Returns:
        The conventions, one assumption for each, notes, and the exporter.
    """
    notes: list[str] = []
    exporter = stated.get("exporter", findings)
    # The longest name first: one preset's name begins another's.
    named = None if exporter is None else next((n for n in _LONGEST_FIRST if str(exporter[0]).lower().startswith(n)), None)
    framework: _Framework | None = None
    if source is not None:
        framework = _Framework(PRESETS[source], f"--source {source}", "command line")
    elif exporter is not None and named is not None:
        framework = _Framework(PRESETS[named], f"the file names its exporter, {exporter[0]}", "inferred")
    complaint = Findings()
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        known = [n for n in map(_finite, nodes) if n.r.size]
        inference = _norse(known) if framework is not None and framework.preset is _NORSE else None
        inference = inference or _infer(known, framework.preset.rule if framework else "any", complaint, file)
    if seconds and inference is not None and inference.dt == 1:
        inference = None
    # Parameters betray an exporter; what its users changed they state, and then nothing else is taken from it.
    silent = not any(stated.values.get(key) for key in (*_DEFAULTS, *_FURTHER, "in_steps"))
    agrees = inference is not None and (dt is None or inference.dt == 1 or isclose(dt, inference.dt, rel_tol=_TOLERANCE))
    if framework is None and inference is not None and inference.framework and silent and agrees:
        preset = PRESETS[inference.framework]
        framework = _Framework(preset, f"{preset.title} writes such files ({inference.evidence})", "inferred")
    in_steps, unit = _unit(dt, stated.get("in_steps", findings), inference, framework)
    default = "its parameters tell no common time step" if any(not _ones(n.r) for n in known) else "nothing in the file tells the time step"
    told = None if in_steps else inference
    assumption, step = _time_step(dt, stated.get("dt", findings), told, framework, default, findings, notes, file)
    if dt is None and "dt" not in stated.values:
        findings.extend(complaint)
    own = framework.own(nodes, notes) if framework is not None else {}
    chosen, found = _choose(stated, own, framework, reset, findings)
    clearing, cleared = periodic.settle(stated, findings)
    # A step of 1 means that the file counts in steps; how long one lasts is not known.
    return Settled(
        Conventions(None if step == 1 else step, in_steps=in_steps and step != 1, **chosen, reset_interval=clearing.interval,
                    reset_offset=clearing.offset),
        (assumption, *unit, *found, *cleared), tuple(notes),
        None if framework is None else next(key for key, preset in PRESETS.items() if preset is framework.preset),
    )


@dataclass(frozen=True, slots=True)
class _Framework:
    """The preset that stands in for what a file leaves open, and why it is that one."""

    preset: Preset
    evidence: str
    source: Literal["command line", "inferred"]

    @property
    def whose(self) -> str:
        """The framework's name in the genitive."""
        title = self.preset.title
        return f"{title}'" if title.endswith("s") else f"{title}'s"

    def own(self, nodes: Sequence[NeuronFacts], notes: list[str]) -> dict[str, Any]:
        """Return the framework's conventions for a network of these neurons; add to `notes` what they leave out."""
        preset, firing = self.preset, [n for n in nodes if n.spiking]
        own = {key: getattr(preset, key) for key in (*_DEFAULTS, *_FURTHER)}
        if all(n.tau is None for n in nodes):
            own["gain"] = "euler"
        if preset.floor is not None:
            if all(n.tau is not None for n in firing):
                own["floor"] = None
            elif any(n.tau is not None for n in firing):
                notes.append(f"{preset.title} keeps v of IF neurons only from falling below its floor; here all neurons have one")
        if preset.cuba_reset is not None and any(n.tau_syn is not None for n in firing):
            if all(n.tau_syn is not None for n in firing):
                own["reset"] = preset.cuba_reset
            else:
                notes.append(f"{preset.title} resets its CubaLIF before the decay; here all neurons reset as its LIF do")
            notes.append(f"{preset.title} takes the threshold off a CubaLIF without recurrent weights twice; here it is taken off once")
        if preset is _SINABS:
            notes.append(
                "Sinabs' spike function is not in the file: SingleSpike is assumed; for its MultiSpike say --source sinabs-multispike"
            )
        return own


def _unit(
    dt: float | None, stated: tuple[Any, str] | None, inference: _Inference | None, framework: _Framework | None
) -> tuple[bool, tuple[Assumption, ...]]:
    """Settle whether time constants count steps although dt is given, and say so."""
    if stated is not None:
        return bool(stated[0]), (Assumption("unit", "steps" if stated[0] else "seconds", "file", _metadata(stated[1])),)
    if dt is None or dt == 1:
        return False, ()
    told = "--dt tells how long a step lasts"
    if framework is not None and framework.preset.dt == 1:
        return True, (Assumption("unit", "steps", framework.source, f"{framework.whose} own: {framework.evidence}; {told}"),)
    if inference is not None and inference.dt == 1:
        return True, (Assumption("unit", "steps", "inferred", f"{inference.evidence}; {told}"),)
    return False, ()


def _time_step(
    dt: float | None,
    stated: tuple[Any, str] | None,
    inference: _Inference | None,
    framework: _Framework | None,
    default: str,
    findings: Findings,
    notes: list[str],
    file: str,
) -> tuple[Assumption, float]:
    """Settle dt; warn or note where the file tells another one. `default` says why there is none."""
    step: float
    if dt is not None:
        step = float(dt)
        assumption = Assumption("dt", _seconds(step), "command line", "--dt")
    elif stated is not None:
        step = stated[0]
        assumption = Assumption("dt", _seconds(step), "file", _metadata(stated[1]))
    elif inference is not None:
        step = inference.dt
        assumption = Assumption("dt", _seconds(step), "inferred", inference.evidence)
    elif framework is not None and framework.preset.dt is not None:
        step = framework.preset.dt
        assumption = Assumption("dt", _seconds(step), framework.source, f"{framework.evidence}: {framework.whose} own time step")
    else:
        step = DEFAULT_DT
        assumption = Assumption("dt", _seconds(step), "default", default)
    told = [(stated[0], "metadata", stated[1])] if stated else []
    told += [(inference.dt, "parameters", inference.evidence)] if inference else []
    for value, label, evidence in told:
        if not isclose(value, step, rel_tol=_TOLERANCE):
            message = f"dt is {_seconds(step)}, while the file's {label} tell {_seconds(value)}"
            if dt is not None:
                findings.warning("NM111", message, where=file, why=evidence, help=("leave --dt out, if the file is right",))
            else:
                notes.append(f"{message} ({evidence})")
    return assumption, step


def _choose(
    stated: Stated, own: dict[str, Any], framework: _Framework | None, reset: str | None, findings: Findings
) -> tuple[dict[str, Any], list[Assumption]]:
    """Settle all but dt: the fields of `Conventions`, and an assumption for each that a file leaves open or states."""
    chosen: dict[str, Any] = {}
    found: list[Assumption] = []
    for key, default in _DEFAULTS.items():
        said = stated.get(key, findings)
        label = _LABELS.get(key, key)
        if key == "reset" and reset is not None:
            chosen[key] = reset
            found.append(Assumption(label, reset, "command line", "--reset"))
            if said is not None and said[0] != reset:
                message = f"reset is {reset}, while the file's metadata tell {said[0]}"
                findings.warning("NM111", message, where=said[1], help=("leave --reset out, if the file is right",))
        elif said is not None:
            chosen[key] = said[0]
            found.append(Assumption(label, said[0], "file", _metadata(said[1])))
        elif framework is not None:
            chosen[key] = own[key]
            found.append(Assumption(label, chosen[key], framework.source, f"{framework.whose} own: {framework.evidence}"))
        else:
            chosen[key] = default
            found.append(Assumption(label, default, "default", _DEFAULT_EVIDENCE[key]))
    complete = any(stated.values.get(key) for key in (*_FURTHER, "in_steps"))
    for key, default in _FURTHER.items():
        said = stated.get(key, findings)
        chosen[key] = said[0] if said is not None else default if complete else own.get(key, default)
        if key == "early_reset" and chosen[key] and chosen["reset"] != "subtract":
            if said is not None and reset is None:
                message = f"the metadata state an early reset, while the reset is {chosen['reset']}"
                why = "it is how snnTorch computes a reset by subtraction in the same step"
                findings.error("NM111", message, where=said[1], why=why)
            chosen[key] = default
        elif said is not None:
            found.append(Assumption(_LABELS.get(key, key), _told(said[0]), "file", _metadata(said[1])))
        elif chosen[key] != default and framework is not None:
            evidence = f"{framework.whose} own, {_FURTHER_EVIDENCE[key]}: {framework.evidence}"
            found.append(Assumption(_LABELS.get(key, key), _told(chosen[key]), framework.source, evidence))
    return chosen, found


def _norse(nodes: Sequence[NeuronFacts]) -> _Inference | None:
    """Return the time step in which a file's time constants become those of Norse 1.1, or None where its files need no care.

    Its exporter writes dt / tau_inv = dt tau for tau, where dt = 1e-3 s; its IF neurons add their input without dt, and r = 1.
    """
    if not nodes or not all(_ones(n.r) for n in nodes):
        return None
    leaky = [n for n in nodes if n.tau is not None and n.tau.size]
    if not leaky:
        return _Inference(1.0, f"r = 1 for {len(nodes)} of {len(nodes)} IF nodes, whose input Norse adds without dt", None)
    shortest = min(float(t.min()) for n in leaky for t in (n.tau, n.tau_syn) if t is not None and t.size)
    if shortest >= _NORSE_DT:
        return None
    evidence = f"a time constant of {shortest:.3g} s is shorter than Norse's step: Norse 1.1 writes tau times its dt of 1e-3"
    return _Inference(_NORSE_DT * _NORSE_DT, evidence, None)


def _finite(node: NeuronFacts) -> NeuronFacts:
    """Return the node's facts without infinite time constants, which tell no time step."""
    if node.tau is not None and node.tau.shape == node.r.shape and not np.all(np.isfinite(node.tau)):
        kept = np.isfinite(node.tau)
        tau_syn, w_in = (v if v is None or v.shape != kept.shape else v[kept] for v in (node.tau_syn, node.w_in))
        node = replace(node, r=node.r[kept], tau=node.tau[kept], tau_syn=tau_syn, w_in=w_in)
    if node.tau_syn is not None and not np.all(np.isfinite(node.tau_syn)):
        node = replace(node, tau_syn=None, w_in=None)
    return node


_DEFAULT_EVIDENCE = {
    "reset": "NIR's own equations set v to v_reset; the exporter's reset is not in the file",
    "decay": "forward Euler, as most exporters do",
    "compare": "NIR's own equations fire where v > v_threshold",
}
_FURTHER_EVIDENCE = {
    "gain": "which takes the input as constant over a step, r (1 - exp(-dt/tau))",
    "multiple": "which sends trunc(v / threshold) spikes in a step",
    "floor": "whose importer keeps v of IF neurons from falling below this multiple of the threshold",
    "early_reset": "which takes the threshold off before the comparison where v was left above it",
    "lag": "which sends a spike one step after the threshold was crossed",
    "late_bias": "whose recurrent layers have no input before their first spikes can arrive, not even the bias",
}


def _encodes(node: NeuronFacts, dt: float) -> bool:
    """Return whether r is the one that Rockpool's exporter writes for a time step."""
    return node.tau is not None and np.allclose(node.r, node.tau / dt * np.exp(-dt / node.tau), rtol=_TOLERANCE, atol=0)


def _metadata(where: str) -> str:
    return f"metadata at {where.rpartition(':')[2]}"


def _told(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _seconds(value: float) -> str:
    return "1 step" if value == 1 else f"{value:.6g} s"


def _infer(nodes: Sequence[NeuronFacts], rule: str | None, findings: Findings, file: str) -> _Inference | None:
    """Return the time step that the parameters tell, with the exporter it betrays, or None."""
    leaky, plain = [n for n in nodes if n.tau is not None], [n for n in nodes if n.tau is None]
    if rule == "any":
        counted = _counted(leaky, plain)
        if counted is not None:
            return counted
    if rule is None:
        return None
    scaled = [n for n in leaky if not _ones(n.r)]
    leak = _leak(scaled, len(leaky), rule)
    euler, fires = _steps_told(scaled, plain, rule)
    if leak is None and any(_is_round(dt) for _, dt in euler):
        _contradiction(euler, "exporters write r = tau/dt, so tau/r is the time step, the same in every layer", findings, file)
        return None
    if not fires:
        return leak
    told = [*fires, *((n.name, 1.0) for n in plain if _ones(n.r)), *(((scaled[0].name, leak.dt),) if leak is not None else ())]
    same = _agreed(np.array([dt for _, dt in told]))
    if same is None:
        why = "exporters write r = 1/dt for an IF neuron and r = tau/dt for a leaky one, the same dt in every layer"
        _contradiction(told, why, findings, file)
        return None
    if leak is not None:
        return leak
    evidence = f"r*dt = 1 for {len(plain)} of {len(plain)} IF nodes"
    return _Inference(_rounded(same), evidence, "spikingjelly" if rule == "any" else None)


def _counted(leaky: Sequence[NeuronFacts], plain: Sequence[NeuronFacts]) -> _Inference | None:
    """Return a step of 1 where time constants cannot be seconds: they are 1 or more, and no input is scaled by a step."""
    taus = [t for n in leaky for t in (n.tau, n.tau_syn) if t is not None]
    if not all(_ones(n.r) for n in plain):
        return None
    if leaky and all(_all(n.tau, lambda t: t >= 1) and _all(n.r, lambda r: r <= 1) for n in leaky):
        low, high = min(float(t.min()) for t in taus), max(float(t.max()) for t in taus)
        sinabs = all(_ones(n.r) for n in leaky)
        gain = "r = 1" if sinabs else "r <= 1"
        return _Inference(1.0, f"time constants of {low:.4g} to {high:.4g} with {gain} count steps", "sinabs" if sinabs else None)
    if plain and not leaky:
        return _Inference(1.0, f"r = 1 for {len(plain)} of {len(plain)} IF nodes", "sinabs")
    return None


def _leak(scaled: Sequence[NeuronFacts], leaky: int, rule: str) -> _Inference | None:
    """Return the time step that all leaky neurons tell in common, or None.

    An exporter's r is tau/dt, or (tau/dt) exp(-dt/tau). Which of the two shows in a round dt, or in time constants that differ and yet
    tell one dt. A single time constant with an odd dt leaves both open, and the first is taken with a word of doubt.
    """
    euler = _common(dt for n in scaled for dt in (_ratio(n.tau, n.r), *_synaptic(n))) if rule in ("any", "euler") else None
    exact = _common(_agreed(_solve_exact(n.tau, n.r)) for n in scaled if n.tau is not None) if rule in ("any", "exact") else None
    several = len({round(float(t), 12) for n in scaled if n.tau is not None for t in (n.tau.min(), n.tau.max())}) > 1
    by_euler = f"r*dt/tau = 1 for {len(scaled)} of {leaky} neuron nodes"
    by_exact = f"r = (tau/dt) exp(-dt/tau) for {len(scaled)} of {leaky} neuron nodes"
    if euler is not None and (_is_round(euler) or rule == "euler" or (several and not (exact is not None and _is_round(exact)))):
        return _Inference(_rounded(euler), by_euler, None)
    if exact is not None and (_is_round(exact) or rule == "exact" or several):
        return _Inference(_rounded(exact), by_exact, "rockpool")
    if euler is not None and exact is not None and euler <= _LONGEST:
        doubt = f"; Rockpool would mean {_seconds(_rounded(exact))}: say --source rockpool, or --dt SECONDS"
        return _Inference(_rounded(euler), by_euler + doubt, None)
    return None


def _steps_told(
    scaled: Sequence[NeuronFacts], plain: Sequence[NeuronFacts], rule: str
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Return the time steps that leaky neurons, by tau/r, and IF neurons, by 1/r, tell by name: each differing one of a layer."""
    if rule not in ("any", "euler"):
        return [], []
    euler = [(n.name, dt) for n in scaled for dt in (*_each(n.tau, n.r), *(dt for dt in _synaptic(n) if dt is not None))]
    fires = [(n.name, dt) for n in plain if not _ones(n.r) for dt in _each(np.ones_like(n.r), n.r)]
    # A longer step than any in use is no step, unless the exporter is known: then r is what it says, a resistance.
    return euler, fires if rule != "any" or all(dt <= _LONGEST for _, dt in fires) else []


def _contradiction(told: Sequence[tuple[str, float]], why: str, findings: Findings, file: str) -> None:
    listed = [f"`{name}` tells {_seconds(_rounded(dt))}" for name, dt in told]
    findings.error(
        "NM111",
        f"the layers tell different time steps: {', '.join(listed[:4])}{', ...' if len(listed) > 4 else ''}",
        where=file,
        why=why,
        help=("state it: --dt SECONDS",),
    )


def _ratio(tau: Array | None, gain: Array) -> float | None:
    return None if tau is None else _agreed(tau / gain)


def _each(tau: Array | None, gain: Array) -> list[float]:
    """Return the time steps that a layer's neurons tell: one where they agree, the least and the largest where not."""
    if tau is None or np.any(gain <= 0) or not np.all(np.isfinite(tau / gain)):
        return []
    ratio = tau / gain
    same = _agreed(ratio)
    return [same] if same is not None else [float(ratio.min()), float(ratio.max())]


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
    return isclose(_digits(value, 2), value, rel_tol=1e-5)


def _digits(value: float, digits: int) -> float:
    return round(value, digits - 1 - floor(log10(value)))


def _rounded(value: float) -> float:
    """Return the time step without single-precision noise in its 7th digit."""
    near = _digits(value, 6)
    return near if isclose(near, value, rel_tol=_NOISE) else value
