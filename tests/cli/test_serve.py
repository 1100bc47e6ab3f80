"""Output, exit status, crashes and interruptions, independent of what a command does."""

from __future__ import annotations

import ctypes
import io
import json
import sys
import time
from pathlib import Path

import pytest

from nmap.cli.options import Format
from nmap.cli.serve import INTERRUPTED, Progress, Reply, Screen, answer
from nmap.diagnostics import Diagnostic, Exit, NmapError
from nmap.report.json import SCHEMA

WARNING = Diagnostic("NM301", "warning", "clipped")
NOTE = Diagnostic("NM112", "note", "odd")


def fixed(reply: Reply) -> object:
    return lambda _screen, _progress: reply


def failing(error: BaseException) -> object:
    def work(_screen: Screen, _progress: Progress) -> Reply:
        raise error

    return work


def screen(**changes: object) -> Screen:
    return Screen(**{"command": ("nmap", "check"), **changes})  # type: ignore[arg-type]


def test_report_to_stdout_and_diagnostics_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(screen(), fixed(Reply("report\n", {}, (WARNING, NOTE)))) == 0
    assert capsys.readouterr() == ("report\n", "warning[NM301]: clipped\nnote[NM112]: odd\n")


def test_nothing_of_a_file_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    odd = Diagnostic("NM112", "warning", "node `\x1b[2Jred\u202e`", "net\x07.nir")
    assert answer(Screen(), fixed(Reply("report of \x1b]0;title\x07\n", {}, (odd,)))) == 0
    out, err = capsys.readouterr()
    assert out == "report of \\x1b]0;title\\x07\n"
    assert "\\x1b[2Jred\\u202e" in err
    assert (out + err).replace("\n", "").isprintable()


def test_quiet_prints_the_verdict_and_no_notes(capsys: pytest.CaptureFixture[str]) -> None:
    answer(screen(quiet=True), fixed(Reply("long\nreport\n", {}, (WARNING, NOTE), 0, "short")))
    assert capsys.readouterr() == ("short\n", "warning[NM301]: clipped\n")


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    answer(screen(format=Format.json), fixed(Reply("text", {"a": 1}, (WARNING,))))
    out, err = capsys.readouterr()
    assert json.loads(out) == {"a": 1}
    assert err.startswith("warning")


def test_strict_makes_warnings_fail(capsys: pytest.CaptureFixture[str]) -> None:
    report = {"status": "ok", "exit_status": 0}
    assert answer(screen(strict=True, format=Format.json), fixed(Reply("", report, (WARNING,)))) == 1
    assert json.loads(capsys.readouterr().out) == {"status": "error", "exit_status": 1}
    assert answer(screen(strict=True), fixed(Reply("", report, (NOTE,)))) == 0
    assert answer(screen(strict=True), fixed(Reply("", report, (WARNING,), 3))) == 3


@pytest.mark.parametrize("status", [Exit.DOES_NOT_FIT, Exit.USAGE, Exit.DIFFERS, Exit.MISSING, Exit.UNKNOWN])
def test_failure_has_the_exit_status_of_its_error(status: Exit, capsys: pytest.CaptureFixture[str]) -> None:
    error = NmapError(Diagnostic("NM101", "error", "no file"), status)
    assert answer(screen(), failing(error)) == status
    assert capsys.readouterr() == ("", f"error[NM101]: no file\n\nerror: 1 problem (exit {int(status)})\n")
    assert answer(screen(format=Format.json), failing(error)) == status
    report = json.loads(capsys.readouterr().out)
    assert (report["schema"], report["status"], report["exit_status"]) == (SCHEMA, "error", int(status))


def test_sarif_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(screen(format=Format.sarif), fixed(Reply("text", {}))) == 2
    assert "not available yet" in capsys.readouterr().err


def test_bug_leaves_one_line_and_a_crash_file_without_data(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert answer(screen(), failing(ValueError("weights [0.1234] of secret_layer"))) == 70
    out, err = capsys.readouterr()
    (crash,) = tmp_path.glob("nmap-crash-*.txt")
    assert out == ""
    assert err == f"nmap: a bug in nmap stopped it: ValueError; what happened is in {crash}\n"
    text = crash.read_text()
    assert text.startswith("nmap check\n")
    assert "numpy " in text
    assert "Traceback" in text
    assert "secret_layer" not in text


def test_bug_in_json_is_still_one_object(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert answer(screen(format=Format.json), failing(ZeroDivisionError())) == 70
    assert json.loads(capsys.readouterr().out)["exit_status"] == 70


def test_crash_file_falls_back_to_the_temporary_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "cwd", gone)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert answer(screen(), failing(RuntimeError())) == 70
    assert len(list(tmp_path.glob("nmap-crash-*.txt"))) == 1
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "none"))
    assert answer(screen(), failing(RuntimeError())) == 70
    assert capsys.readouterr().err.endswith("stopped it: RuntimeError\n")


def test_interruption_is_not_an_error_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(screen(), failing(KeyboardInterrupt())) == INTERRUPTED == 130
    assert capsys.readouterr() == ("", "nmap: interrupted\n")


def test_interruption_that_compiled_code_swallowed_comes_again(capsys: pytest.CaptureFixture[str]) -> None:
    def callback() -> None:
        raise KeyboardInterrupt

    def work(_screen: Screen, _progress: Progress) -> Reply:
        ctypes.CFUNCTYPE(None)(callback)()
        for _ in range(200):
            time.sleep(0.05)
        return Reply("went on\n", {})

    before = sys.unraisablehook
    assert answer(screen(), work) == INTERRUPTED
    assert capsys.readouterr() == ("", "nmap: interrupted\n")
    assert sys.unraisablehook is before


def test_progress_without_a_terminal_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_screen: Screen, progress: Progress) -> Reply:
        progress("place", "4 cores")
        return Reply("", {})

    answer(screen(), work)
    assert capsys.readouterr().err == ""
    answer(screen(verbose=True), work)
    assert capsys.readouterr().err == "place      4 cores\n"
    answer(screen(verbose=True, quiet=True), work)
    assert capsys.readouterr().err == ""


class Terminal(io.TextIOWrapper):
    def __init__(self, encoding: str = "utf-8", terminal: bool = True) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    @property
    def text(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined]


@pytest.mark.parametrize("colour", [True, False])
def test_colour_on_a_terminal_unless_declined(colour: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("NO_COLOR", "" if colour else "1")
    answer(screen(quiet=True), fixed(Reply("verdict: fits\n", {}, (WARNING,))))
    assert ("\x1b[" in out.text) is colour
    assert ("\x1b[" in err.text) is colour
    assert "verdict" in out.text


def test_narrow_encoding_never_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal("ascii", terminal=False)
    monkeypatch.setattr(sys, "stdout", out)
    assert answer(screen(), fixed(Reply("5×5 2→12 · 96 % ◀ ≥ 3 – név\n", {}))) == 0
    assert out.text == "5x5 2>12 - 96 % < >= 3 - n?v\n"


def test_live_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TERM", "xterm")

    def work(_screen: Screen, progress: Progress) -> Reply:
        progress("place", "[bold]4 cores")
        return Reply("", {})

    assert answer(screen(), work) == 0
    assert "[bold]4 cores" in err.text
