"""Replicas whose Redis or whose neighbour fails: each process still gets the key, and keeps its own cooldown."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.keys.platform.settings import KeyUnavailable
from gateway.resilience.deadline import Deadline
from tests.cache.redis_use import usable_again
from tests.keys.platform.key_fleet import CLOCK, COOLDOWN_S, PATIENT_S, FleetBench, Replica
from tests.keys.platform.key_source import new_key, until

pytestmark = pytest.mark.asyncio


async def test_a_replica_that_could_not_read_what_is_stored_learns_it_and_does_not_overwrite_it(
    fleet: FleetBench,
) -> None:
    """It starts while Redis hangs and Phoenix rotates. A webhook under the replaced key gets no final refusal, here or
    at a replica that starts after it."""
    old = fleet.key
    first = await fleet.replica(redis_timeout_s=PATIENT_S)
    assert await first.fresher() == old.public
    fleet.server.pause()
    fleet.source.answer = new_key().public.spki_pem
    second = await fleet.replica()
    assert await second.fresher() != old.public
    assert second.keys.retired() == ()  # nobody could tell it
    fleet.server.resume()
    second.be_patient()
    await usable_again(second.cache)
    await second.fresher()
    assert second.keys.retired() == (old.public,)
    third = await fleet.replica(redis_timeout_s=PATIENT_S)
    await third.keys.first(Deadline.after(5.0, CLOCK))
    assert third.keys.retired() == (old.public,)


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
    took: list[float] = []
    while len(took) < 3 and not (took and took[-1] < 0.4):  # a busy machine may stop the test during a wait
        await asyncio.sleep(COOLDOWN_S)
        fleet.server.pause()
        began = time.monotonic()
        assert await one.fresher() == fleet.key.public
        took.append(time.monotonic() - began)
        fleet.server.resume()
        await usable_again(one.cache)
    assert min(took) < 0.4
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
