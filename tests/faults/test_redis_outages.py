"""A gateway whose Redis fails: it starts, serves, says what it does without, and shares ids again afterwards."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.request import ProxyHandler, build_opener

import grpc
import pytest

from gateway.v1 import events_pb2, events_pb2_grpc
from tests.fixtures_postgres import postgres_server, postgres_url
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of
from tests.ports import free_port
from tests.redis_process import RedisProcess
from tests.sandbox_process import SandboxProcess
from tests.tcp_forwarder import Forwarder

__all__ = ["postgres_server", "postgres_url"]

Stub: Any = events_pb2_grpc.EventServiceStub
FEW = 12
"""Calls that may wait for a frozen Redis before it is left alone."""
LOST = 3
"""Calls with a very short deadline that may fail at first."""


def settings(sandbox: SandboxProcess, redis_url: str, postgres_url: str, keys: str = "") -> dict[str, str]:
    return {
        **of_sandbox(sandbox.urls, sandbox.environ),
        "PHOENIX_DEDUPLICATES_EVENTS": "false",
        "REDIS_URL": redis_url,
        "GATEWAY_CACHE_KEYS": keys or base64.b64encode(secrets.token_bytes(32)).decode(),
        "DATABASE_URL": postgres_url,
    }


def page(gateway: GatewayProcess, path: str) -> str:
    with build_opener(ProxyHandler({})).open(f"http://{gateway.admin_address}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def degraded(gateway: GatewayProcess) -> Mapping[str, str]:
    return dict(json.loads(page(gateway, "/readyz")).get("degraded", {}))


def fault_shown(gateway: GatewayProcess) -> set[str]:
    """The faults whose gauge is 1, in any worker."""
    lines = [line for line in page(gateway, "/metrics").splitlines() if line.startswith("phoenix_gateway_redis_down{")]
    return {line.split('fault="')[1].split('"')[0] for line in lines if float(line.rsplit(" ", 1)[1]) == 1}


def outage_lines(gateway: GatewayProcess) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in gateway.log_text.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"].startswith("Redis is")]


async def submit(gateway: GatewayProcess, event_id: str = "", timeout: float = 5.0) -> tuple[str, float]:
    """Send one event; return its status or the reason of the failure, and the seconds that it took."""
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        await channel.channel_ready()
        one = events_pb2.Event(event_id=event_id or str(uuid.uuid4()), leaderboard_id="xp", user_id="u", score_delta=1)
        began = time.monotonic()
        try:
            answer = await Stub(channel).SubmitEvent(events_pb2.SubmitEventRequest(event=one), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return reason_of(error) or error.code().name, time.monotonic() - began
        return events_pb2.EventStatus.Name(answer.status), time.monotonic() - began


async def until_shown(gateway: GatewayProcess, expected: Mapping[str, str], within_s: float = 8.0) -> None:
    end = time.monotonic() + within_s
    while degraded(gateway) != expected:
        assert time.monotonic() < end, (degraded(gateway), outage_lines(gateway))
        await submit(gateway)
        await asyncio.sleep(0.05)


@pytest.mark.faults
@pytest.mark.timeout(90)
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_cluster_of_which_every_node_refuses_prevents_nothing(
    sandbox: SandboxProcess, postgres_url: str, workers: int
) -> None:
    """The gateway starts, serves for longer than its background tasks need, and says once what it does without."""
    url = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    group = {"GATEWAY_WORKERS": str(workers), "GATEWAY_FRONT": "http2"}
    with GatewayProcess({**settings(sandbox, url, postgres_url), **group}) as gateway:
        assert (await submit(gateway))[0] == "EVENT_STATUS_ACCEPTED"
        await asyncio.sleep(4)
        assert gateway.is_running
        assert (await submit(gateway))[0] == "EVENT_STATUS_ACCEPTED"
        assert degraded(gateway) == {"redis": "unreachable"}
        assert fault_shown(gateway) == {"unreachable"}
        lines = outage_lines(gateway)
        assert len(lines) == workers
        for line in lines:
            assert (line["kind"], line["status"], line["level"]) == ("unreachable", "ECONNREFUSED", "warning")
            assert {"address", "error_type", "trouble", "advice"} <= line.keys()
        assert gateway.stop() == 0


async def slowest_s(gateway: GatewayProcess, *, within_s: float) -> float:
    """The slowest of 20 calls; asked for up to 60 s until it is within what a busy machine may not allow."""
    gives_up_at = time.monotonic() + 60
    while (slowest := max([(await submit(gateway))[1] for _ in range(20)])) >= within_s:
        assert time.monotonic() < gives_up_at, f"too busy a machine: {slowest:.3f} s a call without any fault"
        await asyncio.sleep(0.5)
    return slowest


@pytest.mark.faults
@pytest.mark.timeout(120)
@pytest.mark.parametrize("timeout", [0.05, 0.5, 2.0], ids=["50ms", "500ms", "2s"])
async def test_a_frozen_redis_costs_few_calls_a_tenth_of_a_second(
    sandbox: SandboxProcess, redis_server: RedisProcess, postgres_url: str, timeout: float
) -> None:
    """Callers with ids of their own and any deadline: none is lost after the first few, and soon none waits."""
    with GatewayProcess(settings(sandbox, redis_server.url, postgres_url)) as gateway:
        await submit(gateway)  # it fetches the key
        normal_s = await slowest_s(gateway, within_s=timeout / 2)  # else the machine loses calls, not Redis
        redis_server.pause()
        try:
            found = [await submit(gateway, timeout=timeout) for _ in range(60)]
        finally:
            redis_server.resume()
        late = [took_s for _, took_s in found if took_s > 0.06]
        failed = {place: status for place, (status, _) in enumerate(found) if status != "EVENT_STATUS_ACCEPTED"}
        print(f"{timeout} s: {len(late)} of {len(found)} calls waited, at most {max(late, default=0):.3f} s")
        print(f"normal {normal_s:.3f} s, not accepted: {failed}")
        assert {place for place in failed if place >= LOST} == set()
        assert len(late) <= FEW
        assert max(took_s for _, took_s in found) < normal_s + 0.15  # a tenth of a second, on a busy machine
        if timeout >= 0.5:
            assert failed == {}
        assert outage_lines(gateway)[0]["kind"] == "timeout"


@pytest.mark.faults
@pytest.mark.timeout(120)
async def test_ids_are_shared_again_after_a_demotion_behind_one_name(
    sandbox: SandboxProcess, redis_server: RedisProcess, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An id that one gateway used meanwhile is known to the other, at its first call: the event counts once."""
    other = RedisProcess(tmp_path_factory.mktemp("r"))
    other.start()
    sandbox.control("POST", "/settings", {"dedupe": False})
    keys = base64.b64encode(secrets.token_bytes(32)).decode()
    try:
        async with Forwarder(redis_server.port) as name:
            shared = settings(sandbox, f"redis://127.0.0.1:{name.port}/0", postgres_url, keys)
            one, two = GatewayProcess(shared), GatewayProcess(shared)
            await asyncio.gather(asyncio.to_thread(one.start), asyncio.to_thread(two.start))
            try:
                assert (await submit(one))[0] == "EVENT_STATUS_ACCEPTED"
                redis_server.command("REPLICAOF", "127.0.0.1", "1")
                event_id = str(uuid.uuid4())
                assert (await submit(one, event_id))[0] == "EVENT_STATUS_ACCEPTED"
                await until_shown(one, {"redis": "read_only"})
                name.lead_to(other.port)
                await until_shown(one, {})
                await asyncio.sleep(1.2)  # the write that waited
                assert (await submit(two, event_id))[0] in ("EVENT_STATUS_DUPLICATE", "EVENT_STATUS_ACCEPTED")
                effects = sandbox.control("POST", "/effects", {"event_ids": [event_id]})["effects"]
                assert effects == {event_id: 1}
            finally:
                one.stop()
                two.stop()
    finally:
        other.stop()
