"""A PostgreSQL database that grows up under traffic: no call waits for its upgrade, and no claim for an index."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from gateway.core.wallet_operation import same_move
from gateway.core.wallet_verdict import Disposition
from gateway.errors import StoreUnavailable
from gateway.evidence.durable import DurableWalletStore
from gateway.store.postgres import PostgresDatabase
from gateway.store.postgres_upgrade import UPGRADE_WITHIN_S
from tests.evidence.schema_by_hand import migrate_by_hand
from tests.evidence.wallet_factory import claim_of, soon

INDEXES = {"ix_wallet_operations_received", "ix_wallet_operations_missed"}


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[Callable[[], Awaitable[DurableWalletStore]]]:
    """Opens stores in real time."""
    opened: list[DurableWalletStore] = []

    async def make() -> DurableWalletStore:
        store = DurableWalletStore(PostgresDatabase(postgres_url), same_move=same_move)
        opened.append(store)
        await store.start()
        return store

    yield make
    for store in opened:
        await store.stop()


@pytest.fixture
async def other(postgres_url: str) -> AsyncIterator[Any]:
    """A session of another client."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


async def grown(postgres_url: str) -> None:
    """A database of the first schema with a move in it."""
    database = PostgresDatabase(postgres_url)
    await migrate_by_hand(database, down_to="0001")
    await database.stop()
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(
        """INSERT INTO wallet_operations (operation_id, operator_code, environment, operation, idempotency_key, attempt,
        lease_expires_at_us, received_at_us, suspect_replay, probed_before, player_id, currency, body_sha256, signature,
        key_id, request_id, reason, amount_json, references_json, body) VALUES ('old', 'acme', 'prod', 'reserve_cash',
        'old', 1, 0, 0, false, false, 'p', 'EUR', '', '', '', '', '', '', '', '')"""
    )
    await connection.close()


async def valid_indexes(other: Any) -> set[str]:
    rows = await other.fetch(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indisvalid"
    )
    return {row["relname"] for row in rows} & INDEXES


async def wait_until(holds: Callable[[], Awaitable[bool]]) -> None:
    until = time.monotonic() + 30
    while not await holds():
        assert time.monotonic() < until
        await asyncio.sleep(0.05)


async def test_an_upgrade_outlives_the_call_that_began_it(
    postgres_url: str, stores: Callable[[], Awaitable[DurableWalletStore]], other: Any
) -> None:
    """While another session locks the table, calls get 503 in time. Afterwards the upgrade runs without a call."""
    await grown(postgres_url)
    holding = other.transaction()
    await holding.start()
    await other.execute("LOCK TABLE wallet_operations IN ACCESS SHARE MODE")
    store = await stores()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await store.claim(claim_of(), soon(0.5))
    assert time.monotonic() - began < 5
    await holding.rollback()

    async def is_current() -> bool:
        return bool(await other.fetchval("SELECT version_num FROM alembic_version") != "0001")

    await wait_until(is_current)
    assert Disposition.NEW is (await store.claim(claim_of(), soon())).disposition


async def test_an_upgrade_says_which_sessions_it_waits_for(
    postgres_url: str, stores: Callable[[], Awaitable[DurableWalletStore]], other: Any
) -> None:
    """Once while the same ones hold its locks, with what to do; no statement of theirs is quoted."""
    await grown(postgres_url)
    await other.execute("SET application_name = 'a report'")
    holding = other.transaction()
    await holding.start()
    await other.execute("LOCK TABLE wallet_operations IN ACCESS SHARE MODE /* secret */")
    pid = await other.fetchval("SELECT pg_backend_pid()")
    store = await stores()
    with capture_logs() as lines:

        async def was_told() -> bool:
            with pytest.raises(StoreUnavailable):
                await store.claim(claim_of(), soon(0.5))
            return any("waits for" in line["event"] for line in lines)

        await wait_until(was_told)
        reported = len(lines)
        with pytest.raises(StoreUnavailable):
            await store.claim(claim_of(), soon(5))  # longer than two tries of the upgrade
        await holding.rollback()
        await store.claim(claim_of(), soon())
    waits = [line for line in lines if "waits for" in line["event"]]
    assert (len(waits), reported > 0) == (1, True)
    assert waits[0]["waits_for"].startswith(f"pid {pid} (a report, idle in transaction, ")
    assert waits[0]["waits_for"].endswith(" s) has wallet_operations")
    assert (waits[0]["within_s"], "pg_terminate_backend" in waits[0]["advice"]) == (UPGRADE_WITHIN_S, True)
    assert "secret" not in str(lines)


async def test_an_upgrade_waits_for_the_one_of_another_gateway(
    postgres_url: str, stores: Callable[[], Awaitable[DurableWalletStore]], other: Any
) -> None:
    """And says so; afterwards it finds nothing left to do."""
    await grown(postgres_url)
    holding = other.transaction()
    await holding.start()
    await other.execute(f"SELECT pg_advisory_xact_lock({0x5067_7765_7601})")
    store = await stores()
    with capture_logs() as lines:

        async def was_told() -> bool:
            with pytest.raises(StoreUnavailable):
                await store.claim(claim_of(), soon(0.5))
            return any("the upgrade of another gateway" in line.get("waits_for", "") for line in lines)

        await wait_until(was_told)
    await holding.rollback()
    assert Disposition.NEW is (await store.claim(claim_of(), soon())).disposition


async def test_claims_continue_while_an_index_is_built(
    postgres_url: str, stores: Callable[[], Awaitable[DurableWalletStore]], other: Any
) -> None:
    """An old transaction keeps PostgreSQL from finishing an index; claims, probes and lists are served meanwhile."""
    await grown(postgres_url)
    holding = other.transaction(isolation="repeatable_read")
    await holding.start()
    await other.fetch("SELECT count(*) FROM alembic_version")  # its snapshot is what the building waits for
    store = await stores()
    assert Disposition.NEW is (await store.claim(claim_of(), soon())).disposition

    watcher = await asyncpg.connect(postgres_url)

    async def is_building() -> bool:
        return bool(await watcher.fetchval("SELECT count(*) FROM pg_stat_progress_create_index"))

    await wait_until(is_building)
    assert Disposition.NEW is (await store.claim(claim_of("key-2"), soon())).disposition
    assert INDEXES != await valid_indexes(watcher)
    await holding.rollback()

    async def is_built() -> bool:
        return await valid_indexes(watcher) == INDEXES

    await wait_until(is_built)
    await watcher.close()


async def test_an_index_that_was_cut_off_is_created_again(
    postgres_url: str, stores: Callable[[], Awaitable[DurableWalletStore]], other: Any
) -> None:
    """Left invalid by a crash, it is replaced at the next start; eight gateways at once do it once."""
    first = await stores()
    await first.claim(claim_of(), soon())
    await other.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_wallet_operations_received'::regclass"
    )
    for store in [await stores() for _ in range(8)]:
        await store.check(soon())

    async def is_built() -> bool:
        return await valid_indexes(other) == INDEXES

    await wait_until(is_built)
