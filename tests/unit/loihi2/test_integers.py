"""Reading integer networks: values, conventions, and every problem of a file at once."""

from __future__ import annotations

import numpy as np
import pytest

from nmap.connectivity import Dense, Sparse
from nmap.diagnostics import NmapError
from nmap.quantized import SynapseFormat
from nmap_loihi2.integers import infer_sign, prepare_weights, read_integer_network
from tests.support import shared_data


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


SMALL = {"input": np.array([[0, 1, 0], [1, 1, 0]]), "w0": np.array([[3, -3], [300, -300]]), "du0": 4095, "dv0": 0, "vth0": 10}


@pytest.mark.parametrize(("weights", "sign"), [
    ([0, 0], "excitatory"), ([0, 3], "excitatory"), ([-1, 0], "inhibitory"), ([-1, 1], "mixed"), ([], "excitatory"),
])
def test_sign_mode_as_lava_infers_it(weights, sign):
    assert infer_sign(np.array(weights, np.int64)) == sign


@pytest.mark.parametrize(("weights", "sign", "bits", "applied"), [
    # Observed with Lava 0.10.0: mixed 3 acts as 2 and -3 as -4, 1000 as 254 (even), an inhibitory -256 as -255.
    ([3, -3, 1000, -1000], "mixed", 8, [2, -4, 254, -256]),
    ([3, 300, -5], "excitatory", 8, [3, 255, 0]),
    ([-3, -256, 5], "inhibitory", 8, [-3, -255, 0]),
    ([7, -7, 255], "mixed", 6, [0, -8, 248]),
    ([7, 8, 255], "excitatory", 5, [0, 8, 248]),
    ([-7, -8, -255], "inhibitory", 5, [0, -8, -248]),
])
def test_weights_as_lava_applies_them(weights, sign, bits, applied):
    prepared = prepare_weights(np.array(weights), sign, bits)
    assert prepared.dtype == np.int32
    assert prepared.tolist() == applied
    assert prepare_weights(prepared, sign, bits).tolist() == applied


def test_small_network(tmp_path):
    network, inputs = read_integer_network(save(tmp_path / "n.npz", **SMALL, bias_mant0=np.array([1, 2]), bias_exp0=3))
    assert [(p.name, p.shape, p.kernel) for p in network.populations] == [("input", (2,), None), ("layer0", (2,), "loihi2.lif")]
    assert (network.inputs, network.outputs) == (("input",), ("layer0",))
    projection = network.projections[0]
    assert isinstance(projection.connectivity, Dense)
    assert projection.connectivity.weights.tolist() == [[2, -4], [254, -256]]
    assert projection.format == SynapseFormat(bits=8, exponent=0, sign="mixed", message_bits=0)
    assert (projection.delay, projection.delays) == (0, None)
    params = {key: values.tolist() for key, values in network["layer0"].params.items()}
    assert params == {"du": [4095, 4095], "dv": [0, 0], "vth": [10, 10], "bias_mant": [1, 2], "bias_exp": [3, 3]}
    assert inputs.tolist() == [[[0, 1], [1, 1], [0, 0]]]


def test_sparse_ternary_and_formats(tmp_path):
    path = save(
        tmp_path / "n.npz", input=SMALL["input"], w0_data=[5, 9, 4], w0_indices=[1, 0, 1], w0_indptr=[0, 2, 2, 3], w0_shape=[3, 2],
        du0=1, dv0=2, vth0=3, vth_lo0=-4, neuron0="TernaryLIF", num_message_bits0=16, weight_exp0=-2, sign_mode0=1, num_weight_bits0=7,
        w1=np.full((1, 3), -9), delays1=np.array([[0, 3, 62]]), du1=1, dv1=2, vth1=3,
    )
    network, _ = read_integer_network(path)
    first, second = network.projections
    assert isinstance(first.connectivity, Sparse)
    # Sources ascend inside a row; mixed with 7 bits keeps multiples of 4.
    assert (first.connectivity.indices.tolist(), first.connectivity.weights.tolist()) == ([0, 1, 1], [8, 4, 4])
    assert first.format == SynapseFormat(bits=7, exponent=-2, sign="mixed", message_bits=16)
    assert network["layer0"].kernel == "loihi2.ternary_lif"
    assert network["layer0"].params["vth_lo"].tolist() == [-4] * 3
    assert second.format.sign == "inhibitory"
    assert second.delays.tolist() == [[0, 3, 62]]
    assert network.latency == 2


@pytest.mark.parametrize(("changes", "code", "text"), [
    ({"input": None}, "NM103", "`input` is missing"),
    ({"input": np.zeros(3, int)}, "NM106", "`input` has shape (3,)"),
    ({"w0": None}, "NM103", "`w0` is missing"),
    ({"w0": np.zeros((2, 3), int)}, "NM106", "`w0` has shape (2, 3)"),
    ({"w0": np.zeros((2, 2))}, "NM107", "`w0` is float64"),
    ({"du0": None}, "NM103", "`du0` is missing"),
    ({"vth0": np.array([1, 2, 3])}, "NM106", "3 values for 2 neurons"),
    ({"neuron0": "SigmaDelta"}, "NM201", "neuron `SigmaDelta` of layer 0"),
    ({"neuron0": "LIFReset"}, "NM201", "neuron `LIFReset` of layer 0"),
    ({"num_weight_bits0": 9}, "NM305", "`num_weight_bits0` is not one integer in 1..8"),
    ({"sign_mode0": 4}, "NM305", "`sign_mode0`"),
    ({"delays0": np.full((2, 2), 64)}, "NM305", "`delays0` spans 64..64"),
    ({"delays0": np.zeros((2, 3), int)}, "NM106", "`delays0` has shape (2, 3)"),
])
def test_problems(tmp_path, changes, code, text):
    arrays = {key: value for key, value in {**SMALL, **changes}.items() if value is not None}
    with pytest.raises(NmapError) as caught:
        read_integer_network(save(tmp_path / "n.npz", **arrays))
    assert any(d.code == code and text in d.message for d in caught.value.diagnostics), caught.value


@pytest.mark.parametrize("changes", [
    {"w0_indptr": [0, 1]},
    {"w0_indices": [0, 7, 1]}, {"w0_indices": [0]}, {"w0_indptr": [0, 2, 1, 3]}, {"w0_shape": [3, 5]}, {"w0_data": [1]},
])
def test_damaged_rows(tmp_path, changes):
    arrays = {"w0_data": [5, 9, 4], "w0_indices": [1, 0, 1], "w0_indptr": [0, 2, 2, 3], "w0_shape": [3, 2], **changes}
    with pytest.raises(NmapError) as caught:
        read_integer_network(save(tmp_path / "n.npz", input=SMALL["input"], du0=1, dv0=1, vth0=1, **arrays))
    assert {d.code for d in caught.value.diagnostics} == {"NM106"}


def test_all_problems_come_together(tmp_path):
    arrays = {**SMALL, "neuron0": "Sigma", "weight_exp0": 99, "w1": np.zeros((3, 2), int), "dv1": 0}
    with pytest.raises(NmapError) as caught:
        read_integer_network(save(tmp_path / "n.npz", **arrays))
    assert {d.code for d in caught.value.diagnostics} == {"NM201", "NM305", "NM103"}


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_other_files(tmp_path, data):
    path = tmp_path / "n.npz"
    path.write_bytes(data)
    with pytest.raises(NmapError) as caught:
        read_integer_network(path)
    assert [d.code for d in caught.value.diagnostics] == ["NM101"]
    with pytest.raises(NmapError, match="NM101"):
        read_integer_network(tmp_path / "none.npz")


def test_recorded_networks_are_read():
    folder = shared_data() / "golden" / "lava"
    network, inputs = read_integer_network(folder / "c_graded_delay.npz")
    assert [p.kernel for p in network.populations] == [None, "loihi2.lif", "loihi2.ternary_lif", "loihi2.lif"]
    assert [p.format.message_bits for p in network.projections] == [16, 0, 2]
    assert inputs.shape == (1, 60, 20)
    # A recorded dendritic sum: what the first layer's weights, as prepared, give for the first input column.
    with np.load(folder / "c_graded_delay.out.npz") as file:
        recorded = file["a0"]
    np.testing.assert_array_equal(network.projections[0].connectivity.apply(inputs[0, 0]), recorded[:, 1])
