"""Shortens a call's deadline to the earlier of two: the caller's, less a margin for the way back, and the method's."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.actions.shared.call import Call
from gateway.errors import DeadlineTooShort
from gateway.interceptors.chain import ArrivalCheck
from gateway.interceptors.policy import METHODS, MethodPolicy
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import RETURN_MARGIN_S, Deadline


class CallDeadline(ArrivalCheck):
    """Sets the deadline that the action, the store and the calls to Phoenix obey."""

    def __init__(self, clock: Clock, table: Mapping[str, MethodPolicy] = METHODS) -> None:
        self._clock = clock
        self._timeouts = {method: row.timeout_s for method, row in table.items()}

    def before(self, call: Call) -> None:
        """Shorten the deadline. Raises: DeadlineTooShort if no time is left."""
        timeout_s = self._timeouts[call.method]
        at = call.deadline.at - RETURN_MARGIN_S
        if timeout_s is not None:
            at = min(call.arrived_at + timeout_s, at)
        if at <= self._clock.monotonic():
            raise DeadlineTooShort()
        call.deadline = Deadline(at=at, clock=self._clock)
