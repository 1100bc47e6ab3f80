"""netx files as nmap reads and simulates them, against Lava's own fixed-point processes wired as netx wires them: every message."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap.readers import read
from nmap.simulate.floating import simulate
from nmap_loihi2.vendor import find_lava
from tests.unit.readers.builders import write_netx

STEPS = 60

# Runs with an interpreter that has Lava; builds each network from the numbers of the file, not from anything that nmap read.
DRIVER = '''
import json, sys
import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense, DelayDense
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from lava.proc.lif.process import LIF
from lava.proc.rf.process import RF
from lava.proc.rf_iz.process import RF_IZ
from lava.proc.sdn.process import Delta, Sigma, SigmaDelta


def neuron(shape, n, bias, role):
    if n["type"] == "CUBA":
        more = {} if bias is None else {"bias_mant": bias, "bias_exp": 6}
        return LIF(shape=shape, vth=n["vThMant"], du=n["iDecay"] - 1, dv=n["vDecay"], **more)
    if n["type"] == "SDNN" and role == "input":
        return Delta(shape=shape, vth=n["vThMant"], spike_exp=6, state_exp=6)
    if n["type"] == "SDNN" and "sigma_output" in n:
        return Sigma(shape=shape)
    if n["type"] == "SDNN":
        more = {} if bias is None else {"bias": bias}
        return SigmaDelta(shape=shape, vth=n["vThMant"], spike_exp=6, state_exp=6, **more)
    s, c = n["sinDecay"] / 4096, n["cosDecay"] / 4096
    kind = RF if n["type"] == "RF_PHASE" else RF_IZ
    period, alpha = 1 / (np.arctan2(s, c) / 2 / np.pi), 1 - np.sqrt(s**2 + c**2)
    made = kind(shape=shape, period=period, alpha=alpha, vth=n["vThMant"], state_exp=6, decay_bits=12)
    assert (int(made.sin_decay.init), int(made.cos_decay.init)) == (n["sinDecay"], n["cosDecay"])
    return made


def run(layers, inputs, steps):
    shape = layers[0]["xyz"] if layers[0]["type"] == "input" else inputs.shape[1:]
    data = np.moveaxis(inputs, 0, -1)
    flat, message_bits, sinks = False, 0, []
    if layers[0]["type"] == "input":
        # An input port is a hop of one step before the input block's neurons.
        data = np.concatenate([np.zeros((*data.shape[:-1], 1), data.dtype), data], axis=-1)
    # Lava's source starts again at its end.
    data = np.concatenate([data, np.zeros((*data.shape[:-1], steps), data.dtype)], axis=-1)
    before = Source(data=data)
    first = before
    for layer in layers:
        n, bias = layer["neuron"], layer.get("bias")
        if layer["type"] == "input":
            made = neuron(tuple(layer["xyz"]), n, None, "input")
            before.s_out.connect(made.a_in)
        elif layer["type"] == "flatten":
            flat = True
            continue
        elif layer["type"] == "conv":
            # Lava flips the kernel; its axes are x, y, channels.
            weight = layer["weight"][:, :, ::-1, ::-1].transpose(0, 3, 2, 1)
            synapse = Conv(weight=weight, input_shape=tuple(before.s_out.shape), stride=layer["stride"][::-1],
                           padding=layer["padding"][::-1], num_message_bits=message_bits)
            before.s_out.connect(synapse.s_in)
            if bias is not None:
                bias = np.broadcast_to(bias, synapse.output_shape).astype(np.int32)
            made = neuron(synapse.output_shape, n, bias, "conv")
            synapse.a_out.connect(made.a_in)
        else:
            source = before.s_out.transpose([2, 1, 0]).flatten() if flat else before.s_out
            flat = False
            if "real" in layer:
                made = neuron((layer["real"].shape[0],), n, None, "dense")
                for part, port in (("real", made.a_real_in), ("imag", made.a_imag_in)):
                    synapse = Dense(weights=layer[part], num_message_bits=message_bits)
                    source.connect(synapse.s_in)
                    synapse.a_out.connect(port)
            else:
                made = neuron((layer["weight"].shape[0],), n, bias, "dense")
                for part, port in (("weight", source), ("weight_rec", made.s_out)):
                    if part not in layer:
                        continue
                    if part == "weight" and "delay" in layer:
                        synapse = DelayDense(weights=layer[part], delays=layer["delay"], max_delay=62, num_message_bits=message_bits)
                    else:
                        synapse = Dense(weights=layer[part], num_message_bits=message_bits)
                    port.connect(synapse.s_in)
                    synapse.a_out.connect(made.a_in)
        sink = Sink(shape=made.s_out.shape, buffer=steps)
        made.s_out.connect(sink.a_in)
        sinks.append(sink)
        message_bits = 16 if n["type"] == "SDNN" else 0
        before = made
    first.run(condition=RunSteps(num_steps=steps), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    found = [np.asarray(sink.data.get()) for sink in sinks]
    first.stop()
    return found


if __name__ == "__main__":
    folder, steps = sys.argv[1], int(sys.argv[2])
    arrays = np.load(folder + "/arrays.npz")
    out = {}
    for name, layers in json.load(open(folder + "/nets.json")).items():
        for k, layer in enumerate(layers):
            for key, value in layer.items():
                if value == "array":
                    layer[key] = arrays[f"{name}.{k}.{key}"]
        for k, data in enumerate(run(layers, arrays[f"{name}.input"], steps)):
            # Back from x, y, channels.
            out[f"{name}.{k}"] = (data.transpose(2, 1, 0, 3) if data.ndim == 4 else data).reshape(-1, steps)
    np.savez(folder + "/out.npz", **out)
'''


def even(rng: np.random.Generator, *shape: int, top: int = 60) -> np.ndarray:
    """Even weights of both signs: what Lava's mixed 8-bit synapses keep as they are."""
    weights = 2 * rng.integers(-top // 2, top // 2 + 1, shape)
    weights.flat[:2] = 2, -2
    return weights


def sdnn(threshold: int, **more: Any) -> dict[str, Any]:
    return {"type": "SDNN", "activation": "relu", "vThMant": threshold, **more}


def resonator(rng: np.random.Generator, kind: str, threshold: int) -> dict[str, Any]:
    """A rotation whose integers survive netx's way through a period and a decay in floating point."""
    while True:
        angle, length = rng.uniform(0.2, 1.5), rng.uniform(0.7, 0.99) * 4096
        sin, cos = int(length * np.sin(angle)), int(length * np.cos(angle))
        s, c = sin / 4096, cos / 4096
        period, alpha = 1 / (np.arctan2(s, c) / 2 / np.pi), 1 - np.sqrt(s**2 + c**2)
        turned = 2 * np.pi / period
        if (int((1 - alpha) * np.sin(turned) * 4096), int((1 - alpha) * np.cos(turned) * 4096)) == (sin, cos):
            return {"type": kind, "sinDecay": sin, "cosDecay": cos, "vThMant": threshold, "gradedSpike": False}


def cuba(rng: np.random.Generator, threshold: int) -> dict[str, Any]:
    decays = {"iDecay": int(rng.integers(200, 4097)), "vDecay": int(rng.integers(100, 2000))}
    return {"type": "CUBA", **decays, "vThMant": threshold, "refDelay": 1, "gradedSpike": False}


def walk(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.clip(np.cumsum(rng.integers(-4, 5, (40, *shape)), axis=0), -100, 100)


def spikes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.random((40, *shape)) < 0.3).astype(np.int64)


def networks() -> dict[str, tuple[list[dict[str, Any]], np.ndarray]]:
    """Layers as in the file, and the input (time, *shape), by the network's name."""
    rng = np.random.default_rng(11)
    nets: dict[str, tuple[list[dict[str, Any]], np.ndarray]] = {}
    for k in range(2):
        nets[f"sdnn_dense_{k}"] = (
            [
                {"type": "input", "shape": [7], "neuron": sdnn(5 * k)},
                {"type": "dense", "weight": even(rng, 9, 7), "bias": rng.integers(-30, 30, 9), "neuron": sdnn(6)},
                {"type": "dense", "weight": even(rng, 6, 9, top=20), "neuron": sdnn(3)},
                {"type": "dense", "weight": even(rng, 2, 6, top=10), "neuron": sdnn(6, sigma_output=True)},
            ],
            walk(rng, 7),
        )
    conv = {"type": "conv", "weight": even(rng, 3, 2, 3, 2, top=20), "stride": [2, 1], "padding": [1, 0], "dilation": [1, 1], "groups": 1}
    nets["sdnn_conv"] = (
        [
            {"type": "input", "shape": [2, 5, 4], "neuron": sdnn(2)},
            {**conv, "shape": [3, 3, 3], "bias": rng.integers(-20, 40, 3), "neuron": sdnn(6)},
            {"type": "flatten", "shape": [27, 1, 1]},
            {"type": "dense", "weight": even(rng, 4, 27, top=10), "neuron": sdnn(6, sigma_output=True)},
        ],
        walk(rng, 2, 5, 4),
    )
    for kind in ("RF_PHASE", "RF_IZHIKEVICH"):
        for k in range(2):
            nets[f"{kind}_{k}"] = (
                [
                    {"type": "dense", "real": even(rng, 8, 10), "imag": even(rng, 8, 10), "neuron": resonator(rng, kind, 40)},
                    {"type": "dense", "real": even(rng, 5, 8), "imag": even(rng, 5, 8), "neuron": resonator(rng, kind, 8)},
                ],
                spikes(rng, 10),
            )
    for k in range(2):
        nets[f"cuba_{k}"] = (
            [
                {"type": "dense", "weight": even(rng, 12, 10), "delay": rng.integers(0, 6, (12, 10)), "neuron": cuba(rng, 40)},
                {
                    "type": "dense_rec", "weight": even(rng, 9, 12), "weight_rec": even(rng, 9, 9), "bias": rng.integers(-5, 9, 9),
                    "neuron": cuba(rng, 40),
                },
                {"type": "dense", "weight": even(rng, 4, 9), "delay": np.repeat([[0], [2], [5], [1]], 9, axis=1), "neuron": cuba(rng, 12)},
            ],
            spikes(rng, 10),
        )  # fmt: skip
    return nets


@pytest.fixture(scope="module")
def lava(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder with the files, and what Lava computed."""
    found = find_lava()
    if isinstance(found, str):
        pytest.skip(found)
    folder = tmp_path_factory.mktemp("netx")
    arrays: dict[str, np.ndarray] = {}
    nets: dict[str, list[dict[str, Any]]] = {}
    for name, (layers, inputs) in networks().items():
        arrays[f"{name}.input"] = inputs if inputs.ndim == 2 else inputs.transpose(0, 3, 2, 1)
        written, told = [], []
        for k, layer in enumerate(layers):
            entries = {key: value for key, value in layer.items() if key not in ("real", "imag")}
            if "real" in layer:
                entries["weight"] = {"real": layer["real"].astype(np.float32), "imag": layer["imag"].astype(np.float32)}
            rows = layer["real"].shape[0] if "real" in layer else layer["weight"].shape[0] if layer["type"].startswith("dense") else None
            written.append({"shape": [rows], **entries} if rows is not None else entries)
            told.append({"neuron": {}, **{key: "array" if isinstance(v, np.ndarray) else v for key, v in layer.items()}})
            if layer["type"] == "input":
                told[-1]["xyz"] = layer["shape"][::-1]
            arrays.update({f"{name}.{k}.{key}": value for key, value in layer.items() if isinstance(value, np.ndarray)})
        write_netx(folder / f"{name}.net", written)
        nets[name] = told
    np.savez(folder / "arrays.npz", **arrays)
    (folder / "nets.json").write_text(json.dumps(nets))
    (folder / "driver.py").write_text(DRIVER)
    done = subprocess.run(
        [found[0], str(folder / "driver.py"), str(folder), str(STEPS)], capture_output=True, text=True, timeout=400, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(folder / "out.npz") as file:
        return folder, {key: file[key] for key in file.files}


@pytest.mark.parametrize("name", list(networks()))
def test_every_message_equals_lava(lava: tuple[Path, dict[str, np.ndarray]], name: str) -> None:
    folder, expected = lava
    network = read(folder / f"{name}.net")
    assert not any("one unit off" in note for note in network.notes)
    inputs = networks()[name][1]
    populations = [p.name for p in network.populations if p.neuron is not None]
    got = simulate(network, inputs[None], steps=STEPS, record=populations)
    for k, population in enumerate(populations):
        messages = expected[f"{name}.{k}"]
        assert 0.01 < np.mean(messages != 0) <= 1.0, f"{population} is too quiet to show a difference"
        assert len(np.unique(messages)) > 1
        np.testing.assert_array_equal(got.spikes[population][0].T, messages, err_msg=population)
