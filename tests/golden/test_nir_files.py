"""Public NIR files, the ones among them that the `nir` package cannot read included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nmap.diagnostics import Diagnostic
from nmap.network import Network
from nmap.readers import read
from nmap.simulate.floating import simulate
from tests.support import shared_data
from tests.unit.readers.builders import refused


def _file(name: str) -> Path:
    return shared_data() / "nir" / f"{name}.nir"


def _layout(network: Network) -> list[tuple[str, tuple[int, ...]]]:
    return [(p.name, p.shape) for p in network.populations]


@pytest.mark.parametrize(
    ("name", "layout", "synapses"),
    [
        ("lif_norse", [("input", (1,)), ("1", (1,))], 1),
        ("lif_rockpool", [("input", (1,)), ("1_LIFNeuronTorch", (1,))], 1),
        ("two_lif_neurons", [("in", (1,)), ("lif1", (1,)), ("lif2", (1,))], 2),
        ("braille_noDelay_bias_zero", [("input", (12,)), ("lif1.lif", (38,)), ("lif2", (7,))], 38 * 12 + 38 * 38 + 7 * 38),
        ("braille_noDelay_bias_zero_subgraph", [("input", (12,)), ("lif1.lif1", (38,)), ("lif2", (7,))], 38 * 12 + 38 * 38 + 7 * 38),
        ("braille_flattened_190043", [("input", (12,)), ("lif1", (38,)), ("lif2", (7,))], 38 * 12 + 38 * 38 + 7 * 38),
        ("braille_checkpoint_scalar_params", [("input", (12,)), ("lif1.lif", (55,)), ("lif2", (7,))], 4070),
    ],
)
def test_what_is_read(name: str, layout: list[tuple[str, tuple[int, ...]]], synapses: int) -> None:
    network = read(_file(name))
    assert _layout(network) == layout
    assert network.synapses == synapses
    assert (network.inputs, network.outputs) == ((layout[0][0],), (layout[-1][0],))
    assert {p.delay for p in network.projections if p.source == p.target} <= {1}


def test_the_convolutional_net() -> None:
    network = read(_file("cnn_sinabs"))
    assert [shape for _, shape in _layout(network)] == [(2, 34, 34), (16, 16, 16), (16, 16, 16), (8, 8, 8), (256,), (10,)]
    # The sum pools are folded: kernels of 3 over pools of 2 read 6, at twice the stride.
    assert [p.connectivity.kind for p in network.projections] == ["conv", "conv", "conv", "dense", "dense"]
    assert network.projections[2].connectivity.weights.shape == (8, 16, 6, 6)
    assert network.neurons == 8970


def test_batch_dimensions_are_stripped_with_a_note() -> None:
    network = read(_file("lif_rockpool"))
    assert any("`output` (1, 1, 1)" in note and "stripped" in note for note in network.notes)


def _same_numbers(a: Network, b: Network) -> None:
    for p, q in zip(a.populations, b.populations, strict=True):
        if p.neuron is None or q.neuron is None:
            assert p.neuron is q.neuron
            continue
        for name in ("alpha", "gain_in", "gain_v", "beta", "drive", "threshold", "v_reset"):
            np.testing.assert_array_equal(getattr(p.neuron, name), getattr(q.neuron, name), err_msg=f"{p.name} {name}")
    for x, y in zip(a.projections, b.projections, strict=True):
        np.testing.assert_array_equal(x.connectivity.weights, y.connectivity.weights)
        np.testing.assert_array_equal(np.zeros(1) if x.bias is None else x.bias, np.zeros(1) if y.bias is None else y.bias)
        assert (x.delay, x.bias_from) == (y.delay, y.bias_from)


def test_the_file_whose_edges_name_no_node_equals_the_sound_one() -> None:
    """Its subgraph holds `lif1` where the edges say `lif`; with that one reading it is the same network, number for number."""
    broken, sound = read(_file("braille_noDelay_bias_zero_subgraph")), read(_file("braille_noDelay_bias_zero"))
    _same_numbers(broken, sound)
    (found,) = broken.diagnostics
    assert isinstance(found, Diagnostic)
    assert (found.code, found.severity) == ("NM112", "warning")
    assert all(word in found.message for word in ("`input` -> `lif`", "graph `lif1`", "read as `lif1`"))
    assert str(found.where).endswith("/node/nodes/lif1/edges[0]")
    assert not sound.diagnostics
    with np.load(shared_data() / "golden" / "braille_bias_zero.npz") as stored:
        inputs, spikes = stored["input_spikes"], stored["snntorch__noDelay_bias_zero"]
    np.testing.assert_array_equal(simulate(broken, inputs[None], record=["lif1.lif1"]).spikes["lif1.lif1"][0], spikes)


def test_a_late_bias_is_what_tells_norse_from_snntorch() -> None:
    """Published: with Norse the recurrent bias does not act in step 0, which costs 23 of 9728 cells."""
    network = read(_file("braille_noDelay_bias_zero"))
    late = replace(
        network,
        projections=tuple(replace(p, bias_from=p.delay) if p.source == p.target else p for p in network.projections),
    )
    with np.load(shared_data() / "golden" / "braille_bias_zero.npz") as stored:
        inputs, spikes = stored["input_spikes"], stored["norse__noDelay_bias_zero"]
    np.testing.assert_array_equal(simulate(late, inputs[None], record=["lif1.lif"]).spikes["lif1.lif"][0], spikes)


def test_a_write_that_was_cut_short_is_refused_as_that() -> None:
    with refused("NM103", "NM103") as found:
        read(_file("truncated_scnn_model"))
    assert all("cut short" in f"{d.message} {d.why}" for d in found)
    assert any("no `edges`" in d.message for d in found)
