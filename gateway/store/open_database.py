"""Open the configured database: PostgreSQL by its URL, otherwise SQLite in the data directory."""

from __future__ import annotations

from collections.abc import Callable

from gateway.resilience.clock import Clock
from gateway.store.database import Database, DatabaseSettings
from gateway.store.sqlite import SqliteDatabase
from gateway.store.state import StoreState
from gateway.store.upgrade import FILE_NAME


def open_database(
    settings: DatabaseSettings, clock: Clock, *, on_failure: Callable[[str], None] = lambda cause: None
) -> Database:
    """Return the configured database. It connects at first use, so this works while the database is down.

    Args: `on_failure` gets the cause of each failure (failures.py).
    Raises: UrlRefused, a ValueError; the message holds no value of the URL.
    """
    if settings.url is None:
        return SqliteDatabase(settings.data_dir / FILE_NAME, clock, state=StoreState("sqlite", on_failure=on_failure))
    from gateway.store.postgres import PostgresDatabase

    state = StoreState("postgresql", on_failure=on_failure)
    return PostgresDatabase(settings.url, connections=settings.connections, state=state)
