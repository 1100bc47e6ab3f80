"""Graded spikes through a deployment: what is said of their width, how they are compared with the network, and how much of the state is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nmap import flow
from nmap.flow import deploy
from nmap.options import Options
from nmap.verify import comparison
from tests.unit.readers.builders import write_netx


def sigma_delta(**more) -> dict:
    return {"type": "SDNN", "activation": "relu", "vThMant": 1, **more}


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """Delta neurons of an input block, and two sigma-delta neurons of a readout that sends its sums."""
    return write_netx(tmp_path / "net.net", [
        {"type": "input", "shape": (1, 1, 2), "neuron": sigma_delta()},
        {"type": "flatten", "shape": (2,)},
        {"type": "dense", "weight": np.array([[2.0, -4.0], [6.0, 8.0]]), "neuron": sigma_delta(sigma_output=True)},
    ])


def deployed(chain: Path, largest: int) -> flow.Outcome:
    inputs = np.zeros((2, 6, 1, 1, 2), np.int64)
    inputs[:, 1:, 0, 0] = [largest, 3]
    np.savez(chain.with_name("S.npz"), inputs=inputs)
    return deploy(chain, target="loihi2", options=Options(), input=chain.with_name("S.npz"), output=chain.with_name("bundle"))


def wide(out: flow.Outcome) -> list[str]:
    return [d.message for d in out.diagnostics if "payload" in d.message and d.severity == "warning"]


@pytest.mark.parametrize(("largest", "told"), [(131_071, False), (131_072, True)])
def test_payloads_beyond_their_width_are_told(chain: Path, largest: int, told: bool) -> None:
    """A delta neuron sends 64 times its change: 2^17 x 64 = 2^23 is the first value that 24 bits with a sign do not hold."""
    out = deployed(chain, largest)
    assert out.verification.chip_vs_fixed.mismatches == 0
    assert (wide(out) == [f"graded spikes of `layer0` reach {largest * 64}, beyond the 24 bits of their payload"]) is told
    assert bool(wide(out)) is told


def test_graded_outputs_are_compared_by_value(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert deployed(chain, 50).verification.chip_vs_float.spike_agreement == 1
    real = comparison._SideBySide._real

    def doubled(self, chunk, chip, found):
        real(self, chunk, {name: 2 * values for name, values in chip.items()}, found)

    monkeypatch.setattr(comparison._SideBySide, "_real", doubled)
    # Twice the value is another message. The input of step 1 arrives two hops later, so that three of six steps are silent.
    assert deployed(chain, 50).verification.chip_vs_float.spike_agreement == 0.5


def test_states_of_large_networks_are_compared_in_their_first_steps(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nmap.simulate import fixed

    seen = []
    real = fixed.Reference.run

    def watched(self, inputs, *, record=None, probes=()):
        if probes:
            seen.append(self.steps)
        return real(self, inputs, record=record, probes=probes)

    monkeypatch.setattr(fixed.Reference, "run", watched)
    deployed(chain, 50)
    # 2 samples of 2 delta neurons with 4 state variables and 2 readouts with 2.
    monkeypatch.setattr(comparison, "_PROBED_ELEMENTS", 2 * (2 * 4 + 2 * 2) * 3)
    deployed(chain, 50)
    assert seen == [6, 3]


def test_outputs_that_differ_where_sums_may_wrap_are_a_warning(tmp_path: Path) -> None:
    """A convolution of Lava sums in 24 bits: 254 x 64 x 1000 is beyond 2^23, 254 x 64 x 500 is not."""
    kernel = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    path = write_netx(tmp_path / "net.net", [
        {"type": "input", "shape": (1, 1, 2), "neuron": sigma_delta()},
        {"type": "conv", "weight": np.array([[[[254.0]]], [[[-2.0]]]]), "neuron": sigma_delta(), **kernel},
    ])
    for largest, wraps in ((500, False), (1000, True)):
        out = deployed(path, largest)
        assert out.verification.chip_vs_fixed.mismatches == 0
        told = [d for d in out.diagnostics if d.code == "NM304" and d.severity == "warning" and "may have wrapped" in d.message]
        assert bool(told) is wraps
        assert (out.verification.chip_vs_float.spike_agreement == 1) is not wraps
        assert all("`conv1`" in d.message for d in told)
