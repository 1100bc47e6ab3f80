"""The text report: a pure function of the JSON report, plain, at most 80 columns wide and without escape sequences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from shlex import join
from textwrap import wrap
from typing import Any, TypeAlias

__all__ = ["WIDTH", "comparison_text", "inspection_text", "model_text", "next_step", "run_text", "table", "to_text", "verdict"]

Report: TypeAlias = dict[str, Any]
"""An object of schema `nmap.report/1`."""

WIDTH = 80
STAGES = ("read", "check", "quantize", "partition", "place", "route", "emit", "verify")
_LINES = (*STAGES[:5], "from", *STAGES[5:])
"""Stages, and after the placement what was kept of an earlier one."""
LEVELS = {
    "chip": "chip emulator: nmap's emulator runs the mapped program; no chip is involved",
    "fixed": "fixed: the quantized reference, not mapped",
    "float": "float: the imported network in float64, not quantized",
}
_MODEL_LEVEL = "chip emulator: nmap's emulator runs what the model file holds; no chip is involved"
_LEAD = 24
_COLUMNS = {"threshold": "threshold", "v_decay": "v decay", "i_decay": "i decay", "decay": "decay", "degrees": "degrees"}
"""Parameters with a column of their own where a population has them."""
_UNCUT = 1 << 20
_MOST_NOTES = 12
_MOST_NAMES = 6
_STOPPED = "stopped by the user: the best until then"
_ESTIMATE = "estimate"
"""What `basis` says of numbers that are one."""
_UNPUBLISHED = "how the chip's memory is used is not published"
_SHORTEST_NAME = 8
"""Characters that a layer's name has at least in a table of many columns."""
_LONGEST = 40
"""Rows of a table that are printed; a network of hundreds of layers shows its first and its last ones."""
_FORMATS = {"nir": "NIR", "netx": "lava-dl netx"}


def to_text(report: Report) -> str:
    """Return the report of one network on one target, without its diagnostics.

    Parts that the report does not have are left out.
    """
    parts = [_header(report), _assumptions(report), _stages(report), _utilization(report), _layers(report), _survey(report)]
    parts += [_details(report), _quantization(report), _estimate(report), _verdict_lines(report), _paths(report)]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def inspection_text(report: Report, width: int = WIDTH) -> str:
    """Return what a file holds: its conventions with their evidence, ports, populations, projections and odd places.

    Args:
        report: of `nmap inspect`.
        width: columns, at least 80; more room for tables and texts.
    """
    parts = [
        _header(report, width), _assumptions(report, width), _each_step(report, width), _ports(report), _populations(report, width),
        _projections(report, width),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _each_step(report: Report, width: int) -> list[str]:
    """Say in words what the conventions make a neuron do in a step; nothing where no neuron follows them."""
    plain = [layer for layer in report["layers"] or () if layer.get("family") == "integrate-and-fire"]
    followers = [layer for layer in plain if layer["sends"] == "spikes" and "threshold_step" not in layer["parameters"]]
    if not plain:
        return []
    c, one = report["network"]["conventions"], {"min": 1.0, "max": 1.0}
    decay = {"euler": "decays are 1 - dt/tau", "exact": "decays are exp(-dt/tau)", "steps": "decays are 12-bit integers, states truncated"}
    reset = {"zero": "v to its reset value", "subtract": "threshold taken off v", "delayed": "threshold taken off v one step later"}
    lag = c.get("lag", 0)
    leaky = any(layer["parameters"].get(name, one) != one for layer in plain for name in ("v_decay", "i_decay"))
    parts = [decay[c["decay"]] if leaky else "no decay"]
    if leaky and c.get("gain") == "exact":
        parts.append("gains 1 - exp(-dt/tau)")
    if c.get("reset_interval") and any("threshold_step" not in layer["parameters"] for layer in plain):
        begin = c["reset_offset"] % c["reset_interval"]
        parts.append(f"i and v become 0 every {_plural(c['reset_interval'], 'step')}" + (f", from step {begin} on" if begin else ""))
    if not followers:
        return _flow("  in a step", parts, width=width)
    parts += [f"spike where v {c['compare']} threshold", f"then {reset[c['reset']]}"]
    if c.get("early_reset"):
        parts.append("ahead of the comparison where v stood above it")
    if c.get("multiple"):
        parts.append("several spikes where v holds several thresholds")
    if c.get("floor") is not None:
        parts.append(f"v stops at {c['floor']:g} × threshold")
    if lag:
        parts.append(f"spikes leave {_plural(lag, 'step')} after the crossing")
    if c.get("late_bias"):
        parts.append("recurrent biases begin with the first possible spike")
    return _flow("  in a step", parts, width=width)


def _ports(report: Report) -> list[str]:
    network = report["network"]
    rows = [
        f"  {kind:<9} {port['name']}  {_shape(port['shape'])}"
        for kind, key in (("input", "inputs"), ("output", "outputs")) for port in (network[key] if network else ())
    ]
    return _elided(rows, "port")


def _populations(report: Report, width: int) -> list[str]:
    layers = report["layers"]
    if not layers:
        return []
    tags = {"v": ", silent", "sum": ", relay", "graded spikes": ", graded"}
    places = [layer["where"].rpartition(":")[2] for layer in layers]
    # What all places begin with is said once.
    folder = _common_folder(places)
    own = [name for name in _COLUMNS if any(name in layer.get("parameters", {}) for layer in layers)]
    further = {
        layer["name"]: ", ".join(
            f"{name.replace('_', ' ')} {_range(ends)}" for name, ends in layer.get("parameters", {}).items() if name not in _COLUMNS
        )
        for layer in layers
    }
    rows = [
        (
            layer["name"], layer["model"] + tags.get(layer.get("sends"), ""), _shape(layer["shape"]), count(layer["neurons"]),
            *(_range(layer.get("parameters", {}).get(name)) for name in own), layer["where"].rpartition(":")[2].removeprefix(folder),
        )
        for layer in layers
    ]
    head = ("name", "model", "shape", "neurons", *(_COLUMNS[name] for name in own), f"in {folder}" if folder else "place")
    right = {3, *range(4, 4 + len(own))}
    if not any(further.values()):
        return _elided(table(head, rows, right=right, width=width), "population", 1)
    wide = table((*head, "further"), [(*row, further[row[0]] or "–") for row in rows], right=right, width=_UNCUT)
    if max(map(len, wide)) <= width:
        return _elided(wide, "population", 1)
    # No number is cut: what has no room beside the rest stands below it.
    below = [f"{name}: {text}" for name, text in further.items() if text]
    hidden = len(below) - _MOST_NOTES
    if hidden > 1:
        below = [*below[:_MOST_NOTES], f"{count(hidden)} more in `--format json`"]
    return [*_elided(table(head, rows, right=right, width=width), "population", 1), *_flow("  further ", below, width=width)]


def _common_folder(places: Sequence[str]) -> str:
    """Return the folder in which all places lie, with a slash at its end; empty for a single place or where there is none but `/`."""
    # Any two agree at least as far as the first and the last in order.
    first, last = min(places), max(places)
    same = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    folder = first[: first.rfind("/", 0, same) + 1]
    return folder if len(places) > 1 and len(folder) > 1 else ""


def _range(ends: Report | None) -> str:
    """Return the range of a parameter as `0.9..0.95`, or its one value."""
    if ends is None:
        return "–"
    low, high = (_short(ends[key]) for key in ("min", "max"))
    return low if low == high else f"{low}..{high}"


def _short(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:.4g}"


def _projections(report: Report, width: int) -> list[str]:
    rows = []
    for p in report.get("projections") or ():
        delay = p["delay"]
        biases = "–" if p["biases"] is None else count(p["biases"]) + (f" from step {p['bias_from']}" if p["bias_from"] else "")
        target = p["target"] + (" (imaginary)" if p["receptor"] == "imaginary" else "")
        rows.append((
            p["source"], target, p["detail"], count(p["synapses"]),
            str(delay["min"]) if delay["min"] == delay["max"] else f"{delay['min']}..{delay['max']}", biases,
        ))
    head = ("from", "to", "weights", "synapses", "delay", "biases")
    return _elided(table(head, rows, right={3, 4, 5}, width=width), "projection", 1) if rows else []


def _elided(lines: list[str], noun: str, head: int = 0) -> list[str]:
    """Return a list's first and last lines with a count of what is left out between them; a table's head is kept.

    The JSON report holds every line.
    """
    hidden = len(lines) - head - _LONGEST
    # A line that says that one line is missing saves nothing.
    if hidden < 2:
        return lines
    last = _LONGEST // 4
    told = f"  … {count(hidden)} more {noun}s; `--format json` lists them all"
    return [*lines[: len(lines) - hidden - last], told, *lines[len(lines) - last :]]


def comparison_text(reports: Sequence[Report]) -> str:
    """Return one line per target for the same network, and why those that do not fit do not."""
    rows = []
    for report in reports:
        cores = (report["utilization"] or {}).get("cores", {})
        limit = next((row for row in (report["utilization"] or {}).values() if row["limiting"]), None)
        partition, quantization = report["partition"], report["quantization"]
        guessed = "~" if report.get("basis") == _ESTIMATE and cores.get("used") is not None else ""
        rows.append((
            target_name(report), verdict(report), guessed + count(cores.get("used")), count(cores.get("available")),
            "–" if partition is None else "optimal" if partition["optimal"] else f">= {count(partition['lower_bound'])}",
            "–" if quantization is None else _bits(quantization),
            "–" if limit is None else limit["title"],
        ))
    lines = table(("target", "verdict", "cores", "available", "proved", "bits", "limited by"), rows, right={2, 3})
    if any(row[2].startswith("~") for row in rows):
        lines.append(f"  ~ estimate: {_UNPUBLISHED}")
    for report in reports:
        if report.get("basis") not in (None, _ESTIMATE):
            lines += _hanging("  ", f"{target_name(report)}: {_mapper(report)}")
    reasons = []
    for report in reports:
        worst = [d for d in report["diagnostics"] if d["severity"] == "error"]
        if worst:
            more = f" ({len(worst) - 1} more)" if len(worst) > 1 else ""
            reasons += _hanging(f"  {target_name(report)}  ", f"{worst[0]['code']} {worst[0]['message']}{more}")
    header = next((_network_line(report) for report in reports if report["network"] is not None), [])
    return "\n\n".join("\n".join(part) for part in (header, lines, reasons) if part) + "\n"


def run_text(report: Report, brief: bool = False) -> str:
    """Return what `nmap run` computed and which level computed it.

    Args:
        report: of `nmap run`.
        brief: only the level and the summary of the spikes; not what was assumed, the probes and the files.
    """
    run = report["run"]
    first = " on ".join(part for part in (report["bundle"] or run["network"], run["target"]) if part)
    lines = [*_flow(first, [f"level {LEVELS[run['level']]}"]), *(() if brief else _assumptions(report))]
    facts = [f"{_plural(run['samples'], 'sample')} × {_plural(run['steps'], 'step')}", _plural(run["output_spikes"], "output spike")]
    if run.get("window", 1) > 1:
        facts.insert(1, _stands_for(run["window"]))
    if run["accuracy"] is not None:
        facts.append(f"accuracy {percent(run['accuracy'])}{_scored(report)}")
    if run["raw_time"]:
        facts.append("raw chip time")
    lines += _flow("  run     ", facts)
    if brief:
        return "\n".join(lines) + "\n"
    for name, shape in run["probes"].items():
        lines.append(f"  probe     {name}  {_shape(shape)}")
    return "\n".join(lines) + "\n" + "".join(f"\nWrote {path}\n" for path in report["written"])


def model_text(report: Report, brief: bool = False) -> str:
    """Return what `nmap run` computed from a model file of a chip's own tools.

    Args:
        report: of `nmap run`.
        brief: only the level and the summary of the spikes.
    """
    run = report["run"]
    model = run["model"]
    lines = _flow(f"{model['file']} on {run['target']}", [f"level {_MODEL_LEVEL}"])
    if not brief:
        facts = [model["kind"], _plural(model["cores"], "core"), _plural(model["neurons"], "neuron")]
        lines += _flow("  model   ", facts)
        spikes = _plural(model["input_spikes"], "input spike")
        facts = [model["input"], spikes] if model["input"] else [f"{spikes} in the model file" if model["input_spikes"] else "none"]
        if model["merged"]:
            facts.append(f"{_plural(model['merged'], 'spike')} merged with another on the same axon in the same tick, as on the chip")
        lines += _flow("  input   ", facts)
    ticks, tail = _plural(run["steps"], "tick"), model["steps_after_input"]
    everyone = model["recorded"] == "all"
    facts = [
        f"{ticks}, as asked" if tail is None else f"{ticks}: {tail} beyond the last that sees input" if model["input_spikes"] else ticks,
        f"{_plural(model['events'], 'spike')} of all neurons" if everyone else _plural(model["events"], "output spike"),
    ]
    lines += _flow("  run     ", [*facts, "bit-accurate" if model["exact"] else f"not bit-accurate: {model['why_not_exact']}"])
    if brief:
        return "\n".join(lines) + "\n"
    if not model["exact"]:
        lines += _flow("  random  ", [f"seed {model['seed']}; the same seed gives the same spikes"])
    if model["seconds_per_tick"] is not None:
        lines.append(f"  time      {_three(model['seconds_per_tick'], 's')} per tick")
    return "\n".join(lines) + "\n" + "".join(f"\nWrote {path}\n" for path in report["written"])


def _scored(report: Report) -> str:
    """Return which output an accuracy is about, where there are several."""
    scored = None if report["samples"] is None else report["samples"].get("scored")
    return "" if scored is None else f" (output `{scored}`)"


def verdict(report: Report) -> str:
    """Return the outcome in a few words."""
    status, fits = report["status"], report["fits"]
    if status == "ok":
        return "fits" if fits else "ok"
    if report["exit_status"] == 1 and (status == "error" or fits):
        # Nothing but a warning under --strict fails what fits.
        return f"{'fits' if fits else 'ok'}, but warnings count as errors under --strict"
    return {"does_not_fit": "does not fit", "differs": "verification differs", "unknown": "could not tell", "error": "failed"}[status]


def next_step(report: Report) -> str | None:
    """Return the command a user most likely wants next, or None after a failure."""
    network, bundle = report["network"], report["bundle"]
    command = report["command"][1] if len(report["command"]) > 1 else ""
    if report["exit_status"] != 0 or network is None:
        return None
    if command == "check":
        return join(["nmap", "deploy", network["file"], "--target", target_name(report)])
    if command == "deploy" and bundle is not None:
        if report["samples"] is None or report["samples"]["file"] is None:
            return join(["nmap", "verify", bundle]) + " --input SAMPLES.npz"
        return join(["nmap", "report", bundle])
    if command == "inspect":
        return join(["nmap", "check", network["file"], "--target", "all"])
    return None


def target_name(report: Report) -> str:
    """Return `target:variant` as `--target` takes it."""
    target = report["target"]
    if target is None:
        return "–"
    return str(target["name"]) + (f":{target['variant']}" if target["variant"] else "")


def count(value: int | None) -> str:
    """Return an integer in groups of three digits, or a dash for None."""
    return "–" if value is None else f"{value:,}".replace(",", " ")


def percent(share: float | None) -> str:
    """Return a share as a percentage with one digit; never rounded to 100 or 0 unless it is exactly that."""
    if share is None:
        return "–"
    text = f"{100 * share:.1f}"
    if text == "100.0" and share < 1:
        text = "> 99.9"
    elif text == "0.0" and share > 0:
        text = "< 0.1"
    return f"{text.removesuffix('.0')} %"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: set[int] | None = None, width: int = WIDTH) -> list[str]:
    """Return a table's lines, indented by two; columns whose number is in `right` are set right.

    Cells of the widest text column are cut with an ellipsis where the table would be wider than `width`.
    """
    body = [list(row) for row in rows]
    right = right or set()
    widths = [max(len(row[k]) for row in [list(head), *body]) for k in range(len(head))]
    over = 2 + sum(widths) + 2 * (len(widths) - 1) - width
    texts = [k for k in range(len(head)) if k not in right]
    while over > 0 and texts:
        widest = max(texts, key=lambda k: widths[k])
        if widths[widest] <= max(8, len(head[widest])):
            break
        widths[widest] -= 1
        over -= 1
    lines = []
    for row in [list(head), *body]:
        cells = [_cut(cell, room) for cell, room in zip(row, widths, strict=True)]
        padded = (cell.rjust(room) if k in right else cell.ljust(room) for k, (cell, room) in enumerate(zip(cells, widths, strict=True)))
        lines.append(("  " + "  ".join(padded)).rstrip())
    return lines


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 1] + "…"


def _hanging(lead: str, text: str, width: int = WIDTH) -> list[str]:
    return wrap(lead + text, width, subsequent_indent=" " * len(lead), break_long_words=False, break_on_hyphens=False)


def _flow(lead: str, parts: Iterable[str], tail: str = "", width: int = WIDTH) -> list[str]:
    """Join parts by a dot, breaking lines between parts; `tail` is set at the right edge of the first line.

    A long lead, a path most often, has a line of its own.
    """
    lines: list[str] = [lead] if len(lead) > _LEAD else []
    indent = "  " if lines else " " * (len(lead) + 2)
    line = indent if lines else lead + "  "
    room = width - (len(tail) + 2 if tail else 0)
    empty = True
    for part in parts:
        glue = "" if empty else " · "
        limit = room if not lines else width
        if not empty and len(line) + len(glue) + len(part) > limit:
            lines.append(line)
            line, glue = indent, ""
        pieces = wrap(part, max(limit - len(line) - len(glue), 20), break_long_words=False, break_on_hyphens=False) or [""]
        line += glue + pieces[0]
        for piece in pieces[1:]:
            lines.append(line)
            line = indent + piece
        empty = False
    lines.append(line)
    if tail:
        lines[0] = lines[0].rstrip().ljust(width - len(tail)) + tail
    return [text.rstrip() for text in lines]


def _network_line(report: Report, width: int = WIDTH) -> list[str]:
    network = report["network"]
    if network is None:
        return []
    facts = [
        _FORMATS[network["format"]], _plural(network["populations"], "population"), f"{count(network['neurons'])} neurons",
        f"{count(network['synapses'])} synapses", _time_step(network),
    ]
    return _flow(network["file"], facts, width=width)


def _time_step(network: Report) -> str:
    # Frameworks without a notion of time count in steps; 1 must not be printed as a second then.
    stated = next((a["value"] for a in network["assumptions"] if a["name"] == "dt"), "")
    if network["dt"] is None or "step" in stated:
        return "in steps"
    return f"dt {_seconds(network['dt'])}"


def _header(report: Report, width: int = WIDTH) -> list[str]:
    lines = _network_line(report, width)
    target = report["target"]
    if target is not None:
        facts = [] if target["title"] is None else [target["title"]]
        if target["chips"] is not None:
            dead = f" ({count(target['dead_cores'])} dead)" if target["dead_cores"] else ""
            facts += [_plural(target["chips"], "chip"), f"{count(target['cores'])} usable cores{dead}"]
            if (target.get("passes") or 1) > 1:
                facts.append(f"{count(target['passes'])} passes, one after the other")
        if target["data_version"] is not None:
            facts.append(f"chip data {target['data_version']}")
        lines += _flow(target_name(report), facts)
    return lines


def _assumptions(report: Report, width: int = WIDTH) -> list[str]:
    network = report["network"]
    if network is None:
        return []
    assumed = [
        _hanging("  assumed   ", f"{a['name']} = {a['value']} ({a['source']}: {a['evidence']})", width) for a in network["assumptions"]
    ]
    notes = [_hanging("  note      ", note, width) for note in network["notes"]]
    hidden = max(len(notes) - _MOST_NOTES, 0)
    if hidden < 2:
        hidden = 0
    shown = notes[: len(notes) - hidden]
    more = [f"  note      … {count(hidden)} more notes; `--format json` lists them all"] if hidden else []
    return [line for lines in (*assumed, *shown) for line in lines] + more


def _stages(report: Report) -> list[str]:
    timings = report["timings_s"] or {}
    texts = {
        "read": [] if report["network"] is None else ["ok"], "check": _check(report), "quantize": _quantize(report),
        "partition": _partition(report), "place": _place(report), "from": _incremental(report), "route": [], "emit": [],
        "verify": _verify(report),
    }
    lines = []
    for stage in [*_LINES, *(name for name in timings if name not in _LINES)]:
        parts, seconds = texts.get(stage, []), timings.get(stage)
        if not parts and seconds is None:
            continue
        lines += _flow(f"  {stage:<9}", parts or [_done(report, stage)], "" if seconds is None else f"{seconds:.1f} s")
    if report["stopped_after"]:
        lines.append(f"  stopped after {report['stopped_after']}, as asked")
    return lines


def _done(report: Report, stage: str) -> str:
    """Say how a stage without numbers of its own ended: only the last stage that ran can have failed."""
    last = stage == list(report["timings_s"])[-1]
    if last and report["status"] in ("does_not_fit", "unknown", "error") and not report["fits"]:
        return verdict(report)
    return "ok"


def _check(report: Report) -> list[str]:
    if report["rules"] is None:
        return []
    found = {level: sum(d["severity"] == level for d in report["diagnostics"]) for level in ("error", "warning")}
    return [_plural(report["rules"], "rule"), *(_plural(number, level) for level, number in found.items())]


def _bits(quantization: Report) -> str:
    return ", ".join(str(bits) for bits in sorted({layer["bits"] for layer in quantization["layers"]})) or "–"


def _quantize(report: Report) -> list[str]:
    quantization = report["quantization"]
    if quantization is None:
        return []
    parts = [f"{_bits(quantization)}-bit weights", f"{count(quantization['clipped'])} clipped"]
    parts.append(f"{count(quantization['zeroed'])} rounded to zero")
    return parts


def _proof(bound: str, gap: float | None) -> str:
    """Say how far from the best something is at most; `bound` is proved."""
    if gap == 0:
        return "optimal"
    return f"proved >= {bound}" + ("" if gap is None else f" (gap {percent(gap)})")


def _partition(report: Report) -> list[str]:
    partition = report["partition"]
    if partition is None:
        return []
    gap = 0 if partition["optimal"] else partition.get("gap")
    estimated = "" if report.get("basis") is None else " (estimate)"
    parts = [f"cores {count(partition['cores'])}{estimated}, {_proof(count(partition['lower_bound']), gap)}"]
    if partition.get("packets") is not None:
        bound = partition.get("packets_bound")
        parts.append(f"{_real(partition['packets'])} packets/step" + ("" if bound is None else f", proved >= {_real(bound)}"))
    parts += [_plural(partition["shards"], "shard"), *([partition["partitioner"]] if partition["partitioner"] else [])]
    return [*parts, _STOPPED] if partition.get("interrupted") else parts


def _place(report: Report) -> list[str]:
    placement = report["placement"]
    if placement is None:
        return []
    objective, bound, gap = placement["objective"], placement["lower_bound"], placement["gap"]
    parts = []
    if objective is not None:
        proof = _proof(_real(bound), gap) if gap is not None else "no bound"
        parts.append(f"{_real(objective)} packet-hops/step, {proof}")
    other = "unicast" if placement.get("kind") == "multicast" else "multicast"
    hops = placement.get(f"{other}_hops")
    if hops not in (None, objective):
        parts.append(f"{_real(hops)} {'as single packets' if other == 'unicast' else 'with shared routes'}")
    if placement.get("max_link"):
        parts.append(f"busiest link {_real(placement['max_link'])}/step")
    if placement["spike_hops_per_step"] not in (None, objective):
        parts.append(f"{_real(placement['spike_hops_per_step'])} spike-hops/step")
    measured = placement["traffic"] == "measured"
    parts.append("traffic measured on the samples" if measured else "traffic assumed: every neuron spikes in every step")
    return [*parts, _STOPPED] if placement.get("interrupted") else parts


def _incremental(report: Report) -> list[str]:
    remap = report.get("incremental")
    if remap is None:
        return []
    parts = [f"kept {count(remap['kept'])} of {_plural(remap['cores_before'], 'core')}"]
    if remap["moved"]:
        reasons = {"dead": "dead ", "absent": "absent ", "traffic": ""}
        moves = [f"{reasons[move['why']]}{move['from']} → {move['to']}" for move in remap["moved"]]
        parts.append(f"moved {_plural(len(moves), 'core')}: {_some(moves)}")
    for key, verb in (("new", "added"), ("freed", "freed")):
        if remap[key]:
            parts.append(f"{verb} {_plural(remap[key], 'core')}")
    if remap["repacked"]:
        parts.append("packed anew, since the change did not fit beside what was kept")
    elif remap["recut"]:
        parts.append(f"re-cut: {_some([f'`{name}`' for name in remap['recut']])}")
    if remap["removed"]:
        parts.append(f"removed: {_some([f'`{name}`' for name in remap['removed']])}")
    return parts


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (f" and {count(len(names) - _MOST_NAMES)} more" if len(names) > _MOST_NAMES else "")


def _verify(report: Report) -> list[str]:
    verification = report["verification"]
    if verification is None:
        return ["not run"] if report["fits"] and report["command"][1:2] == ["deploy"] and not report["stopped_after"] else []
    parts = []
    if verification["mapping"] is not None:
        parts.append("mapping keeps every limit" if verification["mapping"] == "ok" else "MAPPING BREAKS A LIMIT")
    fixed = verification["chip_vs_fixed"]
    if fixed is not None:
        same = fixed["mismatches"] == 0
        parts.append(
            f"chip emulator {'=' if same else '≠'} fixed-point reference"
            f" ({_plural(fixed['samples'], 'sample')} × {_plural(fixed['steps'], 'step')}, {_plural(fixed['spikes'], 'spike')}, "
            f"{count(fixed['mismatches'])} differ)"
        )
    real = verification["chip_vs_float"]
    if real is not None:
        window = real.get("window") or 1
        if window > 1:
            if real["count_agreement"] is not None:
                parts.append(f"counts agree {percent(real['count_agreement'])}, largest count {percent(real['argmax_agreement'])}")
            parts.append(_stands_for(window))
        elif real["spike_agreement"] is not None:
            parts.append(f"{percent(real['spike_agreement'])} of outputs as in float")
        if real["accuracy_chip"] is not None:
            shares = f"{percent(real['accuracy_float'])} float, {percent(real['accuracy_chip'])} chip emulator"
            parts.append(f"accuracy {shares}{_scored(report)}")
    vendor = verification["vendor"]
    if vendor is not None:
        name = vendor["name"] + (f" {vendor['version']}" if vendor["version"] else "")
        if vendor["mismatches"] is None:
            parts.append(f"{name} not run: {vendor['skipped_reason'] or 'no reason given'}")
        else:
            agreement = "agrees" if vendor["mismatches"] == 0 else f"differs in {count(vendor['mismatches'])} places"
            mapped = vendor.get("compared") == "mapping"
            on = "" if vendor["samples"] is None else f" on {_plural(vendor['samples'], 'sample')}"
            parts.append(f"{name} {'maps it, computes nothing, and ' if mapped else ''}{agreement}{on}")
    samples = report["samples"]
    if samples is not None and (fixed or real):
        parts.append("on generated samples" if samples["file"] is None else f"on {samples['file']}")
    return parts


def _stands_for(window: int) -> str:
    return f"one chip step = {count(window)} steps of the network"


def _utilization(report: Report) -> list[str]:
    use = report["utilization"]
    if use is None or use["cores"]["used"] is None:
        return []
    rows = []
    for row in use.values():
        top = row["fullest"]
        rows.append((
            row["title"], _amount(row["used"]), _amount(row["available"]), _share(row["used"], row["available"]),
            "" if top is None else top["core"], "" if top is None else f"{_amount(top['used'])} / {_amount(top['capacity'])}",
            "" if top is None else _share(top["used"], top["capacity"]), "◀" if row["limiting"] else "",
        ))
    lines = _basis(report) + table(("", "used", "available", "%", "fullest core", "", "%", ""), rows, right={1, 2, 3, 5, 6})
    limit = next((row["title"] for row in use.values() if row["limiting"]), None)
    return lines if limit is None else [*lines, f"  ◀ limits this design: {limit}"]


def _basis(report: Report) -> list[str]:
    """Say what a table of numbers rests on that are not exact."""
    basis = report.get("basis")
    if basis is None:
        return []
    if basis == _ESTIMATE:
        return _hanging("  ", f"estimate: {_UNPUBLISHED}")
    return _hanging("  ", f"{_mapper(report)}; all other numbers are estimates")


def _mapper(report: Report) -> str:
    """Say whose mapper counted the cores."""
    return f"cores as {report['basis']} maps it (estimate: {count(report['survey']['estimated_cores'])})"


def _survey(report: Report) -> list[str]:
    """Say where the vendor's own mapper and the estimate differ, and why it was not asked."""
    survey = report.get("survey")
    if survey is None:
        return []
    if survey["missing"] is not None:
        return _flow(f"  {survey['name']}", [f"not asked, so that estimates stay: {survey['missing']}"])
    name, estimated = f"{survey['name']} {survey['version']}", report["partition"] is not None
    lines = []
    if survey["fits"] is False:
        says = f": {survey['reason']}" if survey["reason"] else ""
        lines += _hanging("  ", f"{name} does not map it{', which by the estimate fits' if estimated else ''}{says}")
    elif survey["fits"] and not estimated:
        lines += _hanging("  ", f"{name} maps it, which by the estimate was not found to fit")
    rows = [("cores", survey["cores"], survey["estimated_cores"])]
    rows += [(f"cores of `{layer['name']}`", layer["cores"], layer["estimated_cores"]) for layer in survey["layers"]]
    differing = [
        f"{what}: {count(found)} as {name} maps it, {count(guess)} estimated"
        for what, found, guess in rows if None not in (found, guess) and found != guess
    ]
    return lines + [line for text in _elided(differing, "difference") for line in _hanging("  ", text.strip())]


def _amount(value: int | None) -> str:
    """Return an integer in groups of three digits; a long one with four digits that count, in millions or more."""
    if value is None or value < 10**7:
        return count(value)
    power = int(f"{value:.3e}".partition("e")[2]) // 3
    return f"{value / 1000**power:.4g} {'MGTPE'[power - 2]}"


def _share(used: int | None, available: int) -> str:
    if used is None or not available:
        return "–"
    share = 100 * used / available
    # 99.6 % is not full and 0.2 % is not empty.
    return "100" if share == 100 else "<1" if 0 < share < 1 else str(min(round(share), 99)) if share < 100 else f"{share:.0f}"


def _layers(report: Report) -> list[str]:
    layers = report["layers"]
    if not layers:
        return []
    rows = [
        (
            layer["name"], f"{layer['model']} {layer['detail']}".strip(), count(layer["neurons"]), count(layer["synapses"]),
            count(layer["cores"]), layer["limited_by"] or "–",
        )
        for layer in layers
    ]
    head = ("layer", "", "neurons", "synapses", "est. cores" if report.get("basis") == _ESTIMATE else "cores", "limited by")
    known = 6 if any(layer["cores"] is not None for layer in layers) else 4
    return _elided(table(head[:known], [row[:known] for row in rows], right={2, 3, 4}), "layer", 1)


def _details(report: Report) -> list[str]:
    """Return what only this target has to say: totals, and a line per layer; the JSON report has the rest, and every core."""
    details = report["details"]
    if details is None:
        return []
    titles = details["titles"]
    lines = _flow("  ", [f"{titles.get(name, name)} {_fact(value)}" for name, value in details["totals"].items()])
    layers = details["layers"]
    if not layers:
        return lines
    names = list(dict.fromkeys(name for layer in layers for name in layer if name != "name"))
    rows = [[layer["name"], *(_fact(layer.get(name)) for name in names)] for layer in layers]
    head = ["layer", *(titles.get(name, name) for name in names)]
    # The first facts are told as far as a line goes; what a layer is called may be cut.
    room, kept = WIDTH - 2 - _SHORTEST_NAME, 0
    for k in range(1, len(head)):
        room -= 2 + max(len(head[k]), *(len(row[k]) for row in rows))
        if room < 0:
            break
        kept = k
    numeric = {k for k, name in enumerate(names, 1) if not any(isinstance(layer.get(name), str) for layer in layers)}
    return [*lines, "", *_elided(table(head[: kept + 1], [row[: kept + 1] for row in rows], right=numeric), "layer", 1)]


def _fact(value: float | str | None) -> str:
    if isinstance(value, int | str):
        return value if isinstance(value, str) else count(value)
    return "–" if value is None else f"{value:.3g}"


def _quantization(report: Report) -> list[str]:
    quantization = report["quantization"]
    if quantization is None or not quantization["layers"]:
        return []
    rows = [
        (
            layer["name"], str(layer["bits"]), _real(layer["scale"]), str(layer["exponent"]),
            "exact" if layer["sqnr_db"] is None else f"{layer['sqnr_db']:.1f} dB", count(layer["clipped"]), count(layer["zeroed"]),
            percent(layer["threshold_error"]), _real(layer["decay_error"]),
        )
        for layer in quantization["layers"]
    ]
    head = ("weights", "bits", "scale", "exp", "SQNR", "clipped", "zeroed", "threshold err", "decay err")
    return _elided(table(head, rows, right=set(range(1, 9))), "layer", 1)


def _estimate(report: Report) -> list[str]:
    estimate = report["estimate"]
    if estimate is None:
        return []
    if estimate.get("reason") is not None:
        return _flow("  estimate ", [f"none: {estimate['reason']}"])
    energy, step, steps = estimate["energy_j_per_sample"], estimate.get("step_s"), estimate.get("steps")
    facts = [] if step is None else [f"{_three(step, 's')} per step"]
    if energy is not None:
        facts.append(f"{_three(energy, 'J')} per sample")
    if estimate["latency_s"] is not None:
        took = f"{_three(estimate['latency_s'], 's')} from first step to last output"
        facts.append(took if steps is None else f"{took} ({_plural(steps, 'step')})")
    if not facts:
        return []
    lines = _flow("  estimate ", facts)
    chips = (report["target"] or {}).get("chips") if estimate.get("chips") is None else estimate["chips"]
    for details in (_energy_parts(estimate, chips), _work(estimate), _trust(estimate)):
        lines += _flow(" " * 11, details) if details else []
    return lines


def _energy_parts(estimate: Report, chips: int | None) -> list[str]:
    static = f"static of {count(chips)} chips" if chips is not None and chips > 1 else "static"
    names = {"synaptic_operations": "synaptic operations", "neuron_updates": "neuron updates", "spikes": "spikes", "static": static}
    parts = estimate.get("energy_j") or {}
    known = [f"{name} {'not known' if parts[key] is None else _three(parts[key], 'J')}" for key, name in names.items() if key in parts]
    return [f"energy: {known[0]}", *known[1:]] if known else []


def _work(estimate: Report) -> list[str]:
    each, activity, busiest = estimate.get("per_step"), estimate.get("activity"), estimate.get("busiest_core")
    if each is None or activity is None:
        return []
    facts = [
        f"per step: {_real(each['synaptic_operations'])} synaptic operations", f"{_real(each['neuron_updates'])} neuron updates",
        f"{_real(each['spikes'])} spikes",
    ]
    level = "chip emulator" if activity["level"] == "chip" else "float network"
    facts.append(f"counted on {_plural(activity['samples'], 'sample')} ({level})")
    if busiest is not None:
        facts.append(f"slowest core {busiest['core']}, {_real(busiest['synaptic_operations'])} operations")
    return facts


def _trust(estimate: Report) -> list[str]:
    facts = []
    published = estimate.get("as_published")
    if published is not None:
        energy = published["dynamic_energy_j"]
        told = _three(published["step_s"], "s") + " per step" + ("" if energy is None else f", {_three(energy, 'J')} dynamic per sample")
        facts.append(f"not measured: constants of {published['generation']}, which as published give {told}")
        if estimate.get("factor") is None:
            facts.append("compared with no measurement")
    if estimate.get("factor") is not None:
        close = f"calibrated on {estimate['within']}, and within a factor of {estimate['factor']:g} of it"
        facts.append(f"{close}; how far off elsewhere is not known")
    if estimate.get("excludes"):
        facts.append(f"without {', nor '.join(estimate['excludes'])}")
    return facts


def _three(value: float, unit: str) -> str:
    """Write a quantity, 0 or more, with three digits."""
    if value == 0:
        return f"0 {unit}"
    for prefix, size in (("", 1.0), ("m", 1e-3), ("µ", 1e-6), ("n", 1e-9)):
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value / 1e-12:.3g} p{unit}"


def _verdict_lines(report: Report) -> list[str]:
    words = verdict(report)
    checked = report["verification"]
    if report["status"] == "ok" and checked and checked["chip_vs_fixed"]:
        words += "; chip emulator = fixed-point reference, bit for bit"
    return [f"verdict: {words} (exit {report['exit_status']})"]


def _paths(report: Report) -> list[str]:
    lines = []
    if report["command"][1:2] == ["deploy"]:
        if report["bundle"] is not None:
            files = f" ({_plural(len(report['written']), 'file')})" if report["written"] else ""
            lines.append(f"Wrote {report['bundle']}{files}")
        elif report["exit_status"] != 0:
            lines.append("Nothing written.")
    step = next_step(report)
    return lines if step is None else [*lines, f"Next: {step}"]


def _plural(number: int, noun: str) -> str:
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def _shape(shape: Sequence[int]) -> str:
    return "×".join(str(n) for n in shape)


def _seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.6g} {unit}"
    return f"{value / 1e-9:.6g} ns"


def _real(value: float | None) -> str:
    if value is None:
        return "–"
    return count(round(value)) if abs(value) >= 1000 else f"{value:.3g}"
