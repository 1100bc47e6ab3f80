"""Loihi 1: its numbers, what it refuses, and that it computes what Loihi 2 computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.compile import build_program
from nmap.connectivity import Conv2d, Dense
from nmap.diagnostics import Findings
from nmap.emulate.engine import emulate
from nmap.network import Conventions
from nmap.options import Options
from nmap.partition import map_network
from nmap.program import read_program, write_program
from nmap.readers import read
from nmap.simulate.fixed import simulate
from nmap.target.machine import build_machine
from nmap.target.registry import find_target
from nmap.testing.networks import FOREIGN_NETWORKS, build, lif, random_inputs
from nmap.testing.targets import judge
from nmap.verify.mapping import verify_mapping
from nmap_greedy import PARTITIONER
from nmap_loihi2 import TARGET as LOIHI2
from nmap_loihi2.loihi1 import TARGET
from tests.support import shared_data

OPTIONS = Options(partitioner="greedy", effort=0)
SPEC = TARGET.spec


def test_it_is_installed_beside_loihi2():
    assert find_target("loihi1") is TARGET
    assert (TARGET.spec.name, LOIHI2.spec.name) == ("loihi1", "loihi2")


@pytest.mark.parametrize(("resource", "most"), [
    ("neurons", 1024), ("input_axons", 4096), ("output_axons", 4096), ("synapse_memory", 128 * 1024 // 8), ("compartment_configs", 32),
    ("threshold_configs", 8), ("synapse_formats", 8),
])
def test_budgets(resource, most):
    assert SPEC.resources[resource].max == most
    assert [name for name, r in SPEC.resources.items() if r.routed] == ["output_axons"]


@pytest.mark.parametrize(("name", "low", "high"), [
    ("weight_bits", 1, 8), ("weight_exp", -8, 7), ("vth", 0, 2**17 - 1), ("bias_mant", -(2**12) + 1, 2**12 - 1), ("bias_exp", 0, 7),
    ("delay", 0, 62), ("message_bits", 0, 0), ("refractory", 1, 64),
])
def test_fields(name, low, high):
    assert (SPEC.limits[name].min, SPEC.limits[name].max) == (low, high)


@pytest.mark.parametrize(("variant", "chips"), [(None, 1), ("single", 1), ("nahuku-8", 8), ("nahuku-32", 32), ("pohoiki-springs", 768)])
def test_variants(variant, chips):
    machine = build_machine(SPEC, variant)
    assert (machine.chips, len(machine.cores)) == (chips, 128 * chips)
    # 100 million neurons on 768 chips is what the announcement says.
    assert variant != "pohoiki-springs" or round(len(machine.cores) * SPEC.resources["neurons"].max / 1e6, -1) == 100


def test_both_chips_answer_for_the_same_features():
    assert set(SPEC.features) == set(LOIHI2.spec.features)
    assert set(SPEC.approximations) == set(LOIHI2.spec.approximations)


def test_constants_are_those_measured_on_this_chip():
    """Davies 2018, table 2."""
    assert SPEC.constants["synaptic_operation_energy"].value == 23.6
    assert all(constant.measured_on.startswith("Loihi 1") for constant in SPEC.constants.values())


@pytest.mark.parametrize("kind", sorted(FOREIGN_NETWORKS))
def test_what_it_takes_loihi2_takes_too(kind):
    network = FOREIGN_NETWORKS[kind]()
    errors = [d for d in judge(TARGET, network, OPTIONS) if d.severity == "error"]
    assert not [d.message for d in errors if "loihi2" in d.message or "Loihi 2" in d.message]
    if not errors:
        assert not [d for d in judge(LOIHI2, network, OPTIONS) if d.severity == "error"]
    for d in errors:
        assert "feature" not in d.data or SPEC.features[d.data["feature"]].level != "exact"


@pytest.mark.parametrize(("kind", "feature"), [
    ("resonator", "resonator"), ("izhikevich", "resonator"), ("delta", "sigma_delta"), ("sigma delta", "sigma_delta"),
    ("sigma", "sigma_delta"), ("adaptive", "adaptive_threshold"), ("adaptive resonator", "adaptive_threshold"),
])
def test_microcode_is_refused(kind, feature):
    errors = [d for d in judge(TARGET, FOREIGN_NETWORKS[kind](), OPTIONS) if d.severity == "error"]
    (told,) = (d for d in errors if d.data.get("feature") == feature)
    assert told.code == "NM201"
    assert "`first`" in told.message
    assert "`second`" in told.message
    assert "fixed in function" in str(told.why)


def chain(**conventions):
    return build(
        "chain.nir", {"input": ((3,), None), "first": ((2,), lif(2)), "second": ((1,), lif(1))},
        [("input", "first", Dense(np.ones((2, 3))), None, 0), ("first", "second", Dense(np.ones((1, 2))), None, 0)],
        conventions=Conventions(1e-3, **conventions),
    )


def test_graded_spikes_and_periodic_resets_are_refused():
    (graded,) = (d for d in judge(TARGET, chain(), replace(OPTIONS, payload=(0, 200))) if d.severity == "error")
    assert (graded.code, graded.data["feature"]) == ("NM203", "graded")
    assert "0 to 200" in graded.message
    (reset,) = (d for d in judge(TARGET, chain(reset_interval=16), OPTIONS) if d.severity == "error")
    assert (reset.code, reset.data["feature"]) == ("NM202", "periodic_reset")
    assert all(name in reset.message for name in ("every 16 steps", "`first`", "`second`"))
    assert not judge(TARGET, chain(), OPTIONS)


def test_a_rule_of_both_chips_speaks_of_this_one():
    (bits,) = judge(TARGET, chain(), replace(OPTIONS, bits=9))
    assert (bits.code, "Intel Loihi stores 1 to 8 bits" in bits.message) == ("NM004", True)


def skipping():
    """Two convolutions in a row, and one past both of them, into the third population."""
    rng = np.random.default_rng(5)
    first = Conv2d(rng.uniform(-0.4, 0.9, (3, 2, 3, 3)), (2, 6, 6), padding=(1, 1))
    second = Conv2d(rng.uniform(-0.4, 0.9, (2, 3, 3, 3)), (3, 6, 6), padding=(1, 1))
    past = Conv2d(rng.uniform(-0.4, 0.9, (2, 2, 3, 3)), (2, 6, 6), padding=(1, 1))
    return build(
        "skip.nir", {"input": ((2, 6, 6), None), "a": ((3, 6, 6), lif(108)), "b": ((2, 6, 6), lif(72))},
        [("input", "a", first, None, 0), ("a", "b", second, None, 0), ("input", "b", past, None, 0)],
    )


def test_delayed_convolutions_need_no_relays(tmp_path):
    network = skipping()
    here, there = (target.quantize(network, OPTIONS, Findings()) for target in (TARGET, LOIHI2))
    assert [p.name for p in here.populations] == [p.name for p in network.populations]
    assert any(p.kernel == "loihi2.relay" for p in there.populations)
    assert [(p.source, p.delay) for p in here.afferents("b")] == [("a", 0), ("input", 1)]
    inputs = random_inputs(network, 3)
    steps = inputs.shape[1] + here.latency
    machine = build_machine(SPEC)
    mapping = map_network(here, TARGET, machine, PARTITIONER, OPTIONS)
    write_program(build_program(here, "loihi1", mapping), tmp_path / "program.h5")
    program = read_program(tmp_path / "program.h5")
    assert verify_mapping(program, TARGET, machine) == ()
    chip = emulate(program, TARGET.kernels, inputs, steps, record=["a", "b"]).spikes
    other = simulate(there, LOIHI2.kernels, inputs, steps, record=["a", "b"]).spikes
    for name in ("a", "b"):
        np.testing.assert_array_equal(chip[name], other[name])
        assert chip[name].any()
    # The delayed synapses of 12 + 6 + ... bits stand in the core's memory: one list per source neuron.
    assert sum(core["input_axons"] for core in TARGET.measure(program)) >= 108 + 72 + 72


def test_the_emitted_program_is_loihi2s_but_for_the_name():
    network = chain()
    files = {}
    for target in (TARGET, LOIHI2):
        quantized = target.quantize(network, OPTIONS, Findings())
        mapping = map_network(quantized, target, build_machine(target.spec), PARTITIONER, OPTIONS)
        files[target.name] = target.emit(quantized, build_program(quantized, target.name, mapping))
    assert files["loihi1"].keys() == files["loihi2"].keys()
    assert files["loihi1"]["weights.npz"] == files["loihi2"]["weights.npz"]
    program = files["loihi2"]["network.py"].replace(b"loihi2:oheo-gulch", b"loihi1:single")
    assert files["loihi1"]["network.py"] == program
    assert b"compartment_configs" in files["loihi1"]["core_map.json"]


def spread(targets):
    """512 neurons that drive several layers, each layer on a core of its own."""
    rng = np.random.default_rng(2)
    names = [f"out{k}" for k in range(targets)]
    return build(
        "spread.nir", {"input": ((4,), None), "a": ((512,), lif(512)), **{name: ((200,), lif(200)) for name in names}},
        [
            ("input", "a", Dense(rng.uniform(0, 1, (512, 4))), None, 0),
            *(("a", name, Dense(rng.uniform(0, 1, (200, 512))), None, 0) for name in names),
        ],
    )


@pytest.mark.parametrize(("layers", "slots"), [(8, 4096), (9, 4608)])
def test_output_axons_are_counted_along_the_routes(layers, slots):
    """One slot per neuron and listening core: 512 neurons have room for 8 listeners each."""
    quantized = TARGET.quantize(spread(layers), OPTIONS, Findings())
    machine = build_machine(SPEC)
    mapping = map_network(quantized, TARGET, machine, PARTITIONER, OPTIONS)
    program = build_program(quantized, "loihi1", mapping)
    used = TARGET.measure(program)
    assert max(core["output_axons"] for core in used) == slots
    found = verify_mapping(program, TARGET, machine)
    assert [d.message for d in found] == ([] if layers == 8 else [
        f"core {core.core} of chip 0 takes 4608 slots of output axons, it has 4096"
        for core, amount in zip(program.cores, used, strict=True) if amount["output_axons"] > 4096
    ])


def test_oxford_takes_one_core_and_computes_the_verified_spikes():
    """102 400 dense synapses of 8 bits without an index: 200 axons of 4 runs of 9 words, 256 of 3 runs of 9 and one of 2."""
    folder = shared_data() / "lava_dl"
    network = read(folder / "oxford.net")
    quantized = TARGET.quantize(network, OPTIONS, Findings())
    mapping = map_network(quantized, TARGET, build_machine(SPEC), PARTITIONER, OPTIONS)
    assert [core["synapse_memory"] for core in mapping.used()] == [200 * 36 + 256 * 29]
    program = build_program(quantized, "loihi1", mapping)
    with np.load(folder / "oxford_verified.npz") as verified:
        inputs, layers = verified["input"].T[None].astype(np.int32), (verified["s0"], verified["s1"])
    names = [p.name for p in quantized.populations if p.kernel is not None]
    spikes = emulate(program, TARGET.kernels, inputs, inputs.shape[1], record=names).spikes
    for name, expected in zip(names, layers, strict=True):
        np.testing.assert_array_equal(spikes[name][0].T, expected)


@pytest.mark.parametrize("target", [TARGET, LOIHI2], ids=lambda target: target.name)
def test_memory_models_agree_with_the_chip_data(target):
    resources = target.spec.resources
    assert target.memory.resources == tuple(resources)
    assert all(profile.most == resources[profile.resource].max for profile in target.memory.profiles)
    assert set(target.memory.neuron_words) <= set(target.kernels)
