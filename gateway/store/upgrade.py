"""Upgrades a SQLite file before a gateway serves, in a process of its own: Alembic's 11 MiB leave with it.

Where that fails, the first write upgrades the file instead.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from gateway.resilience.clock import SystemClock
from gateway.store.schema import HEAD
from gateway.store.sqlite import SqliteDatabase
from gateway.telemetry.logs import log

WITHIN_S = 60.0
_CHILD_NEEDS = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""Of the environment. Secrets are not among them."""


async def upgrade_apart(path: Path) -> None:
    """Bring the file's schema up to date, creating the file if there is none. Never raises for what goes wrong."""
    if _revision(path) >= int(HEAD):
        return
    try:
        child = await asyncio.create_subprocess_exec(
            *_command(path),
            env={name: os.environ[name] for name in _CHILD_NEEDS if name in os.environ},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(WITHIN_S):
                code = await child.wait()
        except TimeoutError:
            child.kill()
            code = await child.wait()
    except OSError as error:
        log().warning("schema not upgraded before the start", trouble=str(error.strerror))
        return
    if code != 0:
        log().warning("schema not upgraded before the start", trouble="the process that upgrades it failed")


def _command(path: Path) -> list[str]:
    return [sys.executable, "-m", "gateway.store.upgrade", str(path.absolute())]


def _revision(path: Path) -> int:
    """Return the revision of a file's schema; 0 where it has none that can be read."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return 0
    return int(row[0]) if row is not None and str(row[0]).isdecimal() else 0


async def _upgrade(path: Path) -> None:
    database = SqliteDatabase(path, SystemClock())
    try:
        await database.write(lambda _connection, _now: None, WITHIN_S)
    finally:
        await database.stop()


if __name__ == "__main__":
    asyncio.run(_upgrade(Path(sys.argv[1])))
