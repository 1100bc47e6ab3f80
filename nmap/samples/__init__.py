"""Samples of a network: read from a file in any of several formats, checked, and handed out in pieces."""

from __future__ import annotations

from nmap.samples.model import Samples, in_memory
from nmap.samples.reader import load

__all__ = ["Samples", "in_memory", "load"]
