"""`nmap deploy --from`: an earlier bundle's mapping as the hint."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nmap as package
from nmap.program import read_program
from nmap.report.json import schema
from tests.cli.runner import Result, Runner
from tests.unit.readers.builders import chain, if_, linear, port, sink, write_nir
from tests.unit.report.schema_check import problems

TOY = ("--target", "toy:4x4", "--partitioner", "greedy", "--effort", "0")


def network(folder: Path, name: str, hidden: tuple[int, ...] = (12, 12), seed: int = 1) -> Path:
    """Write a chain of layers that the toy chip takes exactly: 6 inputs, the hidden ones, 3 outputs."""
    rng = np.random.default_rng(seed)
    sizes = (6, *hidden, 3)
    nodes: dict[str, Any] = {"input": port(6)}
    for k in range(1, len(sizes)):
        nodes[f"w{k}"] = linear(rng.integers(-3, 6, (sizes[k], sizes[k - 1])) / 4)
        nodes[f"n{k}"] = if_(sizes[k], th=2.0)
    nodes["output"] = sink(3)
    write_nir(folder / name, nodes, chain(*nodes), {"reset_mechanism": "zero"})
    return Path(name)


@pytest.fixture
def bundle(work: Path, nmap: Runner) -> Path:
    result = nmap("deploy", network(work, "net.nir"), *TOY, "-o", "old")
    assert result.status == 0, result.err
    return Path("old")


def deploy(nmap: Runner, net: Path, *words: object) -> Result:
    return nmap("deploy", net, *TOY, "-o", "new", "--format", "json", *words)


def cores(folder: Path) -> dict[tuple[int, int], list[tuple[str, object]]]:
    """Return what lies on each core."""
    program = read_program(folder / "program.h5")
    found: dict[tuple[int, int], list[tuple[str, object]]] = {}
    for group in program.groups:
        core = program.cores[group.core]
        found.setdefault((core.chip, core.core), []).append((program.populations[group.population].name, group.slice))
    return found


def dead(places: list[tuple[int, int]]) -> tuple[str, str]:
    return "--dead-cores", ",".join(f"{chip}:{core}" for chip, core in places)


def report_of(result: Result) -> Any:
    assert result.status == 0, result.err
    assert problems(result.json, schema(), closed=True) == []
    assert result.json["verification"]["chip_vs_fixed"]["mismatches"] == 0
    told = result.json["incremental"]
    assert told["cores_before"] == told["kept"] + len(told["moved"]) + told["freed"]
    assert result.json["partition"]["cores"] == told["kept"] + len(told["moved"]) + told["new"]
    return result.json


def test_other_weights_keep_every_core(bundle: Path, work: Path, nmap: Runner) -> None:
    report = report_of(deploy(nmap, network(work, "net.nir", seed=2), "--from", bundle))
    assert cores(Path("new")) == cores(bundle)
    told = report["incremental"]
    assert told["program_sha256"] == hashlib.sha256((bundle / "program.h5").read_bytes()).hexdigest()
    assert (told["kept"], told["moved"], told["recut"], told["repacked"]) == (len(cores(bundle)), [], [], False)
    text = nmap("report", "new").out
    assert f"  from       kept {told['kept']} of {told['kept']} cores\n" in text


def test_dead_core_moves_and_is_named(bundle: Path, nmap: Runner) -> None:
    before = cores(bundle)
    lost = sorted(before)[-1]
    report = report_of(deploy(nmap, Path("net.nir"), "--from", bundle, *dead([lost])))
    now = cores(Path("new"))
    assert lost not in now
    (move,) = [move for move in report["incremental"]["moved"] if move["why"] == "dead"]
    assert move["from"] == f"c{lost[1]}"
    assert now[0, int(move["to"][1:])] == before[lost]
    text = " ".join(nmap("report", "new").out.split())
    assert f"dead {move['from']} → {move['to']}" in text


def test_several_dead_cores(bundle: Path, nmap: Runner) -> None:
    before = cores(bundle)
    lost = sorted(before)[:3]
    report = report_of(deploy(nmap, Path("net.nir"), "--from", bundle, *dead(lost)))
    now = cores(Path("new"))
    assert set(now).isdisjoint(lost)
    assert sorted(map(repr, now.values())) == sorted(map(repr, before.values()))
    assert sorted(m["from"] for m in report["incremental"]["moved"] if m["why"] == "dead") == sorted(f"c{core}" for _, core in lost)


def test_resized_layer_is_cut_anew(bundle: Path, work: Path, nmap: Runner) -> None:
    report = report_of(deploy(nmap, network(work, "wide.nir", (12, 11)), "--from", bundle))
    told = report["incremental"]
    assert told["recut"] == ["n2"]
    assert told["kept"] >= 1
    assert "re-cut: `n2`" in nmap("report", "new").out


def test_added_and_removed_layers(bundle: Path, work: Path, nmap: Runner) -> None:
    told = report_of(deploy(nmap, network(work, "short.nir", (12,)), "--from", bundle))["incremental"]
    # Layers are numbered in this file: the output is the second one now.
    assert (told["recut"], told["removed"]) == ([], ["n2"])
    long = network(work, "long.nir", (12, 12, 4))
    told = report_of(deploy(nmap, long, "--from", bundle))["incremental"]
    assert (told["recut"], told["removed"]) == (["n3"], [])


def test_a_fresh_deployment_tells_nothing(bundle: Path, nmap: Runner) -> None:
    assert deploy(nmap, Path("net.nir")).json["incremental"] is None
    assert "  from  " not in nmap("report", "new").out
    assert json.loads((bundle / "manifest.json").read_text())["from"] is None


def test_from_the_bundle_that_is_replaced(bundle: Path, nmap: Runner) -> None:
    before = cores(bundle)
    lost = sorted(before)[0]
    result = nmap("deploy", "net.nir", *TOY, "-o", bundle, "--from", bundle, *dead([lost]))
    assert result.status == 0, result.err
    assert lost not in cores(bundle)


def test_lock_knows_the_earlier_bundle(bundle: Path, nmap: Runner) -> None:
    words = ("--from", bundle, *dead([sorted(cores(bundle))[0]]))
    assert deploy(nmap, Path("net.nir"), *words).status == 0
    first = (Path("new") / "program.h5").read_bytes()
    again = deploy(nmap, Path("net.nir"), *words, "--locked")
    assert again.status == 0, again.err
    assert (Path("new") / "program.h5").read_bytes() == first
    assert deploy(nmap, Path("net.nir"), *words[2:], "--locked").status == 2
    other = nmap("deploy", "net.nir", *TOY, "-o", "other", "--seed", "3", *words[2:])
    assert other.status == 0
    result = deploy(nmap, Path("net.nir"), "--from", "other", *words[2:], "--locked")
    assert (result.status, result.err.count("error[NM603]: from.program_sha256 is")) == (2, 1)


MANY = """
import sys, nmap
for partitioner, effort in (("cpsat", 0), ("greedy", 0), ("greedy", 1), ("greedy", 2)):
    options = {"partitioner": partitioner, "effort": effort, "verify": False}
    nmap.deploy("net.nir", "toy:4x4", output=f"{sys.argv[1]}/{partitioner}{effort}", **options)
nmap.deploy("net.nir", "toy:4x4", output=f"{sys.argv[1]}/again", from_bundle="old", dead_cores=[(0, 0), (0, 5)], **options)
"""


def test_same_bytes_in_two_processes(bundle: Path, work: Path) -> None:
    del bundle
    contents = []
    for name, seed in (("one", "1"), ("two", "77")):
        (work / name).mkdir()
        # Every hash of a text differs between the two.
        done = subprocess.run(
            [sys.executable, "-c", MANY, name], env={**os.environ, "PYTHONHASHSEED": seed}, cwd=work, timeout=300, check=False,
            capture_output=True, text=True,
        )
        assert done.returncode == 0, done.stderr
        contents.append({str(p.relative_to(work / name)): p.read_bytes() for p in (work / name).rglob("*") if p.is_file()})
    assert len([name for name in contents[0] if name.endswith("program.h5")]) == 5
    assert contents[0] == contents[1]


def spoil_program(folder: Path) -> None:
    (folder / "program.h5").write_bytes(b"no program")


def spoil_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def lose_program(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["program.h5"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(("spoil", "said"), [
    (spoil_program, "`program.h5` of the bundle was changed since it was written"),
    (spoil_manifest, "`manifest.json` of the bundle cannot be read"),
    (lose_program, "has no `program.h5`"),
])
def test_damaged_bundle_is_one_message(spoil: Callable[[Path], None], said: str, bundle: Path, nmap: Runner) -> None:
    spoil(bundle)
    result = nmap("deploy", "net.nir", *TOY, "-o", "new", "--from", bundle)
    assert result.status == 2
    assert result.err.count("error[") == 1
    assert "error[NM602]" in result.err
    assert said in " ".join(result.err.split())
    assert not Path("new").exists()


@pytest.mark.parametrize("what", ["nothing", "net.nir"])
def test_what_is_no_bundle(what: str, bundle: Path, nmap: Runner) -> None:
    del bundle
    result = nmap("deploy", "net.nir", *TOY, "-o", "new", "--from", what)
    assert (result.status, result.err.count("error[NM602]")) == (2, 1)


@pytest.mark.parametrize("target", ["toy", "loihi2"])
def test_bundle_for_other_cores_is_refused(target: str, bundle: Path, nmap: Runner) -> None:
    result = nmap("deploy", "net.nir", "--target", target, "--partitioner", "greedy", "-o", "new", "--from", bundle)
    assert result.status == 2
    assert "error[NM004]: the bundle `old` is for `toy:4x4`, this deployment for `" + target in " ".join(result.err.split())
    assert not Path("new").exists()


def test_network_that_no_longer_fits(bundle: Path, work: Path, nmap: Runner) -> None:
    result = nmap("deploy", network(work, "huge.nir", (12, 14, 15, 14, 15, 14, 15, 14, 15)), *TOY, "-o", "new", "--from", bundle)
    assert result.status == 1
    assert "error[NM402]" in result.err
    assert not Path("new").exists()


def test_python_interface(bundle: Path, work: Path) -> None:
    del bundle
    made = package.deploy(
        work / "net.nir", "toy:4x4", output=work / "new", partitioner="greedy", effort=0, from_bundle="old", verify=False,
    )
    told = made.report["incremental"]
    assert (told["kept"], told["moved"]) == (told["cores_before"], [])
