"""Every Loihi 2 kernel against the process of Lava that it stands for: all messages and all state, over hundreds of steps.

All processes run in one run of Lava's own runtime, fed 32-bit numbers of every size by a process written here. They are Lava's, and so
are their fixed-point models; an observer put around the models' `run_spk` writes down the state after each step. Beside them run whole
integer networks, wired from their files without anything of nmap.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap.compile import build_program
from nmap.emulate.engine import emulate
from nmap.simulate.fixed import simulate
from nmap.testing.kernels import run_kernel
from nmap.trace import Probe
from nmap_loihi2.integers import read_integer_network
from nmap_loihi2.kernels import KERNELS
from nmap_loihi2.vendor import find_lava
from tests.golden.test_recorded_loihi2 import scattered

STEPS, NEURONS = 200, 32
LOW, HIGH = -(1 << 31), (1 << 31) - 1

DRIVER = '''
import json, sys
import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.dense.process import Dense, DelayDense
from lava.proc.sparse.process import Sparse
from lava.utils.weightutils import SignMode
from scipy.sparse import csr_matrix
from lava.proc.atrlif.models import PyATRLIFModelFixed
from lava.proc.atrlif.process import ATRLIF
from lava.proc.graded.models import PyGradedVecModelFixed
from lava.proc.graded.process import GradedVec
from lava.proc.lif.models import PyLifModelBitAcc, PyLifResetModelBitAcc, PyTernLifModelFixed
from lava.proc.lif.process import LIF, LIFReset, TernaryLIF
from lava.proc.rf.models import PyRFModelFixed
from lava.proc.rf.process import RF
from lava.proc.rf_iz.models import PyRF_IZModelFixed
from lava.proc.rf_iz.process import RF_IZ
from lava.proc.sdn.models import PyDeltaModelFixed, PySigmaDeltaModelFixed, PySigmaModelFixed
from lava.proc.sdn.process import ActivationMode, Delta, Sigma, SigmaDelta

FOLDER = sys.argv[1]
CASES = json.load(open(FOLDER + "/cases.json"))
ARRAYS = dict(np.load(FOLDER + "/arrays.npz"))
STEPS = next(iter(CASES.values()))["steps"]
KINDS = {
    "LIF": (LIF, PyLifModelBitAcc, "u v"), "TernaryLIF": (TernaryLIF, PyTernLifModelFixed, "u v"),
    "LIFReset": (LIFReset, PyLifResetModelBitAcc, "u v"), "Delta": (Delta, PyDeltaModelFixed, "act residue error"),
    "SigmaDelta": (SigmaDelta, PySigmaDeltaModelFixed, "sigma act residue error"), "Sigma": (Sigma, PySigmaModelFixed, "sigma"),
    "RF": (RF, PyRFModelFixed, "real imag"), "RF_IZ": (RF_IZ, PyRF_IZModelFixed, "real imag"),
    "ATRLIF": (ATRLIF, PyATRLIFModelFixed, "i v theta r"), "GradedVec": (GradedVec, PyGradedVecModelFixed, "v"),
}


def observe(model, names):
    computed = model.run_spk
    if getattr(computed, "observed", False):
        # Lava imports this file a second time when it looks for process models.
        return

    def run_spk(self):
        if self.time_step == 1:
            self.seen = {name: [] for name in [*names, "s", "a"]}
            if hasattr(self, "a_in"):
                receive = self.a_in.recv

                def received():
                    self.seen["a"].append(receive())
                    return self.seen["a"][-1].copy()

                self.a_in.recv = received
            send = self.s_out.send

            def keep(data):
                # What the channel of the declared type carries.
                self.seen["s"].append(np.asarray(data).astype(type(self).s_out.d_type))
                send(data)

            self.s_out.send = keep
        computed(self)
        for name in names:
            self.seen[name].append(np.array(getattr(self, name)))
        if self.time_step == STEPS:
            np.savez(FOLDER + "/" + self.proc_params["case"] + ".npz", **{k: np.array(v) for k, v in self.seen.items()})

    run_spk.observed = True
    model.run_spk = run_spk


for _, model, names in KINDS.values():
    observe(model, names.split())


def ports(case):
    return [name[len(case) + 4:] for name in ARRAYS if name.startswith(case + ".in.")]


NETS = {name: dict(np.load(f"{FOLDER}/{name}.net.npz")) for name in json.load(open(FOLDER + "/nets.json"))}


class Feeder(AbstractProcess):
    def __init__(self):
        super().__init__()
        for name, net in NETS.items():
            setattr(self, f"{name}__net", OutPort(shape=(net["input"].shape[0],)))
        for case, told in CASES.items():
            for port in ports(case):
                setattr(self, f"{case}__{port}", OutPort(shape=(told["neurons"],)))


@implements(proc=Feeder, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class FeederModel(PyLoihiProcessModel):
    for case in CASES:
        for port in ports(case):
            vars()[f"{case}__{port}"] = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    for name in NETS:
        vars()[f"{name}__net"] = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def run_spk(self):
        for name, net in NETS.items():
            getattr(self, f"{name}__net").send(net["input"][:, self.time_step - 1].astype(np.int32))
        for case in CASES:
            for port in ports(case):
                getattr(self, f"{case}__{port}").send(ARRAYS[f"{case}.in.{port}"][self.time_step - 1].astype(np.int32))


PARAMETERS = {
    "LIF": "du dv vth bias_mant bias_exp", "LIFReset": "du dv vth bias_mant bias_exp reset_interval reset_offset",
    "TernaryLIF": "du dv vth vth_lo bias_mant bias_exp", "Delta": "vth spike_exp state_exp cum_error",
    "SigmaDelta": "vth bias spike_exp state_exp cum_error act_mode", "Sigma": "",
    "ATRLIF": "delta_i delta_v delta_theta delta_r theta_0 theta_step bias_mant bias_exp",
}


def wire(name, net, port):
    k = 0
    while f"w{k}" in net or f"w{k}_data" in net:
        told = {key: int(net[f"{key}{k}"]) for key in ("weight_exp", "num_weight_bits", "num_message_bits") if f"{key}{k}" in net}
        if int(net.get(f"sign_mode{k}", 0)):
            told["sign_mode"] = SignMode(int(net[f"sign_mode{k}"]))
        if f"delays{k}" in net:
            delays = net[f"delays{k}"].astype(np.int64)
            synapses = DelayDense(weights=net[f"w{k}"], delays=delays, max_delay=int(delays.max()), **told)
        elif f"w{k}" in net:
            synapses = Dense(weights=net[f"w{k}"], **told)
        else:
            data, indices, indptr, shape = (net[f"w{k}_{part}"] for part in ("data", "indices", "indptr", "shape"))
            synapses = Sparse(weights=csr_matrix((data, indices, indptr), shape=tuple(shape)), **told)
        kind = str(net.get(f"neuron{k}", "LIF"))
        given = {key: net[f"{key}{k}"] for key in PARAMETERS[kind].split() if f"{key}{k}" in net}
        given = {key: value if value.ndim else value.item() for key, value in given.items()}
        given = {key: value / 4096 if key.startswith("delta_") else value for key, value in given.items()}
        if kind == "TernaryLIF":
            given["vth_hi"] = given.pop("vth")
        if "act_mode" in given:
            given["act_mode"] = ActivationMode(given["act_mode"])
        neurons = KINDS[kind][0](shape=synapses.a_out.shape, **given)
        neurons.proc_params["case"] = f"{name}.{k}"
        port.connect(synapses.s_in)
        synapses.a_out.connect(neurons.a_in)
        port, k = neurons.s_out, k + 1


if __name__ == "__main__":
    feeder, constants = Feeder(), {}
    for case, told in CASES.items():
        given = dict(told["given"])
        given.update({key[len(case) + 4:]: value for key, value in ARRAYS.items() if key.startswith(case + ".of.")})
        if "act_mode" in given:
            given["act_mode"] = ActivationMode(given["act_mode"])
        process = KINDS[told["process"]][0](shape=(told["neurons"],), **given)
        process.proc_params["case"] = case
        for port in ports(case):
            getattr(feeder, f"{case}__{port}").connect(getattr(process, port))
        for name in ("cos_decay", "sin_decay", "vth", "bias"):
            if hasattr(process, name):
                constants[f"{case}.{name}"] = np.asarray(getattr(process, name).init)
    for name, net in NETS.items():
        wire(name, net, getattr(feeder, f"{name}__net"))
    feeder.run(condition=RunSteps(num_steps=STEPS), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    feeder.stop()
    np.savez(FOLDER + "/constants.npz", **constants)
'''


def numbers(rng: np.random.Generator, bits: int, *shape: int, quiet: float = 0.3) -> np.ndarray:
    """Whole numbers of up to so many bits and of both signs, as many small ones as large ones, and a share of zeros."""
    size = rng.integers(0, bits + 1, shape)
    values = rng.integers(-(1 << 62), 1 << 62, shape) >> (62 - size)
    return np.where(rng.random(shape) < quiet, 0, values)


def extremes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """The ends of 32 bits and numbers beside them."""
    return rng.choice([LOW, LOW + 1, LOW // 2, -1, 0, 1, HIGH // 2 + 1, HIGH - 1, HIGH], shape)


def pulses(rng: np.random.Generator, size: int) -> np.ndarray:
    return (rng.random((STEPS, NEURONS)) < 0.4) * rng.integers(-size // 3, size, (STEPS, NEURONS))


def inputs(rng: np.random.Generator, size: int) -> np.ndarray:
    """(steps, neurons): a quarter of the neurons gets numbers as in a network, one of any size, one mixed, one the ends of the range."""
    made = pulses(rng, size)
    quarter = NEURONS // 4
    made[:, quarter : 2 * quarter] = numbers(rng, 31, STEPS, quarter)
    middle = made[:, 2 * quarter : 3 * quarter]
    middle[:] = np.where(rng.random(middle.shape) < 0.03, numbers(rng, 31, *middle.shape), middle)
    made[:, 3 * quarter :] = np.where(rng.random((STEPS, quarter)) < 0.5, extremes(rng, STEPS, quarter), made[:, 3 * quarter :])
    return made


Case = dict[str, Any]


def case(process: str, kernel: str, given: dict[str, Any], params: dict[str, Any], names: str, sent: dict[str, np.ndarray]) -> Case:
    """Describe a run.

    Args:
        process: Lava's process.
        kernel: nmap's.
        given: arguments of the process.
        params: parameters of the kernel; names of Lava's variables where Lava makes them from its arguments.
        names: Lava's state variables in the order of the kernel's, `-` where Lava has none.
        sent: by port, (steps, neurons).
    """
    return {"process": process, "kernel": kernel, "given": given, "params": params, "names": names.split(), "sent": sent}


@cache
def cases() -> dict[str, Case]:
    rng = np.random.default_rng(5)
    made: dict[str, Case] = {}

    def current(extreme: bool) -> dict[str, Any]:
        du, dv = rng.integers(-1, 4096, NEURONS), rng.integers(0, 4097, NEURONS)
        mantissa, exponent = rng.integers(-4096, 4096, NEURONS), rng.integers(0, 8, NEURONS)
        if extreme:
            du[::3], dv[::3] = rng.integers(-90000, 90000, (2, du[::3].size))
            mantissa, exponent = numbers(rng, 18, NEURONS), rng.integers(-70, 70, NEURONS)
        start = {"u": numbers(rng, 31, NEURONS), "v": numbers(rng, 31, NEURONS)} if extreme else {}
        return {"du": du, "dv": dv, "bias_mant": mantissa, "bias_exp": exponent, **start}

    for k, extreme in enumerate((False, True)):
        given = {**current(extreme), "vth": numbers(rng, 31 if extreme else 17, NEURONS)}
        made[f"lif_{k}"] = case("LIF", "loihi2.lif", given, given, "u v", {"a_in": inputs(rng, 20000)})
    for k, (high, low) in enumerate([(5000, -4000), ((1 << 26) + 999, -(1 << 25)), (-300, -900)]):
        given = current(k > 0)
        made[f"ternary_{k}"] = case(
            "TernaryLIF", "loihi2.ternary_lif", {**given, "vth_hi": high, "vth_lo": low}, {**given, "vth": high, "vth_lo": low}, "u v",
            {"a_in": inputs(rng, 20000)},
        )
    for k, (interval, offset) in enumerate([(16, 0), (7, 23), (1, 0)]):
        given = {**current(k % 2 == 1), "vth": 20000, "reset_interval": interval, "reset_offset": offset}
        made[f"reset_{k}"] = case("LIFReset", "loihi2.lif_reset", given, given, "u v", {"a_in": inputs(rng, 20000)})
    exponents = [(6, 6), (0, 0), (9, -2), (20, 11)]
    for k, (spike_exp, state_exp) in enumerate(exponents):
        given = {"vth": [5, 40, 0, -1][k], "spike_exp": spike_exp, "state_exp": state_exp, "cum_error": k % 2 == 1}
        params = {**given, "vth": "vth", "cum_error": int(k % 2)}
        made[f"delta_{k}"] = case("Delta", "loihi2.delta", given, params, "- act residue error", {"a_in": inputs(rng, 3000)})
        rectify = k % 3 != 1
        given = {**given, "bias": numbers(rng, 17, NEURONS), "act_mode": int(rectify)}
        params = {**params, "bias": "bias", "rectify": int(rectify)}
        made[f"change_{k}"] = case(
            "SigmaDelta", "loihi2.sigma_delta", given, params, "sigma act residue error", {"a_in": inputs(rng, 200000)}
        )
    made["sigma"] = case("Sigma", "loihi2.sigma", {}, {}, "sigma sigma", {"a_in": inputs(rng, 30000)})
    for process, kernel in (("RF", "loihi2.rf"), ("RF_IZ", "loihi2.rf_iz")):
        for k, (state_exp, bits, threshold) in enumerate([(6, 12, 200), (0, 4, 3000), (31, 30, -1)]):
            alpha = rng.uniform(0, 0.4, NEURONS) if k < 2 else rng.uniform(-0.9, 0.9, NEURONS)
            given = {"period": rng.uniform(2.1, 40, NEURONS), "alpha": alpha, "vth": threshold, "state_exp": state_exp, "decay_bits": bits}
            params = {"cos": "cos_decay", "sin": "sin_decay", "vth": "vth", "state_exp": state_exp, "decay_bits": bits}
            made[f"{process}_{k}"] = case(
                process, kernel, given, params, "real imag", {"a_real_in": inputs(rng, 3000), "a_imag_in": inputs(rng, 3000)}
            )
    for k, (top, step) in enumerate([(60, 30), (5, 0), (1 << 25, 1 << 24), (-40, -3)]):
        decays = {name: rng.integers(0, 4097, NEURONS) for name in ("delta_i", "delta_v", "delta_theta", "delta_r")}
        decays["delta_theta"][::5], decays["delta_r"][::4] = 0, 4096
        if k > 1:
            decays = {name: np.where(rng.random(NEURONS) < 0.3, rng.integers(-9000, 9000, NEURONS), d) for name, d in decays.items()}
        else:
            decays["delta_i"][::7] = -1
        rest = rng.integers(min(0, top), max(0, top) + 1, NEURONS)
        shared = {"bias_mant": numbers(rng, 17, NEURONS), "bias_exp": rng.integers(-20, 40, NEURONS), "theta_0": rest, "theta_step": step}
        start = {"i": numbers(rng, 31, NEURONS), "v": numbers(rng, 31, NEURONS), "r": numbers(rng, 31, NEURONS)} if k > 1 else {}
        made[f"atrlif_{k}"] = case(
            "ATRLIF", "loihi2.atrlif", {**{name: d / 4096 for name, d in decays.items()}, **shared, **start},
            {**decays, **shared, "u": start.get("i", 0), "v": start.get("v", 0), "rho": start.get("r", 0)}, "i v theta r",
            {"a_in": inputs(rng, 2000)},
        )
    made["relay"] = case("GradedVec", "loihi2.relay", {"vth": 0}, {}, "v", {"a_in": inputs(rng, 30000)})
    return made


@cache
def networks() -> dict[str, dict[str, Any]]:
    """Files of integer networks, with what Lava takes in silence on purpose."""
    rng = np.random.default_rng(9)

    def spikes(n: int, share: float = 0.3) -> np.ndarray:
        return (rng.random((n, STEPS)) < share).astype(np.int64)

    def listed(k: int, n: int, m: int, top: int) -> dict[str, Any]:
        kept = rng.random((n, m)) < 0.4
        indptr = np.concatenate([[0], np.cumsum(kept.sum(1))])
        return {
            f"w{k}_data": rng.integers(-top, top, kept.sum()), f"w{k}_indices": np.nonzero(kept)[1], f"w{k}_indptr": indptr,
            f"w{k}_shape": [n, m],
        }

    def even(n: int, m: int, top: int) -> np.ndarray:
        return rng.integers(-top, top, (n, m)) * 2

    def lif(k: int, n: int, vth: int, **more: Any) -> dict[str, Any]:
        made = {"du": rng.integers(-1, 4096, n), "dv": rng.integers(0, 4097, n), "vth": vth, **more}
        return {f"{name}{k}": value for name, value in made.items()}

    overflow = {
        # Weights beyond their range, decays, thresholds, biases and exponents beyond their fields, graded spikes taken as binary ones.
        "input": numbers(rng, 20, 10, STEPS), "num_message_bits0": 8, "w0": rng.integers(-1000, 1000, (12, 10)), "weight_exp0": 3,
        **lif(0, 12, 9000, bias_mant=rng.integers(-50000, 50000, 12), bias_exp=rng.integers(-3, 15, 12), du=5000),
        "w1": rng.integers(0, 999, (9, 12)), "num_weight_bits1": 5, "weight_exp1": 9, **lif(1, 9, 100000, dv=0), "neuron1": "TernaryLIF",
        "vth_lo1": -140000, "w2": -rng.integers(0, 999, (7, 9)), "num_weight_bits2": 3, "weight_exp2": -2,
        **lif(2, 7, [5, 5, 5, 5, 5, 5, 200000], bias_mant=5000, bias_exp=9), "w3": rng.integers(-300, 300, (5, 7)), "weight_exp3": 12,
        "sign_mode3": 2, **lif(3, 5, [999999, 9, 9, 9, 9]),
    }
    sparse = {
        "input": spikes(14), **listed(0, 12, 14, 128), **lif(0, 12, 60), "neuron0": "LIFReset", "reset_interval0": 16, "reset_offset0": 1,
        **listed(1, 10, 12, 128), "weight_exp1": 1, "num_weight_bits1": 6, **lif(1, 10, 90, bias_mant=300, bias_exp=2),
        "neuron1": "LIFReset", "reset_interval1": 16, "reset_offset1": 18, **listed(2, 6, 10, 99), "sign_mode2": 1, **lif(2, 6, 40),
    }
    changes = {
        "input": np.cumsum(rng.integers(-9, 10, (8, STEPS)), axis=1), "num_message_bits0": 16, "w0": even(9, 8, 9), "neuron0": "Delta",
        "vth0": 20, "spike_exp0": 6, "state_exp0": 6, "w1": even(11, 9, 40), "num_message_bits1": 24, "weight_exp1": -1,
        "neuron1": "SigmaDelta", "vth1": 9, "bias1": rng.integers(-99, 99, 11), "spike_exp1": 6, "state_exp1": 6, "w2": even(6, 11, 60),
        "num_message_bits2": 24, "delays2": rng.integers(0, 5, (6, 11)), "neuron2": "SigmaDelta", "vth2": 5, "act_mode2": 0,
        "cum_error2": True, "spike_exp2": 3, "state_exp2": 2, "w3": even(4, 6, 20), "num_message_bits3": 24, "neuron3": "Sigma",
    }
    wide = {
        # Sums beyond 32 bits, shifted both ways.
        "input": numbers(rng, 31, 7, STEPS), "num_message_bits0": 32, "w0": even(9, 7, 120), "weight_exp0": -3, "neuron0": "Delta",
        "vth0": 1, "w1": even(8, 9, 120), "num_message_bits1": 32, "weight_exp1": 2, "neuron1": "SigmaDelta", "vth1": 0,
        **listed(2, 6, 8, 255), "num_message_bits2": 32, "weight_exp2": -4, "neuron2": "Delta", "vth2": 0, "w3": even(5, 6, 120),
        "delays3": rng.integers(0, 4, (5, 6)), "num_message_bits3": 32, "weight_exp3": 1, "neuron3": "Delta", "vth3": 0,
        **listed(4, 6, 5, 255), "weight_exp4": 3, "num_message_bits4": 32, **lif(4, 6, 90000),
    }
    late = {
        # Delayed sums beyond 32 bits of products within, shifted right.
        "input": numbers(rng, 23, 40, STEPS, quiet=0), "num_message_bits0": 24, "w0": even(6, 40, 127), "weight_exp0": -2,
        "delays0": rng.integers(0, 2, (6, 40)), "neuron0": "Delta", "vth0": 0, "w1": even(3, 6, 9), "num_message_bits1": 32,
        **lif(1, 3, 20000),
    }
    adaptive = {
        "input": spikes(9) * rng.integers(-1, 4, (9, STEPS)), "num_message_bits0": 4, "w0": even(10, 9, 30), "weight_exp0": -1,
        "delays0": rng.integers(0, 63, (10, 9)), "neuron0": "ATRLIF", "delta_i0": rng.integers(0, 4096, 10),
        "delta_v0": rng.integers(0, 4096, 10), "delta_theta0": 400, "delta_r0": 900, "theta_00": 40, "theta_step0": 9, "bias_mant0": 60,
        "w1": even(5, 10, 90), **lif(1, 5, 60),
    }
    return {"overflow": overflow, "sparse": sparse, "changes": changes, "wide": wide, "late": late, "adaptive": adaptive}


def run(command: list[str], folder: Path) -> None:
    """Run Lava, and end all that it forked whatever happens."""
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )
        try:
            status: int | str = process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            status = "time limit"
        finally:
            # Also after a normal end: a crashed run leaves children behind that wait for ever.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert status == 0, f"{status}: {(folder / 'errors').read_text()[-3000:]}"


@pytest.fixture(scope="module")
def lava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what Lava computed."""
    found = find_lava()
    if isinstance(found, str):
        pytest.skip(found)
    folder = tmp_path_factory.mktemp("kernels")
    arrays, told = {}, {}
    for name, described in cases().items():
        given = described["given"]
        told[name] = {
            "process": described["process"], "steps": STEPS, "neurons": NEURONS,
            "given": {key: value for key, value in given.items() if not isinstance(value, np.ndarray)},
        }
        arrays.update({f"{name}.of.{key}": value for key, value in given.items() if isinstance(value, np.ndarray)})
        arrays.update({f"{name}.in.{port}": values for port, values in described["sent"].items()})
    np.savez(folder / "arrays.npz", **arrays)
    for name, net in networks().items():
        np.savez(folder / f"{name}.net.npz", **net)
    (folder / "nets.json").write_text(json.dumps(list(networks())))
    (folder / "cases.json").write_text(json.dumps(told))
    (folder / "driver.py").write_text(DRIVER)
    run([found[0], str(folder / "driver.py"), str(folder)], folder)
    return folder


@pytest.mark.parametrize("name", list(cases()))
def test_every_message_and_state_equals_lava(lava: Path, name: str) -> None:
    described = cases()[name]
    kernel = KERNELS[described["kernel"]]
    with np.load(lava / "constants.npz") as file:
        params = {
            key: file[f"{name}.{value}"] if isinstance(value, str) else value for key, value in described["params"].items()
        }
    with np.load(lava / f"{name}.npz") as file:
        expected = {key: file[key].astype(np.int64) for key in file.files}
    params = {key: np.broadcast_to(np.asarray(value).astype(np.int64), NEURONS) for key, value in params.items()}
    start = np.array([params.get(key, np.zeros(NEURONS, np.int64)) for key in kernel.state], np.int64)
    dendrite = np.stack(list(described["sent"].values()), axis=1).astype(np.int64)
    assert kernel.receptors == len(described["sent"])
    # In two pieces: state and time go on where they stopped.
    parts, state = [], start
    for first, last in ((0, 37), (37, STEPS)):
        parts.append(run_kernel(kernel, params, state, dendrite[first:last], first, pieces=3))
        state = parts[-1][1][-1]
    spikes, probe = (np.concatenate(found) for found in zip(*parts, strict=True))
    for variable, lava_name, values in zip(kernel.state, described["names"], probe.transpose(1, 0, 2), strict=True):
        if lava_name != "-":
            np.testing.assert_array_equal(values, expected[lava_name], err_msg=variable)
    np.testing.assert_array_equal(spikes, expected["s"])
    assert (spikes != 0).mean() > 0.01
    stepped = {variable: start[k].copy() for k, variable in enumerate(kernel.state)}
    for step in range(STEPS):
        sent = kernel.reference_step(params, stepped, dendrite[step].ravel(), step)
        np.testing.assert_array_equal(sent, expected["s"][step], err_msg=str(step))
        for k, variable in enumerate(kernel.state):
            np.testing.assert_array_equal(stepped[variable], probe[step, k], err_msg=f"{variable} after step {step}")


@pytest.mark.parametrize("name", list(networks()))
def test_integer_networks_compute_what_lava_computes_from_the_file(lava: Path, name: str) -> None:
    network, inputs = read_integer_network(lava / f"{name}.net.npz")
    layers = [p for p in network.populations if p.kernel is not None]
    kernels = {p.name: KERNELS[str(p.kernel)] for p in layers}
    probes = [Probe(p.name, variable) for p in layers for variable in (*kernels[p.name].state, "spikes")]
    for found in (
        simulate(network, KERNELS, inputs, STEPS, probes=probes),
        emulate(build_program(network, "loihi2", scattered(network, 2)), KERNELS, inputs, STEPS, probes=probes),
    ):
        for k, p in enumerate(layers):
            with np.load(lava / f"{name}.{k}.npz") as file:
                expected = {key: file[key] for key in file.files}
            assert (expected["s"] != 0).mean() > 0.01, f"{p.name} is too quiet to show a difference"
            np.testing.assert_array_equal(found.spikes[p.name][0], expected["s"], err_msg=p.name)
            names = {"loihi2.delta": "act residue error", "loihi2.sigma_delta": "sigma act residue error", "loihi2.sigma": "sigma sigma"}
            names["loihi2.atrlif"] = "i v theta r"
            ours = kernels[p.name].state[1:] if p.kernel == "loihi2.delta" else kernels[p.name].state
            for variable, theirs in zip(ours, names.get(str(p.kernel), "u v").split(), strict=True):
                np.testing.assert_array_equal(found.state[f"{p.name}.{variable}"][0], expected[theirs], err_msg=f"{p.name}.{variable}")
