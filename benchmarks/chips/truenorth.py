"""TrueNorth's neuron, under the name that the other chips' have here; `nmap_truenorth.neuron` defines it."""

from __future__ import annotations

from nmap_truenorth.neuron import NEURON, TrueNorthNeuron

__all__ = ["NEURON", "TrueNorthNeuron"]
