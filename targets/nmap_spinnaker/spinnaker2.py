"""SpiNNaker 2, as py-spinnaker2 programs it: integer weights, float32 neurons."""

from __future__ import annotations

from nmap_spinnaker import Spinnaker1

__all__ = ["TARGET", "Spinnaker2"]


class Spinnaker2(Spinnaker1):
    """The target; see `nmap.target.backend.Target`. It has the same parts as SpiNNaker 1, in a package of their own."""

    name = "spinnaker2"
    artefact = "py-spinnaker2"
    package = "nmap_spinnaker.second"
    data = "chip2.toml"


TARGET = Spinnaker2()
