"""One thread that runs jobs in order, for a driver that blocks.

A daemon, unlike those of concurrent.futures: a disk that hangs must not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class WorkerThread:
    """Starts with its first job and ends with `stop`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, job: Callable[[], T]) -> T:
        """Run `job` after those before it. Cancelled while it waits, it never begins; once begun, it ends."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._jobs.put((job, loop, answer))
        return await answer

    async def stop(self, within_s: float) -> bool:
        """End the thread after the jobs given so far. Returns: whether it ended in time."""
        thread, self._thread = self._thread, None
        if thread is None:
            return True
        self._jobs.put(None)
        await asyncio.to_thread(thread.join, within_s)
        return not thread.is_alive()

    def _work(self) -> None:
        while (next_job := self._jobs.get()) is not None:
            job, loop, answer = next_job
            if answer.cancelled():
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
