"""Send one request to Phoenix over aiohttp's connections and return its answer (ADR 0010, 0026).

aiohttp keeps the connections and parses the answers. This file prevents what must never happen: a lost answer reported
as a request that never left, which would send an event twice; a path that differs from the signed one; a cookie, a
proxy, a redirect. One `send` is one request on the wire. `retry.py` tries again.
"""

import asyncio
import math
import re
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import yarl
from aiohttp.http_exceptions import HttpProcessingError

from gateway.phoenix.http_types import (
    DEFAULT_MAX_ANSWER_BYTES,
    Answer,
    AnswerGarbled,
    AnswerLost,
    NotSent,
    Request,
    TimedOut,
)
from gateway.phoenix.trust import following_trust
from gateway.resilience.deadline import Deadline

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
_CONNECTIONS_TRIED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings:
    """How connections are kept."""

    max_connections_per_host: int = 200
    """Connections at once to one host; further calls wait within their deadline. The limit is for each host, so that an
    ingestion host that hangs cannot keep a wallet call from fetching the platform key."""
    connect_timeout_s: float = 3.0
    """Longest wait for one connection with TLS; shorter than most deadlines, because another try is safe."""
    keepalive_s: float = 4.0
    """Idle time after which a connection is not used again. Less than the 5 s after which common servers close theirs,
    because a request on a closing connection may or may not have been read."""


class _Origin:
    """Scheme, host and port, as aiohttp's pool wants them, and as the header `host` has them."""

    __slots__ = ("host", "request")

    def __init__(self, url: yarl.URL) -> None:
        self.request = aiohttp.ClientRequest("GET", url)
        self.host = self.request.headers["host"]


class Transport:
    """Sends requests over reused connections. It always verifies TLS and follows no redirect."""

    def __init__(self, *, ca_file: Path | None = None, settings: TransportSettings | None = None) -> None:
        """Prepare TLS. Connections are opened when needed.

        Args: `ca_file` is trusted in addition to the system's authorities.
        Raises: OSError, ssl.SSLError if it cannot be read.
        """
        self._settings = settings or TransportSettings()
        self._tls = following_trust(ca_file)
        # Not rounded up to whole seconds: the caller's deadline must come later.
        self._connect_limit = aiohttp.ClientTimeout(connect=self._settings.connect_timeout_s, ceil_threshold=math.inf)
        self._connector: aiohttp.TCPConnector | None = None
        self._origins: dict[str, _Origin] = {}

    async def send(
        self, request: Request, deadline: Deadline, max_answer_bytes: int = DEFAULT_MAX_ANSWER_BYTES
    ) -> Answer:
        """Send once and return the whole answer, whatever its status.

        Cancelling closes the connection; the request may have been read then. Raises: NotSent, TimedOut, AnswerLost,
        AnswerGarbled; ValueError for a request that must not leave.
        """
        origin = self._origins.get(request.url_base) or self._origin(request.url_base)
        data = _wire_text(request, origin.host)
        remaining_s = deadline.remaining()
        if remaining_s <= 0:
            raise TimedOut("the deadline had passed before anything was sent", sent=False)
        connection: aiohttp.connector.Connection | None = None
        answer: Answer | None = None
        try:
            async with asyncio.timeout(remaining_s):
                connection = await self._connection(origin)
                answer = await _exchange(connection, data, max_answer_bytes)
                return answer
        except TimeoutError:
            if connection is not None:
                raise TimedOut("no whole answer within the deadline", sent=True) from None
            if self._settings.connect_timeout_s < remaining_s:
                raise NotSent("no connection in time") from None
            raise TimedOut("no connection within the deadline", sent=False) from None
        except HttpProcessingError:
            raise AnswerGarbled("what came back is not HTTP") from None
        except (aiohttp.ClientError, aiohttp.EofStream, OSError) as failure:
            if connection is not None:
                raise AnswerLost("the connection broke before the whole answer came") from None
            raise _not_sent(failure) from None
        finally:
            if connection is not None:
                _give_back(connection, is_whole=answer is not None)

    async def close(self) -> None:
        """Close all connections; calls under way fail as AnswerLost."""
        if self._connector is not None:
            await self._connector.close()
            self._connector = None

    def _origin(self, url_base: str) -> _Origin:
        """Return what is prepared once for a host. Raises: ValueError for a base URL that has a path, query or user."""
        url = yarl.URL(url_base)
        if url.scheme not in ("http", "https") or not url.host or url != url.origin():
            raise ValueError("a base URL is http(s)://host[:port], without path, query or user")
        origin = self._origins[url_base] = _Origin(url.origin())
        return origin

    async def _connection(self, origin: _Origin) -> aiohttp.connector.Connection:
        """Return a connection that holds nothing of another call.

        Raises: aiohttp.ClientError, OSError, TimeoutError, NotSent; nothing was sent then.
        """
        if self._connector is None:  # made inside the running loop
            self._connector = aiohttp.TCPConnector(
                ssl=self._tls,
                limit=0,
                limit_per_host=self._settings.max_connections_per_host,
                keepalive_timeout=self._settings.keepalive_s,
            )
        for _ in range(_CONNECTIONS_TRIED):
            connection = await self._connector.connect(origin.request, [], self._connect_limit)
            protocol = connection.protocol
            if protocol is not None and protocol.transport is not None and not protocol.should_close:
                return connection
            connection.close()  # it ended meanwhile, or brought bytes that no call waits for
        raise NotSent("the server ends its connections, or sends before it was asked")


async def _exchange(connection: aiohttp.connector.Connection, data: bytes, max_answer_bytes: int) -> Answer:
    """Send the bytes of a request and return the whole answer, read up to the limit.

    Raises: AnswerGarbled; HttpProcessingError for what is not HTTP; aiohttp.ClientError, aiohttp.EofStream, OSError.
    """
    protocol = connection.protocol
    assert protocol is not None
    assert protocol.transport is not None
    protocol.set_response_params(read_until_eof=True, auto_decompress=False)
    protocol.transport.write(data)
    message, content = await protocol.read()
    while message.code < 200 and message.code != _SWITCHING_PROTOCOLS:
        message, content = await protocol.read()
    headers: dict[str, str] = {}
    for raw_name, raw_value in message.raw_headers:
        name = raw_name.lower()
        if name in KEPT_HEADERS:
            headers.setdefault(name.decode("ascii"), raw_value.decode("latin-1"))
        elif name == b"content-encoding" and raw_value.strip().lower() not in (b"", b"identity"):
            raise AnswerGarbled("the answer is compressed, and the request did not allow that")
    chunks: list[bytes] = []
    size = 0
    while chunk := await content.readany():
        size += len(chunk)
        if size > max_answer_bytes:
            raise AnswerGarbled(f"the answer is larger than {max_answer_bytes} bytes")
        chunks.append(chunk)
    return Answer(status=message.code, headers=headers, body=b"".join(chunks))


def _give_back(connection: aiohttp.connector.Connection, *, is_whole: bool) -> None:
    """Keep a connection for the next call only if nothing of this one is left: no part of its answer or its request."""
    transport = connection.transport
    if is_whole and transport is not None and not transport.get_write_buffer_size():
        connection.release()
        return
    if transport is not None:
        transport.abort()
    connection.close()


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
    match failure:
        case aiohttp.ClientConnectorDNSError():
            return NotSent("the host name could not be resolved")
        case aiohttp.ClientConnectorCertificateError():
            return NotSent("the server's certificate is not trusted")
        case aiohttp.ClientConnectorSSLError():
            return NotSent("no TLS with the server")
        case _:
            return NotSent("no connection to the server")
