"""Mints tokens and signed URLs with keys in memory; no token waits for the network but as supported_currencies.py says.

What a token says is decided in core (launch_token.py, tokens.py); here keys are found and the
product is checked before it leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from gateway.actions.shared.call import Call
from gateway.actions.shared.contexts import OperatorContext, TenantContext
from gateway.actions.shared.directory import OperatorDirectory, TenantDirectory
from gateway.core.canonical import encode_segment
from gateway.core.ed25519 import SigningKey
from gateway.core.encoding import sha256_hex
from gateway.core.launch_token import Player, check_token, is_currency, launch_claims, sign_token
from gateway.core.rights import ClaimLimits
from gateway.core.secret import Secret
from gateway.core.tokens import admin_claims, check_hs256, sign_hs256, tenant_claims
from gateway.core.types import Environment, KeyId, OperatorCode, UnixSeconds
from gateway.errors import FieldFault, GatewayError, InvalidField, KeyUnknown, NotAllowed
from gateway.keys.own.keyring import Keyring
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


class LaunchToken(NamedTuple):
    """A launch token, when it ends, which key signed it, and the iframe's address with it.

    A tuple, as WantedLaunch: a hundred are made at once, and a frozen dataclass takes three times as long.
    """

    token: str
    expires_at: int
    key_id: KeyId
    embed_url: str


class WantedLaunch(NamedTuple):
    """A launch token as a caller wants it. `player` None: a visitor's. `ttl_s` None: the usual one."""

    operator_code: str
    environment: Environment | None
    player: Player | None
    cfg: dict[str, Any] | None = None
    ttl_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """What the launch tokens of one operator environment are made with."""

    room: OperatorContext
    key: SigningKey
    key_id: KeyId
    url_before_token: str


class MintTokens:
    """The actions behind TokenService."""

    def __init__(
        self,
        tenants: TenantDirectory[TenantContext],
        operators: OperatorDirectory[OperatorContext],
        keyring: Keyring,
        clock: Clock,
    ) -> None:
        self._tenants = tenants
        self._operators = operators
        self._keyring = keyring
        self._clock = clock
        self._benches: dict[tuple[OperatorCode, Environment], _Bench] = {}

    async def launch(self, wanted: WantedLaunch, call: Call) -> LaunchToken:
        """Mint a launch token and check it before it leaves.

        Raises: OperatorUnknown, KeyUnknown, InvalidField; InternalFault when the product does not check.
        """
        bench = self._bench(wanted.operator_code, wanted.environment, call)
        room, key, player = bench.room, bench.key, wanted.player
        call.facts["key_id"] = bench.key_id
        limits = call.grant.claims
        _check_allowed_currency(player, limits)
        if player is not None and player.currency not in room.currencies:
            await _check_currency(room, player, call)
        claims = _claims(room, wanted, limits, self._now())
        token = sign_token(claims, key)
        check_token(token, key.public, claims)
        call.facts["claims_sha256"] = claims_digest([token])
        return _launch_token(bench, claims, token)

    async def launch_many(
        self, wanted: Sequence[WantedLaunch | InvalidField], call: Call
    ) -> list[LaunchToken | GatewayError]:
        """Mint launch tokens, one result each in their order; an InvalidField stays what it is.

        Every token's claims are checked; its signature is not verified again: the key pair was proved when it was
        loaded, and verifying takes longer than signing.
        """
        results: list[LaunchToken | GatewayError] = []
        limits, now = call.grant.claims, self._now()
        benches: dict[tuple[str, Environment | None], _Bench] = {}
        for one in wanted:
            if isinstance(one, InvalidField):
                results.append(one)
                continue
            try:
                named = (one.operator_code, one.environment)
                bench = benches.get(named)
                if bench is None:
                    bench = benches[named] = self._bench(*named, call)
                _check_allowed_currency(one.player, limits)
                if one.player is not None and one.player.currency not in bench.room.currencies:
                    await _check_currency(bench.room, one.player, call)
                claims = _claims(bench.room, one, limits, now)
                results.append(_launch_token(bench, claims, sign_token(claims, bench.key)))
            except GatewayError as error:
                results.append(error)
        tokens = [one.token for one in results if isinstance(one, LaunchToken)]
        if len(benches) == 1:
            (bench,) = benches.values()
            call.facts.update(_facts(bench))
        elif benches:
            del call.facts["operator"], call.facts["environment"]  # those of the last one would be told of all
        call.facts["count"] = str(len(tokens))
        call.facts["claims_sha256"] = claims_digest(tokens)
        return results

    def tenant(self, *, tenant_id: str, user_id: str, ttl_s: int | None, call: Call) -> Minted:
        """Mint a tenant token for one user. Raises: TenantUnknown, KeyUnknown."""
        room = self._room(tenant_id, call)
        secret = self._keyring.tenant(room.tenant_id).hmac
        if secret is None:
            raise KeyUnknown("This tenant has no HMAC secret. Set INGESTION_HMAC_SECRET.")
        return _hs256(
            tenant_claims(user_id, room.tenant_id, self._now(), _ttl(ttl_s, TENANT_TTL_S, call.grant.claims)), secret
        )

    def admin(self, *, tenant_id: str, subject: str, ttl_s: int | None, call: Call) -> Minted:
        """Mint an admin token. Raises: TenantUnknown, KeyUnknown when the API key or its UUID is not configured."""
        room = self._room(tenant_id, call)
        keys = self._keyring.tenant(room.tenant_id)
        if keys.api_key is None or not keys.api_key_id:
            raise KeyUnknown("This tenant has no admin API key with its id. Set ADMIN_API_KEY and ADMIN_API_KEY_ID.")
        return _hs256(
            admin_claims(subject, keys.api_key_id, self._now(), _ttl(ttl_s, ADMIN_TTL_S, call.grant.claims)),
            keys.api_key,
        )

    def socket_url(self, *, tenant_id: str, leaderboard_id: str, call: Call) -> Minted:
        """Sign the address of a board's live socket; `token` is the whole URL. Raises: TenantUnknown, KeyUnknown."""
        room = self._room(tenant_id, call)
        now = self._now()
        path = f"/v1/leaderboards/{encode_segment(room.tenant_id)}/{encode_segment(leaderboard_id)}/ws"
        signature = self._keyring.sign_socket(room.tenant_id, path, now)
        url = f"{room.socket_base_url}{path}?timestamp={now}&signature={quote(signature, safe='')}"
        return Minted(token=url, expires_at=now + SOCKET_TTL_S)

    def _bench(self, operator_code: str, environment: Environment | None, call: Call) -> _Bench:
        """Return what a launch token is made with. Raises: NotAllowed, OperatorUnknown, InvalidField, KeyUnknown."""
        room = self._operators.resolve(operator_code, environment, call)
        key = self._keyring.operator(room.operator_code, room.environment).signing_key
        if key is None:
            raise KeyUnknown("This operator environment has no launch key. Set PREDICTION_LAUNCH_KEY.")
        named = (room.operator_code, room.environment)
        bench = self._benches.get(named)
        if bench is None or bench.key is not key:
            url = f"{room.embed_url}/o/{encode_segment(room.operator_code)}?token="
            bench = self._benches[named] = _Bench(room=room, key=key, key_id=key.key_id, url_before_token=url)
        return bench

    def _room(self, tenant_id: str, call: Call) -> TenantContext:
        room = self._tenants.resolve(tenant_id, call)
        call.facts["tenant"] = room.tenant_id
        return room

    def _now(self) -> UnixSeconds:
        return UnixSeconds(int(self._clock.now()))


def claims_digest(tokens: Iterable[str]) -> str:
    """Return what the audit record holds of launch tokens: the SHA-256 of their claims as signed, one a line.

    The claims are the middle parts of the tokens, base64url as they stand there; whoever has a token can prove by it
    that it was minted in this call, and nobody can make the token from it.
    """
    return sha256_hex("\n".join([token.split(".", 2)[1] for token in tokens]).encode("ascii"))


def _facts(bench: _Bench) -> dict[str, str]:
    room = bench.room
    return {"operator": room.operator_code, "environment": room.environment.value, "key_id": bench.key_id}


async def _check_currency(room: OperatorContext, player: Player, call: Call) -> None:
    """Refuse a currency, none of the configured ones, if the operator certainly does not support it.

    Raises: InvalidField.
    """
    supported: frozenset[str] | None = None
    if room.currencies:
        supported = room.currencies
    elif room.supported is not None and is_currency(player.currency):
        supported = await room.supported.refused(player.currency, call.deadline)
    if supported is not None:
        named = ", ".join(sorted(supported)[:20])
        raise InvalidField([FieldFault(field="player.currency", description=f"must be one of {named}")])


def _check_allowed_currency(player: Player | None, limits: ClaimLimits) -> None:
    """Raises: NotAllowed for a currency that the caller's policy does not name."""
    if player is not None and limits.currencies is not None and player.currency not in limits.currencies:
        raise NotAllowed("This caller's tokens may not name that currency. Ask whoever keeps the gateway's policy.")


def _ttl(requested_wait_s: int | None, usual_s: int, limits: ClaimLimits) -> int:
    """Return a token's lifetime: what is asked for, else the usual, shortened to what the caller may have.

    Raises: NotAllowed when more is asked for.
    """
    most_s = limits.max_ttl_s
    if most_s is None:
        return usual_s if requested_wait_s is None else requested_wait_s
    if requested_wait_s is None:
        return min(usual_s, most_s)
    if requested_wait_s > most_s:
        raise NotAllowed(f"This caller's tokens may live {most_s} s at most. Ask for no more, or for no lifetime.")
    return requested_wait_s


def _claims(room: OperatorContext, wanted: WantedLaunch, limits: ClaimLimits, now: UnixSeconds) -> dict[str, Any]:
    """Return the checked claims. Raises: InvalidField, NotAllowed."""
    usual_s = min(VISITOR_TTL_S if wanted.player is None else PLAYER_TTL_S, room.launch.max_ttl_s)
    ttl_s = _ttl(wanted.ttl_s, usual_s, limits)
    return launch_claims(room.operator_code, room.environment, wanted.player, wanted.cfg, ttl_s, room.launch, now)


def _launch_token(bench: _Bench, claims: Mapping[str, Any], token: str) -> LaunchToken:
    return LaunchToken(
        token=token, expires_at=claims["exp"], key_id=bench.key_id, embed_url=bench.url_before_token + token
    )


def _hs256(claims: dict[str, Any], secret: Secret) -> Minted:
    token = sign_hs256(claims, secret.reveal())
    check_hs256(token, secret.reveal(), claims)
    return Minted(token=token, expires_at=int(claims["exp"]))
