"""Send one request to Phoenix over aiohttp's connections and return its answer (ADR 0010, 0026).

aiohttp keeps the connections and parses the answers. This file prevents what must never happen: a lost answer reported
as a request that never left, which would send an event twice; a path that differs from the signed one; a cookie, a
proxy, a redirect. One `send` is one request on the wire. `retry.py` tries again.
"""

import asyncio
import errno
import re
import socket
import ssl
import time
import zlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import yarl
from aiohttp.http_exceptions import HttpProcessingError

from gateway.phoenix.connections import Channel, Connections, ConnectionSettings, Host, as_channel
from gateway.phoenix.http_types import (
    DEFAULT_MAX_ANSWER_BYTES,
    Answer,
    AnswerGarbled,
    AnswerLost,
    AnswerOversized,
    ExchangeFailed,
    NotSent,
    OwnLimitReached,
    Request,
    TimedOut,
)
from gateway.phoenix.trust import following_trust
from gateway.resilience.deadline import Deadline
from gateway.resilience.descriptors import EXHAUSTED, lacks_descriptors
from gateway.telemetry.spans import CURRENT, REQUEST, child

SENT_HEADERS = frozenset(
    {
        "accept",
        "authorization",
        "cache-control",
        "content-type",
        "idempotency-key",
        "x-api-key",
        "x-operator-code",
        "x-operator-environment",
        "x-signature",
        "x-signature-timestamp",
        "x-tenant-id",
        "x-timestamp",
    }
)
"""The headers that may leave. Any other header, such as `traceparent`, is a programming error and stops the send."""

KEPT_HEADERS = frozenset({b"age", b"content-type", b"date", b"etag", b"retry-after", b"x-request-id"})
"""The headers of an answer that are kept. Cookies and headers of Phoenix's infrastructure are dropped."""

_RAW_PATH = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@/%]*")
_BREAKS_A_LINE = re.compile(r"[\r\n\0]")
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_SWITCHING_PROTOCOLS = 101
_KEEP_ALIVE = re.compile(rb"(?i)\btimeout\s*=\s*\"?(\d{1,6})")
_PLAIN = frozenset({b"", b"identity"})
_ZLIB = frozenset({b"gzip", b"x-gzip", b"deflate"})
_MAX_HEAD_LINE_BYTES = 256 * 1024
_RESOLVER_ERRORS = {getattr(socket, name): name for name in dir(socket) if name.startswith("EAI_")}
_MAX_HEADERS = 2000
"""More than any server sends by itself. A proxy may add long cookies or policies, which are dropped."""


class Transport:
    """Sends requests over reused connections. It always verifies TLS and follows no redirect."""

    def __init__(self, *, ca_file: Path | None = None, settings: ConnectionSettings | None = None) -> None:
        """Prepare TLS. Connections are opened when needed.

        Args: `ca_file` is trusted in addition to the system's authorities.
        Raises: OSError, ssl.SSLError if it cannot be read.
        """
        self._settings = settings or ConnectionSettings()
        self._connections = Connections(following_trust(ca_file), self._settings)
        self._hosts: dict[str, Host] = {}

    def send(
        self, request: Request, deadline: Deadline, max_answer_bytes: int = DEFAULT_MAX_ANSWER_BYTES
    ) -> Coroutine[Any, Any, Answer]:
        """Send once and return the whole answer, whatever its status.

        Cancelling closes the connection; the request may have been read then. Raises: NotSent, TimedOut, AnswerLost,
        AnswerGarbled; ValueError for a request that must not leave.
        """
        sending = self._send(request, deadline, max_answer_bytes)
        return sending if CURRENT.get() is None else _in_span(request, sending)

    async def _send(self, request: Request, deadline: Deadline, max_answer_bytes: int) -> Answer:
        host = self._hosts.get(request.url_base) or self._host(request.url_base)
        data = _wire_text(request, host.name)
        remaining_s = deadline.remaining()
        if remaining_s <= 0:
            raise TimedOut("the deadline had passed before anything was sent", sent=False)
        connection: aiohttp.connector.Connection | None = None
        answer: Answer | None = None
        try:
            async with asyncio.timeout(remaining_s):
                connection = await self._connections.take(host, is_repeatable=request.method == "GET")
                if deadline.expired:  # a paused process wakes up here
                    raise TimedOut("the deadline passed before anything was sent", sent=False)
                answer = await _exchange(connection, host, data, max_answer_bytes)
                return answer
        except Exception as failure:  # noqa: BLE001 - whatever the library raises, something may have left
            if connection is None:
                raise self._not_connected(failure, remaining_s) from None
            accepted = _accepted(request, as_channel(connection))
            if accepted is not None:
                return accepted
            raise _unanswered(failure, host, as_channel(connection)) from None
        finally:
            if connection is not None:
                self._connections.give_back(host, connection, is_whole=answer is not None)

    @property
    def is_crowded(self) -> bool:
        """Whether calls wait for a connection to some host because all of them are in use."""
        return any(self._connections.is_crowded(host) for host in self._hosts.values())

    async def close(self) -> None:
        """Close all connections; calls under way fail as AnswerLost."""
        await self._connections.close()

    def _host(self, url_base: str) -> Host:
        """Return what is kept of a host. Raises: ValueError for a base URL that has a path, query or user."""
        url = yarl.URL(url_base)
        if url.scheme not in ("http", "https") or not url.host or url != url.origin():
            raise ValueError("a base URL is http(s)://host[:port], without path, query or user")
        host = self._hosts[url_base] = self._connections.host(url.origin())
        return host

    def _not_connected(self, failure: Exception, remaining_s: float) -> ExchangeFailed:
        """Return our error for a failure before there was a connection: certainly nothing left."""
        if not isinstance(failure, TimeoutError):
            return _not_sent(failure)
        if self._settings.connect_timeout_s < remaining_s:
            return NotSent("no connection in time")
        return TimedOut("no connection within the deadline", sent=False)


async def _in_span(request: Request, sending: Coroutine[Any, Any, Answer]) -> Answer:
    """Send within a span that says where the request goes, without its path, which may hold the id of a user."""
    with child(REQUEST, request.method) as span:
        if span is not None:
            url = yarl.URL(request.url_base)
            span.set("http.request.method", request.method)
            span.set("url.scheme", url.scheme)
            span.set("server.address", url.host or "")
            span.set("server.port", url.port or 0)
        answer = await sending
        if span is not None:
            span.set("http.response.status_code", answer.status)
            if answer.status >= 400:
                span.failed(str(answer.status))
        return answer


async def _exchange(connection: aiohttp.connector.Connection, host: Host, data: bytes, max_answer_bytes: int) -> Answer:
    """Send the bytes of a request and return the whole answer, read up to the limit.

    Raises: AnswerGarbled; HttpProcessingError for what is not HTTP; aiohttp.ClientError, aiohttp.EofStream, OSError.
    """
    protocol = connection.protocol
    assert protocol is not None
    assert protocol.transport is not None
    protocol.set_response_params(
        read_until_eof=True,
        auto_decompress=False,
        max_line_size=_MAX_HEAD_LINE_BYTES,
        max_field_size=_MAX_HEAD_LINE_BYTES,
        max_headers=_MAX_HEADERS,
    )
    sent_at = time.monotonic()
    protocol.transport.write(data)
    message, content = await protocol.read()
    host.idle_time.answered(time.monotonic() - sent_at)
    while message.code < 200 and message.code != _SWITCHING_PROTOCOLS:
        message, content = await protocol.read()
    headers: dict[str, str] = {}
    encoding = b""
    for raw_name, raw_value in message.raw_headers:
        name = raw_name.lower()
        if name in KEPT_HEADERS:
            headers.setdefault(name.decode("ascii"), raw_value.decode("latin-1"))
        elif name == b"keep-alive":
            if (promised := _KEEP_ALIVE.search(raw_value)) is not None:
                host.idle_time.promised(float(promised[1]))
        elif name == b"content-encoding":
            encoding = raw_value.strip().lower()
    chunks: list[bytes] = []
    size = 0
    while chunk := await content.readany():
        size += len(chunk)
        if size > max_answer_bytes:
            raise _oversized(max_answer_bytes)
        chunks.append(chunk)
    body = b"".join(chunks)
    if encoding not in _PLAIN:
        body = _unpacked(body, encoding, max_answer_bytes)
    return Answer(status=message.code, headers=headers, body=body)


def _unpacked(body: bytes, encoding: bytes, max_bytes: int) -> bytes:
    """Return a body that a proxy compressed although the request asked it not to. Raises: AnswerGarbled."""
    if encoding not in _ZLIB:
        raise AnswerGarbled("the answer is compressed in a way that the request did not allow")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either header: gzip's or zlib's
    try:
        plain = unpacker.decompress(body, max_bytes + 1)
    except zlib.error:
        raise AnswerGarbled("the answer is not compressed as it says") from None
    if len(plain) > max_bytes:
        raise _oversized(max_bytes)
    if not unpacker.eof:
        raise AnswerGarbled("the answer is not compressed as it says")
    return plain


def _oversized(max_bytes: int) -> AnswerGarbled:
    """Return our error for an answer over the limit, as it came or unpacked."""
    # A smaller limit is the gateway's own, such as for a key: no request for less would help.
    kind = AnswerOversized if max_bytes >= DEFAULT_MAX_ANSWER_BYTES else AnswerGarbled
    return kind(f"the answer is larger than {max_bytes} bytes")


def _accepted(request: Request, channel: Channel) -> Answer | None:
    """Return the answer if its status has arrived and is all that the request needs."""
    status = channel.status
    if not request.status_suffices or status is None or not 200 <= status < 300:
        return None
    return Answer(status=status)


def _unanswered(failure: Exception, host: Host, channel: Channel) -> ExchangeFailed:
    """Return our error for a failure with a connection: unless it says otherwise, something may have left."""
    match failure:
        case AnswerGarbled() | TimedOut():
            return failure
        case TimeoutError():
            return TimedOut("no whole answer within the deadline", sent=True)
        case HttpProcessingError():
            return AnswerGarbled("what came back is not HTTP")
    was_stale = channel.uses > 1 and not channel.began
    if was_stale:
        host.idle_time.ended(channel.idle_s, time.monotonic())
    lost = AnswerLost("the connection broke before the whole answer came", was_stale=was_stale)
    lost.errno = _errno_of(failure)
    return lost


def _wire_text(request: Request, host: str) -> bytes:
    """Return the request as bytes of HTTP/1.1. Raises: ValueError for a request that must not leave."""
    _check(request)
    target = f"{request.raw_path}?{request.raw_query}" if request.query else request.raw_path
    lines = [f"{request.method} {target} HTTP/1.1\r\nhost: {host}\r\naccept-encoding: identity\r\n"]
    if "accept" not in request.headers:
        lines.append("accept: */*\r\n")
    for name, value in request.headers.items():
        lines.append(f"{name}: {value}\r\n")
    if request.body or request.method != "GET":
        lines.append(f"content-length: {len(request.body)}\r\n")
    lines.append("user-agent: phoenix-gateway\r\n\r\n")
    return "".join(lines).encode() + request.body


def _check(request: Request) -> None:
    """Raises: ValueError for a request that must not leave."""
    if request.method not in _METHODS:
        raise ValueError("not a method that is sent to Phoenix")
    if _RAW_PATH.fullmatch(request.raw_path) is None:
        raise ValueError("the path is not in the form that goes on the wire; encode its segments")
    if not request.headers.keys() <= SENT_HEADERS:
        for name in request.headers:
            if name.lower() not in SENT_HEADERS:
                raise ValueError(f"header {name!r} must not leave the gateway")
    if _BREAKS_A_LINE.search("".join(request.headers.values())) is not None:
        raise ValueError("a header value has a line break or NUL; it would end the header")


def _not_sent(failure: Exception) -> NotSent:
    """Return why no connection was made, without address or certificate."""
    found = _why_not_sent(failure)
    found.errno = found.errno or _errno_of(failure)
    return found


def _why_not_sent(failure: Exception) -> NotSent:
    if isinstance(failure, OSError) and (failure.errno in EXHAUSTED or lacks_descriptors()):
        # A name cannot be resolved without a descriptor either.
        return OwnLimitReached("the gateway has no file descriptors left for a connection")
    match failure:
        case NotSent():
            return failure
        case aiohttp.ClientConnectorDNSError():
            return NotSent("the host name could not be resolved")
        case aiohttp.ClientConnectorCertificateError():
            return NotSent("the server's certificate is not trusted")
        case aiohttp.ClientConnectorSSLError():
            return NotSent("no TLS with the server")
        case _:
            return NotSent("no connection to the server")


def _errno_of(failure: BaseException) -> str:
    """Return the name of the system's error, of the resolver's or of OpenSSL's; "" where there is none."""
    inner = getattr(failure, "certificate_error", None) or getattr(failure, "os_error", None) or failure
    if isinstance(inner, ssl.SSLError):
        return inner.reason or ""
    # aiohttp's resolver passes the resolver's own error on as the cause of an OSError without a number.
    found = next((one for one in (inner, inner.__cause__) if isinstance(one, OSError) and one.errno is not None), None)
    if found is None:
        return ""
    names = _RESOLVER_ERRORS if isinstance(found, socket.gaierror) else errno.errorcode
    return names.get(found.errno or 0, "")
