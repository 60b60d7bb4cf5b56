"""The gateway, killed by SIGKILL when an event reaches a point for the nth time: `CRASH_AT=POINT:NTH`.

`PAUSE_AT` stops it there by SIGSTOP, until SIGCONT, with no write to SQLite under way: it would lock the file for all.
The gateway's code is unchanged; the hooks run between its parts.
`LEASE_S` is how long leases of durable events last. Without these variables, nothing is changed.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading
from contextlib import nullcontext
from typing import Any

from gateway.actions.events.event_memory import EventMemory
from gateway.cache.event_ids import RedisEventIds
from gateway.cli.entry import main
from gateway.front import dispatch
from gateway.outbox import delivery, store
from gateway.outbox.delivery_settings import DeliverySettings
from gateway.outbox.record import Admit, Settle, Take
from gateway.phoenix.transport import Transport
from gateway.store.sqlite import SqliteDatabase

DIRECT_POINTS = ("claimed", "before_send", "amid_send", "after_send", "settling", "settled", "answering")
REDIS_POINTS = ("writing", "written")
"""Around the write to Redis behind the answers."""
DURABLE_POINTS = (
    *("before_commit", "amid_commit", "after_commit", "answering", "leased"),
    *("before_send", "amid_send", "after_send", "before_settle", "amid_settle", "after_settle"),
)
_AMID_S = 0.003
"""After so long a request has left, and mostly no answer has come."""


class CrashPoint:
    """Ends, or pauses, the process at the nth time of its point."""

    def __init__(self, reported: str, number: int = signal.SIGKILL) -> None:
        self._number = number
        self._writing = threading.RLock()
        self._point, _, nth = reported.partition(":")
        self._left = int(nth or 0)

    def reach(self, point: str) -> None:
        """End everything if this is it."""
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                with self._writing if self._number == signal.SIGSTOP else nullcontext():
                    os.kill(os.getpid(), self._number)

    def outside(self, write: Any) -> Any:
        """Return the function, during which no other thread pauses the process."""

        @functools.wraps(write)
        def wrapped(*arguments: Any) -> Any:
            with self._writing:
                return write(*arguments)

        return wrapped

    def around(self, before: str, after: str, original: Any) -> Any:
        """Return the coroutine function with a point before and one after it."""

        @functools.wraps(original)
        async def wrapped(*arguments: Any, **named: Any) -> Any:
            self.reach(before)
            result = await original(*arguments, **named)
            self.reach(after)
            return result

        return wrapped


def install(crash: CrashPoint) -> None:
    """Put the points into the parts."""
    Transport.send = _sending(crash, Transport.send)  # type: ignore[method-assign]
    EventMemory.claim = crash.around("", "claimed", EventMemory.claim)  # type: ignore[method-assign]
    EventMemory.settle = crash.around("settling", "settled", EventMemory.settle)  # type: ignore[method-assign]
    RedisEventIds.settle = crash.around("writing", "written", RedisEventIds.settle)  # type: ignore[method-assign]
    dispatch.serialised = _answering(crash, dispatch.serialised)
    store.EventQueue._commit = _committing(crash, store.EventQueue._commit)  # type: ignore[method-assign]
    store._run = _in_transaction(crash, store._run)


def _sending(crash: CrashPoint, original: Any) -> Any:
    async def send(self: Transport, request: Any, *arguments: Any, **named: Any) -> Any:
        if not request.raw_path.startswith("/v1/events"):  # health checks
            return await original(self, request, *arguments, **named)
        crash.reach("before_send")
        asyncio.get_running_loop().call_later(_AMID_S, crash.reach, "amid_send")
        answer = await original(self, request, *arguments, **named)
        crash.reach("after_send")
        return answer

    return send


def _answering(crash: CrashPoint, original: Any) -> Any:
    def serialised(answer: Any) -> bytes:
        if type(answer).__name__ in ("SubmitEventResponse", "SubmitEventsResponse", "StreamEventsResponse"):
            crash.reach("answering")
        data: bytes = original(answer)
        return data

    return serialised


def _committing(crash: CrashPoint, original: Any) -> Any:
    async def commit(self: store.EventQueue, ops: Any, limit_s: float) -> Any:
        _reach_for(crash, ops, {Admit: "before_commit", Settle: "before_settle"})
        results = await original(self, ops, limit_s)
        _reach_for(crash, ops, {Admit: "after_commit", Settle: "after_settle"})
        if any(isinstance(op, Take) and result.events for op, result in zip(ops, results, strict=True)):
            crash.reach("leased")
        return results

    return commit


def _in_transaction(crash: CrashPoint, original: Any) -> Any:
    def run(connection: Any, ops: Any, **named: Any) -> Any:
        results = original(connection, ops, **named)
        _reach_for(crash, ops, {Admit: "amid_commit", Settle: "amid_settle"})
        return results

    return run


def _reach_for(crash: CrashPoint, ops: Any, points: dict[type, str]) -> None:
    for kind, point in points.items():
        if any(isinstance(op, kind) for op in ops):
            crash.reach(point)


def shorten_leases(lease_s: float) -> None:
    """Let a lease end so early; a sending must end before."""
    settings = functools.partial(DeliverySettings, lease_s=lease_s, send_s=lease_s * 0.6)
    delivery.DeliverySettings = settings  # type: ignore[assignment,attr-defined]


if __name__ == "__main__":
    if lease := os.environ.get("LEASE_S"):
        shorten_leases(float(lease))
    if reported := os.environ.get("CRASH_AT"):
        install(CrashPoint(reported))
    if reported := os.environ.get("PAUSE_AT"):
        pause = CrashPoint(reported, signal.SIGSTOP)
        install(pause)
        SqliteDatabase._write = pause.outside(SqliteDatabase._write)  # type: ignore[method-assign]
    main()
