"""Reads a JSON Lines file into messages of the contract, and says what is wrong with a bad line.

An event without an id gets one derived from its line, so that the same file sent again has the same ids.
The gateway checks the contract's rules (lengths, characters) and reports them per event.
Source: API.md, EventService.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import orjson

from gateway.v1 import events_pb2

MAX_LINE_BYTES = 1_000_000
"""Phoenix accepts no larger event."""
_TEXTS = ("event_id", "leaderboard_id", "user_id", "event_type")
_MEMBERS = frozenset({*_TEXTS, "tenant_id", "score_delta", "metadata", "occur_time", "attributes"})
_MAX_SHOWN = 3
_UTF8_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One event. `number` counts from 1; `tenant_id` is the line's own, or the run's."""

    number: int
    raw: bytes
    tenant_id: str
    event: events_pb2.Event


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """A line that is no event, and why. `raw` may be cut off."""

    number: int
    raw: bytes
    problem: str


class _NoEvent(ValueError):
    """The line is no event. The text says why and quotes only names."""


class _Number(str):
    """A number as it was written: the command must not change numbers that it passes on."""

    __slots__ = ()


def read_lines(source: BinaryIO, tenant_id: str, label: str) -> Iterator[Line | BadLine]:
    """Yield each line that is not blank. Args: `label` is part of the derived ids."""
    number = 0
    while raw := source.readline(MAX_LINE_BYTES + 2):
        number += 1
        # Editors and spreadsheets write one at the start of a file, and `cat` puts files one behind the other.
        raw = raw.removeprefix(_UTF8_BOM)
        if len(raw) > MAX_LINE_BYTES + 1 and not raw.endswith(b"\n"):
            while (rest := source.readline(1 << 20)) and not rest.endswith(b"\n"):
                pass
            yield BadLine(number=number, raw=raw[:200], problem=f"longer than {MAX_LINE_BYTES:,} bytes")
        elif raw := raw.strip():
            try:
                tenant, event = _event(raw, tenant_id)
            except _NoEvent as fault:
                yield BadLine(number=number, raw=raw, problem=str(fault))
            else:
                event.event_id = event.event_id or derived_id(number, raw, label)
                yield Line(number=number, raw=raw, tenant_id=tenant, event=event)


def derived_id(number: int, raw: bytes, label: str) -> str:
    """Return the id of an event that has none: a UUID (version 8) of its line's number and bytes and of the label."""
    hashed = b"\x00".join((b"phoenix-gateway events send", label.encode(), b"%d" % number, raw))
    value = int.from_bytes(hashlib.sha256(hashed).digest()[:16], "big")
    value = value & ~(0xF << 76) | 8 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return str(uuid.UUID(int=value))


def _event(raw: bytes, tenant_id: str) -> tuple[str, events_pb2.Event]:
    members = _read(raw)
    unknown = sorted(set(members) - _MEMBERS)
    if unknown:
        shown = ", ".join(name[:40] for name in unknown[:_MAX_SHOWN])
        raise _NoEvent(f"no member of an event: {shown}; known are {', '.join(sorted(_MEMBERS))}")
    given = {name: value for name, value in members.items() if value is not None}
    event = events_pb2.Event()
    for name in (*_TEXTS, "tenant_id", "occur_time"):
        if name in given and type(given[name]) is not str:
            raise _NoEvent(f"{name}: must be a text")
    for name in _TEXTS:
        _set_text(event, name, given.get(name, ""))
    if "score_delta" in given:
        event.score_delta = _score(given["score_delta"])
    if "metadata" in given:
        event.metadata_json = _written(given["metadata"], "metadata")
    if "occur_time" in given:
        try:
            event.occur_time.FromJsonString(given["occur_time"])
        except ValueError:
            raise _NoEvent("occur_time: must be a time such as 2026-11-01T12:00:00Z") from None
    if "attributes" in given:
        event.attributes_json = _written(given["attributes"], "attributes")
    tenant = given.get("tenant_id", tenant_id)
    if tenant_id and tenant != tenant_id:
        raise _NoEvent("tenant_id: differs from --tenant")
    return tenant, event


def _set_text(event: events_pb2.Event, name: str, value: str) -> None:
    try:
        setattr(event, name, value)
    except (UnicodeEncodeError, ValueError):
        raise _NoEvent(f"{name}: holds half a character (a lone surrogate)") from None


def _score(value: Any) -> float:
    if not isinstance(value, _Number):
        raise _NoEvent("score_delta: must be a number")
    score = float(value)
    if "." not in value and "e" not in value.lower() and (abs(score) >= 2.0**63 or int(score) != int(value)):
        raise _NoEvent("score_delta: more digits than a double holds")
    return score


def _written(value: Any, name: str) -> bytes:
    if not isinstance(value, dict):
        raise _NoEvent(f"{name}: must be an object")
    try:
        return orjson.dumps(value, default=_verbatim, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
    except (TypeError, ValueError, RecursionError):
        raise _NoEvent(f"{name}: nested too deep, or holds half a character (a lone surrogate)") from None


def _verbatim(number: _Number) -> orjson.Fragment:
    return orjson.Fragment(number.encode())


def _read(raw: bytes) -> dict[str, Any]:
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise _NoEvent("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _NoEvent(f"not one JSON object: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise _NoEvent("nested too deep") from None
    if not isinstance(value, dict):
        raise _NoEvent("not a JSON object")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NoEvent("a member is given twice")
    return members


def _constant(name: str) -> NoReturn:
    raise _NoEvent("NaN and Infinity are not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_Number, parse_float=_Number, parse_constant=_constant
)
