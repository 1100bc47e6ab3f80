"""The entry point of the command `nmap`: parse, hand over to a command, return its exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import Annotated, Any

import typer

from nmap.cli import check, conflicts, deploy, doctor, export, inspect, report, targets, verify
from nmap.cli import run as run_command
from nmap.cli.options import Format
from nmap.cli.serve import INTERRUPTED, TERMINATED, Screen, answer, print_failure, terminable
from nmap.diagnostics import Diagnostic, Exit, NmapError

__all__ = ["app", "run"]

app = typer.Typer(
    name="nmap", rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done, 1 does not fit, 2 wrong usage, 3 verification differs, 4 something is not installed, 5 could not tell, "
    "70 a bug in nmap, 130 interrupted, 143 terminated.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from nmap.report.versions import nmap_version

        typer.echo(f"nmap-snn {nmap_version()}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Deploy trained spiking networks onto neuromorphic chips, and prove that the result computes the same spikes."""
    del version


for _name, _function, _line in (
    ("deploy", deploy.deploy, "Map a network to a chip, prove it, write a bundle."),
    ("check", check.check, "Does it fit, and what limits it? Writes nothing."),
    ("run", run_command.run, "Samples in, spikes out."),
    ("verify", verify.verify, "Check a bundle again."),
    ("export", export.export, "Write the quantized network as a file of the vendor's tools."),
    ("report", report.report, "Print a bundle's report."),
    ("inspect", inspect.inspect, "What is in a network file, and what was assumed."),
    ("targets", targets.targets, "Chips, their limits and the sources of these."),
    ("doctor", doctor.doctor, "Is everything there that nmap needs?"),
):
    app.command(_name, short_help=_line)(_function)

_COMMANDS = frozenset(str(command.name) for command in app.registered_commands)
# numpy's products are small here, and threads of nmap's own share the work. Those of the library for products wait for each other in
# busy loops, which on a machine that does other things, too, costs several times the time of the products themselves.
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_SPEAK_FOR_THEMSELVES = frozenset({"-h", "--help", "--version", "doctor"})


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status of DESIGN's contract (`nmap.diagnostics.Exit`; 130 after Ctrl-C, 143 after SIGTERM).

    Args:
        argv: words after the program's name; None for the process's own.
    """
    for name in _ONE_THREAD:
        # Read when numpy is imported, which no command does before its work begins. What the user says counts more.
        os.environ.setdefault(name, "1")
    try:
        with terminable() as terminated:
            status = _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        status = INTERRUPTED
    return TERMINATED if terminated() else status


def _run(words: list[str]) -> int:
    if not words:
        words = ["--help"]
    screen = Screen(("nmap", *words), Format.json if _wants_json(words) else Format.text)
    if words[0] not in _COMMANDS and conflicts.looks_like_scanning(words):
        other = conflicts.other_command()
        where = f"the scanner is {other}" if other is not None else "no other `nmap` is on PATH"
        return print_failure(screen, NmapError(Diagnostic(
            "NM004", "error", f"this `nmap` is nmap-snn, which maps spiking networks to chips, not the network scanner; {where}",
        )))
    found = () if words[0] in _SPEAK_FOR_THEMSELVES else conflicts.name_conflicts()
    if found:
        return print_failure(screen, NmapError(found, Exit.MISSING))
    try:
        status: Any = typer.main.get_command(app).main(args=words, prog_name="nmap", standalone_mode=False, obj=screen.command)
    except typer.Exit as leaving:
        return leaving.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        return _failed(screen, words, error)
    return status if isinstance(status, int) else 0


def _failed(screen: Screen, words: Sequence[str], error: Exception) -> int:
    # Typer's usage errors have had two base classes over its versions, and only this method in common.
    message = getattr(error, "format_message", None)
    if message is None:
        return answer(screen, lambda _screen, _progress: _reraise(error))
    command = f"nmap {words[0]}" if words[0] in _COMMANDS else "nmap"
    text = message().rstrip(".")
    help_lines = [f"{command} --help lists what it takes"]
    if command == "nmap" and not words[0].startswith("-"):
        text = f"nmap has no command `{words[0]}`"
        help_lines = [f"did you mean `nmap {name}`?" for name in get_close_matches(words[0], _COMMANDS, 1)] or help_lines
    other = conflicts.other_command()
    if other is not None:
        help_lines.append(f"this is nmap-snn; another `nmap` lies at {other}")
    return print_failure(screen, NmapError(Diagnostic("NM004", "error", text, help=tuple(help_lines))))


def _reraise(error: Exception) -> Any:
    raise error


def _wants_json(words: Sequence[str]) -> bool:
    # `nmap export` says --print, since its --format is that of the file.
    return any(f"{option}=json" in words or (option, "json") in pairwise(words) for option in ("--format", "--print"))
