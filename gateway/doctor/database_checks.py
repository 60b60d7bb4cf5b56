"""The evidence's database: reachable, writable, durable, of the right schema. Nothing in it is changed.

A write is tried inside a transaction that is undone. The migration itself is a start's matter. Source: API.md,
`DATABASE_URL`; issue 4, point 1.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

from gateway.config import Config
from gateway.doctor.report import State, Verdict, fault, ok, warning
from gateway.resilience.deadline import Deadline
from gateway.resilience.worker_thread import WorkerThread
from gateway.store.database import FILE_NAME
from gateway.store.schema import HEAD, metadata

OLDEST_POSTGRESQL = 13
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_BUSY_S = 2.0


async def database(config: Config, deadline: Deadline) -> Verdict:
    """Look at the configured database."""
    if config.database_url is not None:
        return await _postgresql(config.database_url.reveal_text().strip(), deadline)
    # A daemon thread: a disk that hangs must not keep the doctor from ending.
    thread = WorkerThread("doctor-sqlite")
    verdict = await thread.run(lambda: _sqlite(config.data_dir / FILE_NAME))
    await thread.stop(0.1)
    return verdict


def judge_revision(revision: str | None) -> Verdict | None:
    """Say what a schema's revision means; None where it is this version's or a newer one."""
    if revision is None:
        return ok("reachable and writable; empty: the tables are made at the first start")
    if not revision.isdecimal():
        return fault(
            "its alembic_version is not the gateway's: another program's tables are there",
            "give the gateway a database (or schema) of its own",
        )
    if int(revision) < int(HEAD):
        return warning(
            f"its schema is at revision {revision}, this version needs {HEAD}",
            "start a gateway of this version: it migrates first, additively, while older ones serve on",
        )
    return None


def _sqlite(path: Path) -> Verdict:
    if not path.exists():
        return ok(f"SQLite; {path.name} is made at the first start")
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=_BUSY_S
        )
        try:
            return _look_into(connection, path)
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        return _sqlite_refuses(error, path)


def _look_into(connection: sqlite3.Connection, path: Path) -> Verdict:
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    has_versions = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if has_versions else None
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE doctor_was_here (looked INTEGER)")
    connection.execute("ROLLBACK")
    revision = None if row is None else str(row[0])
    judged = judge_revision(revision)
    if judged is not None:
        return judged
    if path.stat().st_mode & 0o077:
        return warning(f"others than its owner can read {path.name}", f"run chmod 600 {path}")
    if mode != "wal":
        return warning(
            f"its journal is {mode}, not WAL: readers and the writer wait for each other",
            "start a gateway: it changes to WAL; if it does not, the file system of GATEWAY_DATA_DIR cannot do it",
        )
    version = sqlite3.sqlite_version
    return ok(f"SQLite {version}, writable, WAL, revision {revision}; the gateway commits with synchronous=FULL")


def _sqlite_refuses(error: sqlite3.DatabaseError, path: Path) -> Verdict:
    # A file that is no database has no extended code in older versions of the module.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_READONLY:
        return fault(
            f"{path.name} cannot be written to: every wallet call would be answered 503",
            f"give this user the file ({path}) and its folder (chown, chmod 600 and 700); is the disk read-only?",
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return warning(
            f"{path.name} is locked by another program for more than {_BUSY_S:g} s",
            "look what holds it (fuser shows it); a backup must use SQLite's own way",
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return fault(f"{path.name} cannot be opened", f"check the owner and mode of {path} and of its folder")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return fault(
            f"{path.name} is damaged, or no SQLite file",
            "stop the gateways and restore it from a backup; do not delete it: it knows which moves were done",
        )
    if code == sqlite3.SQLITE_FULL:
        return fault("the disk is full", "make room, or move GATEWAY_DATA_DIR")
    return fault(f"{path.name} cannot be used (SQLite code {code})", "look at the disk and at the system's log")


async def _postgresql(url: str, deadline: Deadline) -> Verdict:
    import asyncpg

    url = re.sub(r"^postgres(ql)?\+asyncpg://", "postgresql://", url)
    try:
        connection = await asyncpg.connect(url, timeout=max(0.1, deadline.remaining()))
    except asyncpg.InvalidAuthorizationSpecificationError:  # a wrong password among them
        return fault("PostgreSQL refuses the user or password", "check DATABASE_URL, and pg_hba.conf on the server")
    except asyncpg.InvalidCatalogNameError:
        return fault("there is no database of that name", "create it, or correct DATABASE_URL")
    except asyncpg.TooManyConnectionsError:
        return fault("PostgreSQL takes no more connections", "raise max_connections, or close others")
    except asyncpg.PostgresError as error:
        return fault(f"PostgreSQL refuses the connection ({type(error).__name__})", "look at its log")
    except (OSError, TimeoutError, ValueError, asyncpg.InterfaceError) as error:
        return fault(
            f"PostgreSQL cannot be reached ({type(error).__name__})",
            "check host, port and TLS options of DATABASE_URL, and that it is up; without it wallet calls get 503",
        )
    try:
        return await _look_into_postgresql(connection)
    finally:
        connection.terminate()


async def _look_into_postgresql(connection: Any) -> Verdict:
    version = connection.get_server_version()
    row = await connection.fetchrow(
        "SELECT current_setting('transaction_read_only') AS read_only, pg_is_in_recovery() AS standby,"
        " current_setting('synchronous_commit') AS commits, current_schema() AS place,"
        " to_regclass('alembic_version') IS NOT NULL AS migrated,"
        " (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS encrypted, inet_server_addr()::text AS address"
    )
    if row["standby"] or row["read_only"] == "on":
        why = "it is a standby" if row["standby"] else "default_transaction_read_only is on"
        return fault(
            f"PostgreSQL is read-only ({why}): every wallet call would be answered 503",
            "name the primary in DATABASE_URL (target_session_attrs=read-write), or lift the setting",
        )
    if row["place"] is None:
        return fault("the user has no schema to work in", "GRANT USAGE, CREATE ON SCHEMA public to it")
    if version.major < OLDEST_POSTGRESQL:
        return warning(f"PostgreSQL {version.major} is out of support", f"use {OLDEST_POSTGRESQL} or newer")
    revision = await connection.fetchval("SELECT version_num FROM alembic_version") if row["migrated"] else None
    judged = judge_revision(revision)
    is_behind = judged is not None and judged.state is not State.FAULT
    if is_behind and not await connection.fetchval("SELECT has_schema_privilege(current_schema(), 'CREATE')"):
        return fault(
            "the tables have to be made or changed, and the user may not do that",
            "GRANT CREATE ON SCHEMA to it, or start a gateway as the owner once",
        )
    if judged is not None:
        return judged
    tables = sorted(metadata.tables)
    lacking = await connection.fetchval(
        "SELECT count(*) FROM unnest($1::text[]) AS name"
        " WHERE NOT coalesce(has_table_privilege(to_regclass(name), 'SELECT')"
        " AND has_table_privilege(to_regclass(name), 'INSERT')"
        " AND has_table_privilege(to_regclass(name), 'UPDATE'), false)",
        tables,
    )
    if lacking:
        return fault(
            f"{lacking} of the gateway's {len(tables)} tables are not there or cannot be written to",
            "GRANT SELECT, INSERT, UPDATE ON them to the user of DATABASE_URL",
        )
    told = f"PostgreSQL {version.major}.{version.minor}, writable, revision {revision}"
    if row["commits"] in ("off", "local"):
        return warning(
            f"{told}; synchronous_commit is {row['commits']}",
            "set it to on: evidence that is acknowledged must survive a crash",
        )
    if not row["encrypted"] and row["address"] is not None and row["address"].split("/")[0] not in _LOOPBACK:
        return warning(f"{told}; the connection is not encrypted", "add sslmode=verify-full to DATABASE_URL")
    return ok(told)
