"""Refuses what operators have switched off: methods and callers here, tenants and operators where they are looked up.

A refusal is UNAVAILABLE with RetryInfo and never final: a wallet answers Phoenix with 503. Streams that run end with
their next message. Where the list comes from is actions/watch_switches.py's matter. Source: issue 8, point 8.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.actions.shared.call import Call
from gateway.core.switches import Switches, TargetKind
from gateway.errors import Disabled
from gateway.interceptors.chain import Link


class KillSwitch(Link):
    """The list in force. Stands behind policy: a stranger is told nothing of what is switched off."""

    def __init__(self, methods: Iterable[str]) -> None:
        """Args: `methods`: full paths of all that are served."""
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
        """Return the full names of services of which every method is switched off."""
        left = {method.split("/")[1] for method in self._served - self._methods}
        return frozenset(method.split("/")[1] for method in self._methods) - left

    def before(self, call: Call) -> None:
        """Refuse a method or caller that is switched off. Raises: Disabled."""
        if self._any:
            self.again(call)

    def again(self, call: Call) -> None:
        """End a stream of which something was switched off since it began. Raises: Disabled."""
        if not self._any:
            return
        if call.method in self._methods:
            raise _off("method")
        if call.caller in self._callers:
            raise _off("caller")
        facts = call.facts
        tenant = facts.get("tenant")
        if tenant is not None and tenant in self._tenants:
            raise _off("tenant")
        operator = facts.get("operator")
        if operator is not None and f"{operator}/{facts.get('environment', '')}" in self._operators:
            raise _off("operator")

    def is_tenant_off(self, tenant_id: str) -> bool:
        """Whether a tenant is switched off; for work that no call waits for."""
        return tenant_id in self._tenants

    def admit(self, scope: str) -> None:
        """Refuse a tenant, or an operator environment as `code/environment`, that is switched off.

        For whoever looks them up; no tenant's id holds a slash. Raises: Disabled.
        """
        if self._any and (scope in self._tenants or scope in self._operators):
            raise _off("operator" if "/" in scope else "tenant")


def _off(what: str) -> Disabled:
    return Disabled(
        f"The gateway's operators have switched this {what} off for now. Wait as RetryInfo says, or ask them.",
        metadata={"off": what},
    )
