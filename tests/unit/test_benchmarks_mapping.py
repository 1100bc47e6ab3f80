from __future__ import annotations

import io
import json
import os
import runpy
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "benchmarks"
TOOLS = ROOT.parent / "shared" / "tools"
sys.path.append(str(SCRIPTS))

import baselines  # noqa: E402
import comparison  # noqa: E402
import instances  # noqa: E402
import mapping  # noqa: E402
import neutral  # noqa: E402
import solving  # noqa: E402

from nmap.partition.neurons import Partition, partition_packets  # noqa: E402
from nmap.place.problem import PlacementSolution, placement_cost  # noqa: E402


def tool(name: str) -> SimpleNamespace:
    path = TOOLS / name
    if not path.exists():
        pytest.skip("the folder with the project's own tools (../shared/tools) is not beside this checkout")
    return SimpleNamespace(**runpy.run_path(str(path)))


def net(
    axons: list[tuple[int, list[int], float]], n: int, caps: tuple[int, int, int] = (2, 8, 8), mesh: tuple[int, int] = (3, 2),
    dead: tuple[int, ...] = (), io: tuple[int, int] = (0, 0),
) -> neutral.NeutralPartition:
    targets = [t for _, t, _ in axons]
    return neutral.NeutralPartition(
        n, np.array([s for s, _, _ in axons], np.int32), np.cumsum([0, *map(len, targets)]),
        np.array([x for t in targets for x in t], np.int32), np.array([r for _, _, r in axons], np.float32), np.array(caps), mesh, io,
        np.array(dead, np.int32), np.zeros(n, np.int32),
    )


def random_net(seed: int, n: int = 60, mesh: tuple[int, int] = (5, 4)) -> neutral.NeutralPartition:
    random = np.random.default_rng(seed)
    axons = []
    for source in [*range(n), *[-1] * 8]:
        targets = np.flatnonzero(random.random(n) < 0.08)
        if targets.size:
            axons.append((source, targets.tolist(), float(random.random())))
    return net(axons, n, (6, 64, 400), mesh, (int(random.integers(1, 20)),), (int(random.integers(mesh[0])), int(random.integers(mesh[1]))))


# ---- instances

# The other networks take the tool seconds each; they use nothing that these do not.
@pytest.mark.parametrize("name", ["mlp_mnist", "shd_rsnn", "lenet_mnist", "lsm_4k", *instances.PLACEMENTS])
def test_instances_equal_those_of_the_projects_own_tool_array_by_array(name: str, tmp_path: Path) -> None:
    generator = tool("generate_mapping_problems.py")
    expected = (generator.NETS.get(name) or generator.PLS[name])()
    neutral.save(tmp_path / "problem.npz", instances.make(name))
    with np.load(tmp_path / "problem.npz") as found:
        assert set(found.files) == set(expected)
        for key, values in expected.items():
            assert found[key].dtype == np.asarray(values).dtype, key
            np.testing.assert_array_equal(found[key], values, err_msg=key)


@pytest.mark.parametrize(("name", "neurons", "axons", "synapses"), [
    # Table of the suite in the project's reference sheet; the dense ones by hand: 784 x 512 + 512 x 10 and 700 x 256 + 256^2 + 256 x 20.
    ("mlp_mnist", 522, 1296, 406_528), ("shd_rsnn", 276, 956, 249_856), ("lenet_mnist", 8094, 8868, 412_960),
    ("lsm_4k", 4106, 4352, 145_927),
])
def test_instances_have_the_published_sizes(name: str, neurons: int, axons: int, synapses: int) -> None:
    problem = instances.make(name)
    assert isinstance(problem, neutral.NeutralPartition)
    assert (problem.n, problem.hsrc.size, problem.hdst.size) == (neurons, axons, synapses)
    assert problem.rate.min() > 0


def test_another_seed_is_another_problem_of_the_same_kind() -> None:
    first, second = instances.make("geo_64"), instances.make("geo_64", 5)
    assert isinstance(first, neutral.NeutralPlacement)
    assert isinstance(second, neutral.NeutralPlacement)
    assert first.K == second.K == 64
    assert not np.array_equal(first.w[:50], second.w[:50])
    with pytest.raises(KeyError):
        instances.make("geo_17")


# ---- the scorer


@pytest.mark.parametrize("seed", range(4))
def test_score_equals_the_projects_own_scorer(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without numba the tool walks in plain Python, and leaves no machine code behind.
    monkeypatch.setitem(sys.modules, "numba", None)
    scorer = tool("score_mapping.py")
    problem = random_net(seed)
    random = np.random.default_rng(seed)
    part = np.arange(problem.n) // 6
    alive = np.setdiff1d(np.arange(20), problem.dead)
    cores = random.permutation(alive)[: part.max() + 1]
    xy = np.stack([cores % 5, cores // 5], 1)
    arrays = {name: np.asarray(getattr(problem, name)) for name in ("n", "hsrc", "hptr", "hdst", "rate", "caps", "mesh", "io_xy", "dead")}
    expected = scorer.score(arrays, part, xy)
    found = neutral.score_partition(problem, part, xy)
    assert (not found.errors) == expected["feasible"]
    assert (found.cores, found.longest) == (expected["cores"], expected["max_hop"])
    for ours, theirs in (("packets", "conn"), ("unicast", "hop_unicast"), ("multicast", "hop_multicast"), ("link", "max_link")):
        assert getattr(found, ours) == pytest.approx(expected[theirs], rel=1e-9), ours


def test_score_by_hand() -> None:
    # Neuron 0 on core (1, 0) spikes 2 a step to clusters at (1, 0), (2, 1), (2, 0); the port at (0, 0) sends 3 to (2, 1) and (0, 0).
    problem = net([(0, [0, 1, 2], 2.0), (-1, [1, 3], 3.0)], 4)
    score = neutral.score_partition(problem, np.array([0, 1, 2, 3]), np.array([[1, 0], [2, 1], [2, 0], [0, 0]]))
    assert score.errors == ()
    assert score.packets == 2 * 2 + 3 * 2
    assert score.unicast == 2 * (2 + 1) + 3 * (3 + 0)
    # Links: (1,0)-(2,0), (2,0)-(2,1) for neuron 0; two to the east and one down for the port.
    assert score.multicast == 2 * 2 + 3 * 3
    assert score.link == 5  # both use the link from (1, 0) to (2, 0)
    assert score.longest == 3


@pytest.mark.parametrize(("part", "xy", "says"), [
    ([0, 0, 0, 1], [[0, 0], [1, 0]], "neurons: 3 of 2"),
    ([0, 0, 1, 1], [[0, 0], [0, 0]], "two clusters on one core"),
    ([0, 0, 1, 1], [[0, 0], [2, 1]], "a dead core is used"),
    ([0, 0, 1, 1], [[0, 0], [3, 0]], "outside of the mesh"),
    ([0, 0, 1, 2], [[0, 0], [1, 0]], "fewer rows"),
    ([0, 0, 1], [[0, 0], [1, 0]], "shape (3,)"),
])
def test_score_says_what_is_wrong(part: list[int], xy: list[list[int]], says: str) -> None:
    problem = net([(0, [1, 2], 1.0)], 4, dead=(5,))
    assert says in "; ".join(neutral.score_partition(problem, np.array(part), np.array(xy)).errors)


# ---- files


def test_problems_and_solutions_survive_a_file(tmp_path: Path) -> None:
    for made in (random_net(1), instances.make("geo_16")):
        neutral.save(tmp_path / "problem.npz", made)
        read = neutral.read_problem(tmp_path / "problem.npz")
        assert type(read) is type(made)
        for name in made.__slots__:
            np.testing.assert_array_equal(getattr(read, name), getattr(made, name), err_msg=name)
    neutral.save(tmp_path / "solution.npz", (np.array([0, 1]), np.array([[0, 0], [1, 2]])))
    part, xy = neutral.read_solution(tmp_path / "solution.npz")
    assert part is not None
    assert part.tolist() == [0, 1]
    assert xy.tolist() == [[0, 0], [1, 2]]


def test_an_interrupted_write_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "s.npz"
    neutral.save(target, (None, np.array([[0, 0]])))
    before = target.read_bytes()

    def interrupt(stream: Any, **arrays: Any) -> None:
        stream.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        neutral.save(target, (None, np.array([[1, 1]])))
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


def test_optional_arrays_have_their_defaults(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", n=2, hsrc=[-1], hptr=[0, 2], hdst=[0, 1], rate=[0.5], caps=[2, 2, 2], mesh=[2, 1])
    read = neutral.read_problem(tmp_path / "p.npz")
    assert isinstance(read, neutral.NeutralPartition)
    assert (read.io_xy, read.dead.size, read.layer.tolist()) == ((0, 0), 0, [0, 0])


GOOD: dict[str, Any] = {
    "n": np.int64(3), "hsrc": np.array([0, -1]), "hptr": np.array([0, 2, 3]), "hdst": np.array([1, 2, 0]),
    "rate": np.array([0.5, 1.0]), "caps": np.array([2, 4, 4]), "mesh": np.array([2, 2]), "io_xy": np.array([0, 0]),
    "dead": np.zeros(0, np.int32), "layer": np.zeros(3, int),
}


@pytest.mark.parametrize(("change", "says"), [
    ({"hsrc": None}, "`hsrc` is missing"),
    ({"n": None}, "neither array `n`"),
    ({"n": np.array([3])}, "`n` has shape"),
    ({"n": np.int64(-1)}, "`n` holds -1"),
    ({"n": np.int64(2**40)}, "`n` holds 1099511627776"),
    ({"hptr": np.array([0, 2])}, "`hptr` has shape (2,)"),
    ({"hptr": np.array([0, 2, 4])}, "`hptr` must rise"),
    ({"hptr": np.array([0, 4, 3])}, "`hptr` must rise"),
    ({"hdst": np.array([2, 1, 0])}, "ascending and distinct"),
    ({"hdst": np.array([1, 1, 0])}, "ascending and distinct"),
    ({"hdst": np.array([1, 3, 0])}, "`hdst` holds 3"),
    ({"hsrc": np.array([3, -1])}, "`hsrc` holds 3"),
    ({"hsrc": np.array([0.0, 1.0])}, "no whole numbers"),
    ({"rate": np.array([0.5, np.nan])}, "not finite"),
    ({"rate": np.array([0.5, -1.0])}, "negative"),
    ({"rate": np.array([0.5, 1e308])}, "`rate` holds 1e+308"),
    ({"caps": np.array([2, 4])}, "`caps` has shape"),
    ({"mesh": np.array([0, 2])}, "`mesh` holds 0"),
    ({"mesh": np.array([10**6, 10**6])}, "beyond the limit"),
    ({"dead": np.array([4])}, "`dead` holds 4"),
    ({"io_xy": np.array([0, 2])}, "`io_xy` holds 2"),
    ({"layer": np.zeros(2, int)}, "`layer` has shape"),
    ({"hsrc": np.array([None, 1])}, "damaged|no whole numbers"),
    ({"hdst": np.array([1, 2, 2**63], np.uint64)}, "beyond 2"),
])
def test_bad_problems_are_refused_in_one_sentence(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    arrays = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    np.savez_compressed(tmp_path / "p.npz", **arrays)
    with pytest.raises(neutral.BadFileError) as caught:
        neutral.read_problem(tmp_path / "p.npz")
    assert any(part in str(caught.value) for part in says.split("|"))
    assert "\n" not in str(caught.value)


def test_a_header_that_promises_more_than_the_file_holds_asks_for_no_memory(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(tmp_path / "p.npz", "w") as archive:
        for name, value in GOOD.items():
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.asarray(value))
            archive.writestr(f"{name}.npy", header.getvalue() + b"\0" * 64 if name == "hsrc" else stream.getvalue())
    with pytest.raises(neutral.BadFileError, match="holds fewer"):
        neutral.read_problem(tmp_path / "p.npz")


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    for path in (tmp_path / "text.npz", tmp_path / "absent.npz", tmp_path):
        with pytest.raises(neutral.BadFileError, match="cannot be read"):
            neutral.read_problem(path)


# ---- baselines


def test_next_fit_starts_a_new_core_at_the_first_limit() -> None:
    # Neurons limit: 2 a core.
    assert baselines.next_fit(net([(-1, [0, 1, 2, 3, 4], 1.0)], 5), np.arange(5)).tolist() == [0, 0, 1, 1, 2]
    # Axons limit: neurons 0 and 1 share one axon, 2 brings a second and third.
    axons = [(-1, [0, 1], 1.0), (-1, [2], 1.0), (-1, [2], 1.0)]
    assert baselines.next_fit(net(axons, 3, (9, 2, 9)), np.arange(3)).tolist() == [0, 0, 1]
    assert baselines.next_fit(net(axons, 3, (9, 3, 9)), np.arange(3)).tolist() == [0, 0, 0]
    # Synapses limit, in another order.
    assert baselines.next_fit(net(axons, 3, (9, 9, 3)), np.array([2, 1, 0])).tolist() == [1, 0, 0]
    with pytest.raises(baselines.MissingError, match="neuron 2 with 2 inputs"):
        baselines.next_fit(net(axons, 3, (9, 1, 9)), np.arange(3))


def test_receptive_order_puts_all_channels_of_a_pixel_together() -> None:
    # Two channels of a one-dimensional convolution, numbered channel by channel: pixel k sees inputs k and k + 1.
    problem = net([(-1, [0, 3], 1.0), (-1, [0, 1, 3, 4], 1.0), (-1, [1, 2, 4, 5], 1.0), (-1, [2, 5], 1.0)], 6)
    assert baselines.receptive_order(problem).tolist() == [0, 3, 1, 4, 2, 5]


def test_cells_skip_dead_cores_and_run_along_rows_or_the_curve() -> None:
    problem = net([(-1, [0], 1.0)], 1, mesh=(3, 2), dead=(1,))
    assert baselines.row_major(problem, 3).tolist() == [[0, 0], [2, 0], [0, 1]]
    cells = baselines.hilbert(problem, 5)
    assert sorted(map(tuple, cells.tolist())) == [(0, 0), (0, 1), (1, 1), (2, 0), (2, 1)]
    # Three alive cores lie in the 2 x 2 square.
    assert baselines.hilbert(problem, 3).max() == 1
    with pytest.raises(baselines.MissingError):
        baselines.row_major(problem, 6)


def test_force_leaves_no_pair_of_neighbours_that_would_rather_change_places() -> None:
    problem = instances.make("geo_36")
    assert isinstance(problem, neutral.NeutralPlacement)
    traffic = baselines.wires(problem.K, problem.src, problem.dst, problem.w, (0, 0))
    first = baselines.hilbert(problem, problem.K)
    powers = {
        baselines.LINEAR: lambda d: d.sum(1), baselines.QUADRATIC: lambda d: (d**2).sum(1), baselines.SQUARED: lambda d: d.sum(1) ** 2,
    }
    for kind, price in powers.items():
        xy = baselines.force_directed(problem.mesh, problem.dead, traffic, first, kind)

        def cost(at: np.ndarray, price: Any = price) -> float:
            return float(problem.w @ price(np.abs(at[problem.src] - at[problem.dst])))

        settled = cost(xy)
        assert settled < cost(first)
        for a in range(36):
            for b in range(36):
                if np.abs(xy[a] - xy[b]).sum() == 1:
                    swapped = xy.copy()
                    swapped[[a, b]] = swapped[[b, a]]
                    assert cost(swapped) >= settled - 1e-6


def test_force_brings_a_lone_cluster_to_the_port_around_a_dead_core() -> None:
    problem = net([(-1, [0], 1.0)], 1, mesh=(3, 1))
    part = np.zeros(1, np.int64)
    xy = baselines.force_directed((3, 1), np.zeros(0, int), baselines.traffic_of(problem, part), np.array([[2, 0]]), baselines.LINEAR)
    assert xy.tolist() == [[0, 0]]
    blocked = baselines.force_directed((3, 1), np.array([1]), baselines.traffic_of(problem, part), np.array([[2, 0]]), baselines.LINEAR)
    assert blocked.tolist() == [[2, 0]]


@pytest.mark.parametrize(("name", "curve", "linear"), [
    # The project's measurements of the same method on the same instances, which agree with the authors' logs within 1 %.
    ("fc_1024", 113_466, 99_710), ("cv_1024", 15_523, 8_622), ("geo_1024", 282_635, 142_159),
])
def test_the_placement_baseline_reproduces_published_values(name: str, curve: float, linear: float) -> None:
    problem = instances.make(name)
    assert isinstance(problem, neutral.NeutralPlacement)
    assert neutral.score_placement(problem, baselines.hilbert(problem, problem.K)).unicast == pytest.approx(curve, abs=0.5)
    forced = baselines.place_asplos23(problem, baselines.LINEAR).xy
    assert neutral.score_placement(problem, forced).unicast == pytest.approx(linear, rel=0.02)


@pytest.mark.parametrize(("name", "cores", "seq", "asplos", "rf"), [
    # Table 3 of the project's reference sheet; (cores of the sequential fill and of the receptive-field order), unicast hops.
    ("mlp_mnist", (8, 8), 959.9, 868.8, 868.8), ("shd_rsnn", (4, 4), 152.1, 111.9, 111.9),
    ("lenet_mnist", (50, 32), 17680.6, 12116.9, 3690.6), ("lsm_4k", (61, 73), 8315.6, 7015.3, 9733.4),
])
def test_the_network_baselines_reproduce_the_reference_table(
    name: str, cores: tuple[int, int], seq: float, asplos: float, rf: float
) -> None:
    problem = instances.make(name)
    assert isinstance(problem, neutral.NeutralPartition)
    scores = []
    for answer in (
        baselines.sequential(problem), baselines.asplos23(problem), baselines.asplos23(problem, baselines.receptive_order)
    ):
        assert answer.part is not None
        scores.append(neutral.score_partition(problem, answer.part, answer.xy))
        assert scores[-1].errors == ()
    assert (scores[0].cores, scores[2].cores) == cores
    assert scores[0].unicast == pytest.approx(seq, abs=0.1)
    assert scores[1].unicast == pytest.approx(asplos, rel=0.03)
    assert scores[2].unicast == pytest.approx(rf, rel=0.03)


# ---- solve


def command(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPTS / "mapping.py"), *map(str, words)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONHASHSEED": "random"},
    )


@pytest.mark.parametrize("name", ["partition", "placement"])
def test_solve_answers_both_formats_with_the_same_bytes_every_time(name: str, tmp_path: Path) -> None:
    problem = random_net(3) if name == "partition" else instances.make("geo_16")
    neutral.save(tmp_path / "p.npz", problem)
    contents = []
    for k in range(2):
        done = command("solve", tmp_path / "p.npz", "-o", tmp_path / f"{k}.npz", "--effort", 0, "--seed", 7, "--partitioner", "greedy")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        contents.append((tmp_path / f"{k}.npz").read_bytes())
    assert contents[0] == contents[1]
    part, xy = neutral.read_solution(tmp_path / "0.npz")
    if isinstance(problem, neutral.NeutralPartition):
        assert part is not None
        score = neutral.score_partition(problem, part, xy)
        assert told["packets_bound"] <= told["packets"]
    else:
        assert part is None
        score = neutral.score_placement(problem, xy)
    assert score.errors == ()
    assert (told["seed"], told["effort"], told["partitioner"]) == (7, 0, "greedy")
    assert told["unicast_hops"] == pytest.approx(score.unicast, rel=1e-6)
    assert told["hops_bound"] <= told["unicast_hops"] * (1 + 1e-9)
    assert told["cores_bound"] <= told["cores"] == xy.shape[0]
    assert told["cpu_seconds"] > 0


class Fake:
    """Puts each neuron on a core of its own, in order; counts what it was asked."""

    name = "fake"

    def __init__(self, **answer: Any) -> None:
        self.answer, self.problems, self.budgets = answer, [], []

    def partition(self, problem: Any, budget: Any) -> Partition:
        self.problems.append(problem)
        self.budgets.append(budget)
        part = np.arange(problem.neurons)
        honest = Partition(part, part.size, 1, partition_packets(problem, part), 0.0, "feasible", budget.seed, np.arange(part.size), 0.0)
        return replace(honest, **self.answer)

    def place(self, problem: Any, budget: Any) -> PlacementSolution:
        slot = np.arange(problem.clusters)
        honest = PlacementSolution(slot, placement_cost(problem, slot), 0.0, "feasible", budget.seed)
        return replace(honest, **self.answer)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr(solving, "find", lambda name: made)
    return made


def solved(tmp_path: Path, problem: Any, *more: str) -> tuple[int, Path]:
    neutral.save(tmp_path / "p.npz", problem)
    return mapping.main(["solve", str(tmp_path / "p.npz"), "-o", str(tmp_path / "s.npz"), *more]), tmp_path / "s.npz"


def test_solve_hands_the_problem_to_the_partitioner_as_it_is(fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = net([(0, [1, 2], 1.5), (-1, [0, 2, 3], 2.0)], 4, (1, 4, 5), (3, 2), (1,), (2, 1))
    status, output = solved(tmp_path, problem, "--effort", "2", "--seed", "9", "--slack", "0.25")
    assert status == 0
    asked, budget = fake.problems[0], fake.budgets[0]
    assert asked.resources == ("neurons", "axons", "synapses")
    assert asked.capacity.tolist() == [1, 4, 5]
    assert asked.neuron.tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 2, 1]]
    assert asked.axon.tolist() == [[0, 0], [1, 1], [0, 0]]
    assert asked.route.tolist() == [0, 0, 0]
    assert (asked.source.tolist(), asked.start.tolist(), asked.target.tolist()) == ([0, -1], [0, 2, 5], [1, 2, 0, 2, 3])
    assert (asked.rate.tolist(), asked.slack, asked.cores) == ([1.5, 2.0], 0.25, 5)
    assert asked.board.slots.tolist() == [[0, 0], [2, 0], [0, 1], [1, 1], [2, 1]]
    assert asked.board.port == (2, 1)
    assert (budget.effort, budget.seed) == (2, 9)
    part, xy = neutral.read_solution(output)
    assert part is not None
    assert xy.tolist() == [[0, 0], [2, 0], [0, 1], [1, 1]]
    told = json.loads(capsys.readouterr().out)
    # 1.5 to (2, 0) and (0, 1); 2 from (2, 1) to (0, 0), (0, 1) and (1, 1).
    assert told["unicast_hops"] == pytest.approx(1.5 * 3 + 2 * (3 + 2 + 1))
    assert (told["cores"], told["cores_bound"], told["packets"]) == (4, 1, 9.0)


def test_infeasible_is_said_with_the_proof_and_unknown_apart(fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = net([(-1, [0, 1, 2, 3], 1.0)], 4, (1, 4, 4), (3, 1))
    none = np.zeros(0, np.int64)
    fake.answer = {"part": none, "slot": None, "status": "infeasible", "lower_bound": 4, "clusters": 4}
    status, output = solved(tmp_path, problem)
    assert status == 1
    assert "at least 4 cores are needed (proved), and the machine has 3" in capsys.readouterr().err
    fake.answer = {"part": none, "slot": None, "status": "unknown", "lower_bound": 2, "clusters": 5}
    assert solved(tmp_path, problem)[0] == 5
    assert "5 cores were found to be enough" in capsys.readouterr().err
    assert not output.exists()


def test_a_neuron_beyond_an_empty_core_and_too_many_clusters_need_no_search(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axons = [(-1, [0], 1.0), (-1, [0], 1.0), (-1, [0, 1], 1.0)]
    assert solved(tmp_path, net(axons, 2, (4, 2, 9)))[0] == 1
    assert "neuron 0 listens to 3 axons, and a core takes 2 axons and 9 synapses" in capsys.readouterr().err
    placing = neutral.NeutralPlacement(3, np.array([0, 1]), np.array([1, 2]), np.ones(2), (2, 2), np.array([0, 3]))
    assert solved(tmp_path, placing)[0] == 1
    assert "3 clusters need a core each, and the machine has 2" in capsys.readouterr().err
    assert fake.problems == []


def test_a_wrong_answer_is_never_written(fake: Fake, tmp_path: Path) -> None:
    fake.answer = {"part": np.zeros(4, np.int64), "slot": np.zeros(1, np.int64), "clusters": 1}
    with pytest.raises(ValueError, match="neurons: 4 of 2"):
        solved(tmp_path, net([(-1, [0, 1, 2, 3], 1.0)], 4))
    assert not (tmp_path / "s.npz").exists()


def test_solve_can_start_from_an_earlier_answer(fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = net([(-1, [0, 1, 2, 3], 1.0)], 4)
    neutral.save(tmp_path / "old.npz", (np.array([1, 0, 1, 0]), np.array([[0, 0], [1, 0]])))
    assert solved(tmp_path, problem, "--from", str(tmp_path / "old.npz"))[0] == 0
    assert fake.problems[0].previous.tolist() == [1, 0, 1, 0]
    neutral.save(tmp_path / "old.npz", (np.array([1, 0]), np.array([[0, 0], [1, 0]])))
    assert solved(tmp_path, problem, "--from", str(tmp_path / "old.npz"))[0] == 2
    assert "as many neurons" in capsys.readouterr().err


@pytest.mark.parametrize(("keep", "status"), [(True, 0), (False, 130)])
def test_an_interrupt_keeps_the_best_only_when_asked(
    keep: bool, status: int, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, seen = fake.partition, []

    def interrupted(problem: Any, budget: Any) -> Partition:
        import signal

        seen.append(budget.over)
        signal.raise_signal(signal.SIGINT)
        seen.append(budget.over)
        return honest(problem, budget)

    monkeypatch.setattr(fake, "partition", interrupted)
    found, output = solved(tmp_path, net([(-1, [0, 1], 1.0)], 2), *(["--keep-best"] if keep else []))
    assert found == status
    assert output.exists() == keep
    assert seen == ([False, True] if keep else [False])


@pytest.mark.parametrize(("words", "says"), [
    (["solve", "absent.npz", "-o", "s.npz"], "absent.npz: cannot be read"),
    (["solve", "p.npz", "-o", "nowhere/s.npz"], "cannot be written"),
    (["solve", "p.npz", "-o", "s.npz", "--partitioner", "none"], "no partitioner `none` is installed"),
    (["score", "p.npz", "absent.npz"], "absent.npz: cannot be read"),
    (["generate", "geo_17", "-o", "s.npz"], "no problem `geo_17`"),
])
def test_wrong_use_ends_with_one_sentence_and_status_2(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    neutral.save(Path("p.npz"), random_net(1))
    assert mapping.main(words) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not Path("s.npz").exists()


@pytest.mark.parametrize("words", [["--effort", "3"], ["--seed", "-1"], ["--slack", "-0.1"], ["--slack", "nan"]])
def test_options_out_of_range_are_refused(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        mapping.main(["solve", "p.npz", "-o", str(tmp_path / "s.npz"), *words])
    assert caught.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_a_baseline_that_cannot_run_is_skipped_with_its_reason(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(problem: Any) -> baselines.Answer:
        raise baselines.MissingError("the package is not installed")

    def none(path: Path, args: Any, *more: str, **options: Any) -> tuple[comparison.Solved, Path]:
        return comparison.Solved(5, {"reason": "no answer"}, 1.0, 1.0), path

    monkeypatch.setattr(comparison, "_BASELINES", {"seq": baselines.sequential, "other": missing})
    monkeypatch.setattr(comparison, "_solve", none)
    monkeypatch.setattr(comparison, "_warm_up", lambda folder, args: None)
    # A missing answer misses its bars, and the exit status says so.
    assert mapping.main(["suite", "shd_rsnn", "--problems", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "other skipped: the package is not installed" in told
    assert "152.1" in told  # the sequential fill's hops in the reference table
    assert "exit 5 no answer" in told
    assert "MISSED" in told


def test_generated_problems_are_scored_with_their_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem, solution = tmp_path / "p.npz", tmp_path / "s.npz"
    assert mapping.main(["generate", "cv_64", "--seed", "3", "-o", str(problem)]) == 0
    cells = np.arange(64)
    neutral.save(solution, (None, np.stack([cells % 8, cells // 8], 1)))
    assert mapping.main(["score", str(problem), str(solution)]) == 0
    told = json.loads(capsys.readouterr().out)
    # Layer k lies in row k, so every edge takes one hop down and as many along as its window shift.
    read = neutral.read_problem(problem)
    assert isinstance(read, neutral.NeutralPlacement)
    assert told["unicast_hops"] == pytest.approx(float(read.w @ (1 + read.dst % 8 - read.src % 8)))
    neutral.save(solution, (None, np.zeros((64, 2), int)))
    assert mapping.main(["score", str(problem), str(solution)]) == 1
    assert json.loads(capsys.readouterr().out)["feasible"] is False


# ---- tables


def test_a_bar_holds_up_to_its_limit_and_never_without_a_number() -> None:
    assert comparison.Bar("", 1.05, 1.05).passed
    assert not comparison.Bar("", 1.06, 1.05).passed
    assert not comparison.Bar("", None, 1.05).passed
    assert comparison.geometric_mean([0.5, 2.0, 1.0]) == pytest.approx(1.0)


def test_best_known_values_are_those_of_the_shared_table() -> None:
    path = ROOT.parent / "shared" / "data" / "mapping" / "best_known.json"
    if not path.exists():
        pytest.skip("the table of best known values is not beside this checkout")
    known = json.loads(path.read_text())
    for name, value in comparison.BEST_UNICAST.items():
        assert value == pytest.approx(known[name]["hop_unicast"], rel=1e-8)
    for name, value in comparison.BEST_PACKETS.items():
        assert value == pytest.approx(known[name]["conn"], rel=1e-8)
    assert comparison.BEST_PLACED.keys() == known["placement_only"].keys()
    for name, value in comparison.BEST_PLACED.items():
        assert value == pytest.approx(known["placement_only"][name], rel=1e-8)


def test_the_placement_table_tells_ratios_and_bars(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(path: Path, args: Any, *more: str, **options: Any) -> tuple[comparison.Solved, Path]:
        numbers = {"unicast_hops": 7303.28, "hops_bound": 3000.0, "hops_gap": 0.59}
        return comparison.Solved(0, numbers, 1.5, 100.0), path

    monkeypatch.setattr(comparison, "_solve", answer)
    assert mapping.main(["placement", "fc_256", "--problems", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "1.000" in told  # of the best known
    assert "pass" in told
    assert (tmp_path / "fc_256.npz").exists()
    with pytest.raises(SystemExit, match="no problem `nothing` here"):
        mapping.main(["placement", "nothing"])
