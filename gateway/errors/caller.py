"""What the caller can correct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors.base import CallerFault


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldFault:
    """One field that is wrong: its path in the request and what it must be instead."""

    field: str
    description: str


class InvalidField(CallerFault):
    """The request breaks the contract; every faulty field is named."""

    reason = "INVALID_FIELD"
    code = "INVALID_ARGUMENT"

    def __init__(self, faults: Sequence[FieldFault]) -> None:
        self.faults = tuple(faults)
        named = "; ".join(f"{fault.field}: {fault.description}" for fault in self.faults[:5])
        super().__init__(f"The request is not valid. {named}")


class TenantUnknown(CallerFault):
    """No such tenant is configured."""

    reason = "TENANT_UNKNOWN"
    code = "NOT_FOUND"
    default_message = "No such tenant is configured here. Check tenant_id."


class OperatorUnknown(CallerFault):
    """No such operator environment is configured."""

    reason = "OPERATOR_UNKNOWN"
    code = "NOT_FOUND"
    default_message = "No such operator and environment is configured here. Check operator_code and environment."


class KeyUnknown(CallerFault):
    """The tenant or operator has no key of the kind that the call needs."""

    reason = "KEY_UNKNOWN"
    code = "NOT_FOUND"
    default_message = (
        "The key that this call needs is not configured. ListKeys shows the keys; ask the gateway's operators for it."
    )


class NotAllowed(CallerFault):
    """The caller has no right to this."""

    reason = "NOT_ALLOWED"
    code = "PERMISSION_DENIED"
    default_message = "This caller may not do this. Ask the owner of the gateway's policy."


class RateLimited(CallerFault):
    """A limit of the caller's own."""

    reason = "RATE_LIMITED"
    code = "RESOURCE_EXHAUSTED"
    default_message = "Too many calls. Wait as RetryInfo says and try again."
    default_retry_after_s = 1.0
    pace_s: float = 0.0
    """The front sends the refusal after so many seconds: a flood is answered at a fixed pace."""


class Overloaded(CallerFault):
    """Too much load on the gateway."""

    reason = "OVERLOADED"
    code = "RESOURCE_EXHAUSTED"
    default_message = "The gateway is at its limit. Wait as RetryInfo says and try again."
    default_retry_after_s = 1.0


class AnswerTooLarge(CallerFault):
    """The answer is larger than what gRPC clients accept by default."""

    reason = "ANSWER_TOO_LARGE"
    code = "RESOURCE_EXHAUSTED"
    default_message = (
        "The answer is larger than 4 MiB, which gRPC clients refuse. Ask for less: fewer items, or smaller pages."
    )


class DeadlineTooShort(CallerFault):
    """The deadline left no time to begin, or it passed before the gateway had an answer (`effect` is then MAYBE)."""

    reason = "DEADLINE_TOO_SHORT"
    code = "DEADLINE_EXCEEDED"
    default_message = "The deadline leaves no time for the call; nothing was sent. Set a longer one."


class EventIdReused(CallerFault):
    """An event id came again with other content."""

    reason = "EVENT_ID_REUSED"
    code = "ALREADY_EXISTS"
    default_message = "This event_id was used for another event. Give each event its own."


class WindowChanged(CallerFault):
    """The board moved to another window than the page token's."""

    reason = "WINDOW_CHANGED"
    code = "FAILED_PRECONDITION"
    default_message = "The board moved to another window. Start again without page_token."


class StaleAttempt(CallerFault):
    """Another attempt has taken the wallet operation over."""

    reason = "STALE_ATTEMPT"
    code = "FAILED_PRECONDITION"
    default_message = (
        "Another attempt has taken this operation over. The outcome was kept as an incident; check the ledger."
    )


class OutcomeDiffers(CallerFault):
    """Another outcome is recorded for the wallet operation."""

    reason = "OUTCOME_DIFFERS"
    code = "FAILED_PRECONDITION"
    default_message = (
        "Another outcome is recorded for this operation. This one was kept as an incident; check the ledger."
    )
