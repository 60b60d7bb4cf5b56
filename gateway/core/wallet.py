"""Verification of a wallet webhook: the steps and their functions.

The steps, in the order of the action:
1. `signed_parts`: read the relevant headers (wallet_headers.py); only the signature is decoded;
2. `VerifyingKey.verify`: verify the raw body with the platform key;
3. `find_route` (wallet_route.py) and `parse_operation` (wallet_body.py), only after the signature is verified;
4. the store records claim and evidence; `same_move` distinguishes a replay from a conflict;
5. `reply_for` and `reply_for_disposition`: what the wallet answers Phoenix.
Source: prediction.md 4.2 and 5.1; API.md, WalletService.
"""

from __future__ import annotations

from gateway.core.wallet_adapter import WalletAdapter
from gateway.core.wallet_amount import money_text
from gateway.core.wallet_body import parse_operation
from gateway.core.wallet_headers import HeaderAnomaly, IdempotencyKey, SignedParts, signed_parts
from gateway.core.wallet_operation import HOLDABLE, MOVES, MoveContent, Operation, OperationKind, same_move
from gateway.core.wallet_route import find_route, route_anomalies
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
    "IdempotencyKey",
    "MoveContent",
    "Operation",
    "OperationKind",
    "OriginalState",
    "Refusal",
    "Reply",
    "SignedParts",
    "Verdict",
    "WalletAdapter",
    "find_route",
    "money_text",
    "parse_operation",
    "reply_for",
    "reply_for_disposition",
    "route_anomalies",
    "same_move",
    "signed_parts",
]
