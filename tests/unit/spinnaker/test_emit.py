"""The emitted folder: a readable script, raw numbers, the core map, the same bytes every time."""

from __future__ import annotations

import ast
import importlib.util
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense
from nmap.program import slice_indices
from nmap_spinnaker.emit import emit
from tests.oracles.spinnaker_reference import divide, exponential_fraction
from tests.spinnaker_programs import ONE, convolved, layered, ringed


def _script(folder: Path, files: dict[str, bytes]) -> ModuleType:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    spec = importlib.util.spec_from_file_location(f"script_{folder.name}", folder / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Simulator:
    """Takes down what a script builds, as PyNN would."""

    class IF_curr_exp(dict): ...  # noqa: N801 - PyNN's names

    class IF_curr_delta(dict): ...  # noqa: N801

    class SpikeSourceArray(dict): ...

    class StaticSynapse: ...

    def __init__(self) -> None:
        self.populations: dict[str, tuple[int, Any, dict[str, Any]]] = {}
        self.projections: list[tuple[str, str, np.ndarray, str]] = []

    def Population(self, size: int, cell: Any, label: str, initial_values: dict[str, Any], **_: Any) -> str:  # noqa: N802
        self.populations[label] = (size, cell, initial_values)
        return label

    def FromListConnector(self, listed: np.ndarray, column_names: list[str]) -> np.ndarray:  # noqa: N802
        assert column_names == ["weight", "delay"]
        return listed

    def Projection(self, pre: str, post: str, listed: np.ndarray, receptor_type: str, synapse_type: Any) -> None:  # noqa: N802
        assert isinstance(synapse_type, self.StaticSynapse)
        self.projections.append((pre, post, listed, receptor_type))


def _built(folder: Path, network: Any, program: Any) -> _Simulator:
    files = emit(network, program)
    script = _script(folder, files)
    # As on SpiNNaker, but without sPyNNaker's splitter, which is not installed here.
    script.placed = lambda sources, places: (sources, places)
    script.if_trunc = lambda spinnaker: type("IF_trunc", (dict,), {})
    simulator = _Simulator()
    with np.load(io.BytesIO(files["network.npz"])) as arrays:
        script.build(script.Net(simulator, {name: arrays[name] for name in arrays.files}, True))
    return simulator


@pytest.mark.parametrize("make", [layered, convolved])
def test_the_same_program_gives_the_same_bytes(make: Any) -> None:
    first, second = emit(*make()), emit(*make())
    assert set(first) == {"run.py", "network.npz", "spynnaker.cfg", "core_map.json", "README.txt"}
    assert first == second
    assert first["run.py"] != emit(*make(9))["run.py"] or first["network.npz"] != emit(*make(9))["network.npz"]


def test_the_script_is_plain_python_with_nothing_of_this_machine() -> None:
    text = emit(*layered())["run.py"].decode()
    ast.parse(text)
    assert "/tmp" not in text
    assert str(Path.home()) not in text
    assert max(map(len, text.splitlines())) < 200
    assert "'hidden'" in text
    assert "import pickle" not in text


@pytest.mark.parametrize(("make", "split"), [(layered, False), (convolved, False)])
def test_the_script_builds_exactly_the_network(tmp_path: Path, make: Any, split: bool) -> None:
    network, program = make()
    simulator = _built(tmp_path, network, program)
    core_map = json.loads((tmp_path / "core_map.json").read_text())
    position: dict[tuple[str, int], tuple[str, int]] = {}
    for population in core_map["populations"]:
        for part in population["parts"]:
            index = 0
            for piece in part["slices"]:
                for entry in piece["neurons"]:
                    for neuron in range(entry[0], entry[1] + 1) if isinstance(entry, list) else [entry]:
                        if neuron >= 0:
                            position[population["name"], neuron] = part["label"], index
                        index += 1
            assert simulator.populations[part["label"]][0] == index
    # Parameters: neuron by neuron, through the slots.
    for population in network.populations:
        if population.kernel in (None, "spinnaker1.source"):
            continue
        for neuron in range(population.size):
            label, index = position[population.name, neuron]
            _, cell, initial = simulator.populations[label]
            for key, values in population.params.items():
                if key not in ("timestep", "shift_0", "shift_1"):
                    assert cell[key][index] * ONE == values[neuron]
            assert initial["v"][index] * ONE == population.initial.get("v", np.zeros(population.size))[neuron]
    # Synapses: one by one, as sPyNNaker's host rounds them.
    scale = {(c["target"], c["receptor"]): 2.0 ** (15 - c["shift"]) for c in core_map["projections"]}
    owner = {part["label"]: p["name"] for p in core_map["populations"] for part in p["parts"]}
    held = sorted(
        (pre, int(row[0]), post, int(row[1]), receptor, round(row[2] * scale[owner[post], receptor]), round(row[3]))
        for pre, post, listed, receptor in simulator.projections for row in listed.tolist()
    )
    due = []
    for projection in network.projections:
        if projection.target.endswith(".source"):
            continue
        whole = projection.connectivity
        matrix = whole.unrolled() if isinstance(whole, Conv2d) else whole
        receptor = ("excitatory", "inhibitory")[projection.receptor]
        if isinstance(matrix, Dense):
            rows = [(t, s, int(w), (t, s)) for (t, s), w in np.ndenumerate(matrix.weights) if w]
        else:
            listed = zip(matrix.targets.tolist(), matrix.indices.tolist(), matrix.weights.tolist(), strict=True)
            rows = [(t, s, w, (k,)) for k, (t, s, w) in enumerate(listed)]
        for target, source, weight, at in rows:
            delay = 1 + projection.delay + (0 if projection.delays is None else int(projection.delays[at]))
            due.append((*position[projection.source, source], *position[projection.target, target], receptor, weight, delay))
    assert held == sorted(due)


def test_lists_are_in_the_order_in_which_spynnaker_loses_no_synapses(tmp_path: Path) -> None:
    for pre, post, listed, _ in _built(tmp_path, *convolved()).projections:
        assert pre != post
        pairs = listed[:, :2]
        assert np.array_equal(pairs, pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))])


def test_silent_neurons_fill_up_slices_and_never_reach_their_threshold(tmp_path: Path) -> None:
    network, program = convolved()
    simulator = _built(tmp_path, network, program)
    core_map = json.loads((tmp_path / "core_map.json").read_text())
    features = next(p for p in core_map["populations"] if p["name"] == "features")["parts"][0]
    assert features["padding"] == 9
    size, cell, initial = simulator.populations["features"]
    assert size == 27 + 27 + 27 + 18
    filled = np.flatnonzero(cell["v_thresh"] > 65535)
    assert filled.tolist() == list(range(27 + 27 + 18, 27 + 27 + 27))
    assert not cell["i_offset"][filled].any()
    assert not cell["v_rest"][filled].any()
    assert not initial["v"][filled].any()
    assert not any(np.isin(listed[:, 1], filled).any() for _, post, listed, _ in simulator.projections if post == "features")


def test_the_core_map_says_where_each_slice_lies() -> None:
    core_map = json.loads(emit(*layered())["core_map.json"])
    assert core_map["settings"] == {"time_scale": 3, "timestep_us": 1000}
    assert core_map["machine"] == {"version": 5, "width": 8, "height": 8, "boards": 1}
    hidden = next(p for p in core_map["populations"] if p["name"] == "hidden")
    assert [(s["x"], s["y"], s["p"], s["chip"], s["core"], s["neurons"]) for s in hidden["parts"][0]["slices"]] == [
        (1, 2, 2, 12, 0, [0, [3, 5], 12]), (0, 0, 3, 0, 1, [1, 2, [8, 10]]), (2, 5, 16, 33, 14, [6, 7, 11]),
    ]
    assert hidden["max_expected_summed_weight"] == [3.0, 1.5]
    assert [c["delays"] for c in core_map["projections"]] == [[1, 7], [3, 3], [2, 2], [2, 2], [4, 4]]


def _started(made: Any, **initial: np.ndarray) -> tuple[Any, Any]:
    """Return the network and its program with other initial states of `hidden`."""
    network, program = made
    hidden = replace(network["hidden"], initial=initial)
    groups = tuple(
        replace(group, initial={key: values[slice_indices(group.slice, hidden.shape)] for key, values in initial.items()})
        if program.populations[group.population].name == "hidden" else group for group in program.groups
    )
    return (
        replace(network, populations=tuple(hidden if p.name == "hidden" else p for p in network.populations)),
        replace(program, groups=groups),
    )


@pytest.mark.parametrize("kind", ["if_curr_exp", "if_curr_delta", "if_trunc"])
def test_initial_states_are_the_cores(tmp_path: Path, kind: str) -> None:
    """Refractory timers are whole numbers; a current of the kernel, from before the decay of a step, is decayed by it."""
    rng = np.random.default_rng(5)
    initial = {"v": rng.integers(-9, 9, 13), "refract": rng.integers(0, 5, 13)}
    if kind == "if_curr_exp":
        initial |= {"syn_0": rng.integers(-(2**30), 2**30, 13), "syn_1": np.zeros(13, np.int64)}
    network, program = _started(layered(7, kind, 500), **initial)
    simulator = _built(tmp_path, network, program)
    core_map = json.loads((tmp_path / "core_map.json").read_text())
    [part] = next(p for p in core_map["populations"] if p["name"] == "hidden")["parts"]
    place = {neuron: k for k, neuron in enumerate([0, 3, 4, 5, 12, 1, 2, 8, 9, 10, 6, 7, 11])}
    assert part["padding"] == 0
    _, _, start = simulator.populations["hidden"]
    assert set(start) == {"v", "refract_timer"} | ({"isyn_exc"} if kind == "if_curr_exp" else set())
    assert start["refract_timer"].dtype.kind == "i"
    for neuron, k in place.items():
        assert start["refract_timer"][k] == initial["refract"][neuron]
        assert start["v"][k] * ONE == initial["v"][neuron]
        if kind == "if_curr_exp":
            tau = int(network["hidden"].params["tau_syn_E"][neuron])
            keep = exponential_fraction(-divide(ONE // 2, tau))
            assert start["isyn_exc"][k] * ONE == int(initial["syn_0"][neuron]) * keep // 2**32


def test_neurons_that_fill_up_slices_start_at_rest(tmp_path: Path) -> None:
    network, program = convolved()
    waiting = replace(network["features"], initial={"refract": np.full(90, 3), "syn_1": np.full(90, 2**20)})
    network = replace(network, populations=tuple(waiting if p.name == "features" else p for p in network.populations))
    _, cell, start = _built(tmp_path, network, program).populations["features"]
    filled = cell["v_thresh"] > 65535
    assert filled.sum() == 9
    for name in ("refract_timer", "isyn_inh"):
        assert not start[name][filled].any()
        assert start[name][~filled].all()


def test_other_simulators_get_the_currents_that_they_have(tmp_path: Path) -> None:
    """They know no refractory timer, and inhibitory currents are negative there."""
    script = _script(tmp_path, emit(*layered()))
    raw = {"v": np.array([ONE]), "refract_timer": np.array([3]), "isyn_exc": np.array([ONE // 2]), "isyn_inh": np.array([ONE])}
    assert {k: v.tolist() for k, v in script.Net(None, {}, False).start(raw).items()} == {"v": [1.0], "isyn_exc": [0.5], "isyn_inh": [-1.0]}
    assert script.Net(None, {}, True).start(raw)["isyn_inh"].tolist() == [1.0]


def test_delays_beyond_the_ring_buffers_are_refused() -> None:
    """64 neurons on a core leave 14 - 6 - 1 bits of delay: 128 ticks."""
    network, program = ringed(128)
    assert emit(network, program)
    with pytest.raises(ValueError, match=r"has a delay of 129 ticks; the ring buffers of `hidden` hold 128, with 64 neurons on a core"):
        emit(*ringed(129))


def test_a_population_has_one_time_step_and_only_states_that_pynn_has() -> None:
    network, program = layered()
    with pytest.raises(ValueError, match=r"time step of 1\.0 ms, the chip's is 0\.5 ms"):
        emit(network, replace(program, settings={"timestep_us": 500}))
    with pytest.raises(ValueError, match="`saturated` is no initial value"):
        emit(*_started((network, program), saturated=np.ones(13, np.int64)))


def test_input_spikes_lost_in_a_full_buffer_are_avoided() -> None:
    network, program = layered()
    assert "incoming_spike_buffer_size" not in emit(network, program)["run.py"].decode()
    busy = replace(network["in.source"], busy=700.0)
    network = replace(network, populations=tuple(busy if p.name == "in.source" else p for p in network.populations))
    assert "'hidden', 'IF_curr_delta', max_expected_summed_weight=[3.0, 1.5], incoming_spike_buffer_size=1024" in emit(
        network, program
    )["run.py"].decode()


class _Machine:
    """An 8 x 8 torus of chips with some links missing."""

    def __init__(self, missing: set[tuple[int, int, int]]) -> None:
        self.missing = missing

    def is_link_at(self, x: int, y: int, link: int) -> bool:
        return (x, y, link) not in self.missing

    def is_chip_at(self, x: int, y: int) -> bool:
        return 0 <= x < 8 and 0 <= y < 8

    def xy_over_link(self, x: int, y: int, link: int) -> tuple[int, int]:
        dx, dy = ((1, 0), (1, 1), (0, 1), (-1, 0), (-1, -1), (0, -1))[link]
        return (x + dx) % 8, (y + dy) % 8


@pytest.mark.parametrize("seed", range(6))
def test_routes_are_trees_to_all_targets(tmp_path: Path, seed: int) -> None:
    script = _script(tmp_path, emit(*layered()))
    rng = np.random.default_rng(seed)
    machine = _Machine({(int(x), int(y), int(k)) for x, y, k in rng.integers(0, [8, 8, 6], (40, 3))})
    start, *targets = [tuple(place) for place in rng.integers(0, 8, (1 + 2 * seed, 2)).tolist()]
    links, came = script.tree(machine, start, targets)
    reached, waiting = {start}, [start]
    while waiting:
        chip = waiting.pop()
        for link in links[chip]:
            assert machine.is_link_at(*chip, link)
            to = machine.xy_over_link(*chip, link)
            assert to not in reached
            assert came[to] == (link + 3) % 6
            reached.add(to)
            waiting.append(to)
    assert reached == set(links)
    assert set(targets) <= reached
    # Chips without a way on are targets: nothing is sent in vain.
    assert {chip for chip, onward in links.items() if not onward} <= {start, *targets}


@pytest.mark.parametrize("start", [(0, 0), (1, 1)])
def test_trees_on_a_board_of_four_chips(tmp_path: Path, start: tuple[int, int]) -> None:
    """On 2 x 2 chips two links join the same neighbours."""

    class Small(_Machine):
        def is_chip_at(self, x: int, y: int) -> bool:
            return 0 <= x < 2 and 0 <= y < 2

        def xy_over_link(self, x: int, y: int, link: int) -> tuple[int, int]:
            to = super().xy_over_link(x, y, link)
            return to[0] % 2, to[1] % 2

    script = _script(tmp_path, emit(*layered()))
    chips = [(x, y) for x in (0, 1) for y in (0, 1)]
    links, came = script.tree(Small(set()), start, chips)
    assert set(links) == set(chips)
    assert sum(len(onward) for onward in links.values()) == len(came) == 3


@pytest.mark.parametrize(("there", "said"), [((), "No module named"), (("route_application_graph",), "get_app_partitions"), ((), "spinn")])
def test_without_the_router_to_be_replaced_the_vendors_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], said: str,
) -> None:
    """sPyNNaker's modules are stood for by empty ones; a first case has none at all."""
    script = _script(tmp_path, emit(*layered()))
    base = ModuleType("abstract_spinnaker_base")
    for name in there:
        setattr(base, name, "vendor")
    if said != "No module named":
        _stand_in(monkeypatch, base)
    else:
        monkeypatch.setitem(sys.modules, "pacman", None)
    script.install_router()
    told = capsys.readouterr().err
    assert "its own router is used" in told
    assert all(getattr(base, name) == "vendor" for name in there)
    if there:
        assert said in told


def test_the_router_is_replaced_where_all_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = _script(tmp_path, emit(*layered()))
    base = ModuleType("abstract_spinnaker_base")
    base.route_application_graph = "vendor"
    utilities = _stand_in(monkeypatch, base)
    utilities.get_app_partitions, utilities.vertex_xy_and_route = list, None
    script.install_router()
    assert capsys.readouterr().err == ""
    # Without any population there are no routes.
    assert base.route_application_graph() == "tables"


def _stand_in(monkeypatch: pytest.MonkeyPatch, base: ModuleType) -> ModuleType:
    """Put modules in the place of sPyNNaker's; return that of the routing utilities."""
    utilities = ModuleType("routing_algorithm_utilities")
    given: dict[str, dict[str, Any]] = {
        "pacman": {}, "pacman.data": {"PacmanDataView": type("View", (), {"get_machine": staticmethod(lambda: None)})},
        "pacman.model": {}, "pacman.model.graphs": {}, "pacman.model.graphs.application": {"ApplicationVertex": object},
        "pacman.model.routing_table_by_partition": {"MulticastRoutingTableByPartition": lambda: "tables"}, "pacman.utilities": {},
        "pacman.utilities.algorithm_utilities": {"routing_algorithm_utilities": utilities}, "spinn_front_end_common": {},
        "spinn_front_end_common.interface": {"abstract_spinnaker_base": base}, "spinn_machine": {"RoutingEntry": object},
    }
    for name, members in given.items():
        module = ModuleType(name)
        for key, value in members.items():
            setattr(module, key, value)
        monkeypatch.setitem(sys.modules, name, module)
    return utilities


def test_the_readme_says_how_to_keep_the_vendors_router() -> None:
    files = emit(*layered())
    assert "--router vendor" in files["README.txt"].decode()
    assert "`--router vendor` keeps that one" in files["run.py"].decode()


@pytest.mark.parametrize(("virtual", "asked", "ran"), [(True, None, 1), (True, 3, 3), (False, None, 3), (False, 3, 3)])
def test_without_a_machine_the_first_sample_runs_unless_more_are_asked_for(
    tmp_path: Path, virtual: bool, asked: int | None, ran: int,
) -> None:
    script = _script(tmp_path, emit(*layered()))
    done: list[str] = []
    sim = SimpleNamespace(reset=lambda: done.append("reset"), run=lambda ms: done.append("run"))
    net = SimpleNamespace(
        sim=sim, populations={sources: [] for _, _, sources in script.INPUTS}, segments={}, send=lambda *_: done.append("send"),
    )
    size = sum(neurons for _, neurons, _ in script.INPUTS)
    assert script.run(net, np.zeros((3, 4, size), np.int32), asked, 6, [], [], virtual) == {}
    assert (done.count("run"), done.count("reset")) == (ran, ran - 1)


def test_dead_parts_are_the_machines_to_report() -> None:
    """The program does not know them: the texts say so, and where to name those that a machine does not report."""
    files = emit(*layered())
    readme = files["README.txt"].decode()
    assert all(word in readme for word in ("--dead-cores", "--dead-links", "down_chips = ", "down_cores = ", "down_links = "))
    assert "down_cores" in files["spynnaker.cfg"].decode()


def test_a_missing_pynn_is_no_matter_for_help(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    script = _script(tmp_path, emit(*layered()))
    monkeypatch.setattr(sys, "argv", ["run.py", "--help"])
    with pytest.raises(SystemExit) as stopped:
        script.main()
    assert stopped.value.code == 0
    assert "--virtual" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"inputs": np.zeros((1, 4, 9), np.int32)}, "of 10 neurons"), ({"inputs": np.full((1, 4, 10), 2)}, "takes spikes, 0 or 1"),
        ({"other": np.zeros(3)}, "has no array `inputs`"), ({"inputs": np.zeros((1, 4, 10))}, "float64"),
    ],
)
def test_bad_samples_are_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arrays: dict[str, Any], said: str,
) -> None:
    script = _script(tmp_path, emit(*layered()))
    np.savez(tmp_path / "s.npz", **arrays)
    monkeypatch.setattr(sys, "argv", ["run.py", "--input", str(tmp_path / "s.npz")])
    with pytest.raises(SystemExit) as stopped:
        script.main()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
