from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from nmap.cli.replies import inspection_reply
from nmap.connectivity import Dense
from nmap.diagnostics import Exit
from nmap.network import Assumption, Conventions, Network
from nmap.partition.incremental import Moved, Remap
from nmap.place.problem import PlacementSolution
from nmap.program import Core
from nmap.report.json import portable_report, run_to_json, to_json
from nmap.report.model import (
    BusiestCore,
    ChipVsFixed,
    ChipVsFloat,
    Estimate,
    Outcome,
    Published,
    RunResult,
    Samples,
    Traffic,
    VendorCheck,
    Verification,
)
from nmap.report.text import _amount, comparison_text, count, inspection_text, next_step, percent, run_text, table, to_text, verdict
from nmap.target.backend import Survey
from nmap.target.machine import build_machine
from nmap.target.spec import Constant
from nmap.testing.networks import FOREIGN_NETWORKS, build, lif
from tests.unit.report.outcomes import conv_network, guessed, mapping, misfit, network, outcome, spec

SURVEY = Survey("mapper", "2.1", fits=True, cores=5, layers={"hidden": 4, "output": 0})
LONG = "/a/very/long/folder/name/that/does/not/fit/beside/anything/else/network.nir"


def squeezed(text: str) -> str:
    """Return text with single blanks: columns may move, words may not."""
    return " ".join(text.split())


def lines(**changes: object) -> list[str]:
    return to_text(to_json(outcome(**changes))).splitlines()


def line(start: str, **changes: object) -> str:
    return next(text for text in lines(**changes) if text.startswith(start))


@pytest.mark.parametrize("result", [
    outcome(), misfit(), outcome(network=conv_network(), mapping=None, quantized=None), outcome(network=network(LONG)),
    outcome(status="differs", exit_status=Exit.DIFFERS, verification=Verification("broken", ChipVsFixed(10**9, 10**6, 10**15, 10**12))),
    Outcome("error", Exit.USAGE), outcome(timings={}), outcome(estimate=Estimate(3.8e-5, 0.0123, ("a",))),
    guessed(), guessed(SURVEY), guessed(replace(SURVEY, fits=False, reason="far too large " * 20)),
    guessed(Survey("mapper", missing="it is not installed " * 8)),
    guessed(replace(SURVEY, layers={"x" * 60: 1, "hidden": 3}), mapping=None),
])
def test_reports_are_plain_and_at_most_80_columns_wide(result: Outcome) -> None:
    for text in (to_text(to_json(result)), inspection_text(to_json(result)), comparison_text([to_json(result)] * 2)):
        assert "\x1b" not in text
        assert [row for row in text.splitlines() if len(row) > 80 and LONG not in row] == []
        assert text.endswith("\n")
        assert not [row for row in text.splitlines() if row != row.rstrip()]


def test_header_names_network_and_machine() -> None:
    assert lines()[0] == "net.h5  NIR · 2 populations · 5 neurons · 27 synapses · dt 1 ms"
    assert lines()[1] == "tiny:two  Tiny chip · 1 chip · 3 usable cores (1 dead) · chip data 7"


def test_steps_are_not_printed_as_seconds() -> None:
    steps = replace(network(), conventions=Conventions(1.0), assumptions=(Assumption("dt", "1 step", "inferred", "no time in the file"),))
    assert lines(network=steps)[0].endswith("27 synapses · in steps")
    assert lines(network=replace(network(), conventions=Conventions(None)))[0].endswith("27 synapses · in steps")


def test_every_assumption_has_its_evidence() -> None:
    assert "  assumed   dt = 0.001 s (default: the file does not say)" in lines()


def test_stages_have_their_numbers_and_times_at_the_right_edge() -> None:
    read = line("  read")
    assert read.endswith(" 0.1 s")
    assert len(read) == 80
    assert squeezed(line("  check")) == "check 4 rules · 0 errors · 1 warning 0.0 s"
    assert squeezed(line("  quantize")) == "quantize 8-bit weights · 3 clipped · 1 rounded to zero 2.0 s"
    assert squeezed(line("  partition")) == "partition cores 2, optimal · 4.5 packets/step · 3 shards · cpsat"
    assert "12 packet-hops/step, proved >= 10 (gap 16.7 %)" in line("  place")


def test_bound_is_printed_where_the_optimum_is_not_proved() -> None:
    good = mapping(build_machine(spec()))
    loose = replace(good, packing=replace(good.packing, lower_bound=1, status="feasible"),
                    placement=PlacementSolution(np.array([1, 2]), 12.0, 0.0, "feasible", 0))
    assert "cores 2, proved >= 1 (gap 50 %)" in line("  partition", mapping=loose)
    assert "12 packet-hops/step, no bound" in line("  place", mapping=loose)
    tight = replace(good, placement=PlacementSolution(np.array([1, 2]), 12.0, 12.0, "optimal", 0))
    assert "12 packet-hops/step, optimal" in line("  place", mapping=tight)


def test_traffic_is_told_in_the_numbers_that_are_known() -> None:
    place = squeezed(" ".join(lines()[lines().index(line("  place")) :][:3]))
    assert "9.5 with shared routes · busiest link 3/step" in place
    shared = Traffic("multicast", 4.5, 14.0, 12.0, None, 4.0)
    text = squeezed(to_text(to_json(outcome(traffic=shared))))
    assert "4.5 packets/step, proved >= 4 · 3 shards" in text
    assert " 14 as single packets " in text
    assert "busiest link" not in text
    assert "with shared routes" not in text
    bare = squeezed(to_text(to_json(outcome(traffic=None))))
    for words in ("packets/step", "with shared routes", "as single packets", "busiest link"):
        assert words not in bare


def test_report_of_an_earlier_version_is_still_printed() -> None:
    report = to_json(outcome())
    for part, keys in (
        ("partition", ("gap", "packets", "packets_bound", "interrupted")),
        ("placement", ("kind", "unicast_hops", "multicast_hops", "max_link", "interrupted")),
    ):
        for key in keys:
            del report[part][key]
    del report["incremental"]
    assert "cores 2, optimal · 3 shards · cpsat" in squeezed(to_text(report))


def test_stopped_search_says_so() -> None:
    assert "stopped by the user" not in to_text(to_json(outcome()))
    once = squeezed(to_text(to_json(outcome(interrupted=("place",)))))
    assert once.count("stopped by the user: the best until then") == 1
    assert squeezed(to_text(to_json(outcome(interrupted=("partition", "place"))))).count("stopped by the user") == 2


def remapped(**changes: object) -> list[str]:
    """Return the lines of what was kept."""
    moved = (Moved(Core(0, 0, 0, 0), Core(0, 1, 0, 1), "dead"), Moved(Core(0, 1, 1, 3), Core(0, 0, 1, 2), "traffic"))
    remap = replace(Remap(46, 41, moved, 3, 1, ("conv2", "fc"), ("old",), False), **changes)
    rows = lines(remap=remap, remapped_from="ef" * 32)
    first = next(k for k, row in enumerate(rows) if row.startswith("  from"))
    more = next(k for k, row in enumerate(rows) if k > first and not row.startswith("   "))
    return rows[first:more]


def test_what_moved_is_told() -> None:
    assert remapped() == [
        "  from       kept 41 of 46 cores · moved 2 cores: dead c0 → c1, c3 → c2",
        "             added 1 core · freed 3 cores · re-cut: `conv2`, `fc`",
        "             removed: `old`",
    ]
    still = remapped(kept=46, moved=(), freed=0, new=0, recut=(), removed=())
    assert still == ["  from       kept 46 of 46 cores"]
    anew = squeezed(" ".join(remapped(repacked=True)))
    assert "packed anew, since the change did not fit beside what was kept" in anew
    assert "re-cut" not in anew
    many = tuple(Moved(Core(0, 0, 0, 0), Core(0, 1, 0, 1), "traffic") for _ in range(9))
    told = squeezed(" ".join(remapped(moved=many)))
    assert "moved 9 cores: " in told
    assert told.count("c0 → c1") == 6
    assert " and 3 more" in told
    assert not [row for row in lines() if row.startswith("  from")]


def test_fullest_core_and_limiting_resource_are_marked() -> None:
    words = line("  synapse memory")
    # 28 of 60 words; 15 of 20 on core c1.
    assert squeezed(words) == "synapse memory 28 60 47 c1 15 / 20 75 ◀"
    assert "◀" not in line("  neurons")
    assert "  ◀ limits this design: synapse memory" in lines()


def shown(survey: Survey | None = None, **changes: object) -> str:
    return to_text(to_json(guessed(survey, **changes)))


def test_estimates_are_called_so() -> None:
    text = shown()
    assert "\n  estimate: how the chip's memory is used is not published\n" in text
    assert "est. cores" in text
    assert "cores 2 (estimate), optimal" in text
    assert "2 passes, one after the other" in text
    assert "3 usable cores (1 dead)" in text
    assert not any("estimate" in row or "pass" in row for row in lines())
    table_of_targets = comparison_text([to_json(guessed()), to_json(outcome())])
    rows = [squeezed(row) for row in table_of_targets.splitlines() if row.startswith("  tiny:two")]
    assert rows[0].startswith("tiny:two fits ~2 6 ")
    assert rows[1].startswith("tiny:two fits 2 3 ")
    assert "~ estimate: " in table_of_targets
    assert "~" not in comparison_text([to_json(outcome())])
    asked = comparison_text([to_json(guessed(SURVEY))])
    assert "tiny:two fits 5 6" in squeezed(asked)
    assert "\n  tiny:two: cores as mapper 2.1 maps it (estimate: 2)\n" in asked
    assert "~" not in asked


def test_what_the_vendors_mapper_says_is_told_beside_the_estimate() -> None:
    text = shown(SURVEY)
    assert "\n  cores as mapper 2.1 maps it (estimate: 2); all other numbers are estimates\n" in text
    assert squeezed(next(row for row in text.splitlines() if row.startswith("  cores  "))).startswith("cores 5 6 83")
    assert "\n  cores: 5 as mapper 2.1 maps it, 2 estimated\n  cores of `hidden`: 4 as mapper 2.1 maps it, 2 estimated\n" in text
    assert "cores of `output`" not in text, "both say 0"
    assert "est. cores" not in text
    agreed = shown(replace(SURVEY, cores=2, layers={"hidden": 2}))
    assert "(estimate: 2)" in agreed
    assert "2 estimated" not in agreed


def test_a_mapper_that_says_otherwise_or_nothing_is_told() -> None:
    assert "  mapper 2.1 does not map it, which by the estimate fits: too wide\n" in shown(replace(SURVEY, fits=False, reason="too wide"))
    alone = shown(replace(SURVEY, fits=False, reason="too wide"), mapping=None)
    assert "  mapper 2.1 does not map it: too wide\n" in alone
    assert "  mapper 2.1 maps it, which by the estimate was not found to fit\n" in shown(SURVEY, mapping=None)
    assert "  mapper  not asked, so that estimates stay: it is absent\n" in shown(Survey("mapper", missing="it is absent"))
    assert "mapper" not in shown()


def test_counts_are_compared_where_a_step_stands_for_several() -> None:
    real = ChipVsFloat(0.9, 0.5, 0.25, 8, 0.931, 0.989, 15)
    text = squeezed(to_text(to_json(outcome(verification=Verification("ok", None, real)))))
    assert "counts agree 93.1 %, largest count 98.9 %" in text
    assert "one chip step = 15 steps of the network" in text
    assert "accuracy 50 % float" in text
    assert "of outputs as in float" not in text
    unknown = squeezed(to_text(to_json(outcome(verification=Verification("ok", None, ChipVsFloat(None, window=15))))))
    assert "one chip step = 15 steps of the network" in unknown
    assert "counts agree" not in unknown
    plain = squeezed(to_text(to_json(outcome(verification=Verification("ok", None, replace(real, window=1))))))
    assert "90 % of outputs as in float" in plain
    assert "counts agree" not in plain


def test_layers_say_what_limits_them() -> None:
    rows = {row.split()[0]: row for row in lines() if row.startswith(("  hidden  LIF", "  output  LIF"))}
    assert rows["hidden"].endswith("2  synapse memory")
    assert rows["output"].endswith("1  –")
    conv = to_text(to_json(outcome(network=conv_network(), mapping=None)))
    assert "LIF conv 5×5 2→12" in conv


def test_quantization_table_says_exact_where_there_is_no_error() -> None:
    rows = [row.split() for row in lines() if row.startswith(("  hidden", "  output")) and "LIF" not in row]
    assert rows[0][:8] == ["hidden", "8", "50", "2", "41.2", "dB", "3", "1"]
    assert rows[1][:5] == ["output", "8", "25", "2", "exact"]


def test_verification_names_the_emulator_and_never_calls_it_a_chip_run() -> None:
    text = " ".join(to_text(to_json(outcome())).split())
    assert "chip emulator = fixed-point reference (8 samples × 20 steps, 1 234 spikes, 0 differ)" in text
    # 0.9996 must not be rounded to agreement.
    assert "> 99.9 % of outputs as in float" in text
    assert "accuracy 50 % float, 25 % chip emulator" in text
    assert "sim 1.2 agrees on 2 samples" in text
    assert "on s.npz" in text
    assert "verdict: fits; chip emulator = fixed-point reference, bit for bit (exit 0)" in text


def test_failed_and_skipped_checks_are_told() -> None:
    broken = Verification("broken", ChipVsFixed(8, 20, 1234, 7), None, VendorCheck("sim", skipped_reason="it is not installed"))
    result = outcome(verification=broken, status="differs", exit_status=Exit.DIFFERS, samples=Samples(None, None, 8, 18))
    text = " ".join(to_text(to_json(result)).split())
    assert "MAPPING BREAKS A LIMIT" in text
    assert "chip emulator ≠ fixed-point reference (8 samples × 20 steps, 1 234 spikes, 7 differ)" in text
    assert "sim not run: it is not installed" in text
    assert "on generated samples" in text
    assert "verdict: verification differs" in text
    assert "Next:" not in text


def test_verification_that_did_not_run_is_not_passed_over() -> None:
    assert line("  verify", verification=None, timings={}).split() == ["verify", "not", "run"]


def test_misfit_says_so_and_that_nothing_was_written() -> None:
    text = to_text(to_json(misfit()))
    assert "verdict: does not fit" in text
    assert "Nothing written." in text
    assert squeezed(next(row for row in text.splitlines() if row.startswith("  partition"))) == "partition does not fit 0.2 s"
    assert "fullest core" not in text
    assert "limited by" not in text


def test_strict_failure_is_not_called_a_misfit() -> None:
    report = to_json(outcome(status="error", exit_status=Exit.DOES_NOT_FIT))
    assert (report["status"], report["fits"], report["exit_status"]) == ("error", True, 1)
    assert verdict(report) == "fits, but warnings count as errors under --strict"
    assert verdict(to_json(outcome(status="error", exit_status=Exit.USAGE))) == "failed"


@pytest.mark.parametrize(("command", "changes", "expected"), [
    ("deploy", {}, "nmap report out"),
    ("deploy", {"samples": None}, "nmap verify out --input SAMPLES.npz"),
    ("deploy", {"exit_status": Exit.DIFFERS, "status": "differs"}, None),
    ("check", {}, "nmap deploy net.h5 --target tiny:two"),
    ("inspect", {}, "nmap check net.h5 --target all"),
    ("report", {}, None),
])
def test_next_command(command: str, changes: dict[str, object], expected: str | None) -> None:
    assert next_step(to_json(outcome(command=("nmap", command), **changes))) == expected


def test_next_command_can_be_pasted() -> None:
    report = to_json(outcome(command=("nmap", "check"), network=network("my net.h5")))
    assert next_step(report) == "nmap deploy 'my net.h5' --target tiny:two"


def test_portable_report_renders_without_times() -> None:
    text = to_text(portable_report(outcome()))
    assert " 2.0 s" not in text
    assert "8-bit weights" in text


def test_comparison_has_one_row_per_target_and_the_reasons() -> None:
    text = comparison_text([to_json(outcome()), to_json(misfit())])
    rows = [row for row in text.splitlines() if row.startswith("  tiny:two")]
    assert squeezed(rows[0]) == "tiny:two fits 2 3 optimal 8 synapse memory"
    assert squeezed(rows[1]).startswith("tiny:two does not fit")
    assert "NM402 the network needs 5 cores, `tiny:two` has 3" in text


def inspected(made: Network, width: int = 80) -> list[str]:
    return inspection_text(to_json(Outcome("ok", Exit.OK, ("nmap", "inspect", "net.h5"), made)), width).splitlines()


def test_inspection_lists_ports_populations_projections_and_notes() -> None:
    text = "\n".join(inspected(network()))
    assert "  input     input  4\n  output    output  2\n" in text
    assert "  note      a pool was fused" in text
    assert "  in a step  decays are 1 - dt/tau · spike where v > threshold" in text
    rows = [squeezed(row) for row in inspected(network())]
    assert "name model shape neurons threshold v decay place" in rows
    assert "hidden LIF 3 3 1 0 /hidden" in rows
    assert "from to weights synapses delay biases" in rows
    assert "hidden hidden dense 3→3 9 1 –" in rows


def test_places_in_one_folder_name_it_once() -> None:
    made = network()
    moved = tuple(replace(p, where=replace(p.where, path=f"/node/nodes{p.where.path}")) for p in made.populations)
    rows = [squeezed(row) for row in inspected(replace(made, populations=moved))]
    assert "name model shape neurons threshold v decay in /node/nodes/" in rows
    assert "hidden LIF 3 3 1 0 hidden" in rows


@pytest.mark.parametrize(("conventions", "words"), [
    (Conventions(None, "subtract", "exact", ">=", multiple=True, floor=-1.0),
     "spike where v >= threshold then threshold taken off v · several spikes where v holds several thresholds v stops at -1 × threshold"),
    (Conventions(1e-3, decay="exact", gain="exact"), "decays are exp(-dt/tau) · gains 1 - exp(-dt/tau)"),
    (Conventions(1e-3, "delayed"), "then threshold taken off v one step later"),
    (Conventions(1e-3, "subtract", early_reset=True), "ahead of the comparison where v stood above it"),
    (Conventions(1e-3, "subtract", lag=1), "spikes leave 1 step after the crossing"),
    (Conventions(1e-3, lag=2), "spikes leave 2 steps after the crossing"),
    (Conventions(1e-3, late_bias=True), "recurrent biases begin with the first possible spike"),
    (Conventions(1e-3, reset_interval=16), "i and v become 0 every 16 steps · spike where v > threshold"),
    (Conventions(1e-3, reset_interval=16, reset_offset=19), "i and v become 0 every 16 steps, from step 3 on"),
])
def test_a_step_is_told_in_words(conventions: Conventions, words: str) -> None:
    told = squeezed("\n".join(inspected(replace(network(), conventions=conventions))))
    # Lines break between parts, where a dot would stand otherwise.
    assert words.replace(" ·", "") in told.replace(" ·", "")


def test_a_step_is_not_told_of_neurons_that_do_not_follow_it() -> None:
    for kind in ("resonator", "sigma delta"):
        assert not [row for row in inspected(FOREIGN_NETWORKS[kind]()) if "in a step" in row]
    (silent,) = [row for row in inspected(FOREIGN_NETWORKS["silent"]()) if "in a step" in row]
    assert "spike" not in silent
    assert not [row for row in inspected(FOREIGN_NETWORKS["adaptive"]()) if "reset" in row]


@pytest.mark.parametrize(("kind", "row"), [
    ("silent", "first LIF, silent 2 2 0.875 /first"), ("relay", "first LIF, relay 2 2 – 0 /first"),
    ("resonator", "first RF 2 2 1 0.95 22.92 /first"), ("sigma delta", "first SDNN, graded 2 2 0.01562 /first"),
    ("late bias", "input first dense 2→2 4 0 2 from step 8"), ("complex weights", "input first (imaginary) dense 2→2 4 0 –"),
    ("delay of 1000", "input first dense 2→2 4 1000 –"), ("several ports", "output second 2"), ("several ports", "input right 3"),
    ("adaptive", "first: threshold decay 0.9, refractory decay 0.8, threshold step"),
])
def test_every_model_and_projection_has_its_words(kind: str, row: str) -> None:
    assert any(row in squeezed(text) for text in inspected(FOREIGN_NETWORKS[kind]()))


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("kind", sorted(FOREIGN_NETWORKS))
def test_inspections_keep_the_width_and_cut_no_number(kind: str, width: int) -> None:
    made = FOREIGN_NETWORKS[kind]()
    rows = inspected(made, width)
    assert max(map(len, rows)) <= width
    assert not [row for row in rows if "…" in row]


def deep(layers: int) -> Network:
    populations = {"input": ((4,), None), **{f"layer{k}": ((4,), lif(4, drive=k / 1000)) for k in range(layers)}}
    names = list(populations)
    made = build("deep.nir", populations, [(a, b, Dense(np.eye(4)), None, 0) for a, b in pairwise(names)])
    return replace(made, notes=tuple(f"note {k}" for k in range(layers)))


def test_a_network_of_500_layers_shows_its_ends() -> None:
    rows = inspected(deep(500))
    assert len(rows) < 120
    assert max(map(len, rows)) <= 80
    text = "\n".join(rows)
    # 40 of 500 are printed: the first 30 and the last 10.
    assert text.count("460 more") == 2
    assert "… 488 more notes" in text
    for name in ("layer0", "layer29", "layer490", "layer499"):
        assert any(row.startswith(f"  {name} ") for row in rows)
    assert not any(row.startswith("  layer30 ") for row in rows)
    assert len(to_json(Outcome("ok", Exit.OK, (), deep(500)))["layers"]) == 500


@pytest.mark.parametrize("layers", [11, 40, 41, 42])
def test_nothing_is_left_out_of_a_list_that_is_hardly_too_long(layers: int) -> None:
    shown = sum(row.startswith("  layer") and "dense" not in row for row in inspected(deep(layers)))
    assert shown == (layers if layers < 42 else 40)


def test_a_deployment_of_500_layers_is_readable_too() -> None:
    text = to_text(to_json(outcome(network=deep(500), mapping=None, quantized=None)))
    assert "… 460 more layers; `--format json` lists them all" in text


@pytest.mark.parametrize(("columns", "widest"), [(60, 80), (80, 80), (120, 120), (300, 140)])
def test_the_screen_s_width_is_used_as_far_as_lines_stay_readable(
    columns: int, widest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = Assumption("dt", "1 ms", "default", "word " * 100)
    made = Outcome("ok", Exit.OK, ("nmap", "inspect"), replace(network(), assumptions=(evidence,)))

    def reach() -> int:
        return max(map(len, inspection_reply(made).text.splitlines()))

    assert reach() <= 80  # not a screen
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert widest - 6 < reach() <= widest


@pytest.mark.parametrize(("level", "words"), [
    ("chip", "level chip emulator: nmap's emulator runs the mapped program; no chip is involved"),
    ("fixed", "level fixed: the quantized reference, not mapped"), ("float", "level float: the imported network in float64, not quantized"),
])
def test_run_says_which_level_ran(level: str, words: str) -> None:
    probes = {"h.v": np.zeros((2, 3, 5))}
    result = RunResult(
        level, np.ones((2, 3, 4), np.int32), np.ones((2, 4), np.int64), probes, None, 0.5, network="n.h5", target="tiny:two"
    )
    text = run_text(run_to_json(result, ["nmap", "run"], "o.npz"))
    assert words in " ".join(text.split())
    assert text.startswith("n.h5 on tiny:two")
    assert "2 samples × 3 steps · 24 output spikes · accuracy 50 %" in text
    assert "  probe     h.v  2×3×5" in text
    assert text.endswith("Wrote o.npz\n")
    short = run_text(run_to_json(result, ["nmap", "run"], "o.npz"), brief=True)
    assert words in " ".join(short.split())
    assert short.endswith("2 samples × 3 steps · 24 output spikes · accuracy 50 %\n")
    assert not any(word in short for word in ("probe", "Wrote", "assumed"))


@pytest.mark.parametrize(("share", "text"), [
    (0.0, "0 %"), (1.0, "100 %"), (0.99999, "> 99.9 %"), (1e-5, "< 0.1 %"), (0.117, "11.7 %"), (None, "–"), (1.25, "125 %"),
])
def test_percentages_never_claim_all_or_nothing(share: float | None, text: str) -> None:
    assert percent(share) == text


def test_counts_are_grouped() -> None:
    assert [count(n) for n in (0, 999, 1000, 1234567, None)] == ["0", "999", "1 000", "1 234 567", "–"]


def test_tables_wider_than_the_screen_cut_their_widest_text() -> None:
    rows = table(("name", "n"), [("x" * 200, "1"), ("y", "22")], right={1})
    assert max(map(len, rows)) == 80
    assert rows[1].endswith("…   1")


def estimated(**changes: object) -> Estimate:
    constant = Constant(value=2.0, unit="pJ", source="a paper", measured_on="Old 1")
    full = Estimate(
        3.8e-5, 0.0123, ("a",), 1.23e-4, 100, {"synaptic_operations": 2e-5, "neuron_updates": 5e-6, "spikes": 1e-9, "static": 1.3e-5},
        {"synaptic_operations": 1234.5, "neuron_updates": 5.0, "spikes": 0.25, "packets": 0.5, "hops": 1.0},
        BusiestCore(Core(0, 1, 0, 1), 900.4, 3), "chip", 4, Published("Old 1", 4.5e-4, 2.5e-5), 1.5, "the one run of a New 1",
        {"operation_energy": constant}, ("input and host",),
    )
    return replace(full, **changes)  # type: ignore[arg-type]


def estimate_of(found: Estimate) -> str:
    rows = lines(estimate=found)
    first = next(k for k, row in enumerate(rows) if row.startswith("  estimate"))
    last = next(k for k in range(first, len(rows)) if not rows[k])
    assert max(len(row) for row in rows[first:last]) <= 80
    return squeezed(" ".join(rows[first:last]).replace("·", ""))


def test_estimate_is_told_with_its_basis_and_its_limits() -> None:
    assert estimate_of(estimated()) == (
        "estimate 123 µs per step 38 µJ per sample 12.3 ms from first step to last output (100 steps) "
        "energy: synaptic operations 20 µJ neuron updates 5 µJ spikes 1 nJ static 13 µJ "
        "per step: 1 234 synaptic operations 5 neuron updates 0.25 spikes counted on 4 samples (chip emulator) "
        "slowest core c1, 900 operations "
        "not measured: constants of Old 1, which as published give 450 µs per step, 25 µJ dynamic per sample "
        "calibrated on the one run of a New 1, and within a factor of 1.5 of it; how far off elsewhere is not known without input and host"
    )


def test_estimate_says_what_is_not_known() -> None:
    parts = {"synaptic_operations": 2e-12, "neuron_updates": 0.0, "spikes": None, "static": None}
    told = estimate_of(estimated(
        energy_j_per_sample=None, energy_j=parts, published=Published("Old 1", 1.0, None), factor=None, within=None, level="float",
        samples=1,
    ))
    assert told.startswith("estimate 123 µs per step 12.3 ms from first step")
    assert "synaptic operations 2 pJ neuron updates 0 J spikes not known static not known" in told
    assert "1 sample (float network)" in told
    assert "give 1 s per step compared with no measurement" in told
    assert "factor" not in told
    assert estimate_of(Estimate(None, None, reason="no samples")) == "estimate none: no samples"
    assert not [row for row in lines(estimate=Estimate(None, None)) if row.startswith("  estimate")]


@pytest.mark.parametrize(("value", "text"), [
    (None, "–"), (0, "0"), (9_999_999, "9 999 999"), (10_000_000, "10 M"), (869_517_144, "869.5 M"), (999_999_999, "1 G"),
    (5_810_776_488, "5.811 G"), (759_000_000_000, "759 G"), (10**15, "1 P"),
])
def test_long_amounts_are_told_with_four_digits(value: int | None, text: str) -> None:
    assert _amount(value) == text
