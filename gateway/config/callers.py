"""Reads the policy from the TOML file: [roles], [[callers]] and [tenant_limits]. What they do not name is refused.

Every name must exist: methods and rights in the contract, tenants and operators in the configuration.
policy_values.py checks single values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.config.faults import Faults, did_you_mean
from gateway.config.policy_values import Table, distinct, is_all, patterns
from gateway.core.launch_token import is_currency
from gateway.core.rights import Access, Callers, CallLimits, ClaimLimits, Grant, OperatorScope
from gateway.core.types import Environment, OperatorCode, TenantId

SECTIONS = frozenset({"roles", "callers", "tenant_limits"})
"""Top-level keys of the TOML file that belong to the policy."""

MAX_TTL_S = 86_400
_KEYS = frozenset(
    {
        *("name", "ids", "roles", "allow", "tenants", "operators", "environments"),
        *("max_token_ttl_s", "currencies", "phoenix_paths", "limits", "reflection"),
    }
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]{1,255})+")
_DNS = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")
_REFLECTION = "reflection"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyNames:
    """The names that a policy may use. `access`: by full path of the method, as the protos define it."""

    access: Mapping[str, Access]
    tenants: tuple[TenantId, ...] = ()
    operators: tuple[OperatorScope, ...] = ()


def read_callers(document: Mapping[str, Any], known: PolicyNames, faults: Faults) -> Callers | None:
    """Return the callers of the file; None if it has none, or none that is valid.

    Every fault is recorded with its place, such as `callers[2].allow[0]`. A policy with a fault must not be used.
    """
    if not SECTIONS & document.keys():
        return None
    reading = _Reading(known, faults)
    reading.roles(document.get("roles", {}))
    grants, ids = reading.callers(document.get("callers", []))
    limits = reading.tenant_limits(document.get("tenant_limits", {}))
    if not grants:
        faults.add("callers", "are missing, so nobody could call", "write each as [[callers]]")
        return None
    always = [method for method, access in known.access.items() if access.always]
    return Callers(grants, ids=ids, open_methods=always, tenant_limits=limits)


def is_identity(text: str) -> bool:
    """Tell whether a text has the form of a SPIFFE id or of a DNS name (lower case, no wildcard)."""
    return _SPIFFE.fullmatch(text) is not None or _DNS.fullmatch(text) is not None


@dataclass(slots=True)
class _Reading:
    """One pass over one file. It caches results, because a file may have a thousand callers."""

    known: PolicyNames
    faults: Faults
    _roles: dict[str, frozenset[str]] = field(default_factory=dict)
    _always: frozenset[str] = frozenset()
    _by_right: dict[str, frozenset[str]] = field(default_factory=dict)
    _methods: dict[tuple[str, ...], frozenset[str]] = field(default_factory=dict)
    _operators: dict[tuple[tuple[str, ...], tuple[str, ...]], frozenset[OperatorScope] | None] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        by_right: dict[str, set[str]] = {}
        for method, access in self.known.access.items():
            by_right.setdefault(access.right, set()).add(method)
            # A method by its own name: with the package, and without.
            by_right.setdefault(method.removeprefix("/"), set()).add(method)
            by_right.setdefault(method.rsplit(".", 1)[-1], set()).add(method)
        self._by_right = {name: frozenset(methods) for name, methods in by_right.items()}
        self._always = frozenset(method for method, access in self.known.access.items() if access.always)

    def roles(self, table: Any) -> None:
        """Read [roles]: lists of rights by name."""
        if not isinstance(table, dict):
            self.faults.add("roles", "is not a table", 'write [roles] and below it name = ["right", ...]')
            return
        for name, allow in table.items():
            place = f"roles.{name}" if _NAME.fullmatch(name) else "roles"
            if not _NAME.fullmatch(name):
                self.faults.add(place, "has a name with characters other than letters, digits, dot, hyphen, underscore")
            if not isinstance(allow, list) or not all(isinstance(one, str) for one in allow):
                self.faults.add(place, "is not a list of texts", "write the rights of the role")
                continue
            self._roles[name] = self._opened(tuple(allow), place)

    def callers(self, tables: Any) -> tuple[list[Grant], dict[str, str]]:
        """Read [[callers]]: the grants, and which identity is which caller."""
        grants: dict[str, Grant] = {}
        ids: dict[str, str] = {}
        if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
            self.faults.add("callers", "is not a list of tables", "write each as [[callers]]")
            return [], {}
        for index, values in enumerate(tables):
            table = Table(values, f"callers[{index}]", self.faults)
            table.refuse_unknown(_KEYS)
            name = table.text("name", _NAME, "is not 1 to 64 letters, digits, dots, hyphens or underscores")
            if name is None:
                continue
            if name in grants:
                self.faults.add(
                    f"callers[{index}].name", "is also the name of another caller", "give each caller its own"
                )
            for place, identity in table.texts("ids"):
                lowered = identity if identity.startswith("spiffe://") else identity.lower()
                if not is_identity(lowered):
                    self.faults.add(place, "is neither a SPIFFE id (spiffe://domain/path) nor a DNS name")
                elif ids.setdefault(lowered, name) != name:
                    self.faults.add(place, "is also an identity of another caller", "give each identity to one caller")
            grants[name] = self._grant(name, table)
        return list(grants.values()), ids

    def tenant_limits(self, tables: Any) -> dict[str, CallLimits]:
        """Read [tenant_limits]: bounds by tenant or operator environment (code/environment), "*" for the others."""
        if not isinstance(tables, dict):
            self.faults.add("tenant_limits", "is not a table", "write [tenant_limits] and below it a table per tenant")
            return {}
        limits = {}
        known = {"*", *self.known.tenants, *(f"{code}/{one.value}" for code, one in self.known.operators)}
        for index, (tenant_id, values) in enumerate(tables.items()):
            if tenant_id not in known:
                self.faults.add(f"tenant_limits[{index}]", "names a tenant that is not configured")
            limits[tenant_id] = Table(tables, f"tenant_limits[{index}]", self.faults).limits(values)
        return limits

    def _grant(self, name: str, table: Table) -> Grant:
        methods = self._opened(tuple(table.plain_texts("allow")), f"{table.place}.allow") | self._always
        for place, role in table.texts("roles"):
            if role not in self._roles:
                self.faults.add(place, "is no role of [roles]", did_you_mean(role, self._roles))
            methods |= self._roles.get(role, frozenset())
        if table.flag("reflection"):
            methods |= self._by_right[_REFLECTION]
        currencies = distinct(table, "currencies", is_currency, "is no currency code such as EUR")
        return Grant(
            caller=name,
            methods=methods,
            tenants=self._tenants(table),
            operators=self._operator_scopes(table),
            claims=ClaimLimits(
                max_ttl_s=table.whole("max_token_ttl_s", least=1, most=MAX_TTL_S), currencies=currencies
            ),
            paths=patterns(table, "phoenix_paths"),
            limits=table.limits(table.values.get("limits", {})),
        )

    def _opened(self, allow: tuple[str, ...], place: str) -> frozenset[str]:
        """Return the methods that a list of rights, methods and patterns such as "boards.*" allows."""
        known = self._methods.get(allow)
        if known is not None:
            return known
        methods: set[str] = set()
        found_before = len(self.faults.found)
        for index, entry in enumerate(allow):
            if entry in self._by_right:
                methods |= self._by_right[entry]
            elif entry == "*" or entry.endswith(".*"):
                beginning = entry[:-1]
                fitting = [method for method, access in self.known.access.items() if access.right.startswith(beginning)]
                methods.update(fitting)
                if not fitting:
                    self.faults.add(f"{place}[{index}]", "matches no right", "policy matrix lists the rights")
            else:
                hint = did_you_mean(entry, self._by_right)
                self.faults.add(f"{place}[{index}]", "is no right and no method", hint)
        opened = frozenset(methods)
        if len(self.faults.found) == found_before:  # else report the fault for the next caller too
            self._methods[allow] = opened
        return opened

    def _tenants(self, table: Table) -> frozenset[TenantId] | None:
        named = list(table.texts("tenants"))
        if is_all(named):
            return None
        for place, tenant_id in named:
            if tenant_id not in self.known.tenants:
                self.faults.add(place, "is no tenant that is configured", _near(tenant_id, self.known.tenants))
        return frozenset(TenantId(tenant_id) for _, tenant_id in named)

    def _operator_scopes(self, table: Table) -> frozenset[OperatorScope] | None:
        """Return the named operator environments, without those that `environments` excludes."""
        named = list(table.texts("operators"))
        within = self._environments(table)
        if is_all(named) and within is None:
            return None
        scopes: set[OperatorScope] = set()
        for place, text in named:
            code, slash, environment = text.rpartition("/")
            if text == "*":
                scopes.update(self.known.operators)
                continue
            fitting = [one for one in self.known.operators if one[0] == code and environment in ("*", one[1].value)]
            if not slash or not fitting:
                known = [f"{one[0]}/{one[1].value}" for one in self.known.operators]
                self.faults.add(place, "is no operator environment that is configured (code/environment)",
                                _near(text, known))  # fmt: skip
            scopes.update(fitting)
        return frozenset(one for one in scopes if within is None or one[1] in within)

    def _environments(self, table: Table) -> frozenset[Environment] | None:
        if "environments" not in table.values:
            return None
        found = set()
        for place, text in table.texts("environments"):
            try:
                found.add(Environment(text))
            except ValueError:
                self.faults.add(place, "is neither sandbox nor prod")
        return frozenset(found)


def _near(name: str, known: Iterable[str]) -> str:
    listed = [OperatorCode(one) for one in known]
    return did_you_mean(name, listed) if listed else "none is configured"
