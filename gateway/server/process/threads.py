"""How grpc's own threads share a core with ours. What it saves on every call, and why, is in docs/adr/0013.

Imports nothing of grpc: its choices are read once, when its library is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

EXPERIMENTS = "GRPC_EXPERIMENTS"
"""Where grpc reads what it tries or leaves. Somebody's own value stays as it is."""


def prefer_one_poller() -> None:
    """Let the thread that waits for events also read the sockets. Call before grpc is imported, or it does nothing.

    Otherwise grpc reads in threads of a pool, and each call crosses from one to the next and back.
    """
    os.environ.setdefault(EXPERIMENTS, "-event_engine_listener")


@contextmanager
def patient_threads() -> Iterator[None]:
    """Let every thread that is started within wait for its turn when it wakes, and not push aside the one that runs.

    They are started by this thread and inherit its policy, SCHED_BATCH; at the end this one has its own policy again.
    A call wakes other threads several times; each time the loop would be stopped in the middle of its work. Nothing
    happens where the system has no such policy, or keeps it from us.
    """
    if not hasattr(os, "SCHED_BATCH"):
        yield
        return
    before = os.sched_getscheduler(0)
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, before, os.sched_param(0))
