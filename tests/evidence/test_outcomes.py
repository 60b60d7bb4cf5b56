"""Outcomes: recorded once, refused ones stored as incidents, evidence unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.core.types import Environment, OperatorCode
from gateway.core.wallet_operation import same_move
from gateway.core.wallet_verdict import Disposition
from gateway.errors import GatewayError, OutcomeDiffers, PhoenixNotFound, StaleAttempt
from gateway.evidence.durable import DurableWalletStore
from gateway.evidence.reading import MAX_INCIDENTS
from gateway.evidence.record import Balance, Evidence, Incident, IncidentReason, RecordedResponse
from gateway.store.database import Database
from tests.evidence.conftest import MakeStore
from tests.evidence.wallet_factory import LEASE_S, OPERATOR, RECEIVED_AT_US, claim_of, outcome_of, sha256, soon
from tests.manual_clock import ManualClock


async def test_evidence_holds_everything(make_store: MakeStore, clock: ManualClock) -> None:
    """Request and answer are stored byte for byte and found by id and by key."""
    store = await make_store()
    claim = claim_of(body=bytes(range(256)), reason="Zahlung für Ω 🎲")
    claimed = await store.claim(claim, soon())
    recorded_at_us = round(clock.now() * 1_000_000)
    outcome = outcome_of(claimed.operation_id, body=bytes(reversed(range(256))))
    evidence = await store.record_outcome(outcome, soon())
    assert evidence == Evidence(
        operation_id=claimed.operation_id,
        operator_code=OPERATOR,
        environment=Environment.PROD,
        idempotency_key="key-1",
        content=claim.content,
        reason=claim.reason,
        body=claim.body,
        signature=claim.signature,
        key_id=claim.key_id,
        request_id=claim.request_id,
        received_at_us=RECEIVED_AT_US,
        attempt=1,
        lease_expires_at_us=claimed.lease_expires_at_us,
        suspect_replay=False,
        probed_before=False,
        response=RecordedResponse(
            status=200, body_sha256=outcome.body_sha256, body=outcome.body, recorded_at_us=recorded_at_us
        ),
        operator_transaction_id="tx-1",
        operator_reservation_id="res-1",
        available=Balance(amount="87.50", currency="EUR"),
        reserved=Balance(amount="12.50", currency="EUR"),
        processed_at_us=RECEIVED_AT_US + 5,
        incidents=(),
    )
    assert await store.evidence_by_id(claimed.operation_id, soon()) == evidence
    assert await store.evidence_by_key(OPERATOR, Environment.PROD, "reserve_cash", "key-1", soon()) == evidence


async def test_decimals_keep_their_digits(make_store: MakeStore) -> None:
    """An amount comes back digit for digit, however long."""
    store = await make_store()
    amount = "12345678901234567890.123456789012345678900"
    claimed = await store.claim(claim_of(amount=amount), soon())
    evidence = await store.evidence_by_id(claimed.operation_id, soon())
    assert str(evidence.content.amount) == amount


async def test_evidence_without_outcome(make_store: MakeStore) -> None:
    """A move in progress has no response, and its unknown amount stays unknown."""
    store = await make_store()
    claim = claim_of()
    claim = replace(claim, content=claim.content._replace(amount=None))
    claimed = await store.claim(claim, soon())
    evidence = await store.evidence_by_id(claimed.operation_id, soon())
    assert (evidence.response, evidence.content.amount, evidence.available) == (None, None, None)


async def test_unknown_operation(make_store: MakeStore) -> None:
    """What was never claimed is not found, whatever its id looks like."""
    store = await make_store()
    for operation_id in ("00000000-0000-7000-8000-000000000000", "", "x" * 64, "nul\x00", "\ud800"):
        with pytest.raises(PhoenixNotFound):
            await store.record_outcome(outcome_of(operation_id), soon())
        with pytest.raises(PhoenixNotFound):
            await store.evidence_by_id(operation_id, soon())
    with pytest.raises(PhoenixNotFound):
        await store.evidence_by_key(OPERATOR, Environment.PROD, "reserve_cash", "key\x00", soon())
    with pytest.raises(PhoenixNotFound):
        await store.evidence_by_key(OPERATOR, Environment.SANDBOX, "reserve_cash", "key-1", soon())


async def test_same_outcome_again(make_store: MakeStore, clock: ManualClock) -> None:
    """The same outcome again is fine and changes nothing, not even its time."""
    store = await make_store()
    claimed = await store.claim(claim_of(), soon())
    first = await store.record_outcome(outcome_of(claimed.operation_id), soon())
    clock.advance(5)
    assert await store.record_outcome(outcome_of(claimed.operation_id), soon()) == first


@pytest.mark.parametrize(
    "change",
    [{"status": 422}, {"body": b"other"}, {"transaction_id": "tx-2"}, {"reservation_id": "res-2"}],
    ids=["status", "body", "transaction", "reservation"],
)
async def test_other_outcome_differs(make_store: MakeStore, clock: ManualClock, change: dict[str, object]) -> None:
    """Another status, body, transaction or reservation is refused, kept as an incident, and changes nothing."""
    store = await make_store()
    claimed = await store.claim(claim_of(), soon())
    first = await store.record_outcome(outcome_of(claimed.operation_id), soon())
    clock.advance(7)
    other = outcome_of(claimed.operation_id, **change)  # type: ignore[arg-type]
    for _ in range(2):  # reported twice, stored once
        with pytest.raises(OutcomeDiffers):
            await store.record_outcome(other, soon())
    kept = Incident(
        reason=IncidentReason.OUTCOME_DIFFERS,
        received_at_us=round(clock.now() * 1_000_000),
        attempt=1,
        status=other.status,
        body_sha256=other.body_sha256,
        operator_transaction_id=other.operator_transaction_id,
    )
    assert await store.evidence_by_id(claimed.operation_id, soon()) == replace(first, incidents=(kept,))


async def test_an_expired_lease_that_is_not_reclaimed(make_store: MakeStore, clock: ManualClock) -> None:
    """A late outcome is accepted while no other attempt has the operation."""
    store = await make_store()
    claimed = await store.claim(claim_of(), soon())
    clock.advance(10 * LEASE_S)
    assert (await store.record_outcome(outcome_of(claimed.operation_id), soon())).response is not None


async def test_stale_attempt(make_store: MakeStore, clock: ManualClock) -> None:
    """Once another attempt has the move, the old one's outcome is refused and kept; the new one's is taken."""
    store = await make_store()
    claimed = await store.claim(claim_of(), soon())
    clock.advance(LEASE_S)
    again = await store.claim(claim_of(), soon())
    assert again.disposition is Disposition.RECLAIMED
    with pytest.raises(StaleAttempt):
        await store.record_outcome(outcome_of(claimed.operation_id, attempt=1, transaction_id="old"), soon())
    evidence = await store.record_outcome(outcome_of(claimed.operation_id, attempt=2), soon())
    assert evidence.attempt == 2
    assert evidence.response is not None
    assert [(one.reason, one.attempt, one.operator_transaction_id) for one in evidence.incidents] == [
        (IncidentReason.STALE_ATTEMPT, 1, "old")
    ]


async def test_same_outcome_from_an_older_attempt(make_store: MakeStore, clock: ManualClock) -> None:
    """Both attempts found the same ledger entry: the older one's outcome is the recorded one, so it is fine."""
    store = await make_store()
    claimed = await store.claim(claim_of(), soon())
    clock.advance(LEASE_S)
    await store.claim(claim_of(), soon())
    recorded = await store.record_outcome(outcome_of(claimed.operation_id, attempt=2), soon())
    assert await store.record_outcome(outcome_of(claimed.operation_id, attempt=1), soon()) == recorded


async def test_attempt_never_given_out(make_store: MakeStore) -> None:
    """An attempt from the future is no owner either."""
    store = await make_store()
    claimed = await store.claim(claim_of(), soon())
    with pytest.raises(StaleAttempt):
        await store.record_outcome(outcome_of(claimed.operation_id, attempt=2), soon())


async def test_two_outcomes_at_once(make_store: MakeStore) -> None:
    """Of different outcomes that arrive together over two stores one is recorded, the others are incidents."""
    stores = [await make_store(), await make_store()]
    claimed = await stores[0].claim(claim_of(), soon())
    results = await asyncio.gather(
        *(
            stores[index % 2].record_outcome(outcome_of(claimed.operation_id, transaction_id=f"tx-{index}"), soon())
            for index in range(20)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Evidence) for result in results) == 1
    assert sum(isinstance(result, OutcomeDiffers) for result in results) == 19
    assert len((await stores[0].evidence_by_id(claimed.operation_id, soon())).incidents) == 19


async def test_incidents_are_shown_oldest_first_and_bounded(make_store: MakeStore) -> None:
    """However many outcomes were refused, the evidence shows the first hundred."""
    store = await make_store()
    claimed = await store.claim(claim_of(), soon())
    await store.record_outcome(outcome_of(claimed.operation_id), soon())
    for index in range(3):
        with pytest.raises(OutcomeDiffers):
            await store.record_outcome(outcome_of(claimed.operation_id, transaction_id=f"first-{index}"), soon())
    rest = await asyncio.gather(
        *(
            store.record_outcome(outcome_of(claimed.operation_id, transaction_id=f"rest-{index}"), soon())
            for index in range(MAX_INCIDENTS)
        ),
        return_exceptions=True,
    )
    assert all(isinstance(refusal, GatewayError) for refusal in rest)
    incidents = (await store.evidence_by_id(claimed.operation_id, soon())).incidents
    assert len(incidents) == MAX_INCIDENTS
    assert [one.operator_transaction_id for one in incidents[:3]] == ["first-0", "first-1", "first-2"]


async def test_hash_of_an_outcome_matches_its_body(make_store: MakeStore) -> None:
    """An outcome with the body and the same one with only its hash are the same outcome."""
    store = await make_store()
    claimed = await store.claim(claim_of(), soon())
    recorded = await store.record_outcome(outcome_of(claimed.operation_id, body=b"x"), soon())
    assert await store.record_outcome(outcome_of(claimed.operation_id, body=b"x", keep_body=False), soon()) == recorded
    assert recorded.response is not None
    assert recorded.response.body_sha256 == sha256(b"x")


async def test_an_outcome_for_another_operators_move_finds_none(make_store: MakeStore) -> None:
    """A caller reaches only the operations of the named operator. Nothing is written, no incident either."""
    store = await make_store()
    claimed = await store.claim(claim_of(), soon())
    owners = (frozenset({(OperatorCode("other"), Environment.PROD)}), frozenset({(OPERATOR, Environment.SANDBOX)}))
    for operators in owners:
        with pytest.raises(PhoenixNotFound):
            await store.record_outcome(replace(outcome_of(claimed.operation_id), operators=operators), soon())
    evidence = await store.evidence_by_id(claimed.operation_id, soon())
    assert (None, ()) == (evidence.response, evidence.incidents)
    own = replace(outcome_of(claimed.operation_id), operators=frozenset({(OPERATOR, Environment.PROD)}))
    assert (await store.record_outcome(own, soon())).response is not None


async def test_an_operator_whose_bodies_are_not_kept(make_database: Callable[[], Database]) -> None:
    """Only the hash is stored, for this operator environment only. Repeating the same outcome is allowed."""
    store = DurableWalletStore(
        make_database(), same_move=same_move, hash_only=frozenset({(OPERATOR, Environment.SANDBOX)})
    )
    await store.start()
    try:
        for environment, kept in ((Environment.SANDBOX, None), (Environment.PROD, b'{"available":"87.50"}')):
            claimed = await store.claim(claim_of(environment=environment), soon())
            await store.record_outcome(outcome_of(claimed.operation_id), soon())
            evidence = await store.record_outcome(outcome_of(claimed.operation_id), soon())
            assert evidence.response is not None
            assert (kept, sha256(b'{"available":"87.50"}')) == (evidence.response.body, evidence.response.body_sha256)
            again = await store.claim(claim_of(environment=environment), soon())
            assert again.recorded is not None
            assert kept == again.recorded.body
    finally:
        await store.stop()
