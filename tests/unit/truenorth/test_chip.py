from __future__ import annotations

import pytest

from nmap.target.machine import build_machine
from nmap.target.spec import load_spec
from nmap_truenorth.neuron import FLOOR, NEURON
from nmap_truenorth.scales import AXONS

SPEC = load_spec("nmap_truenorth")


def test_a_core_has_256_axons_and_256_neurons() -> None:
    assert {name: resource.max for name, resource in SPEC.resources.items()} == {
        "axons": 256, "originals": 256, "neurons": 256, "synapses": 65536,
    }
    assert [name for name, resource in SPEC.resources.items() if resource.routed] == ["neurons", "synapses"]


@pytest.mark.parametrize(("variant", "chips", "wide", "high"), [("ns1e", 1, 64, 64), ("ns16e", 16, 256, 256)])
def test_machines(variant: str, chips: int, wide: int, high: int) -> None:
    machine = build_machine(SPEC, variant)
    assert len(machine.cores) == chips * 4096
    grid = SPEC.variants[variant].chip_grid or [1, 1]
    assert [64 * side for side in grid] == [wide, high]
    # Relative addresses of 9 bits reach from any core to any other
    assert max(wide, high) - 1 <= 255


def test_every_parameter_of_the_kernel_has_a_range_of_its_words_bits() -> None:
    ranges = {name: (SPEC.limits[name].min, SPEC.limits[name].max) for name in NEURON.params}
    assert ranges["alpha"] == ranges["beta"] == (0, 2**18 - 1) == (0, FLOOR)
    assert ranges["leak"] == (-255, 255)
    assert (SPEC.limits["v"].min, SPEC.limits["v"].max) == (-(2**19), 2**19 - 1)
    # One tick of the hop and up to 14 more make the 15 of the field
    assert SPEC.limits["delay"].max + 1 == 15


def test_no_sum_of_a_full_core_takes_a_resetting_membrane_out_of_its_field() -> None:
    farthest = 256 * 255 + 255
    assert SPEC.limits["alpha"].max - 1 + farthest <= SPEC.limits["v"].max
    assert -SPEC.limits["beta"].max - farthest >= SPEC.limits["v"].min


@pytest.mark.parametrize("bits", sorted(AXONS))
def test_axons_by_bits_reach_every_weight_and_no_fewer_do(bits: int) -> None:
    # Four types of d_g axons each have prod(d_g + 1) subset sums; 2^bits - 1 numbers, zero among them, need at least as many.
    def most(axons: int, types: int) -> int:
        if types == 1:
            return axons + 1
        return max((d + 1) * most(axons - d, types - 1) for d in range(axons + 1))

    wanted = 2**bits - 1
    assert most(AXONS[bits], 4) >= wanted
    if bits < 8:
        assert most(AXONS[bits] - 1, 4) < wanted
