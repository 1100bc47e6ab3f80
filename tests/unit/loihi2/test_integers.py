"""Reading integer networks: values, conventions, and every problem of a file at once."""

from __future__ import annotations

import numpy as np
import pytest

from nmap.connectivity import Dense, Sparse
from nmap.diagnostics import Findings, NmapError
from nmap.quantized import SynapseFormat
from nmap_loihi2.integers import prepare_weights, read_integer_network
from nmap_loihi2.synapses import infer_sign
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
    ({"input": np.full((2, 3), 1 << 40)}, "NM802", "1099511627776 in `input` is outside -2147483648..2147483647"),
    ({"input": np.full((2, 3), -(1 << 31) - 1), "num_message_bits0": 32}, "NM802", "-2147483649 in `input`"),
    ({"w0": None}, "NM103", "`w0` is missing"),
    ({"w2": np.eye(2, dtype=int)}, "NM103", "`w1` is missing, while layer 2 has weights, `w2`"),
    ({"w0": None, "w3_data": [1]}, "NM103", "`w0` is missing, while layer 3 has weights, `w3_data`"),
    ({"vth0": np.uint64((1 << 64) - 1)}, "NM107", "18446744073709551615 in `vth0`"),
    ({"w0": np.zeros((2, 3), int)}, "NM106", "`w0` has shape (2, 3)"),
    ({"w0": np.full((2, 2), 0.5)}, "NM107", "`w0` is float64"),
    ({"w0": np.full((2, 2), np.nan)}, "NM107", "`w0` is float64"),
    ({"w0": np.full((2, 2), 1e300)}, "NM107", "`w0` is float64"),
    ({"du0": "fast"}, "NM107", "`du0` is <U4"),
    ({"du0": None}, "NM103", "`du0` is missing"),
    ({"vth0": np.array([1, 2, 3])}, "NM106", "3 values for 2 neurons"),
    ({"neuron0": "LIFRefractory"}, "NM201", "neuron `LIFRefractory` of layer 0"),
    # What Lava 0.10.0 itself refuses, each tried.
    ({"neuron0": "LIFReset", "reset_interval0": 0}, "NM305", "`reset_interval0` of `layer0` is 0; Lava takes 1 and more"),
    ({"neuron0": "LIFReset", "reset_offset0": -1}, "NM305", "`reset_offset0` of `layer0` is -1"),
    ({"neuron0": "LIFReset", "reset_interval0": [2, 3]}, "NM305", "`reset_interval0` has several values"),
    ({"neuron0": "TernaryLIF", "vth_lo0": 11}, "NM305", "`vth_lo0` is above `vth0` (11 > 10)"),
    ({"neuron0": "TernaryLIF", "vth0": [1, 2], "vth_lo0": -1}, "NM305", "`vth0` has several values"),
    ({"neuron0": "SigmaDelta", "vth0": [1, 2]}, "NM305", "`vth0` has several values"),
    ({"neuron0": "SigmaDelta", "act_mode0": 2}, "NM305", "`act_mode0` of `layer0` is 2; Lava takes 0..1"),
    ({"neuron0": "RF", "cos0": 1, "sin0": 1, "decay_bits0": 0}, "NM305", "`decay_bits0` of `layer0` is 0"),
    ({"neuron0": "ATRLIF", "theta_step0": [1, 2]}, "NM305", "`theta_step0` has several values"),
    ({"neuron0": "Delta", "state_exp0": -1}, "NM305", "`state_exp0` of `layer0` is -1"),
    ({"neuron0": "RF", "cos0": 1}, "NM103", "`sin0` is missing"),
    ({"w_imag0": np.zeros((2, 2), int)}, "NM203", "layer 0 has `w_imag0`"),
    ({"neuron0": "RF", "cos0": 1, "sin0": 1, "w_imag0": np.zeros((3, 2), int)}, "NM106", "`w_imag0` has 3 targets, not 2"),
    ({"num_message_bits0": 33}, "NM305", "`num_message_bits0` is not one integer in 0..32"),
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
    arrays = {**SMALL, "neuron0": "Simga", "weight_exp0": 99, "w1": np.zeros((3, 2), int), "dv1": 0}
    with pytest.raises(NmapError) as caught:
        read_integer_network(save(tmp_path / "n.npz", **arrays))
    assert {d.code for d in caught.value.diagnostics} == {"NM201", "NM305", "NM103"}


def told(tmp_path, **changes):
    """Return what is told of the small network with other entries, and the network."""
    findings = Findings()
    arrays = {"input": SMALL["input"], "w0": np.array([[2, -4], [254, -256]]), "du0": 4095, "dv0": 0, "vth0": 10, **changes}
    network, _ = read_integer_network(save(tmp_path / "n.npz", **arrays), findings)
    return list(findings), network


def test_nothing_is_told_of_a_network_within_its_fields(tmp_path):
    assert told(tmp_path, bias_mant0=4095, bias_exp0=7, delays0=np.full((2, 2), 62), weight_exp0=7)[0] == []


LARGE = [
    # Everything that Lava takes without a word (observed), with the value and the limit.
    ({"w0": np.array([[1000, -4], [2000, 2]])}, "NM301", "2000 in `w0` of `layer0` and 1 more of its 4 values are outside -256..254"),
    ({"w0": np.array([[1000, 4], [3, 2]])}, "NM301", "1000 in `w0` of `layer0` is outside 0..255"),
    ({"w0": np.array([[-1000, -4], [-3, -2]])}, "NM301", "-1000 in `w0` of `layer0` is outside -255..0"),
    ({"w0": np.array([[3, -4], [6, 8]])}, "NM302", "1 of the 4 weights in `w0` of `layer0` lose their low bits: 3 acts as 2"),
    ({"vth0": 200000}, "NM305", "200000 in `vth0` of `layer0` is outside 0..131071"),
    ({"du0": [5000, 7]}, "NM305", "5000 in `du0` of `layer0` is outside 0..4095"),
    ({"dv0": -1}, "NM305", "-1 in `dv0` of `layer0` is outside 0..4095"),
    ({"bias_mant0": 40000}, "NM305", "40000 in `bias_mant0` of `layer0` is outside -4096..4095"),
    ({"bias_mant0": 5000, "bias_exp0": 9}, "NM305", "9 in `bias_exp0` of `layer0` is outside 0..7"),
    ({"weight_exp0": 9}, "NM305", "9 in `weight_exp0` of `layer0` is outside -8..7"),
    ({"delays0": np.array([[0, 1], [63, 2]])}, "NM305", "63 in `delays0` of `layer0` is outside 0..62"),
    ({"input": SMALL["input"] * -7}, "NM305", "-7 in `input` meets `num_message_bits0` = 0 of `layer0`: everything but 0 acts as 1"),
    ({"input": SMALL["input"] * 300, "num_message_bits0": 8}, "NM305", "300 in `input` does not fit the 8 bits, sign included"),
    ({"input": SMALL["input"] << 29, "num_message_bits0": 32}, "NM304", "summed input"),
    (
        {"neuron0": "TernaryLIF", "vth_lo0": -5, "w1": np.array([[2, -2]]), "du1": 1, "dv1": 1, "vth1": 1}, "NM305",
        "`layer0` sends -1 and 1, and `num_message_bits1` of `layer1` is 0",
    ),
    (
        {"neuron0": "SigmaDelta", "w1": np.array([[2, -2]]), "du1": 1, "dv1": 1, "vth1": 1}, "NM305",
        "`layer0` sends integers, and `num_message_bits1` of `layer1` is 0",
    ),
    ({"neuron0": "SigmaDelta", "spike_exp0": 9}, "NM305", "9 in `spike_exp0` of `layer0` is outside 0..7"),
    ({"neuron0": "SigmaDelta", "bias0": 1 << 20, "state_exp0": 4}, "NM305", "16777216 in `bias0` of `layer0` is outside"),
    ({"neuron0": "ATRLIF", "theta_00": 5000}, "NM305", "5000 in `theta_00` of `layer0` is outside 0..4095"),
]


@pytest.mark.parametrize(("changes", "code", "text"), LARGE)
def test_what_lava_takes_in_silence_is_a_warning(tmp_path, changes, code, text):
    more = {name + "0": 1 for name in ("delta_i", "delta_v", "delta_theta", "delta_r", "theta_0", "theta_step")}
    found, _ = told(tmp_path, **{**more, **changes})
    assert [d for d in found if d.code == code and d.severity == "warning" and text in d.message], found
    assert all(d.where for d in found)


def test_the_numbers_stay_those_of_lava(tmp_path):
    _, network = told(tmp_path, vth0=200000, du0=5000, bias_mant0=40000, bias_exp0=9)
    assert {key: int(values[0]) for key, values in network["layer0"].params.items()} == {
        "du": 5000, "dv": 0, "vth": 200000, "bias_mant": 40000, "bias_exp": 9,
    }


def test_values_beyond_the_field_with_a_meaning_are_a_note(tmp_path):
    found, _ = told(tmp_path, du0=-1, dv0=[4096, 4096])
    assert [d.severity for d in found if d.code == "NM206"] == ["note"] * 2


@pytest.mark.parametrize(("changes", "severity", "text"), [
    ({"du0": [4095, 4094]}, "note", "`layer0` has one `du` per neuron"),
    ({"vth0": [1, 2]}, "note", "`layer0` has one `vth` per neuron"),
    ({"neuron0": "LIFReset", "reset_interval0": 3}, "warning", "a reset of `layer0` every 3 steps"),
])
def test_what_only_lava_s_models_take_is_told_as_of_netx_files(tmp_path, changes, severity, text):
    (found,), _ = told(tmp_path, **changes)
    assert (found.code, found.severity, text in found.message) == ("NM206", severity, True)
    assert told(tmp_path, neuron0="LIFReset", reset_interval0=4, dv0=[7, 7], bias_mant0=[1, 2])[0] == []


@pytest.mark.parametrize(("changes", "severity", "text"), [
    ({"bias_mantt0": 9}, "warning", "`bias_mantt0` is not read; did you mean `bias_mant0`?"),
    ({"delay0": np.ones((2, 2), int)}, "warning", "did you mean `delays0`?"),
    ({"vht0": 3}, "warning", "did you mean `vth0`?"),
    ({"W1": np.eye(2, dtype=int)}, "warning", "did you mean `w1`?"),
    ({"inputs": 1}, "warning", "did you mean `input`?"),
    ({"weight_exp1": 3, "du1": 3}, "warning", "`weight_exp1` and `du1` are not read: there is no layer 1, since `w1` is missing"),
    ({"theta_05": 3}, "warning", "there is no layer 5"),
    ({"vth_lo0": -4}, "warning", "`vth_lo0` is not read: layer 0 reads `w0`, `du0`, `dv0` and `vth0`"),
    ({"w0_data": [1]}, "warning", "`w0_data` is not read: layer 0 reads `w0`"),
    ({"foo": 1}, "note", "`foo` is not read"),
    ({f"x{k}": 1 for k in range(300)}, "note", "and 292 more are not read"),
])
def test_arrays_that_are_not_read_are_told(tmp_path, changes, severity, text):
    (found,), _ = told(tmp_path, **changes)
    assert (found.code, found.severity, text in found.message) == ("NM112", severity, True), found


def test_recordings_may_lie_beside_the_network(tmp_path):
    assert told(tmp_path, s0=np.zeros((2, 3)), a0=np.zeros((2, 3)))[0] == []
    assert told(tmp_path, s1=np.zeros((2, 3)))[0] != []


def test_unsigned_numbers_are_read_as_what_they_are(tmp_path):
    _, network = told(tmp_path, vth0=np.uint64(99), w0=np.array([[2, 4], [200, 3]], np.uint8))
    assert network["layer0"].params["vth"].tolist() == [99, 99]
    assert network.projections[0].connectivity.weights.tolist() == [[2, 4], [200, 3]]


def test_the_smallest_integer_is_told_with_its_value(tmp_path):
    least = -(1 << 63)
    (found,), _ = told(tmp_path, vth0=least)
    assert found.message.startswith(f"{least} in `vth0`")
    (found,), network = told(tmp_path, w0=np.array([[least, -1], [-2, -3]]))
    assert found.message.startswith(f"{least} in `w0`")
    assert network.projections[0].connectivity.weights.tolist() == [[-255, -1], [-2, -3]]


def test_whole_numbers_may_be_stored_as_floats(tmp_path):
    _, network = told(tmp_path, w0=np.array([[2.0, -4], [254, -256]]), input=np.array([[0.0, 1, 0], [1, 1, 0]]))
    assert network.projections[0].connectivity.weights.tolist() == [[2, -4], [254, -256]]


def test_sums_wrap_where_they_are_not_proved_to_fit(tmp_path):
    def accumulator(**changes):
        return told(tmp_path, **changes)[1].projections[0].format.accumulator

    assert accumulator() == 0
    assert accumulator(weight_exp0=22) == 0
    # (254 + 256) 2^23 would not fit in 32 bits, but only one of both signs can lead: 256 2^23 is 2^31.
    assert accumulator(weight_exp0=23) == 32
    assert accumulator(input=SMALL["input"] << 22, num_message_bits0=24) == 0
    wide = {"input": SMALL["input"] << 23, "num_message_bits0": 25}
    assert accumulator(**wide) == 32
    # Lava's delayed process sums in 64 bits.
    assert accumulator(**wide, delays0=np.ones((2, 2), int)) == 0


def test_other_neurons(tmp_path):
    path = save(
        tmp_path / "n.npz", input=SMALL["input"] * 9, w0=np.eye(2, dtype=int), num_message_bits0=16, neuron0="Delta", vth0=5, spike_exp0=2,
        state_exp0=3, w1=np.eye(2, dtype=int), num_message_bits1=16, neuron1="SigmaDelta", vth1=7, spike_exp1=1, state_exp1=4, act_mode1=0,
        bias1=[3, -3], cum_error1=True, w2=np.eye(2, dtype=int), num_message_bits2=16, neuron2="Sigma", w3=np.eye(2, dtype=int),
        num_message_bits3=16, neuron3="LIFReset", du3=1, dv3=2, vth3=3, reset_interval3=16, reset_offset3=3, w4=np.eye(2, dtype=int),
        neuron4="RF_IZ", w_imag4=np.full((2, 2), -3), cos4=4000, sin4=[100, -100], vth4=5, state_exp4=6, w5=np.eye(2, dtype=int),
        neuron5="ATRLIF", delta_i5=-1, delta_v5=2, delta_theta5=3, delta_r5=4, theta_05=5, theta_step5=6,
    )
    network, _ = read_integer_network(path)
    params = [{key: values.tolist() for key, values in p.params.items()} for p in network.populations[1:]]
    # Thresholds and biases are in units of the state: times 2^(2 + 3), 2^(1 + 4) and, of the resonator, 2^6.
    assert params == [
        {"vth": [160] * 2, "spike_exp": [2] * 2, "state_exp": [3] * 2, "cum_error": [0] * 2},
        {"vth": [224] * 2, "spike_exp": [1] * 2, "state_exp": [4] * 2, "cum_error": [1] * 2, "bias": [96, -96], "rectify": [0] * 2},
        {},
        {
            "du": [1] * 2, "dv": [2] * 2, "vth": [3] * 2, "bias_mant": [0] * 2, "bias_exp": [0] * 2, "reset_interval": [16] * 2,
            "reset_offset": [3] * 2,
        },
        {"cos": [4000] * 2, "sin": [100, -100], "vth": [320] * 2, "state_exp": [6] * 2, "decay_bits": [12] * 2},
        {
            "delta_i": [-1] * 2, "delta_v": [2] * 2, "delta_theta": [3] * 2, "delta_r": [4] * 2, "theta_0": [5] * 2, "theta_step": [6] * 2,
            "bias_mant": [0] * 2, "bias_exp": [0] * 2,
        },
    ]
    assert [p.kernel for p in network.populations[1:]] == [
        f"loihi2.{name}" for name in ("delta", "sigma_delta", "sigma", "lif_reset", "rf_iz", "atrlif")
    ]
    into = [(p.name, p.target, p.receptor, p.format.sign) for p in network.projections]
    assert into[4:6] == [("w4", "layer4", 0, "excitatory"), ("w_imag4", "layer4", 1, "inhibitory")]
    assert all(receptor == 0 for name, _, receptor, _ in into if name != "w_imag4")


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
