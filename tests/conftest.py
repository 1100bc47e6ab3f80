"""Test configuration: make `tests.support` importable under importlib mode, and keep a vendor's package out where it was not asked for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# Where it is found, every bundle for Akida has files that BrainChip's package makes. `make test-akida` asks for it.
if os.environ.get("NMAP_AKIDA") != "1":
    os.environ.pop("NMAP_AKIDA_PYTHON", None)
