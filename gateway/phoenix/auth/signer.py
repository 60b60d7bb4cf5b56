"""What request signing needs of the keys. `gateway.keys.own.signing.SigningKeys` provides it; `server` passes it in."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from gateway.core.ed25519 import SigningKey
from gateway.core.secret import Secret
from gateway.core.types import Environment, OperatorCode, TenantId, UnixSeconds


class TenantCredentials(Protocol):
    """What one tenant authenticates with now. None: not configured."""

    @property
    def hmac(self) -> Secret | None:
        """The secret that signs events and the tenant's own tokens."""

    @property
    def api_key(self) -> Secret | None:
        """The admin API key, which also signs admin tokens."""

    @property
    def api_key_id(self) -> str | None:
        """The UUID of the admin API key."""


class KeyInStore(Protocol):
    """A launch key that stays in its store, which signs."""

    def sign_one(self, message: bytes) -> Awaitable[bytes]:
        """Return the signature over `message`, verified. Raises: SigningKeyUnavailable."""


class OperatorCredentials(Protocol):
    """What one operator environment signs with now."""

    @property
    def signing_key(self) -> SigningKey | KeyInStore | None:
        """The launch key. None: not configured."""


class Signer(Protocol):
    """Signs with the version of a key that is in use when it is called. Raises: KeyUnknown where there is none."""

    @property
    def token_backdate_s(self) -> int:
        """How far back `iat` of a token is, in seconds."""

    def sign_request(self, tenant_id: TenantId, method: str, path: str, at: UnixSeconds, body: bytes) -> str:
        """Return the signature header's value for one Gamification request."""

    def sign_socket(self, tenant_id: TenantId, path: str, at: UnixSeconds) -> str:
        """Return the signature's value for opening a live socket."""

    def api_key(self, tenant_id: TenantId) -> str:
        """Return the tenant's admin API key."""

    def tenant(self, tenant_id: TenantId) -> TenantCredentials:
        """Return what the tenant authenticates with."""

    def operator(self, operator_code: OperatorCode, environment: Environment) -> OperatorCredentials:
        """Return what the operator environment signs with."""
