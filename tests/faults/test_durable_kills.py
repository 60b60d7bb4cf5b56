"""Durable events with SIGKILL of the gateway, restarts of PostgreSQL and lost answers: each is delivered once.

Callers repeat an event under the same id until they learn that it is queued. Then the queue empties, and the
sandbox's count is compared with the answers.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import grpc
import pytest

from gateway.v1 import events_pb2, events_pb2_grpc
from tests.faults.crashing_gateway import DURABLE_POINTS
from tests.faults.event_load import Load, LoadOptions, Report
from tests.faults.killed_gateway import RANDOM, MortalGateway
from tests.faults.test_event_kills import NTHS, UNSURE, cut_answers
from tests.fixtures_postgres import postgres_server, postgres_url
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.event_calls import scores_of
from tests.postgres_process import PostgresProcess
from tests.sandbox_process import SandboxProcess

__all__ = ["postgres_server", "postgres_url"]

DURABLE = LoadOptions(durable=True, users=0)
EMPTY_WITHIN_S = 120.0
EVERYWHERE = [f"{point}:{nth}" for point in DURABLE_POINTS for nth in NTHS]


@contextmanager
def a_gateway(sandbox: SandboxProcess, **settings: str) -> Iterator[MortalGateway]:
    """One that is not started."""
    sandbox.control("POST", "/settings", {"dedupe": settings.get("PHOENIX_DEDUPLICATES_EVENTS") != "false"})
    with MortalGateway({**of_sandbox(sandbox.urls, sandbox.environ), **settings}) as gateway:
        yield gateway


@asynccontextmanager
async def load_on(gateway: MortalGateway, options: LoadOptions = DURABLE) -> AsyncIterator[Load]:
    """Callers that send during the `with` block. At its end, the gateway runs and each caller has its answer."""
    load = Load(gateway.address, options)
    load.start()
    yield load
    await gateway.live()
    await load.answered(50)
    await load.finish()


def dead_letters(gateway: GatewayProcess) -> dict[str, str]:
    """Reason by event id."""
    found: dict[str, str] = {}
    with grpc.insecure_channel(gateway.address) as channel:
        stub = events_pb2_grpc.EventServiceStub(channel)
        token = ""
        while True:
            request = events_pb2.ListDeadLettersRequest(page_size=1000, page_token=token)
            page = stub.ListDeadLetters(request, timeout=10)
            found.update((one.event_id, one.reason) for one in page.dead_letters)
            token = page.next_page_token
            if not token:
                return found


def settled(load: Load, sandbox: SandboxProcess, gateway: GatewayProcess) -> dict[str, str]:
    """Wait until each queued event is delivered or a dead letter. Return the dead letters. Raises: AssertionError."""
    until = time.monotonic() + EMPTY_WITHIN_S
    while True:
        dead = dead_letters(gateway)
        missing = load.never_taken(sandbox) - set(dead)
        if not missing:
            return dead
        assert time.monotonic() < until, f"{len(missing)} of {len(load.reports)} events are not delivered"
        time.sleep(0.2)


def assert_each_once(load: Load, sandbox: SandboxProcess, gateway: GatewayProcess) -> None:
    """Every event was queued and accepted once. There are no dead letters."""
    assert {} == settled(load, sandbox, gateway)
    assert {Report.QUEUED: Counter({1: len(load.reports)})} == load.verdict(sandbox), load.refusals
    assert [] == sandbox.control("POST", "/effects", {})["more_than_once"]


async def killed(gateway: MortalGateway, sandbox: SandboxProcess, points: Sequence[str]) -> Load:
    """Kill at each point under load."""
    async with load_on(gateway) as load:
        await gateway.killed_at(points, load, random.Random(len(points)))
    assert len(points) == gateway.kills
    return load


@pytest.mark.timeout(300)  # 6 starts under load, and the leases of the dead
async def test_kills_on_the_way_of_durable_events(sandbox: SandboxProcess) -> None:
    """On SQLite: about the commit, the sending and the settling."""
    with a_gateway(sandbox) as gateway:
        cut_answers(sandbox)
        load = await killed(gateway, sandbox, [f"{point}:2" for point in DURABLE_POINTS[::2]])
        assert_each_once(load, sandbox, gateway)


@pytest.mark.faults
@pytest.mark.timeout(1500)  # 69 starts under load, on PostgreSQL with migrations to look at
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_every_kill(request: pytest.FixtureRequest, sandbox: SandboxProcess, database: str) -> None:
    """At every point early and late, and at random."""
    settings = {} if database == "sqlite" else {"DATABASE_URL": request.getfixturevalue("postgres_url")}
    with a_gateway(sandbox, **settings) as gateway:
        cut_answers(sandbox)
        load = await killed(gateway, sandbox, [*EVERYWHERE, *[RANDOM] * 25])
        assert_each_once(load, sandbox, gateway)


@pytest.mark.faults
@pytest.mark.timeout(600)  # 32 starts under load
async def test_kills_of_one_of_two_gateways(sandbox: SandboxProcess, postgres_url: str) -> None:
    """The other gateway delivers the events of the killed one."""
    with (
        a_gateway(sandbox, DATABASE_URL=postgres_url) as gateway,
        a_gateway(sandbox, DATABASE_URL=postgres_url) as other,
    ):
        cut_answers(sandbox)
        await other.live()
        points = [f"{point}:2" for point in DURABLE_POINTS] + [RANDOM] * 21
        assert_each_once(await killed(gateway, sandbox, points), sandbox, other)


@pytest.mark.faults
@pytest.mark.timeout(600)  # 54 starts under load
async def test_every_kill_without_deduplication(sandbox: SandboxProcess) -> None:
    """An event in flight at the kill becomes a dead letter with this reason. No event is sent twice."""
    with a_gateway(sandbox, **UNSURE) as gateway:
        load = await killed(gateway, sandbox, [*EVERYWHERE, *[RANDOM] * 10])
        dead = settled(load, sandbox, gateway)
    assert {"OUTCOME_UNKNOWN"} == set(dead.values())
    counted = sandbox.control("POST", "/effects", {"event_ids": [one for one in load.reports if one not in dead]})
    assert ([], {1}) == (counted["more_than_once"], set(counted["effects"].values()))


@pytest.mark.faults
@pytest.mark.timeout(300)  # 17 starts under load, and ordering keys that wait for leases of the dead
async def test_the_order_of_each_user_holds_over_kills(sandbox: SandboxProcess) -> None:
    """Phoenix gets the events of each user for the first time in the order of acceptance."""
    sandbox.control("POST", "/settings", {"dedupe": True})
    options = LoadOptions(durable=True, own_user=True, singles=5, batches=2, batch_size=5, pause_s=0.1)
    with a_gateway(sandbox) as gateway:
        cut_answers(sandbox)
        async with load_on(gateway, options) as load:
            points = [f"{point}:4" for point in DURABLE_POINTS if point != "answering"] + [RANDOM] * 7
            await gateway.killed_at(points, load, random.Random(7))
        assert_each_once(load, sandbox, gateway)
    requests = sandbox.control("GET", "/requests?surface=ingestion")["requests"]
    assert len(requests) < 2000, "the sandbox keeps no more, so the first may be gone"
    seen = {user: list(dict.fromkeys(scores)) for user, scores in scores_of(sandbox).items()}
    assert 8 == len(seen)
    assert all(scores == sorted(scores) for scores in seen.values())


@pytest.mark.faults
@pytest.mark.timeout(400)
@pytest.mark.parametrize("trouble", ["restart", "pause"])
async def test_a_postgresql_that_restarts_or_hangs_costs_nothing(
    sandbox: SandboxProcess, postgres_server: PostgresProcess, postgres_url: str, trouble: str
) -> None:
    """Callers wait, or get STORE_UNAVAILABLE and repeat. Acknowledged events are stored and delivered once."""
    with a_gateway(sandbox, DATABASE_URL=postgres_url) as gateway:
        cut_answers(sandbox)
        await gateway.live()
        load = Load(gateway.address, DURABLE)
        load.start()
        for _ in range(12):
            await load.answered(100)
            await asyncio.to_thread(getattr(postgres_server, trouble))
            if trouble == "pause":
                await asyncio.sleep(0.5)
                postgres_server.resume()
        await load.finish()
        assert_each_once(load, sandbox, gateway)
    if trouble == "restart":
        assert load.refusals["STORE_UNAVAILABLE"] > 0
