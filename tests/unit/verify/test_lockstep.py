"""Runs compared place by place, whether as arrays or as lists of spikes."""

from __future__ import annotations

import numpy as np
import pytest

from nmap.trace import SpikeEvents
from nmap.verify.lockstep import Difference, compare


def listed(values):
    """Return an array (samples, steps, neurons) as events, one place after the other."""
    samples, steps, neurons = values.shape
    offsets, where, payload = [0], [], []
    for sample in range(samples):
        for step in range(steps):
            for neuron in range(neurons):
                if values[sample, step, neuron]:
                    where.append(neuron)
                    payload.append(values[sample, step, neuron])
            offsets.append(len(where))
    ones = all(value == 1 for value in payload)
    return SpikeEvents(
        samples, steps, neurons, np.array(offsets), np.array(where, np.int32), None if ones else np.array(payload, np.int32),
    )


def some(seed, graded=False):
    rng = np.random.default_rng(seed)
    values = (rng.random((3, 5, 4)) < 0.4).astype(np.int32)
    return values * rng.integers(-9, 10, values.shape).astype(np.int32) if graded else values


@pytest.mark.parametrize("graded", [False, True])
def test_lists_of_spikes_are_compared_as_arrays_are(graded):
    want = some(0, graded)
    assert compare({"a": want}, {"a": listed(want)}) == Difference(0, {}, None)
    for flat in range(want.size):
        found = want.copy()
        found.reshape(-1)[flat] += 1
        as_array, as_list = compare({"a": want}, {"a": found}), compare({"a": want}, {"a": listed(found)})
        sample, step, neuron = (int(k) for k in np.unravel_index(flat, want.shape))
        assert as_array == as_list
        assert as_list.first == ("a", sample, step, neuron, want[sample, step, neuron], want[sample, step, neuron] + 1)


def test_a_spike_moved_is_two_places():
    want = np.zeros((2, 3, 4), np.int32)
    want[1, 2, 0] = 1
    found = np.zeros_like(want)
    found[0, 2, 3] = 1
    assert compare({"a": want}, {"a": listed(found)}) == Difference(2, {"a": 2}, ("a", 0, 2, 3, 0, 1))


def test_a_spike_listed_twice_is_no_other_spike():
    """As many spikes as wanted, each at a wanted place, and one of the places is missing."""
    want = np.zeros((1, 1, 4), np.int32)
    want[0, 0, [1, 3]] = 1
    twice = SpikeEvents(1, 1, 4, np.array([0, 2]), np.array([1, 1], np.int32))
    assert compare({"a": want}, {"a": twice}) == Difference(1, {"a": 1}, ("a", 0, 0, 3, 1, 0))


def test_the_earliest_step_of_all_arrays_is_told():
    want = {"a": some(1), "b": some(2)}
    found = {name: values.copy() for name, values in want.items()}
    found["a"][0, 3, 1] += 1
    found["b"][2, 1, 2] += 1
    found["b"][1, 4, 0] += 1
    difference = compare(want, found)
    assert (difference.mismatches, difference.by_array) == (3, {"a": 1, "b": 2})
    assert difference.first is not None
    assert difference.first[:4] == ("b", 2, 1, 2)


@pytest.mark.parametrize("found", [{}, {"a": np.zeros((3, 5, 5))}, {"a": listed(np.zeros((3, 4, 4), int))}])
def test_runs_recorded_differently_are_not_compared(found):
    with pytest.raises(ValueError, match="`a` was not recorded alike"):
        compare({"a": some(0)}, found)


def test_differences_of_chunks_are_added_up():
    first = Difference(3, {"a": 1, "b": 2}, ("b", 0, 4, 1, 0, 1))
    second = Difference(5, {"b": 5}, ("b", 2, 0, 0, 1, 0)).counted_from(10)
    none = Difference(0, {}, None)
    assert none.joined(first).joined(second) == Difference(8, {"a": 1, "b": 7}, ("b", 12, 0, 0, 1, 0))
    assert none.joined(second).first == ("b", 12, 0, 0, 1, 0)
    assert none.counted_from(7) == none


def test_chunks_tell_what_all_samples_together_tell():
    want = {"a": np.zeros((6, 5, 4), np.int32), "b": np.zeros((6, 5, 3), np.int32)}
    rng = np.random.default_rng(3)
    for _ in range(50):
        found = {name: (rng.random(values.shape) < 0.02).astype(np.int32) for name, values in want.items()}
        parts = [
            compare({n: v[k : k + 2] for n, v in want.items()}, {n: v[k : k + 2] for n, v in found.items()}).counted_from(k)
            for k in (0, 2, 4)
        ]
        assert parts[0].joined(parts[1]).joined(parts[2]) == compare(want, found)
