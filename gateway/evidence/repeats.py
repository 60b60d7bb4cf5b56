"""Keeps conflicting calls, in the transaction that answers them, and counts replays, soon after theirs.

The last thing in a transaction, and in one order: nobody who waits for these rows holds others that their holder wants.
A transaction that is run again because its commit's answer was lost counts once more. Source: API.md, dispositions;
issue 7, point 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from gateway.core.wallet_verdict import Disposition
from gateway.evidence.record import Claim, ClaimResult
from gateway.evidence.tables import conflicts, repeats
from gateway.store.schema import insert_into

_CONFLICT = ("operation_id", "body_sha256")


def note_conflicts(connection: sa.Connection, decided: Iterable[tuple[Claim, ClaimResult]]) -> None:
    """Keep the conflicting calls among the claims just decided."""
    differing: dict[tuple[str, str], dict[str, Any]] = {}
    for claim, result in decided:
        if result.disposition is Disposition.CONFLICT:
            body_sha256 = claim.content.body_sha256
            row = differing.setdefault((result.operation_id, body_sha256), _row(claim, result.operation_id))
            row["conflict_count"] += 1
    if differing:
        insert = insert_into(connection, conflicts)
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=_CONFLICT,
                set_={
                    "conflict_count": conflicts.c.conflict_count + insert.excluded.conflict_count,
                    "last_received_at_us": insert.excluded.last_received_at_us,
                },
            ),
            [row for _, row in sorted(differing.items())],
        )


def note_replays(connection: sa.Connection, now_us: int, counts: Mapping[str, int]) -> None:
    """Add to how often the recorded responses of moves were given again."""
    if not counts:
        return
    insert = insert_into(connection, repeats)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=("operation_id",),
            set_={
                "replay_count": repeats.c.replay_count + insert.excluded.replay_count,
                "last_replayed_at_us": insert.excluded.last_replayed_at_us,
            },
        ),
        [
            {"operation_id": operation_id, "replay_count": count, "last_replayed_at_us": now_us}
            for operation_id, count in sorted(counts.items())
        ],
    )


def _row(claim: Claim, operation_id: str) -> dict[str, Any]:
    return {
        "operation_id": operation_id,
        "body_sha256": claim.content.body_sha256,
        "first_received_at_us": claim.received_at_us,
        "last_received_at_us": claim.received_at_us,
        "conflict_count": 0,
        "signature": claim.signature,
        "key_id": claim.key_id,
        "request_id": claim.request_id,
        "body": claim.body,
    }
