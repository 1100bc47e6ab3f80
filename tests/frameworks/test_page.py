"""The recipes of docs/export.md, as far as they can be checked without the frameworks; `make test-frameworks` runs them."""

from __future__ import annotations

import ast
from dataclasses import fields

import pytest

from nmap.network import Conventions
from nmap.readers.conventions import PRESETS, RESETS
from tests.frameworks.recipes import Recipe, environments, recipes

_FRAMEWORKS = ["snntorch", "norse", "spikingjelly", "sinabs", "rockpool", "lava-dl"]


def test_every_framework_has_pinned_packages() -> None:
    found = environments()
    assert [e.framework for e in found] == _FRAMEWORKS
    assert all("==" in package for e in found for package in e.packages)


@pytest.mark.parametrize("recipe", recipes(), ids=str)
def test_a_recipe_states_conventions_that_nmap_knows(recipe: Recipe) -> None:
    assigned = [
        ast.literal_eval(node.value)
        for node in ast.parse(recipe.script).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "conventions" and isinstance(node.value, ast.Dict)
    ]
    assert bool(assigned) == (recipe.framework != "lava-dl")
    assert all(stated.keys() <= {f.name for f in fields(Conventions)} for stated in assigned)
    options = recipe.options or ()
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert given.keys() <= {"--source", "--reset", "--dt"}
    assert given.get("--source", "lava") in PRESETS
    assert given.get("--reset", "zero") in RESETS
