"""Conformance suites and random networks for authors of plug-ins. Needs pytest.

    # tests/test_mychip.py
    import pytest
    from nmap.testing import TargetConformance

    class TestMyChip(TargetConformance):
        @pytest.fixture
        def target(self):
            from mychip import TARGET
            return TARGET
"""

from __future__ import annotations

from nmap.testing.partitioners import PartitionerConformance
from nmap.testing.targets import TargetConformance

__all__ = ["PartitionerConformance", "TargetConformance"]
