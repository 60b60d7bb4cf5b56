"""The sandbox's live socket: who is let in, what it sends, how it fails."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

import aiohttp
import pytest

from tests.sandbox.client import Client
from tests.sandbox_process import SandboxProcess


def address(client: Client, *, at: int | None = None, secret: str | None = None, board: str = "xp") -> str:
    path = f"/v1/leaderboards/{client.tenant}/{board}/ws"
    timestamp = int(time.time()) if at is None else at
    key = (secret or client.environ["INGESTION_HMAC_SECRET"]).encode()
    digest = hmac.new(key, f"WS\n{path}\n{timestamp}".encode(), hashlib.sha256).hexdigest()
    return f"{client.sandbox.urls['query']}{path}?timestamp={timestamp}&signature=hmac-sha256%3D{digest}"


async def status_of(url: str) -> int:
    async with aiohttp.ClientSession() as session:
        try:
            async with session.ws_connect(url):
                return 101
        except aiohttp.WSServerHandshakeError as refused:
            return refused.status


@pytest.fixture
async def client(sandbox: SandboxProcess) -> Any:
    async with Client(sandbox) as opened:
        sandbox.control("POST", f"/boards/{opened.tenant}/xp", {"scores": {"ada": 5, "bob": 3}})
        sandbox.control("POST", "/sockets", {"reset": True})
        yield opened
        sandbox.control("POST", "/sockets", {"reset": True})


async def test_only_a_fresh_signature_of_an_active_board_is_let_in(client: Client) -> None:
    """401 for a wrong or old signature, 404 and 422 for the board."""
    now = int(time.time())
    client.sandbox.control("POST", f"/boards/{client.tenant}/off", {})
    client.sandbox.control("POST", f"/boards/{client.tenant}/off/status", {"status": "archived"})
    assert [101, 401, 401, 401, 404, 422] == [
        await status_of(address(client)),
        await status_of(address(client, secret="other")),
        await status_of(address(client, at=now - 400)),
        await status_of(address(client).split("&")[0]),
        await status_of(address(client, board="none")),
        await status_of(address(client, board="off")),
    ]


async def test_snapshot_update_page_and_heartbeat(client: Client) -> None:
    """In the order in which they are caused; every answer carries the sandbox's mark."""
    async with aiohttp.ClientSession() as session, session.ws_connect(address(client)) as socket:
        assert "true" == socket._response.headers["X-Phoenix-Sandbox"]
        snapshot = await socket.receive_json(timeout=5)
        await client.post("/v1/events", client.event("e-1", "bob", 9))
        update = await socket.receive_json(timeout=5)
        await socket.send_json({"type": "configure", "page_size": 1})
        await socket.send_json({"type": "request_page", "page": 1})
        page = await socket.receive_json(timeout=5)
        client.sandbox.control("POST", "/sockets", {"heartbeat_ms": 300})
        beat = await socket.receive_json(timeout=5)
    assert ["snapshot", "update", "page", "heartbeat"] == [each["type"] for each in (snapshot, update, page, beat)]
    assert [["ada", "bob"], ["bob", "ada"], ["bob"]] == [
        [entry["user_id"] for entry in each["entries"]] for each in (snapshot, update, page)
    ]


async def test_changes_tell_who_moved_and_who_left(client: Client) -> None:
    """The other form."""
    client.sandbox.control("POST", "/sockets", {"form": "changes"})
    async with aiohttp.ClientSession() as session, session.ws_connect(address(client)) as socket:
        await socket.receive_json(timeout=5)
        await client.post("/v1/events", client.event("e-2", "eve", 4))
        update = await socket.receive_json(timeout=5)
    reported = [(entry["rank"], entry["user_id"]) for entry in update["changes"]]
    assert ([(2, "eve"), (3, "bob")], [], 1) == (reported, update["removed"], update["sequence"])
