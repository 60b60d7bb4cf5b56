"""The HTTP server of one listener: it reads requests, applies faults, records calls and marks every answer.

Only this file and `websocket` use aiohttp's server. `HttpServer.handle` passes a WebSocket handshake on early, because
an upgrade needs aiohttp's own request.
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
from gateway.sandbox.http_types import SANDBOX_HEADER, Call, Reply, Surface, error_reply
from gateway.sandbox.state import SandboxState

MAX_READ_BYTES = 8 * 1024 * 1024
_CHUNK = b"\x00" * 65_536
_JSON_HEADERS = {"Content-Type": "application/json", SANDBOX_HEADER[0]: SANDBOX_HEADER[1]}
_log = logging.getLogger("gateway.sandbox")


class HttpServer:
    """Serves one surface on one listener. Pass `protocol` to `loop.create_server`."""

    def __init__(self, state: SandboxState, surface: Surface) -> None:
        self._state = state
        self._surface = surface
        self._server = _Server(
            self.handle,
            request_factory=_make_request,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=75.0,
            lingering_time=0.5,
            auto_decompress=False,  # signatures cover the bytes as they were sent
        )

    def protocol(self) -> RequestHandler:
        """Return the protocol object for a new connection."""
        return self._server()

    async def close(self) -> None:
        """Close all connections at once and cancel the calls in progress."""
        await self._server.shutdown(timeout=0.001)  # 0 means no limit

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        state, surface = self._state, self._surface
        path, _, query = request.raw_path.partition("?")
        method = request.method
        if surface.on_arrival is not None:
            surface.on_arrival(method, path)
        try:
            body = await request.read() if request.body_exists else b""
        except web.HTTPRequestEntityTooLarge:
            response = _to_response(error_reply(413, "body too large", "TOO_LARGE", "(size)"))
            response.force_close()
            return response
        if not request.raw_path.isascii():
            return _to_response(error_reply(400, "the path must be percent-encoded ASCII", "BAD_PATH", "(path)"))
        call = Call(method, path, query, request.headers, body)
        live = surface.live if request.headers.get("Upgrade", "").lower() == "websocket" else None
        fault = state.faults.pick(surface.name, method, path) if surface.recorded and len(state.faults) else None
        if fault is None and live is not None:
            refused = live.check_handshake(call)
            self._record(call, request, "leaderboard_socket", refused.status if refused is not None else 101)
            return _to_response(refused) if refused is not None else await live.serve(call, request)
        if fault is None:
            reply = await self._handle_call(call)
            self._record(call, request, reply.route, reply.status)
            return _to_response(reply)
        return await self._apply_fault(call, request, fault)

    async def _handle_call(self, call: Call) -> Reply:
        try:
            reply = self._surface.handle(call)
            return reply if isinstance(reply, Reply) else await reply
        except Exception:  # noqa: BLE001 - a defect of the sandbox becomes a 500 and a log entry
            _log.exception("the sandbox failed on surface %s", self._surface.name)
            return error_reply(500, "the sandbox itself failed", "SANDBOX_FAULT", "(sandbox)")

    def _record(self, call: Call, request: web.BaseRequest, route: str, status: int) -> None:
        if not self._surface.recorded:
            return
        log, name = self._state.request_log, self._surface.name
        log.counts[(name, route, status)] += 1
        if self._state.settings.record:
            log.add((time.time(), name, call.method, call.path, call.query, request.raw_headers, call.body, status))

    async def _apply_fault(self, call: Call, request: web.BaseRequest, fault: Fault) -> web.StreamResponse:
        """Apply a fault: execute the call if the fault asks for it, wait, then fail."""
        hang_released = self._state.hang_released
        reply: Reply | None = await self._handle_call(call) if fault.act else None
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault.kind == "delay":
            reply = reply or await self._handle_call(call)
            self._record(call, request, reply.route, reply.status)
            return _to_response(reply)
        route = f"fault:{fault.kind}"
        if fault.kind in ("hang", "cut", "lose_answer", "half"):
            self._record(call, request, route, 0)
            if fault.kind == "hang":
                await hang_released.wait()
            if fault.kind == "half":
                _send_half(request, reply or Reply(200, b"{}", route))
            return _close_connection(request, reset=fault.reset)
        self._record(call, request, route, fault.status)
        if fault.kind == "huge":
            return await _send_huge(request, fault)
        headers = dict(fault.headers)
        if fault.kind == "redirect":
            headers.setdefault("Location", "https://redirected.invalid" + call.path)
        return _to_response(_fault_reply(fault, route, headers))


class _Server(web.Server):
    """aiohttp's server with `_Protocol`."""

    def __call__(self) -> RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class _Protocol(RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that is not valid HTTP, with the sandbox header and no text of the request."""
        if request.writer.output_size > 0:
            raise ConnectionError("cannot send an error: the response has already started")
        response = _to_response(error_reply(status, HTTPStatus(status).phrase, "BAD_HTTP", "(http)"))
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


def _to_response(reply: Reply) -> web.Response:
    if not reply.headers and reply.content_type == "application/json":
        return web.Response(status=reply.status, body=reply.body, headers=_JSON_HEADERS)
    headers: dict[str, str] = dict(reply.headers)
    headers.setdefault("Content-Type", reply.content_type)
    headers[SANDBOX_HEADER[0]] = SANDBOX_HEADER[1]
    return web.Response(status=reply.status, body=reply.body, headers=headers)


def _fault_reply(fault: Fault, route: str, headers: dict[str, str]) -> Reply:
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


def _close_connection(request: web.BaseRequest, *, reset: bool) -> web.Response:
    """Close the connection. aiohttp needs a response object, but never writes it."""
    transport: Any = request.transport
    if transport is not None:
        transport.abort() if reset else transport.close()
    response = web.Response()
    response.force_close()
    return response


def _send_half(request: web.BaseRequest, reply: Reply) -> None:
    """Write the headers of an answer and half of its body."""
    transport: Any = request.transport
    if transport is None:
        return
    declared = max(len(reply.body), 2)
    head = (
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\nContent-Type: {reply.content_type}\r\n"
        f"{SANDBOX_HEADER[0]}: {SANDBOX_HEADER[1]}\r\nContent-Length: {declared}\r\n\r\n"
    )
    transport.write(head.encode() + reply.body[: declared // 2])


async def _send_huge(request: web.BaseRequest, fault: Fault) -> web.StreamResponse:
    response = web.StreamResponse(
        status=fault.status, headers={**dict(fault.headers), SANDBOX_HEADER[0]: SANDBOX_HEADER[1]}
    )
    response.enable_chunked_encoding()
    response.force_close()
    try:
        await response.prepare(request)
        for _ in range(fault.megabytes * 1024 * 1024 // len(_CHUNK)):
            await response.write(_CHUNK)
    except ConnectionError:
        pass  # the client stops reading, as it should
    return response
