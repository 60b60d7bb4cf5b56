"""Several replicas sharing one real Redis: one fetch per cooldown, and never a wrong "fresher" from a bad Redis."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import pytest_asyncio

from gateway.cache.client import RedisCache, RedisCacheSettings
from gateway.cache.redis_url import parse_redis_url
from gateway.core.ed25519 import VerifyingKey
from gateway.core.sealing import SealKeys
from gateway.core.secret import Secret
from gateway.core.types import Environment
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.keys.platform.redis_key_cache import RedisKeyCache
from gateway.keys.platform.settings import KeyUnavailable, PlatformKeySettings
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from tests.cache.redis_use import usable_again
from tests.keys.platform.key_source import KeySource, new_key, until
from tests.redis_process import RedisProcess

pytestmark = pytest.mark.asyncio

COOLDOWN_S = 0.5
USUAL_S, PATIENT_S = 0.05, 5.0
"""The time that a replica waits for Redis: the real one, and a longer one for a busy machine."""
SEAL = SealKeys([Secret(b"s" * 32)])
CLOCK = SystemClock()


class Replica:
    """One gateway process's platform key."""

    def __init__(
        self,
        url: str,
        source: KeySource,
        seal: SealKeys = SEAL,
        cooldown_s: float = COOLDOWN_S,
        redis_timeout_s: float = USUAL_S,
    ) -> None:
        self.events: Counter[str] = Counter()
        waits = RedisCacheSettings(timeout_s=redis_timeout_s, patient_s=redis_timeout_s)
        self.cache = RedisCache(parse_redis_url(url), CLOCK, waits)
        self.shared = RedisKeyCache(
            cache=self.cache,
            seal_keys=seal,
            clock=CLOCK,
            host="https://prediction.example",
            environment=Environment.SANDBOX,
            on_event=self._count,
        )
        self.keys = PlatformKeys(
            fetch=source.fetch,
            clock=CLOCK,
            settings=PlatformKeySettings(cooldown_s=cooldown_s, fetch_timeout_s=1.0),
            shared=self.shared,
            on_event=self._count,
        )

    async def fresher(self, seconds: float = 5.0) -> VerifyingKey:
        return (await self.keys.fresher(Deadline.after(seconds, CLOCK))).key

    async def close(self) -> None:
        await self.keys.stop()
        await self.cache.close()

    def _count(self, name: str) -> None:
        self.events.update([name])


class FleetBench:
    """Replicas in front of one source."""

    def __init__(self, server: RedisProcess) -> None:
        self.server = server
        self.key = new_key()
        self.source = KeySource(self.key)
        self.replicas: list[Replica] = []

    async def replica(self, cooldown_s: float = COOLDOWN_S, redis_timeout_s: float = USUAL_S) -> Replica:
        """Args: `redis_timeout_s`: more than usual where a busy machine must not be taken for a Redis that is gone."""
        replica = Replica(self.server.url, self.source, cooldown_s=cooldown_s, redis_timeout_s=redis_timeout_s)
        await replica.cache.start()
        self.replicas.append(replica)
        return replica

    def name(self, kind: str) -> str:
        return f"{self.replicas[0].shared._entry.removesuffix(':entry')}:{kind}"

    async def copy_of(self, kind: str) -> bytes:
        """The encrypted bytes in Redis."""
        value = await self.replicas[0].cache.get(self.name(kind), max_bytes=100_000)
        assert value is not None
        return value

    def closest_fetches(self) -> float:
        """The shortest time between the beginnings of two fetches."""
        return min(later - earlier for earlier, later in pairwise(self.source.began))


@pytest_asyncio.fixture
async def fleet(redis_server: RedisProcess) -> AsyncIterator[FleetBench]:
    """A fleet without replicas yet."""
    bench = FleetBench(redis_server)
    yield bench
    redis_server.resume()
    for replica in bench.replicas:
        await replica.close()


async def test_four_replicas_under_a_forged_flood_fetch_once_per_cooldown(fleet: FleetBench) -> None:
    """Every call is answered by a fetch that began after it; no two fetches of the fleet begin within a cooldown."""
    replicas = [await fleet.replica() for _ in range(4)]
    end = time.monotonic() + 3.0
    proofs: list[tuple[float, float]] = []

    async def forged(replica: Replica) -> None:
        while time.monotonic() < end:
            arrived = time.monotonic()
            await replica.fresher()
            proofs.append((arrived, time.monotonic()))

    await asyncio.gather(*(forged(replica) for replica in replicas for _ in range(25)))
    assert len(fleet.source.began) >= 4
    assert fleet.closest_fetches() >= COOLDOWN_S
    for arrived, answered in proofs:
        assert any(arrived <= began <= answered for began in fleet.source.began)
    assert sum(replica.events["platform_key_shared"] for replica in replicas) >= 3


async def test_a_replica_that_could_not_read_what_is_stored_learns_it_and_does_not_overwrite_it(
    fleet: FleetBench,
) -> None:
    """It starts while Redis hangs and Phoenix rotates. A webhook under the replaced key gets no final refusal, here or
    at a replica that starts after it."""
    old = fleet.key
    first = await fleet.replica()
    assert await first.fresher() == old.public
    fleet.server.pause()
    fleet.source.answer = new_key().public.spki_pem
    second = await fleet.replica()
    assert await second.fresher() != old.public
    assert second.keys.retired() == ()  # nobody could tell it
    fleet.server.resume()
    await usable_again(second.cache)
    await second.fresher()
    assert second.keys.retired() == (old.public,)
    third = await fleet.replica(redis_timeout_s=PATIENT_S)
    await third.keys.first(Deadline.after(5.0, CLOCK))
    assert third.keys.retired() == (old.public,)


async def test_the_cooldown_of_the_fleet_holds_after_failures(fleet: FleetBench) -> None:
    """If Phoenix is down, the replicas share the failure and still fetch once per cooldown."""
    replicas = [await fleet.replica() for _ in range(4)]
    fleet.source.answer = ConnectionError("down")
    end = time.monotonic() + 2.5

    async def forged(replica: Replica) -> None:
        while time.monotonic() < end:
            with pytest.raises(KeyUnavailable):
                await replica.fresher()

    await asyncio.gather(*(forged(replica) for replica in replicas))
    assert len(fleet.source.began) >= 3
    assert fleet.closest_fetches() >= COOLDOWN_S


async def test_a_rotation_in_flight_is_not_missed_across_replicas(fleet: FleetBench) -> None:
    """A fetch that another replica began before my call does not answer it, even if it ends after it."""
    one, other = await fleet.replica(), await fleet.replica()
    fleet.source.gate.clear()
    early = asyncio.create_task(one.fresher())
    await until(lambda: len(fleet.source.began) == 1)
    new = new_key()
    fleet.source.serve(new)
    late = asyncio.create_task(other.fresher())
    await asyncio.sleep(0.1)
    fleet.source.gate.set()
    assert await early == fleet.key.public
    assert await late == new.public
    assert other.keys.previous() is None or other.keys.previous() == fleet.key.public


async def test_one_fetch_of_another_replica_answers_all_who_came_before_it(fleet: FleetBench) -> None:
    """A replica in its own cooldown does not take the lease. Callers of different times share one answer."""
    one, other = await fleet.replica(), await fleet.replica(cooldown_s=60.0)
    await other.fresher()
    fleet.server.command("DEL", fleet.name("lease"))
    first = asyncio.create_task(other.fresher())
    await asyncio.sleep(0.2)
    second = asyncio.create_task(other.fresher())
    await asyncio.sleep(0.2)
    began = time.monotonic()
    await asyncio.gather(one.fresher(), first, second)
    assert time.monotonic() - began < 0.4
    assert len(fleet.source.began) == 2


async def test_a_new_replica_begins_with_the_shared_key_and_what_was_retired(fleet: FleetBench) -> None:
    """`first` needs no fetch when Redis has a key; calls signed with the key before it are known as retired."""
    one = await fleet.replica(redis_timeout_s=PATIENT_S)
    await one.fresher()
    new = new_key()
    fleet.source.serve(new)
    await one.fresher()
    fetched = len(fleet.source.began)
    other = await fleet.replica(redis_timeout_s=PATIENT_S)
    found = await asyncio.gather(*(other.keys.first(Deadline.after(10.0, CLOCK)) for _ in range(50)))
    assert {key.key for key in found} == {new.public}
    assert len(fleet.source.began) == fetched
    assert other.keys.previous() == fleet.key.public


async def test_redis_killed_leaves_each_process_its_own_cooldown(fleet: FleetBench) -> None:
    """Without Redis, every replica fetches at most once per cooldown. Sharing resumes when Redis is back."""
    one, other = await fleet.replica(), await fleet.replica()
    await one.fresher()
    fleet.server.kill()
    began = len(fleet.source.began)
    for _ in range(2):
        await one.fresher()
    assert len(fleet.source.began) == began + 2
    assert fleet.closest_fetches() >= COOLDOWN_S
    fleet.server.start()
    await usable_again(one.cache)
    await asyncio.gather(one.fresher(), other.fresher())


async def test_a_frozen_redis_costs_little_and_only_at_first(fleet: FleetBench) -> None:
    """Frozen: two short waits, then none; the answer comes from the process's own fetch. Thawed: the fleet again."""
    one, other = await fleet.replica(), await fleet.replica()
    await asyncio.gather(one.fresher(), other.fresher())
    await asyncio.sleep(COOLDOWN_S)
    fleet.server.pause()
    began = time.monotonic()
    assert await one.fresher() == fleet.key.public
    assert time.monotonic() - began < 0.4
    fleet.server.resume()
    await usable_again(one.cache)
    before = one.events["platform_key_cache_unavailable"]
    await one.fresher()
    assert one.events["platform_key_cache_unavailable"] == before


async def test_an_emptied_redis_leaves_the_process_cooldown(fleet: FleetBench) -> None:
    """Asks, lease and entry gone at any moment: every call is still answered, no process fetches too often."""
    one = await fleet.replica()
    waiting = [asyncio.create_task(one.fresher()) for _ in range(3)]
    for _ in range(20):
        fleet.server.flush()
        await asyncio.sleep(0.05)
        waiting.append(asyncio.create_task(one.fresher()))
    await asyncio.gather(*waiting)
    assert fleet.closest_fetches() >= COOLDOWN_S


@pytest.mark.parametrize("poison", ["garbage", "foreign", "huge", "list"])
async def test_a_poisoned_entry_is_refused_counted_and_fetched_again(fleet: FleetBench, poison: str) -> None:
    """Garbage, an entry sealed with another key, 50 MB, another type: never believed, and the real key is fetched."""
    stranger = Replica(fleet.server.url, KeySource(new_key()), SealKeys([Secret(b"x" * 32)]))
    one = await fleet.replica()
    if poison == "foreign":
        await stranger.fresher()
    else:
        fleet.server.command("DEL", fleet.name("entry"))
        words: dict[str, tuple[str | bytes, ...]] = {
            "garbage": ("SET", fleet.name("entry"), b"\x00\xffPGS2 garbage"),
            "huge": ("SETRANGE", fleet.name("entry"), "50000000", b"x"),
            "list": ("RPUSH", fleet.name("entry"), b"x"),
        }
        fleet.server.command(*words[poison])
    assert (await one.keys.first(Deadline.after(5.0, CLOCK))).key == fleet.key.public
    assert one.events["platform_key_entry_refused"] >= 1
    assert len(fleet.source.began) == 1
    await stranger.close()
    other = await fleet.replica()
    assert (await other.keys.first(Deadline.after(1.0, CLOCK))).key == fleet.key.public
    assert len(fleet.source.began) == 1


async def test_a_replayed_older_entry_proves_nothing(fleet: FleetBench) -> None:
    """An authentic entry from before the rotation, written again and again, answers no new fetch request."""
    one, other = await fleet.replica(), await fleet.replica()
    await one.fresher()
    old = await fleet.copy_of("entry")
    new = new_key()
    fleet.source.serve(new)
    waiting = [asyncio.create_task(replica.fresher()) for replica in (one, other)]
    while not all(task.done() for task in waiting):
        fleet.server.command("SET", fleet.name("entry"), old)
        await asyncio.sleep(0.02)
    assert [await task for task in waiting] == [new.public, new.public]


async def test_a_replayed_failure_fails_no_call(fleet: FleetBench) -> None:
    """A failure with other nonces, or a key entry in its place, does not belong to this request."""
    one = await fleet.replica()
    fleet.source.answer = ConnectionError("down")
    with pytest.raises(KeyUnavailable):
        await one.fresher()
    old = await fleet.copy_of("failure")
    fleet.source.serve(fleet.key)
    waiting = asyncio.create_task(one.fresher())
    while not waiting.done():
        fleet.server.command("SET", fleet.name("failure"), old)
        await asyncio.sleep(0.02)
    assert await waiting == fleet.key.public


async def test_a_deleted_lease_does_not_break_the_process_cooldown(fleet: FleetBench) -> None:
    """Whoever deletes the lease wins no second fetch from the same process."""
    one = await fleet.replica()
    waiting = [asyncio.create_task(one.fresher())]
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        fleet.server.command("DEL", fleet.name("lease"))
        waiting.append(asyncio.create_task(one.fresher()))
        await asyncio.sleep(0.02)
    await asyncio.gather(*waiting)
    assert len(fleet.source.began) >= 3
    assert fleet.closest_fetches() >= COOLDOWN_S


async def test_a_lease_without_end_is_cut_to_the_usual_length(fleet: FleetBench) -> None:
    """A stranger's endless lease and a stranger's requests of another type hold the fleet up for one lease at most."""
    one = await fleet.replica()
    fleet.server.command("SET", fleet.name("lease"), "stranger")
    fleet.server.command("SET", fleet.name("asks"), "not a hash")
    assert await one.fresher() == fleet.key.public
    assert one.events["platform_key_cache_mended"] >= 2


async def test_a_lease_renewed_by_a_stranger_only_delays(fleet: FleetBench) -> None:
    """An attacker holds the lease forever: after a limited wait, the process fetches on its own."""
    one = await fleet.replica()
    waiting = asyncio.create_task(one.fresher(8.0))
    while not waiting.done():
        fleet.server.command("SET", fleet.name("lease"), "stranger", "PX", "600")
        await asyncio.sleep(0.05)
    assert await waiting == fleet.key.public


async def test_garbage_in_the_asks_does_no_harm(fleet: FleetBench) -> None:
    """Thousands of forged requests are discarded, and the fetch continues."""
    one, other = await fleet.replica(), await fleet.replica()
    await one.fresher()
    for start in range(0, 3000, 500):
        pairs = [word for number in range(start, start + 500) for word in (f"x{number}", "y" * 1000)]
        fleet.server.command("HSET", fleet.name("asks"), *pairs)
    found = await asyncio.gather(one.fresher(), other.fresher())
    assert set(found) == {fleet.key.public}


async def test_a_port_that_speaks_no_redis_is_no_cache(fleet: FleetBench) -> None:
    """Another server at the URL: the process works without Redis."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n<html>")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    replica = Replica(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", fleet.source)
    assert await replica.fresher() == fleet.key.public
    assert replica.events["platform_key_cache_unavailable"] >= 1
    await replica.close()
    server.close()


async def test_a_holder_that_dies_while_fetching_is_replaced(fleet: FleetBench) -> None:
    """The lease runs out and another replica fetches for those who wait."""
    one, other = await fleet.replica(), await fleet.replica()
    fleet.source.gate.clear()
    lost = asyncio.create_task(one.fresher())
    await until(lambda: len(fleet.source.began) == 1)
    waiting = asyncio.create_task(other.fresher())
    await asyncio.sleep(0.05)
    await one.keys.stop()
    with pytest.raises(KeyUnavailable):
        await lost
    fleet.source.gate.set()
    assert await waiting == fleet.key.public
    assert len(fleet.source.began) == 2


async def test_a_revoked_key_is_revoked_in_the_fleet(fleet: FleetBench) -> None:
    """The other replica learns of it with its next fetch. Removing it from Redis changes nothing."""
    one, other, late = [await fleet.replica(redis_timeout_s=PATIENT_S) for _ in range(3)]
    for replica in (one, other):
        await replica.fresher()
    old = fleet.key
    fleet.source.serve(new_key())
    for replica in (one, other):
        await replica.fresher()
    assert (old.public,) == other.keys.retired()
    assert await one.keys.revoke(old.key_id)
    await other.fresher()
    assert () == other.keys.retired()
    fleet.server.command("DEL", fleet.name("revoked"))
    await other.fresher()  # shows it again
    await late.fresher()
    fleet.source.serve(old)
    with pytest.raises(KeyUnavailable):
        await late.fresher(1.0)
    current = late.keys.current()
    assert current is not None
    assert old.public != current.key
