from __future__ import annotations

import hashlib
import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap import samples
from nmap.connectivity import Dense
from nmap.diagnostics import Findings, NmapError
from nmap.network import Conventions, Network, Neuron, Population, Projection, Provenance
from nmap.samples.archive import Archive, Keep

_HERE = Provenance("net.nir", "/")


@pytest.fixture
def network() -> Network:
    one, zero = np.ones(3), np.zeros(3)
    populations = (
        Population("in", (1, 2, 4), None, _HERE),
        Population("n", (3,), Neuron("IF", zero, one, one, one, zero, one, zero), _HERE),
    )
    edge = Projection("w", "in", "n", Dense(np.ones((3, 8))), None, 0, _HERE)
    return Network("net.nir", "nir", "", populations, (edge,), ("in",), ("n",), Conventions(1.0))


def _inputs(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, shape or (5, 6, 1, 2, 4)).astype(np.uint8)


def _write(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, np.int8, np.uint16])
def test_integers_of_any_type_are_read(tmp_path: Path, network: Network, dtype: Any) -> None:
    path = _write(tmp_path / "s.npz", inputs=_inputs().astype(dtype), labels=np.array([0, 1, 2, 0, 1], np.uint8))
    loaded = samples.load(path, network)
    np.testing.assert_array_equal(loaded.inputs, _inputs())
    assert loaded.labels is not None
    assert (loaded.inputs.dtype, loaded.labels.dtype, loaded.labels.tolist()) == (np.int32, np.int64, [0, 1, 2, 0, 1])
    assert not loaded.inputs.flags.writeable
    assert (loaded.name, loaded.sha256) == ("s.npz", hashlib.sha256(path.read_bytes()).hexdigest())


def test_labels_are_optional_and_arrays_that_nothing_reads_are_told_once(tmp_path: Path, network: Network) -> None:
    loaded = samples.load(_write(tmp_path / "s.npz", inputs=_inputs(), extra=np.zeros(3), foo=1, offsets=[0, 1]), network)
    assert loaded.labels is None
    (note,) = loaded.diagnostics
    assert (note.code, note.severity) == ("NM803", "note")
    assert note.message == "`extra`, `foo` and `offsets` of the samples are not read"


@pytest.mark.parametrize(("name", "meant"), [
    ("lables", "labels"), ("Labels", "labels"), ("lebel", "label"), ("step", "steps"), ("DT", "dt"), ("label.n", "label"),
])
def test_misspelt_names_are_warned_of(tmp_path: Path, network: Network, name: str, meant: str) -> None:
    path = _write(tmp_path / "s.npz", **{"inputs": _inputs(), name: np.zeros(5, int), "foo": 1})
    (warning,) = samples.load(path, network).diagnostics
    assert (warning.code, warning.severity) == ("NM803", "warning")
    assert f"`{name}`" in warning.message
    assert "`foo`" in warning.message
    assert warning.help == (f"did you mean `{meant}`? Then name `{name}` so",)


def test_a_name_that_is_given_too_is_no_misspelling(tmp_path: Path, network: Network) -> None:
    path = _write(tmp_path / "s.npz", inputs=_inputs(), labels=np.zeros(5, int), lables=np.zeros(5, int), input=1)
    (note,) = samples.load(path, network).diagnostics
    assert (note.severity, note.help) == ("note", ())


def test_misspelt_arrays_of_events(tmp_path: Path, network: Network) -> None:
    path = _write(tmp_path / "s.npz", t=[0, 1], index=[0, 1], offset=[0, 1, 2], values=[1, 1])
    (warning,) = [d for d in samples.load(path, network).diagnostics if d.severity == "warning"]
    assert warning.help == ("did you mean `offsets`? Then name `offset` so", "did you mean `value`? Then name `values` so")


def test_what_scripts_store_beside_samples_is_no_noise(tmp_path: Path, network: Network) -> None:
    beside = {"spikes": _inputs(), "counts.n": np.ones(3), "reference_spikes": np.ones(3), "reference_accuracy": 0.9}
    assert samples.load(_write(tmp_path / "s.npz", inputs=_inputs(), **beside), network).diagnostics == ()


def test_many_and_hostile_names_are_shown_safely_and_in_part(tmp_path: Path, network: Network) -> None:
    path = _write(tmp_path / "s.npz", inputs=_inputs())
    with zipfile.ZipFile(path, "a") as file:
        for k in range(3000):
            file.writestr(f"{k:04d}" + "x" * 500, b"")
        file.writestr("\x1b[31mred", b"")
    (note,) = samples.load(path, network).diagnostics
    assert "and 2993 more" in note.message
    assert len(note.message) < 1000
    assert note.message.isprintable()


@pytest.mark.parametrize(("low", "high", "told"), [(0, 1, False), (1, 1, False), (-1, 1, True), (0, 7, True), (-3, 0, True)])
def test_values_other_than_0_and_1_are_told_once(tmp_path: Path, network: Network, low: int, high: int, told: bool) -> None:
    values = np.zeros((5, 6, 1, 2, 4), np.int16)
    values[1, 2], values[4, 0] = low, high
    loaded = samples.load(_write(tmp_path / "s.npz", inputs=values), network)
    assert [(d.code, d.severity) for d in loaded.diagnostics] == ([("NM803", "note")] if told else [])
    for note in loaded.diagnostics:
        assert f"from {low} to {high}" in note.message
        assert "graded spikes" in note.message
        assert "current" in str(note.why)
    # Only what is run counts: the first value lies in the third step, the second in the first.
    short = samples.load(tmp_path / "s.npz", network, 1).diagnostics
    assert [d.data for d in short] == ([{"low": min(high, 0), "high": max(high, 0)}] if high not in (0, 1) else [])


def _refused(path: Path, network: Network, *codes: str) -> tuple[Any, ...]:
    with pytest.raises(NmapError) as caught:
        samples.load(path, network)
    found = caught.value.diagnostics
    assert [d.code for d in found] == list(codes), str(caught.value)
    return found


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((5, 6, 8), "reshape(5, 6, 1, 2, 4)"),
        ((5, 6, 4, 2, 1), "transpose(0, 1, 4, 3, 2)"),
        ((5, 6, 2, 4, 1), "transpose(0, 1, 4, 2, 3)"),
        ((5, 1, 2, 4, 6), "np.moveaxis(inputs, -1, 1)"),
        ((5, 1, 2, 4), "inputs[:, None]"),
        ((5, 6, 1, 2, 5), None),
        ((5,), None),
    ],
)
def test_wrong_shapes_say_what_is_needed_and_how_to_get_there(
    tmp_path: Path, network: Network, shape: tuple[int, ...], remedy: str | None
) -> None:
    (found,) = _refused(_write(tmp_path / "s.npz", inputs=_inputs(*shape)), network, "NM802")
    assert "(samples, time, 1, 2, 4)" in found.message
    assert str(shape) in found.message
    assert remedy is None or remedy in found.help[0]


def test_the_transpose_remedy_works(tmp_path: Path, network: Network) -> None:
    wrong = _inputs(5, 6, 2, 4, 1)
    (found,) = _refused(_write(tmp_path / "s.npz", inputs=wrong), network, "NM802")
    assert "transpose(0, 1, 4, 2, 3)" in found.help[0]
    samples.load(_write(tmp_path / "t.npz", inputs=wrong.transpose(0, 1, 4, 2, 3)), network)


@pytest.mark.parametrize(
    ("inputs", "word", "remedy"),
    [
        (_inputs().astype(np.float32), "float32", "inputs.astype(np.uint8)"),
        (_inputs().astype(np.float64) - 300, "float64", "inputs.astype(np.int32)"),
        (_inputs() * 0.5, "fractions", "encode"),
        (np.where(np.arange(240).reshape(5, 6, 1, 2, 4) == 1, np.nan, 0), "nan at (0, 0, 0, 0, 1)", None),
        (_inputs().astype(complex), "complex128", None),
        (_inputs().astype(np.int64) << 40, "32-bit", None),
        (_inputs(0, 6, 1, 2, 4), "no samples", None),
        (_inputs(5, 0, 1, 2, 4), "no time steps", None),
    ],
)
def test_wrong_values(tmp_path: Path, network: Network, inputs: np.ndarray, word: str, remedy: str | None) -> None:
    (found,) = _refused(_write(tmp_path / "s.npz", inputs=inputs), network, "NM802")
    assert word in found.message
    assert remedy is None or remedy in found.help[0]


@pytest.mark.parametrize(
    ("labels", "word"),
    [
        (np.array([0, 1, 2, 3, 0]), "label 3 of sample 3"),
        (np.array([0, 1, -1, 0, 0]), "label -1 of sample 2"),
        (np.array([0, 1, 2]), "(3,)"),
        (np.eye(5, 3, dtype=int), "(5,)"),
        (np.zeros(5), "float64"),
    ],
)
def test_wrong_labels(tmp_path: Path, network: Network, labels: np.ndarray, word: str) -> None:
    (found,) = _refused(_write(tmp_path / "s.npz", inputs=_inputs(), labels=labels), network, "NM802")
    assert word in found.message


def test_all_problems_of_a_file_are_reported_together(tmp_path: Path, network: Network) -> None:
    _refused(
        _write(tmp_path / "s.npz", inputs=_inputs(5, 6, 8).astype(float), labels=np.array([9, 0, 0, 0, 0])),
        network,
        "NM802",
        "NM802",
        "NM802",
    )


def test_files_that_are_no_samples(tmp_path: Path, network: Network) -> None:
    np.save(tmp_path / "a.npy", _inputs())
    (tmp_path / "text.npz").write_text("hello")
    for path, word in (
        (tmp_path / "a.npy", "not a .npz"),
        (tmp_path / "text.npz", "not a .npz"),
        (tmp_path / "no.npz", "does not exist"),
        (tmp_path, "folder"),
    ):
        (found,) = _refused(path, network, "NM801")
        assert word in found.message
    (found,) = _refused(_write(tmp_path / "k.npz", images=_inputs()), network, "NM801")
    assert "`images`" in found.why


def test_pickles_are_never_loaded(tmp_path: Path, network: Network) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    _refused(_write(tmp_path / "s.npz", inputs=np.array([Trap()], object)), network, "NM801")
    assert not (tmp_path / "ran").exists()


def _archive(path: Path, header: dict[str, Any], data: bytes, cut: int = 0) -> Path:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, header)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inputs.npy", buffer.getvalue() + data)
    if cut:
        content = path.read_bytes()
        path.write_bytes(content[:60] + bytes(cut) + content[60 + cut :])
    return path


def test_declared_sizes_are_checked_before_memory_is_asked_for(tmp_path: Path, network: Network) -> None:
    for shape in ((2**20, 2**20, 1, 2, 4), (2**10, 2**10, 1, 2, 4)):
        path = _archive(tmp_path / "s.npz", {"descr": "|u1", "fortran_order": False, "shape": shape}, bytes(100))
        _refused(path, network, "NM801")


def test_damaged_archives(tmp_path: Path, network: Network) -> None:
    path = _archive(tmp_path / "s.npz", {"descr": "|u1", "fortran_order": False, "shape": (1, 2, 1, 2, 4)}, bytes(range(16)), cut=30)
    _refused(path, network, "NM801")
    whole = _write(tmp_path / "t.npz", inputs=_inputs()).read_bytes()
    for kept in (0.4, 0.8, 0.97):
        (tmp_path / "u.npz").write_bytes(whole[: int(len(whole) * kept)])
        _refused(tmp_path / "u.npz", network, "NM801")


def test_member_that_is_no_array_is_told_from_a_missing_one(tmp_path: Path, network: Network) -> None:
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as archive:
        archive.writestr("inputs", b"1 0 1")
    with pytest.raises(NmapError, match="NM801") as caught:
        samples.load(tmp_path / "s.npz", network)
    assert "is not in NumPy's format" in str(caught.value.diagnostics[0].why)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_arrays_that_numpy_would_not_write_are_refused_before_they_are_unpacked(
    tmp_path: Path, network: Network, method: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    np.save(buffer, _inputs())
    with zipfile.ZipFile(tmp_path / "s.npz", "w", method) as file:
        file.writestr("inputs.npy", buffer.getvalue())
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    (found,) = _refused(tmp_path / "s.npz", network, "NM801")
    assert f"method {method}" in found.message
    assert found.help == ("write the file with `np.savez_compressed`",)


def test_the_length_of_a_header_is_checked_before_it_is_unpacked(tmp_path: Path, network: Network) -> None:
    """NumPy reads all of a header before it looks at its length, of which version 2 of the format has 4 bytes."""
    length = 2**26
    with zipfile.ZipFile(tmp_path / "s.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("inputs.npy", b"\x93NUMPY\x02\x00" + length.to_bytes(4, "little") + b" " * length)
    tracemalloc.start()
    try:
        (found,) = _refused(tmp_path / "s.npz", network, "NM801")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert f"{length} bytes" in str(found.why)
    assert peak < 2**23


@pytest.mark.parametrize("shape", [(10**300, 0), (1, -(10**4000)), (10**18,) * 30, (1,) * 3000, (2**62, 2**62, 1, 2, 4)])
def test_shapes_with_huge_numbers_are_told_in_short(tmp_path: Path, network: Network, shape: tuple[int, ...]) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode()
    with zipfile.ZipFile(tmp_path / "s.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("inputs.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    (found,) = _refused(tmp_path / "s.npz", network, "NM801")
    assert len(found.message) < 200
    assert len(str(found.why)) < 250


def test_names_of_members_are_printable(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as file:
        file.writestr("\x1b[31mred.npy", b"")
        file.writestr("plain.npy", b"")
    assert Archive(tmp_path / "s.npz", Findings(), Keep(0)).keys == ("\\x1b[31mred", "plain")


def test_records_are_told_without_the_names_of_their_fields(tmp_path: Path, network: Network) -> None:
    records = np.zeros((5, 6, 1, 2, 4), [("x" * 9000, "i4")])
    for found in _refused(_write(tmp_path / "s.npz", inputs=records, dt=np.zeros(1, records.dtype)), network, "NM802", "NM802"):
        assert "is of type record" in found.message
        assert len(found.message) < 120
