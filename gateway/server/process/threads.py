"""How grpc's own threads share a core and standard error with ours. docs/adr/0013 says what it saves on every call.

This module does not import grpc, which reads its options once, when its library is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

EXPERIMENTS = "GRPC_EXPERIMENTS"
"""The variable of grpc's experiments. A value that the user has set stays."""


VERBOSITY = "GRPC_VERBOSITY"
"""The variable of grpc's own log. A value that the user has set stays."""


def silence_grpc() -> None:
    """Let grpc's library log nothing. It only works before grpc is imported.

    It writes a line of its own form for each handshake that fails, to standard error and in the threads that serve: if
    the reader of that pipe stops, anyone who connects can fill it, and then no new connection is accepted.
    """
    os.environ.setdefault(VERBOSITY, "NONE")


def prefer_one_poller() -> None:
    """Make the thread that waits for events also read the sockets. It only works before grpc is imported.

    Otherwise grpc reads in the threads of a pool, and each call moves between threads.
    """
    os.environ.setdefault(EXPERIMENTS, "-event_engine_listener")


@contextmanager
def patient_threads() -> Iterator[None]:
    """Start threads inside the block so that they do not preempt the running thread when they wake.

    They inherit the policy SCHED_BATCH from this thread, which gets its own policy back at the end. A call wakes other
    threads several times, and each time they would interrupt the event loop. Where the system has no such policy, or
    forbids it, this does nothing.
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
