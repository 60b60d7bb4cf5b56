"""Sends lines over StreamEvents, a few messages at a time. Retries what the gateway says to retry, and reconnects.

A line whose answer was lost is in doubt. It is sent again under its id only where the gateway still remembers the id,
so that it counts once: durable events while the store remembers them, direct ones while the same gateway process runs.
Else it ends as OUTCOME_UNKNOWN. Source: API.md, EventService, "Deduplication".
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import code_pb2

from gateway.cli.connect import details_of, effect_of, in_words, retry_after_s
from gateway.cli.events_lines import BadLine, Line
from gateway.cli.events_pace import Pace
from gateway.cli.events_progress import Begun, Counts, Journal
from gateway.v1 import events_pb2, events_pb2_grpc

MESSAGES_UNDER_WAY = 6
"""A few more than a gateway reads ahead, so that it never waits for this client."""
MESSAGE_EVENTS = 250
MESSAGE_BYTES = 1_000_000
ANSWER_WITHIN_S = 120.0
"""The gateway tries a message for 30 s. A stream that is silent for this long is broken."""
REMEMBERED_S = 23 * 3600.0
"""The gateway remembers an id for 24 h."""
GATEWAY_KEY = "x-gateway-process"
"""Initial metadata of a stream: identifies the gateway process, which remembers the ids of direct events."""

_NOBODYS = frozenset(
    {"TENANT_UNKNOWN", "NOT_ALLOWED", "KEY_UNKNOWN", "PHOENIX_REJECTED_CREDENTIALS", "PHOENIX_FORBIDDEN"}
)
"""Not caused by the line: every other line would fail the same way, so the run ends."""
_LOST = frozenset(
    {
        *(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED),
        *(grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN),
    }
)
_NONE = "none"
"""The `effect` that means: Phoenix certainly did not act."""
_PLACE = re.compile(r"events\[\d+\]\.?")


class Halted(Exception):
    """The run cannot continue; the text says why. The next run takes the lines that are left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A line that failed and is not sent again."""

    number: int
    raw: bytes
    event_id: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """How to send."""

    durable: bool
    resend_unknown: bool
    patience_s: float


class EventSending:
    """One run. A signal handler may call `stop`: the run waits for answers that are due and sends nothing more."""

    def __init__(
        self,
        channel: grpc.Channel,
        lines: Iterator[Line | BadLine],
        journal: Journal,
        options: StreamOptions,
        pace: Pace,
        on_failure: Callable[[Failure], None],
        on_progress: Callable[[], None],
    ) -> None:
        self._stub = events_pb2_grpc.EventServiceStub(channel)
        self._lines = lines
        self._journal = journal
        self._options = options
        self._pace = pace
        self._on_failure = on_failure
        self._on_progress = on_progress
        self._again: deque[Line] = deque()
        self._deferred: Line | None = None
        self._is_read = False
        self._stopping = False
        self._not_before = 0.0
        self._refusals = 0
        self._message_events = MESSAGE_EVENTS
        self._progress_at = time.monotonic()
        self._has_begun = False
        self._last_trouble = ""
        self._halt = ""
        self._connecting: Any = None
        self.counts = Counts()
        """Of this run."""

    @property
    def is_complete(self) -> bool:
        """Whether every line is ended."""
        return self._is_read and not self._again and self._deferred is None and not self._journal.doubts

    def stop(self) -> None:
        """Send nothing more."""
        self._stopping = True
        if self._connecting is not None:
            # In another thread, because this one may be inside the call to cancel.
            threading.Thread(target=self._connecting.cancel, daemon=True).start()

    def run(self) -> None:
        """Send until every line is ended or `stop` is called. Raises: Halted; OSError if the file cannot be read."""
        while not self._stopping:
            try:
                self._over_one_stream()
            except grpc.RpcError as error:
                self._lost(error)
                continue
            break
        if self._halt:
            raise Halted(self._halt)

    def _over_one_stream(self) -> None:
        outbox: queue.SimpleQueue[events_pb2.StreamEventsRequest | None] = queue.SimpleQueue()
        under_way: deque[list[Line]] = deque()
        call: Any = self._stub.StreamEvents(iter(outbox.get, None), wait_for_ready=self._has_begun)
        try:
            gateway = self._gateway_of(call)
            self._has_begun = True
            sequence = 0
            while True:
                while len(under_way) < MESSAGES_UNDER_WAY and (lines := self._next_message(gateway)):
                    self._journal.begin((line.number for line in lines), Begun(at=time.time(), gateway=gateway))
                    sequence += 1
                    under_way.append(lines)
                    outbox.put(self._message(lines, sequence))
                if under_way:
                    answer = self._within(call, lambda: next(call))
                    self._settle(under_way.popleft(), answer.results)
                elif self._stopping or self._halt or self._is_over():
                    self._end(call, outbox)
                    return
                else:
                    self._wait()
        except grpc.RpcError as error:
            if effect_of(error) == _NONE:  # the gateway acknowledged every message that it began
                self._journal.unsent(line.number for lines in under_way for line in lines)
            raise
        finally:
            self._again = deque(sorted([*self._again, *(one for lines in under_way for one in lines)], key=_number))
            outbox.put(None)
            call.cancel()

    def _gateway_of(self, call: Any) -> str:
        """Wait until the stream is open; return the id of the gateway process, "" if it sends none."""
        self._connecting = call
        if self._stopping:  # since this stream was begun: `stop` did not see it
            call.cancel()
        metadata = self._within(call, call.initial_metadata)
        self._connecting = None
        if not metadata and call.done():
            raise call  # a call that failed is its own error
        return next((str(value) for key, value in metadata or () if key == GATEWAY_KEY), "")

    def _end(self, call: Any, outbox: queue.SimpleQueue[events_pb2.StreamEventsRequest | None]) -> None:
        """Close the stream from this side, so that the gateway does not count it as broken."""
        outbox.put(None)
        try:
            self._within(call, lambda: next(call, None))
        except grpc.RpcError:
            pass  # every message has its answer

    def _within(self, call: Any, wait: Callable[[], Any]) -> Any:
        timer = threading.Timer(ANSWER_WITHIN_S, call.cancel)
        timer.daemon = True
        timer.start()
        try:
            return wait()
        except StopIteration:
            raise Halted("the gateway ended the stream without a reason") from None
        finally:
            timer.cancel()

    def _next_message(self, gateway: str) -> list[Line]:
        """Return the lines of one tenant that may be sent now; empty if there are none now, or none left."""
        lines: list[Line] = []
        if self._stopping or self._halt or time.monotonic() < self._not_before:
            return lines
        limit = min(self._message_events, self._pace.available())
        size_bytes = 0
        while len(lines) < limit and (line := self._next_line()) is not None:
            if not self._may_send(line, gateway):
                self._fail(line.number, line.raw, line.event.event_id, "OUTCOME_UNKNOWN", _UNKNOWN)
                continue
            size_bytes += len(line.raw)
            if lines and (size_bytes > MESSAGE_BYTES or line.tenant_id != lines[0].tenant_id):
                self._deferred = line
                break
            lines.append(line)
        self._pace.take(len(lines))
        return lines

    def _next_line(self) -> Line | None:
        if self._deferred is not None:
            line, self._deferred = self._deferred, None
            return line
        if self._again:
            return self._again.popleft()
        for read in self._lines:
            if read.number in self._journal.done:
                continue
            if isinstance(read, Line):
                return read
            self._fail(read.number, read.raw, "", "BAD_LINE", read.problem)
        self._is_read = True
        return None

    def _may_send(self, line: Line, gateway: str) -> bool:
        begun = self._journal.doubts.get(line.number)
        if begun is None or self._options.resend_unknown:
            return True
        is_remembered = self._options.durable or (gateway != "" and begun.gateway == gateway)
        return is_remembered and time.time() - begun.at < REMEMBERED_S

    def _message(self, lines: list[Line], sequence: int) -> events_pb2.StreamEventsRequest:
        return events_pb2.StreamEventsRequest(
            tenant_id=lines[0].tenant_id,
            events=[line.event for line in lines],
            sequence=sequence,
            delivery=events_pb2.DELIVERY_DURABLE if self._options.durable else events_pb2.DELIVERY_DIRECT,
        )

    def _settle(self, lines: list[Line], results: Any) -> None:
        counts, ended, again = Counts(), [], []
        wait_s = 0.0
        trouble = ""
        for line, result in zip(lines, results, strict=True):
            if not result.HasField("error"):
                _count(counts, result.status)
                ended.append(line.number)
                continue
            reason, effect, retry_s = details_of(result.error)
            may_pass = retry_s is not None or result.error.code == code_pb2.DEADLINE_EXCEEDED
            if effect == _NONE and (may_pass or reason in _NOBODYS):
                again.append(line)
                wait_s = max(wait_s, retry_s or 0.0)
                self._last_trouble = f"{reason}: {result.error.message}"
                trouble = self._last_trouble if reason in _NOBODYS else trouble
                continue
            message = _PLACE.sub("", result.error.message)
            self._report(line.number, line.raw, line.event.event_id, reason, message)
            counts.failed[reason] += 1
            ended.append(line.number)
        if ended:
            self._progress_at = time.monotonic()
            self._refusals = 0
            self._message_events = min(self._message_events * 2, MESSAGE_EVENTS)
        self.counts.add(counts)
        self._journal.unsent(line.number for line in again)
        self._journal.end(ended, counts)
        self._on_progress()
        if again:
            self._again = deque(sorted([*self._again, *again], key=_number))
            self._back_off(wait_s)
        if trouble:
            self._halt = trouble

    def _fail(self, number: int, raw: bytes, event_id: str, reason: str, message: str) -> None:
        """End a line that is not sent."""
        self._report(number, raw, event_id, reason, message)
        counts = Counts(failed=Counter({reason: 1}))
        self.counts.add(counts)
        self._journal.end([number], counts)
        self._on_progress()

    def _report(self, number: int, raw: bytes, event_id: str, reason: str, message: str) -> None:
        self._on_failure(Failure(number=number, raw=raw, event_id=event_id, reason=reason, message=message))

    def _is_over(self) -> bool:
        return self._is_read and not self._again and self._deferred is None

    def _back_off(self, requested_wait_s: float) -> None:
        self._refusals += 1
        if time.monotonic() - self._progress_at > self._options.patience_s:
            self._halt = f"no line was accepted for {self._options.patience_s:g} s; last error: {self._last_trouble}"
        self._not_before = time.monotonic() + max(requested_wait_s, min(0.1 * 2.0 ** min(self._refusals, 20), 10.0))

    def _wait(self) -> None:
        """Sleep until something may be sent, in short naps so that a signal is seen."""
        wait_s = max(self._not_before - time.monotonic(), self._pace.wait_s())
        time.sleep(min(max(wait_s, 0.001), 0.2))

    def _lost(self, error: Exception) -> None:
        """Wait before the next stream after one broke. Raises: Halted if another stream would not help."""
        code = error.code() if isinstance(error, grpc.Call) else None
        self._last_trouble = in_words(error)
        if self._stopping:
            return
        if not self._has_begun or code not in _LOST:
            raise Halted(self._last_trouble)
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:  # a message may be larger than the limit
            self._message_events = max(1, self._message_events // 4)
        self._back_off(retry_after_s(error))
        if self._halt:
            raise Halted(self._halt)
        while time.monotonic() < self._not_before and not self._stopping:
            self._wait()


_UNKNOWN = (
    "This line was sent before, and its answer was lost, so Phoenix may have counted it. It was not sent again. Check "
    "the board; if the event is missing, send the line in another file."
)


def _number(line: Line) -> int:
    return line.number


def _count(counts: Counts, status: events_pb2.EventStatus.ValueType) -> None:
    if status == events_pb2.EVENT_STATUS_DUPLICATE:
        counts.duplicate += 1
    elif status == events_pb2.EVENT_STATUS_QUEUED:
        counts.queued += 1
    else:
        counts.accepted += 1
