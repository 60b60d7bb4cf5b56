"""An empty SQLite database with the current schema: a copy of one file, because an upgrade loads Alembic."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path


def write_migrated(path: Path) -> Path:
    """Write an empty, migrated database unless the file exists or its folder is impossible. Return the path.

    Several processes may do this at the same time: the file appears whole, and the first one wins.
    """
    if not path.exists() and not path.parent.is_file():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_template())
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            os.unlink(temporary)
    return path


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.sqlite3"
        subprocess.run([sys.executable, "-m", "gateway.store.upgrade_file", str(path)], check=True, timeout=60)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("DELETE FROM store_clock")  # the test's clock may be another one
            connection.commit()
        return path.read_bytes()
