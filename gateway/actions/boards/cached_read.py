"""Read through the caches: first this process, then the fleet, then Phoenix. The age of an answer is never understated.

The age counts from the moment before the request to Phoenix. A fresh answer is served. A slightly older one is served
while one refresh runs in the background. An even older one is served only if Phoenix fails or is slow. Concurrent
callers of the same answer share one fetch, which is cancelled when the last caller leaves. Values are opaque bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from gateway import errors
from gateway.actions.boards.read_values import CacheEntry, Fetch, ReadAnswer, ReadCacheSettings, ReadKey, Source
from gateway.actions.boards.shared_reads import FleetAnswer, FleetReads
from gateway.cache.shared_reads import SharedReads
from gateway.resilience.byte_cache import ByteCache
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.resilience.single_flight import Flight
from gateway.resilience.supervision import run_job
from gateway.telemetry.logs import log, where_raised

PHOENIX_FAILS = (
    errors.PhoenixUnavailable,
    errors.PhoenixTimeout,
    errors.PhoenixAnswerUnreadable,
    errors.PhoenixRateLimited,
    errors.CircuitOpen,
    errors.DeadlineTooShort,
)
"""Failures after which an older answer may be served. Any other refusal is a valid answer and replaces it."""
_TIME_OVER = (errors.PhoenixTimeout, errors.DeadlineTooShort)


class CachedReads:
    """All reads of one process."""

    def __init__(
        self,
        *,
        clock: Clock,
        settings: ReadCacheSettings | None = None,
        shared: SharedReads | None = None,
        on_lookup: Callable[[str, str], None] = lambda purpose, result: None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Start empty. `on_lookup` receives the purpose and the result of each look-up: hit, stale or miss."""
        self._clock = clock
        self._settings = settings or ReadCacheSettings()
        self._fleet = None
        if shared is not None:
            self._fleet = FleetReads(
                shared=shared,
                clock=clock,
                settings=self._settings,
                on_unavailable=lambda key: on_lookup(key.purpose, "unavailable"),
                pause=pause,
            )
        self._on_lookup = on_lookup
        self._entries: ByteCache[tuple[str, str], ReadKey, CacheEntry] = ByteCache(
            max_bytes=self._settings.max_bytes, group_share=self._settings.board_share
        )
        self._flights: dict[ReadKey, _Fetching] = {}
        self._background: set[asyncio.Task[None]] = set()

    def get_fresh(self, key: ReadKey, max_staleness_s: float | None) -> ReadAnswer | None:
        """Return a fresh answer from this process; None if `read` is needed. The fast path of `read`."""
        entry = self._entries.get(key)
        if entry is None or entry.value is None:
            return None
        now = self._clock.monotonic()
        if self._source(key, entry, now, max_staleness_s) is not Source.CACHE:
            return None
        self._on_lookup(key.purpose, "hit")
        return _answer(key, entry, Source.CACHE, now)

    async def read(
        self, key: ReadKey, fetch: Fetch, *, max_staleness_s: float | None, arrived_at: float, deadline: Deadline
    ) -> ReadAnswer:
        """Return the answer from a cache or from Phoenix.

        Args: `max_staleness_s`: None for the board's setting; 0 for a read at Phoenix that begins after `arrived_at`.
        Raises: what `fetch` raises; PhoenixTimeout if the deadline passes during the wait.
        """
        now = self._clock.monotonic()
        entry = self._entries.get(key)
        if entry is not None:
            source = self._source(key, entry, now, max_staleness_s)
            if source is not None:
                self._on_lookup(key.purpose, "hit" if source is Source.CACHE else "stale")
                if source is Source.STALE and now >= entry.rest_until:
                    self._refresh(key, fetch, now)
                return _answer(key, entry, source, now)
        self._on_lookup(key.purpose, "miss")
        if entry is not None and max_staleness_s is None and self._may_be_stale(entry, now):
            return await self._newer_or_stale(entry, key, fetch, deadline)
        oldest = None if max_staleness_s is None else arrived_at - max_staleness_s
        fetched = await self._fetched(key, fetch, oldest, deadline, is_live=max_staleness_s == 0)
        return _answer(key, fetched, Source.LIVE if fetched.is_live else Source.CACHE, self._clock.monotonic())

    async def close(self) -> None:
        """Cancel the background tasks."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def _source(self, key: ReadKey, entry: CacheEntry, now: float, max_staleness_s: float | None) -> Source | None:
        """Return the source with which a cached answer may be served at once; None if it may not."""
        age, fresh_s = now - entry.as_of, self._fresh_s(key, entry)
        if max_staleness_s is None:
            if age <= fresh_s and fresh_s > 0:
                return Source.CACHE
            may_refresh = age <= fresh_s * self._settings.behind_times or now < entry.rest_until
        else:
            if max_staleness_s > 0 and age <= min(max_staleness_s, fresh_s):
                return Source.CACHE
            may_refresh = max_staleness_s > 0 and age <= max_staleness_s
        return Source.STALE if may_refresh and self._may_be_stale(entry, now) else None

    def _fresh_s(self, key: ReadKey, entry: CacheEntry) -> float:
        if entry.value is None:
            return self._settings.absent_s
        return self._settings.final_s if entry.value.is_final else self._settings.fresh_for(key)

    def _may_be_stale(self, entry: CacheEntry, now: float) -> bool:
        """Tell whether the entry may be served after its fresh time. A 404 may not."""
        return entry.value is not None and now - entry.as_of <= self._settings.failing_s

    async def _newer_or_stale(self, entry: CacheEntry, key: ReadKey, fetch: Fetch, deadline: Deadline) -> ReadAnswer:
        """Wait a little for a newer answer. Serve the cached one if Phoenix fails or takes longer."""
        self._refresh(key, fetch, self._clock.monotonic())
        fetching = self._flights.get(key)
        newer: CacheEntry | None = None
        if fetching is not None:
            try:
                async with asyncio.timeout(min(self._settings.patience_s, max(0.0, deadline.remaining()))):
                    newer = await fetching.flight.join()
            except (TimeoutError, *PHOENIX_FAILS):
                newer = None
        now = self._clock.monotonic()
        if newer is not None:
            return _answer(key, newer, Source.LIVE if newer.is_live else Source.CACHE, now)
        if not self._may_be_stale(entry, now):
            newer = await self._fetched(key, fetch, None, deadline, is_live=False)
            return _answer(key, newer, Source.LIVE if newer.is_live else Source.CACHE, self._clock.monotonic())
        return _answer(key, entry, Source.STALE, now)

    def _refresh(self, key: ReadKey, fetch: Fetch, now: float) -> None:
        """Start a fetch that continues without a waiting caller, unless one is running."""
        fetching = self._flights.get(key)
        if fetching is None:
            deadline = Deadline(at=now + self._settings.refresh_s, clock=self._clock)
            fetching = self._begin(key, fetch, deadline, oldest=now - self._settings.fresh_for(key))
        if not fetching.is_held:
            fetching.is_held = True
            self._spawn(self._hold(key, fetching))

    async def _hold(self, key: ReadKey, fetching: _Fetching) -> None:
        try:
            await fetching.flight.join()
        except errors.GatewayError:
            entry = self._entries.get(key)
            if entry is not None:
                entry.rest_until = self._clock.monotonic() + self._settings.rest_s
        except Exception as error:  # noqa: BLE001 - no caller waits for it, so it is logged here
            log().error("refresh failed unexpectedly", **where_raised(error))

    async def _fetched(
        self, key: ReadKey, fetch: Fetch, oldest: float | None, deadline: Deadline, *, is_live: bool
    ) -> CacheEntry:
        """Join a suitable fetch, or begin one.

        Args: `oldest`: None accepts any running fetch; `is_live`: only an answer directly from Phoenix is accepted.
        """
        while True:
            fetching = self._flights.get(key)
            if fetching is not None and oldest is not None and fetching.began_at < oldest:
                # The running fetch began too early for this caller. Wait a little for its end before adding another.
                await fetching.flight.wait(min(self._settings.patience_s, deadline.remaining()))
                if self._flights.get(key) is not fetching:
                    continue
                fetching = None
            if fetching is None:
                now = self._clock.monotonic()
                floor = now - self._settings.fresh_for(key) if oldest is None else oldest
                fetching = self._begin(key, fetch, deadline, oldest=None if is_live else floor)
            try:
                async with asyncio.timeout(max(0.0, deadline.remaining())):
                    entry = await fetching.flight.join()
            except TimeoutError:
                raise errors.PhoenixTimeout from None
            except _TIME_OVER:
                if fetching.deadline.at < deadline.at and not deadline.expired:
                    continue  # the deadline of the fetch passed, but not ours
                raise
            if oldest is None or (entry.as_of >= oldest and (entry.is_live or not is_live)):
                return entry
            is_live = True  # the fleet's answer is too old: ask Phoenix

    def _begin(self, key: ReadKey, fetch: Fetch, deadline: Deadline, *, oldest: float | None) -> _Fetching:
        """Begin a fetch. `oldest`: the oldest acceptable answer from the fleet; None: always ask Phoenix."""
        fetching = _Fetching(began_at=self._clock.monotonic(), deadline=deadline)
        self._flights[key] = fetching
        fetching.flight = Flight(lambda: self._obtain(key, fetch, deadline, oldest), partial(self._forget, key))
        return fetching

    def _forget(self, key: ReadKey, flight: Flight[CacheEntry]) -> None:
        fetching = self._flights.get(key)
        if fetching is not None and fetching.flight is flight:
            del self._flights[key]

    async def _obtain(self, key: ReadKey, fetch: Fetch, deadline: Deadline, oldest: float | None) -> CacheEntry:
        fleet = FleetAnswer()
        if self._fleet is not None and oldest is not None:
            fleet = await self._fleet.ask(key, oldest=oldest, deadline=deadline)
            if fleet.entry is not None:
                if fleet.leased_until is not None:
                    self._spawn(self._fleet.release(key, fleet.leased_until))
                return self._store(key, fleet.entry)
        as_of = self._clock.monotonic()
        try:
            entry = CacheEntry(as_of=as_of, value=await fetch(deadline), is_live=True)
        except errors.PhoenixNotFound as absent:
            entry = CacheEntry(as_of=as_of, value=None, absent=absent, is_live=True)
        except BaseException as error:
            if isinstance(error, errors.GatewayError) and not isinstance(error, PHOENIX_FAILS):
                self._entries.remove(key)
            if self._fleet is not None and fleet.leased_until is not None:
                self._spawn(self._fleet.release(key, fleet.leased_until))
            raise
        if self._fleet is not None:
            self._spawn(self._fleet.publish(key, entry, fleet.leased_until))
        return self._store(key, entry)

    def _store(self, key: ReadKey, entry: CacheEntry) -> CacheEntry:
        existing = self._entries.get(key)
        if existing is None or existing.as_of <= entry.as_of:
            size = 0 if entry.value is None else len(entry.value.payload)
            self._entries.put(key.board, key, entry, size)
        return entry

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        task = run_job("shared-reads", work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


class _Fetching:
    """A running fetch. `is_held`: it continues when all waiting callers have left."""

    __slots__ = ("began_at", "deadline", "flight", "is_held")

    flight: Flight[CacheEntry]

    def __init__(self, *, began_at: float, deadline: Deadline) -> None:
        self.began_at = began_at
        self.deadline = deadline
        self.is_held = False


def _answer(key: ReadKey, entry: CacheEntry, source: Source, now: float) -> ReadAnswer:
    if entry.value is None:
        raise not_found(key.fields, entry.absent)
    return ReadAnswer(
        payload=entry.value.payload, window_key=entry.value.window_key, source=source, age_s=max(0.0, now - entry.as_of)
    )


def not_found(fields: Sequence[str], absent: errors.PhoenixNotFound | None) -> errors.PhoenixNotFound:
    """Return the error for a missing resource, with the request fields that the caller should check."""
    metadata = {} if absent is None else dict(absent.metadata)
    return errors.PhoenixNotFound(
        f"Phoenix has no such resource. Check {', '.join(fields)}.", metadata={**metadata, "fields": ",".join(fields)}
    )
