"""Event lists, NIRData, several inputs, and data sets larger than what may be in memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nmap import samples
from nmap.connectivity import Dense
from nmap.diagnostics import NmapError
from nmap.network import Conventions, Network, Neuron, Population, Projection, Provenance
from nmap.samples import archive
from tests.support import shared_data

_HERE = Provenance("net.nir", "/")


def network(shape: tuple[int, ...] = (2, 3, 4), dt: float | None = 1e-3, ports: tuple[str, ...] = ("in",), outputs: int = 1) -> Network:
    one, zero = np.ones(3), np.zeros(3)
    neuron = Neuron("IF", zero, one, one, one, zero, one, zero)
    names = ("n", "m")[:outputs]
    populations = (*(Population(name, shape, None, _HERE) for name in ports), *(Population(name, (3,), neuron, _HERE) for name in names))
    weights = Dense(np.ones((3, int(np.prod(shape)))))
    edges = tuple(Projection(f"{a}-{b}", a, b, weights, None, 0, _HERE) for a in ports for b in names)
    return Network("net.nir", "nir", "", populations, edges, ports, names, Conventions(dt))


def refused(path: Path, net: Network, *codes: str) -> tuple[Any, ...]:
    with pytest.raises(NmapError) as caught:
        samples.load(path, net)
    assert [d.code for d in caught.value.diagnostics] == list(codes), str(caught.value)
    return caught.value.diagnostics


def naive(events: list[tuple[int, int, int]], shape: tuple[int, int, int], *, binary: bool = False) -> np.ndarray:
    """One event after the other: (sample, step, input)."""
    dense = np.zeros(shape, int)
    for event in events:
        dense[event] = 1 if binary else dense[event] + 1
    return dense


def random_events(seed: int, counts: tuple[int, ...] = (7, 0, 30), steps: int = 9, size: int = 24) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    total = sum(counts)
    return {
        "t": rng.integers(0, steps, total), "index": rng.integers(0, size, total), "offsets": np.concatenate([[0], np.cumsum(counts)]),
    }


def listed(events: dict[str, np.ndarray]) -> list[tuple[int, int, int]]:
    sample = np.repeat(np.arange(events["offsets"].size - 1), np.diff(events["offsets"]))
    return list(zip(sample.tolist(), events["t"].tolist(), events["index"].tolist(), strict=True))


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_event_lists_become_what_one_event_after_the_other_gives(tmp_path: Path, seed: int, binary: bool) -> None:
    events = random_events(seed)
    np.savez(tmp_path / "e.npz", **events, steps=9, binary=binary)
    loaded = samples.load(tmp_path / "e.npz", network())
    expected = naive(listed(events), (3, 9, 24), binary=binary)
    np.testing.assert_array_equal(loaded.inputs.reshape(3, 9, 24), expected)
    assert (loaded.low, loaded.high, loaded.inputs.dtype) == (0, expected.max(), np.int32)
    note, *graded = loaded.diagnostics
    assert [d.data for d in graded] == ([{"low": 0, "high": expected.max()}] if expected.max() > 1 else [])
    cells = int(np.count_nonzero(expected))
    assert (note.code, note.data) == ("NM803", {"events": 37, "merged": 37 - cells, "largest": int(expected.max())})
    for size in (1, 2):
        chunks = [part["in"] for part in loaded.chunks(size)]
        assert [len(part) for part in chunks] == ([1, 1, 1] if size == 1 else [2, 1])
        np.testing.assert_array_equal(np.concatenate(chunks), loaded.inputs)


def test_polarity_is_the_channel_and_x_the_column(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", t=[0, 2], x=[3, 0], y=[1, 2], p=np.array([True, False]))
    loaded = samples.load(tmp_path / "e.npz", network())
    assert [tuple(place) for place in np.argwhere(loaded.inputs)] == [(0, 0, 1, 1, 3), (0, 2, 0, 2, 0)]
    assert loaded.inputs.shape == (1, 3, 2, 3, 4)


@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 4)])
def test_one_channel_needs_no_polarity(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "e.npz", t=[0], x=[3], y=[1])
    assert samples.load(tmp_path / "e.npz", network(shape)).inputs.reshape(3, 4)[1, 3] == 1


def test_values_are_added_up(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", t=[1, 1, 0], index=[5, 5, 0], value=np.array([3, -1, -7], np.int16))
    loaded = samples.load(tmp_path / "e.npz", network((6,)))
    np.testing.assert_array_equal(loaded.inputs[0], [[-7, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 2]])
    assert (loaded.low, loaded.high) == (-7, 2)


@pytest.mark.parametrize(
    ("key", "times", "dt", "steps"),
    [
        ("t_us", np.array([0, 999, 1000, 2001], np.uint32), 1e-3, [0, 0, 1, 2]),
        ("t_ms", np.array([0, 7, 29], np.uint16), 1e-3, [0, 7, 29]),
        ("t_ms", np.array([0, 7, 29]), 2e-3, [0, 3, 14]),
        ("t_s", np.array([0.0, 0.007, 0.029]), 1e-3, [0, 7, 29]),
        ("t_s", np.array([0.0, 0.007, 0.029], np.float32), 1e-3, [0, 7, 29]),
        ("t_s", np.arange(300) * 0.1, 0.1, list(range(300))),
        ("t_ns", np.array([0, 2**40], np.uint64), 1.0, [0, 1099]),
    ],
)
def test_times_are_divided_by_the_networks_time_step(
    tmp_path: Path, key: str, times: np.ndarray, dt: float, steps: list[int]
) -> None:
    np.savez(tmp_path / "e.npz", **{key: times}, index=np.zeros(times.size, int))
    loaded = samples.load(tmp_path / "e.npz", network((1,), dt))
    assert np.repeat(np.arange(loaded.steps), loaded.inputs[0, :, 0]).tolist() == steps
    assert f"{dt:g} s" in loaded.diagnostics[0].why


def test_times_of_a_network_that_counts_in_steps_need_a_time_step(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", t_ms=[0, 5], index=[0, 0])
    (found,) = refused(tmp_path / "e.npz", network((1,), None), "NM802")
    assert found.help[0] == "`--dt SECONDS` says how long a time step lasts"
    assert "`dt`" in found.help[1]
    np.savez(tmp_path / "f.npz", t_ms=[0, 5], index=[0, 0], dt=1e-3)
    loaded = samples.load(tmp_path / "f.npz", network((1,), None))
    assert loaded.steps == 6
    assert "`dt` of the samples" in loaded.diagnostics[0].why


@pytest.mark.parametrize("arrays", [{"inputs": np.ones((1, 2, 3), np.uint8)}, {"t": [0], "index": [0]}])
def test_another_time_step_than_the_networks_is_refused_with_both_numbers(tmp_path: Path, arrays: dict[str, Any]) -> None:
    np.savez(tmp_path / "s.npz", **arrays, dt=1e-4)
    (found,) = refused(tmp_path / "s.npz", network((3,), 1e-3), "NM802")
    assert "0.0001 s" in found.message
    assert "0.001 s" in found.message
    np.savez(tmp_path / "s.npz", **arrays, dt=np.float32(1e-3))
    assert samples.load(tmp_path / "s.npz", network((3,), 1e-3)).samples == 1


def test_steps_end_where_the_file_or_the_caller_says(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", t=[1, 1, 4], index=[0, 0, 2])
    assert samples.load(tmp_path / "e.npz", network((3,))).steps == 5
    cut, longer = (samples.load(tmp_path / "e.npz", network((3,)), steps) for steps in (4, 7))
    assert (cut.inputs[0, :, 2].tolist(), cut.steps, cut.high) == ([0] * 4, 4, 2)
    assert samples.load(tmp_path / "e.npz", network((3,)), 1).high == 0
    assert (longer.inputs[0, :, 2].tolist(), longer.steps) == ([0, 0, 0, 0, 1, 0, 0], 7)
    np.savez(tmp_path / "f.npz", t=[1, 4, 5], index=[0, 2, 2], steps=4)
    (found,) = refused(tmp_path / "f.npz", network((3,)), "NM802")
    assert "2 events" in found.message
    assert "step 5" in found.message


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"t": [-1, 2]}, ["before the start", "-1"]),
        ({"t": [0.0, 2.0]}, ["float64", "t.astype(np.int64)", "t_us"]),
        ({"t": [0.0, 0.5]}, ["fractions", "t_us"]),
        ({"t": [0.0, np.nan]}, ["nan at (1,)"]),
        ({"t": [0, 1, 2]}, ["`index` has shape (2,)"]),
        ({"index": [0, 3]}, ["outside 0..2", "event 1"]),
        ({"index": [0, -1]}, ["outside 0..2"]),
        ({"index": [0.0, 1.0]}, ["index.astype(np.int64)"]),
        ({"value": [0.5, 1.0]}, ["fractions"]),
        ({"value": [2**31, 0]}, ["32-bit"]),
        ({"value": [2**31 - 1, 2**31 - 1], "index": [0, 0], "t": [0, 0]}, ["32-bit"]),
        ({"offsets": [0, 1]}, ["must run from 0 to 2"]),
        ({"offsets": [0, 2, 1, 2]}, ["goes back from 2 to 1 at entry 2"]),
        ({"offsets": [0]}, ["shape (1,)"]),
        ({"offsets": [[0, 2]]}, ["shape (1, 2)"]),
        ({"offsets": [0.0, 2.0]}, ["float64", "offsets.astype(np.int64)"]),
        ({"binary": 2}, ["True or False"]),
        ({"steps": 0}, ["above 0"]),
        ({"steps": [3, 4]}, ["whole number"]),
        ({"dt": -1.0}, ["above 0"]),
        ({"dt": "x"}, ["seconds"]),
        ({"t": [0, 2**62]}, ["4.61169e+18 time steps of 3 inputs", "at most 4194304 can be run", "several samples", "--steps"]),
        ({"t": np.array([0, 2**64 - 1], np.uint64)}, ["1.84467e+19 time steps"]),
        ({"t": np.array([0, 2**40])}, ["1099511627777 time steps"]),
        ({"offsets": [0, 2**40, 2]}, ["goes back from 1099511627776 to 2 at entry 2"]),
        ({"offsets": [0, -1, 2]}, ["goes back from 0 to -1 at entry 1"]),
        ({"offsets": np.array([0, 2**64 - 1, 2], np.uint64)}, ["goes back from 18446744073709551615 to 2 at entry 2"]),
        ({"t": np.zeros(0, int), "index": np.zeros(0, int)}, ["no event"]),
        ({"labels": [0, 1]}, ["(1,) is needed"]),
        ({"label": 3}, ["label 3 of sample 0"]),
        ({"label": 0, "labels": [0]}, ["both label"]),
    ],
)
def test_what_is_wrong_with_event_lists_is_said(tmp_path: Path, changed: dict[str, Any], words: list[str]) -> None:
    np.savez(tmp_path / "e.npz", **{"t": [0, 2], "index": [0, 1], **changed})
    (found,) = refused(tmp_path / "e.npz", network((3,)), "NM802")
    assert all(word in f"{found.message} {found.help}" for word in words), found


def test_times_that_are_no_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", t_s=[0.0, np.nan, np.inf, -1.0], index=[0, 0, 0, 0])
    infinite, negative = refused(tmp_path / "e.npz", network((3,)), "NM802", "NM802")
    assert "2 of `t_s`" in infinite.message
    assert "-1.0 of event 3" in negative.message


@pytest.mark.parametrize(
    ("shape", "arrays", "words"),
    [
        ((2, 3, 4), {"x": [4], "y": [0], "p": [0]}, ["`x`", "0..3"]),
        ((2, 3, 4), {"x": [0], "y": [3], "p": [0]}, ["`y`", "0..2"]),
        ((2, 3, 4), {"x": [0], "y": [0], "p": [-1]}, ["(p > 0)"]),
        ((1, 3, 4), {"x": [0], "y": [0], "p": [1]}, ["leave `p` out"]),
        ((2, 3, 4), {"x": [0], "y": [0]}, ["lack `p`"]),
        ((24,), {"x": [0], "y": [0], "p": [0]}, ["store `index`"]),
        ((24,), {}, ["no place"]),
    ],
)
def test_places_outside_the_input(tmp_path: Path, shape: tuple[int, ...], arrays: dict[str, Any], words: list[str]) -> None:
    np.savez(tmp_path / "e.npz", t=[0], **arrays)
    (found,) = refused(tmp_path / "e.npz", network(shape), "NM802")
    assert all(word in f"{found.message} {found.help}" for word in words), found


def test_problems_of_several_arrays_come_together(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", t=[0, -3], x=[9, 0], y=[0, 7], p=[0, 5], labels=[8])
    assert len(refused(tmp_path / "e.npz", network(), "NM802", "NM802", "NM802", "NM802", "NM802")) == 5


def test_recorded_and_simulated_events() -> None:
    folder = shared_data() / "datasets"
    net = network((2, 34, 34), 1e-3)
    recorded = samples.load(folder / "real_nmnist_1sample.npz", Network(**{**_fields(net), "populations": _wide(net)}))
    with np.load(folder / "real_nmnist_1sample.npz") as file:
        t, x, y, p = (file[key].astype(int) for key in ("t_us", "x", "y", "p"))
    dense = np.zeros((312, 2, 34, 34), int)
    for event in zip(t // 1000, p, y, x, strict=True):
        dense[event] += 1
    np.testing.assert_array_equal(recorded.inputs[0], dense)
    assert recorded.labels is not None
    assert recorded.labels.tolist() == [4]
    simulated = samples.load(folder / "simulated_nmnist200.npz", Network(**{**_fields(net), "populations": _wide(net)}))
    frames = samples.load(folder / "simulated_nmnist100_frames.npz", Network(**{**_fields(net), "populations": _wide(net)}))
    assert (simulated.samples, simulated.steps, frames.steps) == (200, 290, 290)
    np.testing.assert_array_equal(simulated.first(8)["in"], frames.first(8)["in"])


def _fields(net: Network) -> dict[str, Any]:
    return {name: getattr(net, name) for name in net.__dataclass_fields__}


def _wide(net: Network) -> tuple[Population, ...]:
    """Ten outputs, as the labels of digits need."""
    one, zero = np.ones(10), np.zeros(10)
    return (net.populations[0], Population("n", (10,), Neuron("IF", zero, one, one, one, zero, one, zero), _HERE))


# ---- several inputs and outputs ---------------------------------------------------------------------------------------------------------


def test_each_input_has_its_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    left = rng.integers(0, 2, (4, 6, 3)).astype(np.uint8)
    np.savez(
        tmp_path / "s.npz",
        **{"inputs.left": left, "t.right": [0, 5, 5], "index.right": [2, 1, 1], "offsets.right": [0, 0, 1, 1, 3], "labels.m": [0, 1, 2, 0]},
    )
    loaded = samples.load(tmp_path / "s.npz", network((3,), ports=("left", "right"), outputs=2))
    (part,) = loaded.chunks()
    np.testing.assert_array_equal(part["left"], left)
    expected = np.zeros((4, 6, 3), int)
    expected[1, 0, 2], expected[3, 5, 1] = 1, 2
    np.testing.assert_array_equal(part["right"], expected)
    assert (loaded.scored, loaded.high, list(loaded.shapes)) == ("m", 2, ["left", "right"])
    with pytest.raises(ValueError, match="too many"):
        _ = loaded.inputs


def test_inputs_that_do_not_agree(tmp_path: Path) -> None:
    net = network((3,), ports=("left", "right"))
    ones = np.ones((4, 6, 3), np.uint8)
    np.savez(tmp_path / "a.npz", inputs=ones)
    (found,) = refused(tmp_path / "a.npz", net, "NM802")
    assert "`inputs.left`, `inputs.right`" in found.help[0]
    np.savez(tmp_path / "b.npz", **{"inputs.left": ones, "inputs.right": ones[:3, :5]})
    assert len(refused(tmp_path / "b.npz", net, "NM802", "NM802")) == 2
    np.savez(tmp_path / "c.npz", **{"inputs.left": ones[:1], "t.right": [6], "index.right": [0]})
    (found,) = refused(tmp_path / "c.npz", net, "NM802")
    assert "7 time steps" in found.message


_DENSE = np.ones((1, 2, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"t": [0], "t_ms": [0], "index": [0]}, ["`t` and `t_ms` both"]),
        ({"t_us": [0], "t_ms": [0], "index": [0]}, ["`t_ms` and `t_us` both"]),
        ({"t": [0], "t_s": [0], "t_ms": [0], "index": [0]}, ["`t`, `t_s` and `t_ms` all", "`in`"]),
        ({"t": [0], "index": [0], "x": [0]}, ["`index` and `x` both", "where"]),
        ({"t": [0], "index": [0], "x": [0], "y": [0], "p": [0]}, ["`index`, `x`, `y` and `p` all"]),
        ({"inputs": _DENSE, "t": [0], "index": [0]}, ["`inputs` and `t` both"]),
        ({"inputs": _DENSE, "t_ms": [0], "x": [0], "y": [0]}, ["`inputs` and `t_ms` both"]),
        ({"inputs": _DENSE, "inputs.in": _DENSE}, ["`inputs.in` and `inputs` both", "samples of `in`"]),
        ({"inputs.in": _DENSE, "t": [0], "index": [0]}, ["`inputs.in` and `t` both"]),
        ({"t.in": [0], "index.in": [0], "t": [0], "index": [0]}, ["`t.in` and `t` both"]),
        ({"inputs": _DENSE, "steps": 5}, ["2 time steps", "states 5"]),
    ],
)
def test_files_that_contradict_themselves_are_refused(tmp_path: Path, arrays: dict[str, Any], words: list[str]) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    (found,) = refused(tmp_path / "s.npz", network((3,)), "NM802")
    assert all(word in found.message for word in words), found
    assert found.help


def test_samples_for_no_input_beside_those_of_each(tmp_path: Path) -> None:
    net = network((3,), ports=("left", "right"))
    for more in ({"inputs": _DENSE}, {"t": [0], "index": [0]}):
        np.savez(tmp_path / "s.npz", **{"inputs.left": _DENSE, "inputs.right": _DENSE}, **more)
        (found,) = refused(tmp_path / "s.npz", net, "NM802")
        assert f"`{next(iter(more))}` and `inputs.left` both" in found.message


def test_agreeing_statements_are_no_contradiction(tmp_path: Path) -> None:
    """Places without times are no event list, and a stated number of steps may be right."""
    np.savez(tmp_path / "s.npz", inputs=_DENSE, steps=2, x=[1], y=[0])
    loaded = samples.load(tmp_path / "s.npz", network((3,)))
    (note,) = loaded.diagnostics
    assert (note.severity, note.message) == ("note", "`x` and `y` of the samples are not read")


@pytest.mark.parametrize(
    ("ports", "arrays", "words", "remedy"),
    [
        (("in",), {"inputs.foo": _DENSE}, ["`inputs.foo` names no input", "its only input is `in`"], "name it `inputs.in`"),
        (("in",), {"inputs": _DENSE, "inputs.foo": _DENSE}, ["`inputs.foo` names no input"], "leave it out"),
        (("in",), {"t.foo": [0], "index.foo": [0]}, ["`t.foo` names no input"], "name it `t.in`"),
        (("left", "right"), {"inputs.left": _DENSE, "inputs.rihgt": _DENSE}, ["its inputs are `left` and `right`"], "`inputs.right`"),
        (("left", "right"), {"inputs.a": _DENSE, "inputs.b": _DENSE}, ["`inputs.a` and `inputs.b` name no input"], None),
    ],
)
def test_samples_of_an_unknown_input_name_the_inputs(
    tmp_path: Path, ports: tuple[str, ...], arrays: dict[str, Any], words: list[str], remedy: str | None
) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    (found,) = refused(tmp_path / "s.npz", network((3,), ports=ports), "NM802")
    assert all(word in found.message for word in words), found
    assert (remedy is None and not found.help) or remedy in found.help[0]


def test_misspelt_samples_are_recognised(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", input=_DENSE)
    (found,) = refused(tmp_path / "a.npz", network((3,)), "NM801")
    assert found.help[0] == "did you mean `inputs`? Then name `input` so"
    np.savez(tmp_path / "b.npz", **{"inputs.left": _DENSE, "input.right": _DENSE})
    (found,) = refused(tmp_path / "b.npz", network((3,), ports=("left", "right")), "NM802")
    assert found.help[0] == "did you mean `inputs.right`? Then name `input.right` so"


@pytest.mark.parametrize(("outputs", "words"), [(1, "its only output is `n`"), (2, "its outputs are `n` and `m`")])
def test_labels_of_an_unknown_output_name_the_outputs(tmp_path: Path, outputs: int, words: str) -> None:
    for more in ({}, {"labels": [0]}):
        np.savez(tmp_path / "s.npz", **{"inputs": _DENSE, "labels.X": [0]}, **more)
        (found,) = refused(tmp_path / "s.npz", network((3,), outputs=outputs), "NM802")
        assert "`labels.X` names no output" in found.message
        assert words in found.message
        assert found.help


def test_labels_of_several_outputs_are_refused_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", **{"inputs": _DENSE, "labels.n": [0], "labels.m": [0], "labels": [0]})
    (found,) = refused(tmp_path / "s.npz", network((3,), outputs=2), "NM802")
    assert "`labels`, `labels.n` and `labels.m` all label" in found.message


# ---- NIRData ----------------------------------------------------------------------------------------------------------------------------


def nirdata(path: Path, node: str = "in", observable: str = "spikes", kind: str | None = "TimeGriddedData", /, **entries: Any) -> Path:
    """Write one observable as nir 1.0.8's `write_data` does; numbers become attributes, arrays datasets."""
    with h5py.File(path, "w") as file:
        file.attrs["__type__"] = "NIRGraphData"
        group = file.create_group(f"nodes/{node}")
        group.attrs["__type__"] = "NIRNodeData"
        group = group.create_group(f"observables/{observable}")
        if kind is not None:
            group.attrs["__type__"] = kind
        for name, value in entries.items():
            if isinstance(value, np.ndarray):
                group.create_dataset(name, data=value, compression="gzip")
            else:
                group.attrs[name] = value
    return path


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_time_gridded_data(tmp_path: Path, dtype: Any) -> None:
    data = np.random.default_rng(1).integers(0, 2, (5, 7, 24)).astype(dtype)
    loaded = samples.load(nirdata(tmp_path / "d.h5", data=data, dt=1e-3), network())
    np.testing.assert_array_equal(loaded.inputs.reshape(5, 7, 24), data)
    assert (loaded.high, loaded.labels, loaded.diagnostics) == (1, None, ())
    np.testing.assert_array_equal(samples.load(tmp_path / "d.h5", network(), 3).inputs.reshape(5, 3, 24), data[:, :3])


def test_event_data_is_binary_as_the_format_has_it(tmp_path: Path) -> None:
    idx = np.array([[0, 0, 2, -1], [1, -1, -1, -1]])
    time = np.array([[0.0, 0.0004, 0.003, np.inf], [0.0049, np.inf, np.inf, np.inf]])
    path = nirdata(tmp_path / "d.h5", "in", "any", "EventData", idx=idx, time=time, n_neurons=3, t_max=0.006)
    loaded = samples.load(path, network((3,)))
    expected = np.zeros((2, 6, 3), int)
    expected[0, 0, 0] = expected[0, 3, 2] = expected[1, 4, 1] = 1
    np.testing.assert_array_equal(loaded.inputs, expected)
    which, note = loaded.diagnostics
    assert note.data == {"events": 4, "merged": 1, "largest": 1}
    assert "observable `any`" in which.message


def test_valued_events(tmp_path: Path) -> None:
    idx, time = np.array([[0, 2, -1]]), np.array([[0.0, 0.001, np.inf]])
    path = nirdata(
        tmp_path / "d.h5", "in", "events", "ValuedEventData", idx=idx, time=time, value=np.array([[3.0, -2.0, 0.5]]), n_neurons=3,
        t_max=0.002,
    )
    loaded = samples.load(path, network((3,)))
    assert (loaded.inputs[0].tolist(), loaded.low, loaded.high) == ([[3, 0, 0], [0, 0, -2]], -2, 3)
    nirdata(
        path, "in", "s", "ValuedEventData", idx=np.array([[0, 0]]), time=np.array([[0.0, 0.0005]]), value=np.array([[1, 2]]), n_neurons=3,
        t_max=0.002,
    )
    (found,) = refused(path, network((3,)), "NM802")
    assert "keeps only the last" in found.why


_GOOD: dict[str, Any] = {"idx": np.array([[0, 1]]), "time": np.array([[0.0, 0.001]]), "n_neurons": 3, "t_max": 0.002}


@pytest.mark.parametrize(
    ("kind", "entries", "code", "word"),
    [
        ("TimeGriddedData", {"data": np.ones((1, 2, 3)), "dt": 1e-4}, "NM802", "0.0001 s"),
        ("TimeGriddedData", {"data": np.ones((1, 2, 4)), "dt": 1e-3}, "NM802", "4 neurons"),
        ("TimeGriddedData", {"data": np.ones((2, 3)), "dt": 1e-3}, "NM802", "(samples, time, neurons)"),
        ("TimeGriddedData", {"data": np.full((1, 2, 3), 0.5), "dt": 1e-3}, "NM802", "0.5 at (0, 0, 0)"),
        ("TimeGriddedData", {"data": np.full((1, 2, 3), np.nan), "dt": 1e-3}, "NM802", "nan"),
        ("TimeGriddedData", {"data": np.full((1, 2, 3), 2**40), "dt": 1e-3}, "NM802", "32-bit"),
        ("TimeGriddedData", {"data": np.ones((1, 2, 3), complex), "dt": 1e-3}, "NM107", "does not hold numbers"),
        ("TimeGriddedData", {"data": np.ones((1, 2, 3))}, "NM103", "`dt` is missing"),
        ("TimeGriddedData", {"data": np.ones((1, 2, 3)), "dt": -1.0}, "NM107", "above 0"),
        ("TimeGriddedData", {"data": np.ones((1, 2, 3)), "dt": "fast"}, "NM107", "not a number"),
        ("TimeGriddedData", {"dt": 1e-3}, "NM103", "holds nothing"),
        ("TimeGriddedData", {"data": np.zeros((0, 2, 3)), "dt": 1e-3}, "NM802", "(0, 2, 3)"),
        ("Voltages", {"v": np.ones(3)}, "NM103", "`v`"),
        ("EventData", {**_GOOD, "idx": np.array([[0, 3]])}, "NM802", "outside 0..2"),
        ("EventData", {**_GOOD, "idx": np.array([[0, -2]])}, "NM802", "is -2"),
        ("EventData", {**_GOOD, "idx": np.array([[0.0, 1.0]])}, "NM802", "float64"),
        ("EventData", {**_GOOD, "time": np.array([[0.0, np.inf]])}, "NM802", "not finite"),
        ("EventData", {**_GOOD, "time": np.array([[0.0, -1.0]])}, "NM802", "before"),
        ("EventData", {**_GOOD, "time": np.array([[0.0, 0.1]])}, "NM802", "after `t_max`"),
        ("EventData", {**_GOOD, "time": np.array([[0.0]])}, "NM802", "different shapes"),
        ("EventData", {**_GOOD, "n_neurons": 4}, "NM802", "4 neurons"),
        ("EventData", {**_GOOD, "t_max": 1e9}, "NM802", "can be run"),
        ("ValuedEventData", {**_GOOD, "value": np.array([[0.5, 1]])}, "NM802", "whole numbers"),
    ],
)
def test_what_is_wrong_with_nirdata_is_said(tmp_path: Path, kind: str | None, entries: dict[str, Any], code: str, word: str) -> None:
    (found,) = refused(nirdata(tmp_path / "d.h5", "in", "spikes", kind, **entries), network((3,)), code)
    assert word in f"{found.message}{found.why}"


def test_nirdata_of_other_nodes_and_several_observables(tmp_path: Path) -> None:
    (found,) = refused(nirdata(tmp_path / "d.h5", "lif", data=np.ones((1, 2, 3)), dt=1e-3), network((3,)), "NM802")
    assert "`lif`" in found.why
    path = nirdata(tmp_path / "d.h5", "in", "a", data=np.ones((1, 2, 3)), dt=1e-3)
    with h5py.File(path, "a") as file:
        file.copy("nodes/in/observables/a", "nodes/in/observables/b")
    refused(path, network((3,)), "NM802")
    with h5py.File(path, "a") as file:
        file.copy("nodes/in/observables/a", "nodes/in/observables/spikes")
    assert samples.load(path, network((3,))).samples == 1


def test_events_in_seconds_need_a_time_step(tmp_path: Path) -> None:
    path = nirdata(tmp_path / "d.h5", "in", "s", "EventData", **_GOOD)
    (found,) = refused(path, network((3,), None), "NM802")
    assert "how long a time step is" in found.message
    assert found.help[0] == "`--dt SECONDS` says how long a time step lasts"
    assert samples.load(path, network((3,), 1e-3)).steps == 2


def _voltage(values: np.ndarray) -> dict[str, Any]:
    return {"data": values, "dt": 1e-3}


def test_a_voltage_is_no_spike(tmp_path: Path) -> None:
    """Observables that are not named as spikes are taken where they are the only one and binary, which a note says."""
    path, net = tmp_path / "d.h5", network((3,))
    for values, words in (([[[0, 2, 1]]], "`voltage`, with values from 0 to 2"), ([[[0, -1, 1]]], "from -1 to 1")):
        (found,) = refused(nirdata(path, "in", "voltage", **_voltage(np.array(values))), net, "NM802")
        assert words in found.message
        assert "record the spikes" in found.help[0]
    (found,) = refused(nirdata(path, "in", "voltage", **_voltage(np.array([[[0, 0.25, 1]]]))), net, "NM802")
    assert "0.25" in found.message
    assert "only `voltage`" in found.why
    (found,) = refused(
        nirdata(path, "in", "u", "ValuedEventData", **{**_GOOD, "value": np.array([[1, 5]])}), net, "NM802",
    )
    assert "from 0 to 5" in found.message
    loaded = samples.load(nirdata(path, "in", "voltage", **_voltage(np.array([[[0, 1, 1]]]))), net)
    (note,) = loaded.diagnostics
    assert (note.code, note.severity) == ("NM803", "note")
    assert "`voltage` of the node `in` was read as spikes" in note.message


def test_the_observable_that_is_sent_is_found_beside_others(tmp_path: Path) -> None:
    path, net = tmp_path / "d.h5", network((3,))
    for name in ("spikes", "Output", "events"):
        nirdata(path, "in", name, **_voltage(np.array([[[0, 3, 1]]])))
        with h5py.File(path, "a") as file:
            file.copy(f"nodes/in/observables/{name}", "nodes/in/observables/voltage")
        which, graded = samples.load(path, net).diagnostics
        assert f"`{name}` of the node `in` was read as spikes, not the 1 other observable" in which.message
        assert graded.data == {"low": 0, "high": 3}
    with h5py.File(path, "a") as file:
        file.copy("nodes/in/observables/events", "nodes/in/observables/output")
    (found,) = refused(path, net, "NM802")
    assert "`events`, `output`, `voltage`" in found.message


def test_hostile_hdf5(tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    nirdata(other, data=np.ones((1, 2, 3)), dt=1e-3)
    path = tmp_path / "d.h5"

    def observable() -> Any:
        nirdata(path, data=np.ones((1, 2, 3)), dt=1e-3)
        return h5py.File(path, "a")

    with observable() as file:
        del file["nodes/in/observables/spikes/data"]
        file["nodes/in/observables/spikes/data"] = h5py.ExternalLink("other.h5", "/nodes/in/observables/spikes/data")
    refused(path, network((3,)), "NM109")
    with observable() as file:
        del file["nodes/in/observables"]
        file["nodes/in/observables"] = h5py.SoftLink("/nodes/in")
    assert "NM109" in [d.code for d in _codes(path, network((3,)))]
    with observable() as file:
        del file["nodes/in/observables/spikes/data"]
        file["nodes/in/observables/spikes"].create_dataset("data", (2**30, 2**20, 3), np.uint8, chunks=(1, 2**10, 3))
    refused(path, network((3,)), "NM103")
    with observable() as file:
        del file["nodes"]
    refused(path, network((3,)), "NM801")
    with h5py.File(path, "w") as file:
        file["weights"] = 1
    (found,) = refused(path, network((3,)), "NM801")
    assert "not NIRData" in found.message


def _codes(path: Path, net: Network) -> tuple[Any, ...]:
    with pytest.raises(NmapError) as caught:
        samples.load(path, net)
    return caught.value.diagnostics


# ---- larger than memory -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> int:
    """1 MiB for chunks, and nothing kept between passes."""
    for module in ("model", "dense", "nirdata", "stored"):
        monkeypatch.setattr(f"nmap.samples.{module}.CHUNK_BYTES", 2**20)
    for module in ("reader",):
        monkeypatch.setattr(f"nmap.samples.{module}.HELD_BYTES", 0)
    monkeypatch.setattr("nmap.samples.events._SCAN_BYTES", 2**20)
    monkeypatch.setattr("nmap.samples.events._BLOCK", 2**14)
    return 2**20


def _big(kind: str, path: Path) -> np.ndarray:
    """Write 400 samples of 40 steps of 200 inputs: 12.8 MB as dense 32-bit integers."""
    dense = (np.random.default_rng(5).random((400, 40, 200)) < 0.05).astype(np.uint8)
    if kind == "dense":
        np.savez_compressed(path, inputs=dense)
    elif kind == "events":
        sample, step, place = np.nonzero(dense)
        np.savez_compressed(path, t=step, index=place, offsets=np.searchsorted(sample, np.arange(401)), steps=40)
    else:
        nirdata(path, data=dense.astype(bool), dt=1e-3)
    return dense


@pytest.mark.parametrize("kind", ["dense", "events", "recording"])
def test_a_data_set_is_never_whole_in_memory(tmp_path: Path, kind: str, little_memory: int) -> None:
    dense = _big(kind, tmp_path / "s.npz")
    samples.load(tmp_path / "s.npz", network((200,)))  # imports and caches come before the measurement
    tracemalloc.start()
    try:
        loaded = samples.load(tmp_path / "s.npz", network((200,)))
        seen = 0
        for part in loaded.chunks():
            count = part["in"].shape[0]
            assert part["in"].nbytes <= little_memory
            np.testing.assert_array_equal(part["in"], dense[seen : seen + count])
            seen += count
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen == 400
    # Chunks, what they are unpacked from, and the counts of events; the whole would take 12.8 MB.
    assert peak < 8 * little_memory


def test_a_file_that_changes_between_passes_is_refused(tmp_path: Path, little_memory: int) -> None:
    path = tmp_path / "s.npz"
    _big("dense", path)
    loaded = samples.load(path, network((200,)))
    np.savez_compressed(path, inputs=np.zeros((400, 40, 200), np.uint8))
    with pytest.raises(NmapError, match="changed while"):
        list(loaded.chunks())


def test_fortran_order_and_foreign_byte_order(tmp_path: Path) -> None:
    dense = np.random.default_rng(3).integers(0, 300, (5, 6, 3)).astype(">u2")
    np.savez(tmp_path / "s.npz", inputs=np.asfortranarray(dense))
    np.testing.assert_array_equal(samples.load(tmp_path / "s.npz", network((3,))).inputs, dense)


def test_fortran_order_beyond_the_limit_says_what_to_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_TURNED_BYTES", 50)
    np.savez(tmp_path / "s.npz", inputs=np.asfortranarray(np.ones((5, 6, 3), np.uint8)))
    (found,) = refused(tmp_path / "s.npz", network((3,)), "NM801")
    assert "ascontiguousarray" in found.help[0]


def test_a_sample_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("model", "reader"):
        monkeypatch.setattr(f"nmap.samples.{module}.MAX_SAMPLE_BYTES", 4 * 17)
    np.savez(tmp_path / "s.npz", inputs=np.arange(90, dtype=np.uint8).reshape(5, 6, 3))
    (found,) = refused(tmp_path / "s.npz", network((3,)), "NM802")
    assert "6 time steps of 3 inputs; at most 5 can be run" in found.message
    assert found.help == ("cut it into several samples", "run its beginning with --steps")
    cut = samples.load(tmp_path / "s.npz", network((3,)), 5)
    np.testing.assert_array_equal(cut.inputs, np.arange(90).reshape(5, 6, 3)[:, :5])
    np.savez(tmp_path / "t.npz", inputs=np.ones((5, 5, 3), np.uint8))
    with pytest.raises(NmapError, match="NM004") as caught:
        samples.load(tmp_path / "t.npz", network((3,)), 2**40)
    assert caught.value.diagnostics[0].help == ("--steps 5 at most",)
    # Each input alone is within the limit.
    np.savez(tmp_path / "u.npz", **{f"inputs.{port}": np.ones((5, 3, 3), np.uint8) for port in "ab"})
    refused(tmp_path / "u.npz", network((3,), ports=("a", "b")), "NM802")


def test_the_beginning_of_a_long_list_of_events_can_be_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", t=[1, 89_000_000], index=[0, 2])
    refused(tmp_path / "e.npz", network((3,)), "NM802")
    assert np.argwhere(samples.load(tmp_path / "e.npz", network((3,)), 4).inputs).tolist() == [[0, 1, 0]]
    recorded = {**_GOOD, "idx": np.array([[0, 2]]), "time": np.array([[1.5e-3, 8.9e4]]), "n_neurons": 3, "t_max": 9e4}
    nirdata(tmp_path / "d.h5", "in", "s", "EventData", **recorded)
    (found,) = refused(tmp_path / "d.h5", network((3,)), "NM802")
    assert "90000000 time steps" in found.message
    assert np.argwhere(samples.load(tmp_path / "d.h5", network((3,)), 4).inputs).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("kind", ["dense", "events", "recording"])
def test_one_long_sample_is_read_piece_by_piece(tmp_path: Path, kind: str, little_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """4 MiB as stored and as int32; the counts of its events alone took 16 MiB."""
    monkeypatch.setattr("nmap.samples.dense._BLOCK", 2**14)
    monkeypatch.setattr("nmap.samples.events._COUNTED", 2**16)
    dense = (np.random.default_rng(8).random((1, 2**20, 2)) < 0.1).astype(np.int16)
    path, net = tmp_path / "s.npz", network((2,))
    if kind == "dense":
        np.savez_compressed(path, inputs=dense)
    elif kind == "events":
        _, step, place = np.nonzero(dense)
        np.savez_compressed(path, t=step, index=place, value=np.full(step.size, 3), steps=2**20)
    else:
        nirdata(path, data=dense.astype(bool), dt=1e-3)
    samples.load(path, net, 4)
    tracemalloc.start()
    try:
        loaded = samples.load(path, net)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(loaded.inputs, dense * (3 if kind == "events" else 1))
    assert peak < 6 * little_memory


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("block", [5, 2**20])
@pytest.mark.parametrize("valued", [False, True])
@pytest.mark.parametrize("counted", [1, 100, 2**24])
@pytest.mark.parametrize("sparse", [0, 10**9])
def test_what_events_become_does_not_depend_on_how_they_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, binary: bool, block: int, valued: bool, counted: int, sparse: int
) -> None:
    for name, number in (("_BLOCK", block), ("_COUNTED", counted), ("_SPARSE", sparse), ("_SCAN_BYTES", 1)):
        monkeypatch.setattr(f"nmap.samples.events.{name}", number)
    events = random_events(3, size=4)
    value = np.random.default_rng(1).integers(-5, 6, 37)
    expected = np.zeros((3, 9, 4), int)
    if valued and not binary:
        for event, amount in zip(listed(events), value, strict=True):
            expected[event] += amount
    else:
        expected = naive(listed(events), (3, 9, 4), binary=binary)
    np.savez(tmp_path / "e.npz", **events, steps=9, binary=binary, **({"value": value} if valued else {}))
    loaded = samples.load(tmp_path / "e.npz", network((4,)))
    np.testing.assert_array_equal(loaded.inputs, expected)
    assert (loaded.low, loaded.high) == (min(0, expected.min()), expected.max())
    cells = len(set(listed(events)))
    assert loaded.diagnostics[0].data == {"events": 37, "merged": 37 - cells, "largest": max(0, expected.max())}


def test_numbers_from_a_file_are_short(tmp_path: Path) -> None:
    net = network((3,))
    path = nirdata(tmp_path / "d.h5", data=np.full((1, 2, 3), 1e300), dt=1e-3)
    (found,) = refused(path, net, "NM802")
    assert "values up to 1e+300;" in found.message
    (found,) = refused(nirdata(path, "in", "voltage", **_voltage(np.full((1, 2, 3), 1e300))), net, "NM802")
    assert "from 0 to 1e+300;" in found.message
    for end in (1e250, 1.7e308):
        (found,) = refused(nirdata(path, "in", "s", "EventData", **{**_GOOD, "t_max": end}), net, "NM802")
        assert len(found.message) < 120
    (found,) = refused(nirdata(path, "in", "s", "EventData", **{**_GOOD, "n_neurons": 1e300}), net, "NM802")
    assert "1e+300 neurons" in found.message
    for rate in (1e-320, 1e-200):
        np.savez(tmp_path / "e.npz", t_s=[0.0, 1e300], index=[0, 1], dt=rate)
        (found,) = refused(tmp_path / "e.npz", network((3,), None), "NM802")
        assert len(found.message) < 120
    np.savez(tmp_path / "e.npz", t_s=np.array([0, 2**64 - 1], np.uint64), index=[0, 1], dt=1e-320)
    refused(tmp_path / "e.npz", network((3,), None), "NM802")
    np.savez(tmp_path / "e.npz", t_s=np.array([0, 2], np.longdouble) * np.longdouble(1e308), index=[0, 1])
    refused(tmp_path / "e.npz", net, "NM802")


@pytest.mark.parametrize("header", [b"{'descr': '|u1', 'fortran_order': False, 'shape': (1,", b"((((", b"{[]: 1}", b"{'shape': (-1, 2)}"])
def test_headers_that_do_not_parse(tmp_path: Path, header: bytes) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "s.npz", "w") as file:
        file.writestr("inputs.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    refused(tmp_path / "s.npz", network((3,)), "NM801")
