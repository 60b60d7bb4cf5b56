"""The admin host: /health, the list and creation of leaderboards, an echo for the chapters not emulated.

Source: Creating Leaderboards; Getting Started. Assumptions: 201 with the definition on creation, 409 when the board
exists, 400 for a bad body; a tenant JWT is no admin credential (403); GET of one board exists.
"""

import re
from typing import Any

from gateway.sandbox.access import Caller, Refused, check_caller
from gateway.sandbox.boards import new_board
from gateway.sandbox.rules import fault_in
from gateway.sandbox.wire import BadPath, Call, Reply, json_object, json_reply, refusal, segments_of
from gateway.sandbox.world import World

_BOARD_ID = re.compile(r"[A-Za-z0-9_-]+")
LIST, LIST_TENANT, ONE = "GET /leaderboards", "GET /tenants/{t}/leaderboards", "GET /tenants/{t}/leaderboards/{b}"
CREATE, ECHO = "POST /tenants/{t}/leaderboards", "(echo)"


class Admin:
    """Answers for the boards of the world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def act(self, call: Call) -> Reply:
        """Answer one call."""
        if len(call.body) > self._world.settings.max_body_bytes:
            return refusal(413, "body too large", "TOO_LARGE", "(size)")
        try:
            segments = segments_of(call.path)
        except BadPath as bad:
            return refusal(400, str(bad), "BAD_PATH", "(path)")
        try:
            caller = check_caller(call, self._world)
        except Refused as refused:
            return refused.reply("(authentication)")
        if caller.by == "tenant_jwt":
            return refusal(403, "admin credentials needed", "FORBIDDEN", "(authentication)")
        match call.method, segments:
            case "GET", ["health"]:
                return json_reply(200, {"status": "healthy"}, "GET /health")
            case "GET", ["leaderboards"]:
                return self._list(caller.tenants, LIST)
            case _, ["tenants", tenant_id, "leaderboards", *rest]:
                return self._tenant(call, caller, tenant_id, rest)
            case _, ["v1", "tenants", tenant_id, _, *_]:
                return echo(call, caller, tenant_id)
        return refusal(404, "no such route", "NOT_FOUND", "(unknown)")

    def _tenant(self, call: Call, caller: Caller, tenant_id: str, rest: list[str]) -> Reply:
        if tenant_id not in caller.tenants:
            return refusal(403, "key has no access to this tenant", "FORBIDDEN", "(tenant)")
        if call.method == "GET" and not rest:
            return self._list((tenant_id,), LIST_TENANT)
        if call.method == "GET" and len(rest) == 1:
            board = self._world.logs[tenant_id].boards.get(rest[0])
            if board is None:
                return refusal(404, "leaderboard not found", "LEADERBOARD_NOT_FOUND", ONE)
            return json_reply(200, board.definition(), ONE)
        if call.method == "POST" and not rest:
            return self._create(call, tenant_id)
        return refusal(405, "method not allowed", "METHOD_NOT_ALLOWED", "(method)")

    def _list(self, tenants: tuple[str, ...], route: str) -> Reply:
        boards = [board.definition() for each in tenants for board in self._world.logs[each].boards.values()]
        return json_reply(200, {"total": len(boards), "leaderboards": boards}, route)

    def _create(self, call: Call, tenant_id: str) -> Reply:
        body = json_object(call.body)
        fault = "body must be a JSON object" if body is None else _fault_in_body(body, tenant_id)
        if body is None or fault is not None:
            return refusal(400, fault or "", "VALIDATION", CREATE)
        boards = self._world.logs[tenant_id].boards
        leaderboard_id = body["leaderboard_id"]
        if leaderboard_id in boards:
            return refusal(409, "leaderboard exists", "LEADERBOARD_EXISTS", CREATE)
        board = new_board(
            tenant_id,
            leaderboard_id,
            self._world.now(),
            name=body["name"],
            description=body.get("description") or "",
            config=body.get("config"),
        )
        boards[leaderboard_id] = board
        return json_reply(201, board.definition(), CREATE)


def echo(call: Call, caller: Caller, tenant_id: str | None) -> Reply:
    """Answer a path of the reference that is not emulated with what was asked, once the tenant is allowed."""
    if tenant_id is not None and tenant_id not in caller.tenants:
        return refusal(403, "no access to this tenant", "FORBIDDEN", ECHO)
    told: dict[str, Any] = {"method": call.method, "path": call.path, "query": call.query}
    body = json_object(call.body) if call.body else None
    if call.body and body is None:
        return refusal(400, "body must be a JSON object", "VALIDATION", ECHO)
    return json_reply(200, {**told, "body": body}, ECHO)


def _fault_in_body(body: dict[str, Any], tenant_id: str) -> str | None:
    board_id = body.get("leaderboard_id")
    if not isinstance(board_id, str) or _BOARD_ID.fullmatch(board_id) is None:
        return "leaderboard_id: letters, digits, hyphen, underscore"
    if body.get("tenant_id") != tenant_id:
        return "tenant_id must equal the path"
    if not isinstance(body.get("name"), str) or not body["name"]:
        return "name is required and must be a string"
    if body.get("description") is not None and not isinstance(body["description"], str):
        return "description must be a string"
    return fault_in(body["config"]) if body.get("config") is not None else None
