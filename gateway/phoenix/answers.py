"""What Phoenix's answer means, or its absence: vendor status and code to our errors, with their effect.

Decides nothing about trying again (`retry.py`), and shows nothing of a body but an error code that has been cleaned.
Source: API.md, "Reasons"; vendor chapter 4 (Gamification), 3.4 (Prediction).
"""

import enum
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from gateway import errors
from gateway.core.wire import refused_code
from gateway.phoenix.http_types import Answer, AnswerGarbled, ExchangeFailed, NotSent, TimedOut

LONGEST_RETRY_AFTER_S = 3600.0
"""A longer `Retry-After` is taken for this: a mistyped date must not silence a caller for a year."""

_INACTIVE_BOARD_CODES = frozenset(
    f"{board}{state}" for board in ("leaderboard_", "board_", "") for state in ("inactive", "not_active", "archived")
)
"""Inferred: no code for it is documented. A code outside this set stays PHOENIX_REFUSED_STATE, which is as true."""


_SAME_WHENEVER_SENT = frozenset({400, 413})
"""Refusals of the bytes themselves."""
_PROXY_MET_NOBODY = (b"connection failure", b"overflow")
"""Envoy's reasons for a 503 that say that the request did not reach Phoenix."""


class Surface(enum.Enum):
    """Which of Phoenix's gateways answered; a label for errors and metrics."""

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

    Args: `changes`: whether the request was to change something; a read has no effect whatever comes back.
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
        case 408 | 425:  # not read to its end, or not begun
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
                "Phoenix is in trouble and may have acted. Look before sending it again.",
                retry_after_s=retry_after_s,
                metadata=metadata,
            )
        case status if 500 <= status < 600:
            return errors.PhoenixUnavailable(retry_after_s=retry_after_s, metadata=metadata)
        case _:
            return errors.PhoenixAnswerUnreadable(metadata=metadata)


def error_of_failure(failure: ExchangeFailed, surface: Surface, *, changes: bool) -> errors.UpstreamFault:
    """Return the error that an exchange without an answer means, and whether Phoenix may have acted."""
    metadata = {"surface": surface.value}
    fault: errors.UpstreamFault
    match failure:
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
        case AnswerGarbled():
            fault = errors.PhoenixAnswerUnreadable(metadata=metadata)
        case _:
            fault = errors.PhoenixUnavailable(metadata=metadata)
    fault.__cause__ = failure
    return fault


def after_doubt(fault: errors.GatewayError, surface: Surface, status: int | None = None) -> errors.GatewayError:
    """Return what a failure amounts to where an earlier sending of the same bytes may have acted.

    Args: `status`: that Phoenix answered, if it did. A refusal of the bytes themselves held for the earlier sending
    too; of all else nobody can say.
    """
    if fault.effect is not errors.Effect.NONE or status in _SAME_WHENEVER_SENT:
        return fault
    unknown = errors.OutcomeUnknown(retry_after_s=fault.requested_wait_s, metadata={"surface": surface.value})
    unknown.__cause__ = fault
    return unknown


def _lost_behind_proxy(body: bytes) -> bool:
    """Whether a 503 is Envoy's, for a connection to Phoenix that broke after the request may have been read."""
    return b"reset before headers" in body and not any(reason in body for reason in _PROXY_MET_NOBODY)


def retry_after_of(answer: Answer, now: float) -> float | None:
    """Seconds that `Retry-After` asks for, 0 to 3600, whether given as seconds or as an HTTP date.

    None where it is absent or unreadable.
    """
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        # More than four digits are past the bound whatever they say, and int() refuses thousands of them.
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
