"""Files for the user: where they may lie, and how they are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from nmap.diagnostics import Diagnostic, NmapError

__all__ = ["check_place", "new_file", "unwritable", "write_file"]


def check_place(path: Path, inputs: Sequence[Path]) -> None:
    """Refuse a place before the work whose result is to lie there.

    Args:
        path: of the file to write.
        inputs: files and bundles that the command reads.

    Raises:
        NmapError: NM601, it cannot or must not be written.
    """
    why = _obstacle(path, inputs)
    if why is not None:
        raise unwritable(path, why)


def _obstacle(path: Path, inputs: Sequence[Path]) -> str | None:
    """Say why a file cannot or must not be written, or return None."""
    from nmap.bundle import bundle_around, is_part

    try:
        found = path.stat()
    except FileNotFoundError:
        found = None
    except OSError as error:
        return f"{error.strerror}."
    place = Path(os.path.realpath(path))
    if found is None:
        return _bundle_obstacle(bundle_around(place)) or _folder_obstacle(place.parent)
    if stat.S_ISDIR(found.st_mode):
        return "It is a folder."
    if stat.S_ISBLK(found.st_mode) or stat.S_ISSOCK(found.st_mode):
        return "It is a disk." if stat.S_ISBLK(found.st_mode) else "It is a socket."
    for file in inputs:
        with suppress(OSError):
            if file.samefile(path):
                return f"It is `{file}`, which this run reads."
            if file.is_dir() and is_part(file, place):
                return f"It is a file of the bundle `{file}`, which this run reads."
    around = _bundle_obstacle(bundle_around(place))
    if around is not None:
        return around
    if not os.access(path, os.W_OK):
        return "You may not write to it."
    return _folder_obstacle(place.parent) if stat.S_ISREG(found.st_mode) else None


def _bundle_obstacle(bundle: Path | None) -> str | None:
    return None if bundle is None else f"It would lie in the bundle `{bundle}`, which holds only what `nmap deploy` wrote."


def _folder_obstacle(folder: Path) -> str | None:
    if not folder.is_dir():
        return f"`{folder}` is not a folder." if folder.exists() else f"The folder `{folder}` does not exist."
    return None if os.access(folder, os.W_OK | os.X_OK) else f"You may not write into `{folder}`."


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file, whole or not at all; links are followed, pipes and character devices are written through.

    Args:
        path: of the file.
        write: called once with a stream that takes bytes and can seek.

    Raises:
        NmapError: NM601, it cannot be written.
    """
    try:
        if path.exists() and not path.is_file():
            content = BytesIO()
            write(content)
            path.write_bytes(content.getbuffer())
            return
        with new_file(path) as scratch, scratch.open("wb") as stream:
            write(stream)
    except OSError as error:
        raise unwritable(path, f"{error.strerror or error}.") from error


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give an empty file beside the one that it is to replace at the end; links are followed.

    Whatever goes wrong before leaves the old file, and no trace of the new one.

    Args:
        path: of the file, a regular one if it exists.

    Raises:
        OSError: the new file cannot be made or moved into place.
    """
    place = Path(os.path.realpath(path))
    scratch = place.with_name(f".nmap-{secrets.token_hex(8)}.new")
    # A file of that name would not be ours to remove.
    scratch.open("xb").close()
    try:
        yield scratch
        scratch.replace(place)
    except BaseException:
        with suppress(OSError):
            scratch.unlink()
        raise


def unwritable(path: Path, why: str) -> NmapError:
    """Return what says that a file cannot be written."""
    return NmapError(Diagnostic("NM601", "error", f"`{path}` cannot be written", "--output", why))
