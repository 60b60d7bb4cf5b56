"""Encode events and board definitions as gamification JSON, and re-export the decoders of Phoenix's answers.

The decoders are in wire_answers.py and wire_snapshots.py. Only these modules know gamification's member names.
Source: gamification.md 2.1 to 2.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import orjson

from gateway.core.json_text import MAX_DEPTH, DoubtfulJson, check_one_meaning
from gateway.core.types import TenantId
from gateway.core.wire_answers import (
    Definition,
    Entry,
    Page,
    RankAnswer,
    ScoreAnswer,
    decode_definition,
    decode_definitions,
    decode_leaderboard,
    decode_rank,
    decode_score,
    refused_code,
)
from gateway.core.wire_snapshots import (
    Neighbors,
    SnapshotInfo,
    decode_neighbors,
    decode_snapshots,
    decode_user_snapshot,
    snapshot_time_text,
)
from gateway.errors import FieldFault, InvalidField

__all__ = [
    "BulkEnvelope",
    "Definition",
    "Entry",
    "Event",
    "Neighbors",
    "Page",
    "RankAnswer",
    "ScoreAnswer",
    "SnapshotInfo",
    "check_metadata_json",
    "decode_definition",
    "decode_definitions",
    "decode_leaderboard",
    "decode_neighbors",
    "decode_rank",
    "decode_score",
    "decode_snapshots",
    "decode_user_snapshot",
    "encode_bulk",
    "encode_definition",
    "encode_event",
    "refused_code",
    "snapshot_time_text",
]

BulkEnvelope = Literal["array", "events"]

# Above this limit a double cannot represent every integer, so the score is written as a double.
_EXACT_INTEGERS = 2.0**53


class Event(NamedTuple):
    """One event for a board. `metadata_json` and `attributes_json` are JSON objects that were checked before.

    A named tuple, because one call creates up to a thousand, and a frozen dataclass takes four times as long.
    """

    event_id: str
    leaderboard_id: str
    user_id: str
    score_delta: float | None = None
    metadata_json: bytes | None = None
    event_type: str = ""
    occur_time: str | None = None
    """RFC 3339, UTC."""
    attributes_json: bytes | None = None


def encode_event(event: Event, tenant_id: TenantId, *, send_event_id: bool) -> bytes:
    """Return the body of POST /v1/events. Call it once; sign and send exactly these bytes.

    A whole score is written as a JSON integer where a double represents it exactly.
    Raises: InvalidField for a score that is not finite (path relative to the event).
    """
    parts = [_start_of_event(tenant_id, event.leaderboard_id), orjson.dumps(event.user_id)]
    score = event.score_delta
    if score is not None:
        if not math.isfinite(score):
            # The encoder would write null, and Phoenix might count it.
            raise InvalidField([FieldFault(field="score_delta", description="must be a finite number")])
        is_whole = -_EXACT_INTEGERS < score < _EXACT_INTEGERS and score % 1 == 0
        parts += (b',"score_delta":', orjson.dumps(int(score) if is_whole else score))
    if event.metadata_json is not None:
        parts += (b',"metadata":', event.metadata_json)
    if send_event_id:
        parts += (b',"event_id":', orjson.dumps(event.event_id))
    if event.event_type:
        parts += (b',"event_type":', orjson.dumps(event.event_type))
    if event.occur_time is not None:
        parts += (b',"timestamp":', orjson.dumps(event.occur_time))
    if event.attributes_json is not None:
        parts += (b',"attributes":', event.attributes_json)
    parts.append(b"}")
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _start_of_event(tenant_id: TenantId, leaderboard_id: str) -> bytes:
    """Return the members that most events of a tenant share, which is a third of encoding one."""
    return b'{"tenant_id":%b,"leaderboard_id":%b,"user_id":' % (orjson.dumps(tenant_id), orjson.dumps(leaderboard_id))


def encode_bulk(events: Sequence[bytes], envelope: BulkEnvelope) -> bytes:
    """Return the body of POST /v1/events/bulk from the bytes that `encode_event` made."""
    array = b"[" + b",".join(events) + b"]"
    return array if envelope == "array" else b'{"events":' + array + b"}"


def encode_definition(
    *, tenant_id: TenantId, leaderboard_id: str, name: str, description: str, config_json: bytes | None
) -> bytes:
    """Return the body that creates a board. `config_json` is a JSON object that was checked before."""
    members: dict[str, object] = {"leaderboard_id": leaderboard_id, "tenant_id": tenant_id, "name": name}
    if description:
        members["description"] = description
    if config_json is not None:
        members["config"] = orjson.Fragment(config_json)
    return orjson.dumps(members)


def check_metadata_json(raw: bytes, field: str = "metadata_json") -> FieldFault | None:
    """Return why `raw` cannot be forwarded unchanged, or None. It must be one JSON object with one meaning.

    Args: `field`: what a fault names.
    One meaning is: UTF-8, no duplicate member at any level, at most 32 levels, no NaN, no lone surrogate.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return FieldFault(field=field, description="must be one JSON object in UTF-8")
    if not isinstance(value, dict):
        return FieldFault(field=field, description="must be one JSON object, not another JSON value")
    # A parsed object has each member once. If encoding it again gives the same bytes, there was no duplicate. This
    # holds for most callers' JSON and is much cheaper than the strict parser.
    if orjson.dumps(value) == raw and (
        len(raw) <= 2 * MAX_DEPTH or raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH  # a level takes two bytes
    ):
        return None
    try:
        check_one_meaning(raw)
    except DoubtfulJson as fault:
        return FieldFault(field=field, description=f"must be one JSON object with one meaning; found: {fault}")
    return None
