"""When a stream is opened again, and which events are then sent again. Pure.

A message that was not acknowledged is sent again under its event ids only where the gateway remembers these ids, so
that nothing counts twice: durable events in its store, direct ones in the process that had them. Otherwise its outcome
is unknown, and the caller decides. Source: "Deduplication" in docs/api.md.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from phoenix_gateway_client import v1
from phoenix_gateway_client.errors import DeadlineExceeded, GatewayError, NotConnected, VersionMismatch
from phoenix_gateway_client.reasons import OutcomeUnknown
from phoenix_gateway_client.rules import Method, give_event_ids

PROCESS = "x-gateway-process"
"""Metadata of an event stream: identifies the gateway process."""
REMEMBERED_S = 23 * 3600.0
"""The gateway remembers an id for 24 h."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
WATCH = Method(
    "/phoenix.gateway.v1.LeaderboardService/WatchLeaderboard", v1.WatchLeaderboardRequest, v1.WatchLeaderboardResponse
)
STREAM_EVENTS = Method("/phoenix.gateway.v1.EventService/StreamEvents", v1.StreamEventsRequest, v1.StreamEventsResponse)

Result = TypeVar("Result")


class Reconnects:
    """How long to wait before a stream is opened again. The caller gets the failure of the first connection."""

    def __init__(self, random: Callable[[], float] = random.random) -> None:
        self._random = random
        self._has_worked = False
        self._failures = 0

    def worked(self) -> None:
        """The stream has delivered something."""
        self._has_worked = True
        self._failures = 0

    def wait_after(self, error: GatewayError | None) -> float:
        """Return the seconds to wait after a stream ended, with an error or not. Raises: the error if it is final."""
        if error is not None and not self._passes(error):
            raise error
        self._failures += 1
        longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self._failures, 10))
        asked = 0.0 if error is None or error.retry_after is None else error.retry_after
        return max(asked, longest * (0.5 + self._random() / 2))

    def _passes(self, error: GatewayError) -> bool:
        if isinstance(error, VersionMismatch):
            return False
        if error.reason:
            return error.retry_after is not None or error.code == "UNAVAILABLE"
        broken = error.code in ("UNAVAILABLE", "CANCELLED", "INTERNAL", "UNKNOWN")
        return self._has_worked and (broken or isinstance(error, (NotConnected, DeadlineExceeded)))


@dataclass
class Message(Generic[Result]):
    """Events that are sent together. `result` is where their results go."""

    request: v1.StreamEventsRequest
    result: Result
    had_by: str | None = None
    """The gateway process that may have it; None: certainly none."""
    sent_at: float = 0.0
    stream: int = 0
    """The stream over which that process got it."""


class Unacknowledged(Generic[Result]):
    """The messages of an event stream that have no answer so far, in their order."""

    def __init__(
        self,
        tenant_id: str,
        delivery: v1.Delivery.ValueType,
        *,
        resend_unknown: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tenant_id = tenant_id
        self._delivery = delivery
        self._resend_unknown = resend_unknown
        self._now = now
        self._messages: deque[Message[Result]] = deque()
        self._sent = 0
        self._process = ""
        self._stream = 0
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def has_unsent(self) -> bool:
        """Whether a message waits to be sent over the present stream."""
        return self._sent < len(self._messages)

    def add(self, events: Sequence[v1.Event], result: Result) -> None:
        """Add a message. Its events get ids."""
        self._sequence += 1
        request = v1.StreamEventsRequest(
            tenant_id=self._tenant_id, events=events, sequence=self._sequence, delivery=self._delivery
        )
        give_event_ids(request)
        self._messages.append(Message(request, result))

    def begin(self, process: str) -> list[Message[Result]]:
        """Start again over a new stream. Return the messages that must not be sent again, and forget them."""
        self._process, self._sent = process, 0
        self._stream += 1
        in_doubt = [one for one in self._messages if not self._may_send(one)]
        self._messages = deque(one for one in self._messages if self._may_send(one))
        return in_doubt

    def next_request(self) -> v1.StreamEventsRequest:
        """Return the next message for the present stream; look at `has_unsent` first."""
        message = self._messages[self._sent]
        self._sent += 1
        if message.had_by is None:
            message.had_by, message.sent_at, message.stream = self._process, self._now(), self._stream
        return message.request

    def acknowledge(self, sequence: int) -> Message[Result] | None:
        """Return the message that was answered, and forget it; None for an answer to another one."""
        if not self._sent or self._messages[0].request.sequence != sequence:
            return None
        self._sent -= 1
        return self._messages.popleft()

    def refused(self) -> None:
        """The gateway ended the present stream and has begun none of its messages that it did not acknowledge.

        What an earlier stream brought first may have been begun then.
        """
        for message in self._messages:
            if message.stream == self._stream:
                message.had_by = None

    def ended(self) -> None:
        """The present stream is over: what ends later, before another one has begun, refuses none of its messages."""
        self._stream += 1
        self._sent = 0

    def take_all(self) -> list[Message[Result]]:
        """Return all messages and forget them."""
        taken, self._messages, self._sent = list(self._messages), deque(), 0
        return taken

    def _may_send(self, message: Message[Result]) -> bool:
        if message.had_by is None or self._resend_unknown:
            return True
        is_durable = self._delivery == v1.DELIVERY_DURABLE
        is_remembered = is_durable or (self._process != "" and self._process == message.had_by)
        return is_remembered and self._now() - message.sent_at < REMEMBERED_S


def error_for(message: Message[Result], failure: GatewayError) -> GatewayError:
    """Return the error of a message without an answer when its stream has failed and is not opened again.

    Where a gateway may have the message, `failure` need not say what became of it.
    """
    return failure if message.had_by is None or failure.effect == "maybe" else outcome_unknown()


def outcome_unknown() -> GatewayError:
    """Return the error of a message that must not be sent again."""
    return OutcomeUnknown(
        "The connection broke before the answer, and the gateway that is connected now does not remember the events. "
        "Check whether they took effect before you send them again.",
        code="UNKNOWN",
        effect="maybe",
    )


def never_answered() -> GatewayError:
    """Return the error of a message whose stream was cancelled."""
    return OutcomeUnknown("The stream was cancelled before the answer.", code="UNKNOWN", effect="maybe")
