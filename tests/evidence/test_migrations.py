"""The schema: the first process creates it once, and no migration removes evidence."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import gateway.controls.stored_switches
import gateway.evidence.chain.tables
import gateway.evidence.tables
import gateway.outbox.tables  # noqa: F401 - with the three above: every table enters the metadata
from gateway.core.wallet_verdict import Disposition
from gateway.store import migrate as migrate_module
from gateway.store.database import Database
from gateway.store.migrate import is_current
from gateway.store.migrations import HEAD
from gateway.store.schema import metadata
from tests.evidence.conftest import MakeStore
from tests.evidence.schema_by_hand import migrate_by_hand
from tests.evidence.wallet_factory import claim_of, soon


def test_head_is_the_newest_revision() -> None:
    """The code names the newest of its migrations."""
    config = Config()
    config.set_main_option("script_location", str(migrate_module.DIRECTORY))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


async def test_migrated_schema_is_that_of_the_code(make_database: Callable[[], Database]) -> None:
    """Migrations and tables agree: nothing is left for Alembic to add or remove."""
    database = make_database()

    def difference(connection: sa.Connection, _now_us: int) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    assert await database.write(difference, 10) == []
    await database.stop()


async def test_down_and_up(make_database: Callable[[], Database]) -> None:
    """An empty schema can be taken down and made again."""
    database = make_database()
    await migrate_by_hand(database, down_to="base")
    tables = await database.write(lambda connection, _now: set(sa.inspect(connection).get_table_names()), 10)
    assert tables == {"alembic_version"}
    await migrate_by_hand(database)
    tables = await database.write(lambda connection, _now: set(sa.inspect(connection).get_table_names()), 10)
    assert tables == {"alembic_version", *metadata.tables}
    await database.stop()


async def test_down_refuses_to_drop_evidence(make_database: Callable[[], Database], make_store: MakeStore) -> None:
    """Evidence is kept for ever: going down with rows in the tables fails and changes nothing."""
    store = await make_store()
    await store.claim(claim_of(), soon())
    database = make_database()
    with pytest.raises(RuntimeError, match="never deleted"):
        await migrate_by_hand(database, down_to="base")
    await database.stop()
    assert (await store.claim(claim_of(), soon())).disposition is Disposition.IN_PROGRESS


async def test_newer_schema_is_served(make_database: Callable[[], Database], make_store: MakeStore) -> None:
    """If a newer gateway has migrated the database, this one continues, also after a restart."""
    database = make_database()
    await database.write(
        lambda connection, _now: connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'")), 10
    )
    await database.stop()
    store = await make_store()
    await store.check(soon())
    assert (await store.claim(claim_of(), soon())).disposition is Disposition.NEW


async def test_concurrent_start_migrates_once(make_store: MakeStore, make_database: Callable[[], Database]) -> None:
    """Eight stores that start on an empty database at once all work, on one schema."""
    stores = [await make_store() for _ in range(8)]
    results = await asyncio.gather(*(store.claim(claim_of(), soon()) for store in stores))
    assert sorted(result.disposition.value for result in results if result.disposition) == ["IN_PROGRESS"] * 7 + ["NEW"]
    database = make_database()
    assert await database.read(lambda connection, _now: is_current(connection), 10)
    await database.stop()


def test_alembic_does_not_stay_in_the_process_that_serves(tmp_path: Path) -> None:
    """A new SQLite file is upgraded by a process of its own before the start, and found up to date by this one."""
    path = tmp_path / "data" / "evidence.sqlite3"
    program = f"""
import asyncio, pathlib, sys
from gateway.store.sqlite import SqliteDatabase
from gateway.store.upgrade import Upgrade
from gateway.resilience.clock import SystemClock
path = pathlib.Path({str(path)!r})
async def main():
    with Upgrade(path) as upgrade:
        await upgrade.finished()
    database = SqliteDatabase(path, SystemClock())
    await database.write(lambda connection, now: None, 10)
    await database.stop()
asyncio.run(main())
sys.exit("alembic" in sys.modules)
"""
    codes = [subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode for _ in range(2)]
    assert codes == [0, 0]
    assert 0o600 == path.stat().st_mode & 0o777
