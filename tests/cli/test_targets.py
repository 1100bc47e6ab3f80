from __future__ import annotations

from nmap.cli.targets import describe
from nmap.target.registry import find_target, target_names
from tests.cli.runner import Runner
from tests.unit.report.outcomes import spec


def test_list_has_every_variant(nmap: Runner) -> None:
    result = nmap("targets")
    assert result.status == 0
    rows = [line.split() for line in result.out.splitlines()]
    found = {(row[0], variant) for row in rows for variant in row if variant in ("2x2", "4x4")}
    assert {("toy", "2x2"), ("toy", "4x4")} <= found
    assert "Next: nmap targets" in result.out


def test_one_target_in_full_with_the_source_of_every_number(nmap: Runner) -> None:
    chip = find_target("toy").spec
    result = nmap("targets", "toy")
    assert result.status == 0
    lines = result.out.splitlines()
    for name in [*chip.resources, *chip.classes, *chip.limits, *chip.features]:
        assert any(line.startswith(f"  {name} ") for line in lines), name
    stated = (chip.resources, chip.classes, chip.limits, chip.variants, chip.constants)
    assert sum("source: " in line for line in lines) == sum(map(len, stated))


def test_how_chips_links_and_cores_are_arranged(nmap: Runner) -> None:
    told = " ".join(nmap("targets", "toy").out.split())
    for text in (
        "4×4 routers, torus source:", "4×4 routers, hexagonal torus, multicast routes source:",
        "chips 4, 4 cores each, 2×2 routers, chips in 2×2, a link between chips counts 3 hops source:",
        "boards in 2×1, a link between boards counts 3 more source:", "8 cores `small` source:",
        "chips 1 (up to 4), 4 cores each, 2×2 routers, chips in a row, a link between chips counts 2 hops source:",
        "small cores of half the size: neurons 4, input axons 8, synapse slots 32 source:",
    ):
        assert text in told, text


def test_variant_is_checked(nmap: Runner) -> None:
    assert nmap("targets", "toy:4x4").status == 0
    assert "NM003" in nmap("targets", "toy:5x5").err
    assert "did you mean `toy`?" in nmap("targets", "toi").err


def test_json_is_the_chip_data(nmap: Runner) -> None:
    report = nmap("targets", "--format", "json").json
    assert report["schema"] == "nmap.targets/1"
    assert (report["status"], report["exit_status"], report["diagnostics"]) == ("ok", 0, [])
    assert report["command"] == ["nmap", "targets", "--format", "json"]
    assert [target["name"] for target in report["targets"]] == list(target_names())
    (toy,) = nmap("targets", "toy", "--format", "json").json["targets"]
    assert toy == find_target("toy").spec.model_dump(mode="json")


def test_every_installed_chip_fits_80_columns() -> None:
    for name in target_names():
        assert [line for line in describe(find_target(name).spec).splitlines() if len(line) > 80 and " " in line.strip()[20:]] == [], name


def test_numbers_of_a_chip_made_by_hand() -> None:
    text = describe(spec())
    assert "synapse memory: at most 20 words\n" in text
    assert "  weight                    -7 to 7\n" in text
    assert "  lif                       exact: as it is\n" in text
    assert "chips 1 (up to 3), 4 cores each" in " ".join(text.split())


def test_plain_numbers_have_no_unit() -> None:
    chip = find_target("loihi2").spec
    plain = [name for name, constant in chip.constants.items() if constant.unit == "1"]
    assert plain
    told = " ".join(describe(chip).split())
    for name, constant in chip.constants.items():
        unit = "" if name in plain else f" {constant.unit}"
        assert f"{name} {constant.value:g}{unit}, {constant.measured_on}" in told
