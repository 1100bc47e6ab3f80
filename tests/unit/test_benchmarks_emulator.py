"""The pure parts of the emulator's benchmark: networks, what peers are given, tables. Nothing here is timed."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(SCRIPTS))

import emulator as bench  # noqa: E402
import emulator_networks as networks  # noqa: E402
import emulator_ours as ours  # noqa: E402
import emulator_peers as peers  # noqa: E402
import emulator_rows as rows  # noqa: E402
import emulator_table as table  # noqa: E402
from emulator_networks import Cells, Link, Net  # noqa: E402


def whole(rng, shape, low=-9, high=10):
    """Integers without zeros."""
    drawn = rng.integers(low, high, shape)
    return np.where(drawn == 0, 1, drawn).astype(np.int16)


def small(seed=0):
    """A padded convolution in groups, one behind a pool, a matrix behind a pool that leaves an edge out, a list with feedback."""
    rng = np.random.default_rng(seed)
    cells = (
        Cells("in", (2, 6, 7)), Cells("a", (4, 6, 4), du=2000, dv=300, vth=6), Cells("b", (3, 2, 1), vth=5),
        Cells("c", (5,), vth=2, bias_mant=np.array([0, 3, -2, 40, 7]), bias_exp=2, start=np.arange(5) * 10),
    )
    pointer = np.array([0, 2, 3, 3, 5, 6])
    links = (
        Link("in", "a", whole(rng, (4, 1, 3, 3)), stride=(1, 2), padding=(1, 1), groups=2),
        Link("a", "b", whole(rng, (3, 4, 2, 2)), pool=2),
        Link("in", "c", whole(rng, (5, 18)), pool=2, exponent=1),
        Link("c", "c", whole(rng, (6,)), pointer, np.array([1, 4, 0, 2, 3, 4], np.int32)),
    )
    return Net("small", "for tests", cells, links, (rng.random((3, 12, 84)) < 0.3).astype(np.uint8), 12)


def pooled(image, size):
    channels, height, width = image.shape
    out = np.zeros((channels, height // size, width // size), np.int64)
    for c, y, x in np.ndindex(out.shape):
        out[c, y, x] = image[c, y * size : y * size + size, x * size : x * size + size].sum()
    return out


def plain_sums(net, link, spikes):
    """What one step's spikes add to the target, tap by tap."""
    image = pooled(spikes.reshape(net[link.source].shape), link.pool) if link.pool > 1 else spikes.reshape(net[link.source].shape)
    weights = np.asarray(link.weights, np.int64)
    if link.kind == "dense":
        return weights @ image.ravel()
    if link.kind == "sparse":
        out = np.zeros(net[link.target].size, np.int64)
        for target in range(out.size):
            for k in range(link.indptr[target], link.indptr[target + 1]):
                out[target] += weights[k] * spikes[link.indices[k]]
        return out
    out = np.zeros(net[link.target].shape, np.int64)
    per_in, per_out = image.shape[0] // link.groups, out.shape[0] // link.groups
    for o, y, x in np.ndindex(out.shape):
        for i, a, b in np.ndindex(weights.shape[1:]):
            row, column = y * link.stride[0] - link.padding[0] + a, x * link.stride[1] - link.padding[1] + b
            if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
                out[o, y, x] += weights[o, i, a, b] * image[o // per_out * per_in + i, row, column]
    return out.ravel()


def plain_run(net, sample):
    """The docstring's equations, neuron by neuron in Python integers: spikes (steps, n) by population."""
    sent = {c.name: np.zeros((net.steps, c.size), np.int64) for c in net.cells}
    sent["in"][:] = net.rasters[sample]
    state = {c.name: [[0, int(v)] for v in np.broadcast_to(c.start, (c.size,))] for c in net.cells}

    def toward_zero(x):
        return x >> 12 if x >= 0 else -(-x >> 12)

    for step in range(net.steps):
        for c in net.cells[1:]:
            a = np.zeros(c.size, np.int64)
            if step:
                for link in net.links:
                    if link.target == c.name:
                        a += plain_sums(net, link, sent[link.source][step - 1]) << link.exponent
            for n in range(c.size):
                u, v = state[c.name][n]
                bias = int(np.broadcast_to(c.bias_mant, (c.size,))[n]) << c.bias_exp
                u = toward_zero(u * (4095 - c.du)) + (int(a[n]) << 6)
                v = toward_zero(v * (4096 - c.dv)) + u + bias
                sent[c.name][step, n] = v > c.vth << 6
                state[c.name][n] = [u, 0 if v > c.vth << 6 else v]
    return sent


# ---- networks


@pytest.mark.parametrize("link", range(4))
def test_lists_by_source_hold_every_synapse_once(link):
    net = small()
    one = net.links[link]
    pointer, targets, weights = networks.fan_out(net, one)
    rng = np.random.default_rng(1)
    for _ in range(4):
        spikes = (rng.random(net[one.source].size) < 0.4).astype(np.int64)
        out = np.zeros(net[one.target].size, np.int64)
        for source in np.flatnonzero(spikes):
            here = slice(pointer[source], pointer[source + 1])
            assert (np.diff(targets[here]) > 0).all()
            out[targets[here]] += weights[here]
        np.testing.assert_array_equal(out, plain_sums(net, one, spikes))


@pytest.mark.parametrize("link", range(4))
def test_degrees_are_the_lengths_of_the_lists(link):
    net = small()
    pointer, _, _ = networks.fan_out(net, net.links[link])
    np.testing.assert_array_equal(networks.degrees(net, net.links[link]), np.diff(pointer))


def test_events_and_activity_are_counted_per_step():
    net = small()
    counts = {c.name: np.zeros(c.size, np.int64) for c in net.cells}
    counts["c"][1] = 6
    counts["b"][:] = 3
    told = networks.numbers(net, counts, 12)
    # Neuron 1 of `c` drives one synapse, `b` none.
    assert told["events"] == pytest.approx(6 / 12)
    assert told["activity"]["b"] == pytest.approx(3 / 12)
    assert told["activity"]["c"] == pytest.approx(6 / 5 / 12)


def test_a_padded_convolution_cannot_take_the_pool_in():
    net = small()
    with pytest.raises(ValueError, match="padded"):
        networks.folded(net, replace(net.links[1], padding=(0, 1)))


@pytest.mark.parametrize("name", ["W1", "W2", "W5"])
def test_workloads_are_the_same_every_time_and_hold_eight_bit_weights(name):
    net, again = networks.make(name), networks.make(name)
    assert net.name == name
    for one, other in zip(net.links, again.links, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
        assert one.weights.dtype == np.int16
        assert not (one.weights % 2).any()
        assert one.weights.min() >= -256
        assert one.weights.max() <= 254
    np.testing.assert_array_equal(net.rasters, again.rasters)


def test_sizes_are_those_of_the_table():
    net = networks.make("W2")
    assert [c.shape for c in net.cells] == [(2, 34, 34), (16, 30, 30), (32, 13, 13), (512,), (10,)]
    assert [link.weights.size for link in net.links] == [16 * 2 * 25, 32 * 16 * 9, 512 * 32 * 36, 5120]
    net = networks.make("W3")
    assert net["net"].size == 10_000
    # Each neuron hears 100 others, of a hundred stretches one each.
    recurrent = net.links[1]
    assert recurrent.weights.size == 1_000_000
    assert (np.diff(recurrent.indptr) == 100).all()
    np.testing.assert_array_equal(recurrent.indices.reshape(-1, 100) // 100, np.tile(np.arange(100), (10_000, 1)))
    assert abs(int(networks.degrees(net, recurrent).mean()) - 100) == 0


def test_files_give_back_what_was_saved(tmp_path):
    net = small()
    networks.save(net, tmp_path / "net")
    read = networks.load(tmp_path / "net")
    assert (read.name, read.title, read.steps) == (net.name, net.title, net.steps)
    np.testing.assert_array_equal(read.rasters, net.rasters)
    for one, other in zip(net.cells, read.cells, strict=True):
        assert (one.name, one.shape, one.du, one.dv, one.vth) == (other.name, other.shape, other.du, other.dv, other.vth)
        np.testing.assert_array_equal(one.bias, other.bias)
        np.testing.assert_array_equal(one.start, other.start)
    for one, other in zip(net.links, read.links, strict=True):
        assert (one.kind, one.stride, one.padding, one.groups, one.pool, one.exponent) == (
            other.kind, other.stride, other.padding, other.groups, other.pool, other.exponent
        )
        for mine, theirs in zip(networks.fan_out(net, one), networks.fan_out(read, other), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_digest_tells_order_and_content_apart():
    base = networks.digest(np.array([0, 1, 1]), np.array([5, 2, 3]))
    assert base == networks.digest(np.array([0, 1, 1], np.int32), np.array([5, 2, 3], np.int16))
    assert base != networks.digest(np.array([0, 1, 1]), np.array([5, 2, 4]))
    assert base != networks.digest(np.array([0, 0, 1]), np.array([5, 2, 3]))


# ---- the same spikes


def spikes_of(lists, steps):
    return {
        name: np.stack([np.bincount(ids, minlength=size) for ids in lists[name]]) if lists[name] else np.zeros((steps, size))
        for name, size in ((c.name, c.size) for c in small().cells)
    }


@pytest.mark.parametrize("sample", [0, 2])
def test_rows_in_numpy_are_the_equations(sample):
    net = small()
    wanted = plain_run(net, sample)
    found = spikes_of(rows.simulate(net, sample)[0], net.steps)
    for c in net.cells:
        np.testing.assert_array_equal(found[c.name], wanted[c.name])
    assert all(wanted[name].any() for name in "abc")


@pytest.mark.parametrize("cut", [False, True])
def test_programs_of_a_workload_compute_the_equations(cut):
    net = small()
    network = ours.quantized(net)
    engine = ours.Engine(net, ours.scattered(network, 8) if cut else ours.unmapped(network), 3)
    assert (len(engine.program.cores) > 4) == cut
    counts, digests, _ = engine.first()
    wanted = plain_run(net, 0)
    for name, raster in wanted.items():
        np.testing.assert_array_equal(counts[name], raster.sum(axis=0))
        assert digests[name] == networks.digest(*np.nonzero(raster))


def test_bytes_are_those_of_the_rows_that_spikes_read():
    matrix = SimpleNamespace(kind="matrix", weights=np.zeros((3, 64), np.int8), rows=None, columns=64)
    assert ours._row_bytes(matrix).tolist() == [64, 64, 64]
    matrix.rows = np.array([0, 2, -1, 2])
    assert ours._row_bytes(matrix).tolist() == [64, 64, 0, 64]
    # Lists are blocks of eight synapses: two, none and three of them here, of 2 + 1 bytes each.
    lists = SimpleNamespace(kind="lists", weights=np.zeros((5, 8), np.int8), tables=(np.array([0, 2, 2, 5]), np.zeros((5, 8), np.uint16)))
    assert ours._row_bytes(lists).tolist() == [2 * 8 * 3, 0, 3 * 8 * 3]
    rows = SimpleNamespace(kind="rows", weights=np.zeros((3, 32), np.int8), columns=32, tables=(np.array([0, -1, 64]),))
    assert ours._row_bytes(rows).tolist() == [32, 0, 32]
    base, sets = np.array([0, -1, 7], np.int32), np.array([1, 0, 0], np.int32)
    tables = (base, sets, np.array([0, 2, 3], np.int32), None, None, np.array([16, 32, 48], np.int32))
    runs = SimpleNamespace(kind="runs", weights=np.zeros(96, np.int16), tables=tables)
    assert ours._row_bytes(runs).tolist() == [96, 0, 96]


# ---- peers


def test_a_peer_runs_in_a_process_of_its_own(tmp_path):
    net = small()
    networks.save(net, tmp_path)
    answer = peers.ask("numpy", "W1", tmp_path, None, 2, 60.0)
    assert answer.missing is None
    assert len(answer.told["ms"]) == 2
    raster = plain_run(net, 0)
    assert answer.told["digests"] == {name: networks.digest(*np.nonzero(values)) for name, values in raster.items()}
    assert answer.told["counts"] == {name: int(values.sum()) for name, values in raster.items()}


def test_a_peer_that_is_missing_fails_or_hangs_says_so(tmp_path, monkeypatch):
    assert peers.ask("nest", "W1", tmp_path, tmp_path, 1, 5.0).missing == "not installed"
    assert str(peers.ask("numpy", "W1", tmp_path, None, 1, 60.0).missing).startswith("failed: FileNotFoundError")
    script = tmp_path / "slow.py"
    script.write_text("import time\ntime.sleep(60)\n")
    slow = replace(peers.PEERS["numpy"], script=str(script), memory=())
    monkeypatch.setitem(peers.PEERS, "numpy", slow)
    assert peers.ask("numpy", "W1", tmp_path, None, 1, 0.5).missing == "not done after 0.5 s"
    monkeypatch.setitem(peers.PEERS, "numpy", replace(slow, memory=(("W4", 1e6),)))
    assert peers.ask("numpy", "W4", tmp_path, None, 1, 0.5).missing == "not run: takes 1e+06 GB"


def test_an_interpreter_is_named_installed_or_there_is_none(tmp_path, monkeypatch):
    monkeypatch.delenv("NMAP_LAVA_PYTHON", raising=False)
    assert peers.interpreter("", None) == sys.executable
    assert peers.interpreter("lava", tmp_path) is None
    python = tmp_path / "lava" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert peers.interpreter("lava", tmp_path) == str(python)
    monkeypatch.setenv("NMAP_LAVA_PYTHON", "/elsewhere/python")
    assert peers.interpreter("lava", tmp_path) == "/elsewhere/python"


def test_every_bar_belongs_to_a_comparison_that_is_made():
    for workload, peer in table.AT_LEAST:
        assert workload in peers.PEERS[peer].workloads
    assert all((SCRIPTS / peer.script).is_file() for peer in peers.PEERS.values())
    assert all(not peer.environment or peer.environment in peers.ENVIRONMENTS for peer in peers.PEERS.values())


# ---- tables


@pytest.mark.parametrize(("value", "text"), [(123.4, "123"), (1.234, "1.23"), (0.01234, "0.0123"), (0.00012345, "0.00012")])
def test_milliseconds_keep_the_digits_that_count(value, text):
    assert table.milliseconds(value) == text


def test_a_bar_is_passed_missed_or_not_measured():
    assert table.verdict(600.0, 600.0) == "pass"
    assert table.verdict(599.0, 600.0) == "MISSED"
    assert table.verdict(1.1, 1.1, most=True) == "pass"
    assert table.verdict(1.2, 1.1, most=True) == "MISSED"
    assert table.verdict(None, 600.0) == "-"
    assert table.verdict(1.0, None) == ""


def test_a_comparison_takes_medians_and_minima():
    told = {"version": "1.2", "ms": [2.0, 9.0, 4.0], "counts": {"a": 7}, "note": "float64", "batch": 16}
    row = table.compared("W1", "brian2", "Brian2", [0.5, 0.1, 0.2], told, None, {"a": 9, "b": 3}, {"a": "x"})
    assert (row.ours, row.theirs, row.ratio, row.best, row.bar) == (0.2, 4.0, 20.0, 20.0, 25.0)
    assert row.spikes == "7 against 9"
    assert row.row == ("W1", "Brian2", "20x", "20x", ">= 25x", "MISSED", "0.2", "4", "7 against 9", "1.2 float64, batch 16")


def test_what_is_missing_has_no_number():
    row = table.compared("W1", "nest", "NEST", [0.5], {}, "not installed", {}, {})
    assert row.row == ("W1", "NEST", "-", "-", ">= 300x", "-", "0.5", "-", "", "not installed")


def test_exact_peers_must_give_the_same_spikes():
    mine = {"a": "1", "b": "2"}
    assert table.spikes_told({"digests": {"a": "1"}}, {}, mine) == "equal"
    assert table.spikes_told({"digests": {"a": "1", "b": "3"}}, {}, mine) == "DIFFERENT: b"
    assert table.spikes_told({}, {}, mine) == ""


def test_a_limit_is_told_with_and_without_the_neurons():
    row = table.Limit("W3", "its own rows, int32", 1.0, 1.25, 1.5).row
    assert row == ("W3", "its own rows, int32", "1.5", "1", "1.25", "1.5x", "1.2x", "<= 1.1x", "MISSED")


@pytest.mark.parametrize("words", [["--only", "W9"], ["--peers", "lava,none"]])
def test_names_that_do_not_exist_are_refused(words, capsys):
    with pytest.raises(SystemExit) as caught:
        bench.main(words)
    assert caught.value.code == 2
    assert "there are" in capsys.readouterr().err


def test_only_some_of_it_can_be_asked_for(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(bench._Bench, "run", lambda self: seen.append(self.args) or 0)
    assert bench.main(["--quick"]) == 0
    assert bench.main(["--only", "mapped"]) == 0
    assert bench.main(["--only", "W1", "--no-peers", "--json", str(tmp_path / "x.json")]) == 0
    assert "W4" not in seen[0].only
    assert set(seen[0].peers) == set(peers.PEERS)
    assert set(seen[1].only) >= {"mapped", "W1", "W3"}
    assert seen[1].peers == []
    assert (seen[2].only, seen[2].peers) == (["W1"], [])


def test_what_was_measured_is_written_and_shown(monkeypatch, tmp_path, capsys):
    net = small()
    monkeypatch.setitem(networks.NETWORKS, "W5", lambda: Net("W5", net.title, net.cells, net.links, net.rasters, net.steps))
    monkeypatch.setitem(bench._SAMPLES, "W5", 3)
    monkeypatch.setattr(bench._Bench, "_limit", lambda *_: None)
    monkeypatch.setattr(bench._Bench, "dram", lambda self: None)
    status = bench.main(["--only", "W5,mapped", "--peers", "numpy,nest", "--quick", "--json", str(tmp_path / "told.json")])
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["W5"]["mapped"]["spikes"] == "equal"
    assert sorted(row["spikes"] for row in told["comparisons"]) == ["", "equal"]
    text = capsys.readouterr().out
    assert "not installed" in text
    assert "equal" in text
    assert status in (0, 1)

