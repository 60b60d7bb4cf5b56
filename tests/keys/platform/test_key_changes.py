"""Which platform keys one process knows: pinned, replaced, revoked and configured ones."""

from __future__ import annotations

import pytest

from gateway.core.ed25519 import KeyRefused, SigningKey
from gateway.core.types import Environment
from gateway.keys.descriptions import KeyState
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.keys.platform.settings import KeyUnavailable, PlatformKeySettings
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from tests.keys.platform.key_bench import Bench
from tests.keys.platform.key_source import KeySource, new_key
from tests.manual_clock import ManualClock

pytestmark = pytest.mark.asyncio


async def test_a_key_outside_the_pins_is_refused() -> None:
    """Where pins are set, another key is as good as none."""
    pinned = new_key()
    bench = Bench(PlatformKeySettings(pins=frozenset({pinned.key_id})))
    with pytest.raises(KeyUnavailable):
        await bench.keys.fresher(bench.soon())
    assert bench.keys.current() is None
    assert bench.events["platform_key_refused"] == 1
    bench.source.serve(pinned)
    await bench.rotate_to_known()
    current = bench.keys.current()
    assert current is not None
    assert current.key == pinned.public


async def test_a_replaced_key_is_retired_for_the_overlap() -> None:
    """The old key is known as retired until the end of the overlap."""
    bench = Bench(PlatformKeySettings(overlap_s=600.0))
    await bench.keys.fresher(bench.soon())
    bench.source.serve(new_key())
    await bench.rotate_to_known()
    assert bench.keys.previous() == bench.key.public
    assert [row.state for row in bench.keys.describe(Environment.PROD)] == [KeyState.ACTIVE, KeyState.RETIRING]
    bench.clock.advance(599.9)
    assert bench.keys.previous() == bench.key.public
    bench.clock.advance(0.2)
    assert bench.keys.previous() is None


async def test_two_rotations_keep_both_old_keys_retired() -> None:
    """A call signed two keys ago is still no forgery while its key was replaced within the overlap."""
    bench = Bench()
    second, third = new_key(), new_key()
    await bench.keys.fresher(bench.soon())
    for key in (second, third):
        bench.source.serve(key)
        await bench.rotate_to_known()
    assert bench.keys.retired() == (second.public, bench.key.public)


async def test_rotating_back_makes_the_old_key_current_again() -> None:
    """A key that comes back is current, and the one in between is retired."""
    bench = Bench()
    between = new_key()
    await bench.keys.fresher(bench.soon())
    for key in (between, bench.key):
        bench.source.serve(key)
        await bench.rotate_to_known()
    current = bench.keys.current()
    assert current is not None
    assert (current.key, current.generation) == (bench.key.public, 3)
    assert bench.keys.retired() == (between.public,)


async def test_a_revoked_key_is_neither_retired_nor_taken_back() -> None:
    """After `revoke` the old key leads to a refusal at once, and Phoenix serving it again does not bring it back."""
    bench = Bench()
    new = new_key()
    await bench.keys.fresher(bench.soon())
    assert not await bench.keys.revoke(bench.key.key_id)
    bench.source.serve(new)
    await bench.rotate_to_known()
    assert await bench.keys.revoke(bench.key.key_id)
    assert bench.keys.previous() is None
    bench.source.serve(bench.key)
    bench.clock.advance(2.0)
    with pytest.raises(KeyUnavailable):
        await bench.keys.fresher(bench.soon())
    current = bench.keys.current()
    assert current is not None
    assert current.key == new.public


async def test_a_configured_key_is_never_fetched() -> None:
    """`PREDICTION_PLATFORM_KEY`: there at once, as fresh as it gets; a pin that it does not match is refused."""
    clock, key = ManualClock(), new_key()
    keys = PlatformKeys(fetch=None, clock=clock, static_key=key.public)
    assert (await keys.fresher(Deadline.after(1.0, clock))).key == key.public
    await keys.run()
    with pytest.raises(KeyRefused):
        PlatformKeys(
            fetch=None,
            clock=clock,
            static_key=key.public,
            settings=PlatformKeySettings(pins=frozenset({new_key().key_id})),
        )


async def test_a_configured_key_is_out_of_date_when_the_published_one_verifies_the_call() -> None:
    """Phoenix has rotated and the file has not: no forgery. Under neither key, or a revoked one, it is one."""
    clock, old, new, forger = SystemClock(), new_key(), new_key(), new_key()
    source, events = KeySource(new), list[str]()
    published = PlatformKeys(fetch=source.fetch, clock=clock, settings=PlatformKeySettings(cooldown_s=0.01))
    keys = PlatformKeys(fetch=None, clock=clock, static_key=old.public, published=published, on_event=events.append)

    async def is_outdated(signer: SigningKey) -> bool:
        return await keys.is_outdated(b"body", signer.sign(b"body"), Deadline.after(5.0, clock))

    assert [await is_outdated(one) for one in (new, forger, old, new)] == [True, False, False, True]
    assert events == ["platform_key_outdated"] * 2
    assert len(source.began) == 4  # each answer is from a fetch that began after the call
    assert (current := keys.current()) is not None
    assert current.key == old.public  # what is published verifies nothing
    await keys.revoke(new.key_id)
    assert not await is_outdated(new)
    source.answer = OSError("no route")
    with pytest.raises(KeyUnavailable):
        await is_outdated(forger)
    await keys.stop()
