"""Decides, before a call's message is parsed, whether the call starts now, waits a moment, or is refused at once.

Calls start in turns of the loop: as many in one turn as take about `turn_s`, so that between two turns the loop reads
what has arrived. What does not start waits in the queue, where it is seen, instead of in a socket, where it is not.

A burst may wait. Overload is when more than `burst` calls wait and do not become fewer within `patience_s`, although
calls start: a process that got no CPU time for a while is not overloaded by what it finds then. Then the queue is cut
to what can start within `max_wait_s`, and what exceeds it is refused before it is parsed, until nothing was refused for
`calm_s`. Callers that each wait for their answer before they send again never get there. A burst of a modest caller
(`recent_use.py`) may wait beyond the cut: it is not what is too much. So may outcomes of wallets: the money has moved.

A second limit bounds the calls at work, for handlers that wait for Phoenix or the store. It follows their latency, as
Netflix's concurrency-limits do: it shrinks when calls take much longer than usual. Pure: time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic

from gateway.front.http2.fair_queue import FairQueue, Priority, T

_ENOUGH = 20
"""Calls in a window before anything is concluded from it."""
_FEWEST = 2
"""This many calls may wait even if each of them takes long."""
_CUT_PER_TURN = 50
"""Calls that are taken out of a queue that has become too long, in one turn of the loop."""
_MOST_TIMES = 4.0
"""So many times the average is the most that one call counts in it."""
_WORKED_SHARE = 0.4
"""A process that has the CPU for itself spends more of its time on calls while many wait."""
_BUSY_SHARE = 0.85
"""A process that is busy for this share of the time has no time for more calls at once."""
_ROOM = 1.5
"""So many times the calls that are at work at their usual time have room in a busy process."""
_GUESSED_COST_S = 0.0001
"""Of a call, until one was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionSettings:
    """How much is at work at once, and how long a call may wait for its turn."""

    first_limit: float = 4096.0
    min_limit: float = 2048.0
    """So many may be at work however long they take: calls that wait for a platform key or a slow Phoenix cost memory,
    not time."""
    busy_min_limit: float = 64.0
    """The same while the process is busy all the time: then calls take long because they wait for each other."""
    max_limit: float = 4096.0
    turn_s: float = 0.001
    """Calls that start in one turn of the loop take about so long."""
    short_turn_s: float = 0.0003
    """The same under overload while modest callers call too, each of whose calls waits for a turn or two."""
    modest_s: float = 1.0
    """A modest caller is expected to call again for so long."""
    burst: int = 64
    max_queued: int = 2048
    """More never wait, overload or not: each holds its request."""
    patience_s: float = 0.1
    max_wait_s: float = 0.003
    """Under overload: a call that would wait longer is refused on arrival."""
    max_age_s: float = 0.008
    """Under overload, while the limit of calls at work is reached: a call that has waited longer is refused."""
    calm_s: float = 1.0
    tolerance: float = 2.0
    """Calls may take so many times their usual time before the limit of calls at work shrinks."""
    slack_s: float = 0.002
    """Added to the usual time: what calls of one turn of the loop wait for each other is not slowness."""
    usual_share: float = 0.01
    """What one window moves the usual time: it follows a lasting change within some ten seconds."""
    window_s: float = 0.1
    """The limit is corrected so often."""


@dataclass(slots=True)
class _Window:
    """What was seen since the last correction."""

    began_at: float = 0.0
    began_cpu_s: float = 0.0
    finished: int = 0
    slowness: float = 0.0
    """Sum of latency over usual latency, of the calls in `latencies`."""
    latencies: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Number and sum, by method."""
    was_full: bool = False


class Admission(Generic[T]):
    """Admits calls of one process."""

    def __init__(self, settings: AdmissionSettings | None = None) -> None:
        self._settings = settings or AdmissionSettings()
        self._queue: FairQueue[T] = FairQueue()
        self.limit = self._settings.first_limit
        self.running = 0
        self.cost_s = 0.0
        """CPU seconds of a call, lately; 0 until it is known."""
        self._overloaded_until = self._modest_until = 0.0
        self._turn_size = self._room = self._room_for_modest = self._per_turn(0.0)
        self._long_at: float | None = None
        """Since when the queue is judged; None while no more than `burst` calls wait."""
        self._length: int | None = None
        """How many waited at `_long_at`; None if they had just become too many."""
        self._worked_s = 0.0
        """CPU time of the calls that started since then."""
        self._cpu_s = 0.0
        self._usual: dict[str, float] = {}
        self._window = _Window()

    @property
    def queued(self) -> int:
        """The calls that wait."""
        return len(self._queue)

    @property
    def can_start(self) -> bool:
        """Whether a waiting call can start in the next turn."""
        return len(self._queue) > 0 and self.running < self.limit

    @property
    def runs_low(self) -> bool:
        """Whether fewer calls wait than start in a turn."""
        return len(self._queue) < self._turn_size

    @property
    def has_burst(self) -> bool:
        """Whether so many wait that it is overload if they do not become fewer."""
        return len(self._queue) > self._settings.burst

    def is_overloaded(self, now: float) -> bool:
        """Whether the queue is cut short."""
        return now < self._overloaded_until

    def has_modest_caller(self, now: float) -> bool:
        """Whether there is overload, and a modest caller has called lately."""
        return now < self._overloaded_until and now < self._modest_until

    def is_full(self, now: float) -> bool:
        """Whether one more call in the queue would be too many."""
        return len(self._queue) >= self._settings.max_queued or self._exceeds(len(self._queue) + 1, now)

    def _exceeds(self, queued: int, now: float) -> bool:
        """Whether there is overload and so many calls would wait too long."""
        return now < self._overloaded_until and queued > _FEWEST and queued * self.cost_s > self._settings.max_wait_s

    def enter(self) -> bool:
        """Start a call at once if there is room for it, whoever calls."""
        if not self._queue and self._room > 0 and self.running < self.limit:
            self._room -= 1
            self.running += 1
            return True
        return False

    def sheds(self, caller: str, priority: Priority, now: float, *, is_late: bool = False) -> bool:
        """Whether a call that arrives now is refused whatever it is: ask before anything is spent on it.

        Args: `is_late`: it has waited unread; under overload, its caller has probably left.
        """
        if not self.is_full(now) and not (is_late and self.is_overloaded(now)):
            return False
        if self._is_spared(caller, priority, now) or not (is_late or self._queue.would_drop(caller, priority)):
            return False
        self._overloaded_until = now + self._settings.calm_s
        return True

    def _is_spared(self, caller: str, priority: Priority, now: float) -> bool:
        queued, settings = len(self._queue), self._settings
        has_room = queued < settings.max_queued and not self._exceeds(queued + 1 - settings.burst, now)
        return has_room and (priority is Priority.OUTCOME or self._queue.is_modest(caller))

    def offer(self, call: T, caller: str, priority: Priority, now: float, cost: float = 1.0) -> tuple[bool, list[T]]:
        """Take a call that has just arrived.

        Args: `cost` is the call's share of its caller's turns: 1 for a small one.
        Returns: whether it starts now, and the calls that are refused for it, which may be itself. A call that neither
        starts nor is refused waits: `turn` or `expire` returns it later.
        """
        if self.enter():
            return True, []
        if self.running >= self.limit:
            self._window.was_full = True
        elif self._room_for_modest > 0 and self._queue.goes_first(caller, priority):
            self._room_for_modest -= 1
            self.running += 1
            self._worked_s += self.cost_s
            self._queue.note_start(caller, cost, now)
            self._modest_until = now + self._settings.modest_s
            return True, []
        if self.sheds(caller, priority, now):
            return False, [call]
        dropped = self._queue.drop(priority) if self.is_full(now) else None
        refused = [] if dropped is None else [dropped]
        self._queue.push(call, caller, priority, cost, now)
        if refused:
            self._overloaded_until = now + self._settings.calm_s
        self._note_length(now)
        return False, refused

    def turn(self, now: float, cpu_s: float = 0.0) -> tuple[list[T], list[T]]:
        """Begin a new turn of the loop. Call it while `can_start`, and after a turn in which a call started.

        Args: `cpu_s` is the CPU time that the loop has taken until now.
        Returns: the calls that start now, and those that wait no longer.
        """
        self._cpu_s = cpu_s
        self._turn_size = self._room = self._room_for_modest = self._per_turn(now)
        started: list[T] = []
        refused: list[T] = []
        while self._queue and self._room > 0 and self.running < self.limit:
            call = self._queue.pop()
            if call.deadline_at <= now:
                refused.append(call)
                continue
            self._room -= 1
            self.running += 1
            self._worked_s += self.cost_s
            started.append(call)
        for _ in range(_CUT_PER_TURN):
            if not self._exceeds(len(self._queue), now) or (dropped := self._queue.drop()) is None:
                break
            refused.append(dropped)
        self._note_length(now)
        return started, refused

    def done(self, method: str, latency_s: float, now: float) -> None:
        """Note that a call has finished; `latency_s` counts from its start."""
        window = self._window
        window.slowness += latency_s / (self._usual.get(method, latency_s) + self._settings.slack_s)
        count, total_s = window.latencies.get(method, (0, 0.0))
        window.latencies[method] = (count + 1, total_s + latency_s)
        self.abandoned(now)

    def abandoned(self, now: float) -> None:
        """As `done` for a call whose latency says nothing: it failed, or its caller left."""
        self.running -= 1
        window = self._window
        window.finished += 1
        if now - window.began_at >= self._settings.window_s:
            if window.finished >= _ENOUGH:
                is_busy = self._cpu_s - window.began_cpu_s > _BUSY_SHARE * (now - window.began_at)
                self._correct(window, now, is_busy=is_busy)
            self._window = _Window(began_at=now, began_cpu_s=self._cpu_s)

    def note_cost(self, cpu_s: float) -> None:
        """Take the CPU seconds of one call. Refusals are no part of it: a flood must not make calls look dear."""
        if self.cost_s == 0:
            self.cost_s = cpu_s
        else:  # one that met a garbage collection counts little; calls that are dearer permanently count soon
            self.cost_s += (min(cpu_s, _MOST_TIMES * self.cost_s) - self.cost_s) * 0.05

    def expire(self, now: float) -> list[T]:
        """Take out what has waited too long; call it every few milliseconds while calls wait.

        Only calls at work can hold up the queue unseen. A process that got no CPU time for a while refuses nothing for
        that: its queue is as short as before.
        """
        if self.running < self.limit or not self.is_overloaded(now):
            return []
        expired = self._queue.older_than(now - self._settings.max_age_s, now)
        self._note_length(now)
        return expired

    def withdraw(self, call: T) -> bool:
        """Forget a call that waits; False when it does not."""
        return self._queue.withdraw(call)

    def _per_turn(self, now: float) -> int:
        """Return how many calls may start in a turn."""
        settings, cost_s = self._settings, self.cost_s or _GUESSED_COST_S
        turn_s = settings.short_turn_s if self.has_modest_caller(now) else settings.turn_s
        return max(1, int(turn_s / cost_s))

    def _note_length(self, now: float) -> None:
        length, patience_s = len(self._queue), self._settings.patience_s
        if length <= self._settings.burst:
            self._long_at = None
        elif self._long_at is None:
            self._long_at, self._length, self._worked_s = now, None, 0.0
        elif now - self._long_at >= patience_s and (
            self._worked_s >= _WORKED_SHARE * patience_s or self.running >= self.limit
        ):
            if self._length is not None and length >= self._length:
                self._overloaded_until = now + self._settings.calm_s
            self._long_at, self._length, self._worked_s = now, length, 0.0

    def _correct(self, window: _Window, now: float, *, is_busy: bool) -> None:
        settings = self._settings
        for method, (count, total_s) in window.latencies.items():
            usual = self._usual.setdefault(method, total_s / count)
            if not is_busy or total_s / count < usual:  # of a busy process, slowness is its own
                self._usual[method] = usual + (total_s / count - usual) * settings.usual_share
        if window.slowness <= 0:
            return
        timed = sum(count for count, _ in window.latencies.values())
        gradient = max(0.5, min(1.0, settings.tolerance * timed / window.slowness))
        # A busy process has come to a limit of its own, which may be far below the one that is set.
        limit = min(self.limit, self.running) if is_busy and gradient < 1 else self.limit
        grown = limit * gradient + limit**0.5
        if grown > self.limit and not window.was_full:
            return  # nothing has waited for it: a higher limit would be a guess
        if is_busy:
            # With fewer at work than finish within their usual time, the process would wait for them.
            at_usual = sum(count * self._usual[method] for method, (count, _) in window.latencies.items())
            min_limit = max(settings.busy_min_limit, _ROOM * at_usual / (now - window.began_at))
        else:
            min_limit = settings.min_limit
        self.limit = min(settings.max_limit, max(min_limit, (limit + grown) / 2))
