"""Keeps what happened to the calls of the last hour, for `phoenix-gateway explain`: a bounded ring for each process.

A story is what the call's log line says, and what was sent to Phoenix. It holds no payload and no secret. Calls that
the gateway or Phoenix failed, calls that were refused for what they asked, and successes have a ring each: neither
traffic nor a flood of refusals pushes a failure out. `cache/shared_stories.py` shows stories to other replicas.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from gateway.errors import Try

KEPT_S = 3600.0
NAMES = ("request_id", "webhook_request_id", "operation_id", "trace_id")
"""The fields by which a call is found."""
ALIKE = ("method", "reason", "verdict", "caller", "tenant", "operator", "environment")
"""Failures that have these in common are of one kind: one bad call, or many."""
MAX_FOUND = 20
"""Of calls with the same id, such as the repetitions of a webhook, only the newest are shown."""


class Clock(Protocol):
    """`resilience.clock.Clock` is one."""

    def now(self) -> float:
        """Return Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StorySettings:
    """How much is kept. A call takes about 1 KiB, an event about 100 bytes."""

    failures: int = 8192
    refusals: int = 4096
    successes: int = 4096
    failed_events: int = 20_000
    events: int = 20_000


class Kind(enum.Enum):
    """How a call ended, which decides how long it is kept. The values are the names in what was searched."""

    FAILED = "failures"
    REFUSED = "refusals"
    FINE = "successes"


class CallStory(NamedTuple):
    """One call. `ended_at`: monotonic seconds. `fields`: as in its log line; nobody changes them later."""

    ended_at: float
    fields: Mapping[str, Any]
    tries: Sequence[Try]


class EventFailure(NamedTuple):
    """Why an event was not accepted, or that it was a duplicate."""

    result: str
    fields: Mapping[str, Any]
    tries: Sequence[Try]


_ACCEPTED = EventFailure("ACCEPTED", {}, ())


class EventsStory(NamedTuple):
    """The events of a call or of a message of a stream. `others`: those that were not simply accepted or queued."""

    ended_at: float
    fields: Mapping[str, Any]
    tries: Sequence[Try]
    event_ids: Sequence[str]
    others: Mapping[str, EventFailure]


class CallStories:
    """The rings of one process. Use it in one thread."""

    def __init__(self, clock: Clock, settings: StorySettings | None = None, *, shares: bool = False) -> None:
        """Args: `shares`: keep new stories for `take_unshared` too."""
        self._clock = clock
        self._settings = settings or StorySettings()
        self._failed: deque[CallStory] = deque(maxlen=self._settings.failures)
        self._refused: deque[CallStory] = deque(maxlen=self._settings.refusals)
        self._fine: deque[CallStory] = deque(maxlen=self._settings.successes)
        self._failed_events = _EventRing(self._settings.failed_events)
        self._events = _EventRing(self._settings.events)
        self._unshared = _Unshared() if shares else None

    def add(self, ended_at: float, fields: Mapping[str, Any], tries: Sequence[Try], kind: Kind) -> None:
        """Keep a call that has ended."""
        story = CallStory(ended_at, fields, tries)
        unshared = self._unshared
        if kind is Kind.FINE:
            self._fine.append(story)
            if unshared is not None:
                unshared.fine.append(story)
        elif kind is Kind.FAILED:
            self._failed.append(story)
            if unshared is not None:
                unshared.failed.append(story)
        else:
            self._refused.append(story)
            if unshared is not None:
                unshared.refused.append(story)

    def add_events(
        self,
        fields: Mapping[str, Any],
        tries: Sequence[Try],
        event_ids: Sequence[str],
        others: Mapping[str, EventFailure],
    ) -> None:
        """Keep how events ended."""
        story = EventsStory(self._clock.monotonic(), fields, tries, event_ids, others)
        (self._failed_events if others else self._events).append(story)
        if self._unshared is not None and others:
            self._unshared.events.append(story)

    def find(self, wanted: str) -> list[dict[str, Any]]:
        """Return the stories of this id, newest first, as JSON."""
        now = self._clock.monotonic()
        since = now - KEPT_S
        found: list[tuple[float, dict[str, Any]]] = []
        for ring in (self._failed, self._refused, self._fine):
            for story in ring:
                fields = story.fields
                if story.ended_at >= since and any(fields.get(name) == wanted for name in NAMES):
                    found.append((story.ended_at, self.told(story, now)))
        for events in (self._failed_events, self._events):
            for those in events.stories:
                if those.ended_at >= since and wanted in those.event_ids:
                    found.append((those.ended_at, self.told_event(those, wanted, now)))
        found.sort(key=lambda pair: pair[0], reverse=True)
        told = [one for _, one in found[:MAX_FOUND]]
        for one in told:
            if one["kind"] == "call":
                one["alike"] = self._alike(one, now)
        return told

    def _alike(self, story: Mapping[str, Any], now: float) -> dict[str, float]:
        """Return how many calls failed in the same way, this one included, and how long ago the first one did."""
        wanted = [story.get(name) for name in ALIKE]
        first, count = now, 0
        for one in (*self._failed, *self._refused):
            if one.ended_at >= now - KEPT_S and [one.fields.get(name) for name in ALIKE] == wanted:
                first, count = min(first, one.ended_at), count + 1
        return {"count": count, "since_s": round(now - first, 1)}

    def reach(self) -> dict[str, Any]:
        """Return what was searched: how many calls and how far back, in seconds; 0 for an empty ring."""
        now = self._clock.monotonic()
        rings = {Kind.FAILED: self._failed, Kind.REFUSED: self._refused, Kind.FINE: self._fine}
        found: dict[str, Any] = {}
        for kind, ring in rings.items():
            found[kind.value] = len(ring)
            found[f"{kind.value}_since_s"] = round(min(KEPT_S, now - ring[0].ended_at), 1) if ring else 0.0
        return found

    def told(self, story: CallStory, now: float) -> dict[str, Any]:
        """Return a call's story as JSON."""
        return {
            "kind": "call",
            **self._when(story.ended_at, now),
            **story.fields,
            "sent": _told_tries(story.tries, story.ended_at - story.fields.get("duration_ms", 0.0) / 1000),
        }

    def told_event(self, story: EventsStory, event_id: str, now: float) -> dict[str, Any]:
        """Return an event's story as JSON."""
        other = story.others.get(event_id, _ACCEPTED)
        result = other.result
        if other is _ACCEPTED and story.fields.get("delivery") == "durable":
            result = "QUEUED"
        tries = other.tries or story.tries
        return {
            "kind": "event",
            **self._when(story.ended_at, now),
            **story.fields,
            **other.fields,
            "event_id": event_id,
            "result": result,
            "sent": _told_tries(tries, tries[0].began_at if tries else 0.0),
        }

    def take_unshared(self, most: int, most_fine: int) -> Iterator[tuple[tuple[str, ...], dict[str, Any], bool]]:
        """Yield and forget the new stories with their ids and whether they failed: failures first, each up to a bound.

        What is beyond the bounds is not shared.
        """
        unshared = self._unshared
        if unshared is None:
            return
        now = self._clock.monotonic()
        failed = [*list(unshared.refused)[-most:], *unshared.failed][-most:]
        for story in reversed(failed):
            yield ids_of(story.fields), self.told(story, now), True
        left = most
        for events in list(unshared.events):
            for event_id in list(events.others)[:left]:
                left -= 1
                yield (event_id,), self.told_event(events, event_id, now), True
        for story in list(unshared.fine)[-most_fine:]:
            yield ids_of(story.fields), self.told(story, now), False
        unshared.clear()

    def _when(self, ended_at: float, now: float) -> dict[str, Any]:
        return {"ended_at": round(self._clock.now() - (now - ended_at), 3)}


def ids_of(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ids by which a call is found."""
    return tuple(dict.fromkeys(fields[name] for name in NAMES if fields.get(name)))


class _EventRing:
    """Stories of events, bounded by the number of their ids."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self.stories: deque[EventsStory] = deque()

    def append(self, story: EventsStory) -> None:
        self.stories.append(story)
        self._count += len(story.event_ids)
        while self._count > self._most and len(self.stories) > 1:
            self._count -= len(self.stories.popleft().event_ids)


class _Unshared:
    """What no other replica has been shown. Bounded: beyond it, the oldest stay in this process."""

    def __init__(self) -> None:
        self.failed: deque[CallStory] = deque(maxlen=256)
        self.refused: deque[CallStory] = deque(maxlen=64)
        self.fine: deque[CallStory] = deque(maxlen=64)
        self.events: deque[EventsStory] = deque(maxlen=64)

    def clear(self) -> None:
        self.failed.clear()
        self.refused.clear()
        self.fine.clear()
        self.events.clear()


def _told_tries(tries: Sequence[Try], began_at: float) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    for one in tries:
        times = {"after_ms": round((one.began_at - began_at) * 1000, 1), "took_ms": round(one.took_s * 1000, 1)}
        why = {"status": one.status, "how": one.how, "errno": one.errno}
        told.append({"address": one.address, **times, **{name: value for name, value in why.items() if value}})
    return told
