"""PostgreSQL commits, and its answer is lost: what cannot be repeated is left in doubt, and done once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.errors import StoreUnavailable
from gateway.outbox.record import Release, Take
from gateway.outbox.store import EventQueue
from gateway.store.postgres import PostgresDatabase
from tests.evidence.wallet_factory import soon
from tests.outbox.event_factory import LEASE_US, TENANT, admit, delivered, ids, new_event, settle, take
from tests.postgres_process import PostgresProcess
from tests.tcp_proxy import TcpProxy


@pytest.fixture
async def proxy(postgres_server: PostgresProcess) -> AsyncIterator[TcpProxy]:
    """Between `queue` and PostgreSQL."""
    async with TcpProxy(postgres_server.port) as proxy:
        yield proxy


@pytest.fixture
async def other(postgres_url: str) -> AsyncIterator[EventQueue]:
    """The queue on another gateway."""
    database = PostgresDatabase(postgres_url)
    queue = EventQueue(database)
    queue.start()
    await queue.depth(soon(20))
    yield queue
    await queue.stop()
    await database.stop()


@pytest.fixture
async def queue(proxy: TcpProxy, postgres_url: str, other: EventQueue) -> AsyncIterator[EventQueue]:
    """The queue whose answers get lost."""
    database = PostgresDatabase(proxy.url_of(postgres_url))
    queue = EventQueue(database)
    queue.start()
    await queue.depth(soon(20))
    yield queue
    await queue.stop()
    await database.stop()


class Note:
    """Counts how often it is called."""

    count = 0

    async def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def note() -> Note:
    """Run at a lost commit."""
    return Note()


async def deliver_all(queue: EventQueue) -> None:
    lease, taken = await take(queue)
    assert len(taken.events) == await settle(queue, lease, *map(delivered, taken.events))


async def test_an_event_that_was_delivered_and_forgotten_is_not_queued_again(
    proxy: TcpProxy, queue: EventQueue, other: EventQueue
) -> None:
    """Its id was made by a gateway, so no row is left once Phoenix has the event."""
    proxy.at_lost_commit = lambda: deliver_all(other)
    with pytest.raises(StoreUnavailable) as refused:
        await admit(queue, new_event("made", is_id_given=False), new_event("given", "bob"))
    assert refused.value.may_be_committed
    assert 0 == (await other.depth(soon())).events


@pytest.mark.parametrize("is_id_given", [True, False])
async def test_an_event_that_is_found_is_accepted(
    proxy: TcpProxy, queue: EventQueue, note: Note, *, is_id_given: bool
) -> None:
    """It is there once, and the call succeeds."""

    proxy.at_lost_commit = note
    assert ["queued"] == await admit(queue, new_event("e", is_id_given=is_id_given))
    assert note.count
    assert 1 == (await queue.depth(soon())).events


async def test_an_event_of_the_caller_is_remembered(proxy: TcpProxy, queue: EventQueue, other: EventQueue) -> None:
    """Delivered meanwhile."""
    proxy.at_lost_commit = lambda: deliver_all(other)
    assert ["delivered"] == await admit(queue, new_event("given"))
    assert 0 == (await other.depth(soon())).events


async def test_a_lease_whose_answer_is_lost_leases_nothing_else_and_is_released(
    proxy: TcpProxy, queue: EventQueue, other: EventQueue, note: Note
) -> None:
    """Its events would be marked as sent until it expires, and become dead letters where Phoenix counts doubles."""
    await admit(other, new_event("a1"), new_event("b1", "bob"))
    proxy.at_lost_commit = note
    with pytest.raises(StoreUnavailable):
        await queue.take(Take(tenant_id=TENANT, max_keys=1, lease_id=77, lease_us=LEASE_US), soon())
    assert 1 == await queue.release(Release(lease_id=77, lease_us=LEASE_US), soon())
    _, taken = await take(other)
    assert ["a1", "b1"] == ids(taken)
    assert [None, None] == [event.first_sent_at_us for event in taken.events]
