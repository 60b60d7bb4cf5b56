"""Notes how the events of a call ended: in the call's record, for its log line, and for `explain`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.actions.shared.call import Call
from gateway.actions.shared.failure import failure_of
from gateway.errors import Effect
from gateway.errors.tries import Try
from gateway.phoenix.gamification.pending_event import Failed, Result
from gateway.resilience.deadline import Deadline
from gateway.telemetry.call_stories import EventFailure

OnResults = Callable[[Mapping[str, Any], Sequence[Try], Sequence[str], Mapping[str, EventFailure]], None]
"""Takes what is known of the call, what was sent, the ids of its events, and those that were not simply accepted.
`telemetry.call_stories.CallStories.add_events` is one."""
MAX_DESCRIBED = 100
"""Further failures of one call are described by their reason alone."""
MAX_ID_CHARS = 128
"""Longer ids break the contract: they are refused, and are no name by which anything is found."""


def ignore_results(
    fields: Mapping[str, Any], tries: Sequence[Try], ids: Sequence[str], others: Mapping[str, EventFailure]
) -> None:
    """Keep nothing."""


def note_results(call: Call, results: Sequence[Result], deadline: Deadline, on_results: OnResults) -> None:
    """Note the results. Args: `deadline`: within which they were sent."""
    others: dict[str, EventFailure] = {}
    record = call.record
    failed = 0
    ids: list[str] = []
    for one in results:
        is_named = len(one.event_id) <= MAX_ID_CHARS
        if is_named:
            ids.append(one.event_id)
        if isinstance(one, Failed):
            failed += 1
            found = failure_of(one.error) if failed <= MAX_DESCRIBED else None
            record.failure = record.failure or found
            if is_named and found is not None:
                others[one.event_id] = EventFailure("FAILED", found.fields, found.tries)
            elif is_named:
                others[one.event_id] = EventFailure("FAILED", {"reason": one.error.reason}, ())
        elif one.duplicate:
            others[one.event_id] = EventFailure("DUPLICATE", {}, ())
    if failed:
        record.failed = (record.failed or 0) + failed
    on_results(_about(call), tuple(deadline.tries or ()), ids, others)


def note_left(call: Call, ids: Sequence[str], deadline: Deadline, on_results: OnResults) -> None:
    """Note events whose call was cancelled before their result: Phoenix may have counted them."""
    left = EventFailure("UNKNOWN", {"reason": "CANCELLED", "effect": Effect.MAYBE.value}, tuple(deadline.tries or ()))
    on_results(_about(call), left.tries, ids, dict.fromkeys(ids, left))


def _about(call: Call) -> dict[str, Any]:
    record = call.record
    fields = {
        "request_id": call.request_id,
        "method": call.method,
        "caller": call.caller,
        "tenant": record.tenant,
        "key_id": record.key_id,
        "delivery": record.delivery,
    }
    return {name: value for name, value in fields.items() if value}
