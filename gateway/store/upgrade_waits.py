"""Says in the log what an upgrade of PostgreSQL's schema waits for: which sessions hold its locks, and since when."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from gateway.store.schema import metadata
from gateway.telemetry.logs import log

_MOST = 5
# Texts of statements stay out: they may hold values. pg_locks shows an advisory lock's number as two halves.
_HOLDERS = sa.text(
    """
    SELECT a.pid, a.application_name, a.state, extract(epoch FROM clock_timestamp() - a.xact_start)::bigint AS age_s,
           coalesce(min(c.relname), 'the upgrade of another gateway') AS locked
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid LEFT JOIN pg_class c ON c.oid = l.relation
    WHERE l.granted AND l.pid <> pg_backend_pid()
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (c.relname = ANY(:tables)
           OR (l.locktype = 'advisory' AND (l.classid::bigint << 32 | l.objid::bigint) = :upgrade_lock))
    GROUP BY a.pid, a.application_name, a.state, a.xact_start ORDER BY a.xact_start LIMIT :most
    """
)


class UpgradeWaits:
    """What one upgrade waits for; logs it when it changes. `within_s`: the time limit of the upgrade."""

    def __init__(self, *, address: str, within_s: float, upgrade_lock: int) -> None:
        self._address = address
        self._within_s = within_s
        self._upgrade_lock = upgrade_lock
        self._logged: frozenset[int] | None = None

    def look(self, connection: sa.Connection) -> None:
        """Find the sessions and log them. Raises: what the database does."""
        tables = [*metadata.tables, "alembic_version"]
        parameters = {"tables": tables, "upgrade_lock": self._upgrade_lock, "most": _MOST}
        self._tell(connection.execute(_HOLDERS, parameters).all())

    def _tell(self, rows: Sequence[sa.Row[tuple[int, str, str, int | None, str]]]) -> None:
        sessions = frozenset(row.pid for row in rows)
        if sessions == self._logged or (not sessions and self._logged is not None):
            return
        self._logged = sessions
        log().warning(
            "the upgrade of the schema waits for other sessions",
            store="postgresql",
            address=self._address,
            waits_for="; ".join(_session(row) for row in rows) or "a session that has just ended",
            within_s=self._within_s,
            advice="wallet calls get 503 meanwhile; if these sessions do not end, use pg_terminate_backend(pid)",
        )


def _session(row: sa.Row[tuple[int, str, str, int | None, str]]) -> str:
    about = f"{row.application_name or 'no name'}, {row.state or 'hidden'}, {row.age_s or 0} s"
    return f"pid {row.pid} ({about}) has {row.locked}"
