"""Faults put into a running process: an exception in a thread or a task that something else of Python's raises."""

from __future__ import annotations

import asyncio
import ctypes
import threading


def raise_in_thread(name: str, error: type[BaseException]) -> None:
    """Have the thread raise when it next runs Python code, as a failed allocation does. Raises: KeyError."""
    ident = {thread.name: thread.ident for thread in threading.enumerate()}[name]
    assert ident is not None
    assert 1 == ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(error))


def task_named(name: str) -> asyncio.Task[object]:
    """Return the running task of this name. Raises: StopIteration."""
    return next(task for task in asyncio.all_tasks() if task.get_name() == name)
