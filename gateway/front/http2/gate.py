"""The gate that calls of all listeners of a process pass: drives `admission.py` with the loop's turns and timers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from gateway.actions.shared.call import Peer
from gateway.front.http2.admission import Admission
from gateway.front.http2.call_runner import overloaded_trailers
from gateway.front.http2.cancellations import Cancellations
from gateway.front.http2.fair_queue import Priority
from gateway.front.http2.paced_readers import PacedReaders
from gateway.front.http2.stream import Stream
from gateway.front.http2.wire import RESPONSE_HEADERS, Header
from gateway.resilience.clock import Clock

_SWEEP_EVERY_S = 0.002
_READ_S, _READ_OVERLOADED_S, _READ_BURST_S, _READ_BESIDE_S = 0.00025, 0.0006, 0.001, 0.0002
"""In one turn of the loop, for all connections that have more to read than they may at once: of what is no call; under
overload, where most of it are refusals; while a burst waits, because overload is seen only in what was read; and under
overload while modest callers call too, for whom each turn is a wait."""
_BESIDE_S = 1.0
"""A modest caller is expected to call again for so long."""
_AFTER_REFUSAL_S = 0.006
"""A connection whose calls are refused is read so often, or as soon as few calls wait."""
_AROUND_HANDLER_S = 30e-6
"""CPU time of a call outside of its handler: to read it, and to write its answer."""


_FORWARDED = "x-forwarded-client-cert"
FORWARDED_FIELD = _FORWARDED.encode()

CallerOf = Callable[[Peer, str], str]
"""Returns whose turn a call takes, by the peer and what a proxy says of its client."""


def caller_of_peer(peer: Peer, _forwarded: str = "") -> str:
    """Return the socket's caller or the certificate's first name."""
    return peer.caller or "".join(peer.names[:1])


class Gate:
    """Starts, queues and refuses calls. One for a process, so that a busy listener takes no turns from another one."""

    def __init__(
        self,
        clock: Clock,
        *,
        priority_of: Callable[[str], Priority] = lambda path: Priority.READ,
        caller_of: CallerOf = caller_of_peer,
        on_refused: Callable[[str], None] = lambda path: None,
        admission: Admission[Stream] | None = None,
        cancellations: Cancellations | None = None,
    ) -> None:
        self._monotonic = clock.monotonic
        self._priority_of = priority_of
        self._caller_of = caller_of
        self._on_refused = on_refused
        self._admission: Admission[Stream] = admission or Admission()
        self._trailers = overloaded_trailers()
        self._priorities: dict[str, Priority] = {}
        self._turn_due = False
        self._is_overloaded = False
        self.turn = 0
        """Number of the present turn of the loop. Who was refused in a turn is refused until the next one."""
        self._sweep: asyncio.TimerHandle | None = None
        self._lets_by = False
        self._beside_until = 0.0
        self._starts = 0
        self._read_s = 0.0
        self._share_s = _READ_S
        self._readers: deque[Callable[[], object]] = deque()
        self._refused_readers: deque[tuple[float, Callable[[], object]]] = deque()
        self._next_read: asyncio.TimerHandle | None = None
        self._cancellations = cancellations or Cancellations()
        self.paced_readers = PacedReaders()

    @property
    def running(self) -> int:
        """The unary calls at work."""
        return self._admission.running

    def sheds(self, path: str, peer: Peer, fields: Mapping[bytes, bytes]) -> bool:
        """Whether a call that begins now is refused in any case; then `refusal` is its answer.

        Args: `fields` are its headers.
        """
        now = self._monotonic()
        if not self._admission.is_full(now):
            return False
        caller = self._caller_of(peer, fields.get(FORWARDED_FIELD, b"").decode("latin-1"))
        return self._admission.sheds(caller, self._priority(path), now)

    def note_refusal(self, path: str) -> None:
        """Count a refusal."""
        self._on_refused(path)

    @property
    def has_read_enough(self) -> bool:
        """Whether reading has had its share of this turn: who brings refusals or floods waits for the next one."""
        return self._read_s >= self._share_s

    def note_read(self, took_s: float) -> None:
        """Add what a connection took to read."""
        self._read_s += took_s
        if self.has_read_enough:
            self._need_turn()

    def hurries(self) -> bool:
        """Whether answers leave at once: under overload, few calls run in a turn, and the next turn comes late."""
        return self._is_overloaded

    def read_later(self, read_on: Callable[[], object]) -> None:
        """Call `read_on` in a later turn, after those that wait already, once reading has time again."""
        self._readers.append(read_on)
        self._need_turn()

    def read_after_refusal(self, read_on: Callable[[], object]) -> None:
        """As `read_later`, for a connection with a call that was refused lately, and nothing more to read."""
        self._refused_readers.append((self._monotonic() + _AFTER_REFUSAL_S, read_on))
        self._need_turn()

    def note_closed(self, stream: Stream) -> bool:
        """Count a stream that is over; return whether to read its connection seldom: its caller cancelled too many.

        Not where a proxy's callers share the connection: the others would wait for this one.
        """
        if stream.is_answered:
            if not self._cancellations.is_empty:
                self._cancellations.note_answered(self._caller(stream))
            return False
        caller = self._caller(stream)
        is_too_much = self._cancellations.note_cancelled(caller, stream.arrived_at, self._monotonic())
        return is_too_much and caller == self._caller_of(stream.connection.peer, "")

    def _caller(self, stream: Stream) -> str:
        return self._caller_of(stream.connection.peer, stream.metadata.get(_FORWARDED, ""))

    def refusal(self, request_id: str) -> list[Header]:
        """Return headers and trailers of a refusal: made once, but for the request's id."""
        return [*RESPONSE_HEADERS, *self._trailers, (b"x-request-id", request_id.encode())]

    def enter(self, stream: Stream) -> None:
        """Start a unary call, let it wait for its turn, or refuse it."""
        if self._admission.enter():
            self._start(stream)
            return
        now = self._monotonic()
        starts, refused = self._admission.offer(stream, self._caller(stream), self._priority(stream.endpoint.path), now)
        if starts:  # before others that wait: its caller is modest
            self._lets_by = True
            self._beside_until = now + _BESIDE_S
            self._start(stream)
            return
        for one in refused:
            self._refuse(one)
        if self._admission.queued:
            self._need_turn()
            if self._sweep is None:
                self._sweep = asyncio.get_running_loop().call_later(_SWEEP_EVERY_S, self._on_sweep)

    def leave(self, stream: Stream, error: BaseException | None) -> None:
        """The handler of a call is done, or the call is refused and waits for its answer: another one may start."""
        if stream.started_at is None:
            return
        now = self._monotonic()
        if error is None:
            self._admission.done(stream.endpoint.path, now - stream.started_at, now)
        else:
            self._admission.abandoned(now)
        stream.started_at = None
        if self._admission.can_start:
            self._need_turn()

    def is_sample(self) -> bool:
        """Whether to measure the CPU time of a call that starts now, for `note_cost`: the first, then one in 16."""
        self._starts += 1
        return self._starts & 15 == 0 or self._admission.cost_s == 0

    def note_cost(self, cpu_s: float) -> None:
        """Take the CPU time of a call's handler."""
        self._admission.note_cost(cpu_s + _AROUND_HANDLER_S)

    def forget(self, stream: Stream) -> None:
        """A call is over that perhaps waits, or has a task that will be cancelled before it has run."""
        if stream.started_at is None:
            if stream.task is None and self._admission.queued:
                self._admission.withdraw(stream)
        elif not stream.has_begun:
            self.leave(stream, asyncio.CancelledError())

    def stop(self) -> None:
        """Cancel the timers."""
        self.paced_readers.stop()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        if self._next_read is not None:
            self._next_read.cancel()
            self._next_read = None

    def _priority(self, path: str) -> Priority:
        priority = self._priorities.get(path)
        if priority is None:
            priority = self._priorities[path] = self._priority_of(path)
        return priority

    def _need_turn(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self._on_turn)

    def _on_turn(self) -> None:
        """Begin a turn, or let a modest caller's call by, which has just started: its task runs before the turn."""
        if self._lets_by:
            self._lets_by = False
            asyncio.get_running_loop().call_soon(self._begin_turn)
        else:
            self._begin_turn()

    def _begin_turn(self) -> None:
        self._turn_due = False
        self.turn += 1
        now = self._monotonic()
        self._is_overloaded = self._admission.is_overloaded(now)
        starting, refused = self._admission.turn(now)
        for stream in starting:
            self._start(stream)
        for stream in refused:
            self._refuse(stream)
        self._read_s = 0.0
        self._share_s = self._reading_share(now)
        self._read(now)
        if self._admission.can_start or self._readers:
            self._need_turn()
        elif self._refused_readers and self._next_read is None:
            wait_s = max(0.0, self._refused_readers[0][0] - now)
            self._next_read = asyncio.get_running_loop().call_later(wait_s, self._on_next_read)

    def _reading_share(self, now: float) -> float:
        if self._is_overloaded:
            return _READ_BESIDE_S if now < self._beside_until else _READ_OVERLOADED_S
        return _READ_BURST_S if self._admission.has_burst else _READ_S

    def _read(self, now: float) -> None:
        """Let connections read that have waited for it, within the share of one turn."""
        while not self.has_read_enough:
            if self._readers:
                self._readers.popleft()()
            elif self._refused_readers and (self._refused_readers[0][0] <= now or self._admission.runs_low):
                self._refused_readers.popleft()[1]()
            else:
                return

    def _on_next_read(self) -> None:
        self._next_read = None
        self._need_turn()

    def _on_sweep(self) -> None:
        self._sweep = None
        for stream in self._admission.expire(self._monotonic()):
            self._refuse(stream)
        if self._admission.queued:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_EVERY_S, self._on_sweep)

    def _start(self, stream: Stream) -> None:
        stream.started_at = self._monotonic()
        self._need_turn()
        stream.connection.start(stream)

    def _refuse(self, stream: Stream) -> None:
        if stream.is_over or stream.is_answered:
            return
        stream.finish([*self._trailers, (b"x-request-id", stream.request_id.encode())])
        self.note_refusal(stream.endpoint.path)
