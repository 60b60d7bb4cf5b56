"""Who may do a money move: once, by one, until its lease is over."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from gateway.core.types import Environment, OperatorCode
from gateway.core.wallet_verdict import Disposition
from gateway.evidence.record import ClaimResult
from tests.evidence.conftest import MakeStore
from tests.evidence.wallet_factory import LEASE_S, claim_of, outcome_of, soon
from tests.manual_clock import ManualClock


async def test_first_claim_is_new(make_store: MakeStore, clock: ManualClock) -> None:
    """The first claim of a key gets attempt 1 and a lease from now."""
    store = await make_store()
    result = await store.claim(claim_of(), soon())
    assert result == ClaimResult(
        disposition=Disposition.NEW,
        operation_id=result.operation_id,
        attempt=1,
        lease_expires_at_us=round((clock.now() + LEASE_S) * 1_000_000),
        lease_ends_us=round((clock.now() + LEASE_S) * 1_000_000),
        recorded=None,
        suspect_replay=False,
        probed_before=False,
        received_at_us=claim_of().received_at_us,
    )


async def test_second_claim_is_in_progress(make_store: MakeStore) -> None:
    """During the lease, a repeat of the same operation gets "in progress"."""
    store = await make_store()
    first = await store.claim(claim_of(), soon())
    second = await store.claim(claim_of(request_id="another"), soon())
    assert second.disposition is Disposition.IN_PROGRESS
    assert (second.operation_id, second.attempt, second.lease_expires_at_us) == (
        first.operation_id,
        1,
        first.lease_expires_at_us,
    )


async def test_finished_move_is_replayed(make_store: MakeStore, clock: ManualClock) -> None:
    """A finished move answers its recorded response, also long after its lease."""
    store = await make_store()
    first = await store.claim(claim_of(), soon())
    await store.record_outcome(outcome_of(first.operation_id, body=b'{"a": 1}'), soon())
    clock.advance(10 * LEASE_S)
    again = await store.claim(claim_of(), soon())
    assert again.disposition is Disposition.REPLAY
    assert again.operation_id == first.operation_id
    assert again.recorded is not None
    assert (again.recorded.status, again.recorded.body) == (200, b'{"a": 1}')


async def test_replay_is_byte_for_byte(make_store: MakeStore) -> None:
    """A recorded body of all 256 bytes comes back unchanged."""
    store = await make_store()
    body = bytes(range(256)) * 3
    first = await store.claim(claim_of(), soon())
    await store.record_outcome(outcome_of(first.operation_id, body=body), soon())
    again = await store.claim(claim_of(), soon())
    assert again.recorded is not None
    assert again.recorded.body == body


async def test_replay_of_a_hash_has_no_body(make_store: MakeStore) -> None:
    """If only the hash was recorded, the replay says so and has no empty body."""
    store = await make_store()
    first = await store.claim(claim_of(), soon())
    await store.record_outcome(outcome_of(first.operation_id, keep_body=False), soon())
    again = await store.claim(claim_of(), soon())
    assert again.recorded is not None
    assert again.recorded.body is None


async def test_empty_recorded_body_stays_empty(make_store: MakeStore) -> None:
    """An empty body is a body."""
    store = await make_store()
    first = await store.claim(claim_of(), soon())
    await store.record_outcome(outcome_of(first.operation_id, body=b""), soon())
    again = await store.claim(claim_of(), soon())
    assert again.recorded is not None
    assert again.recorded.body == b""


async def test_expired_lease_is_reclaimed(make_store: MakeStore, clock: ManualClock) -> None:
    """At the end of the lease the next claim takes the move over, with a higher attempt and a new lease."""
    store = await make_store()
    first = await store.claim(claim_of(), soon())
    clock.advance(LEASE_S - 1)
    assert (await store.claim(claim_of(), soon())).disposition is Disposition.IN_PROGRESS
    clock.advance(1)
    second = await store.claim(claim_of(), soon())
    assert (second.disposition, second.attempt) == (Disposition.RECLAIMED, 2)
    assert second.operation_id == first.operation_id
    assert second.lease_expires_at_us == round((clock.now() + LEASE_S) * 1_000_000)
    clock.advance(LEASE_S)
    third = await store.claim(claim_of(), soon())
    assert (third.disposition, third.attempt) == (Disposition.RECLAIMED, 3)


async def test_reclaim_has_a_single_winner(make_store: MakeStore, clock: ManualClock) -> None:
    """Of many who find the lease over, over several stores at once, one takes the move."""
    stores = [await make_store() for _ in range(4)]
    await stores[0].claim(claim_of(), soon())
    for attempt in (2, 3):
        clock.advance(LEASE_S + 1)
        results = await asyncio.gather(*(store.claim(claim_of(), soon()) for store in stores for _ in range(20)))
        assert Counter(result.disposition for result in results) == {
            Disposition.RECLAIMED: 1,
            Disposition.IN_PROGRESS: 79,
        }
        assert {result.attempt for result in results} == {attempt}


async def test_other_content_is_a_conflict(make_store: MakeStore, clock: ManualClock) -> None:
    """The same key with another amount is refused: in progress, finished or expired."""
    store = await make_store()
    first = await store.claim(claim_of(amount="12.50"), soon())
    other = claim_of(amount="99.00")
    assert (await store.claim(other, soon())).disposition is Disposition.CONFLICT
    clock.advance(LEASE_S + 1)
    assert (await store.claim(other, soon())).disposition is Disposition.CONFLICT
    await store.record_outcome(outcome_of(first.operation_id), soon())
    assert (await store.claim(other, soon())).disposition is Disposition.CONFLICT


async def test_other_spelling_of_the_amount_is_the_same_move(make_store: MakeStore) -> None:
    """A body with 12.5 in place of 12.50 is a repeat and no conflict: amounts are compared as decimals."""
    store = await make_store()
    await store.claim(claim_of(amount="12.50"), soon())
    again = await store.claim(claim_of(amount="12.5"), soon())
    assert again.disposition is Disposition.IN_PROGRESS


@pytest.mark.parametrize(
    "other",
    [
        claim_of(operation="capture_cash"),
        claim_of("KEY-1"),
        claim_of("key-1 "),
        claim_of(environment=Environment.SANDBOX),
        claim_of(operator_code=OperatorCode("other")),
    ],
    ids=["operation", "case", "space", "environment", "operator"],
)
async def test_each_part_of_the_scope_counts(make_store: MakeStore, other: object) -> None:
    """Operator, environment, operation and key, byte for byte, identify an operation."""
    store = await make_store()
    await store.claim(claim_of(), soon())
    assert isinstance(other, type(claim_of()))
    assert (await store.claim(other, soon())).disposition is Disposition.NEW


async def test_identical_claims_in_one_batch(make_store: MakeStore) -> None:
    """Of identical claims that arrive together one is NEW; the same with other content conflicts."""
    store = await make_store()
    results = await asyncio.gather(
        *(store.claim(claim_of(), soon()) for _ in range(30)), store.claim(claim_of(amount="1"), soon())
    )
    assert Counter(result.disposition for result in results) == {
        Disposition.NEW: 1,
        Disposition.IN_PROGRESS: 29,
        Disposition.CONFLICT: 1,
    }
    assert len({result.operation_id for result in results}) == 1


async def test_batch_of_different_claims(make_store: MakeStore) -> None:
    """Each caller gets the answer to its own claim, whatever order the batch was made in."""
    store = await make_store()
    keys = [f"key-{(index * 37) % 100}" for index in range(100)]
    results = await asyncio.gather(*(store.claim(claim_of(key), soon()) for key in keys))
    assert {result.disposition for result in results} == {Disposition.NEW}
    for key, result in zip(keys, results, strict=True):
        evidence = await store.evidence_by_id(result.operation_id, soon())
        assert evidence.idempotency_key == key


async def test_same_body_under_another_key_is_suspect(make_store: MakeStore) -> None:
    """The key header is not signed: a body that is repeated under another key is flagged permanently."""
    store = await make_store()
    body = b'{"operation":"credit_cash"}'
    first = await store.claim(claim_of("key-1", body=body), soon())
    second = await store.claim(claim_of("key-2", body=body), soon())
    assert (first.suspect_replay, second.suspect_replay) == (False, True)
    assert (await store.claim(claim_of("key-1", body=body), soon())).suspect_replay is False
    assert (await store.claim(claim_of("key-2", body=body), soon())).suspect_replay is True
    assert (await store.evidence_by_id(second.operation_id, soon())).suspect_replay is True


async def test_one_of_equal_bodies_in_one_batch_is_first(make_store: MakeStore) -> None:
    """Equal bodies under different keys over two stores at once: all but one are suspect."""
    stores = [await make_store(), await make_store()]
    results = await asyncio.gather(
        *(stores[index % 2].claim(claim_of(f"key-{index}", body=b"same"), soon()) for index in range(20))
    )
    assert Counter(result.suspect_replay for result in results) == {True: 19, False: 1}


async def test_same_body_elsewhere_is_not_suspect(make_store: MakeStore) -> None:
    """Bodies of another operator or environment are separate."""
    store = await make_store()
    await store.claim(claim_of(body=b"same"), soon())
    sandbox = await store.claim(claim_of("key-2", body=b"same", environment=Environment.SANDBOX), soon())
    other = await store.claim(claim_of("key-3", body=b"same", operator_code=OperatorCode("other")), soon())
    assert (sandbox.suspect_replay, other.suspect_replay) == (False, False)
