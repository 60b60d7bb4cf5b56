"""Several replicas sharing one real Redis: one fetch per cooldown, and each rotation and revocation reaches all."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.keys.platform.settings import KeyUnavailable
from gateway.resilience.deadline import Deadline
from tests.keys.platform.key_fleet import CLOCK, COOLDOWN_S, PATIENT_S, FleetBench, Replica
from tests.keys.platform.key_source import new_key, until

pytestmark = pytest.mark.asyncio


async def test_four_replicas_under_a_forged_flood_fetch_once_per_cooldown(fleet: FleetBench) -> None:
    """Every call is answered by a fetch that began after it; no two fetches of the fleet begin within a cooldown."""
    replicas = [await fleet.replica(redis_timeout_s=PATIENT_S) for _ in range(4)]
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


async def test_the_cooldown_of_the_fleet_holds_after_failures(fleet: FleetBench) -> None:
    """If Phoenix is down, the replicas share the failure and still fetch once per cooldown."""
    replicas = [await fleet.replica(redis_timeout_s=PATIENT_S) for _ in range(4)]
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
    one = await fleet.replica(redis_timeout_s=PATIENT_S)
    other = await fleet.replica(cooldown_s=60.0, redis_timeout_s=PATIENT_S)
    await other.fresher()
    fleet.server.command("DEL", fleet.name("lease"))
    first = asyncio.create_task(other.fresher())
    await asyncio.sleep(0.2)
    second = asyncio.create_task(other.fresher())
    await asyncio.sleep(0.2)
    await one.fresher()
    later = asyncio.create_task(one.fresher())  # after a cooldown
    await asyncio.gather(first, second)
    assert not later.done()
    assert len(fleet.source.began) == 2
    await later


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
