"""Bundles whose program was edited, with hashes that agree again: what is not the network's is refused before anything runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.cli.runner import Result, Runner


@pytest.fixture
def bundle(net: Path, samples: Path, nmap: Runner) -> Path:
    """6 inputs, neurons `n1` (5) and `n2` (3) on the toy chip; spikes of `n2` come one step later than the network's."""
    assert nmap("deploy", net, "--target", "toy", "--partitioner", "greedy", "--input", samples, "-o", "out", "--no-verify").status == 0
    return Path("out")


def edit(bundle: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(bundle / "program.h5", "r+") as file:
        change(file)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["program.h5"] = hashlib.sha256((bundle / "program.h5").read_bytes()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def word(node: str, key: str, place: tuple[int, ...], value: object) -> Callable[[h5py.File], None]:
    """Put a value somewhere in an attribute's JSON."""

    def change(file: h5py.File) -> None:
        whole: Any = json.loads(file[node].attrs[key])
        inner = whole
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = value
        file[node].attrs[key] = json.dumps(whole)

    return change


def number(node: str, place: int | tuple[int, ...], value: int) -> Callable[[h5py.File], None]:
    """Put a value somewhere in a dataset."""

    def change(file: h5py.File) -> None:
        file[node][place] = value

    return change


def run(nmap: Runner, bundle: Path, *words: str) -> Result:
    return nmap("run", bundle, "--input", "s.npz", "-o", "spikes.npz", *words)


def said(result: Result) -> str:
    """What was printed, without the breaks of its lines."""
    return " ".join((result.err + result.out).split())


def test_the_populations_are_those_of_the_file(bundle: Path) -> None:
    """What the edits below count on."""
    with h5py.File(bundle / "program.h5") as file:
        rows = json.loads(file.attrs["populations"])
        assert [row[1] for row in rows] == [[6], [5], [3]]
        assert [row[3:] for row in rows] == [[True, False], [False, False], [False, True]]
        assert {json.loads(group.attrs["header"])[3] for group in file["groups"].values()} == {"toy.lif"}


@pytest.mark.parametrize(("change", "why"), [
    (word("/", "populations", (2, 2), 5), "runs 5 steps behind the network's time"),
    (word("/", "populations", (1, 2), 3), "runs 3 steps behind the network's time"),
    (word("/", "populations", (2, 2), 2**31), "latency 2147483648"),
    (word("/", "populations", (2, 0), "foo"), "the network has no population `foo`"),
    (word("/", "populations", (0, 0), "foo"), "the network has no population `foo`"),
    (word("/", "populations", (0, 1), [3, 2]), "`input` has the shape (3, 2), the network's has (6,)"),
    (word("/", "populations", (1, 4), True), "is an output of the program and no output of the network"),
    (word("groups/000000", "header", (3,), "toy.nope"), "have the kernel `toy.nope`, the network's have `toy.lif`"),
    (word("blocks/000000", "header", (6,), 2**70), "which no chip has"),
])
def test_another_networks_program_is_a_damaged_bundle(
    bundle: Path, nmap: Runner, change: Callable[[h5py.File], None], why: str
) -> None:
    edit(bundle, change)
    for result in (run(nmap, bundle), run(nmap, bundle, "--level", "fixed"), nmap("verify", bundle, "--against", "fixed")):
        assert result.status == 2
        assert "NM602" in said(result)
        assert why in said(result)
    assert not Path("spikes.npz").exists()


@pytest.mark.parametrize(("change", "code", "why"), [
    (number("groups/000000/params/threshold", 1, -(2**62)), "NM702", "`threshold` of a slice of"),
    (number("groups/000000/params/threshold", 1, 77), "NM701", "the value of `threshold` of neuron 1 of"),
    (number("groups/000000/params/leak", 0, 63), "NM702", "`leak` of a slice of"),
    (word("blocks/000000", "header", (3,), 64), "NM702", "`delay` of synapse block 0"),
    (word("blocks/000000", "header", (3,), 2), "NM701", "has delay 2 instead of 0"),
    (word("blocks/000000", "header", (9,), 5), "NM701", "has accumulator 5 instead of 0"),
    (number("blocks/000000/weights", (0, 0), -(2**31)), "NM702", "is -2147483648"),
    (word("/", "target", (0,), "nochip"), "NM702", "the program is for `nochip`, not for `toy`"),
    (word("/", "target", (1,), "9x9"), "NM702", "`9x9`"),
])
def test_numbers_that_no_chip_or_network_has_do_not_run(
    bundle: Path, nmap: Runner, change: Callable[[h5py.File], None], code: str, why: str
) -> None:
    edit(bundle, change)
    for result in (run(nmap, bundle), nmap("verify", bundle, "--against", "fixed")):
        assert result.status == 3
        assert code in said(result)
        assert why in said(result)
    assert not Path("spikes.npz").exists()


@pytest.mark.parametrize(("name", "value"), [
    ("reset_interval", 0), ("reset_interval", -(2**62)), ("reset_interval", 2**63 - 1), ("du", -(2**31)), ("bias_exp", 63),
])
def test_loihi2_neurons_are_those_of_the_network(net: Path, samples: Path, nmap: Runner, name: str, value: int) -> None:
    """Not every parameter has a limit that is enforced, and the compiled loops take what they are given."""
    words = ("--target", "loihi2", "--partitioner", "greedy", "--reset-interval", 4, "--input", samples, "-o", "out", "--no-verify")
    assert nmap("deploy", net, *words).status == 0
    edit(Path("out"), number(f"groups/000000/params/{name}", 0, value))
    for result in (run(nmap, Path("out")), nmap("verify", "out", "--against", "fixed")):
        assert result.status == 3
        assert f"the value of `{name}` of neuron 0 of" in said(result)
    assert not Path("spikes.npz").exists()


def test_an_initial_state_is_the_networks(bundle: Path, nmap: Runner) -> None:
    """The toy's neurons start at v = 0, whether or not the program says so."""

    def change(file: h5py.File) -> None:
        node = file["groups/000000"]
        arrays = json.loads(node.attrs["arrays"])
        if "v" not in arrays["initial"]:
            node.attrs["arrays"] = json.dumps({**arrays, "initial": ["v"]})
            node["initial/v"] = np.zeros(node["params/leak"].shape, np.int64)

    edit(bundle, change)
    assert run(nmap, bundle).status == 0
    edit(bundle, number("groups/000000/initial/v", 0, 3))
    result = run(nmap, bundle)
    assert result.status == 3
    assert "the initial state of `v` of neuron 0 of" in said(result)
