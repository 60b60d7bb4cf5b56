"""Secrets of the process that a platform replaces while it runs: the new one is used, what is open ends gracefully."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway.cache.availability import ProbeSettings
from gateway.cache.client import RedisCache, RedisCacheSettings
from gateway.config import load
from gateway.config.process import redis_target
from gateway.core.secret import Secret, SecretRefused
from gateway.interceptors.policy import PolicyInForce
from gateway.keys.sources.secret_files import SecretSource
from gateway.resilience.clock import SystemClock
from gateway.server.policy_watch import PolicyWatch
from gateway.server.secret_watch import Followed, SecretWatch
from gateway.telemetry import logs
from gateway.telemetry.metrics import BuildInfo, Metrics
from tests.config.valid_settings import WHOLE
from tests.other_user import Mount
from tests.redis_process import RedisProcess


class Watched:
    """A watch of secrets in a mount, with its counted events."""

    def __init__(self, folder: Path) -> None:
        self.mount = Mount(folder / "secrets", group=0, mode=0o600)
        self.events: Counter[str] = Counter()
        self.watch = SecretWatch(clock=SystemClock(), on_event=lambda name: self.events.update([name]))

    def source(self, name: str) -> SecretSource:
        return SecretSource(setting=f"{name.upper()}_FILE", path=Path(self.mount.path(name)))

    async def look(self, one: Followed) -> None:
        """Check twice: a change is taken once it is stable."""
        for _ in range(2):
            await self.watch.look(one)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def checked(secret: Secret) -> Secret:
    if b"bad" in secret.reveal():
        raise SecretRefused("is bad")
    return secret


async def test_a_new_value_is_handed_over_once(watched: Watched) -> None:
    """After a swap of the link. A swap with the same content hands over nothing."""
    watched.mount.swap(token="one\n")
    used: list[Secret] = []
    followed = watched.watch.follow(watched.source("token"), checked, used.append)
    watched.mount.swap(token="two\n")
    await watched.look(followed)
    watched.mount.swap(token="two\n")
    await watched.look(followed)
    assert (used, followed.current()) == ([Secret(b"two")], Secret(b"two"))


@pytest.mark.parametrize("content", ["bad", '"quoted"', ""], ids=["refused", "in quotes", "empty"])
async def test_an_unusable_value_leaves_the_known_one(
    watched: Watched, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is counted, and logged with what is wrong; the next usable one is taken."""
    watched.mount.swap(token="one")
    followed = watched.watch.follow(watched.source("token"), checked)
    watched.mount.swap(token=content)
    logs.configure("info", "json")
    await watched.look(followed)
    (line,) = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["setting"]) == ("a new secret is not used; the known one stays", "TOKEN_FILE")
    assert line["trouble"]
    assert (followed.current(), watched.events["secret_file_refused"]) == (Secret(b"one"), 1)
    watched.mount.swap(token="three")
    await watched.look(followed)
    assert followed.current() == Secret(b"three")


async def test_redis_is_used_with_the_new_login_and_no_call_fails(
    watched: Watched, redis_server: RedisProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """`REDIS_URL_FILE` replaced: new connections have the new user, the old ones end, and every use succeeds.

    A login that does not work yet leaves the known one in use, and the log says so.
    """
    from redis.asyncio import Redis

    def url(user: str) -> str:
        return redis_server.url.replace("redis://", f"redis://{user}:secret-of-{user}@")

    admin: Any = Redis.from_url(redis_server.url)
    try:
        for user in ("old", "new"):
            await admin.acl_setuser(
                user, enabled=True, passwords=[f"+secret-of-{user}"], keys="*", categories=["+@all"]
            )
        watched.mount.swap(redis_url=url("old"))
        times = dict.fromkeys(("timeout_s", "check_s", "connect_timeout_s", "server_timeout_s"), 5.0)
        settings = RedisCacheSettings(**times, probes=ProbeSettings(retry_after_s=0.05))
        cache = RedisCache(redis_target(Secret.from_text(url("old"))), SystemClock(), settings)
        followed = watched.watch.follow(
            watched.source("redis_url"), lambda given: given, lambda given: cache.use_target(redis_target(given))
        )
        await cache.start()

        async def users() -> set[str]:
            return {one["user"] for one in await admin.client_list()} - {"default"}

        async def use() -> None:
            await cache.put("key", b"value", ttl_s=5)
            assert await cache.get("key", max_bytes=100) == b"value"

        await use()
        assert await users() == {"old"}
        logs.configure("info", "json")
        watched.mount.swap(redis_url=url("late"))  # before its Redis knows the user
        await watched.look(followed)
        lines: list[dict[str, Any]] = []
        uses = 0
        async with asyncio.timeout(10):
            while uses < 20 or not any(line.get("part") == "new connections to Redis" for line in lines):
                await use()
                await asyncio.sleep(0.02)
                uses += 1
                lines += [json.loads(text) for text in capsys.readouterr().err.splitlines()]
        (told,) = [line for line in lines if line.get("part") == "new connections to Redis"]
        assert (told["event"], told["code"]) == ("not available", "WRONGPASS")
        watched.mount.swap(redis_url=url("new"))
        await watched.look(followed)
        async with asyncio.timeout(10):
            while await users() != {"new"}:
                await use()
        await admin.acl_deluser("old")
        await use()
        await cache.close()
    finally:
        await admin.aclose()


async def test_a_change_of_files_that_are_read_at_the_start_only_is_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`.env`, and the settings beside the policy of the TOML file: whoever changed them sees that a restart is due."""
    mount = Mount(tmp_path / "config", group=0, mode=0o600)
    policy = '[[callers]]\nname = "local"\n'
    mount.swap(gateway__toml="gateway_workers = 1\n" + policy, env="GATEWAY_LOG_LEVEL=info\n")
    config = load({**WHOLE, "GATEWAY_CONFIG": mount.path("gateway.toml")}, env_file=Path(mount.path("env")))
    policies = PolicyWatch(config, PolicyInForce(config.callers), Metrics(
        CollectorRegistry(), methods=[], build=BuildInfo(version="", revision="", python="")
    ), SystemClock())  # fmt: skip
    secrets = SecretWatch(clock=SystemClock(), on_event=lambda name: None, start_only=config.env_file)
    logs.configure("info", "json")
    content = SecretWatch._content
    reads: list[str] = []

    def counted(watch: SecretWatch) -> str:
        reads.append(content(watch))
        return reads[-1]

    async def read(further: int) -> None:
        least = len(reads) + further
        async with asyncio.timeout(10):
            while len(reads) < least:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    monkeypatch.setattr(SecretWatch, "_content", counted)
    monkeypatch.setattr("gateway.server.secret_watch.WATCH_EVERY_S", 0.05)

    async def seen(**files: str) -> list[str]:
        """What is logged of these files, by their names."""
        capsys.readouterr()
        running = asyncio.create_task(secrets.run())
        await read(1)
        mount.swap(**files)
        for _ in range(2):
            await policies.look(Path(mount.path("gateway.toml")))
        await read(3)  # one may be under way; what the second one finds is logged before the third
        running.cancel()
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        changed = "a file of settings has changed; restart the gateway to use it"
        return [Path(line["path"]).name for line in lines if line["event"] == changed]

    same = {"gateway__toml": "gateway_workers = 1\n" + policy, "env": "GATEWAY_LOG_LEVEL=info\n"}
    assert await seen(**{**same, "gateway__toml": same["gateway__toml"] + "\n"}) == []
    assert "gateway.toml" in await seen(**{**same, "gateway__toml": "gateway_workers = 2\n" + policy})
    assert "env" in await seen(**{**same, "env": "GATEWAY_LOG_LEVEL=debug\n"})
