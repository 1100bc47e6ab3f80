"""SpiNNaker 1 on random numbers and random networks: every level computes what the chip's equations say, written by somebody else.

Kernels: compiled and plain steps over all of their range. Networks in PyNN's terms, of time steps from 0.1 to 2 ms: the quantized network
on the reference simulator, a program of it on random cores on the emulator, the oracle of `tests/oracles/spinnaker_reference.py`, and ring
buffers that are filled packet by packet in any order, with delays through extension stages.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from nmap.compile import build_program
from nmap.emulate.engine import emulate
from nmap.simulate.fixed import simulate
from nmap.target.spec import load_spec
from nmap.testing.kernels import run_kernel
from nmap.trace import Probe
from nmap_spinnaker.arithmetic import ring_slots, ring_slots_used
from nmap_spinnaker.kernels import IF_CURR_DELTA, IF_CURR_EXP, IF_TRUNC, KERNELS
from nmap_spinnaker.pynn import Cells, PynnNetwork, SpikeSources, Synapses, quantized, save, step_delays
from tests.oracles import spinnaker_reference as oracle
from tests.unit.truenorth.random_programs import random_mapping

STEPS = 45
NETWORKS = 48
# The way a program is cut over cores does not depend on the chip.
SPEC = load_spec("nmap_truenorth")


def drawn(kernel, rng, n, shared):
    """Raw parameters, a state and five steps of input from all over what 32 bits hold, small numbers as likely as large ones."""
    params = {}
    for name in kernel.params:
        if name.startswith("shift"):
            values = rng.integers(0, 16 if rng.random() < 0.7 else 32, n)
        elif name == "timestep":
            values = rng.choice([32768, 3277, 16384, 65536, int(rng.integers(1, 2**31))], n)
        elif name in ("tau_m", "cm", "tau_syn_E", "tau_syn_I"):
            values = np.rint(np.exp(rng.uniform(0, 21.4, n))).astype(np.int64)
        else:
            values = np.rint(rng.choice([-1, 1], n) * 2.0 ** rng.uniform(0, 31, n)).astype(np.int64)
        params[name] = np.clip(values, -(2**31), 2**31 - 1)
        # What networks share, and what they may have of their own.
        if shared and (shared > 1 or name not in ("i_offset", "v_thresh", "v_reset")):
            params[name] = np.full(n, params[name][0])
    state = rng.integers(-(2**31), 2**31, (len(kernel.state), n)) >> rng.integers(0, 31, (len(kernel.state), n))
    state[kernel.state.index("refract")] = rng.integers(-2, 4, n)
    dendrite = rng.integers(0, 2**32, (5, 2, n)) >> rng.integers(0, 32, (5, 2, n))
    return params, state, dendrite


@pytest.mark.parametrize("kernel", [IF_CURR_EXP, IF_CURR_DELTA, IF_TRUNC], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("shared", [0, 1, 2])
def test_compiled_steps_compute_what_the_plain_ones_do(kernel, shared):
    rng = np.random.default_rng([81, shared])
    fired = wrapped = 0
    for case in range(100):
        n = int(rng.integers(1, 70))
        params, state, dendrite = drawn(kernel, rng, n, shared)
        payloads, states = run_kernel(kernel, params, state, dendrite, pieces=1 + case % 3)
        held = {name: state[row] for row, name in enumerate(kernel.state)}
        for step in range(5):
            sent = kernel.reference_step(params, held, dendrite[step].ravel(), step)
            np.testing.assert_array_equal(payloads[step], sent)
            for row, name in enumerate(kernel.state):
                np.testing.assert_array_equal(states[step, row], held[name], err_msg=f"{case} {step} {name}")
            fired += int(sent.sum())
            wrapped += int((dendrite[step] > 65535).sum())
    assert fired > 2000
    assert wrapped > 2000


def _cells(rng, name, timestep):
    size = int(rng.integers(1, 15))
    model = str(rng.choice(["IF_curr_exp", "IF_curr_delta", "IF_trunc_delta"]))
    wild = rng.random() < 0.25
    params = {
        "tau_m": rng.uniform(2, 40, size) * timestep, "cm": rng.uniform(0.3, 3, size) * timestep, "v_reset": rng.uniform(-1, 1, size),
        "v_thresh": rng.uniform(2, 12, size), "i_offset": rng.uniform(-0.1, 0.2, size),
        "tau_refrac": rng.choice([0, 1, 2.5, 4], size) * timestep,
    }
    if model != "IF_trunc_delta":
        params["v_rest"] = rng.uniform(-2, 2, size)
    if model == "IF_curr_exp":
        params |= {"tau_syn_E": rng.uniform(0.5, 12, size) * timestep, "tau_syn_I": rng.uniform(0.5, 12, size) * timestep}
    if wild:
        # Currents of thousands through resistances of hundreds leave the accum's range.
        params |= {"tau_m": rng.uniform(0.2, 3, size) * timestep, "cm": rng.uniform(0.001, 0.02, size) * timestep}
        params |= {"i_offset": rng.uniform(-3000, 3000, size), "v_thresh": rng.uniform(10, 60000, size)}
    bound = (None, None) if rng.random() < 0.5 else tuple(float(b) for b in rng.uniform(0.1, 6, 2))
    if wild:
        bound = (float(rng.uniform(1000, 60000)), float(rng.uniform(1, 1e5)))
    elif rng.random() < 0.2:
        params = {key: np.full(size, values[0]) for key, values in params.items()}
    return Cells(name, size, model, params, rng.uniform(-3, 3, size), bound)


def _synapses(rng, label, pre, post, receptor, timestep):
    first, second = np.nonzero(rng.random((pre.size, post.size)) < rng.uniform(0.1, 1))
    if rng.random() < 0.3:
        # Some neurons are joined more than once.
        again = rng.integers(0, first.size, first.size // 2) if first.size else np.zeros(0, int)
        first, second = np.concatenate([first, first[again]]), np.concatenate([second, second[again]])
    top = post.bound[0] / 4 if post.bound[0] and post.bound[0] > 100 else 4.0
    longest = int(rng.choice([1, 2, 16, 17, 40]))
    delay = rng.integers(1, longest + 1, first.size) if rng.random() < 0.7 else np.full(first.size, longest)
    return Synapses(label, pre.label, post.label, receptor, first, second, rng.uniform(0, top, first.size), delay * timestep)


@lru_cache(maxsize=NETWORKS)
def random_network(seed):
    """Sources and up to three populations of any model, joined both ways, to themselves and several times over."""
    rng = np.random.default_rng([82, seed])
    timestep = float(rng.choice([0.1, 0.2, 0.5, 0.7, 1.0, 1.3, 2.0]))
    sources = []
    for number in range(int(rng.integers(1, 3))):
        size = int(rng.integers(1, 13))
        spikes = rng.random((size, STEPS)) < rng.uniform(0.05, 0.5)
        sources.append(SpikeSources(f"s{number}", size, tuple(np.flatnonzero(row) * timestep for row in spikes)))
    cells = [_cells(rng, f"c{number}", timestep) for number in range(int(rng.integers(1, 4)))]
    synapses = [
        _synapses(rng, f"{pre.label}-{post.label}.{number}", pre, post, "excitatory" if rng.random() < 0.7 else "inhibitory", timestep)
        for pre in (*sources, *cells) for post in cells for number in range(int(rng.choice([0, 1, 2], p=[0.3, 0.5, 0.2])))
    ]
    return PynnNetwork(timestep, tuple(cells), tuple(sources), tuple(synapses))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("networks")


@lru_cache(maxsize=NETWORKS)
def expected(seed, folder):
    """What the oracle says, by label and variable."""
    network = random_network(seed)
    save(folder / f"{seed}.npz", network, STEPS)
    meta, arrays = oracle.read(folder / f"{seed}.npz")
    found = oracle.simulate((meta, arrays))
    labels = [entry["label"] for entry in meta["populations"]]
    return {(labels[int(key[1 : key.index(".")])], key.partition(".")[2]): values for key, values in found.items()}


def compare(network, trace, wanted, seed):
    """Spikes of tick t, v before it and currents in it, and how many slots were cut."""
    for cells in network.cells:
        name = cells.label
        np.testing.assert_array_equal(trace.spikes[name][0], wanted[name, "spikes"], err_msg=f"{seed} {name}")
        np.testing.assert_array_equal(trace.state[f"{name}.v"][0, :-1], wanted[name, "v"][1:], err_msg=f"{seed} {name}")
        assert trace.state[f"{name}.saturated"][0, -1].sum() == wanted[name, "saturations"].sum(), (seed, name)
        if cells.model == "IF_curr_exp":
            for receptor, recorded in ((0, "gsyn_exc"), (1, "gsyn_inh")):
                state = trace.state[f"{name}.syn_{receptor}"][0]
                np.testing.assert_array_equal(state, wanted[name, recorded], err_msg=f"{seed} {name} {recorded}")


def probes(network):
    return [
        Probe(cells.label, variable) for cells in network.cells
        for variable in ("v", "saturated", *(("syn_0", "syn_1") if cells.model == "IF_curr_exp" else ()))
    ]


@pytest.mark.parametrize("block", range(NETWORKS // 16))
def test_networks_on_both_levels(block, folder):
    for seed in range(16 * block, 16 * block + 16):
        network, wanted = random_network(seed), expected(seed, folder)
        made, inputs = quantized(network, strict=False)
        names = [cells.label for cells in network.cells]
        compare(network, simulate(made, KERNELS, inputs, STEPS, record=names, probes=probes(network)), wanted, seed)
        program = build_program(made, "spinnaker1", random_mapping(made, SPEC, seed), seed)
        assert program.settings["timestep_us"] == round(network.timestep_ms * 1000)
        compare(network, emulate(program, KERNELS, inputs, STEPS, record=names, probes=probes(network)), wanted, seed)


def test_networks_are_active(folder):
    """Neurons fire, slots are cut and potentials wrap."""
    active = cut = wrapped = 0
    for seed in range(NETWORKS):
        for (_, variable), values in expected(seed, folder).items():
            active += int(values.sum()) if variable == "spikes" else 0
            cut += int(values.sum()) if variable == "saturations" else 0
            wrapped += int((np.abs(np.diff(values.astype(np.int64), axis=0)) > 2**31).sum()) if variable == "v" else 0
    assert active > 5000
    assert cut > 1000
    assert wrapped > 30


def packets(network, rng, seed, folder):
    """Spikes of a network whose ring buffers are filled packet by packet, in a random order within each tick.

    A ring has as many slots as sPyNNaker makes it for 256 neurons on a core; later packets wait in extension stages of that length, at the
    end of which they are sent again.
    """
    meta, arrays = oracle.read(folder / f"{seed}.npz")
    labels = [entry["label"] for entry in meta["populations"]]
    state = {k: oracle.Cells((meta, arrays), k) for k, entry in enumerate(meta["populations"]) if entry["kind"] == "cells"}
    spikes = {k: np.zeros((STEPS, entry["size"]), bool) for k, entry in enumerate(meta["populations"])}
    for k, entry in enumerate(meta["populations"]):
        if entry["kind"] == "source":
            spikes[k][arrays[f"s{k}.step"], arrays[f"s{k}.neuron"]] = True
    wires, slots = [], {}
    for post, label in enumerate(labels):
        into = [one for one in network.synapses if one.post == label]
        longest = max((int(step_delays(one.delay_ms, round(network.timestep_ms * 1000)).max(initial=1)) for one in into), default=1)
        slots[post] = ring_slots_used(longest, 256)
        for one in into:
            receptor = ("excitatory", "inhibitory").index(one.receptor)
            scale = 2.0 ** (15 - state[post].shift[receptor])
            for source, target, weight, delay in zip(one.pre_index, one.post_index, one.weight, one.delay_ms, strict=True):
                steps = round(delay / network.timestep_ms)
                stage = (int(steps) - 1) // slots[post]
                pre, rest = labels.index(one.pre), steps - stage * slots[post]
                wires.append((pre, source, post, receptor, target, round(weight * scale) & 65535, stage, rest))
    ring = {k: np.zeros((slots[k], 2, one.size), np.int64) for k, one in state.items()}
    waiting = {}
    for step in range(STEPS):
        for k, one in state.items():
            here = step % slots[k]
            spikes[k][step] = one.step(ring[k][here])[2]
            ring[k][here] = 0
        now = waiting.pop(step, [])
        for wire in wires:
            if spikes[wire[0]][step, wire[1]]:
                stage = wire[6]
                (now if stage == 0 else waiting.setdefault(step + stage * slots[wire[2]], [])).append(wire)
        for place in rng.permutation(len(now)):
            _, _, post, receptor, target, weight, _, delay = now[place]
            slot = ring[post][(step + delay) % slots[post]]
            slot[receptor, target] = min(65535, slot[receptor, target] + weight)
    return {labels[k]: spikes[k] for k in state}


def test_packets_in_any_order_and_delays_beyond_the_ring(folder):
    assert ring_slots(256) == 32
    beyond = 0
    for seed in range(0, NETWORKS, 6):
        network, wanted = random_network(seed), expected(seed, folder)
        found = packets(network, np.random.default_rng([83, seed]), seed, folder)
        for label, spikes in found.items():
            np.testing.assert_array_equal(spikes, wanted[label, "spikes"], err_msg=f"{seed} {label}")
        beyond += sum(int((one.delay_ms / network.timestep_ms > 32.5).sum()) for one in network.synapses)
    assert beyond > 50
