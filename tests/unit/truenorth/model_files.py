"""Model files written by hand, as TrueNorth's and RANC's own tools write them, for tests of the readers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from nmap.diagnostics import Diagnostic, Findings, NmapError
from nmap_truenorth.model.model import NOWHERE, Model

EMPTY_ROW = " ".join(["00"] * 32)


def neuron_type(number: int, **changed: Any) -> str:
    """Return an entry of `neuronTypes` as the Corelet Programming Environment writes it."""
    entry: dict[str, Any] = {"name": f"N{number:08X}", "class": "NeuronGeneral"}
    entry |= {"sigma0": 1, "sigma1": -1, "sigma2": 1, "sigma3": 1, "s0": 4, "s1": 2, "s2": 0, "s3": 255}
    entry |= {"b0": False, "b1": False, "b2": False, "b3": False, "sigma_lambda": -1, "lambda": 3, "c_lambda": False}
    entry |= {"epsilon": True, "alpha": 22, "beta": 5, "TM": 0, "gamma": 1, "kappa": False, "sigma_VR": -1, "VR": 3, "V": -7}
    entry |= changed
    return json.dumps({key: value for key, value in entry.items() if value is not None})


def rows(first: str = "C0" + " 00" * 30 + " 01", kinds: str = "S2") -> list[str]:
    """Return 256 crossbar rows; the first has neurons 0, 1 and 255."""
    return [f'{{"type":"{kinds}","synapses":"{first}"}}'] + [f'{{"type":"S0","synapses":"{EMPTY_ROW}"}}'] * 255


NEURONS = (
    '"dendrites":["0:255"],"types":["1x128",31,"0x127"],"destCores":["0x128",-32,"-1x127"],"destAxons":["128:255",7,"0x127"],'
    '"destDelays":["15x128","1x128"]'
)


def text_model(
    *, types: list[str] | None = None, neurons: str = NEURONS, crossbar: str | None = None, count: int = 1, size: int = 256, more: str = ""
) -> str:
    """Return a model of one core in the text format."""
    types = types if types is not None else [neuron_type(31, gamma=0), neuron_type(1)]
    crossbar = crossbar if crossbar is not None else f'{{"rows":[{",".join(rows())}]}}'
    return f"""{{
    /* General model parameters */
    "model":{{"coreCount":{count},"neuronclass":"NeuronGeneral","crossbarSize":{size},"crossbarclass":"CrossbarBinary"}},
    "neuronTypes":[{",".join(types)}],   // shared by all cores
    "core":{{
        "metadata":{{"coreletClass":"one","coreletId":0,"coreNumber":0,"parentCoreletId":[-1]}},
        "id":0,"timeScaleExponent":0,"rngSeed":4294967295,
        /* Core neuron connectivity parameters */
        "neurons":{{{neurons}}},
        "crossbar":{crossbar}
    }}{more}
}}
"""


def old_model(neurons: list[dict[str, Any]], names: list[str], seed: int = 1) -> str:
    """Return a model of one core in the older dialect, as pytruenorth writes it."""
    types = [json.loads(neuron_type(0)) | {"name": name} for name in names]
    for entry in types:
        del entry["class"]
    bars = [{"type": "S1", "synapses": "FF" + " 00" * 31}] + [{"type": "S0", "synapses": EMPTY_ROW}] * 255
    core = {"id": 0, "rngSeed": seed, "timeScaleExponent": 0, "neurons": neurons, "crossbar": {"rows": bars}}
    header = {"coreCount": 1, "neuronClass": "NeuronGeneral", "crossbarSize": 256, "crossbarclass": "CrossbarBinary", "networking": "INTRA"}
    parts = [{"model": header}, {"neuronTypes": types}, {"core": core}]
    return "{\n" + ",\n".join(json.dumps(part, indent=4)[1:-1] for part in parts) + "\n}"


def ranc_neuron(**changed: Any) -> dict[str, Any]:
    """Return a neuron of RANC's JSON."""
    neuron: dict[str, Any] = {"weights": [3, -2, 7], "leak": -1, "positive_threshold": 5, "negative_threshold": -4, "reset_potential": 2}
    neuron |= {"reset_mode": 1, "current_potential": -3, "destination_core_offset": [1, 0], "destination_axon": 1, "destination_tick": 2}
    neuron |= changed
    return {key: value for key, value in neuron.items() if value is not None}


def ranc_model(**changed: Any) -> dict[str, Any]:
    """Return RANC's JSON: cores at (0, 0) and (1, 0), the output bus at (1, 1)."""
    out = {"destination_core_offset": [0, 1], "destination_axon": 3, "destination_tick": 0}
    cores = [
        {"coordinates": [0, 0], "axons": [0, 1, 2], "connections": [[1, 0, 1], [1]], "neurons": [ranc_neuron(), ranc_neuron(reset_mode=0)]},
        {"coordinates": [1, 0], "axons": [2, 0], "connections": [[0, 1]], "neurons": [ranc_neuron(**out)]},
    ]
    packet = {"destination_core": [1, 0], "destination_axon": 1, "destination_tick": 0}
    packets = [[packet, packet | {"destination_tick": 2}], [], [packet | {"destination_core": [0, 0], "destination_axon": 0}]]
    return {"packets": packets, "output_bus": {"coordinates": [1, 1], "num_outputs": 4}, "cores": cores} | changed


def ranc_config(**changed: Any) -> dict[str, Any]:
    """Return RANC's configuration for `ranc_model`."""
    config = {"num_neurons": 2, "num_axons": 3, "num_cores_x": 3, "num_cores_y": 2, "num_weights": 4, "max_tick_offset": 16}
    logs = {"neuron_block_trace_verbosity": 0, "core_controller_trace_verbosity": 0, "scheduler_trace_verbosity": 0}
    return config | logs | {"neuron_reset_type": 0} | changed


def small_model(cores: int = 3, axons: int = 16, neurons: int = 16, seed: int = 0, **changed: Any) -> Model:
    """Return a random model that the text format can hold: every field used, some neurons disabled."""
    rng = np.random.default_rng(seed)
    shape = (cores, neurons)
    enabled = rng.random(shape) < 0.8
    kind = np.where(enabled, rng.integers(0, 3, shape), 1)
    target = np.select([kind == 0, kind == 2], [rng.integers(0, cores, shape), np.full(shape, -2)], NOWHERE)
    bits = rng.random((cores, axons, neurons)) < 0.3
    if cores > 2:
        bits[2] = bits[0]
    types = rng.integers(0, 4, (cores, axons))
    if cores > 2:
        types[2] = types[0]
    fields: dict[str, Any] = {
        "file": "small.json",
        "dialect": "truenorth",
        "ids": 3 + 2 * rng.permutation(cores),
        "places": None,
        "axon_types": types,
        "crossbar": np.packbits(bits, axis=2),
        "weights": rng.integers(-255, 256, (*shape, 4)),
        "stochastic": rng.random((*shape, 4)) < 0.1,
        "leak": rng.integers(-255, 256, shape),
        "leak_stochastic": rng.random(shape) < 0.1,
        "leak_reversal": rng.random(shape) < 0.5,
        "threshold": rng.integers(0, 2**18, shape),
        "floor": rng.integers(0, 2**18, shape),
        "mask": rng.integers(0, 9, shape),
        "gamma": rng.integers(0, 3, shape),
        "kappa": rng.random(shape) < 0.5,
        "reset": np.where(rng.random(shape) < 0.5, -1, 1) * (2 ** rng.integers(0, 19, shape) - 1),
        "potential": rng.integers(-(2**19), 2**19, shape),
        "enabled": enabled,
        "target": target,
        "target_core": np.where(target == -2, -32 - rng.integers(0, 3, shape), np.where(target >= 0, 0, np.where(enabled, -2, -1))),
        "target_axon": np.where(target == NOWHERE, -1, rng.integers(0, axons, shape)),
        "delay": np.where(target == NOWHERE, 1, rng.integers(1, 16, shape)),
        "seeds": rng.integers(0, 2**32, cores, dtype=np.uint64),
        "corelets": tuple({"coreletClass": f"class {core}", "coreletId": core} for core in range(cores)),
    }
    return Model(**(fields | changed))


def told(error: NmapError) -> list[tuple[str, str]]:
    """Return code and place (without the file) of each diagnostic."""
    return [(d.code, place(d)) for d in error.diagnostics]


def place(diagnostic: Diagnostic) -> str:
    """Return the place of a diagnostic in its file."""
    return (diagnostic.where or "").partition(".json")[2].lstrip(":")


def notes(findings: Findings) -> list[str]:
    """Return the messages of notes and warnings."""
    return [d.message for d in findings if d.severity != "error"]
