"""What a network does on samples, against sums written out neuron by neuron."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nmap import flow
from nmap.calibrate import calibrate
from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.manifest import read_manifest
from nmap.network import Conventions, Network, Neuron, Population, Projection, Provenance
from nmap.options import Calibration, Options
from nmap.simulate.floating import simulate
from nmap.target.registry import find_target, target_names

HERE = Provenance("net.nir", "/")


def lif(n: int, threshold: float = 1.0) -> Neuron:
    one = np.ones(n)
    return Neuron("LIF", 0 * one, one, one, 0.5 * one, 0 * one, threshold * one, 0 * one)


def network(rng: np.random.Generator) -> Network:
    """A convolution, a list with delays of its own, a loop, a skip, two synapse lists onto one population."""
    populations = (
        Population("in", (1, 4, 3), None, HERE), Population("a", (2, 3, 2), lif(12), HERE), Population("b", (7,), lif(7), HERE),
    )
    kernel, listed = rng.normal(size=(2, 1, 2, 2)), rng.normal(size=(7, 12)) * (rng.random((7, 12)) < 0.5)
    sparse = Sparse.from_dense(listed)
    projections = (
        Projection("c", "in", "a", Conv2d(kernel, (1, 4, 3)), rng.normal(size=12), 0, HERE),
        Projection("l", "a", "b", sparse, None, 0, HERE, rng.integers(0, 4, sparse.synapses)),
        Projection("r", "b", "b", Dense(rng.normal(size=(7, 7))), None, 1, HERE),
        Projection("s", "in", "b", Dense(rng.normal(size=(7, 12))), rng.normal(size=7), 2, HERE),
    )
    return Network("net.nir", "nir", "", populations, projections, ("in",), ("b",), Conventions(None))


def sums(net: Network, name: str, spikes: dict[str, np.ndarray], sign: int) -> float:
    """The largest input of a sign, synapse by synapse."""
    samples, steps = next(iter(spikes.values())).shape[:2]
    total = np.zeros((samples, steps, net[name].size))
    for p in net.projections:
        if p.target != name:
            continue
        matrix = p.connectivity.apply(np.eye(p.connectivity.in_size)).T
        delays = np.full(matrix.shape, p.delay)
        if p.delays is not None:
            rows = np.repeat(np.arange(matrix.shape[0]), np.diff(p.connectivity.indptr))
            delays[rows, p.connectivity.indices] += p.delays
        for i, j in np.argwhere(sign * matrix > 0):
            for t in range(int(delays[i, j]), steps):
                total[:, t, i] += abs(matrix[i, j]) * spikes[p.source][:, t - delays[i, j], j]
    return float(total.max())


@pytest.mark.parametrize("seed", range(4))
def test_every_population_is_measured(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = network(rng)
    inputs = (rng.random((3, 9, 1, 4, 3)) < 0.4).astype(np.int32)
    spikes = simulate(net, inputs, record=["in", "a", "b"]).spikes
    found = {c.population: c for c in calibrate(net, spikes)}
    assert list(found) == ["in", "a", "b"]
    for name, sent in spikes.items():
        each = (sent != 0).sum(2)
        assert found[name].spikes == pytest.approx(each.mean())
        assert found[name].busy == each.max()
    assert (found["in"].excitatory, found["in"].inhibitory) == (0, 0)
    for name in ("a", "b"):
        assert found[name].excitatory == pytest.approx(sums(net, name, spikes, 1))
        assert found[name].inhibitory == pytest.approx(sums(net, name, spikes, -1))


def test_spikes_that_are_sent_late_arrive_as_they_were_recorded() -> None:
    rng = np.random.default_rng(5)
    net = network(rng)
    late = Network(
        net.file, net.format, "", net.populations, net.projections, net.inputs, net.outputs, Conventions(None, lag=1),
    )
    spikes = simulate(late, (rng.random((2, 9, 1, 4, 3)) < 0.5).astype(np.int32), record=["in", "a", "b"]).spikes
    found = {c.population: c for c in calibrate(late, spikes)}
    assert found["b"].excitatory == pytest.approx(sums(late, "b", spikes, 1))


def test_options_find_a_population_and_are_kept_in_the_manifest(tmp_path: Path) -> None:
    known = Calibration("a", 1.5, 4.0, 2.25, 0.0)
    options = Options(calibration=(known,), slowdown=3)
    assert options.calibrated("a") is known
    assert options.calibrated("b") is None
    assert "calibration" not in Options().to_json()
    content = {
        "network": {"file": "net.nir"}, "target": {"name": "toy", "variant": "2x2", "chips": 1},
        "conventions": {"dt": None, "reset": None, "source": None}, "options": json.loads(json.dumps(options.to_json())),
    }
    choices = read_manifest(tmp_path, content).choices()
    assert (choices.calibration, choices.slowdown) == ((known,), 3)


def test_a_target_that_is_not_paced_refuses_to_be_slowed_down(tmp_path: Path) -> None:
    outcome = flow.check(tmp_path / "missing.nir", targets=["toy"], options=Options(slowdown=2))[0]
    assert [(d.code, d.where) for d in outcome.diagnostics] == [("NM004", "--slowdown")]


def test_a_target_has_further_names() -> None:
    assert find_target("spinnaker") is find_target("spinnaker1")
    assert "spinnaker" not in target_names()
