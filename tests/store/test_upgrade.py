"""The upgrade of a SQLite file before the start: it has a time limit, and says what it waits for."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
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


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_upgrade_ends_when_its_gateway_is_killed(tmp_path: Path) -> None:
    """SIGKILL, or SIGTERM while the gateway is still loading: nobody is left who could end it."""
    path = tmp_path / "gateway.db"
    program = f"""
import os, pathlib
from gateway.store.upgrade import Upgrade
with Upgrade(pathlib.Path({str(path)!r})) as upgrade:
    print(upgrade._process.pid, flush=True)
    input()
"""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE mine (one)")
        other.execute("BEGIN EXCLUSIVE")
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, text=True) as gateway:
            assert gateway.stdout is not None
            pid = int(gateway.stdout.readline())
            time.sleep(1.5)  # the upgrade waits for the file
            assert is_running(pid)
            gateway.kill()
            gateway.wait()
            until = time.monotonic() + 10
            while is_running(pid) and time.monotonic() < until:
                time.sleep(0.05)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
