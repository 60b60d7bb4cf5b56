"""PostgreSQL killed, restarted, frozen: unavailable for a while, never wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from gateway.core.types import Environment
from gateway.core.wallet_operation import same_move
from gateway.core.wallet_verdict import Disposition
from gateway.errors import StoreUnavailable
from gateway.evidence.durable import DurableWalletStore
from gateway.store.database import Work
from gateway.store.postgres import PostgresDatabase
from tests.evidence.wallet_factory import OPERATOR, claim_of, outcome_of, soon
from tests.postgres_process import PostgresProcess

WORKERS = 8


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[DurableWalletStore]:
    """A store on PostgreSQL, in real time."""
    store = DurableWalletStore(PostgresDatabase(postgres_url), same_move=same_move)
    await store.start()
    await store.check(soon())
    yield store
    await store.stop()


@pytest.mark.faults
@pytest.mark.timeout(180)  # PostgreSQL recovers three times, each as fast as the disk lets it
async def test_killed_and_restarted_in_the_middle(postgres_server: PostgresProcess, store: DurableWalletStore) -> None:
    """Three crashes under load: each acknowledged claim and outcome is there afterwards, and no key was NEW twice."""
    new: dict[str, str] = {}
    recorded: set[str] = set()
    troubles = 0
    goal = 40
    reached = asyncio.Event()

    async def work(worker: int) -> None:
        nonlocal troubles
        number = 0
        while True:
            key = f"{worker}-{number}"
            try:
                claimed = await store.claim(claim_of(key), soon(5))
                if claimed.disposition is Disposition.NEW:
                    assert key not in new
                    new[key] = claimed.operation_id
                await store.record_outcome(outcome_of(claimed.operation_id, transaction_id=key), soon(5))
            except StoreUnavailable:  # the same key again: what Phoenix does on 503
                troubles += 1
                await asyncio.sleep(0.01)
                continue
            recorded.add(key)
            number += 1
            if len(recorded) >= goal:
                reached.set()

    workers = [asyncio.create_task(work(worker)) for worker in range(WORKERS)]
    for crash in range(4):
        await asyncio.wait_for(reached.wait(), 20)
        if crash < 3:
            await asyncio.to_thread(postgres_server.restart)
            goal = len(recorded) + 40
            reached.clear()
    for worker in workers:
        worker.cancel()
    ended = await asyncio.gather(*workers, return_exceptions=True)
    assert {type(end) for end in ended} == {asyncio.CancelledError}
    assert troubles > 0
    for key, operation_id in new.items():
        evidence = await store.evidence_by_key(OPERATOR, Environment.PROD, "reserve_cash", key, soon())
        assert evidence.operation_id == operation_id
    for key in recorded:
        evidence = await store.evidence_by_key(OPERATOR, Environment.PROD, "reserve_cash", key, soon())
        assert (evidence.operator_transaction_id, evidence.incidents) == (key, ())


async def test_restart_in_a_quiet_moment_is_not_noticed(
    postgres_server: PostgresProcess, store: DurableWalletStore
) -> None:
    """Idle connections that broke cause no failed call."""
    assert (await store.claim(claim_of(), soon())).disposition is Disposition.NEW
    await asyncio.to_thread(postgres_server.restart)
    assert (await store.claim(claim_of(), soon())).disposition is Disposition.IN_PROGRESS
    assert (await store.evidence_by_key(OPERATOR, Environment.PROD, "reserve_cash", "key-1", soon())).attempt == 1


async def test_gone_and_back(postgres_server: PostgresProcess, store: DurableWalletStore) -> None:
    """While it is gone every question is unavailable at once; when it is back, nothing else is needed."""
    await asyncio.to_thread(postgres_server.kill)
    try:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.claim(claim_of(), soon(5))
        with pytest.raises(StoreUnavailable):
            await store.check(soon(5))
        assert time.monotonic() - began < 4
    finally:
        await asyncio.to_thread(postgres_server.start)
    assert (await store.claim(claim_of(), soon())).disposition is Disposition.NEW


async def test_frozen_until_the_deadline(postgres_server: PostgresProcess, store: DurableWalletStore) -> None:
    """A server that no longer answers is unavailable at the deadline; thawed, it serves on."""
    postgres_server.pause()
    try:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.claim(claim_of(), soon(0.5))
        with pytest.raises(StoreUnavailable):
            await store.check(soon(0.5))
        assert time.monotonic() - began < 2
    finally:
        postgres_server.resume()
    assert (await store.claim(claim_of(), soon())).disposition in (Disposition.NEW, Disposition.IN_PROGRESS)


async def test_locked_by_another(postgres_url: str, store: DurableWalletStore) -> None:
    """A table that another session locks makes the store unavailable at the deadline, until the lock ends."""
    blocker = PostgresDatabase(postgres_url)
    locked, release = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(connection: sa.Connection, _now_us: int) -> None:
        connection.exec_driver_sql("LOCK TABLE wallet_operations IN ACCESS EXCLUSIVE MODE")
        loop.call_soon(locked.set)
        sa.util.await_only(release.wait())

    holding = asyncio.create_task(blocker.write(hold, 20))
    await asyncio.wait_for(locked.wait(), 10)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await store.claim(claim_of(), soon(0.3))
    assert time.monotonic() - began < 1.5
    release.set()
    await holding
    assert (await store.claim(claim_of(), soon())).disposition is Disposition.NEW
    await blocker.stop()


async def test_deadlock_is_run_again(postgres_url: str, store: DurableWalletStore) -> None:
    """Two transactions that wait for each other: the server undoes one, and it is run again unseen."""
    await store.claim(claim_of("key-1"), soon())
    await store.claim(claim_of("key-2"), soon())
    databases = [PostgresDatabase(postgres_url), PostgresDatabase(postgres_url)]
    both = asyncio.Barrier(2)
    runs = 0

    def crossing(first: str, second: str) -> Work[None]:
        def work(connection: sa.Connection, _now_us: int) -> None:
            nonlocal runs
            runs += 1
            connection.exec_driver_sql("SET LOCAL deadlock_timeout = '50ms'")
            touch = sa.text("UPDATE wallet_operations SET attempt = attempt WHERE idempotency_key = :key")
            connection.execute(touch, {"key": first})
            if runs <= 2:
                sa.util.await_only(both.wait())
            connection.execute(touch, {"key": second})

        return work

    await asyncio.gather(
        databases[0].write(crossing("key-1", "key-2"), 20), databases[1].write(crossing("key-2", "key-1"), 20)
    )
    assert runs >= 3
    for database in databases:
        await database.stop()


async def test_durable_despite_the_servers_setting(postgres_url: str) -> None:
    """A database set to synchronous_commit=off still commits these transactions to the disk."""
    database = PostgresDatabase(postgres_url)
    name = postgres_url.rsplit("/", 1)[1]
    await database.write(
        lambda connection, _now: connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET synchronous_commit = off'), 10
    )
    await database.stop()
    again = PostgresDatabase(postgres_url)

    def shown(connection: sa.Connection, _now_us: int) -> object:
        return connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()

    assert await again.write(shown, 10) == "on"
    await again.stop()


async def test_leases_go_by_the_databases_clock(postgres_url: str) -> None:
    """The time of leases is the server's, the same for every machine."""
    database = PostgresDatabase(postgres_url)
    now_us = await database.write(lambda _connection, now_us: now_us, 10)
    assert abs(now_us / 1_000_000 - time.time()) < 60
    await database.stop()
