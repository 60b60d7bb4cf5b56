"""One log line a call: method, caller, what it was about, how it ended, how long it took.

An error that is our own is told in that same line, once, by its types and places.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.actions.shared.call import Call
from gateway.errors import GatewayError, StoreFault
from gateway.interceptors.chain import Link
from gateway.resilience.clock import Clock
from gateway.telemetry.logs import log_of_calls, where_raised

_QUIET = ("/grpc.health.v1.", "/grpc.reflection.")


class CallLog(Link):
    """Writes the line when the call leaves."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._log: Any = None

    def after(self, call: Call, error: BaseException | None) -> None:
        """Write the line.

        What needs the gateway's operators (INTERNAL, rejected credentials among it, and the store) is an error, the
        standard services are debug, all else is info.
        """
        if self._log is None:  # at the first line, for logging may be set up after the chain
            self._log = log_of_calls()
        status, reason = ended(error)
        fields: dict[str, Any] = {
            "method": call.method,
            "request_id": call.request_id,
            "status": status,
            "duration_ms": round((self._clock.monotonic() - call.arrived_at) * 1000, 3),
        }
        if reason:
            fields["reason"] = reason
        if not call.caller:
            fields["peer"] = call.peer.address
        fields.update(call.facts)
        if status == "INTERNAL" or isinstance(error, StoreFault):
            if error is not None and "error_type" not in fields:
                fields.update(where_raised(error))
            self._log.error("call", **fields)
        elif call.method.startswith(_QUIET):
            self._log.debug("call", **fields)
        else:
            self._log.info("call", **fields)


def note_unexpected(call: Call, error: BaseException) -> None:
    """Keep type and place of an exception that is none of ours; the call's line, written next, tells them.

    The front's `on_unexpected`: it hears of it before the chain is left. No line of its own, so that each error is
    logged once.
    """
    call.facts.update(where_raised(error))


def ended(error: BaseException | None) -> tuple[str, str]:
    """Return status name and reason of a call that ended so; the reason is empty for OK."""
    if error is None:
        return "OK", ""
    if isinstance(error, GatewayError):
        return error.code, error.reason
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "CANCELLED", "CANCELLED"
    return "INTERNAL", "INTERNAL"
