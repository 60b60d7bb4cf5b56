"""The rights of callers: one `Grant` for each caller, and the callers by name and by identity.

Pure data and look-ups. config/callers.py reads the policy file, interceptors/identity.py identifies the caller,
interceptors/policy.py checks the method, and actions/shared/directory.py checks the tenant or operator.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from gateway.core.raw_path import PathPattern
from gateway.core.types import Environment, OperatorCode, TenantId

LOCAL_CALLER = "local"
"""Name of every caller on a loopback or Unix listener that does not identify callers."""

OperatorScope = tuple[OperatorCode, Environment]


class Scope(enum.Enum):
    """Whose data a method works on. The values are those of AccessScope in the proto."""

    CALLER = 1
    TENANT = 2
    OPERATOR = 3
    TENANT_OR_OPERATOR = 4

    @property
    def names_tenant(self) -> bool:
        """Whether a request may name a tenant."""
        return self in (Scope.TENANT, Scope.TENANT_OR_OPERATOR)

    @property
    def names_operator(self) -> bool:
        """Whether a request may name an operator environment."""
        return self in (Scope.OPERATOR, Scope.TENANT_OR_OPERATOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a caller needs to call one method. `always`: every identified caller may call it."""

    right: str
    scope: Scope
    always: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """The limits of a caller or a tenant. None: no limit."""

    requests_per_s: float | None = None
    events_per_s: float | None = None
    concurrent: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimLimits:
    """The limits for tokens that a caller mints. None: no limit beyond the gateway's own.

    `max_ttl_s`: longest lifetime in seconds. The grant's `operators` already limit the environments.
    """

    max_ttl_s: int | None = None
    currencies: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one caller may do.

    `methods`: full paths such as /package.Service/Method. `tenants`, `operators`: None means all that are configured.
    `paths`: the paths that the caller may use through PhoenixService.
    """

    caller: str
    methods: frozenset[str]
    tenants: frozenset[TenantId] | None = frozenset()
    operators: frozenset[OperatorScope] | None = frozenset()
    claims: ClaimLimits = field(default_factory=ClaimLimits)
    paths: tuple[PathPattern, ...] = ()
    limits: CallLimits = field(default_factory=CallLimits)

    def sees_tenant(self, tenant_id: str) -> bool:
        """Tell whether the caller may access the tenant."""
        return self.tenants is None or tenant_id in self.tenants

    def sees_operator(self, operator_code: str, environment: Environment) -> bool:
        """Tell whether the caller may access the operator environment."""
        return self.operators is None or (operator_code, environment) in self.operators


DENY_ALL = Grant(caller="", methods=frozenset())
"""The grant of an unknown caller."""


class Callers:
    """All callers of one policy. Immutable: a reload of the policy creates a new object."""

    def __init__(
        self,
        grants: Iterable[Grant],
        *,
        ids: Mapping[str, str] | None = None,
        open_methods: Collection[str] = (),
        tenant_limits: Mapping[str, CallLimits] | None = None,
        is_configured: bool = True,
    ) -> None:
        """Take the grants.

        Args: `ids`: caller by SPIFFE id or DNS name; `open_methods`: methods that every client with a verified
        certificate may call, even if the policy does not name it; `tenant_limits`: by tenant, "*" for all others;
        `is_configured`: False for the one open caller of a development gateway.
        """
        self.by_name: Mapping[str, Grant] = {grant.caller: grant for grant in grants}
        self.ids: Mapping[str, str] = dict(ids or {})
        self.open_methods = frozenset(open_methods)
        self.is_configured = is_configured
        self._tenant_limits = dict(tenant_limits or {})
        self._by_id = {name: self.by_name[caller] for name, caller in self.ids.items()}

    def named_by(self, names: Iterable[str]) -> Grant | None:
        """Return the one caller that has one of a certificate's names; None if there is no caller, or several."""
        found: Grant | None = None
        for name in names:
            grant = self._by_id.get(name)
            if grant is not None and grant is not found:
                if found is not None:
                    return None
                found = grant
        return found

    def tenant_limits(self, tenant_id: str) -> CallLimits:
        """Return the limits of one tenant, shared by all its callers."""
        limits = self._tenant_limits.get(tenant_id)
        return limits or self._tenant_limits.get("*") or _UNLIMITED


_UNLIMITED = CallLimits()


def open_to_local(methods: Collection[str], paths: Iterable[PathPattern] = ()) -> Callers:
    """Return the callers of a gateway without a policy: one caller that may do everything, on this machine only."""
    grant = Grant(caller=LOCAL_CALLER, methods=frozenset(methods), tenants=None, operators=None, paths=tuple(paths))
    return Callers([grant], is_configured=False)
