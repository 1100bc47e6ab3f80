"""`nmap export`: the quantized network in a vendor's file."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import nmap as package
from nmap import flow
from nmap.diagnostics import NmapError
from nmap.options import Options
from nmap.target.backend import VendorFile
from nmap_loihi2 import TARGET
from nmap_loihi2 import netx as loihi2_netx
from tests.cli.runner import Runner
from tests.unit.readers.builders import affine, chain, cuba, lif, linear, port, sink, write_netx, write_nir


def weights(path: Path, number: int = 0) -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file[f"layer/{number}/weight"][()])


@pytest.fixture
def integers(work: Path) -> Path:
    """`small.net`: a netx file, which comes out of the quantizer as it is."""
    rng = np.random.default_rng(3)
    write_netx(work / "small.net", [
        {"type": "dense", "shape": np.array([5]), "weight": (2 * rng.integers(-40, 50, (5, 6))).astype(np.float32), "neuron": cuba()},
        {"type": "dense", "shape": np.array([3]), "weight": (2 * rng.integers(-40, 50, (3, 5))).astype(np.float32), "neuron": cuba()},
    ])
    return Path("small.net")


@pytest.fixture
def biased(work: Path) -> Path:
    """`biased.nir`: a leaky network with biases, which netx holds in another form than the chip."""
    rng = np.random.default_rng(4)
    nodes = {
        "input": port(6), "w1": affine(rng.normal(0.3, 0.6, (5, 6)), rng.normal(0, 0.1, 5)), "n1": lif(5),
        "w2": affine(rng.normal(0.3, 0.6, (3, 5)), rng.normal(0, 0.1, 3)), "n2": lif(3), "output": sink(3),
    }
    write_nir(work / "biased.nir", nodes, chain(*nodes), {"dt": 1e-4, "reset_mechanism": "zero"})
    return Path("biased.nir")


def test_a_netx_file_comes_back(integers: Path, nmap: Runner) -> None:
    result = nmap("export", integers, "--target", "loihi2", "--format", "netx", "-o", "out.net")
    assert (result.status, result.err.count("warning")) == (0, 0)
    assert "Wrote out.net" in result.out
    assert "read back, the file sends what the quantized network sends" in " ".join(result.err.split())
    assert "hdf5.Network(net_config=FILE)" in result.err
    for k in (0, 1):
        np.testing.assert_array_equal(weights(Path("out.net"), k), weights(integers, k))


def test_the_same_bytes_again_in_the_place_of_the_old(integers: Path, nmap: Runner) -> None:
    Path("out.net").write_bytes(b"old")
    for _ in range(2):
        assert nmap("export", integers, "--target", "loihi2", "-o", "out.net", "-q").status == 0
        content = Path("out.net").read_bytes()
    assert nmap("export", integers, "--target", "loihi2", "-o", "again.net", "--no-verify").status == 0
    assert Path("again.net").read_bytes() == content
    assert sorted(path.name for path in Path().iterdir()) == ["again.net", "out.net", "small.net"]


def test_another_form_is_told(biased: Path, nmap: Runner) -> None:
    result = nmap("export", biased, "--target", "loihi2", "-o", "out.net", "--print", "json")
    assert result.status == 0
    found = {d["code"]: d for d in result.json["diagnostics"] if d["severity"] == "warning"}
    assert set(found) == {"NM302", "NM306"}
    assert "quantized anew" in found["NM302"]["message"]
    assert "`n1`" in found["NM302"]["why"]
    assert " becomes " in found["NM302"]["why"]
    assert ">" not in found["NM302"]["why"]
    assert result.json["written"] == ["out.net"]
    assert [layer["exponent"] for layer in result.json["quantization"]["layers"]] == [0, 0]
    assert any("% of what the output sends" in d["message"] for d in result.json["diagnostics"])
    # Biases are whole multiples of 64 state units, which the file counts.
    with h5py.File("out.net") as file:
        assert np.any(file["layer/0/bias"][()])


def test_strict_writes_nothing_beside_a_warning(biased: Path, nmap: Runner) -> None:
    result = nmap("export", biased, "--target", "loihi2", "-o", "out.net", "--strict")
    assert result.status == 1
    assert not Path("out.net").exists()


def test_a_bundle_is_exported_as_deployed(integers: Path, nmap: Runner) -> None:
    assert nmap("deploy", integers, "--target", "loihi2", "-o", "bundle", "--no-verify", "--partitioner", "greedy").status == 0
    result = nmap("export", "bundle", "-o", "out.net")
    assert result.status == 0, result.err
    np.testing.assert_array_equal(weights(Path("out.net")), weights(integers))
    for words, named in ((["--bits", "4"], "options"), (["--target", "loihi2", "--dt", "1ms"], "target, --dt")):
        refused = nmap("export", "bundle", "-o", "other.net", *words)
        assert refused.status == 2
        assert f"{named}: a bundle settles" in " ".join(refused.err.split())
    assert not Path("other.net").exists()


def test_a_bundle_of_another_form_names_the_command(biased: Path, nmap: Runner) -> None:
    assert nmap(
        "deploy", biased, "--target", "loihi2", "-o", "bundle", "--no-verify", "--partitioner", "greedy", "--bits", "7"
    ).status == 0
    result = nmap("export", "bundle", "-o", "out.net", "--print", "json")
    assert result.status == 2
    last = result.json["diagnostics"][-1]
    command = "nmap export bundle/network/biased.nir --target loihi2 --bits 7 -o FILE"
    assert last["help"] == [f"quantize the network anew for the file: {command}"]
    assert any("has no initial state: `n1`, `n2`" in d["message"] for d in result.json["diagnostics"])
    assert not Path("out.net").exists()
    again = nmap(*command.replace("FILE", "out.net").split()[1:], "-q")
    assert again.status == 0


def test_what_no_form_can_hold_is_refused(work: Path, nmap: Runner) -> None:
    rng = np.random.default_rng(5)
    nodes = {
        "input": port(4), "w1": linear(rng.normal(0.3, 1, (5, 4))), "n1": lif(5), "w2": linear(rng.normal(0.3, 1, (3, 5))), "n2": lif(3),
        "skip": linear(rng.normal(0.3, 1, (3, 4))), "output": sink(3),
    }
    edges = [*chain("input", "w1", "n1", "w2", "n2", "output"), ("input", "skip"), ("skip", "n2")]
    write_nir(work / "skip.nir", nodes, edges, {"dt": 1e-4, "reset_mechanism": "zero"})
    result = nmap("export", "skip.nir", "--target", "loihi2", "-o", "out.net")
    assert result.status == 2
    told = " ".join(result.err.split())
    assert "has no population that several others read: `input`" in told
    assert "has no population that reads several others: `n2`" in told
    assert not Path("out.net").exists()


@pytest.mark.parametrize(("words", "said"), [
    (["small.net", "-o", "out.net"], "a network file is exported for a target"),
    (["small.net", "--target", "toy", "-o", "out.net"], "has no file format that nmap writes"),
    (["small.net", "--target", "loihi2", "--format", "onnx", "-o", "out.net"], "`format` is `onnx`, which is none of `netx`"),
    (["small.net", "--target", "loihi2", "-o", "none/out.net"], "cannot be written"),
    (["small.net", "--target", "loihi2", "-o", "small.net"], "cannot be written"),
    (["small.net", "--target", "loihi2"], "output"),
    (["none.net", "--target", "loihi2", "-o", "out.net"], "none.net"),
])
def test_wrong_use(integers: Path, nmap: Runner, words: list[str], said: str) -> None:
    result = nmap("export", *words)
    assert result.status == 2
    assert said in " ".join(result.err.split())
    assert sorted(path.name for path in Path().iterdir()) == [integers.name]


def test_a_file_that_differs_is_not_written(integers: Path, nmap: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(network, spec, findings):
        first = network.projections[0]
        weaker = first.connectivity.with_weights(first.connectivity.weights // 4 * 2)
        return original(type(network)(
            network.populations, (type(first)(
                first.name, first.source, first.target, weaker, first.format, first.delay, first.where
            ), *network.projections[1:]), network.inputs, network.outputs,
        ), spec, findings)

    original = loihi2_netx.netx_file
    monkeypatch.setattr(loihi2_netx, "netx_file", broken)
    result = nmap("export", integers, "--target", "loihi2", "-o", "out.net")
    assert result.status == 3
    assert "NM701" in result.err
    assert not Path("out.net").exists()


def test_states_that_saturate_are_no_difference(work: Path, nmap: Runner) -> None:
    """The chip's voltage ends at -(2^23 - 1), which real numbers do not: the file is compared at the fixed level then."""
    weight = np.array([[-254] * 6 + [254] * 6], np.float32)
    write_netx(work / "deep.net", [{"type": "dense", "shape": np.array([1]), "weight": weight, "neuron": cuba(v_decay=0, threshold=9)}])
    x = np.zeros((1, 360, 12), np.uint8)
    x[:, :160, :6], x[:, 160:, 6:] = 1, 1
    np.savez("s.npz", inputs=x)
    result = nmap("export", "deep.net", "--target", "loihi2", "-o", "out.net", "--input", "s.npz")
    assert result.status == 0, result.err
    told = " ".join(result.err.split())
    # 160 steps of -1524 leave v at -131071.98, from where 87 steps of 1524 reach the threshold; without an end it would be 161 steps.
    # Of the 200 columns that lift it 199 act within the samples' 360 steps, since a layer takes one.
    assert "the file at the fixed level" in told
    assert "sends what the quantized network sends, 113 messages" in told


def test_a_target_that_says_nothing_is_a_defect(integers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(TARGET), "export", lambda *_: None)
    with pytest.raises(TypeError, match="neither exports nor says why not"):
        flow.export(integers, format="netx", target="loihi2")


def test_from_python(integers: Path) -> None:
    made = package.export(integers, "out.net", target="loihi2")
    assert made.status == "ok"
    assert any(d.code == "NM604" for d in made.outcome.diagnostics)
    np.testing.assert_array_equal(weights(Path("out.net")), weights(integers))
    with pytest.raises(NmapError, match="NM004"):
        package.export(integers, "other.net")
    assert not Path("other.net").exists()


def test_samples_are_taken(integers: Path, nmap: Runner) -> None:
    rng = np.random.default_rng(6)
    np.savez("s.npz", inputs=rng.integers(0, 4, (3, 9, 6)))
    result = nmap("export", integers, "--target", "loihi2", "-o", "out.net", "--input", "s.npz", "--print=json")
    assert result.status == 0
    told = [d["message"] for d in json.loads(result.out)["diagnostics"]]
    assert any("input_message_bits=2" in text for text in told)


def test_vendor_files_need_no_notes() -> None:
    assert VendorFile(b"x").notes == ()


def test_the_plain_form_is_no_choice_of_a_deployment() -> None:
    assert Options(plain=True).to_json() == Options().to_json()


def test_a_target_without_a_format_is_told_before_its_rules(work: Path, nmap: Runner) -> None:
    # The toy chip takes no decays of this kind, and a file is not even read.
    result = nmap("export", "none.nir", "--target", "toy", "-o", "out.net")
    assert result.status == 2
    assert "has no file format that nmap writes" in " ".join(result.err.split())
    assert result.err.count("error[") == 1
    assert not list(work.iterdir())


def test_nothing_is_exported_into_a_bundle(integers: Path, nmap: Runner) -> None:
    assert nmap("deploy", integers, "--target", "loihi2", "--stop-after", "emit", "-o", "out", "--no-verify").status == 0
    for place in ("out/new.net", "out/program.h5"):
        result = nmap("export", integers, "--target", "loihi2", "-o", place)
        assert (result.status, "NM601" in result.err) == (2, True)
    assert not Path("out/new.net").exists()
