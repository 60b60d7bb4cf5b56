"""`python -m bench.traced_gateways OUTPUT SECONDS`: the same call to gateways with and without traces, in one process.

Five whole gateways share the process: two without traces, two that sample no call, one that samples every call. Two
processes differ by up to 12 % in what the same call costs them (addresses in memory, how names hash), gateways of one
process by less than 1 %. Each has its own port. The client is in the process too, so calls to different gateways can
take turns within a millisecond, and what disturbs one (another process, a colder cache) disturbs the next. Its own CPU
time is not counted; that of all other threads is.

Writes the CPU time of a call in microseconds, by kind of call: `blocks`, one figure for each gateway of BLOCK, and
`sampled`, pairs without traces and with a span for every call. The rest of the settings is in the environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path

from bench import payloads
from bench.cases import EVENT_SERVICE, TOKEN_SERVICE
from bench.credentials import Credentials
from bench.http2 import Http2Error, grpc_message
from bench.http2_connection import Connection
from gateway.server.process.threads import patient_threads, prefer_one_poller, silence_grpc

CALLS = {
    "mint": (f"/{TOKEN_SERVICE}/MintLaunchJWT", payloads.mint_launch_jwt),
    "event": (f"/{EVENT_SERVICE}/SubmitEvent", payloads.submit_event),
}
SHARE_OF_TIME = {"mint": 0.4, "event": 0.6}
"""An event waits for Phoenix, and varies more."""
SAMPLED_SHARE = 0.1
BLOCK = ("off", "unsampled", "unsampled_again", "off_again")
"""Gateways that are compared call by call, in the order of their start: those without traces are first and last."""
IN_FLIGHT = 4
"""Calls of one round, all at once."""
SAMPLED_CALLS = 128
"""A batch of the exporter: each round of sampled calls sends its spans."""
_SPANS_LEAVE_S = 0.03
"""How long a batch has to be sent within its round."""
_WARM_UP = 100
"""Rounds of each gateway that are not counted."""


class Caller:
    """Makes the same call to one gateway."""

    def __init__(self, port: int, path: str, request: bytes) -> None:
        """Connect. Not in the thread of the event loop, which serves the other end."""
        self._connection = Connection("127.0.0.1", port, path)
        self._connection.open()
        self._message = grpc_message(request)
        self._left = 0
        self._own_s = 0.0
        self._answered: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Caller:
        asyncio.get_running_loop().add_reader(self._connection.fileno(), self._receive)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._connection.fileno())
        self._connection.close()

    async def cpu_us(self, groups: int = 1, wait_s: float = 0.0) -> float:
        """Make IN_FLIGHT calls at once, so many times; return the CPU time of one.

        Args: `wait_s`: what the process does so long after the last answer counts too. Raises: Http2Error, OSError.
        """
        loop = asyncio.get_running_loop()
        self._own_s = 0.0
        began = time.process_time()
        for _ in range(groups):
            answered = self._answered = loop.create_future()
            self._left = IN_FLIGHT
            own = time.process_time()
            for _ in range(IN_FLIGHT):
                self._connection.begin(0, self._message)
            self._connection.flush()
            self._own_s += time.process_time() - own
            await answered
        if wait_s:
            await asyncio.sleep(wait_s)
        return (time.process_time() - began - self._own_s) / (groups * IN_FLIGHT) * 1e6

    def _receive(self) -> None:
        began = time.process_time()
        assert self._answered is not None
        try:
            for ended in self._connection.receive():
                if ended.status != 0 or not ended.answer:
                    raise Http2Error(f"a call failed: {ended.status} {ended.text}")
                self._left -= 1
        except (Http2Error, OSError) as fault:
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            self._answered.set_exception(fault)
            return
        self._own_s += time.process_time() - began
        if not self._left and not self._answered.done():
            self._answered.set_result(None)


async def measure(seconds: float) -> dict[str, dict[str, list[list[float]]]]:
    """Start the gateways and return the CPU times."""
    found = {}
    async with AsyncExitStack() as stack:
        ports = await _start(stack)
        for kind, (path, make) in CALLS.items():
            (request,) = make(Credentials(), 1)
            async with AsyncExitStack() as callers:
                by_name = {
                    name: await callers.enter_async_context(await asyncio.to_thread(Caller, port, path, request))
                    for name, port in ports.items()
                }
                found[kind] = await _kind(by_name, seconds * SHARE_OF_TIME[kind])
    return found


async def _kind(callers: Mapping[str, Caller], seconds: float) -> dict[str, list[list[float]]]:
    for caller in callers.values():
        await caller.cpu_us(_WARM_UP)
    blocks = []
    order = list(BLOCK)
    until = time.monotonic() + seconds * (1 - SAMPLED_SHARE)
    while time.monotonic() < until:
        random.shuffle(order)
        block = {name: await callers[name].cpu_us() for name in order}
        blocks.append([block[name] for name in BLOCK])
    pairs: list[list[float]] = []
    order = ["off", "sampled"]
    until += seconds * SAMPLED_SHARE
    while time.monotonic() < until or not pairs:
        order.reverse()
        pair = {name: await callers[name].cpu_us(SAMPLED_CALLS // IN_FLIGHT, _SPANS_LEAVE_S) for name in order}
        pairs.append([pair["off"], pair["sampled"]])
    return {"blocks": blocks, "sampled": pairs}


async def _start(stack: AsyncExitStack) -> dict[str, int]:
    """Start the gateways as `gateway.server.run` does, with data below the working directory. Return ports by name."""
    from bench.servers import free_port  # imports grpc, as most of what follows does
    from gateway.config import FrontKind, load
    from gateway.resilience.clock import SystemClock
    from gateway.server.assembly.build import build
    from gateway.server.lifecycle import running
    from gateway.server.parts import parts_of
    from gateway.server.process.collector import set_up_collector
    from gateway.server.servers import build_servers
    from gateway.store.upgrade import FILE_NAME, Upgrade
    from gateway.telemetry import logs

    logs.configure("info", "json")
    stack.enter_context(logs.gathered(asyncio.get_running_loop().call_later))
    ports = {}
    for name in ("sampled", *BLOCK):
        ports[name] = free_port()
        config = load({**os.environ, **_environ(name, ports[name], free_port())})
        with patient_threads() if config.front is FrontKind.GRPC else nullcontext():
            gateway = build(config, SystemClock())
            servers = build_servers(config.listen, gateway.fronts, None)
            with Upgrade(config.data_dir / FILE_NAME) as upgrade:
                await upgrade.finished()
            await stack.enter_async_context(running(parts_of(gateway, servers)))
    set_up_collector()
    return ports


def _environ(name: str, port: int, admin_port: int) -> dict[str, str]:
    data = Path(name).absolute()
    data.mkdir(mode=0o700)
    own = {
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "GATEWAY_ADMIN_LISTEN": f"127.0.0.1:{admin_port}",
        "GATEWAY_DATA_DIR": str(data),
    }
    if name.startswith("off"):
        return own
    return {
        **own,
        "OTEL_EXPORTER_OTLP_ENDPOINT": os.environ["INGESTION_BASE_URL"],
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "1" if name == "sampled" else "0",
    }


def main() -> None:
    """Measure and write the result."""
    output, seconds = Path(sys.argv[1]), float(sys.argv[2])
    silence_grpc()  # before grpc is imported, and so is the next
    if os.environ["GATEWAY_FRONT"] == "grpc":
        prefer_one_poller()
    import uvloop

    output.write_text(json.dumps(uvloop.run(measure(seconds))), encoding="utf-8")


if __name__ == "__main__":
    main()
