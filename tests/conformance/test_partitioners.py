"""The conformance suite on every installed partitioner, third parties' too."""

from __future__ import annotations

import pytest

from nmap.partition.partitioner import Partitioner
from nmap.target.registry import find_partitioner, partitioner_names
from nmap.testing import PartitionerConformance


class TestInstalledPartitioners(PartitionerConformance):
    @pytest.fixture(params=partitioner_names())
    def partitioner(self, request: pytest.FixtureRequest) -> Partitioner:
        return find_partitioner(request.param)


def test_the_built_in_partitioners_are_installed() -> None:
    assert {"cpsat", "greedy"} <= set(partitioner_names())
