"""Every way in which a Redis fails, with a real one: found at once, named, left alone, and followed when it is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.cache.client import CacheUnavailable, RedisCacheSettings
from tests.cache.outage_causes import CAUSES, demoted
from tests.cache.outage_use import QUICK, assert_costs_nothing, started
from tests.cache.redis_use import is_usable, out_of_use, usable_again
from tests.ports import free_port
from tests.redis_process import RedisProcess
from tests.tcp_forwarder import Forwarder

FOUND_WITHIN_S = 0.5
TRIES = 3
"""A busy machine may stop the test meanwhile: the quickest of so many is judged."""


@pytest.fixture
def other_server(short_directory: Path) -> Iterator[RedisProcess]:
    """A second server."""
    server = RedisProcess(short_directory)
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("name", list(CAUSES))
async def test_each_cause_is_found_named_and_left_alone_until_it_is_over(redis_server: RedisProcess, name: str) -> None:
    """Found by the first calls, named, no wait afterwards, no change until it is over, then in use again."""
    begin, end, kind = CAUSES[name]
    async with started(redis_server.url) as (cache, heard):
        assert await is_usable(cache)
        left = TRIES
        while True:
            begin(redis_server)
            began = time.monotonic()
            await out_of_use(cache)
            took_s = time.monotonic() - began
            left -= 1
            if took_s < FOUND_WITHIN_S or not left:
                break
            end(redis_server)
            await usable_again(cache)
            heard.changes.clear()
        assert took_s < FOUND_WITHIN_S
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
    patient = RedisCacheSettings(timeout_s=2.0, probes=QUICK.probes)
    async with (
        Forwarder(redis_server.port) as name,
        started(f"redis://127.0.0.1:{name.port}/0", patient) as (cache, heard),
    ):
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


async def loading(server: RedisProcess, within_s: float = 10.0) -> None:
    """Wait until it says that it reads its file."""
    until = time.monotonic() + within_s
    while True:
        with suppress(OSError):  # it does not listen yet
            if server.command("PING").startswith(b"-LOADING"):
                return
        assert time.monotonic() < until
        await asyncio.sleep(0.01)


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
        await loading(slow)
        patient = RedisCacheSettings(server_timeout_s=5, connect_timeout_s=5, probes=QUICK.probes)
        async with started(slow.url, patient) as (cache, heard):
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
