"""Writes one log line for each call: method, caller, what it was about, how it ended and how long it took.

An unexpected error is described in that same line, by its types and places.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.actions.shared.call import Call
from gateway.errors import GatewayError, StoreFault
from gateway.interceptors.chain import EndObserver
from gateway.resilience.clock import Clock
from gateway.telemetry.logs import log_of_calls, where_raised
from gateway.telemetry.trouble import described

_EXPLAINED = frozenset({"INTERNAL", "UNAVAILABLE", "UNKNOWN"})
"""Statuses whose lines say more than the answer does: the class and place of the error, the host, Phoenix's status."""
_DEBUG = ("/grpc.health.v1.", "/grpc.reflection.")
"""Methods whose lines have the level debug."""


class CallLog(EndObserver):
    """Writes the line when the call ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._log: Any = None

    def after(self, call: Call, error: BaseException | None) -> None:
        """Write the line.

        INTERNAL (which includes rejected credentials) and faults of the store have the level error, because the
        gateway's operators must act. Calls of the standard services have debug, all others info.
        """
        if self._log is None:  # at the first line: logging may be configured after the chain is built
            self._log = log_of_calls()
        status, reason = status_and_reason(error)
        fields: dict[str, Any] = {
            "method": call.method,
            "request_id": call.request_id,
            "status": status,
            "duration_ms": round((self._clock.monotonic() - call.arrived_at) * 1000, 3),
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
        call.record.write_to(fields)
        if error is not None and status in _EXPLAINED and "error_type" not in fields:
            fields.update({name: text for name, text in described(error).items() if text and name != "trouble"})
        if status == "INTERNAL" or isinstance(error, StoreFault):
            self._log.error("call", **fields)
        elif call.method.startswith(_DEBUG):
            self._log.debug("call", **fields)
        else:
            self._log.info("call", **fields)


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
