from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import truenorth

from nmap_truenorth.model.engine import Simulator


@pytest.mark.parametrize("name", truenorth.WORKLOADS)
def test_networks_stay_at_their_activity(name: str) -> None:
    model = truenorth.make(name, 60)
    events = truenorth.driven(model, 200, 0.01)
    done = Simulator(model).run(events, 200, every=True)
    late = done.events[done.events[:, 0] >= 100]
    assert 0.007 < len(late) / (100 * 60 * 256) < 0.013
    if name.startswith("recurrent"):
        assert len(events) == 0
        assert len(np.unique(model.target.astype(np.int64) * 256 + model.target_axon)) == 60 * 256
    else:
        assert len(events) == 200 * round(0.01 * 60 * 256)


def test_rows_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "told.json"
    assert truenorth.main(["--cores", "40", "--ticks", "20", "--repeat", "1", "--threads", "1,2", "--json", str(file)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows[1:] if not row.startswith(" ")] == list(truenorth.WORKLOADS)
    told = json.loads(file.read_text(encoding="utf-8"))
    assert told["cores"] == 40
    assert set(told["workloads"]["driven"]["ticks_per_second"]) == {"1", "2"}
    assert 0.009 < told["workloads"]["driven-own"]["active"] < 0.011
    assert told["workloads"]["driven"]["events_per_tick"] == pytest.approx(0.01 * 40 * 256 * 128, rel=0.05)


def test_a_difference_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = truenorth.reference

    def wrong(*arguments: Any, **options: Any) -> Any:
        rows, merged, history, outside = real(*arguments, **options)
        return rows, merged, history + 1, outside

    monkeypatch.setattr(truenorth, "reference", wrong)
    assert truenorth.main(["driven-own", "--cores", "40", "--ticks", "5", "--repeat", "1"]) == 1
    assert "not what the plain reference computes" in capsys.readouterr().err


def test_an_unknown_workload_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        truenorth.main(["loihi"])
    assert "no workload begins with loihi" in capsys.readouterr().err
