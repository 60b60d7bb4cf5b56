"""Gather and commit: everything that arrives while one commit runs goes into the next one together.

One commit costs one fsync, whether it holds one operation or hundreds. Knows nothing of what the
operations are; durable events use it as evidence does. Leaves the transaction to the `commit` it is
given.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from gateway.errors import DeadlineTooShort, GatewayError, Overloaded, StoreUnavailable
from gateway.resilience.deadline import Deadline
from gateway.resilience.supervision import SupervisedTask


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSettings:
    """Bounds of the queue before the store."""

    max_batch: int = 500
    """Operations in one transaction: longer ones gain little and make the first wait."""
    max_batch_bytes: int = 16 << 20
    """Payload in one transaction; a single operation may be larger."""
    max_queued: int = 10_000
    """Operations that may wait; about a second's work."""
    max_queued_bytes: int = 64 << 20
    """Payload that may wait: webhooks hold up to 1 MiB each."""
    linger_s: float = 0.006
    """Under load a batch waits this long for company, since a transaction costs ten times what one more operation in it
    does. A lone operation never waits: only after a batch that had company does the next one linger."""
    max_commit_s: float = 5.0
    """The longest that one transaction may take, whatever its callers' deadlines."""


Op = TypeVar("Op")
Result = TypeVar("Result")
Commit = Callable[[Sequence[Op], float], Awaitable[Sequence[Result | GatewayError]]]
"""Commits operations in one transaction within so many seconds; one result or refusal each, in order.

Raises StoreUnavailable when the store is in trouble; anything else is taken for the fault of one operation.
"""


@dataclass(slots=True, kw_only=True)
class _Waiting(Generic[Op, Result]):
    op: Op
    size: int
    deadline: Deadline
    answer: asyncio.Future[Result]
    is_begun: bool = False
    """Whether a commit that holds it was begun."""


class GroupCommitter(Generic[Op, Result]):
    """One commit at a time, each with all that has gathered. `size_of` gives an operation's payload in bytes."""

    def __init__(
        self,
        name: str,
        commit: Commit[Op, Result],
        *,
        size_of: Callable[[Op], int],
        settings: CommitSettings | None = None,
    ) -> None:
        """Args: `name`: its task's, for the log."""
        self._name = name
        self._commit = commit
        self._size_of = size_of
        self._settings = settings or CommitSettings()
        self._queue: deque[_Waiting[Op, Result]] = deque()
        self._queued_bytes = 0
        self._batch: list[_Waiting[Op, Result]] = []
        self._arrived = asyncio.Event()
        self._task: SupervisedTask | None = None
        self._stopping = True

    def start(self) -> None:
        """Begin to commit; needs a running loop."""
        if self._task is None:
            self._stopping = False
            self._task = SupervisedTask(self._name, self._run())

    async def stop(self, within_s: float) -> None:
        """Take nothing new, commit what waits, at most this long; what remains gets StoreUnavailable."""
        self._stopping = True
        self._arrived.set()
        task, self._task = self._task, None
        if task is None:
            return
        await task.stop(within_s)
        self._refuse_all()

    async def submit(self, op: Op, deadline: Deadline) -> Result:
        """Have `op` committed and return its result.

        Cancelled or out of time while it waits, the operation is not executed; while its commit runs, the
        commit goes on. Raises: DeadlineTooShort, Overloaded, StoreUnavailable, or the operation's refusal.
        """
        remaining = deadline.remaining()
        if remaining <= 0:
            raise DeadlineTooShort
        if self._stopping:
            raise StoreUnavailable("The gateway's store is closed.", may_be_committed=False)
        size = self._size_of(op)
        if len(self._queue) >= self._settings.max_queued or (
            self._queue and self._queued_bytes + size > self._settings.max_queued_bytes
        ):
            raise Overloaded("Too much waits for the gateway's store. Wait as RetryInfo says and try again.")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        waiting = _Waiting(op=op, size=size, deadline=deadline, answer=answer)
        self._queue.append(waiting)
        self._queued_bytes += size
        self._arrived.set()
        late = loop.call_later(remaining, _give_up, waiting)  # a quarter of what asyncio.timeout costs
        try:
            return await answer
        finally:
            late.cancel()

    async def _run(self) -> None:
        try:
            await self._commit_until_stopped()
        finally:
            self._stopping = True  # an end that nobody asked for too: nothing is committed any more
            self._refuse_all()

    def _refuse_all(self) -> None:
        for waiting in (*self._batch, *self._queue):
            _fail(waiting, None, may_be_committed=waiting.is_begun)
        self._queue.clear()
        self._queued_bytes = 0

    async def _commit_until_stopped(self) -> None:
        crowded = False
        while True:
            if not self._queue:
                if self._stopping:
                    return
                self._arrived.clear()
                await self._arrived.wait()
                continue
            if crowded and not self._stopping:
                await asyncio.sleep(self._settings.linger_s)
            self._batch = self._gather()
            crowded = len(self._batch) > 1
            await self._commit_all(self._batch)
            self._batch = []

    def _gather(self) -> list[_Waiting[Op, Result]]:
        batch: list[_Waiting[Op, Result]] = []
        size = 0
        while self._queue and len(batch) < self._settings.max_batch:
            waiting = self._queue[0]
            if batch and size + waiting.size > self._settings.max_batch_bytes:
                break
            self._queue.popleft()
            self._queued_bytes -= waiting.size
            if not waiting.answer.done() and not waiting.deadline.expired:
                batch.append(waiting)
                size += waiting.size
        return batch

    async def _commit_all(self, batch: Sequence[_Waiting[Op, Result]]) -> None:
        batch = [waiting for waiting in batch if not waiting.answer.done()]
        if not batch:
            return
        for waiting in batch:
            waiting.is_begun = True
        longest_s = max(waiting.deadline.remaining() for waiting in batch)
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
        except Exception as fault:  # noqa: BLE001 - whatever one operation broke must not reach the others
            if len(batch) == 1:
                _fail(batch[0], fault)
            else:
                for waiting in batch:
                    await self._commit_all([waiting])


def _give_up(waiting: _Waiting[Any, Any]) -> None:
    if not waiting.answer.done():
        late = "The gateway's store did not commit within the deadline."
        waiting.answer.set_exception(StoreUnavailable(late, may_be_committed=waiting.is_begun))


def _fail(waiting: _Waiting[Op, Result], cause: BaseException | None, *, may_be_committed: bool = True) -> None:
    """Answer that the store is in trouble; unless it says otherwise, it may hold the operation."""
    if not waiting.answer.done():
        trouble = StoreUnavailable(may_be_committed=may_be_committed)
        trouble.__cause__ = cause
        waiting.answer.set_exception(trouble)
