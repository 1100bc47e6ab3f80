"""Arrays in an `.npz` file, as `numpy.load` reads it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

from nmap.connectivity import Array

__all__ = ["write_archive"]

_LEVEL = 1
"""Of deflate: spikes are mostly zeros, which a higher level packs hardly better and several times as slowly."""


def write_archive(stream: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Write arrays, compressed; the same arrays give the same bytes.

    Args:
        stream: takes bytes, and can seek.
        arrays: by name.

    Raises:
        OSError: the stream takes no more.
    """
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(values), allow_pickle=False)
