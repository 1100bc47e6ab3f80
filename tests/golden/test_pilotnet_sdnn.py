"""PilotNet-SDNN (158 509 sigma-delta neurons): what reaches the chip is the file, and computes what the file's arithmetic does."""

from __future__ import annotations

import numpy as np

from nmap.diagnostics import Findings
from nmap.network import SigmaDelta
from nmap.options import Options
from nmap.readers import read
from nmap.rules import run_rules
from nmap.simulate.fixed import simulate as fixed
from nmap.simulate.floating import simulate as floating
from nmap.trace import Probe
from nmap_loihi2 import TARGET
from tests.support import shared_data

_STEPS = 7


def test_every_layer_is_taken_exactly() -> None:
    network = read(shared_data() / "lava_dl" / "pilotnet_sdnn.net")
    options, findings = Options(payload=(0, 255)), Findings()
    run_rules(network, TARGET, options, findings)
    quantized = TARGET.quantize(network, options, findings)
    assert [d.code for d in findings if d.severity != "note"] == []
    assert all(loss.sqnr_db is None and loss.clipped == loss.zeroed == 0 for loss in quantized.losses)
    stored = {p.name: p for p in quantized.projections}
    for p in network.projections:
        # A layer that is mostly zeros is stored synapse by synapse.
        held, form = stored[p.name].connectivity.weights, stored[p.name].format
        assert np.count_nonzero(held) == np.count_nonzero(p.connectivity.weights)
        assert (np.sort(held[held != 0]) * 2.0**form.exponent == np.sort(p.connectivity.weights[p.connectivity.weights != 0])).all()
    models = {p.name: p.neuron for p in network.populations if isinstance(p.neuron, SigmaDelta)}
    assert sum(p.size for p in quantized.populations if p.name in models) == 158509

    # An image that moves by a pixel in each step, so that most activations change and some do not.
    image = np.random.default_rng(0).integers(0, 256, (3, 66, 200))
    samples = np.stack([np.roll(image, k, 2) if k < 4 else np.roll(image, 3, 2) for k in range(_STEPS)])[None]
    run = floating(network, samples, record=[f"{name}{what}" for name in models for what in ("", ":u", ":v")])
    trace = fixed(
        quantized, TARGET.kernels, samples, _STEPS, record=list(models), probes=[Probe(name, v) for name in models for v in ("u", "v")]
    )
    for name in models:
        np.testing.assert_array_equal(trace.spikes[name], run.spikes[name])
        np.testing.assert_array_equal(trace.state[f"{name}.u"], run.u[name])
        np.testing.assert_array_equal(trace.state[f"{name}.v"], run.v[name])
        # The declared widths of Lava's models hold here: 24 bits of state, 24 of a message.
        assert max(np.abs(run.v[name]).max(), np.abs(run.spikes[name]).max()) < 1 << 23
    assert all(run.spikes[name].any() for name in list(models)[:6])
