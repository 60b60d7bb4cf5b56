"""A gateway before a server that closes kept connections: idle ones after a second, late, or soon after each answer.

No event is lost, doubled, left unknown or given up, and the circuit stays closed.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import grpc
import pytest

from gateway.v1 import events_pb2, events_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of
from tests.sandbox_process import SandboxProcess

ANSWER = b"HTTP/1.1 202 X\r\nContent-Length: 2\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60\r\n\r\n{}"


class ClosingServer:
    """Takes events, promises to keep connections, and closes each after a random idle time.

    `late_s`: how long everything takes to arrive, closes included. `seen`: how often each event was read.
    """

    def __init__(self, idle_s: tuple[float, float], late_s: float = 0.0) -> None:
        self._idle_s = idle_s
        self._late_s = late_s
        self._random = random.Random(7)
        self.seen: Counter[str] = Counter()
        self.closes = 0
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ClosingServer]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop, feed = asyncio.get_running_loop(), asyncio.StreamReader()

        async def carry() -> None:
            while data := await reader.read(65536):
                loop.call_later(self._late_s, feed.feed_data, data)
            loop.call_later(self._late_s, feed.feed_eof)

        carrying = asyncio.create_task(carry())
        try:
            idle_s = 60.0
            while True:
                # What arrives after the idle time is over is never read.
                async with asyncio.timeout(idle_s) as idle:
                    head = await feed.readuntil(b"\r\n\r\n")
                    idle.reschedule(None)
                    await self._take(head, feed)
                loop.call_later(self._late_s, writer.write, ANSWER)
                idle_s = self._random.uniform(*self._idle_s)
        except TimeoutError:
            self.closes += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            carrying.cancel()
            loop.call_later(self._late_s, writer.transport.abort)

    async def _take(self, head: bytes, feed: asyncio.StreamReader) -> None:
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        body = await feed.readexactly(length) if length else b""
        if body:
            self.seen[json.loads(body)["event_id"]] += 1


def settings(sandbox: SandboxProcess, server: ClosingServer) -> Mapping[str, str]:
    return {
        **of_sandbox(sandbox.urls, sandbox.environ),
        "INGESTION_BASE_URL": server.url,
        "PHOENIX_BULK_EVENTS": "off",
        "PHOENIX_DEDUPLICATES_EVENTS": "false",
    }


async def sent(
    gateway: GatewayProcess, lanes: int, rounds: int, gap_s: tuple[float, float], *, durable: bool = False
) -> tuple[Counter[str], list[str]]:
    """Send events in lanes with random pauses; return how they ended, and their ids."""
    found: Counter[str] = Counter()
    ids: list[str] = []
    how = events_pb2.DELIVERY_DURABLE if durable else events_pb2.DELIVERY_DIRECT

    async def lane(seed: int) -> None:
        chance = random.Random(seed)
        await asyncio.sleep(chance.uniform(0, gap_s[1]))
        for _ in range(rounds):
            ids.append(event_id := str(uuid.uuid4()))
            one = events_pb2.Event(event_id=event_id, leaderboard_id="xp", user_id=f"u{seed}", score_delta=1)
            try:
                answer = await stub.SubmitEvent(events_pb2.SubmitEventRequest(event=one, delivery=how), timeout=10)
                found[events_pb2.EventStatus.Name(answer.status)] += 1
            except grpc.aio.AioRpcError as error:
                found[reason_of(error) or error.code().name] += 1
            await asyncio.sleep(chance.uniform(*gap_s))

    async with grpc.aio.insecure_channel(gateway.address) as channel:
        stub = events_pb2_grpc.EventServiceStub(channel)
        await asyncio.gather(*(lane(seed) for seed in range(lanes)))
    return found, ids


CASES = {
    "idle connections closed after 1 s": (ClosingServer((1.0, 1.0)), 200, 20, (0.98, 1.02)),
    "closes that arrive 20 ms late": (ClosingServer((1.0, 1.0), 0.02), 30, 10, (0.93, 1.03)),
    "0 to 20 ms after each answer": (ClosingServer((0.0, 0.02)), 4, 50, (0.0, 0.03)),
}


@pytest.mark.faults
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", list(CASES))
async def test_direct_events_are_all_accepted_once(sandbox: SandboxProcess, name: str) -> None:
    """None is OUTCOME_UNKNOWN, CIRCUIT_OPEN, lost or doubled."""
    server, lanes, rounds, gap_s = CASES[name]
    async with server.running():
        with GatewayProcess(settings(sandbox, server)) as gateway:
            found, ids = await sent(gateway, lanes, rounds, gap_s)
    print(f"\n{name}: {dict(found)}, {server.closes} closes")
    assert found == {"EVENT_STATUS_ACCEPTED": lanes * rounds}
    assert dict.fromkeys(ids, 1) == server.seen


@pytest.mark.faults
@pytest.mark.timeout(180)
async def test_durable_events_are_all_delivered_once(sandbox: SandboxProcess) -> None:
    """None becomes a dead letter."""
    async with ClosingServer((0.0, 0.02)).running() as server:
        with GatewayProcess(settings(sandbox, server)) as gateway:
            found, ids = await sent(gateway, 4, 50, (0.0, 0.03), durable=True)
            until = time.monotonic() + 30
            while set(ids) - set(server.seen) and time.monotonic() < until:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            async with grpc.aio.insecure_channel(gateway.address) as channel:
                stub = events_pb2_grpc.EventServiceStub(channel)
                dead = await stub.ListDeadLetters(events_pb2.ListDeadLettersRequest(), timeout=10)
    print(f"\n{dict(found)}, {len(dead.dead_letters)} dead letters, {server.closes} closes")
    assert found == {"EVENT_STATUS_QUEUED": 200}
    assert [] == list(dead.dead_letters)
    assert dict.fromkeys(ids, 1) == server.seen
