"""Intel Loihi, the first one: Loihi 2's integers and Lava's LIF, with another core memory and nothing that is microcode on Loihi 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Final

from nmap.diagnostics import Findings
from nmap.emulate.kernel import Kernel
from nmap.network import Network
from nmap.options import Options
from nmap.program import Program
from nmap.quantized import QuantizedNetwork, QuantizedProjection
from nmap.target.backend import Rule, VendorFile
from nmap.target.spec import ChipSpec, load_spec
from nmap_loihi2 import Loihi2
from nmap_loihi2.memory import LOIHI1

__all__ = ["TARGET", "Loihi1"]

_KERNELS: Final = {"loihi2.lif": "loihi1.lif"}
_RELAY: Final = "loihi2.relay"


class Loihi1(Loihi2):
    """The target; see `nmap.target.backend.Target`."""

    name = "loihi1"
    memory = LOIHI1

    @cached_property
    def spec(self) -> ChipSpec:
        """The chip data."""
        return load_spec("nmap_loihi2", "loihi1.toml")

    @property
    def kernels(self) -> Mapping[str, Kernel]:
        """Neuron kernels by the name used in programs: Lava's LIF."""
        from nmap_loihi2.kernels import LIF

        lif: Kernel = replace(LIF, name=_KERNELS[LIF.name])
        return {lif.name: lif}

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Design rules."""
        from nmap_loihi2.rules_loihi1 import RULES

        return RULES

    def quantize(self, network: Network, options: Options, findings: Findings) -> QuantizedNetwork:
        """Return the network in Loihi's integers, which are Loihi 2's."""
        from nmap_loihi2.quantize import quantize

        return _renamed(_without_relays(quantize(network, self.spec, options, findings)), _KERNELS)

    def emit(self, network: QuantizedNetwork, program: Program) -> dict[str, bytes]:
        """Return the standalone Lava program."""
        return super().emit(_renamed(network, _BACK), program)

    def export(self, network: QuantizedNetwork, format: str, findings: Findings) -> VendorFile | None:  # noqa: A002 - the contract's name
        """Return the network as a netx file."""
        return super().export(_renamed(network, _BACK), format, findings)


_BACK: Final = {theirs: ours for ours, theirs in _KERNELS.items()}


def _renamed(network: QuantizedNetwork, names: Mapping[str, str]) -> QuantizedNetwork:
    """Return the network with other names for its kernels."""
    return replace(network, populations=tuple(
        population if population.kernel is None else replace(population, kernel=names[population.kernel])
        for population in network.populations
    ))


def _without_relays(network: QuantizedNetwork) -> QuantizedNetwork:
    """Return the network with delayed convolutions in the place of relays and convolutions: they are listed here, each synapse delayed."""
    feeds: dict[str, QuantizedProjection] = {
        population.name: network.afferents(population.name)[0] for population in network.populations if population.kernel == _RELAY
    }
    projections = tuple(
        p if p.source not in feeds else replace(p, source=feeds[p.source].source, delay=p.delay + feeds[p.source].delay + 1)
        for p in network.projections if p.target not in feeds
    )
    return replace(network, populations=tuple(p for p in network.populations if p.name not in feeds), projections=projections)


TARGET = Loihi1()
