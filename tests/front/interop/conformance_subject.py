"""The server that connectconformance starts: `python -m tests.front.interop.conformance_subject ENGINE`.

It reads a ServerCompatRequest behind its length from the standard input, answers with where it listens, and serves
ConformanceService until it is ended.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import status_pb2

from gateway.actions.shared.call import Call
from gateway.front.endpoint import endpoints_of
from gateway.front.http2.engine import EngineSettings
from gateway.front.http2.server import Http2Server, ServerBounds
from gateway.front.http2.wire import Header, parse_timeout
from gateway.interceptors.chain import Chain
from gateway.resilience.clock import SystemClock
from tests.front.interop.conformance_engine import BY_REQUEST_ID, ENGINES
from tests.front.interop.protos import message, service
from tests.front.interop.service import EchoedStatus

PROTO, PACKAGE = "conformance.proto", "connectrpc.conformance.v1"


def _class(name: str) -> Any:
    return message(PROTO, f"{PACKAGE}.{name}")


def _packed(one: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(one)
    return packed


def _wire(headers: Sequence[Any]) -> list[Header]:
    """Return metadata as it is sent; values of -bin names come as base64."""
    return [(one.name.lower().encode(), value.rstrip("=").encode()) for one in headers for value in one.value]


class ConformanceService:
    """Answers with what was asked for, and with what was received."""

    async def Unary(self, request: Any, call: Call) -> Any:
        return await self._one([request], call, _class("UnaryResponse"))

    async def IdempotentUnary(self, request: Any, call: Call) -> Any:
        return await self._one([request], call, _class("IdempotentUnaryResponse"))

    async def ClientStream(self, requests: AsyncIterator[Any], call: Call) -> Any:
        return await self._one([one async for one in requests], call, _class("ClientStreamResponse"))

    async def ServerStream(self, request: Any, call: Call) -> AsyncIterator[Any]:
        wanted = request.response_definition
        self._expect(wanted, call)
        for number, data in enumerate(wanted.response_data):
            info = self._info(call, [request]) if number == 0 else None
            yield await self._payload(_class("ServerStreamResponse"), wanted, data, info)
        self._end(wanted, call, [request] if not wanted.response_data else None)

    async def BidiStream(self, requests: AsyncIterator[Any], call: Call) -> AsyncIterator[Any]:
        wanted: Any = None
        full_duplex, sent, unseen = False, 0, list[Any]()
        async for request in requests:
            unseen.append(request)
            if wanted is None:
                wanted = request.response_definition
                full_duplex = request.full_duplex
                self._expect(wanted, call)
            if full_duplex:
                if sent == len(wanted.response_data):
                    break
                info = self._info(call, unseen, only_requests=sent > 0)
                yield await self._payload(_class("BidiStreamResponse"), wanted, wanted.response_data[sent], info)
                sent += 1
                unseen = []
        if wanted is None:
            return
        for number in range(sent, len(wanted.response_data)):
            info = self._info(call, unseen) if number == 0 else None
            yield await self._payload(_class("BidiStreamResponse"), wanted, wanted.response_data[number], info)
            sent += 1
        self._end(wanted, call, unseen if sent == 0 else None)

    async def _one(self, requests: list[Any], call: Call, answer: Any) -> Any:
        wanted = requests[0].response_definition if requests else _class("UnaryResponseDefinition")()
        self._expect(wanted, call)
        await asyncio.sleep(wanted.response_delay_ms / 1000)
        if wanted.WhichOneof("response") == "error":
            self._fail(wanted.error, call, requests)
        return answer(payload={"data": wanted.response_data, "request_info": self._info(call, requests)})

    async def _payload(self, answer: Any, wanted: Any, data: bytes, info: Any) -> Any:
        await asyncio.sleep(wanted.response_delay_ms / 1000)
        return answer(payload={"data": data, "request_info": info})

    def _expect(self, wanted: Any, call: Call) -> None:
        exchange = BY_REQUEST_ID[call.request_id]
        exchange.headers = _wire(wanted.response_headers)
        exchange.trailers = _wire(wanted.response_trailers)

    def _end(self, wanted: Any, call: Call, unseen: list[Any] | None) -> None:
        if wanted.HasField("error"):
            self._fail(wanted.error, call, unseen)

    def _fail(self, error: Any, call: Call, requests: list[Any] | None) -> None:
        details = list(error.details)
        if requests is not None:
            details.append(_packed(self._info(call, requests)))
        status = status_pb2.Status(code=error.code, message=error.message, details=details)
        exchange = BY_REQUEST_ID[call.request_id]
        exchange.details = base64.b64encode(status.SerializeToString()).rstrip(b"=")
        raise EchoedStatus(error.code, error.message)

    def _info(self, call: Call, requests: list[Any], *, only_requests: bool = False) -> Any:
        info = _class("ConformancePayload.RequestInfo")(requests=[_packed(one) for one in requests])
        if only_requests:
            return info
        found: dict[str, list[str]] = {}
        for name, value in BY_REQUEST_ID[call.request_id].received:
            if not name.startswith(b":"):
                found.setdefault(name.decode(), []).append(value.decode())
            if name == b"grpc-timeout":
                info.timeout_ms = int(parse_timeout(value.decode()) * 1000)
        for key, values in found.items():
            info.request_headers.add(name=key, value=values)
        return info


def _context(wanted: Any) -> ssl.SSLContext | None:
    if not wanted.use_tls:
        return None
    with tempfile.TemporaryDirectory() as folder:
        cert, key, ca = (Path(folder) / name for name in ("cert.pem", "key.pem", "ca.pem"))
        cert.write_bytes(wanted.server_creds.cert)
        key.write_bytes(wanted.server_creds.key)
        ca.write_bytes(wanted.client_tls_cert)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(cert, key)
        if wanted.client_tls_cert:
            context.load_verify_locations(ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


async def main(engine: str) -> None:
    """Serve until the runner ends this process."""
    size = int.from_bytes(sys.stdin.buffer.read(4), "big")
    wanted = _class("ServerCompatRequest").FromString(sys.stdin.buffer.read(size))
    servicer = ConformanceService()
    methods = service(PROTO, f"{PACKAGE}.ConformanceService").methods
    server = Http2Server(
        {one.path: one for one in endpoints_of(servicer, methods, f"{PACKAGE}.ConformanceService")},
        Chain([]),
        SystemClock(),
        lambda call, error: print(call.method, repr(error), file=sys.stderr, flush=True),
        lambda: ENGINES[engine](EngineSettings()),
        bounds=ServerBounds(message_bytes=wanted.message_receive_limit or 4 * 1024 * 1024, broken_wait_s=0),
    )
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    await server.listen(listening, _context(wanted))
    answer = _class("ServerCompatResponse")(
        host="127.0.0.1", port=listening.getsockname()[1], pem_cert=wanted.server_creds.cert
    ).SerializeToString()
    sys.stdout.buffer.write(len(answer).to_bytes(4, "big") + answer)
    sys.stdout.buffer.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
