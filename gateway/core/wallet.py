"""Verification of a wallet webhook: read the headers; the steps and their functions.

The steps, in the order of the action:
1. `signed_parts`: read the relevant headers; only the signature is decoded;
2. `VerifyingKey.verify`: verify the raw body with the platform key;
3. `parse_operation`: parse the body (wallet_body.py), only after the signature is verified;
4. the store records claim and evidence; `same_move` distinguishes a replay from a conflict;
5. `reply_for` and `reply_for_disposition`: what the wallet answers Phoenix.
Source: prediction.md 4.2 and 5.1; API.md, WalletService.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import NamedTuple

from gateway.core.encoding import MalformedSignature, decode_signature
from gateway.core.wallet_adapter import WalletAdapter
from gateway.core.wallet_amount import money_text
from gateway.core.wallet_body import parse_operation
from gateway.core.wallet_operation import HOLDABLE, MOVES, MoveContent, Operation, OperationKind, same_move
from gateway.core.wallet_verdict import (
    Disposition,
    OriginalState,
    Refusal,
    Reply,
    Verdict,
    reply_for,
    reply_for_disposition,
)

__all__ = [
    "HOLDABLE",
    "MOVES",
    "Disposition",
    "HeaderAnomaly",
    "MoveContent",
    "Operation",
    "OperationKind",
    "OriginalState",
    "Refusal",
    "Reply",
    "SignedParts",
    "Verdict",
    "WalletAdapter",
    "money_text",
    "parse_operation",
    "reply_for",
    "reply_for_disposition",
    "same_move",
    "signed_parts",
]

PROVIDER = "phoenix-prediction-market"

_COUNTED = frozenset({"signature", "idempotency-key", "x-request-id", "x-provider"})
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)


class HeaderAnomaly(enum.Enum):
    """Unusual headers. They are counted and logged but not refused, because these headers are not signed."""

    PROVIDER = "PROVIDER"
    REQUEST_ID = "REQUEST_ID"
    BALANCE_KEY = "BALANCE_KEY"
    """An idempotency key on a balance call, which needs none."""


class SignedParts(NamedTuple):
    """The relevant headers. `signature_text` is the header as received, for the evidence."""

    signature: bytes
    signature_text: str
    request_id: str
    """"" if the header is missing or not printable."""
    idempotency_key: str | None
    provider: str | None
    anomalies: frozenset[HeaderAnomaly]


def signed_parts(headers: Iterable[tuple[str, str]]) -> SignedParts | Refusal:
    """Return the relevant headers from name and value pairs as received; names may have any case.

    A repeated `signature` or `idempotency-key` is malformed: the gateway would have to guess which one is valid.
    """
    found: dict[str, list[str]] = {name: [] for name in _COUNTED}
    for name, value in headers:
        lowered = name.lower()
        if lowered in _COUNTED:
            found[lowered].append(value)
    signatures, keys = found["signature"], found["idempotency-key"]
    if not signatures:
        return Refusal(verdict=Verdict.MISSING_SIGNATURE, why="no signature header")
    if len(signatures) > 1:
        return Refusal(verdict=Verdict.MALFORMED_SIGNATURE, why="a repeated signature header")
    if len(keys) > 1:
        return Refusal(verdict=Verdict.MALFORMED_SIGNATURE, why="a repeated idempotency-key header")
    try:
        signature = decode_signature(signatures[0])
    except MalformedSignature as fault:
        return Refusal(verdict=Verdict.MALFORMED_SIGNATURE, why=str(fault))
    # White space around a value is not part of it (RFC 9110, 5.5). A key that arrives with it once and without it the
    # next time would be two keys, and the move would be made twice.
    key = keys[0].strip(" \t") if keys else ""
    request_ids, providers = found["x-request-id"], found["x-provider"]
    request_id = request_ids[0] if request_ids and _REQUEST_ID.fullmatch(request_ids[0]) is not None else ""
    anomalies = set()
    if len(request_ids) != 1 or _UUID7.fullmatch(request_id) is None:
        anomalies.add(HeaderAnomaly.REQUEST_ID)
    if providers != [PROVIDER]:
        anomalies.add(HeaderAnomaly.PROVIDER)
    return SignedParts(
        signature=signature,
        signature_text=signatures[0],
        request_id=request_id,
        idempotency_key=key or None,
        provider=providers[0] if providers else None,
        anomalies=frozenset(anomalies),
    )
