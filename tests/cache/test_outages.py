"""Every way in which a Redis fails, with a real one: found at once, named, left alone, and followed when it is back."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from gateway.cache.availability import ProbeSettings
from gateway.cache.client import CacheUnavailable, RedisCache, RedisCacheSettings
from tests.cache.redis_use import Heard, cache_on, is_usable, out_of_use, usable_again
from tests.redis_process import RedisProcess, free_port, two_nodes
from tests.tcp_forwarder import Forwarder

QUICK = RedisCacheSettings(probes=ProbeSettings(retry_after_s=0.1))


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory with a short name, for sockets."""
    with tempfile.TemporaryDirectory(prefix="pgw-redis-") as directory:
        yield Path(directory)


@pytest.fixture
def other_server(short_directory: Path) -> Iterator[RedisProcess]:
    """A second server."""
    server = RedisProcess(short_directory)
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def started(url: str, settings: RedisCacheSettings | None = QUICK) -> AsyncIterator[tuple[RedisCache, Heard]]:
    """A started cache and its observer."""
    heard = Heard()
    cache = cache_on(url, heard, settings)
    await cache.start()
    try:
        yield cache, heard
    finally:
        await cache.close()


async def assert_costs_nothing(cache: RedisCache) -> None:
    """Calls are refused at once, with the fault."""
    began = time.monotonic()
    for _ in range(200):
        with pytest.raises(CacheUnavailable) as caught:
            await cache.get("pgw:{t}:k", max_bytes=10)
        assert caught.value.fault == cache.fault
    assert time.monotonic() - began < 0.2


def demoted(server: RedisProcess) -> None:
    server.command("REPLICAOF", "127.0.0.1", "1")


def promoted(server: RedisProcess) -> None:
    server.command("REPLICAOF", "NO", "ONE")


def without_master(server: RedisProcess) -> None:
    server.command("CONFIG", "SET", "replica-serve-stale-data", "no")
    demoted(server)


def full(server: RedisProcess) -> None:
    server.command("CONFIG", "SET", "maxmemory", "1")


def emptier(server: RedisProcess) -> None:
    server.command("CONFIG", "SET", "maxmemory", "0")


def not_saving(server: RedisProcess) -> None:
    """Its last snapshot could not be written: a folder is in the way, as a full disk would be."""
    (server.socket_path.parent / "dump.rdb").mkdir()
    server.command("CONFIG", "SET", "save", "3600 1000000")
    server.command("BGSAVE")
    until = time.monotonic() + 5
    while b"rdb_last_bgsave_status:err" not in server.command("INFO", "persistence"):
        assert time.monotonic() < until
        time.sleep(0.01)


def saving(server: RedisProcess) -> None:
    server.command("CONFIG", "SET", "save", "")


def without_replicas(server: RedisProcess) -> None:
    server.command("CONFIG", "SET", "min-replicas-to-write", "1")


def with_enough_replicas(server: RedisProcess) -> None:
    server.command("CONFIG", "SET", "min-replicas-to-write", "0")


def locked(server: RedisProcess) -> None:
    """Give it a password and close the connections, as a restart after a rotation does."""
    server.command("CONFIG", "SET", "requirepass", "rotated")
    server.command("CLIENT", "KILL", "TYPE", "normal", password="rotated")


def unlocked(server: RedisProcess) -> None:
    server.command("CONFIG", "SET", "requirepass", "", password="rotated")


def forbidding(server: RedisProcess) -> None:
    server.command("ACL", "SETUSER", "default", "-eval")
    server.command("ACL", "SETUSER", "default", "-set")


def allowing(server: RedisProcess) -> None:
    server.command("ACL", "SETUSER", "default", "+@all")


CAUSES: dict[str, tuple[Callable[[RedisProcess], None], Callable[[RedisProcess], None], str]] = {
    "demoted": (demoted, promoted, "read_only"),
    "without a master": (without_master, promoted, "no_master"),
    "full": (full, emptier, "full"),
    "not saving": (not_saving, saving, "not_saving"),
    "without replicas": (without_replicas, with_enough_replicas, "no_master"),
    "other password": (locked, unlocked, "login"),
    "forbidden": (forbidding, allowing, "forbidden"),
    "frozen": (RedisProcess.pause, RedisProcess.resume, "timeout"),
    "gone": (RedisProcess.kill, RedisProcess.start, "unreachable"),
}


@pytest.mark.parametrize("name", list(CAUSES))
async def test_each_cause_is_found_named_and_left_alone_until_it_is_over(redis_server: RedisProcess, name: str) -> None:
    """Found by the first calls, named, no wait afterwards, no change until it is over, then in use again."""
    begin, end, kind = CAUSES[name]
    async with started(redis_server.url) as (cache, heard):
        assert await is_usable(cache)
        begin(redis_server)
        began = time.monotonic()
        await out_of_use(cache)
        assert time.monotonic() - began < 0.5
        await assert_costs_nothing(cache)
        until = time.monotonic() + 1.0  # ten probes
        while time.monotonic() < until:
            assert not await is_usable(cache)
            await asyncio.sleep(0.01)
        assert heard.changes[-1] == kind
        assert {kind, "cut", "read_only"} >= set(heard.changes)  # a connection may break first
        assert len(heard.changes) <= 2
        end(redis_server)
        assert await usable_again(cache) < 2.0
        assert heard.changes[-1] is None


async def test_a_demoted_master_behind_one_name_is_left_for_the_new_one(
    redis_server: RedisProcess, other_server: RedisProcess
) -> None:
    """The name leads to the new master, old connections to the old one: even the first call gets there."""
    async with Forwarder(redis_server.port) as name, started(f"redis://127.0.0.1:{name.port}/0") as (cache, heard):
        assert await is_usable(cache)
        demoted(redis_server)
        name.lead_to(other_server.port)
        assert await is_usable(cache)
        assert heard.changes == ["read_only", None]
        assert b"$1\r\nv\r\n" == other_server.command("GET", "pgw:{t}:k")


async def test_a_demotion_is_found_by_reads_too(redis_server: RedisProcess) -> None:
    """A replica answers them. A write is tried from time to time."""
    watchful = RedisCacheSettings(check_every_s=0.1)
    async with started(redis_server.url, watchful) as (cache, heard):
        demoted(redis_server)
        until = time.monotonic() + 3
        while not heard.changes:
            assert time.monotonic() < until
            await cache.get("pgw:{t}:k", max_bytes=10)
            await asyncio.sleep(0.01)
        assert heard.changes == ["read_only"]


async def test_a_change_of_the_name_alone_is_followed(redis_server: RedisProcess, other_server: RedisProcess) -> None:
    """Connections that work are replaced when they are old; no call fails."""
    young = RedisCacheSettings(max_age_s=0.3)
    async with (
        Forwarder(redis_server.port) as name,
        started(f"redis://127.0.0.1:{name.port}/0", young) as (
            cache,
            heard,
        ),
    ):
        name.lead_to(other_server.port)
        until = time.monotonic() + 5
        while other_server.command("EXISTS", "pgw:{t}:k") != b":1\r\n":
            assert await is_usable(cache)
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        assert (heard.changes, heard.failures) == ([], 0)


async def test_connections_that_work_stay_while_the_name_leads_nowhere(redis_server: RedisProcess) -> None:
    """A new connection is proved before it replaces an old one."""
    young = RedisCacheSettings(max_age_s=0.1)
    async with (
        Forwarder(redis_server.port) as name,
        started(f"redis://127.0.0.1:{name.port}/0", young) as (
            cache,
            heard,
        ),
    ):
        name.lead_to(free_port())
        for _ in range(50):
            assert await is_usable(cache)
            await asyncio.sleep(0.01)
        assert heard.changes == []


def one_node(directory: Path) -> RedisProcess:
    """A cluster of one node with all slots."""
    node = RedisProcess(directory, "--cluster-enabled", "yes")
    node.start()
    node.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    until = time.monotonic() + 5
    while b"cluster_state:ok" not in node.command("CLUSTER", "INFO"):
        assert time.monotonic() < until
        time.sleep(0.01)
    return node


async def test_a_dead_cluster_is_no_error_and_one_with_other_addresses_is_found(short_directory: Path) -> None:
    """All nodes refuse connections, at the start and later; then a cluster is at another port behind the same name."""
    (short_directory / "a").mkdir()
    (short_directory / "b").mkdir()
    async with Forwarder(free_port()) as name:
        url = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{name.port}"
        async with started(url) as (cache, heard):
            await assert_costs_nothing(cache)
            assert heard.changes in (["unreachable"], ["cut"])  # the one that is asked last: the forwarder cuts
            first = one_node(short_directory / "a")
            try:
                name.lead_to(first.port)
                await usable_again(cache)
            finally:
                first.kill()
            await out_of_use(cache)
            await assert_costs_nothing(cache)
            second = one_node(short_directory / "b")
            try:
                name.lead_to(second.port)
                await usable_again(cache, within_s=10)
            finally:
                second.kill()


async def test_probes_of_a_cluster_leave_no_connections(short_directory: Path) -> None:
    """One node has the new password already. The library forgets nodes then, and complains when they are collected."""
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context["message"]))
    with two_nodes(short_directory) as nodes:
        on_second = next(f"pgw:{{{n}}}:k" for n in range(1000) if _slot(nodes[0], f"pgw:{{{n}}}:k") >= 8192)
        async with started(f"redis+cluster://127.0.0.1:{nodes[0].port}") as (cache, heard):
            await cache.put(on_second, b"v", ttl_s=5)
            locked(nodes[1])
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                with suppress(CacheUnavailable):
                    await cache.put(on_second, b"v", ttl_s=5)
                await asyncio.sleep(0.01)
            assert heard.changes[-1] == "login"
        gc.collect()
        await asyncio.sleep(0)
    assert complaints == []


async def test_a_cluster_without_slots_is_named(short_directory: Path) -> None:
    """CLUSTERDOWN, through the cluster's client and through a client of one server."""
    node = RedisProcess(short_directory, "--cluster-enabled", "yes")
    node.start()
    try:
        for scheme in ("redis", "redis+cluster"):
            async with started(f"{scheme}://127.0.0.1:{node.port}") as (_, heard):
                assert heard.changes == ["cluster_down"]
    finally:
        node.stop()


async def test_one_node_of_a_cluster_is_named(short_directory: Path) -> None:
    """`redis://` to a node of several: most keys are elsewhere, and the cause says what to write."""
    with two_nodes(short_directory) as nodes:
        async with started(f"redis://127.0.0.1:{nodes[0].port}") as (cache, heard):
            for number in range(30):
                with suppress(CacheUnavailable):
                    await cache.get(f"pgw:{{{number}}}:k", max_bytes=10)
            assert heard.changes[0] == "cluster_node"
            assert heard.faults[0].code == "MOVED"
            assert "redis+cluster://" in heard.faults[0].advice


async def test_a_frozen_node_of_a_cluster_is_found_by_calls_for_its_slots(short_directory: Path) -> None:
    """Successes on other nodes do not hide it: each call of its slots would cost a wait."""
    with two_nodes(short_directory) as nodes:
        async with started(f"redis+cluster://127.0.0.1:{nodes[0].port}") as (cache, heard):
            on_first = next(f"pgw:{{{n}}}:k" for n in range(1000) if _slot(nodes[0], f"pgw:{{{n}}}:k") < 8192)
            on_second = next(f"pgw:{{{n}}}:k" for n in range(1000) if _slot(nodes[0], f"pgw:{{{n}}}:k") >= 8192)
            for key in (on_first, on_second):
                await cache.put(key, b"v", ttl_s=5)
            nodes[1].pause()
            with pytest.raises(CacheUnavailable):
                await cache.get(on_second, max_bytes=10)
            for _ in range(30):
                await cache.get(on_first, max_bytes=10) if cache.fault is None else None
                await asyncio.sleep(0.01)
            assert heard.changes == ["timeout"]
            nodes[1].resume()
            until = time.monotonic() + 5
            while cache.fault is not None:
                assert time.monotonic() < until
                await is_usable(cache)
                await asyncio.sleep(0.01)


def _slot(node: RedisProcess, key: str) -> int:
    return int(node.command("CLUSTER", "KEYSLOT", key)[1:-2])


async def test_loading_is_named_and_waited_for(short_directory: Path) -> None:
    """A server that reads its file answers LOADING: no call waits, and it is used when it has read it."""
    server = RedisProcess(short_directory)
    server.start()
    for number in range(20):
        server.command("SET", f"k{number}", b"%d" % number * 100_000)
    server.command("SAVE")
    server.kill()
    slow = RedisProcess(
        short_directory, *("--key-load-delay", "100000", "--loading-process-events-interval-bytes", "1024")
    )
    slow.port = server.port
    slow.spawn()
    try:
        await asyncio.sleep(0.3)
        async with started(slow.url) as (cache, heard):
            assert heard.changes == ["loading"]
            await assert_costs_nothing(cache)
            await usable_again(cache, within_s=10)
            assert heard.changes == ["loading", None]
    finally:
        slow.stop()


async def test_something_else_at_the_port_is_named() -> None:
    """A web server."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, started(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}") as (_, heard):
        assert heard.changes == ["garbled"]


async def test_a_state_that_the_probe_does_not_see_does_not_flap(redis_server: RedisProcess) -> None:
    """The probe works, calls do not: the pauses grow, so that the state changes a few times only."""
    redis_server.command("ACL", "SETUSER", "default", "-getrange")
    async with started(redis_server.url) as (cache, heard):
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            with pytest.raises(CacheUnavailable):
                await cache.get("pgw:{t}:k", max_bytes=10)
            await asyncio.sleep(0.002)
        assert set(heard.changes) == {"forbidden", None}
        assert len(heard.changes) <= 12  # down and up at 0, 0.2, 0.6, 1.4 and 3.0 s


@pytest.mark.parametrize("within_s", [0.5, 0.05, 0.0125, 0.002])
async def test_waits_that_are_cut_short_count(redis_server: RedisProcess, within_s: float) -> None:
    """A frozen server costs callers with little time a few calls, not every one."""
    async with started(redis_server.url) as (cache, heard):
        redis_server.pause()
        waits = 0
        while cache.fault is None:
            with pytest.raises(CacheUnavailable):
                await cache.run("pgw:{t}:k", lambda client: client.get("pgw:{t}:k"), is_patient=True, within_s=within_s)
            waits += 1
            await asyncio.sleep(0.02)
        assert waits <= 6
        assert heard.changes == ["timeout"]


async def test_callers_who_leave_count(redis_server: RedisProcess) -> None:
    """Their calls are cancelled when their deadline passes: this says as much as a wait that ran out."""
    async with started(redis_server.url) as (cache, heard):
        redis_server.pause()
        for _ in range(6):
            waiting = asyncio.create_task(cache.get("pgw:{t}:k", max_bytes=10))
            await asyncio.sleep(0.02)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(0.15)
        assert heard.changes == ["timeout"]


async def test_callers_who_leave_a_redis_that_works_count_nothing(redis_server: RedisProcess) -> None:
    """However often."""
    async with started(redis_server.url) as (cache, heard):
        for _ in range(100):
            waiting = asyncio.create_task(cache.get("pgw:{t}:k", max_bytes=10))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        assert (heard.changes, heard.failures) == ([], 0)
        assert await is_usable(cache)


async def test_a_pause_of_this_process_is_no_failure_of_redis(redis_server: RedisProcess) -> None:
    """The event loop pauses for longer than any limit while answers are on their way."""
    async with started(redis_server.url) as (cache, heard):
        for _ in range(5):
            calls = [asyncio.create_task(cache.get("pgw:{t}:k", max_bytes=10)) for _ in range(20)]
            await asyncio.sleep(0)
            time.sleep(0.2)  # noqa: ASYNC251 - this is the pause
            await asyncio.gather(*calls)
        assert (heard.changes, heard.failures) == ([], 0)
