"""The query host: the seven reads of chapter 2.2, and an echo for the routes that are not emulated.

Source: Querying Results. Assumptions: an unknown board gets 404 LEADERBOARD_NOT_FOUND, an unknown user 404
USER_NOT_FOUND and an unknown window 404 WINDOW_NOT_FOUND. A live read of a board that is not active gets 422
BOARD_NOT_ACTIVE; its snapshots stay readable. A limit above the maximum is lowered to the maximum. `response_shapes`
defines the form of the answers.
"""

from typing import Any

from gateway.sandbox.admin import echo
from gateway.sandbox.authentication import AuthenticationFailed, authenticate
from gateway.sandbox.boards import Board, Window
from gateway.sandbox.http_types import BadPath, Call, Reply, error_reply, json_reply, split_path
from gateway.sandbox.response_shapes import Entry, apply_shape, entry_json
from gateway.sandbox.state import SandboxState

DEFAULT_LIMIT = 100
_ECHOED = ("coupons", "rewards", "streaks", "wheels", "wallet", "profiles", "achievements", "referral", "orders")
_WITH_TENANT = ("coupons", "rewards", "streaks", "wheels", "wallet")


class QueryHost:
    """Serves the reads of all leaderboards. The WebSocket (`.../ws`) is in `websocket`."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def handle(self, call: Call) -> Reply:
        """Answer one call."""
        if call.path == "/health" and call.method == "GET":
            return json_reply(200, {"status": "healthy"}, "GET /health")
        try:
            segments = split_path(call.path)
        except BadPath as bad:
            return error_reply(400, str(bad), "BAD_PATH", "(path)")
        try:
            caller = authenticate(call, self._state)
        except AuthenticationFailed as refused:
            return refused.reply("(authentication)")
        match segments:
            case ["v1", "leaderboards" | "snapshots" as kind, tenant_id, board_id, *rest]:
                pass
            case ["v1", chapter, *further] if chapter in _ECHOED and further:
                # Newer versions of these paths have no tenant, so only a known tenant id is checked.
                named = further[0] if chapter in _WITH_TENANT and further[0] in self._state.tenants else None
                return echo(call, caller, named)
            case _:
                return error_reply(404, "no such route", "NOT_FOUND", "(unknown)")
        if tenant_id not in caller.tenants:
            return error_reply(403, "no access to this tenant", "FORBIDDEN", "(tenant)")
        if call.method != "GET":
            return error_reply(405, "method not allowed", "METHOD_NOT_ALLOWED", "(method)")
        board = self._state.logs[tenant_id].boards.get(board_id)
        if board is None:
            return error_reply(404, "leaderboard not found", "LEADERBOARD_NOT_FOUND", "(board)")
        try:
            return self._live(call, board, rest) if kind == "leaderboards" else self._snapshots(call, board, rest)
        except _BadParameter as bad:
            return error_reply(400, str(bad), "VALIDATION", "(parameters)")

    def _live(self, call: Call, board: Board, rest: list[str]) -> Reply:
        if board.status != "active":
            return error_reply(422, f"leaderboard is {board.status}", "BOARD_NOT_ACTIVE", "(board)")
        parameters = call.parameters()
        user_id: str | None = None
        match rest:
            case []:
                route = "leaderboard"
            case ["user" | "rank" | "score" as route, user_id]:
                pass
            case _:
                return error_reply(404, "no such route", "NOT_FOUND", "(unknown)")
        key = parameters.get("window_key") if route in ("leaderboard", "user") else None
        window = board.find_window(key)
        if window is None:
            return error_reply(404, "no such window", "WINDOW_NOT_FOUND", route)
        if user_id is None:
            offset = _integer(parameters, "offset", 0, 0)
            return self._page(board, window, window.entries(offset, self._limit(parameters)), route)
        entry = window.entry(user_id)
        if route == "user":
            return self._user_page(board, window, user_id, entry, self._limit(parameters))
        return self._user_reply(board, window, user_id, entry, route)

    def _snapshots(self, call: Call, board: Board, rest: list[str]) -> Reply:
        parameters = call.parameters()
        if not rest:
            return self._list(board, parameters)
        window = board.snapshot(rest[0])
        if window is None:
            return error_reply(404, "no such snapshot", "SNAPSHOT_NOT_FOUND", "snapshot")
        match rest[1:]:
            case []:
                offset = _integer(parameters, "offset", 0, 0)
                return self._page(board, window, window.entries(offset, self._limit(parameters)), "snapshot")
            case ["user", user_id]:
                return self._user_reply(board, window, user_id, window.entry(user_id), "snapshot_user")
        return error_reply(404, "no such route", "NOT_FOUND", "(unknown)")

    def _list(self, board: Board, parameters: dict[str, str]) -> Reply:
        since, until = parameters.get("from", ""), parameters.get("to", "~")
        found = [each for each in reversed(board.closed) if since <= (each.closed_at or "") <= until]
        listed = [
            {"snapshot_time": each.closed_at, "window_key": each.key, "total_entries": len(each.scores)}
            for each in found[: self._limit(parameters)]
        ]
        value = {**_names(board), "total": len(found), "snapshots": listed}
        return self._shaped("snapshots", value)

    def _page(self, board: Board, window: Window, entries: list[Entry], route: str, **further: Any) -> Reply:
        extra, padding = self._state.settings.extra_members, self._state.settings.extra_bytes
        value = {**_names(board), "window_key": window.key, "total": len(window.scores), **further}
        if route == "snapshot":
            value["snapshot_time"] = window.closed_at
        value["entries"] = [entry_json(entry, extra=extra, padding=padding) for entry in entries]
        return self._shaped(route, value)

    def _user_page(self, board: Board, window: Window, user_id: str, entry: Entry | None, limit: int) -> Reply:
        if entry is None:
            return self._no_entry(board, window, user_id, "user")
        place = entry[0] - 1
        offset = max(0, min(place - limit // 2, len(window.scores) - limit))
        return self._page(board, window, window.entries(offset, limit), "user", user_id=user_id)

    def _user_reply(self, board: Board, window: Window, user_id: str, entry: Entry | None, route: str) -> Reply:
        if entry is None:
            return self._no_entry(board, window, user_id, route)
        entry_value = entry_json(entry, extra=self._state.settings.extra_members)
        if route == "score":
            del entry_value["rank"]
        value = {**_names(board), "window_key": window.key, **entry_value}
        if route == "snapshot_user":
            value["snapshot_time"] = window.closed_at
        return self._shaped(route, value)

    def _no_entry(self, board: Board, window: Window, user_id: str, route: str) -> Reply:
        form = self._state.settings.unranked
        if form == "404":
            return error_reply(404, "user has no entry", "USER_NOT_FOUND", route)
        number = None if form == "null" else 0
        value: dict[str, Any] = {**_names(board), "window_key": window.key, "user_id": user_id}
        if route == "user":
            value |= {"total": len(window.scores), "entries": []}
        else:
            value |= {"score": number} if route == "score" else {"rank": number, "score": number}
        return self._shaped(route, value)

    def _shaped(self, route: str, value: dict[str, Any]) -> Reply:
        return json_reply(200, apply_shape(route, value, self._state.settings.read_shape), route)

    def _limit(self, parameters: dict[str, str]) -> int:
        return min(_integer(parameters, "limit", DEFAULT_LIMIT, 1), self._state.settings.max_limit)


class _BadParameter(ValueError):
    """A query parameter is not a number in its range."""


def _integer(parameters: dict[str, str], name: str, default: int, least: int) -> int:
    text = parameters.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < least:
        raise _BadParameter(f"{name} must be an integer of at least {least}")
    return int(text)


def _names(board: Board) -> dict[str, Any]:
    return {"leaderboard_id": board.leaderboard_id, "tenant_id": board.tenant_id}
