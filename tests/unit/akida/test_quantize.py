"""Networks in Akida's integers: thresholds, scales, steps and what is refused, with numbers that are worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.connectivity import Array, Connectivity, Conv2d, Dense
from nmap.diagnostics import Diagnostic, Findings
from nmap.network import Conventions, Network, Neuron
from nmap.options import Options
from nmap.quantized import QuantizedNetwork
from nmap.simulate import fixed, floating
from nmap.testing.networks import build
from nmap_akida import TARGET
from nmap_akida.form import Form, Mode, form_of, mode_of, sums_over_image
from nmap_akida.layers import layers_of

COUNTING = Conventions(1e-3, reset="subtract", compare=">=")


def neuron(
    n: int, threshold: float | Array, *, beta: float = 0.0, gain_in: float | Array = 1.0, gain_v: float | Array = 1.0,
    drive: float | Array = 0.0,
) -> Neuron:
    fields = (0.0, gain_in, gain_v, beta, drive, threshold, 0.0)
    return Neuron("LIF", *(np.broadcast_to(np.asarray(value, np.float64), (n,)) for value in fields))


def chain(*layers: tuple[Connectivity, Neuron, Array | None], conventions: Conventions | None = None) -> Network:
    first = layers[0][0]
    populations: dict = {"input": (first.in_shape if isinstance(first, Conv2d) else (first.in_size,), None)}
    links = []
    before = "input"
    for k, (connectivity, cell, bias) in enumerate(layers):
        name = f"p{k}"
        populations[name] = (connectivity.out_shape if isinstance(connectivity, Conv2d) else (connectivity.out_size,), cell)
        links.append((before, name, connectivity, bias, 0))
        before = name
    return build("net.nir", populations, links, conventions=conventions)


def dense(
    weights: object, threshold: float | Array, bias: object = None, **given: float | Array,
) -> tuple[Connectivity, Neuron, Array | None]:
    matrix = np.array(weights, np.float64)
    return Dense(matrix), neuron(len(matrix), threshold, **given), None if bias is None else np.array(bias, np.float64)


def conv(kernel: Array, image: tuple[int, int, int], threshold: float, **given: float) -> tuple[Connectivity, Neuron, Array | None]:
    layer = Conv2d(np.asarray(kernel, np.float64), image, (1, 1), tuple(k // 2 for k in kernel.shape[2:]))  # type: ignore[arg-type]
    return layer, neuron(layer.out_size, threshold, **given), None


def quantize(network: Network, **options: object) -> tuple[QuantizedNetwork, Findings]:
    findings = Findings()
    return TARGET.quantize(network, Options(**options), findings), findings  # type: ignore[arg-type]


def made(network: Network, **options: object) -> QuantizedNetwork:
    network, findings = quantize(network, **options)  # type: ignore[assignment]
    assert not findings.errors
    return network  # type: ignore[return-value]


def refused(network: Network, **options: object) -> Diagnostic:
    _, findings = quantize(network, **options)
    (error,) = findings.errors
    assert error.where == "net.nir:/input->p0"
    assert error.help
    return error


def rate(steps: int, *more: str, **options: object) -> dict[str, object]:
    return {"approximate": frozenset({"rate", *more}), "horizon": steps, **options}


# ---- thresholds -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("compare", "threshold", "kept"), [
    (">", 3.0, 3), (">=", 3.0, 2), (">", 2.5, 2), (">=", 2.5, 2), (">", -1.0, -1), (">=", -1.0, -2), (">", 0.0, 0), (">=", 0.0, -1),
    (">", -0.5, -1), (">=", -0.5, -1),
])
def test_the_threshold_is_the_largest_sum_that_does_not_fire(compare: str, threshold: float, kept: int) -> None:
    net = made(chain(dense([[1, -2, 7]], threshold), conventions=Conventions(1e-3, compare=compare)))  # type: ignore[arg-type]
    assert net["p0"].params["threshold"].tolist() == [kept]
    assert net["p0"].kernel == "akida.binary"
    assert net.projections[0].connectivity.weights.tolist() == [[1, -2, 7]]


def test_biases_gains_and_drives_are_part_of_the_threshold() -> None:
    # v = 2 * 0.5 (x + 1.5) + 0.25 > 4: x > 2.25. v = -(x - 2) > 1: -x > -1. A gain of 0 leaves the drive: never, and always.
    layer = dense(
        [[1, 2], [3, 4], [5, 6], [5, 6]], np.array([4.0, 1.0, 1.0, 1.0]), [1.5, -2, 0, 0], gain_in=np.array([2.0, 1, 0, 0]),
        gain_v=np.array([0.5, -1, 1, 1]), drive=np.array([0.25, 0, 0.5, 2]),
    )
    net = made(chain(layer))
    assert net.projections[0].connectivity.weights.tolist() == [[1, 2], [-3, -4], [0, 0], [0, 0]]
    assert net["p0"].params["threshold"].tolist() == [2, -1, 0, -1]
    assert net["p0"].scale is not None
    assert net["p0"].scale.tolist() == [1, 1, 1, 1]


def test_rounding_of_the_networks_own_formula_decides_a_tie() -> None:
    # 0.3 * 3 is 0.8999999999999999 in 64 bits: below 0.9, so that 3 does not fire, and 4 does.
    assert 0.3 * 3 < 0.9
    layer = dense([[1, 1, 1, 1]], 0.9, gain_v=0.3)
    assert made(chain(layer, conventions=Conventions(1e-3, compare=">=")))["p0"].params["threshold"].tolist() == [3]


def test_every_filter_has_its_own_scale() -> None:
    net = made(chain(dense([[0.1, -0.2, 0.7], [1, 2, 3], [40, 10, -20]], np.array([0.25, 4, 30]))))
    assert net.projections[0].connectivity.weights.tolist() == [[1, -2, 7], [1, 2, 3], [4, 1, -2]]
    assert net["p0"].params["threshold"].tolist() == [2, 4, 3]
    assert net["p0"].scale is not None
    np.testing.assert_allclose(net["p0"].scale, [10, 1, 0.1])
    (loss,) = net.losses
    assert (loss.sqnr_db, loss.clipped, loss.zeroed, loss.bits) == (None, 0, 0, 4)
    assert loss.scale == pytest.approx(0.1)


# ---- counting ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "bits", "kernel"), [
    (1, 1, "akida.binary"), (2, 2, "akida.neuron"), (3, 2, "akida.neuron"), (4, 4, "akida.neuron"), (15, 4, "akida.neuron"),
])
def test_rate_mode_counts_in_as_many_bits_as_the_steps_need(steps: int, bits: int, kernel: str) -> None:
    net = made(chain(dense([[5, -2, 7]], 5.0, beta=1.0), conventions=COUNTING), **rate(steps))
    assert net["p0"].kernel == kernel
    assert net["p0"].params["threshold"].tolist() == [4]
    if bits > 1:
        # Sixteenths of a step, which the chip widens by 4 for activations of 2 bits.
        assert net["p0"].params["act_step"].tolist() == [{2: 20, 4: 80}[bits]]
        assert net["p0"].params["act_bits"].tolist() == [bits]
    assert mode_of(net.settings) is Mode.RATE
    assert net.settings["window"] == steps


def test_biases_count_in_every_step_of_an_inference() -> None:
    for compare, kept in ((">=", [5 - 1 - 4, 5 - 1 - 3, 5 - 1 + 4]), (">", [5 - 4, 5 - 4, 5 + 3])):
        layer = dense([[5, 1], [5, 1], [5, 1]], 5.0, [0.4, 0.35, -0.35], beta=1.0)
        net = made(chain(layer, conventions=replace(COUNTING, compare=compare)), **rate(10))
        assert net["p0"].params["threshold"].tolist() == kept


@pytest.mark.parametrize(("theta", "threshold", "step"), [
    (2.5, 2, 40), (0.5, 0, 8), (0.25, 0, 4), (5.25, 5, 84), (5.5, 5, 88), (5.0, 4, 80),
])
@pytest.mark.parametrize("multiple", [False, True])
def test_thresholds_of_sixteenths_leave_whole_weights_alone(theta: float, threshold: int, step: int, multiple: bool) -> None:
    if multiple:
        # A row's largest sum is 7, or 3, times the largest input: no more than 15 theta.
        rows = [[7, 0, -7], [3, 0, -2]] if theta > 1 else [[3, 0, -3], [2, -1, 0]]
        layer, conventions = dense(rows, theta), replace(COUNTING, multiple=True)
        options: dict[str, object] = {"payload": (0, 3 if theta > 1 else 1)}
    else:
        layer, options, conventions = dense([[7, -2, 1], [7, 0, -7]], theta, beta=1.0), rate(15), COUNTING
    net, findings = quantize(chain(layer, conventions=conventions), **options)
    assert {d.code for d in findings} <= {"NM205"}
    assert net.projections[0].connectivity.weights.tolist() == layer[0].weights.tolist()
    assert net["p0"].params["threshold"].tolist() == [threshold] * 2
    bits = int(net["p0"].params["act_bits"][0])
    assert net["p0"].params["act_step"].tolist() == [step >> (4 - bits)] * 2
    assert (net.losses[0].sqnr_db, net.losses[0].clipped, net.losses[0].threshold_error) == (None, 0, 0.0)


def test_a_threshold_of_no_sixteenths_takes_the_nearest_and_says_so() -> None:
    net, findings = quantize(chain(dense([[7, -2, 1], [7, 0, 1]], np.array([5.3, 5.0]), beta=1.0), conventions=COUNTING), **rate(15))
    assert net.projections[0].connectivity.weights.tolist() == [[7, -2, 1], [7, 0, 1]]
    assert net["p0"].params["act_step"].tolist() == [85, 80]
    assert net["p0"].params["threshold"].tolist() == [5, 4]
    assert net.losses[0].threshold_error == pytest.approx((85 / 16 - 5.3) / 5.3)
    found = next(d for d in findings if d.code == "NM302")
    assert found.message == "1 of 2 neurons of `p0` may not count every sum exactly"
    assert found.why is not None
    wrong = sum(abs(min(15, max(0, -((80 - 16 * p) // 85))) - min(15, 10 * p // 53)) for p in range(121))
    assert wrong > 0
    assert "takes 5.3 integer" in found.why
    assert "a threshold of 5 and a step of 85 sixteenths" in found.why
    assert f"one spike off at {wrong} sums" in found.why
    assert TARGET.spec.limits["act_step"].source in found.why


def test_counts_are_right_for_what_arrives_not_for_what_the_port_could_hold() -> None:
    # 4 steps of binary spikes: inputs of 0 to 4 although the port has 3 bits, and sums of -32 to 24.
    weights, theta, bias, steps = np.array([6, -2, -6]), 2.75, 1.0, 4
    network = chain(dense([weights], theta, beta=1.0, bias=bias), conventions=Conventions(1e-3, "subtract", compare=">="))
    net, findings = quantize(network, **rate(steps))
    assert list(findings) == [found for found in findings if found.code != "NM302"]
    params = net["p0"].params
    inputs = np.array(np.meshgrid(*[range(steps + 1)] * 3)).reshape(3, -1).T
    sums = inputs @ weights
    wanted = np.clip(np.floor((sums + steps * bias) / theta), 0, 15)
    np.testing.assert_array_equal(np.clip(-((16 * (params["threshold"][0] - sums)) // params["act_step"][0]), 0, 15), wanted)


def test_several_spikes_a_step_that_cannot_be_counted_are_told() -> None:
    # 5.3 is 84.8 sixteenths: with none of the steps do all of 5.3, 10.6, 15.9, ... lie right.
    _, findings = quantize(chain(dense([[7, -2, 1]], 5.3), conventions=replace(COUNTING, multiple=True)), payload=(0, 9))
    (found,) = findings
    assert (found.code, found.severity) == ("NM302", "warning")
    # Inputs of 0 and 1 make one spike at most.
    assert not list(quantize(chain(dense([[7, -2, 1]], 5.3), conventions=replace(COUNTING, multiple=True)))[1])


def test_real_weights_have_the_scale_with_the_least_error_whatever_the_threshold() -> None:
    rng = np.random.default_rng(97)
    theta, rows = rng.uniform(0.3, 3, 12), rng.normal(0, 0.3, (12, 20))
    net, findings = quantize(chain(dense(rows, theta, beta=1.0), conventions=COUNTING), **rate(15))
    plain = made(chain(dense(rows, theta)))
    assert net["p0"].scale.tolist() == plain["p0"].scale.tolist()
    assert np.array_equal(net.projections[0].connectivity.weights, plain.projections[0].connectivity.weights)
    real = net["p0"].scale * theta
    error = np.abs(net["p0"].params["act_step"] / 16 - real) / real
    assert net.losses[0].threshold_error == pytest.approx(error.max())
    assert 0 < net.losses[0].threshold_error < 0.06
    assert [d.data["proved_steps"] for d in findings if d.code == "NM205"] == [15]
    assert "`p0` counts the spikes of 15 steps" in next(d.message for d in findings if d.code == "NM205")


def test_weights_on_a_grid_take_the_scale_on_which_they_count() -> None:
    # On the smallest, 2 / 3, a spike would take a third of a unit.
    net = made(chain(dense([[1.5, -1.5]], 0.5, beta=1.0), conventions=COUNTING), **rate(15))
    counts = fixed.simulate(net, TARGET.kernels, np.array([[[k, j] for k in range(9) for j in range(3)]]), 28)
    wanted = [min(15, max(0, 3 * (k - j))) for k in range(9) for j in range(3)]
    assert counts.spikes["p0"][0, 1:, 0].tolist() == wanted
    assert net.losses[0].sqnr_db is None


def test_neurons_without_memory_need_no_rate_mode() -> None:
    net, findings = quantize(chain(dense([[5, -2, 7]], 5.0)), **rate(4))
    assert not list(findings)
    assert mode_of(net.settings) is Mode.THRESHOLD
    assert net["p0"].params["threshold"].tolist() == [5]


def test_without_a_number_of_steps_an_inference_stands_for_fifteen() -> None:
    net = made(chain(dense([[1, 1]], 1.0, beta=1.0), conventions=COUNTING), approximate=frozenset({"rate"}))
    assert net.settings["window"] == 15


def test_more_steps_than_an_inference_counts_are_refused() -> None:
    network = chain(dense([[1, 1]], 1.0, beta=1.0), conventions=COUNTING)
    _, findings = quantize(network, **rate(32))
    (error,) = findings.errors
    assert error.code == "NM205"
    assert error.message == "32 steps do not fit in one inference of 4 bits"
    assert "--steps 15" in error.help[0]


def test_a_network_whose_own_time_runs_behind_has_less_latency() -> None:
    network = chain(dense([[7, -2, 1]], 3.0), dense([[5], [-3]], 4.0), dense([[2, 1]], 1.5))
    late = replace(network, projections=tuple(replace(p, delay=int(p.source != "p0")) for p in network.projections))
    assert [p.latency for p in made(network).populations] == [0, 1, 2, 3]
    net = made(late)
    assert [p.latency for p in net.populations] == [0, 0, 1, 1]
    assert [p.delay for p in net.projections] == [0, 0, 0]
    given = np.random.default_rng(110).integers(0, 2, (2, 12, 3))
    names = ["p0", "p1", "p2"]
    run, trace = floating.simulate(late, given, record=names), fixed.simulate(net, TARGET.kernels, given, 13, record=names)
    for name in names:
        latency = net[name].latency
        assert run.spikes[name].any()
        np.testing.assert_array_equal(trace.spikes[name][:, latency : latency + 12], run.spikes[name])


@pytest.mark.parametrize(("high", "bits"), [(1, 1), (3, 2), (15, 4)])
def test_several_spikes_a_step_take_as_many_bits_as_they_can_be(high: int, bits: int) -> None:
    net = made(chain(dense([[5, -2, 0]], 5.0), conventions=replace(COUNTING, multiple=True)), payload=(0, high))
    assert net["p0"].kernel == ("akida.binary" if bits == 1 else "akida.neuron")
    if bits > 1:
        assert net["p0"].params["act_bits"].tolist() == [bits]
    trace = fixed.simulate(net, TARGET.kernels, np.array([[[high, 0, 0], [0, high, 9], [high, high, 0]]]), 4)
    assert trace.spikes["p0"][0, 1:, 0].tolist() == [high, 0, high * 3 // 5]


# ---- layers -----------------------------------------------------------------------------------------------------------------------------


def test_names_latencies_forms_and_formats() -> None:
    rng = np.random.default_rng(98)
    kernel = rng.integers(-3, 4, (4, 2, 3, 3))
    network = chain(conv(kernel, (2, 5, 5), 1.0), dense(rng.integers(-7, 8, (3, 100)), 2.0))
    net = made(network)
    assert [p.name for p in net.populations] == ["input", "p0", "p1"]
    assert [p.latency for p in net.populations] == [0, 1, 2]
    assert net.inputs == ("input",)
    assert net.outputs == ("p1",)
    assert [form_of(net.settings, name) for name in ("p0", "p1")] == [Form.CONV, Form.DENSE]
    assert mode_of(net.settings) is Mode.THRESHOLD
    assert "window" not in net.settings
    assert [(p.format.bits, p.format.message_bits, p.format.exponent, p.format.sign) for p in net.projections] == [(4, 0, 0, "mixed")] * 2
    assert net.projections[0].connectivity.weights.tolist() == kernel.tolist()
    assert [loss.name for loss in net.losses] == ["p0", "p1"]
    two = made(network, bits=2)
    assert [p.format.bits for p in two.projections] == [2, 2]
    assert np.abs(two.projections[1].connectivity.weights).max() == 1


def test_inputs_of_several_bits_are_messages() -> None:
    net = made(chain(dense([[1, 2, 3]], 4.0)), payload=(0, 9))
    assert net.projections[0].format.message_bits == 5
    assert layers_of(net)[0].input_bits == 4


def test_an_image_has_weights_of_eight_bits() -> None:
    kernel = np.random.default_rng(99).integers(-127, 128, (2, 1, 3, 3))
    net = made(chain(conv(kernel, (1, 6, 6), 100.0)), payload=(0, 200))
    assert form_of(net.settings, "p0") is Form.IMAGE
    assert net.projections[0].connectivity.weights.tolist() == kernel.tolist()
    assert net.projections[0].format.bits == 8
    assert net.projections[0].format.message_bits == 9


def test_an_images_real_weights_are_pressed_until_the_sums_are_proved() -> None:
    kernel = np.random.default_rng(100).uniform(0.5, 1, (2, 3, 7, 7))
    net = made(chain(conv(kernel, (3, 9, 9), 50.0)), payload=(0, 255))
    totals = net.projections[0].connectivity.weights.reshape(2, -1).sum(1)
    assert (totals * 255 < 2**19).all()
    # No more than the proof asks for.
    assert (totals * 255 > 2**18).all()


def test_an_image_is_proved_for_all_values_where_that_can_be() -> None:
    kernel = np.full((2, 3, 3, 3), 127.0)
    kernel[:, 0, 0, 0] = 126
    for top, highest in ((100, 100), (152, 152)):
        assert 255 * (26 * 127 + 126) > 2**19 > top * (26 * 127 + 126)
        net = made(chain(conv(kernel, (3, 8, 8), 500.0)), payload=(0, top))
        assert net.settings["input.highest"] == highest
        assert net.projections[0].connectivity.weights.tolist() == kernel.tolist()
    assert refused(chain(conv(kernel, (3, 8, 8), 500.0)), payload=(0, 157)).code == "NM304"
    kernel[:, 1:] = 0
    for top in (1, 100, 255):
        assert made(chain(conv(kernel, (3, 8, 8), 500.0)), payload=(0, top)).settings["input.highest"] == 255


@pytest.mark.parametrize(("top", "highest"), [(1, 1), (2, 3), (5, 7), (9, 15), (15, 15)])
def test_other_ports_are_proved_for_their_width(top: int, highest: int) -> None:
    assert made(chain(dense([[1, 2, 3]], 4.0)), payload=(0, top)).settings["input.highest"] == highest


def test_a_port_is_narrowed_to_its_samples_where_its_width_is_not_proved() -> None:
    row = np.append(np.full(6000, 7.0), [6.0])[None]
    assert 15 * (6000 * 7 + 6) > 2**19 > 9 * (6000 * 7 + 6)
    assert made(chain(dense(row, 9.0)), payload=(0, 9)).settings["input.highest"] == 9
    # Where a wider input would make more spikes than the activation holds, too.
    network = chain(dense([[1, 1]], 1.5), conventions=replace(COUNTING, multiple=True))
    assert made(network, payload=(0, 9)).settings["input.highest"] == 9
    assert made(network, payload=(0, 6)).settings["input.highest"] == 7


def test_a_port_in_front_of_a_sum_of_windows_is_proved_for_what_it_sends() -> None:
    wide = np.kron(np.random.default_rng(112).integers(-7, 8, (3, 2, 3, 3)), np.ones((2, 2)))
    net = made(chain((Conv2d(wide, (2, 6, 6), (2, 2), (2, 2)), neuron(27, 4.0), None)), payload=(0, 2))
    assert "p0.pool" in [p.name for p in net.populations]
    assert net.settings["input.highest"] == 3


def test_separable_kernels_are_products_of_two_narrow_factors() -> None:
    rng = np.random.default_rng(101)
    depth, point = rng.integers(-7, 8, (4, 3, 3)), rng.integers(-7, 8, (8, 4))
    kernel = point[:, :, None, None] * depth
    net = made(chain(conv(kernel, (4, 6, 6), 10.0)), payload=(0, 15))
    assert form_of(net.settings, "p0") is Form.SEPARABLE
    assert net.projections[0].connectivity.weights.tolist() == kernel.tolist()
    assert net["p0"].params["threshold"][0] == 10


@pytest.mark.parametrize("bits", [2, 4])
def test_real_separable_kernels_stay_separable(bits: int) -> None:
    rng = np.random.default_rng([102, bits])
    kernel = rng.normal(0, 1, (9, 4))[:, :, None, None] * rng.normal(0, 0.3, (4, 5, 5))
    net = made(chain(conv(kernel, (4, 6, 6), 1.0)), bits=bits)
    (layer,) = layers_of(net)
    assert layer.form is Form.SEPARABLE
    assert layer.depthwise is not None
    assert layer.pointwise is not None
    top = {2: 1, 4: 7}[bits]
    assert max(np.abs(layer.depthwise).max(), np.abs(layer.pointwise).max()) <= top
    product = layer.pointwise[:, :, None, None] * layer.depthwise
    assert np.array_equal(product, net.projections[0].connectivity.weights)
    real = product / net["p0"].scale.reshape(9, -1)[:, :1, None, None]
    assert ((real - kernel) ** 2).sum() < {2: 0.5, 4: 0.03}[bits] * (kernel**2).sum()
    assert net.losses[0].sqnr_db == pytest.approx(10 * np.log10((kernel**2).sum() / ((real - kernel) ** 2).sum()))


def test_depthwise_kernels_keep_their_groups() -> None:
    rng = np.random.default_rng(103)
    kernel = rng.integers(1, 8, (4, 1, 3, 3)).astype(np.float64)
    layer = Conv2d(kernel, (4, 5, 5), (1, 1), (1, 1), (1, 1), 4)
    net = made(chain((layer, neuron(100, 9.0), None)))
    kept = net.projections[0].connectivity
    assert isinstance(kept, Conv2d)
    assert kept.groups == 4
    assert kept.weights.tolist() == kernel.tolist()


def test_a_sum_of_windows_becomes_a_layer_in_front() -> None:
    rng = np.random.default_rng(104)
    small = rng.integers(-7, 8, (3, 2, 3, 3))
    wide = np.kron(small, np.ones((2, 2)))
    first = conv(rng.integers(-3, 4, (2, 2, 3, 3)), (2, 6, 6), 1.0)
    pooling = Conv2d(wide, (2, 6, 6), (2, 2), (2, 2))
    net = made(chain(first, (pooling, neuron(27, 4.0), None)))
    assert [p.name for p in net.populations] == ["input", "p0", "p1.pool", "p1"]
    assert [p.latency for p in net.populations] == [0, 1, 2, 3]
    assert [(p.name, p.source, p.target) for p in net.projections] == [
        ("input->p0", "input", "p0"), ("p0->p1.pool", "p0", "p1.pool"), ("p0->p1", "p1.pool", "p1"),
    ]
    assert {name: set(values.tolist()) for name, values in net["p1.pool"].params.items()} == {
        "threshold": {0}, "act_step": {16}, "act_bits": {4},
    }
    assert net.projections[1].format.bits == 1
    assert net.projections[2].format.message_bits == 5
    assert net.projections[2].connectivity.weights.tolist() == small.tolist()
    assert [loss.name for loss in net.losses] == ["p0", "p1"]


def test_a_sum_over_the_image_keeps_the_wide_kernel() -> None:
    small = np.random.default_rng(105).integers(-7, 8, (3, 2, 3, 3))
    wide = np.zeros((3, 2, 7, 7))
    for y in range(5):
        for x in range(5):
            wide[:, :, y : y + 3, x : x + 3] += small
    layer = Conv2d(wide, (2, 5, 5), (1, 1), (1, 1))
    net = made(chain((layer, neuron(3, 40.0), None)))
    assert sums_over_image(net.settings, "p0")
    assert net.projections[0].connectivity.weights.tolist() == wide.tolist()
    assert net["p0"].params["threshold"].tolist() == [40, 40, 40]


def test_fused_pooling_asks_whether_any_of_four_fired() -> None:
    rng = np.random.default_rng(106)
    first, last = conv(rng.integers(-3, 4, (2, 2, 3, 3)), (2, 6, 6), 1.0), conv(rng.integers(-3, 4, (2, 2, 3, 3)), (2, 3, 3), 1.0)
    pooling = Conv2d(np.full((2, 1, 2, 2), 0.25), (2, 6, 6), (2, 2), groups=2)
    net = made(chain(first, (pooling, neuron(18, 0.2), None), last))
    assert form_of(net.settings, "p1") is Form.POOLED
    assert net["p1"].params["threshold"].tolist() == [0] * 18
    assert net.projections[1].connectivity.weights.tolist() == np.ones((2, 1, 2, 2)).tolist()


# ---- what is lost or refused ------------------------------------------------------------------------------------------------------------


def test_twos_complements_lowest_number_is_refused() -> None:
    network = chain(dense([[-8, 3], [1, 7]], 1.0))
    error = refused(network)
    assert error.code == "NM305"
    assert error.message == "1 weight into `p0` is -8, which weights of 4 bits do not hold here"
    limit = TARGET.spec.limits["weight_4"]
    assert error.why is not None
    assert f"-7..7 ({limit.source})" in error.why
    assert error.data["approximate"] == "weights"
    taken = made(network, approximate=frozenset({"weights"}))
    assert taken.projections[0].connectivity.weights.tolist()[1] == [1, 7]
    assert taken.projections[0].connectivity.weights.min() >= -7
    # Whole numbers of a wider format are scaled like real ones.
    assert not quantize(chain(dense([[-8, 30], [1, 7]], 1.0)))[1].errors
    assert refused(chain(dense([[-2, 1], [1, 0]], 1.0)), bits=2).message.startswith("1 weight into `p0` is -2")


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("within", [True, False])
def test_the_factors_of_a_separable_convolution_are_weights_too(bits: int, within: bool) -> None:
    rng = np.random.default_rng(107)
    top = 2 ** (bits - 1) - 1
    depth, points = rng.integers(-top, top + 1, (8, 3, 3)), rng.integers(-top, top + 1, (16, 8))
    # Beside 1s, so that no other factors make the same products.
    depth[0, 0, :2], points[:2, 0] = ((-top - 1, 1), (1, top)) if within else ((1, top), (-top - 1, 1))
    network = chain(conv(points[:, :, None, None] * depth, (8, 6, 6), 3.0))
    error = refused(network, bits=bits)
    limit = TARGET.spec.limits[f"weight_{bits}"]
    assert error.code == "NM305"
    assert f"{-top - 1} or {top + 1}" in error.message
    assert error.why is not None
    assert f"{-top}..{top} ({limit.source})" in error.why
    taken = made(network, bits=bits, approximate=frozenset({"weights"}))
    assert form_of(taken.settings, "p0") is Form.SEPARABLE


def test_one_bit_has_no_negative_weights() -> None:
    network = chain(dense([[0.5, -0.25, 0.5], [1, 0, 1]], 0.6))
    error = refused(network, bits=1)
    assert error.message == "1 of 6 weights into `p0` are negative, and weights of 1 bit are 0 or 1"
    net, findings = quantize(network, bits=1, approximate=frozenset({"weights"}))
    assert not findings.errors
    assert net.projections[0].connectivity.weights.tolist() == [[1, 0, 1], [1, 0, 1]]


def test_thresholds_beyond_20_bits_are_refused() -> None:
    for threshold, code in ((2.0**19 - 1, None), (2.0**19, "NM305"), (-(2.0**19), None), (-(2.0**19) - 1, "NM305")):
        network = chain(dense([[7, 2, 1]], threshold))
        if code is None:
            assert made(network)["p0"].params["threshold"].tolist() == [threshold]
            continue
        error = refused(network)
        assert error.code == code
        assert "20 bits" in error.message
        assert str(int(threshold)) in error.message
        assert error.why is not None
        assert f"-524288..524287 ({TARGET.spec.limits['threshold'].source})" in error.why


def test_thresholds_of_images_have_24_bits() -> None:
    kernel = np.full((1, 1, 3, 3), 3.0)
    kernel[0, 0, 1, 1] = 127
    net = made(chain(conv(kernel, (1, 6, 6), 2.0**23 - 1)), payload=(0, 255))
    assert set(net["p0"].params["threshold"].tolist()) == {2**23 - 1}
    assert "24 bits" in refused(chain(conv(kernel, (1, 6, 6), 2.0**23)), payload=(0, 255)).message


def test_a_small_filter_takes_the_layers_scale_where_its_own_makes_the_threshold_too_large() -> None:
    rng = np.random.default_rng(107)
    rows = rng.normal(0, 1, (2, 20)) * np.array([[1.0], [1e-5]])
    net = made(chain(dense(rows, 1.0)))
    threshold = net["p0"].params["threshold"]
    assert threshold[1] < 2**19
    # Of the scales down to half of one with which the threshold just fits.
    assert threshold[1] > 2**16


def test_sums_that_are_not_proved_are_refused_with_the_numbers() -> None:
    just = np.full((1, 4993), 7.0)
    fits = np.append(just[0], [0.0])[None]
    assert 4993 * 7 * 15 == 524265
    assert made(chain(dense(fits, 9.0)), payload=(0, 15)).projections[0].connectivity.weights.sum() == 4993 * 7
    # A weight of 6 keeps the whole numbers from being ones on a scale of their own.
    error = refused(chain(dense(np.append(just[0], [6.0])[None], 9.0)), payload=(0, 15))
    assert error.code == "NM304"
    assert error.message == "1 of 1 neurons of `p0` has sums that may leave the 20 bits of a potential: up to 524355"
    assert error.why is not None
    assert "34957 x inputs up to 15" in error.why
    assert TARGET.spec.limits["potential"].source in error.why
    assert error.help[0] == "use fewer weight bits: --bits 2"
    # One sign at a time: what cancels does not count.
    both = np.append(just[0], [*-just[0][1:], -6])[None]
    assert not quantize(chain(dense(both, 9.0)), payload=(0, 15))[1].errors


def test_a_threshold_may_be_too_large_to_be_counted_in() -> None:
    taken = made(chain(dense([[7, 2, 1]], 65535.0, beta=1.0), conventions=COUNTING), **rate(15))
    assert taken["p0"].params["act_step"].tolist() == [1048560]
    error = refused(chain(dense([[7, 2, 1]], 65536.0, beta=1.0), conventions=COUNTING), **rate(15))
    assert error.code == "NM305"
    assert error.message == (
        "1 of 1 neurons of `p0` has thresholds in which spikes cannot be counted: 65536 integer weight units, at most 65535"
    )
    assert error.why is not None
    assert TARGET.spec.limits["act_step"].source in error.why
    # A step of 2 bits is four times as wide.
    assert made(chain(dense([[7, 2, 1]], 65536.0, beta=1.0), conventions=COUNTING), **rate(3))["p0"].params["act_step"].tolist() == [262144]


def test_in_rate_mode_fewer_steps_make_sums_smaller() -> None:
    row = np.append(np.full(4993, 7.0), [6.0])[None]
    error = refused(chain(dense(row, 9.0, beta=1.0), conventions=COUNTING), **rate(15))
    assert error.code == "NM304"
    assert error.help[:2] == ("use fewer weight bits: --bits 2", "use fewer steps: --steps 3")
    made(chain(dense(row, 9.0, beta=1.0), conventions=COUNTING), **rate(3))


def test_a_threshold_beyond_any_field_is_told_without_its_number() -> None:
    error = refused(chain(dense([[7, 2, 1]], 1e30)))
    assert "a number beyond any field" in error.message


def test_a_layer_in_front_takes_a_name_that_is_free() -> None:
    rng = np.random.default_rng(109)
    first, wide = conv(rng.integers(-3, 4, (2, 2, 3, 3)), (2, 6, 6), 1.0), np.kron(rng.integers(-7, 8, (3, 2, 3, 3)), np.ones((2, 2)))
    network = chain(first, (Conv2d(wide, (2, 6, 6), (2, 2), (2, 2)), neuron(27, 4.0), None))
    named = tuple(replace(p, name="p1.pool") if p.name == "p0" else p for p in network.populations)
    links = tuple(
        replace(p, source=p.source.replace("p0", "p1.pool"), target=p.target.replace("p0", "p1.pool")) for p in network.projections
    )
    net = made(replace(network, populations=named, projections=links))
    assert [p.name for p in net.populations] == ["input", "p1.pool", "p1.pool_", "p1"]
    assert [(p.source, p.target) for p in net.projections] == [("input", "p1.pool"), ("p1.pool", "p1.pool_"), ("p1.pool_", "p1")]


def test_sums_over_the_image_are_proved_pixel_by_pixel() -> None:
    small, pixels = np.full((1, 16, 1, 1), 7.0), 25 * 25
    small[0, 3] = 6
    layer = Conv2d(np.broadcast_to(small, (1, 16, 25, 25)), (16, 25, 25))
    assert (16 * 7 - 1) * pixels * 15 > 2**19 > (16 * 7 - 1) * pixels
    assert not quantize(chain((layer, neuron(1, 4.0), None)))[1].errors
    error = refused(chain((layer, neuron(1, 4.0), None)), payload=(0, 15))
    assert error.why is not None
    assert "111 x inputs up to 15 x 625 pixels" in error.why


@pytest.mark.parametrize(("kind", "code"), [("dense", "NM112"), ("conv", "NM112"), ("image", "NM305")])
def test_layers_of_zeros(kind: str, code: str) -> None:
    if kind == "dense":
        network = chain(dense(np.zeros((3, 4)), 1.0))
    else:
        channels = 1 if kind == "image" else 2
        network = chain(conv(np.zeros((2, channels, 3, 3)), (channels, 6, 6), 1.0))
    _, findings = quantize(network)
    (found,) = findings
    assert found.code == code
    assert found.message == "all weights into `p0` are 0"
    assert found.severity == ("error" if kind == "image" else "warning")
    if kind == "image":
        assert found.why is not None
        assert TARGET.spec.limits["nonzero_weights"].source in found.why


def test_single_filters_of_zeros_are_taken() -> None:
    net = made(chain(dense([[0, 0], [1, 2]], 1.0)))
    assert net.projections[0].connectivity.weights.tolist() == [[0, 0], [1, 2]]


def test_losses_are_counted_and_told() -> None:
    rng = np.random.default_rng(108)
    rows = rng.laplace(0, 1, (5, 81))
    net, findings = quantize(chain(dense(rows, 1.0)), bits=4)
    (loss,) = net.losses
    values = net.projections[0].connectivity.weights
    real = values / net["p0"].scale[:, None]
    assert loss.sqnr_db == pytest.approx(10 * np.log10((rows**2).sum() / ((real - rows) ** 2).sum()))
    assert loss.zeroed == int((values == 0).sum())
    beyond = int((np.abs(np.rint(rows * net["p0"].scale[:, None])) > 7).sum())
    assert loss.clipped == beyond > 0
    by_code = {d.code: d for d in findings}
    assert by_code["NM301"].message == f"{beyond} of 405 weights into `p0` are clipped"
    assert by_code["NM302"].message == f"{loss.zeroed} of 405 weights into `p0` round to 0"


def test_a_network_that_breaks_a_rule_is_a_defect() -> None:
    network = chain(dense([[1, 1]], 1.0))
    with pytest.raises(TypeError, match="which the rules refuse"):
        quantize(network, payload=(-3, 3))
