"""What a layer of Akida 1.0 is, and how a quantized network and its program say so: whole numbers among their settings."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

__all__ = ["Form", "Mode", "form_of", "mode_of", "sums_over_image"]


class Mode(IntEnum):
    """What one inference stands for."""

    THRESHOLD = 1
    """One step of a network of neurons without memory."""
    RATE = 2
    """All steps of a sample: integrate-and-fire neurons without leak send their number of spikes."""


class Form(IntEnum):
    """How a population is computed."""

    DENSE = 1
    """Fully connected; on an NP with dense weights, or as a convolution with a kernel of 1."""
    CONV = 2
    """A convolution with the padding that keeps the image's size."""
    SEPARABLE = 3
    """A convolution within each channel, then one with a kernel of 1 across channels."""
    IMAGE = 4
    """The first convolution, of an image of 8 bits with weights of 8 bits, on the input convolution unit (HRC)."""
    POOLED = 5
    """The largest of every 2 by 2 of the population before it, whose layer computes it: it has no layer of its own."""


def mode_of(settings: Mapping[str, int]) -> Mode:
    """Return what one inference of a quantized network or program stands for.

    Raises:
        KeyError: the settings are those of no network for this chip.
        ValueError: likewise.
    """
    return Mode(settings["mode"])


def form_of(settings: Mapping[str, int], population: str) -> Form:
    """Return how a population of a quantized network or program is computed.

    Raises:
        KeyError: the population is an input port, or of no network for this chip.
        ValueError: likewise.
    """
    return Form(settings[f"{population}.form"])


def sums_over_image(settings: Mapping[str, int], population: str) -> bool:
    """Return whether a population's potentials are summed over the whole image before they are compared (global pooling)."""
    return settings.get(f"{population}.global", 0) == 1
