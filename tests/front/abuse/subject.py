"""A process that serves one engine's front to attackers: `python -m tests.front.abuse.subject ENGINE WAIT_S`.

It prints its ports and ends with its standard input. WAIT_S is the bound `broken_wait_s`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.actions.shared.call import Call, Peer
from gateway.front.http2.engine import Engine, EngineSettings
from gateway.front.http2.engines import MAX_STREAMS
from gateway.front.http2.gate import Gate
from gateway.front.http2.h2_engine import H2Engine
from gateway.front.http2.nghttp2_engine import Nghttp2Engine
from gateway.front.http2.server import Http2Server, ServerBounds
from gateway.interceptors.chain import Chain
from gateway.resilience.clock import SystemClock
from gateway.server.process.collector import set_up_collector
from tests.front.differential.handlers import ENDPOINTS

ROOT = Path(__file__).resolve().parents[3]
ENGINES: dict[str, Callable[[EngineSettings], Engine]] = {"nghttp2": Nghttp2Engine, "h2": H2Engine}
SETTINGS = {"nghttp2": EngineSettings(max_streams=MAX_STREAMS), "h2": EngineSettings()}
"""As the gateway makes them."""


def _unexpected(call: Call, error: BaseException) -> None:
    print(call.method, repr(error), file=sys.stderr, flush=True)


def _raised(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """End with what the loop would only log: a client must not fill the log either."""
    loop.default_exception_handler(context)
    os._exit(1)


async def main(engine: str, broken_wait_s: float) -> None:
    """Serve until the standard input ends: a listener for attackers, one for another caller, one gate for both."""
    asyncio.get_running_loop().set_exception_handler(_raised)
    clock = SystemClock()
    gate, servers, ports = Gate(clock), [], list[int]()
    for caller in ("attacker", "other"):
        server = Http2Server(
            {one.path: one for one in ENDPOINTS},
            Chain([]),
            clock,
            _unexpected,
            lambda: ENGINES[engine](SETTINGS[engine]),
            peer=Peer(address="", caller=caller),
            gate=gate,
            bounds=ServerBounds(broken_wait_s=broken_wait_s),
        )
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        await server.listen(listening, None)
        ports.append(listening.getsockname()[1])
        servers.append(server)
    set_up_collector()  # as the gateway does once it serves
    print(*ports, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for server in servers:
        await server.stop()


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """A subject that runs. `port` is for attackers."""

    pid: int
    port: int
    other_port: int


@contextmanager
def attacked(engine: str, broken_wait_s: float) -> Iterator[Attacked]:
    """Start a subject; it ends with the block, in which it must not crash."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.front.abuse.subject", engine, str(broken_wait_s)],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port, other_port = map(int, process.stdout.readline().split())
        yield Attacked(pid=process.pid, port=port, other_port=other_port)
        assert process.poll() is None, "the server crashed"
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
