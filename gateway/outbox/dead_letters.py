"""Dead letters: list them, and queue them again on request. Runs inside one transaction."""

from __future__ import annotations

import sqlalchemy as sa

from gateway.outbox.admission import ADD_TO_QUEUE
from gateway.outbox.record import DeadLetter, DeadLetterQuery
from gateway.outbox.statements import Statement

PAGE_BYTES = 2 << 20
"""Size of the events on one page. Clients accept messages of 4 MiB by default."""

_FIND = Statement(
    "SELECT {returned} FROM (SELECT sequence, size_bytes FROM durable_events"
    " WHERE tenant_id = :tenant_id AND state = 2 AND sequence > :after"
    " AND (:leaderboard_id = '' OR leaderboard_id = :leaderboard_id) AND (:reason = '' OR reason = :reason)"
    " ORDER BY sequence LIMIT :most) AS page",
    returned="sequence, size_bytes",
)
_READ = Statement(
    "SELECT {returned} FROM {given} JOIN durable_events AS letter ON letter.sequence = given.sequence",
    given="sequence bigint",
    returned="letter.sequence, event_id, leaderboard_id, user_id, reason, detail, accepted_at_us, first_sent_at_us,"
    " done_at_us, attempts, body",
)
_BY_FILTER = Statement(
    "SELECT {returned} FROM (SELECT * FROM durable_events WHERE tenant_id = :tenant_id AND state = 2"
    " AND (:leaderboard_id = '' OR leaderboard_id = :leaderboard_id) AND (:reason = '' OR reason = :reason)"
    " AND (:may_count_twice = 1 OR first_sent_at_us IS NULL) ORDER BY sequence LIMIT :most {lock}) AS found",
    returned="sequence, event_id, first_sent_at_us, lane, size_bytes",
)
_BY_ID = Statement(
    # "state > 1" means "state = 2", but keeps PostgreSQL from using the index of all dead letters.
    "SELECT {returned} FROM (SELECT * FROM durable_events WHERE tenant_id = :tenant_id AND state > 1"
    " AND event_id IN (SELECT event_id FROM {given}) ORDER BY sequence {lock}) AS found",
    given="event_id text",
    returned="sequence, event_id, first_sent_at_us, lane, size_bytes",
)
_REVIVE = Statement(
    # If Phoenix may have the event, it is sent with the same id, as if the caller had given that id.
    "UPDATE durable_events SET is_id_given = CASE WHEN first_sent_at_us IS NULL THEN is_id_given ELSE 1 END,"
    " state = 0, attempts = 0, accepted_at_us = :now_us, first_sent_at_us = NULL,"
    " done_at_us = NULL, reason = NULL, detail = NULL WHERE sequence IN (SELECT sequence FROM {given})",
    given="sequence bigint",
)


def page_of(connection: sa.Connection, query: DeadLetterQuery) -> tuple[list[DeadLetter], bool]:
    """Return the next dead letters, oldest event first (fewer if they are large), and whether there are more."""
    found = _FIND.fetch(
        connection,
        tenant_id=query.tenant_id,
        after=query.after,
        leaderboard_id=query.leaderboard_id,
        reason=query.reason,
        most=query.limit + 1,
    )
    sequences: list[tuple[int]] = []
    room = PAGE_BYTES
    for sequence, size_bytes in sorted(found)[: query.limit]:
        room -= size_bytes
        if sequences and room < 0:
            break
        sequences.append((sequence,))
    letters = [_letter(*row) for row in sorted(_READ.fetch(connection, sequences))] if sequences else []
    return letters, len(found) > len(letters)


def _letter(
    sequence: int,
    event_id: str,
    leaderboard_id: str,
    user_id: str,
    reason: str | None,
    detail: str | None,
    accepted_at_us: int,
    first_sent_at_us: int | None,
    died_at_us: int,
    attempts: int,
    body: str,
) -> DeadLetter:
    return DeadLetter(
        sequence=sequence,
        event_id=event_id,
        leaderboard_id=leaderboard_id,
        user_id=user_id,
        reason=reason or "",
        detail=detail or "",
        accepted_at_us=accepted_at_us,
        first_sent_at_us=first_sent_at_us,
        died_at_us=died_at_us,
        attempts=attempts,
        body=body.encode(),
    )


def redrive(
    connection: sa.Connection, now_us: int, query: DeadLetterQuery, *, may_count_twice: bool
) -> tuple[list[str], list[str]]:
    """Queue dead letters again in their original order, before later events with the same ordering key.

    Args: `may_count_twice`: also those for which it is unknown whether Phoenix has them.
    Returns: the ids that are queued now, and the ids that were held back because Phoenix may have them.
    """
    if query.event_ids:
        found = _BY_ID.fetch(connection, [(event_id,) for event_id in query.event_ids], tenant_id=query.tenant_id)
    else:
        found = _BY_FILTER.fetch(
            connection,
            tenant_id=query.tenant_id,
            leaderboard_id=query.leaderboard_id,
            reason=query.reason,
            may_count_twice=int(may_count_twice),
            most=query.limit,
        )
    revived: list[str] = []
    held_back: list[str] = []
    sequences: list[tuple[int]] = []
    totals: dict[int, tuple[int, int]] = {}
    for sequence, event_id, first_sent_at_us, ordering_key, size_bytes in sorted(found):
        if first_sent_at_us is not None and not may_count_twice:  # Phoenix may have it
            held_back.append(event_id)
            continue
        revived.append(event_id)
        sequences.append((sequence,))
        count, total = totals.get(ordering_key, (0, 0))
        totals[ordering_key] = (count + 1, total + size_bytes)
    if revived:
        rows = [(ordering_key, query.tenant_id, *totals[ordering_key]) for ordering_key in sorted(totals)]
        ADD_TO_QUEUE.later(connection, rows)
        _REVIVE.later(connection, sequences, now_us=now_us)
    return revived, held_back
