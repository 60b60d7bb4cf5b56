"""What is kept of events for `explain`: bounded, whatever ids a caller sends, and never less doubtful than it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.actions.admin.explain_advice import advice_for
from gateway.actions.events.event_stories import MAX_ID_CHARS, note_left, note_results
from gateway.actions.shared.call import Call, Peer
from gateway.errors import FieldFault, InvalidField
from gateway.errors.tries import Try
from gateway.phoenix.gamification.pending_event import Failed, Result, Submitted
from gateway.resilience.deadline import Deadline
from gateway.telemetry.call_stories import EventFailure
from tests.manual_clock import ManualClock

UNCLEAR = "Phoenix may have acted"


class Kept:
    """Takes what is noted."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.others: dict[str, EventFailure] = {}

    def __call__(
        self, fields: Mapping[str, Any], tries: Sequence[Try], ids: Sequence[str], others: Mapping[str, EventFailure]
    ) -> None:
        self.ids += ids
        self.others |= others


def call_of() -> Call:
    deadline = Deadline.after(1.0, ManualClock())
    return Call(method="/s/SubmitEvents", peer=Peer(address=""), request_id="r", deadline=deadline, arrived_at=0.0)


def test_an_id_that_breaks_the_contract_is_not_kept() -> None:
    """It may be as long as a message, and hold what a caller put into the wrong field. The failure counts."""
    kept, call = Kept(), call_of()
    longest = "y" * MAX_ID_CHARS
    refused: list[Result] = [
        Failed(event_id=one, error=InvalidField([FieldFault(field="event_id", description="is too long")]))
        for one in ("x" * (MAX_ID_CHARS + 1), longest)
    ]
    note_results(call, [*refused, Submitted(event_id="good", duplicate=False, accepted_at=0.0)], call.deadline, kept)
    assert (kept.ids, list(kept.others), call.record.failed) == ([longest, "good"], [longest], 2)


def test_events_of_a_caller_that_left_may_have_counted() -> None:
    """Whoever looks is told to look at Phoenix first, not that nothing happened."""
    kept, call = Kept(), call_of()
    note_left(call, ["a", "b"], call.deadline, kept)
    assert kept.ids == ["a", "b"]
    assert {one.result for one in kept.others.values()} == {"UNKNOWN"}
    assert UNCLEAR in advice_for(kept.others["a"].fields)


def test_advice_begins_with_phoenix_wherever_it_may_have_acted() -> None:
    """A person who sends it again under another id would have it counted twice."""
    for reason in ("INTERNAL", "DEADLINE_TOO_SHORT", "CANCELLED"):
        assert advice_for({"reason": reason, "effect": "maybe"}).startswith(UNCLEAR)
        assert UNCLEAR not in advice_for({"reason": reason})
    assert advice_for({"reason": "CANCELLED", "sent": [{"how": "left"}]}).startswith(UNCLEAR)
    assert advice_for({"reason": "OUTCOME_UNKNOWN", "effect": "maybe"}).count(UNCLEAR) == 1
