"""New secrets are tried at Phoenix before they take over, and when it rejects calls."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.keys.descriptions import KeyKind, KeyState
from tests.keys.own.folder_bench import Bench, Phoenix, write


async def test_a_secret_that_phoenix_refuses_keeps_the_old_one(tmp_path: Path) -> None:
    """Alarm and note, but no change. When Phoenix knows the key, it becomes active automatically."""
    phoenix = Phoenix()
    bench = Bench(tmp_path, phoenix)
    bench.add_hmac(b"first", -7200)
    bench.add_launch_key(-7200)
    keyring = bench.begin()
    bench.add_hmac(b"second")
    bench.look_for(1)
    await keyring.settle()
    bench.look_for(100)
    await keyring.settle()
    assert b"first" == bench.hmac_now()
    assert 1 == bench.events["secret_file_rejected"]
    assert "Phoenix refuses it" in bench.rows(KeyKind.TENANT_HMAC)[0].note
    phoenix.takes.add(b"second")
    bench.look_for(100)
    await keyring.settle()
    assert b"second" == bench.hmac_now()
    assert ["", ""] == [row.note for row in bench.rows(KeyKind.TENANT_HMAC)]


async def test_a_process_that_begins_with_a_refused_secret_goes_back_before_it_serves(tmp_path: Path) -> None:
    """A replica that was killed in between asks first, and signs with what Phoenix takes."""
    phoenix = Phoenix()
    bench = Bench(tmp_path, phoenix)
    bench.add_hmac(b"first", -7200)
    bench.add_hmac(b"second", -10)
    bench.add_launch_key(-7200)
    keyring = bench.begin()
    await keyring.settle()
    assert b"first" == bench.hmac_now()
    bench.look_for(10)
    assert b"first" == bench.hmac_now()


async def test_a_replaced_single_file_is_tried_too(tmp_path: Path) -> None:
    """Replacing is rotating now: as soon as Phoenix takes it."""
    phoenix = Phoenix()
    bench = Bench(tmp_path, phoenix)
    bench.hmac.rmdir()
    write(bench.hmac, b"first")
    bench.add_launch_key(-7200)
    keyring = bench.begin()
    write(bench.hmac, b"second")
    bench.look_for(1)
    await keyring.settle()
    assert b"first" == bench.hmac_now()
    phoenix.takes.add(b"third")
    write(bench.hmac, b"third")
    bench.look_for(1)
    await keyring.settle()
    assert b"third" == bench.hmac_now()
    assert [KeyState.ACTIVE, KeyState.RETIRING] == [row.state for row in bench.rows(KeyKind.TENANT_HMAC)]


async def test_many_rejected_calls_have_the_keys_looked_into_once(tmp_path: Path) -> None:
    """All calls wait for one trial and use the key that Phoenix accepts. Without a candidate, no call waits."""
    phoenix = Phoenix()
    bench = Bench(tmp_path, phoenix)
    bench.add_hmac(b"first", -7200)
    bench.add_launch_key(-7200)
    keyring = bench.begin()
    sent_at = bench.clock.monotonic()
    await asyncio.gather(*(keyring.on_unauthorized(sent_at) for _ in range(100)))
    assert (0, b"first") == (phoenix.asked, bench.hmac_now())
    bench.add_hmac(b"second", 30)
    bench.look_for(1)
    phoenix.takes.add(b"second")
    bench.clock.advance(1)
    sent_at = bench.clock.monotonic()
    await asyncio.gather(*(keyring.on_unauthorized(sent_at) for _ in range(100)))
    assert (1, b"second") == (phoenix.asked, bench.hmac_now())
    await keyring.on_unauthorized(sent_at)  # a call that was signed before the change
    assert 1 == phoenix.asked


async def test_a_key_that_phoenix_switches_after_a_round_of_trials_began_is_found(tmp_path: Path) -> None:
    """The round of an earlier rejection says nothing about a call that was signed before it and rejected after it."""
    phoenix = Phoenix()
    bench = Bench(tmp_path, phoenix)
    bench.add_hmac(b"first", -7200)
    bench.add_launch_key(-7200)
    keyring = bench.begin()
    bench.add_hmac(b"second")
    bench.look_for(1)
    sent_at = bench.clock.monotonic()
    assert not await keyring.on_unauthorized(sent_at)
    assert (1, b"first") == (phoenix.asked, bench.hmac_now())
    phoenix.takes.add(b"second")
    bench.clock.advance(2)
    assert await keyring.on_unauthorized(sent_at)
    assert (2, b"second") == (phoenix.asked, bench.hmac_now())


async def test_a_version_that_is_found_after_a_round_of_trials_began_is_tried(tmp_path: Path) -> None:
    """Another key of the process may have caused that round."""
    phoenix = Phoenix()
    phoenix.takes |= {b"second", b"third"}
    bench = Bench(tmp_path, phoenix)
    bench.add_hmac(b"first", -7200)
    bench.add_launch_key(-7200)
    keyring = bench.begin()
    bench.add_hmac(b"second")
    bench.look_for(1)
    sent_at = bench.clock.monotonic()
    assert await keyring.on_unauthorized(sent_at)
    bench.add_hmac(b"third", 1)
    bench.look_for(2)
    assert await keyring.on_unauthorized(sent_at)
    assert b"third" == bench.hmac_now()
