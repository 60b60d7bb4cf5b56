"""The queue of durable events in a database, with group commit: concurrent operations are committed together.

On PostgreSQL, deliveries have commits of their own, so that no caller waits for them.

queue_level.py limits the queue; delivery.py decides what is sent and when.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import sqlalchemy as sa

from gateway.core.types import TenantId
from gateway.errors import DeadlineTooShort, GatewayError, StoreUnavailable
from gateway.outbox import dead_letters, replicas, upkeep
from gateway.outbox.admission import ConcurrentInsert, admit_all
from gateway.outbox.find import EventState, states_of
from gateway.outbox.leasing import LOCK_KEYS, look, release, settle_all, take
from gateway.outbox.record import (
    Admit,
    Admitted,
    Beat,
    DeadLetter,
    DeadLetterQuery,
    Depth,
    End,
    Release,
    Replica,
    Settle,
    Take,
    Taken,
    ordering_key_of,
)
from gateway.resilience.clock import Clock, SystemClock
from gateway.resilience.deadline import Deadline
from gateway.store.database import Database, T, Work
from gateway.store.group_commit import CommitSettings, GroupCommitter
from gateway.store.pipeline import Pipelined

_Op = Admit | Take | Settle | Release | Beat
_Result = tuple[Admitted, ...] | Taken | int

_OVERHEAD_BYTES = 512
"""Size of one event's row, including index entries."""
_RUNS = 5
_SETTINGS = CommitSettings(max_batch=200, max_batch_bytes=1 << 20)
"""About a thousand events in one transaction. Other transactions, also of wallets, wait 10 to 20 ms for it."""
_DAY_US = 24 * 3600 * 1_000_000
REMEMBERED_US = _DAY_US
"""How long the id of a delivered event is remembered."""
DEAD_LETTERS_US = 30 * _DAY_US
"""How long dead letters are stored."""
_PURGE_STEP = 500


class QueueObserver(Protocol):
    """Counts failed transactions. `telemetry.metrics.Metrics` implements it."""

    def store_failed(self, kind: str) -> None:
        """Count one failed transaction: `unavailable` or `timeout`."""
        ...


class EventQueue:
    """The durable events of all tenants. Every method raises StoreUnavailable if the database fails.

    After this error the operation may still have been committed. The caller opens and closes the database.
    """

    def __init__(
        self,
        database: Database,
        *,
        settings: CommitSettings | None = None,
        clock: Clock | None = None,
        observer: QueueObserver | None = None,
    ) -> None:
        self._database = database
        self._clock = clock or SystemClock()
        self._observer = observer
        self._committer = self._new_committer("queue-commit", settings)
        # SQLite has one writer, and shares its commits between both.
        self._delivery_committer = (
            self._new_committer("delivery-commit", settings) if database.has_many_writers else self._committer
        )

    @property
    def is_busy(self) -> bool:
        """Whether deliveries should let callers go first."""
        return self._committer.is_busy

    def start(self) -> None:
        """Start the commit task. Needs a running event loop; does not connect."""
        self._committer.start()
        self._delivery_committer.start()

    async def stop(self, within_s: float = 5.0) -> None:
        """Commit waiting operations within this time."""
        await self._delivery_committer.stop(within_s)
        await self._committer.stop(within_s)

    async def admit(self, admit: Admit, deadline: Deadline) -> tuple[Admitted, ...]:
        """Accept events. Return one answer per event after the commit. Raises: DeadlineTooShort, Overloaded."""
        return cast("tuple[Admitted, ...]", await self._committer.submit(admit, deadline))

    async def take(self, asked: Take, deadline: Deadline) -> Taken:
        """Lease due events. After StoreUnavailable the lease may exist, so release it."""
        return cast(Taken, await self._delivery_committer.submit(asked, deadline))

    async def look(self, tenant_id: TenantId, deadline: Deadline) -> Taken:
        """Return when the next event is due, without a write transaction."""
        return await self._database.read(lambda connection, _now_us: look(connection, tenant_id), _left(deadline))

    async def settle(self, settle: Settle, deadline: Deadline) -> int:
        """Record the results of leased events. Return for how many the lease was still valid."""
        return cast(int, await self._delivery_committer.submit(settle, deadline))

    async def release(self, asked: Release, deadline: Deadline) -> int:
        """Release a lease of which nothing was sent. Return how many ordering keys it held."""
        return cast(int, await self._delivery_committer.submit(asked, deadline))

    async def beat(self, asked: Beat, deadline: Deadline) -> int:
        """Count a beat of a replica. Return 0 if the number is not its own."""
        return cast(int, await self._delivery_committer.submit(asked, deadline))

    async def end(self, asked: End, deadline: Deadline) -> int:
        """Remove a replica, and make its ordering keys due. Return how many it held."""
        return await self._write(lambda connection, _now_us: replicas.end(connection, asked), _left(deadline))

    async def replicas(self, deadline: Deadline) -> Sequence[Replica]:
        """Return the replicas and their beats."""
        return await self._database.read(lambda connection, _now_us: replicas.replicas(connection), _left(deadline))

    async def dead_letters(self, query: DeadLetterQuery, deadline: Deadline) -> tuple[list[DeadLetter], bool]:
        """Return the next dead letters, and whether there are more."""
        return await self._database.read(
            lambda connection, _now_us: dead_letters.page_of(connection, query), _left(deadline)
        )

    async def find(self, event_id: str, deadline: Deadline) -> list[EventState]:
        """Return the state of an event, of each tenant that has one with this id."""
        return await self._database.read(lambda connection, _now_us: states_of(connection, event_id), _left(deadline))

    async def redrive(
        self, query: DeadLetterQuery, deadline: Deadline, *, may_count_twice: bool
    ) -> tuple[list[str], list[str]]:
        """Queue dead letters again. Return the ids that were queued and those held back. See dead_letters.py."""
        return await self._write(
            lambda connection, now_us: dead_letters.redrive(connection, now_us, query, may_count_twice=may_count_twice),
            _left(deadline),
        )

    async def depth(self, deadline: Deadline) -> Depth:
        """Return the present size of the queue."""
        return await self._database.read(upkeep.depth, _left(deadline))

    async def purge(self, deadline: Deadline) -> tuple[int, int]:
        """Delete a limited number of old rows. Return how many delivered events and dead letters were deleted."""
        return await self._write(
            lambda connection, now_us: upkeep.purge(
                connection,
                now_us,
                delivered_after_us=REMEMBERED_US,
                dead_after_us=DEAD_LETTERS_US,
                most=_PURGE_STEP,
            ),
            _left(deadline),
        )

    def _new_committer(self, name: str, settings: CommitSettings | None) -> GroupCommitter[_Op, _Result]:
        return GroupCommitter(
            name, self._commit, size_of=_size_of, settings=settings or _SETTINGS, system=self._database.system
        )

    async def _commit(self, ops: Sequence[_Op], limit_s: float) -> Sequence[_Result | GatewayError]:
        until = self._clock.monotonic() + limit_s
        check_all_ids = False
        work: Pipelined[list[_Result | GatewayError]] = Pipelined(
            lambda connection: _run(connection, ops, check_all_ids=check_all_ids, is_in_doubt=work.may_be_committed)
        )
        for _ in range(_RUNS):
            try:
                return await self._write(work, max(until - self._clock.monotonic(), 0.001))
            except ConcurrentInsert:
                check_all_ids = True
            except StoreUnavailable as unavailable:
                unavailable.may_be_committed = unavailable.may_be_committed or work.may_be_committed
                raise
            except Exception as error:
                if work.may_be_committed:  # running each operation alone would forget the doubt
                    raise StoreUnavailable from error
                raise
        raise StoreUnavailable(
            "Other gateways keep committing the same event ids. Try again.", may_be_committed=work.may_be_committed
        )

    async def _write(self, work: Work[T], limit_s: float) -> T:
        began_at = self._clock.monotonic()
        try:
            return await self._database.write(work, limit_s)
        except StoreUnavailable:
            if self._observer is not None:
                late = self._clock.monotonic() - began_at >= limit_s
                self._observer.store_failed("timeout" if late else "unavailable")
            raise


def _run(
    connection: sa.Connection, ops: Sequence[_Op], *, check_all_ids: bool, is_in_doubt: bool
) -> list[_Result | GatewayError]:
    """Run all operations; results first, so that the next events can be leased in the same transaction.

    Args: `is_in_doubt`: an earlier run may be committed, so run only what is repeatable, and refuse the rest.
    """
    results: dict[int, _Result | GatewayError] = {}
    settles = [(at, op) for at, op in enumerate(ops) if isinstance(op, Settle)]
    admits = [(at, op) for at, op in enumerate(ops) if isinstance(op, Admit)]
    if connection.dialect.name != "sqlite":
        _lock_in_order(connection, [op for _, op in settles], [op for _, op in admits])
    results.update(zip((at for at, _ in settles), settle_all(connection, [op for _, op in settles]), strict=True))
    admitted = admit_all(connection, [op for _, op in admits], check_all_ids=check_all_ids, is_in_doubt=is_in_doubt)
    results.update(
        (at, StoreUnavailable() if answers is None else tuple(answers))
        for (at, _), answers in zip(admits, admitted, strict=True)
    )
    for at, op in enumerate(ops):
        if isinstance(op, Release):
            results[at] = release(connection, op)
        elif isinstance(op, Beat):
            results[at] = replicas.beat(connection, op)
        elif isinstance(op, Take):
            # A second run would lease other events. Its caller releases those of the first one, of which none is sent.
            results[at] = StoreUnavailable() if is_in_doubt else take(connection, op)
    return [results[at] for at in range(len(ops))]


def _lock_in_order(connection: sa.Connection, settles: Sequence[Settle], admits: Sequence[Admit]) -> None:
    """Lock the rows of all ordering keys in one order, so that two gateways cannot deadlock."""
    keys = {settled.event.ordering_key for settle in settles for settled in settle.outcomes}
    for admit in admits:
        keys.update(ordering_key_of(admit.tenant_id, event.leaderboard_id, event.user_id) for event in admit.events)
    if keys:
        LOCK_KEYS.later(connection, [(key,) for key in sorted(keys)])


def _size_of(op: _Op) -> int:
    if isinstance(op, Admit):
        return sum(len(event.body) + _OVERHEAD_BYTES for event in op.events)
    if isinstance(op, Settle):
        return len(op.outcomes) * _OVERHEAD_BYTES
    return op.max_keys * _OVERHEAD_BYTES if isinstance(op, Take) else _OVERHEAD_BYTES


def _left(deadline: Deadline) -> float:
    remaining = deadline.remaining()
    if remaining <= 0:
        raise DeadlineTooShort
    return remaining
