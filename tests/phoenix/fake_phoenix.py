"""A small HTTP server on a free port for the clients' tests: answers by route, keeps every request."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from gateway.phoenix.retry import RetryingSender
from gateway.phoenix.transport import Transport
from gateway.resilience.clock import SystemClock

CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived; `path` still encoded, with its query; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class FakePhoenix:
    """Routes are "METHOD /raw/path" without query, to a list of answers, the last of which repeats."""

    routes: dict[str, list[tuple[int, bytes]]]
    retrying: RetryingSender
    transport: Transport
    url: str = ""
    seen: list[Seen] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(request.method, request.raw_path, headers, await request.read()))
        answers = self.routes.get(f"{request.method} {request.raw_path.partition('?')[0]}", [(404, b"")])
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        return web.Response(status=status, body=body)


@asynccontextmanager
async def fake_phoenix(**routes: list[tuple[int, bytes]]) -> AsyncIterator[FakePhoenix]:
    """Serve these routes, with a real transport and RetryingSender to reach them."""
    transport = Transport()
    phoenix = FakePhoenix(routes=routes, retrying=RetryingSender(sender=transport, clock=CLOCK), transport=transport)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.BaseRequest)
        return await phoenix.handle(request)  # type: ignore[arg-type]  # the bare server gives BaseRequest

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    phoenix.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield phoenix
    finally:
        await transport.close()
        await runner.cleanup()
