"""Measure the queue, and purge old rows. Runs inside one transaction."""

from __future__ import annotations

import sqlalchemy as sa

from gateway.outbox.record import Depth

# "+ 0" makes the database use the index of queued events. In the order of all sequences, it would search for the first
# queued event behind all delivered ones.
_DEPTH = sa.text(
    "SELECT COALESCE(sum(pending), 0) AS events, COALESCE(sum(pending_bytes), 0) AS size_bytes,"
    " (SELECT count(*) FROM durable_events WHERE state = 2) AS dead_letters,"
    " (SELECT accepted_at_us FROM durable_events WHERE sequence ="
    " (SELECT min(sequence + 0) FROM durable_events WHERE state = 0)) AS oldest_at_us FROM durable_lanes"
)
_PURGE_DELIVERED = sa.text(
    "DELETE FROM durable_events WHERE sequence IN (SELECT sequence FROM durable_events"
    " WHERE state = 1 AND done_at_us < :before_us ORDER BY done_at_us LIMIT :most)"
)
_PURGE_DEAD = sa.text(
    "DELETE FROM durable_events WHERE sequence IN (SELECT sequence FROM durable_events"
    " WHERE state = 2 AND done_at_us < :before_us ORDER BY done_at_us LIMIT :most)"
)


def depth(connection: sa.Connection, now_us: int) -> Depth:
    """Return the size of the queue of all tenants. The time grows with the number of ordering keys."""
    row = connection.execute(_DEPTH).one()
    return Depth(
        events=int(row.events),
        size_bytes=int(row.size_bytes),
        dead_letters=int(row.dead_letters),
        oldest_at_us=row.oldest_at_us,
        now_us=now_us,
    )


def purge(
    connection: sa.Connection, now_us: int, *, delivered_after_us: int, dead_after_us: int, most: int
) -> tuple[int, int]:
    """Delete up to `most` old delivered events and as many old dead letters. Return the numbers of both."""
    delivered = connection.execute(_PURGE_DELIVERED, {"before_us": now_us - delivered_after_us, "most": most}).rowcount
    dead = connection.execute(_PURGE_DEAD, {"before_us": now_us - dead_after_us, "most": most}).rowcount
    return int(delivered), int(dead)
