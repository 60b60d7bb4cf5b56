"""Launch tokens of Prediction: check each claim, sign with the operator's key, verify the finished token.

Phoenix treats every token with `sub` as a player's, so a visitor's token never has it.
Source: prediction.md 2.1 to 2.3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from gateway.core.ed25519 import SigningKey, VerifyingKey
from gateway.core.jose import TokenRefused, check_eddsa, join_eddsa, unsigned_eddsa, write_eddsa
from gateway.core.types import Environment, OperatorCode, UnixSeconds, is_plain_text
from gateway.errors import FieldFault, InternalFault, InvalidField

DEFAULT_AUDIENCE = "pmm_default"
MAX_TTL_S = 3600
_MAX_OBJECT_BYTES = 4096
_MAX_OPERATOR_CHARACTERS = 128
_MAX_PLAYER_CHARACTERS = 256
_CURRENCY = re.compile(r"[A-Z0-9]{2,16}")


class Player(NamedTuple):
    """The player. `name` "" and `avatar` None: no such claim. `avatar` is a JSON object with `kind`.

    A named tuple, because a frozen dataclass takes three times as long to create, and every launch creates one.
    """

    player_id: str
    currency: str
    name: str = ""
    avatar: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSettings:
    """An operator's rules for launch tokens. `audience` None, `sends_typ` False: no such claim."""

    audience: str | None = DEFAULT_AUDIENCE
    sends_typ: bool = True
    max_ttl_s: int = MAX_TTL_S


def is_currency(text: str) -> bool:
    """Tell whether `text` has the form of a currency code."""
    return _CURRENCY.fullmatch(text) is not None


def launch_claims(
    operator_code: OperatorCode,
    environment: Environment,
    player: Player | None,
    cfg: dict[str, Any] | None,
    ttl_s: int,
    rules: LaunchSettings,
    now: UnixSeconds,
    backdate_s: int = 0,
) -> dict[str, Any]:
    """Return the claims of a launch token under an operator's rules, valid from `now`.

    Args: `backdate_s`: seconds from `iat` to `now`; `exp` is not moved.
    Raises: InvalidField with every faulty field, named as in the proto (`player.currency`, `ttl`, ...).
    """
    faults: list[FieldFault] = []
    _check_text(faults, "operator_code", operator_code, _MAX_OPERATOR_CHARACTERS)
    if not 1 <= ttl_s <= rules.max_ttl_s:
        faults.append(FieldFault(field="ttl", description=f"must be 1 to {rules.max_ttl_s} seconds"))
    claims: dict[str, Any] = {"iss": operator_code}
    if rules.audience is not None:
        claims["aud"] = rules.audience
    claims["env"] = environment.value
    if rules.sends_typ:
        claims["typ"] = "visitor" if player is None else "player"
    if player is not None:
        _check_player(faults, player)
        claims["sub"] = player.player_id
        if player.name:
            claims["name"] = player.name
        if player.avatar is not None:
            claims["avatar"] = player.avatar
        claims["currency"] = player.currency
    if cfg is not None:
        _check_object(faults, "cfg", cfg)
        claims["cfg"] = cfg
    claims["iat"] = now - backdate_s
    claims["exp"] = now + ttl_s
    if faults:
        raise InvalidField(faults)
    return claims


def sign_token(claims: dict[str, Any], key: SigningKey, *, with_key_id: bool = False) -> str:
    """Return the token of `claims`. `kid` is left out unless asked for: whether Phoenix takes it is unknown."""
    return write_eddsa(claims, key, with_key_id=with_key_id)


def unsigned_token(claims: dict[str, Any]) -> bytes:
    """Return what a store signs for the token of `claims`."""
    return unsigned_eddsa(claims)


def join_token(unsigned: bytes, signature: bytes) -> str:
    """Return the token of what a store was given and the signature that it returned."""
    return join_eddsa(unsigned, signature)


def check_token(token: str, public: VerifyingKey, claims: dict[str, Any]) -> None:
    """Check a token of our own before it leaves: its algorithm, its signature, exactly these claims.

    Raises: InternalFault.
    """
    try:
        check_eddsa(token, public, claims)
    except TokenRefused:
        raise InternalFault from None


def _check_player(faults: list[FieldFault], player: Player) -> None:
    _check_text(faults, "player.player_id", player.player_id, _MAX_PLAYER_CHARACTERS)
    if player.name:
        _check_text(faults, "player.name", player.name, _MAX_PLAYER_CHARACTERS)
    if not is_currency(player.currency):
        faults.append(FieldFault(field="player.currency", description="must be 2 to 16 capital letters or digits"))
    if player.avatar is not None:
        kind = player.avatar.get("kind")
        if not isinstance(kind, str) or not kind:
            faults.append(FieldFault(field="player.avatar", description="must have a member kind that is text"))
        _check_object(faults, "player.avatar", player.avatar)


def _check_text(faults: list[FieldFault], field: str, text: str, max_characters: int) -> None:
    if not is_plain_text(text, max_characters):
        description = f"must be 1 to {max_characters} characters, no control characters"
        faults.append(FieldFault(field=field, description=description))


def _check_object(faults: list[FieldFault], field: str, value: dict[str, Any]) -> None:
    try:
        written = orjson.dumps(value)
    except orjson.JSONEncodeError:
        faults.append(FieldFault(field=field, description="must be a JSON object"))
        return
    if len(written) > _MAX_OBJECT_BYTES:
        faults.append(FieldFault(field=field, description=f"must have at most {_MAX_OBJECT_BYTES} bytes as JSON"))
    # The encoder writes NaN and Infinity as null. Decoding the result shows the difference.
    elif orjson.loads(written) != value:
        faults.append(FieldFault(field=field, description="must contain finite numbers only"))
