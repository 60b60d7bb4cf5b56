"""What an answer to POST /v1/events/bulk says of each event: the one adapter for everything unknown about it.

Its envelope, how part of it fails and how it tells a repeat are not published. Nothing is guessed in an event's favour:
an event counts as taken where the answer says so of it, or where a 2xx says nothing against any; where the answer names
failures that cannot be told apart, the events concerned are DOUBTFUL, and the client finds out or says so. Pure: what
is done about it is `events.py`'s matter. Source: vendor chapter 2.1, "POST /v1/events/bulk"; issue 5, point 3.
"""

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

MAX_EVENTS = 100
MAX_BODY_BYTES = 1_000_000
"""The vendor's "1 MB", read strictly."""
ENVELOPE_BYTES = 16
"""More than what any envelope puts around the events."""


class Said(enum.Enum):
    """What a bulk answer says of one event."""

    TAKEN = "taken"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    """Not taken; `status` says why where it was given."""
    DOUBTFUL = "doubtful"
    """Taken or not: it cannot be read from the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What was said, with the HTTP status and the error code that a refusal named (0 and empty: none)."""

    said: Said
    status: int = 0
    code: str = ""


TAKEN = Word(said=Said.TAKEN)
DUPLICATE = Word(said=Said.DUPLICATE)
REFUSED = Word(said=Said.REFUSED)
DOUBTFUL = Word(said=Said.DOUBTFUL)

_RESULT_LISTS = ("results", "events", "items", "responses", "data")
_TAKEN_NAMES = ("accepted", "succeeded", "success", "successful", "processed", "queued")
_REFUSED_NAMES = ("rejected", "failed", "errors", "failures", "invalid", "error")
_DUPLICATE_NAMES = ("duplicates", "duplicate", "ignored", "skipped")
_COUNT_ENDINGS = ("", "_count", "Count", "_events")
_INDEXES = ("index", "idx", "position")
_IDS = ("event_id", "eventId", "id")

_TAKEN_WORDS = frozenset({"accepted", "ok", "success", "succeeded", "queued", "created", "processed", "received"})
_DUPLICATE_WORDS = frozenset({"duplicate", "duplicated", "already_exists", "already_accepted", "ignored", "conflict"})
_REFUSED_WORDS = frozenset({"rejected", "refused", "invalid"})
_NAMES_OF = {Said.TAKEN: _TAKEN_NAMES, Said.DUPLICATE: _DUPLICATE_NAMES, Said.REFUSED: _REFUSED_NAMES}
_WORDS = {Said.TAKEN: TAKEN, Said.DUPLICATE: DUPLICATE, Said.REFUSED: REFUSED}


def read_bulk_answer(body: bytes, ids: Sequence[str]) -> list[Word]:
    """Return what the body of a 2xx says of each event sent, in their order.

    Args: `ids`: of the events as sent, in their order.
    """
    if not body.strip():
        return [TAKEN] * len(ids)
    try:
        root = orjson.loads(body)
    except orjson.JSONDecodeError:
        return [DOUBTFUL] * len(ids)
    if isinstance(root, dict) and isinstance(root.get("data"), dict):
        nested = root["data"]
        # What is said at both levels must agree: else one of them would hide a refusal that the other names.
        if any(root[name] != held for name, held in nested.items() if held is not None and root.get(name) is not None):
            return [DOUBTFUL] * len(ids)
        root = {**nested, **{name: held for name, held in root.items() if held is not None}}
    return _Reading(root, ids).words()


def says_nothing_taken(body: bytes, ids: Sequence[str]) -> bool:
    """Whether the body of a refusal says for certain that none of the events sent was taken.

    It does where it counts no event as taken, or calls each of them refused; a refusal that only gives its reason does
    not. Args: as `read_bulk_answer`.
    """
    try:
        root = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    if isinstance(root, dict) and isinstance(root.get("data"), dict):
        return False  # two levels may differ
    reading = _Reading(root, ids)
    listed = reading.words()
    if any(word.said in (Said.TAKEN, Said.DUPLICATE) for word in reading.told()):
        return False
    if not isinstance(root, dict):
        return all(word.said is Said.REFUSED for word in listed)
    counted = [*reading.counts(Said.TAKEN), *reading.counts(Said.DUPLICATE)]
    return (bool(counted) and not any(counted)) or all(word.said is Said.REFUSED for word in listed)


class _Reading:
    """One answer being read: what was said by place, and whether something was said that found no place."""

    def __init__(self, root: Any, ids: Sequence[str]) -> None:
        self._root: Mapping[str, Any] = root if isinstance(root, dict) else {}
        self._listed = root if isinstance(root, list) else None
        self._is_known = isinstance(root, dict | list)
        self._ids = ids
        self._places = {event_id: place for place, event_id in enumerate(ids)}
        self._words: dict[int, Word] = {}
        self._is_muddled = False

    def words(self) -> list[Word]:
        """Return a word for each event."""
        has_results = self._read_results()
        for said in (Said.TAKEN, Said.DUPLICATE, Said.REFUSED):
            self._read_lists(said)
        silence = DOUBTFUL if self._is_silence_doubtful(has_results) else TAKEN
        return [self._words.get(place, silence) for place in range(len(self._ids))]

    def _read_results(self) -> bool:
        """Read the list with one entry per event; tell whether there is one that says anything."""
        results = self._listed
        if results is None:
            results = next((held for name in _RESULT_LISTS if isinstance(held := self._root.get(name), list)), None)
        if not results:
            return False
        by_place = len(results) == len(self._ids)
        for number, entry in enumerate(results):
            self._say(entry, word_of(entry), number if by_place else None)
        return True

    def _read_lists(self, said: Said) -> None:
        """Read a list that holds only events of one kind, such as `errors`."""
        for name in _NAMES_OF[said]:
            listed = self._root.get(name)
            for entry in listed if isinstance(listed, list) else ():
                word = word_of(entry)
                # Being on a list of refused events is a refusal, whatever words describe it.
                self._say(entry, word if word.said is said else _WORDS[said], None)

    def _say(self, entry: Any, word: Word, place: int | None) -> None:
        told = self._place_told(entry)
        if told is not None and place is not None and told != place:
            told = None  # counted from one, or sorted anew: which event is meant is anybody's guess
            place = None
        at = told if told is not None else place
        if at is None:
            self._is_muddled = True
        elif at in self._words and self._words[at].said is not word.said:
            self._words[at] = DOUBTFUL
        else:
            self._words[at] = word

    def _place_told(self, entry: Any) -> int | None:
        """The place that an entry names by id or by index, if it names one place."""
        if isinstance(entry, str):
            return self._places.get(entry)
        if not isinstance(entry, dict):
            return None
        by_id = next((self._places.get(held) for name in _IDS if isinstance(held := entry.get(name), str)), None)
        if by_id is not None:
            return by_id
        index = next((held for name in _INDEXES if type(held := entry.get(name)) is int), None)
        return index if index is not None and 0 <= index < len(self._ids) else None

    def _is_silence_doubtful(self, has_results: bool) -> bool:
        """Whether an event of which nothing is said may be a failure that was not told apart."""
        if self._is_muddled or has_results or not self._is_known:
            return True
        if self._root.get("success") is False or self._root.get("ok") is False:
            return True
        status = self._root.get("status")
        if isinstance(status, str) and status.lower() not in _TAKEN_WORDS:
            return True
        if isinstance(status, int) and not 200 <= status < 300:
            return True
        counted = {said: list(self.counts(said)) for said in _NAMES_OF}
        silent = len(self._ids) - len(self._words)
        told = {said: sum(word.said is said for word in self._words.values()) for said in _NAMES_OF}
        # "accepted" may or may not count the repeats.
        taken = {silent + told[Said.TAKEN], silent + told[Said.TAKEN] + told[Said.DUPLICATE]}
        return (
            any(count not in taken for count in counted[Said.TAKEN])
            or any(count != told[Said.REFUSED] for count in counted[Said.REFUSED])
            or any(isinstance(held := self._root.get(name), str | dict) and held for name in _REFUSED_NAMES)
        )

    def told(self) -> Iterable[Word]:
        """Return what was said of single events, once `words` has been read."""
        return self._words.values()

    def counts(self, said: Said) -> Iterator[int]:
        """Yield every number of events that is said to be of a kind."""
        for name in _NAMES_OF[said]:
            for ending in _COUNT_ENDINGS:
                held = self._root.get(name + ending)
                if type(held) is int:
                    yield held


def word_of(entry: Any) -> Word:
    """Return what one entry of a result list says of its event."""
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
            return TAKEN if held and not entry.get("error") else Word(said=Said.DOUBTFUL, code=code)
    return DOUBTFUL


def _of_word(word: str, code: str) -> Word:
    if word in _TAKEN_WORDS:
        return TAKEN
    if word in _DUPLICATE_WORDS:
        return DUPLICATE
    if word in _REFUSED_WORDS:
        return Word(said=Said.REFUSED, code=code)
    return Word(said=Said.DOUBTFUL, code=code)  # "failed" may pass the next time: not for us to call it final


def _of_status(status: int, code: str) -> Word:
    if 200 <= status < 300:
        return TAKEN
    if status == 409:
        return DUPLICATE
    if 400 <= status < 500 or status == 503:
        return Word(said=Said.REFUSED, status=status, code=code)
    return Word(said=Said.DOUBTFUL, status=status, code=code)
