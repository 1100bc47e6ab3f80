from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.diagnostics import Exit
from nmap.network import Assumption, Conventions
from nmap.place.problem import PlacementSolution
from nmap.report.json import portable_report, run_to_json, to_json
from nmap.report.model import ChipVsFixed, Estimate, Outcome, RunResult, Samples, VendorCheck, Verification
from nmap.report.text import comparison_text, count, inspection_text, next_step, percent, run_text, table, to_text, verdict
from nmap.target.machine import build_machine
from tests.unit.report.outcomes import conv_network, mapping, misfit, network, outcome, spec

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
    assert "cores 2 (optimal)" in line("  partition")
    assert "12 packet-hops/step · at most 20 % above optimum (bound 10)" in line("  place")


def test_bound_is_printed_where_the_optimum_is_not_proved() -> None:
    good = mapping(build_machine(spec()))
    loose = replace(good, packing=replace(good.packing, lower_bound=1, status="feasible"),
                    placement=PlacementSolution(np.array([1, 2]), 12.0, 0.0, "feasible", 0))
    assert "cores 2 (>= 1 proved)" in line("  partition", mapping=loose)
    assert "no bound" in line("  place", mapping=loose)
    tight = replace(good, placement=PlacementSolution(np.array([1, 2]), 12.0, 12.0, "optimal", 0))
    assert "12 packet-hops/step · optimal" in line("  place", mapping=tight)


def test_fullest_core_and_limiting_resource_are_marked() -> None:
    words = line("  synapse memory")
    # 28 of 60 words; 15 of 20 on core c1.
    assert squeezed(words) == "synapse memory 28 60 47 c1 15 / 20 75 ◀"
    assert "◀" not in line("  neurons")
    assert "  ◀ limits this design: synapse memory" in lines()


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


def test_inspection_lists_ports_populations_and_notes() -> None:
    text = inspection_text(to_json(outcome(target=None, machine=None, spec=None)))
    assert "  input     input  4\n  output    output  2\n" in text
    assert "  note      a pool was fused" in text
    assert [row.split()[:3] for row in text.splitlines() if row.startswith("  hidden")] == [["hidden", "LIF", "3"]]


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
