"""Keeps what happened to the calls of the last hour, for `phoenix-gateway explain`: a bounded ring for each process.

A story is what the call's log line says, and what was sent to Phoenix. It holds no payload and no secret. Calls that
failed because of the gateway or Phoenix, calls that were refused because of what they asked for, and successes have a
ring each: neither traffic nor a flood of refusals pushes a failure out. `cache/shared_stories.py` shows some of them to
other replicas.
"""

from __future__ import annotations

import enum
import itertools
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from gateway.errors.tries import Try

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
_DUPLICATE = "DUPLICATE"


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
        self._calls = _rings(self._settings.failures, self._settings.refusals, self._settings.successes)
        self._failed_events = _EventRing(self._settings.failed_events)
        self._events = _EventRing(self._settings.events)
        self._unshared = _Unshared() if shares else None

    def add(self, ended_at: float, fields: Mapping[str, Any], tries: Sequence[Try], kind: Kind) -> None:
        """Keep a call that has ended."""
        story = CallStory(ended_at, fields, tries)
        self._calls[kind].append(story)
        if self._unshared is not None:
            self._unshared.calls[kind].append(story)

    def add_events(
        self,
        fields: Mapping[str, Any],
        tries: Sequence[Try],
        event_ids: Sequence[str],
        others: Mapping[str, EventFailure],
    ) -> None:
        """Keep how events ended. Those that succeeded, duplicates too, push no failure out."""
        now = self._clock.monotonic()
        failed = {event_id: other for event_id, other in others.items() if other.result != _DUPLICATE}
        if failed:
            story = EventsStory(now, fields, tries, list(failed), failed)
            self._failed_events.append(story)
            if self._unshared is not None:
                self._unshared.events.append(story)
            event_ids = [event_id for event_id in event_ids if event_id not in failed]
        if event_ids:
            self._events.append(EventsStory(now, fields, tries, event_ids, others))

    def find(self, wanted: str) -> list[dict[str, Any]]:
        """Return the stories of this id, newest first, as JSON."""
        now = self._clock.monotonic()
        since = now - KEPT_S
        found: list[tuple[float, CallStory | EventsStory]] = []
        for ring in self._calls.values():
            for story in ring:
                if wanted in map(story.fields.get, NAMES) and story.ended_at >= since:
                    found.append((story.ended_at, story))
        for events in (self._failed_events, self._events):
            found += [
                (one.ended_at, one) for one in events.stories if one.ended_at >= since and wanted in one.event_ids
            ]
        found.sort(key=lambda pair: pair[0], reverse=True)
        newest = [story for _, story in found[:MAX_FOUND]]
        alike = self._alike({_key_of(story.fields) for story in newest if isinstance(story, CallStory)}, now)
        return [
            {**self.call_json(story, now), "alike": alike[_key_of(story.fields)]}
            if isinstance(story, CallStory)
            else self.event_json(story, wanted, now)
            for story in newest
        ]

    def _alike(self, keys: Collection[tuple[Any, ...]], now: float) -> dict[tuple[Any, ...], dict[str, float]]:
        """Return how many calls failed in the same way, this one included, and how long ago the first one did."""
        first, count = dict.fromkeys(keys, now), dict.fromkeys(keys, 0)
        for one in (*self._calls[Kind.FAILED], *self._calls[Kind.REFUSED]):
            if one.ended_at >= now - KEPT_S and (key := _key_of(one.fields)) in count:
                first[key], count[key] = min(first[key], one.ended_at), count[key] + 1
        return {key: {"count": count[key], "since_s": round(now - first[key], 1)} for key in keys}

    def reach(self) -> dict[str, Any]:
        """Return what was searched: how many calls and how far back, in seconds; 0 for an empty ring."""
        now = self._clock.monotonic()
        found: dict[str, Any] = {}
        for kind, ring in self._calls.items():
            found[kind.value] = len(ring)
            found[f"{kind.value}_since_s"] = round(min(KEPT_S, now - ring[0].ended_at), 1) if ring else 0.0
        return found

    def call_json(self, story: CallStory, now: float) -> dict[str, Any]:
        """Return a call's story as JSON."""
        return {
            "kind": "call",
            **self._when(story.ended_at, now),
            **story.fields,
            "sent": _tries_json(story.tries, story.ended_at - story.fields.get("duration_ms", 0.0) / 1000),
        }

    def event_json(self, story: EventsStory, event_id: str, now: float) -> dict[str, Any]:
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
            "sent": _tries_json(tries, tries[0].began_at if tries else 0.0),
        }

    def take_unshared(self, most: int, most_fine: int) -> Iterator[tuple[tuple[str, ...], dict[str, Any], Kind]]:
        """Yield and forget the new stories with their ids: failures first, each kind up to a bound.

        What is beyond the bounds is not shared.
        """
        unshared = self._unshared
        if unshared is None:
            return
        now = self._clock.monotonic()
        for kind, ring in unshared.calls.items():
            for story in reversed(list(ring)[-(most_fine if kind is Kind.FINE else most) :]):
                yield ids_of(story.fields), self.call_json(story, now), kind
            if kind is Kind.FAILED:
                pairs = ((story, event_id) for story in reversed(unshared.events) for event_id in story.event_ids)
                for events, event_id in itertools.islice(pairs, most):
                    yield (event_id,), self.event_json(events, event_id, now), Kind.FAILED
        unshared.clear()

    def _when(self, ended_at: float, now: float) -> dict[str, Any]:
        return {"ended_at": round(self._clock.now() - (now - ended_at), 3)}


def _key_of(fields: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(map(fields.get, ALIKE))


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
        self.calls = _rings(256, 64, 64)
        self.events: deque[EventsStory] = deque(maxlen=64)

    def clear(self) -> None:
        for ring in self.calls.values():
            ring.clear()
        self.events.clear()


def _rings(failures: int, refusals: int, successes: int) -> dict[Kind, deque[CallStory]]:
    most = {Kind.FAILED: failures, Kind.REFUSED: refusals, Kind.FINE: successes}
    return {kind: deque(maxlen=count) for kind, count in most.items()}


def _tries_json(tries: Sequence[Try], began_at: float) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for one in tries:
        times = {"after_ms": round((one.began_at - began_at) * 1000, 1), "took_ms": round(one.took_s * 1000, 1)}
        why = {"status": one.status, "how": one.how, "errno": one.errno}
        found.append({"address": one.address, **times, **{name: value for name, value in why.items() if value}})
    return found
