"""From sockets to surfaces: reads a request whole, applies faults, records, marks every answer as the sandbox's.

Beside `live` the only file that names aiohttp's server. A live socket branches off in `Front.handle`: an upgrade needs
the request itself.
"""

import asyncio
import logging
import time
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from gateway.sandbox.faults import Fault
from gateway.sandbox.wire import MARK, Call, Reply, Surface, refusal
from gateway.sandbox.world import World

MAX_READ_BYTES = 8 * 1024 * 1024
_CHUNK = b"\x00" * 65_536
_JSON_HEADERS = {"Content-Type": "application/json", MARK[0]: MARK[1]}
_log = logging.getLogger("gateway.sandbox")


class Front:
    """Serves one surface on one listener; pass `protocol` to `loop.create_server`."""

    def __init__(self, world: World, surface: Surface) -> None:
        self._world = world
        self._surface = surface
        self._server = _MarkingServer(
            self.handle,
            request_factory=_make_request,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=75.0,
            lingering_time=0.5,
            auto_decompress=False,  # signatures cover the bytes as sent
        )

    def protocol(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return self._server()

    async def close(self) -> None:
        """Drop all connections at once; calls in progress are cancelled."""
        await self._server.shutdown(timeout=0.001)  # 0 would mean: wait for ever

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        world, surface = self._world, self._surface
        path, _, query = request.raw_path.partition("?")
        method = request.method
        if surface.on_arrival is not None:
            surface.on_arrival(method, path)
        try:
            body = await request.read() if request.body_exists else b""
        except web.HTTPRequestEntityTooLarge:
            response = _respond(refusal(413, "body too large", "TOO_LARGE", "(size)"))
            response.force_close()
            return response
        if not request.raw_path.isascii():
            return _respond(refusal(400, "a path is percent-encoded ASCII", "BAD_PATH", "(path)"))
        call = Call(method, path, query, request.headers, body)
        live = surface.live if request.headers.get("Upgrade", "").lower() == "websocket" else None
        fault = world.faults.pick(surface.name, method, path) if surface.recorded and len(world.faults) else None
        if fault is None and live is not None:
            refused = live.refuse(call)
            self._note(call, request, "leaderboard_socket", refused.status if refused is not None else 101)
            return _respond(refused) if refused is not None else await live.serve(call, request)
        if fault is None:
            reply = await self._act(call)
            self._note(call, request, reply.route, reply.status)
            return _respond(reply)
        return await self._faulty(call, request, fault)

    async def _act(self, call: Call) -> Reply:
        try:
            reply = self._surface.act(call)
            return reply if isinstance(reply, Reply) else await reply
        except Exception:  # noqa: BLE001 - the sandbox's own fault must look like a server's, and be seen in its log
            _log.exception("sandbox fault on %s", self._surface.name)
            return refusal(500, "the sandbox itself failed", "SANDBOX_FAULT", "(sandbox)")

    def _note(self, call: Call, request: web.BaseRequest, route: str, status: int) -> None:
        if not self._surface.recorded:
            return
        record, name = self._world.record, self._surface.name
        record.counts[(name, route, status)] += 1
        if self._world.settings.record:
            record.add((time.time(), name, call.method, call.path, call.query, request.raw_headers, call.body, status))

    async def _faulty(self, call: Call, request: web.BaseRequest, fault: Fault) -> web.StreamResponse:
        """Carry out a fault: act if it acts first, wait, then fail in its way."""
        released = self._world.released
        reply: Reply | None = await self._act(call) if fault.act else None
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault.kind == "delay":
            reply = reply or await self._act(call)
            self._note(call, request, reply.route, reply.status)
            return _respond(reply)
        route = f"fault:{fault.kind}"
        if fault.kind in ("hang", "cut", "lose_answer", "half"):
            self._note(call, request, route, 0)
            if fault.kind == "hang":
                await released.wait()
            if fault.kind == "half":
                _send_half(request, reply or Reply(200, b"{}", route))
            return _cut(request, reset=fault.reset)
        self._note(call, request, route, fault.status)
        if fault.kind == "huge":
            return await _send_huge(request, fault)
        headers = dict(fault.headers)
        if fault.kind == "redirect":
            headers.setdefault("Location", "https://redirected.invalid" + call.path)
        return _respond(_of_fault(fault, route, headers))


class _MarkingServer(web.Server):
    """aiohttp's server, whose own error answers (a request that is no HTTP) carry the mark too."""

    def __call__(self) -> RequestHandler:
        return _MarkingProtocol(self, loop=self._loop, **self._kwargs)


class _MarkingProtocol(RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what never became a call; nothing of it is quoted."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        response = _respond(refusal(status, HTTPStatus(status).phrase, "BAD_HTTP", "(http)"))
        response.force_close()
        return response


def _make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_READ_BYTES)


def _respond(reply: Reply) -> web.Response:
    if not reply.headers and reply.content_type == "application/json":
        return web.Response(status=reply.status, body=reply.body, headers=_JSON_HEADERS)
    headers: dict[str, str] = dict(reply.headers)
    headers.setdefault("Content-Type", reply.content_type)
    headers[MARK[0]] = MARK[1]
    return web.Response(status=reply.status, body=reply.body, headers=headers)


def _of_fault(fault: Fault, route: str, headers: dict[str, str]) -> Reply:
    named = {name.lower() for name in headers}
    content_type = "application/json" if fault.kind == "garbage" else "text/plain"
    if fault.body[:1] in (b"{", b"["):
        content_type = "application/json"
    elif fault.body[:1] == b"<":
        content_type = "text/html"
    if "content-type" in named:
        content_type = next(value for name, value in headers.items() if name.lower() == "content-type")
    rest = tuple((name, value) for name, value in headers.items() if name.lower() != "content-type")
    return Reply(fault.status, fault.body, route, content_type, rest)


def _cut(request: web.BaseRequest, *, reset: bool) -> web.Response:
    """Close the connection; the response returned is never written, as its transport is gone."""
    transport: Any = request.transport
    if transport is not None:
        transport.abort() if reset else transport.close()
    response = web.Response()
    response.force_close()
    return response


def _send_half(request: web.BaseRequest, reply: Reply) -> None:
    """Write the head of an answer and half of its body."""
    transport: Any = request.transport
    if transport is None:
        return
    declared = max(len(reply.body), 2)
    head = (
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\nContent-Type: {reply.content_type}\r\n"
        f"{MARK[0]}: {MARK[1]}\r\nContent-Length: {declared}\r\n\r\n"
    )
    transport.write(head.encode() + reply.body[: declared // 2])


async def _send_huge(request: web.BaseRequest, fault: Fault) -> web.StreamResponse:
    response = web.StreamResponse(status=fault.status, headers={**dict(fault.headers), MARK[0]: MARK[1]})
    response.enable_chunked_encoding()
    response.force_close()
    try:
        await response.prepare(request)
        for _ in range(fault.megabytes * 1024 * 1024 // len(_CHUNK)):
            await response.write(_CHUNK)
    except ConnectionError:
        pass  # the reader had enough, which is what it should do
    return response
