"""What happened to a call, an event or a wallet operation, in words: headings, each with names and values.

The command `explain` prints them, the console shows them. Pure: the time of now is an argument.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_LABEL = re.compile(
    r"^[\"']?(x[-_]request[-_]id|request[-_]?id|webhook_request_id|event[-_]?id|operation_id|traceparent|trace_id)"
    r"[\"']?\s*[:=]\s*",
    re.IGNORECASE,
)
_AROUND = " \t\r\n\"'`,;()[]{}<>\ufeff\u200b\u200c\u200d\u2060\u00a0"

NOT_FOUND_ADVICE = (
    "Successes are the first to be forgotten. Calls refused as OVERLOADED before they were read are never kept."
    " Ask the replica that served the call, or search the log for the id."
)

Row = tuple[str, str]


def id_in(pasted: str) -> str:
    """Return the id in what a person pasted: without blanks, quotes, and the name of a header or field before it."""
    text = pasted.strip(_AROUND)
    text = _LABEL.sub("", text).strip(_AROUND)
    trace = _TRACEPARENT.fullmatch(text)
    return trace[1] if trace else text


def form_of(wanted: str) -> str:
    """Say what the id may be, by its form."""
    if _UUID.fullmatch(wanted):
        return "a UUID: the request id of a call or webhook, an event id or an operation id"
    if re.fullmatch(r"[0-9a-f]{32}", wanted):
        return "32 hexadecimal digits: a trace id"
    if re.fullmatch(r"[0-9a-f]{64}", wanted):
        return "a SHA-256 digest, by which calls are not found; phoenix-gateway keys list shows the keys"
    return "a text that a caller or Phoenix chose: a request id or an event id"


def other_spelling(wanted: str) -> str:
    """Return a UUID in lower case, as the gateway writes them; empty if that is no other spelling."""
    lower = wanted.lower()
    return lower if lower != wanted and _UUID.fullmatch(lower) else ""


@dataclass(frozen=True, slots=True)
class Block:
    """A heading, and what belongs to it: names with their values."""

    head: str
    rows: tuple[Row, ...]


def is_found(report: Mapping[str, Any]) -> bool:
    """Whether anything is known of the id."""
    return bool(report.get("stories") or report.get("durable_events") or report.get("operation"))


def blocks_of(report: Mapping[str, Any], now_s: float) -> Iterator[Block]:
    """Yield what is known of the id. Args: `report`: as /explain answers; `now_s`: the time of day."""
    for story in report["stories"]:
        yield Block(_head(story, now_s), tuple(_story(story)))
    for event in report.get("durable_events") or ():
        head = f"Durable event of tenant {event['tenant']}: {event['state']}"
        yield Block(head, tuple(_durable(event, report["id"], now_s)))
    operation = report.get("operation")
    if operation:
        head = f"Wallet operation {operation['operation_id']}: {operation['operation']}, {operation['state']}"
        yield Block(head, tuple(_operation(operation, now_s)))


def _head(story: Mapping[str, Any], now_s: float) -> str:
    ended = _time(story["ended_at"], now_s)
    name = str(story.get("method", "")).rpartition("/")[2]
    if story["kind"] == "event":
        return f"Event {story['event_id']}: {story['result']} by {name}, {ended}"
    return f"{name}: {_result(story)}, {ended}"


def _story(story: Mapping[str, Any]) -> Iterator[Row]:
    yield from _row("request id", story.get("request_id"))
    yield from _row("webhook id", story.get("webhook_request_id"))
    yield from _row("why", _why(story))
    yield from _row("message", _message(story))
    yield from _row("to do", story.get("what_to_do"))
    yield from _row("how often", _alike(story))
    yield from _row("caller", _caller(story))
    target = story.get("tenant") or "/".join(str(story[n]) for n in ("operator", "environment") if story.get(n))
    yield from _row("for", target)
    yield from _row("policy", _policy(story))
    yield from _row("key", story.get("key_id"))
    yield from _row("cache", _CACHE.get(str(story.get("source"))))
    yield from _sent(story.get("sent") or ())
    yield from _row("webhook", _webhook(story))
    yield from _row("events", _events(story))
    yield from _row("error", _error(story))
    yield from _row("took", f"{story['duration_ms']} ms in the gateway" if "duration_ms" in story else "")
    yield from _row("process", story.get("process"))


_CACHE = {
    "live": "no: asked Phoenix",
    "cache": "yes, fresh",
    "stale": "yes, but older than wanted: Phoenix was slow or failing",
    "socket": "from the live board",
}


def _row(name: str, value: object) -> Iterator[Row]:
    if value:
        yield name, str(value)


def _result(story: Mapping[str, Any]) -> str:
    verdict, status = story.get("verdict"), story.get("status")
    if verdict:
        reply = story.get("reply_status")
        says = f"the wallet was told to answer {reply}" if reply else f"disposition {story.get('disposition')}"
        return f"{verdict}, {says}"
    reason = f" {story['reason']}" if story.get("reason") and status != "OK" else ""
    return f"{status}{reason}"


def _why(story: Mapping[str, Any]) -> str:
    """Say in one sentence what failed."""
    if story.get("right"):
        return f"the policy does not give this caller the right `{story['right']}`"
    if story.get("limit"):
        value = ((story.get("policy") or {}).get("limits") or {}).get(story["limit"])
        of_value = "" if value is None else f" of {value:g}"
        return f"the limit {story['limit']}{of_value} of the {story.get('whose')} is used up"
    if story.get("off"):
        return f"this {story['off']} is switched off"
    if story.get("fields"):
        return f"invalid fields: {story['fields']}"
    if story.get("upstream_status") and story.get("reason"):
        code = f" ({story['phoenix_code']})" if story.get("phoenix_code") else ""
        return f"Phoenix answered {story['upstream_status']}{code} on {story.get('surface')}"
    if story.get("verdict") in _VERDICTS:
        return _VERDICTS[str(story["verdict"])]
    if story.get("last_try"):
        errno = f" ({story['errno']})" if story.get("errno") else ""
        how = _HOW.get(str(story["last_try"]), str(story["last_try"]))
        return f"{how}{errno}: {story.get('address') or story.get('surface')}"
    return ""


_VERDICTS = {
    "MISSING_SIGNATURE": "the webhook has no header `signature`",
    "MALFORMED_SIGNATURE": "the header `signature` has not the form of a signature",
    "BAD_SIGNATURE": "the signature is not of Phoenix's key, which was fetched again after the webhook arrived",
    "KEY_UNAVAILABLE": "the signature does not verify with the known key, and a newer one could not be fetched in time",
    "KEY_RETIRED": "the signature is of the key that Phoenix replaced a short time ago",
    "MALFORMED_BODY": "the signed body is no JSON object",
    "MISSING_IDEMPOTENCY_KEY": "the signed move has no idempotency key",
    "WRONG_OPERATOR": "the signed body names another operator",
    "WRONG_ENVIRONMENT": "the signed body names another environment",
    "UNREADABLE_OPERATION": "the signed body cannot be interpreted",
    "HELD_SUSPECT_REPLAY": "the same signed body came before under another key, and the policy holds such moves",
    "STORE_UNAVAILABLE": "the move could not be stored",
    "AMBIGUOUS_HEADERS": "`signature` or `idempotency-key` came twice with different values",
}
_HOW = {
    "not_sent": "no connection to Phoenix",
    "own_limit": "the gateway had no file descriptor left",
    "timed_out": "Phoenix did not answer in time",
    "lost": "the connection to Phoenix broke before the answer",
    "garbled": "Phoenix's answer could not be read",
    "left": "the caller left before Phoenix answered",
}


def _alike(story: Mapping[str, Any]) -> str:
    alike = story.get("alike") or {}
    if not alike.get("count"):
        return ""
    if alike["count"] == 1:
        return "the only failure of this kind in this process"
    return f"{alike['count']} failures of this kind in this process within the last {_span(alike['since_s'])}"


def _message(story: Mapping[str, Any]) -> str:
    if not story.get("status_message"):
        return ""
    wait = f" RetryInfo: {story['retry_after_s']:g} s." if "retry_after_s" in story else ""
    effect = f" Effect: {story['effect']}." if "effect" in story else ""
    return f"{story['status_message']}{wait}{effect}"


def _caller(story: Mapping[str, Any]) -> str:
    return str(story.get("caller") or (f"not identified, from {story['peer']}" if story.get("peer") else ""))


def _policy(story: Mapping[str, Any]) -> str:
    policy = story.get("policy") or {}
    if not policy:
        return ""
    within = f", at most {policy['timeout_s']:g} s" if policy.get("timeout_s") else ""
    return f"{story.get('method')} needs the right `{policy['right']}` ({policy['scope']}){within}"


def _sent(tries: list[Mapping[str, Any]] | tuple[()]) -> Iterator[Row]:
    for number, one in enumerate(tries, 1):
        result = f"HTTP {one['status']}" if one.get("status") else _HOW.get(str(one.get("how")), str(one.get("how")))
        errno = f" ({one['errno']})" if one.get("errno") else ""
        yield from _row(
            f"try {number}", f"{result}{errno}, {one['address']}, after {one['after_ms']} ms, took {one['took_ms']} ms"
        )


def _webhook(story: Mapping[str, Any]) -> str:
    if not story.get("verdict"):
        return ""
    parts = [f"{name} {story[name]}" for name in ("disposition", "attempt") if story.get(name)]
    parts += [name.replace("_", " ") for name in ("suspect_replay", "probed_before", "settled") if story.get(name)]
    if story.get("odd_headers"):
        parts.append(f"odd headers {story['odd_headers']}")
    parts.append(f"operation {story['operation_id']}" if story.get("operation_id") else "no operation was claimed")
    return "; ".join(parts)


def _events(story: Mapping[str, Any]) -> str:
    if not story.get("events"):
        return ""
    failed = f", {story['failed']} not accepted" if story.get("failed") else ""
    return f"{story['events']} in the call{failed}{', durable' if story.get('delivery') else ''}"


def _error(story: Mapping[str, Any]) -> str:
    if not story.get("error_type") or (story.get("status_message") and not story.get("error_causes")):
        return ""
    causes = f" < {story['error_causes']}" if story.get("error_causes") else ""
    return f"{story['error_type']}{causes} at {story.get('error_at')}"


def _durable(event: Mapping[str, Any], event_id: str, now_s: float) -> Iterator[Row]:
    yield from _row("accepted", _time(event["accepted_at"], now_s))
    yield from _row("attempts", event["attempts"])
    if event["state"] == "QUEUED":
        yield from _row("due", _time(event["due_at"], now_s) if event.get("due_at") else "")
        yield from _row("waits for", f"{event['ahead']} earlier events of its user and board" if event["ahead"] else "")
        yield from _row("to do", "nothing, if the attempts go on: it is delivered when Phoenix takes it")
    else:
        yield from _row("ended", _time(event["done_at"], now_s) if event.get("done_at") else "")
    if event["state"] == "DEAD":
        yield from _row("reason", event["reason"])
        first = ""
        if event["may_have_reached_phoenix"]:
            first = "check at Phoenix first whether it was counted, because it may have arrived; if it was not, "
        request = json.dumps({"tenant_id": event["tenant"], "event_ids": [event_id]})
        yield from _row("to do", f"{first}correct the cause, then send this event alone again:")
        yield from _row("", f"phoenix-gateway call EventService/RedriveDeadLetters '{request}'")


def _operation(operation: Mapping[str, Any], now_s: float) -> Iterator[Row]:
    yield from _row("for", f"{operation['operator']}/{operation['environment']}")
    yield from _row("received", _time(operation["received_at"], now_s))
    yield from _row("webhook id", operation["webhook_request_id"])
    yield from _row("attempt", operation["attempt"])
    yield from _row("answered", f"HTTP {operation['reply_status']}" if operation["reply_status"] else "not yet")
    yield from _row("replays", operation["replays"])
    yield from _row("conflicts", operation["conflicts"])
    yield from _row("incidents", ", ".join(operation["incidents"]))
    yield from _row("suspect", "the same signed body came under another key" if operation["suspect_replay"] else "")


def searched_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Return where the id was searched for, and how far back."""
    for place in report["searched"]:
        reach = ""
        if "failures" in place:
            kinds = ("failures", "refusals", "successes")
            reach = ": " + ", ".join(
                f"{place[one]} {one} of the last {_span(place[f'{one}_since_s'])}" for one in kinds
            )
        trouble = f" ({place['trouble']})" if place.get("trouble") else ""
        yield f"{place['where']}{reach}{trouble}"


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def _time(at: float, now_s: float) -> str:
    moment, ago = datetime.fromtimestamp(at, UTC), now_s - at
    when = f"{_span(ago)} ago" if ago >= 0 else f"in {_span(-ago)}"
    return f"{moment.isoformat(timespec='milliseconds').replace('+00:00', 'Z')} ({when})"
