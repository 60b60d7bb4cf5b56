"""Write a policy out as a matrix (caller, method, tenant or operator) and compare two policies.

For people and tests. A call asks `Grant` directly; the matrix uses the same methods of `Grant`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.core.rights import Access, Callers, Grant, OperatorScope, Scope
from gateway.core.types import TenantId

EVERY = "*"
"""As tenant or operator: any that is not configured now. Open only to callers with access to all."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Cell:
    """One cell of the matrix. Tenant, operator and environment are "" where the method does not use them."""

    caller: str
    method: str
    right: str
    tenant: str = ""
    operator: str = ""
    environment: str = ""

    @property
    def subject(self) -> str:
        """The tenant, or the operator and environment, as one text."""
        return self.tenant or (f"{self.operator}/{self.environment}" if self.operator else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subjects:
    """The configured tenants and operator environments."""

    tenants: Sequence[TenantId]
    operators: Sequence[OperatorScope]


def cells(callers: Callers, access: Mapping[str, Access], subjects: Subjects) -> Iterator[tuple[Cell, bool]]:
    """Yield every cell and whether it is open, in the policy's order of callers, then by method."""
    for grant in callers.by_name.values():
        for method, needs in access.items():
            yield from _cells_of(grant, method, needs, subjects)


def _cells_of(grant: Grant, method: str, needs: Access, subjects: Subjects) -> Iterator[tuple[Cell, bool]]:
    may_call = method in grant.methods
    if needs.scope is Scope.CALLER:
        yield Cell(caller=grant.caller, method=method, right=needs.right), may_call
    if needs.scope.names_tenant:
        for tenant in (*subjects.tenants, EVERY):
            cell = Cell(caller=grant.caller, method=method, right=needs.right, tenant=tenant)
            yield cell, may_call and grant.sees_tenant(tenant)
    if needs.scope.names_operator:
        for code, environment in subjects.operators:
            cell = Cell(
                caller=grant.caller, method=method, right=needs.right, operator=code, environment=environment.value
            )
            yield cell, may_call and grant.sees_operator(code, environment)
        cell = Cell(caller=grant.caller, method=method, right=needs.right, operator=EVERY, environment=EVERY)
        yield cell, may_call and grant.operators is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a new policy adds and removes. `bounds`: changed limits and identities of callers, as texts."""

    gained: tuple[Cell, ...]
    lost: tuple[Cell, ...]
    bounds: tuple[str, ...]

    @property
    def is_none(self) -> bool:
        """Whether the two policies are equal."""
        return not (self.gained or self.lost or self.bounds)


def difference(
    old: tuple[Callers, Subjects], new: tuple[Callers, Subjects], access: Mapping[str, Access]
) -> Difference:
    """Compare two policies cell by cell, and the limits of their callers."""
    before = {cell for cell, is_open in cells(old[0], access, old[1]) if is_open}
    after = {cell for cell, is_open in cells(new[0], access, new[1]) if is_open}
    return Difference(
        gained=tuple(sorted(after - before)),
        lost=tuple(sorted(before - after)),
        bounds=tuple(_bounds(old[0], new[0])),
    )


def _bounds(old: Callers, new: Callers) -> Iterator[str]:
    for name in sorted({*old.by_name, *new.by_name}):
        before, after = bounds_of(old, name), bounds_of(new, name)
        for what in sorted({*before, *after}):
            had, has = before.get(what, ""), after.get(what, "")
            if had != has:
                yield f"{name}: {what}: {had or 'none'} -> {has or 'none'}"


def bounds_of(callers: Callers, name: str) -> Mapping[str, str]:
    """Return what limits a caller beside the cells: identities, paths, tokens, rates. Texts to compare and show."""
    grant = callers.by_name.get(name)
    if grant is None:
        return {}
    claims, limits = grant.claims, grant.limits
    texts = {
        "identities": _listed(identity for identity, caller in callers.ids.items() if caller == name),
        "paths": _listed(f"{one.surface or 'any'} {one}" for one in grant.paths),
        "longest token": "" if claims.max_ttl_s is None else f"{claims.max_ttl_s} s",
        "currencies": "" if claims.currencies is None else _listed(claims.currencies) or "no currency",
        "requests a second": "" if limits.requests_per_s is None else f"{limits.requests_per_s:g}",
        "events a second": "" if limits.events_per_s is None else f"{limits.events_per_s:g}",
        "calls at once": "" if limits.concurrent is None else str(limits.concurrent),
    }
    return {what: text for what, text in texts.items() if text}


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(sorted(texts))
