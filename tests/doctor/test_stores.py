"""Redis and the database, each with one fault planted."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import secrets
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

import gateway
from gateway.cache.client import RedisCache
from gateway.cache.redis_url import parse_redis_url
from gateway.core.ed25519 import generate_signing_key
from gateway.core.sealing import SealKeys
from gateway.core.types import Environment
from gateway.doctor.database_checks import SHRINKING, database
from gateway.doctor.redis_checks import redis
from gateway.doctor.report import Result, State
from gateway.evidence.chain import tables as chain_tables
from gateway.keys.platform.redis_key_cache import RedisKeyCache
from gateway.keys.platform.shared_key import KeyEntry
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from gateway.store.database import FILE_NAME
from gateway.store.postgres import PostgresDatabase
from gateway.store.sqlite import SqliteDatabase
from tests.config.valid_settings import WHOLE
from tests.doctor.diagnosis import config_of, free_port
from tests.pgbouncer_process import PgBouncerMissing, PgBouncerProcess
from tests.postgres_process import PostgresProcess
from tests.redis_process import RedisProcess, two_nodes

CLOCK = SystemClock()
NOBODY = 65534


def seal_key() -> str:
    """A fresh key as GATEWAY_CACHE_KEYS holds it."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


async def look_at_redis(url: str, keys: str | None = None) -> Result:
    """The doctor's findings for this Redis."""
    settings = {
        **WHOLE,
        "REDIS_URL": url,
        "GATEWAY_CACHE_KEYS": keys or seal_key(),
        "DATABASE_URL": "postgresql://u@127.0.0.1/d",
    }
    return await redis(config_of(settings), CLOCK, Deadline.after(5, CLOCK))


async def look_at_database(**settings: str) -> Result:
    """The doctor's findings for the configured database."""
    return await database(config_of({**WHOLE, **settings}), Deadline.after(5, CLOCK))


async def test_no_redis() -> None:
    """Without REDIS_URL the cache is in-process, which is fine."""
    result = await redis(config_of(WHOLE), CLOCK, Deadline.after(5, CLOCK))
    assert (result.state, result.what.split(":")[0]) == (State.OK, "in-process")


async def test_redis_that_works(redis_server: RedisProcess) -> None:
    """A sealed value comes back, and nothing is left behind."""
    result = await look_at_redis(redis_server.url)
    assert (result.state, "a sealed value came back" in result.what) == (State.OK, True)
    assert redis_server.command("DBSIZE") == b":0\r\n"


async def test_redis_that_is_down() -> None:
    """Without a listener: a fault that names REDIS_URL and says that the gateway continues."""
    result = await look_at_redis(f"redis://127.0.0.1:{free_port()}/0")
    assert (result.state, "REDIS_URL" in result.fix, "ECONNREFUSED" in result.what) == (State.FAULT, True, True)
    assert "each replica serves with its own cache" in result.what


async def test_redis_that_is_frozen(redis_server: RedisProcess) -> None:
    """A Redis that accepts connections and does not answer is a fault within the time limit."""
    redis_server.pause()
    result = await look_at_redis(redis_server.url)
    assert (result.state, "no answer in time within 2 s" in result.what) == (State.FAULT, True)


async def test_redis_with_another_password(redis_server: RedisProcess) -> None:
    """A wrong password differs from a missing Redis, and the finding does not show it."""
    redis_server.command("CONFIG", "SET", "requirepass", "right")
    result = await look_at_redis(redis_server.url.replace("redis://", "redis://:wrong-one@"))
    assert (result.state, result.fix) == (State.FAULT, "check user and password in REDIS_URL")
    assert "wrong-one" not in f"{result}"


async def test_redis_that_is_full(redis_server: RedisProcess) -> None:
    """A full Redis is a fault that names its memory."""
    redis_server.command("CONFIG", "SET", "maxmemory", "1")
    result = await look_at_redis(redis_server.url)
    assert (result.state, "maxmemory" in result.fix) == (State.FAULT, True)


def _without_master(server: RedisProcess) -> None:
    server.command("CONFIG", "SET", "replica-serve-stale-data", "no")
    server.command("REPLICAOF", "127.0.0.1", "1")


REDIS_FAULTS: dict[str, tuple[Callable[[RedisProcess], object], str, str]] = {
    "a replica": (lambda server: server.command("REPLICAOF", "127.0.0.1", "1"), "READONLY", "the primary"),
    "without its master": (_without_master, "MASTERDOWN", "Sentinel"),
    "without its replicas": (
        lambda server: server.command("CONFIG", "SET", "min-replicas-to-write", "1"),
        "NOREPLICAS",
        "replica",
    ),
    "with a password": (lambda server: server.command("CONFIG", "SET", "requirepass", "x"), "NOAUTH", "password"),
    "without a right": (lambda server: server.command("ACL", "SETUSER", "default", "-set"), "NOPERM", "pgw:*"),
}


@pytest.mark.parametrize("name", list(REDIS_FAULTS))
async def test_redis_that_refuses(redis_server: RedisProcess, name: str) -> None:
    """The finding names the host, Redis's own code, and what to do."""
    spoil, code, fix = REDIS_FAULTS[name]
    spoil(redis_server)
    await asyncio.sleep(0.2)  # a replica needs a moment to see that its master is gone
    result = await look_at_redis(redis_server.url)
    assert (result.state, code in result.what, fix in result.fix) == (State.FAULT, True, True), result
    assert f"127.0.0.1:{redis_server.port}" in result.what


async def test_a_cluster_of_which_no_node_answers() -> None:
    """An error of the library outside its base class is a finding like any other."""
    result = await look_at_redis(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}")
    assert (result.state, "no connection to Redis" in result.what, "ECONNREFUSED" in result.what) == (
        State.FAULT,
        True,
        True,
    )


async def test_one_node_of_a_cluster() -> None:
    """With `redis://` the keys of the other nodes are missing; the doctor says what to write."""
    with tempfile.TemporaryDirectory(prefix="pgw-redis-") as directory, two_nodes(Path(directory)) as nodes:
        result = await look_at_redis(nodes[0].url)
        assert (result.state, "MOVED" in result.what, "redis+cluster://" in result.fix) == (State.FAULT, True, True)
        whole = await look_at_redis(f"redis+cluster://127.0.0.1:{nodes[0].port}")
        assert whole.state is not State.FAULT


async def test_redis_with_the_entry_of_another_key(redis_server: RedisProcess) -> None:
    """A platform key that another replica sealed by another key is a fault that names GATEWAY_CACHE_KEYS."""
    cache = RedisCache(parse_redis_url(redis_server.url), CLOCK)
    config = config_of(WHOLE)
    shared = RedisKeyCache(
        cache=cache,
        seal_keys=SealKeys.from_text(seal_key()),
        clock=CLOCK,
        host=config.operators[0].base_url,
        environment=Environment.SANDBOX,
    )
    await cache.start()
    key = generate_signing_key()[0].public
    await shared.publish(KeyEntry(key=key, began_at=CLOCK.now(), answered=frozenset()))
    await cache.close()
    result = await look_at_redis(redis_server.url)
    assert (result.state, "GATEWAY_CACHE_KEYS" in result.fix) == (State.FAULT, True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the SQLite file of the test is, or will be."""
    return tmp_path / FILE_NAME


async def make(file: Path) -> None:
    """Make the file as a start does."""
    store = SqliteDatabase(file, CLOCK)
    await store.write(lambda connection, now_us: None, 10)
    await store.stop()


def damage(file: Path) -> None:
    """Write a file that is not a database."""
    file.write_bytes(b"no database at all, for as many bytes as a header has" * 10)


async def test_sqlite_before_the_first_start(file: Path) -> None:
    """No file yet is fine, and the doctor makes none."""
    result = await look_at_database(GATEWAY_DATA_DIR=str(file.parent))
    assert (result.state, os.listdir(file.parent)) == (State.OK, [])


async def test_sqlite_that_works(file: Path) -> None:
    """Writable, WAL, the newest revision."""
    await make(file)
    result = await look_at_database(GATEWAY_DATA_DIR=str(file.parent))
    assert result.state is State.OK
    assert all(word in result.what for word in ("writable", "WAL", "revision", "synchronous=FULL"))


async def test_sqlite_is_left_as_it_is(file: Path) -> None:
    """The write that is tried leaves no table."""
    await make(file)
    await look_at_database(GATEWAY_DATA_DIR=str(file.parent))
    with sqlite3.connect(file) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert "doctor_was_here" not in tables


async def test_sqlite_of_an_older_version(file: Path) -> None:
    """An older schema is a warning: the next start migrates."""
    await make(file)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    result = await look_at_database(GATEWAY_DATA_DIR=str(file.parent))
    assert (result.state, "revision 0000" in result.what, "migrates" in result.fix) == (State.WARNING, True, True)


async def test_sqlite_of_another_program(file: Path) -> None:
    """An unknown revision means that the file belongs to another program."""
    await make(file)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'a1b2c3'")
    result = await look_at_database(GATEWAY_DATA_DIR=str(file.parent))
    assert (result.state, "another program" in result.what) == (State.FAULT, True)


async def test_sqlite_that_is_no_database(file: Path) -> None:
    """A damaged file is a fault, and the advice is not to delete it."""
    damage(file)
    result = await look_at_database(GATEWAY_DATA_DIR=str(file.parent))
    assert (result.state, "damaged" in result.what, "do not delete" in result.fix) == (State.FAULT, True, True)


async def test_sqlite_that_another_program_holds(file: Path) -> None:
    """A lock that is not released is a warning within the time limit."""
    await make(file)
    holder = sqlite3.connect(file, isolation_level=None)
    try:
        holder.execute("BEGIN IMMEDIATE")
        result = await look_at_database(GATEWAY_DATA_DIR=str(file.parent))
    finally:
        holder.close()
    assert (result.state, "locked" in result.what) == (State.WARNING, True)


async def test_sqlite_that_others_can_read(file: Path) -> None:
    """Evidence that others can read is a warning with the command."""
    await make(file)
    os.chmod(file, 0o644)
    result = await look_at_database(GATEWAY_DATA_DIR=str(file.parent))
    assert (result.state, f"chmod 600 {file}" in result.fix) == (State.WARNING, True)


@pytest.fixture
def as_nobody() -> Iterator[Callable[[], None]]:
    """Goes on as a user without rights, where the tests run as root; file modes mean nothing to root."""

    def change() -> None:
        if os.geteuid() == 0:
            os.seteuid(NOBODY)

    yield change
    if os.getuid() == 0:
        os.seteuid(0)


@pytest.mark.parametrize("has_log", [False, True])
async def test_sqlite_that_cannot_be_written_to(as_nobody: Callable[[], None], has_log: bool) -> None:
    """A file that this user may only read is a fault, whether or not its log is there."""
    with tempfile.TemporaryDirectory(prefix="pgw-doctor-") as name:
        folder = Path(name)
        file = folder / FILE_NAME
        await make(file)
        holder = sqlite3.connect(file)
        if has_log:
            holder.execute("SELECT count(*) FROM sqlite_master").fetchone()
        else:
            holder.close()
        for each in os.listdir(folder):
            os.chmod(folder / each, 0o444)
        os.chmod(folder, 0o555)
        as_nobody()
        try:
            result = await look_at_database(GATEWAY_DATA_DIR=str(folder))
        finally:
            if os.getuid() == 0:
                os.seteuid(0)
            os.chmod(folder, 0o700)
            holder.close()
    assert result.state is State.FAULT
    assert "cannot be written to" in result.what or "cannot be opened" in result.what
    assert str(folder) in result.fix


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
