"""Events with SIGKILL of the gateway, lost answers and a Redis that restarts or is emptied: none lost or repeated.

Callers send continuously and repeat each event until they have a definite answer. Then the sandbox's count of
effects is compared with the answers.
"""

from __future__ import annotations

import asyncio
import base64
import random
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.faults.crashing_gateway import DIRECT_POINTS, REDIS_POINTS
from tests.faults.event_load import Load, LoadOptions, Report
from tests.faults.killed_gateway import RANDOM, MortalGateway
from tests.fixtures_postgres import postgres_server, postgres_url
from tests.gateway_process import of_sandbox
from tests.redis_process import RedisProcess
from tests.sandbox_process import SandboxProcess

__all__ = ["postgres_server", "postgres_url"]

CUTS = ("lose_answer", "half", "cut")
CUT_SHARE = 0.02
NTHS = (1, 2, 7, 20)
"""The number of the visit at which the gateway crashes: the first, with few and with many events in flight."""
EVERYWHERE = [f"{point}:{nth}" for point in DIRECT_POINTS for nth in NTHS]
AT_WRITES = [f"{point}:{nth}" for point in REDIS_POINTS for nth in NTHS]
UNSURE = {"PHOENIX_DEDUPLICATES_EVENTS": "false"}
SURE_OF_ITSELF = LoadOptions(resends_unknown=True)
"""Callers who know that Phoenix deduplicates."""
AT_ITS_WORD = LoadOptions()
"""Callers who ask again after a broken call, and take OUTCOME_UNKNOWN for an answer."""
CAUTIOUS = LoadOptions(resends_lost=False)
"""Callers that repeat an event only if the gateway's answer asks for it."""


def cut_answers(sandbox: SandboxProcess) -> None:
    """From now on some answers get lost, after Phoenix acted or before."""
    for kind in CUTS:
        fault = {"surface": "ingestion", "path_prefix": "/v1/", "kind": kind, "probability": CUT_SHARE}
        sandbox.control("POST", "/faults", fault)


def assert_each_once(load: Load, sandbox: SandboxProcess) -> None:
    """Every event was answered as taken, and was taken once."""
    assert {Report.ACCEPTED: Counter({1: len(load.reports)})} == load.verdict(sandbox), load.refusals


def assert_none_twice(load: Load, sandbox: SandboxProcess) -> None:
    """An accepted event counts once; one with an unknown outcome, once or never."""
    found = load.verdict(sandbox)
    assert {1} == set(found.pop(Report.ACCEPTED))
    assert {0, 1} >= {count for counts in found.values() for count in counts}
    assert {Report.UNKNOWN, Report.LOST} >= set(found), load.refusals
    assert [] == sandbox.control("POST", "/effects", {})["more_than_once"]


@contextmanager
def a_gateway(sandbox: SandboxProcess, **settings: str) -> Iterator[MortalGateway]:
    """A stopped gateway with a sandbox that counts each arrival if the gateway must not rely on deduplication."""
    sandbox.control("POST", "/settings", {"dedupe": settings.get("PHOENIX_DEDUPLICATES_EVENTS") != "false"})
    cut_answers(sandbox)
    with MortalGateway({**of_sandbox(sandbox.urls, sandbox.environ), **settings}) as gateway:
        yield gateway


def shared(redis: RedisProcess, postgres_url: str) -> dict[str, str]:
    """What several replicas are set up with."""
    keys = base64.b64encode(secrets.token_bytes(32)).decode()
    return {"REDIS_URL": redis.url, "GATEWAY_CACHE_KEYS": keys, "DATABASE_URL": postgres_url}


async def killed(gateway: MortalGateway, options: LoadOptions, points: Sequence[str]) -> Load:
    """Kill at each point under load, then let it run until every caller has its answer."""
    load = Load(gateway.address, options)
    load.start()
    await gateway.killed_at(points, load, random.Random(len(points)))
    await gateway.live()
    await load.answered(50)
    await load.finish()
    assert len(points) == gateway.kills
    assert load.broken_calls > len(points) / 2
    return load


@pytest.mark.timeout(300)  # 8 starts under load
async def test_kills_on_the_way_of_direct_events(sandbox: SandboxProcess) -> None:
    """Phoenix deduplicates: each event counts once, whatever was cut, and callers who ask again get to know it."""
    with a_gateway(sandbox) as gateway:
        load = await killed(gateway, SURE_OF_ITSELF, [*(f"{point}:3" for point in DIRECT_POINTS), RANDOM])
    assert_each_once(load, sandbox)


@pytest.mark.faults
@pytest.mark.timeout(900)  # 68 starts under load
async def test_every_kill_where_phoenix_deduplicates(sandbox: SandboxProcess) -> None:
    """The same, at every point early and late, and at random."""
    with a_gateway(sandbox) as gateway:
        load = await killed(gateway, SURE_OF_ITSELF, [*EVERYWHERE, *[RANDOM] * 40])
    assert_each_once(load, sandbox)


@pytest.mark.faults
@pytest.mark.timeout(900)  # 48 starts under load
async def test_every_kill_without_deduplication(sandbox: SandboxProcess) -> None:
    """The process loses its memory of ids: careful callers see no repeat and know which events are unknown."""
    with a_gateway(sandbox, **UNSURE) as gateway:
        load = await killed(gateway, CAUTIOUS, [*EVERYWHERE, *[RANDOM] * 20])
    assert_none_twice(load, sandbox)


@pytest.mark.faults
@pytest.mark.timeout(900)  # 48 starts under load
async def test_every_kill_where_redis_remembers(
    sandbox: SandboxProcess, redis_server: RedisProcess, postgres_url: str
) -> None:
    """Nobody deduplicates, but ids are claimed in Redis before their events leave: callers may always ask again."""
    with a_gateway(sandbox, **UNSURE, **shared(redis_server, postgres_url)) as gateway:
        load = await killed(gateway, AT_ITS_WORD, [*EVERYWHERE, *AT_WRITES, *[RANDOM] * 20])
    assert Report.LOST not in load.reports.values()
    assert_none_twice(load, sandbox)


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("trouble", ["restart", "flush", "pause"])
async def test_a_redis_that_forgets_or_hangs_costs_nothing(
    sandbox: SandboxProcess, redis_server: RedisProcess, postgres_url: str, trouble: str
) -> None:
    """The process remembers what it did itself: no event is lost, none sent twice."""
    with a_gateway(sandbox, **UNSURE, **shared(redis_server, postgres_url)) as gateway:
        load = Load(gateway.address, AT_ITS_WORD)
        await gateway.live()
        load.start()
        for _ in range(15):
            await load.answered(100)
            await asyncio.to_thread(getattr(redis_server, trouble))
            if trouble == "pause":
                await load.answered(100)
                redis_server.resume()
        await load.finish()
    assert_none_twice(load, sandbox)
