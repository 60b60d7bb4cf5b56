"""Failures of Phoenix, or of the way there."""

from __future__ import annotations

from gateway.errors.base import Effect, UpstreamFault


class PhoenixRefusedInput(UpstreamFault):
    """Phoenix answered 400 or 413."""

    reason = "PHOENIX_REFUSED_INPUT"
    code = "INVALID_ARGUMENT"
    default_message = "Phoenix refused the input. Check ids and values; do not retry it unchanged."


class PhoenixRejectedCredentials(UpstreamFault):
    """Phoenix answered 401."""

    reason = "PHOENIX_REJECTED_CREDENTIALS"
    code = "INTERNAL"
    default_message = (
        "Phoenix rejected the gateway's credentials. The caller did nothing wrong; the gateway's operators are alerted."
    )


class PhoenixForbidden(UpstreamFault):
    """Phoenix answered 403."""

    reason = "PHOENIX_FORBIDDEN"
    code = "PERMISSION_DENIED"
    default_message = (
        "Phoenix forbids this to the configured tenant or operator. Ask the gateway's operators to have it granted."
    )


class PhoenixNotFound(UpstreamFault):
    """Phoenix answered 404, or the gateway has no such record."""

    reason = "PHOENIX_NOT_FOUND"
    code = "NOT_FOUND"
    default_message = "Phoenix has no such resource. Check the ids in your request."


class PhoenixConflict(UpstreamFault):
    """Phoenix answered 409."""

    reason = "PHOENIX_CONFLICT"
    code = "ABORTED"
    default_message = (
        "The request contradicts what Phoenix already has. Read what exists before you send another request."
    )


class PhoenixRefusedState(UpstreamFault):
    """Phoenix answered 422."""

    reason = "PHOENIX_REFUSED_STATE"
    code = "FAILED_PRECONDITION"
    default_message = (
        "Phoenix does not allow this in the present state. Establish the state that the call needs, then repeat it."
    )


class BoardNotActive(UpstreamFault):
    """Phoenix answered 422 because the board is not active."""

    reason = "BOARD_NOT_ACTIVE"
    code = "FAILED_PRECONDITION"
    default_message = "The leaderboard is not active. Activate it at Phoenix or use another."


class PhoenixRateLimited(UpstreamFault):
    """Phoenix answered 429."""

    reason = "PHOENIX_RATE_LIMITED"
    code = "RESOURCE_EXHAUSTED"
    default_message = "Phoenix limits the rate. Wait as RetryInfo says and try again."
    default_retry_after_s = 1.0


class PhoenixUnavailable(UpstreamFault):
    """Phoenix answered 503, or 5xx to a read, or no connection was made."""

    reason = "PHOENIX_UNAVAILABLE"
    code = "UNAVAILABLE"
    default_message = "Phoenix cannot be reached or is in trouble. Wait as RetryInfo says and try again."
    default_retry_after_s = 1.0


class PhoenixAnswerUnreadable(UpstreamFault):
    """The essence of Phoenix's answer is missing."""

    reason = "PHOENIX_ANSWER_UNREADABLE"
    code = "UNAVAILABLE"
    default_message = "Phoenix answered in a form that cannot be read; nothing was done. Tell the gateway's operators."


class PhoenixTimeout(UpstreamFault):
    """Phoenix did not answer in time, and nothing was changed by asking."""

    reason = "PHOENIX_TIMEOUT"
    code = "DEADLINE_EXCEEDED"
    default_message = "Phoenix did not answer within the deadline. Try again with a longer one."


class CircuitOpen(UpstreamFault):
    """Too many failures lately: nothing is sent for a while."""

    reason = "CIRCUIT_OPEN"
    code = "UNAVAILABLE"
    default_message = "Phoenix failed too often lately; nothing was sent. Wait as RetryInfo says and try again."
    default_retry_after_s = 1.0


class OutcomeUnknown(UpstreamFault):
    """Phoenix may have acted and it is not safe to send again; or it acted, and its answer cannot be passed on."""

    reason = "OUTCOME_UNKNOWN"
    code = "UNKNOWN"
    default_effect = Effect.MAYBE
    default_message = (
        "The request was sent but no answer came; Phoenix may have acted. "
        "Check whether it took effect before you send it again."
    )
