"""Event ids in a real Redis: one round trip for a batch, nothing believed that is not ours, nothing lost without it."""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest_asyncio

from gateway.cache.client import RedisCache
from gateway.cache.event_ids import RedisEventIds
from gateway.cache.redis_url import parse_redis_url
from gateway.core.event_ids import EventState, RememberedEvent
from gateway.core.sealing import SealKeys
from gateway.core.types import TenantId
from gateway.resilience.clock import SystemClock
from tests.redis_process import RedisProcess

CLOCK = SystemClock()
T, U = TenantId("t"), TenantId("u")


class CountingCache(RedisCache):
    """The real cache; counts the ways to Redis."""

    trips = 0

    async def run(self, key: str, work: Callable[[Any], Awaitable[Any]], **how: Any) -> Any:
        self.trips += 1
        return await super().run(key, work, **how)


@pytest_asyncio.fixture
async def cache(redis_server: RedisProcess) -> AsyncIterator[CountingCache]:
    """A cache on a running server."""
    made = CountingCache(parse_redis_url(redis_server.url), CLOCK)
    await made.start()
    yield made
    await made.close()


def seal_keys() -> SealKeys:
    return SealKeys.from_text(base64.b64encode(secrets.token_bytes(32)).decode())


KEYS = seal_keys()


def ids_in(cache: RedisCache, keys: SealKeys = KEYS, heard: list[str] | None = None) -> RedisEventIds:
    reported: list[str] = [] if heard is None else heard
    return RedisEventIds(cache=cache, seal_keys=keys, clock=CLOCK, on_event=reported.append)


def entry(state: EventState = EventState.BEGUN, digest: bytes = b"1" * 32) -> RememberedEvent:
    return RememberedEvent(state=state, at=CLOCK.now(), digest=digest)


async def test_a_batch_is_claimed_in_one_round_trip(cache: CountingCache) -> None:
    """The second caller gets what the first one wrote."""
    wanted = [(f"e{number}", entry()) for number in range(1000)]
    assert await ids_in(cache).claim(T, wanted) == [None] * 1000
    assert cache.trips == 1
    assert await ids_in(cache).claim(T, wanted) == [one for _, one in wanted]


async def test_the_result_of_an_event_is_returned_to_a_repeat(cache: CountingCache) -> None:
    """An accepted id stays. A removed id is free again."""
    ids = ids_in(cache)
    await ids.claim(T, [("kept", entry()), ("gone", entry())])
    accepted = entry(EventState.ACCEPTED)
    await ids.settle(T, [("kept", accepted), ("gone", None)])
    assert await ids.claim(T, [("kept", entry()), ("gone", entry())]) == [accepted, None]


async def test_tenants_do_not_meet(cache: CountingCache) -> None:
    """The same id of another tenant is another id."""
    ids = ids_in(cache)
    await ids.claim(T, [("e", entry())])
    assert await ids.claim(U, [("e", entry())]) == [None]


async def test_ids_are_not_shown(cache: CountingCache, redis_server: RedisProcess) -> None:
    """Neither in keys nor in values; and every key has its end."""
    await ids_in(cache).claim(T, [("secret-id", entry())])
    keys = redis_server.command("KEYS", "*")
    assert b"secret-id" not in keys
    key = next(line for line in keys.split(b"\r\n") if line.startswith(b"pgw:"))
    assert b"secret-id" not in redis_server.command("GET", key)
    assert 0 < int(redis_server.command("PTTL", key)[1:-2]) <= 300_000


async def test_what_others_wrote_is_not_believed(cache: CountingCache, redis_server: RedisProcess) -> None:
    """Another key's seal, junk, another type, a huge value: counted, and as if nothing were there."""
    heard: list[str] = []
    ids = ids_in(cache, heard=heard)
    accepted = entry(EventState.ACCEPTED)
    await ids_in(cache, seal_keys()).settle(T, [("e", accepted)])
    assert await ids.claim(T, [("e", entry())]) == [None]
    key = next(line for line in redis_server.command("KEYS", "*").split(b"\r\n") if line.startswith(b"pgw:"))
    redis_server.command("SET", key, b"x" * 100_000)
    assert await ids.claim(T, [("e", entry())]) == [None]
    redis_server.command("DEL", key)
    redis_server.command("LPUSH", key, "x")
    assert await ids.claim(T, [("e", entry())]) == [None]
    assert heard == ["event_id_entry_refused"] * 3
    await ids.settle(T, [("e", accepted)])
    assert await ids.claim(T, [("e", entry())]) == [accepted]


async def test_an_entry_of_another_id_does_not_pass(cache: CountingCache, redis_server: RedisProcess) -> None:
    """A seal holds for its own place only."""
    ids = ids_in(cache)
    await ids.settle(T, [("first", entry(EventState.ACCEPTED))])
    first = next(line for line in redis_server.command("KEYS", "*").split(b"\r\n") if line.startswith(b"pgw:"))
    await ids.settle(T, [("second", entry(EventState.ACCEPTED))])
    keys = [line for line in redis_server.command("KEYS", "*").split(b"\r\n") if line.startswith(b"pgw:")]
    second = next(key for key in keys if key != first)
    redis_server.command("COPY", first, second, "REPLACE")
    assert await ids.claim(T, [("second", entry())]) == [None]


async def test_a_redis_that_is_gone_is_no_failure(cache: CountingCache, redis_server: RedisProcess) -> None:
    """Nobody knows anything then."""
    redis_server.kill()
    ids = ids_in(cache)
    assert await ids.claim(T, [("e", entry())]) is None
    assert not await ids.settle(T, [("e", entry(EventState.ACCEPTED))])
