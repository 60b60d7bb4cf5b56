"""The way to Phoenix and back: the only file that names the HTTP client.

httpx's transport interface over aiohttp's connections (httpcore's pool collapses at 50 concurrent calls). The adapter
is our own because the published one tells a lost answer as a failed connection, which would send an event twice, and
rewrites `%2E%2E` in paths that were signed. httpx's `Client` is not used: it keeps cookies, reads proxies from the
environment and follows what it is told to. One `send` is one request on the wire; trying again is `tries.py`'s matter.
Source: issue "The four calls", point 7.
"""

import asyncio
import math
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

import aiohttp
import httpx
import yarl

from gateway.phoenix.exchange import (
    DEFAULT_MAX_ANSWER_BYTES,
    Answer,
    AnswerGarbled,
    AnswerLost,
    NotSent,
    Request,
    TimedOut,
)
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
"""All that may leave; a `traceparent` or anything else of ours is a programming error and stops the send."""

KEPT_HEADERS = frozenset({b"age", b"content-type", b"date", b"etag", b"retry-after", b"x-request-id"})
"""What is taken out of an answer; cookies and the vendor's infrastructure headers go no further."""

_RAW_PATH = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@/%]*")
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings:
    """How connections are kept."""

    max_connections_per_host: int = 200
    """Connections at once to one host; past it calls wait within their deadline. Counted by host, so that an ingestion
    gateway that hangs cannot keep a wallet call from fetching the platform key."""
    connect_timeout_s: float = 3.0
    """Longest wait for one connection, TLS included; shorter than most deadlines, since it is safe to try again."""
    keepalive_s: float = 4.0
    """Idle time after which a connection is not used again. Less than the 5 s after which common servers close theirs,
    since a request that meets a closing connection may or may not have been read."""


def upstream_trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return whom an upstream's certificate may come from: the usual authorities, and those of `ca_file`.

    Raises: OSError, ssl.SSLError if the file cannot be read.
    """
    context = httpx.create_ssl_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


class Transport:
    """Sends requests over kept connections; TLS is always verified and no redirect is followed."""

    def __init__(self, *, ca_file: Path | None = None, settings: TransportSettings | None = None) -> None:
        """Prepare TLS; connections are made when they are needed.

        Args: `ca_file` is trusted besides the usual authorities. Raises: OSError, ssl.SSLError if it cannot be read.
        """
        self._settings = settings or TransportSettings()
        self._tls = upstream_trust(ca_file)
        self._wire: httpx.AsyncBaseTransport | None = None

    async def send(
        self, request: Request, deadline: Deadline, max_answer_bytes: int = DEFAULT_MAX_ANSWER_BYTES
    ) -> Answer:
        """Send once and return the whole answer, whatever its status.

        Cancelling closes the connection; the request may have been read then. Raises: NotSent, TimedOut, AnswerLost,
        AnswerGarbled; ValueError for a request that must not leave.
        """
        outgoing = _outgoing(request)
        remaining_s = deadline.remaining()
        if remaining_s <= 0:
            raise TimedOut("the deadline had passed before anything was sent", sent=False)
        # Nine tenths, so that this limit, after which certainly nothing left, runs out before the one around it.
        connect_s = min(self._settings.connect_timeout_s, remaining_s * 0.9)
        outgoing.extensions["timeout"] = {"connect": connect_s}
        if self._wire is None:
            self._wire = _AiohttpWire(self._tls, self._settings)
        try:
            async with asyncio.timeout(remaining_s):
                return await _exchange(self._wire, outgoing, max_answer_bytes)
        except TimeoutError:
            raise TimedOut("no whole answer within the deadline", sent=True) from None
        except httpx.ConnectTimeout:
            if connect_s < self._settings.connect_timeout_s:
                raise TimedOut("no connection within the deadline", sent=False) from None
            raise NotSent("no connection in time") from None
        except httpx.ConnectError as failure:
            raise NotSent(str(failure)) from None
        except httpx.DecodingError as failure:
            raise AnswerGarbled(str(failure)) from None
        except httpx.TransportError as failure:
            raise AnswerLost(str(failure)) from None

    async def close(self) -> None:
        """Close all connections; calls under way fail as AnswerLost."""
        if self._wire is not None:
            await self._wire.aclose()
            self._wire = None


async def _exchange(wire: httpx.AsyncBaseTransport, outgoing: httpx.Request, max_answer_bytes: int) -> Answer:
    """One request and its whole answer, read no further than the limit."""
    response = await wire.handle_async_request(outgoing)
    whole = False
    try:
        headers: dict[str, str] = {}
        for raw_name, raw_value in response.headers.raw:
            name = raw_name.lower()
            if name in KEPT_HEADERS:
                headers.setdefault(name.decode("ascii"), raw_value.decode("latin-1"))
            elif name == b"content-encoding" and raw_value.strip().lower() not in (b"", b"identity"):
                raise httpx.DecodingError("the answer is compressed, which was not asked for")
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.stream:  # type: ignore[union-attr]  # the wire below always gives an async stream
            size += len(chunk)
            if size > max_answer_bytes:
                raise httpx.DecodingError(f"the answer is larger than {max_answer_bytes} bytes")
            chunks.append(chunk)
        whole = True
        return Answer(status=response.status_code, headers=headers, body=b"".join(chunks))
    finally:
        if not whole:
            await response.aclose()


def _outgoing(request: Request) -> httpx.Request:
    """The request in httpx's words; the path travels as the `target` extension, which nothing normalises."""
    if request.method not in _METHODS:
        raise ValueError("not a method that is sent to Phoenix")
    if _RAW_PATH.fullmatch(request.raw_path) is None:
        raise ValueError("the path is not in the form that goes on the wire; encode its segments")
    for name in request.headers:
        if name.lower() not in SENT_HEADERS:
            raise ValueError(f"header {name!r} must not leave the gateway")
    target = f"{request.raw_path}?{request.raw_query}" if request.query else request.raw_path
    headers = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "phoenix-gateway", **request.headers}
    return httpx.Request(
        request.method,
        _base(request.url_base),
        headers=headers,
        content=request.body or None,
        extensions={"target": target.encode("ascii")},
    )


@lru_cache(maxsize=256)
def _base(url_base: str) -> httpx.URL:
    """The parsed base; parsing costs as much as the rest of a request's preparation."""
    url = httpx.URL(url_base)
    if url.scheme not in ("http", "https") or not url.host or url.raw_path != b"/" or url.userinfo or url.fragment:
        raise ValueError("a base URL is http(s)://host[:port], without path, query or user")
    return url


@lru_cache(maxsize=256)
def _origin(base: httpx.URL) -> str:
    """Scheme, host and port as aiohttp is to see them."""
    return str(base).rstrip("/")


class _AiohttpWire(httpx.AsyncBaseTransport):
    """httpx's transport interface over an aiohttp session that sends what it gets, once, and remembers nothing."""

    def __init__(self, tls: ssl.SSLContext, settings: TransportSettings) -> None:
        """Must be called inside the running loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=tls,
                limit=0,
                limit_per_host=settings.max_connections_per_host,
                keepalive_timeout=settings.keepalive_s,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
            auto_decompress=False,
            trust_env=False,
            middlewares=(_once,),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send and return the answer's head; its stream yields the body.

        Raises: ConnectError, ConnectTimeout if nothing left; other TransportErrors if something may have; DecodingError
        if what came back is not HTTP.
        """
        target: bytes = request.extensions["target"]
        try:
            response = await self._session.request(
                request.method,
                yarl.URL(_origin(request.url) + target.decode("ascii"), encoded=True),
                headers=_as_mapping(request.headers),
                data=request.content or None,
                allow_redirects=False,
                # No rounding up to whole seconds: the caller's own limit must be the later one.
                timeout=aiohttp.ClientTimeout(
                    connect=request.extensions["timeout"]["connect"], ceil_threshold=math.inf
                ),
            )
        except (aiohttp.ClientError, OSError) as failure:
            _raise_as_httpx(failure)
        return httpx.Response(
            response.status, headers=response.raw_headers, stream=_AiohttpBody(response), request=request
        )

    async def aclose(self) -> None:
        """Close the session with its connections."""
        await self._session.close()


class _AiohttpBody(httpx.AsyncByteStream):
    """The body of an answer as it arrives; leaving early closes the connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_chunked(_CHUNK_BYTES):
                yield chunk
        except (aiohttp.ClientError, OSError) as failure:
            _raise_as_httpx(failure)

    async def aclose(self) -> None:
        """Give the connection up: an answer that was not read to its end leaves it unusable."""
        self._response.close()


class _Broken(aiohttp.ClientError):
    """A connection that broke after it was made: a class of its own, which aiohttp does not try again by itself."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from its own second try, which it makes for GET, PUT and DELETE when a connection breaks."""
    try:
        return await handler(request)
    except _CERTAINLY_NOT_SENT:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as failure:
        raise _Broken from failure


_CERTAINLY_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ConnectionTimeoutError,
)


def _as_mapping(headers: httpx.Headers) -> Mapping[str, str]:
    return dict(headers.items())


def _raise_as_httpx(failure: Exception) -> NoReturn:
    """Say in httpx's words what happened, keeping "nothing left" and "something may have" apart."""
    match failure:
        case aiohttp.ConnectionTimeoutError():
            raise httpx.ConnectTimeout("no connection in time") from failure
        case aiohttp.ClientConnectorDNSError():
            raise httpx.ConnectError("the host name could not be resolved") from failure
        case aiohttp.ClientConnectorCertificateError():
            raise httpx.ConnectError("the server's certificate is not trusted") from failure
        case aiohttp.ClientConnectorSSLError():
            raise httpx.ConnectError("no TLS with the server") from failure
        case aiohttp.ClientConnectorError():
            raise httpx.ConnectError("no connection to the server") from failure
        case aiohttp.ClientResponseError():
            raise httpx.DecodingError("what came back is not HTTP") from failure
        case _:
            raise httpx.ReadError("the connection broke before the whole answer came") from failure
