"""The control listener: what tests and demonstrations tell the sandbox and ask it. JSON in, JSON out, no credentials.

Always on loopback, as it can sign anything. Wallet, token and key routes are in `control_prediction`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from gateway.sandbox.boards import STATUSES, new_board
from gateway.sandbox.faults import BadFault
from gateway.sandbox.live import BadLiveWish
from gateway.sandbox.rules import fault_in
from gateway.sandbox.settings import BadSetting
from gateway.sandbox.wallet_calls import BadWish
from gateway.sandbox.wire import BadPath, Call, Reply, json_object, json_reply, refusal, segments_of
from gateway.sandbox.world import World

SURFACES = ("ingestion", "admin", "query", "prediction")

Handler = Callable[[dict[str, Any]], object]
AsyncHandler = Callable[[dict[str, Any]], Awaitable[object]]


class BadRequest(ValueError):
    """A control call that makes no sense; the text says why."""


class Control:
    """Routes of the control listener; `routes` maps (method, path) to what answers with a JSON value.

    Further routes (`further`) are awaited.
    """

    def __init__(self, world: World, further: dict[tuple[str, str], AsyncHandler]) -> None:
        self._world = world
        self._further = further
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", "/health"): lambda _: {"status": "healthy"},
            ("POST", "/reset"): self._reset,
            ("GET", "/state"): lambda _: self._state(),
            ("GET", "/counts"): lambda _: {"counts": world.record.counted()},
            ("POST", "/effects"): self._effects,
            ("DELETE", "/requests"): lambda _: self._forget(),
            ("GET", "/faults"): lambda _: {"faults": world.faults.listed()},
            ("POST", "/faults"): lambda body: {"id": world.faults.add(body, SURFACES).id},
            ("DELETE", "/faults"): lambda _: {"removed": world.faults.remove()},
            ("POST", "/clock"): self._clock,
            ("GET", "/clock"): lambda _: {"offset_s": world.clock_offset_s, "now": world.now()},
            ("GET", "/settings"): lambda _: world.settings.as_dict(),
            ("POST", "/settings"): self._settings,
            ("POST", "/windows/roll"): self._roll,
        }

    async def act(self, call: Call) -> Reply:
        """Answer one control call; 400 names what is wrong with it."""
        body = json_object(call.body) if call.body.strip() else {}
        if body is None:
            return refusal(400, "body must be a JSON object", "BAD_REQUEST", "control")
        try:
            segments = segments_of(call.path)
            handler = self._routes.get((call.method, call.path))
            if handler is not None:
                return json_reply(200, handler(body), "control")
            further = self._further.get((call.method, call.path))
            if further is not None:
                return json_reply(200, await further(body), "control")
            match call.method, segments:
                case "GET", ["effects"]:
                    return json_reply(200, self._effects_of(call.parameters()), "control")
                case "GET", ["requests"]:
                    listed = self._world.record.requests(call.parameters().get("surface"))
                    return json_reply(200, {"requests": listed}, "control")
                case "DELETE", ["faults", number] if number.isdigit():
                    return json_reply(200, {"removed": self._world.faults.remove(int(number))}, "control")
                case "POST", ["boards", tenant_id, board_id]:
                    return json_reply(200, self._make_board(tenant_id, board_id, body), "control")
                case "POST", ["boards", tenant_id, board_id, "status"]:
                    return json_reply(200, self._set_status(tenant_id, board_id, body), "control")
        except (BadRequest, BadFault, BadSetting, BadWish, BadPath, BadLiveWish) as bad:
            return refusal(400, str(bad), "BAD_REQUEST", "control")
        return refusal(404, "no such control route", "NOT_FOUND", "control")

    def _reset(self, body: dict[str, Any]) -> object:
        self._world.reset(keys=body.get("keys") is True)
        return {"reset": True}

    def _forget(self) -> object:
        self._world.record.clear_requests()
        return {"cleared": True}

    def _state(self) -> object:
        world = self._world
        return {
            "now": world.now(),
            "clock_offset_s": world.clock_offset_s,
            "settings": world.settings.as_dict(),
            "faults": world.faults.listed(),
            "counts": world.record.counted(),
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
                for tenant_id, log in world.logs.items()
            },
            "operators": [list(key) for key in world.operators],
        }

    def _effects_of(self, parameters: dict[str, str]) -> object:
        event_id, tenant_id = parameters.get("event_id"), parameters.get("tenant_id")
        logs = [log for log in self._world.logs.values() if tenant_id in (None, log.tenant_id)]
        if event_id is not None:
            totals = {"received": 0, "effects": 0, "scored": 0}
            for log in logs:
                for name, count in log.counts(event_id).items():
                    totals[name] += count
            return {"event_id": event_id, **totals}
        return {"effects": {log.tenant_id: log.effects for log in logs}, **self._summary()}

    def _effects(self, body: dict[str, Any]) -> object:
        """Return the effects of many ids at once: {"event_ids": [...]}; without ids the summary alone."""
        wanted = body.get("event_ids", [])
        if not isinstance(wanted, list):
            raise BadRequest("event_ids: a list")
        logs = list(self._world.logs.values())
        effects = {each: sum(log.effects.get(each, 0) for log in logs) for each in wanted if isinstance(each, str)}
        return {"effects": effects, **self._summary()}

    def _summary(self) -> dict[str, object]:
        logs = self._world.logs.values()
        doubled = [event_id for log in logs for event_id, count in log.effects.items() if count > 1]
        return {
            "event_ids": sum(len(log.effects) for log in logs),
            "total": sum(sum(log.effects.values()) for log in logs),
            "scored": sum(sum(log.scored.values()) for log in logs),
            "more_than_once": doubled[:1000],
        }

    def _clock(self, body: dict[str, Any]) -> object:
        offset = body.get("offset_s")
        if isinstance(offset, bool) or not isinstance(offset, int | float) or abs(offset) > 10**9:
            raise BadRequest("offset_s: a number of seconds")
        self._world.clock_offset_s = offset
        return {"offset_s": offset, "now": self._world.now()}

    def _settings(self, body: dict[str, Any]) -> object:
        self._world.settings.apply(body)
        return self._world.settings.as_dict()

    def _make_board(self, tenant_id: str, board_id: str, body: dict[str, Any]) -> object:
        """Make or replace a board without the admin host: {"config"?, "scores"?: {user: number}}."""
        log = self._world.logs.get(tenant_id)
        config, scores = body.get("config") or {}, body.get("scores") or {}
        if log is None or not isinstance(scores, dict):
            raise BadRequest("unknown tenant, or scores is no object")
        fault = fault_in(config)
        if fault is not None:
            raise BadRequest(fault)
        board = new_board(tenant_id, board_id, self._world.now(), config=config)
        for user_id, score in scores.items():
            if isinstance(score, bool) or not isinstance(score, int | float):
                raise BadRequest("scores: numbers by user id")
            board.window.add(user_id, score)
        log.boards[board_id] = board
        return board.definition()

    def _set_status(self, tenant_id: str, board_id: str, body: dict[str, Any]) -> object:
        log = self._world.logs.get(tenant_id)
        board = log.boards.get(board_id) if log is not None else None
        if board is None or body.get("status") not in STATUSES:
            raise BadRequest(f"no such board, or status is none of {', '.join(STATUSES)}")
        board.set_status(body["status"], self._world.now())
        return board.definition()

    def _roll(self, body: dict[str, Any]) -> object:
        """Close the active windows that `tenant_id` and `leaderboard_id` name (all without); open `window_key`."""
        key = body.get("window_key")
        if key is not None and (not isinstance(key, str) or not key):
            raise BadRequest("window_key: a text")
        rolled = []
        for log in self._world.logs.values():
            for board in log.boards.values():
                named = {"tenant_id": log.tenant_id, "leaderboard_id": board.leaderboard_id}
                if any(body.get(name) not in (None, value) for name, value in named.items()):
                    continue
                ended = board.roll(self._world.now(), key)
                rolled.append(
                    {**named, "closed": ended.key, "snapshot_time": ended.closed_at, "window_key": board.window.key}
                )
        return {"rolled": rolled}
