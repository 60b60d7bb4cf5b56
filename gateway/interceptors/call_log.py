"""Writes one log line for each call: method, caller, what it was about, how it ended and how long it took.

The line of a failure says what the caller is told, and what only the gateway's operators may know: Phoenix's status,
the tries, the host that did not answer, the limit or right that refused it. An unexpected error is described in the
same line, by its types and places. The same fields, kept for an hour, are the call's story for `explain`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from zlib import crc32

from gateway.actions.shared.call import Call
from gateway.actions.shared.failure import about_tries, failure_of
from gateway.core.wallet import Verdict
from gateway.errors import GatewayError, NotAllowed
from gateway.interceptors.access import method_access
from gateway.interceptors.chain import EndObserver
from gateway.resilience.clock import Clock
from gateway.telemetry.call_stories import Kind
from gateway.telemetry.logs import log_of_calls, where_raised
from gateway.telemetry.trouble import described

_EXPLAINED = frozenset({"INTERNAL", "UNAVAILABLE", "UNKNOWN"})
"""Statuses whose lines also name the class and place of the error."""
_BY_SENDER = frozenset(
    {Verdict.MISSING_SIGNATURE, Verdict.MALFORMED_SIGNATURE, Verdict.BAD_SIGNATURE, Verdict.AMBIGUOUS_HEADERS}
)
"""What anyone who reaches a wallet can send as often as they like: it pushes no failure out."""
_DEBUG = ("/grpc.health.v1.", "/grpc.reflection.")
"""Methods whose lines have the level debug."""


class Stories(Protocol):
    """Keeps calls for `explain`; `telemetry.call_stories.CallStories` is one."""

    def add(self, ended_at: float, fields: dict[str, Any], tries: Any, kind: Kind) -> None:
        """Keep a call that has ended."""
        ...


class CallLog(EndObserver):
    """Writes the line when the call ends."""

    def __init__(
        self,
        clock: Clock,
        *,
        stories: Stories | None = None,
        sample: float = 1.0,
        key_of: Callable[[Call], str] = lambda call: "",
    ) -> None:
        """Args: `sample`: the share of successes that get a line, 0 to 1; failures always get one. `key_of`: returns
        the key version that a call used, if its action does not record it."""
        self._clock = clock
        self._keep = None if stories is None else stories.add
        self._sample = 1.0
        self._logged_below = 0
        self.use_sample(sample)
        self._key_of = key_of
        self._write: Mapping[str, Callable[..., None]] = {}

    def use_sample(self, sample: float) -> None:
        """Log this share of the successes from now on."""
        self._sample = sample
        self._logged_below = round(sample * 2**32)

    def after(self, call: Call, error: BaseException | None) -> None:
        """Write the line, and keep the story."""
        if not self._write:  # at the first line: logging may be configured after the chain is built
            log = log_of_calls()
            self._write = {"debug": log.debug, "info": log.info, "warning": log.warning, "error": log.error}
        now = self._clock.monotonic()
        status, reason = status_and_reason(error)
        fields: dict[str, Any] = {
            "method": call.method,
            "request_id": call.request_id,
            "status": status,
            "duration_ms": round((now - call.arrived_at) * 1000, 3),
        }
        if reason:
            fields["reason"] = reason
        if call.caller:
            fields["caller"] = call.caller
        else:
            fields["peer"] = call.peer.address
        if call.trace is not None:
            fields["trace_id"] = call.trace.trace_id
            if call.trace.span is not None:
                fields["span_id"] = call.trace.span.span_id
        record = call.record
        tries: Any = call.deadline.tries or ()
        if (tries or error is not None) and record.key_id is None and call.caller:
            record.key_id = self._key_of(call) or None
        record.write_to(fields)
        level = "info"
        if error is not None or record.failure is not None:
            level, tries = self._describe(fields, call, error, status, tries)
        elif tries:
            fields["tries"] = len(tries)
        wallet = record.wallet
        if level == "info" and wallet is not None and wallet.verdict not in (None, Verdict.VERIFIED):
            level = "warning"
        if error is None and call.method.startswith(_DEBUG):
            level = "debug"
        kind = Kind.FINE
        if error is not None or record.failure is not None or level == "warning":
            by_sender = error is None and wallet is not None and wallet.verdict in _BY_SENDER
            kind = Kind.REFUSED if level == "info" or by_sender else Kind.FAILED
        if self._keep is not None and level != "debug":
            self._keep(now, fields, tries, kind)
        if kind is Kind.FINE and self._sample < 1.0:
            if crc32(call.request_id.encode()) >= self._logged_below:
                return
            fields = {**fields, "sample": self._sample}
        self._write[level]("call", **fields)

    def _describe(
        self, fields: dict[str, Any], call: Call, error: BaseException | None, status: str, tries: Any
    ) -> tuple[str, Any]:
        """Add why the call, or the first of its events, failed. Return the line's level, and what was sent."""
        failure = failure_of(error) if isinstance(error, GatewayError) else call.record.failure
        level = "error" if status == "INTERNAL" else "info"
        if failure is not None:
            level = failure.level
            for name, value in failure.fields.items():
                fields.setdefault(name, value)
            tries = failure.tries or tries
            if error is None and level == "error":
                fields.setdefault("error_type", failure.error_type)
        if tries:
            fields.update(about_tries(tries))
        if isinstance(error, NotAllowed) and call.caller and call.method not in call.grant.methods:
            access = method_access().get(call.method)
            if access is not None:
                fields["right"] = access.right
        if error is not None and status in _EXPLAINED and "error_type" not in fields:
            found = {name: text for name, text in described(error).items() if text and name != "trouble"}
            fields.update({name: text for name, text in found.items() if name not in fields})
        return level, tries


def record_unexpected(call: Call, error: BaseException) -> None:
    """Record type and place of an unexpected exception, for the call's line.

    The front calls this before it runs the chain's `after`. It writes no line itself, so each error is logged once.
    """
    call.record.error = where_raised(error)


def status_and_reason(error: BaseException | None) -> tuple[str, str]:
    """Return the status name and the reason of a call that ended with `error`; the reason is empty for OK."""
    if error is None:
        return "OK", ""
    if isinstance(error, GatewayError):
        return error.code, error.reason
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "CANCELLED", "CANCELLED"
    return "INTERNAL", "INTERNAL"
