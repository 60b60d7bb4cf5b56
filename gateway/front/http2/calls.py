"""The start and the end of calls: their deadlines, the gate that unary calls pass, the tasks of their handlers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.errors import DeadlineTooShort
from gateway.front.dispatch import ANSWER_MARGIN_S, NO_DEADLINE_S, Dispatch, deadline_passed
from gateway.front.http2.call_runner import CallRunner, refusal_trailers
from gateway.front.http2.cpu_timer import Timed
from gateway.front.http2.deadlines import Deadlines
from gateway.front.http2.gate import Gate
from gateway.front.http2.stream import Stream

_EAGER = sys.version_info >= (3, 12)
_REQUEST_TOO_SLOW = "The request did not arrive whole in time. Send its message right after the headers."


class Calls:
    """Starts and ends the calls of one listener."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        monotonic: Callable[[], float],
        dispatch: Dispatch,
        gate: Gate,
        request_s: float,
    ) -> None:
        """Args: `request_s` is how long the request of a call with one message may take to arrive."""
        self._loop = loop
        self._monotonic = monotonic
        self._gate = gate
        self._runner = CallRunner(dispatch, gate.leave)
        self._request_s = request_s
        self._deadlines: Deadlines[Stream] = Deadlines(loop, monotonic, self._on_deadline)

    def arrived(self, stream: Stream) -> None:
        """The headers of a call are here: its time runs, also while its request is on its way."""
        until = stream.deadline_at - ANSWER_MARGIN_S
        if not stream.is_whole and not stream.endpoint.client_streaming:
            until = min(until, stream.arrived_at + self._request_s)
        if until - stream.arrived_at < NO_DEADLINE_S / 2:
            self._deadlines.add(stream, until)

    def begin(self, stream: Stream) -> None:
        """Give a unary call to the gate; start a stream, which is bounded by what it carries."""
        endpoint = stream.endpoint
        if not endpoint.client_streaming and stream.deadline_at - stream.arrived_at > self._request_s:
            # The time for the request to arrive is over; the caller's own remains.
            self._deadlines.remove(stream)
            self.arrived(stream)
        if endpoint.is_unary:
            self._gate.enter(stream)
        else:
            self.start(stream)

    def start(self, stream: Stream) -> None:
        """Run a call's handler."""
        running: Coroutine[Any, Any, None] = self._runner.run(stream, stream.connection.peer)
        if stream.endpoint.is_unary and self._gate.is_sample():
            running = Timed(running, self._gate.note_cost)
        if _EAGER:
            stream.task = asyncio.Task(running, loop=self._loop, eager_start=True)  # type: ignore[call-arg]  # from 3.12 on
        else:
            stream.task = self._loop.create_task(running)

    def forget(self, stream: Stream) -> None:
        """A stream is over; its task, if it has one, is cancelled next."""
        self._deadlines.remove(stream)
        self._gate.forget(stream)

    def _on_deadline(self, stream: Stream) -> None:
        """Answer in place of a handler that is still at work, and cancel it."""
        if stream.is_over or stream.is_answered:
            return
        if stream.has_begun and stream.task is not None:
            stream.expired = True
            stream.finish(refusal_trailers(deadline_passed(), stream.request_id))
            stream.task.cancel()
            return
        # Through the chain as any other refusal, so that it is counted and recorded.
        is_late = self._monotonic() >= stream.deadline_at - ANSWER_MARGIN_S
        stream.fault = DeadlineTooShort() if is_late else DeadlineTooShort(_REQUEST_TOO_SLOW)
        if stream.task is None:
            self._gate.forget(stream)
            self.start(stream)

    def stop(self) -> None:
        """Forget every deadline."""
        self._deadlines.stop()
