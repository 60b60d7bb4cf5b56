"""Group commit: all operations that arrive during a commit go into the next commit together.

A commit costs one fsync for one operation or for hundreds. This module is independent of the operations; evidence and
durable events both use it. The `commit` argument runs the transaction.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from gateway.errors import DeadlineTooShort, GatewayError, Overloaded, StoreUnavailable
from gateway.resilience.deadline import Deadline
from gateway.resilience.supervision import SupervisedTask
from gateway.telemetry.spans import DATABASE, traced


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSettings:
    """Limits of the queue in front of the store."""

    max_batch: int = 500
    """Operations in one transaction. Larger batches gain little and make the first operation wait."""
    max_batch_bytes: int = 16 << 20
    """Payload bytes in one transaction. A single operation may be larger."""
    max_queued: int = 10_000
    """Operations that may wait; about a second's work."""
    max_queued_bytes: int = 64 << 20
    """Payload bytes that may wait. A webhook has up to 1 MiB."""
    busy: int = 64
    """So many waiting operations are usual. While more wait, background work lets them go first."""
    linger_s: float = 0.003
    """Under load, a batch waits this long for more operations, because a transaction costs ten times as much as one
    more operation in it. A single operation never waits: only the batch after a batch of several operations waits."""
    max_commit_s: float = 5.0
    """The longest time for one transaction, whatever the deadlines of its callers are."""


Op = TypeVar("Op")
Result = TypeVar("Result")
Commit = Callable[[Sequence[Op], float], Awaitable[Sequence[Result | GatewayError]]]
"""Commits operations in one transaction within a number of seconds. Returns one result or refusal each, in order.

Raises StoreUnavailable if the store fails. Any other error is treated as the fault of one operation.
"""


@dataclass(slots=True, kw_only=True)
class _PendingOperation(Generic[Op, Result]):
    op: Op
    size: int
    deadline: Deadline
    answer: asyncio.Future[Result]
    is_urgent: bool = False
    is_begun: bool = False
    """Whether a commit with this operation was begun."""


class _Queue(Generic[Op, Result]):
    """Operations that wait, and their payload in bytes."""

    def __init__(self, settings: CommitSettings) -> None:
        self._settings = settings
        self._waiting: deque[_PendingOperation[Op, Result]] = deque()
        self._size = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[_PendingOperation[Op, Result]]:
        return iter(self._waiting)

    def has_room(self, size: int) -> bool:
        """Whether an operation of this size may wait. A large one may, if it is alone."""
        return not self._waiting or (
            len(self._waiting) < self._settings.max_queued and self._size + size <= self._settings.max_queued_bytes
        )

    def append(self, waiting: _PendingOperation[Op, Result]) -> None:
        self._waiting.append(waiting)
        self._size += waiting.size

    def take(self, max_count: int, max_size: int | None) -> Iterator[_PendingOperation[Op, Result]]:
        """Take out the oldest ones, within these limits. Without `max_size` the first one may be larger."""
        count = size = 0
        limit = self._settings.max_batch_bytes if max_size is None else max_size
        while self._waiting and count < max_count:
            waiting = self._waiting[0]
            if (count or max_size is not None) and size + waiting.size > limit:
                return
            self._waiting.popleft()
            self._size -= waiting.size
            if waiting.answer.done() or (waiting.deadline.expired and not waiting.is_urgent):
                continue
            count += 1
            size += waiting.size
            yield waiting

    def clear(self) -> None:
        self._waiting.clear()
        self._size = 0


class GroupCommitter(Generic[Op, Result]):
    """Runs one commit at a time, with all waiting operations. `size_of` returns an operation's payload in bytes."""

    def __init__(
        self,
        name: str,
        commit: Commit[Op, Result],
        *,
        size_of: Callable[[Op], int],
        settings: CommitSettings | None = None,
        system: str = "",
    ) -> None:
        """Args: `name`: the name of its task, for the log; `system`: that of the database, for traces."""
        self._name = name
        self._commit = commit
        self._size_of = size_of
        self._settings = settings or CommitSettings()
        self._attributes = {"db.system.name": system, "db.operation.name": "commit"}
        self._queue: _Queue[Op, Result] = _Queue(self._settings)
        self._urgent: _Queue[Op, Result] = _Queue(self._settings)
        self._batch: list[_PendingOperation[Op, Result]] = []
        self._arrived = asyncio.Event()
        self._task: SupervisedTask | None = None
        self._stopping = True

    def start(self) -> None:
        """Start the commit task. Needs a running event loop."""
        if self._task is None:
            self._stopping = False
            self._task = SupervisedTask(self._name, self._run())

    async def stop(self, within_s: float) -> None:
        """Accept no more operations and commit those that wait, within this time. The rest gets StoreUnavailable."""
        self._stopping = True
        self._arrived.set()
        task, self._task = self._task, None
        if task is None:
            return
        await task.stop(within_s)
        self._refuse_all()

    @property
    def is_busy(self) -> bool:
        """Whether so many operations wait that work which can wait should."""
        return len(self._urgent) + len(self._queue) > self._settings.busy

    def submit(self, op: Op, deadline: Deadline, *, is_urgent: bool = False) -> Coroutine[Any, Any, Result]:
        """Commit `op` and return its result.

        If the caller is cancelled or its deadline passes while the operation waits, it is not executed. A running
        commit continues. Args: `is_urgent`: the operation goes before the others and is executed even if its caller
        leaves, because it says what has already happened.
        Raises: DeadlineTooShort, Overloaded, StoreUnavailable, or the operation's refusal.
        """
        return traced(DATABASE, self._attributes, self._submit(op, deadline, is_urgent))

    async def _submit(self, op: Op, deadline: Deadline, is_urgent: bool) -> Result:
        remaining = deadline.remaining()
        if remaining <= 0 and not is_urgent:
            raise DeadlineTooShort
        if self._stopping:
            raise StoreUnavailable("The gateway's store is closed. Call another replica.", may_be_committed=False)
        size = self._size_of(op)
        queue = self._urgent if is_urgent else self._queue
        if not queue.has_room(size):
            raise Overloaded("Too many operations wait for the store. Wait as RetryInfo says and try again.")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        waiting = _PendingOperation(op=op, size=size, deadline=deadline, answer=answer, is_urgent=is_urgent)
        queue.append(waiting)
        self._arrived.set()
        if is_urgent:
            return await _until(answer, remaining)
        late = loop.call_later(remaining, _give_up, waiting)  # a quarter of what asyncio.timeout costs
        try:
            return await answer
        finally:
            late.cancel()

    async def _run(self) -> None:
        try:
            await self._commit_until_stopped()
        finally:
            self._stopping = True  # also after an unexpected end: no operation is committed any more
            self._refuse_all()

    def _refuse_all(self) -> None:
        for waiting in (*self._batch, *self._urgent, *self._queue):
            _fail(waiting, None, may_be_committed=waiting.is_begun)
        self._urgent.clear()
        self._queue.clear()

    async def _commit_until_stopped(self) -> None:
        had_several = False
        while True:
            if not (self._urgent or self._queue):
                if self._stopping:
                    return
                self._arrived.clear()
                await self._arrived.wait()
                continue
            if had_several and not self._stopping:
                await asyncio.sleep(self._settings.linger_s)
            self._batch = self._gather()
            had_several = len(self._batch) > 1
            await self._commit_all(self._batch)
            self._batch = []

    def _gather(self) -> list[_PendingOperation[Op, Result]]:
        batch = list(self._urgent.take(self._settings.max_batch, None))
        size = sum(waiting.size for waiting in batch)
        left = max(0, self._settings.max_batch_bytes - size) if batch else None
        return batch + list(self._queue.take(self._settings.max_batch - len(batch), left))

    async def _commit_all(self, batch: Sequence[_PendingOperation[Op, Result]]) -> None:
        batch = [waiting for waiting in batch if not waiting.answer.done()]
        if not batch:
            return
        for waiting in batch:
            waiting.is_begun = True
        longest_s = max(
            self._settings.max_commit_s if waiting.is_urgent else waiting.deadline.remaining() for waiting in batch
        )
        try:
            results = await self._commit(
                [waiting.op for waiting in batch], min(max(longest_s, 0.001), self._settings.max_commit_s)
            )
            for waiting, result in zip(batch, results, strict=True):
                if waiting.answer.done():
                    continue
                if isinstance(result, GatewayError):
                    waiting.answer.set_exception(result)
                else:
                    waiting.answer.set_result(result)
        except StoreUnavailable as trouble:
            for waiting in batch:
                _fail(waiting, trouble.__cause__ or trouble, may_be_committed=trouble.may_be_committed)
        except Exception as fault:  # noqa: BLE001 - the fault of one operation must not affect the others
            if len(batch) == 1:
                _fail(batch[0], fault)
            else:
                for waiting in batch:
                    await self._commit_all([waiting])


async def _until(answer: asyncio.Future[Result], remaining_s: float) -> Result:
    """Wait for the answer of an operation that is executed although its caller leaves. Raises: StoreUnavailable."""
    answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # perhaps nobody waits any more
    try:
        async with asyncio.timeout(remaining_s):
            return await asyncio.shield(answer)
    except TimeoutError:
        raise StoreUnavailable("The gateway's store did not commit within the deadline.") from None


def _give_up(waiting: _PendingOperation[Any, Any]) -> None:
    if not waiting.answer.done():
        late = "The gateway's store did not commit within the deadline."
        waiting.answer.set_exception(StoreUnavailable(late, may_be_committed=waiting.is_begun))


def _fail(
    waiting: _PendingOperation[Op, Result], cause: BaseException | None, *, may_be_committed: bool = True
) -> None:
    """Answer with StoreUnavailable. By default the operation may have been committed."""
    if not waiting.answer.done():
        trouble = StoreUnavailable(may_be_committed=may_be_committed)
        trouble.__cause__ = cause
        waiting.answer.set_exception(trouble)
