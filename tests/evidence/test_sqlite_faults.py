"""One SQLite file: locked, removed, replaced, read-only, full. It is unavailable, never wrong and never recreated."""

# ruff: noqa: ASYNC221, ASYNC240 - short work on files and mounts; nothing else waits for the loop meanwhile

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import stat
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.core.types import Environment
from gateway.core.wallet_operation import same_move
from gateway.core.wallet_verdict import Disposition
from gateway.errors import StoreUnavailable
from gateway.evidence.durable import DurableWalletStore
from gateway.resilience.clock import SystemClock
from gateway.resilience.worker_thread import WorkerThread
from gateway.store.sqlite import SqliteDatabase
from tests.evidence.wallet_factory import OPERATOR, claim_of, outcome_of, soon


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "evidence.sqlite3"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[DurableWalletStore]:
    """A store with one finished move under key-1."""
    store = DurableWalletStore(SqliteDatabase(path, SystemClock()), same_move=same_move)
    await store.start()
    claimed = await store.claim(claim_of(), soon())
    await store.record_outcome(outcome_of(claimed.operation_id), soon())
    yield store
    await store.stop()


async def is_unavailable(store: DurableWalletStore, within_s: float = 2.0) -> bool:
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await store.claim(claim_of("key-2"), soon(0.5))
    return time.monotonic() - began < within_s


async def test_locked_by_another_writer(store: DurableWalletStore, path: Path) -> None:
    """A lock beyond the deadline makes the store unavailable at the deadline. Reads continue. It ends with the lock."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert await is_unavailable(store)
    assert (await store.evidence_by_key(OPERATOR, Environment.PROD, "reserve_cash", "key-1", soon())).attempt == 1
    other.execute("ROLLBACK")
    other.close()
    assert (await store.claim(claim_of("key-3"), soon())).disposition is Disposition.NEW


async def test_lock_that_ends_in_time_is_waited_for(store: DurableWalletStore, path: Path) -> None:
    """A lock shorter than the deadline costs time, not an answer."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    claiming = asyncio.create_task(store.claim(claim_of("key-2"), soon()))
    await asyncio.sleep(0.1)
    other.execute("ROLLBACK")
    other.close()
    assert (await claiming).disposition is Disposition.NEW


async def test_removed_file_acknowledges_nothing(store: DurableWalletStore, path: Path) -> None:
    """SQLite would write into a removed file: nothing is acknowledged, and no empty file replaces it."""
    path.unlink()
    assert await is_unavailable(store)
    with pytest.raises(StoreUnavailable):
        await store.check(soon())
    assert await is_unavailable(store)
    assert not path.exists()


async def test_file_moved_away_and_back(store: DurableWalletStore, path: Path) -> None:
    """The same file in its place again is the same store."""
    aside = path.with_name("aside")
    path.rename(aside)
    assert await is_unavailable(store)
    aside.rename(path)
    assert (await store.claim(claim_of(), soon())).disposition is Disposition.REPLAY


async def test_replaced_file_acknowledges_nothing(store: DurableWalletStore, path: Path) -> None:
    """Another file in its place, a copy too, needs a restart: it may not know what this one acknowledged."""
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").rename(path)
    assert await is_unavailable(store)
    with pytest.raises(StoreUnavailable):
        await store.check(soon())


async def test_removed_log_acknowledges_nothing(store: DurableWalletStore, path: Path) -> None:
    """New commits are in the write-ahead log beside the file. Without it they would be lost."""
    path.with_name(path.name + "-wal").unlink()
    assert await is_unavailable(store)


async def test_replaced_log_acknowledges_nothing(store: DurableWalletStore, path: Path) -> None:
    """A copy of the log in its place is not the one that is written to."""
    log = path.with_name(path.name + "-wal")
    shutil.copy(log, path.with_name("copy"))
    path.with_name("copy").rename(log)
    assert await is_unavailable(store)


async def test_file_removed_during_a_commit_acknowledges_nothing(path: Path) -> None:
    """Also when the file vanishes between the beginning and the end of a transaction."""
    database = SqliteDatabase(path, SystemClock())
    await database.write(lambda _connection, _now: None, 5)
    with pytest.raises(StoreUnavailable):
        await database.write(lambda _connection, _now: path.unlink(), 5)
    await database.stop()


async def test_broken_work_does_not_break_the_file(path: Path) -> None:
    """After a transaction that failed in the middle nothing of it is there, and the next one works."""
    database = SqliteDatabase(path, SystemClock())

    def fails(connection: sa.Connection, _now_us: int) -> None:
        connection.exec_driver_sql("CREATE TABLE half (x)")
        raise KeyError("half")

    with pytest.raises(KeyError):
        await database.write(fails, 5)
    tables = await database.write(lambda connection, _now: sa.inspect(connection).get_table_names(), 5)
    assert "half" not in tables
    await database.stop()


async def test_durable_settings_are_in_force(path: Path) -> None:
    """WAL, and every commit on the disk before it is acknowledged."""
    database = SqliteDatabase(path, SystemClock())

    def shown(connection: sa.Connection, _now_us: int) -> tuple[object, object]:
        return (
            connection.exec_driver_sql("PRAGMA journal_mode").scalar_one(),
            connection.exec_driver_sql("PRAGMA synchronous").scalar_one(),
        )

    assert await database.write(shown, 5) == ("wal", 2)
    await database.stop()


async def test_reading_cannot_write(path: Path) -> None:
    """What only reads has a connection that refuses to write."""
    database = SqliteDatabase(path, SystemClock())
    with pytest.raises(StoreUnavailable):
        await database.read(lambda connection, _now: connection.exec_driver_sql("CREATE TABLE t (x)"), 5)
    await database.stop()


async def test_file_is_its_owners_only(store: DurableWalletStore, path: Path) -> None:
    """It has data of players: no other user of the machine can read it."""
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of 2 MiB, which can be filled and made read-only."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=False)
    if mounted.returncode != 0:
        pytest.skip("no right to mount a file system here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
async def store_on_small_disk(small_disk: Path) -> AsyncIterator[DurableWalletStore]:
    store = DurableWalletStore(SqliteDatabase(small_disk / "evidence.sqlite3", SystemClock()), same_move=same_move)
    await store.start()
    await store.claim(claim_of(), soon())
    yield store
    await store.stop()


async def test_read_only_disk(small_disk: Path, store_on_small_disk: DurableWalletStore) -> None:
    """A read-only disk makes the store unavailable. When it is writable again, the same store continues."""
    store = store_on_small_disk
    await store.stop()  # an open file would keep the system from remounting
    readonly = DurableWalletStore(SqliteDatabase(small_disk / "evidence.sqlite3", SystemClock()), same_move=same_move)
    await readonly.start()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert await is_unavailable(readonly)
    with pytest.raises(StoreUnavailable):
        await readonly.check(soon())
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert (await readonly.claim(claim_of(), soon())).disposition is Disposition.IN_PROGRESS
    await readonly.stop()


async def test_full_disk(small_disk: Path, store_on_small_disk: DurableWalletStore) -> None:
    """On a full disk, writes that do not fit fail. Acknowledged data stays, and free space ends the failure."""
    store = store_on_small_disk
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 65536)
        except OSError:
            pass
    acknowledged: list[str] = []

    async def claim_until_full() -> None:
        for number in range(1000):
            await store.claim(claim_of(f"fill-{number}", body=bytes(20_000)), soon())
            acknowledged.append(f"fill-{number}")

    with pytest.raises(StoreUnavailable):
        await claim_until_full()
    filler.unlink()
    assert (await store.claim(claim_of("after"), soon())).disposition is Disposition.NEW
    for key in ("key-1", *acknowledged):
        assert (await store.evidence_by_key(OPERATOR, Environment.PROD, "reserve_cash", key, soon())).attempt == 1


async def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """An impossible data directory does not stop the start. The store is reported as unavailable."""
    (tmp_path / "file").write_text("")
    store = DurableWalletStore(SqliteDatabase(tmp_path / "file" / "x.sqlite3", SystemClock()), same_move=same_move)
    await store.start()
    assert await is_unavailable(store)
    await store.stop()


async def test_file_that_is_no_database(path: Path) -> None:
    """An invalid file makes the store unavailable and is not changed."""
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 1000)
    store = DurableWalletStore(SqliteDatabase(path, SystemClock()), same_move=same_move)
    await store.start()
    assert await is_unavailable(store)
    await store.stop()
    assert path.read_bytes() == b"not a database at all" * 1000


async def test_disk_that_hangs_does_not_hold_up_the_caller_or_the_end(path: Path) -> None:
    """A write stuck in the disk is unavailability at the deadline, and the store still stops."""
    database = SqliteDatabase(path, SystemClock())
    stuck = threading.Event()
    holding = asyncio.create_task(database.write(lambda _connection, _now: stuck.wait(30), 5))
    await asyncio.sleep(0)
    store = DurableWalletStore(database, same_move=same_move)
    await store.start()
    assert await is_unavailable(store)
    began = time.monotonic()
    await store.stop(within_s=0.1)
    assert time.monotonic() - began < 8
    stuck.set()
    await holding


async def test_a_job_without_a_waiter_is_not_started() -> None:
    """A cancelled job that waits for its turn is left out; one that runs is not disturbed."""
    thread = WorkerThread("test")
    gate, done = threading.Event(), []
    running = asyncio.create_task(thread.run(lambda: gate.wait(10)))
    waiting = asyncio.create_task(thread.run(lambda: done.append("waiting")))
    last = asyncio.create_task(thread.run(lambda: done.append("last")))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    gate.set()
    assert await running is True
    await last
    assert done == ["last"]
    assert await thread.stop(5)
