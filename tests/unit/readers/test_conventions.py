from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap.network import Conventions, Network, Neuron
from nmap.readers import read
from tests.unit.readers.builders import Nodes, chain, if_, lif, linear, port, refused, sink, write_nir


def _cuba(n: int, dt: float, tau_mem: float, tau_syn: float) -> dict[str, Any]:
    return {
        "type": "CubaLIF", "tau_mem": np.full(n, tau_mem), "tau_syn": np.full(n, tau_syn), "r": np.full(n, tau_mem / dt),
        "w_in": np.full(n, tau_syn / dt), "v_leak": np.zeros(n), "v_threshold": np.ones(n),
    }  # fmt: skip


def _net(path: Path, first: dict[str, Any], second: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None) -> Path:
    nodes: Nodes = {"in": port(2), "a": first, "out": sink(2)}
    names = ["in", "a", "out"]
    if second is not None:
        nodes |= {"w": linear(np.eye(2)), "b": second}
        names = ["in", "a", "w", "b", "out"]
    return write_nir(path / "net.nir", nodes, chain(*names), metadata)


def _settled(network: Network) -> dict[str, tuple[str, str]]:
    return {a.name: (a.value, a.source) for a in network.assumptions}


def _neuron(network: Network) -> Neuron:
    neuron = next(p.neuron for p in network.populations if p.neuron is not None)
    assert isinstance(neuron, Neuron)
    return neuron


def test_nothing_known_takes_the_defaults_and_says_so(tmp_path: Path) -> None:
    network = read(_net(tmp_path, lif(2, tau=2.5e-3, r=1.0)))
    c = network.conventions
    assert (c.dt, c.reset, c.decay, c.compare) == (1e-4, "zero", "euler", ">")
    assert {source for _, source in _settled(network).values()} == {"default"}


def test_snntorch_writes_r_as_tau_over_dt(tmp_path: Path) -> None:
    network = read(_net(tmp_path, lif(2, tau=1e-3, r=10.0), lif(2, tau=2e-3, r=20.0)))
    assert network.conventions.dt == 1e-4
    assert "r*dt/tau = 1 for 2 of 2 neuron nodes" in next(str(a) for a in network.assumptions if a.name == "dt")


def test_single_precision_noise_does_not_reach_dt(tmp_path: Path) -> None:
    noisy = lif(2, tau=float(np.float32(0.0009999997)), r=float(np.float32(9.999997)))
    assert read(_net(tmp_path, noisy)).conventions.dt == 1e-4


def test_cuba_neurons_tell_dt_by_both_time_constants(tmp_path: Path) -> None:
    assert read(_net(tmp_path, _cuba(2, 5e-4, 1e-2, 2e-3))).conventions.dt == 5e-4
    contradicting = _cuba(2, 5e-4, 1e-2, 2e-3) | {"w_in": np.full(2, 2.0)}
    with refused("NM111"):
        read(_net(tmp_path, contradicting))


def test_rockpool_writes_an_exponential_into_r(tmp_path: Path) -> None:
    tau, dt = 2.5e-3, 1e-4
    network = read(_net(tmp_path, lif(2, tau=tau, r=tau / dt * float(np.exp(-dt / tau)))))
    c = network.conventions
    assert (c.dt, c.reset, c.decay, c.compare) == (1e-4, "subtract", "exact", ">=")


def test_sinabs_counts_in_steps(tmp_path: Path) -> None:
    for node in (if_(2), lif(2, tau=20.0, r=1.0)):
        c = read(_net(tmp_path, node)).conventions
        assert (c.dt, c.reset, c.decay, c.compare) == (None, "subtract", "exact", ">=")


def test_early_files_have_time_constants_in_steps_and_r_below_one(tmp_path: Path) -> None:
    c = read(_net(tmp_path, lif(2, tau=2.2, r=0.9))).conventions
    assert (c.dt, c.reset, c.decay) == (None, "zero", "euler")


def test_spikingjelly_writes_r_of_an_if_as_one_over_dt(tmp_path: Path) -> None:
    c = read(_net(tmp_path, if_(2, r=2000.0))).conventions
    assert (c.dt, c.reset, c.decay, c.compare) == (5e-4, "zero", "euler", ">=")
    both = read(_net(tmp_path, if_(2, r=2000.0), lif(2, tau=1e-2, r=1.0)))
    assert both.conventions.dt == 5e-4


def test_layers_that_tell_different_steps_are_reported(tmp_path: Path) -> None:
    path = _net(tmp_path, lif(2, tau=1e-3, r=10.0), lif(2, tau=1e-3, r=1.25))
    with refused("NM111") as found:
        read(path)
    assert "0.0001 s" in found[0].message
    assert "0.0008 s" in found[0].message
    assert read(path, dt=1e-4).conventions.dt == 1e-4
    with refused("NM111"):
        read(_net(tmp_path, lif(2, tau=1e-3, r=10.0), if_(2, r=1000.0)))


def test_metadata_come_before_inference_and_the_command_line_before_both(tmp_path: Path) -> None:
    metadata = {"dt": 5e-4, "reset_mechanism": "subtract", "reset_delay": 1, "spike_rule": "v>=theta"}
    path = _net(tmp_path, lif(2, tau=1e-3, r=10.0), metadata=metadata)
    network = read(path)
    c = network.conventions
    assert (c.dt, c.reset, c.compare) == (5e-4, "delayed", ">=")
    assert _settled(network)["dt"] == ("0.0005 s", "file")
    assert any("parameters tell 0.0001 s" in note for note in network.notes)
    told = read(path, dt=2e-4, reset="zero")
    assert (told.conventions.dt, told.conventions.reset) == (2e-4, "zero")
    assert _settled(told)["reset"] == ("zero", "command line")
    assert any("metadata tell 0.0005 s" in d.message for d in told.diagnostics)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"reset_mechanism": "subtract", "reset_delay": 0}, "subtract"),
        ({"reset_mechanism": "subtract"}, "subtract"),
        ({"reset_mechanism": "zero", "reset_delay": 0}, "zero"),
        ({"nmap": {"reset": "delayed"}}, "delayed"),
    ],
)
def test_resets_of_the_metadata(tmp_path: Path, metadata: dict[str, Any], expected: str) -> None:
    assert read(_net(tmp_path, lif(2), metadata=metadata)).conventions.reset == expected


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ({"reset_mechanism": "none"}, "NM104"),
        ({"spike_rule": "random"}, "NM104"),
        ({"nmap": {"decay": "rk4"}}, "NM104"),
        ({"dt": 0.0}, "NM107"),
        ({"dt": "soon"}, "NM107"),
    ],
)
def test_metadata_that_cannot_be_followed(tmp_path: Path, metadata: dict[str, Any], code: str) -> None:
    with refused(code):
        read(_net(tmp_path, lif(2), metadata=metadata))


def test_a_reset_to_zero_one_step_late(tmp_path: Path) -> None:
    """snnTorch sets v to 0 before the decay of the next step: of a LIF the same spikes, of others not (its input is lost too)."""
    late = {"reset_mechanism": "zero", "reset_delay": 1}
    network = read(_net(tmp_path, lif(2), metadata=late))
    assert network.conventions.reset == "zero"
    assert any("one step late" in note for note in network.notes)
    with refused("NM104") as found:
        read(_net(tmp_path, _cuba(2, 1e-4, 1e-2, 2e-3), metadata=late))
    assert "synaptic current" in found[0].message
    assert found[0].where is not None
    assert found[0].where.endswith("/reset_delay")
    assert read(_net(tmp_path, _cuba(2, 1e-4, 1e-2, 2e-3), metadata=late), reset="zero").conventions.reset == "zero"


def test_nodes_whose_metadata_contradict_the_graph(tmp_path: Path) -> None:
    with refused("NM111") as found:
        read(_net(tmp_path, lif(2) | {"metadata": {"dt": 1e-3}}, metadata={"dt": 1e-4}))
    assert "/node/nodes/a/metadata/dt" in str(found[0].where)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("snntorch", (1e-4, "delayed", "euler", ">")),
        ("norse", (1e-3, "zero", "euler", ">")),
        ("sinabs", (None, "subtract", "exact", ">=")),
        ("rockpool", (1e-3, "subtract", "exact", ">=")),
        ("spikingjelly", (1e-4, "zero", "euler", ">=")),
        ("lava", (1e-4, "zero", "euler", ">")),
        ("spyx", (1e-4, "delayed", "euler", ">")),
    ],
)
def test_presets(tmp_path: Path, source: str, expected: tuple[Any, ...]) -> None:
    network = read(_net(tmp_path, lif(2, tau=2.0 if source == "sinabs" else 0.04, r=1.0)), source=source)
    c = network.conventions
    assert (c.dt, c.reset, c.decay, c.compare) == expected
    assert _settled(network)["reset"][1] == "command line"


def test_the_exporter_named_in_the_metadata_is_a_preset(tmp_path: Path) -> None:
    network = read(_net(tmp_path, lif(2), metadata={"exporter": "snntorch 1.0.0"}))
    assert network.conventions.reset == "delayed"
    assert _settled(network)["reset"] == ("delayed", "inferred")


def test_a_time_constant_below_the_step_is_reported_with_norses_remedy(tmp_path: Path) -> None:
    path = _net(tmp_path, lif(2, tau=1e-5, r=1.0))
    with refused("NM111") as found:
        read(path)
    assert "-9" in str(found[0].why)
    assert any("Norse" in remedy for remedy in found[0].help)
    assert read(path, dt=1e-6).conventions.dt == 1e-6


def _further(network: Network) -> dict[str, Any]:
    """Return the conventions beside dt, reset, decay and comparison that are not the default."""
    names = ("multiple", "floor", "early_reset", "lag", "late_bias", "gain")
    return {
        name: getattr(network.conventions, name) for name in names if getattr(network.conventions, name) != getattr(Conventions(None), name)
    }


@pytest.mark.parametrize(
    ("source", "node", "expected"),
    [
        ("snntorch", lif(2), {}),
        ("norse", lif(2, tau=1e-2), {"late_bias": True}),
        ("sinabs", if_(2), {"floor": -1.0}),
        ("sinabs", lif(2, tau=20.0, r=1.0), {"gain": "exact"}),
        ("sinabs-multispike", if_(2), {"floor": -1.0, "multiple": True}),
        ("rockpool", lif(2), {"multiple": True}),
        ("spikingjelly", lif(2), {}),
        ("lava", lif(2), {}),
        ("spyx", lif(2), {"lag": 1}),
    ],
)
def test_further_conventions_of_the_presets(tmp_path: Path, source: str, node: dict[str, Any], expected: dict[str, Any]) -> None:
    network = read(_net(tmp_path, node), source=source)
    assert _further(network) == expected
    told = {a.name: a for a in network.assumptions if a.name not in ("dt", "reset", "decay", "comparison")}
    assert len(told) == len(expected)
    assert all(a.source == "command line" and a.evidence.endswith(f"--source {source}") for a in told.values())


def test_the_lines_that_state_further_conventions(tmp_path: Path) -> None:
    network = read(_net(tmp_path, if_(2)), source="sinabs-multispike")
    lines = [str(a) for a in network.assumptions]
    assert "reset = subtract (command line: Sinabs' own: --source sinabs-multispike)" in lines
    assert any(
        line.startswith("several spikes a step = yes (command line: Sinabs' own, which sends trunc(v / threshold)") for line in lines
    )
    assert any(line.startswith("floor = -1 (command line: Sinabs' own, whose importer") for line in lines)


def test_snntorch_resets_early_where_it_subtracts_in_the_same_step(tmp_path: Path) -> None:
    path = _net(tmp_path, lif(2))
    assert _further(read(path, source="snntorch", reset="subtract")) == {"early_reset": True}
    assert _further(read(path, source="snntorch", reset="zero")) == {}
    assert _further(read(path, reset="subtract")) == {}
    stated = {"exporter": "snntorch 1.0.0", "reset_mechanism": "subtract", "reset_delay": 0}
    assert _further(read(_net(tmp_path, lif(2), metadata=stated))) == {"early_reset": True}


def test_an_early_reset_that_contradicts_the_files_own(tmp_path: Path) -> None:
    path = _net(tmp_path, lif(2), metadata={"nmap": {"early_reset": 1, "reset": "delayed"}})
    with refused("NM111") as found:
        read(path)
    assert "/nmap/early_reset" in str(found[0].where)
    assert _further(read(path, reset="zero")) == {}
    assert _further(read(path, reset="subtract")) == {"early_reset": True}


def test_norse_writes_time_constants_times_its_step(tmp_path: Path) -> None:
    """A membrane of 10 ms is written as 1e-5 s: 1 - 1e-6/1e-5 is the 1 - 1e-3/1e-2 of Norse."""
    network = read(_net(tmp_path, lif(2, tau=1e-5, r=1.0)), source="norse")
    assert network.conventions.dt == 1e-6
    neuron = network["a"].neuron
    assert isinstance(neuron, Neuron)
    np.testing.assert_allclose(neuron.beta, 0.9, rtol=1e-12)
    np.testing.assert_allclose(neuron.gain_v, 0.1, rtol=1e-12)
    assert _settled(network)["dt"] == ("1e-06 s", "inferred")
    assert "times its dt of 1e-3" in next(a.evidence for a in network.assumptions if a.name == "dt")
    assert read(_net(tmp_path, lif(2, tau=1e-5, r=1.0)), source="norse", dt=1e-5).conventions.dt == 1e-5


def test_norse_on_files_it_did_not_write(tmp_path: Path) -> None:
    assert read(_net(tmp_path, lif(2, tau=5e-4, r=5.0)), source="norse").conventions.dt == 1e-4
    assert read(_net(tmp_path, lif(2, tau=1e-2, r=1.0)), source="norse").conventions.dt == 1e-3


def test_an_if_neuron_of_norse_adds_its_input_without_dt(tmp_path: Path) -> None:
    network = read(_net(tmp_path, if_(2)), source="norse")
    neuron = network["a"].neuron
    assert isinstance(neuron, Neuron)
    assert neuron.gain_v.tolist() == [1.0, 1.0]


def test_spyx_has_no_time_step_of_its_own(tmp_path: Path) -> None:
    assert _settled(read(_net(tmp_path, lif(2, tau=1e-2, r=1.0)), source="spyx"))["dt"] == ("0.0001 s", "default")


def test_spyx_resets_by_model(tmp_path: Path) -> None:
    cuba = _cuba(2, 5e-4, 1e-2, 2e-3)
    network = read(_net(tmp_path, cuba), source="spyx")
    assert (network.conventions.reset, network.conventions.dt) == ("subtract", 5e-4)
    assert any("twice" in note for note in network.notes)
    mixed = read(_net(tmp_path, cuba, lif(2, tau=1e-2, r=20.0)), source="spyx")
    assert mixed.conventions.reset == "delayed"
    assert any("before the decay" in note for note in mixed.notes)


def test_sinabs_notes_its_spike_function_and_its_floor(tmp_path: Path) -> None:
    assert any("sinabs-multispike" in note for note in read(_net(tmp_path, if_(2))).notes)
    mixed = read(_net(tmp_path, if_(2), lif(2, tau=20.0, r=1.0)))
    assert mixed.conventions.floor == -1.0
    assert any("IF neurons only" in note for note in mixed.notes)
    assert read(_net(tmp_path, lif(2, tau=20.0, r=1.0))).conventions.floor is None


def test_the_longest_name_of_an_exporter_counts(tmp_path: Path) -> None:
    assert read(_net(tmp_path, if_(2), metadata={"exporter": "sinabs-multispike"})).conventions.multiple
    assert not read(_net(tmp_path, if_(2), metadata={"exporter": "sinabs 3.1.3"})).conventions.multiple


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("multiple", 1, "several spikes a step = yes"),
        ("floor", -0.5, "floor = -0.5"),
        ("lag", 2, "lag = 2"),
        ("late_bias", 1, "late recurrent bias = yes"),
        ("early_reset", 1, "early reset = yes"),
    ],
)
def test_further_conventions_of_the_metadata(tmp_path: Path, key: str, value: Any, line: str) -> None:
    """They come before the preset, and a file that states one of them states them all."""
    metadata = {"nmap": {key: value, "reset": "subtract"}, "exporter": "sinabs"}
    network = read(_net(tmp_path, if_(2), metadata=metadata))
    assert _further(network) == {key: value}
    assert any(str(a).startswith(f"{line} (file: metadata at /node/metadata/nmap/{key})") for a in network.assumptions)


def test_further_conventions_that_are_stated_as_the_default(tmp_path: Path) -> None:
    network = read(_net(tmp_path, if_(2), metadata={"nmap": {"multiple": 0}}), source="sinabs-multispike")
    assert _further(network) == {}
    assert _settled(network)["several spikes a step"] == ("no", "file")


def test_infinite_time_constants_do_not_hide_the_time_step(tmp_path: Path) -> None:
    """snnTorch writes an infinite tau for beta = 1; the other neurons of the layer tell dt."""
    node = lif(2) | {"tau": np.array([5e-3, np.inf]), "r": np.array([5e-3 / 2e-4, np.inf])}
    network = read(_net(tmp_path, node))
    assert network.conventions.dt == 2e-4
    neuron = network["a"].neuron
    assert isinstance(neuron, Neuron)
    np.testing.assert_allclose(neuron.beta, [1 - 2e-4 / 5e-3, 1.0])
    without = lif(2) | {"tau": np.full(2, np.inf), "r": np.full(2, np.inf)}
    assert read(_net(tmp_path, without, lif(2, tau=1e-2, r=50.0))).conventions.dt == 2e-4


def test_gains_that_rockpool_writes_otherwise_than_it_computes(tmp_path: Path) -> None:
    """LIFNeuronTorch: v = a v + x; LIFTorch: i = b (i + x), v = a v + i; both write r = (tau/dt) a and w_in = 1."""
    a, b = np.exp(-1e-3 / 2e-2), np.exp(-1e-3 / 5e-3)
    plain = _neuron(read(_net(tmp_path, lif(2, tau=2e-2, r=20 * a)), source="rockpool"))
    np.testing.assert_allclose(plain.gain_v, 1, rtol=1e-15)
    node = _cuba(2, 1e-3, 2e-2, 5e-3) | {"r": np.full(2, 20 * a), "w_in": np.ones(2)}
    network = read(_net(tmp_path, node), source="rockpool")
    current = _neuron(network)
    np.testing.assert_allclose((current.alpha[0], current.beta[0], current.gain_in[0], current.gain_v[0]), (b, a, b, 1), rtol=1e-12)
    assert sum("not as it writes them" in note for note in network.notes) == 1
    # Gains that do not encode the step are taken at their word.
    told = _neuron(read(_net(tmp_path, lif(2, tau=2e-2, r=20.0)), source="rockpool", dt=1e-3))
    np.testing.assert_allclose(told.gain_v, 1, rtol=1e-12)
    half = _neuron(read(_net(tmp_path, lif(2, tau=2e-2, r=10.0)), source="rockpool", dt=1e-3))
    np.testing.assert_allclose(half.gain_v, 0.5, rtol=1e-12)


def test_the_current_that_norse_writes_with_a_gain_of_one(tmp_path: Path) -> None:
    """LIFCell: i takes its input whole, v += dt/tau_mem (i - v); it writes w_in = 1, of which NIR's equations make dt/tau_syn."""
    node = _cuba(2, 1e-3, 1e-2, 5e-3) | {"r": np.ones(2), "w_in": np.ones(2)}
    network = read(_net(tmp_path, node), source="norse")
    neuron = _neuron(network)
    np.testing.assert_allclose((neuron.alpha[0], neuron.beta[0], neuron.gain_in[0], neuron.gain_v[0]), (0.8, 0.9, 1, 0.1), rtol=1e-12)
    assert any("not as it writes them" in note for note in network.notes)
    literal = _neuron(read(_net(tmp_path, node), dt=1e-3))
    np.testing.assert_allclose(literal.gain_in, 0.2, rtol=1e-12)


def test_what_a_file_states_keeps_an_inferred_exporter_out(tmp_path: Path) -> None:
    """IF neurons with r = 1 are how Sinabs writes them; a file that states its reset was made by somebody who knew."""
    assert read(_net(tmp_path, if_(2))).conventions == Conventions(None, "subtract", "exact", ">=", floor=-1.0)
    stated = read(_net(tmp_path, if_(2), metadata={"reset_mechanism": "zero"})).conventions
    assert stated == Conventions(None, "zero", "euler", ">")


@pytest.mark.parametrize("steps", [512, 1024, 30, 60, 800])
def test_an_odd_time_step_is_kept_exactly(tmp_path: Path, steps: int) -> None:
    """SpikingJelly's r = 1/dt and r = tau/dt: each input counts whole, to the last bit, for a threshold may be met exactly."""
    fires = read(_net(tmp_path, if_(2, r=float(np.float32(steps)))), source="spikingjelly")
    np.testing.assert_array_equal(_neuron(fires).gain_v, 1)
    leaks = read(_net(tmp_path, lif(2, tau=float(np.float32(2 / steps)), r=2.0)), source="spikingjelly")
    np.testing.assert_array_equal(_neuron(leaks).gain_v, 1)
    np.testing.assert_allclose(_neuron(leaks).beta, 0.5, rtol=1e-6)
    assert leaks.conventions.dt == pytest.approx(1 / steps, rel=1e-7)


def test_time_constants_of_one_layer_that_tell_one_step(tmp_path: Path) -> None:
    taus = np.array([2.0, 4, 8, 16]) / 512
    node = {"type": "LIF", "tau": taus, "r": taus * 512, "v_leak": np.zeros(4), "v_threshold": np.ones(4)}
    path = write_nir(tmp_path / "net.nir", {"in": port(4), "n": node, "out": sink(4)}, chain("in", "n", "out"))
    assert _settled(read(path))["dt"] == ("0.00195312 s", "inferred")
    assert read(path).conventions.dt == 1 / 512


def test_one_odd_time_constant_leaves_a_doubt_that_is_told(tmp_path: Path) -> None:
    network = read(_net(tmp_path, lif(2, tau=2e-2, r=16.0)))
    assert network.conventions.dt == pytest.approx(1.25e-3)
    assert "Rockpool would mean" in next(a.evidence for a in network.assumptions if a.name == "dt")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (if_(2, r=1e4), if_(2, r=1e3)),
        (if_(2, r=1e4), if_(2, r=1.0)),
        (if_(2, r=1e4), lif(2, tau=1e-2, r=10.0)),
        ({"type": "LIF", "tau": np.full(2, 1e-2), "r": np.array([100.0, 10]), "v_leak": np.zeros(2), "v_threshold": np.ones(2)}, None),
    ],
)
def test_every_contradiction_about_dt_comes_out(tmp_path: Path, first: dict[str, Any], second: dict[str, Any] | None) -> None:
    path = _net(tmp_path, first, second)
    with refused("NM111") as found:
        read(path)
    assert "tells" in found[0].message
    assert read(path, dt=1e-4).conventions.dt == 1e-4


@pytest.mark.parametrize("r", [2.0, 7.3])
def test_a_resistance_is_no_time_step(tmp_path: Path, r: float) -> None:
    network = read(_net(tmp_path, if_(2, r=r)))
    assert network.conventions == Conventions(1e-4)
    assert _settled(network)["dt"] == ("0.0001 s", "default")
    assert "tell no common time step" in next(a.evidence for a in network.assumptions if a.name == "dt")


def test_a_step_given_against_an_inferred_one_drops_the_inferred_exporter(tmp_path: Path) -> None:
    network = read(_net(tmp_path, if_(2, r=1e3)), dt=1e-4)
    assert network.conventions.compare == ">"
    assert [d.code for d in network.diagnostics] == ["NM111"]
    assert "tell 0.001 s" in network.diagnostics[0].message


def test_a_step_given_where_the_file_counts_steps_names_their_length(tmp_path: Path) -> None:
    """Sinabs' time constants and gains count steps: --dt changes neither decay nor gain."""
    for path in (_net(tmp_path, if_(2)), _net(tmp_path, lif(2, tau=20.0, r=1.0))):
        plain, named = read(path), read(path, dt=1e-3)
        assert (plain.conventions.dt, named.conventions.dt, named.conventions.in_steps) == (None, 1e-3, True)
        for entry in ("alpha", "beta", "gain_in", "gain_v"):
            np.testing.assert_array_equal(getattr(_neuron(plain), entry), getattr(_neuron(named), entry))
        assert _settled(named)["unit"][0] == "steps"
        assert not named.diagnostics


def test_a_time_constant_slightly_below_the_step_is_no_decay(tmp_path: Path) -> None:
    with refused("NM111") as found:
        read(_net(tmp_path, lif(2, tau=0.9e-3, r=1.0)), dt=1e-3)
    assert "shorter than the time step" in found[0].message


def test_parameters_of_different_shapes_are_broadcast_before_they_are_compared(tmp_path: Path) -> None:
    tau = np.array([2e-3, 4e-3]).reshape(2, 1, 1)
    r, threshold = np.broadcast_to(tau / 1e-4, (2, 4, 4)), np.ones((2, 4, 1))
    node = {"type": "LIF", "tau": tau, "r": r, "v_leak": np.zeros(1), "v_threshold": threshold}
    path = write_nir(tmp_path / "net.nir", {"in": port(2, 4, 4), "n": node, "out": sink(2, 4, 4)}, chain("in", "n", "out"))
    assert read(path).conventions.dt == 1e-4
    assert _neuron(read(path)).beta.tolist() == [1 - 1e-4 / 2e-3] * 16 + [1 - 1e-4 / 4e-3] * 16


def test_an_unknown_convention_in_the_metadata_is_told_with_the_nearest(tmp_path: Path) -> None:
    network = read(_net(tmp_path, lif(2), metadata={"nmap": {"dt": 1e-4, "compares": ">="}}))
    assert [d.code for d in network.diagnostics] == ["NM112"]
    assert "`compares`" in network.diagnostics[0].message
    assert network.diagnostics[0].help == ("nearest name: `compare`",)
    assert str(network.diagnostics[0].where).endswith("/metadata/nmap/compares")


def test_if_neurons_of_norse_beside_leaky_ones_take_their_input_whole(tmp_path: Path) -> None:
    network = read(_net(tmp_path, if_(2), lif(2, tau=1e-2, r=1.0)), source="norse")
    np.testing.assert_allclose(_neuron(network).gain_v, 1, rtol=1e-12)
    literal = read(_net(tmp_path, if_(2), lif(2, tau=1e-2, r=1.0)), dt=1e-3)
    np.testing.assert_allclose(_neuron(literal).gain_v, 1e-3, rtol=1e-12)
    assert any("r = 1 adds its input times dt" in note for note in literal.notes)


def test_the_integrator_of_sinabs_takes_its_input_whole(tmp_path: Path) -> None:
    """ExpLeak: v = a v + x with a = exp(-1/tau), written as an LI with r = 1."""
    node = {"type": "LI", "tau": np.full(2, 20.0), "r": np.ones(2), "v_leak": np.zeros(2)}
    neuron = _neuron(read(_net(tmp_path, node), source="sinabs-multispike"))
    np.testing.assert_allclose(neuron.gain_v, 1, rtol=1e-12)
    np.testing.assert_allclose(neuron.beta, np.exp(-1 / 20), rtol=1e-12)


def test_where_a_framework_starts_is_told(tmp_path: Path) -> None:
    node = lif(2, tau=2e-4, r=2.0) | {"v_leak": np.full(2, -0.5), "v_reset": np.full(2, -0.5)}
    notes = read(_net(tmp_path, node), source="spikingjelly").notes
    assert any("SpikingJelly starts at v_reset" in note for note in notes)


@pytest.mark.parametrize(
    "options",
    [{"dt": 10**400}, {"dt": True}, {"dt": float("nan")}, {"dt": -1.0}, {"dt": "1"}, {"source": []}, {"source": "brian"}, {"reset": 3}],
)
def test_options_without_meaning(tmp_path: Path, options: dict[str, Any]) -> None:
    with refused("NM004"):
        read(_net(tmp_path, lif(2)), **options)


def test_a_step_of_any_kind_of_number(tmp_path: Path) -> None:
    network = read(_net(tmp_path, lif(2, tau=1.0, r=2.0)), dt=np.float32(0.25))
    assert type(network.conventions.dt) is float
    assert network.conventions.dt == 0.25
