"""Turns Phoenix's answer, or its absence, into one of our errors with its effect.

`retry.py` decides about another try. Of a body the errors show only a checked error code.
Source: gamification.md 4; prediction.md 3.4.
"""

import enum
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from gateway import errors
from gateway.core.wire import refused_code
from gateway.phoenix.http_types import (
    Answer,
    AnswerGarbled,
    AnswerOversized,
    ExchangeFailed,
    NotSent,
    OwnLimitReached,
    TimedOut,
)

LONGEST_RETRY_AFTER_S = 3600.0
"""A longer `Retry-After` counts as this: a wrong date must not block a caller for a year."""

_INACTIVE_BOARD_CODES = frozenset(
    f"{board}{state}" for board in ("leaderboard_", "board_", "") for state in ("inactive", "not_active", "archived")
)
"""Inferred: Phoenix documents no code for it. Any other code becomes PHOENIX_REFUSED_STATE, which is also correct."""


_SAME_WHENEVER_SENT = frozenset({400, 413})
"""Refusals of the bytes, which Phoenix repeats whenever it gets them."""
_NEVER_REACHED_PHOENIX = (b"connection failure", b"overflow")
"""Envoy's reasons for a 503 when the request did not reach Phoenix."""
_RETRIED = b"retried and the latest"
"""In Envoy's text when it sent the request more than once."""


class Surface(enum.Enum):
    """Which host of Phoenix answered; a label for errors and metrics."""

    INGESTION = "ingestion"
    QUERY = "query"
    ADMIN = "admin"
    PREDICTION = "prediction"


def raise_for(answer: Answer, surface: Surface, now: float) -> None:
    """Return for a 2xx to a read; raise the matching UpstreamFault for anything else.

    Args: `now` is the wall clock, for a `Retry-After` that is a date.
    """
    if not 200 <= answer.status < 300:
        raise error_of(answer, surface, now, changes=False)


def error_of(answer: Answer, surface: Surface, now: float, *, changes: bool) -> errors.UpstreamFault:
    """Return the error that an answer other than 2xx means, and whether Phoenix acted.

    Args: `changes`: whether the request changes something. A read has no effect, whatever the answer.
    """
    metadata = {"surface": surface.value, "phoenix_status": str(answer.status)}
    code = refused_code(answer.body)
    if code is not None:
        metadata["phoenix_code"] = code
    retry_after_s = retry_after_of(answer, now)
    match answer.status:
        case 401:
            return errors.PhoenixRejectedCredentials(metadata=metadata)
        case 403:
            return errors.PhoenixForbidden(metadata=metadata)
        case 404 | 410:
            return errors.PhoenixNotFound(metadata=metadata)
        case 409:
            return errors.PhoenixConflict(metadata=metadata)
        case 422 if code is not None and code.lower().replace("-", "_") in _INACTIVE_BOARD_CODES:
            return errors.BoardNotActive(metadata=metadata)
        case 422:
            return errors.PhoenixRefusedState(metadata=metadata)
        case 429:
            return errors.PhoenixRateLimited(retry_after_s=retry_after_s, metadata=metadata)
        case 408 | 425:  # Phoenix did not read the whole request, or did not start on it
            return errors.PhoenixUnavailable(retry_after_s=retry_after_s, metadata=metadata)
        case status if 400 <= status < 500:
            return errors.PhoenixRefusedInput(metadata=metadata)
        case status if 300 <= status < 400:
            return errors.PhoenixAnswerUnreadable(
                "Phoenix answered with a redirect, which is never followed. Check the base URL of this surface.",
                metadata=metadata,
            )
        case 503 if not (changes and _lost_behind_proxy(answer.body)):
            return errors.PhoenixUnavailable(retry_after_s=retry_after_s, metadata=metadata)
        case _ if changes:
            return errors.OutcomeUnknown(
                "Phoenix has a problem and may have acted. Check before you send it again.",
                retry_after_s=retry_after_s,
                metadata=metadata,
            )
        case status if 500 <= status < 600:
            return errors.PhoenixUnavailable(retry_after_s=retry_after_s, metadata=metadata)
        case _:
            return errors.PhoenixAnswerUnreadable(metadata=metadata)


def error_of_failure(failure: ExchangeFailed, surface: Surface, *, changes: bool) -> errors.GatewayError:
    """Return the error that an exchange without an answer means, and whether Phoenix may have acted."""
    metadata = {"surface": surface.value}
    fault: errors.GatewayError
    match failure:
        case OwnLimitReached():
            fault = errors.Overloaded(
                "This gateway has no file descriptors left; nothing was sent. Call another replica, or try again later."
            )
        case NotSent():
            fault = errors.PhoenixUnavailable(
                "No connection to Phoenix; nothing was sent. Try again later.", metadata=metadata
            )
        case TimedOut(sent=False):
            fault = errors.PhoenixTimeout(metadata=metadata)
        case _ if changes:
            fault = errors.OutcomeUnknown(metadata=metadata)
        case TimedOut():
            fault = errors.PhoenixTimeout(metadata=metadata)
        case AnswerOversized():
            fault = errors.AnswerTooLarge(metadata=metadata)
        case AnswerGarbled():
            fault = errors.PhoenixAnswerUnreadable(metadata=metadata)
        case _:
            fault = errors.PhoenixUnavailable(metadata=metadata)
    fault.__cause__ = failure
    return fault


def after_doubt(fault: errors.GatewayError, surface: Surface, status: int | None = None) -> errors.GatewayError:
    """Return what a failure means if Phoenix may have acted on an earlier sending of the same bytes.

    Args: `status`: Phoenix's status, if it answered. A refusal of the bytes themselves is true for the earlier sending
    too; with any other failure the outcome is unknown.
    """
    if fault.effect is not errors.Effect.NONE or status in _SAME_WHENEVER_SENT:
        return fault
    unknown = errors.OutcomeUnknown(retry_after_s=fault.requested_wait_s, metadata={"surface": surface.value})
    unknown.__cause__ = fault
    return unknown


def _lost_behind_proxy(body: bytes) -> bool:
    """Whether a 503 is Envoy's, for a connection to Phoenix that broke after the request may have been read."""
    if b"reset before headers" not in body:
        return False
    # Envoy names the reason of its last try only; an earlier one may have reached Phoenix.
    return _RETRIED in body or not any(reason in body for reason in _NEVER_REACHED_PHOENIX)


def retry_after_of(answer: Answer, now: float) -> float | None:
    """Return the seconds that `Retry-After` asks for, 0 to 3600, given in seconds or as an HTTP date.

    None if it is absent or unreadable.
    """
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        # More than four digits exceed the limit in any case, and int() refuses thousands of digits.
        return min(float(text), LONGEST_RETRY_AFTER_S) if len(text.lstrip("0")) <= 4 else LONGEST_RETRY_AFTER_S
    if not text or len(text) > 64:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:  # "-0000" and zones that the standard library does not know
        moment = moment.replace(tzinfo=UTC)
    wait = (moment - datetime.fromtimestamp(now, UTC)).total_seconds()
    return min(max(wait, 0.0), LONGEST_RETRY_AFTER_S)
