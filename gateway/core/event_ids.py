"""The record of an event id: a digest of the event and its result. Pure.

`actions/events/event_memory.py` and `cache/event_ids.py` store the records. Source: API.md, EventService,
"Deduplication".
"""

from __future__ import annotations

import enum
import hashlib
import json
import re
import struct
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import orjson

from gateway.core.wire import Event

REMEMBER_S = 24 * 3600
"""How long an id that a caller chose is remembered, from the first send on."""
RESEND_WITHIN_S = 290.0
"""How long after the first send an event may be sent again under its id. Phoenix remembers ids for 300 s; the rest is
for the network. Every resend uses this limit."""
CALL_AND_CLOCKS_S = 70.0
"""The longest deadline of a call plus the clock difference between replicas. The gateway resends an event for a caller
only while this much of the resend time is left."""

_AHEAD_S = 5.0
"""A first send may seem to lie so far in the future: clocks of replicas and stores differ."""

_PACKED = struct.Struct(">Bd32s")
# Numbers that have several spellings (1.0, 1e0), or that the fast parser may not represent exactly.
_TRICKY_NUMBER = re.compile(rb"[0-9][.eE]|[0-9]{16}|-0")
_EXACT_DIGITS = 15


def may_be_sent_again(age_s: float, within_s: float) -> bool:
    """Tell whether Phoenix still remembers an id that was first sent so long ago. Args: `within_s`: for how long.

    A first send far in the future shows that a clock was set back. Then its age is unknown, and a second send might
    count twice.
    """
    return -_AHEAD_S <= age_s < within_s


class EventState(enum.Enum):
    """The state of an event. The values are stored."""

    BEGUN = 1
    """A replica is sending it, or ended while it was sending."""
    ACCEPTED = 2
    """Phoenix has it."""
    UNKNOWN = 3
    """It was sent, and no answer says whether Phoenix has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedEvent:
    """The record of one event id. `at`: when the first send began, Unix seconds; `digest`: of the event's content."""

    state: EventState
    at: float
    digest: bytes


_STRENGTH = {EventState.BEGUN: 0, EventState.UNKNOWN: 1, EventState.ACCEPTED: 2}


def combined(held: RememberedEvent, new: RememberedEvent) -> RememberedEvent:
    """Return what two records of one id, written independently, say together: the stronger state, the first send."""
    kept = new if _STRENGTH[new.state] > _STRENGTH[held.state] else held
    return kept if held.digest != new.digest else replace(kept, at=min(held.at, new.at))


class OwnEntry:
    """The entry that one claim of this process wrote to the shared memory. Only this entry may the claim delete.

    `written`: its bytes, or those that may have arrived there; empty: none. The shared memory sets them.
    """

    __slots__ = ("written",)

    def __init__(self) -> None:
        self.written = b""


class NotPacked(ValueError):
    """The bytes were not made by `pack`."""


def pack(remembered: RememberedEvent) -> bytes:
    """Return the bytes that `unpack` reads."""
    return _PACKED.pack(remembered.state.value, remembered.at, remembered.digest)


def unpack(packed: bytes) -> RememberedEvent:
    """Return the record from its bytes. Raises: NotPacked."""
    try:
        state, at, digest = _PACKED.unpack(packed)
        return RememberedEvent(state=EventState(state), at=at, digest=digest)
    except (struct.error, ValueError):
        raise NotPacked("not the record of an event id") from None


def content_digest(event: Event) -> bytes:
    """Return the SHA-256 of the whole event except its id. All spellings of the same JSON have the same digest.

    The order of members, white space, escapes, and 5 or 5.0 make no difference; any other value does.
    """
    content = (
        event.leaderboard_id,
        event.user_id,
        # 0.0 and -0.0 are the same number.
        None if event.score_delta is None else event.score_delta + 0.0,
        event.event_type,
        event.occur_time,
        _decoded(event.metadata_json),
        _decoded(event.attributes_json),
    )
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()


def _decoded(raw: bytes | None) -> Any:
    """Return checked JSON, decoded, with each number in one form only."""
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
    all_digits = "".join(map(str, digits))
    significant = all_digits.rstrip("0")
    # Digits and exponent are exact at any size; decimal arithmetic would round. No real member has this name.
    return {"\x00number": f"{sign}:{significant}:{int(exponent) + len(all_digits) - len(significant)}"}
