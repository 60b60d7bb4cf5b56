"""Which call starts now, which waits a moment, which is refused at once: decided before a byte of it is parsed.

A limit bounds the calls at work. It follows the latency of handlers, as Netflix's concurrency-limits and Envoy's
adaptive filter do: it grows while calls take no longer than without load, and shrinks once they do. Calls above the
limit wait in a queue that is short in time. From the queue, money goes before reads before batches; callers take turns
(deficit round robin over callers, not connections); of one caller, the call with the least time left goes first.
Pure: time is an argument, and whoever calls `offer` and `done` starts and refuses the calls that they return.
"""

from __future__ import annotations

import enum
import heapq
import itertools
from collections import deque
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Priority(enum.IntEnum):
    """What goes first when not everything can."""

    MONEY = 0
    READ = 1
    BATCH = 2


class Entrant(Protocol):
    """A call that wants to start."""

    deadline_at: float
    arrived_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionSettings:
    """How much is at work at once, and how long a call may wait for its turn."""

    first_limit: float = 64.0
    min_limit: float = 8.0
    max_limit: float = 4096.0
    max_wait_s: float = 0.008
    """A call that would wait longer is refused: its caller hears within 10 ms that it has to come again."""
    tolerance: float = 2.0
    """Calls may take so many times their unloaded time before the limit shrinks."""
    slack_s: float = 0.002
    """Added to the unloaded time: what calls of one turn of the loop wait for each other is no overload."""
    window_s: float = 0.1
    """The limit is corrected so often."""


@dataclass(slots=True)
class _Window:
    """What was seen since the limit was corrected last."""

    began_at: float = 0.0
    finished: int = 0
    slowness: float = 0.0
    """Sum of latency over unloaded latency."""
    was_full: bool = False


T = TypeVar("T", bound=Entrant)


class _Caller(Generic[T]):
    """The queue of one caller in one priority, soonest deadline first."""

    __slots__ = ("deficit", "heap")

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, float, T]] = []
        self.deficit = 0.0


class Admission(Generic[T]):
    """Admits calls of one process."""

    def __init__(self, settings: AdmissionSettings | None = None) -> None:
        self._settings = settings or AdmissionSettings()
        self.limit = self._settings.first_limit
        self.running = 0
        self.queued = 0
        self.rate = 0.0
        """Calls finished a second, lately."""
        self._queues: tuple[dict[str, _Caller[T]], ...] = tuple({} for _ in Priority)
        self._turns: tuple[deque[str], ...] = tuple(deque() for _ in Priority)
        self._unloaded: dict[str, float] = {}
        self._order = itertools.count()
        self._window = _Window()

    def offer(self, call: T, caller: str, priority: Priority, now: float, cost: float = 1.0) -> tuple[bool, list[T]]:
        """Take a call that has just arrived.

        Args: `cost` is the call's share of its caller's turns: 1 for a small one.
        Returns: whether it starts now, and the calls that are refused for it, which may be itself. A call that neither
        starts nor is refused waits: `done` or `expire` returns it later.
        """
        if self.running < self.limit and not self.queued:
            self.running += 1
            return True, []
        self._window.was_full = True
        self._push(call, caller, priority, cost)
        refused: list[T] = []
        while self.queued and self._wait_s() > self._settings.max_wait_s:
            refused.append(self._drop_one())
        return False, refused

    def done(self, method: str, latency_s: float, now: float) -> tuple[list[T], list[T]]:
        """Note that a call has finished; `latency_s` counts from its arrival.

        Returns: the calls that start now, and those that wait no longer.
        """
        self.running -= 1
        self._observe(method, latency_s, now)
        return self._start_next(now)

    def abandoned(self, now: float) -> tuple[list[T], list[T]]:
        """As `done` for a call whose latency says nothing: its caller left, or it was a stream."""
        self.running -= 1
        return self._start_next(now)

    def expire(self, now: float) -> tuple[list[T], list[T]]:
        """Let go what has waited too long; call it every few milliseconds while calls wait."""
        refused = [
            self._take(priority, name, entry)
            for priority in Priority
            for name, caller in list(self._queues[priority].items())
            for entry in list(caller.heap)
            if now - entry[3].arrived_at > self._settings.max_wait_s
        ]
        started, more = self._start_next(now)
        return started, refused + more

    def withdraw(self, call: T) -> bool:
        """Forget a call that waits; False when it does not."""
        for priority in Priority:
            for name, caller in self._queues[priority].items():
                for entry in caller.heap:
                    if entry[3] is call:
                        self._take(priority, name, entry)
                        return True
        return False

    def _push(self, call: T, caller: str, priority: Priority, cost: float) -> None:
        queues = self._queues[priority]
        waiting = queues.get(caller)
        if waiting is None:
            waiting = queues[caller] = _Caller()
            self._turns[priority].append(caller)
        heapq.heappush(waiting.heap, (call.deadline_at, next(self._order), cost, call))
        self.queued += 1

    def _wait_s(self) -> float:
        """Return how long the last of the queue would wait at the present rate."""
        return self.queued / self.rate if self.rate > 0 else self.queued * self._settings.max_wait_s / self.limit

    def _drop_one(self) -> T:
        """Take out whom it costs least: the last priority, its greediest caller, the call with the most time left."""
        priority = max(one for one in Priority if self._queues[one])
        name = max(self._queues[priority], key=lambda each: len(self._queues[priority][each].heap))
        return self._take(priority, name, max(self._queues[priority][name].heap))

    def _take(self, priority: Priority, name: str, entry: tuple[float, int, float, T]) -> T:
        caller = self._queues[priority][name]
        caller.heap.remove(entry)
        heapq.heapify(caller.heap)
        self.queued -= 1
        if not caller.heap:
            del self._queues[priority][name]
            self._turns[priority].remove(name)
        return entry[3]

    def _start_next(self, now: float) -> tuple[list[T], list[T]]:
        started: list[T] = []
        refused: list[T] = []
        while self.queued and self.running < self.limit:
            call = self._pop()
            if call.deadline_at <= now or now - call.arrived_at > self._settings.max_wait_s:
                refused.append(call)
                continue
            self.running += 1
            started.append(call)
        return started, refused

    def _pop(self) -> T:
        priority = min(one for one in Priority if self._queues[one])
        turns, queues = self._turns[priority], self._queues[priority]
        while True:
            name = turns[0]
            caller = queues[name]
            cost = caller.heap[0][2]
            if caller.deficit >= cost:
                caller.deficit -= cost
                _, _, _, call = heapq.heappop(caller.heap)
                self.queued -= 1
                if not caller.heap:
                    del queues[name]
                    turns.popleft()
                elif caller.deficit < caller.heap[0][2]:
                    turns.rotate(-1)
                return call
            caller.deficit += 1.0
            if caller.deficit < cost:
                turns.rotate(-1)

    def _observe(self, method: str, latency_s: float, now: float) -> None:
        unloaded = self._unloaded.get(method)
        if unloaded is None or latency_s < unloaded:
            self._unloaded[method] = unloaded = latency_s
        window = self._window
        window.finished += 1
        window.slowness += latency_s / (unloaded + self._settings.slack_s)
        span = now - window.began_at
        if span >= self._settings.window_s:
            self._correct(window, span)
            self._window = _Window(began_at=now)
            # The unloaded time drifts upwards, so that a method that has become slower finds its new one.
            for name in self._unloaded:
                self._unloaded[name] *= 1.002

    def _correct(self, window: _Window, span: float) -> None:
        settings = self._settings
        rate = window.finished / span
        self.rate = rate if self.rate == 0 else 0.7 * self.rate + 0.3 * rate
        slowness = window.slowness / window.finished
        gradient = max(0.5, min(1.0, settings.tolerance / slowness))
        grown = self.limit * gradient + self.limit**0.5
        if grown > self.limit and not window.was_full:
            return  # nothing has waited: a higher limit would be a guess
        self.limit = min(settings.max_limit, max(settings.min_limit, 0.8 * self.limit + 0.2 * grown))


class RefusalBudget:
    """How much of the process's time refusals may take, as a bucket of seconds that fills with the time."""

    def __init__(self, *, share: float = 0.1, cost_s: float = 30e-6, burst_s: float = 0.005) -> None:
        """Args: `share` of the time; `cost_s` of one refusal; `burst_s`: as much may be spent at once."""
        self._share = share
        self._cost_s = cost_s
        self._burst_s = burst_s
        self._left_s = burst_s
        self._at = 0.0

    def spend(self, now: float) -> float:
        """Pay for one refusal; return the seconds until the bucket holds something again, 0 while it does."""
        self._left_s = min(self._burst_s, self._left_s + (now - self._at) * self._share) - self._cost_s
        self._at = now
        return -self._left_s / self._share if self._left_s < 0 else 0.0
