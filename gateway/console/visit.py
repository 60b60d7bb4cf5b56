"""One request of a visitor, and what the pages show besides the gateway's methods."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.console.calls import PREFIX, MakeCalls, Visitor
from gateway.console.day_reports import DayReports
from gateway.core.rights import Grant, OperatorScope


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitInUse:
    """How much of its limits a caller or tenant uses in this process. `share`: of the burst of a second, 0 to 1."""

    name: str
    limit: str
    value: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the pages read that is no method: the state of the gateway's own processes.

    `readiness`: as /readyz; `history`: steps of `telemetry/call_history.py`; `explain`: as /explain; `days`:
    reconciles a day; `tenants` and `operators`: those that are configured.
    """

    readiness: Callable[[], Awaitable[Mapping[str, Any]]]
    history: Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]
    limits: Callable[[], Sequence[LimitInUse]]
    explain: Callable[[str], Awaitable[Mapping[str, Any]]]
    days: DayReports
    tenants: Sequence[str]
    operators: Sequence[OperatorScope]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request that is allowed in. `fields`: of the query, or of a form that was sent. `rest`: of the path."""

    visitor: Visitor
    grant: Grant
    calls: MakeCalls
    sources: Sources
    fields: Mapping[str, str]
    now: datetime
    rest: str = ""
    form_token: str = ""

    def field(self, name: str, default: str = "") -> str:
        """Return a field without the blanks around it."""
        return self.fields.get(name, default).strip()

    def may(self, method: str) -> bool:
        """Whether the policy lets the visitor call a method such as `EventService/RedriveDeadLetters`."""
        return PREFIX + method in self.grant.methods

    @property
    def tenants(self) -> list[str]:
        """The tenants that the visitor may see."""
        return [one for one in self.sources.tenants if self.grant.sees_tenant(one)]

    @property
    def operators(self) -> list[OperatorScope]:
        """The operator environments that the visitor may see."""
        return [one for one in self.sources.operators if self.grant.sees_operator(*one)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page function returns: a template and its values, a redirect, or a file to save."""

    template: str = ""
    values: Mapping[str, Any] | None = None
    status: int = 200
    location: str = ""
    file_name: str = ""
    body: bytes = b""
