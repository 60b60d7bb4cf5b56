"""A live socket whose host's name gets other addresses, or that is old. The server listens on all of 127.0.0.0/8."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.actions.boards.watch_leaderboard import OpenBoard
from gateway.actions.shared.directory import TenantDirectory
from gateway.core.board import Topic
from gateway.phoenix.auth.socket import Opening
from gateway.phoenix.gamification.realtime import RealtimeClient, SocketClosed, SocketSettings
from gateway.phoenix.gamification.socket_age import AgeSettings
from gateway.resilience.clock import SystemClock
from gateway.streams.hub import Hub
from gateway.streams.upstream import HubDependencies
from tests.actions.events.gated_phoenix import TENANT, room_of
from tests.phoenix.scripted_sender import ScriptedSender

HOST = "phoenix.test"
OPENING = Opening(path="/ws")
NEVER = AgeSettings(resolve_after_s=0.02)
ALWAYS = AgeSettings(resolve_after_s=0.02, max_age_s=0)


class Names(AbstractResolver):
    """DNS with one host, whose addresses the test changes. `asked` is set each time."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: list[str] | OSError = list(addresses)
        self.asked = 0
        self._changed = asyncio.Condition()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        async with self._changed:
            self.asked += 1
            self._changed.notify_all()
        if isinstance(self.addresses, OSError):
            raise self.addresses
        return [
            ResolveResult(hostname=host, host=each, port=port, family=socket.AF_INET, proto=0, flags=0)
            for each in self.addresses
        ]

    async def asked_again(self, times: int) -> None:
        """Wait until the addresses were asked for so many times more."""
        wanted = self.asked + times
        async with self._changed:
            await self._changed.wait_for(lambda: self.asked >= wanted)

    async def close(self) -> None:
        """Nothing is open."""


class Board:
    """A server that shows its score to each connection, and each change of it; `connected`: which address was used."""

    def __init__(self) -> None:
        self.score = 1
        self.connected: list[str] = []
        self.port = 0
        self._open: set[web.WebSocketResponse] = set()

    async def move(self) -> None:
        self.score += 1
        for each in list(self._open):
            await each.send_str(self._page())

    def _page(self) -> str:
        entry = {"rank": 1, "user_id": "a", "score": self.score}
        return json.dumps({"type": "snapshot", "sequence": self.score, "entries": [entry]})

    @asynccontextmanager
    async def serving(self, address: str = "0.0.0.0") -> AsyncIterator[None]:
        async def handle(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            self.connected.append(request.transport.get_extra_info("sockname")[0])
            opened = web.WebSocketResponse()
            await opened.prepare(request)
            self._open.add(opened)
            await opened.send_str(self._page())
            async for _ in opened:
                pass
            self._open.discard(opened)
            return opened

        app = web.Application()
        app.router.add_get("/{rest:.*}", handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, address, 0).start()
        self.port = runner.addresses[0][1]
        try:
            yield
        finally:
            await runner.cleanup()


@asynccontextmanager
async def realtime(names: Names, age: AgeSettings) -> AsyncIterator[RealtimeClient]:
    settings = SocketSettings(age=age)
    client = RealtimeClient(trust=ssl.create_default_context, clock=SystemClock(), settings=settings, resolver=names)
    try:
        yield client
    finally:
        await client.close()


async def outdated(receiving: asyncio.Future[bytes]) -> bool:
    with pytest.raises(SocketClosed) as reported:
        await asyncio.wait_for(receiving, 10)
    return reported.value.outdated


async def test_a_change_of_dns_closes_the_socket() -> None:
    """Though its server still works; the next socket goes to the new address."""
    board, names = Board(), Names("127.0.0.1")
    async with board.serving(), realtime(names, NEVER) as client:
        url = f"ws://{HOST}:{board.port}"
        opened = await client.open(url, OPENING)
        await opened.receive()
        receiving = asyncio.ensure_future(opened.receive())
        await names.asked_again(3)
        assert not receiving.done()
        names.addresses = ["127.0.0.2"]
        assert await outdated(receiving)
        await opened.close()
        again = await client.open(url, OPENING)
        await again.receive()
        await again.close()
    assert board.connected == ["127.0.0.1", "127.0.0.2"]


@pytest.mark.parametrize("addresses", [["127.0.0.2"], [], OSError("no name server")], ids=["refused", "none", "error"])
async def test_a_socket_stays_while_no_new_address_takes_connections(addresses: Any) -> None:
    """An old one is better than none."""
    board, names = Board(), Names("127.0.0.1")
    async with board.serving("127.0.0.1"), realtime(names, ALWAYS if addresses else NEVER) as client:
        opened = await client.open(f"ws://{HOST}:{board.port}", OPENING)
        names.addresses = addresses
        await opened.receive()
        receiving = asyncio.ensure_future(opened.receive())
        await names.asked_again(4)
        assert not receiving.done()
        await board.move()
        assert b'"score": 2' in await asyncio.wait_for(receiving, 10)
        await opened.close()


async def test_an_old_socket_is_closed() -> None:
    """Even if its address is still right."""
    board = Board()
    async with board.serving(), realtime(Names("127.0.0.1"), ALWAYS) as client:
        opened = await client.open(f"ws://{HOST}:{board.port}", OPENING)
        await opened.receive()
        assert await outdated(asyncio.ensure_future(opened.receive()))
        await opened.close()


async def test_a_closed_socket_is_not_watched() -> None:
    """Its task ends with it."""
    board, names = Board(), Names("127.0.0.1")
    async with board.serving(), realtime(names, NEVER) as client:
        opened = await client.open(f"ws://{HOST}:{board.port}", OPENING)
        (watch,) = [task for task in asyncio.all_tasks() if task.get_name() == "live-board-socket-age"]
        await opened.close()
        await asyncio.wait([watch], timeout=10)
        assert watch.cancelled()


def test_a_change_of_dns_is_followed_within_a_minute() -> None:
    """By the settings that are used."""
    assert AgeSettings().resolve_after_s + AgeSettings().connect_within_s < 60


async def test_watchers_lose_no_change_when_sockets_are_replaced() -> None:
    """The score moves at any moment of the replacements; the watcher ends with the last one and never goes back."""
    board, clock, seen = Board(), SystemClock(), [0]
    async with board.serving(), realtime(Names("127.0.0.1"), ALWAYS) as client:
        url = f"ws://{HOST}:{board.port}"
        tenant = replace(room_of(ScriptedSender()), socket_base_url=url, authorize_socket=lambda _: OPENING)
        hub = Hub(
            HubDependencies(
                open_topic=OpenBoard(TenantDirectory({TENANT: tenant}), client, clock),
                encode=lambda page, *_: b"%d" % page.entries[0].score,
                clock=clock,
                new_epoch=lambda: uuid.uuid4().hex,
                random=lambda: 0.5,
            )
        )
        async with asyncio.timeout(30), hub.subscribe(Topic(TENANT, "xp"), 100) as watcher:
            while len(board.connected) < 6:
                await board.move()
                while seen[-1] < board.score:
                    seen.append(int((await watcher.take()).update.payload))
        await hub.close()
    assert seen == sorted(seen)
