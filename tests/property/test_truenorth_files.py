"""Round trips of TrueNorth's and RANC's files for any content."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nmap.diagnostics import Findings, NmapError
from nmap_truenorth.model.lists import compact, expand
from nmap_truenorth.model.model import Events, Model, differences
from nmap_truenorth.model.ranc import as_ranc, write_ranc
from nmap_truenorth.model.read import read_model, read_outputs_file, read_spikes
from nmap_truenorth.model.source import MalformedError, Scanner, uncommented
from nmap_truenorth.model.spikes import Connector, read_connectors, write_connectors, write_rawi3, write_rawo6, write_sfti, write_sfto
from nmap_truenorth.model.text import write_text
from tests.unit.truenorth.model_files import small_model


@st.composite
def lists(draw: st.DrawFn) -> list[int]:
    """Draw numbers in runs, as cores' lists have them."""
    numbers: list[int] = []
    for _ in range(draw(st.integers(0, 8))):
        first, step, times = draw(st.integers(-300, 300)), draw(st.integers(-4, 4)), draw(st.integers(1, 9))
        numbers += [first + step * k for k in range(times)]
    return numbers


@given(lists())
def test_compact_lists(numbers: list[int]) -> None:
    """What a list stands for is what it was made of; it is never longer."""
    items = compact(np.array(numbers, np.int64))
    assert expand(items, 100).tolist() == numbers
    assert len(items) <= len(numbers)


@given(st.lists(st.one_of(st.integers(), st.text("0123456789x:-+ ", max_size=12), st.none(), st.floats()), max_size=6))
def test_no_list_makes_a_traceback(items: list[object]) -> None:
    """A list of anything is read or malformed, and never long."""
    with suppress(MalformedError):
        assert expand(items, 64).size <= 64


def read(content: bytes, config: bytes | None = None) -> Model:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.json"
        path.write_bytes(content)
        if config is not None:
            (Path(folder) / "config.json").write_bytes(config)
        return read_model(path, Findings())


models = st.builds(
    small_model,
    cores=st.integers(1, 4),
    axons=st.shared(st.integers(1, 20), key="n"),
    neurons=st.shared(st.integers(1, 20), key="n"),
    seed=st.integers(0, 2**32 - 1),
)


@settings(max_examples=40, deadline=None)
@given(models)
def test_text_models(model: Model) -> None:
    """Every model that the format holds."""
    again = read(write_text(model))
    assert differences(model, again) == []
    assert write_text(again) == write_text(model)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.booleans())
def test_ranc_models(cores: int, axons: int, neurons: int, seed: int, symmetric: bool) -> None:
    """Every model inside RANC's subset, cores of any shape."""
    model = small_model(cores=cores, axons=axons, neurons=neurons, seed=seed)
    none = np.zeros(model.kappa.shape, bool)
    plain = {"kappa": none, "leak_reversal": none, "leak_stochastic": none, "stochastic": np.zeros((*none.shape, 4), bool), "mask": none}
    model = replace(model, **plain, gamma=model.gamma % 2, symmetric=symmetric, floor=model.floor - 2**17)
    again = read(*write_ranc(model))
    assert differences(as_ranc(model), again) == []
    assert (again.axons, again.neurons, again.symmetric) == (axons, neurons, symmetric)


@settings(max_examples=60, deadline=None)
@given(arrays(np.int64, st.tuples(st.integers(0, 20), st.just(3)), elements=st.integers(0, 15)), st.integers(0, 2**31 - 100))
def test_spike_files(rows: np.ndarray, start: int) -> None:
    """Spikes in and out, TEXT and raw."""
    model = small_model(cores=4)
    events = Events.ordered(rows[:, 0] + start, rows[:, 1] % 4, rows[:, 2])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        for write in (write_sfti, write_rawi3):
            path.write_bytes(write(events, model))
            again = read_spikes(path, model, Findings())
            for name in ("tick", "core", "axon"):
                assert np.array_equal(getattr(again, name), getattr(events, name))
        out = np.column_stack([rows[:, 0] + start, model.ids[rows[:, 1] % 4], rows[:, 2]])
        for write_out in (write_sfto, write_rawo6):
            path.write_bytes(write_out(out, model))
            assert sorted(read_outputs_file(path, Findings()).tolist()) == sorted(out.tolist())


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.booleans(), st.lists(st.integers(0, 65535), max_size=5)
        ),
        max_size=4,
    )
)
def test_connector_maps(listed: list[tuple[str, bool, list[int]]]) -> None:
    """Names of any letters, cores and pins of any number."""
    connectors = [Connector(name, output, np.array(pins, np.int64) * 3, np.array(pins, np.int64)) for name, output, pins in listed]
    again = read_connectors(write_connectors(connectors))
    assert [(c.name, c.output, c.core.tolist(), c.pin.tolist()) for c in again] == [
        (c.name, c.output, c.core.tolist(), c.pin.tolist()) for c in connectors
    ]


@given(st.text('/*"\\ab \n', max_size=40))
def test_comments_end_where_a_naive_scanner_ends_them(text: str) -> None:
    """Character by character: texts keep theirs, comments become blanks, nothing moves."""
    expected: list[str] | None = []
    at, inside = 0, False
    while at < len(text) and expected is not None:
        if text[at] == "\\":
            # A backslash outside a text is no JSON; where a comment may start behind one means nothing.
            assume(inside)
            expected += text[at : at + 2]
            at += 2
        elif text[at] == '"':
            inside = not inside
            expected.append('"')
            at += 1
        elif not inside and text[at : at + 2] in ("//", "/*"):
            end = text.find("\n", at) if text[at + 1] == "/" else text.find("*/", at + 2) + 2
            end = len(text) if text[at + 1] == "/" and end < 0 else end
            expected = None if end < 2 and text[at + 1] == "*" else [*expected, " " * (end - at)]
            at = end
        else:
            expected.append(text[at])
            at += 1
    try:
        assert uncommented(bytearray(text.encode())) == "".join(expected or [])
        assert expected is not None
    except MalformedError:
        assert expected is None


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_make_a_traceback(data: bytes) -> None:
    """As a model and as spikes, behind each start that a reader looks for."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        for start in (b"", b"{", b"TNBM", b'{"core":', b'{"cores":[', b'{"packets":[', b'{"encoding":"RAWI3"}\xff', b"[["):
            path.write_bytes(start + data)
            for use in (lambda: read_model(path, Findings()), lambda: read_spikes(path, small_model(), Findings())):
                with suppress(NmapError):
                    use()


@settings(max_examples=40, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    )
)
def test_the_scanner_reads_json(value: object) -> None:
    """Members and elements one by one give what the whole text holds."""
    scanner = Scanner(json.dumps(value))
    if isinstance(value, dict):
        assert {key: scanner.value() for key in scanner.members()} == value
    elif isinstance(value, list):
        assert list(scanner.elements()) == value
    else:
        assert scanner.value() == value
    scanner.end()
