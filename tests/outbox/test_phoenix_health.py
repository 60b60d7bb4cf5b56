"""When delivery takes Phoenix for failing, and how long it then waits."""

from __future__ import annotations

from gateway import errors
from gateway.outbox.phoenix_health import PhoenixHealth
from gateway.phoenix.gamification.pending_event import Failed, Submitted
from gateway.resilience.retry import RetrySettings
from tests.manual_clock import ManualClock

DOWN = Failed(event_id="e", error=errors.PhoenixUnavailable())
REFUSED = Failed(event_id="e", error=errors.PhoenixRefusedInput())
GIVEN_BACK = Failed(event_id="e", error=errors.DeadlineTooShort())
TAKEN = Submitted(event_id="e", duplicate=False, accepted_at=0.0)


def health() -> tuple[PhoenixHealth, ManualClock]:
    clock = ManualClock()
    return PhoenixHealth(clock, RetrySettings(first_wait_s=1.0, longest_wait_s=8.0), lambda: 1.0), clock


def test_pauses_grow_until_phoenix_takes_an_event() -> None:
    """One event that it takes, or refuses for what it is, ends the series."""
    phoenix, _ = health()
    pauses = []
    for _ in range(3):
        phoenix.record([DOWN])
        pauses.append(phoenix.pause_s)
    assert (pauses == sorted(set(pauses)), phoenix.fails) == (True, True)
    phoenix.record([DOWN, TAKEN])
    assert not phoenix.fails
    phoenix.record([DOWN])
    phoenix.record([REFUSED])
    assert not phoenix.fails


def test_a_pause_is_at_least_what_phoenix_requests_and_ends() -> None:
    """A Retry-After counts for the whole tenant."""
    phoenix, clock = health()
    assert phoenix.record([Failed(event_id="e", error=errors.PhoenixUnavailable(retry_after_s=30.0))]) == 30.0
    assert phoenix.pause_s == 30.0
    clock.advance(30.0)
    assert phoenix.pause_s <= 0


def test_events_that_were_not_sent_say_nothing() -> None:
    """Neither that Phoenix works, nor that it fails."""
    phoenix, _ = health()
    phoenix.record([GIVEN_BACK])
    assert not phoenix.fails
    phoenix.record([DOWN])
    phoenix.record([GIVEN_BACK])
    assert phoenix.fails
