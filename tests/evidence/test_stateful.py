"""The store against a model that is a dictionary: any sequence of calls gives the same answers."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from gateway.core.types import Environment
from gateway.core.wallet_operation import same_move
from gateway.errors import OutcomeDiffers, StaleAttempt
from gateway.evidence.durable import DurableWalletStore
from gateway.evidence.record import Outcome
from gateway.store.sqlite import SqliteDatabase
from tests.evidence.wallet_factory import LEASE_S, OPERATOR, claim_of, outcome_of, soon
from tests.manual_clock import ManualClock
from tests.migrated_sqlite import write_migrated

keys = st.sampled_from(["k1", "k2", "k3"])
moves = st.sampled_from(["reserve_cash", "capture_cash"])
amounts = st.sampled_from(["1", "1.0", "2"])
bodies = st.sampled_from([None, b"shared-1", b"shared-2"])


@dataclass
class Move:
    """What the model knows of one move."""

    amount: float
    body: bytes
    lease_ends: float
    suspect: bool
    probed: bool
    attempt: int = 1
    outcome: tuple[int, str] | None = None
    incidents: set[tuple[str, int, int, str]] = field(default_factory=set)
    operation_id: str = ""


class StoreMachine(RuleBasedStateMachine):
    """Calls the store and the model alike, closes and opens the store in between."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.moves: dict[tuple[str, str], Move] = {}
        self.bodies: set[bytes] = set()
        self.probed: set[str] = set()
        self.numbers = itertools.count()
        self.open()

    def open(self) -> None:
        path = Path(self.directory.name) / "evidence.sqlite3"
        self.store = DurableWalletStore(SqliteDatabase(write_migrated(path), self.clock), same_move=same_move)
        self.run(self.store.start())

    def run(self, doing: Any) -> Any:
        return self.loop.run_until_complete(doing)

    def teardown(self) -> None:
        self.run(self.store.stop())
        self.loop.close()
        self.directory.cleanup()

    @rule(key=keys, operation=moves, amount=amounts, body=bodies)
    def claim(self, key: str, operation: str, amount: str, body: bytes | None) -> None:
        claim = claim_of(key, operation=operation, amount=amount, body=body)
        result = self.run(self.store.claim(claim, soon()))
        move = self.moves.get((operation, key))
        now = self.clock.now()
        if move is None:
            expected = "NEW"
            move = self.moves[operation, key] = Move(
                amount=float(amount),
                body=claim.body,
                lease_ends=now + LEASE_S,
                suspect=claim.body in self.bodies,
                probed=key in self.probed,
                operation_id=result.operation_id,
            )
            self.bodies.add(claim.body)
        elif move.body != claim.body and move.amount != float(amount):
            expected = "CONFLICT"
        elif move.outcome is not None:
            expected = "REPLAY"
        elif move.lease_ends > now:
            expected = "IN_PROGRESS"
        else:
            expected = "RECLAIMED"
            move.attempt += 1
            move.lease_ends = now + LEASE_S
        assert (result.disposition.value, result.operation_id, result.attempt) == (
            expected,
            move.operation_id,
            move.attempt,
        )
        assert (result.suspect_replay, result.probed_before) == (move.suspect, move.probed)
        assert (result.recorded and result.recorded.status) == (move.outcome and move.outcome[0])

    @rule(key=keys, original=st.none() | moves)
    def probe(self, key: str, original: str | None) -> None:
        result = self.run(self.store.probe(OPERATOR, Environment.PROD, key, original, 0, soon()))
        self.probed.add(key)
        under = {operation: move for (operation, other), move in self.moves.items() if other == key}
        meant = [move for operation, move in under.items() if original in (None, operation)]
        if not under:
            expected = "NOT_SEEN"
        elif len(meant) != 1:
            expected = "AMBIGUOUS"
        else:
            expected = "FINISHED" if meant[0].outcome else "IN_PROGRESS"
            assert result.operation_id == meant[0].operation_id
        assert result.state.value == expected

    @rule(
        key=keys, operation=moves, back=st.integers(0, 1), status=st.sampled_from([200, 422]), tx=st.sampled_from("ab")
    )
    def record(self, key: str, operation: str, back: int, status: int, tx: str) -> None:
        move = self.moves.get((operation, key))
        if move is None:
            return
        attempt = max(1, move.attempt - back)
        outcome: Outcome = outcome_of(move.operation_id, attempt=attempt, status=status, transaction_id=tx)
        try:
            self.run(self.store.record_outcome(outcome, soon()))
            reported = "OK"
        except (StaleAttempt, OutcomeDiffers) as refusal:
            reported = refusal.reason
        if move.outcome == (status, tx):
            expected = "OK"
        elif attempt != move.attempt:
            expected = "STALE_ATTEMPT"
        elif move.outcome is not None:
            expected = "OUTCOME_DIFFERS"
        else:
            expected = "OK"
            move.outcome = (status, tx)
        if expected != "OK":
            move.incidents.add((expected, attempt, status, tx))
        assert reported == expected
        evidence = self.run(self.store.evidence_by_id(move.operation_id, soon()))
        assert {
            (one.reason.value, one.attempt, one.status, one.operator_transaction_id) for one in evidence.incidents
        } == move.incidents
        assert len(evidence.incidents) == len(move.incidents)

    @rule(seconds=st.sampled_from([1, LEASE_S - 1, LEASE_S]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def reopen(self) -> None:
        self.run(self.store.stop())
        self.open()


TestStoreAgainstModel = StoreMachine.TestCase
TestStoreAgainstModel.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
