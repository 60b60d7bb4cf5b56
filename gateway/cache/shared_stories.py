"""Stories of calls in Redis, so that any replica explains a call, also of one that has ended.

Stories are written behind the answers, twice a second: failures first, then refusals and successes, each up to a bound.
`Allowance` bounds them over time too: callers can fail as often as they like, and Redis keeps a failure for an hour.
Entries are sealed for their id, so that whoever writes to this Redis can neither invent a story nor read one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from gateway.cache.client import CacheUnavailable, RedisCache
from gateway.cache.redis_faults import checked
from gateway.core.sealing import SealedFor, SealKeys, SealRefused
from gateway.core.types import UnixSeconds
from gateway.resilience.clock import Clock
from gateway.telemetry.call_stories import Kind

FAILURES_AT_ONCE = 50
SUCCESSES_AT_ONCE = 10
EVERY_S = 0.5
FAILURE_KEPT_S = 3600
SUCCESS_KEPT_S = 900
MAX_STORY_BYTES = 8192
FAILURES_BURST, FAILURES_PER_S = 500.0, 1.0
"""Of each process, and of refusals as many again. So Redis holds some 4,000 of each, and 2,000 successes, at most."""
SUCCESSES_BURST, SUCCESSES_PER_S = 100.0, 2.0
_PURPOSE = "call-story/1"

Story = tuple[tuple[str, ...], dict[str, Any], Kind]
"""The ids, the story, and how the call ended."""


class Allowance:
    """How many stories of one kind may be shown: some at once, and so many more each second. Pure."""

    __slots__ = ("_at", "_burst", "_left", "_per_s")

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst, self._per_s = burst, per_s
        self._left, self._at = burst, 0.0

    def take(self, now: float) -> bool:
        """Count one and return True, unless it is one too many. Args: `now`: monotonic seconds."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class SharedStories:
    """One replica's access."""

    def __init__(
        self,
        *,
        cache: RedisCache,
        seal_keys: SealKeys,
        clock: Clock,
        take: Callable[[int, int], Iterable[Story]],
        process: str,
    ) -> None:
        """Args: `take`: returns the stories that are new, up to so many failures and successes; `process`: names us."""
        self._cache = cache
        self._seal_keys = seal_keys
        self._clock = clock
        self._take = take
        self._process = process
        self._allowances = {
            Kind.FAILED: Allowance(FAILURES_BURST, FAILURES_PER_S),
            Kind.REFUSED: Allowance(FAILURES_BURST, FAILURES_PER_S),
            Kind.FINE: Allowance(SUCCESSES_BURST, SUCCESSES_PER_S),
        }

    async def run(self) -> None:
        """Show new stories until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.share_now()

    async def share_now(self) -> None:
        """Show the new stories. Those that Redis does not take, or that are too many, are not shown."""
        now, moment = int(self._clock.now()), self._clock.monotonic()
        entries: list[tuple[str, bytes, int]] = []
        for ids, story, kind in self._take(FAILURES_AT_ONCE, SUCCESSES_AT_ONCE):
            if not self._allowances[kind].take(moment):
                continue
            kept_s = SUCCESS_KEPT_S if kind is Kind.FINE else FAILURE_KEPT_S
            payload = orjson.dumps({**story, "process": self._process})
            if len(payload) > MAX_STORY_BYTES:
                continue
            for one in ids:
                sealed = self._seal_keys.seal(
                    _sealed_for(one), payload, stored_at=UnixSeconds(now), expires_at=UnixSeconds(now + kept_s)
                )
                if len(sealed) <= MAX_STORY_BYTES:
                    entries.append((_key(one), sealed, kept_s))
        if not entries:
            return

        async def work(client: Any) -> None:
            pipeline = client.pipeline(transaction=False)
            for key, sealed, kept_s in entries:
                pipeline.set(key, sealed, ex=kept_s)
            checked(await pipeline.execute(raise_on_error=False))

        try:
            await self._cache.run(entries[0][0], work, is_patient=True)
        except CacheUnavailable:
            return

    async def find(self, wanted: str) -> dict[str, Any] | None:
        """Return the newest story of this id that a replica has shown. Raises: CacheUnavailable."""
        sealed = await self._cache.get(_key(wanted), max_bytes=MAX_STORY_BYTES)
        if sealed is None:
            return None
        try:
            opened = self._seal_keys.open(_sealed_for(wanted), sealed, now=UnixSeconds(int(self._clock.now())))
        except SealRefused:
            return None
        found: dict[str, Any] = orjson.loads(opened.payload)
        return found


def _key(wanted: str) -> str:
    return "pgw:{story:" + hashlib.sha256(wanted.encode()).hexdigest()[:32] + "}"


def _sealed_for(wanted: str) -> SealedFor:
    return SealedFor(purpose=_PURPOSE, name=wanted, tenant="")
