"""Tries a new key of ours at the host that the configuration names for it."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config import OperatorConfig, TenantConfig
from gateway.core.key_trial import TrialResult
from gateway.core.types import Environment, OperatorCode, TenantId
from gateway.keys.descriptions import KeyKind
from gateway.keys.own.signing import SigningKeys
from gateway.phoenix.auth import authorize
from gateway.phoenix.auth.authorize import Authorize, AuthorizeAnywhere
from gateway.phoenix.auth.credential_trial import CredentialTrial
from gateway.phoenix.prediction.operator_api import SETTINGS_PATH
from gateway.phoenix.reachability import HEALTH_PATH
from gateway.resilience.clock import Clock


class KeyTrials:
    """The Trial of a keyring."""

    def __init__(
        self,
        trial: CredentialTrial,
        clock: Clock,
        tenants: Mapping[TenantId, TenantConfig],
        operators: Mapping[tuple[OperatorCode, Environment], OperatorConfig],
    ) -> None:
        self._trial = trial
        self._clock = clock
        self._tenants = tenants
        self._operators = operators

    async def tenant(
        self, tenant_id: TenantId, kind: KeyKind, candidate: SigningKeys, current: SigningKeys
    ) -> TrialResult:
        """Read the admin host's health route, which answers 200 only to valid credentials."""

        def sign(keyring: SigningKeys) -> Authorize:
            if kind is KeyKind.TENANT_HMAC:
                return authorize.tenant_hmac(keyring, tenant_id, self._clock)
            return authorize.api_key(keyring, tenant_id)

        base_url = self._tenants[tenant_id].admin_base_url
        return await self._trial.compare(base_url, HEALTH_PATH, new=sign(candidate), in_use=sign(current))

    async def operator(
        self, operator_code: OperatorCode, environment: Environment, candidate: SigningKeys, current: SigningKeys
    ) -> TrialResult:
        """Read the operator's settings: Phoenix verifies the signature with the public half that it holds."""
        config = self._operators[operator_code, environment]

        def sign(keyring: SigningKeys) -> AuthorizeAnywhere:
            return authorize.operator_signature(keyring, operator_code, environment, self._clock, config.signature)

        return await self._trial.compare(config.base_url, SETTINGS_PATH, new=sign(candidate), in_use=sign(current))
