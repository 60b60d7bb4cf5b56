"""Sign requests with the current keys of tenants and operators, looked up by id.

The key ring keeps the tables current. A trial of a new key uses an object of its own with only that key.
"""

from __future__ import annotations

from gateway.core import canonical, hmac_sha256
from gateway.core.tokens import TOKEN_BACKDATE_S
from gateway.core.types import Environment, OperatorCode, TenantId, UnixSeconds
from gateway.errors import KeyUnknown, OperatorUnknown, TenantUnknown
from gateway.keys.own.entries import OperatorKeys, TenantKeys


class SigningKeys:
    """The current keys, by tenant and by operator environment."""

    def __init__(
        self,
        tenants: dict[TenantId, TenantKeys],
        operators: dict[tuple[OperatorCode, Environment], OperatorKeys],
        *,
        token_backdate_s: int = TOKEN_BACKDATE_S,
    ) -> None:
        """Take the tables of current keys, and how far back `iat` of every token is."""
        self.token_backdate_s = token_backdate_s
        self._tenant_keys = tenants
        self._operator_keys = operators

    def tenant(self, tenant_id: TenantId) -> TenantKeys:
        """Return the tenant's keys. Raises: TenantUnknown."""
        try:
            return self._tenant_keys[tenant_id]
        except KeyError:
            raise TenantUnknown from None

    def operator(self, operator_code: OperatorCode, environment: Environment) -> OperatorKeys:
        """Return the operator environment's keys. Raises: OperatorUnknown."""
        try:
            return self._operator_keys[operator_code, environment]
        except KeyError:
            raise OperatorUnknown from None

    def sign_request(self, tenant_id: TenantId, method: str, path: str, at: UnixSeconds, body: bytes) -> str:
        """Return the value of the signature header for one gamification request.

        Raises: TenantUnknown, KeyUnknown, InvalidCanonicalPart.
        """
        secret = self._hmac_secret(tenant_id)
        return hmac_sha256.header_value(secret, canonical.gamification_request(method, path, at, body))

    def sign_socket(self, tenant_id: TenantId, path: str, at: UnixSeconds) -> str:
        """Return the signature that opens the live socket.

        Raises: TenantUnknown, KeyUnknown, InvalidCanonicalPart.
        """
        return hmac_sha256.header_value(self._hmac_secret(tenant_id), canonical.gamification_socket(path, at))

    def api_key(self, tenant_id: TenantId) -> str:
        """Return the tenant's admin API key. Use it in a header only.

        Raises: TenantUnknown, KeyUnknown.
        """
        secret = self.tenant(tenant_id).api_key
        if secret is None:
            raise KeyUnknown
        return secret.reveal_text()

    def _hmac_secret(self, tenant_id: TenantId) -> bytes:
        secret = self.tenant(tenant_id).hmac
        if secret is None:
            raise KeyUnknown
        return secret.reveal()
