"""How SQLite writes: to the disk itself, and nothing outside the folder of the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.resilience.clock import SystemClock
from gateway.store.sqlite import SqliteDatabase

FULL, IN_MEMORY = 2, 2


@pytest.mark.parametrize("reads", [False, True])
async def test_commits_reach_the_disk_and_journals_stay_in_memory(tmp_path: Path, reads: bool) -> None:
    """Also the journal of a statement that changes many pages, as the claim of many operations does."""
    database = SqliteDatabase(tmp_path / "evidence.sqlite3", SystemClock())

    def settings(connection: sa.Connection, _now_us: int) -> list[object]:
        return [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "temp_store")
        ]

    await database.write(settings, 10)
    found = await (database.read if reads else database.write)(settings, 10)
    await database.stop()
    assert found == ["wal", FULL, IN_MEMORY]
