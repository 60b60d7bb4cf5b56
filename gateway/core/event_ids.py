"""What is remembered of an event id: what its event held, and what became of it. Pure.

Where it is kept is `actions/remember_events.py`'s and `keys/redis_event_ids.py`'s matter. Source: API.md, EventService,
"Deduplication".
"""

from __future__ import annotations

import enum
import hashlib
import json
import re
import struct
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from gateway.core.wire import Event

RESEND_WITHIN_S = 290.0
"""How long after its first sending an event may be sent again under its id: Phoenix remembers ids for 300 s, and the
rest is for the way there. Every window of resending is this one."""
CALL_AND_CLOCKS_S = 70.0
"""The longest deadline of a call, and what the clocks of replicas differ by: an event that a caller brings again is
taken for resending only while so much of the window is left."""

DIGEST_BYTES = 32
_PACKED = struct.Struct(">Bd32s")
# Numbers that two writers may put differently (1.0, 1e0), or that the fast reader may not hold exactly.
_TRICKY_NUMBER = re.compile(rb"[0-9][.eE]|[0-9]{16}|-0")
_EXACT_DIGITS = 15


class EventState(enum.Enum):
    """What became of an event. The values are stored."""

    BEGUN = 1
    """Somebody is sending it, or ended while sending it."""
    ACCEPTED = 2
    """Phoenix has it."""
    UNKNOWN = 3
    """It was sent, and no answer tells whether Phoenix has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedEvent:
    """One event id. `at`: when its event was first about to be sent, Unix seconds; `digest`: of its content."""

    state: EventState
    at: float
    digest: bytes


class NotPacked(ValueError):
    """The bytes are none that `pack` made."""


def pack(remembered: RememberedEvent) -> bytes:
    """Return the bytes that `unpack` reads."""
    return _PACKED.pack(remembered.state.value, remembered.at, remembered.digest)


def unpack(packed: bytes) -> RememberedEvent:
    """Return what was packed. Raises: NotPacked."""
    try:
        state, at, digest = _PACKED.unpack(packed)
        return RememberedEvent(state=EventState(state), at=at, digest=digest)
    except (struct.error, ValueError):
        raise NotPacked("not an event that was remembered") from None


def content_digest(event: Event) -> bytes:
    """Return the SHA-256 of everything the event says but its id, the same for all spellings of the same JSON.

    Order of members, white space, escapes, and 5 or 5.0 make no difference; any other value does.
    """
    content = (
        event.leaderboard_id,
        event.user_id,
        # Both zeros are one number.
        None if event.score_delta is None else event.score_delta + 0.0,
        event.event_type,
        event.occur_time,
        _decoded(event.metadata_json),
        _decoded(event.attributes_json),
    )
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()


def _decoded(raw: bytes | None) -> Any:
    """Return checked JSON decoded, each number in one form only."""
    if raw is None or _TRICKY_NUMBER.search(raw) is None:
        return None if raw is None else orjson.loads(raw)
    return json.loads(raw, parse_int=_number, parse_float=_number)


def _number(text: str) -> Any:
    number = Decimal(text)
    if not number:
        return 0
    if 0 <= number.adjusted() < _EXACT_DIGITS and number == number.to_integral_value():
        return int(number)
    sign, digits, exponent = number.as_tuple()
    told = "".join(map(str, digits))
    significant = told.rstrip("0")
    # Digits and exponent, exact whatever their size; a context would round. No JSON member has this name by chance.
    return {"\x00number": f"{sign}:{significant}:{int(exponent) + len(told) - len(significant)}"}
