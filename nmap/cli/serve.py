"""What every command shares: where output goes, progress, exit status, crash files.

Reports go to stdout, diagnostics and progress to stderr. With `--format json` stdout is exactly one JSON object, also after a failure.
"""

from __future__ import annotations

import _thread
import errno
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, NoReturn, TextIO

import typer

from nmap.cli.options import Format
from nmap.diagnostics import Diagnostic, Exit, NmapError

__all__ = ["INTERRUPTED", "TERMINATED", "Reply", "Screen", "answer", "print_failure", "serve", "terminable", "write_crash_file"]

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells count it."""
TERMINATED = 143
"""Exit status after SIGTERM, as shells count it."""

# One character for one wherever it occurs in tables, so that columns stay where they are.
_ASCII = str.maketrans({
    "·": "-", "×": "x", "→": ">", "◀": "<", "–": "-", "…": "~", "≠": "!=", "≥": ">=", "≤": "<=", "µ": "u", "−": "-",
})

# What says that output, not the work, has no place to go; with a name of a file it is about that file.
_LOST = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF, errno.EIO})

Progress = Callable[[str, str], None]


class _Terminated(KeyboardInterrupt):
    """SIGTERM: ends a command as Ctrl-C does, whatever `--keep-best` says of that."""

    swallowed: ClassVar[bool] = False


@contextmanager
def terminable() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM into an orderly end, in which `finally` blocks run: a vendor's processes and scratch folders must not stay behind.

    Gives what says whether the signal came. A handler of someone else's is kept, and so is the signal outside of the main thread.
    """
    came = False

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's signature
        nonlocal came
        # `timeout` sends it twice: tidying up is interrupted only where what interrupted the work was swallowed.
        if not came or _Terminated.swallowed:
            came, _Terminated.swallowed = True, False
            raise _Terminated

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    _Terminated.swallowed = False
    if ours:
        signal.signal(signal.SIGTERM, end)
    try:
        yield lambda: came
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _LostStream(Exception):  # noqa: N818 - an event
    """A standard stream takes no text: closed, or on a full disk."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command answers.

    Args:
        text: the report, for stdout.
        report: the JSON object of `--format json`.
        diagnostics: for stderr.
        exit_status: of the command.
        short: the verdict in one line, for `-q`.
        written: False for a command that writes and wrote nothing.
    """

    text: str
    report: dict[str, Any]
    diagnostics: Sequence[Diagnostic] = ()
    exit_status: int = 0
    short: str | None = None
    written: bool | None = None


@dataclass(frozen=True, slots=True)
class Screen:
    """How to print.

    Args:
        command: the words of the command line.
        format: text or JSON.
        quiet, verbose: `-q` and `-v`.
        strict: warnings make the exit status 1.
    """

    command: tuple[str, ...] = field(default_factory=lambda: ("nmap", *sys.argv[1:]))
    format: Format = Format.text
    quiet: bool = False
    verbose: bool = False
    strict: bool = False


def serve(
    context: typer.Context, work: Callable[[Screen, Progress], Reply], *, format: Format = Format.text,  # noqa: A002 - the option's name
    quiet: bool = False, verbose: bool = False, strict: bool = False,
) -> NoReturn:
    """Run a command's work, print its answer and leave with its exit status.

    Args:
        context: `obj` holds the words of the command line; without it they are taken from the process.
        work: called with the screen and a function for progress.
        format, quiet, verbose, strict: see `Screen`.

    Raises:
        typer.Exit: always, with the exit status.
    """
    command = context.obj if isinstance(context.obj, tuple) else ("nmap", *sys.argv[1:])
    raise typer.Exit(answer(Screen(command, format, quiet, verbose, strict), work))


def answer(screen: Screen, work: Callable[[Screen, Progress], Reply]) -> int:
    """Run a command's work, print its answer and return the exit status; never raises for a mistake of the user or a bug."""
    hook, sys.unraisablehook = sys.unraisablehook, _after_swallowed
    try:
        _occupy_closed()
        try:
            if screen.format is Format.sarif:
                raise NmapError(Diagnostic(
                    "NM004", "error", "`--format sarif` is not available yet", "--format", help=("use `--format json`",),
                ))
            with _progress(screen) as progress:
                reply = work(screen, progress)
        except NmapError as error:
            return print_failure(screen, error)
        return _print_reply(screen, reply)
    except KeyboardInterrupt as error:
        ended = isinstance(error, _Terminated)
        _tell("nmap: terminated" if ended else "nmap: interrupted")
        return TERMINATED if ended else INTERRUPTED
    except BrokenPipeError:
        _abandon()
        return 0
    except Exception as error:
        # Typer prints help by itself.
        if isinstance(error, OSError) and error.errno in _LOST and error.filename is None:
            return _lost(error.strerror or "output cannot be written", 0)
        return _crash(screen, error)
    finally:
        sys.unraisablehook = hook


def _after_swallowed(lost: sys.UnraisableHookArgs) -> None:
    """Interrupt again after a Ctrl-C or SIGTERM that came in a callback of compiled code, which cannot pass an exception on."""
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    # From another thread and a moment later: here, the exception would be lost again.
    _Terminated.swallowed = issubclass(lost.exc_type, _Terminated)
    threading.Timer(0.05, _thread.interrupt_main, (signal.SIGTERM if _Terminated.swallowed else signal.SIGINT,)).start()


def print_failure(screen: Screen, error: NmapError) -> int:
    """Print the diagnostics of a failure and return its exit status."""
    report: dict[str, Any] = {}
    if screen.format is Format.json:
        from nmap.report.json import failure_to_json

        report = failure_to_json(error, screen.command)
    return _print_reply(screen, Reply("", report, error.diagnostics, int(error.exit_status)))


def _print_reply(screen: Screen, reply: Reply) -> int:
    """Print a reply and return the exit status; a reader that has gone is no error, a stream that takes no text is."""
    status, report = _counted(screen, reply)
    try:
        _print_out(screen, reply, report)
    except BrokenPipeError:
        _abandon()
    except _LostStream as lost:
        return _lost(str(lost), 0)
    try:
        _print_diagnostics(screen, reply, status)
    except BrokenPipeError:
        _abandon()
    except _LostStream as lost:
        return _lost(str(lost), status)
    return status


def _counted(screen: Screen, reply: Reply) -> tuple[int, dict[str, Any]]:
    """Return the exit status and the JSON report, warnings counted as `--strict` has it."""
    status, report = reply.exit_status, reply.report
    if screen.strict and status == 0 and any(d.severity == "warning" for d in reply.diagnostics):
        status = int(Exit.DOES_NOT_FIT)
        if "exit_status" in report:
            report = {**report, "exit_status": status, "status": "error"}
    return status, report


def _print_out(screen: Screen, reply: Reply, report: dict[str, Any]) -> None:
    if screen.format is Format.json:
        from json import dumps

        _write(sys.stdout, dumps(report, indent=2, ensure_ascii=True, allow_nan=False) + "\n")
    elif screen.quiet and reply.short is not None:
        _write(sys.stdout, reply.short + "\n")
    else:
        _write(sys.stdout, reply.text)


def _print_diagnostics(screen: Screen, reply: Reply, status: int) -> None:
    if reply.diagnostics or status:
        from nmap.report.messages import render_all

        text = render_all(reply.diagnostics, notes=not screen.quiet)
        errors = sum(d.severity == "error" for d in reply.diagnostics)
        if errors:
            nothing = ", nothing written" if reply.written is False else ""
            text += f"\n\nerror: {errors} problem{'' if errors == 1 else 's'}{nothing} (exit {status})"
        elif status and screen.strict:
            text += f"\n\nerror: warnings count as errors under --strict (exit {status})"
        if text:
            _write(sys.stderr, text + "\n")


def _write(stream: TextIO | None, text: str) -> None:
    """Print text, coloured on a terminal, in the stream's own encoding.

    Raises:
        _LostStream: the stream is closed or takes no text; why, in words.
        BrokenPipeError: its reader has gone.
    """
    if not text:
        return
    # Python has no stream where the shell closed it.
    if stream is None or stream.closed:
        raise _LostStream("the stream is closed")
    try:
        _write_open(stream, _harmless(text))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _LostStream(error.strerror or str(error)) from error


def _harmless(text: str) -> str:
    """Escape what would steer a terminal: names of files and in files are the user's, or anyone's."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _write_open(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        text = text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    if _is_terminal(stream) and not os.environ.get("NO_COLOR"):
        _write_coloured(stream, text)
    else:
        stream.write(text)
    stream.flush()


def _write_coloured(stream: TextIO, text: str) -> None:
    from rich.console import Console
    from rich.text import Text

    rich = Text(text)
    for pattern, style in (
        (r"(?m)^error(\[NM\d+\])?:", "bold red"), (r"(?m)^warning(\[NM\d+\])?:", "bold yellow"), (r"(?m)^note(\[NM\d+\])?:", "bold cyan"),
        (r"(?m)^  (why|help|-->)", "bold blue"), (r"◀.*", "bold yellow"), (r"(?m)^verdict: (fits|ok)", "bold green"),
        (r"(?m)^verdict: (does not|verification|could not|failed).*", "bold red"), (r"(?m)^(Next|Wrote)\b", "bold"),
    ):
        rich.highlight_regex(pattern, style)
    Console(file=stream, highlight=False, soft_wrap=True).print(rich, end="")


@contextmanager
def _progress(screen: Screen) -> Iterator[Progress]:
    if screen.quiet:
        yield _silent
    elif _is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb":
        with _live() as show:
            yield show
    elif screen.verbose:
        yield _line
    else:
        yield _silent


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _silent(stage: str, text: str) -> None:
    del stage, text


def _line(stage: str, text: str) -> None:
    # Work goes on though nobody sees it.
    with suppress(_LostStream, BrokenPipeError):
        _write(sys.stderr, f"{stage:<10} {text}".rstrip() + "\n")


@contextmanager
def _live() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    # markup=False: a network's names are shown as they are.
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Bar(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(stage: str, text: str) -> None:
            bar.update(task, description=f"{stage:<10} {text}")

        yield show


def _occupy_closed() -> None:
    """Keep the numbers of closed standard streams taken: what a library prints must not land in a file opened next."""
    if any(stream is None for stream in (sys.stdin, sys.stdout, sys.stderr)):
        number = os.open(os.devnull, os.O_RDWR)
        while number <= 2:
            number = os.open(os.devnull, os.O_RDWR)
        os.close(number)


def _lost(why: str, status: int) -> int:
    """Say once that output went nowhere and return the exit status: that of a failure already, or 2."""
    _abandon()
    _tell(f"nmap: output cannot be written: {why}")
    return status or int(Exit.USAGE)


def _tell(line: str) -> None:
    """Print a line to stderr if that is possible at all."""
    try:
        _write(sys.stderr, line + "\n")
    except (_LostStream, BrokenPipeError):
        _abandon()


def _abandon() -> None:
    """Let go of the standard streams that take no text, for example in `nmap targets | head -1`."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                # What Python still flushes at exit has to go somewhere.
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _crash(screen: Screen, error: Exception) -> int:
    path = write_crash_file(screen.command, error)
    told = f"; what happened is in {path}" if path is not None else ""
    _tell(f"nmap: a bug in nmap stopped it: {type(error).__name__}{told}")
    try:
        if screen.format is Format.json:
            from json import dumps

            from nmap.report.json import failure_to_json

            _write(sys.stdout, dumps(failure_to_json(NmapError((), Exit.BUG), screen.command), indent=2) + "\n")
    except (_LostStream, BrokenPipeError):
        _abandon()
    return int(Exit.BUG)


def write_crash_file(command: Sequence[str], error: BaseException) -> Path | None:
    """Write the command, versions and traceback, and no data of the network, to the current or else the temporary folder.

    Returns:
        The file, or None when neither folder can be written to.
    """
    from shlex import join

    from nmap.report.versions import package_versions

    versions = "".join(f"{name} {value or 'not installed'}\n" for name, value in package_versions().items())
    frames = "".join(traceback.format_tb(error.__traceback__))
    # Most exceptions may quote values of the user's network; these name only code.
    said = f": {error}" if isinstance(error, ImportError | AttributeError | NameError) else ""
    text = f"{join(command)}\n\n{versions}{sys.platform}\n\nTraceback (most recent call last):\n{frames}{type(error).__name__}{said}\n"
    name = f"nmap-crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in (Path.cwd, lambda: Path(tempfile.gettempdir())):
        with suppress(OSError):
            path = folder() / name
            with path.open("x", encoding="utf-8", errors="replace") as stream:
                stream.write(text)
            return path
    return None
