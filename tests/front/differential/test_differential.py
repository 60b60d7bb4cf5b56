"""Generated calls, good and malformed, get the same from both fronts and both engines: status, details, bytes.

The two engines agree on every call. Where the fronts differ, the call has a fault that is listed here with what grpc
answers to it and why the other answer is right.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import grpc
import pytest

from gateway.front.grpc_aio import Front
from gateway.front.http2.engine import EngineSettings
from gateway.front.http2.engines import MAX_STREAMS
from gateway.front.http2.server import Http2Server, ServerBounds
from gateway.interceptors.chain import Chain
from gateway.resilience.clock import SystemClock
from gateway.server.listener.listen import OPTIONS
from tests.front.abuse.subject import ENGINES
from tests.front.differential.calls import generated
from tests.front.differential.exchange import Answer, Caller
from tests.front.differential.handlers import ENDPOINTS

SHORT, LONG = 250, 10_000
WITHIN_S = 20.0

INVALID, DEADLINE, UNIMPLEMENTED = 3, 4, 12
DIFFERENCES: dict[str, tuple[int | bytes, str]] = {
    "too long": (INVALID, "it names the limit; grpc says RESOURCE_EXHAUSTED, which promises that a repeat may succeed"),
    "bomb": (INVALID, "as for a message that is too long as it was sent"),
    "long metadata": (INVALID, "it names the limit, and always refuses; between two limits grpc refuses at random"),
    "cut short": (INVALID, "the client learns that a part is missing; grpc drops it, or waits for the rest"),
    "bad flag": (INVALID, "what is no gRPC frame is not taken for one; grpc looks at the lowest bit"),
    "no message": (INVALID, "the client learns it at once; grpc waits for the message until the deadline"),
    "two messages": (INVALID, "a second message may have been meant; grpc takes the first and drops it"),
    "broken compression": (INVALID, "the client made it, so it is no INTERNAL error of the server"),
    "unknown encoding": (UNIMPLEMENTED, "what gRPC's compression.md demands; grpc says INTERNAL or a parse error"),
    "no encoding": (INVALID, "the client compressed and did not say how; grpc says INTERNAL"),
    "bad timeout": (INVALID, "it says what a timeout looks like; grpc says INTERNAL"),
    "deadline passed": (DEADLINE, "the same status, with our text, details and request id"),
    "not ended": (
        DEADLINE,
        "the call is whole only with its end; grpc takes one message for the whole of a unary call",
    ),
    "content type": (b"415", "what PROTOCOL-HTTP2 demands; grpc serves any"),
    "method": (b"405", "as above; grpc says INTERNAL"),
    "bad base64": (0, "the gateway reads no binary metadata, so that it cannot be wrong"),
}
"""Faults whose calls the fronts may answer differently: the code or HTTP status of HTTP/2's answer then, and why."""
_SHORT_DEADLINES = {"deadline passed", "not ended"}
GRPC_WAITS_S = 0.1
"""For grpc's answer to a call with such a fault, as it may never come."""


@asynccontextmanager
async def callers() -> AsyncIterator[dict[str, Caller]]:
    """Serve the handlers on both fronts; yields a caller for each server."""
    grpc_server = grpc.aio.server(options=OPTIONS)
    front = Front(ENDPOINTS, Chain([]), SystemClock(), lambda call, error: None)
    grpc_server.add_generic_rpc_handlers((front,))
    ports = {"grpc": grpc_server.add_insecure_port("127.0.0.1:0")}
    await grpc_server.start()
    servers = []
    for name, engine in ENGINES.items():
        server = Http2Server(
            {one.path: one for one in ENDPOINTS},
            Chain([]),
            SystemClock(),
            lambda call, error: None,
            lambda engine=engine: engine(EngineSettings(max_streams=MAX_STREAMS)),  # type: ignore[misc]
            bounds=ServerBounds(broken_wait_s=0),
        )
        listening = socket.create_server(("127.0.0.1", 0))
        ports[name] = listening.getsockname()[1]
        await server.listen(listening, None)
        servers.append(server)
    made = {name: Caller(port) for name, port in ports.items()}
    try:
        yield made
    finally:
        for caller in made.values():
            await caller.close()
        for server in servers:
            await server.stop()
        await grpc_server.stop(0)


async def compare(numbers: Iterable[int], seed: int) -> None:
    """Make these calls; a failure shows the call by its seed and number."""
    async with callers() as made:
        for number in numbers:
            call = generated(random.Random(f"{seed} {number}"))
            listed = DIFFERENCES.keys() & set(call.faults)
            waits_s = {"grpc": GRPC_WAITS_S if listed else WITHIN_S}
            found = await asyncio.gather(*(one.call(call, waits_s.get(name, WITHIN_S)) for name, one in made.items()))
            answers = dict(zip(made, found, strict=True))
            difference = _difference(answers, listed)
            if difference == "the fronts differ" and listed and answers["grpc"].lost == "nothing came":
                # The handler's own error may be the answer before the fault is read: then grpc's comes too, if late.
                answers["grpc"] = await made["grpc"].call(call, WITHIN_S)
                difference = _difference(answers, listed)
            assert difference is None, "\n".join(
                [f"seed {seed} call {number}: {difference}", f"{call.path} {call.faults} {call.headers}"]
                + [f"{name}: {answer!r}" for name, answer in answers.items()]
            )


def _difference(answers: dict[str, Answer], listed: set[str]) -> str | None:
    if listed & _SHORT_DEADLINES and any(one.code == DEADLINE for one in answers.values()):
        return None  # whether the time was over before the answer was ready is a matter of chance
    ours, *rest = (answers[name] for name in ENGINES)
    if any(one != ours for one in rest):
        return "the engines differ"
    if answers["grpc"] == ours:
        return None
    allowed = {DIFFERENCES[fault][0] for fault in listed}
    if ours.code in allowed or ours.http_status in allowed or (0 in allowed and not ours.lost):
        return None
    return "the fronts differ"


async def test_a_few_hundred_calls_get_the_same_from_all() -> None:
    """The same ones each time."""
    await compare(range(SHORT), 1)


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_ten_thousand_calls_get_the_same_from_all() -> None:
    """Others each time."""
    await compare(range(LONG), random.SystemRandom().randrange(10**9))
