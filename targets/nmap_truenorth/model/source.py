"""Text of model files: JSON with comments and repeated keys, read piece by piece, and the problems found in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from re import compile as pattern
from typing import Any

from nmap.diagnostics import Findings, NmapError

__all__ = ["MOST_BYTES", "MalformedError", "Problems", "Scanner", "load", "uncommented", "whole"]

MOST_BYTES = 2**30
"""Largest file that is read. 4096 cores with a crossbar of their own take some 140 MB of text."""
_HEAD_BYTES = 64
"""Bytes that say of what kind a file is."""
_SPELLED = 10
"""Problems of one kind that are told one by one."""

_MOST_WHOLE = 2**53
"""Up to here a floating-point number says which whole number is meant."""

_QUOTES = pattern(rb'\\.|"')
_BLANK = pattern(r"[ \t\r\n]*")


class MalformedError(Exception):
    """The text is not what a file of this kind holds; the message is a sentence without its place.

    Args:
        message: what is wrong.
        at: the place in the text, or None.
        code: the diagnostic's code.
    """

    def __init__(self, message: str, at: int | None = None, code: str = "NM106") -> None:
        self.at = at
        self.code = code
        super().__init__(message)


class Problems:
    """Problems of one file, told together, at most some ten of a kind one by one.

    Args:
        file: the file's name as the user gave it.
        findings: receives a diagnostic for every problem.
    """

    def __init__(self, file: str, findings: Findings) -> None:
        self.file = file
        self._findings = findings
        self._counts: dict[tuple[str, str], int] = {}
        self.failed = False

    def error(
        self, code: str, message: str, place: str | Callable[[], str] = "", *, kind: str | None = None, why: str | None = None
    ) -> None:
        """Record one error at `place` ("core 17:neuron 3"); `kind` groups those that are counted together."""
        self.failed = True
        if self._spelled(code, kind or message):
            self._findings.error(code, message, where=self._where(place if isinstance(place, str) else place()), why=why)

    def errors(self, code: str, kind: str, items: Iterable[Any], tell: Callable[[Any], tuple[str, str]]) -> None:
        """Record an error for every item; `tell` gives its message and its place, for those that are spelled out."""
        for item in items:
            self.failed = True
            if self._spelled(code, kind):
                message, place = tell(item)
                self._findings.error(code, message, where=self._where(place))

    def note(self, message: str, place: str = "", *, kind: str | None = None) -> None:
        """Record something odd that was read in its one sensible meaning."""
        if self._spelled("NM112", kind or message):
            self._findings.note("NM112", message, where=self._where(place))

    def warning(self, message: str, place: str = "", *, why: str | None = None) -> None:
        """Record something odd whose sensible meaning may not be the one meant."""
        self._findings.warning("NM112", message, where=self._where(place), why=why)

    def raise_errors(self) -> None:
        """Tell how many problems of each kind were not spelled out, and raise if there is an error.

        Raises:
            NmapError: with all errors of the file.
        """
        for (code, kind), count in self._counts.items():
            if count > _SPELLED:
                more = f"{count - _SPELLED} more of the kind: {kind}"
                if code == "NM112":
                    self._findings.note(code, more, where=self.file)
                else:
                    self._findings.error(code, more, where=self.file)
        self._counts.clear()
        if self.failed:
            self._findings.raise_errors()

    def _where(self, place: str) -> str:
        return f"{self.file}:{place}" if place else self.file

    def _spelled(self, code: str, kind: str) -> bool:
        count = self._counts.get((code, kind), 0)
        self._counts[code, kind] = count + 1
        return count < _SPELLED


def load(path: Path, findings: Findings, starts: tuple[bytes, ...] = (b"",), kind: str = "") -> bytearray:
    """Return what a file holds.

    Args:
        path: the file.
        findings: receives why it is not read.
        starts: what a file of the kind starts with, blanks aside; the others are not read any further.
        kind: what a file that starts otherwise is not, "no model of ...".

    Raises:
        NmapError: NM101 where it cannot be read, NM102 where it starts with none of `starts`, NM110 where it is larger than
            `MOST_BYTES`.
    """
    name = str(path)
    try:
        if path.is_dir():
            findings.error("NM101", f"`{name}` is a folder, not a file", where=name)
        elif not path.exists():
            findings.error("NM101", f"`{name}` does not exist", where=name)
        elif not path.is_file():
            findings.error("NM101", f"`{name}` is not a regular file", where=name)
        elif (size := path.stat().st_size) > MOST_BYTES:
            findings.error("NM110", f"`{name}` has {size} bytes; at most {MOST_BYTES} are read", where=name)
        else:
            with path.open("rb") as stream:
                data = bytearray(stream.read(_HEAD_BYTES))
                known = data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(starts)
                if known:
                    data += stream.read(MOST_BYTES + 1 - len(data))
            if known and len(data) <= MOST_BYTES:
                return data
            if known:
                findings.error("NM110", f"`{name}` grows while it is read", where=name)
            else:
                findings.error("NM102", f"`{name}` is {kind}", where=name)
    except (OSError, ValueError) as error:
        findings.error("NM101", f"`{name}` cannot be read", where=name, why=str(error))
    raise NmapError(findings.errors)


def uncommented(data: bytearray) -> str:
    """Return the text with every comment (`/* */`, `//`) blanked; other characters keep their place. `data` is changed.

    Raises:
        MalformedError: where a comment does not end or the text is not UTF-8.
    """
    if data.startswith(b"\xef\xbb\xbf"):
        data[:3] = b"   "
    at, inside = 0, False
    while (slash := data.find(b"/", at)) >= 0:
        if data.find(b"\\", at, slash) < 0:
            inside ^= bool(data.count(b'"', at, slash) & 1)
        else:
            inside ^= bool(sum(found.group() == b'"' for found in _QUOTES.finditer(data, at, slash)) & 1)
        at = slash + 1
        if inside:
            continue
        if data.startswith(b"*", at):
            end = data.find(b"*/", at + 1) + 2
            if end < 2:
                raise MalformedError("a comment does not end", slash, "NM103")
        elif data.startswith(b"/", at):
            end = data.find(b"\n", at)
            end = len(data) if end < 0 else end
        else:
            continue
        data[slash:end] = b" " * (end - slash)
        at = end
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("the text is not UTF-8", error.start, "NM102") from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of a model file")


def _number(text: str) -> int | float:
    """Return 1.0, as some programs write whole numbers, as the whole number that it is."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) <= _MOST_WHOLE else value


class Scanner:
    """Read JSON text value by value, so that a large file never is in memory as a whole tree. Numbers such as 1.0 are whole.

    Args:
        text: the text, without comments.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._at = 0
        self._decoder = json.JSONDecoder(strict=False, parse_constant=_refuse, parse_float=_number)

    def peek(self) -> str:
        """Return the next character that is not blank, "" at the end."""
        found = _BLANK.match(self.text, self._at)
        self._at = found.end() if found else self._at
        return self.text[self._at : self._at + 1]

    def members(self) -> Iterator[str]:
        """Yield the keys of an object, repeated ones as often as they are there; the caller takes each key's value.

        Raises:
            MalformedError: where the text is not JSON.
        """
        self._expect("{")
        if self.peek() == "}":
            self._at += 1
            return
        while True:
            if self.peek() != '"':
                raise MalformedError("the text is not JSON: a key in quotes is expected", self._at, "NM103")
            key = self.value()
            self._expect(":")
            yield key
            if self.peek() != ",":
                break
            self._at += 1
        self._expect("}")

    def elements(self) -> Iterator[Any]:
        """Yield the values of a list.

        Raises:
            MalformedError: where the text is not JSON.
        """
        self._expect("[")
        if self.peek() == "]":
            self._at += 1
            return
        while True:
            yield self.value()
            if self.peek() != ",":
                break
            self._at += 1
        self._expect("]")

    def value(self) -> Any:
        """Return the next value; of a key that an inner object repeats, the last value counts.

        Raises:
            MalformedError: where the text is not JSON.
        """
        self.peek()
        try:
            value, self._at = self._decoder.raw_decode(self.text, self._at)
        except json.JSONDecodeError as error:
            raise MalformedError(f"the text is not JSON: {error.msg}", error.pos, "NM103") from None
        except RecursionError:
            raise MalformedError("lists or objects are nested too deeply", self._at, "NM110") from None
        except ValueError as error:
            raise MalformedError(f"a number cannot be read: {error}", self._at, "NM107") from None
        return value

    @property
    def at(self) -> int:
        """Where the scanner stands in the text."""
        return self._at

    def separator(self) -> None:
        """Pass a comma, where one is next."""
        if self.peek() == ",":
            self._at += 1

    def end(self) -> None:
        """Make sure that nothing follows, and let go of the text.

        Raises:
            MalformedError: where something does.
        """
        if self.peek():
            raise MalformedError("something follows the end of the JSON text", self._at)
        self.text = ""
        self._at = 0

    def _expect(self, character: str) -> None:
        if self.peek() != character:
            raise MalformedError(
                f"the text is not JSON: `{character}` is expected" + ("" if self.peek() else ", but the text ends"), self._at, "NM103"
            )
        self._at += 1

    def line(self, at: int | None) -> str:
        """Return "line 12" for a place in the text, "" for None."""
        return "" if at is None else f"line {self.text.count(chr(10), 0, at) + 1}"


def whole(value: Any, least: int, most: int) -> bool:
    """Whether a JSON value is a whole number of a range. True and false are no numbers."""
    return type(value) is int and least <= value <= most
