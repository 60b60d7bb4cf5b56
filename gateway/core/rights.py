"""Who may do what, worked out: one `Grant` a caller, asked on every call, and the callers by name and by identity.

Pure data and look-ups. What the policy file says is read in config/callers.py, who is calling is found out by
interceptors/identity.py, methods are judged by interceptors/policy.py, tenants and operators where an action looks
them up (actions/directory.py). Source: issue 8, points 1 and 2.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from gateway.core.raw_path import PathPattern
from gateway.core.types import Environment, OperatorCode, TenantId

LOCAL_CALLER = "local"
"""Name of every caller on a loopback or Unix listener that tells callers apart by nothing."""

OperatorScope = tuple[OperatorCode, Environment]


class Scope(enum.Enum):
    """Whose data a method's calls are about. The values are those of the contract's AccessScope."""

    CALLER = 1
    TENANT = 2
    OPERATOR = 3
    TENANT_OR_OPERATOR = 4

    @property
    def names_tenant(self) -> bool:
        """Whether a request may mean a tenant."""
        return self in (Scope.TENANT, Scope.TENANT_OR_OPERATOR)

    @property
    def names_operator(self) -> bool:
        """Whether a request may mean an operator environment."""
        return self in (Scope.OPERATOR, Scope.TENANT_OR_OPERATOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a caller needs to call one method. `always`: nothing but to be known."""

    right: str
    scope: Scope
    always: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """How much a caller, or a tenant, may ask for. None: no bound of its own."""

    requests_per_s: float | None = None
    events_per_s: float | None = None
    concurrent: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimLimits:
    """What may stand in the tokens that a caller has minted. None: no bound beyond the gateway's own.

    `max_ttl_s`: longest lifetime in seconds. Environments need no bound here: they are part of the grant's operators.
    """

    max_ttl_s: int | None = None
    currencies: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one caller may do.

    `methods`: full paths such as /package.Service/Method. `tenants`, `operators`: None means every one that is
    configured. `paths`: what PhoenixService opens to the caller.
    """

    caller: str
    methods: frozenset[str]
    tenants: frozenset[TenantId] | None = frozenset()
    operators: frozenset[OperatorScope] | None = frozenset()
    claims: ClaimLimits = field(default_factory=ClaimLimits)
    paths: tuple[PathPattern, ...] = ()
    limits: CallLimits = field(default_factory=CallLimits)

    def sees_tenant(self, tenant_id: str) -> bool:
        """Tell whether the tenant's data are the caller's to see."""
        return self.tenants is None or tenant_id in self.tenants

    def sees_operator(self, operator_code: str, environment: Environment) -> bool:
        """Tell whether the operator environment's data are the caller's to see."""
        return self.operators is None or (operator_code, environment) in self.operators


DENY_ALL = Grant(caller="", methods=frozenset())
"""What somebody may do of whom nothing is known."""


class Callers:
    """All callers of one policy. Never changed: a policy that is read again makes another one."""

    def __init__(
        self,
        grants: Iterable[Grant],
        *,
        ids: Mapping[str, str] | None = None,
        open_methods: Collection[str] = (),
        tenant_limits: Mapping[str, CallLimits] | None = None,
        is_configured: bool = True,
    ) -> None:
        """Take the grants as they are.

        Args: `ids`: caller by SPIFFE id or DNS name; `open_methods`: what whoever has a verified certificate may call,
        though no caller has its name; `tenant_limits`: by tenant, "*" for those that are not named; `is_configured`:
        False for the one open caller of a development gateway.
        """
        self.by_name: Mapping[str, Grant] = {grant.caller: grant for grant in grants}
        self.ids: Mapping[str, str] = dict(ids or {})
        self.open_methods = frozenset(open_methods)
        self.is_configured = is_configured
        self._tenant_limits = dict(tenant_limits or {})
        self._by_id = {name: self.by_name[caller] for name, caller in self.ids.items()}

    def named_by(self, names: Iterable[str]) -> Grant | None:
        """Return the one caller that a certificate's names mean; None where they mean none, or several."""
        found: Grant | None = None
        for name in names:
            grant = self._by_id.get(name)
            if grant is not None and grant is not found:
                if found is not None:
                    return None
                found = grant
        return found

    def tenant_limits(self, tenant_id: str) -> CallLimits:
        """Return the bounds of one tenant over all its callers."""
        limits = self._tenant_limits.get(tenant_id)
        return limits or self._tenant_limits.get("*") or _UNLIMITED


_UNLIMITED = CallLimits()


def open_to_local(methods: Collection[str], paths: Iterable[PathPattern] = ()) -> Callers:
    """Return the callers of a gateway without a policy: one, who may do everything; for this machine alone."""
    grant = Grant(caller=LOCAL_CALLER, methods=frozenset(methods), tenants=None, operators=None, paths=tuple(paths))
    return Callers([grant], is_configured=False)
