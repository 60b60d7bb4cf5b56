"""When one process fetches the platform key: freshness, cooldown, failures, the bounded waiting room."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.core.types import KeyId
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.keys.platform.settings import KeyUnavailable, PlatformKeySettings
from gateway.keys.platform.shared_key import KeyEntry, Nonce, PollResult
from tests.keys.platform.key_bench import Bench
from tests.keys.platform.key_source import new_key, until
from tests.manual_clock import ManualClock

pytestmark = pytest.mark.asyncio


async def test_the_first_key_is_fetched_once_for_all_who_wait() -> None:
    """A hundred calls without a key in memory share one fetch."""
    bench = Bench()
    found = await asyncio.gather(*(bench.keys.first(bench.soon()) for _ in range(100)))
    assert {one.key for one in found} == {bench.key.public}
    assert len(bench.source.began) == 1
    assert await bench.keys.first(bench.soon()) is bench.keys.current()
    assert len(bench.source.began) == 1


async def test_a_fetch_that_began_before_the_call_does_not_count() -> None:
    """A call that comes while a fetch is in flight gets the key of the next one: rotation in flight."""
    bench = Bench()
    new = new_key()
    bench.source.gate.clear()
    early = asyncio.create_task(bench.keys.fresher(bench.soon()))
    await until(lambda: len(bench.source.began) == 1)
    bench.source.serve(new)
    late = asyncio.create_task(bench.keys.fresher(bench.soon()))
    await asyncio.sleep(0)
    bench.source.gate.set()
    assert (await early).key == bench.key.public
    assert not late.done()
    bench.clock.advance(2.0)
    assert (await late).key == new.public
    assert len(bench.source.began) == 2


async def test_the_cooldown_holds_after_success() -> None:
    """The next fetch begins when the cooldown is over and not before."""
    bench = Bench()
    await bench.keys.fresher(bench.soon())
    waiting = asyncio.create_task(bench.keys.fresher(bench.soon()))
    bench.clock.advance(1.99)
    await asyncio.sleep(0.15)
    assert len(bench.source.began) == 1
    bench.clock.advance(0.02)
    await waiting
    assert len(bench.source.began) == 2


@pytest.mark.parametrize(
    "answer",
    [
        ConnectionError("no route"),
        b"",
        b"<html><body>502 Bad Gateway</body></html>",
        b"\x00\xff garbage \xfe",
        generate_private_key(65537, 2048).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        b"-----BEGIN PUBLIC KEY-----\n" + b"A" * 100_000_000,
        new_key().public.spki_pem + new_key().public.spki_pem,
    ],
    ids=["error", "empty", "html", "garbage", "rsa", "100MB", "two keys"],
)
async def test_a_failed_fetch_keeps_the_old_key_and_the_cooldown(answer: bytes | Exception) -> None:
    """Whatever comes instead of a key: the waiter hears of it, the key in use stays, and the next fetch waits."""
    bench = Bench()
    before = await bench.keys.fresher(bench.soon())
    bench.clock.advance(2.0)
    bench.source.answer = answer
    with pytest.raises(KeyUnavailable):
        await bench.keys.fresher(bench.soon())
    assert bench.keys.current() == before
    assert bench.events["platform_key_fetch_failed"] + bench.events["platform_key_refused"] == 1
    with pytest.raises(KeyUnavailable):
        await bench.keys.fresher(bench.soon(0.15))
    assert len(bench.source.began) == 2
    bench.source.serve(bench.key)
    bench.clock.advance(2.0)
    assert (await bench.keys.fresher(bench.soon())).key == bench.key.public


async def test_a_hanging_fetch_ends_at_its_time_limit() -> None:
    """A route that never answers costs the waiters the fetch's time limit and not more."""
    bench = Bench(PlatformKeySettings(fetch_timeout_s=0.1))
    bench.source.gate.clear()
    with pytest.raises(KeyUnavailable, match="could not be fetched"):
        await bench.keys.first(bench.soon())
    assert bench.events["platform_key_fetch_failed"] == 1


async def test_the_waiting_room_is_bounded_in_number_and_bytes() -> None:
    """If too many calls or bytes wait, further calls get KEY_UNAVAILABLE at once. Later there is room again."""
    bench = Bench(PlatformKeySettings(max_waiting=3, max_waiting_bytes=100))
    bench.source.gate.clear()
    waiting = [asyncio.create_task(bench.keys.fresher(bench.soon(), 40)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(KeyUnavailable, match="Too many"):
        await bench.keys.fresher(bench.soon(), 21)
    waiting.append(asyncio.create_task(bench.keys.fresher(bench.soon(), 20)))
    await asyncio.sleep(0)
    with pytest.raises(KeyUnavailable, match="Too many"):
        await bench.keys.fresher(bench.soon(), 0)
    assert bench.events["platform_key_waiting_room_full"] == 2
    bench.source.gate.set()
    bench.clock.advance(2.0)  # the third came after the fetch had begun and waits for the next
    await asyncio.gather(*waiting)
    bench.clock.advance(2.0)
    assert (await bench.keys.fresher(bench.soon(), 100)).key == bench.key.public


async def test_cancelling_one_waiter_leaves_the_fetch_to_the_others() -> None:
    """A cancelled call, even the one that started the fetch, does not affect the other callers."""
    bench = Bench()
    bench.source.gate.clear()
    first, second = (asyncio.create_task(bench.keys.fresher(bench.soon())) for _ in range(2))
    await until(lambda: len(bench.source.began) == 1)
    first.cancel()
    bench.source.gate.set()
    assert (await second).key == bench.key.public
    assert first.cancelled()
    assert len(bench.source.began) == 1


async def test_a_fetch_without_waiters_still_counts() -> None:
    """All waiters gone: what the fetch brings becomes the key in memory."""
    bench = Bench()
    bench.source.gate.clear()
    with pytest.raises(KeyUnavailable):
        await bench.keys.fresher(bench.soon(0.1))
    bench.source.gate.set()
    await until(lambda: bench.keys.current() is not None)


async def test_a_deadline_that_is_over_starts_nothing() -> None:
    """No time left: no fetch for a call that cannot use it."""
    bench = Bench()
    with pytest.raises(KeyUnavailable):
        await bench.keys.fresher(bench.soon(0.0))
    assert bench.source.began == []


async def test_stopping_informs_the_waiters() -> None:
    """Nobody waits for a task that is gone."""
    bench = Bench()
    bench.source.gate.clear()
    waiting = asyncio.create_task(bench.keys.fresher(bench.soon()))
    await until(lambda: len(bench.source.began) == 1)
    await bench.keys.stop()
    with pytest.raises(KeyUnavailable):
        await waiting


async def test_the_refresh_runs_in_the_background_and_survives_phoenix_down() -> None:
    """If Phoenix is down at the start, the loop has the key soon after it is back, and it detects a rotation."""
    bench = Bench(PlatformKeySettings(refresh_s=0.05, cooldown_s=0.01))
    bench.source.answer = ConnectionError("down")
    running = asyncio.create_task(bench.keys.run())
    await until(lambda: len(bench.source.began) >= 1)
    bench.clock.advance(1.0)
    bench.source.serve(bench.key)
    await bench.tick_until(lambda: bench.keys.current() is not None)
    new = new_key()
    bench.source.serve(new)
    await bench.tick_until(lambda: getattr(bench.keys.current(), "key", None) == new.public)
    running.cancel()
    await bench.keys.stop()


class StallingCache:
    """A shared cache that grants every lease, and behind which the first grant takes too long to be used."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.granted = 0

    async def poll(self, nonce: Nonce, *, lease_ms: int | None) -> PollResult:
        self.granted += 1
        return PollResult(leased=True, entry=None)

    async def take_requests(self) -> frozenset[Nonce]:
        self.clock.advance(0.3 if self.granted == 1 else 0.1)
        return frozenset()

    async def stored(self) -> KeyEntry | None:
        return None

    async def publish(self, entry: KeyEntry) -> None:
        """Nobody reads it."""

    async def publish_failure(self, answered: frozenset[Nonce]) -> None:
        """Nobody reads it."""

    async def publish_revoked(self, revoked: frozenset[KeyId]) -> None:
        """Nobody reads it."""


async def test_a_lease_that_cannot_be_used_at_once_is_given_up() -> None:
    """A fetch that would begin late in its lease could come too close to the next holder's: it does not begin."""
    bench = Bench()
    shared = StallingCache(bench.clock)
    keys = PlatformKeys(
        fetch=bench.source.fetch,
        clock=bench.clock,
        shared=shared,
        on_event=lambda name: bench.events.update([name]),
    )
    assert (await keys.fresher(bench.soon())).key == bench.key.public
    assert (shared.granted, bench.events["platform_key_lease_missed"], len(bench.source.began)) == (2, 1, 1)


async def test_a_flood_of_forged_calls_fetches_once_per_cooldown() -> None:
    """Calls that keep coming, each wanting a fresher key, never make two fetches within one cooldown."""
    bench = Bench()
    moments: list[float] = []
    real = bench.source.fetch

    async def fetch(timeout_s: float) -> bytes:
        moments.append(bench.clock.monotonic())
        return await real(timeout_s)

    bench.keys = PlatformKeys(fetch=fetch, clock=bench.clock, settings=PlatformKeySettings())
    calls = []
    for _ in range(40):
        calls += [asyncio.create_task(bench.keys.fresher(bench.soon(60.0))) for _ in range(10)]
        await asyncio.sleep(0.01)
        bench.clock.advance(0.25)
    await bench.tick_until(lambda: all(call.done() for call in calls))
    assert all(call.exception() is None for call in calls)
    assert len(moments) >= 4
    assert min(later - earlier for earlier, later in pairwise(moments)) >= 2.0
