"""The implementation of WalletStore: SQLAlchemy Core with SQLite or PostgreSQL; all writes go through one group commit.

It connects the parts and refuses values that the database cannot store. claims.py, probes.py and outcomes.py have the
rules; the database runs the transactions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import sqlalchemy as sa
import uuid_utils

from gateway.core.types import Environment, OperatorCode
from gateway.core.wallet_verdict import Disposition
from gateway.errors import DeadlineTooShort, GatewayError, PhoenixNotFound, StoreUnavailable
from gateway.evidence.chain.journal import journal_decided
from gateway.evidence.chain.public_keys import PublicKeyOf, StoredKeys, store_keys
from gateway.evidence.claims import claim_all
from gateway.evidence.listing import page_of
from gateway.evidence.outcomes import Owner, record_all
from gateway.evidence.probes import probe_all
from gateway.evidence.reading import NO_SUCH_OPERATION, evidence_at, evidence_of
from gateway.evidence.record import (
    ClaimResult,
    Evidence,
    EvidencePage,
    EvidenceQuery,
    MoveClaim,
    Outcome,
    Probe,
    ProbeResult,
    Replays,
)
from gateway.evidence.repeats import add_replays, store_conflicts
from gateway.evidence.replay_tally import ReplayTally
from gateway.evidence.rows import PendingClaim
from gateway.evidence.store import SameMove
from gateway.resilience.clock import Clock, SystemClock
from gateway.resilience.deadline import Deadline
from gateway.store.database import Database, T, Work
from gateway.store.group_commit import CommitSettings, GroupCommitter
from gateway.store.pipeline import Pipelined

_Op = PendingClaim | Probe | Outcome | Replays
_Result = ClaimResult | ProbeResult | Evidence | Replays

_MAX_KEY_BYTES = 1024
"""An index entry of PostgreSQL can have about 2,700 bytes, including operator and operation."""
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_OVERHEAD_BYTES = 1024
_COUNT_WITHIN_S = 5.0


class StoreObserver(Protocol):
    """Counts transactions. `telemetry.metrics.Metrics` implements it."""

    def evidence_committed(self, operations: int, seconds: float) -> None:
        """Count one committed transaction and its operations."""
        ...

    def store_failed(self, kind: str) -> None:
        """Count one failed transaction: `unavailable` or `timeout`."""
        ...


class DurableWalletStore:
    """The durable WalletStore. `same_move` decides whether two calls with the same key are the same move."""

    def __init__(
        self,
        database: Database,
        *,
        same_move: SameMove,
        settings: CommitSettings | None = None,
        new_id: Callable[[], str] = lambda: str(uuid_utils.uuid7()),
        clock: Clock | None = None,
        observer: StoreObserver | None = None,
        hash_only: frozenset[Owner] = frozenset(),
        public_key_of: PublicKeyOf = lambda key_id: None,
    ) -> None:
        """Args: `observer` counts every transaction; `clock` measures it.

        `hash_only`: owners whose response bodies are not stored. `public_key_of`: the platform keys in use, to store.
        """
        self._database = database
        self._same_move = same_move
        self._new_id = new_id
        self._clock = clock or SystemClock()
        self._observer = observer
        self._hash_only = hash_only
        self._keys = StoredKeys(public_key_of)
        self._committer: GroupCommitter[_Op, _Result] = GroupCommitter(
            "evidence-commit", self._commit, size_of=_size_of, settings=settings, system=database.system
        )
        self._tally = ReplayTally(
            lambda counts: self._committer.submit(Replays(counts=counts), Deadline.after(_COUNT_WITHIN_S, self._clock))
        )

    @property
    def is_busy(self) -> bool:
        """Whether background work should let wallet calls go first."""
        return self._committer.is_busy

    async def start(self) -> None:
        """Start the commit task. It does not connect, so a gateway starts while its database is down."""
        self._committer.start()

    async def stop(self, within_s: float = 5.0) -> None:
        """Commit waiting operations within this time, then close the database."""
        await self._tally.stop()
        await self._committer.stop(within_s)
        await self._database.stop()

    async def claim(self, claim: MoveClaim, deadline: Deadline) -> ClaimResult:
        """See WalletStore."""
        _check_storable(claim.operator_code, claim.idempotency_key, claim.reason, claim.signature, claim.request_id)
        content = claim.content
        _check_storable(
            content.operation, content.player_id, content.currency, content.amount_json, content.references_json
        )
        _check_key(claim.idempotency_key)
        pending = PendingClaim(claim=claim, operation_id=self._new_id())
        result = cast(ClaimResult, await self._committer.submit(pending, deadline))
        if result.disposition is Disposition.REPLAY:
            self._tally.note(result.operation_id)
        return result

    async def probe(
        self,
        operator_code: OperatorCode,
        environment: Environment,
        idempotency_key: str,
        original_operation: str | None,
        received_at_us: int,
        deadline: Deadline,
    ) -> ProbeResult:
        """See WalletStore."""
        _check_storable(operator_code, idempotency_key, original_operation or "")
        _check_key(idempotency_key)
        probe = Probe(
            operator_code=operator_code,
            environment=environment,
            idempotency_key=idempotency_key,
            original_operation=original_operation,
            received_at_us=received_at_us,
        )
        return cast(ProbeResult, await self._committer.submit(probe, deadline))

    async def record_outcome(self, outcome: Outcome, deadline: Deadline) -> Evidence:
        """See WalletStore."""
        if _UNSTORABLE.search(outcome.operation_id):
            raise PhoenixNotFound(NO_SUCH_OPERATION)
        _check_storable(outcome.body_sha256, outcome.operator_transaction_id, outcome.operator_reservation_id)
        return cast(Evidence, await self._committer.submit(outcome, deadline, is_urgent=True))

    async def evidence_by_id(self, operation_id: str, deadline: Deadline) -> Evidence:
        """See WalletStore."""
        if _UNSTORABLE.search(operation_id):
            raise PhoenixNotFound(NO_SUCH_OPERATION)
        found = await self._read(
            lambda connection, _now: evidence_of(connection, [operation_id]).get(operation_id), deadline
        )
        return _found_or_raise(found)

    async def evidence_by_key(
        self,
        operator_code: OperatorCode,
        environment: Environment,
        operation: str,
        idempotency_key: str,
        deadline: Deadline,
    ) -> Evidence:
        """See WalletStore."""
        scope = (operator_code, environment.value, operation, idempotency_key)
        if any(_UNSTORABLE.search(part) for part in scope):
            raise PhoenixNotFound(NO_SUCH_OPERATION)
        return _found_or_raise(await self._read(lambda connection, _now: evidence_at(connection, scope), deadline))

    async def list_evidence(self, query: EvidenceQuery, deadline: Deadline) -> EvidencePage:
        """See WalletStore."""
        return await self._read(lambda connection, now_us: page_of(connection, now_us, query), deadline)

    async def check(self, deadline: Deadline) -> None:
        """See WalletStore."""
        remaining = deadline.remaining()
        if remaining <= 0:
            raise DeadlineTooShort
        if not await self._database.check(remaining):
            raise StoreUnavailable("The store's schema is older than this gateway. Wait until it is upgraded.")

    async def _read(self, work: Work[T], deadline: Deadline) -> T:
        remaining = deadline.remaining()
        if remaining <= 0:
            raise DeadlineTooShort
        return await self._database.read(work, remaining)

    async def _commit(self, ops: Sequence[_Op], limit_s: float) -> Sequence[_Result | GatewayError]:
        probing = any(isinstance(op, Probe) for op in ops)
        keys = self._keys.missing(op.claim.key_id for op in ops if isinstance(op, PendingClaim))

        def work(connection: sa.Connection) -> list[_Result | GatewayError]:
            store_keys(connection, keys)  # first in every transaction, so that it cannot deadlock
            results: dict[int, _Result | GatewayError] = {}
            asked = [(index, op) for index, op in enumerate(ops) if isinstance(op, Probe)]
            claims = [(index, op) for index, op in enumerate(ops) if isinstance(op, PendingClaim)]
            outcomes = [(index, op) for index, op in enumerate(ops) if isinstance(op, Outcome)]
            # All operations are concurrent, so any order is valid. Probes first, so that they mark moves of this batch.
            answers = probe_all(connection, [op for _, op in asked])
            results.update(zip((index for index, _ in asked), answers, strict=True))
            claimed = claim_all(connection, [op for _, op in claims], self._same_move)
            results.update(zip((index for index, _ in claims), claimed, strict=True))
            recorded = record_all(connection, [op for _, op in outcomes], self._hash_only)
            results.update(zip((index for index, _ in outcomes), recorded, strict=True))
            store_conflicts(connection, zip((op.claim for _, op in claims), claimed, strict=True))
            replayed = {index: op for index, op in enumerate(ops) if isinstance(op, Replays)}
            results.update(replayed)
            counts = sum((Counter(op.counts) for op in replayed.values()), Counter[str]())
            add_replays(connection, counts)
            journal_decided(
                connection,
                zip((op for _, op in claims), claimed, strict=True),
                zip((op for _, op in outcomes), recorded, strict=True),
                counts,
            )
            return [results[index] for index in range(len(ops))]

        began_at = self._clock.monotonic()
        try:
            # Exclusive, so that a probe that answers NOT_SEEN and a claim that sees no probe cannot miss each other.
            results = await self._database.write(Pipelined(work), limit_s, exclusive=probing)
        except StoreUnavailable:
            if self._observer is not None:
                late = self._clock.monotonic() - began_at >= limit_s
                self._observer.store_failed("timeout" if late else "unavailable")
            raise
        self._keys.committed(keys)
        if self._observer is not None:
            self._observer.evidence_committed(len(ops), self._clock.monotonic() - began_at)
        return results


def _size_of(op: _Op) -> int:
    if isinstance(op, PendingClaim):
        content = op.claim.content
        return len(op.claim.body) + len(content.references_json) + len(content.amount_json) + _OVERHEAD_BYTES
    if isinstance(op, Outcome):
        return len(op.body or b"") + _OVERHEAD_BYTES
    return _OVERHEAD_BYTES


def _check_storable(*texts: str) -> None:
    """Refuse texts that PostgreSQL cannot store, on SQLite too."""
    for text in texts:
        if _UNSTORABLE.search(text):
            raise StoreUnavailable("The store cannot hold text with a NUL or a lone surrogate.")


def _check_key(idempotency_key: str) -> None:
    if len(idempotency_key.encode()) > _MAX_KEY_BYTES:
        raise StoreUnavailable(f"The store cannot hold an idempotency key of more than {_MAX_KEY_BYTES} bytes.")


def _found_or_raise(found: Evidence | None) -> Evidence:
    if found is None:
        raise PhoenixNotFound(NO_SUCH_OPERATION)
    return found
