"""What becomes of a durable event after a try to deliver it: there, given up, or tried again. Pure.

Each try is one request, and its error says whether Phoenix may have acted. Nothing is sent a second time in silence:
what Phoenix may have is sent again only where it deduplicates and still remembers, else it is a dead letter of unknown
outcome. A trouble of our own or of Phoenix's is never final. Source: issue 5, points 5 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway import errors
from gateway.core.event_ids import RESEND_WITHIN_S
from gateway.errors import Effect, GatewayError
from gateway.outbox.pending_event import Failed, Submitted
from gateway.outbox.record import DeliveryResult, Settled, TakenEvent

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
"""For good, as far as this event goes. A redrive sends it again once the cause is mended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """`deduplicates`: whether Phoenix counts an id once while it remembers it; `now_us`: the store's time."""

    deduplicates: bool
    now_us: int

    def is_open_for(self, first_sent_at_us: int, spare_us: int = 0) -> bool:
        """Whether an event that Phoenix may have since then can be sent without counting twice."""
        return self.deduplicates and self.now_us + spare_us - first_sent_at_us < RESEND_WITHIN_US


def delivery_result_of(
    event: TakenEvent, result: Submitted | Failed, window: Window, *, marked_at_us: int, wait_us: int
) -> Settled:
    """Return what is to be written down.

    Args: `window`: as of now; `marked_at_us`: when this try was begun; `wait_us`: how long to wait for the next one.
    """
    if isinstance(result, Submitted):
        return Settled(event=event, result=DeliveryResult.DELIVERED)
    error = result.error
    before = event.first_sent_at_us
    if isinstance(error, _REFUSED):
        # A refusal of the bytes themselves held for earlier tries too; of others nobody can say.
        if before is None or isinstance(error, errors.PhoenixRefusedInput):
            return Settled(event=event, result=DeliveryResult.DEAD, reason=error.reason, detail=detail_of(error))
        return given_up(event, error, before)
    if error.effect is Effect.NONE:
        return Settled(event=event, result=DeliveryResult.AGAIN, wait_us=wait_us, first_sent_at_us=before)
    first = marked_at_us if before is None else before
    if window.is_open_for(first):
        # Rather at once than too late.
        patient_us = wait_us if window.is_open_for(first, 2 * wait_us) else 0
        return Settled(event=event, result=DeliveryResult.AGAIN, wait_us=patient_us, first_sent_at_us=first)
    return given_up(event, error, first)


def given_up(event: TakenEvent, error: GatewayError | None, first_sent_at_us: int | None) -> Settled:
    """Return the end of an event of which nobody knows whether Phoenix has it. `error`: None after a crash."""
    return Settled(
        event=event,
        result=DeliveryResult.DEAD,
        reason=errors.OutcomeUnknown.reason,
        detail="no_answer" if error is None else detail_of(error),
        first_sent_at_us=first_sent_at_us,
    )


def detail_of(error: GatewayError) -> str:
    """Return the error as words for machines: its reason, and Phoenix's status and code where there are any."""
    told = [error.reason]
    told += [f"{name}={error.metadata[name]}" for name in ("phoenix_status", "phoenix_code") if name in error.metadata]
    return " ".join(told)


def speaks_against_phoenix(error: GatewayError) -> bool:
    """Whether a failure speaks against sending more for now, rather than against its event."""
    return not isinstance(error, _REFUSED)


def requested_wait_s(error: GatewayError) -> float:
    """Seconds that Phoenix or the breaker asked for; an answer of 429 asks even where it does not say how long."""
    if error.requested_wait_s is None and isinstance(error, errors.PhoenixRateLimited):
        return error.retry_after_s or 0.0
    return error.requested_wait_s or 0.0
