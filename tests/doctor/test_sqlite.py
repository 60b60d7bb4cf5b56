"""What the doctor finds of the SQLite file, each time with one fault planted."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.doctor.report import State
from gateway.resilience.clock import SystemClock
from gateway.store.sqlite import SqliteDatabase
from gateway.store.upgrade import FILE_NAME
from tests.doctor.diagnosis import look_at_database

CLOCK = SystemClock()
NOBODY = 65534


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the SQLite file of the test is, or will be."""
    return tmp_path / FILE_NAME


async def make(file: Path) -> None:
    """Make the file as a start does."""
    store = SqliteDatabase(file, CLOCK)
    await store.write(lambda connection, now_us: None, 10)
    await store.stop()


def damage(file: Path) -> None:
    """Write a file that is not a database."""
    file.write_bytes(b"no database at all, for as many bytes as a header has" * 10)


async def test_sqlite_before_the_first_start(file: Path) -> None:
    """No file yet is fine, and the doctor makes none."""
    result = await look_at_database(GATEWAY_DATA_DIR=str(file.parent))
    assert (result.state, os.listdir(file.parent)) == (State.OK, [])


async def test_sqlite_that_works(file: Path) -> None:
    """Writable, WAL, the newest revision."""
    await make(file)
    result = await look_at_database(GATEWAY_DATA_DIR=str(file.parent))
    assert result.state is State.OK
    assert all(word in result.what for word in ("writable", "WAL", "revision", "synchronous=FULL"))


async def test_sqlite_is_left_as_it_is(file: Path) -> None:
    """The write that is tried leaves no table."""
    await make(file)
    await look_at_database(GATEWAY_DATA_DIR=str(file.parent))
    with sqlite3.connect(file) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert "doctor_was_here" not in tables


async def test_sqlite_of_an_older_version(file: Path) -> None:
    """An older schema is a warning: the next start migrates."""
    await make(file)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    result = await look_at_database(GATEWAY_DATA_DIR=str(file.parent))
    assert (result.state, "revision 0000" in result.what, "migrates" in result.fix) == (State.WARNING, True, True)


async def test_sqlite_of_another_program(file: Path) -> None:
    """An unknown revision means that the file belongs to another program."""
    await make(file)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'a1b2c3'")
    result = await look_at_database(GATEWAY_DATA_DIR=str(file.parent))
    assert (result.state, "another program" in result.what) == (State.FAULT, True)


async def test_sqlite_that_is_no_database(file: Path) -> None:
    """A damaged file is a fault, and the advice is not to delete it."""
    damage(file)
    result = await look_at_database(GATEWAY_DATA_DIR=str(file.parent))
    assert (result.state, "damaged" in result.what, "do not delete" in result.fix) == (State.FAULT, True, True)


async def test_sqlite_that_another_program_holds(file: Path) -> None:
    """A lock that is not released is a warning within the time limit."""
    await make(file)
    holder = sqlite3.connect(file, isolation_level=None)
    try:
        holder.execute("BEGIN IMMEDIATE")
        result = await look_at_database(GATEWAY_DATA_DIR=str(file.parent))
    finally:
        holder.close()
    assert (result.state, "locked" in result.what) == (State.WARNING, True)


async def test_sqlite_that_others_can_read(file: Path) -> None:
    """Evidence that others can read is a warning with the command."""
    await make(file)
    os.chmod(file, 0o644)
    result = await look_at_database(GATEWAY_DATA_DIR=str(file.parent))
    assert (result.state, f"chmod 600 {file}" in result.fix) == (State.WARNING, True)


@pytest.fixture
def as_nobody() -> Iterator[Callable[[], None]]:
    """Goes on as a user without rights, where the tests run as root; file modes mean nothing to root."""

    def change() -> None:
        if os.geteuid() == 0:
            os.seteuid(NOBODY)

    yield change
    if os.getuid() == 0:
        os.seteuid(0)


@pytest.mark.parametrize("has_log", [False, True])
async def test_sqlite_that_cannot_be_written_to(as_nobody: Callable[[], None], has_log: bool) -> None:
    """A file that this user may only read is a fault, whether or not its log is there."""
    with tempfile.TemporaryDirectory(prefix="pgw-doctor-") as name:
        folder = Path(name)
        file = folder / FILE_NAME
        await make(file)
        holder = sqlite3.connect(file)
        if has_log:
            holder.execute("SELECT count(*) FROM sqlite_master").fetchone()
        else:
            holder.close()
        for each in os.listdir(folder):
            os.chmod(folder / each, 0o444)
        os.chmod(folder, 0o555)
        as_nobody()
        try:
            result = await look_at_database(GATEWAY_DATA_DIR=str(folder))
        finally:
            if os.getuid() == 0:
                os.seteuid(0)
            os.chmod(folder, 0o700)
            holder.close()
    assert result.state is State.FAULT
    assert "cannot be written to" in result.what or "cannot be opened" in result.what
    assert str(folder) in result.fix
