"""The gate that calls of all listeners of a process pass: drives `admission.py` with the loop's turns and timers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from gateway.actions.shared.call import Peer
from gateway.front.http2.admission import Admission
from gateway.front.http2.call_runner import overloaded_trailers
from gateway.front.http2.cancellations import Cancellations
from gateway.front.http2.fair_queue import Priority
from gateway.front.http2.read_turns import ReadTurns
from gateway.front.http2.stream import Stream
from gateway.front.http2.wire import RESPONSE_HEADERS, Header
from gateway.resilience.clock import Clock

_SWEEP_EVERY_S = 0.002
_READ_S, _READ_BURST_S = 0.00025, 0.001
"""In one turn of the loop, for all connections that have more to read than they may at once: of what is no call; and
while a burst waits, because overload is seen only in what was read."""
_READ_OVERLOADED_S, _READ_PARKED_S, _READ_MODEST_S = 0.0008, 0.00025, 0.0002
"""The same under overload, where most of it are refusals; once so many are too many to read them all; and while modest
callers call too, for whom each turn is a wait."""
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
        on_parked: Callable[[], None] = lambda: None,
        admission: Admission[Stream] | None = None,
        cancellations: Cancellations | None = None,
        cpu_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self._monotonic = clock.monotonic
        self._cpu_s = cpu_s
        self._priority_of = priority_of
        self._caller_of = caller_of
        self._on_refused = on_refused
        self._admission: Admission[Stream] = admission or Admission()
        self._trailers = overloaded_trailers()
        self._priorities: dict[str, Priority] = {}
        self._turn_due = False
        self._has_modest_caller = False
        self.turn = 0
        """Number of the present turn of the loop. Who was refused in a turn is refused until the next one."""
        self._sweep: asyncio.TimerHandle | None = None
        self._lets_by = False
        self._starts = 0
        self._cancellations = cancellations or Cancellations()
        self.reads = ReadTurns(clock.monotonic, self._need_turn, lambda: self._admission.runs_low, _READ_S, on_parked)

    @property
    def running(self) -> int:
        """The unary calls at work."""
        return self._admission.running

    def sheds(self, path: str, peer: Peer, fields: Mapping[bytes, bytes], *, is_late: bool = False) -> bool:
        """Whether a call that begins now is refused in any case; then `refusal` is its answer.

        Args: `fields` are its headers. `is_late`: it has waited unread, perhaps for seconds.
        """
        now = self._monotonic()
        if not is_late and not self._admission.is_full(now):
            return False
        caller = self._caller_of(peer, fields.get(FORWARDED_FIELD, b"").decode("latin-1"))
        return self._admission.sheds(caller, self._priority(path), now, is_late=is_late)

    def note_refusal(self, path: str) -> None:
        """Count a refusal."""
        self._on_refused(path)

    def hurries(self) -> bool:
        """Whether answers leave at once: under overload, while a modest caller calls, who waits for each turn."""
        return self._has_modest_caller

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
        self.reads.stop()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

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
        admission = self._admission
        self._has_modest_caller = admission.has_modest_caller(now)
        starting, refused = admission.turn(now, self._cpu_s())
        for stream in starting:
            self._start(stream)
        for stream in refused:
            self._refuse(stream)
        self.reads.read(now, self._reading_share(now), is_overloaded=admission.is_overloaded(now))
        if admission.can_start:
            self._need_turn()

    def _reading_share(self, now: float) -> float:
        if self._has_modest_caller:
            return _READ_MODEST_S
        if self._admission.is_overloaded(now):
            return _READ_PARKED_S if self.reads.has_parked else _READ_OVERLOADED_S
        return _READ_BURST_S if self._admission.has_burst else _READ_S

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
