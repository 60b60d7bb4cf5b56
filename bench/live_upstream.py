"""A minimal Phoenix for the fan-out case: one leaderboard that changes ten times a second, over HTTP and WebSocket.

Each update is the whole board, about 9 kB at the watchers. The first entry's score holds the time of sending (see
`stamp`). The signature of the handshake is checked. Environment: INGESTION_HMAC_SECRET. It prints its port when it
serves.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import sys
import time

import orjson
from aiohttp import web

from bench.boards import ENTRIES, WINDOW, entries

UPDATES_PER_S = 10
_STAMPED = 1e9


def stamp(moment: float) -> float:
    """Return a score that holds the time of sending and is always the highest."""
    return _STAMPED + moment


def moment_of(score: float) -> float:
    """Return the time in a score of `stamp`, in monotonic seconds."""
    return score - _STAMPED


class LivePhoenix:
    """All sockets, and the number of sockets so far."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._open: set[web.WebSocketResponse] = set()
        self.opened = 0
        self.sent = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a page, a handshake or the counts."""
        if request.path == "/counts":
            return web.json_response({"opened": self.opened, "open": len(self._open), "sent": self.sent})
        if request.path.endswith("/ws"):
            return await self._serve_socket(request)
        return web.Response(body=self._page("page"), content_type="application/json")

    async def update(self) -> None:
        """Send an update to all sockets ten times a second, without end."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += 1 / UPDATES_PER_S
            await asyncio.sleep(max(0.0, due - loop.time()))
            self.sent += 1
            text = self._page("update").decode()
            for socket in list(self._open):
                await socket.send_str(text)

    async def _serve_socket(self, request: web.BaseRequest) -> web.StreamResponse:
        at = request.query.get("timestamp", "")
        tag = hmac.digest(self._secret, f"WS\n{request.path}\n{at}".encode(), "sha256").hex()
        if not hmac.compare_digest(request.query.get("signature", ""), f"hmac-sha256={tag}"):
            return web.Response(status=401)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(self._page("snapshot").decode())
        self.opened += 1
        self._open.add(socket)
        try:
            async for message in socket:
                if message.type is web.WSMsgType.TEXT and orjson.loads(message.data).get("type") == "request_page":
                    await socket.send_str(self._page("page").decode())
        finally:
            self._open.discard(socket)
        return socket

    def _page(self, kind: str) -> bytes:
        return orjson.dumps(
            {
                "type": kind,
                "sequence": self.sent,
                "window_key": WINDOW,
                "total": ENTRIES,
                "entries": entries(stamp(time.monotonic())),
            }
        )


async def serve() -> None:
    """Serve until the process ends."""
    phoenix = LivePhoenix(os.environ["INGESTION_HMAC_SECRET"].encode())
    server = web.Server(phoenix.handle)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    sys.stdout.write(f"{listener.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await phoenix.update()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve())
