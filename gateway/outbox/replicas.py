"""The replicas that deliver durable events, and what happens to the ordering keys of a dead one.

Runs in one transaction. Each replica has a number and counts its beats in a row. The ids of its leases contain the
number. If the beats of a replica stop, another one removes its row (peer_watch.py), and its ordering keys (`lane` in
the database) are due at once. Its marks stay, so the next replica knows which events Phoenix may have. If the first one
was not dead, it finds its row gone and takes another number. Its results are refused, because its leases have ended.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from gateway.outbox.record import Beat, End, Replica, lease_id_of
from gateway.outbox.statements import Statement

_BEGIN = Statement(
    "INSERT INTO durable_replicas (number, name, beats) VALUES (:number, :name, 0) ON CONFLICT (number) DO NOTHING"
)
_BEAT = Statement("UPDATE durable_replicas SET beats = beats + 1 WHERE number = :number")
_END = Statement("DELETE FROM durable_replicas WHERE number = :number")
_END_DEAD = Statement("DELETE FROM durable_replicas WHERE number = :number AND beats = :beats")
# The tenants let the database use the index. For a tenant that only the dead replica had, leases end by their time.
_FREE = Statement(
    "UPDATE durable_lanes SET lease_id = NULL, due_at_us = {steady} WHERE lane IN (SELECT lane FROM durable_lanes"
    " WHERE tenant_id IN (SELECT tenant_id FROM {given}) AND due_at_us > {steady}"
    " AND lease_id >= :first AND lease_id < :after ORDER BY lane {lock})",
    given="tenant_id text",
)
_ALL = sa.text("SELECT number, name, beats FROM durable_replicas")


def beat(connection: sa.Connection, asked: Beat) -> int:
    """Count a beat."""
    if asked.begins:
        return _BEGIN.run(connection, number=asked.number, name=asked.name)
    return _BEAT.run(connection, number=asked.number)


def end(connection: sa.Connection, asked: End) -> int:
    """Remove a replica, and make its ordering keys due."""
    if asked.beats is None:
        _END.later(connection, number=asked.number)
    elif not _END_DEAD.run(connection, number=asked.number, beats=asked.beats):
        return 0
    first, after = lease_id_of(asked.number, 0), lease_id_of(asked.number + 1, 0)
    return _FREE.run(connection, [(one,) for one in asked.tenants], first=first, after=after)


def replicas(connection: sa.Connection) -> Sequence[Replica]:
    """Return all rows."""
    return [Replica(number=row.number, name=row.name, beats=row.beats) for row in connection.execute(_ALL)]
