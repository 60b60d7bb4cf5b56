"""Records in a journal how far a file of events is sent, so that an interrupted run resumes and sends nothing twice.

The journal has each line on disk before the line leaves, and its result afterwards. A line that was begun and has no
result is in doubt; events_stream.py decides whether to send it again.
"""

from __future__ import annotations

import bisect
import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

from gateway.resilience.atomic_file import sync_folder

FORM = 1
_CHUNK_BYTES = 1 << 20


class ProgressRefused(Exception):
    """The journal cannot be used for this run; the text says why and what to do."""


class LineSet:
    """A set of line numbers, stored as ranges."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __contains__(self, number: int) -> bool:
        place = bisect.bisect_right(self._starts, number) - 1
        return place >= 0 and number <= self._ends[place]

    def add(self, first: int, last: int) -> None:
        """Add all from `first` to `last`."""
        starts, ends = self._starts, self._ends
        low = bisect.bisect_left(ends, first - 1)
        high = bisect.bisect_right(starts, last + 1)
        if low < high:
            first, last = min(first, starts[low]), max(last, ends[high - 1])
        starts[low:high] = [first]
        ends[low:high] = [last]


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Lines were about to be sent at this time (Unix seconds) to this gateway process."""

    at: float
    gateway: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Options that must stay the same when a run resumes: ids depend on `label`, and resends on `durable`."""

    tenant_id: str
    label: str
    durable: bool


@dataclass(slots=True, kw_only=True)
class Counts:
    """How lines ended; `failed` by reason."""

    accepted: int = 0
    queued: int = 0
    duplicate: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def ended(self) -> int:
        """All of them."""
        return self.accepted + self.queued + self.duplicate + self.failed.total()

    def add(self, other: Self) -> None:
        """Add another's."""
        self.accepted += other.accepted
        self.queued += other.queued
        self.duplicate += other.duplicate
        self.failed.update(other.failed)


class Journal:
    """The progress of one file; without a path in memory only. Close it."""

    def __init__(self) -> None:
        self.counts = Counts()
        """Over all runs."""
        self.done = LineSet()
        self.doubts: dict[int, Begun] = {}
        self.is_complete = False
        self.is_resumed = False
        self._sink: BinaryIO | None = None

    @classmethod
    def open(cls, path: Path, source: Path, terms: Terms) -> Self:
        """Read the journal, or create it. Raises: ProgressRefused, OSError."""
        journal = cls()
        sink = path.open("a+b")
        try:
            try:
                fcntl.flock(sink, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ProgressRefused(f"another run is sending this file ({path} is in use)") from None
            sink.seek(0)
            kept = sink.read()
            whole = kept.rfind(b"\n") + 1  # the rest is a record that a killed run did not finish
            sink.truncate(whole)
            lines = kept[:whole].splitlines()
            if lines:
                journal._read(lines, path, source, terms)
            journal._sink = sink
            if not lines:
                journal._write(_head(source, terms))
                _sync(sink)
                sync_folder(path.absolute().parent)
        except BaseException:
            sink.close()
            raise
        return journal

    def begin(self, numbers: Iterable[int], begun: Begun) -> None:
        """Record that these lines are about to be sent. The record is on disk when this returns."""
        numbers = list(numbers)
        for number in numbers:
            self.doubts[number] = begun
        self._write({"begin": list(_ranges(numbers)), "at": round(begun.at, 3), "gateway": begun.gateway})
        if self._sink is not None:
            _sync(self._sink)

    def end(self, numbers: Iterable[int], counts: Counts) -> None:
        """Record that these lines are ended. If a power failure loses the record, the lines are in doubt again."""
        ranges = list(_ranges(numbers))
        ended_as = {name: count for name in ("accepted", "queued", "duplicate") if (count := getattr(counts, name))}
        self._apply_end(ranges, counts)
        self._write({"end": ranges, **ended_as, **({"failed": dict(counts.failed)} if counts.failed else {})})

    def unsent(self, numbers: Iterable[int]) -> None:
        """Record that these lines were begun and certainly had no effect."""
        numbers = list(numbers)
        if numbers:
            for number in numbers:
                self.doubts.pop(number, None)
            self._write({"unsent": list(_ranges(numbers))})

    def complete(self) -> None:
        """Record that all lines are ended."""
        self.is_complete = True
        self._write({"complete": True})

    def close(self) -> None:
        """Bring everything to disk."""
        if self._sink is not None:
            _sync(self._sink)
            self._sink.close()
            self._sink = None

    def _read(self, lines: list[bytes], path: Path, source: Path, terms: Terms) -> None:
        try:
            head, *records = [json.loads(line) for line in lines]
            if head["form"] != FORM:
                raise ProgressRefused(
                    f"{path} was written by another version; finish that run with that version, or remove the file"
                )
            _check_terms(head, path, source, terms)
            for record in records:
                self._apply(record)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ProgressRefused(f"{path} is no progress file of this command; name another with --progress") from None
        self.is_resumed = True
        if self.is_complete and source.stat().st_size > head["size"]:
            self.is_complete = False  # lines were appended since

    def _apply(self, record: dict[str, Any]) -> None:
        if "begin" in record:
            begun = Begun(at=record["at"], gateway=record["gateway"])
            for first, last in record["begin"]:
                self.doubts.update(dict.fromkeys(range(first, last + 1), begun))
        elif "end" in record:
            ended_as = {name: record.get(name, 0) for name in ("accepted", "queued", "duplicate")}
            self._apply_end(record["end"], Counts(**ended_as, failed=Counter(record.get("failed", {}))))
        elif "unsent" in record:
            for first, last in record["unsent"]:
                for number in range(first, last + 1):
                    self.doubts.pop(number, None)
        else:
            self.is_complete = record["complete"]

    def _apply_end(self, ranges: Iterable[tuple[int, int]], counts: Counts) -> None:
        self.counts.add(counts)
        for first, last in ranges:
            self.done.add(first, last)
            for number in range(first, last + 1):
                self.doubts.pop(number, None)

    def _write(self, record: dict[str, Any]) -> None:
        if self._sink is not None:
            self._sink.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
            self._sink.flush()


def _head(source: Path, terms: Terms) -> dict[str, Any]:
    size = source.stat().st_size
    return {
        "form": FORM,
        "size": size,
        "sha256": _digest(source, size),
        "tenant_id": terms.tenant_id,
        "label": terms.label,
        "durable": terms.durable,
    }


def _check_terms(head: dict[str, Any], path: Path, source: Path, terms: Terms) -> None:
    changed = [
        option
        for option, name in (("--tenant", "tenant_id"), ("--label", "label"), ("--durable", "durable"))
        if head[name] != getattr(terms, name)
    ]
    if changed:
        raise ProgressRefused(
            f"{path} belongs to a run with another {', '.join(changed)}: use the same options, or remove that file "
            "to send everything again"
        )
    size = head["size"]
    if not _goes_on(source, size) or _digest(source, size) != head["sha256"]:
        raise ProgressRefused(
            f"the file has changed since the run began (you may only append lines): restore it, or remove {path} "
            "to send everything again"
        )


def _goes_on(source: Path, size: int) -> bool:
    """Whether the file is as long as it was, or longer by whole lines."""
    now = source.stat().st_size
    if now <= size or not size:
        return now >= size
    with source.open("rb") as stream:
        stream.seek(size - 1)
        return stream.read(1) == b"\n"


def _digest(source: Path, size: int) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as stream:
        left = size
        while left and (chunk := stream.read(min(_CHUNK_BYTES, left))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def _ranges(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = last = 0
    for number in sorted(numbers):
        if first and number == last + 1:
            last = number
            continue
        if first:
            yield first, last
        first = last = number
    if first:
        yield first, last


def _sync(sink: BinaryIO) -> None:
    sink.flush()
    os.fsync(sink.fileno())
