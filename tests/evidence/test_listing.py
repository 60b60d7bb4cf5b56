"""Listing by time of receipt, on both databases."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from gateway.core.types import Environment, OperatorCode
from gateway.evidence import listing
from gateway.evidence.durable import DurableWalletStore
from gateway.evidence.record import EvidencePage, EvidenceQuery, OperationState, Position
from gateway.store.database import Database
from gateway.store.migrate import is_current
from tests.evidence.conftest import MakeStore
from tests.evidence.schema_by_hand import migrate_by_hand
from tests.evidence.wallet_factory import OPERATOR, RECEIVED_AT_US, claim_of, outcome_of, soon

ALL = EvidenceQuery(operator_code=OPERATOR, environment=Environment.PROD)


async def claimed(store: DurableWalletStore, key: str, at_us: int, *, body: bytes | None = None) -> str:
    """Claim a move received at that time; return its id."""
    claim = dataclasses.replace(claim_of(key, body=body), received_at_us=RECEIVED_AT_US + at_us)
    return (await store.claim(claim, soon())).operation_id


async def pages(store: DurableWalletStore, query: EvidenceQuery) -> list[EvidencePage]:
    """Read to the end, at most 50 pages."""
    found: list[EvidencePage] = []
    while len(found) < 50:
        found.append(await store.list_evidence(query, soon()))
        if not found[-1].more:
            return found
        query = dataclasses.replace(query, after=found[-1].position)
    raise AssertionError("the listing does not end")


def keys(found: list[EvidencePage]) -> list[str]:
    return [one.idempotency_key for page in found for one in page.evidence]


async def test_every_move_comes_once_in_the_order_of_receipt(make_store: MakeStore) -> None:
    """Pages of three, moves of one microsecond among them: none is missed and none comes twice."""
    store = await make_store()
    times = [5, 1, 1, 1, 1, 9, 3, 1, 7, 0]
    for number, at_us in enumerate(times):
        await claimed(store, f"key-{number}", at_us)
    found = await pages(store, dataclasses.replace(ALL, limit=3))
    assert [3, 3, 3, 1] == [len(page.evidence) for page in found]
    assert sorted(times) == [one.received_at_us - RECEIVED_AT_US for page in found for one in page.evidence]
    assert {f"key-{number}" for number in range(10)} == set(keys(found))


async def test_the_range_holds_its_start_and_not_its_end(make_store: MakeStore) -> None:
    """Two ranges side by side share no move."""
    store = await make_store()
    for at_us in range(4):
        await claimed(store, f"key-{at_us}", at_us)
    query = dataclasses.replace(ALL, start_us=RECEIVED_AT_US + 1, end_us=RECEIVED_AT_US + 3)
    assert ["key-1", "key-2"] == keys(await pages(store, query))


async def test_other_operators_and_environments_are_left_out(make_store: MakeStore) -> None:
    """Test money is never listed beside real money."""
    store = await make_store()
    await store.claim(claim_of("key-prod"), soon())
    await store.claim(claim_of("key-sandbox", environment=Environment.SANDBOX), soon())
    await store.claim(claim_of("key-other", operator_code=OperatorCode("other")), soon())
    assert ["key-prod"] == keys(await pages(store, ALL))
    sandbox = dataclasses.replace(ALL, environment=Environment.SANDBOX)
    assert ["key-sandbox"] == keys(await pages(store, sandbox))


async def test_filters_by_player_and_state(make_store: MakeStore) -> None:
    """Only what fits is there, with its outcome."""
    store = await make_store()
    done = await store.claim(claim_of("key-1"), soon())
    await store.claim(claim_of("key-2"), soon())
    await store.claim(claim_of("key-3", player_id="player-2"), soon())
    await store.record_outcome(outcome_of(done.operation_id), soon())
    assert ["key-1"] == keys(await pages(store, dataclasses.replace(ALL, state=OperationState.FINISHED)))
    assert {"key-2", "key-3"} == set(
        keys(await pages(store, dataclasses.replace(ALL, state=OperationState.IN_PROGRESS)))
    )
    assert ["key-3"] == keys(await pages(store, dataclasses.replace(ALL, player_id="player-2")))


async def test_a_page_looks_at_few_rows(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter with few matches gives short and empty pages with a next page, so that no read takes long."""
    monkeypatch.setattr(listing, "_EXAMINED", 4)
    store = await make_store()
    for number in range(10):
        await claimed(store, f"key-{number}", number)
    rare = dataclasses.replace(claim_of("key-rare", player_id="player-2"), received_at_us=RECEIVED_AT_US + 9)
    await store.claim(rare, soon())
    found = await pages(store, dataclasses.replace(ALL, player_id="player-2"))
    assert [0, 0, 1] == [len(page.evidence) for page in found]


async def test_large_bodies_make_a_page_short(make_store: MakeStore) -> None:
    """A page stays below what a gRPC client takes in one message; one move always fits."""
    store = await make_store()
    for number in range(5):
        await claimed(store, f"key-{number}", number, body=b"%d" % number + b"x" * 1_000_000)
    found = await pages(store, ALL)
    assert [f"key-{number}" for number in range(5)] == keys(found)
    assert 1 == max(len(page.evidence) for page in found)


async def test_a_place_behind_the_last_move_gives_an_empty_page(make_store: MakeStore) -> None:
    """It keeps the position, so that a later request continues there."""
    store = await make_store()
    await claimed(store, "key-1", 1)
    after = Position(received_at_us=RECEIVED_AT_US + 2, operation_id="")
    page = await store.list_evidence(dataclasses.replace(ALL, after=after), soon())
    assert ((), after, False) == (page.evidence, page.position, page.more)


async def test_evidence_of_the_schema_before_is_listed_after_the_upgrade(
    make_store: MakeStore, make_database: Callable[[], Database]
) -> None:
    """Also if the index was created manually before the upgrade."""
    store = await make_store()
    await claimed(store, "key-1", 1)
    index = sa.text(
        "CREATE INDEX ix_wallet_operations_received ON wallet_operations (operator_code, environment, received_at_us)"
    )
    for by_hand in (False, True):
        database = make_database()
        await migrate_by_hand(database, down_to="0001")
        if by_hand:
            await database.write(lambda connection, _now: connection.execute(index), 10)
        await migrate_by_hand(database)
        assert await database.read(lambda connection, _now: is_current(connection), 10)
        await database.stop()
        assert ["key-1"] == keys(await pages(await make_store(), ALL))
