"""Full load for minutes: the gateway's memory stays constant, and a full queue refuses events.

`EVENT_LOAD_S` sets the duration of the load in seconds.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.request import ProxyHandler, build_opener

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from gateway.v1 import events_pb2, events_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of, resident_mib, retry_after_s
from tests.sandbox_process import SandboxProcess

Stub: Any = events_pb2_grpc.EventServiceStub
LOAD_S = float(os.environ.get("EVENT_LOAD_S", "600"))
STUCK_AFTER_S = 20.0
DELIVERED = 'phoenix_gateway_durable_events_total{event="delivered"}'
SETTLED = 0.4
"""After this share of the time all pools, caches and remembered ids are at their size."""
GROWTH_MIB = 6.0
"""What the allocator may do; 100 bytes kept of each event would be 100 MiB and more in ten minutes."""
INGESTION = {"surface": "ingestion", "path_prefix": "/v1/"}
METADATA = b'{"level":7,"source":"load","tags":["a","b"]}'


def event(number: int, *, has_id: bool) -> events_pb2.Event:
    event_id = str(uuid.uuid4()) if has_id else ""
    return events_pb2.Event(
        event_id=event_id, leaderboard_id="xp", user_id=f"u{number % 500}", score_delta=1, metadata_json=METADATA
    )


class Generator:
    """Callers of all three kinds without pauses, half of them with their own ids."""

    def __init__(self, stub: Any, until: float, how: dict[str, Any]) -> None:
        self._stub = stub
        self._until = until
        self._how = how
        self.results: Counter[str] = Counter()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(self._repeat(self._single, has_id=number % 2 == 0))
            for number in range(4):
                group.create_task(self._repeat(self._batch, has_id=number % 2 == 0))
            for number in range(2):
                group.create_task(self._stream(has_id=number % 2 == 0))

    async def _repeat(self, send: Callable[[bool], Awaitable[None]], *, has_id: bool) -> None:
        while time.monotonic() < self._until:
            try:
                await send(has_id)
            except grpc.aio.AioRpcError as error:
                self.results[reason_of(error) or error.code().name] += 1
                await asyncio.sleep(0.05)

    async def _single(self, has_id: bool) -> None:
        request = events_pb2.SubmitEventRequest(event=event(1, has_id=has_id), **self._how)
        await self._stub.SubmitEvent(request, timeout=20)
        self.results["taken"] += 1

    async def _batch(self, has_id: bool) -> None:
        many = events_pb2.SubmitEventsRequest(events=[event(n, has_id=has_id) for n in range(200)], **self._how)
        await self._count((await self._stub.SubmitEvents(many, timeout=20)).results)

    async def _stream(self, *, has_id: bool) -> None:
        sequence = 0

        async def messages() -> Any:
            nonlocal sequence
            while time.monotonic() < self._until:
                sequence += 1
                many = [event(n, has_id=has_id) for n in range(100)]
                yield events_pb2.StreamEventsRequest(sequence=sequence, events=many, **self._how)

        async for answer in self._stub.StreamEvents(messages()):
            await self._count(answer.results)

    async def _count(self, results: Any) -> None:
        reported = Counter("taken" if not one.HasField("error") else _reason_in(one.error) for one in results)
        self.results.update(reported)
        if set(reported) != {"taken"}:
            await asyncio.sleep(0.05)


def _reason_in(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    return info.reason if status.details and status.details[0].Unpack(info) else ""


async def loaded(gateway: GatewayProcess, how: dict[str, Any], load_s: float) -> tuple[list[float], Counter[str]]:
    """Return the memory in MiB, once a second, and the results by kind."""
    until = time.monotonic() + load_s
    seen: list[float] = []
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        generator = Generator(Stub(channel), until, how)
        running = asyncio.create_task(generator.run())
        while not running.done():
            await asyncio.wait({running}, timeout=1.0)
            seen.append(resident_mib(gateway.pid))
        await running
    return seen, generator.results


def assert_flat(seen: list[float]) -> None:
    """The last part of the time is no larger than the one before it."""
    settled = seen[int(len(seen) * SETTLED) :]
    middle = len(settled) // 2
    before, after = statistics.median(settled[:middle]), statistics.median(settled[middle:])
    assert after - before < GROWTH_MIB, [round(mib) for mib in seen[:: max(1, len(seen) // 60)]]


@pytest.mark.faults
@pytest.mark.timeout(LOAD_S + 120)
async def test_memory_stays_flat_under_full_load_of_direct_events(sandbox: SandboxProcess) -> None:
    """Singles, batches and streams, with and without ids, for ten minutes."""
    sandbox.control("POST", "/settings", {"record": False, "count_effects": False, "dedupe": False})
    with GatewayProcess({**of_sandbox(sandbox.urls, sandbox.environ), "GATEWAY_LOG_LEVEL": "warning"}) as gateway:
        seen, results = await loaded(gateway, {}, LOAD_S)
    print(f"\n{results} in {len(seen)} s; MiB: {[round(mib) for mib in seen[:: max(1, len(seen) // 40)]]}")
    assert {"taken"} == set(results)
    assert_flat(seen)


@pytest.mark.faults
@pytest.mark.timeout(LOAD_S + 300)
async def test_memory_stays_flat_under_full_load_of_durable_events(sandbox: SandboxProcess) -> None:
    """More events than Phoenix accepts: above the limit, callers get OVERLOADED. Accepted events are delivered."""
    sandbox.control("POST", "/settings", {"record": False, "count_effects": False, "dedupe": False})
    sandbox.control("POST", "/faults", {**INGESTION, "kind": "delay", "delay_ms": 100})
    settings = {"GATEWAY_LOG_LEVEL": "warning", "GATEWAY_QUEUE_EVENTS": "20000"}
    with GatewayProcess({**of_sandbox(sandbox.urls, sandbox.environ), **settings}) as gateway:
        seen, results = await loaded(gateway, {"delivery": events_pb2.DELIVERY_DURABLE}, LOAD_S / 4)
        assert series(gateway, "phoenix_gateway_queue_events ") <= 20_000
        sandbox.control("DELETE", "/faults")
        delivered, moved_at = 0.0, time.monotonic()
        # One user's events leave one after the other, so the end may take minutes.
        while delivered < results["taken"] and time.monotonic() - moved_at < STUCK_AFTER_S:
            await asyncio.sleep(0.5)
            before, delivered = delivered, series(gateway, DELIVERED)
            moved_at = time.monotonic() if delivered > before else moved_at
    print(f"\n{results}, {delivered:.0f} delivered; MiB: {[round(mib) for mib in seen[:: max(1, len(seen) // 40)]]}")
    assert {"taken", "OVERLOADED"} == set(results)
    assert results["taken"] == delivered
    assert_flat(seen)


def series(gateway: GatewayProcess, name: str) -> float:
    """One series as scraped."""
    with build_opener(ProxyHandler({})).open(f"http://{gateway.admin_address}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(name)))


async def test_a_full_queue_says_when_to_come_again(sandbox: SandboxProcess) -> None:
    """While Phoenix hangs, callers above the limit get OVERLOADED with RetryInfo at once. Accepted events are sent."""
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as gateway:
        sandbox.control("POST", "/faults", {**INGESTION, "kind": "delay", "delay_ms": 3000})
        async with grpc.aio.insecure_channel(gateway.address) as channel:
            stub = Stub(channel)

            async def batch() -> int | grpc.aio.AioRpcError:
                many = [event(number, has_id=False) for number in range(1000)]
                try:
                    answer = await stub.SubmitEvents(events_pb2.SubmitEventsRequest(events=many), timeout=50)
                except grpc.aio.AioRpcError as error:
                    return error
                return sum(not one.HasField("error") for one in answer.results)

            waiting = [asyncio.create_task(batch()) for _ in range(30)]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            early = [one.result() for one in waiting if one.done()]
            sandbox.control("DELETE", "/faults")
            answers = await asyncio.gather(*waiting)
    assert all(isinstance(one, grpc.aio.AioRpcError) for one in early)
    errors = [one for one in answers if isinstance(one, grpc.aio.AioRpcError)]
    assert {(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")} == {(one.code(), reason_of(one)) for one in errors}
    assert 10 <= len(errors)
    assert all(retry_after_s(one) > 0 for one in errors)
    assert {1000} == {one for one in answers if isinstance(one, int)}
