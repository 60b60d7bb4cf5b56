"""Finds the tenant or operator that a request means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from gateway.core.types import Environment, OperatorCode, TenantId
from gateway.errors import FieldFault, InvalidField, OperatorUnknown, TenantUnknown

T = TypeVar("T")


class TenantDirectory(Generic[T]):
    """Tenants by id."""

    def __init__(self, entries: Mapping[TenantId, T]) -> None:
        self._entries = dict(entries)

    def resolve(self, tenant_id: str) -> T:
        """Return the tenant; an empty id means the only one.

        Raises: TenantUnknown; InvalidField when the id is empty and there are several.
        """
        if not tenant_id:
            if len(self._entries) == 1:
                return next(iter(self._entries.values()))
            if self._entries:
                raise InvalidField([FieldFault(field="tenant_id", description="name one: several are configured")])
            raise TenantUnknown("No tenant is configured here. Set TENANT_ID or [[tenants]].")
        found = self._entries.get(TenantId(tenant_id))
        if found is None:
            raise TenantUnknown()
        return found

    def all(self) -> Iterable[T]:
        """Return every tenant, in the order of the configuration."""
        return self._entries.values()


class OperatorDirectory(Generic[T]):
    """Operator environments by code and environment."""

    def __init__(self, entries: Mapping[tuple[OperatorCode, Environment], T]) -> None:
        self._entries = dict(entries)

    def resolve(self, operator_code: str, environment: Environment | None) -> T:
        """Return the operator environment; what is left empty means the only one there is.

        Raises: OperatorUnknown; InvalidField naming the member that is needed to choose among several.
        """
        if operator_code and environment is not None:
            found = self._entries.get((OperatorCode(operator_code), environment))
            if found is None:
                raise OperatorUnknown()
            return found
        fitting = [
            (key, entry)
            for key, entry in self._entries.items()
            if (not operator_code or key[0] == operator_code) and (environment is None or key[1] is environment)
        ]
        if not fitting:
            raise OperatorUnknown()
        if len(fitting) > 1:
            several_codes = len({key[0] for key, _ in fitting}) > 1
            field = "operator_code" if several_codes else "environment"
            raise InvalidField([FieldFault(field=field, description="name one: several are configured")])
        return fitting[0][1]

    def all(self) -> Iterable[T]:
        """Return every operator environment, in the order of the configuration."""
        return self._entries.values()
