"""Open the configured database: PostgreSQL by its URL, otherwise SQLite in the data directory."""

from __future__ import annotations

import re

from gateway.resilience.clock import Clock
from gateway.store.database import FILE_NAME, Database, DatabaseSettings
from gateway.store.postgres import PostgresDatabase
from gateway.store.sqlite import SqliteDatabase


def open_database(settings: DatabaseSettings, clock: Clock) -> Database:
    """Return the configured database. It connects at first use, so this works while the database is down.

    Raises: ValueError for a URL of another kind; the message does not quote it.
    """
    if settings.url is None:
        return SqliteDatabase(settings.data_dir / FILE_NAME, clock)
    _check_url(settings.url)
    return PostgresDatabase(settings.url, connections=settings.connections)


def _check_url(url: str) -> None:
    """Refuse a URL that the driver would refuse later with a message that quotes parts of a password."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("postgresql", "postgres"):
        raise ValueError("DATABASE_URL must begin with postgresql://; without it SQLite in GATEWAY_DATA_DIR is used")
    hosts = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    for host in hosts.split(","):
        port = re.sub(r"^\[[^]]*\]", "", host).partition(":")[2]
        if port and not re.fullmatch("[0-9]{1,5}", port):
            raise ValueError("DATABASE_URL cannot be read: percent-encode / ? # @ : in its user name and password")
