"""The control listener: tests and demonstrations use it to change and inspect the sandbox.

It takes and returns JSON and asks for no credentials. It listens on loopback only, because it signs whatever a caller
sends. The routes for wallet, tokens and keys are in `control_prediction`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from gateway.sandbox.boards import STATUSES, new_board
from gateway.sandbox.control_input import InvalidControlRequest
from gateway.sandbox.http_types import BadPath, Call, Reply, error_reply, json_object, json_reply, split_path
from gateway.sandbox.scoring import config_error
from gateway.sandbox.state import SandboxState

SURFACES = ("ingestion", "admin", "query", "prediction")

Handler = Callable[[dict[str, Any]], object]
AsyncHandler = Callable[[dict[str, Any]], Awaitable[object]]


class Control:
    """The routes of the control listener. Handlers take the JSON body and return a JSON value.

    Args: `async_routes` are the routes of other modules, by (method, path); their handlers are awaited.
    """

    def __init__(self, state: SandboxState, async_routes: dict[tuple[str, str], AsyncHandler]) -> None:
        self._state = state
        self._async_routes = async_routes
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", "/health"): lambda _: {"status": "healthy"},
            ("POST", "/reset"): self._reset,
            ("GET", "/state"): lambda _: self._dump_state(),
            ("GET", "/counts"): lambda _: {"counts": state.request_log.counts_as_list()},
            ("POST", "/effects"): self._effects,
            ("DELETE", "/requests"): lambda _: self._forget(),
            ("GET", "/faults"): lambda _: {"faults": state.faults.as_list()},
            ("POST", "/faults"): lambda body: {"id": state.faults.add(body, SURFACES).id},
            ("DELETE", "/faults"): lambda _: {"removed": state.faults.remove()},
            ("POST", "/clock"): self._clock,
            ("GET", "/clock"): lambda _: {"offset_s": state.clock_offset_s, "now": state.now()},
            ("GET", "/settings"): lambda _: state.settings.as_dict(),
            ("POST", "/settings"): self._settings,
            ("POST", "/windows/roll"): self._roll,
        }

    async def handle(self, call: Call) -> Reply:
        """Answer one control request. A 400 says what is wrong with the request."""
        body = json_object(call.body) if call.body.strip() else {}
        if body is None:
            return error_reply(400, "body must be a JSON object", "BAD_REQUEST", "control")
        try:
            segments = split_path(call.path)
            handler = self._routes.get((call.method, call.path))
            if handler is not None:
                return json_reply(200, handler(body), "control")
            async_handler = self._async_routes.get((call.method, call.path))
            if async_handler is not None:
                return json_reply(200, await async_handler(body), "control")
            match call.method, segments:
                case "GET", ["effects"]:
                    return json_reply(200, self._effects_of(call.parameters()), "control")
                case "GET", ["requests"]:
                    listed = self._state.request_log.requests(call.parameters().get("surface"))
                    return json_reply(200, {"requests": listed}, "control")
                case "DELETE", ["faults", number] if number.isdigit():
                    return json_reply(200, {"removed": self._state.faults.remove(int(number))}, "control")
                case "POST", ["boards", tenant_id, board_id]:
                    return json_reply(200, self._make_board(tenant_id, board_id, body), "control")
                case "POST", ["boards", tenant_id, board_id, "status"]:
                    return json_reply(200, self._set_status(tenant_id, board_id, body), "control")
        except (InvalidControlRequest, BadPath) as invalid:
            return error_reply(400, str(invalid), "BAD_REQUEST", "control")
        return error_reply(404, "unknown control route", "NOT_FOUND", "control")

    def _reset(self, body: dict[str, Any]) -> object:
        self._state.reset(keys=body.get("keys") is True)
        return {"reset": True}

    def _forget(self) -> object:
        self._state.request_log.clear_requests()
        return {"cleared": True}

    def _dump_state(self) -> object:
        state = self._state
        return {
            "now": state.now(),
            "clock_offset_s": state.clock_offset_s,
            "settings": state.settings.as_dict(),
            "faults": state.faults.as_list(),
            "counts": state.request_log.counts_as_list(),
            "tenants": {
                tenant_id: {
                    "boards": [
                        {
                            **board.definition(),
                            "window_key": board.window.key,
                            "scores": board.window.scores,
                            "closed_windows": [
                                {"window_key": w.key, "snapshot_time": w.closed_at} for w in board.closed
                            ],
                        }
                        for board in log.boards.values()
                    ],
                    "effects": log.effects,
                }
                for tenant_id, log in state.logs.items()
            },
            "operators": [list(key) for key in state.operators],
        }

    def _effects_of(self, parameters: dict[str, str]) -> object:
        event_id, tenant_id = parameters.get("event_id"), parameters.get("tenant_id")
        logs = [log for log in self._state.logs.values() if tenant_id in (None, log.tenant_id)]
        if event_id is not None:
            totals = {"received": 0, "effects": 0, "scored": 0}
            for log in logs:
                for name, count in log.counts(event_id).items():
                    totals[name] += count
            return {"event_id": event_id, **totals}
        return {"effects": {log.tenant_id: log.effects for log in logs}, **self._summary()}

    def _effects(self, body: dict[str, Any]) -> object:
        """Return the summary, and the effect counts of the ids in {"event_ids": [...]}."""
        wanted = body.get("event_ids", [])
        if not isinstance(wanted, list):
            raise InvalidControlRequest("event_ids: must be a list")
        logs = list(self._state.logs.values())
        effects = {each: sum(log.effects.get(each, 0) for log in logs) for each in wanted if isinstance(each, str)}
        return {"effects": effects, **self._summary()}

    def _summary(self) -> dict[str, object]:
        logs = self._state.logs.values()
        repeated = [event_id for log in logs for event_id, count in log.effects.items() if count > 1]
        return {
            "event_ids": sum(len(log.effects) for log in logs),
            "total": sum(sum(log.effects.values()) for log in logs),
            "scored": sum(sum(log.scored.values()) for log in logs),
            "more_than_once": repeated[:1000],
        }

    def _clock(self, body: dict[str, Any]) -> object:
        offset = body.get("offset_s")
        if isinstance(offset, bool) or not isinstance(offset, int | float) or abs(offset) > 10**9:
            raise InvalidControlRequest("offset_s: must be a number of seconds")
        self._state.clock_offset_s = offset
        return {"offset_s": offset, "now": self._state.now()}

    def _settings(self, body: dict[str, Any]) -> object:
        self._state.settings.apply(body)
        return self._state.settings.as_dict()

    def _make_board(self, tenant_id: str, board_id: str, body: dict[str, Any]) -> object:
        """Create or replace a board: {"config"?, "scores"?: {user: number}}."""
        log = self._state.logs.get(tenant_id)
        config, scores = body.get("config") or {}, body.get("scores") or {}
        if log is None:
            raise InvalidControlRequest("unknown tenant")
        if not isinstance(scores, dict):
            raise InvalidControlRequest("scores: must be an object")
        error = config_error(config)
        if error is not None:
            raise InvalidControlRequest(error)
        board = new_board(tenant_id, board_id, self._state.now(), config=config)
        for user_id, score in scores.items():
            if isinstance(score, bool) or not isinstance(score, int | float):
                raise InvalidControlRequest("scores: each value must be a number")
            board.window.add(user_id, score)
        log.boards[board_id] = board
        return board.definition()

    def _set_status(self, tenant_id: str, board_id: str, body: dict[str, Any]) -> object:
        log = self._state.logs.get(tenant_id)
        board = log.boards.get(board_id) if log is not None else None
        if board is None:
            raise InvalidControlRequest("unknown board")
        if body.get("status") not in STATUSES:
            raise InvalidControlRequest(f"status: must be one of {', '.join(STATUSES)}")
        board.set_status(body["status"], self._state.now())
        return board.definition()

    def _roll(self, body: dict[str, Any]) -> object:
        """Close active windows: those of `tenant_id` and `leaderboard_id`, or all. Open new ones with `window_key`."""
        key = body.get("window_key")
        if key is not None and (not isinstance(key, str) or not key):
            raise InvalidControlRequest("window_key: must be a non-empty string")
        rolled = []
        for log in self._state.logs.values():
            for board in log.boards.values():
                named = {"tenant_id": log.tenant_id, "leaderboard_id": board.leaderboard_id}
                if any(body.get(name) not in (None, value) for name, value in named.items()):
                    continue
                ended = board.roll(self._state.now(), key)
                rolled.append(
                    {**named, "closed": ended.key, "snapshot_time": ended.closed_at, "window_key": board.window.key}
                )
        return {"rolled": rolled}
