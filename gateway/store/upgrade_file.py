"""The process that upgrades a SQLite file: `python -m gateway.store.upgrade_file PATH [SECONDS]` (see upgrade.py)."""

from __future__ import annotations

import gc
import sys
from pathlib import Path


async def _upgrade(path: Path, within_s: float) -> None:
    from gateway.resilience.clock import SystemClock
    from gateway.store.sqlite import SqliteDatabase

    database = SqliteDatabase(path, SystemClock())
    try:
        await database.write(lambda _connection, _now: None, within_s)
    finally:
        await database.stop()


def main() -> int:
    """Upgrade the file that the arguments name; return the exit code."""
    gc.disable()  # imports leave no garbage, and the process ends soon
    import asyncio

    from gateway.errors import StoreUnavailable
    from gateway.store.upgrade import LOCKED, WITHIN_S

    try:
        asyncio.run(_upgrade(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else WITHIN_S))
    except StoreUnavailable:
        return LOCKED
    return 0


if __name__ == "__main__":
    sys.exit(main())
