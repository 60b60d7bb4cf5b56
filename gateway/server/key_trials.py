"""Tries a new key of ours at Phoenix before it takes over: a GET that changes nothing, signed with it.

A refusal counts only when the key before it is taken by the same route, and a yes only when the route does not say it
to anybody: one that takes neither key, or that takes everybody, says nothing of the key. Source: issue 8, point 3;
gamification.md 2.3, prediction.md 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.config import OperatorConfig, TenantConfig
from gateway.core.types import Environment, OperatorCode, TenantId
from gateway.errors import GatewayError
from gateway.keys.descriptions import KeyKind
from gateway.keys.own.keyring import Keyring
from gateway.keys.own.trials import TrialResult
from gateway.phoenix.gamification.client import Authorize
from gateway.phoenix.http_types import ExchangeFailed, Request, Sender
from gateway.phoenix.prediction.operator_api import SETTINGS_PATH
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.server import authorize
from gateway.server.checks import HEALTH_PATH

WITHIN_S = 2.0
"""Longest wait for one answer: all keys wait for their trials together."""
MAX_BYTES = 256 * 1024
_REFUSALS = (401, 403)


class KeyTrials:
    """The Trial of a keyring; asks the hosts that the configuration names."""

    def __init__(
        self,
        sender: Sender,
        clock: Clock,
        tenants: Mapping[TenantId, TenantConfig],
        operators: Mapping[tuple[OperatorCode, Environment], OperatorConfig],
    ) -> None:
        self._sender = sender
        self._clock = clock
        self._tenants = tenants
        self._operators = operators

    async def tenant(self, tenant_id: TenantId, kind: KeyKind, candidate: Keyring, current: Keyring) -> TrialResult:
        """Ask the admin host for its health, which it tells to a known caller."""

        def sign(keyring: Keyring) -> Authorize:
            if kind is KeyKind.TENANT_HMAC:
                return authorize.tenant_hmac(keyring, tenant_id, self._clock)
            return authorize.api_key(keyring, tenant_id)

        return await self._compare(self._tenants[tenant_id].admin_base_url, HEALTH_PATH, sign, candidate, current)

    async def operator(
        self, operator_code: OperatorCode, environment: Environment, candidate: Keyring, current: Keyring
    ) -> TrialResult:
        """Read the operator's settings: Phoenix checks the signature with the public half that it holds."""
        config = self._operators[operator_code, environment]

        def sign(keyring: Keyring) -> Authorize:
            return authorize.operator_signature(keyring, operator_code, environment, self._clock, config.signature)

        return await self._compare(config.base_url, SETTINGS_PATH, sign, candidate, current)

    async def _compare(
        self, base_url: str, path: str, sign: Callable[[Keyring], Authorize], candidate: Keyring, current: Keyring
    ) -> TrialResult:
        taken = await self._takes(base_url, path, sign(candidate))
        if taken is None:
            return TrialResult.UNANSWERED
        if taken:
            anybody = await self._takes(base_url, path, lambda *_: {})
            return TrialResult.ACCEPTED if anybody is False else TrialResult.UNPROVEN
        before = await self._takes(base_url, path, sign(current))
        if before is None:
            return TrialResult.UNANSWERED
        return TrialResult.REFUSED if before else TrialResult.UNPROVEN

    async def _takes(self, base_url: str, path: str, credentials: Authorize) -> bool | None:
        """Whether Phoenix takes these credentials; None when it said nothing of them."""
        try:
            headers = {"accept": "application/json", **credentials("GET", path, b"")}
            request = Request(method="GET", url_base=base_url, raw_path=path, headers=headers)
            answer = await self._sender.send(request, Deadline.after(WITHIN_S, self._clock), MAX_BYTES)
        except (ExchangeFailed, GatewayError):
            return None  # a trial that cannot be made says nothing, and must not end the watch over the files
        if answer.status in _REFUSALS:
            return False
        return True if 200 <= answer.status < 300 else None
