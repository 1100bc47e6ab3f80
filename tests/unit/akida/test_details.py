"""What is told of a mapped network in the chip's own units."""

from __future__ import annotations

from nmap_akida.details import details
from nmap_akida.form import Form
from tests.akida_chains import Chain, programmed


def test_totals_and_layers_by_hand() -> None:
    chain = Chain(3, 12, 70).conv("image", 8, form=Form.IMAGE).conv("c", 6).pool("p").conv("d", 4)
    network = chain.dense("fc", 200).dense("o", 10).network()
    program, _ = programmed(network)
    found = details(network, program)
    # image: 8 x 3 x 9 bytes; c: 6 x 8 x 9 x 4 bits in 3 tiles; d: 4 x 6 x 9 x 4 bits in 2; fc: 840 x 200 x 4 bits; o: 200 x 10 x 4 bits.
    totals = {
        "mode": "threshold", "window": 1, "layers": 5, "connected": 2, "nps": 7, "nps_convolution": 5, "nps_fnp3": 1, "nps_fnp2": 1,
        "hrc": 1, "passes": 1, "weight_bytes": 216 + 216 + 108 + 84000 + 1000, "external_bytes": 84000,
    }
    assert {name: found.totals[name] for name in totals} == totals
    assert found.layers["image"] == {
        "form": "image convolution", "unit": "HRC", "nps": 0, "parts": "1 x 1 x 1", "pass": 0, "kernel": "3 x 3", "weight_bits": 8,
        "input_bits": 8, "weight_bytes": 216, "memory_bytes": 216,
    }
    assert found.layers["c"] == {
        "form": "convolution", "unit": "CNP", "nps": 3, "parts": "1 x 1 x 3", "pass": 0, "kernel": "3 x 3", "weight_bits": 4,
        "input_bits": 1, "weight_bytes": 216, "memory_bytes": 648,
    }
    assert found.layers["p"] == {
        "form": "pooled", "unit": "CNP", "nps": None, "parts": None, "pass": 0, "kernel": None, "weight_bits": None, "input_bits": None,
        "weight_bytes": None, "memory_bytes": None,
    }
    assert (found.layers["fc"]["unit"], found.layers["fc"]["parts"], found.layers["fc"]["kernel"]) == ("FNP2", "1 x 1 x 1", None)
    assert found.layers["o"]["unit"] == "FNP3"
    assert [core["layer"] for core in found.cores] == ["image", "c", "c", "c", "d", "d", "fc", "o"]
    assert [core["class"] for core in found.cores] == ["hrc", "cnp", "cnp", "cnp2", "cnp2", "cnp2", "fnp2", "fnp3"]


def test_every_name_has_a_title_and_sizes_are_called_estimates() -> None:
    chain = Chain(300)
    for k in range(20):
        chain.dense(f"fc{k}", 300)
    network = chain.network()
    program, _ = programmed(network, "AKD1500")
    found = details(network, program)
    names = {*found.totals, *(name for row in (*found.layers.values(), *found.cores) for name in row)}
    assert names <= set(found.titles)
    estimates = {name for name in found.totals if name.startswith("nps") or name.endswith("bytes")} | {"passes"}
    assert len(estimates) == 8
    assert all("estimate" in found.titles[name] for name in estimates)
    assert found.totals["passes"] == 2
    assert {core["pass"] for core in found.cores} == {0, 1}
    assert found.layers["fc19"]["pass"] == 1
    assert len(found.cores) == len(program.cores)


def test_an_inference_of_several_steps_is_told() -> None:
    chain = Chain(30).dense("a", 10)
    chain.settings |= {"mode": 2, "window": 12}
    network = chain.network()
    program, _ = programmed(network)
    found = details(network, program)
    assert (found.totals["mode"], found.totals["window"]) == ("rate", 12)
