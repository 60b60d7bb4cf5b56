"""The live socket against a server that answers pings, is silent, or refuses."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import WSMsgType, web
from structlog.testing import capture_logs

from gateway.errors import PhoenixForbidden, PhoenixUnavailable
from gateway.phoenix.auth.socket import Opening
from gateway.phoenix.gamification.realtime import RealtimeClient, SocketClosed, SocketSettings
from gateway.phoenix.host_log import QUIET_S, HostLog
from gateway.resilience.clock import SystemClock
from tests.manual_clock import ManualClock

QUICK = SocketSettings(open_within_s=2, ping_after_s=0.1, pong_within_s=0.1)


@asynccontextmanager
async def server(*, pongs: bool = True, status: int = 0, pings: int = 0) -> AsyncIterator[tuple[str, list[str]]]:
    seen: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request.raw_path)
        if status:
            return web.Response(status=status)
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        for _ in range(pings):
            await socket.ping(b"there?")
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str("echo " + message.data)
            elif message.type is WSMsgType.PING and pongs:
                await socket.pong(message.data)
            seen.append(message.type.name)
        return socket

    app = web.Application()
    app.router.add_get("/{rest:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client() -> AsyncIterator[RealtimeClient]:
    opened = RealtimeClient(trust=ssl.create_default_context, clock=SystemClock(), settings=QUICK)
    try:
        yield opened
    finally:
        await opened.close()


async def test_the_path_and_query_go_out_as_signed() -> None:
    """Nothing is normalised or encoded again."""
    async with server() as (url, seen), client() as realtime:
        opening = Opening(path="/v1/leaderboards/t/a%2F%2E%2E/ws", query="timestamp=1&signature=hmac-sha256%3Dab")
        socket = await realtime.open(url, opening)
        await socket.send("hello")
        assert b"echo hello" == await socket.receive()
        await socket.close()
    assert "/v1/leaderboards/t/a%2F%2E%2E/ws?timestamp=1&signature=hmac-sha256%3Dab" == seen[0]


async def test_an_idle_socket_is_kept_by_pings() -> None:
    """As long as pongs come, nothing is wrong."""
    async with server() as (url, seen), client() as realtime:
        socket = await realtime.open(url, Opening(path="/ws"))
        receiving = asyncio.create_task(socket.receive())
        async with asyncio.timeout(5):
            while seen.count("PING") < 3:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)
        assert not receiving.done()
        receiving.cancel()
        await socket.close()


async def test_silence_is_noticed() -> None:
    """A peer that answers no ping is disconnected, and the error says that it was silent."""
    async with server(pongs=False) as (url, _), client() as realtime:
        socket = await realtime.open(url, Opening(path="/ws"))
        with pytest.raises(SocketClosed) as reported:
            await asyncio.wait_for(socket.receive(), 5)
        assert reported.value.silent
        await socket.close()


def test_silence_is_noticed_within_45_seconds() -> None:
    """By the settings that are used."""
    assert SocketSettings().ping_after_s + SocketSettings().pong_within_s < 45


async def test_pings_are_answered() -> None:
    """The vendor closes connections that do not."""
    async with server(pings=2) as (url, seen), client() as realtime:
        socket = await realtime.open(url, Opening(path="/ws"))
        await socket.send("x")
        await socket.receive()
        await socket.send("y")
        await socket.receive()
        assert 2 == seen.count("PONG")
        await socket.close()


async def test_a_refused_handshake_says_why() -> None:
    """By its status."""
    async with server(status=403) as (url, _), client() as realtime:
        with pytest.raises(PhoenixForbidden):
            await realtime.open(url, Opening(path="/ws"))


async def test_no_server_is_phoenix_unavailable() -> None:
    """Nothing listens on port 1."""
    async with client() as realtime:
        with pytest.raises(PhoenixUnavailable):
            await realtime.open("ws://127.0.0.1:1", Opening(path="/ws"))


def test_credentials_are_not_shown() -> None:
    """Neither the signature nor the token."""
    assert "secret" not in repr(Opening(path="/ws", query="signature=secret", headers={"authorization": "secret"}))


async def test_a_server_that_closes_each_socket_is_logged_once() -> None:
    """It opens them, and sends no board: the cause, once; then that it works again."""

    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if request.path == "/works":
            await socket.send_str("{}")
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_get("/{rest:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url, clock = f"ws://127.0.0.1:{runner.addresses[0][1]}", ManualClock()
    realtime = RealtimeClient(trust=ssl.create_default_context, clock=clock, settings=QUICK, hosts=HostLog(clock))
    try:
        with capture_logs() as lines:
            for _ in range(3):
                socket = await realtime.open(url, Opening(path="/fails"))
                with pytest.raises(SocketClosed):
                    await socket.receive()
                await socket.close()
            clock.advance(QUIET_S)
            socket = await realtime.open(url, Opening(path="/works"))
            await socket.receive()
            await socket.close()
    finally:
        await realtime.close()
        await runner.cleanup()
    assert [(line["event"], line["address"]) for line in lines] == [("not available", url), ("available again", url)]
    assert "sent no board" in lines[0]["trouble"]
