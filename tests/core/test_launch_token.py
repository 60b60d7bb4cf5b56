"""Launch tokens: claims, signature, and the check before they leave."""

from __future__ import annotations

import base64
import dataclasses
import math
from typing import Any

import jwt
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.ed25519 import generate_signing_key, load_signing_key
from gateway.core.launch_token import LaunchSettings, Player, check_token, launch_claims, sign_token
from gateway.core.tokens import sign_hs256
from gateway.core.types import Environment, OperatorCode, UnixSeconds
from gateway.errors import InternalFault, InvalidField
from tests.core.vectors import signing

_VECTORS = signing()
_KEY = load_signing_key(_VECTORS["keys"]["operator"]["private_pem"].encode())
_NOW = UnixSeconds(1704067200)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """A launch token to make. `player` None: for a visitor."""

    operator_code: OperatorCode
    environment: Environment
    player: Player | None
    ttl_s: int
    cfg: dict[str, Any] | None = None
    rules: LaunchSettings = dataclasses.field(default_factory=LaunchSettings)


def claims_of(wanted: Wanted, now: UnixSeconds) -> dict[str, Any]:
    """Return its claims, valid from `now`."""
    return launch_claims(
        wanted.operator_code, wanted.environment, wanted.player, wanted.cfg, wanted.ttl_s, wanted.rules, now
    )


_VISITOR = Wanted(operator_code=OperatorCode("acme"), environment=Environment.SANDBOX, player=None, ttl_s=900)
_PLAYER = Wanted(
    operator_code=OperatorCode("acme"),
    environment=Environment.PROD,
    player=Player(player_id="player-7", name="Ada", currency="EUR"),
    ttl_s=300,
)


@pytest.mark.parametrize(("number", "wanted"), [(0, _VISITOR), (1, _PLAYER)])
def test_tokens_match_the_vectors(number: int, wanted: Wanted) -> None:
    """Visitor and player have the vector's claims and the very token."""
    vector = _VECTORS["launch"][number]
    claims = claims_of(wanted, _NOW)
    assert (claims, sign_token(claims, _KEY)) == (vector["claims"], vector["token"])


@pytest.mark.parametrize("vector", _VECTORS["launch"], ids=lambda v: v["kind"])
def test_the_vectors_tokens_pass_the_check(vector: dict[str, Any]) -> None:
    """A token of another implementation with these claims is as good as ours."""
    check_token(vector["token"], _KEY.public, vector["claims"])
    assert vector["token"].count(".") == 2


def test_only_a_player_has_sub_and_currency() -> None:
    """`sub` identifies a player, so a visitor's token has none of the player's claims."""
    visitor = claims_of(_VISITOR, _NOW)
    assert {"sub", "currency", "name", "avatar"} & visitor.keys() == set()


def test_optional_claims_are_absent_unless_set() -> None:
    """aud, typ, name, avatar and cfg are present only if requested."""
    bare = dataclasses.replace(
        _PLAYER,
        rules=LaunchSettings(audience=None, sends_typ=False),
        player=Player(player_id="p", currency="ETB"),
    )
    full = dataclasses.replace(
        _PLAYER,
        cfg={"deposit": False},
        player=Player(player_id="p", currency="ETB", name="Zoë 👩‍🚀", avatar={"kind": "none"}),
    )
    assert (list(claims_of(bare, _NOW)), list(claims_of(full, _NOW))) == (
        ["iss", "env", "sub", "currency", "iat", "exp"],
        ["iss", "aud", "env", "typ", "sub", "name", "avatar", "currency", "cfg", "iat", "exp"],
    )


def test_the_key_id_is_in_the_header_only_when_asked_for() -> None:
    """Whether Phoenix takes a kid is unknown: the default sends none."""
    claims = claims_of(_PLAYER, _NOW)
    token = sign_token(claims, _KEY, with_key_id=True)
    check_token(token, _KEY.public, claims)
    headers = (jwt.get_unverified_header(sign_token(claims, _KEY)), jwt.get_unverified_header(token))
    plain = {"alg": "EdDSA", "typ": "JWT"}
    assert headers == (plain, plain | {"kid": _KEY.key_id})


def test_the_library_verifies_the_token() -> None:
    """PyJWT with the public PEM reads the claims."""
    claims = claims_of(_PLAYER, _NOW)
    read = jwt.decode(
        sign_token(claims, _KEY),
        _KEY.public.spki_pem,
        algorithms=["EdDSA"],
        audience="pmm_default",
        options={"verify_exp": False},
    )
    assert read == claims


def _player(**changes: Any) -> Wanted:
    player = Player(**({"player_id": "p", "currency": "EUR"} | changes))
    return dataclasses.replace(_PLAYER, player=player)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (dataclasses.replace(_VISITOR, operator_code=OperatorCode("")), "operator_code"),
        (dataclasses.replace(_VISITOR, operator_code=OperatorCode("a\nb")), "operator_code"),
        (dataclasses.replace(_VISITOR, operator_code=OperatorCode("a" * 129)), "operator_code"),
        (dataclasses.replace(_VISITOR, ttl_s=0), "ttl"),
        (dataclasses.replace(_VISITOR, ttl_s=3601), "ttl"),
        (dataclasses.replace(_VISITOR, cfg={"a": math.nan}), "cfg"),
        (dataclasses.replace(_VISITOR, cfg={"a": [math.inf]}), "cfg"),
        (dataclasses.replace(_VISITOR, cfg={"a": "x" * 4097}), "cfg"),
        (dataclasses.replace(_VISITOR, cfg={"a": 2**70}), "cfg"),
        (dataclasses.replace(_VISITOR, cfg={"a": object()}), "cfg"),
        (_player(player_id=""), "player.player_id"),
        (_player(player_id="a\x00"), "player.player_id"),
        (_player(player_id="a" * 257), "player.player_id"),
        (_player(name="a\r"), "player.name"),
        (_player(name="a" * 257), "player.name"),
        (_player(currency=""), "player.currency"),
        (_player(currency="eur"), "player.currency"),
        (_player(currency="EUR\n"), "player.currency"),
        (_player(currency="E"), "player.currency"),
        (_player(avatar={}), "player.avatar"),
        (_player(avatar={"kind": 7}), "player.avatar"),
        (_player(avatar={"kind": "image", "x": math.nan}), "player.avatar"),
    ],
)
def test_every_claim_is_checked(wanted: Wanted, field: str) -> None:
    """The faulty field is named as in the proto."""
    with pytest.raises(InvalidField) as refusal:
        claims_of(wanted, _NOW)
    assert [fault.field for fault in refusal.value.faults] == [field]


def test_all_faults_are_reported_at_once() -> None:
    """One refusal names every faulty field."""
    wanted = dataclasses.replace(_PLAYER, ttl_s=0, player=Player(player_id="", currency=""))
    with pytest.raises(InvalidField) as refusal:
        claims_of(wanted, _NOW)
    assert {fault.field for fault in refusal.value.faults} == {"ttl", "player.player_id", "player.currency"}


def _forged(header: dict[str, Any], signature: str | None = None) -> str:
    claims = claims_of(_PLAYER, _NOW)
    parts = [base64.urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=").decode() for part in (header, claims)]
    raw = _KEY.sign(".".join(parts).encode())
    own = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return ".".join([*parts, own if signature is None else signature])


_OTHER, _ = generate_signing_key()


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b.c",
        sign_token(claims_of(_PLAYER, _NOW), _OTHER),
        sign_token(claims_of(_VISITOR, _NOW), _KEY),
        sign_token(claims_of(_PLAYER, UnixSeconds(_NOW + 1)), _KEY),
        sign_token(claims_of(_PLAYER, _NOW) | {"admin": True}, _KEY),
        sign_hs256(claims_of(_PLAYER, _NOW), _KEY.public.spki_pem),
        _forged({"alg": "none", "typ": "JWT"}),
        _forged({"alg": "EdDSA"}),
        _forged({"alg": "EdDSA", "typ": "JWT"}, ""),
        sign_token(claims_of(_PLAYER, _NOW), _KEY) + "AA",
    ],
)
def test_a_token_that_is_not_as_meant_does_not_leave(token: str) -> None:
    """Another key, other claims, another algorithm: an internal fault with a fixed text."""
    with pytest.raises(InternalFault) as fault:
        check_token(token, _KEY.public, claims_of(_PLAYER, _NOW))
    assert fault.value.message == InternalFault.default_message


@given(st.data())
def test_any_changed_character_is_refused(data: st.DataObject) -> None:
    """One other character anywhere in the token ends the check."""
    claims = claims_of(_PLAYER, _NOW)
    token = sign_token(claims, _KEY)
    # The last character of an 86-character signature carries only two bits.
    at = data.draw(st.integers(0, len(token) - 2))
    character = data.draw(st.sampled_from("ABab01-_.").filter(lambda c: c != token[at]))
    with pytest.raises(InternalFault):
        check_token(token[:at] + character + token[at + 1 :], _KEY.public, claims)
