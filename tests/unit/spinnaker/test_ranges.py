from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.connectivity import Dense
from nmap.network import Network
from nmap.testing.networks import build
from nmap_spinnaker.factors import WHOLE
from nmap_spinnaker.ranges import ROOM, current, largest_resistance, leaves
from nmap_spinnaker.start import current_before, integral_before, membrane_before
from tests.unit.spinnaker.quantizing import cells, fixed, quantized, random_network, wide

LIMIT = 2**31 - 1


def attack(net: Network, *approximate: str, steps: int = 150) -> int:
    """Return the largest number of the chip's arithmetic under inputs made to drive membranes up and down as far as they go."""
    made, found = quantized(net, *approximate)
    assert not [d for d in found if d.code == "NM304" and d.severity == "warning"]
    rng, size = np.random.default_rng(11), net["in"].size
    weights = np.asarray(net.projections[0].connectivity.apply(np.eye(size)))
    floods = [np.ones((steps, size)), np.zeros((steps, size)), (rng.random((steps, size)) < 0.5) * 1.0]
    for neuron in range(min(4, weights.shape[1])):
        floods += [np.tile(weights[:, neuron] > 0, (steps, 1)), np.tile(weights[:, neuron] < 0, (steps, 1))]
        # First as far down as it goes, then up at once.
        floods.append(np.where(np.arange(steps)[:, None] < 2 * steps // 3, weights[:, neuron] < 0, weights[:, neuron] > 0) * 1.0)
    given = {"in": np.array(floods).astype(np.int32)}
    seen = wide(made, given, steps)
    chip = fixed(made, given, steps)
    for name, spikes in seen.spikes.items():
        if name != "in":
            np.testing.assert_array_equal(chip[name], spikes, err_msg=name)
    return seen.largest


@pytest.mark.parametrize("kind", ["lif", "cuba", "if", "memoryless", "slow"])
@pytest.mark.parametrize("dt", [1e-4, 2e-3])
def test_no_input_makes_a_number_wrap(kind: str, dt: float) -> None:
    for seed in range(2):
        largest = attack(random_network(seed, kind, dt=dt), steps=80)
        # The room is used: by currents to a quarter at least.
        assert 2**27 < largest <= LIMIT


@pytest.mark.parametrize("given", [
    {"beta": WHOLE}, {"beta": 0.99995}, {"beta": 0.9, "alpha": 0.9999}, {"beta": 0.0}, {"beta": 0.5, "alpha": 0.5, "threshold": 1e5},
    {"beta": 0.5, "v_reset": -1e5}, {"beta": 0.999, "threshold": 1e-4}, {"beta": 0.9, "drive": 0.9}, {"beta": 0.9, "drive": -50.0},
    {"beta": 0.5, "gain_v": 1e-6}, {"beta": 0.5, "alpha": 0.2, "gain_in": 1e9},
])
def test_extreme_neurons_stay_in_range(given: dict[str, float]) -> None:
    rng = np.random.default_rng(4)
    net = build(
        "extreme.nir", {"in": ((6,), None), "a": ((3,), cells(3, **given))}, [("in", "a", Dense(rng.normal(0, 1, (3, 6))), None, 0)],
    )
    assert attack(net, steps=400) <= LIMIT


def test_a_bias_into_a_long_current_stays_in_range() -> None:
    rng = np.random.default_rng(4)
    net = build(
        "biased.nir", {"in": ((4,), None), "a": ((2,), cells(2, alpha=[0.99, 0.5])), "b": ((2,), cells(2, alpha=[0.9, 0.3]))}, [
            ("in", "a", Dense(rng.normal(0, 1, (2, 4))), np.array([0.05, -0.4]), 0),
            ("a", "b", Dense(rng.normal(0, 1, (2, 2))), np.array([-0.4, 0.05]), 0),
        ],
    )
    assert attack(net, steps=400) <= LIMIT


def test_an_integrator_as_a_leaky_neuron_stays_in_range() -> None:
    net = build(
        "integrator.nir", {"in": ((4,), None), "a": ((2,), cells(2, beta=1.0))},
        [("in", "a", Dense(np.array([[1.0, -1.0, 0.5, -0.25], [0.1, 0.2, -0.3, -0.4]])), None, 0)],
    )
    assert attack(net, "leak", steps=1000) <= LIMIT


def test_a_bound_that_is_too_large_fails_the_proof() -> None:
    """`leaves` tells where a resistance is too large by as little as the margin."""
    n = np.zeros(1)
    bounds = current((np.array([65535.0]), np.array([65535.0])), (14, 14), np.ones(1), n, n, n)
    assert bounds.fits.all()
    threshold, reset = np.array([2.0**29]), np.array([-(2.0**28)])
    most = largest_resistance(bounds, threshold, reset, n)
    # alpha - v spans from the lowest v, which is the lowest alpha, to the highest alpha.
    assert most[0] == pytest.approx(ROOM / (2 * 65535 * 2**14) * 32768)
    scale = most / 32768
    assert not leaves(bounds, most, threshold * scale, reset * scale, n, n, False).any()
    assert leaves(bounds, most * 1.001, threshold * scale, reset * scale, n, n, False).all()
    assert leaves(bounds, most, threshold * scale, -(2.0**31) * np.ones(1), n, n, False).all()
    assert not current((np.array([65535.0]), np.array([0.0])), (15, 0), np.ones(1), n, n, n).fits.any()
    assert not current((np.array([65535.0]), np.array([0.0])), (14, 0), np.ones(1), n + 0.5, n, n).fits.any()
    assert not current((np.array([1.0]), np.array([1.0])), (0, 0), np.ones(1), n, n + 2.0**30, n).fits.any()
    assert not current((np.array([1.0]), np.array([1.0])), (0, 0), np.ones(1), n, n, n - 2.0**30).fits.any()


def test_an_integrators_proof_adds_v() -> None:
    n, one = np.zeros(1), np.full(1, 32768.0)
    bounds = current((np.array([65535.0]), np.array([65535.0])), (14, 14), np.ones(1), n, n, n)
    assert not leaves(bounds, one, np.array([2.0**29]), n, n, n, True).any()
    assert leaves(bounds, one, np.array([2.0**30 + 2.0**15]), n, n, n, True).all()
    assert leaves(bounds, one, n, np.array([-(2.0**30) - 2.0**15]), n, n, True).all()


def test_currents_decay_to_what_is_wanted() -> None:
    rng = np.random.default_rng(8)
    kept = (rng.uniform(0.2, 0.9999, 200) * 2**32).astype(np.int64)
    wanted = rng.integers(0, 2**20, 200)
    start, possible = current_before(wanted, kept, 4)
    assert possible.all()
    value = [int(x) for x in start]
    for _ in range(4):
        value = [x * int(k) >> 32 for x, k in zip(value, kept, strict=True)]
    np.testing.assert_array_equal(value, wanted)
    start, possible = current_before(np.array([5, 0, 1 << 20]), np.array([0, 0, 1 << 20]), 3)
    assert possible.tolist() == [False, True, False]
    assert start.tolist() == [0, 0, 0]


def test_membranes_come_to_zero() -> None:
    """Every start that is called possible leads to 0 without a spike, in whole numbers of any size."""
    rng = np.random.default_rng(9)
    n, steps = 400, 5
    leak = np.where(rng.random(n) < 0.1, 0, rng.integers(3000, 32767, n))
    kept = (rng.uniform(0.1, 0.99, n) * 2**32).astype(np.int64)
    offset, resistance = rng.integers(-(2**27), 2**27, n), rng.integers(1, 2**16, n)
    first = rng.integers(0, 2**24, n)
    rest, threshold = -rng.integers(0, 99, n), rng.integers(2**20, 2**29, n)
    v, possible = membrane_before((first, np.zeros_like(first)), kept, offset, resistance, leak, rest, threshold, steps)
    assert 0.2 < possible.mean() < 1
    assert not v[~possible].any()
    for k in np.flatnonzero(possible):
        now, syn = int(v[k]), int(first[k])
        for step in range(steps):
            syn = syn * int(kept[k]) >> 32
            alpha = ((syn + int(offset[k])) * int(resistance[k]) >> 15) + int(rest[k])
            now = alpha - (int(leak[k]) * (alpha - now) >> 15)
            assert now < threshold[k]
            if step == steps - 1:
                assert now == 0 or leak[k] == 0


def test_integrators_come_to_zero() -> None:
    gained, reset = np.array([0, 3, -3, 3, 3, -300]), np.array([0, 0, 0, -100, -11, -5000])
    v, possible = integral_before(gained, np.full(6, 1000), reset, 4)
    assert possible.tolist() == [True, False, True, True, True, False]
    assert v.tolist() == [0, 0, 12, -12, -12, 0]
    for k in np.flatnonzero(possible):
        now = int(v[k])
        for _ in range(4):
            now = max(now + int(gained[k]), int(reset[k]))
        assert now == 0


def test_a_program_that_cannot_be_proved_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from nmap_spinnaker import quantize

    monkeypatch.setattr(quantize, "leaves", lambda *given: np.ones_like(given[2], bool))
    net = build("told.nir", {"in": ((1,), None), "a": ((2,), cells(2))}, [("in", "a", Dense(np.ones((2, 1))), None, 0)])
    _, found = quantized(replace(net))
    assert [(d.code, d.severity) for d in found if d.code == "NM304" and d.severity != "note"] == [("NM304", "warning")]
