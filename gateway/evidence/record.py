"""What the store takes and gives: calls, outcomes and the evidence made of them. Pure.

Times are whole microseconds since the Unix epoch, UTC (`_us`). Texts are "" where the call had no such
member. Leaves reading a body to core/wallet and where it is kept to durable.py.
Source: prediction.md 4.7, 4.9 and 5.5; API.md, WalletService.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.types import Environment, HexStr, KeyId, OperatorCode
from gateway.core.wallet_operation import MoveContent
from gateway.core.wallet_verdict import Disposition, OriginalState

Scope = tuple[str, str, str, str]
"""Operator, environment, operation, idempotency key: what a money move is known by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A verified money move that asks to be done once."""

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
    """How long the claimant may work before another may take the move over."""
    holds_suspects: bool = False
    """Whether it is held, not claimed, should its signed body have come before under another key."""

    @property
    def scope(self) -> Scope:
        """What the unique constraint holds."""
        return (self.operator_code, self.environment.value, self.content.operation, self.idempotency_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A status probe: asks what became of a move, claims nothing."""

    operator_code: OperatorCode
    environment: Environment
    idempotency_key: str
    original_operation: str | None
    """The operation that the probe names; None where its body names none."""
    received_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replays:
    """How often recorded responses were given again since the last of these, by the moves' ids."""

    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """A balance as the wallet reported it; `amount` is decimal text, kept as it came."""

    amount: str
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a wallet did and answered. `body` None: only its hash is to be kept."""

    operation_id: str
    attempt: int
    status: int
    body: bytes | None = field(repr=False)
    body_sha256: HexStr
    """Of `body` where that is given: the caller's duty."""
    operator_transaction_id: str
    operator_reservation_id: str
    available: Balance | None
    reserved: Balance | None
    processed_at_us: int | None
    operators: frozenset[tuple[OperatorCode, Environment]] | None = None
    """Whose operation it must be, else there is none; None: anybody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedResponse:
    """The response that the wallet gave. `body` None: only its hash was kept."""

    status: int
    body_sha256: HexStr
    body: bytes | None = field(repr=False)
    recorded_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """What became of a claim.

    `disposition` is NEW, REPLAY, IN_PROGRESS, RECLAIMED or CONFLICT; None: held as a suspect replay, nobody may do it.
    `recorded` is set for a finished move. The two flags are those of the move as it was first claimed.
    """

    disposition: Disposition | None
    operation_id: str
    attempt: int
    lease_expires_at_us: int
    recorded: RecordedResponse | None
    suspect_replay: bool
    probed_before: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What is known of the move that a probe asks about; `operation_id` "" unless exactly one is meant."""

    state: OriginalState
    operation_id: str
    recorded: RecordedResponse | None


class IncidentReason(enum.Enum):
    """Why an outcome was refused; the values are the error reasons of the contract."""

    STALE_ATTEMPT = "STALE_ATTEMPT"
    OUTCOME_DIFFERS = "OUTCOME_DIFFERS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """An outcome that was refused and kept."""

    reason: IncidentReason
    received_at_us: int
    attempt: int
    status: int
    body_sha256: HexStr
    operator_transaction_id: str


class OperationState(enum.Enum):
    """How far a move has come."""

    IN_PROGRESS = "IN_PROGRESS"
    FINISHED = "FINISHED"
    HELD = "HELD"
    """Held as a suspect replay: no wallet was ever told to do it."""


HELD_ATTEMPT = 0
"""The attempt of a held move, which no outcome can name."""


def state_of(attempt: int, *, has_response: bool) -> OperationState:
    """Return the state of a move from what is stored of it."""
    if has_response:
        return OperationState.FINISHED
    return OperationState.HELD if attempt == HELD_ATTEMPT else OperationState.IN_PROGRESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A signed call with a move's key and other content, which was refused.

    `body` None: left out because the conflicts of this move are too large together; the store has it.
    """

    received_at_us: int
    count: int
    """At least so often: a commit whose answer was lost counts once more."""
    body_sha256: HexStr
    body: bytes | None = field(repr=False)
    signature: str = field(repr=False)
    key_id: KeyId
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything kept of one money move."""

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
    """Of the first call."""
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
    """How often the recorded response was given again, up to a second ago; a crash may lose the last of them."""
    conflicts: tuple[Conflict, ...] = ()
    """Oldest first, at most 100."""

    @property
    def state(self) -> OperationState:
        """How far it has come."""
        return state_of(self.attempt, has_response=self.response is not None)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Position:
    """A place in the order; what comes after it is read next."""

    received_at_us: int
    operation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceQuery:
    """Which moves of one operator in one environment: there is no query over both environments.

    From `start_us` on, before `end_us`. `player_id` "": every player. `state` None: every state.
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
    """What was found. `more`: there may be more after `position`; then a page may also be short or empty."""

    evidence: tuple[Evidence, ...]
    position: Position | None
    """The last place that was looked at; None where nothing was."""
    more: bool
    settled_us: int
    """Whatever was received before this is there already."""
