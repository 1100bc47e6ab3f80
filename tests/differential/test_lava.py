"""The emitted Lava program against a model written here from Lava's documented equations, bit for bit."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.diagnostics import Findings
from nmap.options import Options
from nmap.program import Program, ProgramPopulation
from nmap.quantized import QuantizedNetwork
from nmap.readers import read
from nmap.simulate.fixed import simulate
from nmap.trace import Probe
from nmap_loihi2 import TARGET
from nmap_loihi2.emit import emit
from nmap_loihi2.integers import read_integer_network
from nmap_loihi2.vendor import find_lava, run_lava, run_program
from tests.loihi2_networks import TRACED, population, port, projection, reference
from tests.support import shared_data


@pytest.fixture(scope="module", autouse=True)
def _lava():
    found = find_lava()
    if isinstance(found, str):
        pytest.skip(found)


def lif(name, shape, du=300, dv=200, vth=60, bias_mant=0, bias_exp=0, initial=None):
    return population(name, shape, du=du, dv=dv, vth=vth, bias_mant=bias_mant, bias_exp=bias_exp, initial=initial)


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


def compare(network: QuantizedNetwork, inputs: np.ndarray, steps: int, folder: Path) -> None:
    expected = reference(network, {network.inputs[0]: inputs}, steps).spikes
    got = run(network, inputs, steps, folder)
    for p in network.populations:
        if p.kernel is not None:
            share = (expected[p.name] != 0).mean()
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


def test_parts_that_nothing_connects(tmp_path):
    # Lava runs what is connected to the process it is started with.
    left, right = (Dense(np.array([[254]], np.int32)) for _ in range(2))
    network = QuantizedNetwork(
        (port("a", (1,)), port("b", (1,)), *(lif(name, (1,), du=4095, dv=4096, vth=1) for name in ("left", "right", "alone"))),
        (projection("a", "left", left), projection("b", "right", right)), ("a", "b"), ("right", "left"),
    )
    got = run(network, np.array([[[1, 0], [0, 1], [1, 1]]]), 4, tmp_path)
    assert {name: spikes[0, :, 0].tolist() for name, spikes in got.items()} == {
        "left": [0, 1, 0, 1], "right": [0, 0, 1, 1], "alone": [0, 0, 0, 0],
    }


def test_thresholds_and_steps_of_single_neurons(tmp_path):
    """What Lava's processes have one of, per neuron: thresholds of sigma-delta, resonating and ternary neurons, steps of ATRLIF."""
    rng = np.random.default_rng(4)
    n = 6
    shared = {"state_exp": 6, "decay_bits": 12}
    angle = rng.uniform(0.2, 1.5, n)
    turn = {"cos": (3900 * np.cos(angle)).astype(int), "sin": (3900 * np.sin(angle)).astype(int)}
    vths = rng.integers(60, 400, n)
    cells = [
        population("delta", (n,), "loihi2.delta", vth=vths << 12, spike_exp=6, state_exp=6, cum_error=0),
        population("sd", (n,), "loihi2.sigma_delta", vth=vths << 6, bias=rng.integers(-9, 9, n) << 12, spike_exp=6, state_exp=6, rectify=0,
                   cum_error=1),
        population("rf", (n,), "loihi2.rf", vth=vths << 6, **turn, **shared),
        population("rf_iz", (n,), "loihi2.rf_iz", vth=vths << 6, **turn, **shared),
        population("ternary", (n,), "loihi2.ternary_lif", du=900, dv=128, vth=vths, vth_lo=-vths[::-1], bias_mant=0, bias_exp=0),
        population("atrlif", (n,), "loihi2.atrlif", delta_i=rng.integers(0, 4096, n), delta_v=rng.integers(0, 4096, n), delta_theta=300,
                   delta_r=900, theta_0=vths, theta_step=rng.integers(1, 300, n), bias_mant=0, bias_exp=0),
    ]
    network = QuantizedNetwork(
        (port("in", (9,)), *cells), tuple(projection("in", p.name, Dense(even(rng, n, 9)), message_bits=4) for p in cells), ("in",), ("rf",)
    )
    inputs = rng.integers(-7, 8, (2, 40, 9)) * (rng.random((2, 40, 9)) < 0.3)
    compare(network, inputs, 41, tmp_path)
    wanted = reference(network, {"in": inputs}, 41).states
    states = run_program(tmp_path, inputs, 41, timeout=120, states=True).states
    assert states.keys() == wanted.keys()
    for key, values in wanted.items():
        np.testing.assert_array_equal(states[key], values, err_msg=key)


def test_a_model_that_fails_ends_the_run_with_its_reason(tmp_path):
    network = QuantizedNetwork(
        (port("in", (1,)), lif("out", (1,))), (projection("in", "out", Dense(np.array([[2]], np.int32)), delay=70),), ("in",), ("out",),
    )
    for name, data in emit(network, mapped(network)).items():
        (tmp_path / name).write_bytes(data)
    start = time.monotonic()
    result = run_lava(tmp_path, np.ones((1, 2, 1), np.int64), 3, timeout=100)
    assert time.monotonic() - start < 90
    assert "status 5: DelayDense of 'in' to 'out', step 1 of a sample: ValueError: DelayDense Process 'delays'" in result.missing


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
    np.save(tmp_path / "array.npy", np.zeros((1, 2, 2), int))
    for name, value in (("five", 5), ("minus", -1), ("huge", 2**40)):
        np.savez(tmp_path / f"{name}.npz", inputs=np.array([[[0, 0], [value, 0]]]))
    (tmp_path / "folder.npz").mkdir()
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
    (["--input", "S.npz", "--samples", "0"], 2, "must be positive"),
    (["--input", "S.npz", "--samples", "-1"], 2, "must be positive"),
    (["--input", "array.npy"], 2, "array.npy is not an .npz file with an array `inputs`: it is no .npz archive"),
    (["--input", "five.npz"], 2, "the samples hold values from 0 to 5 for 'in', which takes binary spikes, 0 or 1"),
    (["--input", "minus.npz"], 2, "the samples hold values from -1 to 0 for 'in', which takes binary spikes, 0 or 1"),
    (["--input", "huge.npz"], 2, "`inputs` holds values from 0 to 1099511627776; payloads are 32-bit integers"),
    (["--input", "S.npz", "--output", "none/x.npz"], 2, "none/x.npz cannot be written: there is no folder none"),
    (["--input", "S.npz", "--output", "folder.npz"], 2, "folder.npz cannot be written: it is a folder"),
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


STAND_INS = '''
import runpy, sys, types
import numpy as np
from lava.magma.core import run_configs
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.utils import loihi


class Adapter(AbstractProcess):
    def __init__(self, *, shape, num_message_bits):
        super().__init__(shape=shape, bits=num_message_bits)
        self.inp, self.out = InPort(shape=shape), OutPort(shape=shape)


class PyToNxAdapter(Adapter):
    pass


class NxToPyAdapter(Adapter):
    pass


class Passing(PyLoihiProcessModel):
    inp: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)


@implements(proc=PyToNxAdapter, protocol=LoihiProtocol)
@requires(CPU)
class PyToNx(Passing):
    def run_spk(self):
        self.out.send(self.inp.recv())


@implements(proc=NxToPyAdapter, protocol=LoihiProtocol)
@requires(CPU)
class NxToPy(Passing):
    # Payloads arrive as their bits, without a sign.
    def run_spk(self):
        payload, bits = self.inp.recv(), self.proc_params["bits"]
        self.out.send(payload % (1 << bits) if bits else payload)


def start():
    package = types.ModuleType("lava.proc.embedded_io")
    package.spike = types.SimpleNamespace(PyToNxAdapter=PyToNxAdapter, NxToPyAdapter=NxToPyAdapter)
    sys.modules["lava.proc.embedded_io"] = package
    loihi.is_installed = lambda: True
    run_configs.Loihi2HwCfg = lambda: run_configs.Loihi2SimCfg(select_tag="fixed_pt", exception_proc_model_map=models)
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


models = {PyToNxAdapter: PyToNx, NxToPyAdapter: NxToPy}
'''


def test_the_hardware_path_with_stand_ins_for_its_adapters(tmp_path):
    """Intel's extension is closed; what the program does around it can be run on Lava's own models."""
    rng = np.random.default_rng(6)
    network = QuantizedNetwork(
        (
            port("in", (5,)), port("other", (2,)), lif("lif", (4,), vth=200),
            population("sd", (3,), "loihi2.sigma_delta", vth=2 << 12, bias=0, spike_exp=6, state_exp=6, rectify=0, cum_error=0),
            population("ternary", (3,), "loihi2.ternary_lif", du=900, dv=128, vth=100, vth_lo=-100, bias_mant=0, bias_exp=0),
        ),
        (
            projection("in", "lif", Dense(even(rng, 4, 5)), message_bits=4),
            projection("in", "sd", Dense(even(rng, 3, 5)), message_bits=4, exponent=5),
            projection("other", "ternary", Dense(even(rng, 3, 2))),
        ),
        ("in", "other"), ("sd", "ternary"),
    )
    inputs = {"in": rng.integers(-7, 8, (2, 12, 5)), "other": rng.integers(0, 2, (2, 12, 2))}
    for name, data in emit(network, mapped(network)).items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "stand_ins.py").write_text(STAND_INS)
    np.savez(tmp_path / "S.npz", **{f"inputs.{name}": values for name, values in inputs.items()})
    interpreter, _ = find_lava()
    arguments = ["--input", "S.npz", "--output", "OUT.npz", "--steps", "13", "--hardware"]
    done = subprocess.run(
        [interpreter, "-c", "import stand_ins; stand_ins.start()", str(tmp_path / "network.py"), *arguments],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    wanted = reference(network, inputs, 13).spikes
    assert wanted["sd"].min() < 0
    assert wanted["ternary"].min() == -1
    with np.load(tmp_path / "OUT.npz") as file:
        assert set(file.files) == {"spikes.sd", "spikes.ternary"}
        for name in ("sd", "ternary"):
            np.testing.assert_array_equal(file[f"spikes.{name}"], wanted[name], err_msg=name)


def test_what_hardware_does_not_have_is_a_message(tmp_path):
    cells = population("p", (1,), "loihi2.lif_reset", du=1, dv=2, vth=3, bias_mant=0, bias_exp=0, reset_interval=12, reset_offset=0)
    network = QuantizedNetwork(
        (port("in", (1,)), cells), (projection("in", "p", Dense(np.array([[2]], np.int32))),), ("in",), ("p",)
    )
    for name, data in emit(network, mapped(network)).items():
        (tmp_path / name).write_bytes(data)
    for extra, text in (([], "population 'p' resets every 12 steps; Loihi 2 needs a power of two"), (["--states"], "--states reads")):
        done = command(tmp_path, "--input", "S.npz", "--hardware", *extra)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"network.py: {text}")


@pytest.mark.skipif(os.environ.get("NMAP_LAVA_LONG") != "1", reason="158,509 neurons on Lava: NMAP_LAVA_LONG=1 runs them")
def test_pilotnet_sdnn_as_lava_runs_it(tmp_path):
    quantized = TARGET.quantize(read(shared_data() / "lava_dl" / "pilotnet_sdnn.net"), Options(payload=(0, 255)), Findings())
    rng = np.random.default_rng(0)
    shape = quantized["input"].shape
    inputs = (rng.integers(0, 200, shape) + rng.integers(0, 30, (1, 4, *shape))).astype(np.int32)
    steps = 16
    neurons = [p for p in quantized.populations if p.kernel is not None]
    assert sum(p.size for p in neurons) == 158509
    for name, data in emit(quantized, mapped(quantized)).items():
        (tmp_path / name).write_bytes(data)
    got = run_program(tmp_path, inputs.reshape(1, 4, -1), steps, timeout=600, states=True)
    assert got.missing is None
    probes = [Probe(p.name, variable) for p in neurons for variable in TRACED[p.kernel]]
    fixed = simulate(quantized, TARGET.kernels, inputs, steps, record=[p.name for p in neurons], probes=probes)
    assert (fixed.spikes[neurons[-1].name] != 0).any()
    for p in neurons:
        np.testing.assert_array_equal(got.spikes[p.name], fixed.spikes[p.name], err_msg=p.name)
        for variable in TRACED[p.kernel]:
            key = f"{p.name}.{variable}"
            np.testing.assert_array_equal(got.states[key], fixed.state[key], err_msg=key)
