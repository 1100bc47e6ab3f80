"""The emitted Lava program against a model written here from Lava's documented equations, bit for bit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.network import Provenance
from nmap.program import Program, ProgramPopulation
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap_loihi2.emit import emit
from nmap_loihi2.integers import read_integer_network
from nmap_loihi2.vendor import find_lava, run_lava
from tests.support import shared_data

HERE = Provenance("test", "/")
HALF = 1 << 23


@pytest.fixture(scope="module", autouse=True)
def _lava():
    found = find_lava()
    if isinstance(found, str):
        pytest.skip(found)


def population(name, shape, kernel="loihi2.lif", initial=None, **params):
    return QuantizedPopulation(name, shape, kernel, {k: np.asarray(v) for k, v in params.items()}, HERE, initial or {})


def lif(name, shape, du=300, dv=200, vth=60, bias_mant=0, bias_exp=0, initial=None):
    return population(name, shape, du=du, dv=dv, vth=vth, bias_mant=bias_mant, bias_exp=bias_exp, initial=initial)


def port(name, shape):
    return QuantizedPopulation(name, shape, None, {}, HERE)


def projection(source, target, connectivity, delay=0, delays=None, **form):
    return QuantizedProjection(
        f"{source} to {target}", source, target, connectivity, SynapseFormat(**{"bits": 8, **form}), delay, HERE, delays
    )


def mapped(network: QuantizedNetwork) -> Program:
    """A program without cores: enough for the emitter, which computes from the network."""
    populations = tuple(
        ProgramPopulation(p.name, p.shape, p.latency, p.kernel is None, p.name in network.outputs) for p in network.populations
    )
    return Program("loihi2", "oheo-gulch", populations, (), (), (), ())


def run(network: QuantizedNetwork, inputs: np.ndarray, steps: int, folder: Path) -> dict[str, np.ndarray]:
    for name, data in emit(network, mapped(network)).items():
        (folder / name).write_bytes(data)
    result = run_lava(folder, inputs, steps, timeout=120)
    assert result.missing is None
    assert result.version is not None
    return result.spikes


def matrices(p: QuantizedProjection) -> tuple[np.ndarray, np.ndarray]:
    """Expand a projection synapse by synapse: weights and steps between sending and acting, (targets, sources) each."""
    c = p.connectivity
    weights = np.zeros((c.out_size, c.in_size), np.int64)
    delays = np.zeros((c.out_size, c.in_size), np.int64)
    if isinstance(c, Dense):
        weights += c.weights
        if p.delays is not None:
            delays += p.delays
    elif isinstance(c, Sparse):
        for row in range(c.out_size):
            for k in range(c.indptr[row], c.indptr[row + 1]):
                weights[row, c.indices[k]] = c.weights[k]
                delays[row, c.indices[k]] = 0 if p.delays is None else p.delays[k]
    else:
        (_, high, wide), (channels, rows, columns) = c.in_shape, c.out_shape
        per_in, per_out = c.in_shape[0] // c.groups, channels // c.groups
        for o, y, x, i, a, b in np.ndindex(channels, rows, columns, *c.weights.shape[1:]):
            row, column = y * c.stride[0] - c.padding[0] + a * c.dilation[0], x * c.stride[1] - c.padding[1] + b * c.dilation[1]
            if 0 <= row < high and 0 <= column < wide:
                source = ((o // per_out * per_in + i) * high + row) * wide + column
                weights[(o * rows + y) * columns + x, source] += c.weights[o, i, a, b]
    return weights, delays + p.delay + 1


def floor_toward_zero(product: np.ndarray) -> np.ndarray:
    return np.where(product < 0, -(-product // 4096), product // 4096)


def model(network: QuantizedNetwork, inputs: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """Lava's documented equations, one sample and one step after the other."""
    expanded = {p.name: matrices(p) for p in network.projections}
    out = {p.name: np.zeros((len(inputs), steps, p.size), np.int64) for p in network.populations}
    for sample, columns in enumerate(inputs):
        out[network.inputs[0]][sample, : min(steps, len(columns))] = columns[:steps]
        state = {p.name: [p.initial.get(v, np.zeros(p.size, np.int64)).copy() for v in "uv"] for p in network.populations}
        for step in range(steps):
            for p in network.populations:
                if p.kernel is None:
                    continue
                a = np.zeros(p.size, np.int64)
                for q in network.afferents(p.name):
                    weights, delays = expanded[q.name]
                    for delay in np.unique(delays):
                        if step < delay:
                            continue
                        sent = out[q.source][sample, step - delay]
                        if q.format.message_bits == 0:
                            sent = (sent != 0).astype(np.int64)
                        total = np.where(delays == delay, weights, 0) @ sent
                        a += np.floor(total * 2.0**q.format.exponent).astype(np.int64)
                u, v = state[p.name]
                u = floor_toward_zero(u * (4095 - p.params["du"])) + a * 64
                u = np.where(u > HALF, u - 2 * HALF, np.where(u <= -HALF, u + 2 * HALF, u))
                v = floor_toward_zero(v * (4096 - p.params["dv"])) + u + p.params["bias_mant"] * 2 ** p.params["bias_exp"]
                v = np.clip(v, 1 - HALF, HALF - 1)
                spikes = (v > p.params["vth"] * 64).astype(np.int64)
                if "vth_lo" in p.params:
                    spikes -= v < p.params["vth_lo"] * 64
                out[p.name][sample, step] = spikes
                state[p.name] = [u, np.where(spikes != 0, 0, v)]
    return out


def compare(network: QuantizedNetwork, inputs: np.ndarray, steps: int, folder: Path) -> None:
    expected = model(network, inputs, steps)
    got = run(network, inputs, steps, folder)
    for p in network.populations:
        if p.kernel is not None:
            share = np.abs(expected[p.name]).mean()
            assert 0.005 < share < 0.95, f"{p.name} is too quiet or too loud to show a difference ({share:.3f})"
            np.testing.assert_array_equal(got[p.name], expected[p.name], err_msg=p.name)


def even(rng, *shape, low=-100, high=128) -> np.ndarray:
    return (rng.integers(low, high, shape) * 2).astype(np.int32)


def test_dense_recurrent_delayed(tmp_path):
    rng = np.random.default_rng(1)
    hidden = lif(
        # The ends of both decays: -1 and 4096 lie outside the documented fields, but Lava computes them and netx writes them.
        "hidden", (14,), du=[-1, 0, 4095, *rng.integers(0, 4096, 11)], dv=[4096, 0, 4095, *rng.integers(0, 4096, 11)],
        vth=rng.integers(100, 900, 14), bias_mant=rng.integers(-200, 200, 14), bias_exp=rng.integers(0, 8, 14),
        initial={"u": rng.integers(-5000, 5000, 14), "v": rng.integers(-30000, 30000, 14)},
    )
    ternary = population("ternary", (9,), "loihi2.ternary_lif", du=900, dv=128, vth=400, vth_lo=-300, bias_mant=-3, bias_exp=4)
    network = QuantizedNetwork(
        (port("in", (11,)), hidden, ternary, lif("out", (6,), vth=250, bias_mant=90, bias_exp=7)),
        (
            projection("in", "hidden", Dense(even(rng, 14, 11))),
            projection("hidden", "hidden", Dense(even(rng, 14, 14)), bits=8, exponent=-2),
            projection("in", "ternary", Dense(even(rng, 9, 11)), delay=2, message_bits=8, exponent=-1),
            projection("hidden", "ternary", Dense(even(rng, 9, 14)), delays=rng.integers(0, 5, (9, 14)), exponent=-3),
            projection("ternary", "out", Dense(even(rng, 6, 9)), message_bits=2),
            projection("hidden", "out", Dense(-np.abs(even(rng, 6, 14))), sign="inhibitory"),
        ),
        ("in",), ("out",),
    )
    compare(network, rng.integers(-3, 4, (3, 25, 11)) * (rng.random((3, 25, 11)) < 0.3), 32, tmp_path)


def test_sparse(tmp_path):
    rng = np.random.default_rng(2)

    def listed(n, m, weights):
        return Sparse.from_dense(weights * (rng.random((n, m)) < 0.4))

    across, back, onward = listed(20, 12, even(rng, 20, 12, low=-60)), listed(20, 20, even(rng, 20, 20)), listed(5, 20, even(rng, 5, 20))
    network = QuantizedNetwork(
        (port("in", (12,)), lif("net", (20,), du=2000, vth=500), lif("out", (5,), du=4095, dv=4096, vth=100)),
        (
            projection("in", "net", across, exponent=1),
            projection("net", "net", back, delays=rng.integers(0, 4, back.weights.size), exponent=-3),
            projection("net", "out", onward, delay=3),
            projection("in", "out", Sparse(np.arange(6), np.arange(5), np.full(5, 255, np.int32), 12), sign="excitatory"),
        ),
        ("in",), ("out",),
    )
    compare(network, (rng.random((2, 30, 12)) < 0.3).astype(np.int64), 30, tmp_path)


def test_convolutions(tmp_path):
    rng = np.random.default_rng(3)
    first = Conv2d(even(rng, 4, 2, 3, 2), (2, 7, 9), stride=(1, 2), padding=(1, 0), dilation=(1, 2))
    grouped = Conv2d(even(rng, 6, 2, 2, 3), first.out_shape, stride=(2, 1), padding=(0, 1), groups=2)
    shifted = Conv2d(even(rng, 6, 4, 3, 3), first.out_shape, stride=(2, 1), padding=(0, 1))
    late = Conv2d(even(rng, 6, 2, 4, 2), (2, 7, 9), stride=(2, 2), padding=(0, 0), groups=1)
    assert grouped.out_shape[0] == shifted.out_shape[0]
    second = lif("second", grouped.out_shape, vth=900, du=4095)
    third = lif("third", shifted.out_shape, vth=700, du=4095)
    branch = lif("branch", late.out_shape, vth=900, du=1000, bias_mant=rng.integers(-9, 9, late.out_size), bias_exp=6)
    network = QuantizedNetwork(
        (port("in", (2, 7, 9)), lif("first", first.out_shape, vth=500), second, third, branch, lif("out", (4,), vth=600, du=4095)),
        (
            projection("in", "first", first),
            projection("first", "second", grouped, message_bits=1),
            projection("first", "third", shifted, exponent=-1),
            projection("in", "branch", late, delay=2),
            projection("second", "out", Dense(even(rng, 4, grouped.out_size))),
            projection("branch", "out", Dense(even(rng, 4, late.out_size)), bits=8),
        ),
        ("in",), ("out",),
    )
    compare(network, (rng.random((2, 12, 126)) < 0.25).astype(np.int64), 18, tmp_path)


def test_input_shorter_and_longer_than_the_run(tmp_path):
    network = QuantizedNetwork(
        (port("in", (1,)), lif("out", (1,), du=4095, dv=4096, vth=1)),
        (projection("in", "out", Dense(np.array([[254]], np.int32))),), ("in",), ("out",),
    )
    inputs = np.ones((1, 3, 1), np.int64)
    assert run(network, inputs, 6, tmp_path)["out"][0, :, 0].tolist() == [0, 1, 1, 1, 0, 0]
    assert run(network, inputs, 2, tmp_path)["out"][0, :, 0].tolist() == [0, 1]


def command(folder, *arguments):
    interpreter, _ = find_lava()
    return subprocess.run(
        [interpreter, str(folder / "network.py"), *arguments], capture_output=True, text=True, timeout=120, check=False, cwd=folder
    )


@pytest.fixture
def relay(tmp_path):
    """A folder with a program of two neurons that fire one step after their input, and samples for it."""
    network = QuantizedNetwork(
        (port("in", (1, 2)), lif("o/ut", (2,), du=4095, dv=4096, vth=1)),
        (projection("in", "o/ut", Dense(np.diag([254, 254]).astype(np.int32))),), ("in",), ("o/ut",),
    )
    for name, data in emit(network, mapped(network)).items():
        (tmp_path / name).write_bytes(data)
    np.savez(tmp_path / "S.npz", inputs=np.array([[[[1, 0]], [[1, 1]]], [[[0, 0]], [[0, 1]]]], np.uint8))
    np.savez(tmp_path / "float.npz", inputs=np.zeros((1, 2, 2)))
    np.savez(tmp_path / "wide.npz", inputs=np.zeros((1, 2, 3), int))
    return tmp_path


def test_the_program_by_hand(relay):
    done = command(relay, "--input", "S.npz", "--output", "OUT.npz", "--steps", "4", "--probe")
    assert (done.returncode, done.stdout) == (0, "")
    with np.load(relay / "OUT.npz") as file:
        assert set(file.files) == {"spikes", "o/ut.spikes"}
        assert file["spikes"].dtype == np.int32
        expected = [[[0, 0], [1, 0], [1, 1], [0, 0]], [[0, 0], [0, 0], [0, 1], [0, 0]]]
        assert file["spikes"].tolist() == file["o/ut.spikes"].tolist() == expected


def test_the_program_prints_counts_of_the_first_samples(relay):
    done = command(relay, "--input", "S.npz", "--samples", "1", "--steps", "3")
    assert (done.returncode, done.stdout) == (0, "sample 0: spikes per output neuron [2, 1]\n")


@pytest.mark.parametrize(("arguments", "status", "text"), [
    (["--input", "none.npz"], 2, "none.npz"),
    (["--input", "weights.npz"], 2, "not an .npz file with an array `inputs`"),
    (["--input", "float.npz"], 2, "must be integers"),
    (["--input", "wide.npz"], 2, "with 2 neurons"),
    (["--input", "S.npz", "--steps", "0"], 2, "must be positive"),
    (["--input", "S.npz", "--hardware"], 4, "lava-loihi extension"),
])
def test_wrong_use_is_a_message(relay, arguments, status, text):
    done = command(relay, *arguments)
    assert done.returncode == status
    assert text in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["a_lif3", "c_graded_delay", "f_latency"])
def test_recorded_runs_of_lava(name, tmp_path):
    folder = shared_data() / "golden" / "lava"
    network, inputs = read_integer_network(folder / f"{name}.npz")
    with np.load(folder / f"{name}.out.npz") as file:
        recorded = {key: file[key] for key in file.files}
    steps = recorded["s0"].shape[1]
    # Two samples: the second one must not see what the first one left behind.
    got = run(network, np.concatenate([inputs, inputs]), steps, tmp_path)
    for k, p in enumerate(network.populations[1:]):
        for sample in range(2):
            np.testing.assert_array_equal(got[p.name][sample].T, recorded[f"s{k}"], err_msg=p.name)
