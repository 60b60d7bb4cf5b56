"""Mint tokens and signed URLs with keys in memory, or launch tokens with a key that stays in its store.

With a key in memory only the check of a currency may use the network. core (launch_token.py, tokens.py) decides the
content of a token. This module finds the keys and verifies each token; keys/signers verifies what a store signs.
"""

from __future__ import annotations

import asyncio
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
from gateway.core.launch_token import (
    Player,
    check_token,
    is_currency,
    join_token,
    launch_claims,
    sign_token,
    unsigned_token,
)
from gateway.core.rights import ClaimLimits
from gateway.core.secret import Secret
from gateway.core.tokens import admin_claims, check_hs256, sign_hs256, tenant_claims
from gateway.core.types import Environment, KeyId, OperatorCode, UnixSeconds
from gateway.errors import FieldFault, GatewayError, InvalidField, KeyUnknown, NotAllowed, SigningKeyUnavailable
from gateway.keys.own.keyring import Keyring
from gateway.keys.signers.signing_queue import RemoteKey
from gateway.resilience.clock import Clock

PLAYER_TTL_S = 300
VISITOR_TTL_S = 900
TENANT_TTL_S = 3600
ADMIN_TTL_S = 3600
SOCKET_TTL_S = 300
"""The oldest timestamp of a socket that Phoenix accepts. Source: gamification.md 3.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    """A token and its expiry (Unix seconds)."""

    token: str
    expires_at: int


class LaunchToken(NamedTuple):
    """A launch token, its expiry, the key that signed it, and the URL of the iframe with the token.

    A named tuple, like WantedLaunch, because one call creates a hundred, and a dataclass takes three times as long.
    """

    token: str
    expires_at: int
    key_id: KeyId
    embed_url: str


class WantedLaunch(NamedTuple):
    """A requested launch token. `player` None: for a visitor. `ttl_s` None: the default lifetime."""

    operator_code: str
    environment: Environment | None
    player: Player | None
    cfg: dict[str, Any] | None = None
    ttl_s: int | None = None


_UNSIGNED = SigningKeyUnavailable()
"""The place of a token that its store has not signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _MintingContext:
    """What is needed to mint launch tokens of one operator environment."""

    context: OperatorContext
    key: SigningKey | RemoteKey
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
        self._minting_contexts: dict[tuple[OperatorCode, Environment], _MintingContext] = {}

    async def launch(self, wanted: WantedLaunch, call: Call) -> LaunchToken:
        """Mint a launch token and verify it.

        Raises: OperatorUnknown, KeyUnknown, InvalidField; SigningKeyUnavailable if the key's store does not sign;
        InternalFault if the token does not verify.
        """
        minting = self._minting_context(wanted.operator_code, wanted.environment, call)
        context, key, player = minting.context, minting.key, wanted.player
        call.record.key_id = minting.key_id
        limits = call.grant.claims
        _check_allowed_currency(player, limits)
        if player is not None and player.currency not in context.currencies:
            await _check_currency(context, player, call)
        claims = _claims(context, wanted, limits, self._now(), self._keyring.token_backdate_s)
        if isinstance(key, SigningKey):
            token = sign_token(claims, key)
        else:
            unsigned = unsigned_token(claims)
            token = join_token(unsigned, await key.sign_one(unsigned, call.deadline.remaining()))
        check_token(token, key.public, claims)
        call.record.claims_sha256 = claims_digest([token])
        return _launch_token(minting, claims, token)

    async def launch_many(
        self, wanted: Sequence[WantedLaunch | InvalidField], call: Call
    ) -> list[LaunchToken | GatewayError]:
        """Mint launch tokens. Return one result each, in order; an InvalidField is returned unchanged.

        The claims of every token are checked. The signature of a key in memory is not verified again: the key pair was
        tested when it was loaded, and verifying takes longer than signing. A store signs all its tokens together.
        """
        in_stores: dict[RemoteKey, list[tuple[int, _MintingContext, dict[str, Any]]]] = {}
        results: list[LaunchToken | GatewayError] = []
        limits, now, backdate_s = call.grant.claims, self._now(), self._keyring.token_backdate_s
        contexts: dict[tuple[str, Environment | None], _MintingContext] = {}
        for one in wanted:
            if isinstance(one, InvalidField):
                results.append(one)
                continue
            try:
                named = (one.operator_code, one.environment)
                minting = contexts.get(named)
                if minting is None:
                    minting = contexts[named] = self._minting_context(*named, call)
                _check_allowed_currency(one.player, limits)
                if one.player is not None and one.player.currency not in minting.context.currencies:
                    await _check_currency(minting.context, one.player, call)
                claims = _claims(minting.context, one, limits, now, backdate_s)
                if isinstance(minting.key, SigningKey):
                    results.append(_launch_token(minting, claims, sign_token(claims, minting.key)))
                else:
                    in_stores.setdefault(minting.key, []).append((len(results), minting, claims))
                    results.append(_UNSIGNED)
            except GatewayError as error:
                results.append(error)
        if in_stores:
            await _sign_in_stores(in_stores, results, call)
        tokens = [one.token for one in results if isinstance(one, LaunchToken)]
        record = call.record
        if len(contexts) == 1:
            (minting,) = contexts.values()
            record.operator, record.environment = minting.context.operator_code, minting.context.environment.value
            record.key_id = minting.key_id
        elif contexts:
            record.operator = record.environment = None  # several: the record must not name only the last one
        record.count = len(tokens)
        record.claims_sha256 = claims_digest(tokens)
        return results

    def tenant(self, *, tenant_id: str, user_id: str, ttl_s: int | None, call: Call) -> Minted:
        """Mint a tenant token for one user. Raises: TenantUnknown, KeyUnknown."""
        context = self._tenants.resolve(tenant_id, call)
        secret = self._keyring.tenant(context.tenant_id).hmac
        if secret is None:
            raise KeyUnknown("This tenant has no HMAC secret. Set INGESTION_HMAC_SECRET.")
        return _hs256(
            tenant_claims(
                user_id,
                context.tenant_id,
                self._now(),
                _ttl(ttl_s, TENANT_TTL_S, call.grant.claims),
                self._keyring.token_backdate_s,
            ),
            secret,
        )

    def admin(self, *, tenant_id: str, subject: str, ttl_s: int | None, call: Call) -> Minted:
        """Mint an admin token. Raises: TenantUnknown, KeyUnknown if the API key or its UUID is not configured."""
        context = self._tenants.resolve(tenant_id, call)
        keys = self._keyring.tenant(context.tenant_id)
        if keys.api_key is None or not keys.api_key_id:
            raise KeyUnknown("This tenant has no admin API key with its id. Set ADMIN_API_KEY and ADMIN_API_KEY_ID.")
        return _hs256(
            admin_claims(
                subject,
                keys.api_key_id,
                self._now(),
                _ttl(ttl_s, ADMIN_TTL_S, call.grant.claims),
                self._keyring.token_backdate_s,
            ),
            keys.api_key,
        )

    def socket_url(self, *, tenant_id: str, leaderboard_id: str, call: Call) -> Minted:
        """Sign the URL of a board's live socket; `token` is the whole URL. Raises: TenantUnknown, KeyUnknown."""
        context = self._tenants.resolve(tenant_id, call)
        now = self._now()
        path = f"/v1/leaderboards/{encode_segment(context.tenant_id)}/{encode_segment(leaderboard_id)}/ws"
        signature = self._keyring.sign_socket(context.tenant_id, path, now)
        url = f"{context.socket_base_url}{path}?timestamp={now}&signature={quote(signature, safe='')}"
        return Minted(token=url, expires_at=now + SOCKET_TTL_S)

    def _minting_context(self, operator_code: str, environment: Environment | None, call: Call) -> _MintingContext:
        """Return what minting needs. Raises: NotAllowed, OperatorUnknown, InvalidField, KeyUnknown."""
        context = self._operators.resolve(operator_code, environment, call)
        key = self._keyring.operator(context.operator_code, context.environment).signing_key
        if key is None:
            raise KeyUnknown("This operator environment has no launch key. Set PREDICTION_LAUNCH_KEY.")
        named = (context.operator_code, context.environment)
        minting = self._minting_contexts.get(named)
        if minting is None or minting.key is not key:
            url = f"{context.embed_url}/o/{encode_segment(context.operator_code)}?token="
            minting = self._minting_contexts[named] = _MintingContext(
                context=context, key=key, key_id=key.key_id, url_before_token=url
            )
        return minting

    def _now(self) -> UnixSeconds:
        return UnixSeconds(int(self._clock.now()))


async def _sign_in_stores(
    wanted: Mapping[RemoteKey, Sequence[tuple[int, _MintingContext, dict[str, Any]]]],
    results: list[LaunchToken | GatewayError],
    call: Call,
) -> None:
    """Let each store sign its tokens, at the same time, and put each result in its place."""

    async def fill(key: RemoteKey, ones: Sequence[tuple[int, _MintingContext, dict[str, Any]]]) -> None:
        unsigned = [unsigned_token(claims) for _, _, claims in ones]
        signatures = await key.sign(unsigned, call.deadline.remaining())
        for (place, minting, claims), message, signature in zip(ones, unsigned, signatures, strict=True):
            if isinstance(signature, bytes):
                results[place] = _launch_token(minting, claims, join_token(message, signature))
            else:
                results[place] = signature

    await asyncio.gather(*(fill(key, ones) for key, ones in wanted.items()))


def claims_digest(tokens: Iterable[str]) -> str:
    """Return the digest of launch tokens for the audit record: the SHA-256 of their signed claims, one per line.

    The claims are the middle parts of the tokens, in base64url. With a token, its owner can prove that it was minted in
    this call. The token cannot be recovered from the digest.
    """
    return sha256_hex("\n".join([token.split(".", 2)[1] for token in tokens]).encode("ascii"))


async def _check_currency(context: OperatorContext, player: Player, call: Call) -> None:
    """Refuse a currency that is not configured if the operator certainly does not support it.

    Raises: InvalidField.
    """
    supported: frozenset[str] | None = None
    if context.currencies:
        supported = context.currencies
    elif context.supported is not None and is_currency(player.currency):
        supported = await context.supported.refused(player.currency, call.deadline)
    if supported is not None:
        named = ", ".join(sorted(supported)[:20])
        raise InvalidField([FieldFault(field="player.currency", description=f"must be one of {named}")])


def _check_allowed_currency(player: Player | None, limits: ClaimLimits) -> None:
    """Check the caller's policy. Raises: NotAllowed for a currency that it does not allow."""
    if player is not None and limits.currencies is not None and player.currency not in limits.currencies:
        raise NotAllowed("The policy does not allow this currency. Ask the administrator of the gateway's policy.")


def _ttl(requested_s: int | None, usual_s: int, limits: ClaimLimits) -> int:
    """Return the lifetime of a token: the requested one, or the default, limited by the caller's policy.

    Raises: NotAllowed if the requested lifetime is longer than the policy allows.
    """
    most_s = limits.max_ttl_s
    if most_s is None:
        return usual_s if requested_s is None else requested_s
    if requested_s is None:
        return min(usual_s, most_s)
    if requested_s > most_s:
        raise NotAllowed(f"The policy allows a lifetime of at most {most_s} s. Request less, or no lifetime.")
    return requested_s


def _claims(
    context: OperatorContext, wanted: WantedLaunch, limits: ClaimLimits, now: UnixSeconds, backdate_s: int
) -> dict[str, Any]:
    """Return the checked claims. Raises: InvalidField, NotAllowed."""
    usual_s = min(VISITOR_TTL_S if wanted.player is None else PLAYER_TTL_S, context.launch.max_ttl_s)
    ttl_s = _ttl(wanted.ttl_s, usual_s, limits)
    return launch_claims(
        context.operator_code, context.environment, wanted.player, wanted.cfg, ttl_s, context.launch, now, backdate_s
    )


def _launch_token(minting: _MintingContext, claims: Mapping[str, Any], token: str) -> LaunchToken:
    return LaunchToken(
        token=token, expires_at=claims["exp"], key_id=minting.key_id, embed_url=minting.url_before_token + token
    )


def _hs256(claims: dict[str, Any], secret: Secret) -> Minted:
    token = sign_hs256(claims, secret.reveal())
    check_hs256(token, secret.reveal(), claims)
    return Minted(token=token, expires_at=int(claims["exp"]))
