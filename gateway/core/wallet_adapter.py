"""Settings for what is inferred about wallet bodies: the names of their members, the shape of the amount.

Leaves the reading to wallet_body.py and wallet_amount.py. Source: prediction.md 4.4 and chapter 7, points 1 to 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.wallet_amount import AmountNames


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletAdapter:
    """Where the body keeps what (a dot leads into an object), and how doubts are answered."""

    player: str = "player.external_id"
    currency: str = "currency_code"
    amount: str = "amount"
    amount_is_text: bool = False
    """Whether `amount` leads to decimal text in place of an object."""
    amount_names: AmountNames = field(default_factory=AmountNames)
    currency_scales: Mapping[str, int] = field(default_factory=dict)
    """Decimal places of currencies whose whole numbers without a scale are minor units. Empty: such an amount may mean
    anything and is not read."""
    references: str = "references"
    reason: str = "reason"
    operator_id: str = "operator_id"
    environment: str = "environment"
    idempotency_key: str = "idempotency_key"
    original_operation: tuple[str, ...] = ("original_operation", "original.operation")
    """Candidates: where a status probe may name its original."""
    unreadable_status: int = 503
    """HTTP status for UNREADABLE_OPERATION. 503, because any 400, 401 or 403 would be final."""
    retry_after_s: int = 2
    """`Retry-After` of every 503, in seconds."""

    def __post_init__(self) -> None:
        """Raises: ValueError for a status that is no refusal or a negative time."""
        if not 400 <= self.unreadable_status <= 599:
            raise ValueError("unreadable_status must be 400 to 599")
        if self.retry_after_s < 1:
            raise ValueError("retry_after_s must be at least 1")
