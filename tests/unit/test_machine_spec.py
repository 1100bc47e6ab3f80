"""The schema of chip.toml: what a variant and a class may say, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from nmap.target.spec import ChipSpec

SOURCE = "made up for tests"


def chip(variant: dict[str, Any] | None = None, classes: dict[str, Any] | None = None, **top: Any) -> dict[str, Any]:
    return {
        "name": "grid", "title": "Grid", "data_version": "1", "default_variant": "v", "limits": {}, "features": {},
        "resources": {"neurons": {"max": 10, "unit": "neurons", "source": SOURCE, "title": "neurons"}},
        "classes": classes or {},
        "variants": {"v": {
            "title": "v", "chips": 2, "max_chips": 4, "cores": 4, "mesh": [2, 2], "cores_per_router": 1, "chip_link_hops": 1,
            "source": SOURCE, **(variant or {}),
        }},
        **top,
    }


SMALL = {"small": {"title": "small", "budget": {"neurons": 4}, "source": SOURCE}}


def test_what_chip_data_need_not_say() -> None:
    variant = ChipSpec.model_validate(chip()).variants["v"]
    assert (variant.topology, variant.chip_grid, variant.absent, variant.levels, variant.port, variant.classes) == (
        "mesh", None, [], [], [0, 0], {},
    )


def test_everything_a_variant_may_say() -> None:
    data = chip({
        "topology": "hexagonal-torus", "chip_grid": [2, 2], "absent": [[1, 1]], "port": [1, 0], "classes": {"small": [0, 3]},
        "levels": [{"name": "board", "grid": [2, 1], "link_hops": 3}],
    }, SMALL)
    made = ChipSpec.model_validate(data)
    assert made.variants["v"].levels[0].link_hops == 3
    assert ChipSpec.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(("variant", "said"), [
    ({"chips": 5}, "chips is 5, max_chips 4"),
    ({"cores": 5}, "5 cores do not hang on 2 x 2 routers of 1"),
    ({"topology": "ring"}, "topology"),
    ({"chip_grid": [3, 1]}, "max_chips is 4, and the grids have room for 3"),
    ({"chip_grid": [2, 2], "absent": [[0, 1]]}, "room for 3"),
    ({"chip_grid": [1, 1], "levels": [{"name": "board", "grid": [3, 1], "link_hops": 0}]}, "room for 3"),
    ({"chip_grid": [4, 2], "absent": [[0, 1], [0, 1]]}, "absent lists a place twice"),
    ({"chip_grid": [4, 2], "absent": [[4, 1]]}, "outside of chip_grid"),
    ({"absent": [[0, 0]]}, "need chip_grid"),
    ({"levels": [{"name": "board", "grid": [4, 1], "link_hops": 0}]}, "need chip_grid"),
    ({"port": [8, 0]}, r"no router at port \(8, 0\)"),
    ({"port": [0, 4], "chip_grid": [2, 2]}, "no router at port"),
    ({"port": [4, 8], "chip_grid": [2, 2], "levels": [{"name": "board", "grid": [1, 2], "link_hops": 1}]}, "no router at port"),
    ({"port": [0, 0, 0]}, "port"),
    ({"classes": {"large": [0]}}, "which is no class"),
    ({"classes": {"small": [4]}}, "a class lists core 4 of 4"),
    ({"classes": {"small": [0, 0]}}, "listed in two classes, or twice"),
    ({"classes": {"small": []}}, "classes"),
    ({"classes": {"ordinary": [0]}}, "which is no class"),
    ({"gap": 1}, "gap"),
])
def test_variants_that_contradict_themselves(variant: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ChipSpec.model_validate(chip(variant, SMALL))


@pytest.mark.parametrize(("small", "said"), [
    ({"budget": {"axons": 1}}, "which is no resource"),
    ({"budget": {"neurons": 11}}, "the resource's max is for the largest core"),
    ({"budget": {"neurons": -1}}, "budget"),
    ({"budget": {}}, "budget"),
    ({"source": ""}, "source"),
])
def test_classes_that_contradict_the_resources(small: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ChipSpec.model_validate(chip({}, {"small": {**SMALL["small"], **small}}))


def test_the_class_of_cores_without_one_has_its_own_name() -> None:
    with pytest.raises(ValidationError, match="listed under none"):
        ChipSpec.model_validate(chip({}, {"ordinary": SMALL["small"]}))


def test_default_variant_exists() -> None:
    with pytest.raises(ValidationError, match="default_variant `w` is not among the variants"):
        ChipSpec.model_validate(chip(default_variant="w"))
