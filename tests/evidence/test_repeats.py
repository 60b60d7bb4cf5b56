"""Repeats: replays are counted, conflicting calls stored, suspect replays held if the setting asks for it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Mapping

import pytest

from gateway.core.types import Environment
from gateway.core.wallet_verdict import Disposition, OriginalState
from gateway.errors import StaleAttempt, StoreUnavailable
from gateway.evidence.durable import DurableWalletStore
from gateway.evidence.reading import MAX_CONFLICT_BYTES
from gateway.evidence.record import Evidence, EvidenceQuery, MoveClaim, OperationState
from gateway.evidence.replay_tally import ReplayTally
from tests.evidence.conftest import MakeStore
from tests.evidence.wallet_factory import LEASE_S, OPERATOR, RECEIVED_AT_US, claim_of, outcome_of, sha256, soon
from tests.manual_clock import ManualClock

BODY = b"the same signed body"


def with_body(key: str, *, holds: bool) -> MoveClaim:
    """A claim whose body is the same under every key."""
    return dataclasses.replace(claim_of(key, operation="credit_cash", body=BODY), holds_suspects=holds)


async def kept(store: DurableWalletStore, operation_id: str) -> Evidence:
    return await store.evidence_by_id(operation_id, soon())


async def finished(store: DurableWalletStore) -> str:
    """A move with its outcome; return its id."""
    claimed = await store.claim(claim_of(), soon())
    await store.record_outcome(outcome_of(claimed.operation_id), soon())
    return claimed.operation_id


async def counted(store: DurableWalletStore, operation_id: str, count: int) -> None:
    """Wait until so many replays are counted, and see that it stays so."""
    until = time.monotonic() + 10
    while (await kept(store, operation_id)).replay_count != count:
        assert time.monotonic() < until
        await asyncio.sleep(0.02)


async def test_replays_are_counted(make_store: MakeStore) -> None:
    """One by one and many at once, from several gateways, soon after they were given."""
    store, other = await make_store(), await make_store()
    operation_id = await finished(store)
    assert 0 == (await kept(store, operation_id)).replay_count
    await store.claim(claim_of(), soon())
    await counted(store, operation_id, 1)
    await asyncio.gather(*(one.claim(claim_of(), soon()) for one in (store, other) for _ in range(20)))
    await counted(store, operation_id, 41)


async def test_a_stop_loses_no_count(make_store: MakeStore) -> None:
    """What was given in the last moment is committed with it."""
    store = await make_store()
    operation_id = await finished(store)
    await store.claim(claim_of(), soon())
    await store.stop()
    assert 1 == (await kept(await make_store(), operation_id)).replay_count


async def test_counts_that_could_not_be_committed_are_brought_again() -> None:
    """Trouble of the store costs no count, and no answer hears of it."""
    brought: list[dict[str, int]] = []

    async def commit(counts: Mapping[str, int]) -> None:
        brought.append(dict(counts))
        if len(brought) == 1:
            tally.note("b")  # while the commit is on its way
            raise StoreUnavailable

    tally = ReplayTally(commit, every_s=0.01)
    tally.note("a")
    tally.note("a")
    until = time.monotonic() + 10
    while len(brought) < 2:
        assert time.monotonic() < until
        await asyncio.sleep(0.01)
    await tally.stop()
    assert [{"a": 2}, {"a": 2, "b": 1}] == brought


async def test_a_call_in_progress_is_no_replay(make_store: MakeStore) -> None:
    """A call that got "in progress" has no recorded response."""
    store = await make_store()
    claimed = await store.claim(claim_of(), soon())
    await store.claim(claim_of(), soon())
    await store.record_outcome(outcome_of(claimed.operation_id), soon())
    await store.claim(claim_of(), soon())
    await counted(store, claimed.operation_id, 1)


async def test_conflicting_calls_are_kept(make_store: MakeStore) -> None:
    """Each different body is stored once, unchanged, with its count. The operation itself does not change."""
    store = await make_store()
    operation_id = await finished(store)
    before = await kept(store, operation_id)
    for amount in ("13.00", "14.00", "13.00"):
        other = claim_of(amount=amount, request_id=f"request-{amount}")
        assert Disposition.CONFLICT is (await store.claim(other, soon())).disposition
    after = await kept(store, operation_id)
    assert [
        (RECEIVED_AT_US, 2, claim_of(amount="13.00").body, "request-13.00"),
        (RECEIVED_AT_US, 1, claim_of(amount="14.00").body, "request-14.00"),
    ] == [(one.received_at_us, one.count, one.body, one.request_id) for one in after.conflicts]
    assert [sha256(one.body or b"") for one in after.conflicts] == [one.body_sha256 for one in after.conflicts]
    assert {("A" * 86, "c" * 64)} == {(one.signature, one.key_id) for one in after.conflicts}
    assert before == dataclasses.replace(after, conflicts=())


async def test_equal_conflicts_at_once_are_one(make_store: MakeStore) -> None:
    """Many in one commit, one row with their number."""
    store = await make_store()
    claimed = await store.claim(claim_of(), soon())
    await asyncio.gather(*(store.claim(claim_of(amount="13.00"), soon()) for _ in range(30)))
    assert [30] == [one.count for one in (await kept(store, claimed.operation_id)).conflicts]


async def test_large_conflicts_are_reported_by_their_hash(make_store: MakeStore) -> None:
    """Bodies that would not fit into one message together are left out, the rest of the calls is not."""
    store = await make_store()
    claimed = await store.claim(claim_of(), soon())
    large = [bytes([number]) * (MAX_CONFLICT_BYTES // 2) for number in range(3)]
    for number, body in enumerate(large):
        await store.claim(claim_of(amount=f"{number}.99", body=body), soon())
    conflicts = (await kept(store, claimed.operation_id)).conflicts
    assert [large[0], large[1], None] == [one.body for one in conflicts]
    assert [sha256(body) for body in large] == [one.body_sha256 for one in conflicts]


async def test_a_suspect_replay_is_held(make_store: MakeStore) -> None:
    """Held, kept as evidence, and held again however often it comes; no outcome fits it, and a probe waits."""
    store = await make_store()
    first = await store.claim(with_body("key-1", holds=True), soon())
    assert (Disposition.NEW, False) == (first.disposition, first.suspect_replay)
    held = [await store.claim(with_body("key-2", holds=True), soon()) for _ in range(3)]
    assert [(None, True, 0)] * 3 == [(one.disposition, one.suspect_replay, one.attempt) for one in held]
    evidence = await kept(store, held[0].operation_id)
    assert (OperationState.HELD, BODY, True) == (evidence.state, evidence.body, evidence.suspect_replay)
    with pytest.raises(StaleAttempt):
        await store.record_outcome(outcome_of(evidence.operation_id), soon())
    probe = await store.probe(OPERATOR, Environment.PROD, "key-2", None, 1, soon())
    assert OriginalState.IN_PROGRESS is probe.state


async def test_the_first_of_equal_bodies_is_never_held(make_store: MakeStore) -> None:
    """It continues unchanged by later calls."""
    store = await make_store()
    first = await store.claim(with_body("key-1", holds=True), soon())
    await store.claim(with_body("key-2", holds=True), soon())
    assert Disposition.IN_PROGRESS is (await store.claim(with_body("key-1", holds=True), soon())).disposition
    await store.record_outcome(outcome_of(first.operation_id), soon())
    assert Disposition.REPLAY is (await store.claim(with_body("key-1", holds=True), soon())).disposition


async def test_equal_bodies_at_once(make_store: MakeStore) -> None:
    """Many keys for one body in one moment: one is new, the others are held."""
    store = await make_store()
    results = await asyncio.gather(*(store.claim(with_body(f"key-{n}", holds=True), soon()) for n in range(30)))
    assert [1, 29] == [[one.disposition for one in results].count(what) for what in (Disposition.NEW, None)]


async def test_a_held_operation_continues_once_nothing_is_held(make_store: MakeStore, clock: ManualClock) -> None:
    """When the operator's settings no longer hold it, one caller reclaims it."""
    store = await make_store()
    await store.claim(with_body("key-1", holds=True), soon())
    held = await store.claim(with_body("key-2", holds=True), soon())
    freed = await asyncio.gather(*(store.claim(with_body("key-2", holds=False), soon()) for _ in range(5)))
    won = [one for one in freed if one.disposition is Disposition.RECLAIMED]
    assert [(held.operation_id, 2, True)] == [(one.operation_id, one.attempt, one.suspect_replay) for one in won]
    assert 4 == [one.disposition for one in freed].count(Disposition.IN_PROGRESS)
    clock.advance(LEASE_S + 1)  # held again by another gateway: too late, it was begun
    again = await store.claim(with_body("key-2", holds=True), soon())
    assert (Disposition.RECLAIMED, 3) == (again.disposition, again.attempt)
    await store.record_outcome(outcome_of(held.operation_id, attempt=3), soon())
    assert OperationState.FINISHED is (await kept(store, held.operation_id)).state


async def test_a_suspect_that_is_not_to_be_held_is_flagged(make_store: MakeStore) -> None:
    """Only the flag is set: the operation is new."""
    store = await make_store()
    await store.claim(with_body("key-1", holds=False), soon())
    second = await store.claim(with_body("key-2", holds=False), soon())
    assert (Disposition.NEW, True, 1) == (second.disposition, second.suspect_replay, second.attempt)


async def test_held_moves_are_listed_by_their_state(make_store: MakeStore) -> None:
    """Neither in progress nor finished."""
    store = await make_store()
    for key in ("key-1", "key-2"):
        await store.claim(with_body(key, holds=True), soon())
    asked = EvidenceQuery(operator_code=OPERATOR, environment=Environment.PROD)
    found = {
        state: [
            one.idempotency_key
            for one in (await store.list_evidence(dataclasses.replace(asked, state=state), soon())).evidence
        ]
        for state in OperationState
    }
    assert {
        OperationState.IN_PROGRESS: ["key-1"],
        OperationState.FINISHED: [],
        OperationState.HELD: ["key-2"],
    } == found
