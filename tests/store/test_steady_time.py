"""Leases do not follow a clock that is set: not on SQLite, where all processes of a host share one steady time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.core.wallet_operation import same_move
from gateway.core.wallet_verdict import Disposition
from gateway.evidence.durable import DurableWalletStore
from gateway.outbox.store import EventQueue
from gateway.store.database import Database
from gateway.store.pipeline import now_us_of, steady_us_of
from gateway.store.sqlite import SqliteDatabase
from gateway.store.steady_time import SteadyTime
from tests.evidence.wallet_factory import claim_of, soon
from tests.manual_clock import ManualClock
from tests.migrated_sqlite import write_migrated
from tests.outbox.event_factory import LEASE_US, admit, ids, new_event, take

LEASE_S = claim_of().lease_us / 1_000_000
STEPS_S = [600.0, -600.0]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def open_again(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Callable[[], Database]]:
    """Opens the same file: another process of the host."""
    path = write_migrated(tmp_path / "evidence.sqlite3")
    opened: list[SqliteDatabase] = []

    def open_() -> SqliteDatabase:
        opened.append(SqliteDatabase(path, clock))
        return opened[-1]

    yield open_
    await asyncio.gather(*(one.stop() for one in opened))


@pytest.fixture
async def new_store(open_again: Callable[[], Database]) -> AsyncIterator[Callable[[], DurableWalletStore]]:
    opened: list[DurableWalletStore] = []

    def make() -> DurableWalletStore:
        opened.append(DurableWalletStore(open_again(), same_move=same_move))
        return opened[-1]

    yield make
    for one in opened:
        await one.stop()


@pytest.mark.parametrize("step_s", STEPS_S)
async def test_a_wallets_lease_lasts_as_long_as_it_was_given(
    new_store: Callable[[], DurableWalletStore], clock: ManualClock, step_s: float
) -> None:
    """For the process that gave it, and for one that starts after the step."""
    store, later = new_store(), new_store()
    await store.start()
    first = await store.claim(claim_of(), soon())
    clock.set_wall(clock.now() + step_s)
    await later.start()
    clock.advance(LEASE_S - 1)
    for one in (store, later):
        found = await one.claim(claim_of(), soon())
        assert (Disposition.IN_PROGRESS, first.lease_expires_at_us) == (found.disposition, found.lease_expires_at_us)
        assert round((clock.now() + 1) * 1_000_000) == found.lease_ends_us
    clock.advance(1)
    assert Disposition.RECLAIMED is (await later.claim(claim_of(), soon())).disposition


@pytest.mark.parametrize("step_s", STEPS_S)
async def test_a_lease_of_durable_events_lasts_as_long_as_it_was_given(
    open_again: Callable[[], Database], clock: ManualClock, step_s: float
) -> None:
    """And events that are accepted after the step are due at once."""
    queue = EventQueue(open_again(), clock=clock)
    queue.start()
    await admit(queue, new_event("a1"))
    await take(queue)
    clock.set_wall(clock.now() + step_s)
    other = EventQueue(open_again(), clock=clock)
    other.start()
    await admit(other, new_event("b1", "bob"))
    assert ["b1"] == ids((await take(other))[1])
    clock.advance(LEASE_US / 1_000_000 - 0.1)
    assert [] == ids((await take(other))[1])
    clock.advance(0.2)
    assert ["a1", "b1"] == ids((await take(other))[1])
    await queue.stop()
    await other.stop()


async def test_what_is_stored_has_the_time_of_day(open_again: Callable[[], Database], clock: ManualClock) -> None:
    """Only leases have the other one."""
    database = open_again()
    await database.write(lambda _connection, _now: None, 10)
    clock.set_wall(clock.now() + 600)
    times = await database.read(lambda connection, now: (now, now_us_of(connection), steady_us_of(connection)), 10)
    now_us = round(clock.now() * 1_000_000)
    assert (now_us, now_us, now_us - 600_000_000) == times


async def test_a_new_boot_begins_with_the_time_of_day(open_again: Callable[[], Database], clock: ManualClock) -> None:
    """The monotonic clock starts again then; processes of one boot agree, also where it was set in between."""
    database = open_again()

    async def time_of(boot: str, clock: ManualClock) -> int:
        steady = SteadyTime(clock, boot)
        await database.write(lambda connection, _now: steady.agree(connection), 10)
        return steady.now_us()

    assert round(clock.now() * 1_000_000) == await time_of("one", clock)
    rebooted = ManualClock(now=clock.now() + 90, monotonic=5.0)
    assert round(rebooted.now() * 1_000_000) == await time_of("two", rebooted)
    rebooted.set_wall(rebooted.now() - 600)
    assert round((rebooted.now() + 600) * 1_000_000) == await time_of("two", rebooted)


async def test_a_lease_from_before_the_clock_lost_its_time_does_not_last_for_ever(
    open_again: Callable[[], Database], tmp_path: Path
) -> None:
    """A host whose clock begins in the past after a boot reclaims what it finds open."""
    future = ManualClock(now=2_000_000_000.0)
    path = write_migrated(tmp_path / "evidence.sqlite3")
    store = DurableWalletStore(SqliteDatabase(path, future, boot="one"), same_move=same_move)
    await store.start()
    await store.claim(claim_of(), soon())
    await store.stop()
    past = DurableWalletStore(SqliteDatabase(path, ManualClock(now=0.0), boot="two"), same_move=same_move)
    await past.start()
    assert Disposition.RECLAIMED is (await past.claim(claim_of(), soon())).disposition
    await past.stop()
