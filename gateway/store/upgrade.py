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

from gateway.errors import StoreUnavailable
from gateway.resilience.clock import SystemClock
from gateway.store.schema import HEAD
from gateway.store.sqlite import SqliteDatabase
from gateway.telemetry.logs import log

WITHIN_S = 60.0
SILENT_S = 3.0
_END_WITHIN_S = 5.0
_LOCKED = 75
"""Exit code of the process: the store was not available within its time (EX_TEMPFAIL)."""
_ADVICE = "find the program with fuser and end it; the first wallet call tries the upgrade again"
_CHILD_NEEDS = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""Of the environment. Secrets are not among them."""


async def upgrade_apart(path: Path, within_s: float = WITHIN_S, silent_s: float = SILENT_S) -> None:
    """Bring the file's schema up to date, creating the file if there is none. Never raises for what goes wrong.

    Args: `within_s`: its time limit. `silent_s`: an upgrade that takes longer is reported.
    """
    if _revision(path) >= int(HEAD):
        return
    try:
        child = await asyncio.create_subprocess_exec(
            *_command(path, within_s),
            env={name: os.environ[name] for name in _CHILD_NEEDS if name in os.environ},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        code = await _ended(child, path, within_s, silent_s)
    except OSError as error:
        log().warning("schema not upgraded before the start", trouble=str(error.strerror))
        return
    if code == _LOCKED:
        trouble = f"the file could not be used for {within_s:g} s; another program may have locked it"
        log().warning("schema not upgraded before the start", trouble=trouble, path=str(path), advice=_ADVICE)
    elif code != 0:
        log().warning("schema not upgraded before the start", trouble="the process that upgrades it failed")


async def _ended(child: asyncio.subprocess.Process, path: Path, within_s: float, silent_s: float) -> int:
    """Wait for the child and return its exit code. Say what it waits for if that takes long; end it after a while."""
    try:
        async with asyncio.timeout(silent_s):
            return await child.wait()
    except TimeoutError:
        log().warning(
            "the start waits for the upgrade of the schema",
            trouble="another program may have locked the file",
            path=str(path),
            within_s=within_s,
            advice=_ADVICE,
        )
    try:
        async with asyncio.timeout(within_s + _END_WITHIN_S):
            return await child.wait()
    except TimeoutError:
        child.kill()
        return await child.wait()


def _command(path: Path, within_s: float) -> list[str]:
    return [sys.executable, "-m", "gateway.store.upgrade", str(path.absolute()), str(within_s)]


def _revision(path: Path) -> int:
    """Return the revision of a file's schema; 0 where it has none that can be read."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return 0
    return int(row[0]) if row is not None and str(row[0]).isdecimal() else 0


async def _upgrade(path: Path, within_s: float) -> None:
    database = SqliteDatabase(path, SystemClock())
    try:
        await database.write(lambda _connection, _now: None, within_s)
    finally:
        await database.stop()


if __name__ == "__main__":
    try:
        asyncio.run(_upgrade(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else WITHIN_S))
    except StoreUnavailable:
        sys.exit(_LOCKED)
