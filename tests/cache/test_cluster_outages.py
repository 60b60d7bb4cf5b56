"""Clusters and nodes that fail, with real ones: each cause is found and named."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.cache.client import CacheUnavailable
from tests.cache.outage_causes import locked
from tests.cache.outage_use import assert_costs_nothing, started
from tests.cache.redis_use import is_usable, out_of_use, usable_again
from tests.ports import free_port
from tests.redis_process import RedisProcess, two_nodes
from tests.tcp_forwarder import Forwarder


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
