"""The leaderboard WebSocket: signature check, snapshot, `configure`, `request_page`, heartbeats, updates and faults.

Source: Real-time Updates (chapter 3). The vendor shows no message of the server, so these are assumptions: the types
are `snapshot`, `update`, `page` and `heartbeat`. `sequence` counts the updates of a connection. An update holds the
whole page (`form` "pages"), or the changed entries and the removed users (`form` "changes"). A refused handshake gets
401, 403, 404 or 422.
"""

import asyncio
import random
from typing import Any
from urllib.parse import unquote

import orjson
from aiohttp import WSMsgType, web

from gateway.sandbox.authentication import AuthenticationFailed, authenticate
from gateway.sandbox.boards import Board
from gateway.sandbox.control_input import InvalidControlRequest
from gateway.sandbox.http_types import SANDBOX_HEADER, BadPath, Call, Reply, error_reply, split_path
from gateway.sandbox.response_shapes import Entry, entry_json
from gateway.sandbox.signatures import constant_time_equal, is_within_tolerance, socket_signature
from gateway.sandbox.state import SandboxState

FAULTS = ("cut", "garbage", "half", "duplicate", "reorder", "unknown")
ROUTE = "leaderboard_socket"
_POLL_INTERVAL_S = 0.002
_PAGE_SIZE = 100


class LiveSockets:
    """All WebSocket connections of the query host, and the faults that apply to them."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state
        self._open: set[_Socket] = set()
        self.opened = 0
        self.form = "pages"
        self.heartbeat_s = 15.0
        self.is_mute = False
        self.faults: dict[str, float] = {}
        self.random = random.Random(0)
        self.received: list[dict[str, Any]] = []

    def check_handshake(self, call: Call) -> Reply | None:
        """Return the refusal of this handshake, or None to accept it."""
        try:
            board = self._find(call)
        except BadPath as bad:
            return error_reply(400, str(bad), "BAD_PATH", ROUTE)
        except AuthenticationFailed as refused:
            return refused.reply(ROUTE)
        if isinstance(board, Reply):
            return board
        if board.status != "active":
            return error_reply(422, f"leaderboard is {board.status}", "BOARD_NOT_ACTIVE", ROUTE)
        return None

    async def serve(self, call: Call, request: web.BaseRequest) -> web.StreamResponse:
        """Serve a handshake that `check_handshake` accepted, until the connection ends."""
        board = self._find(call)
        assert isinstance(board, Board)
        response = web.WebSocketResponse(heartbeat=None, autoping=True)
        response.headers[SANDBOX_HEADER[0]] = SANDBOX_HEADER[1]
        await response.prepare(request)
        socket = _Socket(self, self._state, board, response, request)
        self._open.add(socket)
        self.opened += 1
        try:
            await socket.run()
        finally:
            self._open.discard(socket)
        return response

    def _find(self, call: Call) -> Board | Reply:
        """Check the credentials and return the board, or the 404 if there is none. Raise AuthenticationFailed."""
        match split_path(call.path):
            case ["v1", "leaderboards", tenant_id, board_id, "ws"]:
                self._check_signature(call, tenant_id)
            case ["v1", "leaderboards", board_id, "ws"]:
                (tenant_id, *_) = authenticate(call, self._state).tenants
            case _:
                return error_reply(404, "no such route", "NOT_FOUND", ROUTE)
        board = self._state.logs[tenant_id].boards.get(board_id)
        return board or error_reply(404, "leaderboard not found", "LEADERBOARD_NOT_FOUND", ROUTE)

    def _check_signature(self, call: Call, tenant_id: str) -> None:
        parameters = call.parameters()
        timestamp, signature = parameters.get("timestamp"), parameters.get("signature")
        if timestamp is None or signature is None:
            raise AuthenticationFailed("AUTH_002")
        if not is_within_tolerance(timestamp, self._state.now()):
            raise AuthenticationFailed("AUTH_004")
        tenant = self._state.tenants.get(tenant_id)
        # Assumption: the client signs the decoded path. Most ids need no encoding, so both forms are equal.
        paths = {call.path, unquote(call.path)}
        if tenant is None or not any(
            constant_time_equal(signature, socket_signature(secret, path, timestamp))
            for path in paths
            for secret in tenant.hmac_secrets
        ):
            raise AuthenticationFailed("AUTH_001")

    def describe(self) -> dict[str, Any]:
        """Return the JSON form for the control listener."""
        return {
            "open": len(self._open),
            "opened": self.opened,
            "form": self.form,
            "heartbeat_ms": int(self.heartbeat_s * 1000),
            "mute": self.is_mute,
            "faults": self.faults,
            "heard": self.received[-200:],
        }

    async def configure(self, body: dict[str, Any]) -> object:
        """Change behaviour: {"form"?, "heartbeat_ms"?, "mute"?, "faults"?: {kind: probability}, "cut"?, "reset"?}."""
        faults = body.get("faults", self.faults)
        if not isinstance(faults, dict) or any(
            name not in FAULTS or not isinstance(value, int | float) or not 0 <= value <= 1
            for name, value in faults.items()
        ):
            raise InvalidControlRequest(
                f"faults: must map names to probabilities from 0 to 1; names are {', '.join(FAULTS)}"
            )
        if body.get("form", self.form) not in ("pages", "changes"):
            raise InvalidControlRequest("form: must be pages or changes")
        if body.get("reset"):
            self.opened, self.received, faults, self.form = 0, [], {}, "pages"
            self.heartbeat_s, self.is_mute = 15.0, False
        self.form = body.get("form", self.form)
        self.faults = faults
        self.is_mute = body.get("mute", self.is_mute) is True
        self.heartbeat_s = int(body.get("heartbeat_ms", self.heartbeat_s * 1000)) / 1000
        if body.get("cut"):
            for socket in list(self._open):
                socket.cut()
        return self.describe()


class _Socket:
    """One connection and its settings."""

    def __init__(
        self,
        live: LiveSockets,
        state: SandboxState,
        board: Board,
        response: web.WebSocketResponse,
        request: web.BaseRequest,
    ) -> None:
        self._live = live
        self._state = state
        self._tenant_id, self._board_id = board.tenant_id, board.leaderboard_id
        self._log = state.logs[board.tenant_id]
        self._response = response
        self._transport: Any = request.transport
        self._size = _PAGE_SIZE
        self._top_n: int | None = None
        self._window_key: str | None = None
        self._sequence = 0
        self._sent_entries: dict[str, Entry] = {}
        self._sent_window_key = ""
        self._delayed: str | None = None
        self._page_requested = asyncio.Event()

    def cut(self) -> None:
        """Abort the connection."""
        if self._transport is not None:
            self._transport.abort()

    async def run(self) -> None:
        """Serve until the connection ends."""
        writer = asyncio.create_task(self._write())
        try:
            async for message in self._response:
                if message.type is WSMsgType.TEXT:
                    self._on_message(message.data)
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        await self._send(self._page_message("snapshot"))
        seen, beat_at = self._board_version(), loop.time()
        while True:
            await asyncio.sleep(_POLL_INTERVAL_S)
            board = self._board()
            if self._state.logs.get(self._tenant_id) is not self._log or (board and board.status != "active"):
                self.cut()  # the sandbox was reset, or the board is no longer active
                return
            if self._live.is_mute:
                continue
            if self._board_version() != seen:
                seen, beat_at = self._board_version(), loop.time()
                await self._update()
            if self._page_requested.is_set():
                self._page_requested.clear()
                await self._send(self._page_message("page"))
            elif loop.time() - beat_at >= self._live.heartbeat_s:
                beat_at = loop.time()
                await self._send(self._encode({"type": "heartbeat"}))
            elif self._delayed is not None:
                delayed, self._delayed = self._delayed, None
                await self._response.send_str(delayed)

    def _on_message(self, text: str) -> None:
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            return
        self._live.received.append(message)
        size = message.get("page_size")
        if message.get("type") == "request_page":
            self._page_requested.set()
        elif message.get("type") == "configure":
            self._size = size or self._size
            self._window_key = message.get("window_key") or self._window_key
            wanted = message.get("filter")
            if isinstance(wanted, dict) and wanted.get("type") == "top_n":
                self._top_n = wanted.get("n")

    def _board(self) -> Board | None:
        return self._log.boards.get(self._board_id)

    def _board_version(self) -> object:
        board = self._board()
        return None if board is None else (id(board), board.window.key, board.window.changes)

    def _entries(self) -> tuple[str, list[Entry], int]:
        board = self._board()
        window = None if board is None else board.find_window(self._window_key)
        if window is None:
            return "", [], 0
        size = self._size if self._top_n is None else min(self._size, self._top_n)
        return window.key, window.entries(0, size), len(window.scores)

    def _page_message(self, kind: str) -> str:
        key, entries, total = self._entries()
        self._sent_entries, self._sent_window_key = {entry[1]: entry for entry in entries}, key
        return self._encode({"type": kind, "window_key": key, "total": total, "entries": self._entries_json(entries)})

    async def _update(self) -> None:
        self._sequence += 1
        key, entries, total = self._entries()
        if self._live.form == "pages" or key != self._sent_window_key:
            await self._send(self._page_message("update"))
            return
        before, now = self._sent_entries, {entry[1]: entry for entry in entries}
        moved = [entry for entry in entries if before.get(entry[1]) != entry]
        self._sent_entries = now
        await self._send(
            self._encode(
                {
                    "type": "update",
                    "window_key": key,
                    "total": total,
                    "changes": self._entries_json(moved),
                    "removed": [user for user in before if user not in now],
                }
            )
        )

    def _entries_json(self, entries: list[Entry]) -> list[dict[str, Any]]:
        extra, padding = self._state.settings.extra_members, self._state.settings.extra_bytes
        return [entry_json(entry, extra=extra, padding=padding) for entry in entries]

    def _encode(self, message: dict[str, Any]) -> str:
        return orjson.dumps({**message, "leaderboard_id": self._board_id, "sequence": self._sequence}).decode()

    async def _send(self, text: str) -> None:
        """Send one message, changed by a fault if one applies."""
        kind = next((name for name in FAULTS if self._live.random.random() < self._live.faults.get(name, 0)), "")
        send = self._response.send_str
        match kind:
            case "cut":
                self.cut()
                return
            case "half":
                self._transport.write(b"\x81\x7e\x10\x00" + text.encode()[:40])  # the header declares 4096 bytes
                self._transport.close()
                return
            case "garbage":
                await send("\x00<not json>{")
                return
            case "unknown":
                await send('{"type":"confetti","entries":[{"rank":1,"user_id":"nobody","score":1}]}')
            case "duplicate":
                await send(text)
            case "reorder" if self._delayed is None:
                self._delayed = text
                return
        await send(text)
        if self._delayed is not None:
            delayed, self._delayed = self._delayed, None
            await send(delayed)
