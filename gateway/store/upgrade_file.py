"""The process that upgrades a SQLite file: `python -m gateway.store.upgrade_file PATH [SECONDS]` (see upgrade.py)."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from pathlib import Path

_LOOK_EVERY_S = 0.2


async def _upgrade(path: Path, within_s: float) -> None:
    from gateway.resilience.clock import SystemClock
    from gateway.store.sqlite import SqliteDatabase

    database = SqliteDatabase(path, SystemClock())
    try:
        await database.write(lambda _connection, _now: None, within_s)
    finally:
        await database.stop()


def _end_with(parent: int) -> None:
    """End this process when its parent has ended. SQLite takes a change back that is not committed."""
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os._exit(1)


def main() -> int:
    """Upgrade the file that the arguments name; return the exit code."""
    gc.disable()  # imports leave no garbage, and the process ends soon
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
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
