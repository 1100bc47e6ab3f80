"""What only the routes tell: a mapping that a chip would refuse is not said to fit, by no command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nmap.diagnostics import Exit
from nmap.flow import check, deploy
from nmap.options import Options
from tests.unit.readers.builders import chain, lif, linear, port, sink, write_nir


def wide(path: Path, targets: int) -> Path:
    """1000 neurons on one core, all of them with targets on every core of the next layer."""
    rng = np.random.default_rng(0)
    nodes = {
        "input": port(10), "w1": linear(rng.normal(0, 1, (1000, 10))), "a": lif(1000),
        "w2": linear(rng.normal(0, 1, (targets, 1000))), "b": lif(targets), "output": sink(targets),
    }
    return write_nir(path, nodes, chain("input", "w1", "a", "w2", "b", "output"))


@pytest.mark.parametrize(("targets", "fits"), [(200, True), (3000, False)])
def test_check_and_deploy_agree_about_output_axons(tmp_path: Path, targets: int, fits: bool) -> None:
    """A core of Loihi 1 holds 120 neurons of the second layer or so: 2 cores of them ask for 2000 output axons, 26 for 26000."""
    path, options = wide(tmp_path / "net.nir", targets), Options(partitioner="greedy", effort=0)
    (checked,) = check(path, targets=["loihi1"], options=options, dt=1e-4)
    deployed = deploy(path, target="loihi1", options=options, dt=1e-4, output=tmp_path / "bundle", verify=False)
    for out in (checked, deployed):
        assert out.exit_status == (Exit.OK if fits else Exit.UNKNOWN)
        told = [d for d in out.diagnostics if d.severity == "error"]
        assert [d.code for d in told] == ([] if fits else ["NM501"])
        if not fits:
            assert "1 of " in told[0].message
            assert "output axons" in told[0].message
            assert "`a`" in str(told[0].why)
            assert "a core has 4096" in str(told[0].why)
            assert out.status == "unknown"
    assert (tmp_path / "bundle").exists() is fits
