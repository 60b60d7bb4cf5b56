"""How often a call crosses the network to PostgreSQL, counted on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from gateway.core.wallet_operation import same_move
from gateway.core.wallet_verdict import Disposition
from gateway.evidence.durable import DurableWalletStore
from gateway.outbox.store import EventQueue
from gateway.store.postgres import PostgresDatabase
from tests.evidence.wallet_factory import claim_of, outcome_of, soon
from tests.manual_clock import ManualClock
from tests.outbox.event_factory import admit, delivered, new_event, settle, take
from tests.postgres_process import PostgresProcess
from tests.tcp_proxy import TcpProxy

MOST = 3
Trips = Callable[[Awaitable[object]], Awaitable[int]]


@pytest.fixture
async def proxy(postgres_server: PostgresProcess) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(postgres_server.port) as proxy:
        yield proxy


@pytest.fixture
async def database(proxy: TcpProxy, postgres_url: str, clock: ManualClock) -> AsyncIterator[PostgresDatabase]:
    """Connected and migrated; nothing else of it is on the wire."""
    database = PostgresDatabase(proxy.url_of(postgres_url), connections=1, clock=clock)
    await database.write(lambda _connection, _now: None, 20)
    while any(task.get_name() == "evidence-indexes" for task in asyncio.all_tasks()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    yield database
    await database.stop()


@pytest.fixture
def trips(proxy: TcpProxy) -> Trips:
    """Wait for a call, and return how many round trips it took."""

    async def count(call: Awaitable[object]) -> int:
        before = proxy.turns
        await call
        return proxy.turns - before

    return count


async def test_a_wallet_call(database: PostgresDatabase, clock: ManualClock, trips: Trips) -> None:
    """New, repeated, suspect, taken over and replayed: three round trips at most, the COMMIT included."""
    store = DurableWalletStore(database, same_move=same_move)
    await store.start()
    first = [await trips(store.claim(claim_of(f"key-{n}"), soon())) for n in range(6)]
    assert MOST >= max(first)
    assert 2 == first[-1]
    assert MOST >= await trips(store.claim(claim_of("key-1"), soon()))
    suspect = claim_of("key-s", body=claim_of("key-1").body)
    assert MOST >= await trips(store.claim(suspect, soon()))  # also looks for what a person settled
    assert MOST >= await trips(store.claim(suspect, soon()))
    assert MOST >= await trips(store.claim(replace(suspect, idempotency_key="key-h", holds_suspects=True), soon()))
    clock.advance(100)
    claimed: list[object] = []

    async def take_over() -> None:
        claimed.append(await store.claim(claim_of("key-1"), soon()))

    assert MOST >= await trips(take_over())
    taken = await store.evidence_by_key(
        claim_of().operator_code, claim_of().environment, "reserve_cash", "key-1", soon()
    )
    assert 2 == taken.attempt
    assert MOST >= await trips(store.claim(suspect, soon()))  # taken over, too
    await store.record_outcome(outcome_of(taken.operation_id, attempt=2), soon())
    assert MOST >= await trips(store.claim(claim_of("key-1"), soon()))
    assert Disposition.REPLAY is (await store.claim(claim_of("key-1"), soon())).disposition
    await store.stop()


async def test_a_durable_event(database: PostgresDatabase, trips: Trips) -> None:
    """With the caller's id or one of ours: three round trips at most; its delivery costs few more."""
    queue = EventQueue(database)
    queue.start()
    assert MOST >= max([await trips(admit(queue, new_event(f"a{n}", f"u{n}"))) for n in range(6)])
    own = [await trips(admit(queue, new_event(f"b{n}", f"v{n}", is_id_given=False))) for n in range(6)]
    assert 2 == own[-1]
    lease_id, taken = await take(queue)
    assert 12 == len(taken.events)
    assert MOST >= await trips(settle(queue, lease_id, *[delivered(event) for event in taken.events]))
    await queue.stop()
