"""A parsed wallet operation, and the rule that decides whether two calls ask for the same move.

wallet_body.py parses the signed body. Source: prediction.md 4.1, 4.4 and 4.9.
"""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import NamedTuple

from gateway.core.json_text import same_value
from gateway.core.types import HexStr


class OperationKind(enum.Enum):
    """The purpose of a call."""

    MOVE = "MOVE"
    PROBE = "PROBE"
    BALANCE = "BALANCE"


MOVES = frozenset({"reserve_cash", "capture_cash", "release_cash", "credit_cash"})

HOLDABLE = MOVES - {"capture_cash"}
"""Operations that may be held as a suspect replay. A capture is never held: two equal partial captures of one order are
two calls with the same body."""


class MoveContent(NamedTuple):
    """The values that decide whether two calls are the same move. `amount` None: its form is ambiguous or unknown."""

    operation: str
    player_id: str
    currency: str
    amount: Decimal | None
    amount_json: str
    references_json: str
    body_sha256: HexStr


class Operation(NamedTuple):
    """A parsed signed body. A text is "" if the body has no such member."""

    operation: str
    kind: OperationKind
    idempotency_key: str | None
    """Set for moves and probes; None for a balance call."""
    player_id: str
    currency: str
    amount: Decimal | None
    amount_json: str
    references_json: str
    reason: str
    original_operation: str | None
    """For a probe: the operation of the original move, if the body names it."""
    body_sha256: HexStr

    def content(self) -> MoveContent:
        """Return the values that `same_move` compares."""
        return MoveContent(
            operation=self.operation,
            player_id=self.player_id,
            currency=self.currency,
            amount=self.amount,
            amount_json=self.amount_json,
            references_json=self.references_json,
            body_sha256=self.body_sha256,
        )


def same_move(stored: MoveContent, new: MoveContent) -> bool:
    """Tell whether two calls with the same key ask for the same move.

    Equal body hashes mean the same move. Otherwise operation, player, currency, amount and references decide. Order of
    members, white space and the spelling of numbers make no difference.
    """
    if stored.body_sha256 == new.body_sha256:
        return True
    if (stored.operation, stored.player_id, stored.currency) != (new.operation, new.player_id, new.currency):
        return False
    if stored.amount is not None and new.amount is not None:
        same_amount = stored.amount == new.amount
    else:
        same_amount = _same_json(stored.amount_json, new.amount_json)
    return same_amount and _same_json(stored.references_json, new.references_json)


def _same_json(stored: str, new: str) -> bool:
    return stored == new or (stored != "" and new != "" and same_value(stored, new))
