"""Reads what the answer to POST /v1/events/bulk says about each event.

Phoenix does not document the form of this answer, its partial failures or its duplicates, so this one file holds every
assumption about it. An event is accepted if the answer says so about it, or if a 2xx says nothing against any event. If
the answer reports failures and does not say of which events, those events are DOUBTFUL. `events.py` decides what to do
then. Source: gamification.md 2.1.
"""

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

MAX_EVENTS = 100
MAX_BODY_BYTES = 1_000_000
"""Phoenix's "1 MB", in its smaller meaning."""
ENVELOPE_BYTES = 16
"""More bytes than any envelope adds to the events."""


class ItemStatus(enum.Enum):
    """What a bulk answer says about one event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    """Not accepted; `http_status` says why, if the answer does."""
    DOUBTFUL = "doubtful"
    """The answer does not say whether it was accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """The status of one event, with the HTTP status and error code of a refusal (0 and "": none given)."""

    status: ItemStatus
    http_status: int = 0
    code: str = ""


ACCEPTED = ItemResult(status=ItemStatus.ACCEPTED)
DUPLICATE = ItemResult(status=ItemStatus.DUPLICATE)
REFUSED = ItemResult(status=ItemStatus.REFUSED)
DOUBTFUL = ItemResult(status=ItemStatus.DOUBTFUL)

_RESULT_LISTS = ("results", "events", "items", "responses", "data")
_ACCEPTED_NAMES = ("accepted", "succeeded", "success", "successful", "processed", "queued")
_REFUSED_NAMES = ("rejected", "failed", "errors", "failures", "invalid", "error")
_DUPLICATE_NAMES = ("duplicates", "duplicate", "ignored", "skipped")
_COUNT_ENDINGS = ("", "_count", "Count", "_events")
_INDEXES = ("index", "idx", "position")
_IDS = ("event_id", "eventId", "id")

_ACCEPTED_WORDS = frozenset({"accepted", "ok", "success", "succeeded", "queued", "created", "processed", "received"})
_DUPLICATE_WORDS = frozenset({"duplicate", "duplicated", "already_exists", "already_accepted", "ignored", "conflict"})
_REFUSED_WORDS = frozenset({"rejected", "refused", "invalid"})
_NAMES_OF = {
    ItemStatus.ACCEPTED: _ACCEPTED_NAMES,
    ItemStatus.DUPLICATE: _DUPLICATE_NAMES,
    ItemStatus.REFUSED: _REFUSED_NAMES,
}
_RESULTS = {ItemStatus.ACCEPTED: ACCEPTED, ItemStatus.DUPLICATE: DUPLICATE, ItemStatus.REFUSED: REFUSED}


def read_bulk_answer(body: bytes, ids: Sequence[str]) -> list[ItemResult]:
    """Return what the body of a 2xx says about each event, in the order they were sent.

    Args: `ids`: the ids of the events, in the order they were sent.
    """
    if not body.strip():
        return [ACCEPTED] * len(ids)
    try:
        root = orjson.loads(body)
    except orjson.JSONDecodeError:
        return [DOUBTFUL] * len(ids)
    if isinstance(root, dict) and isinstance(root.get("data"), dict):
        nested = root["data"]
        # Both levels must agree: otherwise one could hide a refusal that the other reports.
        if any(root[name] != held for name, held in nested.items() if held is not None and root.get(name) is not None):
            return [DOUBTFUL] * len(ids)
        root = {**nested, **{name: held for name, held in root.items() if held is not None}}
    return _Reading(root, ids).items()


def proves_none_accepted(body: bytes, ids: Sequence[str]) -> bool:
    """Whether the body of a refusal proves that Phoenix accepted none of the events.

    It does if it counts no accepted event, or reports each event as refused. A refusal with only a reason does not.
    Args: as `read_bulk_answer`.
    """
    try:
        root = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    if isinstance(root, dict) and isinstance(root.get("data"), dict):
        return False  # two levels may differ
    reading = _Reading(root, ids)
    items = reading.items()
    if any(item.status in (ItemStatus.ACCEPTED, ItemStatus.DUPLICATE) for item in reading.found()):
        return False
    if not isinstance(root, dict):
        return all(item.status is ItemStatus.REFUSED for item in items)
    counted = [*reading.counts(ItemStatus.ACCEPTED), *reading.counts(ItemStatus.DUPLICATE)]
    return (bool(counted) and not any(counted)) or all(item.status is ItemStatus.REFUSED for item in items)


class _Reading:
    """The results that one answer gives, by the place of their event, and whether it has entries without a place."""

    def __init__(self, root: Any, ids: Sequence[str]) -> None:
        self._root: Mapping[str, Any] = root if isinstance(root, dict) else {}
        self._listed = root if isinstance(root, list) else None
        self._is_known = isinstance(root, dict | list)
        self._ids = ids
        self._places = {event_id: place for place, event_id in enumerate(ids)}
        self._found: dict[int, ItemResult] = {}
        self._has_unplaced = False

    def items(self) -> list[ItemResult]:
        """Return a result for each event."""
        has_results = self._read_results()
        for status in (ItemStatus.ACCEPTED, ItemStatus.DUPLICATE, ItemStatus.REFUSED):
            self._read_lists(status)
        unmentioned = DOUBTFUL if self._are_unmentioned_doubtful(has_results) else ACCEPTED
        return [self._found.get(place, unmentioned) for place in range(len(self._ids))]

    def _read_results(self) -> bool:
        """Read the list with one entry for each event; return whether there is such a list."""
        results = self._listed
        if results is None:
            results = next((held for name in _RESULT_LISTS if isinstance(held := self._root.get(name), list)), None)
        if not results:
            return False
        by_place = len(results) == len(self._ids)
        for number, entry in enumerate(results):
            self._record(entry, item_result(entry), number if by_place else None)
        return True

    def _read_lists(self, status: ItemStatus) -> None:
        """Read a list that holds only events of one status, such as `errors`."""
        for name in _NAMES_OF[status]:
            listed = self._root.get(name)
            for entry in listed if isinstance(listed, list) else ():
                item = item_result(entry)
                # An entry in a list of refused events is a refusal, whatever the entry says.
                self._record(entry, item if item.status is status else _RESULTS[status], None)

    def _record(self, entry: Any, item: ItemResult, place: int | None) -> None:
        named = self._place_named(entry)
        if named is not None and place is not None and named != place:
            named = None  # the list counts from one, or is sorted: the event cannot be identified
            place = None
        at = named if named is not None else place
        if at is None:
            self._has_unplaced = True
        elif at in self._found and self._found[at].status is not item.status:
            self._found[at] = DOUBTFUL
        else:
            self._found[at] = item

    def _place_named(self, entry: Any) -> int | None:
        """Return the place that an entry names by id or by index, if it names one."""
        if isinstance(entry, str):
            return self._places.get(entry)
        if not isinstance(entry, dict):
            return None
        by_id = next((self._places.get(held) for name in _IDS if isinstance(held := entry.get(name), str)), None)
        if by_id is not None:
            return by_id
        index = next((held for name in _INDEXES if type(held := entry.get(name)) is int), None)
        return index if index is not None and 0 <= index < len(self._ids) else None

    def _are_unmentioned_doubtful(self, has_results: bool) -> bool:
        """Whether an event that the answer does not mention may be a failure that it does not assign."""
        if self._has_unplaced or has_results or not self._is_known:
            return True
        if self._root.get("success") is False or self._root.get("ok") is False:
            return True
        status = self._root.get("status")
        if isinstance(status, str) and status.lower() not in _ACCEPTED_WORDS:
            return True
        if isinstance(status, int) and not 200 <= status < 300:
            return True
        counted = {status: list(self.counts(status)) for status in _NAMES_OF}
        unmentioned = len(self._ids) - len(self._found)
        found = {one: sum(item.status is one for item in self._found.values()) for one in _NAMES_OF}
        accepted = unmentioned + found[ItemStatus.ACCEPTED]
        possible = {accepted, accepted + found[ItemStatus.DUPLICATE]}  # "accepted" may or may not count duplicates
        return (
            any(count not in possible for count in counted[ItemStatus.ACCEPTED])
            or any(count != found[ItemStatus.REFUSED] for count in counted[ItemStatus.REFUSED])
            or any(isinstance(held := self._root.get(name), str | dict) and held for name in _REFUSED_NAMES)
        )

    def found(self) -> Iterable[ItemResult]:
        """Return the results of the events that the answer mentions. Call `items` first."""
        return self._found.values()

    def counts(self, status: ItemStatus) -> Iterator[int]:
        """Yield every count of events with this status."""
        for name in _NAMES_OF[status]:
            for ending in _COUNT_ENDINGS:
                held = self._root.get(name + ending)
                if type(held) is int:
                    yield held


def item_result(entry: Any) -> ItemResult:
    """Return what one entry of a result list says about its event."""
    if not isinstance(entry, dict):
        return DOUBTFUL
    held_code = entry.get("code")
    code = held_code if isinstance(held_code, str) else ""
    if entry.get("duplicate") is True:
        return DUPLICATE
    for name in ("status", "status_code", "http_status", "result", "state"):
        held = entry.get(name)
        if type(held) is int:
            return _of_status(held, code)
        if isinstance(held, str) and held:
            return _of_word(held.lower(), code)
    for name in ("success", "ok", "accepted"):
        if type(held := entry.get(name)) is bool:
            return ACCEPTED if held and not entry.get("error") else ItemResult(status=ItemStatus.DOUBTFUL, code=code)
    return DOUBTFUL


def _of_word(word: str, code: str) -> ItemResult:
    if word in _ACCEPTED_WORDS:
        return ACCEPTED
    if word in _DUPLICATE_WORDS:
        return DUPLICATE
    if word in _REFUSED_WORDS:
        return ItemResult(status=ItemStatus.REFUSED, code=code)
    return ItemResult(status=ItemStatus.DOUBTFUL, code=code)  # "failed" may succeed the next time, so it is not final


def _of_status(status: int, code: str) -> ItemResult:
    if 200 <= status < 300:
        return ACCEPTED
    if status == 409:
        return DUPLICATE
    if 400 <= status < 500 or status == 503:
        return ItemResult(status=ItemStatus.REFUSED, http_status=status, code=code)
    return ItemResult(status=ItemStatus.DOUBTFUL, http_status=status, code=code)
