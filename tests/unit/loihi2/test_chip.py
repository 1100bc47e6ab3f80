"""The chip data of Loihi 2 against the numbers its sources print."""

from __future__ import annotations

import pytest

from nmap.target.machine import build_machine
from nmap.target.spec import load_spec
from nmap_loihi2 import TARGET

SPEC = load_spec("nmap_loihi2")


@pytest.mark.parametrize(("resource", "units", "printed"), [
    # Percent of a cap as the compiler tables print it (two decimals), next to the units known from the network's layers.
    ("input_axons", 64, 0.40), ("input_axons", 128, 0.80), ("input_axons", 784, 4.90),
    ("neurons", 10, 0.24), ("neurons", 64, 1.56), ("neurons", 50, 1.22), ("neurons", 3584, 87.52), ("neurons", 2688, 65.64),
    ("neuron_groups", 1, 12.50), ("neuron_groups", 2, 25.00),
    ("axon_map", 10, 0.06), ("axon_map", 64, 0.40), ("axon_map", 50, 0.31),
    ("synapse_memory", 256, 1.60), ("synapse_memory", 2688, 16.80), ("synapse_memory", 12544, 78.40),
])
def test_budgets_reproduce_the_compilers_percentages(resource, units, printed):
    assert 100 * units / SPEC.resources[resource].max == pytest.approx(printed, abs=0.0051)


@pytest.mark.parametrize(("name", "low", "high"), [
    ("weight_bits", 1, 8), ("weight_exp", -8, 7), ("vth", 0, 2**17 - 1), ("bias_mant", -(2**12), 2**12 - 1), ("bias_exp", 0, 7),
    ("du", 0, 4095), ("dv", 0, 4095), ("delay", 0, 62), ("message_bits", 0, 32), ("state", 1 - 2**23, 2**23 - 1),
    ("weight_mixed", -256, 254), ("weight_excitatory", 0, 255), ("weight_inhibitory", -255, 0),
])
def test_fields(name, low, high):
    assert (SPEC.limits[name].min, SPEC.limits[name].max) == (low, high)


@pytest.mark.parametrize(("variant", "chips"), [("oheo-gulch", 1), ("kapoho-point", 8), ("hala-point", 1152)])
def test_variants(variant, chips):
    machine = build_machine(SPEC, variant)
    assert len(machine.cores) == 128 * chips
    on_first = [core for core in machine.cores if core.chip == 0]
    routers = {(core.x, core.y) for core in on_first}
    assert routers == {(x, y) for x in range(8) for y in range(4)}
    assert all(sum((core.x, core.y) == router for core in on_first) == 4 for router in routers)


def test_the_default_is_one_chip():
    assert build_machine(SPEC).variant == "oheo-gulch"


def test_everything_has_a_source():
    entries = [*SPEC.resources.values(), *SPEC.limits.values(), *SPEC.variants.values(), *SPEC.constants.values()]
    assert all(len(entry.source) > 10 for entry in entries)


def test_energy_constants_say_that_they_are_of_loihi_1():
    energies = {name: c for name, c in SPEC.constants.items() if c.unit == "pJ"}
    assert len(energies) >= 6
    assert all(c.measured_on.startswith("Loihi 1") and "second hand" in c.source for c in energies.values())


def test_every_kernel_parameter_has_a_range():
    for kernel in TARGET.kernels.values():
        assert set(kernel.params) <= set(SPEC.limits)
