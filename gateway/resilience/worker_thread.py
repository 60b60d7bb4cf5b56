"""Threads for a driver that blocks: one that runs jobs in order, or several that share them.

Daemons, unlike those of concurrent.futures: a disk that hangs must not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from gateway.resilience.supervision import SupervisedThread

T = TypeVar("T")
_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class WorkerEnded(Exception):
    """The thread ended unexpectedly; whether the job was done is not known."""


class WorkerThreads:
    """Start with the first job and end with `stop`. If one ends unexpectedly, the next job starts another one."""

    def __init__(self, name: str, count: int) -> None:
        self._name = name
        self._count = count
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._unanswered: set[asyncio.Future[Any]] = set()
        self._threads: list[SupervisedThread] = []

    async def run(self, job: Callable[[], T]) -> T:
        """Run `job` after those before it began. Cancelled while it waits, it never begins; once begun, it ends.

        Raises: WorkerEnded, and what the job raises.
        """
        loop = asyncio.get_running_loop()
        if len(self._threads) < self._count or not all(one.is_running for one in self._threads):
            running = [one for one in self._threads if one.is_running]
            self._threads = [*running, SupervisedThread(self._name, lambda: self._work(loop))]
        answer: asyncio.Future[T] = loop.create_future()
        self._unanswered.add(answer)
        self._jobs.put((job, loop, answer))
        try:
            return await answer
        finally:
            self._unanswered.discard(answer)

    async def stop(self, within_s: float) -> bool:
        """End the threads after the jobs given so far. Returns: whether they ended in time."""
        threads, self._threads = self._threads, []
        for thread in threads:
            thread.expect_end()
        for _ in threads:
            self._jobs.put(None)
        return all(await asyncio.gather(*(thread.join(within_s) for thread in threads)))

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._run_jobs()
        except BaseException:
            try:
                loop.call_soon_threadsafe(self._on_end, threading.get_ident())
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more
            raise

    def _on_end(self, ident: int) -> None:
        """A thread takes no more jobs, though it may live a little longer: the next job starts another one."""
        self._threads = [one for one in self._threads if one.ident != ident]
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


class WorkerThread(WorkerThreads):
    """One thread: jobs run in order, one at a time."""

    def __init__(self, name: str) -> None:
        super().__init__(name, 1)


def _settle(answer: asyncio.Future[Any], result: Any, trouble: BaseException | None) -> None:
    if answer.done():
        return
    if trouble is None:
        answer.set_result(result)
    else:
        answer.set_exception(trouble)
