"""One audit record: who did what, with which key, and how it ended; written as one line of JSON.

An allow-list decides what a line may hold: names, digests and verdicts, never a payload, a token or a secret.
audit_file.py decides where lines are kept.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from gateway.core.terminal import escaped_line
from gateway.telemetry.logs import MAX_VALUE_CHARS

MAX_LINE_BYTES = 8192
FACTS: Mapping[str, str] = {
    "tenant": "tenant",
    "operator": "operator",
    "environment": "environment",
    "key_id": "key_id",
    "verdict": "wallet_verdict",
    "disposition": "disposition",
    "operation_id": "operation_id",
    "attempt": "attempt",
    "claims_sha256": "claims_sha256",
    "count": "count",
    "events": "events",
    "surface": "surface",
    "target": "target",
    "state": "state",
    "why": "why",
}
"""Facts of a call that go into its record, and their names there."""


class Kind(enum.Enum):
    """What a record is about."""

    BEGUN = "begun"
    """A call that uses a secret or keeps a stream open, before it does so."""
    ENDED = "ended"
    """A call that ended, well or not."""
    DELIVERED = "delivered"
    """Durable events of a tenant were sent in the background."""
    SWITCHED = "switched"
    """A kill switch was set or cleared."""
    LOST = "lost"
    """Records before this one could not be kept; `count` says how many."""
    RESUMED = "resumed"
    """Records can be kept again after a failure. `count`: calls that were refused meanwhile, without a record."""


class AuditRecord(NamedTuple):
    """One record. A tuple: one is made for every call.

    `at_ns`: Unix time. `status`, `reason`: how it ended; empty while it runs. `facts`: of the call; nobody
    changes them later.
    """

    kind: Kind
    at_ns: int
    caller: str
    peer: str
    method: str
    request_id: str
    status: str
    reason: str
    verdict: str
    facts: Mapping[str, Any]


def line_of(record: AuditRecord) -> bytes:
    """Return the record as a line of JSON with its newline; never longer than MAX_LINE_BYTES."""
    seconds, rest = divmod(record.at_ns, 1_000_000_000)
    members: dict[str, Any] = {
        "time": f"{_second(seconds)}.{rest // 1_000_000:03d}Z",
        "kind": record.kind.value,
        "request_id": record.request_id,
        "caller": record.caller,
        "method": record.method,
    }
    if record.peer:
        members["peer"] = record.peer
    if record.status:
        members["status"] = record.status
        members["verdict"] = record.verdict
    if record.reason:
        members["reason"] = record.reason
    for fact, value in record.facts.items():
        name = FACTS.get(fact)
        if name is not None:
            members[name] = value
    for name, value in members.items():
        if type(value) is not str or len(value) > MAX_VALUE_CHARS:
            members[name] = _short(value)
    try:
        line = escaped_line(orjson.dumps(members, option=orjson.OPT_APPEND_NEWLINE))
    except (TypeError, ValueError):  # a lone surrogate
        line = orjson.dumps({name: ascii(value)[:MAX_VALUE_CHARS] for name, value in members.items()}) + b"\n"
    return line if len(line) <= MAX_LINE_BYTES else _essence(members)


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    """Many records have the same second, so its text is made once."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _short(value: Any) -> str | int:
    """Keep numbers, cut text, and replace anything else by its type: an object may hold anything."""
    if type(value) is int:
        return value
    if type(value) is not str:
        return f"<{type(value).__name__}>"
    return value if len(value) <= MAX_VALUE_CHARS else value[: MAX_VALUE_CHARS - 1] + "…"


def _essence(members: Mapping[str, Any]) -> bytes:
    kept = ("time", "kind", "request_id", "caller", "method", "status", "verdict", "reason")
    return orjson.dumps({name: ascii(members[name])[:MAX_VALUE_CHARS] for name in kept if name in members}) + b"\n"
