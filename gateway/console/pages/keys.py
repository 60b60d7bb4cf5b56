"""*Keys*: each version of each key, what it waits for, and a time line of those that come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.console.visit import Page, Visit
from gateway.v1 import common_pb2, keys_pb2

_USED_BY = {
    keys_pb2.KEY_KIND_TENANT_HMAC: "events and reads of the tenant",
    keys_pb2.KEY_KIND_ADMIN_API_KEY: "administration of the tenant's boards",
    keys_pb2.KEY_KIND_OPERATOR: "launch tokens and the Operator API",
    keys_pb2.KEY_KIND_PLATFORM: "verification of wallet webhooks",
    keys_pb2.KEY_KIND_CACHE_SEAL: "entries in Redis",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """One version. `bar`: from and to on the time line, in percent; None for one without dates."""

    key: keys_pb2.KeyDescription
    kind: str
    state: str
    environment: str
    used_by: str
    since: datetime | None
    ends: datetime | None
    age_s: float | None
    next_step: str
    bar: tuple[float, float] | None


async def show(visit: Visit) -> Page:
    """Show the keys that the visitor's tenants and operators have."""
    found = await visit.calls(
        visit.visitor, "KeyService/ListKeys", keys_pb2.ListKeysRequest(), keys_pb2.ListKeysResponse
    )
    span = _span(found.keys, visit.now)
    return Page(template="keys.html", values={"rows": [_row(key, visit.now, span) for key in found.keys], "span": span})


def _row(key: keys_pb2.KeyDescription, now: datetime, span: tuple[datetime, datetime]) -> KeyRow:
    since, ends = _time(key, "activate_time"), _time(key, "end_time")
    return KeyRow(
        key=key,
        kind=keys_pb2.KeyKind.Name(key.kind).removeprefix("KEY_KIND_").lower().replace("_", " "),
        state=keys_pb2.KeyState.Name(key.state).removeprefix("KEY_STATE_").lower(),
        environment=common_pb2.PhoenixEnvironment.Name(key.environment).rpartition("_")[2].lower()
        if key.environment
        else "",
        used_by=_USED_BY.get(key.kind, ""),
        since=since,
        ends=ends,
        age_s=None if since is None or since > now else (now - since).total_seconds(),
        next_step=_next_step(key, since, ends),
        bar=None if since is None else (_place(since, span), _place(ends or span[1], span)),
    )


def _next_step(key: keys_pb2.KeyDescription, since: datetime | None, ends: datetime | None) -> str:
    if key.state == keys_pb2.KEY_STATE_ANNOUNCED:
        return f"signs from {since:%Y-%m-%d %H:%M} UTC on" if since else "becomes active"
    if key.state == keys_pb2.KEY_STATE_RETIRING:
        return f"ends {ends:%Y-%m-%d %H:%M} UTC" if ends else "ends"
    return ""


def _time(key: keys_pb2.KeyDescription, name: str) -> datetime | None:
    at: Timestamp = getattr(key, name)
    return at.ToDatetime(tzinfo=UTC) if key.HasField(name) else None  # type: ignore[arg-type]


def _span(keys: Sequence[keys_pb2.KeyDescription], now: datetime) -> tuple[datetime, datetime]:
    """Return the time that the time line shows: from the first change of a key to the last, and now."""
    names = ("activate_time", "end_time")
    times = [at for key in keys for name in names if (at := _time(key, name)) is not None] + [now]
    return min(times), max(times)


def _place(at: datetime, span: tuple[datetime, datetime]) -> float:
    whole = (span[1] - span[0]).total_seconds()
    return 100.0 if whole <= 0 else 100.0 * (at - span[0]).total_seconds() / whole
