from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.readers import read
from tests.unit.readers.builders import cuba, refused, write_netx

_RNG = np.random.default_rng(2)


def _dense(weights: Any, **more: Any) -> dict[str, Any]:
    weights = np.asarray(weights, np.float32)
    return {"type": "dense", "shape": [weights.shape[0]], "weight": weights, "neuron": cuba(), **more}


def test_a_dense_layer_in_full(tmp_path: Path) -> None:
    weights = np.array([[2, -4, 6], [8, 10, -12]])
    layer = _dense(weights, bias=np.array([3.0, -5.0]), neuron=cuba(i_decay=1024, v_decay=512, threshold=7, kind="LOIHI"))
    network = read(write_netx(tmp_path / "a.net", [layer]))
    assert (network.format, network.inputs, network.outputs) == ("netx", ("input",), ("layer0",))
    c = network.conventions
    assert (c.dt, c.reset, c.decay, c.compare) == (None, "zero", "steps", ">")
    assert network["input"].shape == (3,)
    neuron = network["layer0"].neuron
    assert neuron is not None
    assert (neuron.model, neuron.quantum, neuron.spiking) == ("LOIHI", 1 / 64, True)
    for name, value in {"alpha": 0.75, "gain_in": 1.0, "beta": 0.875, "gain_v": 1.0, "threshold": 7.0, "v_reset": 0.0}.items():
        np.testing.assert_array_equal(getattr(neuron, name), [value, value], err_msg=name)
    np.testing.assert_array_equal(neuron.drive, [3.0, -5.0])
    (projection,) = network.projections
    assert isinstance(projection.connectivity, Dense)
    assert (projection.delay, projection.bias, str(projection.where)) == (1, None, f"{tmp_path / 'a.net'}:/layer/0/weight")
    np.testing.assert_array_equal(projection.connectivity.weights, weights)


def test_layers_are_ordered_by_number_not_by_name(tmp_path: Path) -> None:
    network = read(write_netx(tmp_path / "a.net", [_dense(np.eye(2) * k) for k in range(1, 13)]))
    assert [int(p.connectivity.weights.max()) for p in network.projections] == list(range(1, 13))
    assert network.outputs == ("layer11",)


def test_an_input_block_is_a_population_behind_a_port(tmp_path: Path) -> None:
    block = {"type": "input", "shape": [2, 4, 5], "weight": np.array([36.0]), "bias": np.array([34.0]), "neuron": cuba(threshold=25)}
    conv = {
        "type": "conv",
        "shape": [3, 2, 2],
        "weight": _RNG.integers(-9, 9, (3, 2, 3, 2, 1)).astype(np.float32),
        "stride": [1, 3],
        "padding": [0, 0],
        "dilation": [1, 1],
        "groups": 1,
        "bias": np.array([1.0, 2.0, 3.0]),
        "neuron": cuba(),
    }
    network = read(write_netx(tmp_path / "a.net", [block, conv]))
    assert [(p.name, p.shape) for p in network.populations] == [("input", (2, 4, 5)), ("layer0", (2, 4, 5)), ("layer1", (3, 2, 2))]
    first, second = network.projections
    assert isinstance(first.connectivity, Sparse)
    np.testing.assert_array_equal(first.connectivity.apply(np.arange(40.0)), np.arange(40.0))
    assert isinstance(second.connectivity, Conv2d)
    assert (second.connectivity.stride, second.connectivity.kernel_size, first.delay, second.delay) == ((1, 3), (3, 2), 1, 1)
    neuron = network["layer1"].neuron
    assert neuron is not None
    np.testing.assert_array_equal(neuron.drive, np.repeat([1.0, 2.0, 3.0], 4))
    assert any("weight 36 and bias 34" in note for note in network.notes)


def test_an_input_block_without_neuron_is_a_port_only(tmp_path: Path) -> None:
    network = read(write_netx(tmp_path / "a.net", [{"type": "input", "shape": [3]}, _dense(np.ones((2, 3)))]))
    assert [p.name for p in network.populations] == ["input", "layer1"]


def test_flatten_and_shapes_of_rank_three(tmp_path: Path) -> None:
    block = {"type": "input", "shape": [2, 3, 2], "neuron": cuba()}
    layer = _dense(np.ones((4, 12)), shape=[4, 1, 1])
    network = read(
        write_netx(tmp_path / "a.net", [block, {"type": "flatten", "shape": [12, 1, 1]}, layer, _dense(np.ones(4).reshape(1, 4))])
    )
    assert network["layer2"].shape == (4,)
    one = write_netx(
        tmp_path / "b.net", [_dense(np.ones((4, 2))), {"type": "dense", "shape": [1, 1, 1], "weight": np.ones(4), "neuron": cuba()}]
    )
    assert read(one)["layer1"].size == 1


def test_a_layer_without_neuron_integrates_and_never_fires(tmp_path: Path) -> None:
    network = read(write_netx(tmp_path / "a.net", [{"type": "dense", "shape": [2], "weight": np.ones((2, 3))}]))
    neuron = network["layer0"].neuron
    assert neuron is not None
    assert not neuron.spiking
    assert (float(neuron.alpha[0]), float(neuron.beta[0])) == (1.0, 0.0)
    assert any("no neuron" in note for note in network.notes)


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        (np.array(3), [[3, 3, 3], [3, 3, 3]]),
        (np.array([1, 2]), [[1, 1, 1], [2, 2, 2]]),
        (np.array([1, 2, 4]), [[1, 2, 4], [1, 2, 4]]),
        (np.array([[0.9, 1.1, 2.0], [63, 62, 200]]), [[0, 1, 2], [62, 62, 62]]),
    ],
)
def test_delays(tmp_path: Path, delay: np.ndarray, expected: list[list[int]]) -> None:
    network = read(write_netx(tmp_path / "a.net", [_dense(np.ones((2, 3)), delay=delay)]))
    np.testing.assert_array_equal(network.projections[0].delays, expected)
    assert any("2 delays of layer 0 were above 62" in d.message for d in network.diagnostics) == (delay.max() > 62)


def test_a_square_layer_takes_a_delay_vector_per_target(tmp_path: Path) -> None:
    network = read(write_netx(tmp_path / "a.net", [_dense(np.ones((2, 2)), delay=np.array([1, 2]))]))
    np.testing.assert_array_equal(network.projections[0].delays, [[1, 1], [2, 2]])


def test_weights_that_are_not_integers_are_truncated_with_a_count(tmp_path: Path) -> None:
    network = read(write_netx(tmp_path / "a.net", [_dense([[1.9, -1.9, 4.0]])]))
    np.testing.assert_array_equal(network.projections[0].connectivity.weights, [[1, -1, 4]])
    assert [d.code for d in network.diagnostics] == ["NM112"]
    assert "2 weights of layer 0" in network.diagnostics[0].message


def test_ignored_fields_are_noted(tmp_path: Path) -> None:
    layer = _dense(np.ones((1, 2)), neuron=cuba(wgtExp=2) | {"refDelay": 3, "gradedSpike": True, "novelty": 1})
    notes = " ".join(read(write_netx(tmp_path / "a.net", [layer]), dt=1e-3).notes)
    assert all(word in notes for word in ("refDelay", "wgtExp", "gradedSpike", "novelty", "dt of 0.001 s was not used"))


def test_decays_and_thresholds_per_neuron_and_channel(tmp_path: Path) -> None:
    layer = _dense(np.ones((3, 2)), neuron=cuba(v_decay=np.array([0, 1024, 4096]), threshold=np.array([1, 2, 3])))
    neuron = read(write_netx(tmp_path / "a.net", [layer]))["layer0"].neuron
    assert neuron is not None
    np.testing.assert_array_equal(neuron.beta, [1.0, 0.75, 0.0])
    np.testing.assert_array_equal(neuron.threshold, [1, 2, 3])


def test_unsupported_layers_and_neurons_are_refused_together(tmp_path: Path) -> None:
    layers = [
        _dense(np.ones((2, 2)), neuron=cuba(kind="SDNN")),
        {"type": "pool", "shape": [2]},
        {"type": "dense_rec", "shape": [2]},
        _dense(np.ones((2, 2)), neuron=cuba(kind="ALIF")),
    ]
    path = write_netx(tmp_path / "a.net", layers)
    with refused("NM104", "NM104", "NM104", "NM104") as found:
        read(path)
    assert [d.where for d in found] == [f"{path}:/layer/0/neuron", f"{path}:/layer/1", f"{path}:/layer/2", f"{path}:/layer/3/neuron"]
    assert "`dense_rec`" in found[2].message


@pytest.mark.parametrize(
    ("layers", "code", "word"),
    [
        ([_dense(np.ones((2, 3))), _dense(np.ones((2, 3)))], "NM106", "2 arrive"),
        ([_dense(np.ones((2, 3)), shape=[5])], "NM106", "states 5"),
        ([_dense(np.ones((2, 3)), bias=np.ones(4))], "NM106", "bias"),
        ([_dense(np.ones((2, 3)), delay=np.ones(7))], "NM106", "delay"),
        ([_dense(np.ones((2, 3)), delay=np.array(-1))], "NM107", "negative"),
        ([_dense([[np.nan, 1]])], "NM107", "not finite"),
        ([_dense(np.ones((2, 3)), neuron=cuba(v_decay=5000))], "NM107", "between 0 and 4096"),
        ([_dense(np.ones((2, 3)), neuron={"type": "CUBA", "iDecay": 1, "vDecay": 2})], "NM103", "vThMant"),
        ([{"type": "dense", "shape": [2], "neuron": cuba()}], "NM103", "weight"),
        ([{"type": "conv", "shape": [2, 3, 3], "weight": np.ones((2, 1, 3, 3)), "neuron": cuba()}], "NM106", "first"),
        (
            [
                {"type": "input", "shape": [1, 5, 5], "neuron": cuba()},
                {"type": "conv", "shape": [2, 4, 4], "weight": np.ones((2, 1, 3, 3)), "neuron": cuba()},
            ],
            "NM106",
            "computes (2, 3, 3)",
        ),
        (
            [
                {"type": "input", "shape": [1, 2, 2], "neuron": cuba()},
                {"type": "conv", "shape": [2, 4, 4], "weight": np.ones((2, 1, 3, 3)), "neuron": cuba()},
            ],
            "NM106",
            "does not fit",
        ),
        ([{"type": "input", "shape": [2]}], "NM108", "no layer with neurons"),
        ([{"type": "flatten", "shape": [2]}, _dense(np.ones((2, 2)))], "NM108", "flatten"),
    ],
)
def test_refusals(tmp_path: Path, layers: list[dict[str, Any]], code: str, word: str) -> None:
    with refused(code) as found:
        read(write_netx(tmp_path / "a.net", layers))
    assert word in found[0].message, found[0].message
    assert found[0].where is not None


def test_complex_weights_and_missing_layers(tmp_path: Path) -> None:
    path = write_netx(tmp_path / "a.net", [_dense(np.ones((2, 2))), _dense(np.ones((2, 2))), _dense(np.ones((2, 2)))])
    with h5py.File(path, "a") as file:
        del file["layer/0/weight"]
        file["layer/0/weight/real"] = np.ones((2, 2))
        del file["layer/1"]
    with refused("NM103", "NM104") as found:
        read(path)
    assert {d.code: d.message for d in found}["NM103"].startswith("layer 1 is missing")


def test_conventions_of_a_netx_file_cannot_be_overruled(tmp_path: Path) -> None:
    path = write_netx(tmp_path / "a.net", [_dense(np.ones((2, 2)))])
    with refused("NM111", "NM111"):
        read(path, reset="subtract", source="sinabs")
    assert read(path, reset="zero", source="lava").conventions.reset == "zero"


@pytest.mark.parametrize("shape", [np.array([2**40]), np.array([np.inf])])
def test_shapes_beyond_the_limit_are_called_too_large(tmp_path: Path, shape: np.ndarray) -> None:
    write_netx(tmp_path / "a.net", [_dense(np.ones((2, 3)), shape=shape)])
    with refused("NM110") as found:
        read(tmp_path / "a.net")
    assert "too large" in found[0].message
