"""Verification of wallet webhooks: headers, signature, replies."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.ed25519 import VerifyingKey, generate_signing_key, load_signing_key, load_verifying_key
from gateway.core.encoding import b64url_encode
from gateway.core.types import Environment
from gateway.core.wallet import (
    Disposition,
    HeaderAnomaly,
    IdempotencyKey,
    Operation,
    OperationKind,
    Refusal,
    Reply,
    SignedParts,
    Verdict,
    WalletAdapter,
    parse_operation,
    reply_for,
    reply_for_disposition,
    signed_parts,
)
from tests.core.vectors import signing

_VECTORS = signing()
_PLATFORM = load_verifying_key(_VECTORS["keys"]["platform"]["public_pem"].encode())
_ROTATED = load_verifying_key(_VECTORS["keys"]["platform_rotated"]["public_pem"].encode())
_SIGNING = load_signing_key(_VECTORS["keys"]["platform"]["private_pem"].encode())
_ADAPTER = WalletAdapter()
_GOOD = "A" * 86
_REQUEST_ID = "0190d3c1-0000-7000-8000-000000000000"


def _holds(key: VerifyingKey, body: bytes, signature: str) -> bool:
    parts = signed_parts([("signature", signature)])
    return isinstance(parts, SignedParts) and key.verify(body, parts.signature)


@pytest.mark.parametrize("vector", _VECTORS["wallet"], ids=lambda v: v.get("why", v["body"][:30]))
def test_webhooks_hold_exactly_when_valid(vector: dict[str, Any]) -> None:
    """Each vector holds or not, with the current key and with the rotated one."""
    body = vector["body"].encode()
    held = (_holds(_PLATFORM, body, vector["signature"]), _holds(_ROTATED, body, vector["signature"]))
    assert held == (vector["valid"], vector.get("valid_after_rotation", False))


@given(st.binary(max_size=300), st.data())
def test_any_changed_bit_of_body_or_signature_is_refused(body: bytes, data: st.DataObject) -> None:
    """One flipped bit anywhere ends it; the unchanged call holds."""
    signature = _SIGNING.sign(body)
    signed = bytearray(body + signature)
    bit = data.draw(st.integers(0, len(signed) * 8 - 1))
    signed[bit // 8] ^= 1 << bit % 8
    changed = _holds(_PLATFORM, bytes(signed[: len(body)]), b64url_encode(bytes(signed[len(body) :])))
    assert (_holds(_PLATFORM, body, b64url_encode(signature)), changed) == (True, False)


@given(st.binary(max_size=60), st.data())
def test_any_changed_character_of_the_header_is_refused(body: bytes, data: st.DataObject) -> None:
    """One other character in the header, or one more, or one fewer: malformed or not holding."""
    text = b64url_encode(_SIGNING.sign(body))
    at = data.draw(st.integers(0, 85))
    character = data.draw(st.text(max_size=2).filter(lambda c: c != text[at]))
    assert _holds(_PLATFORM, body, text[:at] + character + text[at + 1 :]) is False


@given(st.binary(min_size=1, max_size=100), st.binary(max_size=5))
def test_bytes_added_or_cut_are_refused(body: bytes, tail: bytes) -> None:
    """A longer or shorter body is another body."""
    signature = b64url_encode(_SIGNING.sign(body))
    held = (_holds(_PLATFORM, body + tail, signature), _holds(_PLATFORM, body[:-1], signature))
    assert held == (tail == b"", False)


def test_names_are_compared_without_case() -> None:
    """Headers in any case, among others, are found; nothing is odd about them."""
    parts = signed_parts(
        [
            ("Content-Type", "application/json"),
            ("SIGNATURE", _GOOD),
            ("Idempotency-Key", "k-1"),
            ("X-Request-Id", _REQUEST_ID),
            ("X-Provider", "phoenix-prediction-market"),
        ]
    )
    assert parts == SignedParts(
        signature=bytes(64),
        signature_text=_GOOD,
        request_id=_REQUEST_ID,
        idempotency_key=IdempotencyKey(value="k-1", line="k-1"),
        provider="phoenix-prediction-market",
        anomalies=frozenset(),
    )


@pytest.mark.parametrize("headers", [[], [("x-signature", _GOOD)], [("idempotency-key", "k")], [("signature ", _GOOD)]])
def test_missing_signature(headers: list[tuple[str, str]]) -> None:
    """MISSING_SIGNATURE: no header of that name."""
    found = signed_parts(headers)
    assert isinstance(found, Refusal)
    assert found.verdict is Verdict.MISSING_SIGNATURE


@pytest.mark.parametrize(
    "headers",
    [
        [("signature", "")],
        [("signature", " \t")],
        [("signature", _GOOD + "==")],
        [("signature", _GOOD[:40] + " " + _GOOD[40:])],
        [("signature", _GOOD[:40] + "," + _GOOD[40:])],
        [("signature", "junk,")],
        [("signature", ",")],
        [("signature", "junk, junk")],
        [("signature", "+" * 86)],
        [("signature", "A" * 85 + "B")],
        [("signature", _GOOD + "A"), ("signature", _GOOD + "A")],
    ],
)
def test_malformed_signature(headers: list[tuple[str, str]]) -> None:
    """MALFORMED_SIGNATURE: another spelling; no value is quoted."""
    found = signed_parts(headers)
    assert isinstance(found, Refusal)
    assert (found.verdict, _GOOD in found.why) == (Verdict.MALFORMED_SIGNATURE, False)


_OTHER = "B" * 85 + "A"


@pytest.mark.parametrize(
    "headers",
    [
        [("signature", _GOOD), ("Signature", _OTHER)],
        [("signature", f"{_GOOD}, {_OTHER}")],
        [("signature", _GOOD), ("signature", "junk")],
        [("signature", f"{_GOOD}, junk")],
        [("signature", f"junk,{_GOOD}")],
        [("signature", f"{_GOOD}, {_GOOD[:40]}")],
        [("signature", f"{_GOOD}, {_GOOD}, {_GOOD}=")],
        [("signature", f"{_GOOD}, junk"), ("signature", f"{_GOOD}, junk")],
        [("signature", "junk"), ("signature", "")],
        [("signature", _GOOD), ("idempotency-key", "k"), ("idempotency-key", "l")],
        [("signature", _GOOD), ("idempotency-key", "k"), ("idempotency-key", "k, l")],
    ],
)
def test_ambiguous_headers(headers: list[tuple[str, str]]) -> None:
    """AMBIGUOUS_HEADERS: a signature or key repeated with different values; no value is quoted."""
    found = signed_parts(headers)
    assert isinstance(found, Refusal)
    assert (found.verdict, _GOOD in found.why) == (Verdict.AMBIGUOUS_HEADERS, False)


_KEY = ("idempotency-key", "k")


@pytest.mark.parametrize(
    ("headers", "anomalies"),
    [
        ([("signature", _GOOD), _KEY], set()),
        ([("signature", _GOOD), ("signature", _GOOD), _KEY], {HeaderAnomaly.REPEATED}),
        ([("signature", _GOOD), _KEY, ("Idempotency-Key", "k")], {HeaderAnomaly.REPEATED}),
        ([("signature", f" {_GOOD}\t"), _KEY], {HeaderAnomaly.BLANKS}),
        ([("signature", _GOOD), ("idempotency-key", "\tk ")], {HeaderAnomaly.BLANKS}),
        ([("signature", f"{_GOOD},{_GOOD}"), _KEY], {HeaderAnomaly.REPEATED}),
        ([("signature", _GOOD), ("idempotency-key", "k, k")], {HeaderAnomaly.REPEATED}),
        ([("signature", _GOOD), ("idempotency-key", "k, k"), _KEY], {HeaderAnomaly.REPEATED}),
        ([("signature", _GOOD), _KEY, ("idempotency-key", "")], {HeaderAnomaly.REPEATED}),
        ([("signature", _GOOD), _KEY, ("cookie", "a" * 9000)], {HeaderAnomaly.LONG}),
        ([("signature", _GOOD), _KEY, *[("x-a", "b")] * 199], {HeaderAnomaly.MANY}),
        ([("signature", _GOOD), _KEY, ("x-name", "J\xf6rg")], {HeaderAnomaly.NOT_ASCII}),
        ([("signature", _GOOD), _KEY, ("x-a", "1"), ("x-a", "2"), ("", "\x00")], set()),
    ],
)
def test_copies_blanks_and_unrelated_headers_are_counted_and_not_refused(
    headers: list[tuple[str, str]], anomalies: set[HeaderAnomaly]
) -> None:
    """The signature and the key are found, and the oddity is reported."""
    found = signed_parts([*headers, ("x-request-id", _REQUEST_ID), ("x-provider", "phoenix-prediction-market")])
    assert isinstance(found, SignedParts)
    assert (found.signature_text, found.idempotency_key and found.idempotency_key.value) == (_GOOD, "k")
    assert found.anomalies == anomalies


@pytest.mark.parametrize(
    ("value", "key"), [("k-1", "k-1"), (" k-1\t", "k-1"), ("", None), ("  ", None), ("a b", "a b"), ("ü:1", "ü:1")]
)
def test_keys_are_opaque_but_for_the_white_space_around(value: str, key: str | None) -> None:
    """The key is used unchanged, without the white space that HTTP ignores."""
    found = signed_parts([("signature", _GOOD), ("idempotency-key", value)])
    assert isinstance(found, SignedParts)
    assert found.idempotency_key == (None if key is None else IdempotencyKey(value=key, line=key))


@pytest.mark.parametrize(
    ("headers", "anomalies", "request_id"),
    [
        ([], {HeaderAnomaly.PROVIDER, HeaderAnomaly.REQUEST_ID}, ""),
        ([("x-provider", "else")], {HeaderAnomaly.PROVIDER, HeaderAnomaly.REQUEST_ID}, ""),
        ([("x-request-id", "odd-1")], {HeaderAnomaly.PROVIDER, HeaderAnomaly.REQUEST_ID}, "odd-1"),
        ([("x-request-id", "a\x00b")], {HeaderAnomaly.PROVIDER, HeaderAnomaly.REQUEST_ID}, ""),
        ([("x-request-id", "a" * 129)], {HeaderAnomaly.PROVIDER, HeaderAnomaly.REQUEST_ID}, ""),
        (
            [("x-request-id", _REQUEST_ID), ("x-request-id", "b")],
            {HeaderAnomaly.PROVIDER, HeaderAnomaly.REQUEST_ID, HeaderAnomaly.REPEATED},
            _REQUEST_ID,
        ),
        ([("x-request-id", _REQUEST_ID)], {HeaderAnomaly.PROVIDER}, _REQUEST_ID),
    ],
)
def test_odd_headers_are_noted_and_not_refused(
    headers: list[tuple[str, str]], anomalies: set[HeaderAnomaly], request_id: str
) -> None:
    """Provider and request id are not signed: another value is counted only, and kept only if storable."""
    found = signed_parts([("signature", _GOOD), *headers])
    assert isinstance(found, SignedParts)
    assert (set(found.anomalies), found.request_id) == (anomalies, request_id)


def _json_reply(status: int, error: str, retry_after_s: int = 0) -> Reply:
    body = orjson.dumps({"error": error})
    return Reply(status=status, content_type="application/json", body=body, retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    ("verdict", "reply"),
    [
        (Verdict.VERIFIED, None),
        (Verdict.MISSING_SIGNATURE, _json_reply(401, "missing_signature")),
        (Verdict.MALFORMED_SIGNATURE, _json_reply(401, "bad_signature")),
        (Verdict.BAD_SIGNATURE, _json_reply(401, "bad_signature")),
        (Verdict.KEY_UNAVAILABLE, _json_reply(503, "temporarily_unavailable", 2)),
        (Verdict.KEY_RETIRED, _json_reply(503, "temporarily_unavailable", 2)),
        (Verdict.MALFORMED_BODY, _json_reply(400, "malformed_body")),
        (Verdict.MISSING_IDEMPOTENCY_KEY, _json_reply(400, "missing_idempotency_key")),
        (Verdict.WRONG_OPERATOR, _json_reply(403, "wrong_operator")),
        (Verdict.WRONG_ENVIRONMENT, _json_reply(403, "wrong_environment")),
        (Verdict.UNREADABLE_OPERATION, _json_reply(503, "temporarily_unavailable", 2)),
        (Verdict.STORE_UNAVAILABLE, _json_reply(503, "temporarily_unavailable", 2)),
        (Verdict.AMBIGUOUS_HEADERS, _json_reply(503, "temporarily_unavailable", 2)),
    ],
)
def test_each_verdict_has_its_reply(verdict: Verdict, reply: Reply | None) -> None:
    """Status, type, body and Retry-After as in the contract."""
    assert reply_for(verdict, _ADAPTER) == reply


def test_only_certain_verdicts_are_final() -> None:
    """Exactly these verdicts give 400, 401 and 403, which Phoenix never retries."""
    final = {
        v.name for v in Verdict if (reply := reply_for(v, _ADAPTER)) is not None and reply.status in (400, 401, 403)
    }
    assert final == {
        "MISSING_SIGNATURE",
        "MALFORMED_SIGNATURE",
        "BAD_SIGNATURE",
        "MALFORMED_BODY",
        "MISSING_IDEMPOTENCY_KEY",
        "WRONG_OPERATOR",
        "WRONG_ENVIRONMENT",
    }


def test_the_unreadable_status_and_the_waiting_time_are_settings() -> None:
    """Another status has no Retry-After; the time is that of every 503."""
    adapter = WalletAdapter(unreadable_status=422, retry_after_s=9)
    replies = (reply_for(Verdict.UNREADABLE_OPERATION, adapter), reply_for(Verdict.KEY_RETIRED, adapter))
    assert replies == (_json_reply(422, "unreadable_operation"), _json_reply(503, "temporarily_unavailable", 9))


@pytest.mark.parametrize("settings", [{"unreadable_status": 200}, {"unreadable_status": 600}, {"retry_after_s": 0}])
def test_settings_that_would_accept_or_hammer_are_refused(settings: dict[str, int]) -> None:
    """An unreadable call is never answered with success, nor asked again at once."""
    with pytest.raises(ValueError, match="must be"):
        WalletAdapter(**settings)  # type: ignore[arg-type]


def test_each_disposition_has_its_reply() -> None:
    """Only IN_PROGRESS and CONFLICT have their own reply."""
    replies = {d: reply for d in Disposition if (reply := reply_for_disposition(d)) is not None}
    conflict = {"type": "about:blank", "title": "Idempotency conflict", "status": 422, "code": "idempotency_conflict"}
    assert replies == {
        Disposition.IN_PROGRESS: _json_reply(409, "in_progress"),
        Disposition.CONFLICT: Reply(
            status=422, content_type="application/problem+json", body=orjson.dumps(conflict), retry_after_s=0
        ),
    }


@given(st.lists(st.tuples(st.sampled_from(["signature", "idempotency-key", "x-request-id", "a"]), st.text())))
def test_no_headers_crash_the_reader(headers: list[tuple[str, str]]) -> None:
    """Whatever the values, there are parts or a refusal that is about the signature."""
    found = signed_parts(headers)
    allowed = {Verdict.MISSING_SIGNATURE, Verdict.MALFORMED_SIGNATURE, Verdict.AMBIGUOUS_HEADERS}
    assert isinstance(found, SignedParts) or found.verdict in allowed


def test_a_whole_call_is_verified_and_read() -> None:
    """Headers, signature and body of a fresh call, step by step."""
    key, _ = generate_signing_key()
    body = b'{"operation":"credit_cash","player":{"external_id":"p"},"currency_code":"EUR","amount":{"value":"1.00"}}'
    parts = signed_parts([("Signature", b64url_encode(key.sign(body))), ("Idempotency-Key", "k")])
    assert isinstance(parts, SignedParts)
    assert key.public.verify(body, parts.signature)
    read = parse_operation(OperationKind.MOVE, body, parts.idempotency_key, _ADAPTER, None, Environment.PROD)
    assert isinstance(read, Operation)
    assert (read.operation, read.idempotency_key) == ("credit_cash", "k")
