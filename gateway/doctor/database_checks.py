"""The database: reachable, writable, durable, with the right schema. The checks change nothing in it.

They try a write in a transaction that they roll back. A start runs the migrations.
"""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.config import Config
from gateway.controls import stored_switches
from gateway.doctor.report import Result, State, fault, ok, warning
from gateway.evidence import tables as evidence_tables
from gateway.evidence.chain import tables as chain_tables
from gateway.outbox import tables as outbox_tables
from gateway.resilience.deadline import Deadline
from gateway.resilience.worker_thread import WorkerThread
from gateway.store.failures import DISK_FULL
from gateway.store.migrations import HEAD
from gateway.store.schema import metadata
from gateway.store.upgrade import FILE_NAME

if TYPE_CHECKING:
    from gateway.store.postgres_connection import PostgresConnection

OLDEST_POSTGRESQL = 13
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_BUSY_S = 2.0
_TABLES_OF = (stored_switches, evidence_tables, chain_tables, outbox_tables)
"""The modules that declare tables: importing them puts the tables into `metadata`."""
SHRINKING = frozenset(
    {outbox_tables.events.name, outbox_tables.lanes.name, outbox_tables.replicas.name, chain_tables.journal.name}
)
"""The tables that the gateway deletes rows from. From all others it never does."""


async def database(config: Config, deadline: Deadline) -> Result:
    """Check the configured database."""
    if config.database_url is not None:
        return await _postgresql(config.database_url.reveal_text().strip(), deadline)
    # A daemon thread: a disk that hangs must not keep the doctor from ending.
    thread = WorkerThread("doctor-sqlite")
    result = await thread.run(lambda: _sqlite(config.data_dir / FILE_NAME))
    await thread.stop(0.1)
    return result


def judge_revision(revision: str | None) -> Result | None:
    """Return what a schema's revision means, or None if it is that of this version or a newer one."""
    if revision is None:
        return ok("reachable and writable; empty: the first start makes the tables")
    if not revision.isdecimal():
        return fault(
            "its alembic_version is not the gateway's: the database holds the tables of another program",
            "give the gateway a database (or schema) of its own",
        )
    if int(revision) < int(HEAD):
        return warning(
            f"its schema is at revision {revision}, this version needs {HEAD}",
            "start a gateway of this version: it migrates first, additively, while older ones keep serving",
        )
    return None


def _sqlite(path: Path) -> Result:
    if not path.exists():
        return ok(f"SQLite; the first start makes {path.name}")
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=_BUSY_S
        )
        try:
            return _inspect(connection, path)
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        return _sqlite_failure(error, path)


def _inspect(connection: sqlite3.Connection, path: Path) -> Result:
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    has_versions = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if has_versions else None
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE doctor_was_here (checked INTEGER)")
    connection.execute("ROLLBACK")
    revision = None if row is None else str(row[0])
    judged = judge_revision(revision)
    if judged is not None:
        return judged
    if path.stat().st_mode & 0o077:
        return warning(f"other users can read {path.name}", f"run chmod 600 {path}")
    if mode != "wal":
        return warning(
            f"its journal is {mode}, not WAL: readers and the writer wait for each other",
            "start a gateway: it switches to WAL; if it does not, the file system of GATEWAY_DATA_DIR cannot",
        )
    version = sqlite3.sqlite_version
    return ok(f"SQLite {version}, writable, WAL, revision {revision}; the gateway commits with synchronous=FULL")


def _sqlite_failure(error: sqlite3.DatabaseError, path: Path) -> Result:
    # For a file that is not a database, older versions of the module set no code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_READONLY:
        return fault(
            f"{path.name} cannot be written to: every wallet call would get 503",
            f"give this user the file ({path}) and its folder (chown, chmod 600 and 700); check for a read-only disk",
        )
    if code == sqlite3.SQLITE_FULL:
        return fault(*DISK_FULL)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return warning(
            f"another program has locked {path.name} for more than {_BUSY_S:g} s",
            "find the program with fuser; make backups with SQLite's own backup command",
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return fault(f"{path.name} cannot be opened", f"check the owner and mode of {path} and of its folder")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return fault(
            f"{path.name} is damaged, or is not an SQLite file",
            "stop the gateways and restore it from a backup; do not delete it: it records which moves were made",
        )
    if code == sqlite3.SQLITE_FULL:
        return fault("the disk is full", "free some space, or move GATEWAY_DATA_DIR")
    return fault(f"{path.name} cannot be used (SQLite code {code})", "check the disk and the system's log")


async def _postgresql(url: str, deadline: Deadline) -> Result:
    from gateway.store.failures import failure_of
    from gateway.store.postgres_connection import PostgresConnection
    from gateway.store.postgres_url import UrlRefused, address_of, read_url

    try:
        parameters = read_url(url)
    except UrlRefused as refused:
        return fault(f"DATABASE_URL {refused}", "correct DATABASE_URL")
    try:
        async with asyncio.timeout(max(0.1, deadline.remaining())):
            connection = await PostgresConnection.open(parameters)
            try:
                return await _inspect_postgresql(connection)
            finally:
                connection.pgconn.finish()
    except Exception as error:  # noqa: BLE001 - whatever it is, it has a cause
        failure = failure_of(error)
        code = f" {failure.code}" if failure.code else ""
        return fault(f"{failure.what} ({address_of(parameters)}: {failure.error}{code})", failure.advice)


async def _inspect_postgresql(connection: PostgresConnection) -> Result:
    major, minor = divmod(connection.info.server_version, 10_000)
    row = await _row(
        connection,
        "SELECT current_setting('synchronous_commit') AS commits, current_schema() AS schema,"
        " to_regclass('alembic_version') IS NOT NULL AS migrated,"
        " (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS encrypted, inet_server_addr()::text AS address",
    )
    if connection.is_pooled and not await _takes_transactions(connection):
        return fault(
            "the pooler ends the connection when a transaction begins: every wallet call would get 503",
            "set pool_mode of PgBouncer to transaction or session; in statement mode there are no transactions",
        )
    if row["schema"] is None:
        return fault("the user has no schema", "GRANT USAGE, CREATE ON SCHEMA public to the user of DATABASE_URL")
    if major < OLDEST_POSTGRESQL:
        return warning(f"PostgreSQL {major} is out of support", f"use {OLDEST_POSTGRESQL} or newer")
    revision = None
    if row["migrated"]:
        revision = (await _row(connection, "SELECT version_num FROM alembic_version"))["version_num"]
    judged = judge_revision(revision)
    is_behind = judged is not None and judged.state is not State.FAULT
    may_create = "SELECT has_schema_privilege(current_schema(), 'CREATE') AS granted"
    if is_behind and not (await _row(connection, may_create))["granted"]:
        return fault(
            "the tables have to be made or changed, and the user has no right to do that",
            "GRANT CREATE ON SCHEMA to the user of DATABASE_URL, or start a gateway once as the owner",
        )
    if judged is not None:
        return judged
    tables = sorted(metadata.tables)
    found = await _row(
        connection,
        "SELECT string_agg(name, ', ' ORDER BY name) AS unusable"
        " FROM unnest(%s::text[], %s::bool[]) AS one(name, shrinks)"
        " WHERE NOT coalesce(has_table_privilege(to_regclass(name), 'SELECT')"
        " AND has_table_privilege(to_regclass(name), 'INSERT')"
        " AND has_table_privilege(to_regclass(name), 'UPDATE')"
        " AND (NOT shrinks OR has_table_privilege(to_regclass(name), 'DELETE')), false)",
        (tables, [name in SHRINKING for name in tables]),
    )
    if found["unusable"]:
        return fault(
            f"tables of the gateway are missing, or the user's rights on them: {found['unusable']}",
            f"GRANT SELECT, INSERT, UPDATE on all {len(tables)} tables of the gateway to the user of DATABASE_URL,"
            f" and DELETE on {', '.join(sorted(SHRINKING))}",
        )
    pooler = ", behind a pooler" if connection.is_pooled else ""
    summary = f"PostgreSQL {major}.{minor}{pooler}, writable, revision {revision}"
    if row["commits"] in ("off", "local"):
        return warning(
            f"{summary}; synchronous_commit is {row['commits']}",
            "set it to on: acknowledged evidence must survive a crash",
        )
    if not row["encrypted"] and row["address"] is not None and row["address"].split("/")[0] not in _LOOPBACK:
        return warning(f"{summary}; the connection is not encrypted", "add sslmode=verify-full to DATABASE_URL")
    return ok(summary)


async def _takes_transactions(connection: PostgresConnection) -> bool:
    from psycopg import OperationalError

    try:
        await connection.execute("BEGIN")
        await connection.execute("ROLLBACK")
    except OperationalError:
        return False
    return True


async def _row(connection: PostgresConnection, query: str, parameters: tuple[Any, ...] = ()) -> dict[str, Any]:
    from psycopg.rows import dict_row

    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, parameters or None)
        return await cursor.fetchone() or {}
