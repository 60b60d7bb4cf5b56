"""The upgrade of a SQLite file before the start: it has a time limit, and says what it waits for."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.store.migrations import HEAD
from gateway.store.upgrade import Upgrade


async def test_a_file_is_upgraded_in_silence(tmp_path: Path) -> None:
    """Nothing is logged."""
    path = tmp_path / "gateway.db"
    with capture_logs() as lines, Upgrade(path) as upgrade:
        await upgrade.finished(silent_s=60)
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)
    assert lines == []


async def test_a_locked_file_delays_the_start_only_for_so_long(tmp_path: Path) -> None:
    """The log says what is waited for, then that the time is over; the gateway starts."""
    path = tmp_path / "gateway.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE mine (one)")
        other.execute("BEGIN EXCLUSIVE")
        with capture_logs() as lines, Upgrade(path, within_s=0.5) as upgrade:
            await upgrade.finished(silent_s=0)
    assert [(line["event"], line["path"], "fuser" in line["advice"]) for line in lines] == [
        ("the start waits for the upgrade of the schema", str(path), True),
        ("schema not upgraded before the start", str(path), True),
    ]
    assert "locked" in lines[1]["trouble"]


async def test_an_upgrade_that_nothing_waits_for_ends_with_the_start(tmp_path: Path) -> None:
    """A gateway that does not start leaves no process behind."""
    path = tmp_path / "gateway.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE mine (one)")
        other.execute("BEGIN EXCLUSIVE")
        with Upgrade(path, within_s=60) as upgrade:
            pass
        with capture_logs() as lines:
            await upgrade.finished(silent_s=1)
    assert [line.get("trouble") for line in lines] == ["the process that upgrades it failed"]


async def test_a_process_that_cannot_be_started_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway starts all the same: its first write upgrades the file."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    with capture_logs() as lines, Upgrade(tmp_path / "gateway.db") as upgrade:
        await upgrade.finished()
    assert [line["trouble"] for line in lines] == ["No such file or directory"]
