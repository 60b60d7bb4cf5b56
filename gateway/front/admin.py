"""The admin port: liveness, readiness, metrics, public keys and channelz over HTTP for the gateway's operators.

It accepts only GET and HEAD, only known paths, no body and one request a connection, and it closes every connection
after a fixed time, so that it stays usable whoever else can reach it. It listens on loopback or a Unix socket unless
configured otherwise. No answer contains a secret, and an error answer never contains its cause.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import orjson
from aiohttp import web
from yarl import URL

from gateway.actions.admin.explain_call import MAX_ID_CHARS
from gateway.front.bounded_server import BoundedServer
from gateway.front.channelz import channelz_page
from gateway.front.metrics_page import MetricsPage
from gateway.front.published_keys import Page
from gateway.front.worker_peers import WorkerPeers
from gateway.telemetry.logs import log, where_raised
from gateway.telemetry.metrics import Metrics

Readiness = Mapping[str, Any]
"""What /readyz reports: `ready`, `services` with a flag each, and the reasons. `HealthWatch.readiness` makes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings:
    """The limits of the port."""

    connection_s: float = 10.0
    """Longest life of an HTTP connection, from accept to close. A scrape takes milliseconds."""
    max_connections: int = 64
    """Further connections are closed at once. Each uses a file descriptor that calls need."""
    max_line_bytes: int = 2048
    """Longest request line or header line."""


class Console(Protocol):
    """The web console; `gateway/console` is it."""

    def is_here(self, path: str) -> bool:
        """Whether the path is one of the console's."""
        ...

    async def answer(self, request: web.BaseRequest) -> web.Response | None:
        """Return the page; None where there is none for this visitor."""
        ...


class AdminAddressRefused(ValueError):
    """The address is unusable, or it is not loopback and other addresses are not allowed."""


class AdminServer:
    """Serves the port from `start` to `stop`."""

    def __init__(
        self,
        listen: str,
        metrics: Metrics,
        is_live: Callable[[], bool],
        is_ready: Callable[[], Readiness],
        *,
        allow_remote: bool = False,
        tls: ssl.SSLContext | None = None,
        settings: AdminSettings | None = None,
        pages: Sequence[Callable[[str], Page | None]] = (),
        evidence_head: Callable[[], Awaitable[bytes | None]] | None = None,
        what_is_off: Callable[[], Sequence[Mapping[str, str]]] = tuple,
        degraded: Callable[[], Mapping[str, str]] = dict,
        channelz: Callable[[str, str], Page | None] = channelz_page,
        asks_certificates: bool = False,
        listening: socket.socket | None = None,
        peers: WorkerPeers | None = None,
        has_traces: bool = False,
        explain: Callable[[str], Awaitable[Mapping[str, Any]]] | None = None,
        history: Callable[[], Mapping[str, Any]] | None = None,
        console: Console | None = None,
    ) -> None:
        """Args: `listen`: `host:port`, port 0 for a free one, or `unix:/path`; `pages`: they answer further paths.

        `evidence_head` answers /evidence/head; it returns None while the store is unavailable. Each of `pages` is asked
        in turn, with the path as sent. `what_is_off` and `degraded`, the parts that calls do without now, are reported
        with readiness. `channelz` answers its paths and queries. `asks_certificates`: every page but the probes is only
        for clients with a certificate. `listening`: a socket at that address that exists already. `peers`: the
        workers that answer together. `has_traces`: metrics have exemplars. `explain` answers /explain?id=ID,
        but not where anyone may ask. `history` answers /history, for another worker of the group. `console` answers
        the paths that are its own.
        Raises: AdminAddressRefused.
        """
        self._socket_path = listen.removeprefix("unix:") if listen.startswith("unix:") else ""
        self._host, self._port = "", 0
        if not self._socket_path:
            self._host, self._port = listen_address(listen, allow_remote=allow_remote)
        self._tls = tls
        self._metrics_page = MetricsPage(metrics, is_ready, peers, has_traces=has_traces)
        self._is_live = is_live
        self._is_ready = is_ready
        self._settings = settings or AdminSettings()
        self._pages = tuple(pages)
        self._evidence_head = evidence_head
        self._what_is_off = what_is_off
        self._degraded = degraded
        self._channelz = channelz
        self._asks_certificates = asks_certificates
        self._listening_socket = listening
        self._peers = peers
        self._explain = explain
        self._history = history
        self._console = console
        self._servers: list[asyncio.Server] = []
        self._http: BoundedServer | None = None

    async def start(self) -> None:
        """Start listening. Raises: OSError if the address is in use."""
        self._http = BoundedServer(
            self._answer,
            connection_s=self._settings.connection_s,
            max_connections=self._settings.max_connections,
            access_log=None,
            keepalive_timeout=self._settings.connection_s,
            lingering_time=0,
            max_line_size=self._settings.max_line_bytes,
            max_field_size=self._settings.max_line_bytes,
        )
        loop, options = asyncio.get_running_loop(), self._listening(self._tls)
        if self._listening_socket is not None:
            self._servers = [await loop.create_server(self._http, sock=self._listening_socket, **options)]
        elif self._socket_path:
            self._servers = [await loop.create_unix_server(self._http, self._socket_path, **options)]
        else:
            self._servers = [await loop.create_server(self._http, self._host, self._port, **options)]

    async def use_tls(self, tls: ssl.SSLContext) -> None:
        """Use this context for new connections. No connection is closed or refused during the change.

        The sockets stay open: a second listener on each replaces the first. Raises: OSError; then the previous context
        stays in use.
        """
        if self._http is None:
            raise RuntimeError("not started")
        loop, options = asyncio.get_running_loop(), self._listening(tls)
        servers: list[asyncio.Server] = []
        try:
            for one in [one for server in self._servers for one in server.sockets]:
                twin = socket.fromfd(one.fileno(), one.family, one.type)
                with ExitStack() as unless_served:
                    unless_served.callback(twin.close)
                    servers.append(await loop.create_server(self._http, sock=twin, **options))
                    unless_served.pop_all()
        except OSError:
            _close(servers)
            raise
        before, self._servers = self._servers, servers
        _close(before)

    def _listening(self, tls: ssl.SSLContext | None) -> dict[str, Any]:
        """Return the options of a listener."""
        if tls is not None:
            tls.set_alpn_protocols(["http/1.1"])
        handshake_s = None if tls is None else self._settings.connection_s
        return {"backlog": 64, "ssl": tls, "ssl_handshake_timeout": handshake_s}

    @property
    def address(self) -> str:
        """The address of the port: `host:port`, `[v6]:port` or `unix:/path`."""
        if not self._servers:
            raise RuntimeError("not started")
        if self._socket_path:
            return f"unix:{self._socket_path}"
        host, port = self._servers[0].sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def stop(self) -> None:
        """Close the port and every connection."""
        if not self._servers or self._http is None:
            return
        servers, self._servers = self._servers, []
        _close(servers)
        await self._http.close()
        for server in servers:
            await server.wait_closed()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        paths: dict[str, Callable[[], Awaitable[tuple[int, str, bytes]]]] = {
            "/healthz": self._health,
            "/readyz": self._readiness,
            "/metrics": partial(self._metrics_page.answer, ",".join(request.headers.getall("Accept", ()))),
            "/evidence/head": self._head,
            "/explain": partial(self._story, request.rel_url.query.get("id", "")),
        }
        if self._history is not None:
            paths["/history"] = self._past_hour
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        page = paths.get(request.rel_url.raw_path) or self._further(request.rel_url, headers)
        may_look = not self._asks_certificates or _has_certificate(request)
        if may_look and self._console is not None and self._console.is_here(request.rel_url.raw_path):
            shown = await self._from_console(request, self._console)
            if shown is not None:
                shown.headers.update(headers)
                shown.force_close()
                return shown
        if not may_look and request.rel_url.raw_path not in _PROBES:
            status, content_type, body = 403, _JSON, b'{"error":"client_certificate_required"}'
        elif page is None:
            status, content_type, body = 404, _JSON, b'{"error":"not_found"}'
        elif request.method not in ("GET", "HEAD"):
            status, content_type, body = 405, _JSON, b'{"error":"method_not_allowed"}'
            headers["Allow"] = "GET, HEAD"
        elif request.can_read_body:
            status, content_type, body = 413, _JSON, b'{"error":"no_body_expected"}'
        else:
            try:
                status, content_type, body = await page()
            except Exception as error:  # noqa: BLE001 - aiohttp would log the text of the exception
                log().error("admin page failed", path=request.rel_url.raw_path, **where_raised(error))
                status, content_type, body = 500, _JSON, b'{"error":"internal"}'
        response = web.Response(status=status, body=body, headers={**headers, "Content-Type": content_type})
        response.force_close()
        return response

    def _further(self, url: URL, headers: dict[str, str]) -> Callable[[], Awaitable[tuple[int, str, bytes]]] | None:
        """Return what shows a further page; add to `headers` how long a client may cache it."""
        found = self._channelz(url.raw_path, url.raw_query_string)
        if found is None:
            found = next((one for look in self._pages if (one := look(url.raw_path)) is not None), None)
        if found is None:
            return None
        max_age_s = found.max_age_s

        async def show() -> tuple[int, str, bytes]:
            if max_age_s:
                headers["Cache-Control"] = f"max-age={max_age_s}"
            return found.status, found.content_type, found.body

        return show

    async def _health(self) -> tuple[int, str, bytes]:
        live = self._is_live()
        return (200 if live else 503), _JSON, b'{"live":true}' if live else b'{"live":false}'

    async def _readiness(self) -> tuple[int, str, bytes]:
        if self._peers is not None:
            ready, report = await self._peers.readiness()
            return (200 if ready else 503), _JSON, orjson.dumps(report)
        answer = dict(self._is_ready())
        if switched_off := list(self._what_is_off()):
            answer["switched_off"] = switched_off
        if degraded := dict(self._degraded()):
            answer["degraded"] = degraded
        return (200 if answer["ready"] else 503), _JSON, orjson.dumps(answer)

    async def _from_console(self, request: web.BaseRequest, console: Console) -> web.Response | None:
        try:
            return await console.answer(request)
        except Exception as error:  # noqa: BLE001 - aiohttp would log the text of the exception
            log().error("console page failed", path=request.rel_url.raw_path, **where_raised(error))
            return web.Response(status=500, body=b'{"error":"internal"}', headers={"Content-Type": _JSON})

    async def _past_hour(self) -> tuple[int, str, bytes]:
        assert self._history is not None
        return 200, _JSON, orjson.dumps(self._history())

    async def _head(self) -> tuple[int, str, bytes]:
        if self._evidence_head is None:
            return 404, _JSON, b'{"error":"not_found"}'
        head = await self._evidence_head()
        return (503, _JSON, b'{"error":"store_unavailable"}') if head is None else (200, _JSON, head)

    async def _story(self, pasted: str) -> tuple[int, str, bytes]:
        if self._explain is None:
            return 404, _JSON, b'{"error":"not_found"}'
        if self._tls is not None and not self._asks_certificates:
            return 403, _JSON, b'{"error":"client_auth_required"}'
        wanted = pasted.strip()
        if not 0 < len(wanted) <= MAX_ID_CHARS:
            return 400, _JSON, b'{"error":"id_expected"}'
        return 200, _JSON, orjson.dumps(await self._explain(wanted))


_JSON = "application/json"
_PROBES = ("/healthz", "/readyz")
"""A kubelet and load balancers ask for these, and have no certificate."""


def _has_certificate(request: web.BaseRequest) -> bool:
    """Whether the client presented a certificate, which the handshake has verified then."""
    transport = request.transport
    return transport is not None and bool(transport.get_extra_info("peercert"))


def _close(servers: Sequence[asyncio.Server]) -> None:
    for server in servers:
        server.close()


def listen_address(listen: str, *, allow_remote: bool) -> tuple[str, int]:
    """Return host and port of `host:port` or `[v6]:port`. Raises: AdminAddressRefused, with the expected form."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise AdminAddressRefused("the admin address must be host:port, such as 127.0.0.1:9464")
    if not allow_remote and not _is_loopback(host):
        raise AdminAddressRefused(
            "the admin port has no TLS and asks for no names: listen on 127.0.0.1, or allow other addresses explicitly"
        )
    return host, int(port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may resolve to anything
