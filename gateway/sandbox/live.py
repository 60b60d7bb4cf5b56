"""The live socket of a board: signature check, snapshot, `configure`, `request_page`, heartbeats, updates, faults.

Source: Real-time Updates (chapter 3). Assumptions, as the vendor shows no server message: types `snapshot`, `update`,
`page`, `heartbeat`; a `sequence` that counts the updates of a connection; an update is the whole page (`form` "pages")
or the entries that stand elsewhere and who left (`form` "changes"); a refused handshake is 401, 403, 404 or 422.
"""

import asyncio
import random
from typing import Any
from urllib.parse import unquote

import orjson
from aiohttp import WSMsgType, web

from gateway.sandbox.access import Refused, check_caller
from gateway.sandbox.boards import Board
from gateway.sandbox.checks import is_timely, same_text, socket_signature
from gateway.sandbox.shapes import Entry, entry_json
from gateway.sandbox.wire import MARK, BadPath, Call, Reply, refusal, segments_of
from gateway.sandbox.world import World

FAULTS = ("cut", "garbage", "half", "duplicate", "reorder", "unknown")
ROUTE = "leaderboard_socket"
_LOOK_EVERY_S = 0.002
_PAGE_SIZE = 100


class BadLiveWish(ValueError):
    """A control call about sockets that makes no sense; the text says why."""


class Live:
    """All live sockets of the query host, and how they misbehave."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._open: set[_Socket] = set()
        self.opened = 0
        self.form = "pages"
        self.heartbeat_s = 15.0
        self.is_mute = False
        self.faults: dict[str, float] = {}
        self.chance = random.Random(0)
        self.heard: list[dict[str, Any]] = []

    def refuse(self, call: Call) -> Reply | None:
        """Return why this handshake is refused, None when it is not."""
        try:
            board = self._find(call)
        except BadPath as bad:
            return refusal(400, str(bad), "BAD_PATH", ROUTE)
        except Refused as refused:
            return refused.reply(ROUTE)
        if isinstance(board, Reply):
            return board
        if board.status != "active":
            return refusal(422, f"leaderboard is {board.status}", "BOARD_NOT_ACTIVE", ROUTE)
        return None

    async def serve(self, call: Call, request: web.BaseRequest) -> web.StreamResponse:
        """Serve a handshake that `refuse` let pass, until the connection ends."""
        board = self._find(call)
        assert isinstance(board, Board)
        response = web.WebSocketResponse(heartbeat=None, autoping=True)
        response.headers[MARK[0]] = MARK[1]
        await response.prepare(request)
        socket = _Socket(self, self._world, board, response, request)
        self._open.add(socket)
        self.opened += 1
        try:
            await socket.run()
        finally:
            self._open.discard(socket)
        return response

    def _find(self, call: Call) -> Board | Reply:
        """Return the board of a call whose credentials hold; raises Refused."""
        match segments_of(call.path):
            case ["v1", "leaderboards", tenant_id, board_id, "ws"]:
                self._check_signature(call, tenant_id)
            case ["v1", "leaderboards", board_id, "ws"]:
                (tenant_id, *_) = check_caller(call, self._world).tenants
            case _:
                return refusal(404, "no such route", "NOT_FOUND", ROUTE)
        board = self._world.logs[tenant_id].boards.get(board_id)
        return board or refusal(404, "leaderboard not found", "LEADERBOARD_NOT_FOUND", ROUTE)

    def _check_signature(self, call: Call, tenant_id: str) -> None:
        parameters = call.parameters()
        timestamp, signature = parameters.get("timestamp"), parameters.get("signature")
        if timestamp is None or signature is None:
            raise Refused("AUTH_002")
        if not is_timely(timestamp, self._world.now()):
            raise Refused("AUTH_004")
        tenant = self._world.tenants.get(tenant_id)
        # The unencoded path is what is signed (Assumption); ids of plain characters have only one spelling.
        paths = {call.path, unquote(call.path)}
        if tenant is None or not any(
            same_text(signature, socket_signature(secret, path, timestamp))
            for path in paths
            for secret in tenant.hmac_secrets
        ):
            raise Refused("AUTH_001")

    def told(self) -> dict[str, Any]:
        """Return what control shows."""
        return {
            "open": len(self._open),
            "opened": self.opened,
            "form": self.form,
            "heartbeat_ms": int(self.heartbeat_s * 1000),
            "mute": self.is_mute,
            "faults": self.faults,
            "heard": self.heard[-200:],
        }

    async def control(self, body: dict[str, Any]) -> object:
        """Change manners: {"form"?, "heartbeat_ms"?, "mute"?, "faults"?: {kind: probability}, "cut"?, "reset"?}."""
        faults = body.get("faults", self.faults)
        if not isinstance(faults, dict) or any(
            name not in FAULTS or not isinstance(value, int | float) or not 0 <= value <= 1
            for name, value in faults.items()
        ):
            raise BadLiveWish(f"faults: probabilities of {', '.join(FAULTS)}")
        if body.get("form", self.form) not in ("pages", "changes"):
            raise BadLiveWish("form: pages or changes")
        if body.get("reset"):
            self.opened, self.heard, faults, self.form = 0, [], {}, "pages"
            self.heartbeat_s, self.is_mute = 15.0, False
        self.form = body.get("form", self.form)
        self.faults = faults
        self.is_mute = body.get("mute", self.is_mute) is True
        self.heartbeat_s = int(body.get("heartbeat_ms", self.heartbeat_s * 1000)) / 1000
        if body.get("cut"):
            for socket in list(self._open):
                socket.cut()
        return self.told()


class _Socket:
    """One connection with its saved settings."""

    def __init__(
        self, live: Live, world: World, board: Board, response: web.WebSocketResponse, request: web.BaseRequest
    ) -> None:
        self._live = live
        self._world = world
        self._tenant_id, self._board_id = board.tenant_id, board.leaderboard_id
        self._log = world.logs[board.tenant_id]
        self._response = response
        self._transport: Any = request.transport
        self._size = _PAGE_SIZE
        self._top_n: int | None = None
        self._window_key: str | None = None
        self._sequence = 0
        self._shown: dict[str, Entry] = {}
        self._shown_key = ""
        self._held: str | None = None
        self._due = asyncio.Event()

    def cut(self) -> None:
        """Break the connection."""
        if self._transport is not None:
            self._transport.abort()

    async def run(self) -> None:
        """Serve until the connection ends."""
        writer = asyncio.create_task(self._write())
        try:
            async for message in self._response:
                if message.type is WSMsgType.TEXT:
                    self._heard(message.data)
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        await self._send(self._as_page("snapshot"))
        seen, beat_at = self._state(), loop.time()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            board = self._board()
            if self._world.logs.get(self._tenant_id) is not self._log or (board and board.status != "active"):
                self.cut()  # the sandbox was reset, or the board was switched off
                return
            if self._live.is_mute:
                continue
            if self._state() != seen:
                seen, beat_at = self._state(), loop.time()
                await self._update()
            if self._due.is_set():
                self._due.clear()
                await self._send(self._as_page("page"))
            elif loop.time() - beat_at >= self._live.heartbeat_s:
                beat_at = loop.time()
                await self._send(self._text({"type": "heartbeat"}))
            elif self._held is not None:
                held, self._held = self._held, None
                await self._response.send_str(held)

    def _heard(self, text: str) -> None:
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            return
        self._live.heard.append(message)
        size = message.get("page_size")
        if message.get("type") == "request_page":
            self._due.set()
        elif message.get("type") == "configure":
            self._size = size or self._size
            self._window_key = message.get("window_key") or self._window_key
            wanted = message.get("filter")
            if isinstance(wanted, dict) and wanted.get("type") == "top_n":
                self._top_n = wanted.get("n")

    def _board(self) -> Board | None:
        return self._log.boards.get(self._board_id)

    def _state(self) -> object:
        board = self._board()
        return None if board is None else (id(board), board.window.key, board.window.changes)

    def _entries(self) -> tuple[str, list[Entry], int]:
        board = self._board()
        window = None if board is None else board.find_window(self._window_key)
        if window is None:
            return "", [], 0
        size = self._size if self._top_n is None else min(self._size, self._top_n)
        return window.key, window.entries(0, size), len(window.scores)

    def _as_page(self, kind: str) -> str:
        key, entries, total = self._entries()
        self._shown, self._shown_key = {entry[1]: entry for entry in entries}, key
        return self._text({"type": kind, "window_key": key, "total": total, "entries": self._listed(entries)})

    async def _update(self) -> None:
        self._sequence += 1
        key, entries, total = self._entries()
        if self._live.form == "pages" or key != self._shown_key:
            await self._send(self._as_page("update"))
            return
        before, now = self._shown, {entry[1]: entry for entry in entries}
        moved = [entry for entry in entries if before.get(entry[1]) != entry]
        self._shown = now
        await self._send(
            self._text(
                {
                    "type": "update",
                    "window_key": key,
                    "total": total,
                    "changes": self._listed(moved),
                    "removed": [user for user in before if user not in now],
                }
            )
        )

    def _listed(self, entries: list[Entry]) -> list[dict[str, Any]]:
        extra = self._world.settings.extra_members
        return [entry_json(entry, extra=extra) for entry in entries]

    def _text(self, message: dict[str, Any]) -> str:
        return orjson.dumps({**message, "leaderboard_id": self._board_id, "sequence": self._sequence}).decode()

    async def _send(self, text: str) -> None:
        """Send one message, or what a fault makes of it."""
        kind = next((name for name in FAULTS if self._live.chance.random() < self._live.faults.get(name, 0)), "")
        send = self._response.send_str
        match kind:
            case "cut":
                self.cut()
                return
            case "half":
                self._transport.write(b"\x81\x7e\x10\x00" + text.encode()[:40])  # announces 4096 bytes
                self._transport.close()
                return
            case "garbage":
                await send("\x00<not json>{")
                return
            case "unknown":
                await send('{"type":"confetti","entries":[{"rank":1,"user_id":"nobody","score":1}]}')
            case "duplicate":
                await send(text)
            case "reorder" if self._held is None:
                self._held = text
                return
        await send(text)
        if self._held is not None:
            held, self._held = self._held, None
            await send(held)
