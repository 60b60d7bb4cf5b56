"""The admin host: /health, list and create leaderboards, and an echo for the routes that are not emulated.

Source: Creating Leaderboards; Getting Started. Assumptions: a creation is answered with 201 and the definition, with
409 if the board exists and with 400 if the body is invalid. A tenant JWT is not an admin credential (403). A GET of
one board exists.
"""

import re
from typing import Any

from gateway.sandbox.authentication import AuthenticationFailed, Caller, authenticate
from gateway.sandbox.boards import new_board
from gateway.sandbox.http_types import BadPath, Call, Reply, error_reply, json_object, json_reply, split_path
from gateway.sandbox.scoring import config_error
from gateway.sandbox.state import SandboxState

_BOARD_ID = re.compile(r"[A-Za-z0-9_-]+")
LIST, LIST_TENANT, ONE = "GET /leaderboards", "GET /tenants/{t}/leaderboards", "GET /tenants/{t}/leaderboards/{b}"
CREATE, ECHO = "POST /tenants/{t}/leaderboards", "(echo)"


class AdminHost:
    """Serves the leaderboards of all tenants."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def handle(self, call: Call) -> Reply:
        """Answer one call."""
        if len(call.body) > self._state.settings.max_body_bytes:
            return error_reply(413, "body too large", "TOO_LARGE", "(size)")
        try:
            segments = split_path(call.path)
        except BadPath as bad:
            return error_reply(400, str(bad), "BAD_PATH", "(path)")
        try:
            caller = authenticate(call, self._state)
        except AuthenticationFailed as refused:
            return refused.reply("(authentication)")
        if caller.credential == "tenant_jwt":
            return error_reply(403, "admin credentials needed", "FORBIDDEN", "(authentication)")
        match call.method, segments:
            case "GET", ["health"]:
                return json_reply(200, {"status": "healthy"}, "GET /health")
            case "GET", ["leaderboards"]:
                return self._list(caller.tenants, LIST)
            case _, ["tenants", tenant_id, "leaderboards", *rest]:
                return self._tenant(call, caller, tenant_id, rest)
            case _, ["v1", "tenants", tenant_id, _, *_]:
                return echo(call, caller, tenant_id)
        return error_reply(404, "no such route", "NOT_FOUND", "(unknown)")

    def _tenant(self, call: Call, caller: Caller, tenant_id: str, rest: list[str]) -> Reply:
        if tenant_id not in caller.tenants:
            return error_reply(403, "key has no access to this tenant", "FORBIDDEN", "(tenant)")
        if call.method == "GET" and not rest:
            return self._list((tenant_id,), LIST_TENANT)
        if call.method == "GET" and len(rest) == 1:
            board = self._state.logs[tenant_id].boards.get(rest[0])
            if board is None:
                return error_reply(404, "leaderboard not found", "LEADERBOARD_NOT_FOUND", ONE)
            return json_reply(200, board.definition(), ONE)
        if call.method == "POST" and not rest:
            return self._create(call, tenant_id)
        return error_reply(405, "method not allowed", "METHOD_NOT_ALLOWED", "(method)")

    def _list(self, tenants: tuple[str, ...], route: str) -> Reply:
        boards = [board.definition() for each in tenants for board in self._state.logs[each].boards.values()]
        return json_reply(200, {"total": len(boards), "leaderboards": boards}, route)

    def _create(self, call: Call, tenant_id: str) -> Reply:
        body = json_object(call.body)
        fault = "body must be a JSON object" if body is None else _body_error(body, tenant_id)
        if body is None or fault is not None:
            return error_reply(400, fault or "", "VALIDATION", CREATE)
        boards = self._state.logs[tenant_id].boards
        leaderboard_id = body["leaderboard_id"]
        if leaderboard_id in boards:
            return error_reply(409, "leaderboard exists", "LEADERBOARD_EXISTS", CREATE)
        board = new_board(
            tenant_id,
            leaderboard_id,
            self._state.now(),
            name=body["name"],
            description=body.get("description") or "",
            config=body.get("config"),
        )
        boards[leaderboard_id] = board
        return json_reply(201, board.definition(), CREATE)


def echo(call: Call, caller: Caller, tenant_id: str | None) -> Reply:
    """Answer a documented route that is not emulated: return the request, if the caller may use the tenant."""
    if tenant_id is not None and tenant_id not in caller.tenants:
        return error_reply(403, "no access to this tenant", "FORBIDDEN", ECHO)
    request: dict[str, Any] = {"method": call.method, "path": call.path, "query": call.query}
    body = json_object(call.body) if call.body else None
    if call.body and body is None:
        return error_reply(400, "body must be a JSON object", "VALIDATION", ECHO)
    return json_reply(200, {**request, "body": body}, ECHO)


def _body_error(body: dict[str, Any], tenant_id: str) -> str | None:
    board_id = body.get("leaderboard_id")
    if not isinstance(board_id, str) or _BOARD_ID.fullmatch(board_id) is None:
        return "leaderboard_id: letters, digits, hyphen, underscore"
    if body.get("tenant_id") != tenant_id:
        return "tenant_id must equal the path"
    if not isinstance(body.get("name"), str) or not body["name"]:
        return "name is required and must be a string"
    if body.get("description") is not None and not isinstance(body["description"], str):
        return "description must be a string"
    return config_error(body["config"]) if body.get("config") is not None else None
