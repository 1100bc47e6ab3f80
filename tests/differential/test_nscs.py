"""Model files of IBM's tools against what IBM's simulator NSCS recorded of them, tick for tick.

The recordings are not ours to keep. `NMAP_NSCS` names a folder with triples `NAME.json`, `NAME_inputSpikes.sfti` and
`NAME_outputSpikes0.sfcp` (with `NAME_outMap.bin`), such as the history of markplagge/NeMo holds of `patternMatch` and `sobelTiles`.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nmap.diagnostics import Findings
from nmap_truenorth.model.engine import simulate
from nmap_truenorth.model.read import read_model, read_outputs_file, read_spikes


def recordings() -> list[Path]:
    folder = os.environ.get("NMAP_NSCS")
    found = sorted(Path(folder).rglob("*_outputSpikes0.sfcp")) if folder else []
    return [path for path in found if all(stem(path, ending).exists() for ending in (".json", "_inputSpikes.sfti", "_outMap.bin"))]


def stem(recorded: Path, ending: str) -> Path:
    return recorded.with_name(recorded.name.replace("_outputSpikes0.sfcp", ending))


@pytest.mark.skipif(not recordings(), reason="NMAP_NSCS names no folder with recordings of NSCS")
@pytest.mark.parametrize("recorded", recordings(), ids=lambda path: path.stem)
def test_spikes_are_those_that_nscs_recorded(recorded: Path) -> None:
    findings = Findings()
    model = read_model(stem(recorded, ".json"), findings)
    assert model.exact, "a recording of a stochastic model says nothing"
    events = read_spikes(stem(recorded, "_inputSpikes.sfti"), model, findings)
    want = np.asarray(read_outputs_file(recorded, findings))
    ran = simulate(model, events, int(want[:, 0].max()) + 1).events
    assert sorted(map(tuple, ran.tolist())) == sorted(map(tuple, want.tolist()))
    assert len(want) > 0
