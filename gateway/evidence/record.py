"""The values that the wallet store takes and returns: claims, probes, outcomes and evidence. Pure.

Times are whole microseconds since the Unix epoch, UTC (`_us`). A text is "" if the call had no such member.
Source: prediction.md 4.7, 4.9 and 5.5; API.md, WalletService.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.core.types import Environment, HexStr, KeyId, OperatorCode
from gateway.core.wallet_operation import MoveContent
from gateway.core.wallet_verdict import Disposition, OriginalState

Scope = tuple[str, str, str, str]
"""Operator, environment, operation and idempotency key. Together they identify a money move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveClaim:
    """A request to make a verified money move once."""

    operator_code: OperatorCode
    environment: Environment
    idempotency_key: str
    content: MoveContent
    reason: str
    body: bytes = field(repr=False)
    signature: str = field(repr=False)
    key_id: KeyId
    request_id: str
    received_at_us: int
    lease_us: int
    """How long the claimant may work before another claimant may take the move over."""
    holds_suspects: bool = False
    """Whether to hold the move instead of claiming it if its signed body was seen before with another key."""

    @property
    def scope(self) -> Scope:
        """The values of the unique constraint."""
        return (self.operator_code, self.environment.value, self.content.operation, self.idempotency_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A status probe: asks for the state of a move and claims nothing."""

    operator_code: OperatorCode
    environment: Environment
    idempotency_key: str
    original_operation: str | None
    """The operation that the probe names, or None."""
    received_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replays:
    """The numbers of repeated responses since the last count, by the ids of the moves."""

    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """A balance as the wallet reported it. `amount` is the unchanged decimal text."""

    amount: str
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a wallet did and answered. `body` None: only its hash is stored."""

    operation_id: str
    attempt: int
    status: int
    body: bytes | None = field(repr=False)
    body_sha256: HexStr
    """The hash of `body`; the caller must compute it correctly."""
    operator_transaction_id: str
    operator_reservation_id: str
    available: Balance | None
    reserved: Balance | None
    processed_at_us: int | None
    operators: frozenset[tuple[OperatorCode, Environment]] | None = None
    """The allowed owners of the move; for any other owner, it counts as missing. None: every owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedResponse:
    """The response that the wallet gave. `body` None: only its hash is stored."""

    status: int
    body_sha256: HexStr
    body: bytes | None = field(repr=False)
    recorded_at_us: int


class ClaimResult(NamedTuple):
    """The result of a claim.

    `disposition` is NEW, REPLAY, IN_PROGRESS, RECLAIMED or CONFLICT; None: held as a suspect replay, not to be made.
    `recorded` is set for a finished move. The two flags are those of the first claim of the move.
    """

    disposition: Disposition | None
    operation_id: str
    attempt: int
    lease_expires_at_us: int
    """As stored: by the time for leases (store/steady_time.py)."""
    lease_ends_us: int
    """The same by the time of day."""
    recorded: RecordedResponse | None
    suspect_replay: bool
    probed_before: bool
    received_at_us: int
    """When the first claim of the move arrived."""
    settled: RecordedResponse | None = None
    """What a person settled for this very call, which could not be read before. Only where `suspect_replay`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """The state of the move that a probe asks about. `operation_id` is "" unless exactly one move matches."""

    state: OriginalState
    operation_id: str
    recorded: RecordedResponse | None


class IncidentReason(enum.Enum):
    """Why an outcome was refused. The values are error reasons of the API."""

    STALE_ATTEMPT = "STALE_ATTEMPT"
    OUTCOME_DIFFERS = "OUTCOME_DIFFERS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """An outcome that was refused and stored."""

    reason: IncidentReason
    received_at_us: int
    attempt: int
    status: int
    body_sha256: HexStr
    operator_transaction_id: str


class OperationState(enum.Enum):
    """The state of a move."""

    IN_PROGRESS = "IN_PROGRESS"
    FINISHED = "FINISHED"
    HELD = "HELD"
    """Held as a suspect replay: no wallet was asked to make it."""


HELD_ATTEMPT = 0
"""The attempt number of a held move. No outcome can have it."""


def state_of(attempt: int, *, has_response: bool) -> OperationState:
    """Return the state of a move from its stored values."""
    if has_response:
        return OperationState.FINISHED
    return OperationState.HELD if attempt == HELD_ATTEMPT else OperationState.IN_PROGRESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A refused signed call with the key of a move and other content.

    `body` None: left out, because the conflicts of this move are too large together. The store has it.
    """

    received_at_us: int
    count: int
    """The number of calls. It may be too high by one for each lost commit answer."""
    body_sha256: HexStr
    body: bytes | None = field(repr=False)
    signature: str = field(repr=False)
    key_id: KeyId
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that is stored about one money move."""

    operation_id: str
    operator_code: OperatorCode
    environment: Environment
    idempotency_key: str
    content: MoveContent
    reason: str
    body: bytes = field(repr=False)
    signature: str = field(repr=False)
    key_id: KeyId
    request_id: str
    """The request id of the first call."""
    received_at_us: int
    attempt: int
    lease_expires_at_us: int
    suspect_replay: bool
    probed_before: bool
    response: RecordedResponse | None
    """None while in progress or held."""
    operator_transaction_id: str
    operator_reservation_id: str
    available: Balance | None
    reserved: Balance | None
    processed_at_us: int | None
    incidents: tuple[Incident, ...]
    """Oldest first, at most 100."""
    replay_count: int = 0
    """How often the recorded response was repeated, up to a second ago. A crash may lose the last counts."""
    conflicts: tuple[Conflict, ...] = ()
    """Oldest first, at most 100."""

    @property
    def state(self) -> OperationState:
        """The state of the move."""
        return state_of(self.attempt, has_response=self.response is not None)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Position:
    """A position in the order. The next page starts after it."""

    received_at_us: int
    operation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceQuery:
    """A query for moves of one operator in one environment. There is no query over both environments.

    Moves from `start_us` and before `end_us`. `player_id` "": every player. `state` None: every state.
    """

    operator_code: OperatorCode
    environment: Environment
    start_us: int | None = None
    end_us: int | None = None
    player_id: str = ""
    state: OperationState | None = None
    after: Position | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePage:
    """One page of moves. `more`: there may be more after `position`; such a page may be short or empty."""

    evidence: tuple[Evidence, ...]
    position: Position | None
    """The position of the last examined move, or None."""
    more: bool
    settled_us: int
    """All moves received before this time are committed."""
