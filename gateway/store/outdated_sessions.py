"""Sessions that a pooler keeps although they are read-only and new ones would not be.

PgBouncer keeps sessions for an hour, and whoever connects again gets the same one. So the gateway ends such a session
from inside: its user may do that, and the pooler opens a new one. PgBouncer also tells clients the state of its first
session for ever, and libpq believes it where the URL asks for a session that can write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg

_WITHIN_S = 1.0
_END = """
SELECT pg_terminate_backend(pg_backend_pid()) FROM pg_settings AS kept
WHERE kept.name = 'default_transaction_read_only' AND kept.setting = 'on'
  AND kept.source IN ('session', 'database', 'user', 'database user')
  AND NOT EXISTS (
    SELECT FROM pg_db_role_setting AS given, unnest(given.setconfig) AS one(setting)
    WHERE given.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
      AND given.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
      AND one.setting LIKE 'default_transaction_read_only=%' AND one.setting !~* '=(off|false|no|0)$')
"""
"""One statement, because behind a pooler the next one may get another session."""


async def end_if_outdated(connection: psycopg.AsyncConnection[Any]) -> None:
    """End the session that this connection has now, if a new one could write. Nothing is raised: the next tells."""
    try:
        async with asyncio.timeout(_WITHIN_S):
            await connection.execute(_END)
    except (psycopg.Error, OSError, TimeoutError):
        pass


def each_host(parameters: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield the parameters of one host after the other, each for any session, also one that cannot write."""
    names = {name: parameters[name].split(",") for name in ("host", "hostaddr", "port") if name in parameters}
    for place in range(max([len(values) for name, values in names.items() if name != "port"], default=1)):
        own = {name: values[min(place, len(values) - 1)] for name, values in names.items()}
        rest = {name: value for name, value in parameters.items() if name not in ("target_session_attrs", "port")}
        yield {**rest, **{name: value for name, value in own.items() if value}}
