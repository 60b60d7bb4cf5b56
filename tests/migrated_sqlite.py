"""An empty SQLite database with the current schema: a copy of one file, because an upgrade loads Alembic."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path


def write_migrated(path: Path) -> Path:
    """Write an empty, migrated database unless the file exists or its folder is impossible. Return the path."""
    if not path.exists() and not path.parent.is_file():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_template())
    return path


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.sqlite3"
        subprocess.run([sys.executable, "-m", "gateway.store.upgrade", str(path)], check=True, timeout=60)
        return path.read_bytes()
