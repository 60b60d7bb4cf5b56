"""Settings for what Phoenix does not publish about wallet bodies: member names and the form of the amount.

wallet_body.py and wallet_amount.py use them. Source: prediction.md 4.4 and chapter 7, points 1 to 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.wallet_amount import AmountNames


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletAdapter:
    """The member that holds each value (a dot goes into an object), and the answer to an unreadable body."""

    player: str = "player.external_id"
    currency: str = "currency_code"
    amount: str = "amount"
    amount_is_text: bool = False
    """Whether `amount` is decimal text instead of an object."""
    amount_names: AmountNames = field(default_factory=AmountNames)
    currency_scales: Mapping[str, int] = field(default_factory=dict)
    """Decimal places of currencies whose whole numbers without a scale are minor units. A whole number without a scale
    in any other currency is ambiguous, and the gateway does not interpret it."""
    references: str = "references"
    reason: str = "reason"
    operator_id: str = "operator_id"
    environment: str = "environment"
    idempotency_key: str = "idempotency_key"
    original_operation: tuple[str, ...] = ("original_operation", "original.operation")
    """Members in which a status probe may name the original operation."""
    unreadable_status: int = 503
    """HTTP status for UNREADABLE_OPERATION. 503, because Phoenix treats 400, 401 and 403 as final."""
    retry_after_s: int = 2
    """`Retry-After` of every 503, in seconds."""

    def __post_init__(self) -> None:
        """Raises: ValueError for a status that is not an error, or a time below 1."""
        if not 400 <= self.unreadable_status <= 599:
            raise ValueError("unreadable_status must be 400 to 599")
        if self.retry_after_s < 1:
            raise ValueError("retry_after_s must be at least 1")
