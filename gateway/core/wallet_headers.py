"""Read the headers of a wallet webhook. They are not signed, so what is odd but harmless is counted, never refused.

Proxies repeat headers, fold repeated ones into one line ("k, k") and add blanks. Equal values are therefore one header.
Different values are ambiguous: which one Phoenix sent is unknown, and a retry may come with one of them only.
Source: prediction.md 4.2; API.md, WalletService; RFC 9110, 5.3 and 5.5.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import NamedTuple

from gateway.core.encoding import MalformedSignature, decode_signature
from gateway.core.wallet_verdict import Refusal, Verdict

PROVIDER = "phoenix-prediction-market"
USUAL_HEADERS = 200
USUAL_VALUE_CHARACTERS = 8192

_COUNTED = frozenset({"signature", "idempotency-key", "x-request-id", "x-provider"})
_BLANKS = " \t\r\n"
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)


class HeaderAnomaly(enum.Enum):
    """Something unusual in the unsigned parts of a call, among them its method and path. Counted and logged only."""

    PROVIDER = "PROVIDER"
    REQUEST_ID = "REQUEST_ID"
    BALANCE_KEY = "BALANCE_KEY"
    """An idempotency key on a balance call, which needs none."""
    REPEATED = "REPEATED"
    """A header of Phoenix more than once or folded, with the same value."""
    BLANKS = "BLANKS"
    """Blanks around a value of Phoenix."""
    LONG = "LONG"
    """A value of more than 8,192 characters."""
    MANY = "MANY"
    """More than 200 headers."""
    NOT_ASCII = "NOT_ASCII"
    """A name or value with bytes beyond ASCII."""
    METHOD = "METHOD"
    """The method in lower or mixed case."""
    PATH = "PATH"
    """Empty, dot or percent-encoded segments in the path."""
    QUERY = "QUERY"
    """A query, which no webhook of Phoenix has."""


class IdempotencyKey(NamedTuple):
    """The `idempotency-key` header: the one value that all copies have, and the line as it came, without blanks.

    `value` None: `line` has several different values between commas. Only a signed body that repeats the line proves
    that the commas belong to the key.
    """

    value: str | None
    line: str


class SignedParts(NamedTuple):
    """The relevant headers. `signature_text` is the header's value, for the evidence."""

    signature: bytes
    signature_text: str
    request_id: str
    """"" if the header is missing or not printable."""
    idempotency_key: IdempotencyKey | None
    provider: str | None
    anomalies: frozenset[HeaderAnomaly]


def signed_parts(headers: Iterable[tuple[str, str]]) -> SignedParts | Refusal:
    """Return the relevant headers from name and value pairs as received; names may have any case.

    Copies of a header with the same value are one header. All other headers are ignored, whatever they hold.
    """
    found: dict[str, list[str]] = {name: [] for name in _COUNTED}
    anomalies: set[HeaderAnomaly] = set()
    count = 0
    for name, value in headers:
        count += 1
        if len(value) > USUAL_VALUE_CHARACTERS:
            anomalies.add(HeaderAnomaly.LONG)
        if not (name.isascii() and value.isascii()):
            anomalies.add(HeaderAnomaly.NOT_ASCII)
        lowered = name.lower()
        if lowered in _COUNTED:
            trimmed = value.strip(_BLANKS)
            if len(trimmed) < len(value):
                anomalies.add(HeaderAnomaly.BLANKS)
            found[lowered].append(trimmed)
    if count > USUAL_HEADERS:
        anomalies.add(HeaderAnomaly.MANY)
    # 1. The signature, which has no comma: a comma separates folded copies.
    if not found["signature"]:
        return Refusal(verdict=Verdict.MISSING_SIGNATURE, why="no signature header")
    signatures = _distinct(found["signature"], anomalies)
    try:
        decoded = [decode_signature(text) for text in signatures or ("",)]
    except MalformedSignature as fault:
        # One line without a whole signature in it is no copy of a genuine one.
        if len(set(found["signature"])) == 1 and not any(map(_is_signature, signatures)):
            return Refusal(verdict=Verdict.MALFORMED_SIGNATURE, why=str(fault))
        decoded = []
    if len(decoded) != 1:
        return Refusal(verdict=Verdict.AMBIGUOUS_HEADERS, why="several different signature headers")
    # 2. The idempotency key. White space around a value is not part of it: a key that arrives with it once and without
    # it the next time would be two keys, and the move would be made twice.
    key_lines = list(dict.fromkeys(filter(None, found["idempotency-key"])))
    keys = _distinct(found["idempotency-key"], anomalies)
    if len(key_lines) > 1 and len(keys) > 1:
        return Refusal(verdict=Verdict.AMBIGUOUS_HEADERS, why="several different idempotency-key headers")
    key = IdempotencyKey(value=keys[0] if len(keys) == 1 else None, line=key_lines[0]) if key_lines else None
    # 3. What is only recorded.
    request_ids, providers = _distinct(found["x-request-id"], anomalies), _distinct(found["x-provider"], anomalies)
    request_id = request_ids[0] if request_ids and _REQUEST_ID.fullmatch(request_ids[0]) is not None else ""
    if len(request_ids) != 1 or _UUID7.fullmatch(request_id) is None:
        anomalies.add(HeaderAnomaly.REQUEST_ID)
    if providers != [PROVIDER]:
        anomalies.add(HeaderAnomaly.PROVIDER)
    return SignedParts(
        signature=decoded[0],
        signature_text=signatures[0],
        request_id=request_id,
        idempotency_key=key,
        provider=providers[0] if providers else None,
        anomalies=frozenset(anomalies),
    )


def _is_signature(text: str) -> bool:
    try:
        decode_signature(text)
    except MalformedSignature:
        return False
    return True


def _distinct(lines: list[str], anomalies: set[HeaderAnomaly]) -> list[str]:
    """Return the different values of a header's lines, without empty ones, in their order."""
    if len(lines) == 1 and "," not in lines[0]:
        return lines if lines[0] else []
    values = [value for line in lines for part in line.split(",") if (value := part.strip(_BLANKS))]
    distinct = list(dict.fromkeys(values))
    if len(distinct) < len(values) or len(lines) > 1:
        anomalies.add(HeaderAnomaly.REPEATED)
    return distinct
