"""A stranger writes to the shared Redis: nothing false is believed, and the fleet is delayed at most."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.core.sealing import SealKeys
from gateway.core.secret import Secret
from gateway.keys.platform.settings import KeyUnavailable
from gateway.resilience.deadline import Deadline
from tests.keys.platform.key_fleet import CLOCK, COOLDOWN_S, FleetBench, Replica
from tests.keys.platform.key_source import KeySource, new_key

pytestmark = pytest.mark.asyncio


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
