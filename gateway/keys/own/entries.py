"""Types of the key ring: configured tenants and operators, their current keys, and faults. Source: API.md, settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.secret import Secret
from gateway.core.types import Environment, OperatorCode, TenantId
from gateway.keys.signers.signing_queue import LaunchKey
from gateway.keys.signers.store import KeyStore
from gateway.keys.sources.secret_files import SecretSource

DEFAULT_LEAD_S = 300.0
"""How long an operator key is published before it signs. Verifiers fetch the published keys more often than this."""
LONGEST_TOKEN_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantEntry:
    """A gamification tenant as configured."""

    tenant_id: TenantId
    hmac: SecretSource | None = None
    api_key: SecretSource | None = None
    api_key_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorEntry:
    """A prediction operator environment as configured.

    `lead_s`: how long a new signing key is published before it signs. `retire_s`: how long a replaced key stays
    published; longer than the lifetime of any token that it signed. `key_store`: keeps the signing key, instead of
    `signing_key`.
    """

    operator_code: OperatorCode
    environment: Environment
    signing_key: SecretSource | None = None
    key_store: KeyStore | None = None
    operator_id: str | None = None
    lead_s: float = DEFAULT_LEAD_S
    retire_s: float = LONGEST_TOKEN_S + DEFAULT_LEAD_S


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantKeys:
    """The current keys of a tenant."""

    tenant_id: TenantId
    hmac: Secret | None
    api_key: Secret | None
    api_key_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorKeys:
    """The current signing key of an operator environment."""

    operator_code: OperatorCode
    environment: Environment
    signing_key: LaunchKey | None
    operator_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFault:
    """A secret that cannot be used: the name of the setting and the reason, never the value."""

    setting: str
    description: str


class KeyringRefused(ValueError):
    """The configured keys cannot be used. `faults` holds every fault."""

    def __init__(self, faults: Sequence[KeyFault]) -> None:
        """Put every fault into the message."""
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{fault.setting}: {fault.description}" for fault in self.faults))
