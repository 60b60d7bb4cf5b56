"""Decides when the process stops and with which exit code: 0 after a signal, 1 after one of its parts died."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import suppress
from typing import Any

from gateway.config import DrainTimes
from gateway.resilience.supervision import UnexpectedEnd, unexpected_end_of
from gateway.telemetry.logs import log, where_raised

FAILED = 1
"""Exit code after a background task or thread died, so that `restart: on-failure` restarts the process."""
FAILED_DRAIN_S = 1.0
"""How long calls in flight may take after a part died: they may need that very part."""
EXIT_WITHIN_S = 30.0
"""When the process is killed if it has not stopped after a part died; longer than an orderly stop takes."""


class Shutdown:
    """Whether to stop. Use it in the thread of the event loop only."""

    def __init__(self, times: DrainTimes) -> None:
        self._times = times
        self._wanted = asyncio.Event()
        self._hurried = asyncio.Event()
        self.exit_code = 0

    @property
    def grace_s(self) -> float:
        """How long calls in flight may take once no new ones are accepted."""
        return FAILED_DRAIN_S if self.exit_code else self._times.timeout_s - self._times.delay_s

    @property
    def omits_delay(self) -> bool:
        """Whether a signal wants no delay, as the parent of workers does: the next one serves on the same address."""
        return self._hurried.is_set() and not self.exit_code

    async def wait(self) -> None:
        """Return when the process has to stop."""
        await self._wanted.wait()

    async def wait_delay(self) -> None:
        """Return when no new calls have to be accepted any more: balancers had time to notice."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurried.wait(), self._times.delay_s)

    def request(self, number: signal.Signals) -> None:
        """Stop with exit code 0, because of a signal. Ctrl-C and a second signal omit the delay."""
        if number is signal.SIGINT or self._wanted.is_set():
            self._hurried.set()
        self._wanted.set()

    def on_loop_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what nothing caught, and stop if a part died that must not end. The loop's exception handler."""
        end = unexpected_end_of(context)
        if end is None:
            loop.default_exception_handler(context)
        elif not end.is_fatal:
            log().error("a background job failed", task=end.name, **_cause(end))
        else:
            log().error("a background task ended; the gateway stops", task=end.name, **_cause(end))
            self._fail()

    def _fail(self) -> None:
        if self.exit_code:
            return
        self.exit_code = FAILED
        self._hurried.set()
        last = threading.Timer(EXIT_WITHIN_S, _exit_now)
        last.daemon = True
        last.start()
        self._wanted.set()


def _cause(end: UnexpectedEnd) -> dict[str, str]:
    return {"trouble": "it returned"} if end.error is None else where_raised(end.error)


def _exit_now() -> None:
    log().error(
        "the gateway did not stop in time after a failure; the process ends now",
        trouble=f"a part or a call did not end within {EXIT_WITHIN_S:g} s",
        pid=os.getpid(),
    )
    os._exit(FAILED)
