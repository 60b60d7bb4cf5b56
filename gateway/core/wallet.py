"""Verification of a wallet webhook: its headers, and one name for each step.

The steps, in the order in which the action takes them:
1. `signed_parts`: the headers that count, nothing decoded but the signature;
2. `VerifyingKey.verify` over the raw body, with the platform key only;
3. `parse_operation`: only now the body, by wallet_body.py;
4. claim and evidence, by the store; `same_move` tells a replay from a conflict;
5. `reply_for` and `reply_for_disposition`: what the wallet answers Phoenix.
Leaves keys, store and time to others. Source: prediction.md 4.2 and 5.1; API.md, WalletService.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import NamedTuple

from gateway.core.encoding import MalformedSignature, decode_signature
from gateway.core.wallet_adapter import WalletAdapter
from gateway.core.wallet_amount import money_text
from gateway.core.wallet_body import (
    HOLDABLE,
    MOVES,
    MoveContent,
    Operation,
    OperationKind,
    parse_operation,
    same_move,
)
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
    "MoveContent",
    "Oddity",
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


class Oddity(enum.Enum):
    """What is counted and logged but no ground to refuse: these headers are not signed."""

    PROVIDER = "PROVIDER"
    REQUEST_ID = "REQUEST_ID"
    BALANCE_KEY = "BALANCE_KEY"
    """An idempotency key on a balance call, which has none to be made once."""


class SignedParts(NamedTuple):
    """The headers that count. `signature_text` is the header as it came, for the evidence."""

    signature: bytes
    signature_text: str
    request_id: str
    """"" where there is none that can be kept."""
    idempotency_key: str | None
    provider: str | None
    oddities: frozenset[Oddity]


def signed_parts(headers: Iterable[tuple[str, str]]) -> SignedParts | Refusal:
    """Return the headers that count, from name and value pairs as received, names in any case.

    A repeated `signature` or `idempotency-key` is malformed: which one counts would be a guess.
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
    # White space around a value is no part of it (RFC 9110, 5.5): a key that keeps it on one attempt
    # and loses it on the next would be two keys, and two moves.
    key = keys[0].strip(" \t") if keys else ""
    request_ids, providers = found["x-request-id"], found["x-provider"]
    request_id = request_ids[0] if request_ids and _REQUEST_ID.fullmatch(request_ids[0]) is not None else ""
    oddities = set()
    if len(request_ids) != 1 or _UUID7.fullmatch(request_id) is None:
        oddities.add(Oddity.REQUEST_ID)
    if providers != [PROVIDER]:
        oddities.add(Oddity.PROVIDER)
    return SignedParts(
        signature=signature,
        signature_text=signatures[0],
        request_id=request_id,
        idempotency_key=key or None,
        provider=providers[0] if providers else None,
        oddities=frozenset(oddities),
    )
