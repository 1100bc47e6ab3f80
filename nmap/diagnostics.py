"""Diagnostics: what nmap tells a user about their network, their files and their choices.

One type for every message. A stage collects all it finds in a `Findings` and raises once, so that a user sees every problem
of the stage together. Codes are stable; `CATALOGUE` holds their one-line meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

__all__ = ["CATALOGUE", "Check", "Diagnostic", "Exit", "Findings", "NmapError", "Severity", "named"]

Severity = Literal["error", "warning", "note"]


def named(names: Sequence[str], most: int = 6) -> str:
    """Return the first names, quoted, and how many more there are."""
    shown = ", ".join(f"`{name}`" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


class Exit(IntEnum):
    """Exit status of the command line; part of the public contract."""

    OK = 0
    DOES_NOT_FIT = 1
    USAGE = 2
    DIFFERS = 3
    MISSING = 4
    UNKNOWN = 5
    BUG = 70


CATALOGUE: dict[str, str] = {
    "NM001": "another package owns the import name or the command `nmap`",
    "NM002": "a plug-in cannot be loaded",
    "NM003": "unknown target, variant or partitioner",
    "NM004": "wrong use of an option",
    "NM005": "a needed package is not installed",
    "NM006": "the Dask cluster cannot be used",
    "NM101": "the file cannot be opened, or is not of any format that is read",
    "NM102": "the file is of another kind",
    "NM103": "the file is truncated or a required entry is missing",
    "NM104": "a node, layer or neuron type is not supported",
    "NM105": "an edge names a node that does not exist",
    "NM106": "shapes do not fit together",
    "NM107": "a value is not finite or out of its physical range",
    "NM108": "the graph has no input, no output, or an unreachable part",
    "NM109": "the file uses an HDF5 feature that is not accepted from an untrusted file",
    "NM110": "a declared size is beyond the reader's limit",
    "NM111": "conventions contradict each other",
    "NM112": "something in the file is odd, and was read in its one sensible meaning",
    "NM201": "the target has no such neuron",
    "NM202": "the target cannot reset this way",
    "NM203": "the target cannot realise this connection",
    "NM204": "the target cannot realise a delay or a loop as the network states it",
    "NM205": "the target takes this only approximately",
    "NM206": "a parameter is accepted by the vendor's simulator but its hardware support is not documented",
    "NM207": "the chip runs slower than the network's own time",
    "NM301": "weights were clipped",
    "NM302": "a weight, bias or threshold is lost to rounding",
    "NM303": "a decay rounds to no leak or to no memory",
    "NM304": "a state may leave its range",
    "NM305": "a parameter leaves the range of its field",
    "NM306": "a biased neuron cannot be prepared for its start",
    "NM401": "no core can hold even one neuron of a population",
    "NM402": "the network needs more cores than the machine has",
    "NM403": "cores cannot be reached over the links that are left",
    "NM404": "nmap's estimate and the vendor's own mapper differ",
    "NM501": "the solver stopped without an answer",
    "NM502": "the search was stopped by the user, and the best until then was taken",
    "NM601": "the output folder cannot be written",
    "NM602": "the bundle is damaged or of another version",
    "NM603": "inputs or versions differ from the lock",
    "NM604": "how a written file was checked and is used",
    "NM701": "the emulated chip and the reference differ",
    "NM702": "the mapping breaks a limit of the chip",
    "NM703": "the vendor's simulator and the emulator differ",
    "NM704": "a check could not be run",
    "NM801": "the samples cannot be read",
    "NM802": "the samples do not fit the network's input",
    "NM803": "how the samples were read",
}


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message.

    Args:
        code: stable code of `CATALOGUE`.
        severity: `error` stops the stage; `warning` fails under `--strict`; `note` informs.
        message: one sentence that stands alone, identifiers in backticks.
        where: the place in the user's file (`net.h5:/layer/4`), or None when there is none.
        why: the reason or the arithmetic, once.
        help: at most three remedies, best first.
        data: the numbers behind the message, for machine readers.
    """

    code: str
    severity: Severity
    message: str
    where: str | None = None
    why: str | None = None
    help: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.code not in CATALOGUE:
            raise ValueError(f"diagnostic code {self.code} is not in the catalogue")

    def to_json(self) -> dict[str, Any]:
        """Return the object printed under `diagnostics` in a report."""
        return {
            "code": self.code,
            "severity": self.severity,
            "where": self.where,
            "message": self.message,
            "why": self.why,
            "help": list(self.help),
        }


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that `nmap doctor` looked at.

    Args:
        name: what.
        state: `ok`; `absent` for something optional; `broken` where nmap cannot do its work, or cannot use what is named.
        detail: what was found.
        help: how to mend it, or None.
    """

    name: str
    state: Literal["ok", "absent", "broken"]
    detail: str
    help: str | None = None


class NmapError(Exception):
    """A user-facing failure: one or more diagnostics and the exit status they imply.

    Args:
        diagnostics: what went wrong, at least one.
        exit_status: see `Exit`.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic] | Diagnostic, exit_status: Exit = Exit.USAGE) -> None:
        self.diagnostics = (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        self.exit_status = exit_status
        super().__init__("\n".join(f"{d.code} {d.where + ': ' if d.where else ''}{d.message}" for d in self.diagnostics))


class Findings:
    """Collect the diagnostics of a stage and raise them together."""

    def __init__(self) -> None:
        self._items: list[Diagnostic] = []

    def add(
        self,
        code: str,
        severity: Severity,
        message: str,
        *,
        where: str | None = None,
        why: str | None = None,
        help: Iterable[str] = (),  # noqa: A002 - the field's own name
        data: dict[str, Any] | None = None,
    ) -> None:
        """Record one diagnostic."""
        self._items.append(Diagnostic(code, severity, message, where, why, tuple(help), data or {}))

    def error(self, code: str, message: str, **kw: Any) -> None:
        """Record an error."""
        self.add(code, "error", message, **kw)

    def warning(self, code: str, message: str, **kw: Any) -> None:
        """Record a warning."""
        self.add(code, "warning", message, **kw)

    def note(self, code: str, message: str, **kw: Any) -> None:
        """Record a note."""
        self.add(code, "note", message, **kw)

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Record diagnostics made elsewhere."""
        self._items.extend(diagnostics)

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The errors recorded so far."""
        return tuple(d for d in self._items if d.severity == "error")

    def raise_errors(self, exit_status: Exit = Exit.USAGE) -> None:
        """Raise all recorded errors together, if there is one.

        Raises:
            NmapError: with every error recorded so far, worst first.
        """
        if self.errors:
            raise NmapError(self.errors, exit_status)
