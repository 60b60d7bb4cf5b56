"""Mints tokens and signed URLs with keys in memory; no network.

What a token says is decided in core (launch_token.py, tokens.py); here keys are found and the
product is checked before it leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from gateway.actions.call import Call
from gateway.actions.directory import OperatorDirectory, TenantDirectory
from gateway.actions.rooms import OperatorRoom, TenantRoom
from gateway.core.canonical import encode_segment
from gateway.core.launch_token import LaunchRequest, Player, build_claims, check_token, sign_token
from gateway.core.tokens import admin_claims, check_hs256, sign_hs256, tenant_claims
from gateway.core.types import Environment, KeyId, UnixSeconds
from gateway.errors import FieldFault, InvalidField, KeyUnknown
from gateway.keys.keyring import Keyring
from gateway.keys.secrets import Secret
from gateway.resilience.clock import Clock

PLAYER_TTL_S = 300
VISITOR_TTL_S = 900
TENANT_TTL_S = 3600
ADMIN_TTL_S = 3600
SOCKET_TTL_S = 300
"""How far Phoenix lets a socket's timestamp lie back. Source: gamification.md 3.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    """A token and when it ends (Unix seconds)."""

    token: str
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchToken:
    """A launch token, when it ends, which key signed it, and the iframe's address with it."""

    token: str
    expires_at: int
    key_id: KeyId
    embed_url: str


class MintTokens:
    """The actions behind TokenService."""

    def __init__(
        self,
        tenants: TenantDirectory[TenantRoom],
        operators: OperatorDirectory[OperatorRoom],
        keyring: Keyring,
        clock: Clock,
    ) -> None:
        self._tenants = tenants
        self._operators = operators
        self._keyring = keyring
        self._clock = clock

    def launch(
        self,
        *,
        operator_code: str,
        environment: Environment | None,
        player: Player | None,
        cfg: Mapping[str, Any] | None,
        ttl_s: int | None,
        call: Call,
    ) -> LaunchToken:
        """Mint a launch token for a player, or for a visitor when `player` is None.

        Raises: OperatorUnknown, KeyUnknown, InvalidField; InternalFault when the product does not check.
        """
        room = self._operators.resolve(operator_code, environment)
        call.facts["operator"] = room.operator_code
        call.facts["environment"] = room.environment.value
        key = self._keyring.operator(room.operator_code, room.environment).signing_key
        if key is None:
            raise KeyUnknown("This operator environment has no launch key. Set PREDICTION_LAUNCH_KEY.")
        if player is not None and room.currencies and player.currency not in room.currencies:
            supported = ", ".join(sorted(room.currencies))
            raise InvalidField([FieldFault(field="player.currency", description=f"must be one of {supported}")])
        request = LaunchRequest(
            operator_code=room.operator_code,
            environment=room.environment,
            player=player,
            cfg=dict(cfg) if cfg is not None else None,
            ttl_s=ttl_s or (VISITOR_TTL_S if player is None else PLAYER_TTL_S),
        )
        claims = build_claims(request, self._now())
        token = sign_token(claims, key)
        check_token(token, key.public, claims)
        call.facts["key_id"] = key.key_id
        return LaunchToken(
            token=token,
            expires_at=int(claims["exp"]),
            key_id=key.key_id,
            embed_url=f"{room.embed_url}/o/{encode_segment(room.operator_code)}?token={token}",
        )

    def tenant(self, *, tenant_id: str, user_id: str, ttl_s: int | None, call: Call) -> Minted:
        """Mint a tenant token for one user. Raises: TenantUnknown, KeyUnknown."""
        room = self._room(tenant_id, call)
        secret = self._keyring.tenant(room.tenant_id).hmac
        if secret is None:
            raise KeyUnknown("This tenant has no HMAC secret. Set INGESTION_HMAC_SECRET.")
        return _hs256(tenant_claims(user_id, room.tenant_id, self._now(), ttl_s or TENANT_TTL_S), secret)

    def admin(self, *, tenant_id: str, subject: str, ttl_s: int | None, call: Call) -> Minted:
        """Mint an admin token. Raises: TenantUnknown, KeyUnknown when the API key or its UUID is not configured."""
        room = self._room(tenant_id, call)
        keys = self._keyring.tenant(room.tenant_id)
        if keys.api_key is None or not keys.api_key_id:
            raise KeyUnknown("This tenant has no admin API key with its id. Set ADMIN_API_KEY and ADMIN_API_KEY_ID.")
        return _hs256(admin_claims(subject, keys.api_key_id, self._now(), ttl_s or ADMIN_TTL_S), keys.api_key)

    def socket_url(self, *, tenant_id: str, leaderboard_id: str, call: Call) -> Minted:
        """Sign the address of a board's live socket; `token` is the whole URL. Raises: TenantUnknown, KeyUnknown."""
        room = self._room(tenant_id, call)
        now = self._now()
        path = f"/v1/leaderboards/{encode_segment(room.tenant_id)}/{encode_segment(leaderboard_id)}/ws"
        signature = self._keyring.sign_socket(room.tenant_id, path, now)
        url = f"{room.socket_base_url}{path}?timestamp={now}&signature={quote(signature, safe='')}"
        return Minted(token=url, expires_at=now + SOCKET_TTL_S)

    def _room(self, tenant_id: str, call: Call) -> TenantRoom:
        room = self._tenants.resolve(tenant_id)
        call.facts["tenant"] = room.tenant_id
        return room

    def _now(self) -> UnixSeconds:
        return UnixSeconds(int(self._clock.now()))


def _hs256(claims: dict[str, Any], secret: Secret) -> Minted:
    token = sign_hs256(claims, secret.reveal())
    check_hs256(token, secret.reveal(), claims)
    return Minted(token=token, expires_at=int(claims["exp"]))
