"""Gamification tokens, against vectors made with another implementation."""

from __future__ import annotations

import base64
import warnings
from typing import Any

import jwt
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.tokens import admin_claims, check_hs256, sign_hs256, tenant_claims
from gateway.core.types import TenantId, UnixSeconds
from gateway.errors import InternalFault, InvalidField
from tests.core.vectors import signing

_VECTORS = signing()
_NOW = UnixSeconds(1704067200)
_CLAIMS = tenant_claims("user_123", TenantId("tenant-public-001"), _NOW, 3600)


def test_tenant_tokens_match_the_vector() -> None:
    """Claims and token are the vector's."""
    vector = _VECTORS["tenant_jwt"]
    token = sign_hs256(_CLAIMS, _VECTORS["tenant"]["hmac_secret"].encode())
    assert (_CLAIMS, token) == (vector["claims"], vector["token"])


def test_admin_tokens_match_the_vector() -> None:
    """Claims and token are the vector's, signed with the API key's text."""
    vector = _VECTORS["admin_jwt"]
    claims = admin_claims("admin_user", vector["claims"]["sub_id"], _NOW, 3600)
    token = sign_hs256(claims, _VECTORS["tenant"]["admin_api_key"].encode())
    assert (claims, token) == (vector["claims"], vector["token"])


@pytest.mark.parametrize(
    "secret",
    [
        b"k",
        b"short",
        b"x" * 31,
        b"x" * 32,
        b"\xff\x00" * 20,
        b"-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----",
        b'{"kty":"oct"}',
        b"ssh-ed25519 AAAA",
    ],
)
def test_any_secret_signs_without_a_warning(secret: bytes) -> None:
    """Phoenix hands the secrets out: short or odd-looking ones sign in silence, and verify."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        token = sign_hs256(_CLAIMS, secret)
        check_hs256(token, secret, _CLAIMS)
    assert token.count(".") == 2


def test_the_library_reads_what_was_signed() -> None:
    """PyJWT's own HS256 verifies the token."""
    secret = b"s" * 32
    claims = jwt.decode(sign_hs256(_CLAIMS, secret), secret, algorithms=["HS256"], options={"verify_exp": False})
    assert claims == _CLAIMS


def test_an_empty_secret_signs_nothing() -> None:
    """No secret is no signature."""
    with pytest.raises(TypeError):
        sign_hs256(_CLAIMS, b"")


def _with_header(header: dict[str, Any]) -> str:
    head = base64.urlsafe_b64encode(orjson.dumps(header)).rstrip(b"=").decode()
    return head + "." + sign_hs256(_CLAIMS, b"k").partition(".")[2]


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c",
        "é.b.c",
        "....",
        sign_hs256(_CLAIMS, b"other"),
        sign_hs256(_CLAIMS | {"sub": "user_124"}, b"k"),
        sign_hs256(_CLAIMS | {"extra": 1}, b"k"),
        sign_hs256(_CLAIMS, b"k")[:-2],
        sign_hs256(_CLAIMS, b"k") + "A",
        sign_hs256(_CLAIMS, b"k").rpartition(".")[0] + ".",
        _with_header({"alg": "none", "typ": "JWT"}),
        _with_header({"alg": "HS256", "typ": "JWT", "crit": ["x"]}),
    ],
)
def test_a_token_that_is_not_ours_does_not_leave(token: str) -> None:
    """Another signature, claim, header or form is an internal fault with a fixed text."""
    with pytest.raises(InternalFault) as fault:
        check_hs256(token, b"k", _CLAIMS)
    assert fault.value.message == InternalFault.default_message


@pytest.mark.parametrize("subject", ["", "a" * 257, "a\nb", "a\x00", "a\x7f", "\ud800"])
def test_subjects_are_checked(subject: str) -> None:
    """The faulty field is named, for users and administrators."""
    with pytest.raises(InvalidField) as tenant:
        tenant_claims(subject, TenantId("t"), _NOW, 1)
    with pytest.raises(InvalidField) as admin:
        admin_claims(subject, "id", _NOW, 1)
    named = [fault.field for fault in (*tenant.value.faults, *admin.value.faults)]
    assert named == ["user_id", "subject"]


@pytest.mark.parametrize(("ttl_s", "admin_ttl_s"), [(0, 0), (-1, -1), (86401, 3601)])
def test_lifetimes_are_bounded(ttl_s: int, admin_ttl_s: int) -> None:
    """A day for users, an hour for administrators."""
    with pytest.raises(InvalidField, match="ttl"):
        tenant_claims("u", TenantId("t"), _NOW, ttl_s)
    with pytest.raises(InvalidField, match="ttl"):
        admin_claims("u", "id", _NOW, admin_ttl_s)
    assert tenant_claims("u", TenantId("t"), _NOW, 86400)["exp"] == _NOW + 86400


@given(st.text(max_size=120))
def test_no_text_crashes_the_check(token: str) -> None:
    """Whatever the text, it is not ours."""
    with pytest.raises(InternalFault):
        check_hs256(token, b"k", _CLAIMS)
