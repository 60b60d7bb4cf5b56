"""The load generator against real gRPC servers: everything answered, windows kept, failures counted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench.load_generator import Load, Outcome, drive
from bench.messages import read_messages, write_messages

Behaviour = Callable[[bytes, Any], Awaitable[bytes]]
Serve = Callable[[Behaviour], Awaitable[int]]


class Handler(grpc.GenericRpcHandler):
    """One behaviour for every method."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._handler: Any = grpc.unary_unary_rpc_method_handler(behaviour)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handler


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a grpc.aio server; it ends with the test."""
    servers: list[grpc.aio.Server] = []

    async def start(behaviour: Behaviour) -> int:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Handler(behaviour),))
        port: int = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return port

    yield start
    for server in servers:
        await server.stop(None)


async def echo(request: bytes, context: Any) -> bytes:
    return request


async def load(port: int, requests: list[bytes], **settings: Any) -> tuple[Outcome, list[bytes]]:
    plan = Load(port=port, path="/a.B/C", requests=requests, keep_answers=True, **{"seconds": 10.0, **settings})
    return await asyncio.to_thread(drive, plan)


async def test_every_request_is_sent_once_and_answered(serve: Serve) -> None:
    """Requests that differ come back, each once, and the load ends early when they run out."""
    requests = [f"request {number}".encode() for number in range(500)]
    outcome, answers = await load(await serve(echo), requests)
    assert sorted(answers) == sorted(requests)
    assert (outcome.answered, outcome.late, outcome.failures, outcome.ran_out) == (500, 0, {}, True)


async def test_messages_larger_than_all_windows_pass_both_ways(serve: Serve) -> None:
    """300 kB each: more than a frame, the stream's and the connection's first window."""
    requests = [bytes([number]) * 300_000 for number in range(40)]
    outcome, answers = await load(await serve(echo), requests, connections=2, streams=5)
    assert sorted(answers) == sorted(requests)
    assert outcome.failures == {}


async def test_refusals_are_counted_as_failures(serve: Serve) -> None:
    """By status and message, and never as answered."""

    async def refuse(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return b""

    outcome, answers = await load(await serve(refuse), [b"x"] * 30)
    assert (outcome.answered, answers, outcome.failures) == (0, [], {"grpc-status 14: not now": 30})


async def test_an_empty_answer_is_an_answer(serve: Serve) -> None:
    """A message of no fields has no bytes, but its prefix comes."""

    async def nothing(request: bytes, context: Any) -> bytes:
        return b""

    outcome, answers = await load(await serve(nothing), [b"x"] * 30)
    assert (outcome.answered, answers) == (30, [b""] * 30)


async def test_a_cycled_load_ends_by_time(serve: Serve) -> None:
    """And knows how long it took."""
    outcome, answers = await load(await serve(echo), [b"again"], cycle=True, seconds=0.3)
    assert outcome.elapsed_s == pytest.approx(0.3)
    assert (outcome.ran_out, set(answers)) == (False, {b"again"})
    assert outcome.answered + outcome.late == len(answers)


def test_messages_come_back_from_their_file(tmp_path: Path) -> None:
    """Empty ones too; a file that was cut is refused."""
    file = tmp_path / "messages"
    write_messages(file, [b"one", b"", b"three"])
    assert list(read_messages(file)) == [b"one", b"", b"three"]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="within a message"):
        list(read_messages(file))
