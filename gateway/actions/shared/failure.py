"""What is kept of a failure once its exception is gone: for the call's log line and for `explain`.

An exception refers to the frames that raised it, and so to the payload. These are names, numbers and the text that the
caller got. An invalid request is described by the paths of its fields, without keys that a caller chose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from gateway import errors
from gateway.errors import Effect, GatewayError, InvalidField, StoreFault
from gateway.errors.tries import Try

_OWN_KEYS = re.compile(r"(metadata|attributes|body|query|fee_schedule|settings)\b.*", re.DOTALL)
"""Below these, paths hold callers' own names."""
_MAX_FIELDS = 10
_FAILED_THE_CALLER = (
    errors.PhoenixUnavailable,
    errors.PhoenixTimeout,
    errors.PhoenixAnswerUnreadable,
    errors.PhoenixForbidden,
    errors.PhoenixRateLimited,
    errors.CircuitOpen,
    errors.OutcomeUnknown,
    errors.Overloaded,
    errors.SigningKeyUnavailable,
)
"""Nobody need act on a single one: the parts that fail have lines of their own."""
_LOGGED = ("surface", "phoenix_code", "limit", "whose", "off")


class Failure(NamedTuple):
    """One failure. `level`: of its log line. `fields`: as the log names them, but for `tries`.

    `error_type`: class of its first cause, for an item of a call that itself succeeded.
    """

    level: str
    fields: dict[str, Any]
    tries: tuple[Try, ...]
    error_type: str


def failure_of(error: GatewayError) -> Failure:
    """Describe a failure."""
    fields: dict[str, Any] = {"reason": error.reason}
    if isinstance(error, InvalidField):
        paths = (_OWN_KEYS.sub(r"\1", fault.field) for fault in error.faults)
        fields["fields"] = ", ".join(list(dict.fromkeys(paths))[:_MAX_FIELDS])
    else:
        fields["status_message"] = error.message
    for name in _LOGGED:
        if name in error.metadata:
            fields[name] = error.metadata[name]
    if error.effect is not Effect.NONE:
        fields["effect"] = error.effect.value
    if error.retry_after_s is not None:
        fields["retry_after_s"] = round(error.retry_after_s, 3)
    tries: tuple[Try, ...] = ()
    for one in _with_causes(error):
        tries = tries or one.tries
        if one.address and "address" not in fields:
            fields["address"] = one.address
    return Failure(level_of(error), fields, tries, type(_first_cause(error)).__name__)


def about_tries(tries: tuple[Try, ...] | list[Try]) -> dict[str, Any]:
    """Return the log's fields about what was sent to Phoenix; the last try says why it failed."""
    last = tries[-1]
    found: dict[str, Any] = {"tries": len(tries)}
    if last.status:
        found["upstream_status"] = last.status
    if last.how:
        found["last_try"] = last.how
    if last.errno:
        found["errno"] = last.errno
    return found


def level_of(error: GatewayError) -> str:
    """Return `error` if the gateway's operators must act, `warning` if the caller was failed, else `info`."""
    if error.code == "INTERNAL" or isinstance(error, StoreFault):
        return "error"
    return "warning" if isinstance(error, _FAILED_THE_CALLER) else "info"


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _with_causes(error: BaseException) -> Iterator[GatewayError]:
    """Yield the error and the errors of ours that it was raised from, at most four."""
    one: BaseException | None = error
    for _ in range(4):
        if not isinstance(one, GatewayError):
            return
        yield one
        one = one.__cause__
