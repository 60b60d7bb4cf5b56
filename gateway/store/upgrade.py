"""Upgrades a SQLite file while a gateway loads, in a process of its own: Alembic's 11 MiB leave with it.

Where that fails, the first write upgrades the file instead.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Self

from gateway.store.migrations import HEAD
from gateway.telemetry.logs import log

FILE_NAME = "evidence.sqlite3"
"""Of the file in GATEWAY_DATA_DIR."""
WITHIN_S = 60.0
SILENT_S = 3.0
LOCKED = 75
"""Exit code of the process: the store was not available within its time (EX_TEMPFAIL)."""
_END_WITHIN_S = 5.0
_POLL_S = 0.01
_ADVICE = "find the program with fuser and end it; the first wallet call tries the upgrade again"
_CHILD_NEEDS = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""Of the environment. Secrets are not among them."""


class Upgrade:
    """Brings the file's schema up to date, and creates the file if there is none. Never raises for what goes wrong.

    It begins where the context is entered, long before `finished` is awaited. A process that still runs where the
    context is left is ended: the gateway did not start.
    """

    def __init__(self, path: Path, within_s: float = WITHIN_S) -> None:
        """Args: `within_s`: the time limit of the upgrade."""
        self._path = path
        self._within_s = within_s
        self._process: subprocess.Popen[bytes] | None = None
        self._trouble = ""

    def __enter__(self) -> Self:
        if _revision(self._path) >= int(HEAD):
            return self
        command = [sys.executable, "-m", "gateway.store.upgrade_file", str(self._path.absolute()), str(self._within_s)]
        null = subprocess.DEVNULL
        environ = {name: os.environ[name] for name in _CHILD_NEEDS if name in os.environ}
        try:
            self._process = subprocess.Popen(command, env=environ, stdin=null, stdout=null, stderr=null)  # noqa: S603
        except OSError as error:
            self._trouble = str(error.strerror)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    async def finished(self, silent_s: float = SILENT_S) -> None:
        """Return when the upgrade is over. Args: `silent_s`: one that then takes longer is reported."""
        if self._process is None:
            if self._trouble:
                log().warning("schema not upgraded before the start", trouble=self._trouble)
            return
        code = await _ended(self._process, silent_s)
        if code is None:
            log().warning(
                "the start waits for the upgrade of the schema",
                trouble="another program may have locked the file",
                path=str(self._path),
                within_s=self._within_s,
                advice=_ADVICE,
            )
            code = await _ended(self._process, self._within_s + _END_WITHIN_S)
        if code is None:
            self._process.kill()
            code = self._process.wait()
        if code == LOCKED:
            trouble = f"the file could not be used for {self._within_s:g} s; another program may have locked it"
            log().warning("schema not upgraded before the start", trouble=trouble, path=str(self._path), advice=_ADVICE)
        elif code != 0:
            log().warning("schema not upgraded before the start", trouble="the process that upgrades it failed")


async def _ended(process: subprocess.Popen[bytes], within_s: float) -> int | None:
    """Wait for the process and return its exit code; None if it runs longer."""
    until = time.monotonic() + within_s
    while (code := process.poll()) is None and time.monotonic() < until:  # noqa: ASYNC110 - no loop watches it
        await asyncio.sleep(_POLL_S)
    return code


def _revision(path: Path) -> int:
    """Return the revision of a file's schema; 0 where it has none that can be read."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0)) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return 0
    return int(row[0]) if row is not None and str(row[0]).isdecimal() else 0
