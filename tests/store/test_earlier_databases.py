"""A database of an earlier version opens in this one with all its content.

`earlier/README.md` names the code that wrote each file.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.controls.stored_switches import StoredSwitches
from gateway.core.switches import Switches, decode_switches, encode_switches
from gateway.core.types import TenantId
from gateway.core.wallet_operation import same_move
from gateway.core.wallet_verdict import Disposition
from gateway.evidence.durable import DurableWalletStore
from gateway.outbox.record import DeadLetterQuery
from gateway.outbox.store import EventQueue
from gateway.store.migrate import is_current
from gateway.store.sqlite import SqliteDatabase
from tests.evidence.chain.chain_setup import Exporter, moved, public_key_of, sequencer, signed_claim, verdict
from tests.evidence.wallet_factory import outcome_of, soon
from tests.manual_clock import ManualClock
from tests.outbox.event_factory import ids, take

EARLIER = Path(__file__).parent / "earlier"


@pytest.fixture(params=sorted(EARLIER.glob("*.sqlite3")), ids=lambda path: path.stem)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """A copy of each file, open; its leases go by the time at which they were taken."""
    copy = tmp_path / "evidence.sqlite3"
    shutil.copyfile(request.param, copy)
    opened = SqliteDatabase(copy, ManualClock())
    yield opened
    await opened.stop()


@pytest.fixture
async def store(database: SqliteDatabase) -> AsyncIterator[DurableWalletStore]:
    opened = DurableWalletStore(database, same_move=same_move, public_key_of=public_key_of)
    await opened.start()
    yield opened
    await opened.stop()


async def test_its_schema_becomes_that_of_this_code(database: SqliteDatabase) -> None:
    """After the first write."""
    await database.write(lambda _connection, _now: None, 10)
    assert await database.read(lambda connection, _now: is_current(connection), 10)


async def test_its_moves_are_known(store: DurableWalletStore) -> None:
    """A move with an outcome is a replay with the response that was recorded; one without is in progress."""
    done = await store.claim(signed_claim("done"), soon())
    assert done.recorded is not None
    assert (Disposition.REPLAY, outcome_of("").body) == (done.disposition, done.recorded.body)
    assert Disposition.IN_PROGRESS is (await store.claim(signed_claim("open"), soon())).disposition
    assert Disposition.NEW is (await store.claim(signed_claim("new"), soon())).disposition


async def test_its_chain_continues(store: DurableWalletStore, database: SqliteDatabase, tmp_path: Path) -> None:
    """Old lines outside the chain are chained with new ones, and the whole export verifies."""
    await moved(store, "new")
    chain = sequencer(database)
    while await chain.step():
        pass
    exporter = Exporter(store, database)
    found = verdict(await exporter.write(tmp_path / "export.jsonl"), await exporter.head())
    assert ("proven", 4) == (found["verdict"], found["records"])


async def test_its_events_are_delivered_or_dead(database: SqliteDatabase) -> None:
    """A queued event can be leased, a dead letter is listed."""
    queue = EventQueue(database)
    queue.start()
    _, taken = await take(queue)
    letters = DeadLetterQuery(
        tenant_id=TenantId("tenant-one"), leaderboard_id="", reason="", event_ids=(), after=0, limit=9
    )
    (letter,), _ = await queue.dead_letters(letters, soon())
    await queue.stop()
    assert (["queued"], "dead") == (ids(taken), letter.event_id)


async def test_its_kill_switches_hold(database: SqliteDatabase) -> None:
    """What an operator switched off stays off."""
    stored = StoredSwitches(
        database, encode=encode_switches, decode=lambda content: decode_switches(content, now_ms=1_000)
    )
    known = await stored.merge(Switches())
    assert ["off"] == [one.target.name for one in known.off]
