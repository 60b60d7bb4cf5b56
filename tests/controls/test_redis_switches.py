"""The list of kill switches in a real Redis and in a file, with attackers and accidents."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.cache.client import CacheUnavailable, RedisCache, RedisCacheSettings
from gateway.cache.redis_url import parse_redis_url
from gateway.controls.kill_switches import KillSwitches
from gateway.controls.redis_switches import RedisSwitches
from gateway.controls.switch_file import SwitchFile
from gateway.core.sealing import SealKeys
from gateway.core.switches import Switches, SwitchesUnreadable, Target, TargetKind
from gateway.resilience.clock import SystemClock
from tests.redis_process import RedisProcess

CLOCK = SystemClock()
KEY = "pgw:{switches}"


def seal_keys() -> SealKeys:
    return SealKeys.from_text(base64.b64encode(secrets.token_bytes(32)).decode())


KEYS = seal_keys()


@pytest_asyncio.fixture
async def cache(redis_server: RedisProcess) -> AsyncIterator[RedisCache]:
    """A cache on a running server."""
    patient = RedisCacheSettings(timeout_s=5.0, server_timeout_s=5.0)  # a busy machine
    made = RedisCache(parse_redis_url(redis_server.url), CLOCK, patient)
    await made.start()
    yield made
    await made.close()


def shared_in(cache: RedisCache, keys: SealKeys = KEYS, heard: list[str] | None = None) -> RedisSwitches:
    reported: list[str] = [] if heard is None else heard
    return RedisSwitches(cache=cache, seal_keys=keys, clock=CLOCK, on_event=reported.append)


def switched(known: Switches, name: str, *, is_off: bool = True) -> Switches:
    target = Target(kind=TargetKind.TENANT, name=name)
    return known.decided(target, is_off=is_off, reason="r", by="me", now_ms=round(CLOCK.now() * 1000))


def off(switches: Switches) -> list[str]:
    return sorted(one.target.name for one in switches.off)


def raw_value(redis_server: RedisProcess) -> bytes:
    """The stored entry: the bulk reply without its length and its end."""
    return redis_server.command("GET", KEY).split(b"\r\n", 1)[1][:-2]


class Replica:
    """A watch on its own file and on Redis."""

    def __init__(self, folder: Path, cache: RedisCache, keys: SealKeys = KEYS) -> None:
        self.heard: list[str] = []
        self.changes = 0
        self.watch = KillSwitches(
            SwitchFile(folder, CLOCK), shared_in(cache, keys, self.heard), self._change, self.heard.append
        )

    def _change(self, switches: Switches, fresh: object) -> None:
        self.changes += 1

    async def off(self) -> list[str]:
        await self.watch.check()
        return off(self.watch.switches)


async def test_a_decision_reaches_every_replica_at_its_next_look(cache: RedisCache, tmp_path: Path) -> None:
    """Off, then on again."""
    a, b = Replica(tmp_path / "a", cache), Replica(tmp_path / "b", cache)
    known = await shared_in(cache).merge(switched(Switches(), "t"))
    assert [await a.off(), await b.off()] == [["t"], ["t"]]
    await shared_in(cache).merge(switched(known, "t", is_off=False))
    assert [await a.off(), await b.off()] == [[], []]
    assert (a.changes, b.changes) == (2, 2)


async def test_two_who_write_at_once_both_get_their_decision_in(cache: RedisCache, tmp_path: Path) -> None:
    """Neither knew of the other."""
    for name in "abcdef":
        await shared_in(cache).merge(switched(Switches(), name))
    assert await Replica(tmp_path, cache).off() == list("abcdef")


async def test_an_emptied_redis_switches_nothing_on_and_is_filled_again(
    cache: RedisCache, redis_server: RedisProcess, tmp_path: Path
) -> None:
    """Replicas that know put the list back; one that starts then learns it."""
    a = Replica(tmp_path / "a", cache)
    await shared_in(cache).merge(switched(Switches(), "t"))
    await a.off()
    redis_server.flush()
    assert await a.off() == ["t"]
    assert await Replica(tmp_path / "b", cache).off() == ["t"]


async def test_a_restart_with_an_empty_redis_reads_the_file(
    cache: RedisCache, redis_server: RedisProcess, tmp_path: Path
) -> None:
    """Everything was restarted at once: what this machine knew holds."""
    await shared_in(cache).merge(switched(Switches(), "t"))
    await Replica(tmp_path, cache).off()
    redis_server.flush()
    assert await Replica(tmp_path, cache).off() == ["t"]


async def test_a_switch_needs_the_key(cache: RedisCache, redis_server: RedisProcess, tmp_path: Path) -> None:
    """An entry that was encrypted with another key is refused, reported once and replaced."""
    replica = Replica(tmp_path, cache)
    known = await shared_in(cache).merge(switched(Switches(), "t"))
    assert await replica.off() == ["t"]
    redis_server.command("DEL", KEY)
    forged = switched(switched(known, "t", is_off=False), "all")
    await shared_in(cache, seal_keys()).merge(forged)
    assert [await replica.off(), await replica.off()] == [["t"], ["t"]]
    assert replica.heard == ["switch_entry_refused"]
    assert off(await shared_in(cache).merge(Switches())) == ["t"]


async def test_an_old_entry_of_ours_put_back_changes_nothing(
    cache: RedisCache, redis_server: RedisProcess, tmp_path: Path
) -> None:
    """Neither the one from before a thing was switched off, nor the one from before it was switched on."""
    replica = Replica(tmp_path, cache)
    shared = shared_in(cache)
    first = await shared.merge(switched(Switches(), "t"))
    when_off = raw_value(redis_server)
    second = await shared.merge(switched(first, "t", is_off=False))
    when_on = raw_value(redis_server)
    assert await replica.off() == []
    redis_server.command("SET", KEY, when_off)
    assert await replica.off() == []
    await shared.merge(switched(second, "t"))
    assert await replica.off() == ["t"]
    redis_server.command("SET", KEY, when_on)
    assert await replica.off() == ["t"]
    assert replica.heard == []


@pytest.mark.parametrize(
    "words",
    [("SET", KEY, "garbage"), ("RPUSH", KEY, "a"), ("SET", KEY, "x" * 700_000), ("SETRANGE", KEY, "40", "\x00")],
    ids=["garbage", "list", "long", "changed"],
)
async def test_garbage_is_refused_and_replaced(
    cache: RedisCache, redis_server: RedisProcess, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """The list in force stays in force, and Redis stays of use to everything else."""
    replica = Replica(tmp_path, cache)
    await shared_in(cache).merge(switched(Switches(), "t"))
    await replica.off()
    if words[0] != "SETRANGE":
        redis_server.command("DEL", KEY)
    redis_server.command(*words)
    assert await replica.off() == ["t"]
    assert replica.heard == ["switch_entry_refused"]
    assert off(await shared_in(cache).merge(Switches())) == ["t"]
    assert cache.fault is None


async def test_without_redis_the_list_in_force_stays(
    cache: RedisCache, redis_server: RedisProcess, tmp_path: Path
) -> None:
    """The caller of the command gets an error."""
    replica = Replica(tmp_path, cache)
    await shared_in(cache).merge(switched(Switches(), "t"))
    await replica.off()
    redis_server.kill()
    assert await replica.off() == ["t"]
    with pytest.raises(CacheUnavailable):
        await shared_in(cache).merge(switched(Switches(), "u"))


def test_two_processes_that_write_the_file_both_get_their_decision_in(tmp_path: Path) -> None:
    """Each uses its own list. Only the owner can read the file."""
    for name in "abc":
        SwitchFile(tmp_path, CLOCK).merge(switched(Switches(), name))
    file = SwitchFile(tmp_path, CLOCK)
    assert off(file.read()) == list("abc")
    assert file.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("spoil", ["garbage", "writable", "half"])
def test_a_file_that_is_not_to_be_believed_is_refused(tmp_path: Path, spoil: str) -> None:
    """By readers and by writers."""
    file = SwitchFile(tmp_path, CLOCK)
    file.merge(switched(Switches(), "t"))
    if spoil == "writable":
        os.chmod(file.path, 0o666)
    else:
        file.path.write_bytes(b"{" if spoil == "garbage" else file.path.read_bytes()[:-5])
    for work in (file.read, lambda: file.merge(switched(Switches(), "u"))):
        with pytest.raises(SwitchesUnreadable):
            work()


async def test_a_file_that_is_spoiled_or_removed_switches_nothing_on(tmp_path: Path) -> None:
    """A removed entry is written again. A damaged entry is reported and left for the operator."""
    heard: list[str] = []
    file = SwitchFile(tmp_path, CLOCK)
    watch = KillSwitches(file, None, lambda switches, fresh: None, heard.append)
    file.merge(switched(Switches(), "t"))
    await watch.check()
    file.path.unlink()
    await watch.check()
    assert off(watch.switches) == ["t"]
    assert off(file.read()) == ["t"]
    await watch.check()
    file.path.write_bytes(b"spoiled")
    await watch.check()
    await watch.check()
    assert off(watch.switches) == ["t"]
    assert (file.path.read_bytes(), heard) == (b"spoiled", ["switch_entry_refused"])
