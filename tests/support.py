"""Helpers shared by the tests."""

from __future__ import annotations

from pathlib import Path

import pytest


def shared_data() -> Path:
    """Return the folder of real networks and traces beside the checkout, or skip the calling test."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder with real networks and traces (../shared/data) is not beside this checkout")
    return folder
