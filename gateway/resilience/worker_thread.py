"""One thread that runs jobs in order, for a driver that blocks.

A daemon, unlike those of concurrent.futures: a disk that hangs must not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from typing import Any, TypeVar

from gateway.resilience.supervision import SupervisedThread

T = TypeVar("T")
_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class WorkerEnded(Exception):
    """The thread ended unexpectedly; whether the job was done is not known."""


class WorkerThread:
    """Starts with its first job and ends with `stop`. If it ends unexpectedly, the next job starts another one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._unanswered: set[asyncio.Future[Any]] = set()
        self._thread: SupervisedThread | None = None

    async def run(self, job: Callable[[], T]) -> T:
        """Run `job` after those before it. Cancelled while it waits, it never begins; once begun, it ends.

        Raises: WorkerEnded, and what the job raises.
        """
        loop = asyncio.get_running_loop()
        if self._thread is None or not self._thread.is_running:
            self._thread = SupervisedThread(self._name, lambda: self._work(loop))
        answer: asyncio.Future[T] = loop.create_future()
        self._unanswered.add(answer)
        self._jobs.put((job, loop, answer))
        try:
            return await answer
        finally:
            self._unanswered.discard(answer)

    async def stop(self, within_s: float) -> bool:
        """End the thread after the jobs given so far. Returns: whether it ended in time."""
        thread, self._thread = self._thread, None
        if thread is None:
            return True
        thread.expect_end()
        self._jobs.put(None)
        return await thread.join(within_s)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._run_jobs()
        except BaseException:
            try:
                loop.call_soon_threadsafe(self._refuse_all)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more
            raise

    def _refuse_all(self) -> None:
        for answer in self._unanswered:
            _settle(answer, None, WorkerEnded(self._name))

    def _run_jobs(self) -> None:
        while (next_job := self._jobs.get()) is not None:
            job, loop, answer = next_job
            if answer.done():
                continue
            try:
                result, trouble = job(), None
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever gave the job
                result, trouble = None, error
            try:
                loop.call_soon_threadsafe(_settle, answer, result, trouble)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more
            del job, answer, result, trouble, next_job


def _settle(answer: asyncio.Future[Any], result: Any, trouble: BaseException | None) -> None:
    if answer.done():
        return
    if trouble is None:
        answer.set_result(result)
    else:
        answer.set_exception(trouble)
