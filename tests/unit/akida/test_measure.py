"""Demand counted in stored programs: by hand, and equal to what was said beforehand for every kind of layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nmap.compile import build_program
from nmap.connectivity import Conv2d
from nmap.program import ConvTile, Program, read_program, write_program
from nmap_akida.form import Form
from nmap_akida.geometry import summed_over_image
from nmap_akida.measure import blocks_of, kernel_sides, measure
from tests.akida_chains import Chain, arranged, programmed


def _strided(chain: Chain, name: str, filters: int) -> Chain:
    shape = chain.populations[-1].shape
    conv = Conv2d(np.ones((filters, shape[0], 3, 3), np.int32), shape, (2, 2), (1, 1))
    return chain.add(name, Form.CONV, conv, conv.out_shape)


def _chains() -> dict[str, Chain]:
    grouped = Conv2d(np.ones((510, 3, 3, 3), np.int32), (6, 4, 34), padding=(1, 1), groups=2)
    summed = Conv2d(np.ones((8, 1, 2, 2), np.int32), (8, 6, 6), (2, 2), groups=8)
    line = Conv2d(np.ones((5, 3, 1, 5), np.int32), (3, 1, 50), padding=(0, 2))
    return {
        "dense": Chain(1000).dense("a", 1000).dense("b", 700).dense("c", 500).dense("d", 900).dense("e", 800).dense("f", 10),
        "conv": Chain(3, 4, 34, input_bits=4).conv("a", 510, 5).conv("b", 4).dense("c", 10),
        "image": Chain(3, 20, 20).conv("a", 16, 7, form=Form.IMAGE).pool("p").conv("b", 4).dense("c", 10),
        "pooled": Chain(3, 4, 34).conv("a", 510).pool("p").conv("b", 4, 1).dense("c", 10),
        "separable": Chain(12, 5, 36).conv("a", 510, 5, form=Form.SEPARABLE).conv("b", 4).dense("c", 10),
        "stride": _strided(Chain(6, 21, 65), "a", 9).dense("b", 10),
        "global": Chain(6, 8, 8, bits=2).conv("a", 40).over_image("b", 20).dense("c", 10),
        "groups": Chain(6, 4, 34).add("a", Form.CONV, grouped, grouped.out_shape).dense("c", 10),
        "sum pool": Chain(8, 6, 6, bits=1).add("a", Form.CONV, summed, summed.out_shape).conv("b", 4).dense("c", 10),
        "line": Chain(3, 1, 50).add("a", Form.CONV, line, line.out_shape).dense("c", 10),
    }


@pytest.mark.parametrize("variant", ["AKD1000", "AKD1500"])
@pytest.mark.parametrize("kind", sorted(_chains()))
def test_what_is_counted_is_what_was_said(kind: str, variant: str) -> None:
    network = _chains()[kind].network()
    mapping, _ = arranged(network, variant)
    assert list(measure(build_program(network, "akida", mapping))) == mapping.used()


def test_the_chains_have_layers_of_several_parts() -> None:
    parts = {kind: len(arranged(chain.network())[0].cores) for kind, chain in _chains().items()}
    assert parts["dense"] > 6
    assert min(parts["conv"], parts["pooled"], parts["separable"]) > 4
    assert parts["groups"] > 3


def test_counts_by_hand() -> None:
    program, _ = programmed(Chain(3, 8, 8, input_bits=4).conv("c", 4, 5).dense("fc", 10).network())
    # 4 x 3 x 25 x 4 bits and 3 x 64 x 4 bits; 256 x 10 x 4 bits and 256 x 1 bit.
    assert measure(program) == (
        {"layers": 1, "image_layers": 0, "weight_memory": 150, "input_memory": 96},
        {"layers": 1, "image_layers": 0, "weight_memory": 1280, "input_memory": 32},
    )


def test_a_kernel_is_that_of_all_parts_together() -> None:
    """Parts that hold filters with small kernels take as much as the others."""
    kernel = np.zeros((1010, 1, 5, 5), np.int32)
    kernel[:, :, 2, 2] = 1
    kernel[1009, 0, 0, 0] = 1
    conv = Conv2d(kernel, (1, 6, 6), padding=(2, 2))
    network = Chain(1, 6, 6).add("c", Form.CONV, conv, conv.out_shape).dense("fc", 10).network()
    mapping, _ = arranged(network)
    program = build_program(network, "akida", mapping)
    assert kernel_sides(program) == {1: 5}
    assert list(measure(program)) == mapping.used()
    # 252 or 253 filters x 25 taps x 4 bits.
    assert {unit["weight_memory"] for unit in measure(program)[:4]} == {3150, 3163}


@pytest.mark.parametrize("seed", range(6))
def test_sums_over_images_are_undone(seed: int) -> None:
    rng = np.random.default_rng([93, seed])
    size = int(rng.choice([1, 3, 5]))
    small = Conv2d(
        rng.integers(-3, 4, (4, 2, size, size)).astype(np.int32), (2, int(rng.integers(5, 9)), int(rng.integers(5, 9))),
        padding=(size // 2, size // 2),
    )
    whole = summed_over_image(small)
    chain = Chain(*small.in_shape).add("g", Form.CONV, whole, whole.out_shape).dense("fc", 3)
    chain.settings["g.global"] = 1
    network = chain.network()
    mapping, _ = arranged(network)
    program = build_program(network, "akida", mapping)
    taps = small.weights.any(axis=(0, 1))
    at = np.argwhere(taps) - size // 2
    assert kernel_sides(program)[1] == 2 * int(np.abs(at).max()) + 1
    assert list(measure(program)) == mapping.used()


def test_a_program_read_from_a_file_measures_the_same(tmp_path: Path) -> None:
    program, _ = programmed(_chains()["pooled"].network())
    write_program(program, tmp_path / "program.h5")
    assert measure(read_program(tmp_path / "program.h5")) == measure(program)


def _with_tile(program: Program, change: dict[str, tuple[int, int]]) -> Program:
    blocks = list(program.blocks)
    tile = blocks[0].synapses
    assert isinstance(tile, ConvTile)
    blocks[0] = replace(blocks[0], synapses=replace(tile, **change))  # type: ignore[arg-type]
    return replace(program, blocks=tuple(blocks))


def test_convolutions_that_are_none_of_the_chip_s_are_told() -> None:
    program, _ = programmed(Chain(3, 8, 8).conv("c", 4, 5).dense("fc", 10).network())
    for change in ({"stride": (2, 2)}, {"padding": (0, 2)}):
        changed = _with_tile(program, change)
        assert kernel_sides(changed) == {1: None}
        # It counts with the kernel that it has: 4 filters of 3 channels of 5 x 5 weights of 4 bits.
        assert measure(changed)[program.groups[0].core]["weight_memory"] == 4 * 3 * 25 // 2


@pytest.mark.parametrize("stated", [None, 9, "x"])
def test_a_form_that_is_none_is_counted_as_a_layer(stated: object) -> None:
    program, _ = programmed(Chain(3, 8, 8).conv("c", 4, 5).dense("fc", 10).network())
    changed = replace(program, settings={**program.settings, "c.form": stated})  # type: ignore[dict-item]
    assert measure(changed) == measure(program)


def test_blocks_are_those_of_their_groups() -> None:
    program, _ = programmed(_chains()["pooled"].network())
    found = blocks_of(program)
    assert len(found) == len(program.groups)
    assert all(len(blocks) == 1 for blocks in found)
    assert all(program.groups[block.group] is program.groups[k] for k, blocks in enumerate(found) for block in blocks)
