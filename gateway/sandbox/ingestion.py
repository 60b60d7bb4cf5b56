"""The ingestion host: POST /v1/events and /v1/events/bulk, /health and /ready.

Source: Getting Started; Events and Integration. Order of the checks: size, signature, schema, tenant.
Assumptions: a body that is too large gets 413. A bulk call that is empty or too long gets 400. A 202 has `status` and
`event_id`. An event without tenant_id is invalid; an event of another tenant refuses the whole call with 403.
"""

import orjson

from gateway.sandbox.authentication import AuthenticationFailed, authenticate_hmac
from gateway.sandbox.events import event_error
from gateway.sandbox.http_types import Call, Reply, error_reply, json_reply
from gateway.sandbox.state import SandboxState

MAX_BULK = 100
EVENTS, BULK = "POST /v1/events", "POST /v1/events/bulk"


class IngestionHost:
    """Accepts events into the event logs of the tenants."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def handle(self, call: Call) -> Reply:
        """Answer one call."""
        if call.path == "/v1/events" and call.method == "POST":
            return self._one(call)
        if call.path == "/v1/events/bulk" and call.method == "POST":
            bulk = self._state.settings.bulk
            return self._bulk(call) if bulk == "on" else error_reply(int(bulk), "not available", "NO_BULK", BULK)
        if call.method == "GET" and call.path == "/health":
            return json_reply(200, {"status": "healthy"}, "GET /health")
        if call.method == "GET" and call.path == "/ready":
            ready = {"status": "ready", "database": "connected", "message_queue": "connected"}
            return json_reply(200, ready, "GET /ready")
        if call.path in ("/v1/events", "/v1/events/bulk", "/health", "/ready"):
            return error_reply(405, "method not allowed", "METHOD_NOT_ALLOWED", "(method)")
        return error_reply(404, "no such route", "NOT_FOUND", "(unknown)")

    def _one(self, call: Call) -> Reply:
        state = self._state
        opened = self._open(call, EVENTS)
        if isinstance(opened, Reply):
            return opened
        tenant_id, event = opened
        fault = event_error(event)
        if fault is not None:
            return error_reply(400, fault, "VALIDATION", EVENTS)
        assert isinstance(event, dict)
        if event["tenant_id"] != tenant_id:
            return error_reply(403, "tenant_id is not the authenticated tenant", "TENANT_MISMATCH", EVENTS)
        event_id, repeated = state.logs[tenant_id].accept(event, state.now(), state.settings)
        status = state.settings.duplicate_status if repeated else 202
        word = "duplicate" if repeated and status != 202 else "accepted"
        return json_reply(status, {"status": word, "event_id": event_id}, EVENTS)

    def _bulk(self, call: Call) -> Reply:
        state, settings = self._state, self._state.settings
        opened = self._open(call, BULK)
        if isinstance(opened, Reply):
            return opened
        tenant_id, document = opened
        enveloped = isinstance(document, dict)
        events = document.get("events") if isinstance(document, dict) else document
        if settings.bulk_envelope == ("array" if enveloped else "object") or not isinstance(events, list):
            return error_reply(400, "the list of events has the wrong form", "VALIDATION", BULK)
        if not 1 <= len(events) <= MAX_BULK:
            return error_reply(400, f"1 to {MAX_BULK} events", "VALIDATION", BULK)
        faults = [event_error(event) for event in events]
        if any(fault is None and event["tenant_id"] != tenant_id for event, fault in zip(events, faults, strict=True)):
            return error_reply(403, "tenant_id is not the authenticated tenant", "TENANT_MISMATCH", BULK)
        failed = [{"index": index, "error": fault} for index, fault in enumerate(faults) if fault is not None]
        if failed and settings.bulk_failure == "all_or_nothing":
            return error_reply(400, "invalid events", "VALIDATION", BULK, details=failed)
        log, now_s = state.logs[tenant_id], state.now()
        repeat_status = "accepted" if settings.duplicate_status == 202 else "duplicate"
        results: list[dict[str, object]] = []
        for event, fault in zip(events, faults, strict=True):
            if fault is not None:
                event_id = event.get("event_id") if isinstance(event, dict) else None
                results.append({"event_id": event_id, "status": "rejected", "error": fault})
                continue
            event_id, repeated = log.accept(event, now_s, settings)
            results.append({"event_id": event_id, "status": repeat_status if repeated else "accepted"})
        status = settings.bulk_partial_status if failed else 202
        return json_reply(status, {"accepted": len(events) - len(failed), "results": results}, BULK)

    def _open(self, call: Call, route: str) -> Reply | tuple[str, object]:
        """Check size, signature and JSON. Return (tenant, parsed body) or an error reply."""
        if len(call.body) > self._state.settings.max_body_bytes:
            return error_reply(413, "body too large", "TOO_LARGE", route)
        try:
            tenant_id = authenticate_hmac(call, self._state)
        except AuthenticationFailed as refused:
            return refused.reply(route)
        try:
            return tenant_id, orjson.loads(call.body)
        except orjson.JSONDecodeError:
            return error_reply(400, "body is not JSON", "VALIDATION", route)
