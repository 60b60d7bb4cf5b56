"""Makes a generated call over a connection of its own making, and says what came back in comparable form."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import unquote

import ngh2

from tests.front.differential.calls import Header, WireCall
from tests.front.http2.peer import Peer

_TRANSPORT = frozenset(
    {b":status", b"content-type", b"grpc-accept-encoding", b"accept-encoding", b"grpc-encoding", b"grpc-status"}
    | {b"grpc-message"}
)
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a call got. `metadata`: initial and trailing together; `lost`: the connection ended or nothing came."""

    http_status: bytes = b""
    code: int | None = None
    message: str = ""
    body: bytes = b""
    metadata: tuple[Header, ...] = ()
    reset: int | None = None
    lost: str = ""

    def __str__(self) -> str:
        body = self.body if len(self.body) < 40 else b"%d bytes" % len(self.body)
        shown = (self.http_status, self.code, self.message, body, self.metadata, self.reset, self.lost)
        return str(shown)


class Caller:
    """Calls one server, over one connection as long as that holds."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None
        self._peer: Peer | None = None

    async def call(self, call: WireCall, within_s: float = 3.0) -> Answer:
        """Make the call; return what came."""
        peer = await self._connected()
        peer.events.clear()
        stream = peer.connection.send_request(call.all_headers(), end_stream=call.ends and not any(call.pieces))
        if any(call.pieces):
            for number, piece in enumerate(call.pieces, 1):
                if _closed(peer, stream):
                    break
                last = number == len(call.pieces) and call.ends and call.trailers is None
                peer.connection.send_data(stream, piece, end_stream=last)
                await peer.until(lambda: True)
            if call.trailers is not None and not _closed(peer, stream):
                peer.connection.send_trailers(stream, call.trailers)
        try:
            await peer.until(lambda: _closed(peer, stream), within_s)
        except TimeoutError:
            await self.close()
            return Answer(lost="nothing came")
        answer = _answer(peer, stream)
        if call.faults or peer.is_closed or peer.goaways():
            await self.close()  # grpc remembers headers that it could not read, and refuses good ones for them
        return answer

    async def _connected(self) -> Peer:
        if self._peer is None:
            reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._peer = Peer(reader, self._writer, 0)
        self._peer.raw = b""
        return self._peer

    async def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
        self._writer = self._peer = None


def _closed(peer: Peer, stream: int) -> bool:
    return any(isinstance(one, ngh2.StreamClosed) and one.stream_id == stream for one in peer.events)


def _answer(peer: Peer, stream: int) -> Answer:
    headers: list[Header] = []
    body = b""
    reset: int | None = None
    for event in peer.events:
        if getattr(event, "stream_id", None) != stream:
            continue
        match event:
            case ngh2.ResponseReceived() | ngh2.TrailersReceived():
                headers += event.headers
            case ngh2.DataReceived():
                body += event.data
            case ngh2.StreamClosed():
                reset = event.error_code
    fields = dict(headers)
    code = fields.get(b"grpc-status")
    return Answer(
        http_status=fields.get(b":status", b""),
        code=None if code is None else int(code),
        message=unquote(fields.get(b"grpc-message", b"").decode()),
        body=body,
        metadata=tuple(sorted((name, _steady(name, value)) for name, value in headers if name not in _TRANSPORT)),
        reset=None if code is not None else reset,
        lost="the connection ended" if peer.is_closed and code is None else "",
    )


def _steady(name: bytes, value: bytes) -> bytes:
    """Return a value without what is new each time."""
    if name == b"x-gateway-process" or (name == b"x-request-id" and _UUID.fullmatch(value)):
        return b"new"
    return value.rstrip(b"=") if name.endswith(b"-bin") else value
