"""What the rest of the gateway knows of the store: six questions and the promises behind them.

Every method raises StoreUnavailable when the store cannot be reached or did not commit within the
deadline, Overloaded when too much waits for it already, and DeadlineTooShort when no time was left to
begin. After any of these the work may still have been committed: asking again is always safe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.core.types import Environment, OperatorCode
from gateway.core.wallet_operation import MoveContent
from gateway.evidence.record import (
    Claim,
    ClaimResult,
    Evidence,
    EvidencePage,
    EvidenceQuery,
    Outcome,
    ProbeResult,
)
from gateway.resilience.deadline import Deadline

SameMove = Callable[[MoveContent, MoveContent], bool]
"""Tells whether a stored move and a new one under the same key are the same (core/wallet `same_move`)."""


class WalletStore(Protocol):
    """Claims money moves once, remembers what became of them, for ever."""

    async def claim(self, claim: Claim, deadline: Deadline) -> ClaimResult:
        """Claim a move or tell who has it; durable, on every replica, before this returns.

        One unique constraint over operator, environment, operation and idempotency key decides. A move
        whose lease is over and that has no outcome goes to exactly one new claimant, with a higher
        attempt. Conflicting calls are kept in the same commit, replays counted within a second. A claim that
        asks for it is held where its body came before under another key.
        """
        ...

    async def probe(
        self,
        operator_code: OperatorCode,
        environment: Environment,
        idempotency_key: str,
        original_operation: str | None,
        received_at_us: int,
        deadline: Deadline,
    ) -> ProbeResult:
        """Tell what is known of a move, and remember that it was asked; claims nothing."""
        ...

    async def record_outcome(self, outcome: Outcome, deadline: Deadline) -> Evidence:
        """Keep what the wallet answered; the same outcome again is fine, from whichever attempt.

        Raises: PhoenixNotFound; StaleAttempt when another attempt has taken the move over, OutcomeDiffers
        when another outcome is recorded: both are kept as incidents before they are raised.
        """
        ...

    async def evidence_by_id(self, operation_id: str, deadline: Deadline) -> Evidence:
        """Return everything kept of one move. Raises: PhoenixNotFound."""
        ...

    async def evidence_by_key(
        self,
        operator_code: OperatorCode,
        environment: Environment,
        operation: str,
        idempotency_key: str,
        deadline: Deadline,
    ) -> Evidence:
        """Return everything kept of one move, found by its place in Phoenix's world. Raises: PhoenixNotFound."""
        ...

    async def list_evidence(self, query: EvidenceQuery, deadline: Deadline) -> EvidencePage:
        """Return the next moves by time of receipt; reads a bounded number of rows, so a page may be short."""
        ...

    async def check(self, deadline: Deadline) -> None:
        """Return if the store is there and its schema is the right one. Raises: StoreUnavailable."""
        ...
