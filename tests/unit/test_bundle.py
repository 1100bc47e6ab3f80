from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from nmap.bundle import LOCK, MANIFEST, bundle_around, check_lock, check_place, is_part, read_bundle, write_bundle
from nmap.diagnostics import Exit, NmapError

FILES: dict[str, bytes | Path] = {"program.h5": b"program", "report.json": b'{"schema": "nmap.report/1"}', "lava/net.py": b"code"}
MADE_FROM: dict[str, Any] = {
    "nmap": "1.0", "versions": {"numpy": "2.0"}, "network": {"file": "net.h5", "sha256": "ab"}, "samples": None,
    "target": {"name": "toy", "chips": 1, "chip_sha256": "cd"}, "conventions": {"dt": None}, "options": {"seed": 0, "dead": []},
    "command": ["nmap", "deploy", "net.h5"],
}


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def failure(folder: Path, code: str) -> NmapError:
    """Read a damaged bundle and return the error, which must have this code only."""
    with pytest.raises(NmapError) as caught:
        read_bundle(folder)
    assert {d.code for d in caught.value.diagnostics} == {code}
    assert caught.value.exit_status == Exit.USAGE
    return caught.value


def refusal(folder: Path) -> str:
    with pytest.raises(NmapError) as caught:
        write_bundle(folder, FILES, MADE_FROM)
    assert [d.code for d in caught.value.diagnostics] == ["NM601"]
    return str(caught.value)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "out", FILES, MADE_FROM)
    return tmp_path / "out"


def test_what_is_written_is_read(bundle: Path) -> None:
    found = read_bundle(bundle)
    assert sorted(found.files) == sorted(FILES)
    assert found.path("lava/net.py").read_bytes() == b"code"
    assert found.path("lava") == bundle / "lava"
    assert found.report() == {"schema": "nmap.report/1"}
    assert found.manifest["command"] == MADE_FROM["command"]
    assert found.manifest["files"]["program.h5"] == hashlib.sha256(b"program").hexdigest()
    with pytest.raises(NmapError, match="NM602"):
        found.path("lav")


def test_a_file_may_be_given_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 3_000_000)
    write_bundle(tmp_path / "out", {"big.bin": tmp_path / "big"}, {})
    assert read_bundle(tmp_path / "out").path("big.bin").stat().st_size == 3_000_000


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_bundle(tmp_path / name, dict(reversed(FILES.items())) if name == "two" else FILES, MADE_FROM)
    assert everything(tmp_path / "one") == everything(tmp_path / "two")


def test_lock_pins_everything_but_the_command(bundle: Path) -> None:
    lock = json.loads((bundle / LOCK).read_text())
    assert set(lock) == {"schema", "files", *MADE_FROM} - {"command"}


def test_replacing_leaves_nothing_of_the_old_bundle(bundle: Path) -> None:
    write_bundle(bundle, {"program.h5": b"new"}, MADE_FROM)
    assert sorted(everything(bundle)) == [MANIFEST, LOCK, "program.h5"]
    assert [path.name for path in bundle.parent.iterdir()] == ["out"]


def test_parent_folder_is_made_and_no_more(tmp_path: Path) -> None:
    write_bundle(tmp_path / "build" / "out", FILES, MADE_FROM)
    read_bundle(tmp_path / "build" / "out")
    assert "nowhere" in refusal(tmp_path / "nowhere" / "deeper" / "out")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("failing", ["replace", "dump"])
def test_interrupted_write_leaves_the_old_bundle(bundle: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    before = everything(bundle)

    def interrupt(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise KeyboardInterrupt
        return original(self, target)

    original = Path.replace
    if failing == "replace":
        monkeypatch.setattr(Path, "replace", interrupt)
    else:
        monkeypatch.setattr("nmap.bundle._dump", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_bundle(bundle, {"program.h5": b"new"}, MADE_FROM)
    assert everything(bundle) == before
    assert [path.name for path in bundle.parent.iterdir()] == ["out"]


def test_full_disk_is_told_and_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, _data: bytes) -> int:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "out" in refusal(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_folder_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert "is not a bundle" in refusal(tmp_path)
    (tmp_path / MANIFEST).write_text('{"name": "a web app"}')
    assert "is not a bundle" in refusal(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_bundle_with_files_of_the_user_is_not_replaced(bundle: Path) -> None:
    (bundle / "lava" / "__pycache__").mkdir()
    (bundle / "lava" / "__pycache__" / "net.pyc").write_bytes(b"cache")
    (bundle / "report.html").write_bytes(b"page")
    write_bundle(bundle, FILES, MADE_FROM)
    (bundle / "spikes.npz").write_bytes(b"results")
    assert "`spikes.npz`" in refusal(bundle)
    assert (bundle / "spikes.npz").read_bytes() == b"results"


def test_file_in_the_way_and_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "is a file" in refusal(tmp_path / "file")
    assert "is not a folder" in why_not(tmp_path / "file" / "out")
    assert why_not(tmp_path / "x" / "y" / "z").endswith(f"`{tmp_path / 'x'}` does not exist.")
    (tmp_path / "empty").mkdir()
    write_bundle(tmp_path / "empty", FILES, MADE_FROM)
    read_bundle(tmp_path / "empty")


def test_current_folder_is_not_replaced(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", bundle):
        monkeypatch.chdir(folder)
        assert "current folder" in refusal(Path())
        assert "current folder" in refusal(folder)
    assert (bundle / MANIFEST).is_file()
    monkeypatch.chdir(bundle / "lava")
    assert "current folder" in refusal(bundle)


def test_files_of_a_bundle_are_known_by_its_manifest(bundle: Path, tmp_path: Path) -> None:
    (bundle / "spikes.npz").touch()
    here = bundle.resolve()
    assert [is_part(bundle, here / name) for name in (MANIFEST, LOCK, sorted(FILES)[0], "spikes.npz")] == [True, True, True, False]
    assert not is_part(bundle, tmp_path / MANIFEST)
    assert not is_part(tmp_path, tmp_path / MANIFEST)


def why_not(folder: Path) -> str:
    with pytest.raises(NmapError, match="NM601") as caught:
        check_place(folder)
    return str(caught.value.diagnostics[0].why)


def test_unwritable_place_is_told_before_the_work(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not by permission bits, which do not hold for every user who runs tests.
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != bundle.parent)
    assert "may not write" in why_not(bundle.parent / "other")
    assert "may not write" in why_not(bundle)
    monkeypatch.undo()
    check_place(bundle.parent / "other")
    check_place(bundle)


def test_unwritable_place_is_told_when_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: Path, *_args: object, **_kw: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    assert "out" in refusal(tmp_path / "out")


def test_link_to_a_bundle_is_followed_when_replacing(bundle: Path) -> None:
    link = bundle.parent / "latest"
    link.symlink_to(bundle)
    write_bundle(link, {"program.h5": b"new"}, MADE_FROM)
    assert link.is_symlink()
    assert read_bundle(bundle).path("program.h5").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["../x", "/x", "a/../x", "a\\b", "", ".", "a//b", MANIFEST, LOCK])
def test_names_that_lead_outside_are_refused_when_writing(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        write_bundle(tmp_path / "out", {name: b""}, {})
    assert not (tmp_path / "out").exists()


def test_every_damaged_file_is_named_at_once(bundle: Path) -> None:
    (bundle / "program.h5").write_bytes(b"progrom")
    (bundle / "lava" / "net.py").unlink()
    (bundle / LOCK).write_text("{}")
    said = sorted(d.message for d in failure(bundle, "NM602").diagnostics)
    assert said == [
        "`lava/net.py` of the bundle is missing", "`nmap.lock` of the bundle was changed since it was written",
        "`program.h5` of the bundle was changed since it was written",
    ]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"schema": "nmap.bundle/2", "files": {}}',
                                     b'{"schema": "nmap.bundle/1"}', b'{"schema": "nmap.bundle/1", "files": {"a": 1}}'])
def test_damaged_manifest(bundle: Path, content: bytes) -> None:
    (bundle / MANIFEST).write_bytes(content)
    assert len(failure(bundle, "NM602").diagnostics) == 1


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "lava/../../secret"])
def test_manifest_cannot_name_files_outside(bundle: Path, name: str) -> None:
    (bundle.parent / "secret").write_bytes(b"secret")
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"][name] = hashlib.sha256(b"secret").hexdigest()
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    assert "outside" in str(failure(bundle, "NM602"))


@pytest.mark.parametrize("linked", ["program.h5", "lava"])
def test_links_are_not_followed(bundle: Path, linked: str) -> None:
    moved = bundle.parent / "moved"
    (bundle / linked).rename(moved)
    (bundle / linked).symlink_to(moved)
    assert "is a link" in str(failure(bundle, "NM602"))


def test_what_is_not_a_bundle(tmp_path: Path) -> None:
    assert "does not exist" in str(failure(tmp_path / "none", "NM602"))
    (tmp_path / "file").write_text("x")
    assert "is a file" in str(failure(tmp_path / "file", "NM602"))
    assert "is not a bundle" in str(failure(tmp_path, "NM602"))


def test_lock_that_agrees(bundle: Path) -> None:
    check_lock(bundle, {**MADE_FROM, "command": ["anything"]})


def test_every_difference_from_the_lock_is_told(bundle: Path) -> None:
    changed = {
        **MADE_FROM, "versions": {"numpy": "2.1"}, "network": {"file": "net.h5", "sha256": "ff"},
        "options": {"seed": 1, "dead": [(0, 1)]},
    }
    with pytest.raises(NmapError) as caught:
        check_lock(bundle, changed)
    assert [d.message for d in caught.value.diagnostics] == [
        "versions.numpy is `2.1`, the lock has `2.0`", "network.sha256 is `ff`, the lock has `ab`",
        "options.dead is [[0, 1]], the lock has []", "options.seed is 1, the lock has 0",
    ]
    assert {d.code for d in caught.value.diagnostics} == {"NM603"}


def test_lock_of_another_version(bundle: Path) -> None:
    (bundle / LOCK).write_text('{"schema": "nmap.lock/0"}')
    with pytest.raises(NmapError, match="NM602"):
        check_lock(bundle, MADE_FROM)


def test_missing_lock(tmp_path: Path) -> None:
    with pytest.raises(NmapError, match="NM603"):
        check_lock(tmp_path, MADE_FROM)


def test_the_bundle_around_a_place_is_found_by_its_manifest(bundle: Path, tmp_path: Path) -> None:
    here = bundle.resolve()
    assert bundle_around(here / "new.npz") == here
    assert bundle_around(here / "deep" / "er" / "new.npz") == here
    assert bundle_around(here) is None
    assert bundle_around(tmp_path.resolve() / "new.npz") is None
    for foreign in ("{}", "not JSON", '{"schema": "other/1", "files": {}}'):
        (here / MANIFEST).write_text(foreign)
        assert bundle_around(here / "new.npz") is None
    # That of a later version, too.
    (here / MANIFEST).write_text('{"schema": "nmap.bundle/9", "files": {}}')
    assert bundle_around(here / "new.npz") == here
