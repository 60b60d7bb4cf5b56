"""Refuses what the gateway's operators have switched off: methods, callers, tenants and operator environments.

A refusal is UNAVAILABLE with RetryInfo and never final: a wallet answers Phoenix with 503. An open stream ends with its
next message. controls/kill_switches.py keeps the list up to date.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.actions.shared.call import Call
from gateway.core.switches import Switches, TargetKind
from gateway.errors import Disabled
from gateway.interceptors.chain import ArrivalCheck, StreamCheck, TargetCheck

OUTCOMES = "/phoenix.gateway.v1.WalletService/RecordWalletOutcome"
"""Stays open while its operator is switched off: money that has moved must be recorded, and recording moves none."""


class KillSwitch(ArrivalCheck, StreamCheck, TargetCheck):
    """Applies the list in force. Belongs after Policy: an unknown caller must not learn what is switched off."""

    def __init__(self, methods: Iterable[str]) -> None:
        """Args: `methods`: the full paths of all methods that are served."""
        self._served = frozenset(methods)
        self._any = False
        self._methods: frozenset[str] = frozenset()
        self._callers: frozenset[str] = frozenset()
        self._tenants: frozenset[str] = frozenset()
        self._operators: frozenset[str] = frozenset()

    def take_over(self, switches: Switches) -> None:
        """Put another list in force, for every call and message from now on."""
        self._methods = switches.methods_off(self._served)
        self._callers = switches.names_off(TargetKind.CALLER)
        self._tenants = switches.names_off(TargetKind.TENANT)
        self._operators = switches.names_off(TargetKind.OPERATOR)
        self._any = bool(switches.off)

    def services_off(self) -> frozenset[str]:
        """Return the full names of the services whose methods are all switched off."""
        left = {method.split("/")[1] for method in self._served - self._methods}
        return frozenset(method.split("/")[1] for method in self._methods) - left

    def is_tenant_off(self, tenant_id: str) -> bool:
        """Return whether a tenant is switched off. For background work, which has no call."""
        return tenant_id in self._tenants

    def before(self, call: Call) -> None:
        """Refuse a method or caller that is switched off. Raises: Disabled."""
        if self._any:
            self._check_method_and_caller(call)

    def on_message(self, call: Call) -> None:
        """End a stream if something that it uses was switched off since it began. Raises: Disabled."""
        if not self._any:
            return
        self._check_method_and_caller(call)
        record = call.record
        if record.tenant is not None and record.tenant in self._tenants:
            raise _off("tenant")
        if record.operator is not None and f"{record.operator}/{record.environment}" in self._operators:
            raise _off("operator")

    def on_target(self, call: Call, kind: TargetKind, name: str) -> None:
        """Refuse a tenant or operator environment that is switched off. Raises: Disabled."""
        if not self._any or call.method == OUTCOMES:
            return
        if name in (self._tenants if kind is TargetKind.TENANT else self._operators):
            raise _off(kind.value)

    def _check_method_and_caller(self, call: Call) -> None:
        if call.method in self._methods:
            raise _off("method")
        if call.caller in self._callers:
            raise _off("caller")


def _off(what: str) -> Disabled:
    return Disabled(
        f"The gateway's operators have switched this {what} off for now. Wait as RetryInfo says, or ask them.",
        metadata={"off": what},
    )
