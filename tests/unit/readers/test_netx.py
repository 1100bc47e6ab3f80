from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.network import Adaptation, Network, Neuron, Projection, Resonator, SigmaDelta
from nmap.readers import read
from nmap.simulate.floating import simulate
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
    assert isinstance(first.connectivity, Conv2d)
    assert first.connectivity.weights.size == 2
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
    assert all(word in notes for word in ("refDelay", "wgtExp", "gradedSpike", "novelty", "dt of 0.001 s says how long a step lasts"))


def test_decays_and_thresholds_per_neuron_and_channel(tmp_path: Path) -> None:
    layer = _dense(np.ones((3, 2)), neuron=cuba(v_decay=np.array([0, 1024, 4096]), threshold=np.array([1, 2, 3])))
    neuron = read(write_netx(tmp_path / "a.net", [layer]))["layer0"].neuron
    assert neuron is not None
    np.testing.assert_array_equal(neuron.beta, [1.0, 0.75, 0.0])
    np.testing.assert_array_equal(neuron.threshold, [1, 2, 3])


def test_unsupported_layers_and_neurons_are_refused_together(tmp_path: Path) -> None:
    layers = [
        _dense(np.ones((2, 2)), neuron=cuba(kind="HH")),
        {"type": "add", "shape": [2]},
        {"type": "kwta", "shape": [2]},
        _dense(np.ones((2, 2)), neuron=cuba(kind="ATRLIF")),
    ]
    path = write_netx(tmp_path / "a.net", layers)
    with refused("NM104", "NM104", "NM104", "NM104") as found:
        read(path)
    assert [d.where for d in found] == [f"{path}:/layer/0/neuron", f"{path}:/layer/1", f"{path}:/layer/2", f"{path}:/layer/3/neuron"]
    assert "layer 2 is of type `kwta`" in found[2].message
    assert "without a word" in str(found[2].why)


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


# Windows: pooling, unpooling and transposed convolutions, against loops over torch's and lava-dl's definitions.


def _block(shape: tuple[int, ...]) -> dict[str, Any]:
    return {"type": "input", "shape": list(shape)}


def _window(kind: str, weights: Any, **more: Any) -> dict[str, Any]:
    return {"type": kind, "weight": np.asarray(weights, np.float32), "neuron": cuba(), **more}


def _last(network: Network) -> Projection:
    return network.projections[-1]


def _matrix(projection: Projection) -> np.ndarray:
    return projection.connectivity.apply(np.eye(projection.connectivity.in_size)).T


def _pooled(image: np.ndarray, kernel: np.ndarray, stride: Any, padding: Any, dilation: Any) -> np.ndarray:
    """lava-dl's pool: zeros behind each channel up to no multiple in particular, channels stacked, one cross-correlation."""
    channels, height, width = image.shape
    padded = np.zeros((channels, height + height % kernel.shape[0], width + width % kernel.shape[1]))
    padded[:, :height, :width] = image
    tall = np.pad(padded.reshape(-1, padded.shape[2]), [(p, p) for p in padding])
    rows = (tall.shape[0] - dilation[0] * (kernel.shape[0] - 1) - 1) // stride[0] + 1
    columns = (tall.shape[1] - dilation[1] * (kernel.shape[1] - 1) - 1) // stride[1] + 1
    out = np.zeros((rows, columns))
    for y, x, a, b in np.ndindex(rows, columns, *kernel.shape):
        out[y, x] += kernel[a, b] * tall[y * stride[0] + a * dilation[0], x * stride[1] + b * dilation[1]]
    return out.reshape(channels, -1, columns)


def _spread_out(image: np.ndarray, kernel: np.ndarray, stride: Any, padding: Any, dilation: Any, groups: int) -> np.ndarray:
    """torch's ConvTranspose2d as it is defined: every input adds a kernel to the output."""
    channels, height, width = image.shape
    each = kernel.shape[1]
    high = (height - 1) * stride[0] + dilation[0] * (kernel.shape[2] - 1) + 1
    wide = (width - 1) * stride[1] + dilation[1] * (kernel.shape[3] - 1) + 1
    out = np.zeros((each * groups, high, wide))
    for c, y, x, o, a, b in np.ndindex(channels, height, width, *kernel.shape[1:]):
        group = c // (channels // groups)
        out[group * each + o, y * stride[0] + a * dilation[0], x * stride[1] + b * dilation[1]] += kernel[c, o, a, b] * image[c, y, x]
    return out[:, padding[0] : high - padding[0], padding[1] : wide - padding[1]]


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding", "dilation", "kind"),
    [
        ((3, 6, 9), (2, 3), (2, 3), (0, 0), (1, 1), "conv"),
        ((2, 4, 6), (2, 2), (2, 1), (0, 1), (1, 2), "conv"),
        ((2, 6, 9), (2, 2), (2, 2), (0, 0), (1, 1), "sparse"),
        ((2, 5, 4), (2, 2), (2, 2), (0, 0), (1, 1), "sparse"),
        ((2, 6, 9), (3, 3), (1, 2), (1, 1), (1, 1), "sparse"),
        ((1, 7, 7), (3, 2), (2, 3), (1, 0), (1, 2), "sparse"),
    ],
)
def test_pool(tmp_path: Path, shape: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, kind: str) -> None:
    weights = _RNG.integers(1, 9, kernel)
    image = _RNG.integers(-5, 9, shape)
    expected = _pooled(image, weights, stride, padding, dilation)
    layer = _window("pool", weights[None, None], stride=stride, padding=padding, dilation=dilation, shape=expected.shape, kernelSize=kernel)
    network = read(write_netx(tmp_path / "a.net", [_block(shape), layer]))
    assert network["layer1"].shape == expected.shape
    assert _last(network).connectivity.kind == kind
    np.testing.assert_array_equal(_last(network).connectivity.apply(image.ravel()), expected.ravel())
    assert not network.notes


def test_a_pool_whose_windows_leave_no_whole_channels_is_refused(tmp_path: Path) -> None:
    layer = _window("pool", np.ones((1, 1, 4, 2)), stride=[4, 2])
    with refused("NM106") as found:
        read(write_netx(tmp_path / "a.net", [_block((2, 7, 9)), layer]))
    assert "5 rows" in found[0].message
    assert "one image of 20 rows" in str(found[0].why)


@pytest.mark.parametrize(
    ("shape", "out", "kernel", "stride", "padding", "dilation", "groups", "kind"),
    [
        ((2, 4, 5), 3, (3, 2), (1, 1), (0, 0), (1, 1), 1, "conv"),
        ((4, 4, 5), 6, (3, 3), (1, 1), (1, 2), (1, 1), 2, "conv"),
        ((2, 4, 5), 3, (2, 2), (1, 1), (2, 1), (1, 1), 1, "sparse"),
        ((2, 4, 5), 4, (3, 2), (2, 3), (1, 0), (1, 2), 2, "sparse"),
        ((3, 2, 2), 1, (1, 4), (3, 1), (0, 1), (2, 1), 1, "sparse"),
    ],
)
def test_transposed_convolutions(
    tmp_path: Path, shape: Any, out: int, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int, kind: str
) -> None:
    weights = _RNG.integers(-9, 9, (shape[0], out // groups, *kernel))
    image = _RNG.integers(-5, 9, shape)
    expected = _spread_out(image, weights, stride, padding, dilation, groups)
    layer = _window("convT", weights[..., None], stride=stride, padding=padding, dilation=dilation, groups=groups, shape=expected.shape)
    network = read(write_netx(tmp_path / "a.net", [_block(shape), layer]))
    assert network["layer1"].shape == expected.shape
    assert _last(network).connectivity.kind == kind
    np.testing.assert_array_equal(_last(network).connectivity.apply(image.ravel()), expected.ravel())


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [((2, 3), (2, 3), (0, 0), (1, 1)), ((3, 3), (1, 1), (1, 1), (1, 1)), ((2, 2), (3, 1), (0, 0), (2, 2))],
)
def test_unpool(tmp_path: Path, kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    weights, image = _RNG.integers(1, 9, kernel), _RNG.integers(-5, 9, (2, 3, 4))
    stacked = _spread_out(image.reshape(1, 6, 4), weights[None, None], stride, padding, dilation, 1)
    expected = stacked.reshape(2, -1, stacked.shape[2])
    layer = _window("unpool", weights[None, None], stride=stride, padding=padding, dilation=dilation)
    network = read(write_netx(tmp_path / "a.net", [_block((2, 3, 4)), layer]))
    assert network["layer1"].shape == expected.shape
    np.testing.assert_array_equal(_last(network).connectivity.apply(image.ravel()), expected.ravel())


def test_average_holds_means_for_the_same_step(tmp_path: Path) -> None:
    layers = [_dense(np.eye(6) * 20), {"type": "average", "shape": [3, 1, 1]}, _dense(np.ones((1, 3)))]
    network = read(write_netx(tmp_path / "a.net", layers))
    average = network["layer1"]
    assert (average.shape, average.silent, _last(network).source) == ((3,), True, "layer1")
    spikes = np.array([[1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1]])
    run = simulate(network, spikes[None], steps=4, record=["layer1"])
    np.testing.assert_array_equal(run.v["layer1"][0], [[0, 0, 0], [1, 0.5, 0], [0, 0, 1], [0, 0, 0]])


# Loops, delays, concatenation.


def test_a_recurrent_layer(tmp_path: Path) -> None:
    inward, back = _RNG.integers(-9, 9, (3, 2)), _RNG.integers(-9, 9, (3, 3))
    layer = _dense(inward, type="dense_rec", weight_rec=back.astype(np.float32), delay_rec=np.array([[0, 1, 2], [3, 0, 1], [0, 0, 0]]))
    forward, loop = read(write_netx(tmp_path / "a.net", [layer])).projections
    np.testing.assert_array_equal(forward.connectivity.weights, inward)
    np.testing.assert_array_equal(loop.connectivity.weights, back)
    np.testing.assert_array_equal(loop.delays, [[0, 1, 2], [3, 0, 1], [0, 0, 0]])
    assert (loop.source, loop.target, forward.delay, loop.delay, forward.delays) == ("layer0", "layer0", 1, 1, None)
    assert str(loop.where).endswith("/layer/0/weight_rec")


def test_a_recurrent_layer_delays_what_it_sends_not_its_loop(tmp_path: Path) -> None:
    layer = _dense(np.eye(3), type="dense_rec", weight_rec=np.eye(3), delay=np.array([0, 2, 5]))
    network = read(write_netx(tmp_path / "a.net", [layer, _dense(np.ones((2, 3)), delay=np.array([0, 1]))]))
    forward, loop, onward = network.projections
    assert forward.delays is None
    assert loop.delays is None
    np.testing.assert_array_equal(onward.delays, [[0, 2, 5], [1, 3, 6]])
    alike = read(write_netx(tmp_path / "b.net", [{**layer, "delay": np.array([4, 4, 4])}]))
    np.testing.assert_array_equal(alike.projections[0].delays, np.full((3, 3), 4))
    assert alike.projections[1].delays is None
    with refused("NM104") as found:
        read(write_netx(tmp_path / "c.net", [layer]))
    assert "is the last and delays what it sends" in found[0].message


@pytest.mark.parametrize(("delay", "hop"), [(np.array([3, 3]), 4), (np.array(2.0), 3), (np.array([0, 0]), 1)])
def test_a_convolution_with_one_delay_stays_a_convolution(tmp_path: Path, delay: np.ndarray, hop: int) -> None:
    layer = _window("conv", _RNG.integers(-3, 3, (2, 1, 2, 2)), delay=delay)
    projection = _last(read(write_netx(tmp_path / "a.net", [_block((1, 4, 4)), layer])))
    assert (projection.connectivity.kind, projection.delay, projection.delays) == ("conv", hop, None)


def test_a_convolution_with_delays_per_channel_is_listed(tmp_path: Path) -> None:
    weights = _RNG.integers(1, 9, (2, 1, 2, 2))
    layer = _window("conv", weights, delay=np.array([0, 3]))
    network = read(write_netx(tmp_path / "a.net", [_block((1, 4, 4)), layer]))
    projection = _last(network)
    assert isinstance(projection.connectivity, Sparse)
    np.testing.assert_array_equal(projection.delays, np.where(projection.connectivity.targets < 9, 0, 3))
    np.testing.assert_array_equal(_matrix(projection), Conv2d(weights, (1, 4, 4)).apply(np.eye(16)).T)
    assert any("listed one by one" in note for note in network.notes)


def test_a_biased_convolution_delays_what_it_sends(tmp_path: Path) -> None:
    layer = _window("conv", np.ones((2, 1, 2, 2)), delay=np.array([1, 3]), bias=np.array([1.0, 2.0]))
    network = read(write_netx(tmp_path / "a.net", [_block((1, 4, 4)), layer, _dense(np.ones((1, 18)))]))
    first, second = network.projections
    assert (first.connectivity.kind, first.delay, first.delays) == ("conv", 1, None)
    np.testing.assert_array_equal(second.delays, [[1] * 9 + [3] * 9])


def test_concatenated_layers_reach_a_dense_layer(tmp_path: Path) -> None:
    layers = [
        {"type": "input", "shape": [3], "neuron": cuba()},
        _dense(np.ones((2, 3))),
        {"type": "concat", "shape": [5], "layers": np.array([0])},
        _dense([[1, 2, 3, 4, 5]]),
    ]
    network = read(write_netx(tmp_path / "a.net", layers))
    found = {(p.source, p.target): p.connectivity.weights.tolist() for p in network.projections if p.target == "layer3"}
    assert found == {("layer1", "layer3"): [[1, 2]], ("layer0", "layer3"): [[3, 4, 5]]}
    layers[2]["layers"] = np.array([0, 1])
    listed = read(write_netx(tmp_path / "b.net", layers))
    assert {p.source: p.connectivity.weights.tolist() for p in listed.projections if p.target == "layer3"} == {
        "layer0": [[1, 2, 3]], "layer1": [[4, 5]],
    }  # fmt: skip


def test_concatenated_layers_reach_a_convolution(tmp_path: Path) -> None:
    weights = _RNG.integers(-9, 9, (2, 3, 2, 2))
    layers = [
        {"type": "input", "shape": [1, 4, 4], "neuron": cuba()},
        _window("conv", np.ones((2, 1, 3, 3)), padding=[1, 1]),
        {"type": "concat", "layers": np.array([0])},
        _window("conv", weights, shape=[2, 3, 3]),
    ]
    network = read(write_netx(tmp_path / "a.net", layers))
    image = _RNG.integers(0, 9, (3, 4, 4))
    parts = {"layer1": image[:2], "layer0": image[2:]}
    total = sum(p.connectivity.apply(parts[p.source].ravel()) for p in network.projections if p.target == "layer3")
    np.testing.assert_array_equal(total, Conv2d(weights, (3, 4, 4)).apply(image.ravel()))


@pytest.mark.parametrize(
    ("layer", "code", "word"),
    [
        ({"type": "concat", "shape": [2], "layers": np.array([3])}, "NM104", "reads layer 3, which comes later"),
        ({"type": "concat", "shape": [2]}, "NM103", "no `layers`"),
        ({"type": "concat", "shape": [9], "layers": np.array([0])}, "NM106", "states 9 values, but 4 arrive"),
        ({"type": "average", "shape": [2]}, "NM104", "as many outputs as arrive"),
        ({"type": "average", "shape": [3]}, "NM106", "do not divide"),
        ({"type": "average"}, "NM103", "no `shape`"),
        (_window("pool", np.ones((1, 1, 2, 2))), "NM106", "on an input of shape (2,)"),
        (_dense(np.ones((2, 2)), type="dense_rec"), "NM103", "no `weight_rec`"),
        (_dense(np.ones((2, 2)), type="dense_rec", weight_rec=np.ones((2, 3))), "NM106", "reads 3 values, but 2 arrive"),
        (_dense(np.ones((2, 2)), type="dense_rec", weight_rec=np.ones((2, 2)), delay_rec=np.ones(3)), "NM106", "delay_rec"),
        (_dense(np.ones((2, 2)), delay=np.zeros((3, 3))), "NM106", "(2, 2) synapses"),
    ],
)
def test_refusals_behind_a_layer_of_two_neurons(tmp_path: Path, layer: dict[str, Any], code: str, word: str) -> None:
    path = write_netx(tmp_path / "a.net", [{"type": "input", "shape": [2], "neuron": cuba()}, _dense(np.ones((2, 2))), layer])
    with refused(code) as found:
        read(path)
    assert word in found[0].message, found[0].message
    assert str(found[0].where).startswith(f"{path}:/layer/2")


@pytest.mark.parametrize("kind", ["pool", "convT", "unpool", "average"])
def test_what_may_not_follow_a_concat_block_is_refused(tmp_path: Path, kind: str) -> None:
    layers = [
        {"type": "input", "shape": [1, 4, 4], "neuron": cuba()},
        _window("conv", np.ones((1, 1, 3, 3)), padding=[1, 1]),
        {"type": "concat", "layers": np.array([0])},
        {"type": kind, "shape": [2], "weight": np.ones((1, 1, 2, 2))},
    ]
    with refused("NM104") as found:
        read(write_netx(tmp_path / "a.net", layers))
    assert "concat" in found[0].message


def test_faults_of_several_layers_come_together(tmp_path: Path) -> None:
    layers = [
        {"type": "input", "shape": [1, 4, 4], "neuron": cuba()},
        _window("conv", np.ones((2, 3, 2, 2)), shape=[2, 3, 3]),
        _window("pool", np.ones((1, 1, 3, 3)), stride=[3, 3], shape=[2, 1, 1], delay=np.array([1, 2, 3])),
        _dense(np.ones((4, 9)), bias=np.array([np.nan, 0, 0, 0])),
        _dense(np.ones((1, 4)), neuron=cuba(v_decay=-3)),
    ]
    path = write_netx(tmp_path / "a.net", layers)
    with refused("NM106", "NM106", "NM106", "NM107") as found:
        read(path)
    assert [str(d.where).removeprefix(f"{path}:/layer/") for d in found] == ["1/weight", "2/delay", "3/weight", "4/neuron/vDecay"]


# Neurons.


def _rotation(kind: str = "RF_PHASE", sin: Any = 2000, cos: Any = 3000, **more: Any) -> dict[str, Any]:
    return {"type": kind, "sinDecay": sin, "cosDecay": cos, "vThMant": 40, "gradedSpike": False, **more}


def _complex(real: Any, imaginary: Any, **more: Any) -> dict[str, Any]:
    return {"type": "dense", "weight": {"real": np.asarray(real), "imag": np.asarray(imaginary)}, "neuron": _rotation(), **more}


_ADAPTIVE = {"thDecay": 1024, "refDecay": np.array([0, 4096]), "vThStep": 9}


@pytest.mark.parametrize("kind", ["dense", "dense_comp"])
def test_complex_weights_reach_two_receptors(tmp_path: Path, kind: str) -> None:
    network = read(write_netx(tmp_path / "a.net", [_complex([[2, 4]], [[-6, 8]], type=kind)]))
    found = {p.receptor: p.connectivity.weights.tolist() for p in network.projections}
    assert found == {"input": [[2, 4]], "imaginary": [[-6, 8]]}
    neuron = network["layer0"].neuron
    assert isinstance(neuron, Resonator)
    assert (neuron.firing, neuron.quantum, neuron.threshold[0], neuron.adaptation) == ("phase", 1 / 64, 40, None)
    assert (neuron.sin[0], neuron.cos[0]) == (2000 / 4096, 3000 / 4096)


@pytest.mark.parametrize("sin", [2000, 2920])
def test_a_rotation_that_netx_would_change_is_told(tmp_path: Path, sin: int) -> None:
    # Through the period and the decay and back, as netx and Lava compute it.
    s, c = sin / 4096, 2510 / 4096
    period, alpha = 1 / (np.arctan2(s, c) / 2 / np.pi), 1 - np.sqrt(s**2 + c**2)
    turned = [int((1 - alpha) * f(np.pi * 2 * 1 / period) * 4096) for f in (np.sin, np.cos)]
    network = read(write_netx(tmp_path / "a.net", [_complex([[2]], [[2]], neuron=_rotation(sin=sin, cos=2510))]))
    assert any("one unit off" in note for note in network.notes) == (turned != [sin, 2510])


@pytest.mark.parametrize("kind", ["ALIF", "ADRF_PHASE", "ADRF_IZHIKEVICH"])
def test_adaptive_neurons(tmp_path: Path, kind: str) -> None:
    neuron = {**cuba(kind=kind), **_ADAPTIVE} if kind == "ALIF" else _rotation(kind, **_ADAPTIVE)
    layer = _dense([[1], [2]], neuron=neuron) if kind == "ALIF" else _complex([[1], [2]], [[1], [2]], neuron=neuron)
    network = read(write_netx(tmp_path / "a.net", [layer]))
    model = network["layer0"].neuron
    assert isinstance(model, Neuron if kind == "ALIF" else Resonator)
    assert isinstance(model.adaptation, Adaptation)
    assert model.adaptation.quantum == 1 / 64
    for name, values in {"threshold_decay": [0.75, 0.75], "refractory_decay": [1, 0], "step": [9, 9]}.items():
        np.testing.assert_array_equal(getattr(model.adaptation, name), values, err_msg=name)
    assert any("drop the adaptation" in note for note in network.notes) == (kind != "ALIF")


def test_the_bias_of_an_adaptive_neuron_joins_its_input_when_that_arrives(tmp_path: Path) -> None:
    adaptive = _dense(np.eye(2), bias=np.array([3.0, -1.0]), neuron={**cuba(kind="ALIF"), **_ADAPTIVE})
    network = read(write_netx(tmp_path / "a.net", [_dense(np.eye(2)), {**adaptive, "delay": 2}]))
    model, projection = network["layer1"].neuron, _last(network)
    assert isinstance(model, Neuron)
    assert not np.any(model.drive)
    np.testing.assert_array_equal(projection.bias, [3, -1])
    assert projection.bias_from == 4


def test_sigma_delta_layers(tmp_path: Path) -> None:
    sdnn = {"type": "SDNN", "activation": "relu", "vThMant": 5}
    layers = [
        {"type": "input", "shape": [2], "neuron": sdnn},
        _dense(np.eye(2) * 64, bias=np.array([3.0, -1.0]), neuron={**sdnn, "activation": "identity"}),
        _dense(np.eye(2), neuron={"type": "SDNN", "sigma_output": True}),
    ]
    network = read(write_netx(tmp_path / "a.net", layers))
    models = [p.neuron for p in network.populations[1:]]
    assert all(isinstance(m, SigmaDelta) for m in models)
    assert [(m.role, m.rectify, m.threshold[0]) for m in models if isinstance(m, SigmaDelta)] == [
        ("delta", True, 5 * 4096), ("sigma_delta", False, 5 * 4096), ("sigma", True, 0),
    ]  # fmt: skip
    np.testing.assert_array_equal(models[1].bias, [3 * 4096, -4096])
    # By hand: the delta block sends 7 * 4096 / 64 = 448, which a weight of 64 turns into 28672; the biases of 12288 and -4096 are not
    # enough for the threshold of 20480 and wait as residues.
    run = simulate(network, np.full((1, 1, 2), 7), steps=6, record=["layer0", "layer1", "layer2"])
    assert run.spikes["layer0"][0].tolist() == [[0, 0], [448, 448], [-448, -448], [0, 0], [0, 0], [0, 0]]
    assert run.spikes["layer1"][0].tolist() == [[0, 0], [0, 0], [640, 384], [-448, -448], [0, 0], [0, 0]]
    assert run.spikes["layer2"][0].tolist() == [[0, 0], [0, 0], [0, 0], [640, 384], [192, -64], [192, -64]]


def test_sigma_output_is_a_value(tmp_path: Path) -> None:
    sdnn = {"type": "SDNN", "activation": "relu", "vThMant": 5, "sigma_output": False}
    network = read(write_netx(tmp_path / "a.net", [_dense(np.eye(2), neuron=sdnn)]))
    model = network["layer0"].neuron
    assert isinstance(model, SigmaDelta)
    assert model.role == "sigma_delta"
    assert [d.code for d in network.diagnostics] == ["NM112"]


def test_a_readout_never_fires(tmp_path: Path) -> None:
    network = read(write_netx(tmp_path / "a.net", [_dense(np.eye(2), neuron=cuba(threshold=(1 << 18) - 1))]))
    assert network["layer0"].silent
    assert any("readout" in note for note in network.notes)


@pytest.mark.parametrize(
    ("layer", "code", "word"),
    [
        (_complex([[1]], [[1]], neuron=cuba()), "NM104", "no imaginary part"),
        (_complex([[1]], [[1, 2]]), "NM106", "real weights (1, 1) and imaginary ones (1, 2)"),
        (_complex([[1]], [[1]], bias=np.array([3.0])), "NM104", "has a bias"),
        (_complex([[1]], [[1]], neuron=_rotation(sin=3000, cos=3000)), "NM107", "no decayed rotation"),
        (_complex([[1]], [[1]], type="dense_rec", weight_rec=np.ones((1, 1))), "NM104", "does not run in such a block"),
        (_complex([[1]], [[1]], neuron=_rotation("ADRF_PHASE", thDecay=5000, refDecay=7, vThStep=9)), "NM107", "between 0 and 4096"),
        ({"type": "input", "shape": [2], "neuron": _rotation()}, "NM104", "does not run in such a block"),
        (_dense(np.eye(2), neuron={"type": "SDNN", "activation": "tanh", "vThMant": 1}), "NM104", "`tanh`"),
        (_dense(np.eye(2), neuron={"type": "SDNN", "activation": "relu"}), "NM103", "vThMant"),
        (_dense(np.eye(2), bias=np.ones(2), neuron={"type": "SDNN", "sigma_output": True}), "NM104", "with a bias"),
        (_dense(np.eye(2), neuron=cuba(i_decay=7, weight_exp=np.array([2.0]))), "NM104", "weight_exp"),
        (_dense(np.eye(2), neuron={"type": "SDNN", "vThMant": 1, "weight_exp": 1.0}), "NM104", "no integers"),
        (_dense(np.eye(2), neuron=cuba(weight_exp=np.ones(2))), "NM106", "2 values"),
    ],
)
def test_neurons_that_are_refused(tmp_path: Path, layer: dict[str, Any], code: str, word: str) -> None:
    with refused(code) as found:
        read(write_netx(tmp_path / "a.net", [layer]))
    assert word in found[0].message, found[0].message
    assert found[0].where is not None


def test_half_of_a_complex_weight_is_missing(tmp_path: Path) -> None:
    path = write_netx(tmp_path / "a.net", [{"type": "dense", "weight": {"imag": np.ones((1, 1))}, "neuron": _rotation()}])
    with refused("NM103") as found:
        read(path)
    assert found[0].where == f"{path}:/layer/0/weight/real"


def test_sigma_delta_and_spiking_neurons_do_not_mix(tmp_path: Path) -> None:
    layers = [_dense(np.eye(2), neuron={"type": "SDNN", "activation": "relu", "vThMant": 5}), _dense(np.eye(2))]
    with refused("NM104") as found:
        read(write_netx(tmp_path / "a.net", layers))
    assert "mixes" in found[0].message


@pytest.mark.parametrize(("stored", "factor"), [(1, 0.5), (-2, 4.0), (-8, 8.0)])
def test_the_weight_scale_of_a_normalised_layer(tmp_path: Path, stored: int, factor: float) -> None:
    scale = np.array([float(stored)])
    normal = _dense(np.eye(2) * 4, bias=np.array([8.0, 2.0]), neuron=cuba(weight_exp=scale))
    network = read(write_netx(tmp_path / "a.net", [normal]))
    model = network["layer0"].neuron
    assert isinstance(model, Neuron)
    assert (model.gain_in[0], model.gain_v[0], model.drive.tolist()) == (1, factor, [8 * factor, 2 * factor])
    assert [d.code for d in network.diagnostics] == (["NM112"] if stored == -8 else [])
    adaptive = {**normal, "neuron": {**cuba(kind="ALIF", weight_exp=scale), **_ADAPTIVE}}
    model = read(write_netx(tmp_path / "b.net", [adaptive]))["layer0"].neuron
    assert isinstance(model, Neuron)
    assert (model.gain_in[0], model.gain_v[0]) == (factor, 1)
    graded = {**normal, "neuron": {"type": "SDNN", "activation": "relu", "vThMant": 3, "weight_exp": scale}}
    network = read(write_netx(tmp_path / "c.net", [graded]))
    model = network["layer0"].neuron
    assert isinstance(model, SigmaDelta)
    np.testing.assert_array_equal(model.bias, np.array([8, 2]) * factor * 4096)
    np.testing.assert_array_equal(network.projections[0].connectivity.weights, np.eye(2) * 4 * factor)


@pytest.mark.parametrize(
    ("weights", "word"),
    [
        ([[0, 0]], "netx fails on the weights of layer 0"),
        ([[256, 3]], "netx fails on"),
        ([[-300, -3]], "netx fails on"),
        ([[-8, -3]], "a power of two"),
        ([[-300, 3]], "netx would clip"),
        ([[-256, 256]], "netx would clip"),
    ],
)
def test_weights_that_netx_would_not_keep_are_told_and_kept(tmp_path: Path, weights: Any, word: str) -> None:
    network = read(write_netx(tmp_path / "a.net", [_dense(weights)]))
    np.testing.assert_array_equal(network.projections[0].connectivity.weights, weights)
    assert word in " ".join(network.notes)


@pytest.mark.parametrize("weights", [[[-7, -3]], [[255, 0]], [[-256, 254]], [[1, -1]]])
def test_weights_that_netx_keeps_need_no_note(tmp_path: Path, weights: Any) -> None:
    assert not read(write_netx(tmp_path / "a.net", [_dense(weights)])).notes


def test_a_block_that_lava_dl_does_not_export_is_explained(tmp_path: Path) -> None:
    path = write_netx(tmp_path / "a.net", [_dense(np.eye(2))])
    with h5py.File(path, "a") as file:
        file.create_group("layer/1")
    with refused("NM103") as found:
        read(path)
    assert "k-winner-take-all" in str(found[0].why)


@pytest.mark.parametrize(
    "layer",
    [
        _window("conv", np.ones((1, 1, 2, 2)), padding=[2**31, 2**31], bias=np.array([1.0])),
        _window("conv", np.ones((1, 1, 2, 2)), padding=[2**14, 2**14], delay=np.array([1.0]), bias=np.array([0.0])),
        _window("convT", np.ones((1, 1, 2, 2)), stride=[2**31, 2**31], bias=np.array([1.0])),
        _window("unpool", np.ones((1, 1, 2, 2)), stride=[2**20, 2**20]),
        _window("pool", np.ones((1, 1, 2, 2)), padding=[2**31, 2**31]),
    ],
)
def test_sizes_that_only_a_number_states_are_refused_before_memory_is_asked_for(tmp_path: Path, layer: dict[str, Any]) -> None:
    with refused("NM110"):
        read(write_netx(tmp_path / "a.net", [_block((1, 4, 4)), layer]))


def test_many_channels_that_only_a_shape_states(tmp_path: Path) -> None:
    layer = _window("pool", np.ones((1, 1, 2, 2)), stride=[2, 2])
    with refused("NM110"):
        read(write_netx(tmp_path / "a.net", [_block((2**31, 2, 2)), layer]))


@pytest.mark.parametrize(
    ("entry", "code"),
    [("shape", "NM103"), ("weight", "NM104"), ("bias", "NM103"), ("delay", "NM103"), ("neuron/vThMant", "NM103"), ("neuron/type", "NM103")],
)
def test_a_group_where_numbers_belong(tmp_path: Path, entry: str, code: str) -> None:
    path = write_netx(tmp_path / "a.net", [_dense(np.eye(2), bias=np.ones(2), delay=np.ones(2))])
    with h5py.File(path, "a") as file:
        del file[f"layer/0/{entry}"]
        file.create_group(f"layer/0/{entry}")
    with refused(code) as found:
        read(path)
    assert str(found[0].where).startswith(f"{path}:/layer/0/{entry.partition('/')[0]}")


def test_an_input_block_whose_shape_is_a_group(tmp_path: Path) -> None:
    path = write_netx(tmp_path / "a.net", [_block((2,)), _dense(np.eye(2))])
    with h5py.File(path, "a") as file:
        del file["layer/0/shape"]
        file.create_group("layer/0/shape")
    with refused("NM103"):
        read(path)


def test_numbers_where_the_neuron_belongs(tmp_path: Path) -> None:
    with refused("NM103") as found:
        read(write_netx(tmp_path / "a.net", [{**_dense(np.eye(2)), "neuron": np.ones(3)}]))
    assert "`neuron` of layer 0 (dense) is not a group" in found[0].message


def test_unsupported_layers_and_faults_of_others_come_together(tmp_path: Path) -> None:
    layers = [_dense(np.ones((3, 2))), {"type": "add", "shape": [4]}, _dense(np.ones((2, 5)))]
    with refused("NM104", "NM106") as found:
        read(write_netx(tmp_path / "a.net", layers))
    assert "reads 5 values, but 4 arrive" in found[1].message


def test_the_name_of_a_layer_is_a_number_of_reasonable_length(tmp_path: Path) -> None:
    path = write_netx(tmp_path / "a.net", [_dense(np.eye(2))])
    with h5py.File(path, "a") as file:
        file.create_group("layer/" + "1" * 500)
    with refused("NM104") as found:
        read(path)
    assert "not named by its number" in found[0].message


def test_real_weights_reach_a_complex_neuron_in_its_real_part(tmp_path: Path) -> None:
    network = read(write_netx(tmp_path / "a.net", [_dense(np.eye(2), neuron=_rotation())]))
    assert [p.receptor for p in network.projections] == ["input"]
    assert any("weights of layer 0 are real" in note for note in network.notes)


def test_biases_that_act_from_step_0_are_told(tmp_path: Path) -> None:
    for bias, told in ((np.array([0.0, 1.0]), True), (np.zeros(2), False)):
        network = read(write_netx(tmp_path / "a.net", [_dense(np.eye(2), bias=bias)]))
        assert any("from step 0" in note for note in network.notes) == told


def test_a_delay_that_only_a_flatten_block_follows_is_refused(tmp_path: Path) -> None:
    layer = _window("conv", np.ones((2, 1, 2, 2)), delay=np.array([1, 3]), bias=np.array([1.0, 2.0]))
    path = write_netx(tmp_path / "a.net", [_block((1, 4, 4)), layer, {"type": "flatten", "shape": [18, 1, 1]}])
    with refused("NM104") as found:
        read(path)
    assert found[0].where == f"{path}:/layer/1/delay"


def test_a_concat_block_at_the_end_has_several_outputs(tmp_path: Path) -> None:
    layers = [_dense(np.ones((2, 3))), _dense(np.ones((4, 2))), {"type": "concat", "shape": [6], "layers": np.array([0])}]
    assert read(write_netx(tmp_path / "a.net", layers)).outputs == ("layer1", "layer0")


def test_concat_blocks_that_double_without_end_are_refused(tmp_path: Path) -> None:
    layers = [_dense(np.ones((2, 3))), *({"type": "concat", "layers": np.array([k, k])} for k in range(40))]
    with refused("NM110") as found:
        read(write_netx(tmp_path / "a.net", layers))
    assert "layer 9 (concat) joins 512 layers" in found[0].message


def test_a_shape_of_a_million_dimensions_is_refused(tmp_path: Path) -> None:
    with refused("NM106") as found:
        read(write_netx(tmp_path / "a.net", [_dense(np.ones((2, 3)), shape=np.full(10**6, 2**30))]))
    assert "up to 32 integers" in found[0].message
