"""The bundle: a folder with everything a deployment made, written whole or not at all, and checked when it is read.

`manifest.json` holds the hashes of every file and of everything the bundle was made from; `nmap.lock` the same without the command, to be
kept under version control. Neither holds a time or a folder's name: the same input, options and versions give the same bytes.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from nmap.diagnostics import Diagnostic, Exit, Findings, NmapError, named
from nmap.digest import sha256_of

__all__ = [
    "LOCK", "MANIFEST", "SCHEMA", "Bundle", "bundle_around", "check_lock", "check_manifest", "check_place", "is_part", "read_bundle",
    "write_bundle",
]

SCHEMA = "nmap.bundle/1"
LOCK_SCHEMA = "nmap.lock/1"
MANIFEST = "manifest.json"
LOCK = "nmap.lock"

_ADDED = frozenset({"report.html"})
"""Files a later command puts into a bundle; no hash covers them."""
_LOCKED = ("nmap", "versions", "network", "samples", "target", "conventions", "options", "from", "interrupted")
"""What a lock pins, in the order in which differences are told."""
_MANIFEST_LIMIT = 1 << 24
"""Bytes read of a manifest at most: one of ours takes some hundred bytes a file."""


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle whose files were compared with their hashes.

    Args:
        folder: where it lies.
        manifest: content of `manifest.json`.
        files: path by name inside the bundle, the manifest and the lock excluded.
    """

    folder: Path
    manifest: dict[str, Any]
    files: dict[str, Path]

    def path(self, name: str) -> Path:
        """Return the path of a file, or of a folder that holds files of the bundle.

        Raises:
            NmapError: NM602, the bundle has no such file or folder.
        """
        if name in self.files or any(known.startswith(f"{name}/") for known in self.files):
            return self.folder / name
        raise _damaged(self.folder, f"the bundle `{self.folder}` has no `{name}`")

    def report(self) -> dict[str, Any]:
        """Return the report the bundle was written with, an object of schema `nmap.report/1`.

        Raises:
            NmapError: NM602, the bundle has no report or it is not JSON.
        """
        return _load_object(self.path("report.json"), self.folder)


def write_bundle(folder: Path, files: dict[str, bytes | Path], manifest: dict[str, Any]) -> None:
    """Write a bundle beside its place and rename it into place.

    Until the rename the old bundle stays as it is; whatever goes wrong before leaves it, and no trace of the new one.

    Args:
        folder: the bundle's place: absent, empty, or a bundle, which is replaced. Its parent folder is made, but not the parent's parent,
            which is a mistyped path more often than not.
        files: content, or a file to copy, by relative path with `/`.
        manifest: what the bundle was made from (hashes of inputs and chip data, versions, options, command); `schema` and `files`
            (sha256 by name) are added. Must be JSON and must not hold times.

    Raises:
        NmapError: NM601, the folder cannot be written or holds something that is not nmap's to replace.
        ValueError: a name leads outside the bundle or is taken by nmap itself; a defect of the caller.
    """
    for name in files:
        if not _is_inside(name) or name in (MANIFEST, LOCK):
            raise ValueError(f"`{name}` is not a name for a file of a bundle")
    check_place(folder)
    place = Path(os.path.realpath(folder))
    scratch = place.parent / f".{place.name}.{secrets.token_hex(4)}.new"
    try:
        place.parent.mkdir(exist_ok=True)
        scratch.mkdir()
        hashes = {}
        for name, content in sorted(files.items()):
            path = scratch / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, path)
            else:
                path.write_bytes(content)
            hashes[name] = sha256_of(path)
        pinned = {key: manifest[key] for key in _LOCKED if key in manifest}
        _dump(scratch / LOCK, {"schema": LOCK_SCHEMA, **pinned, "files": hashes})
        _dump(scratch / MANIFEST, {"schema": SCHEMA, **manifest, "files": {**hashes, LOCK: sha256_of(scratch / LOCK)}})
        _move_into_place(scratch, place)
    except OSError as error:
        raise _unwritable(folder, f"`{folder}` cannot be written", f"{error.strerror or error}: {error.filename or folder}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_place(folder: Path) -> None:
    """Refuse a place that `write_bundle` would refuse; to be asked before the work whose result is to lie there.

    Raises:
        NmapError: NM601, see `write_bundle`.
    """
    place = Path(os.path.realpath(folder))
    if not os.path.lexists(place):
        parent = place.parent if place.parent.exists() else place.parent.parent
        if not parent.is_dir():
            missing = f"`{place.parent}` would have to be made, but `{parent}` does not exist."
            why = f"`{parent}` is not a folder." if parent.exists() else missing
            raise _unwritable(folder, f"`{folder}` cannot be written", why, ("make the folder it is to lie in",))
        if not os.access(parent, os.W_OK | os.X_OK):
            raise _unwritable(folder, f"`{folder}` cannot be written", f"You may not write into `{parent}`.")
        return
    if not place.is_dir():
        raise _unwritable(folder, f"`{folder}` is a file, not a folder", help=("choose another folder with --output",))
    if _is_around_us(place):
        raise _unwritable(
            folder, f"`{folder}` is the current folder, or one around it: nmap does not replace it",
            "Replacing it would leave the shell in a folder that is gone.", ("choose another folder with --output",),
        )
    try:
        present = sorted(_walk(place))
    except OSError as error:
        raise _unwritable(folder, f"`{folder}` cannot be read", str(error)) from error
    if not present:
        return
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise _unwritable(folder, f"`{folder}` cannot be replaced", f"You may not write into `{place.parent}`.")
    hint = ("choose another folder with --output",)
    try:
        manifest = _load_object(place / MANIFEST, place)
    except NmapError as error:
        raise _unwritable(folder, f"`{folder}` is not empty and is not a bundle: nmap does not replace it", help=hint) from error
    if not _is_ours(manifest):
        raise _unwritable(folder, f"`{folder}` is not empty and is not a bundle: nmap does not replace it", help=hint)
    foreign = [name for name in present if name not in manifest["files"] and name != MANIFEST and name not in _ADDED]
    if foreign:
        some = named(foreign, 3)
        raise _unwritable(
            folder, f"the bundle `{folder}` holds files nmap did not write: {some}", "Replacing the bundle would delete them.",
            ("move them elsewhere", *hint),
        )


def read_bundle(folder: Path) -> Bundle:
    """Open a bundle and compare every file with its hash.

    Files the manifest does not name are ignored. No link is followed and no name leads outside the folder.

    Raises:
        NmapError: NM602, with every damaged file at once.
    """
    if not folder.is_dir():
        what = "is a file, not a bundle" if folder.exists() else "does not exist"
        raise _damaged(folder, f"the bundle `{folder}` {what}", help=("`nmap deploy` writes bundles",))
    if not (folder / MANIFEST).is_file():
        raise _damaged(
            folder, f"`{folder}` is not a bundle: it has no {MANIFEST}", help=("give the folder `nmap deploy` wrote",)
        )
    manifest = _load_object(folder / MANIFEST, folder)
    if manifest.get("schema") != SCHEMA:
        raise _damaged(
            folder, f"the bundle `{folder}` has schema `{manifest.get('schema')}`, this nmap reads `{SCHEMA}`",
            help=("deploy the network again with this version",),
        )
    hashes = manifest.get("files")
    if not isinstance(hashes, dict) or not all(isinstance(value, str) for value in hashes.values()):
        raise _damaged(folder, f"the manifest of `{folder}` lists no files")
    findings, paths = Findings(), {}
    for name, expected in sorted(hashes.items()):
        problem = _problem(folder, name, expected)
        if problem is None:
            paths[name] = folder / name
        else:
            findings.error("NM602", f"`{name}` of the bundle {problem}", where=str(folder), help=("deploy the network again",))
    findings.raise_errors()
    paths.pop(LOCK, None)
    return Bundle(folder, manifest, paths)


def check_manifest(bundle: Bundle) -> None:
    """Compare what a run depends on with what the bundle's lock, whose hash is known, says of it.

    Raises:
        NmapError: NM602, with every difference at once.
    """
    if LOCK not in bundle.manifest["files"]:
        return
    lock, findings = _load_object(bundle.folder / LOCK, bundle.folder), Findings()
    for key in ("network", "samples", "conventions", "options"):
        for path, recorded, found in _differences(key, lock.get(key), bundle.manifest.get(key)):
            findings.error(
                "NM602", f"{path} of the bundle is {_shown(found)}, and was {_shown(recorded)} when it was written",
                where=str(bundle.folder / MANIFEST), help=("deploy the network again",),
            )
    findings.raise_errors()


def is_part(folder: Path, path: Path) -> bool:
    """Tell whether a file, named by its real path, is the manifest or the lock of a bundle or named by its manifest.

    Raises:
        OSError: the folder cannot be resolved.
    """
    root = folder.resolve(strict=True)
    if not path.is_relative_to(root) or not (root / MANIFEST).is_file():
        return False
    name = path.relative_to(root).as_posix()
    try:
        known = _load_object(root / MANIFEST, folder).get("files")
    except NmapError:
        known = None
    return name in (MANIFEST, LOCK) or (isinstance(known, dict) and name in known)


def bundle_around(path: Path) -> Path | None:
    """Return the innermost folder around a place, named by its real path, whose manifest is one of nmap's; None where there is none."""
    for folder in path.parents:
        if (folder / MANIFEST).is_file():
            try:
                manifest = _load_object(folder / MANIFEST, folder)
            except NmapError:
                continue
            if _is_ours(manifest):
                return folder
    return None


def _is_ours(manifest: dict[str, Any]) -> bool:
    """Tell whether a manifest is that of a bundle, of this or another version of nmap."""
    return str(manifest.get("schema")).startswith("nmap.bundle/") and isinstance(manifest.get("files"), dict)


def check_lock(folder: Path, manifest: dict[str, Any]) -> None:
    """Compare what a deployment is about to use with the bundle's `nmap.lock`.

    Args:
        folder: the bundle that is about to be replaced.
        manifest: as given to `write_bundle`.

    Raises:
        NmapError: NM603, with every difference at once, or without a lock.
    """
    if not (folder / LOCK).is_file():
        raise NmapError(Diagnostic(
            "NM603", "error", f"`{folder}` holds no {LOCK} to compare with", str(folder),
            help=("run once without --locked, and keep the lock it writes",),
        ))
    lock = _load_object(folder / LOCK, folder)
    if lock.get("schema") != LOCK_SCHEMA:
        raise _damaged(folder, f"`{folder / LOCK}` has schema `{lock.get('schema')}`, this nmap reads `{LOCK_SCHEMA}`")
    # Through JSON, since the lock has no tuples.
    current = json.loads(json.dumps({key: manifest.get(key) for key in _LOCKED}))
    findings = Findings()
    for key in _LOCKED:
        for path, old, new in _differences(key, lock.get(key), current[key]):
            findings.error(
                "NM603", f"{path} is {_shown(new)}, the lock has {_shown(old)}", where=str(folder / LOCK),
                help=("run without --locked to accept the change and renew the lock",),
            )
    findings.raise_errors()


def _differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(f"{path}.{key}", old.get(key), new.get(key))
    elif old != new:
        yield path, old, new


def _shown(value: Any) -> str:
    text = "absent" if value is None else f"`{value}`" if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _walk(folder: Path) -> Iterator[str]:
    """Names of the files below a folder, without Python's caches, which running an emitted program leaves behind."""
    for root, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if name != "__pycache__"]
        inside = Path(root).relative_to(folder)
        yield from (str(PurePosixPath(inside / name)) for name in names)
        yield from (str(PurePosixPath(inside / name)) for name in folders if (Path(root) / name).is_symlink())


def _is_around_us(place: Path) -> bool:
    try:
        return Path.cwd().is_relative_to(place)
    except OSError:
        # A current folder that is gone is in nobody's way.
        return False


def _raise(error: OSError) -> None:
    raise error


def _move_into_place(scratch: Path, place: Path) -> None:
    if not place.is_dir() or not any(place.iterdir()):
        scratch.replace(place)
        return
    # A folder cannot be renamed over a full one; the old bundle steps aside and returns if the new one cannot take its place.
    aside = place.parent / f".{place.name}.{secrets.token_hex(4)}.old"
    try:
        place.replace(aside)
        scratch.replace(place)
    except BaseException:
        if not place.exists():
            aside.replace(place)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name and str(path) == name


def _problem(folder: Path, name: str, expected: str) -> str | None:
    if not _is_inside(name):
        return "has a name that leads outside the folder"
    path = folder / name
    # Each part, since a linked folder leads outside as well as a linked file.
    if any((folder / parent).is_symlink() for parent in (PurePosixPath(name), *PurePosixPath(name).parents)[:-1]):
        return "is a link"
    if not path.is_file():
        return "is missing"
    try:
        return None if sha256_of(path) == expected else "was changed since it was written"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _dump(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def _load_object(path: Path, folder: Path) -> dict[str, Any]:
    value: Any = None
    why = "it does not hold one JSON object"
    with suppress(RecursionError):
        try:
            with path.open("rb") as stream:
                value = json.loads(stream.read(_MANIFEST_LIMIT))
        except (OSError, ValueError) as error:
            why = str(error)
    if not isinstance(value, dict):
        raise _damaged(folder, f"`{path.name}` of the bundle cannot be read", why)
    return value


def _damaged(folder: Path, message: str, why: str | None = None, help: tuple[str, ...] = ()) -> NmapError:  # noqa: A002
    return NmapError(Diagnostic("NM602", "error", message, str(folder), why, help))


def _unwritable(folder: Path, message: str, why: str | None = None, help: tuple[str, ...] = ()) -> NmapError:  # noqa: A002
    return NmapError(Diagnostic("NM601", "error", message, str(folder), why, help), Exit.USAGE)
