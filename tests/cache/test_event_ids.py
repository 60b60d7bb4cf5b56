"""Event ids in a real Redis: one round trip for a batch, nothing believed that is not ours, nothing lost without it."""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from gateway.cache.client import RedisCache, RedisCacheSettings
from gateway.cache.event_ids import RedisEventIds
from gateway.cache.redis_url import parse_redis_url
from gateway.core.event_ids import EventState, OwnEntry, RememberedEvent
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
    patient = RedisCacheSettings(timeout_s=5, patient_s=5, check_s=5, server_timeout_s=5)  # a busy machine
    made = CountingCache(parse_redis_url(redis_server.url), CLOCK, patient)
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
    wanted = [(f"e{number}", entry(), OwnEntry()) for number in range(1000)]
    assert await ids_in(cache).claim(T, wanted) == [None] * 1000
    assert cache.trips == 1
    assert await ids_in(cache).claim(T, wanted) == [one for _, one, _ in wanted]


async def test_the_result_of_an_event_is_returned_to_a_repeat(cache: CountingCache) -> None:
    """An accepted id stays. A removed id is free again."""
    ids = ids_in(cache)
    kept, gone = OwnEntry(), OwnEntry()
    await ids.claim(T, [("kept", entry(), kept), ("gone", entry(), gone)])
    accepted = entry(EventState.ACCEPTED)
    await ids.settle(T, [("kept", accepted, kept), ("gone", None, gone)])
    assert await ids.claim(T, [("kept", entry(), OwnEntry()), ("gone", entry(), OwnEntry())]) == [accepted, None]


async def test_tenants_do_not_meet(cache: CountingCache) -> None:
    """The same id of another tenant is another id."""
    ids = ids_in(cache)
    await ids.claim(T, [("e", entry(), OwnEntry())])
    assert await ids.claim(U, [("e", entry(), OwnEntry())]) == [None]


async def test_ids_are_not_shown(cache: CountingCache, redis_server: RedisProcess) -> None:
    """Neither in keys nor in values; and every key has its end."""
    await ids_in(cache).claim(T, [("secret-id", entry(), OwnEntry())])
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
    await ids_in(cache, seal_keys()).settle(T, [("e", accepted, OwnEntry())])
    assert await ids.claim(T, [("e", entry(), OwnEntry())]) == [None]
    key = next(line for line in redis_server.command("KEYS", "*").split(b"\r\n") if line.startswith(b"pgw:"))
    redis_server.command("SET", key, b"x" * 100_000)
    assert await ids.claim(T, [("e", entry(), OwnEntry())]) == [None]
    redis_server.command("DEL", key)
    redis_server.command("LPUSH", key, "x")
    assert await ids.claim(T, [("e", entry(), OwnEntry())]) == [None]
    assert heard == ["event_id_entry_refused"] * 3
    await ids.settle(T, [("e", accepted, OwnEntry())])
    assert await ids.claim(T, [("e", entry(), OwnEntry())]) == [accepted]


async def test_an_entry_of_another_id_does_not_pass(cache: CountingCache, redis_server: RedisProcess) -> None:
    """A seal holds for its own place only."""
    ids = ids_in(cache)
    await ids.settle(T, [("first", entry(EventState.ACCEPTED), OwnEntry())])
    first = next(line for line in redis_server.command("KEYS", "*").split(b"\r\n") if line.startswith(b"pgw:"))
    await ids.settle(T, [("second", entry(EventState.ACCEPTED), OwnEntry())])
    keys = [line for line in redis_server.command("KEYS", "*").split(b"\r\n") if line.startswith(b"pgw:")]
    second = next(key for key in keys if key != first)
    redis_server.command("COPY", first, second, "REPLACE")
    assert await ids.claim(T, [("second", entry(), OwnEntry())]) == [None]


async def test_a_redis_that_is_gone_is_no_failure(cache: CountingCache, redis_server: RedisProcess) -> None:
    """Nobody knows anything then."""
    redis_server.kill()
    ids = ids_in(cache)
    assert await ids.claim(T, [("e", entry(), OwnEntry())]) is None
    assert not await ids.settle(T, [("e", entry(EventState.ACCEPTED), OwnEntry())])


async def held(cache: RedisCache) -> RememberedEvent | None:
    """Read the entry of "e" as a third replica does."""
    found = await ids_in(cache).claim(T, [("e", entry(), OwnEntry())])
    assert found is not None
    return found[0]


@pytest.mark.parametrize("state", list(EventState), ids=lambda state: state.name)
@pytest.mark.parametrize("has_asked", [True, False])
async def test_a_release_leaves_the_entry_of_another_replica(
    cache: CountingCache, state: EventState, has_asked: bool
) -> None:
    """Whether the releasing claim saw that entry or never reached Redis."""
    theirs, own = entry(state), OwnEntry()
    await ids_in(cache).settle(T, [("e", theirs, OwnEntry())])
    here = ids_in(cache)
    if has_asked:
        assert await here.claim(T, [("e", entry(), own)]) == [theirs]
    assert await here.settle(T, [("e", None, own)])
    assert await held(cache) == theirs


async def test_a_release_after_the_end_of_the_own_entry_leaves_the_next_one(
    cache: CountingCache, redis_server: RedisProcess
) -> None:
    """The id was claimed here, expired, and another replica claimed it."""
    own, theirs = OwnEntry(), entry(digest=b"2" * 32)
    await ids_in(cache).claim(T, [("e", entry(), own)])
    redis_server.command("FLUSHALL")
    await ids_in(cache).claim(T, [("e", theirs, OwnEntry())])
    assert await ids_in(cache).settle(T, [("e", None, own)])
    assert await held(cache) == theirs


@pytest.mark.parametrize("digest", [b"1" * 32, b"2" * 32], ids=["same", "other"])
async def test_a_doubt_does_not_replace_an_accepted_event(cache: CountingCache, digest: bytes) -> None:
    """Also if this replica claimed the id first. In the other order the accepted event replaces the doubt."""
    accepted, doubt, own = entry(EventState.ACCEPTED), entry(EventState.UNKNOWN, digest), OwnEntry()
    ids = ids_in(cache)
    await ids.claim(T, [("e", entry(digest=digest), own)])
    assert await ids_in(cache).settle(T, [("e", accepted, OwnEntry())])
    assert await ids.settle(T, [("e", doubt, own)])
    assert await held(cache) == accepted
    await ids.settle(T, [("e", None, own)])
    assert await held(cache) == accepted


async def test_a_result_replaces_weaker_entries_and_keeps_the_first_send(cache: CountingCache) -> None:
    """The time of the first send decides how long the event may be sent again."""
    begun = entry()
    await ids_in(cache).claim(T, [("e", begun, OwnEntry())])
    doubt = RememberedEvent(state=EventState.UNKNOWN, at=begun.at + 30, digest=begun.digest)
    assert await ids_in(cache).settle(T, [("e", doubt, OwnEntry())])
    assert await held(cache) == RememberedEvent(state=EventState.UNKNOWN, at=begun.at, digest=begun.digest)
    assert await ids_in(cache).settle(T, [("e", entry(EventState.ACCEPTED), OwnEntry())])
    assert await held(cache) == RememberedEvent(state=EventState.ACCEPTED, at=begun.at, digest=begun.digest)


async def test_a_late_release_removes_the_own_doubt(cache: CountingCache) -> None:
    """The event was settled as unknown, and then it was certain that Phoenix does not have it."""
    ids, own = ids_in(cache), OwnEntry()
    await ids.claim(T, [("e", entry(), own)])
    await ids.settle(T, [("e", entry(EventState.UNKNOWN), own)])
    await ids.settle(T, [("e", None, own)])
    assert await held(cache) is None
