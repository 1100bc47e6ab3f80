"""Which quantized networks a netx file holds, what is in it, and what nmap reads back."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.diagnostics import Diagnostic, Findings
from nmap.network import Neuron, Resonator
from nmap.options import Options
from nmap.quantized import QuantizedNetwork
from nmap.readers import read
from nmap.simulate.fixed import simulate as simulate_fixed
from nmap.simulate.floating import simulate as simulate_floating
from nmap.target.backend import Exporter, VendorFile
from nmap.testing.networks import build
from nmap.testing.networks import lif as leaky
from nmap_loihi2 import TARGET
from nmap_loihi2.netx import applied_weights, stored_rotation
from tests.unit.loihi2.netx_chains import STEPS, Chain, even, inputs_of, lif, networks, of_images, off_by_one, resonators, sigma_delta
from tests.unit.readers.builders import write_netx

CHAINS = networks()


def exported(network: QuantizedNetwork) -> VendorFile:
    found = Findings()
    file = TARGET.export(network, "netx", found)
    assert file is not None, [d.message for d in found]
    assert not len(found)
    return file


def refused(network: QuantizedNetwork) -> list[Diagnostic]:
    found = Findings()
    assert TARGET.export(network, "netx", found) is None
    assert {(d.code, d.severity) for d in found} == {("NM104", "error")}
    return list(found)


def entries(file: VendorFile) -> dict[str, Any]:
    """Return every dataset of a file by its path."""
    found = {}
    with h5py.File(io.BytesIO(file.content)) as stored:
        stored.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        assert not stored.attrs
    return found


def changed(network: QuantizedNetwork, **by_name: Any) -> QuantizedNetwork:
    """Return the network with other params, initial values or formats: `p1={"vth": ...}`."""
    populations = tuple(
        replace(p, params={**p.params, **by_name[p.name]}) if p.name in by_name else p for p in network.populations
    )
    return replace(network, populations=populations)


def test_loihi2_exports_netx() -> None:
    assert isinstance(TARGET, Exporter)
    assert list(TARGET.formats) == ["netx"]


@pytest.mark.parametrize("name", CHAINS)
def test_a_file_read_back_computes_the_same(name: str, tmp_path: Path) -> None:
    chain = CHAINS[name]
    file = exported(chain.network)
    (tmp_path / "x.net").write_bytes(file.content)
    back = read(tmp_path / "x.net", **file.conventions)
    x = np.moveaxis(inputs_of(name, chain, np.random.default_rng(7)), -1, 0)[None]
    names = [p.name for p in chain.populations if p.kernel is not None]
    theirs = [p.name for p in back.populations if p.neuron is not None]
    want = simulate_fixed(chain.network, TARGET.kernels, {"input": x}, STEPS, record=names).spikes
    sent = simulate_floating(back, {"input": x.reshape(1, STEPS, *back["input"].shape)}, record=theirs).spikes
    for ours, other in zip(names, theirs, strict=True):
        assert np.count_nonzero(want[ours])
        np.testing.assert_array_equal(sent[other].reshape(want[ours].shape), want[ours])


def test_the_same_network_gives_the_same_bytes() -> None:
    assert exported(CHAINS["conv"].network).content == exported(networks()["conv"].network).content


def test_entries_of_dense_layers() -> None:
    w = np.array([[2, -4, 0], [6, 8, -254]], np.int32)
    chain = Chain(np.random.default_rng(0), (3,)).add(
        Dense(w), "loihi2.lif", (2,), du=[4095, -1], dv=7, vth=50, bias_mant=[3, -4], bias_exp=6
    )
    found = entries(exported(chain.network))
    assert sorted(found) == [
        f"layer/0/{name}" for name in (
            "bias", "inFeatures", "neuron/gradedSpike", "neuron/iDecay", "neuron/refDelay", "neuron/type", "neuron/vDecay",
            "neuron/vThMant", "outFeatures", "shape", "type", "weight",
        )
    ]
    inside = {name.removeprefix("layer/0/"): value for name, value in found.items()}
    assert inside["type"].dtype == "S10"
    assert inside["type"].tolist() == [b"dense"]
    assert inside["shape"].tolist() == [2]
    assert inside["weight"].dtype == np.float32
    np.testing.assert_array_equal(inside["weight"], w)
    assert inside["bias"].dtype == np.float32
    assert inside["bias"].tolist() == [3, -4]
    # du is stored one higher; what all neurons share is one number.
    assert inside["neuron/iDecay"].tolist() == [4096, 0]
    assert (inside["neuron/vDecay"].shape, int(inside["neuron/vDecay"])) == ((), 7)
    assert int(inside["neuron/vThMant"]) == 50
    assert inside["neuron/type"].tolist() == [b"CUBA"]
    assert (int(inside["inFeatures"]), int(inside["outFeatures"])) == (3, 2)
    assert (int(inside["neuron/refDelay"]), bool(inside["neuron/gradedSpike"])) == (1, False)


def test_entries_of_convolutions() -> None:
    rng = np.random.default_rng(1)
    conv = Conv2d(even(rng, 4, 1, 3, 2), (2, 8, 7), (2, 1), (1, 0), (1, 2), 2)
    chain = Chain(rng, (2, 8, 7)).add(
        conv, "loihi2.lif", conv.out_shape, **of_images(rng, 4, conv.out_size // 4)
    ).add(Dense(even(rng, 3, conv.out_size)), "loihi2.lif", (3,), **lif(rng, 3))
    found = entries(exported(chain.network))
    assert [found[f"layer/{k}/type"].item().decode() for k in range(4)] == ["input", "conv", "flatten", "dense"]
    assert found["layer/0/shape"].tolist() == [2, 8, 7]
    assert "layer/0/neuron/type" not in found
    assert found["layer/1/shape"].tolist() == list(conv.out_shape)
    pairs = {name: found[f"layer/1/{name}"].tolist() for name in ("stride", "padding", "dilation", "kernelSize")}
    assert pairs == {"stride": [2, 1], "padding": [1, 0], "dilation": [1, 2], "kernelSize": [3, 2]}
    assert {name: int(found[f"layer/1/{name}"]) for name in ("groups", "inChannels", "outChannels")} == {
        "groups": 2, "inChannels": 2, "outChannels": 4,
    }
    np.testing.assert_array_equal(found["layer/1/weight"], conv.weights)
    # One value per channel, which both netx's (x, y, channel) and torch's (channel, y, x) take for one.
    assert found["layer/1/neuron/vThMant"].shape == (4,)
    assert found["layer/1/bias"].shape == (4,)


def test_exponents_become_weights() -> None:
    rng = np.random.default_rng(2)
    for exponent, weights in ((1, even(rng, 4, 5)), (-2, 8 * even(rng, 4, 5, top=20))):
        chain = Chain(rng, (5,)).add(Dense(weights), "loihi2.lif", (4,), exponent=exponent, **lif(rng, 4))
        np.testing.assert_array_equal(entries(exported(chain.network))["layer/0/weight"], weights * 2.0**exponent)


def test_lists_become_matrices() -> None:
    rng = np.random.default_rng(3)
    matrix = even(rng, 6, 7) * (rng.random((6, 7)) < 0.3).astype(np.int32)
    listed = Sparse.from_dense(matrix)
    steps = rng.integers(0, 9, listed.synapses)
    chain = Chain(rng, (7,)).add(listed, "loihi2.lif", (6,), delays=steps, **lif(rng, 6))
    file = exported(chain.network)
    found = entries(file)
    np.testing.assert_array_equal(found["layer/0/weight"], matrix)
    wanted = np.zeros((6, 7), int)
    wanted[np.nonzero(matrix)] = steps
    np.testing.assert_array_equal(found["layer/0/delay"], wanted)
    assert any("p1.0" in note and "zeros included" in note for note in file.notes)


def test_a_delay_that_all_share_is_one_number() -> None:
    rng = np.random.default_rng(3)
    chain = Chain(rng, (7,)).add(Dense(even(rng, 6, 7)), "loihi2.lif", (6,), **lif(rng, 6))
    network = replace(chain.network, projections=(replace(chain.projections[0], delay=4),))
    file = exported(network)
    delay = entries(file)["layer/0/delay"]
    assert (np.shape(delay), int(delay)) == ((), 4)
    assert any("comes 5 steps behind it" in note for note in file.notes)


def test_notes_say_how_the_file_is_loaded() -> None:
    notes = {name: " ".join(exported(CHAINS[name].network).notes) for name in ("graded", "reset", "conv", "block", "sdnn")}
    assert "input_message_bits=5" in notes["graded"]
    assert "reset_interval=8, reset_offset=3" in notes["reset"]
    assert "--reset-interval 8 --reset-offset 2" in notes["reset"]
    assert "(width, height, channels) = (7, 9, 2)" in notes["conv"]
    assert "net.in_layer.neuron.a_in" in notes["block"]
    assert "input_message_bits" not in notes["sdnn"]


def test_input_blocks_take_the_input_as_it_is() -> None:
    found = entries(exported(CHAINS["image block"].network))
    assert found["layer/0/type"].tolist() == [b"input"]
    assert (int(found["layer/0/weight"]), int(found["layer/0/bias"])) == (1, 0)
    assert found["layer/0/neuron/iDecay"].shape == (2,)
    # A weight of 2 is no input block, but a matrix.
    rng = np.random.default_rng(4)
    chain = Chain(rng, (5,)).add(Sparse.diagonal(np.full(5, 2, np.int32)), "loihi2.lif", (5,), **lif(rng, 5, bias=False))
    found = entries(exported(chain.network))
    assert found["layer/0/type"].tolist() == [b"dense"]
    np.testing.assert_array_equal(found["layer/0/weight"], 2 * np.eye(5))


def test_sigma_delta_entries() -> None:
    found = entries(exported(sigma_delta(np.random.default_rng(5)).network))
    assert [found[f"layer/{k}/type"].item().decode() for k in range(5)] == ["input", "conv", "flatten", "dense", "dense"]
    assert [int(found[f"layer/{k}/neuron/vThMant"]) for k in (0, 1, 3)] == [2, 3, 2]
    assert found["layer/1/bias"].tolist() == [1, 0, -2]
    assert found["layer/3/bias"].tolist() == [3] * 5
    assert bool(found["layer/4/neuron/sigma_output"])
    assert "layer/4/neuron/vThMant" not in found


def test_rotations_survive_netx() -> None:
    kept = entries(exported(resonators(np.random.default_rng(6), "rf", 1717, 3333).network))
    assert (kept["layer/0/neuron/sinDecay"].dtype.kind, int(kept["layer/0/neuron/sinDecay"])) == ("i", 1717)
    np.testing.assert_array_equal(kept["layer/0/weight/real"].shape, (7, 8))
    rng = np.random.default_rng(7)
    length, angle = rng.uniform(0.3, 1, 4000), rng.uniform(-np.pi, np.pi, 4000)
    sin, cos = (np.trunc(4096 * length * part(angle)).astype(np.int64) for part in (np.sin, np.cos))
    stored = stored_rotation(sin, cos)
    # netx's way: lava-dl's helper to a period and a decay, then Lava's constructor.
    s, c = stored[0] / 4096, stored[1] / 4096
    period, decay = 1 / (np.arctan2(s, c) / 2 / np.pi), 1 - np.sqrt(s**2 + c**2)
    np.testing.assert_array_equal(np.int32((1 - decay) * np.sin(np.pi * 2 * 1 / period) * 4096), sin)
    np.testing.assert_array_equal(np.int32((1 - decay) * np.cos(np.pi * 2 * 1 / period) * 4096), cos)
    off = stored[0] != np.trunc(stored[0])
    assert 0.1 < off.mean() < 0.6
    one = stored_rotation(*(np.array([value]) for value in off_by_one()))
    assert not float(one[0][0]).is_integer()


@pytest.mark.parametrize(("weights", "applied"), [
    ([[0, 0]], None),
    ([[-8, -3]], [[-7, -3]]),
    ([[-8, -2]], [[-6, -2]]),
    ([[-8, -8]], None),
    ([[255, 3]], [[255, 3]]),
    ([[256, 3]], None),
    ([[254, -256]], [[254, -256]]),
    ([[256, -2]], [[254, -2]]),
    ([[127, -127]], [[127, -127]]),
    ([[-254, -2]], [[-254, -2]]),
    ([[-254, 0]], [[-254, 0]]),
    ([[-255, 0]], None),
])
def test_what_netx_makes_of_matrices(weights: list[list[int]], applied: list[list[int]] | None) -> None:
    found = applied_weights((np.array(weights),))
    if applied is None:
        # It fails, or it changes them.
        assert found is None or not np.array_equal(found[0], weights)
    else:
        assert found is not None
        np.testing.assert_array_equal(found[0], applied)


def test_even_matrices_survive() -> None:
    rng = np.random.default_rng(8)
    for _ in range(300):
        low, high = int(rng.integers(-128, 0)), int(rng.integers(1, 128))
        matrices = tuple(2 * rng.integers(low, high, (4, 5)) for _ in range(2))
        if min(m.min() for m in matrices) < 0 < min(m.max() for m in matrices) and all(m.min() > -256 for m in matrices):
            found = applied_weights(matrices)
            assert found is not None
            for ours, wanted in zip(found, matrices, strict=True):
                np.testing.assert_array_equal(ours, wanted)


def base(rng: np.random.Generator, n: int = 6) -> Chain:
    return Chain(rng, (n,)).add(Dense(even(rng, 5, n)), "loihi2.lif", (5,), **lif(rng, 5)).add(
        Dense(even(rng, 4, 5)), "loihi2.lif", (4,), **lif(rng, 4)
    )


def image(rng: np.random.Generator) -> Chain:
    conv = Conv2d(even(rng, 3, 2, 2, 2), (2, 4, 4))
    return Chain(rng, (2, 4, 4)).add(conv, "loihi2.lif", conv.out_shape, **of_images(rng, 3, 9))


def test_whatever_is_no_chain_is_told_with_everything_else() -> None:
    rng = np.random.default_rng(9)
    chain = base(rng)
    where = chain.projections[0].where
    skip = replace(chain.projections[0], name="skip", target="p2", connectivity=Dense(even(rng, 4, 6)))
    network = replace(chain.network, projections=(*chain.projections, skip), outputs=("p1", "p2"))
    network = changed(network, p2={"bias_exp": np.full(4, 5), "bias_mant": np.full(4, 3)})
    found = {d.message: d for d in refused(network)}
    assert len(found) == 5
    by_part = {message: d.data["parts"] for message, d in found.items()}
    assert by_part == {
        "a netx file has one output: `p1`, `p2`": ["p1", "p2"],
        "a netx file is a chain, and has no population that several others read: `input`": ["input"],
        "a netx file ends in its output, which nothing reads: `p1`": ["p1"],
        "a netx file is a chain, and has no population that reads several others: `p2`": ["p2"],
        "a netx file has biases of multiples of 64 state units, up to 4095 of them: `p2`": ["p2"],
    }
    assert all(d.where == str(where) for d in found.values())


def test_populations_beside_the_chain_are_refused() -> None:
    rng = np.random.default_rng(21)
    network = base(rng).network
    where, form = network.projections[0].where, network.projections[0].format
    ring = [replace(network.populations[2], name=name) for name in ("a", "b")]
    links = [
        replace(network.projections[1], name=f"{one}{other}", source=one, target=other, connectivity=Dense(even(rng, 4, 4)), format=form)
        for one, other in (("a", "b"), ("b", "a"))
    ]
    beside = replace(network, populations=(*network.populations, *ring), projections=(*network.projections, *links))
    (told,) = refused(beside)
    assert told.message == "a netx file is a chain, and has no population beside it: `a`, `b`"
    assert told.where == str(where)


def of(network: QuantizedNetwork) -> list[str]:
    return [d.message.removeprefix("a netx file ") for d in refused(network)]


def test_neurons_without_input_are_refused() -> None:
    chain = base(np.random.default_rng(10))
    clock = replace(chain.populations[1], name="clock", shape=(1,), params={
        "du": np.array(4095), "dv": np.array(0), "vth": np.array(0), "bias_mant": np.array(1), "bias_exp": np.array(0),
    })
    carrier = replace(chain.projections[1], name="carrier", source="clock", connectivity=Dense(np.full((4, 1), 6, np.int32)))
    network = replace(
        chain.network, populations=(*chain.populations, clock), projections=(*chain.projections, carrier)
    )
    assert of(network) == ["has no neurons that nothing feeds: `clock`"]


def test_initial_states_and_foreign_neurons_are_refused() -> None:
    network = base(np.random.default_rng(11)).network
    first, second = network.populations[1:]
    started = replace(network, populations=(network.populations[0], replace(first, initial={"v": np.arange(5)}), second))
    assert of(started) == ["has no initial state: `p1`"]
    ternary = replace(first, kernel="loihi2.ternary_lif", params={**first.params, "vth_lo": np.full(5, -9)})
    assert of(replace(network, populations=(network.populations[0], ternary, second))) == [
        "has only LIF, sigma-delta and resonate-and-fire neurons: `p1`"
    ]


def with_projection(network: QuantizedNetwork, k: int, **changes: Any) -> QuantizedNetwork:
    projections = list(network.projections)
    projections[k] = replace(projections[k], **changes)
    return replace(network, projections=tuple(projections))


def test_weights_that_do_not_come_out_are_refused() -> None:
    rng = np.random.default_rng(12)
    network = base(rng).network
    form = network.projections[0].format
    large = with_projection(network, 0, format=replace(form, exponent=3))
    assert of(large) == ["has dense weights from -256 to 254, or 0 to 255: `p1`"]
    odd = network.projections[0].connectivity.with_weights(2 * rng.integers(-30, 30, (5, 6)).astype(np.int32) + 2)
    fraction = with_projection(network, 0, connectivity=odd, format=replace(form, exponent=-3))
    assert of(fraction) == ["has integer weights, and these act with a fraction: `p1`"]
    assert of(with_projection(network, 0, connectivity=Dense(np.zeros((5, 6), np.int32)))) == [
        "has no dense layer without a single weight: `p1`"
    ]
    inhibitory = Dense(np.full((5, 6), -8, np.int32))
    assert of(with_projection(network, 0, connectivity=inhibitory)) == ["has no weights that netx changes: `p1`"]


def test_images_have_parameters_per_channel() -> None:
    rng = np.random.default_rng(13)
    network = image(rng).network
    assert TARGET.export(network, "netx", Findings()) is not None
    uneven = changed(network, p1={"vth": np.arange(27) + 50, "bias_mant": np.arange(27)})
    assert of(uneven) == ["has one vThMant per channel of an image: `p1`", "has one bias per channel of an image: `p1`"]
    delayed = with_projection(network, 0, delay=1)
    assert of(delayed) == ["has no delayed convolutions: `p1`"]


def test_convolutions_read_images() -> None:
    rng = np.random.default_rng(14)
    conv = Conv2d(even(rng, 2, 3, 2, 2), (3, 2, 2))
    flat = Chain(rng, (6,)).add(Dense(even(rng, 12, 6)), "loihi2.lif", (3, 2, 2), **lif(rng, 12)).add(
        conv, "loihi2.lif", conv.out_shape, **of_images(rng, 2, 1)
    )
    (told,) = refused(flat.network)
    assert "has convolutions that read the layer before as it lies: `p2`" in told.message
    assert told.why is not None
    assert "is flat" in told.why


def test_loops_have_no_delays() -> None:
    rng = np.random.default_rng(15)
    network = base(rng).loop(even(rng, 4, 4)).network
    assert TARGET.export(network, "netx", Findings()) is not None
    assert of(with_projection(network, 2, delay=1)) == ["has no delays in a loop: `p2`"]
    assert of(with_projection(network, 1, delay=1)) == ["has no delays in a recurrent layer: `p2`"]


def test_resets_advance_with_the_layers() -> None:
    network = CHAINS["reset"].network
    assert of(changed(network, p2={"reset_offset": np.full(7, 4)})) == [
        "is reset layer by layer, each one step after the one before: `p1`, `p2`"
    ]


def test_sigma_delta_neurons_of_other_kinds_are_refused() -> None:
    network = sigma_delta(np.random.default_rng(16)).network
    assert of(changed(network, p2={"rectify": np.zeros(90, int)})) == ["has rectified sigma-delta neurons only: `p2`"]
    assert of(changed(network, p1={"cum_error": np.ones(60, int)})) == ["has no sigma-delta neurons with a cumulative error: `p1`"]
    assert of(changed(network, p3={"vth": np.full(5, 1000)})) == [
        "has sigma-delta neurons of 6 spike and state bits, with whole thresholds and biases: `p3`"
    ]
    mixed = list(network.populations)
    mixed[4] = replace(mixed[4], kernel="loihi2.lif", params={
        name: np.array(value) for name, value in {"du": 4095, "dv": 0, "vth": 9, "bias_mant": 0, "bias_exp": 0}.items()
    })
    assert of(replace(network, populations=tuple(mixed))) == ["does not mix sigma-delta neurons with others: `p4`"]


def test_resonators_that_netx_does_not_build_are_refused() -> None:
    network = resonators(np.random.default_rng(17), "rf", 1717, 3333).network
    assert of(changed(network, p1={"vth": np.arange(7) * 64 + 640})) == ["has one threshold for a layer of resonators: `p1`"]
    real = replace(network, projections=(network.projections[0], *network.projections[2:]))
    assert of(real) == ["has resonators with complex weights only: `p1`"]
    assert of(changed(network, p1={"decay_bits": np.full(7, 11)})) == [
        "has resonators of 6 state bits and 12 decay bits, with whole thresholds: `p1`"
    ]


def test_two_matrices_between_layers_are_refused() -> None:
    rng = np.random.default_rng(18)
    network = base(rng).network
    again = replace(network.projections[0], name="again")
    assert of(replace(network, projections=(*network.projections, again))) == ["has one matrix between two layers: `p1`"]


def test_delays_end_at_62() -> None:
    network = base(np.random.default_rng(19)).network
    assert TARGET.export(with_projection(network, 0, delay=62), "netx", Findings()) is not None
    assert of(with_projection(network, 0, delay=63)) == ["has delays of at most 62 steps beyond the one of a layer: `p1`"]


def test_resonators_of_a_file_come_back(tmp_path: Path) -> None:
    """Complex weights and a rotation that netx would compute one unit off, from one file to the next."""
    rng = np.random.default_rng(20)
    sin, cos = off_by_one()
    weight = {"real": even(rng, 5, 6).astype(np.float32), "imag": even(rng, 5, 6).astype(np.float32)}
    neuron = {"type": "RF_PHASE", "sinDecay": sin, "cosDecay": cos, "vThMant": 40, "gradedSpike": False}
    write_netx(tmp_path / "one.net", [{"type": "dense", "shape": np.array([5]), "weight": weight, "neuron": neuron}])
    network = read(tmp_path / "one.net")
    quantized = TARGET.quantize(network, Options(), Findings())
    (tmp_path / "two.net").write_bytes(exported(quantized).content)
    back = read(tmp_path / "two.net")
    assert [d.code for d in back.diagnostics] == ["NM112", "NM112"]
    ours, theirs = (net["layer0"].neuron for net in (network, back))
    assert isinstance(ours, Resonator)
    assert isinstance(theirs, Resonator)
    for field in ("sin", "cos", "threshold"):
        np.testing.assert_array_equal(getattr(theirs, field), getattr(ours, field))
    for one, other in zip(network.projections, back.projections, strict=True):
        assert one.receptor == other.receptor
        np.testing.assert_array_equal(one.connectivity.weights, other.connectivity.weights)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_plain_form_of_any_chain_fits(seed: int) -> None:
    """Real networks of every sign, with biases, loops and thresholds of their own, come out in a form that a netx file holds."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> Array:
        w = rng.normal(0, 10.0 ** rng.integers(-3, 3), shape) * (rng.random(shape) < rng.choice([0.3, 1]))
        sign = rng.integers(0, 3)
        w = w if sign == 0 else np.abs(w) if sign == 1 else -np.abs(w)
        w.flat[0] = w.flat[0] or (-0.5 if sign == 2 else 0.5)
        return w

    def neurons(n: int) -> Neuron:
        return leaky(n, beta=rng.choice([0.8, 0.99, 1.0]), threshold=rng.uniform(0.5, 4, n) if rng.random() < 0.3 else 1.0)

    conv = Conv2d(weights(3, 2, 2, 2), (2, 4, 4))
    with_images = bool(rng.random() < 0.5)
    populations: dict[str, Any] = {"input": ((2, 4, 4), None)}
    links: list[Any] = []
    if with_images:
        populations["c"] = (conv.out_shape, leaky(27, beta=0.9))
        links.append(("input", "c", conv, None if rng.random() < 0.5 else np.repeat(rng.normal(0, 0.05, 3), 9), 0))
    size, before = (27, "c") if with_images else (32, "input")
    populations |= {"d": ((6,), neurons(6)), "e": ((4,), neurons(4))}
    links.append((before, "d", Dense(weights(6, size)), None if rng.random() < 0.5 else rng.normal(0, 0.05, 6), 0))
    if rng.random() < 0.5:
        links.append(("d", "d", Dense(weights(6, 6)), None, 1))
    links.append(("d", "e", Dense(weights(4, 6)), None, 0))
    network = build("any.nir", populations, links)
    findings = Findings()
    quantized = TARGET.quantize(network, Options(plain=True, bits=int(rng.integers(4, 9))), findings)
    if not findings.errors:
        refusals = Findings()
        if TARGET.export(quantized, "netx", refusals) is None:
            # A scale that makes room for far thresholds or biases may leave nothing of the weights, or a power of two below.
            assert {d.message.split(":")[0] for d in refusals} <= {
                "a netx file has no dense layer without a single weight", "a netx file has no weights that netx changes",
            }, [d.message for d in refusals]
            shrunk = {d.message.split("`")[1] for d in findings if "to make room" in d.message or "keep" in d.message}
            assert {part for d in refusals for part in d.data["parts"]} <= shrunk, [d.message for d in refusals]


def test_weights_of_both_layouts_are_read(tmp_path: Path) -> None:
    """What is stored is what nmap reads: weights, decays and thresholds of every layer."""
    chain = CHAINS["conv"]
    (tmp_path / "x.net").write_bytes(exported(chain.network).content)
    back = read(tmp_path / "x.net")
    for ours, theirs in zip(chain.projections, back.projections, strict=True):
        np.testing.assert_array_equal(theirs.connectivity.weights, ours.connectivity.weights)
    neurons: list[Array] = [p.neuron.threshold for p in back.populations if p.neuron is not None]
    for population, threshold in zip(chain.populations[1:], neurons, strict=True):
        np.testing.assert_array_equal(threshold, population.params["vth"])
