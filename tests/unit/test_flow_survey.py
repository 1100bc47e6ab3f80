"""Targets that map by themselves, and vendors' own mappers that are asked beside nmap's estimate. The toy chip stands in for both."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from nmap import flow
from nmap.diagnostics import Diagnostic, Exit, NmapError
from nmap.mapping import Packed, Shard
from nmap.options import Options
from nmap.partition.partitioner import Budget
from nmap.partition.problem import PackingSolution, Piece
from nmap.quantized import QuantizedNetwork
from nmap.report.json import to_json
from nmap.target import registry
from nmap.target.backend import Survey
from nmap.target.machine import Machine
from nmap_toy import Toy
from tests.unit.readers.builders import chain, if_, linear, port, sink, write_nir

CORE_OF = {"n1": 3, "n2": 1}


class Arranged(Toy):
    """A toy chip that gives every layer a core of its own, or refuses the network."""

    asked: ClassVar[list[tuple[int, int]]] = []
    too_large = False

    def arrange(self, network: QuantizedNetwork, machine: Machine, options: Options, budget: Budget) -> Packed:
        if self.too_large:
            raise NmapError(
                Diagnostic("NM402", "error", "too large by far", where="net.nir", help=("make it smaller",)), Exit.DOES_NOT_FIT
            )
        self.asked.append((budget.effort, options.seed))
        shards = tuple(
            Shard(name, ((0, network[name].size),), k, self.demand(network, name, ((0, network[name].size),)))
            for k, name in enumerate(CORE_OF)
        )
        kind = next(k for k, found in enumerate(machine.classes) if 3 in found.cores)
        pieces = tuple(Piece(k, 1, k) for k in range(len(shards)))
        return Packed(shards, PackingSolution(pieces, 2, 2, "optimal", kind=(kind, kind)), np.array(list(CORE_OF.values())))


class Surveyed(Toy):
    """A toy chip whose vendor has a mapper."""

    found = Survey("mapper", missing="not installed")

    def survey(self, network: QuantizedNetwork, machine: Machine) -> Survey:
        return self.found


class Both(Arranged, Surveyed):
    """A toy chip that maps by itself, too large for any network, whose vendor has a mapper."""

    too_large = True


TARGETS = {kind.__name__: kind() for kind in (Arranged, Surveyed, Both)}


@pytest.fixture(autouse=True)
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nodes = {
        "input": port(6), "w1": linear(np.full((5, 6), 0.5)), "n1": if_(5, th=2.0),
        "w2": linear(np.full((3, 5), 0.5)), "n2": if_(3, th=2.0), "output": sink(3),
    }
    write_nir(Path("net.nir"), nodes, chain(*nodes), {"reset_mechanism": "zero"})


def install(patch: pytest.MonkeyPatch, kind: str) -> None:
    """Install one of the targets as `toy`."""
    entry = EntryPoint("toy", f"tests.unit.test_flow_survey:TARGETS[{kind}]", "nmap.targets")
    real = registry.entry_points
    patch.setattr(EntryPoint, "load", lambda self: TARGETS[kind] if self is entry else _load(self))
    patch.setattr(registry, "entry_points", lambda *, group: [entry] if group == "nmap.targets" else real(group=group))


_load = EntryPoint.load


def test_a_target_maps_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "Arranged")
    Arranged.asked.clear()
    for partitioner in ("cpsat", "greedy"):
        outcome = flow.deploy(
            Path("net.nir"), target="toy", output=Path("out"), options=Options(partitioner=partitioner, seed=5, effort=2),
        )
        assert outcome.status == "ok", outcome.diagnostics
        assert outcome.mapping is not None
        assert [(s.population, outcome.mapping.cores[s.cluster].core) for s in outcome.mapping.shards] == list(CORE_OF.items())
        assert to_json(outcome)["partition"]["partitioner"] == "toy"
    assert Arranged.asked == [(2, 5), (2, 5)]
    # An earlier mapping makes no difference.
    again = flow.deploy(Path("net.nir"), target="toy", output=Path("again"), options=Options(), from_bundle=Path("out"))
    assert again.status == "ok", again.diagnostics
    assert again.mapping is not None
    assert [core.core for core in again.mapping.cores] == list(CORE_OF.values())
    assert flow.verify(Path("out")).status == "ok"


def test_what_a_target_says_of_its_own_mapping_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "Arranged")
    monkeypatch.setitem(CORE_OF, "n2", 3)
    with pytest.raises(ValueError, match="slot"):
        flow.deploy(Path("net.nir"), target="toy", output=Path("out"), options=Options())


def test_the_vendors_mapper_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "Surveyed")
    monkeypatch.setattr(Surveyed, "found", Survey("mapper", "2.1", fits=False, reason="Not enough cores of type 3."))
    checked, deployed = (
        flow.check(Path("net.nir"), targets=["toy"], options=Options())[0],
        flow.deploy(Path("net.nir"), target="toy", output=Path("out"), options=Options()),
    )
    for outcome in (checked, deployed):
        assert (outcome.status, outcome.exit_status, outcome.fits) == ("does_not_fit", Exit.DOES_NOT_FIT, False)
        told = [d for d in outcome.diagnostics if d.severity == "error"]
        assert [d.code for d in told] == ["NM402"]
        assert "mapper 2.1" in told[0].message
        assert "Not enough cores of type 3." in str(told[0].why)
        # What nmap itself says is not lost, and the difference is told.
        assert "By nmap's estimate the network fits, on 1 core." in str(told[0].why)
        assert to_json(outcome)["survey"]["estimated_cores"] == 1
    assert not Path("out").exists()


def test_the_vendors_mapper_overrules_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "Both")
    monkeypatch.setattr(Surveyed, "found", Survey("mapper", "2.1", fits=True, cores=3))
    outcome = flow.check(Path("net.nir"), targets=["toy"], options=Options())[0]
    assert (outcome.status, outcome.fits) == ("ok", True)
    assert [(d.code, d.severity, d.help) for d in outcome.diagnostics if d.code == "NM404"] == [("NM404", "warning", ("make it smaller",))]
    assert "too large by far" in str(outcome.diagnostics[-1].why)


def test_the_vendors_mapper_agrees_that_it_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "Both")
    monkeypatch.setattr(Surveyed, "found", Survey("mapper", "2.1", fits=False, reason="Not enough cores of type 3."))
    outcome = flow.check(Path("net.nir"), targets=["toy"], options=Options())[0]
    assert (outcome.status, outcome.exit_status, outcome.fits) == ("does_not_fit", Exit.DOES_NOT_FIT, False)
    assert {(d.code, d.message) for d in outcome.diagnostics} >= {
        ("NM402", "too large by far"), ("NM404", "mapper 2.1 does not map the network either"),
    }


def test_without_the_vendors_mapper_the_estimate_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "Both")
    outcome = flow.check(Path("net.nir"), targets=["toy"], options=Options())[0]
    assert (outcome.status, outcome.exit_status, outcome.fits) == ("does_not_fit", Exit.DOES_NOT_FIT, False)


def test_a_bundle_does_not_depend_on_the_vendors_mapper(monkeypatch: pytest.MonkeyPatch) -> None:
    flow.deploy(Path("net.nir"), target="toy", output=Path("without"), options=Options())
    install(monkeypatch, "Surveyed")
    monkeypatch.setattr(Surveyed, "found", Survey("mapper", "2.1", fits=True, cores=3, layers={"n1": 2, "n2": 1}))
    outcome = flow.deploy(Path("net.nir"), target="toy", output=Path("with"), options=Options())
    assert outcome.survey is not None
    assert Path("with/report.json").read_bytes() == Path("without/report.json").read_bytes()
