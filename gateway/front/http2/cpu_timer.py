"""Measures the CPU time of a coroutine over all of its steps, whatever runs between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any


class Timed(Coroutine[Any, Any, None]):
    """Runs a coroutine in its place, as the body of a task."""

    __slots__ = ("_report", "_running", "_spent_s")

    def __init__(self, running: Coroutine[Any, Any, None], report: Callable[[float], None]) -> None:
        """Args: `report` is called with the CPU seconds when the coroutine has ended, however it did."""
        self._running = running
        self._report = report
        self._spent_s = 0.0

    def send(self, value: Any) -> Any:
        """Run one step."""
        return self._step(self._running.send, value)

    def throw(self, *error: Any) -> Any:
        """Raise an error in the coroutine, as a cancelled task does."""
        try:
            return self._step(self._running.throw, *error)
        finally:
            error = ()  # its traceback leads to this frame: the two would stay until a collection

    def close(self) -> None:
        """End the coroutine where it is."""
        self._running.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._running.__await__()

    def _step(self, step: Callable[..., Any], *arguments: Any) -> Any:
        began_s = time.thread_time()
        try:
            waits_for = step(*arguments)
        except BaseException:
            self._report(self._spent_s + time.thread_time() - began_s)
            raise
        finally:
            arguments = ()  # as in `throw`
        self._spent_s += time.thread_time() - began_s
        return waits_for
