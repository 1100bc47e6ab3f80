"""The conformance suite on every installed target, third parties' too."""

from __future__ import annotations

import pytest

from nmap.options import Options
from nmap.target.backend import Target
from nmap.target.registry import find_target, target_names
from nmap.testing import TargetConformance


class TestInstalledTargets(TargetConformance):
    @pytest.fixture(params=target_names())
    def target(self, request: pytest.FixtureRequest) -> Target:
        return find_target(request.param)


class TestApproximatedLeaks(TargetConformance):
    """The random networks decay exponentially, which TrueNorth takes only approximately; integrators leak a little on SpiNNaker 1."""

    options = Options(partitioner="greedy", effort=0, approximate=frozenset({"leak"}))

    @pytest.fixture(params=["spinnaker1", "truenorth"])
    def target(self, request: pytest.FixtureRequest) -> Target:
        return find_target(request.param)


def test_the_built_in_targets_are_installed() -> None:
    assert {"akida", "loihi1", "loihi2", "spinnaker1", "spinnaker2", "toy", "truenorth"} <= set(target_names())
