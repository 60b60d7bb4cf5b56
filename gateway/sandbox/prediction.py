"""The prediction host: /health, the two well-known keys, the Operator API, and the token check of the embed page.

Source: Environments; Security; Request Signing; Settings and Categories. Assumptions: a request's signature is
unpadded base64url and valid for 300 s. The path of the statistics is /operator/api/stats. PUT and PATCH do the same.
If an operator has keys in both environments, the operator key route serves the sandbox key. The embed host is this
host.
"""

import re
from typing import Any

from gateway.sandbox.http_types import BadPath, Call, Reply, error_reply, json_object, json_reply, split_path
from gateway.sandbox.platform_keys import WELL_KNOWN
from gateway.sandbox.signatures import is_within_tolerance, operator_payload, verify_ed25519
from gateway.sandbox.state import Operator, SandboxState
from gateway.sandbox.tokens import check_launch

_DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")
_PEM = "application/x-pem-file"
CATEGORIES = (("Sports", "sports", "active"), ("Politics", "politics", "active"), ("Archive", "archive", "inactive"))


class PredictionHost:
    """Serves the platform key and the operators."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def on_arrival(self, method: str, path: str) -> None:
        """Count a fetch of the platform key, before any fault."""
        if path == WELL_KNOWN and method == "GET":
            self._state.keys.count_fetch()

    def handle(self, call: Call) -> Reply:
        """Answer one call."""
        if call.path.startswith("/operator/api/"):
            return self._operator_api(call)
        if call.method != "GET":
            return error_reply(405, "method not allowed", "METHOD_NOT_ALLOWED", "(method)")
        if call.path == WELL_KNOWN:
            return Reply(200, self._state.keys.current_pem.encode(), f"GET {WELL_KNOWN}", _PEM)
        if call.path == "/health":
            return Reply(200, b"ok", "GET /health", "text/plain")
        try:
            segments = split_path(call.path)
        except BadPath as bad:
            return error_reply(400, str(bad), "BAD_PATH", "(path)")
        operator = self._state.operator_by_code(segments[1]) if segments[0] == "o" and len(segments) > 1 else None
        match segments:
            case ["o", _, ".well-known", "signing-key.pem"] if operator is not None:
                return Reply(200, operator.newest_pem.encode(), "GET /o/{code}" + WELL_KNOWN, _PEM)
            case ["o", code] if operator is not None:
                return self._embed(call, code)
        return error_reply(404, "not found", "NOT_FOUND", "(unknown)")

    def _embed(self, call: Call, code: str) -> Reply:
        claims, reason = check_launch(call.parameters().get("token", ""), self._state)
        if reason is None and claims is not None and claims.get("iss") != code:
            reason = "other_operator"
        return json_reply(200 if reason is None else 403, {"ok": reason is None, "reason": reason}, "GET /o/{code}")

    def _operator_api(self, call: Call) -> Reply:
        route = f"{call.method} {call.path}"
        if len(call.body) > self._state.settings.max_body_bytes:
            return error_reply(413, "body too large", "TOO_LARGE", "(size)")
        operator = self._authenticated(call)
        if operator is None:
            return json_reply(
                401, {"error": "unauthorized"}, "(authentication)"
            )  # the answer does not say which check failed
        match call.method, call.path.removeprefix("/operator/api/"):
            case "GET", "settings":
                return json_reply(200, operator_settings(operator), route)
            case (("PATCH" | "PUT"), "settings"):
                return _change(operator, call, route)
            case "GET", "categories":
                return json_reply(200, {"categories": _categories()}, route)
            case "GET", "stats":
                return json_reply(200, _stats(operator), route)
            case _, ("settings" | "categories" | "stats"):
                return json_reply(405, {"error": "method_not_allowed"}, "(method)")
        return json_reply(404, {"error": "not_found"}, "(unknown)")

    def _authenticated(self, call: Call) -> Operator | None:
        """Return the operator that signed the call, or None if any check fails."""
        code, timestamp = call.header("X-Operator-Code"), call.header("X-Signature-Timestamp")
        signature, environment = call.header("X-Signature"), call.header("X-Operator-Environment")
        if (
            code is None
            or timestamp is None
            or signature is None
            or not is_within_tolerance(timestamp, self._state.now())
        ):
            return None
        form = self._state.settings.operator_signature
        operators = self._state.operators
        if form != "five" and environment is not None:
            operator = operators.get((code, environment))
            payload = operator_payload(code, environment, timestamp, call.method, call.path, call.body)
            if operator is not None and any(verify_ed25519(key, signature, payload) for key in operator.public_keys):
                return operator
        if form != "six":
            older = operators.get((code, environment)) if environment else self._state.operator_by_code(code)
            payload = operator_payload(code, None, timestamp, call.method, call.path, call.body)
            if older is not None and any(verify_ed25519(key, signature, payload) for key in older.public_keys):
                return older
        return None


def operator_settings(operator: Operator) -> dict[str, Any]:
    """Return an operator's settings in the form of the Operator API."""
    return {
        "code": operator.identity.operator_code,
        "name": operator.identity.operator_code.title(),
        "currencies": [
            {"code": each, "min_order_size": "0.10", "max_order_size": "10000.00"} for each in operator.currencies
        ],
        "fee_schedule": operator.fee_schedule,
    }


def _change(operator: Operator, call: Call, route: str) -> Reply:
    """Set or clear the fee schedule. Other members of the body are ignored."""
    body = json_object(call.body)
    if body is None:
        return json_reply(422, {"error": "invalid", "message": "body must be a JSON object"}, route)
    if "fee_schedule" in body:
        schedule = body["fee_schedule"]
        fault = _fee_schedule_error(schedule)
        if fault is not None:
            return json_reply(422, {"error": "invalid", "message": fault}, route)
        operator.fee_schedule = schedule
    return json_reply(200, operator_settings(operator), route)


def _fee_schedule_error(schedule: Any) -> str | None:
    if schedule is None:
        return None
    if not isinstance(schedule, dict):
        return "fee_schedule must be an object or null"
    if schedule.get("shape") not in ("kalshi_curve", "flat"):
        return "fee_schedule.shape must be kalshi_curve or flat"
    for name in ("taker_coefficient", "maker_rebate_coefficient"):
        value = schedule.get(name)
        if not isinstance(value, str) or _DECIMAL.fullmatch(value) is None:
            return f"fee_schedule.{name} must be a decimal string"
    return None


def _categories() -> list[dict[str, Any]]:
    return [
        {"id": f"cat-{order}", "code": slug, "slug": slug, "name": name, "display_order": order, "status": status}
        for order, (name, slug, status) in enumerate(CATEGORIES, start=1)
        if status == "active"
    ]


def _stats(operator: Operator) -> dict[str, Any]:
    identity = operator.identity
    counts = {"players": 0, "orders": 0, "open_markets": 0, "volume": "0.00"}
    return {"operator_code": identity.operator_code, "environment": identity.environment, **counts}
