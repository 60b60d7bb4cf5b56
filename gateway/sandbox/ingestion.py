"""The ingestion host: POST /v1/events and /v1/events/bulk, /health and /ready.

Source: Getting Started; Events and Integration. Order: size, signature, schema, tenant, effect. Assumptions: 413
over the size, 400 for an empty or too long bulk, replies of 202 with `status` and `event_id`; an absent tenant_id is
a missing field, another one 403 for the whole call.
"""

import orjson

from gateway.sandbox.access import Refused, check_hmac
from gateway.sandbox.events import fault_in
from gateway.sandbox.wire import Call, Reply, json_reply, refusal
from gateway.sandbox.world import World

MAX_BULK = 100
EVENTS, BULK = "POST /v1/events", "POST /v1/events/bulk"


class Ingestion:
    """Takes events into the logs of the world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def act(self, call: Call) -> Reply:
        """Answer one call."""
        if call.path == "/v1/events" and call.method == "POST":
            return self._one(call)
        if call.path == "/v1/events/bulk" and call.method == "POST":
            off = self._world.settings.bulk
            return self._bulk(call) if off == "on" else refusal(int(off), "not available", "NO_BULK", BULK)
        if call.method == "GET" and call.path == "/health":
            return json_reply(200, {"status": "healthy"}, "GET /health")
        if call.method == "GET" and call.path == "/ready":
            ready = {"status": "ready", "database": "connected", "message_queue": "connected"}
            return json_reply(200, ready, "GET /ready")
        if call.path in ("/v1/events", "/v1/events/bulk", "/health", "/ready"):
            return refusal(405, "method not allowed", "METHOD_NOT_ALLOWED", "(method)")
        return refusal(404, "no such route", "NOT_FOUND", "(unknown)")

    def _one(self, call: Call) -> Reply:
        world = self._world
        opened = self._open(call, EVENTS)
        if isinstance(opened, Reply):
            return opened
        tenant_id, event = opened
        fault = fault_in(event)
        if fault is not None:
            return refusal(400, fault, "VALIDATION", EVENTS)
        assert isinstance(event, dict)
        if event["tenant_id"] != tenant_id:
            return refusal(403, "tenant_id is not the authenticated tenant", "TENANT_MISMATCH", EVENTS)
        event_id, repeated = world.logs[tenant_id].take(event, world.now(), world.settings)
        status = world.settings.duplicate_status if repeated else 202
        word = "duplicate" if repeated and status != 202 else "accepted"
        return json_reply(status, {"status": word, "event_id": event_id}, EVENTS)

    def _bulk(self, call: Call) -> Reply:
        world, settings = self._world, self._world.settings
        opened = self._open(call, BULK)
        if isinstance(opened, Reply):
            return opened
        tenant_id, document = opened
        enveloped = isinstance(document, dict)
        events = document.get("events") if isinstance(document, dict) else document
        if settings.bulk_envelope == ("array" if enveloped else "object") or not isinstance(events, list):
            return refusal(400, "not the expected envelope of events", "VALIDATION", BULK)
        if not 1 <= len(events) <= MAX_BULK:
            return refusal(400, f"1 to {MAX_BULK} events", "VALIDATION", BULK)
        faults = [fault_in(event) for event in events]
        if any(fault is None and event["tenant_id"] != tenant_id for event, fault in zip(events, faults, strict=True)):
            return refusal(403, "tenant_id is not the authenticated tenant", "TENANT_MISMATCH", BULK)
        failed = [{"index": index, "error": fault} for index, fault in enumerate(faults) if fault is not None]
        if failed and settings.bulk_failure == "all_or_nothing":
            return refusal(400, "invalid events", "VALIDATION", BULK, details=failed)
        log, now_s = world.logs[tenant_id], world.now()
        told = "accepted" if settings.duplicate_status == 202 else "duplicate"
        results: list[dict[str, object]] = []
        for event, fault in zip(events, faults, strict=True):
            if fault is not None:
                event_id = event.get("event_id") if isinstance(event, dict) else None
                results.append({"event_id": event_id, "status": "rejected", "error": fault})
                continue
            event_id, repeated = log.take(event, now_s, settings)
            results.append({"event_id": event_id, "status": told if repeated else "accepted"})
        status = settings.bulk_partial_status if failed else 202
        return json_reply(status, {"accepted": len(events) - len(failed), "results": results}, BULK)

    def _open(self, call: Call, route: str) -> Reply | tuple[str, object]:
        """Return (tenant, parsed body) of a call that is small enough, signed and JSON; else its refusal."""
        if len(call.body) > self._world.settings.max_body_bytes:
            return refusal(413, "body too large", "TOO_LARGE", route)
        try:
            tenant_id = check_hmac(call, self._world)
        except Refused as refused:
            return refused.reply(route)
        try:
            return tenant_id, orjson.loads(call.body)
        except orjson.JSONDecodeError:
            return refusal(400, "body is not JSON", "VALIDATION", route)
