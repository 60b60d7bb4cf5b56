"""Answers of reads in a real Redis: encrypted, with an age from two clocks, fetched by the holder of the lease."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from gateway.cache.client import CacheUnavailable, RedisCache, RedisCacheSettings
from gateway.cache.reads import MAX_ENTRY_BYTES, RedisReadCache, _names
from gateway.cache.redis_faults import FaultKind
from gateway.cache.redis_url import parse_redis_url
from gateway.cache.shared_reads import ReadPlace
from gateway.core.sealing import SealKeys
from gateway.core.secret import Secret
from gateway.resilience.clock import SystemClock
from tests.manual_clock import ManualClock
from tests.redis_process import RedisProcess

PLACE = ReadPlace(tenant_id="t", name='["xp","leaderboard","","100","0"]')
ENTRY, LEASE = _names(PLACE)


@dataclass
class Replica:
    """One view of the shared answers with its own wall clock."""

    reads: RedisReadCache
    wall: ManualClock
    cache: RedisCache
    events: list[str] = field(default_factory=list)

    async def age(self, place: ReadPlace = PLACE) -> float | None:
        """The age of the entry, or None if there is none."""
        found = (await self.reads.lookup(place, lease_s=2)).found
        return None if found is None else found.age_s


@pytest.fixture
async def fleet(redis_server: RedisProcess) -> AsyncIterator[list[Replica]]:
    """Three replicas; the third has other seal keys."""
    keys = [SealKeys([Secret(secrets.token_bytes(32))])] * 2 + [SealKeys([Secret(secrets.token_bytes(32))])]
    replicas = []
    for seal_keys in keys:
        patient = RedisCacheSettings(timeout_s=1.0, server_timeout_s=1.0)
        cache = RedisCache(parse_redis_url(redis_server.url), SystemClock(), patient)
        wall, events = ManualClock(), list[str]()
        await cache.start()
        reads = RedisReadCache(cache=cache, seal_keys=seal_keys, clock=wall, on_event=events.append)
        replicas.append(Replica(reads, wall, cache, events))
    yield replicas
    for replica in replicas:
        await replica.cache.close()


async def publish(replica: Replica, payload: bytes = b"page", *, age_s: float = 0.5, keep_s: float = 60) -> None:
    await replica.reads.publish(PLACE, payload, age_s=age_s, keep_s=keep_s, release=False)


async def test_what_one_replica_publishes_the_other_reads(fleet: list[Replica]) -> None:
    """With the age that it had then, at least."""
    await publish(fleet[0])
    found = (await fleet[1].reads.lookup(PLACE, lease_s=2)).found
    assert found is not None
    assert b"page" == found.payload
    assert 0.5 <= found.age_s < 1.5


async def test_one_of_many_gets_the_lease(fleet: list[Replica]) -> None:
    """Until it gives it back."""
    looks = [await replica.reads.lookup(PLACE, lease_s=2) for replica in fleet]
    assert [True, False, False] == [look.leased for look in looks]
    await fleet[0].reads.release(PLACE)
    assert (await fleet[1].reads.lookup(PLACE, lease_s=2)).leased
    await fleet[1].reads.publish(PLACE, b"page", age_s=0, keep_s=60, release=True)
    assert (await fleet[2].reads.lookup(PLACE, lease_s=2)).leased


async def test_a_clock_that_is_behind_makes_nothing_younger(fleet: list[Replica], redis_server: RedisProcess) -> None:
    """The remaining time to live in Redis shows the age."""
    await publish(fleet[0])
    redis_server.command("PEXPIRE", ENTRY, "20000")  # as if 40 s had passed
    fleet[1].wall.set_wall(fleet[0].wall.now() - 50)
    age = await fleet[1].age()
    assert age is not None
    assert 40.4 < age < 42


async def test_an_older_entry_put_back_is_as_old_as_it_is(fleet: list[Replica], redis_server: RedisProcess) -> None:
    """Its time to live is renewed, but the encrypted entry has the time of storage. After its end it is refused."""
    await publish(fleet[0], keep_s=60)
    sealed = redis_server.command("GET", ENTRY).split(b"\r\n", 1)[1][:-2]
    for wait, least in ((30.0, 30.5), (29.0, 59.5)):
        fleet[1].wall.advance(wait)
        redis_server.command("SET", ENTRY, sealed, "PX", "60000")
        age = await fleet[1].age()
        assert age is not None
        assert age >= least
    fleet[1].wall.advance(2.0)
    assert (None, ["read_cache_entry_refused"]) == (await fleet[1].age(), fleet[1].events)


@pytest.mark.parametrize("words", [("PERSIST",), ("PEXPIRE", "3600000")], ids=str)
async def test_an_entry_that_is_kept_longer_than_it_was_stored_for_is_refused(
    fleet: list[Replica], redis_server: RedisProcess, words: tuple[str, ...]
) -> None:
    """Its time to live does not show its age."""
    await publish(fleet[0])
    redis_server.command(words[0], ENTRY, *words[1:])
    assert (None, ["read_cache_entry_refused"]) == (await fleet[1].age(), fleet[1].events)


async def test_what_others_wrote_is_refused(fleet: list[Replica], redis_server: RedisProcess) -> None:
    """Another key, another place, a changed byte, another type, too much: as good as nothing, and counted."""
    await publish(fleet[2])
    assert None is await fleet[0].age()
    await publish(fleet[1])
    sealed = redis_server.command("GET", ENTRY).split(b"\r\n", 1)[1][:-2]
    elsewhere = ReadPlace(tenant_id="u", name=PLACE.name)
    redis_server.command("SET", _names(elsewhere)[0], sealed, "PX", "60000")
    assert None is await fleet[0].age(elsewhere)
    redis_server.command("SET", ENTRY, sealed[:-1] + b"\x00", "PX", "60000")
    assert None is await fleet[0].age()
    redis_server.command("DEL", ENTRY)
    redis_server.command("RPUSH", ENTRY, "a")
    assert None is await fleet[0].age()
    redis_server.command("DEL", ENTRY)
    redis_server.command("SET", ENTRY, b"x" * (MAX_ENTRY_BYTES + 1), "PX", "60000")
    assert None is await fleet[0].age()
    assert ["read_cache_entry_refused"] * 5 == fleet[0].events


async def test_a_lease_without_an_end_is_repaired(fleet: list[Replica], redis_server: RedisProcess) -> None:
    """A stranger cannot keep the fleet from fetching."""
    redis_server.command("SET", LEASE, "mine")
    assert not (await fleet[0].reads.lookup(PLACE, lease_s=2)).leased
    assert ["read_cache_mended"] == fleet[0].events
    assert int(redis_server.command("PTTL", LEASE)[1:]) <= 2000


async def test_what_is_too_large_is_not_written(fleet: list[Replica]) -> None:
    """It could not be read back."""
    await publish(fleet[0], b"x" * MAX_ENTRY_BYTES)
    assert (None, []) == (await fleet[0].age(), fleet[0].events)


async def test_a_frozen_redis_is_reported_as_unavailable(fleet: list[Replica], redis_server: RedisProcess) -> None:
    """Within its time limit."""
    redis_server.pause()
    with pytest.raises(CacheUnavailable):
        await fleet[0].reads.lookup(PLACE, lease_s=2)
    with pytest.raises(CacheUnavailable):
        await publish(fleet[0])
    with pytest.raises(CacheUnavailable):
        await fleet[0].reads.release(PLACE)


def test_tenants_share_no_place() -> None:
    """However tenant and name are cut."""
    places = [
        ReadPlace(tenant_id="a", name="bc"),
        ReadPlace(tenant_id="ab", name="c"),
        ReadPlace(tenant_id="", name="abc"),
    ]
    assert 3 == len({_names(place) for place in places})


async def test_a_replica_that_takes_no_writes_is_no_answer(fleet: list[Replica], redis_server: RedisProcess) -> None:
    """READONLY comes back inside a pipeline's answers: without a look at them, nobody would ever get the lease."""
    redis_server.command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(CacheUnavailable) as caught:
        await fleet[0].reads.lookup(PLACE, lease_s=2)
    assert caught.value.fault is not None
    assert caught.value.fault.kind is FaultKind.READ_ONLY
    with pytest.raises(CacheUnavailable):
        await publish(fleet[1])
