"""Reads through the caches: the process first, the fleet second, Phoenix third, and never younger than it is.

An answer's age counts from the moment before Phoenix was asked for it. What is fresh is served; what is a little older
is served while one refresh runs behind; what is older still only if Phoenix fails or is slow. Callers who want the
same at the same time wait for one fetch, which ends with the last of them. Values are opaque bytes. Source: issue 6,
point 2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from gateway import errors
from gateway.actions.boards.read_values import Fetch, Kept, ReadAnswer, ReadCacheSettings, ReadKey, Source
from gateway.actions.boards.shared_reads import FleetReads, Turn
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
"""Failures after which an older answer may be served. Any other refusal is an answer too, and replaces it."""
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
        """Begin empty. `on_lookup` hears what was looked for and what was found: hit, stale or miss."""
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
        self._kept: ByteCache[tuple[str, str], ReadKey, Kept] = ByteCache(
            max_bytes=self._settings.max_bytes, group_share=self._settings.board_share
        )
        self._flights: dict[ReadKey, _Fetching] = {}
        self._behind: set[asyncio.Task[None]] = set()

    def get_fresh(self, key: ReadKey, max_staleness_s: float | None) -> ReadAnswer | None:
        """Return a fresh answer that is in the process; None where `read` has more to do. Its quick first look."""
        kept = self._kept.get(key)
        if kept is None or kept.value is None:
            return None
        now = self._clock.monotonic()
        if self._source(key, kept, now, max_staleness_s) is not Source.CACHE:
            return None
        self._on_lookup(key.purpose, "hit")
        return _answer(key, kept, Source.CACHE, now)

    async def read(
        self, key: ReadKey, fetch: Fetch, *, max_staleness_s: float | None, arrived_at: float, deadline: Deadline
    ) -> ReadAnswer:
        """Return the answer from wherever it may come.

        Args: `max_staleness_s`: None for the board's setting, zero for a read that begins after `arrived_at`.
        Raises: what `fetch` raises; PhoenixTimeout when the deadline passes while waiting.
        """
        now = self._clock.monotonic()
        kept = self._kept.get(key)
        if kept is not None:
            source = self._source(key, kept, now, max_staleness_s)
            if source is not None:
                self._on_lookup(key.purpose, "hit" if source is Source.CACHE else "stale")
                if source is Source.STALE and now >= kept.rest_until:
                    self._refresh(key, fetch, now)
                return _answer(key, kept, source, now)
        self._on_lookup(key.purpose, "miss")
        if kept is not None and max_staleness_s is None and self._may_stand_in(kept, now):
            return await self._newer_or(kept, key, fetch, deadline)
        oldest = None if max_staleness_s is None else arrived_at - max_staleness_s
        fetched = await self._fetched(key, fetch, oldest, deadline, is_live=max_staleness_s == 0)
        return _answer(key, fetched, Source.LIVE if fetched.is_live else Source.CACHE, self._clock.monotonic())

    async def close(self) -> None:
        """Stop what runs behind."""
        for task in self._behind:
            task.cancel()
        await asyncio.gather(*self._behind, return_exceptions=True)

    def _source(self, key: ReadKey, kept: Kept, now: float, max_staleness_s: float | None) -> Source | None:
        """Say as what a kept answer may be served at once; None: not at once."""
        age, fresh_s = now - kept.as_of, self._fresh_s(key, kept)
        if max_staleness_s is None:
            if age <= fresh_s and fresh_s > 0:
                return Source.CACHE
            behind = age <= fresh_s * self._settings.behind_times or now < kept.rest_until
        else:
            if max_staleness_s > 0 and age <= min(max_staleness_s, fresh_s):
                return Source.CACHE
            behind = max_staleness_s > 0 and age <= max_staleness_s
        return Source.STALE if behind and self._may_stand_in(kept, now) else None

    def _fresh_s(self, key: ReadKey, kept: Kept) -> float:
        if kept.value is None:
            return self._settings.absent_s
        return self._settings.final_s if kept.value.is_final else self._settings.fresh_for(key)

    def _may_stand_in(self, kept: Kept, now: float) -> bool:
        """Whether it may be served past its fresh time: never a 404."""
        return kept.value is not None and now - kept.as_of <= self._settings.failing_s

    async def _newer_or(self, kept: Kept, key: ReadKey, fetch: Fetch, deadline: Deadline) -> ReadAnswer:
        """Wait a little for a newer answer; serve the one that is kept if Phoenix fails or takes longer."""
        self._refresh(key, fetch, self._clock.monotonic())
        fetching = self._flights.get(key)
        newer: Kept | None = None
        if fetching is not None:
            try:
                async with asyncio.timeout(min(self._settings.patience_s, max(0.0, deadline.remaining()))):
                    newer = await fetching.flight.join()
            except (TimeoutError, *PHOENIX_FAILS):
                newer = None
        now = self._clock.monotonic()
        if newer is not None:
            return _answer(key, newer, Source.LIVE if newer.is_live else Source.CACHE, now)
        if not self._may_stand_in(kept, now):
            newer = await self._fetched(key, fetch, None, deadline, is_live=False)
            return _answer(key, newer, Source.LIVE if newer.is_live else Source.CACHE, self._clock.monotonic())
        return _answer(key, kept, Source.STALE, now)

    def _refresh(self, key: ReadKey, fetch: Fetch, now: float) -> None:
        """See to it that a fetch is under way that goes on without anybody waiting."""
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
            kept = self._kept.get(key)
            if kept is not None:
                kept.rest_until = self._clock.monotonic() + self._settings.rest_s
        except Exception as error:  # noqa: BLE001 - nobody waits for it: told here or nowhere
            log().error("refresh failed unexpectedly", **where_raised(error))

    async def _fetched(
        self, key: ReadKey, fetch: Fetch, oldest: float | None, deadline: Deadline, *, is_live: bool
    ) -> Kept:
        """Join a fetch that serves, or begin one.

        Args: `oldest`: None takes any that is under way; `is_live`: only Phoenix's own answer will do.
        """
        while True:
            fetching = self._flights.get(key)
            if fetching is not None and oldest is not None and fetching.began_at < oldest:
                # It began too early for this caller. Rather than adding a call at once, wait for it to end, not long.
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
                    kept = await fetching.flight.join()
            except TimeoutError:
                raise errors.PhoenixTimeout from None
            except _TIME_OVER:
                if fetching.deadline.at < deadline.at and not deadline.expired:
                    continue  # its time was over, ours is not
                raise
            if oldest is None or (kept.as_of >= oldest and (kept.is_live or not is_live)):
                return kept
            is_live = True  # what the fleet had will not do after all: ask Phoenix

    def _begin(self, key: ReadKey, fetch: Fetch, deadline: Deadline, *, oldest: float | None) -> _Fetching:
        """Begin a fetch. `oldest`: how old an answer of the fleet may be; None: Phoenix is asked in any case."""

        def forget(_: Flight[Kept]) -> None:
            if self._flights.get(key) is fetching:
                del self._flights[key]

        fetching = _Fetching(began_at=self._clock.monotonic(), deadline=deadline)
        self._flights[key] = fetching
        fetching.flight = Flight(lambda: self._obtain(key, fetch, deadline, oldest), forget)
        return fetching

    async def _obtain(self, key: ReadKey, fetch: Fetch, deadline: Deadline, oldest: float | None) -> Kept:
        turn = Turn()
        if self._fleet is not None and oldest is not None:
            turn = await self._fleet.ask(key, oldest=oldest, deadline=deadline)
            if turn.kept is not None:
                if turn.leased_until is not None:
                    self._spawn(self._fleet.release(key, turn.leased_until))
                return self._keep(key, turn.kept)
        as_of = self._clock.monotonic()
        try:
            kept = Kept(as_of=as_of, value=await fetch(deadline), is_live=True)
        except errors.PhoenixNotFound as absent:
            kept = Kept(as_of=as_of, value=None, absent=absent, is_live=True)
        except BaseException as error:
            if isinstance(error, errors.GatewayError) and not isinstance(error, PHOENIX_FAILS):
                self._kept.remove(key)
            if self._fleet is not None and turn.leased_until is not None:
                self._spawn(self._fleet.release(key, turn.leased_until))
            raise
        if self._fleet is not None:
            self._spawn(self._fleet.publish(key, kept, turn.leased_until))
        return self._keep(key, kept)

    def _keep(self, key: ReadKey, kept: Kept) -> Kept:
        there = self._kept.get(key)
        if there is None or there.as_of <= kept.as_of:
            size = 0 if kept.value is None else len(kept.value.payload)
            self._kept.put(key.board, key, kept, size)
        return kept

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        task = run_job("shared-reads", work)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)


class _Fetching:
    """A fetch under way. `is_held`: it goes on when all who wait have left."""

    __slots__ = ("began_at", "deadline", "flight", "is_held")

    flight: Flight[Kept]

    def __init__(self, *, began_at: float, deadline: Deadline) -> None:
        self.began_at = began_at
        self.deadline = deadline
        self.is_held = False


def _answer(key: ReadKey, kept: Kept, source: Source, now: float) -> ReadAnswer:
    if kept.value is None:
        raise not_found(key.fields, kept.absent)
    return ReadAnswer(
        payload=kept.value.payload, window_key=kept.value.window_key, source=source, age_s=max(0.0, now - kept.as_of)
    )


def not_found(fields: Sequence[str], absent: errors.PhoenixNotFound | None) -> errors.PhoenixNotFound:
    """Return the error for something that Phoenix does not know, with the fields that a caller should look at."""
    metadata = {} if absent is None else dict(absent.metadata)
    return errors.PhoenixNotFound(
        f"Phoenix knows no such thing. Check {', '.join(fields)}.", metadata={**metadata, "fields": ",".join(fields)}
    )
