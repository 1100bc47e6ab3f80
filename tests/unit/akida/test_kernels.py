"""Akida's neuron against whole numbers without end and fractions; the emulator's form and the reference simulator's."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from math import ceil

import numpy as np
import pytest

from nmap.emulate.kernel import Kernel
from nmap.testing.kernels import run_kernel
from nmap_akida import TARGET
from nmap_akida.kernels import BINARY, GRADED, KERNELS
from nmap_akida.kernels.neuron import POTENTIAL, STEP_MAX, THRESHOLD

EDGES = [0, 1, -1, 2**19 - 1, 2**19, -(2**19), -(2**19) - 1, 2**23 - 1, -(2**23), 2**31 - 1, -(2**31)]


def exact(total: int, threshold: int, step: int, bits: int) -> int:
    potential = max(-(2**19), min(2**19 - 1, total))
    return max(0, min(2**bits - 1, ceil(Fraction(16 * (potential - threshold), step * 2 ** (4 - bits)))))


def sizes(rng: np.random.Generator, low: int, high: int, n: int) -> np.ndarray:
    """Numbers of every size, edges among them."""
    drawn = np.rint(rng.choice([-1.0, 1.0], n) * 2 ** rng.uniform(0, np.log2(max(2, high)), n)).astype(np.int64)
    return np.clip(np.where(rng.random(n) < 0.2, rng.choice(EDGES, n), drawn), low, high)


@pytest.mark.parametrize("seed", range(12))
def test_both_forms_equal_fractions(seed: int) -> None:
    rng = np.random.default_rng([90, seed])
    n, steps = 100, 3
    threshold = sizes(rng, -(2**23), 2**23 - 1, n)
    step = np.clip(np.abs(sizes(rng, 1, STEP_MAX, n)), 1, STEP_MAX)
    bits = rng.choice([1, 2, 4], n)
    if seed % 3 == 0:
        threshold, step, bits = (np.full(n, values[0]) for values in (threshold, step, bits))
    # Half of the sums lie within a few levels of the threshold, on and beside the edges of a level.
    near = threshold + step * 2 ** (4 - bits) * rng.integers(-2, 18, (steps, n)) // 16 + rng.integers(-1, 2, (steps, n))
    total = np.where(rng.random((steps, n)) < 0.5, near, [sizes(rng, -(2**31), 2**31 - 1, n) for _ in range(steps)])
    total = np.clip(total, -(2**31), 2**31 - 1)
    expected = [
        [exact(*(int(x) for x in one)) for one in zip(row, threshold, step, bits, strict=True)] for row in total
    ]
    params = {"threshold": threshold, "act_step": step, "act_bits": bits}
    sent, _ = run_kernel(GRADED, params, np.zeros((0, n)), total[:, None], pieces=1 + seed % 3)
    assert sent.tolist() == expected
    assert GRADED.reference_step(params, {}, total, 0).tolist() == expected
    fired = [[int(max(-(2**19), min(2**19 - 1, int(x))) > int(t)) for x, t in zip(row, threshold, strict=True)] for row in total]
    sent, _ = run_kernel(BINARY, {"threshold": threshold}, np.zeros((0, n)), total[:, None], pieces=1 + seed % 3)
    assert sent.tolist() == fired
    assert BINARY.reference_step({"threshold": threshold}, {}, total, 0).tolist() == fired


@pytest.mark.parametrize("shared", [False, True])
def test_the_ends_of_all_ranges(shared: bool) -> None:
    for threshold in (-THRESHOLD, THRESHOLD - 1, -POTENTIAL, POTENTIAL - 1, 0):
        for step in (1, 15, 16, STEP_MAX):
            for bits in (1, 2, 4):
                total = np.array([*EDGES, threshold, threshold + 1], np.int64)
                given = {"threshold": threshold, "act_step": step, "act_bits": bits}
                params = {name: np.full(total.size, value) for name, value in given.items()}
                if not shared:
                    params["act_step"] = params["act_step"].copy()
                    params["act_step"][-1] = 7
                sent, _ = run_kernel(GRADED, params, np.zeros((0, total.size)), total[None, None])
                assert sent[0].tolist() == [exact(int(a), threshold, int(s), bits) for a, s in zip(total, params["act_step"], strict=True)]


def test_one_bit_is_the_strict_comparison_whatever_the_step() -> None:
    total = np.arange(-40, 41)
    for step in (1, 16, 333, STEP_MAX):
        params = {"threshold": np.full(81, 5), "act_step": np.full(81, step), "act_bits": np.ones(81, np.int64)}
        assert GRADED.reference_step(params, {}, total, 0).tolist() == (total > 5).astype(int).tolist()
        assert run_kernel(GRADED, params, np.zeros((0, 81)), total[None, None])[0][0].tolist() == (total > 5).astype(int).tolist()


def test_neighbours_are_left_alone() -> None:
    for kernel in (GRADED, BINARY):
        values = {"threshold": np.arange(20), "act_step": np.full(20, 16), "act_bits": np.full(20, 4)}
        total = np.arange(20)[None, None] + 3
        whole, _ = run_kernel(kernel, values, np.zeros((0, 20)), total)
        parts, _ = run_kernel(kernel, values, np.zeros((0, 20)), total, pieces=7)
        assert whole.tolist() == parts.tolist() == [[3 if kernel is GRADED else 1] * 20]


@pytest.mark.parametrize(("name", "value"), [
    ("threshold", 2**23), ("threshold", -(2**23) - 1), ("act_step", 0), ("act_step", STEP_MAX + 1), ("act_bits", 0), ("act_bits", 5),
])
def test_parameters_beyond_32_bits_of_arithmetic_are_refused(name: str, value: int) -> None:
    params = {"threshold": np.array([0]), "act_step": np.array([16]), "act_bits": np.array([4]), name: np.array([value])}
    with pytest.raises(ValueError, match=name if name != "act_step" else "act_bits"):
        GRADED.constants(params)


def test_the_chip_data_states_the_kernels_ranges() -> None:
    limits = TARGET.spec.limits
    assert (limits["potential"].min, limits["potential"].max) == (-POTENTIAL, POTENTIAL - 1)
    assert (limits["threshold"].min, limits["threshold"].max) == (-POTENTIAL, POTENTIAL - 1)
    assert (limits["threshold_image"].min, limits["threshold_image"].max) == (-THRESHOLD, THRESHOLD - 1)
    assert (limits["act_step"].min, limits["act_step"].max) == (1, STEP_MAX)
    assert set(GRADED.params) <= set(limits)


def test_the_contract() -> None:
    assert set(KERNELS) == {"akida.binary", "akida.neuron"}
    for name, kernel in KERNELS.items():
        assert isinstance(kernel, Kernel)
        assert kernel.name == name
        assert kernel.state == ()


def test_the_target_is_imported_without_numba() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import sys, nmap_akida, nmap_akida.quantize; print('numba' in sys.modules)"],
        check=True, capture_output=True, text=True,
    )
    assert told.stdout.strip() == "False"
