"""Read a model file or a spike file of any kind that is known, told apart by content."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from re import compile as pattern
from typing import Any, TypeVar

from nmap.connectivity import Array
from nmap.diagnostics import Findings, NmapError
from nmap_truenorth.model.binary import MAGIC, read_binary
from nmap_truenorth.model.model import Events, Model
from nmap_truenorth.model.ranc import CONFIG_KEYS, read_config, read_neutral, read_ranc
from nmap_truenorth.model.source import MalformedError, Problems, Scanner, load, uncommented
from nmap_truenorth.model.spikes import NO_SPIKES, STARTS, Connector, read_connectors, read_events, read_outputs
from nmap_truenorth.model.text import read_text

__all__ = ["FORMATS", "read_model", "read_outputs_file", "read_spikes"]

_Found = TypeVar("_Found")

FORMATS: dict[str, str] = {
    "truenorth": "TrueNorth's text model format (the Corelet Programming Environment's and pytruenorth's) or its binary form (TNBM)",
    "ranc": "RANC's JSON, with its configuration beside it",
    "neutral": "the neutral JSON of cores with axon types, crossbar and neurons",
}
"""The kinds of model files by their dialect."""

_TRUENORTH = pattern(r'"(?:core|neuronTypes|crossbarTypes)"\s*:')
_RANC = pattern(r'"(?:output_bus|connections|packets)"\s*:')
_NEUTRAL = pattern(r'"cores"\s*:')
_MOST_CONFIG_BYTES = 2**20


def read_model(path: str | os.PathLike[str], findings: Findings, *, config: str | os.PathLike[str] | None = None) -> Model:
    """Read a model of TrueNorth's text or binary format, RANC's JSON or the neutral JSON.

    Args:
        path: the file.
        findings: receives what is odd; errors are raised together.
        config: RANC's configuration. None: the one beside the model, the first of `STEM_config.json`, `STEM.config.json` and
            `config.json` that has an entry of a configuration; a note names it. Without one, sizes are what the model needs and
            the floor test is asymmetric, with a warning where that can matter.

    Raises:
        NmapError: NM101 for a file that cannot be read, NM102 for one of another kind, NM103 to NM110 for what is wrong in it,
            all problems together.
    """
    file = Path(path)
    data = load(file, findings, (MAGIC, b"{", b"/"), "no model of TrueNorth or RANC")
    problems = Problems(str(file), findings)
    scanner: Scanner | None = None
    try:
        if data.startswith(MAGIC):
            return read_binary(str(file), data, problems)
        scanner = Scanner(uncommented(data))
        del data
        if _TRUENORTH.search(scanner.text):
            return read_text(str(file), scanner, problems)
        if _RANC.search(scanner.text):
            return _read_ranc(file, scanner, problems, findings, None if config is None else Path(config))
        if _NEUTRAL.search(scanner.text):
            return read_neutral(str(file), scanner, problems)
        problems.error("NM102", f"`{file}` is no model of TrueNorth or RANC: it has neither `core` nor `cores`")
    except MalformedError as error:
        place = scanner.line(error.at) if scanner else "" if error.at is None else f"byte {error.at}"
        problems.error(error.code, str(error), place)
    problems.raise_errors()
    raise NmapError(findings.errors)


def _read_ranc(file: Path, scanner: Scanner, problems: Problems, findings: Findings, config: Path | None) -> Model:
    beside = config or _config_beside(file, problems)
    values = None
    if beside is not None:
        # A configuration is checked before the model: its sizes say what is wrong in the model.
        own = Problems(str(beside), findings)
        try:
            values = read_config(Scanner(uncommented(load(beside, findings))), own)
        except MalformedError as error:
            own.error(error.code, str(error))
            own.raise_errors()
        problems.note(f"sizes and the kind of the floor test are those of the configuration `{beside}`")
    model = read_ranc(str(file), scanner, problems, values)
    if beside is None:
        floor = -model.floor
        matters = model.enabled & (((model.gamma == 0) & (model.reset != model.floor)) | ((model.gamma == 1) & (floor != 0)))
        many = int(matters.sum())
        if many:
            problems.warning(
                "there is no configuration beside the model; the floor test is taken to be V < negative_threshold (neuron_reset_type 0)",
                why=f"with V <= negative_threshold, {many} neuron{'s' if many > 1 else ''} could compute other potentials",
            )
    return model


def _config_beside(file: Path, problems: Problems) -> Path | None:
    """Return the configuration beside a model; warn of a file that has the name of one, and is none."""
    for name in (f"{file.stem}_config.json", f"{file.stem}.config.json", "config.json"):
        candidate = file.with_name(name)
        try:
            if name == file.name or not candidate.is_file():
                continue
            known = candidate.stat().st_size <= _MOST_CONFIG_BYTES
            text = candidate.read_text(encoding="utf-8", errors="replace") if known else ""
        except OSError as error:
            problems.warning(f"`{candidate}` cannot be read, and is not used as RANC's configuration", why=f"{error.strerror or error}.")
            continue
        if any(f'"{key}"' in text for key in CONFIG_KEYS):
            return candidate
        problems.warning(
            f"`{candidate}` is no configuration of RANC, and is not used", why=f"It has none of {', '.join(CONFIG_KEYS)}." if known else
            f"It has more than {_MOST_CONFIG_BYTES} bytes.",
        )  # fmt: skip
    return None


def read_spikes(path: str | os.PathLike[str], model: Model, findings: Findings) -> Events:
    """Read spikes into a model: TEXT (sfti), RAWI3, CONNPIN (with its connector map beside it), RANC's packets, or
    `[[tick, core, axon], ...]`.

    A spike of a TEXT or raw file is seen in tick srcTime + delay (1 unless the file says otherwise); a packet and a spike of the
    list in the tick they are listed under, as the model's own files mean it.

    Args:
        path: the file. A RANC model's own file is one.
        model: says which cores and axons there are.
        findings: receives what is odd; errors are raised together.

    Raises:
        NmapError: NM101 for a file that cannot be read, NM102 for one of another kind, NM103 to NM110 for what is wrong in it.
    """
    return _read(path, model.file, findings, lambda data, problems, pins: read_events(data, model, problems, pins))


def read_outputs_file(path: str | os.PathLike[str], findings: Findings) -> Array:
    """Read recorded output spikes (TEXT sfto, RAWO6, or CONNPIN with its map): (n, 3) int32 tick, core id and neuron, sorted.

    Raises:
        NmapError: NM101 for a file that cannot be read, NM102 for one of another kind, NM103 to NM110 for what is wrong in it.
    """
    return _read(path, "", findings, read_outputs)


def _read(
    path: str | os.PathLike[str], model: str, findings: Findings, reader: Callable[[Any, Problems, Callable[[str, bool], Any]], _Found]
) -> _Found:
    """Return what a reader makes of a spike file; the connector maps of `model` or of the file are at its service."""
    file = Path(path)
    data = load(file, findings, STARTS, NO_SPIKES)
    problems = Problems(str(file), findings)
    try:
        return reader(data, problems, lambda name, output: _connectors(file, name, output, model, problems))
    except MalformedError as error:
        problems.error(error.code, str(error), "" if error.at is None else f"byte {error.at}")
    problems.raise_errors()
    raise NmapError(findings.errors)


def _connectors(file: Path, name: str, output: bool, model: str, problems: Problems) -> list[Connector] | None:
    """Return the connectors of the map beside a spike file: the one it names, or that of the model or the spike file's name."""
    ending = "_outMap.bin" if output else "_inpMap.bin"
    candidates = [file.with_name(Path(name).name)] if name and Path(name).name else []
    if model:
        candidates += [file.with_name(Path(model).stem + ending), Path(model).with_name(Path(model).stem + ending)]
    stem = file.stem
    while stem:
        candidates.append(file.with_name(stem + ending))
        stem = stem.rpartition("_")[0]
    for candidate in candidates:
        if candidate.is_file():
            try:
                found = read_connectors(bytes(load(candidate, Findings())))
            except (MalformedError, NmapError) as error:
                problems.error("NM103", f"the connector map `{candidate}` cannot be read: {error}")
                problems.raise_errors()
            else:
                return [connector for connector in found if connector.output == output]
    problems.error("NM103", f"the connector map of `{file}` is not beside it; it says where the pins lie (`{candidates[0].name}`)")
    problems.raise_errors()
    return None
