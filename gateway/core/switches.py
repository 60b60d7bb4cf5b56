"""Kill switches: which methods, callers, tenants and operator environments are off, and how to merge two lists.

A newer decision about a target replaces an older one. A decision to switch on again is kept like any other. So lists
can be merged in any order, an old list changes nothing, and a missing entry switches nothing on. gateway/controls
stores the lists.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_SWITCHES = 1000
MAX_BYTES = 512 * 1024
MAX_NAME_CHARS = 300
MAX_REASON_CHARS = 200
MAX_AHEAD_MS = 60_000
"""A decision from further in the future comes from a wrong clock."""
_FORM = 1


class SwitchesUnreadable(ValueError):
    """The bytes are not a list of switches."""


class TargetKind(enum.Enum):
    """What is switched off."""

    METHOD = "method"
    """By its full path, or a whole service as `/package.Service/*`."""
    CALLER = "caller"
    TENANT = "tenant"
    OPERATOR = "operator"
    """By `code/environment`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One thing that can be switched off."""

    kind: TargetKind
    name: str

    def __str__(self) -> str:
        """Return the target in the form of the command line."""
        return f"{self.kind.value}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """The last decision about a target. `at_ms`: Unix milliseconds; `by`: the user of the host who made it."""

    target: Target
    is_off: bool
    at_ms: int
    reason: str
    by: str

    @property
    def rank(self) -> tuple[int, bool, str, str]:
        """The order of decisions: the later one wins; in the same millisecond, the one that switches off wins."""
        return (self.at_ms, self.is_off, self.reason, self.by)


@dataclass(frozen=True, slots=True)
class Switches:
    """All decisions, by target."""

    by_target: Mapping[Target, Switch] = field(default_factory=dict)

    @property
    def off(self) -> list[Switch]:
        """What is switched off, oldest first."""
        return sorted((one for one in self.by_target.values() if one.is_off), key=lambda one: one.rank)

    def names_off(self, kind: TargetKind) -> frozenset[str]:
        """Return the names of what is switched off, of one kind."""
        return frozenset(one.target.name for one in self.by_target.values() if one.is_off and one.target.kind is kind)

    def methods_off(self, methods: Iterable[str]) -> frozenset[str]:
        """Return which of these full paths are switched off, by themselves or with their service."""
        names = self.names_off(TargetKind.METHOD)
        return frozenset(one for one in methods if one in names or one.rpartition("/")[0] + "/*" in names)

    def merged(self, other: Switches) -> Switches:
        """Return the newer decision about each target; this same object if nothing is newer."""
        newer = {
            target: one
            for target, one in other.by_target.items()
            if target not in self.by_target or one.rank > self.by_target[target].rank
        }
        if not newer:
            return self
        together = {**self.by_target, **newer}
        if len(together) > MAX_SWITCHES:
            # Drop the oldest decisions that switched on again. Never drop a target that is off.
            kept = sorted(together.values(), key=lambda one: (not one.is_off, -one.at_ms))[:MAX_SWITCHES]
            together = {one.target: one for one in kept}
        return Switches(together)

    def decided(self, target: Target, *, is_off: bool, reason: str, by: str, now_ms: int) -> Switches:
        """Return the list with one more decision, newer than the present one about the target."""
        known = self.by_target.get(target)
        at_ms = now_ms if known is None else max(now_ms, known.at_ms + 1)
        made = Switch(
            target=target, is_off=is_off, at_ms=at_ms, reason=reason[:MAX_REASON_CHARS], by=by[:MAX_NAME_CHARS]
        )
        return self.merged(Switches({target: made}))


def encode_switches(switches: Switches) -> bytes:
    """Return the list as JSON; the same list gives the same bytes."""
    rows = [
        {
            "kind": one.target.kind.value,
            "name": one.target.name,
            "off": one.is_off,
            "at_ms": one.at_ms,
            "reason": one.reason,
            "by": one.by,
        }
        for one in sorted(switches.by_target.values(), key=lambda one: str(one.target))
    ]
    return json.dumps({"form": _FORM, "switches": rows}, indent=1, ensure_ascii=True).encode("ascii")


def decode_switches(data: bytes, *, now_ms: int) -> Switches:
    """Parse a list. Raises: SwitchesUnreadable, also for a decision from the future."""
    if len(data) > MAX_BYTES:
        raise SwitchesUnreadable("too long")
    try:
        document = json.loads(data)
        if document["form"] != _FORM or len(document["switches"]) > MAX_SWITCHES:
            raise SwitchesUnreadable("another form")
        found = [_switch(row) for row in document["switches"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SwitchesUnreadable("not a list of switches") from error
    if any(one.at_ms > now_ms + MAX_AHEAD_MS for one in found):
        raise SwitchesUnreadable("decided in the future: a clock is wrong")
    return Switches({one.target: one for one in sorted(found, key=lambda one: one.rank)})


def _switch(row: Any) -> Switch:
    name, is_off, at_ms, reason, by = (row[key] for key in ("name", "off", "at_ms", "reason", "by"))
    texts = ((name, MAX_NAME_CHARS), (reason, MAX_REASON_CHARS), (by, MAX_NAME_CHARS))
    if not all(type(text) is str and len(text) <= most for text, most in texts):
        raise SwitchesUnreadable("a member is not text, or is too long")
    if type(is_off) is not bool or type(at_ms) is not int or not 0 <= at_ms < 1 << 53 or not name:
        raise SwitchesUnreadable("a member has another type")
    return Switch(
        target=Target(kind=TargetKind(row["kind"]), name=name), is_off=is_off, at_ms=at_ms, reason=reason, by=by
    )
