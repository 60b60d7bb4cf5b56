"""The gateway, in which one background task or thread fails on SIGUSR1: `FAILING_TASK=KIND:NAME`.

The gateway's code is unchanged. KIND is the kind of failure: `thread` (MemoryError in the thread), `cancelled` (the
task is cancelled), `raised` (what the task awaits raises MemoryError), `returned` (the supervised task returns).
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from gateway.cli.entry import main
from gateway.resilience.supervision import SupervisedTask
from tests.fault_injection import raise_in_thread, task_named


def die(kind: str, name: str) -> None:
    """Have the task or thread of this name end."""
    if kind == "thread":
        raise_in_thread(name, MemoryError)
    elif kind == "cancelled":
        task_named(name).cancel()
    elif kind == "raised":
        waited_for: Any = task_named(name)._fut_waiter  # type: ignore[attr-defined]
        waited_for.set_exception(MemoryError())
    else:
        SupervisedTask(name, asyncio.sleep(0))


def on_signal(_number: int, _frame: object) -> None:
    """Do it between two steps of the loop."""
    kind, _, name = os.environ["FAILING_TASK"].partition(":")
    asyncio.get_running_loop().call_soon(die, kind, name)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, on_signal)
    main()
