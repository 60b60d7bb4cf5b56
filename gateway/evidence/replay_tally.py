"""Counts the replays that were given and has the counts committed soon after; no answer waits for it.

A replay changes nothing, so its answer needs no write and must not be made to wait for a disk. What a crash can lose
is the count of the last moment, never a move.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from gateway.errors import GatewayError
from gateway.resilience.supervision import run_job

EVERY_S = 0.5
"""How long counts gather. With the commit they are in the store within a second."""
Commit = Callable[[Mapping[str, int]], Awaitable[object]]
"""Adds to the counts of moves by id. Raises: GatewayError; the counts may then be there all the same."""


class ReplayTally:
    """What was counted and is not committed yet."""

    def __init__(self, commit: Commit, *, every_s: float = EVERY_S) -> None:
        self._commit = commit
        self._every_s = every_s
        self._counts: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None

    def note(self, operation_id: str) -> None:
        """Count one replay; needs a running loop."""
        self._counts[operation_id] += 1
        if self._task is None or self._task.done():
            self._task = run_job("replay-tally", self._run())

    async def stop(self) -> None:
        """Commit what is left, once."""
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
            self._counts.update(counts)  # the next turn brings them
            if isinstance(trouble, asyncio.CancelledError):
                raise
