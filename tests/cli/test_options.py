from __future__ import annotations

from pathlib import Path

import pytest
import typer

from nmap import flow
from nmap.cli.options import (
    Stage,
    build_options,
    parse_dead_cores,
    parse_dead_links,
    parse_names,
    parse_seconds,
    parse_size,
    split_targets,
)
from nmap.diagnostics import NmapError
from nmap.options import WHOLE_CHIP, Options


@pytest.mark.parametrize(("text", "cores"), [
    ("c3,c17", ((0, 3), (0, 17))), ("0:3, 1:17", ((0, 3), (1, 17))), ("c5,c5,0:5", ((0, 5),)), (None, ()), ("", ()), ("c1,", ((0, 1),)),
])
def test_dead_cores_in_a_list(text: str | None, cores: tuple[tuple[int, int], ...]) -> None:
    assert parse_dead_cores(text) == cores


def test_dead_cores_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "dead.txt"
    file.write_text("# board 7\nc3\n\n1:17  # flaky\n")
    assert parse_dead_cores(str(file)) == ((0, 3), (1, 17))


def test_every_entry_that_names_no_core_is_told(tmp_path: Path) -> None:
    with pytest.raises(NmapError) as caught:
        parse_dead_cores("c1,3,x:4,-2")
    assert [d.message.split("`")[1] for d in caught.value.diagnostics] == ["3", "x:4", "-2"]
    file = tmp_path / "dead.txt"
    file.write_text("c3\ncore 4\n")
    with pytest.raises(NmapError) as caught:
        parse_dead_cores(str(file))
    assert caught.value.diagnostics[0].where == f"{file}:2"


def test_binary_file_of_dead_cores(tmp_path: Path) -> None:
    file = tmp_path / "dead.bin"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NmapError, match="NM004"):
        parse_dead_cores(str(file))


@pytest.mark.parametrize(("text", "seconds"), [
    ("0.001", 1e-3), ("1ms", 1e-3), ("100us", 1e-4), ("5 µs", 5e-6), ("2e-3", 2e-3), ("1s", 1.0),
])
def test_seconds(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["0", "-1ms", "ms", "1h", "nan", "inf", "1e999", "", "--", "1e5e5"])
def test_what_is_no_time_step(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_seconds(text)


@pytest.mark.parametrize(("text", "size"), [
    ("1", 1), ("1000000", 10**6), ("512M", 2**29), ("2G", 2**31), ("2 GiB", 2**31), ("1.5k", 1536), ("3TB", 3 * 2**40), ("100B", 100),
])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["0", "-1M", "M", "1X", "nan", "", "1.5", "0.0G", "1e9", "9" * 400, "1 2"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_size(text)


def test_options_carry_every_choice() -> None:
    options = build_options(bits=6, partitioner="greedy", effort=2, seed=4, chips=2, dead_cores="1:0", slack=0.0, approximate="leak, bias",
                            steps=9, strict=True)
    assert (options.bits, options.partitioner, options.effort, options.seed, options.chips) == (6, "greedy", 2, 4, 2)
    assert options.dead == ((1, 0),)
    assert options.approximate == {"leak", "bias"}
    assert (options.slack, options.steps, options.strict) == (0.0, 9, True)


def test_all_wrong_options_are_told_together() -> None:
    with pytest.raises(NmapError) as caught:
        build_options(dead_cores="x", slack=float("nan"))
    assert [d.where for d in caught.value.diagnostics] == ["--dead-cores", "--slack"]


def test_lists_of_names() -> None:
    assert parse_names(" a,,b ") == {"a", "b"}
    assert parse_names(None) == frozenset()


def test_targets_once_each_and_all() -> None:
    assert split_targets("b,a,b", ["x"]) == ["b", "a"]
    assert split_targets("all", ["x", "y"]) == ["x", "y"]
    assert split_targets("y:v,all", ["x", "y"]) == ["y:v", "x", "y"]
    for text in ("", " , "):
        with pytest.raises(NmapError, match="NM003"):
            split_targets(text, ["x"])
    with pytest.raises(NmapError, match="NM003"):
        split_targets("all", [])


def test_stages_are_those_of_the_pipeline() -> None:
    assert tuple(stage.value for stage in Stage) == flow.STAGES


@pytest.mark.parametrize(("text", "links"), [
    ("c3-c4", (((0, 3), (0, 4)),)), ("0:3-4, 1:17-0:2", (((0, 2), (1, 17)), ((0, 3), (0, 4)))), ("2:5-4,2:4-2:5", (((2, 4), (2, 5)),)),
    (None, ()), ("", ()),
])
def test_dead_links_in_a_list(text: str | None, links: tuple[object, ...]) -> None:
    assert parse_dead_links(text) == links


def test_whole_chips() -> None:
    assert parse_dead_cores("2:*,0:1") == ((0, 1), (2, WHOLE_CHIP))
    options = build_options(dead_cores="2:*,0:1,1:*", dead_links="0:3-1:0")
    assert options.dead_links == (((0, 3), (1, 0)),)
    stored = options.to_json()
    assert (stored["dead"], stored["dead_chips"], stored["dead_links"]) == ([[0, 1]], [1, 2], [[0, 3, 1, 0]])
    assert {"dead_chips", "dead_links"}.isdisjoint(build_options().to_json())


def test_every_entry_that_names_no_link_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(NmapError) as caught:
        build_options(dead_cores="*", dead_links="c3,0:1-2,3-4,c1-1:2,0:1>2,0:*-3", slack=-1.0)
    assert [d.where for d in caught.value.diagnostics] == ["--dead-cores", *["--dead-links"] * 5, "--slack"]
    assert [d.message.split("`")[1] for d in caught.value.diagnostics[1:-1]] == ["c3", "3-4", "c1-1:2", "0:1>2", "0:*-3"]
    file = tmp_path / "links.txt"
    file.write_text("# rack 2\n0:3-4  # flaky\n\n0:3\n1:1-\n")
    with pytest.raises(NmapError) as caught:
        parse_dead_links(str(file))
    assert [d.where for d in caught.value.diagnostics] == [f"{file}:4", f"{file}:5"]
    file.write_text("0:3-4\n")
    assert parse_dead_links(str(file)) == (((0, 3), (0, 4)),)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NmapError, match="the list of dead links"):
        parse_dead_links(str(file))


@pytest.mark.parametrize("wrong", [
    {"dead": ((0, -2),)}, {"dead": ((-1, WHOLE_CHIP),)}, {"dead": ((0, True),)}, {"dead": (3,)}, {"dead": ((0, 1, 2),)},
    {"dead_links": ((0, 1),)}, {"dead_links": (((0, 1), (0, WHOLE_CHIP)),)}, {"dead_links": (((0, 1), (0, 2), (0, 3)),)},
])
def test_dead_cores_and_links_of_a_program(wrong: dict[str, object]) -> None:
    with pytest.raises(NmapError, match=f"NM004 `{next(iter(wrong))}` must hold"):
        Options(**wrong)  # type: ignore[arg-type]
