"""One event on its way to Phoenix, and what an event can come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from gateway import errors
from gateway.errors import GatewayError

Lane = tuple[str, str]
"""Board and user: events of one lane keep their order."""


class Submitted(NamedTuple):
    """An event that Phoenix said 2xx to, that it had already (`duplicate`), or that is committed here (`queued`).

    `accepted_at`: when, in Unix seconds. A tuple, as core.wire.Event.
    """

    event_id: str
    duplicate: bool
    accepted_at: float
    queued: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An event that was not accepted, and why."""

    event_id: str
    error: GatewayError


class PendingEvent:
    """An event's bytes, and its result once it has one. `began`: a call that carries it has been started.

    `is_id_given`: the id is the caller's; `in_doubt`: an earlier sending may have brought it to Phoenix.
    `on_late` is called when the call returns after its caller was told that nobody knows: `result` is the call's then.
    """

    __slots__ = ("began", "body", "event_id", "in_doubt", "is_id_given", "lane", "on_late", "result")

    def __init__(
        self, event_id: str, body: bytes, lane: Lane, *, is_id_given: bool = False, in_doubt: bool = False
    ) -> None:
        self.event_id = event_id
        self.body = body
        self.lane = lane
        self.is_id_given = is_id_given
        self.in_doubt = in_doubt
        self.began = False
        self.result: Submitted | Failed | None = None
        self.on_late: Callable[[], None] | None = None

    def fail(self, error: GatewayError) -> None:
        """Set a failure as the result."""
        self.result = Failed(event_id=self.event_id, error=error)

    def give_up(self) -> None:
        """Set the result of an event that nobody waits for any longer, unless it has one."""
        if self.result is None:
            may_be_there = self.began or self.in_doubt
            self.fail(
                errors.OutcomeUnknown(metadata={"surface": "ingestion"}) if may_be_there else errors.DeadlineTooShort()
            )
