"""What becomes of a durable event after a try to deliver it: there, given up, or tried again. Pure.

Each try is one request, so an error says all there is to know of it. Nothing is sent a second time in silence: what
Phoenix may have is sent again only where it deduplicates and still remembers, and is else a dead letter of unknown
outcome. A trouble of our own or of Phoenix's is never final. Source: issue 5, points 5 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway import errors
from gateway.errors import GatewayError
from gateway.outbox.pending_event import Failed, Submitted
from gateway.outbox.record import DeliveryResult, Settled, TakenEvent
from gateway.phoenix.http_types import NotSent

RESEND_WITHIN_US = 290_000_000
"""After its first sending an event may be sent again for so long: Phoenix remembers for 300 s, the rest is the way."""

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
_NEVER_READ = (
    errors.CircuitOpen,
    errors.DeadlineTooShort,
    errors.KeyUnknown,
    errors.Overloaded,
    errors.PhoenixRateLimited,
    errors.PhoenixRejectedCredentials,
)
"""Phoenix certainly took nothing."""
_UNTAKEN_STATUSES = frozenset({"408", "425", "503"})
"""Answers of Phoenix that say so, too; other 5xx say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """`deduplicates`: whether Phoenix counts an id once while it remembers it; `now_us`: the store's time."""

    deduplicates: bool
    now_us: int

    def is_open_for(self, first_sent_at_us: int, spare_us: int = 0) -> bool:
        """Whether an event that Phoenix may have since then can be sent without counting twice."""
        return self.deduplicates and self.now_us + spare_us - first_sent_at_us < RESEND_WITHIN_US


def certainly_untaken(error: GatewayError) -> bool:
    """Whether the try that failed so left nothing at Phoenix."""
    if isinstance(error, _NEVER_READ):
        return True
    status = error.metadata.get("phoenix_status", "")
    if isinstance(error, errors.PhoenixUnavailable):
        return isinstance(error.__cause__, NotSent) or status in _UNTAKEN_STATUSES
    return isinstance(error, errors.PhoenixAnswerUnreadable) and status.startswith("3")


def delivery_result_of(
    event: TakenEvent, result: Submitted | Failed, window: Window, *, marked_at_us: int, wait_us: int
) -> Settled:
    """Return what is to be written down.

    Args: `window`: as of now; `marked_at_us`: when this try was begun; `wait_us`: how long to wait for the next one.
    """
    if isinstance(result, Submitted):
        return Settled(event=event, fate=DeliveryResult.DELIVERED)
    error = result.error
    before = event.first_sent_at_us
    if isinstance(error, _REFUSED):
        # A refusal of the bytes themselves held for earlier tries too; of others nobody can say.
        if before is None or isinstance(error, errors.PhoenixRefusedInput):
            return Settled(event=event, fate=DeliveryResult.DEAD, reason=error.reason, detail=detail_of(error))
        return given_up(event, error, before)
    if certainly_untaken(error):
        return Settled(event=event, fate=DeliveryResult.AGAIN, wait_us=wait_us, first_sent_at_us=before)
    first = marked_at_us if before is None else before
    if window.is_open_for(first):
        # Rather at once than too late.
        patient_us = wait_us if window.is_open_for(first, 2 * wait_us) else 0
        return Settled(event=event, fate=DeliveryResult.AGAIN, wait_us=patient_us, first_sent_at_us=first)
    return given_up(event, error, first)


def given_up(event: TakenEvent, error: GatewayError | None, first_sent_at_us: int | None) -> Settled:
    """Return the end of an event of which nobody knows whether Phoenix has it. `error`: None after a crash."""
    return Settled(
        event=event,
        fate=DeliveryResult.DEAD,
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
    return certainly_untaken(error) or isinstance(
        error, errors.OutcomeUnknown | errors.PhoenixUnavailable | errors.PhoenixAnswerUnreadable | errors.InternalFault
    )


def requested_wait_s(error: GatewayError) -> float:
    """Seconds that Phoenix or the breaker asked for; the default of other errors is nothing that anybody asked."""
    told = error.retry_after_s or 0.0
    is_asked = isinstance(error, errors.PhoenixRateLimited | errors.CircuitOpen)
    return told if is_asked or told != error.default_retry_after_s else 0.0
