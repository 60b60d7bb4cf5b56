"""A Phoenix whose answers the test releases one by one, and the cached reads of a gateway. The test sets the clock.

The payload of an answer is the time at which Phoenix read its data, so the test knows its true age.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.actions.boards.cached_read import CachedReads
from gateway.actions.boards.read_values import Fetched, ReadAnswer, ReadCacheSettings, ReadKey
from gateway.cache.client import CacheUnavailable
from gateway.cache.shared_reads import Lookup, ReadPlace, SharedRead, SharedReads
from gateway.errors import PhoenixNotFound, PhoenixUnavailable
from gateway.resilience.deadline import Deadline
from tests.manual_clock import ManualClock

KEY = ReadKey("tenant", "xp", "leaderboard", ("", "100", "0"))


async def settle() -> None:
    """Let everything run that can, without time passing."""
    for _ in range(30):
        await asyncio.sleep(0)


class BlockingPhoenix:
    """Answers when the test releases it. `asked` counts the calls."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked = 0
        self.cancelled = 0
        self._news = asyncio.Condition()
        self._waiting: list[tuple[float, asyncio.Future[Fetched]]] = []

    @property
    def waiting(self) -> int:
        """How many calls wait for their answer."""
        return len(self._waiting)

    async def fetch(self, deadline: Deadline) -> Fetched:
        """One call: it is answered by `answer`, `fail` or `raise_`."""
        self.asked += 1
        async with self._news:
            self._news.notify_all()
        held: tuple[float, asyncio.Future[Fetched]] = (self.clock.monotonic(), asyncio.Future())
        self._waiting.append(held)
        try:
            return await held[1]
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self._waiting = [other for other in self._waiting if other is not held]

    async def asked_times(self, times: int) -> None:
        """Wait until so many calls have come."""
        async with asyncio.timeout(5), self._news:
            await self._news.wait_for(lambda: self.asked >= times)

    async def answer(self, *, early: bool = False, final: bool = False, place: int = 0) -> None:
        """Answer a waiting call with data of now, or of the moment it was asked (`early`)."""
        began_at, future = self._waiting[place]
        at = began_at if early else self.clock.monotonic()
        future.set_result(Fetched(payload=repr(at).encode(), window_key="w1", is_final=final))
        await settle()

    async def raise_(self, error: Exception | None = None, *, place: int = 0) -> None:
        """Fail a waiting call; without an error as a Phoenix that is down."""
        self._waiting[place][1].set_exception(error or PhoenixUnavailable())
        await settle()

    async def absent(self, *, place: int = 0) -> None:
        """Answer 404."""
        await self.raise_(PhoenixNotFound(metadata={"phoenix_code": "LEADERBOARD_NOT_FOUND"}), place=place)


class Reads:
    """The reads of one replica."""

    def __init__(self, phoenix: BlockingPhoenix, shared: SharedReads | None = None, **settings: Any) -> None:
        self.phoenix = phoenix
        self.lookups: list[str] = []
        self.tick = asyncio.Event()
        self.reads = CachedReads(
            clock=phoenix.clock,
            settings=ReadCacheSettings(**{"patience_s": 0.0, **settings}),
            shared=shared,
            on_lookup=lambda purpose, result: self.lookups.append(result),
            pause=self._pause,
        )

    async def _pause(self, seconds: float) -> None:
        await self.tick.wait()
        self.tick.clear()

    def begin(
        self, max_staleness_s: float | None = None, *, key: ReadKey = KEY, within_s: float = 1e6
    ) -> asyncio.Task[ReadAnswer]:
        """Begin a read that arrives now."""
        clock = self.phoenix.clock
        return asyncio.ensure_future(
            self.reads.read(
                key,
                self.phoenix.fetch,
                max_staleness_s=max_staleness_s,
                arrived_at=clock.monotonic(),
                deadline=Deadline.after(within_s, clock),
            )
        )

    async def read(self, max_staleness_s: float | None = None, *, key: ReadKey = KEY) -> ReadAnswer:
        """Read what needs no answer of Phoenix."""
        task = self.begin(max_staleness_s, key=key)
        await settle()
        assert task.done(), "it waits for Phoenix"
        return task.result()

    async def warm(self) -> None:
        """Read once, answered at once."""
        task = self.begin()
        await settle()
        await self.phoenix.answer()
        await task


class SharedMemory:
    """Answers shared by the replicas of one test, with leases; out of reach while `is_down`."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.is_down = False
        self.entries: dict[ReadPlace, tuple[bytes, float, float]] = {}
        self.leases: dict[ReadPlace, float] = {}

    async def lookup(self, place: ReadPlace, *, lease_s: float) -> Lookup:
        """As RedisReadCache.look."""
        self._check()
        now = self.clock.monotonic()
        leased = self.leases.get(place, now) <= now
        if leased:
            self.leases[place] = now + lease_s
        payload, as_of, until = self.entries.get(place, (b"", 0.0, now))
        return Lookup(found=SharedRead(payload=payload, age_s=now - as_of) if until > now else None, leased=leased)

    async def publish(self, place: ReadPlace, payload: bytes, *, age_s: float, keep_s: float, release: bool) -> None:
        """As RedisReadCache.publish."""
        self._check()
        now = self.clock.monotonic()
        self.entries[place] = (payload, now - age_s, now + keep_s)
        if release:
            self.leases.pop(place, None)

    async def release(self, place: ReadPlace) -> None:
        """As RedisReadCache.release."""
        self._check()
        self.leases.pop(place, None)

    def _check(self) -> None:
        if self.is_down:
            raise CacheUnavailable("down")
