"""Events that were given up: looked at, and queued again when somebody says so. Runs inside one transaction."""

from __future__ import annotations

import sqlalchemy as sa

from gateway.outbox.admission import ADD_TO_LANES
from gateway.outbox.record import DeadLetter, DeadLetterQuery
from gateway.outbox.statements import Statement

PAGE_BYTES = 2 << 20
"""Of events in one page: clients take messages of 4 MiB by default."""

_FIND = Statement(
    "SELECT {told} FROM (SELECT sequence, size_bytes FROM durable_events"
    " WHERE tenant_id = :tenant_id AND state = 2 AND sequence > :after"
    " AND (:leaderboard_id = '' OR leaderboard_id = :leaderboard_id) AND (:reason = '' OR reason = :reason)"
    " ORDER BY sequence LIMIT :most) AS page",
    told="sequence, size_bytes",
)
_READ = Statement(
    "SELECT {told} FROM {given} JOIN durable_events AS letter ON letter.sequence = given.sequence",
    given="sequence bigint",
    told="letter.sequence, event_id, leaderboard_id, user_id, reason, detail, accepted_at_us, first_sent_at_us,"
    " done_at_us, attempts, body",
)
_BY_FILTER = Statement(
    "SELECT {told} FROM (SELECT * FROM durable_events WHERE tenant_id = :tenant_id AND state = 2"
    " AND (:leaderboard_id = '' OR leaderboard_id = :leaderboard_id) AND (:reason = '' OR reason = :reason)"
    " AND (:may_count_twice = 1 OR first_sent_at_us IS NULL) ORDER BY sequence LIMIT :most {lock}) AS found",
    told="sequence, event_id, first_sent_at_us, lane, size_bytes",
)
_BY_ID = Statement(
    # "state > 1" is "state = 2" without leading PostgreSQL to the index of all dead letters.
    "SELECT {told} FROM (SELECT * FROM durable_events WHERE tenant_id = :tenant_id AND state > 1"
    " AND event_id IN (SELECT event_id FROM {given}) ORDER BY sequence {lock}) AS found",
    given="event_id text",
    told="sequence, event_id, first_sent_at_us, lane, size_bytes",
)
_REVIVE = Statement(
    # What Phoenix may have is sent under an id that it may know, as if the caller had given it.
    "UPDATE durable_events SET is_id_given = CASE WHEN first_sent_at_us IS NULL THEN is_id_given ELSE 1 END,"
    " state = 0, attempts = 0, accepted_at_us = :now_us, first_sent_at_us = NULL,"
    " done_at_us = NULL, reason = NULL, detail = NULL WHERE sequence IN (SELECT sequence FROM {given})",
    given="sequence bigint",
)


def page_of(connection: sa.Connection, query: DeadLetterQuery) -> tuple[list[DeadLetter], bool]:
    """Return the next dead letters by age of their events (fewer than asked for where they are large), and whether more
    follow.
    """
    found = _FIND.told(
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
    letters = [_letter(*row) for row in sorted(_READ.told(connection, sequences))] if sequences else []
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
    """Queue dead letters again, in their first order, before later events of their lanes.

    Args: `may_count_twice`: also those of which nobody knows whether Phoenix has them.
    Returns: ids that are queued now, and ids that were named and are held back for that doubt.
    """
    if query.event_ids:
        found = _BY_ID.told(connection, [(event_id,) for event_id in query.event_ids], tenant_id=query.tenant_id)
    else:
        found = _BY_FILTER.told(
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
    lanes: dict[int, tuple[int, int]] = {}
    for sequence, event_id, first_sent_at_us, lane, size_bytes in sorted(found):
        if first_sent_at_us is not None and not may_count_twice:  # Phoenix may have it
            held_back.append(event_id)
            continue
        revived.append(event_id)
        sequences.append((sequence,))
        count, total = lanes.get(lane, (0, 0))
        lanes[lane] = (count + 1, total + size_bytes)
    if revived:
        rows = [(lane, query.tenant_id, *lanes[lane]) for lane in sorted(lanes)]
        ADD_TO_LANES.run(connection, rows, now_us=now_us)
        _REVIVE.run(connection, sequences, now_us=now_us)
    return revived, held_back
