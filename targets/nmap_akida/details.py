"""What Akida's own units a mapped network takes; all that rests on the sizes of memories is an estimate, and called one.

    mode, steps        an inference is one step of the network (threshold), or so many of them (rate)
    layers             of the chip: pooled populations have none of their own
    FC layers          fully connected layers; those on an FNP2 have their weights in memory beside the chip
    unit               HRC (input convolution unit), CNP (convolutions), FNP3 or FNP2 (a fully connected layer, its weights inside an NP or
                       beside the chip); a dense layer on CNPs is a convolution with a kernel of 1
    parts              into how many a layer's filters, and the rows and columns of its image, are divided
    bytes              weight bits x weights of the whole layer, once; `on NPs` counts what several NPs repeat
"""

from __future__ import annotations

from typing import TypeAlias

from nmap.program import Program
from nmap.quantized import QuantizedNetwork
from nmap.target.backend import Demand, Details
from nmap_akida.demand import size_of
from nmap_akida.form import Form, form_of, mode_of
from nmap_akida.measure import measure
from nmap_akida.units import class_of, pass_of, unit_of

__all__ = ["details"]

_Row: TypeAlias = dict[str, "int | float | str | None"]

_TITLES = {
    "mode": "mode",
    "window": "steps an inference",
    "layers": "layers",
    "connected": "FC layers",
    "nps": "NPs (estimate)",
    "nps_convolution": "NPs for convolutions (estimate)",
    "nps_fnp3": "FNP3 (estimate)",
    "nps_fnp2": "FNP2 (estimate)",
    "hrc": "HRC",
    "passes": "passes (estimate)",
    "weight_bytes": "weight bytes (estimate)",
    "external_bytes": "weight bytes beside the chip (estimate)",
    "input_bytes": "input bytes on NPs (estimate)",
    "memory_bytes": "weight bytes on NPs (estimate)",
    "form": "form",
    "unit": "unit",
    "parts": "parts (filters x rows x columns)",
    "pass": "pass",
    "kernel": "kernel",
    "weight_bits": "weight bits",
    "input_bits": "input bits",
    "class": "kind",
    "layer": "layer",
}
_FORMS = {
    Form.DENSE: "dense", Form.CONV: "convolution", Form.SEPARABLE: "separable convolution", Form.IMAGE: "image convolution",
    Form.POOLED: "pooled",
}


def details(network: QuantizedNetwork, program: Program) -> Details:
    """Return totals, what each population takes, and what each unit holds.

    Args:
        network: what was mapped.
        program: its mapping.
    """
    used = measure(program)
    rows = {
        population.name: _layer(network, program, index, used)
        for index, population in enumerate(program.populations) if not population.is_input
    }
    own = [row for row in rows.values() if row["form"] != _FORMS[Form.POOLED]]
    units = [row["unit"] for row in own for _ in range(int(row["nps"] or 0))]
    totals: _Row = {
        "mode": mode_of(program.settings).name.lower(), "window": program.window, "layers": len(own),
        "connected": sum(row["unit"] in ("FNP3", "FNP2") for row in own), "nps": len(units), "nps_convolution": units.count("CNP"),
        "nps_fnp3": units.count("FNP3"), "nps_fnp2": units.count("FNP2"), "hrc": sum(row["unit"] == "HRC" for row in own),
        "passes": 1 + max(pass_of(program, core) for core in range(len(program.cores))),
        "weight_bytes": sum(int(row["weight_bytes"] or 0) for row in own),
        "external_bytes": sum(int(row["weight_bytes"] or 0) for row in own if row["unit"] == "FNP2"),
        "input_bytes": sum(core["input_memory"] for core in used),
    }
    held: list[list[str]] = [[] for _ in program.cores]
    for group in program.groups:
        name = program.populations[group.population].name
        if form_of(program.settings, name) is not Form.POOLED:
            held[group.core].append(name)
    cores: tuple[_Row, ...] = tuple(
        {
            "layer": ", ".join(held[k]), "class": class_of(program, k), "pass": pass_of(program, k), "memory_bytes": core["weight_memory"],
            "input_bytes": core["input_memory"],
        }
        for k, core in enumerate(used)
    )
    return Details(totals, rows, cores, dict(_TITLES))


def _layer(network: QuantizedNetwork, program: Program, index: int, used: tuple[Demand, ...]) -> _Row:
    name = program.populations[index].name
    form, unit = form_of(program.settings, name), unit_of(program, name)
    groups = [group for group in program.groups if group.population == index]
    where = [group.core for group in groups]
    row: _Row = {
        "form": _FORMS[form], "unit": unit, "nps": None, "parts": None, "pass": pass_of(program, where[0]), "kernel": None,
        "weight_bits": None, "input_bits": None, "weight_bytes": None, "memory_bytes": None,
    }
    if form is Form.POOLED:
        return row
    size = size_of(network, name)
    boxes = [group.slice for group in groups]
    parts = f"{len(groups)} x 1 x 1"
    if form is not Form.DENSE and all(isinstance(box, tuple) for box in boxes):
        parts = " x ".join(str(len({box[axis] for box in boxes if isinstance(box, tuple)})) for axis in range(3))
    return row | {
        "nps": 0 if unit == "HRC" else len(groups), "parts": parts, "kernel": None if form is Form.DENSE else f"{size.side} x {size.side}",
        "weight_bits": size.weight_bits, "input_bits": 8 if form is Form.IMAGE else size.input_bits,
        "weight_bytes": size.weight_bytes(size.filters), "memory_bytes": sum(used[core]["weight_memory"] for core in where),
    }
