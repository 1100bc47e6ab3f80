"""How a program is read: which kind of unit a core stands for, in which pass it is used, and what computes each population."""

from __future__ import annotations

from functools import cache
from typing import Literal, TypeAlias

from nmap.program import Program
from nmap.target.spec import ChipSpec, load_spec
from nmap_akida.form import Form, form_of

__all__ = ["Unit", "chip", "class_of", "pass_of", "unit_of"]

Unit: TypeAlias = Literal["HRC", "CNP", "FNP3", "FNP2"]
"""The input convolution unit, an NP for convolutions, and an NP for a fully connected layer with its weights inside, or beside the chip."""


@cache
def chip() -> ChipSpec:
    """Return the chip data of `chip.toml`."""
    return load_spec("nmap_akida")


def pass_of(program: Program, core: int) -> int:
    """Return in which pass a core of a program is used, from 0 on.

    Args:
        program: on a variant of the chip.
        core: index into `Program.cores`.
    """
    return program.cores[core].core // chip().variants[program.variant].cores


def class_of(program: Program, core: int) -> str:
    """Return the class of the chip's cores that a core of a program belongs to.

    Args:
        program: on a variant of the chip.
        core: index into `Program.cores`.

    Raises:
        ValueError: the chip has no such core.
    """
    variant = chip().variants[program.variant]
    number = program.cores[core].core % variant.cores
    for name, cores in variant.classes.items():
        if number in cores:
            return name
    raise ValueError(f"core {number} is of no class")


def unit_of(program: Program, population: str) -> Unit:
    """Return what computes a population: a dense layer on FNP3 or FNP2 is a fully connected one, on CNP a convolution with a kernel of 1.

    A pooled population has the unit of the layer before it, on whose cores it lies.

    Raises:
        KeyError: the program has no such population, or it is an input port.
    """
    index = next((k for k, p in enumerate(program.populations) if p.name == population and not p.is_input), None)
    if index is None:
        raise KeyError(population)
    form = form_of(program.settings, population)
    groups = [group for group in program.groups if group.population == index]
    kind = class_of(program, groups[0].core)
    if kind == "hrc":
        return "HRC"
    if form is Form.DENSE and len(groups) == 1 and kind in ("fnp3", "fnp2"):
        return "FNP3" if kind == "fnp3" else "FNP2"
    return "CNP"
