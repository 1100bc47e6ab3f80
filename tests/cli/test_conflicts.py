from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from nmap.cli.conflicts import foreign_packages, looks_like_scanning, name_conflicts, other_command
from tests.cli.runner import ROOT, Runner


def distribution(folder: Path, name: str, record: str, file: str = "RECORD") -> None:
    info = folder / name
    info.mkdir()
    (info / file).write_text(record)


def test_only_what_installs_the_import_name_is_foreign(tmp_path: Path) -> None:
    distribution(tmp_path, "python_nmap-0.7.1.dist-info", "nmap/__init__.py,sha256=x,1\nnmap/nmap.py,,\n")
    distribution(tmp_path, "nmap_snn-0.1.0.dist-info", "nmap/__init__.py,sha256=x,1\n")
    distribution(tmp_path, "nmap_foo-1.dist-info", "nmap_foo/__init__.py,,\n")
    distribution(tmp_path, "libnmap-0.7.2.dist-info", "libnmap/__init__.py,,\n")
    distribution(tmp_path, "numpy-2.dist-info", "numpy/__init__.py,,\n")
    assert foreign_packages([str(tmp_path)]) == [("python-nmap", tmp_path)]


@pytest.mark.parametrize(("name", "file", "content"), [
    ("python_nmap-0.6.1-py3.10.egg-info", "top_level.txt", "nmap\n"),
    ("python_nmap.egg-info", "installed-files.txt", "../nmap/__init__.py\n../nmap/nmap.py\n"),
])
def test_older_kinds_of_installation(tmp_path: Path, name: str, file: str, content: str) -> None:
    distribution(tmp_path, name, content, file)
    assert [found for found, _ in foreign_packages([str(tmp_path)])] == ["python-nmap"]


def test_folders_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "archive.zip").write_bytes(b"")
    assert foreign_packages([str(tmp_path / "none"), str(tmp_path / "archive.zip")]) == []


def test_start_stops_where_the_import_name_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nmap: Runner) -> None:
    distribution(tmp_path, "python_nmap-0.7.1.dist-info", "nmap/__init__.py,,\n")
    (tmp_path / "nmap").mkdir()
    (tmp_path / "nmap" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert [d.code for d in name_conflicts()] == ["NM001"]
    result = nmap("targets")
    assert result.status == 4
    assert result.out == ""
    assert result.err.startswith("error[NM001]: `python-nmap` installs the same import package")
    assert nmap("targets", "--format", "json").json["diagnostics"][0]["code"] == "NM001"
    assert nmap("--help").status == 0
    broken = [check for check in nmap("doctor", "--format", "json").json["checks"] if check["name"] == "import name nmap"]
    assert broken[0]["state"] == "broken"


def test_one_that_is_searched_later_or_has_no_package_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nmap: Runner) -> None:
    distribution(tmp_path, "python_nmap-0.7.1.dist-info", "nmap/__init__.py,,\n")
    # What an incomplete removal leaves hides nothing.
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(ROOT), *sys.path])
    assert name_conflicts() == ()
    (tmp_path / "nmap").mkdir()
    (tmp_path / "nmap" / "__init__.py").touch()
    assert len(name_conflicts()) == 1
    monkeypatch.setattr(sys, "path", [str(ROOT), str(tmp_path)])
    assert len(foreign_packages()) == 1
    assert name_conflicts() == ()
    assert nmap("targets", "toi").status == 2


@pytest.mark.parametrize("words", [
    "-sS 10.0.0.1", "192.168.0.0/24", "-p80 host", "-A host", "10.0.0.1-20", "fe80::1", "-sV -T4 scanme.example.org", "-Pn x",
    "192.168.1.*",
])
def test_scans_are_recognised(words: str, nmap: Runner) -> None:
    assert looks_like_scanning(words.split())
    result = nmap(*words.split())
    assert result.status == 2
    assert "not the network scanner" in " ".join(result.err.split())


@pytest.mark.parametrize("words", [
    "deploy net.h5 --target loihi2:oheo-gulch -o out", "net.1.2.h5", "-q", "run 1.2.3.4 -p", "--slack 0.05", "0:3,1:17",
])
def test_our_own_words_are_not_scans(words: str, nmap: Runner) -> None:
    assert "scanner" not in nmap(*words.split()).err


def test_other_command_on_the_path_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nmap: Runner) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder, text in ((ours, "#!/usr/bin/python\nfrom nmap.cli.main import run\n"), (theirs, "#!/bin/sh\n")):
        folder.mkdir()
        (folder / "nmap").write_text(text)
        (folder / "nmap").chmod(0o755)
    monkeypatch.setenv("PATH", str(ours))
    assert other_command() is None
    monkeypatch.setenv("PATH", os.pathsep.join([str(ours), str(theirs)]))
    assert other_command() == theirs / "nmap"
    assert str(theirs / "nmap") in nmap("-sS", "host").err
    assert str(theirs / "nmap") in nmap("frobnicate").err
    assert str(theirs / "nmap") not in nmap("targets").err
