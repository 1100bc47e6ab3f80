"""sPyNNaker looked for and run in a process of its own; memory images and tables written by hand are read."""

from __future__ import annotations

import json
import sqlite3
import stat
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Dense
from nmap.quantized import QuantizedNetwork
from nmap_spinnaker.emit import emit
from nmap_spinnaker.reread import read_folder
from nmap_spinnaker.vendor import INTERPRETER_VARIABLE, compare, find_spynnaker, run_vendor, vendor_tools
from tests.oracles.spinnaker_reference import divide, exponential_fraction
from tests.spinnaker_programs import ONE, cells, lay_out, layered, port, synapses


def _python(folder: Path, script: str) -> Path:
    """Return something that stands for a Python with sPyNNaker: it says a version and otherwise runs `script`."""
    path = folder / "python"
    body = textwrap.indent(textwrap.dedent(script), "    ")
    path.write_text(f"#!{sys.executable}\nimport sys\nif sys.argv[1] == '-c':\n    print('9.9')\nelse:\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def _folder(folder: Path, made: Any) -> Path:
    folder.mkdir()
    for name, content in emit(*made).items():
        (folder / name).write_bytes(content)
    return folder


def test_an_interpreter_that_is_none_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INTERPRETER_VARIABLE, str(tmp_path / "nothing"))
    found = find_spynnaker()
    assert isinstance(found, str)
    assert "cannot be run" in found
    [check] = vendor_tools()
    assert check.state == "broken"
    run = run_vendor(tmp_path, np.zeros((1, 2, 3), np.int32), 4, 10.0)
    assert (run.version, run.compared, run.differences) == (None, "mapping", ())
    assert run.missing == found


def test_an_interpreter_without_it_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\necho 'no package named spynnaker' >&2\nexit 1\n")
    path.chmod(0o755)
    monkeypatch.setenv(INTERPRETER_VARIABLE, str(path))
    found = find_spynnaker()
    assert isinstance(found, str)
    assert found.endswith("cannot say its version of spynnaker: no package named spynnaker")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("print('ValueError: too many')\nprint()\nsys.exit(1)", "stopped with status 1: ValueError: too many"),
        ("print('run.py: no links lead there', file=sys.stderr)\nsys.exit(3)", "stopped with status 3: run.py: no links lead there"),
        ("pass", "wrote no reports"), ("import time\ntime.sleep(60)", "did not finish within 0.5 s and was stopped"),
    ],
)
def test_what_goes_wrong_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str) -> None:
    monkeypatch.setenv(INTERPRETER_VARIABLE, str(_python(tmp_path, script)))
    folder = _folder(tmp_path / "spynnaker", layered())
    run = run_vendor(folder, np.zeros((2, 3, 10), np.int32), 5, 0.5 if "time" in script else 30.0)
    assert run.version == "9.9"
    assert run.missing is not None
    assert said in run.missing
    assert sorted(path.name for path in folder.iterdir()) == ["README.txt", "core_map.json", "network.npz", "run.py", "spynnaker.cfg"]


# ---- a network of two sources and three neurons, its memory images written by hand -------------------------------------------------------


def _tiny() -> Any:
    rng = np.random.default_rng(0)
    ports, load = port("in", (2,))
    # The kernel's current is from before the decay of its first step.
    start = {"v": np.full(3, 9), "refract": np.full(3, 4), "syn_1": np.full(3, 70000)}
    out = replace(cells("out", (3,), "if_curr_exp", rng, shifts=(2, 1)), initial=start)
    network = QuantizedNetwork(
        (*ports, out),
        (
            load, synapses("in.source", "out", Dense(np.array([[700, 0], [65535, 1], [0, 40]], np.int32)), delay=1),
            synapses("in.source", "out", Dense(np.array([[0, 5], [0, 0], [0, 0]], np.int32)), 1, 2),
        ),
        ("in",), ("out",), settings={"timestep_us": 1000, "time_scale": 1},
    )
    return network, lay_out(network, {"in.source": [(((0, 2),), (0, 1))], "out": [(((0, 3),), (1, 0))]})


KEY, OUT_KEY = 0x40, 0x80


def _report(folder: Path, network: Any, **changed: Any) -> Path:
    """Write what sPyNNaker writes: sources on (0, 0, 3) with key 0x40, neurons on (1, 0, 2) without anyone behind them."""
    params = network["out"].params
    leak = ("v", "v_rest", "cm", "tau_m", "i_offset", "v_reset", "tau_refrac", None, "timestep")
    words = [1]
    for neuron in range(3):
        words += [9 if name == "v" else 4 if name is None else int(params[name][neuron]) for name in leak]
    words += [int(value) for value in params["v_thresh"]]
    for neuron in range(3):
        keep = exponential_fraction(-divide(ONE, int(params["tau_syn_I"][neuron])))
        words += [int(params["tau_syn_E"][neuron]), 0, int(params["tau_syn_I"][neuron]), 70000 * keep >> 32, ONE]
    # Index of 2 bits, receptor of 1, then the delay; excitatory rows of 2 words, inhibitory of 1.
    excitatory = [[0, 2, 0, 700 << 16 | 2 << 3 | 0, 65535 << 16 | 2 << 3 | 1], [0, 2, 0, 1 << 16 | 2 << 3 | 1, 40 << 16 | 2 << 3 | 2]]
    inhibitory = [[0, 0, 0, 0], [0, 1, 0, 5 << 16 | 3 << 3 | 1 << 2 | 0]]
    # Matrices begin at multiples of 16 bytes: 10 words, two of padding, 8 words.
    matrix = [word for row in excitatory for word in row] + [0, 0] + [word for row in inhibitory for word in row]
    table = [1, 2, KEY, 0xFFFFFFC0, 0 | 4 << 13 | 2 << 16, 0 | 6 << 16, 2 | 1 << 16, 1 | 0 << 8, 0 | 3 << 8]
    regions = {
        (0, 0, 3, 1): [1, 0, 0, 0, 1, KEY, 0xFFFFFFC0, 0, 0, 0, 0, 0, 0],
        (1, 0, 2, 1): [0, 3, 4, 4, 2, 2, 1, 0, 0, 0], (1, 0, 2, 2): words, (1, 0, 2, 4): [3, 2, 2, 1, 2, 0, 256, 2, 1], (1, 0, 2, 5): table,
        (1, 0, 2, 6): matrix,
    }
    regions.update(changed.get("regions", {}))
    folder.mkdir()
    with sqlite3.connect(folder / "ds.sqlite3") as database:
        database.execute("CREATE TABLE region (x INT, y INT, p INT, region_num INT, content BLOB)")
        database.executemany(
            "INSERT INTO region VALUES (?, ?, ?, ?, ?)",
            [(*at, np.array(content, np.int64).astype(np.uint32).tobytes()) for at, content in regions.items()],
        )
    database.close()
    places = changed.get("places", [("in.source(0:1)", 0, 0, 3), ("out(0:2)", 1, 0, 2)])
    # To the east, then to processor 2.
    routes = changed.get("routes", [((0, 0), 1 << 0), ((1, 0), 1 << 8)])
    (folder / "json_files").mkdir()
    for name, value in {
        "placements": [{"vertex_label": label, "x": x, "y": y, "p": p} for label, x, y, p in places],
        "machine": {"width": 8, "height": 8},
        "routing_tables": [
            {"x": x, "y": y, "entries": [{"key": KEY, "mask": 0xFFFFFFC0, "spinnaker_route": route}]} for (x, y), route in routes
        ],
    }.items():
        (folder / "json_files" / f"{name}.json").write_text(json.dumps(value))
    return folder


def test_a_mapping_like_the_arrays_has_no_differences(tmp_path: Path) -> None:
    made = _tiny()
    stored = read_folder(_folder(tmp_path / "spynnaker", made))
    differences, facts = compare(stored, _report(tmp_path / "run_1", made[0]))
    assert differences == ()
    # Two sources' packets take one link each and reach one core; three neurons send nothing.
    assert facts == {
        "hops": 2, "hops_per_spike": 0.4, "deliveries": 2, "table_entries": 2, "largest_table": 1, "cores": 2, "chips": 2,
    }


def _image(network: Any, folder: Path, at: tuple[int, int, int, int], word: int, value: int) -> dict[str, Any]:
    report = _report(folder, network)
    with sqlite3.connect(report / "ds.sqlite3") as database:
        [[content]] = database.execute("SELECT content FROM region WHERE x=? AND y=? AND p=? AND region_num=?", at).fetchall()
    database.close()
    words = np.frombuffer(content, "<u4").astype(np.int64)
    words[word] = value
    return {"regions": {at: words.tolist()}}


@pytest.mark.parametrize(
    ("at", "word", "value", "said"),
    [
        ((1, 0, 2, 2), 10, 10, "`v` of neuron 1 of `out` is 10 in sPyNNaker, 9 in the script's arrays"),
        ((1, 0, 2, 2), 28, 7, "`v_thresh` of neuron 0 of `out` is 7"),
        ((1, 0, 2, 2), 8, 5, "`refract_timer` of neuron 0 of `out` is 5 in sPyNNaker, 4 in the script's arrays"),
        ((1, 0, 2, 2), 32, 1, "`isyn_exc` of neuron 0 of `out` is 1 in sPyNNaker, 0 in the script's arrays"),
        ((1, 0, 2, 2), 34, 70000, "`isyn_inh` of neuron 0 of `out` is 70000 in sPyNNaker"),
        ((1, 0, 2, 4), 7, 3, "takes ring-buffer shifts [3, 1] for `out`, not [2, 1]"),
        ((1, 0, 2, 4), 6, 512, "makes a buffer of 512 spikes for `out`, not of 256"),
        ((1, 0, 2, 6), 3, 701 << 16 | 2 << 3, "a synapse onto `out` on (1, 0, 2) is [0, 0, 0, 0, 701, 2]"),
        ((1, 0, 2, 6), 3, 700 << 16 | 3 << 3, "a synapse onto `out` on (1, 0, 2) is [0, 0, 0, 0, 700, 3]"),
        ((1, 0, 2, 6), 1, 1, "sPyNNaker has 4 synapses onto `out` on (1, 0, 2), the script's arrays have 5"),
        ((1, 0, 2, 1), 1, 4, "gives processor (1, 0, 2) 4 neurons of `out`, not 3"),
        ((1, 0, 2, 5), 2, 0xC0, "receive keys 0x000000c0 under 0xffffffc0, which no slice sends"),
    ],
)
def test_every_word_counts(tmp_path: Path, at: tuple[int, int, int, int], word: int, value: int, said: str) -> None:
    made = _tiny()
    stored = read_folder(_folder(tmp_path / "spynnaker", made))
    differences, _ = compare(stored, _report(tmp_path / "run_1", made[0], **_image(made[0], tmp_path / "plain", at, word, value)))
    assert any(said in sentence for sentence in differences), differences


def test_other_places_and_lost_packets_are_told(tmp_path: Path) -> None:
    made = _tiny()
    stored = read_folder(_folder(tmp_path / "spynnaker", made))
    moved = _report(tmp_path / "moved", made[0], places=[("in.source(0:1)", 0, 0, 4), ("out(0:1)", 1, 0, 2)])
    assert compare(stored, moved)[0] == (
        "sPyNNaker puts `in.source(0:1)` on (x, y, p) (0, 0, 4), not on (0, 0, 3)", "sPyNNaker has no slice `out(0:2)`",
    )
    delayed = _report(
        tmp_path / "delayed", made[0],
        places=[("in.source(0:1)", 0, 0, 3), ("out(0:2)", 1, 0, 2), ("Delay extension for in.source(0:1)", 0, 0, 4)],
    )
    [sentence] = compare(stored, delayed)[0]
    assert sentence.startswith("sPyNNaker adds a core that delays spikes")
    lost = _report(tmp_path / "lost", made[0], routes=[((0, 0), 1 << 2), ((0, 1), 1 << 8)])
    [sentence] = compare(stored, lost)[0]
    assert "do not reach [(1, 0, 2)]" in sentence
    # Without an entry on a chip a packet goes straight on.
    on = _report(tmp_path / "on", made[0], routes=[((0, 0), 1 << 3), *[((x, 0), 1 << 3) for x in (7, 6, 5, 3)], ((1, 0), 1 << 8)])
    differences, facts = compare(stored, on)
    assert differences == ()
    assert facts["hops"] == 2 * 7
    with pytest.raises(ValueError, match="go round"):
        compare(stored, _report(tmp_path / "round", made[0], routes=[((0, 0), 1), ((1, 0), 1)]))
