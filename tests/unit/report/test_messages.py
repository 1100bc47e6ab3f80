from __future__ import annotations

from nmap.diagnostics import Diagnostic
from nmap.report.messages import LIMIT, render, render_all


def note(k: int) -> Diagnostic:
    return Diagnostic("NM112", "note", f"oddity {k}")


def test_bare_message_is_one_line() -> None:
    assert render(Diagnostic("NM101", "error", "`net.h5` does not exist")) == "error[NM101]: `net.h5` does not exist"


def test_lines_are_wrapped_at_the_width_and_words_stay_whole() -> None:
    path = "/a/" + "b" * 100
    text = render(Diagnostic("NM601", "error", "word " * 30 + path, path, "why " * 40, ("help " * 40,)), 60)
    assert [line for line in text.splitlines() if len(line) > 60 and path not in line] == []
    assert text.count(path) == 2


def test_arithmetic_set_out_as_a_table_is_kept() -> None:
    why = "one neuron needs    limit\n  axons      6 272    4 096\ncutting cannot help"
    text = render(Diagnostic("NM401", "error", "too big", why=why))
    assert "\n  why   one neuron needs" in text
    assert "\n  axons      6 272    4 096\n" in text
    assert "\n        cutting cannot help" in text


def test_worst_first_and_the_order_found_inside_a_severity() -> None:
    found = [note(1), Diagnostic("NM301", "warning", "w"), Diagnostic("NM201", "error", "e1"), Diagnostic("NM104", "error", "e2")]
    heads = [line.split(":")[0] for line in render_all(found).splitlines()]
    assert heads == ["error[NM201]", "error[NM104]", "warning[NM301]", "note[NM112]"]


def test_many_are_counted_not_listed() -> None:
    text = render_all([note(k) for k in range(LIMIT + 3)])
    assert text.count("note[NM112]") == LIMIT
    assert text.splitlines()[-1] == "note: 3 more notes not shown; `--format json` lists all of them"


def test_quiet_leaves_out_notes_only() -> None:
    assert render_all([note(1), Diagnostic("NM301", "warning", "w")], notes=False) == "warning[NM301]: w"
    assert render_all([]) == ""
