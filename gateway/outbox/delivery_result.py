"""Decide the result of an attempt to deliver a durable event: delivered, dead letter, or try again. Pure.

Each attempt is one request, and its error says whether Phoenix may have acted. An event that Phoenix may have is sent
again only if Phoenix deduplicates and still remembers the id; otherwise it becomes a dead letter with an unknown
outcome. A temporary failure, of ours or of Phoenix, never makes a dead letter.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway import errors
from gateway.core.event_ids import RESEND_WITHIN_S, may_be_sent_again
from gateway.errors import Effect, GatewayError
from gateway.outbox.record import DeliveryResult, Settled, TakenEvent
from gateway.phoenix.gamification.pending_event import Result, Submitted

RESEND_WITHIN_US = round(RESEND_WITHIN_S * 1_000_000)

_REFUSED = (
    errors.InvalidField,
    errors.PhoenixRefusedInput,
    errors.PhoenixForbidden,
    errors.PhoenixNotFound,
    errors.PhoenixConflict,
    errors.PhoenixRefusedState,
    errors.BoardNotActive,
)
"""Final refusals of an event. A redrive sends it again after the cause is repaired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The resend window. `deduplicates`: Phoenix counts a remembered id only once; `now_us`: time of the store."""

    deduplicates: bool
    now_us: int

    def is_open_for(self, first_sent_at_us: int, spare_us: int = 0) -> bool:
        """Tell whether an event first sent at this time can be sent again without counting twice."""
        age_s = (self.now_us - first_sent_at_us) / 1_000_000
        return self.deduplicates and may_be_sent_again(age_s, RESEND_WITHIN_S - spare_us / 1_000_000)


def delivery_result_of(
    event: TakenEvent, result: Result, window: Window, *, marked_at_us: int, wait_us: int
) -> Settled:
    """Return the result to record.

    Args: `window`: as of now; `marked_at_us`: when this attempt began; `wait_us`: the wait before the next one.
    """
    if isinstance(result, Submitted):
        return Settled(event=event, result=DeliveryResult.DELIVERED)
    error = result.error
    before = event.first_sent_at_us
    if isinstance(error, _REFUSED):
        # A refusal of the input applied to earlier attempts too. Other refusals may be new.
        if before is None or isinstance(error, errors.PhoenixRefusedInput):
            return Settled(event=event, result=DeliveryResult.DEAD, reason=error.reason, detail=detail_of(error))
        return given_up(event, error, before)
    if error.effect is Effect.NONE:
        return Settled(event=event, result=DeliveryResult.AGAIN, wait_us=wait_us, first_sent_at_us=before)
    first = marked_at_us if before is None else before
    if window.is_open_for(first):
        # Send at once if waiting would be too late.
        patient_us = wait_us if window.is_open_for(first, 2 * wait_us) else 0
        return Settled(event=event, result=DeliveryResult.AGAIN, wait_us=patient_us, first_sent_at_us=first)
    return given_up(event, error, first)


def given_up(event: TakenEvent, error: GatewayError | None, first_sent_at_us: int | None) -> Settled:
    """Return the dead letter of an event that Phoenix may have. `error`: None after a crash."""
    return Settled(
        event=event,
        result=DeliveryResult.DEAD,
        reason=errors.OutcomeUnknown.reason,
        detail="no_answer" if error is None else detail_of(error),
        first_sent_at_us=first_sent_at_us,
    )


def detail_of(error: GatewayError) -> str:
    """Return the error in machine-readable form: its reason, and Phoenix's status and code if there are any."""
    words = [error.reason]
    words += [f"{name}={error.metadata[name]}" for name in ("phoenix_status", "phoenix_code") if name in error.metadata]
    return " ".join(words)


def is_about_phoenix(error: GatewayError) -> bool:
    """Tell whether the failure is about Phoenix's availability, not about the event."""
    return not isinstance(error, _REFUSED)


def requested_wait_s(error: GatewayError) -> float:
    """Return the wait in seconds that Phoenix or the breaker requested; a 429 without a time requests a default."""
    if error.requested_wait_s is None and isinstance(error, errors.PhoenixRateLimited):
        return error.retry_after_s or 0.0
    return error.requested_wait_s or 0.0
