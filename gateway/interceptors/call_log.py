"""One log line a call: method, caller, what it was about, how it ended, how long it took."""

from __future__ import annotations

import asyncio

from gateway.actions.call import Call
from gateway.errors import GatewayError, OwnFault, StoreFault
from gateway.interceptors.chain import Link
from gateway.resilience.clock import Clock
from gateway.telemetry.logs import log

_QUIET = ("/grpc.health.v1.", "/grpc.reflection.")


class CallLog(Link):
    """Writes the line when the call leaves."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def after(self, call: Call, error: BaseException | None) -> None:
        """Write the line: errors of our own and of the store as errors, the rest as info; standard services at debug."""
        status, reason = ended(error)
        fields = {
            "method": call.method,
            "request_id": call.request_id,
            "status": status,
            "duration_ms": round((self._clock.monotonic() - call.arrived_at) * 1000, 3),
            **call.facts,
        }
        if reason:
            fields["reason"] = reason
        logger = log()
        if isinstance(error, OwnFault | StoreFault) or reason == "INTERNAL":
            logger.error("call", **fields)
        elif call.method.startswith(_QUIET):
            logger.debug("call", **fields)
        else:
            logger.info("call", **fields)


def ended(error: BaseException | None) -> tuple[str, str]:
    """Return status name and reason of a call that ended so; the reason is empty for OK."""
    if error is None:
        return "OK", ""
    if isinstance(error, GatewayError):
        return error.code, error.reason
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "CANCELLED", "CANCELLED"
    return "INTERNAL", "INTERNAL"
