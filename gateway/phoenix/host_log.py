"""Says in the log once when a host of Phoenix stops answering, with the cause, and once when it answers again.

It is for what has no circuit breaker (gamification/client.py logs for those): reads, the Admin and Operator APIs, and
the sockets of live boards. All tenants share the state of a host.
"""

from __future__ import annotations

from gateway import errors
from gateway.phoenix.answers import Surface
from gateway.resilience.clock import Clock
from gateway.telemetry.trouble import TroubleLog

PATIENCE_S = 1.0
"""A timeout after less than this says nothing about Phoenix: the caller's deadline was short."""
QUIET_S = 10.0
"""A host answers again when it has not failed for this long: one that fails now and then gives no line for each."""
_FAILURES = (errors.PhoenixUnavailable, errors.PhoenixTimeout, errors.PhoenixAnswerUnreadable, errors.OutcomeUnknown)
_ADVICE = (
    "calls are tried again by themselves where that is safe; check the address and Phoenix's status,"
    " phoenix-gateway doctor checks the host"
)


class HostLog:
    """The state of all hosts. Use it in one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failing: dict[tuple[str, str], tuple[TroubleLog, float]] = {}

    def failed(self, what: str, address: str, error: errors.GatewayError, took_s: float) -> None:
        """A call or socket ended with this error; a refusal proves that the host answers."""
        if not isinstance(error, _FAILURES):
            self.answered(what, address)
            return
        if isinstance(error, errors.PhoenixTimeout) and took_s < PATIENCE_S:
            return
        log, _ = self._failing.get((what, address)) or (_log_of(what, address), 0.0)
        self._failing[what, address] = (log, self._clock.monotonic())
        log.failed(error)

    def answered(self, what: str, address: str) -> None:
        """The host answered."""
        if not self._failing:  # nearly always
            return
        found = self._failing.get((what, address))
        if found is not None and self._clock.monotonic() - found[1] >= QUIET_S:
            del self._failing[what, address]
            found[0].works()


def part_of(surface: Surface) -> str:
    """Return how the log names a surface."""
    return f"Phoenix {surface.value}"


def _log_of(what: str, address: str) -> TroubleLog:
    return TroubleLog(what, address=address, advice=_ADVICE)
