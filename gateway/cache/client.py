"""A Redis client for a cache that may be down at any time: short waits, and none at all while Redis is not used.

Without Redis the gateway is slower but never wrong. So no error of the client library leaves this file, whatever its
class, and no caller waits longer than its limit. `availability.py` decides whether Redis is used. While it is not,
calls fail at once, and a probe in the background writes an entry over a new connection: only a Redis that takes writes
of this user is back. Connections live for less than a minute, so that a change of DNS, of the master or of the
cluster's addresses is followed even without a failure. core/sealing.py protects the entries.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from gateway.cache.availability import Availability, ProbeSettings
from gateway.cache.redis_faults import NO_ANSWER, NOT_DONE, FaultKind, RedisFault, fault_of
from gateway.cache.redis_url import RedisTarget, build_client
from gateway.resilience.clock import Clock
from gateway.resilience.patience import patience
from gateway.resilience.supervision import run_job
from gateway.telemetry.spans import REDIS, traced
from gateway.telemetry.trouble import TroubleLog

T = TypeVar("T")
Work = Callable[[Any], Awaitable[T]]
"""Uses a client of redis.asyncio."""

MOST_AT_ONCE = 32
"""Connections that are opened at once to replace old ones."""
_PROBE = "redis.call('SET', KEYS[1], '', 'PX', 1000) return redis.call('DEL', KEYS[1])"
_PROBE_KEY = "pgw:{probe}"
_IN_USE_GO_ON = "the connections in use go on, perhaps with a former REDIS_URL; "


class CacheUnavailable(Exception):
    """The cache gave no usable answer in time. Continue without it. `fault` says why, if Redis is the reason."""

    def __init__(self, message: str, fault: RedisFault | None = None) -> None:
        self.fault = fault
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisCacheSettings:
    """Timeouts for Redis."""

    timeout_s: float = 0.05
    """Longest wait of a caller, including connecting. One call may wait this long several times."""
    patient_s: float = 0.1
    """Longest wait for what costs more when it is left out: event ids, of which replicas would know nothing, and the
    platform key, which every replica would fetch by itself."""
    check_s: float = 0.1
    """Longest wait of the check after a failure, over the connections in use."""
    connect_timeout_s: float = 1.0
    """Longest wait of the probe, enough for TLS and for finding the master."""
    server_timeout_s: float = 0.4
    """Longest wait for one server, so that the probe asks a second Sentinel or node of a cluster."""
    check_every_s: float = 5.0
    """How often a Redis in use is checked. Reads alone do not show that it was demoted."""
    suspect_after_s: float = 0.005
    """A caller that leaves after waiting this long for an answer is a reason to check. A round trip takes less."""
    max_age_s: float = 45.0
    """Age after which connections are replaced. Less than the minute within which a change of DNS is followed."""
    probes: ProbeSettings = field(default_factory=ProbeSettings)


class CacheObserver(Protocol):
    """Counts and reports failures; `outage_log.OutageLog` is one."""

    def failed(self, fault: RedisFault) -> None:
        """A use of Redis failed, or was left out because of an earlier failure."""
        ...

    def changed(self, fault: RedisFault | None, elapsed_s: float) -> None:
        """Redis is not used from now on, because of this fault; None: it is used again; it was not for `elapsed_s`."""
        ...


class _Unobserved:
    def failed(self, fault: RedisFault) -> None:
        pass

    def changed(self, fault: RedisFault | None, elapsed_s: float) -> None:
        pass


class _Connections:
    """One client with its connections, closed when nobody uses it any more."""

    def __init__(self, client: Any, close: Callable[[], Awaitable[None]], until: float) -> None:
        self.client = client
        self.until = until
        self.uses = 0
        self.most_uses = 1
        self.is_retired = False
        self.close = close


class RedisCache:
    """One Redis."""

    def __init__(
        self,
        target: RedisTarget,
        clock: Clock,
        settings: RedisCacheSettings | None = None,
        observer: CacheObserver | None = None,
    ) -> None:
        """Take the target. The first use imports the client and connects."""
        self._target = target
        self._attributes = {"server.address": target.address}
        self._clock = clock
        self._settings = settings or RedisCacheSettings()
        self._observer = observer or _Unobserved()
        self._availability = Availability(clock, self._settings.probes, self._observer.changed)
        self._connections: _Connections | None = None
        self._renewal = TroubleLog("new connections to Redis", address=target.address)
        self._key = _PROBE_KEY
        self._check_at = clock.monotonic() + self._settings.check_every_s
        self._job: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def fault(self) -> RedisFault | None:
        """Why Redis is not used; calls then fail without waiting. None while it is used."""
        return self._availability.fault

    async def start(self) -> None:
        """Import the client and probe once. A Redis that is down is no error."""
        await self._probe()

    def run(
        self, key: str, work: Work[T], *, is_patient: bool = False, within_s: float = math.inf
    ) -> Coroutine[Any, Any, T]:
        """Run `work` with the client within the limit, and return its result.

        If this fails, Redis may have executed a part of `work`. Cancelling is safe: the connection is dropped.
        Args: `key`: one of the keys that `work` uses; in a cluster the check after a failure asks its node.
        `is_patient`: wait for `patient_s`; `within_s`: but no longer than this. Raises: CacheUnavailable; at once while
        Redis is not used.
        """
        running = self._run(key, work, is_patient=is_patient, within_s=within_s)
        return traced(REDIS, self._attributes, running)

    async def _run(self, key: str, work: Work[T], *, is_patient: bool, within_s: float) -> T:
        fault = self._availability.fault
        if fault is not None:
            if self._availability.may_probe:
                self._begin(self._probe)
            self._observer.failed(fault)
            raise CacheUnavailable("Redis is not used now", fault)
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        limit_s = min(self._settings.patient_s if is_patient else self._settings.timeout_s, within_s)
        try:
            answer = await self._within(self._in_use(), limit_s, work)
        except CacheUnavailable as unavailable:
            fault = unavailable.fault or NO_ANSWER
            self._failed(key, fault, loop.time() - began_at)
            if fault.kind not in NOT_DONE or not await self._is_back(began_at + limit_s):
                raise
            # The name leads to another server now, or the connection was old: nothing was done yet.
            return await self._within(self._in_use(), began_at + limit_s - loop.time(), work)
        except asyncio.CancelledError:  # the caller's deadline passed, or it left: Redis may be the reason
            if loop.time() - began_at >= self._settings.suspect_after_s:
                self._failed(key, NO_ANSWER, loop.time() - began_at)
            raise
        self._availability.answered()
        now = self._clock.monotonic()
        if self._connections is not None and now >= self._connections.until:
            self._begin(self._renew)
        elif now >= self._check_at:
            self._begin(self._check)
        return answer

    async def get(self, key: str, *, max_bytes: int) -> bytes | None:
        """Return the value, or None if there is none.

        A value longer than `max_bytes` was not written by us. It is treated as absent and is not transferred.
        Raises: CacheUnavailable.
        """

        async def work(client: Any) -> bytes:
            value: bytes = await client.getrange(key, 0, max_bytes)
            return value

        value = await self.run(key, work)
        return value if 0 < len(value) <= max_bytes else None

    async def put(self, key: str, value: bytes, *, ttl_s: float) -> None:
        """Store the value for `ttl_s`. Raises: CacheUnavailable."""

        async def work(client: Any) -> None:
            await client.set(key, value, px=max(1, round(ttl_s * 1000)))

        await self.run(key, work)

    def use_target(self, target: RedisTarget) -> None:
        """Connect there from now on, such as with a new password. Connections in use are replaced once that works."""
        self._target = target
        self._attributes = {"server.address": target.address}
        if self._connections is None:
            self._begin(self._probe)
            return
        self._connections.until = -math.inf  # the next use renews them, if this attempt cannot
        self._begin(self._renew)

    async def close(self) -> None:
        """Stop probing and close the connections."""
        if self._job is not None:
            self._job.cancel()
            await asyncio.gather(self._job, return_exceptions=True)
        self._replace(None)
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _within(self, connections: _Connections, limit_s: float, work: Work[T]) -> T:
        """Run `work` within the limit. Raises: CacheUnavailable, for whatever the library raises."""
        connections.uses += 1
        connections.most_uses = max(connections.most_uses, connections.uses)
        try:
            async with patience(limit_s):
                return await work(connections.client)
        except Exception as error:  # noqa: BLE001 - some errors of the library are outside its base class
            fault = fault_of(error)
            raise CacheUnavailable(f"Redis gave no usable answer ({fault.error_type})", fault) from None
        finally:
            connections.uses -= 1
            if connections.is_retired:
                self._close_if_idle(connections)

    async def _is_back(self, until: float) -> bool:
        """Wait for the probe that is under way, until this time of the loop. Returns: whether Redis is used again."""
        if self._job is not None and not self._job.done():
            await asyncio.wait({self._job}, timeout=max(0.0, until - asyncio.get_running_loop().time()))
        return self._availability.fault is None

    def _failed(self, key: str, fault: RedisFault, waited_s: float) -> None:
        """Count a failure, and check at once whether Redis is the reason. A short wait alone is a reason to check."""
        self._key = key
        self._observer.failed(fault)
        if fault.kind is not FaultKind.TIMEOUT or waited_s >= self._settings.timeout_s / 2:
            self._availability.failed(fault)
        if self._availability.fault is None:
            self._begin(self._check)
        elif self._availability.may_probe:
            self._begin(self._probe)

    def _begin(self, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._job is None or self._job.done():
            self._job = run_job("redis-probe", job())

    async def _check(self) -> None:
        """After a failure, and from time to time: find out whether Redis takes writes over the connections in use."""
        self._check_at = self._clock.monotonic() + self._settings.check_every_s
        try:
            await self._within(self._in_use(), self._settings.check_s, self._write_probe)
        except CacheUnavailable as unavailable:
            self._availability.put_out_of_use(unavailable.fault or NO_ANSWER)
        if self._availability.may_probe:
            await self._probe()

    async def _probe(self) -> None:
        """Write an entry over a new connection. If that works, use this connection from now on."""
        try:
            fresh = await self._proved()
        except CacheUnavailable as unavailable:
            self._replace(None)
            self._availability.probe_failed(unavailable.fault or NO_ANSWER)
        else:
            self._replace(fresh)
            self._availability.probed()

    async def _renew(self) -> None:
        """Replace connections that are in use and old. If no new one works, continue with them for a while."""
        before = self._connections
        if before is None:
            return
        before.until = self._clock.monotonic() + self._settings.probes.retry_after_s * 5
        try:
            self._replace(await self._proved(min(before.most_uses, MOST_AT_ONCE)))
        except CacheUnavailable as unavailable:
            fault = unavailable.fault or NO_ANSWER
            self._renewal.failed(unavailable, trouble=fault.what, code=fault.code, advice=_IN_USE_GO_ON + fault.advice)
        else:
            self._renewal.works()

    async def _proved(self, count: int = 1) -> _Connections:
        """Return so many new connections that Redis takes a write over. Raises: CacheUnavailable."""

        async def write(client: Any) -> None:
            await asyncio.gather(*(self._write_probe(client) for _ in range(count)))

        fresh = self._built()
        try:
            await self._within(fresh, self._settings.connect_timeout_s, write)
        except BaseException:
            self._retire(fresh)
            raise
        return fresh

    async def _write_probe(self, client: Any) -> None:
        await client.eval(_PROBE, 1, f"{self._key}:probe")

    def _in_use(self) -> _Connections:
        """Return the connections in use. Raises: CacheUnavailable."""
        if self._connections is None:
            self._connections = self._built()
        return self._connections

    def _built(self) -> _Connections:
        """Return a new client, not connected yet. Raises: CacheUnavailable."""
        # Outside the time limit of any call: a slow import is not a failure of Redis.
        try:
            client, close = build_client(
                self._target,
                server_timeout_s=self._settings.server_timeout_s,
            )
        except Exception as error:  # noqa: BLE001 - as in `_within`
            raise CacheUnavailable(f"no client for Redis ({type(error).__name__})", fault_of(error)) from None
        return _Connections(client, close, self._clock.monotonic() + self._settings.max_age_s)

    def _replace(self, fresh: _Connections | None) -> None:
        before, self._connections = self._connections, fresh
        if before is not None:
            self._retire(before)

    def _retire(self, connections: _Connections) -> None:
        connections.is_retired = True
        self._close_if_idle(connections)

    def _close_if_idle(self, connections: _Connections) -> None:
        if connections.uses == 0:
            closing = run_job("redis-close", _closed(connections, self._settings.connect_timeout_s))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


async def _closed(connections: _Connections, limit_s: float) -> None:
    try:
        async with asyncio.timeout(limit_s):
            await connections.close()
    except Exception:  # noqa: BLE001, S110 - the connections of a dead server are gone anyway
        pass
