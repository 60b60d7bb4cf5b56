"""Revoked platform keys are remembered by the machine and by the fleet."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.types import KeyId
from gateway.errors import StoreUnavailable
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.keys.platform.revocations import FILE_NAME, RevokedKeys
from gateway.keys.platform.settings import KeyUnavailable, PlatformKeySettings
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from tests.keys.platform.key_source import KeySource, new_key

CLOCK = SystemClock()
FIRST, SECOND = KeyId("1" * 64), KeyId("2" * 64)


def test_what_one_process_adds_another_knows(tmp_path: Path) -> None:
    """Below a directory that is made for it; junk in the file is passed over, and a lost file forgets nothing."""
    one, other = RevokedKeys(tmp_path / "data"), RevokedKeys(tmp_path / "data")
    assert frozenset() == other.known()
    one.add(frozenset({FIRST}))
    assert {FIRST} == other.known()
    other.add(frozenset({SECOND}))
    assert {FIRST, SECOND} == one.known()
    path = tmp_path / "data" / FILE_NAME
    path.write_text(f"junk\n{FIRST}\n")
    path.unlink()
    assert {FIRST, SECOND} == one.known()
    assert [] == [left.name for left in path.parent.iterdir()]


async def test_a_worker_learns_of_a_revocation_at_once(tmp_path: Path) -> None:
    """Two processes over one directory: what the one revokes is no retired key of the other's any more."""
    old, new = new_key(), new_key()
    source = KeySource(old)
    workers = [
        PlatformKeys(
            fetch=source.fetch,
            clock=CLOCK,
            settings=PlatformKeySettings(cooldown_s=0.01),
            revoked=RevokedKeys(tmp_path),
        )
        for _ in range(2)
    ]
    for served in (old, new):
        source.serve(served)
        for worker in workers:
            await worker.fresher(Deadline.after(5, CLOCK))
    assert [(old.public,), (old.public,)] == [worker.retired() for worker in workers]
    assert await workers[0].revoke(old.key_id)
    assert [(), ()] == [worker.retired() for worker in workers]
    assert not await workers[1].revoke(new.key_id)
    source.serve(old)
    with pytest.raises(KeyUnavailable):
        await workers[1].fresher(Deadline.after(5, CLOCK))


async def test_a_revocation_that_cannot_be_stored_is_reported(tmp_path: Path) -> None:
    """It holds here all the same."""
    (tmp_path / "data").touch()
    keys = PlatformKeys(fetch=KeySource(new_key()).fetch, clock=CLOCK, revoked=RevokedKeys(tmp_path / "data"))
    with pytest.raises(StoreUnavailable):
        await keys.revoke(FIRST)
