"""The protocol of the wallet store, for the rest of the gateway.

Every method raises StoreUnavailable if the store cannot be reached or does not commit within the deadline, Overloaded
if too many operations wait, and DeadlineTooShort if no time is left. After any of these errors the work may still have
been committed; calling again is always safe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.core.types import Environment, OperatorCode
from gateway.core.wallet_operation import MoveContent
from gateway.evidence.record import (
    ClaimResult,
    Evidence,
    EvidencePage,
    EvidenceQuery,
    MoveClaim,
    Outcome,
    ProbeResult,
)
from gateway.resilience.deadline import Deadline

SameMove = Callable[[MoveContent, MoveContent], bool]
"""Tells whether a stored move and a new one with the same key are the same (core/wallet `same_move`)."""


class WalletStore(Protocol):
    """Claims each money move once and stores its outcome. Evidence is never deleted."""

    async def claim(self, claim: MoveClaim, deadline: Deadline) -> ClaimResult:
        """Claim a move, or return its state. The result is durable, for every replica, before this returns.

        A unique constraint over operator, environment, operation and idempotency key decides. If the lease of a move
        has expired without an outcome, exactly one new claimant gets the move, with a higher attempt. Conflicting calls
        are stored in the same commit; replays are counted within a second. With `holds_suspects`, the move is held if
        its body was seen before with another key.
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
        """Return the state of a move, and record the probe. Claims nothing."""
        ...

    async def record_outcome(self, outcome: Outcome, deadline: Deadline) -> Evidence:
        """Record the wallet's answer. The same outcome is accepted again, from any attempt.

        Raises: PhoenixNotFound; StaleAttempt if another attempt took the move over; OutcomeDiffers if another outcome
        is recorded. The last two are stored as incidents before they are raised.
        """
        ...

    async def evidence_by_id(self, operation_id: str, deadline: Deadline) -> Evidence:
        """Return all evidence of one move. Raises: PhoenixNotFound."""
        ...

    async def evidence_by_key(
        self,
        operator_code: OperatorCode,
        environment: Environment,
        operation: str,
        idempotency_key: str,
        deadline: Deadline,
    ) -> Evidence:
        """Return all evidence of one move, found by its scope. Raises: PhoenixNotFound."""
        ...

    async def list_evidence(self, query: EvidenceQuery, deadline: Deadline) -> EvidencePage:
        """Return the next moves by time of receipt. It reads a bounded number of rows, so a page may be short."""
        ...

    async def check(self, deadline: Deadline) -> None:
        """Check that the store can be reached and has the right schema. Raises: StoreUnavailable."""
        ...
