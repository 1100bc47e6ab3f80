"""Write networks: NIR files that `nir.read` accepts and that nmap reads back as equal networks."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nmap.diagnostics import Diagnostic, NmapError
from nmap.network import Network
from nmap.writers.images import Members
from nmap.writers.nir import nir_of

__all__ = ["write"]


def write(network: Network, path: str | os.PathLike[str]) -> Path:
    """Write a network as a NIR file.

    The file has the layout of NIR 1.0.8; the network's conventions stand in its metadata. It is written beside its place and renamed
    into place: whatever goes wrong leaves an older file as it was. The same network gives the same bytes.

    `nir.read` accepts the file, with its type check wherever that can be met: pools are pools, and nodes that change nothing but a shape
    stand before a population of two or three dimensions that a vector arrives at (`nmap.writers.images`). Left are what the check of
    NIR 1.0.8 itself gets wrong, convolutions with groups and those with kernels that are not square (unless they keep their input's
    size), and what NIR has no nodes for: a vector that arrives at a population of four or more dimensions, that a convolution reads as
    an image, or whose delays differ between the neurons of an image, and shapes whose nodes would take too long to read. Give it
    `type_check=False` for these.

    Args:
        network: as `nmap.read` returns it, or made from such a one.
        path: the file's place; an existing file is replaced.

    Returns:
        The file's path.

    Raises:
        NmapError: NM104, one diagnostic that names every population and projection that NIR has no word for; NM601 where the file
            cannot be written; NM004 where what is given is no network, or no path.
    """
    if not isinstance(network, Network):
        raise NmapError(
            Diagnostic(
                "NM004",
                "error",
                f"an object of type `{type(network).__qualname__}` is not a network that can be written",
                help=("read it first: `nmap.write(nmap.read(...), path)`",),
            )
        )
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise NmapError(
            Diagnostic("NM004", "error", f"an object of type `{type(path).__qualname__}` is no path", help=("give the path as text",))
        )
    place = Path(path)
    with _telling(place):
        if place.is_dir():
            raise IsADirectoryError(errno.EISDIR, "")
        target = Path(os.path.realpath(place))
        # A rename would put a file in the place of a device or a pipe; a name that ends in a slash is a folder's.
        if os.fspath(path).endswith(os.sep) or (os.path.lexists(target) and not target.is_file()):
            raise ValueError("it is no regular file")
    root = nir_of(network)
    scratch = target.with_name(f".nmap-{secrets.token_hex(8)}.new")
    with _telling(place):
        try:
            with h5py.File(scratch, "x") as file:
                _store(file, root)
            if target.exists():
                shutil.copymode(target, scratch)
            scratch.replace(target)
        finally:
            with suppress(OSError):
                scratch.unlink()
    return place


@contextmanager
def _telling(place: Path) -> Iterator[None]:
    """Turn what the operating system says about a place into NM601."""
    try:
        yield
    except (OSError, ValueError) as error:
        # The HDF5 library packs the system's short words into a long message.
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        remedies = ("choose another place, in a folder that exists",)
        raise NmapError(Diagnostic("NM601", "error", f"`{place}` cannot be written", str(place), f"{why}.", remedies)) from error


def _store(group: Any, members: Members) -> None:
    for name, value in members.items():
        if isinstance(value, dict):
            _store(group.create_group(name), value)
        elif isinstance(value, list):
            pairs = np.array(value, object).reshape(-1, 2)
            group.create_dataset(name, data=pairs, dtype=h5py.string_dtype())
        elif isinstance(value, str):
            group.create_dataset(name, data=value, dtype=h5py.string_dtype())
        else:
            group.create_dataset(name, data=value)
