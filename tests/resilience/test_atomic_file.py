"""Atomic file writes: the content after a failure, and the content on disk when the call returns."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from gateway.core.types import KeyId
from gateway.keys.platform.revocations import RevokedKeys
from gateway.resilience.atomic_file import create_file, replace_file, replacing


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    """Whatever the mode of the file before; nothing is left beside it."""
    path = tmp_path / "switches.json"
    path.write_bytes(b"old")
    path.chmod(0o644)
    replace_file(path, b"new")
    assert [(b"new", 0o600)] == [(one.read_bytes(), stat.S_IMODE(one.stat().st_mode)) for one in tmp_path.iterdir()]


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """What it had written so far is removed."""
    path = tmp_path / "export.jsonl"
    path.write_bytes(b"old")

    def write_half() -> None:
        with replacing(path) as stream:
            stream.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert [path] == list(tmp_path.iterdir())
    assert path.read_bytes() == b"old"


def test_a_file_that_is_there_is_never_made_again(tmp_path: Path) -> None:
    """This matters for keys: of two concurrent writers, one is refused."""
    path = tmp_path / "launch.pem"
    create_file(path, b"first")
    with pytest.raises(FileExistsError):
        create_file(path, b"second")
    assert [path] == list(tmp_path.iterdir())
    assert path.read_bytes() == b"first"


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the system is asked to do with files, in order."""
    asked: list[str] = []
    own = {name: getattr(os, name) for name in ("fsync", "replace", "link")}

    def fsync(descriptor: int) -> None:
        asked.append("sync directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        own["fsync"](descriptor)

    def placing(name: str) -> Any:
        def place(source: str, target: Path) -> None:
            asked.append(name)
            own[name](source, target)

        return place

    monkeypatch.setattr(os, "fsync", fsync)
    for name in ("replace", "link"):
        monkeypatch.setattr(os, name, placing(name))
    return asked


def test_content_then_name_then_directory_are_on_the_disk(tmp_path: Path, synced: list[str]) -> None:
    """In this order: a machine that loses power in between has the old file or the new one."""
    replace_file(tmp_path / "one", b"1")
    create_file(tmp_path / "two", b"2")
    with replacing(tmp_path / "three") as stream:
        stream.write(b"3")
    replaced = ["sync file", "replace", "sync directory"]
    assert [*replaced, "sync file", "link", "sync directory", *replaced] == synced


def test_a_revocation_survives_a_loss_of_power(tmp_path: Path, synced: list[str]) -> None:
    """It is on the disk with its name before the caller hears of it: a revoked key must never count again."""
    RevokedKeys(tmp_path).add(frozenset({KeyId("a" * 64)}))
    assert ["sync file", "replace", "sync directory"] == synced
