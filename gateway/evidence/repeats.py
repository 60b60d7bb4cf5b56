"""Store conflicting calls in the transaction that answers them, and count replays soon after their answers.

These are the last writes of a transaction, in a fixed order, so that they cannot deadlock. A transaction that runs
again after a lost commit answer counts once more. Source: API.md, dispositions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from gateway.core.wallet_verdict import Disposition
from gateway.evidence.record import ClaimResult, MoveClaim
from gateway.evidence.tables import conflicts, repeats
from gateway.store.pipeline import defer, now_us_of
from gateway.store.schema import insert_into

_CONFLICT = ("operation_id", "body_sha256")


def store_conflicts(connection: sa.Connection, decided: Iterable[tuple[MoveClaim, ClaimResult]]) -> None:
    """Store the conflicting calls among these claims."""
    differing: dict[tuple[str, str], dict[str, Any]] = {}
    for claim, result in decided:
        if result.disposition is Disposition.CONFLICT:
            body_sha256 = claim.content.body_sha256
            row = differing.setdefault((result.operation_id, body_sha256), _row(claim, result.operation_id))
            row["conflict_count"] += 1
    if differing:
        insert = insert_into(connection, conflicts)
        defer(
            connection,
            insert.on_conflict_do_update(
                index_elements=_CONFLICT,
                set_={
                    "conflict_count": conflicts.c.conflict_count + insert.excluded.conflict_count,
                    "last_received_at_us": insert.excluded.last_received_at_us,
                },
            ),
            [row for _, row in sorted(differing.items())],
        )


def add_replays(connection: sa.Connection, counts: Mapping[str, int]) -> None:
    """Add to the replay counts of moves."""
    if not counts:
        return
    now_us = now_us_of(connection)
    insert = insert_into(connection, repeats)
    defer(
        connection,
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


def _row(claim: MoveClaim, operation_id: str) -> dict[str, Any]:
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
