"""Connections of noise: none of them ends the stream of another client, none raises where nobody expects it."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct, Value

from gateway.front.http2.engine import Engine, EngineSettings
from tests.front.abuse.frame_noise import noise
from tests.front.abuse.subject import ENGINES
from tests.front.differential.handlers import ENDPOINTS
from tests.front.http2.peer import serving

LONG_S = 60 * float(os.environ.get("FUZZ_MINUTES", "10"))
SENT = Struct(fields={"n": Value(number_value=1)}).SerializeToString()


async def _one(port: int, data: bytes, chance: random.Random) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        at = chance.randint(0, len(data))
        writer.write(data[:at])
        if chance.random() < 0.5:
            await asyncio.sleep(0)
        writer.write(data[at:])
        async with asyncio.timeout(chance.choice((0.002, 0.02, 0.06))):
            while await reader.read(65536):
                pass
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.transport.abort()


async def search(engine: Callable[[EngineSettings], Engine], seconds: float, seed: int) -> None:
    """Send noise for so long; a failure names the seed and the number of the connection."""
    raised: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(str(context)))
    noted: list[BaseException] = []
    async with serving(ENDPOINTS, engine, unexpected=noted) as (server, port):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            other: Any = channel.stream_stream("/t.T/Each")()
            until, number = time.monotonic() + seconds, 0
            while time.monotonic() < until:
                chance = random.Random(f"{seed} {number}")
                await asyncio.gather(*(_one(port, noise(chance), chance) for _ in range(8)))
                await other.write(SENT)
                assert SENT == await asyncio.wait_for(other.read(), 5), (seed, number)
                assert ([], []) == (raised, noted), (seed, number)
                number += 1
            await other.done_writing()
            assert grpc.aio.EOF == await other.read()
            assert grpc.StatusCode.OK == await other.code()
        async with asyncio.timeout(5):
            while len(server._connections) > 1:  # the channel's own may take longer  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert [] == [one.streams for one in server._connections if one.streams]
        here = asyncio.current_task()
        assert [] == [task for task in asyncio.all_tasks() if task is not here and "CallRunner" in repr(task)]


@pytest.mark.parametrize("engine", sorted(ENGINES))
async def test_noise_ends_its_own_connection_only(engine: str) -> None:
    """A moment of it, the same one each time."""
    await search(ENGINES[engine], 1.5, 1)


@pytest.mark.fuzz
@pytest.mark.timeout(LONG_S + 60)
@pytest.mark.parametrize("engine", sorted(ENGINES))
async def test_minutes_of_noise_end_no_other_stream(engine: str) -> None:
    """For FUZZ_MINUTES (10), another seed each time."""
    await search(ENGINES[engine], LONG_S, random.SystemRandom().randrange(10**9))
