"""Count replays and commit the counts soon after. No answer waits for this.

A replay changes nothing, so its answer needs no write and must not wait for a disk. A crash can lose the counts of the
last half second, but never a move.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from gateway.errors import GatewayError
from gateway.resilience.supervision import run_job

EVERY_S = 0.5
"""How long counts are collected. With the commit, they are in the store within a second."""
Commit = Callable[[Mapping[str, int]], Awaitable[object]]
"""Adds to the counts of moves, by id. Raises: GatewayError; the counts may still have been committed."""


class ReplayTally:
    """The counts that are not committed yet."""

    def __init__(self, commit: Commit, *, every_s: float = EVERY_S) -> None:
        self._commit = commit
        self._every_s = every_s
        self._counts: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None

    def note(self, operation_id: str) -> None:
        """Count one replay. Needs a running event loop."""
        self._counts[operation_id] += 1
        if self._task is None or self._task.done():
            self._task = run_job("replay-tally", self._run())

    async def stop(self) -> None:
        """Commit the remaining counts; one attempt."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._flush()

    async def _run(self) -> None:
        while self._counts:
            await asyncio.sleep(self._every_s)
            await self._flush()

    async def _flush(self) -> None:
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            await self._commit(counts)
        except (GatewayError, asyncio.CancelledError) as trouble:
            self._counts.update(counts)  # committed with the next counts
            if isinstance(trouble, asyncio.CancelledError):
                raise
