"""Finds the tenant or operator that a request names, among those that its caller may access.

No action reaches the keys or clients of a tenant or operator in another way, so none bypasses the caller's grant. That
includes each item of a batch, each message of a stream and a name that a request leaves empty. A caller that may not
access all of them gets the same refusal for an unknown one and for one that belongs to another caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from gateway.actions.shared.call import Call
from gateway.core.rights import Grant
from gateway.core.switches import TargetKind
from gateway.core.types import Environment, OperatorCode, TenantId
from gateway.errors import FieldFault, InvalidField, NotAllowed, OperatorUnknown, TenantUnknown

T = TypeVar("T")

OnTarget = Callable[[Call, TargetKind, str], None]
"""Called with each tenant, and each operator environment as `code/environment`, that a call may use. Raises Disabled
if it is switched off, RateLimited if its limits are used up. `interceptors.chain.Chain.on_target` is one."""


def _pass(call: Call, kind: TargetKind, name: str) -> None:
    """Refuse nothing."""


_NOT_THE_TENANT = "This caller may not do this for that tenant. Ask the owner of the gateway's policy."
_NOT_THE_OPERATOR = (
    "This caller may not do this for that operator and environment. Ask the owner of the gateway's policy."
)


class TenantDirectory(Generic[T]):
    """Tenants by id."""

    def __init__(self, entries: Mapping[TenantId, T], on_target: OnTarget = _pass) -> None:
        self._entries = dict(entries)
        self._on_target = on_target

    def resolve(self, tenant_id: str, call: Call) -> T:
        """Return the tenant; an empty id means the caller's only one. The record names it, even if it is refused.

        Raises: NotAllowed; TenantUnknown; InvalidField if the id is empty and the caller has several; Disabled;
        RateLimited.
        """
        grant = call.grant
        if not tenant_id:
            tenant_id = self._only(grant)
        call.record.tenant = tenant_id
        if grant.tenants is not None and tenant_id not in grant.tenants:
            raise NotAllowed(_NOT_THE_TENANT)
        found = self._entries.get(TenantId(tenant_id))
        if found is None:
            raise TenantUnknown()
        self._on_target(call, TargetKind.TENANT, tenant_id)
        return found

    def configured(self, tenant_id: TenantId) -> T:
        """Return a tenant that an earlier call resolved. Raises: TenantUnknown."""
        found = self._entries.get(tenant_id)
        if found is None:
            raise TenantUnknown()
        return found

    def seen_by(self, grant: Grant) -> Iterator[T]:
        """Yield the entries that the caller may access, in the order of the configuration."""
        return (entry for tenant_id, entry in self._entries.items() if grant.sees_tenant(tenant_id))

    def all(self) -> Iterable[T]:
        """Return every tenant, in the order of the configuration."""
        return self._entries.values()

    def _only(self, grant: Grant) -> TenantId:
        own = tuple(self._entries) if grant.tenants is None else tuple(grant.tenants)
        if len(own) == 1:
            return own[0]
        if own:
            raise InvalidField([FieldFault(field="tenant_id", description="name one: several are configured")])
        if grant.tenants is not None:
            raise NotAllowed(_NOT_THE_TENANT)
        raise TenantUnknown("No tenant is configured here. Set TENANT_ID or [[tenants]].")


class OperatorDirectory(Generic[T]):
    """Operator environments by code and environment."""

    def __init__(self, entries: Mapping[tuple[OperatorCode, Environment], T], on_target: OnTarget = _pass) -> None:
        self._entries = dict(entries)
        self._on_target = on_target

    def resolve(self, operator_code: str, environment: Environment | None, call: Call) -> T:
        """Return the operator environment; an empty argument means the caller's only one.

        The call's record names it, even if it is refused.
        Raises: NotAllowed; OperatorUnknown; InvalidField, naming the field that is needed to choose among several;
        Disabled; RateLimited.
        """
        grant = call.grant
        if not operator_code or environment is None:
            code, environment = self._only(operator_code, environment, call)
        else:
            code = OperatorCode(operator_code)
        call.record.operator = code
        call.record.environment = environment.value
        if grant.operators is not None and (code, environment) not in grant.operators:
            raise NotAllowed(_NOT_THE_OPERATOR)
        found = self._entries.get((code, environment))
        if found is None:
            raise OperatorUnknown()
        self._on_target(call, TargetKind.OPERATOR, f"{code}/{environment.value}")
        return found

    def seen_by(self, grant: Grant) -> Iterator[T]:
        """Yield the entries that the caller may access, in the order of the configuration."""
        return (entry for key, entry in self._entries.items() if grant.sees_operator(*key))

    def all(self) -> Iterable[T]:
        """Return every operator environment, in the order of the configuration."""
        return self._entries.values()

    def _only(
        self, operator_code: str, environment: Environment | None, call: Call
    ) -> tuple[OperatorCode, Environment]:
        own = tuple(self._entries) if call.grant.operators is None else tuple(call.grant.operators)
        fitting = [
            key
            for key in own
            if (not operator_code or key[0] == operator_code) and (environment is None or key[1] is environment)
        ]
        if len(fitting) == 1:
            return fitting[0]
        if operator_code:
            call.record.operator = operator_code
        if environment is not None:
            call.record.environment = environment.value
        if fitting:
            several_codes = len({code for code, _ in fitting}) > 1
            field = "operator_code" if several_codes else "environment"
            raise InvalidField([FieldFault(field=field, description="name one: several are configured")])
        if call.grant.operators is not None:
            raise NotAllowed(_NOT_THE_OPERATOR)
        raise OperatorUnknown()
