"""A target whose steps stand for several steps of the network: the toy chip, whose inputs carry counts."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points

import pytest

from nmap.diagnostics import Findings
from nmap.network import Network
from nmap.options import Options
from nmap.quantized import QuantizedNetwork
from nmap_toy import Toy

WINDOW = 3


class Summing(Toy):
    """The toy chip, told that one of its steps stands for `WINDOW` steps of the network."""

    def quantize(self, network: Network, options: Options, findings: Findings) -> QuantizedNetwork:
        made = super().quantize(network, options, findings)
        counted = tuple(
            replace(p, format=replace(p.format, message_bits=8)) if p.source in made.inputs else p for p in made.projections
        )
        return replace(made, projections=counted, settings={**made.settings, "window": WINDOW})


TARGET = Summing()


def install(patch: pytest.MonkeyPatch) -> Summing:
    """Install it in the toy chip's place, beside nothing else, and return it."""
    groups = {"nmap.targets": [EntryPoint("toy", "tests.window_target:TARGET", "nmap.targets")]}
    patch.setattr("nmap.target.registry.entry_points", lambda *, group: groups.get(group) or entry_points(group=group))
    return TARGET
