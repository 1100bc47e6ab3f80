"""A target that runs model files of its own: the toy chip, and lists of cores in JSON whose neurons repeat what their axons get."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap.diagnostics import Diagnostic, NmapError
from nmap.models import TAIL
from nmap.target.backend import ModelRun
from nmap_toy import Toy

MODEL = {"cores": 2, "neurons": 4}
SPIKES = [[0, 0, 1], [2, 1, 3], [2, 1, 3], [5, 0, 0]]
"""Tick, core and axon; the neuron of an axon's number repeats the spike in the same tick, and those of odd numbers send off the chip."""


class Repeater(Toy):
    """The toy chip with model files."""

    models: Mapping[str, str] = {"list": "list of cores"}
    calls: list[dict[str, Any]]

    def __init__(self) -> None:
        self.calls = []

    def run_model(
        self, model: Path, spikes: Path | None, *, steps: int | None, every: bool, seed: int, jobs: int,
        progress: Callable[[str], None] | None,
    ) -> ModelRun:
        self.calls.append({"spikes": spikes, "steps": steps, "every": every, "seed": seed, "jobs": jobs})
        content = model.read_bytes()
        if not content.startswith(b"{"):
            raise NmapError(Diagnostic("NM102", "error", f"`{model}` is no list of cores", str(model)))
        stated = json.loads(content)
        given = [] if spikes is None else json.loads(spikes.read_bytes())
        if steps is None:
            steps = max((tick for tick, _, _ in given), default=-1) + 1 + TAIL
        if progress is not None:
            progress(f"{steps} ticks")
        heard = sorted({tuple(spike) for spike in given if spike[0] < steps and (every or spike[2] % 2)})
        random = bool(stated.get("random"))
        return ModelRun(
            events=np.array(heard, np.int32).reshape(-1, 3), steps=steps, cores=stated["cores"], neurons=stated["neurons"],
            given=len(given), every=every, exact=not random, why="1 neuron has a stochastic leak" if random else None, format="list",
            merged=len(given) - len({tuple(spike) for spike in given}), sha256=hashlib.sha256(content).hexdigest(),
            diagnostics=tuple(Diagnostic("NM112", "warning", text, str(model)) for text in stated.get("odd", ())), seconds=0.002 * steps,
        )

    def spike_file(self, run: ModelRun, suffix: str) -> bytes | None:
        return "".join(f"{tick} {core} {neuron}\n" for tick, core, neuron in run.events.tolist()).encode() if suffix == ".txt" else None


TARGET = Repeater()


def install(patch: pytest.MonkeyPatch) -> Repeater:
    """Install it as `repeater`, beside the toy chip and nothing else, and return it."""
    values = {"repeater": "tests.model_target:TARGET", "toy": "nmap_toy:TARGET"}
    groups = {"nmap.targets": [EntryPoint(name, value, "nmap.targets") for name, value in values.items()]}
    patch.setattr("nmap.target.registry.entry_points", lambda *, group: groups.get(group, []))
    TARGET.calls.clear()
    return TARGET
