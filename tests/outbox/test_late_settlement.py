"""PostgreSQL: a settlement that another gateway commits while a lease is being taken."""

from __future__ import annotations

import asyncio
import uuid

import asyncpg

from gateway.outbox.store import EventQueue
from gateway.store.postgres import PostgresDatabase
from tests.evidence.wallet_factory import soon
from tests.manual_clock import ManualClock
from tests.outbox.event_factory import admit, delivered, ids, new_event, settle, take

PAUSE = 4711
"""The advisory lock that holds a gateway between the beginning of its statement and the lock of the ordering key."""


async def test_an_event_settled_before_the_lock_is_not_leased_again(postgres_url: str, clock: ManualClock) -> None:
    """Its lease has expired and nobody took over, so the late settlement counts: Phoenix has the event."""
    role = f"slow_{uuid.uuid4().hex}"
    late_database = PostgresDatabase(postgres_url, clock=clock)
    slow_database = PostgresDatabase(postgres_url.replace("postgres@", f"{role}@"), clock=clock)
    late, slow = EventQueue(late_database), EventQueue(slow_database)
    late.start()
    slow.start()
    await admit(late, new_event("a1"), new_event("a2"), new_event("a3"))
    owner = await asyncpg.connect(postgres_url)
    # The policy of rows runs for each row before it is locked, but not for a superuser.
    await owner.execute(f"""
        CREATE ROLE {role} LOGIN;
        GRANT ALL ON ALL TABLES IN SCHEMA public TO {role};
        CREATE FUNCTION paused() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_advisory_lock_shared({PAUSE}), pg_advisory_unlock_shared({PAUSE});
            RETURN true;
        END $$;
        ALTER TABLE durable_lanes ENABLE ROW LEVEL SECURITY;
        CREATE POLICY slowly ON durable_lanes TO {role} USING (paused());""")
    await slow.depth(soon(20))
    lease, taken = await take(late)
    clock.advance(21.0)
    await owner.execute(f"SELECT pg_advisory_lock({PAUSE})")
    taking = asyncio.create_task(take(slow))
    async with asyncio.timeout(5):
        while not await owner.fetchval(  # noqa: ASYNC110 - nobody tells that a session waits
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted", PAUSE
        ):
            await asyncio.sleep(0.01)
    assert 1 == await settle(late, lease, delivered(taken.events[0]))
    await owner.execute(f"SELECT pg_advisory_unlock({PAUSE})")
    next_lease, found = await taking
    assert ["a2"] == ids(found)
    assert 1 == await settle(slow, next_lease, delivered(found.events[0]))
    assert ["a3"] == ids((await take(late))[1])
    await owner.close()
    for queue, database in ((late, late_database), (slow, slow_database)):
        await queue.stop()
        await database.stop()
