"""Send one request to Phoenix with aiohttp and return its answer (ADR 0010).

This file prevents what must never happen: a lost answer reported as a request that never left, which would send an
event twice; a retry by the HTTP client; a path that differs from the signed one; a cookie, a proxy, a redirect. One
`send` is one request on the wire. `retry.py` tries again.
"""

import asyncio
import math
import re
import ssl
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import aiohttp
import yarl

from gateway.phoenix.http_types import (
    DEFAULT_MAX_ANSWER_BYTES,
    Answer,
    AnswerGarbled,
    AnswerLost,
    ExchangeFailed,
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
"""The headers that may leave. Any other header, such as `traceparent`, is a programming error and stops the send."""

KEPT_HEADERS = frozenset({b"age", b"content-type", b"date", b"etag", b"retry-after", b"x-request-id"})
"""The headers of an answer that are kept. Cookies and headers of Phoenix's infrastructure are dropped."""

_RAW_PATH = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@/%]*")
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


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


def upstream_trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return the authorities that may issue an upstream's certificate: the system's, and those of `ca_file`.

    OpenSSL reads SSL_CERT_FILE and SSL_CERT_DIR in place of the system's.

    Raises: OSError, ssl.SSLError if the file cannot be read.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


class Transport:
    """Sends requests over reused connections. It always verifies TLS and follows no redirect."""

    def __init__(self, *, ca_file: Path | None = None, settings: TransportSettings | None = None) -> None:
        """Prepare TLS. Connections are opened when needed.

        Args: `ca_file` is trusted in addition to the system's authorities.
        Raises: OSError, ssl.SSLError if it cannot be read.
        """
        self._settings = settings or TransportSettings()
        self._tls = upstream_trust(ca_file)
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, request: Request, deadline: Deadline, max_answer_bytes: int = DEFAULT_MAX_ANSWER_BYTES
    ) -> Answer:
        """Send once and return the whole answer, whatever its status.

        Cancelling closes the connection; the request may have been read then. Raises: NotSent, TimedOut, AnswerLost,
        AnswerGarbled; ValueError for a request that must not leave.
        """
        _check(request)
        target = f"{request.raw_path}?{request.raw_query}" if request.query else request.raw_path
        url = _url(_origin(request.url_base) + target)
        remaining_s = deadline.remaining()
        if remaining_s <= 0:
            raise TimedOut("the deadline had passed before anything was sent", sent=False)
        # Nine tenths, so that this limit, after which certainly nothing left, runs out before the one around it.
        connect_s = min(self._settings.connect_timeout_s, remaining_s * 0.9)
        try:
            async with asyncio.timeout(remaining_s):
                response = await self._connected().request(
                    request.method,
                    url,
                    headers={**_OWN_HEADERS, **request.headers},
                    data=request.body or None,
                    allow_redirects=False,
                    timeout=_connect_limit(connect_s),
                    middlewares=_ONCE if request.method in _RETRIED_BY_AIOHTTP else (),
                )
                return await _whole(response, max_answer_bytes)
        except TimeoutError as late:
            if not isinstance(late, aiohttp.ConnectionTimeoutError):
                raise TimedOut("no whole answer within the deadline", sent=True) from None
            if connect_s < self._settings.connect_timeout_s:
                raise TimedOut("no connection within the deadline", sent=False) from None
            raise NotSent("no connection in time") from None
        except (aiohttp.ClientError, OSError) as failure:
            raise _failure_of(failure) from None

    async def close(self) -> None:
        """Close all connections; calls under way fail as AnswerLost."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _connected(self) -> aiohttp.ClientSession:
        """Return the session, which changes no request and stores nothing. It is made inside the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._tls,
                    limit=0,
                    limit_per_host=self._settings.max_connections_per_host,
                    keepalive_timeout=self._settings.keepalive_s,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


async def _whole(response: aiohttp.ClientResponse, max_answer_bytes: int) -> Answer:
    """Return the answer, read up to the limit. An answer that is not read to its end costs the connection."""
    is_whole = False
    try:
        headers: dict[str, str] = {}
        for raw_name, raw_value in response.raw_headers:
            name = raw_name.lower()
            if name in KEPT_HEADERS:
                headers.setdefault(name.decode("ascii"), raw_value.decode("latin-1"))
            elif name == b"content-encoding" and raw_value.strip().lower() not in (b"", b"identity"):
                raise AnswerGarbled("the answer is compressed, and the request did not allow that")
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > max_answer_bytes:
                raise AnswerGarbled(f"the answer is larger than {max_answer_bytes} bytes")
            chunks.append(chunk)
        is_whole = True
        return Answer(status=response.status, headers=headers, body=b"".join(chunks))
    finally:
        if not is_whole:
            response.close()


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


@lru_cache(maxsize=256)
def _origin(url_base: str) -> str:
    """Return scheme, host and port. Cached, because parsing takes as long as preparing a request."""
    url = yarl.URL(url_base)
    if url.scheme not in ("http", "https") or not url.host or url != url.origin():
        raise ValueError("a base URL is http(s)://host[:port], without path, query or user")
    return str(url.origin())


@lru_cache(maxsize=1024)
def _url(text: str) -> yarl.URL:
    """Return an address whose path is sent as given: `encoded` keeps yarl from changing what was signed."""
    return yarl.URL(text, encoded=True)


@lru_cache(maxsize=16)
def _connect_limit(seconds: float) -> aiohttp.ClientTimeout:
    """Return the limit of connecting, not rounded up to whole seconds: the caller's deadline must come later."""
    return aiohttp.ClientTimeout(connect=seconds, ceil_threshold=math.inf)


class _Broken(aiohttp.ClientError):
    """A connection that broke after it was made. aiohttp does not retry this class."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from its own retry, which it makes when a reused connection breaks."""
    try:
        return await handler(request)
    except _CERTAINLY_NOT_SENT:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as failure:
        raise _Broken from failure


_ONCE = (_once,)
_RETRIED_BY_AIOHTTP = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""The methods that aiohttp retries."""
_OWN_HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "phoenix-gateway"}

_CERTAINLY_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ConnectionTimeoutError,
)


def _failure_of(failure: Exception) -> ExchangeFailed:
    """Return our error for the client's, keeping "nothing left" and "something may have left" apart."""
    match failure:
        case aiohttp.ClientConnectorDNSError():
            return NotSent("the host name could not be resolved")
        case aiohttp.ClientConnectorCertificateError():
            return NotSent("the server's certificate is not trusted")
        case aiohttp.ClientConnectorSSLError():
            return NotSent("no TLS with the server")
        case aiohttp.ClientConnectorError():
            return NotSent("no connection to the server")
        case aiohttp.ClientResponseError():
            return AnswerGarbled("what came back is not HTTP")
        case _:
            return AnswerLost("the connection broke before the whole answer came")
