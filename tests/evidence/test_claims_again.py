"""A batch of claims in its transaction, and the same batch once more: what a lost answer to a commit leads to."""

from __future__ import annotations

from dataclasses import replace

from gateway.core.wallet_operation import same_move
from gateway.core.wallet_verdict import Disposition
from gateway.evidence.claims import claim_all
from gateway.evidence.record import HELD_ATTEMPT, ClaimResult
from gateway.evidence.rows import PendingClaim
from gateway.store.database import Database
from gateway.store.pipeline import Pipelined
from tests.evidence.wallet_factory import LEASE_S, claim_of
from tests.manual_clock import ManualClock


async def run(database: Database, *pending: PendingClaim) -> list[ClaimResult]:
    """Claim in one transaction, without the group commit, which would try a batch that fails one by one."""
    return await database.write(Pipelined(lambda connection: claim_all(connection, pending, same_move)), 5.0)


def pending_claim(key: str, operation_id: str, body: bytes | None = None) -> PendingClaim:
    return PendingClaim(claim=claim_of(key, body=body), operation_id=operation_id)


async def test_new_and_known_moves_in_one_transaction(database: Database) -> None:
    """Each claim gets its own move's state, and all get the same again if nobody learned of it."""
    await run(database, pending_claim("known-1", "id-1"), pending_claim("known-2", "id-2"))
    batch = [
        pending_claim("new-1", "id-3"),
        pending_claim("known-2", "id-4"),
        pending_claim("suspect", "id-5", body=claim_of("known-1").body),
        pending_claim("known-1", "id-6"),
        pending_claim("new-1", "id-7"),
    ]
    results = await run(database, *batch)
    assert [(result.operation_id, result.disposition) for result in results] == [
        ("id-3", Disposition.NEW),
        ("id-2", Disposition.IN_PROGRESS),
        ("id-5", Disposition.NEW),
        ("id-1", Disposition.IN_PROGRESS),
        ("id-3", Disposition.IN_PROGRESS),
    ]
    assert [result.suspect_replay for result in results] == [False, False, True, False, False]
    assert results == await run(database, *batch)


async def test_suspects_that_repeat_in_one_transaction(database: Database) -> None:
    """The repeat is flagged too, and held if its move is: the move's row does not show it yet."""
    body = claim_of("first").body
    await run(database, pending_claim("first", "id-1"))
    held = replace(claim_of("held", body=body), holds_suspects=True)
    batch = [
        PendingClaim(claim=held, operation_id="id-2"),
        PendingClaim(claim=held, operation_id="id-3"),
        pending_claim("made", "id-4", body=body),
        pending_claim("made", "id-5", body=body),
    ]
    results = await run(database, *batch)
    assert [(result.operation_id, result.disposition, result.attempt) for result in results] == [
        ("id-2", None, HELD_ATTEMPT),
        ("id-2", None, HELD_ATTEMPT),
        ("id-4", Disposition.NEW, 1),
        ("id-4", Disposition.IN_PROGRESS, 1),
    ]
    assert all(result.suspect_replay for result in results)
    assert results == await run(database, *batch)


async def test_claim_that_was_taken_over_is_new_no_more(database: Database, clock: ManualClock) -> None:
    """Its answer was lost and its lease has expired: its second run meets the attempt of another claimant."""
    first = pending_claim("key-1", "id-1")
    await run(database, first)
    clock.advance(2 * LEASE_S)
    (taken,) = await run(database, pending_claim("key-1", "id-2"))
    (again,) = await run(database, first)
    assert (taken.disposition, taken.attempt) == (Disposition.RECLAIMED, 2)
    assert (again.disposition, again.attempt) == (Disposition.IN_PROGRESS, 2)
