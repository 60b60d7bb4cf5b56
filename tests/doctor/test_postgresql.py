"""What the doctor finds of PostgreSQL, each time with one fault planted."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import asyncpg
import pytest

import gateway
from gateway.doctor.database_checks import SHRINKING
from gateway.doctor.report import State
from gateway.evidence.chain import tables as chain_tables
from gateway.store.postgres import PostgresDatabase
from tests.doctor.diagnosis import look_at_database
from tests.pgbouncer_process import PgBouncerMissing, PgBouncerProcess
from tests.ports import free_port
from tests.postgres_process import PostgresProcess


async def migrated(url: str) -> None:
    """Make the tables as a start does."""
    store = PostgresDatabase(url)
    await store.write(lambda connection, now_us: None, 20)
    await store.stop()


async def execute(url: str, *statements: str) -> None:
    """Run statements as the cluster's owner."""
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def test_postgresql_before_the_first_start(postgres_url: str) -> None:
    """An empty database is fine, and stays empty."""
    result = await look_at_database(DATABASE_URL=postgres_url)
    assert (result.state, "empty" in result.what) == (State.OK, True)


async def test_postgresql_that_works(postgres_url: str) -> None:
    """The finding has version and revision."""
    await migrated(postgres_url)
    result = await look_at_database(DATABASE_URL=postgres_url)
    assert result.state is State.OK
    assert result.what.startswith("PostgreSQL ")


async def test_postgresql_of_an_older_version(postgres_url: str) -> None:
    """An older schema is a warning: the next start migrates."""
    await migrated(postgres_url)
    await execute(postgres_url, "UPDATE alembic_version SET version_num = '0000'")
    result = await look_at_database(DATABASE_URL=postgres_url)
    assert (result.state, "revision 0000" in result.what) == (State.WARNING, True)


async def test_postgresql_that_is_read_only(postgres_url: str) -> None:
    """A database that refuses writes is a fault."""
    await migrated(postgres_url)
    name = postgres_url.rpartition("/")[2]
    await execute(postgres_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    result = await look_at_database(DATABASE_URL=postgres_url)
    assert (result.state, "read-only" in result.what) == (State.FAULT, True)


async def test_postgresql_with_a_user_without_rights(postgres_url: str) -> None:
    """A user who may not write to the tables is a fault, with the GRANT that is missing."""
    await migrated(postgres_url)
    user = f"doctor_{secrets.token_hex(4)}"
    await execute(postgres_url, f"CREATE USER {user}", f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}")
    result = await look_at_database(DATABASE_URL=postgres_url.replace("postgres@", f"{user}@"))
    assert (result.state, "GRANT SELECT, INSERT, UPDATE" in result.fix) == (State.FAULT, True)


async def test_postgresql_with_a_user_who_may_not_delete(postgres_url: str) -> None:
    """Without DELETE on each table that shrinks, delivered events and chained lines would stay; others need none."""
    await migrated(postgres_url)
    user = f"doctor_{secrets.token_hex(4)}"
    await execute(
        postgres_url,
        f"CREATE USER {user}",
        f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {user}",
        f"GRANT DELETE ON {', '.join(SHRINKING)} TO {user}",
    )
    url = postgres_url.replace("postgres@", f"{user}@")
    assert (await look_at_database(DATABASE_URL=url)).state is State.OK
    for name in sorted(SHRINKING):
        await execute(postgres_url, f"REVOKE DELETE ON {name} FROM {user}")
        result = await look_at_database(DATABASE_URL=url)
        assert (result.state, result.what.partition(": ")[2]) == (State.FAULT, name)
        assert name in result.fix.partition("DELETE on ")[2]
        await execute(postgres_url, f"GRANT DELETE ON {name} TO {user}")


def test_the_tables_that_shrink_are_those_of_the_code() -> None:
    """A new DELETE needs a right that the doctor has to check."""
    texts = [path.read_text() for path in Path(gateway.__file__).parent.rglob("*.py")]
    in_sql = {name for text in texts for name in re.findall(r"DELETE FROM (\w+)", text)}
    built = {name for text in texts for name in re.findall(r"sa\.delete\((\w+)\)", text)}
    assert in_sql | {getattr(chain_tables, name).name for name in built} == SHRINKING


async def test_postgresql_with_commits_that_can_be_lost(postgres_url: str) -> None:
    """synchronous_commit=off is a warning."""
    await migrated(postgres_url)
    name = postgres_url.rpartition("/")[2]
    await execute(postgres_url, f"ALTER DATABASE {name} SET synchronous_commit = off")
    result = await look_at_database(DATABASE_URL=postgres_url)
    assert (result.state, "synchronous_commit is off" in result.what) == (State.WARNING, True)


async def test_postgresql_without_the_database(postgres_url: str) -> None:
    """An unknown host name differs from a missing server."""
    result = await look_at_database(DATABASE_URL=f"{postgres_url}_gone")
    assert (result.state, result.what.partition(" (")[0]) == (State.FAULT, "there is no database of that name")
    assert result.what.endswith(" 3D000)")


async def test_postgresql_of_another_encoding(postgres_server: PostgresProcess, postgres_url: str) -> None:
    """A fault with the name of the encoding: texts of Phoenix could not be stored."""
    name = f"latin_{secrets.token_hex(4)}"
    await execute(postgres_url, f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    result = await look_at_database(DATABASE_URL=postgres_server.url_of(name))
    assert (result.state, "LATIN1" in result.what, "UTF8" in result.fix) == (State.FAULT, True, True)


async def test_postgresql_behind_pgbouncer(postgres_server: PostgresProcess, postgres_url: str) -> None:
    """It works, and says so; a parameter that PgBouncer refuses is a fault with its name, as it is for a start."""
    await migrated(postgres_url)
    try:
        process = PgBouncerProcess(postgres_server, "transaction")
    except PgBouncerMissing as missing:
        pytest.skip(str(missing))
    with process as pgbouncer:
        url = pgbouncer.url_of(postgres_url)
        result = await look_at_database(DATABASE_URL=url)
        assert (result.state, "behind a pooler" in result.what) == (State.OK, True)
        result = await look_at_database(DATABASE_URL=f"{url}?options=-c%20geqo%3Doff")
        assert (result.state, "PgBouncer" in result.what) == (State.FAULT, True)
        assert "ignore_startup_parameters" in result.fix


async def test_postgresql_that_is_down() -> None:
    """Nobody listens: a fault that names DATABASE_URL, host and port, and repeats nothing else of it."""
    port = free_port()
    result = await look_at_database(DATABASE_URL=f"postgresql://user:hidden-one@127.0.0.1:{port}/d")
    assert (result.state, "cannot be reached" in result.what) == (State.FAULT, True)
    assert f"(127.0.0.1:{port}: OperationalError)" in result.what
    assert "hidden-one" not in f"{result}"


async def test_a_pooler_without_transactions(postgres_server: PostgresProcess, postgres_url: str) -> None:
    """PgBouncer in statement mode takes the connection, and ends it at each BEGIN."""
    try:
        process = PgBouncerProcess(postgres_server, "statement")
    except PgBouncerMissing as missing:
        pytest.skip(str(missing))
    with process:
        result = await look_at_database(DATABASE_URL=process.url_of(postgres_url))
        assert (result.state, "pool_mode" in result.fix) == (State.FAULT, True)
