"""What becomes of a durable event after a try: every error, with and without doubt from before."""

from __future__ import annotations

import pytest

from gateway import errors
from gateway.errors import GatewayError
from gateway.outbox.delivery_result import RESEND_WITHIN_US, Window, delivery_result_of
from gateway.outbox.record import DeliveryResult, Settled, TakenEvent
from gateway.phoenix.answers import Surface, error_of, error_of_failure
from gateway.phoenix.gamification.pending_event import Failed, Submitted
from gateway.phoenix.http_types import Answer, AnswerLost, NotSent, TimedOut

NOW_US = 1_700_000_000_000_000
WAIT_US = 500_000
WITH = Window(deduplicates=True, now_us=NOW_US)
WITHOUT = Window(deduplicates=False, now_us=NOW_US)


def taken(first_sent_at_us: int | None = None) -> TakenEvent:
    return TakenEvent(
        sequence=1,
        ordering_key=1,
        event_id="e",
        is_id_given=True,
        leaderboard_id="xp",
        user_id="ada",
        accepted_at_us=NOW_US - 1,
        attempts=1,
        first_sent_at_us=first_sent_at_us,
        body=b"{}",
    )


def reported(error: GatewayError, window: Window, before: int | None = None) -> Settled:
    return delivery_result_of(
        taken(before), Failed(event_id="e", error=error), window, marked_at_us=NOW_US - 1000, wait_us=WAIT_US
    )


def answered(status: int, body: bytes = b"{}") -> GatewayError:
    return error_of(Answer(status=status, body=body), Surface.INGESTION, 0.0, changes=True)


def unanswered(how: NotSent | AnswerLost) -> GatewayError:
    return error_of_failure(how, Surface.INGESTION, changes=True)


@pytest.mark.parametrize("window", [WITH, WITHOUT])
def test_what_phoenix_has_is_delivered(window: Window) -> None:
    """Whether it is new there or was there before."""
    for duplicate in (True, False):
        result = Submitted(event_id="e", duplicate=duplicate, accepted_at=0.0)
        assert (
            DeliveryResult.DELIVERED
            is delivery_result_of(taken(), result, window, marked_at_us=NOW_US, wait_us=0).result
        )


@pytest.mark.parametrize("window", [WITH, WITHOUT])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (answered(400), "PHOENIX_REFUSED_INPUT"),
        (answered(413), "PHOENIX_REFUSED_INPUT"),
        (answered(403), "PHOENIX_FORBIDDEN"),
        (answered(404), "PHOENIX_NOT_FOUND"),
        (answered(409), "PHOENIX_CONFLICT"),
        (answered(422), "PHOENIX_REFUSED_STATE"),
        (answered(422, b'{"code":"LEADERBOARD_INACTIVE"}'), "BOARD_NOT_ACTIVE"),
    ],
)
def test_a_refusal_is_a_dead_letter_with_its_reason(error: GatewayError, reason: str, window: Window) -> None:
    """And with Phoenix's status."""
    settled = reported(error, window)
    assert (DeliveryResult.DEAD, reason, None) == (settled.result, settled.reason, settled.first_sent_at_us)
    assert f"phoenix_status={error.metadata['phoenix_status']}" in settled.detail


@pytest.mark.parametrize("window", [WITH, WITHOUT])
@pytest.mark.parametrize(
    "error",
    [
        answered(401),
        answered(408),
        answered(429),
        answered(503),
        answered(302),
        unanswered(NotSent("refused")),
        errors.CircuitOpen(),
        errors.DeadlineTooShort(),
        errors.KeyUnknown(),
    ],
)
@pytest.mark.parametrize("before", [None, NOW_US - 10_000_000])
def test_a_try_that_left_nothing_is_repeated_as_if_it_had_not_been(
    error: GatewayError, window: Window, before: int | None
) -> None:
    """Troubles of ours and of Phoenix's are never final, and the doubt stays what it was before."""
    settled = reported(error, window, before)
    assert (DeliveryResult.AGAIN, WAIT_US, before) == (settled.result, settled.wait_us, settled.first_sent_at_us)


DOUBTS = [
    answered(500),
    answered(502),
    answered(504),
    answered(599),
    unanswered(AnswerLost("cut")),
    error_of_failure(TimedOut("late", sent=True), Surface.INGESTION, changes=True),
    errors.OutcomeUnknown(),
    errors.InternalFault(),
]


@pytest.mark.parametrize("error", DOUBTS)
def test_without_deduplication_a_doubt_is_never_sent_again(error: GatewayError) -> None:
    """It is a dead letter of unknown outcome, with its time."""
    settled = reported(error, WITHOUT)
    assert (DeliveryResult.DEAD, "OUTCOME_UNKNOWN", NOW_US - 1000) == (
        settled.result,
        settled.reason,
        settled.first_sent_at_us,
    )


@pytest.mark.parametrize("error", DOUBTS)
def test_with_deduplication_a_doubt_is_sent_again_while_phoenix_remembers(error: GatewayError) -> None:
    """Counted from the first sending, however many follow; rather at once than too late."""
    first = reported(error, WITH)
    assert (DeliveryResult.AGAIN, WAIT_US, NOW_US - 1000) == (first.result, first.wait_us, first.first_sent_at_us)
    late = NOW_US - RESEND_WITHIN_US + 600_000
    hasty = reported(error, WITH, late)
    assert (DeliveryResult.AGAIN, 0, late) == (hasty.result, hasty.wait_us, hasty.first_sent_at_us)
    over = NOW_US - RESEND_WITHIN_US
    ended = reported(error, WITH, over)
    assert (DeliveryResult.DEAD, "OUTCOME_UNKNOWN", over) == (ended.result, ended.reason, ended.first_sent_at_us)


@pytest.mark.parametrize("window", [WITH, WITHOUT])
@pytest.mark.parametrize(
    ("error", "reason"),
    [(answered(400), "PHOENIX_REFUSED_INPUT"), (answered(422), "OUTCOME_UNKNOWN"), (answered(403), "OUTCOME_UNKNOWN")],
)
def test_a_refusal_after_a_doubt_clears_it_only_where_it_held_before(
    error: GatewayError, reason: str, window: Window
) -> None:
    """Bytes that are refused were refused; a board that is closed now may have been open."""
    assert (DeliveryResult.DEAD, reason) == (
        reported(error, window, NOW_US - 5).result,
        reported(error, window, NOW_US - 5).reason,
    )


def test_a_doubt_from_the_future_is_never_sent_again() -> None:
    """The clock of the store was set back: nobody knows how long ago the first send was."""
    unknown = errors.OutcomeUnknown()
    assert reported(unknown, WITH, before=NOW_US + 4_000_000).result is DeliveryResult.AGAIN
    assert reported(unknown, WITH, before=NOW_US + 600_000_000).result is DeliveryResult.DEAD
