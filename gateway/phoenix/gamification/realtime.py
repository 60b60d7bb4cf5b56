"""The live socket of a board: opens it with credentials, keeps it alive, and notices when it is silent or outdated.

It trusts the same authorities as `transport.py`. `auth/socket.py` makes the credentials, `core/wire_socket.py` reads
the messages, `socket_age.py` says when a socket is outdated, and the room `streams` reconnects.
Source: gamification.md 3.1, 3.5.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver

from gateway.errors import GatewayError, PhoenixUnavailable
from gateway.phoenix.answers import Surface, error_of
from gateway.phoenix.auth.socket import Opening
from gateway.phoenix.gamification.socket_age import AgeSettings, SocketAge
from gateway.phoenix.host_log import HostLog
from gateway.phoenix.http_types import Answer
from gateway.resilience.clock import Clock
from gateway.resilience.supervision import run_job

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""The same limit as for an answer over HTTP."""
_CLOSE_WITHIN_S = 1.0
_PART = "Phoenix live boards"
_BOARD_WITHIN_S = 5.0
"""A socket on which nothing arrived for so long counts as a failure. One that nobody wants any more may end earlier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketSettings:
    """How a socket is kept alive. Phoenix pings after 30 idle seconds; the gateway notices silence within 45."""

    open_within_s: float = 10.0
    ping_after_s: float = 20.0
    """Idle time after which the gateway pings."""
    pong_within_s: float = 20.0
    """How long to wait for any message after that ping."""
    age: AgeSettings = field(default_factory=AgeSettings)


class SocketClosed(Exception):
    """The socket is closed. `silent`: no message came for too long. `outdated`: the gateway wants a new one."""

    def __init__(self, *, silent: bool = False, outdated: bool = False) -> None:
        self.silent = silent
        self.outdated = outdated
        super().__init__("silent" if silent else "outdated" if outdated else "closed")


class BoardSocket:
    """One open socket."""

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, settings: SocketSettings, on_outcome: Callable[[bool], None]
    ) -> None:
        """Args: `on_outcome`: called once with whether the server sent anything before the socket was closed."""
        self._socket = socket
        self._settings = settings
        self._on_outcome = on_outcome
        self._has_outcome = False
        self._opened_at = asyncio.get_running_loop().time()
        self._is_outdated = False
        self._watch: asyncio.Task[None] | None = None

    def close_after(self, passed: Callable[[str], Awaitable[None]]) -> None:
        """Close the socket when `passed` returns, which gets the server's address; the reader gets SocketClosed."""
        address = (self._socket.get_extra_info("peername") or ("",))[0]

        async def watch() -> None:
            await passed(address)
            self._is_outdated = True
            await self._socket.close()

        self._watch = run_job("live-board-socket-age", watch())

    async def receive(self) -> bytes:
        """Return the next message. It answers pings and consumes pongs. Raises: SocketClosed."""
        pinged = False
        while True:
            patience_s = self._settings.pong_within_s if pinged else self._settings.ping_after_s
            try:
                message = await self._socket.receive(timeout=patience_s)
            except TimeoutError:
                if pinged:
                    raise SocketClosed(silent=True) from None
                pinged = True
                await self._guarded_ping()
                continue
            pinged = False
            match message.type:
                case aiohttp.WSMsgType.TEXT:
                    self._settle(True)
                    return str(message.data).encode("utf-8", "surrogatepass")
                case aiohttp.WSMsgType.BINARY:
                    self._settle(True)
                    return bytes(message.data)
                case aiohttp.WSMsgType.PING:
                    await self._pong(message.data)
                case aiohttp.WSMsgType.PONG:
                    pass
                case _:
                    if not self._is_outdated:
                        self._settle(False)
                    raise self._closed()

    async def send(self, message: str) -> None:
        """Send one message. Raises: SocketClosed."""
        try:
            await self._socket.send_str(message)
        except (aiohttp.ClientError, OSError, RuntimeError):  # aiohttp raises RuntimeError for a closed socket
            raise self._closed() from None

    async def close(self) -> None:
        """Close, and give the peer a moment to close too."""
        if asyncio.get_running_loop().time() - self._opened_at >= _BOARD_WITHIN_S:
            self._settle(False)
        self._has_outcome = True
        if self._watch is not None:
            self._watch.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_WITHIN_S):  # aiohttp waits that long after each message
                await self._socket.close()

    def _settle(self, is_answered: bool) -> None:
        if not self._has_outcome:
            self._has_outcome = True
            self._on_outcome(is_answered)

    def _closed(self) -> SocketClosed:
        return SocketClosed(outdated=self._is_outdated)

    async def _guarded_ping(self) -> None:
        try:
            await self._socket.ping()
        except (aiohttp.ClientError, OSError, RuntimeError):
            raise self._closed() from None

    async def _pong(self, data: bytes) -> None:
        try:
            await self._socket.pong(data)
        except (aiohttp.ClientError, OSError, RuntimeError):
            raise self._closed() from None


class RealtimeClient:
    """Opens sockets to Phoenix's query hosts; one for all tenants."""

    def __init__(
        self,
        *,
        trust: Callable[[], ssl.SSLContext],
        clock: Clock,
        settings: SocketSettings | None = None,
        resolver: AbstractResolver | None = None,
        hosts: HostLog | None = None,
    ) -> None:
        """Args: `trust`: called at the first socket, because loading the authorities takes start time and memory.

        `resolver`: finds the addresses of hosts; None: the system's. `hosts`: logs which hosts do not answer.
        """
        self._trust = trust
        self._clock = clock
        self._settings = settings or SocketSettings()
        self._resolver = resolver
        self._hosts = hosts
        self._age: SocketAge | None = None
        self._session: aiohttp.ClientSession | None = None

    async def open(self, base_url: str, opening: Opening) -> BoardSocket:
        """Open one socket. Args: `base_url`: `wss://host[:port]`.

        Raises: PhoenixUnavailable without a connection; the error of the handshake's status.
        """
        query = f"?{opening.query}" if opening.query else ""
        url = yarl.URL(base_url + opening.path + query, encoded=True)
        began_at = self._clock.monotonic()
        try:
            socket = await self._connected(url, opening)
        except GatewayError as fault:
            fault.address = base_url
            if self._hosts is not None:
                self._hosts.failed(_PART, base_url, fault, self._clock.monotonic() - began_at)
            raise
        opened = BoardSocket(socket, self._settings, functools.partial(self._note, base_url))
        if self._age is not None:
            opened.close_after(functools.partial(self._age.passed, str(url.host), url.port or 443))
        return opened

    def _note(self, base_url: str, is_answered: bool) -> None:
        """Log a host that opens sockets and sends no board."""
        if self._hosts is None:
            return
        if is_answered:
            self._hosts.answered(_PART, base_url)
        else:
            silent = PhoenixUnavailable("Phoenix opened the live socket and sent no board.")
            self._hosts.failed(_PART, base_url, silent, 0.0)

    async def _connected(self, url: yarl.URL, opening: Opening) -> aiohttp.ClientWebSocketResponse:
        try:
            async with asyncio.timeout(self._settings.open_within_s):
                return await self._ready().ws_connect(
                    url,
                    headers={"user-agent": "phoenix-gateway", **opening.headers},
                    autoping=False,
                    max_msg_size=MAX_MESSAGE_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_WITHIN_S),
                )
        except aiohttp.WSServerHandshakeError as refused:
            if refused.status < 300:
                raise PhoenixUnavailable("Phoenix did not open the live socket.") from None
            raise error_of(Answer(status=refused.status), Surface.QUERY, self._clock.now(), changes=False) from None
        except Exception as failure:
            raise PhoenixUnavailable("No connection to Phoenix's live socket.") from failure

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _ready(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = self._resolver or aiohttp.DefaultResolver()
            self._age = SocketAge(resolver, self._clock, self._settings.age)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._trust(), limit=0, resolver=resolver, use_dns_cache=False),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
            )
        return self._session
