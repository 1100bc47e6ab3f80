"""Spikes of several steps multiplied with a matrix at once: the same results as its rows added one by one."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from nmap.compile import build_program
from nmap.connectivity import Dense
from nmap.emulate import engine, lower
from nmap.emulate.engine import Emulator
from nmap.emulate.native import product
from nmap.quantized import QuantizedNetwork
from nmap_loihi2.kernels import KERNELS
from tests.loihi2_networks import population, port, projection, random_network
from tests.unit.emulate.test_reassembly import compare, rewired, spread


@pytest.fixture
def products(monkeypatch):
    """Return a list that grows by the number of steps of each product that is made."""
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)
    routine, made = kind(product.address), []

    def noted(descriptor, marks, steps, sums, room):
        made.append(steps)
        routine(descriptor, marks, steps, sums, room)

    held = kind(noted)
    monkeypatch.setattr(engine, "product", SimpleNamespace(address=ctypes.cast(held, ctypes.c_void_p).value, held=held))
    return made


@pytest.fixture
def always(products, monkeypatch):
    """As `products`, and multiply wherever a spike is on its way, be the matrix ever so small."""
    monkeypatch.setattr(engine, "_FEW", 1)
    monkeypatch.setattr(engine, "_MARK_COLUMNS", 0)
    monkeypatch.setattr(engine, "_NEAR", 1 << 20)
    return products


def matrix(rng, sources, targets, low=-100, high=101):
    return rng.integers(low, high, (targets, sources)).astype(np.int32)


def neurons(rng, name, size):
    return population(name, (size,), du=400, dv=90, vth=rng.integers(40, 900, size), bias_mant=0, bias_exp=0)


def chain(rng, delay=0, looped=False, **form):
    """Two layers of odd sizes; the second one may feed itself, and then hears the first one and the input as well."""
    links = [
        projection("in", "a", Dense(matrix(rng, 67, 41)), delay, **form),
        projection("a", "b", Dense(matrix(rng, 41, 33))),
    ]
    if looped:
        links += [projection("b", "b", Dense(matrix(rng, 33, 33, -30, 31))), projection("in", "b", Dense(matrix(rng, 67, 33)))]
    return QuantizedNetwork((port("in", (67,)), neurons(rng, "a", 41), neurons(rng, "b", 33)), tuple(links), ("in",), ("a", "b"))


def program_of(net, rng):
    return build_program(net, "loihi2", spread(net, rng, 9))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("team", [1, 2])
@pytest.mark.parametrize("looped", [False, True])
def test_products_in_place_of_rows(always, monkeypatch, share, team, looped):
    rng = np.random.default_rng([int(10 * share), team, looped])
    monkeypatch.setattr(lower, "_TOGETHER", 16)
    program = program_of(chain(rng, looped=looped), rng)
    spikes = (rng.random((2, 9, 67)) < share).astype(np.uint8)
    spikes[0, 4, :40] = 1
    trace = compare(program, {"in": spikes}, 13, team=team)
    # The first spikes arrive in step 1; what feeds itself is not multiplied.
    assert set(always) == {12}
    parts = 3 if looped else 2
    # Nothing is multiplied for the sample in which nothing happens.
    assert len(always) == team * parts * (1 if share == 0 else 2)
    del always[:]
    monkeypatch.setattr(engine, "_FEW", 1000)
    rows = compare(program, {"in": spikes}, 13, team=team)
    assert not always
    assert rows.counts == trace.counts


@pytest.mark.parametrize("block", [1, 2, 5])
def test_blocks_of_any_length(always, monkeypatch, block):
    rng = np.random.default_rng(block)
    program = program_of(chain(rng, delay=3, looped=True), rng)
    monkeypatch.setattr(Emulator, "_block", lambda _self, _steps: block)
    compare(program, {"in": (rng.random((3, 12, 67)) < 0.5).astype(np.uint8)}, 17)
    assert max(always) == block


def test_products_of_fewer_steps_than_a_block(always, monkeypatch):
    rng = np.random.default_rng(3)
    monkeypatch.setattr(engine, "_TOGETHER", 4)
    compare(program_of(chain(rng), rng), {"in": (rng.random((1, 14, 67)) < 0.5).astype(np.uint8)}, 14)
    assert always == [4, 4, 4, 1] * 2


def test_sums_that_are_rounded_are_not_products(always):
    rng = np.random.default_rng(4)
    compare(program_of(chain(rng, exponent=-1), rng), {"in": (rng.random((1, 9, 67)) < 0.5).astype(np.uint8)}, 9)
    # Those of `a`, not the input's.
    assert always == [8]


@pytest.mark.parametrize("seed", range(12))
def test_random_programs(always, seed):
    rng = np.random.default_rng([seed, 6])
    case = random_network(seed)
    program = build_program(case.network, "loihi2", spread(case.network, rng, 5))
    compare(rewired(program, rng, 3) if seed % 2 else program, case.inputs, 14, team=1 + seed % 3)


@pytest.mark.parametrize(("share", "chosen"), [(0.1, False), (0.95, True)])
def test_products_are_chosen_for_many_spikes(products, share, chosen):
    rng = np.random.default_rng(5)
    link = projection("in", "a", Dense(matrix(rng, 301, 300)))
    net = QuantizedNetwork((port("in", (301,)), neurons(rng, "a", 300)), (link,), ("in",), ("a",))
    emulator = Emulator(program_of(net, rng), KERNELS)
    sent = (rng.random((1, 150, 301)) < share).astype(np.uint8)
    whole = emulator.run(sent, 150)
    assert products == ([128, 21] if chosen else [])
    del products[:]
    # Too few steps for tables to pay.
    short = emulator.run(sent[:, :6], 6)
    np.testing.assert_array_equal(short.spikes["a"], whole.spikes["a"][:, :6])
    assert whole.counts["a"] > 0
    assert not products


def test_room_for_products_is_stated():
    rng = np.random.default_rng(6)
    link = projection("in", "a", Dense(matrix(rng, 301, 300)))
    net = QuantizedNetwork((port("in", (301,)), neurons(rng, "a", 300)), (link,), ("in",), ("a",))
    emulator = Emulator(program_of(net, rng), KERNELS)
    # 128 steps: 301 marks, padded to 320, and 300 sums of 32 bits, padded to 320, at least; 6 steps are never multiplied.
    more = emulator.footprint(1, 150) - emulator.footprint(1, 6)
    assert more > 128 * (320 + 4 * 320)
