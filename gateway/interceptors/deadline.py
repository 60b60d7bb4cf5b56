"""Narrows a call's deadline: the lesser of the caller's and the method's own, less the way back."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.actions.shared.call import Call
from gateway.errors import DeadlineTooShort
from gateway.interceptors.chain import Link
from gateway.interceptors.policy import METHODS, MethodPolicy
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import RETURN_MARGIN_S, Deadline


class DeadlineLink(Link):
    """Sets the deadline that everything below obeys."""

    def __init__(self, clock: Clock, table: Mapping[str, MethodPolicy] = METHODS) -> None:
        self._clock = clock
        self._timeouts = {method: row.timeout_s for method, row in table.items()}

    def before(self, call: Call) -> None:
        """Narrow the deadline. Raises: DeadlineTooShort when nothing would be left to work in."""
        timeout_s = self._timeouts[call.method]
        if timeout_s is None:
            return
        at = min(call.arrived_at + timeout_s, call.deadline.at - RETURN_MARGIN_S)
        if at <= self._clock.monotonic():
            raise DeadlineTooShort()
        call.deadline = Deadline(at=at, clock=self._clock)
