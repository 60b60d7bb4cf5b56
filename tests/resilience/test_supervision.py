"""Background tasks and threads: an unexpected end is reported with the name and the exception."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable

import pytest

from gateway.resilience.supervision import (
    SupervisedTask,
    SupervisedThread,
    UnexpectedEnd,
    run_job,
    unexpected_end_of,
)
from gateway.resilience.worker_thread import WorkerEnded, WorkerThread
from tests.fault_injection import raise_in_thread


@pytest.fixture
async def ends() -> list[UnexpectedEnd]:
    """The context of the loop's exception handler."""
    found: list[UnexpectedEnd] = []

    def hear(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        end = unexpected_end_of(context)
        assert end is not None
        found.append(end)

    asyncio.get_running_loop().set_exception_handler(hear)
    return found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - another thread's work
            await asyncio.sleep(0.005)


def waits_for_a_job(name: str) -> bool:
    """Whether a worker thread has let go of its last job: only the wait for the next one interrupts it then.

    `name`: of this thread alone. Other tests of this process may have left theirs.
    """
    (ident,) = [thread.ident for thread in threading.enumerate() if thread.name == name]
    frame = sys._current_frames()[ident or 0]
    return frame.f_code.co_name == "_run_jobs" and "next_job" not in frame.f_locals


def reported(ends: list[UnexpectedEnd]) -> list[tuple[str, type[BaseException] | None, bool]]:
    return [(end.name, None if end.error is None else type(end.error), end.is_fatal) for end in ends]


async def forever() -> None:
    await asyncio.Event().wait()


async def broken() -> None:
    raise KeyError("secret")


async def done() -> None:
    return


async def test_a_task_that_raises_is_fatal(ends: list[UnexpectedEnd]) -> None:
    """Whatever it raises."""
    SupervisedTask("keys", broken())
    await until(lambda: ends)
    assert [("keys", KeyError, True)] == reported(ends)


async def test_a_task_that_returns_is_fatal(ends: list[UnexpectedEnd]) -> None:
    """A service has no last piece of work."""
    SupervisedTask("keys", done())
    await until(lambda: ends)
    assert [("keys", None, True)] == reported(ends)


async def test_a_task_that_another_cancels_is_fatal(ends: list[UnexpectedEnd]) -> None:
    """Only its owner's `stop` is an end that was asked for."""
    SupervisedTask("keys", forever())
    await asyncio.sleep(0)
    next(task for task in asyncio.all_tasks() if task.get_name() == "keys").cancel()
    await until(lambda: ends)
    assert [("keys", asyncio.CancelledError, True)] == reported(ends)


async def test_a_task_that_is_stopped_is_no_news(ends: list[UnexpectedEnd]) -> None:
    """Whether it is cancelled, or ends by itself in the time it is given."""
    await SupervisedTask("cancelled", forever()).stop()
    await SupervisedTask("finished", asyncio.sleep(0.01)).stop(5)
    drained = SupervisedTask("drained", done())
    drained.expect_end()
    await drained.stop()
    assert [] == ends


async def test_a_failure_during_the_stop_is_reported_and_not_fatal(ends: list[UnexpectedEnd]) -> None:
    """The process is already stopping. The log still has the error."""

    async def breaks_at_the_end() -> None:
        try:
            await forever()
        finally:
            raise OSError

    task = SupervisedTask("keys", breaks_at_the_end())
    await asyncio.sleep(0)
    await task.stop()
    assert [("keys", OSError, False)] == reported(ends)


async def test_a_job_may_end_but_not_fail_unheard(ends: list[UnexpectedEnd]) -> None:
    """A job is one piece of work: its end is none of a service's."""
    await run_job("fine", done())
    with pytest.raises(KeyError):
        await run_job("broken", broken())
    run_job("cancelled", forever()).cancel()
    await asyncio.sleep(0.01)
    assert [("broken", KeyError, False)] == reported(ends)


async def test_a_thread_that_returns_or_raises_is_fatal(ends: list[UnexpectedEnd]) -> None:
    """SystemExit too, which Python's own hook keeps to itself."""

    def leave() -> None:
        raise SystemExit

    SupervisedThread("returns", lambda: None)
    await until(lambda: ends)
    SupervisedThread("leaves", leave)
    await until(lambda: len(ends) == 2)
    assert [("returns", None, True), ("leaves", SystemExit, True)] == reported(ends)


async def test_a_thread_that_is_stopped_is_no_news(ends: list[UnexpectedEnd]) -> None:
    """It is waited for, and not for ever."""
    stop = threading.Event()

    def wait() -> None:
        stop.wait()

    thread = SupervisedThread("writer", wait)
    assert not await thread.join(0.01)
    stop.set()
    assert await thread.join(5)
    await asyncio.sleep(0.01)
    assert [] == ends


async def test_no_job_is_given_to_a_worker_thread_that_is_about_to_end(ends: list[UnexpectedEnd]) -> None:
    """It takes no more jobs, though it may live a little longer: nobody would do it, and its caller would wait."""
    worker = WorkerThread("about-to-end")
    await worker.run(threading.get_ident)
    await until(lambda: waits_for_a_job("about-to-end"))
    raise_in_thread("about-to-end", MemoryError)
    with pytest.raises(WorkerEnded):
        await worker.run(threading.get_ident)
    assert worker._threads == []
    assert await worker.run(lambda: 1) == 1
    assert await worker.stop(5)


async def test_a_worker_thread_that_dies_is_fatal_and_serves_the_stop(ends: list[UnexpectedEnd]) -> None:
    """The stop of the process still needs it to close open resources."""
    worker = WorkerThread("dies")
    await worker.run(threading.get_ident)
    await until(lambda: waits_for_a_job("dies"))
    raise_in_thread("dies", MemoryError)
    with pytest.raises(WorkerEnded):
        await worker.run(threading.get_ident)  # it wakes with this job, and dies with it
    await until(lambda: ends)
    assert await worker.run(lambda: 1) == 1
    assert [("dies", MemoryError, True)] == reported(ends)
    assert await worker.stop(5)
