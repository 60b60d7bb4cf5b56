"""Background tasks and threads whose end is noticed.

Two kinds. A service (SupervisedTask, SupervisedThread) runs until its owner stops it: if it ends before that, by an
exception, a return or a cancellation, that is reported as fatal. A job (`run_job`) does one piece of work that no call
awaits: what it raises is reported, and nothing else follows.

Reports go to the exception handler of the event loop, where asyncio reports what nobody caught. The process that serves
installs one that stops it (`server/shutdown.py`); everywhere else asyncio logs the report.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

CANCEL_WITHIN_S = 2.0
"""How long `stop` waits for a cancelled task: one that ignores it must not keep the process from stopping."""

_KEY = "unexpected_end"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnexpectedEnd:
    """What a task or thread ended with. `error` is None for one that returned."""

    name: str
    error: BaseException | None
    is_fatal: bool


def unexpected_end_of(context: Mapping[str, Any]) -> UnexpectedEnd | None:
    """Return the report in the context of a loop's exception handler; None for a report of asyncio's own."""
    found = context.get(_KEY)
    return found if isinstance(found, UnexpectedEnd) else None


class SupervisedTask:
    """A task that runs until its owner stops it. Needs a running loop."""

    def __init__(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._name = name
        self._is_expected = False
        self._task = asyncio.get_running_loop().create_task(work, name=name)
        self._task.add_done_callback(self._ended)

    def expect_end(self) -> None:
        """From now on its end is no news."""
        self._is_expected = True

    async def stop(self, finish_within_s: float = 0.0) -> None:
        """Let it finish by itself for so long, then cancel it. Its end is expected from now on."""
        self.expect_end()
        if finish_within_s > 0:
            await asyncio.wait({self._task}, timeout=finish_within_s)
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=CANCEL_WITHIN_S)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if not self._is_expected or isinstance(error, Exception):
            _report(task.get_loop(), UnexpectedEnd(name=self._name, error=error, is_fatal=not self._is_expected))


class SupervisedThread:
    """A thread that runs until its owner stops it. A daemon: what hangs in it must not keep the process."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        """Start it. The running loop gets the report of its end."""
        self._name = name
        self._work = work
        self._is_expected = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._thread.is_alive()

    @property
    def ident(self) -> int | None:
        """What `threading.get_ident()` returns in it."""
        return self._thread.ident

    def expect_end(self) -> None:
        """From now on its end is no news. Call it before what makes the thread end."""
        self._is_expected = True

    async def join(self, within_s: float) -> bool:
        """Wait for its end, which is expected from now on. Returns: whether it ended in time."""
        self.expect_end()
        await asyncio.to_thread(self._thread.join, within_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._work()
        except BaseException as raised:  # noqa: BLE001 - it is reported, whatever it is
            error = raised
        if self._is_expected and error is None:
            return
        end = UnexpectedEnd(name=self._name, error=error, is_fatal=not self._is_expected)
        try:
            self._loop.call_soon_threadsafe(_report, self._loop, end)
        except RuntimeError:
            pass  # the loop is closed: the process is ending


def run_job(name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Begin one piece of work that no call awaits; report what it raises. The caller keeps the task till it is done."""

    def ended(task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _report(task.get_loop(), UnexpectedEnd(name=name, error=error, is_fatal=False))

    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(ended)
    return task


def _report(loop: asyncio.AbstractEventLoop, end: UnexpectedEnd) -> None:
    context: dict[str, Any] = {"message": f"{end.name} ended unexpectedly", _KEY: end}
    if end.error is not None:
        context["exception"] = end.error
    loop.call_exception_handler(context)
