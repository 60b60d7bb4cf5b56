"""Revoked platform keys are remembered by the machine and by the fleet."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.cache.client import RedisCache, RedisCacheSettings
from gateway.cache.redis_url import parse_redis_url
from gateway.core.sealing import SealKeys
from gateway.core.secret import Secret
from gateway.core.types import Environment, KeyId
from gateway.errors import StoreUnavailable
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.keys.platform.redis_key_cache import RedisKeyCache
from gateway.keys.platform.revocations import FILE_NAME, RevokedKeys
from gateway.keys.platform.settings import KeyUnavailable, PlatformKeySettings
from gateway.keys.platform.shared_key import Nonce
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from tests.keys.platform.key_source import KeySource, new_key
from tests.other_user import needs_root, open_folder, result_as_user
from tests.redis_process import RedisProcess

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


@needs_root
def test_a_file_that_cannot_be_read_is_logged_and_a_missing_one_is_not() -> None:
    """In silence, a revoked key would be taken again."""
    with open_folder() as folder:
        path = folder / FILE_NAME
        path.write_text(f"{FIRST}\n")
        path.chmod(0o600)
        found = result_as_user(
            _KNOWN_FIRST, "result = attempts()", {"there": str(folder), "not there": str(folder / "x")}
        )
    assert [(name, line["part"], line["trouble"]) for name, line in found] == [
        ("there", "revoked platform keys", "Permission denied")
    ]


_KNOWN_FIRST = """
from pathlib import Path
from structlog.testing import capture_logs
from gateway.keys.platform.revocations import RevokedKeys
def attempts():
    found = []
    for name, folder in argument.items():
        with capture_logs() as lines:
            revoked = RevokedKeys(Path(folder))
            revoked.known()
            revoked.known()
        found += [[name, line] for line in lines]
    return found
"""


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


async def test_a_revocation_that_only_redis_keeps_is_logged(tmp_path: Path, redis_server: RedisProcess) -> None:
    """One line says how long it lasts and what to do; where the data directory can be written, there is none."""
    (tmp_path / "file").touch()
    patient = RedisCacheSettings(timeout_s=5, patient_s=5, server_timeout_s=5)
    cache = RedisCache(parse_redis_url(redis_server.url), CLOCK, patient)
    shared = RedisKeyCache(
        cache=cache,
        seal_keys=SealKeys([Secret(b"s" * 32)]),
        clock=CLOCK,
        host="https://prediction.example",
        environment=Environment.SANDBOX,
    )
    fetch = KeySource(new_key()).fetch
    for data_dir, times in (("file", 1), ("data", 0)):
        keys = PlatformKeys(fetch=fetch, clock=CLOCK, shared=shared, revoked=RevokedKeys(tmp_path / data_dir))
        with capture_logs() as lines:
            assert await keys.revoke(FIRST)
        warnings = [line for line in lines if line["log_level"] == "warning"]
        assert len(warnings) == times
        for line in warnings:
            assert line["key_id"] == FIRST
            assert "Redis" in line["trouble"]
            assert "GATEWAY_DATA_DIR" in line["advice"]
    assert (await shared.poll(Nonce(b"1" * 16), lease_ms=None)).revoked == frozenset({FIRST})
    await cache.close()
