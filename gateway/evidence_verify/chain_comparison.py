"""Compares the records with the entries of the chain: finds what was changed, is missing or was added.

Everything up to the newest block at the start of the export must be in the records. Later entries may be missing,
because the gateway wrote evidence while the export ran. Pure.
"""

from __future__ import annotations

from array import array
from typing import Any

from gateway.evidence_verify.blocks import Extent
from gateway.evidence_verify.findings import Code, Findings
from gateway.evidence_verify.records import RecordColumns

_CLAIMED, _MUST_BE_CLAIMED, _ATTEMPT, _OUTCOME, _REPLAYS = 1, 2, 4, 8, 16
_MOST_INCIDENTS = 100
"""An export has at most this many incidents for each record, and as many conflicts."""
_NONE = bytes(32)


class ChainComparison:
    """Add all records first, then check all entries of authentic blocks, both in the order of the file."""

    def __init__(self, extent: Extent, findings: Findings) -> None:
        self._extent = extent
        self._findings = findings
        self._index_by_id: dict[str, int] = {}
        self._records = RecordColumns()
        self._seen = bytearray()
        self._least_attempt = array("q")
        self._least_replays = array("q")
        self._incidents: dict[int, dict[bytes, bool]] = {}
        self._conflicts: dict[int, dict[bytes, tuple[int, bool, int]]] = {}
        self._reported_deleted: set[str] = set()

    def __len__(self) -> int:
        return len(self._records.ids)

    @property
    def line_count(self) -> int:
        """The number of lines read so far."""
        return self._records.line_count

    def add_records(self, records: RecordColumns) -> None:
        """Add a part of the export. Its line numbers follow those of the parts before."""
        columns, first_line, first = self._records, self._records.line_count, len(self._records.ids)
        for position, operation_id in enumerate(records.ids):
            line = first_line + records.lines[position]
            if operation_id in self._index_by_id:
                self._add_finding(Code.REPEATED, "the record occurs twice", operation_id, line)
            self._index_by_id[operation_id] = first + position
            columns.lines.append(line)
            if not self._extent.holds(records.received[position]):
                self._add_finding(
                    Code.CHANGED, "the receive time is not in the scope of the export", operation_id, line
                )
        columns.ids += records.ids
        columns.received += records.received
        columns.leases += records.leases
        columns.attempts += records.attempts
        columns.replays += records.replays
        columns.claims += records.claims
        columns.outcomes += records.outcomes
        count = len(records.ids)
        self._seen += bytes(count)
        self._least_attempt.extend([-1] * count)
        self._least_replays.extend([0] * count)
        for position, digest in records.incidents:
            self._incidents.setdefault(first + position, {})[digest] = False
        for position, digest, conflicts in records.conflicts:
            self._conflicts.setdefault(first + position, {})[digest] = (conflicts, False, 0)
        columns.line_count += records.line_count

    def check_entry(self, entry: list[Any], *, required: bool) -> None:
        """Compare one chain entry with its record. Raises: ValueError, TypeError, IndexError for an invalid entry.

        `required`: the record must be in the export.
        """
        kind, operation_id, received = entry[0], entry[1], entry[2]
        index = self._index_by_id.get(operation_id)
        if index is None:
            if required and self._extent.holds(received) and operation_id not in self._reported_deleted:
                self._reported_deleted.add(operation_id)
                self._add_finding(Code.DELETED, "the chain has this record, the export does not", operation_id, 0)
            return
        if kind == "claim":
            self._claim(index, received, entry[5], required)
            self._attempt(index, entry[3], entry[4], required)
        elif kind == "reclaim":
            self._attempt(index, entry[3], entry[4], required)
        elif kind == "outcome":
            self._outcome(index, bytes.fromhex(entry[3]), required)
        elif kind == "incident":
            self._incident(index, bytes.fromhex(entry[3]), required)
        elif kind == "replays":
            self._replayed(index, entry[3], required)
        elif kind == "conflict":
            self._conflict(index, bytes.fromhex(entry[3]), entry[4], required)
        else:
            raise ValueError("unknown kind of entry")

    def finish(self) -> None:
        """Find what the chain does not confirm, and records that are out of order."""
        records = self._records
        before: tuple[int, str] | None = None
        for index, operation_id in enumerate(records.ids):
            seen, line = self._seen[index], records.lines[index]
            if not seen & _CLAIMED:
                self._add_finding(Code.ADDED, "the chain does not have this record", operation_id, line)
                continue
            if not seen & _ATTEMPT or records.attempts[index] < self._least_attempt[index]:
                self._add_finding(Code.CHANGED, "attempt or lease differs from the chain", operation_id, line)
            if not seen & _OUTCOME and self._outcome_digest(index) != _NONE:
                self._add_finding(Code.ADDED, "outcome: the chain does not have one", operation_id, line)
            replays = records.replays[index]
            if (replays and not seen & _REPLAYS) or replays < self._least_replays[index]:
                self._add_finding(Code.CHANGED, "replay count differs from the chain", operation_id, line)
            if seen & _MUST_BE_CLAIMED:  # a record that came during the export may be out of order
                position = (records.received[index], operation_id)
                if before is not None and position < before:
                    self._add_finding(Code.REORDERED, "comes after a newer record", operation_id, line)
                before = position
        for index, incidents in self._incidents.items():
            if not all(incidents.values()):
                self._add_finding(
                    Code.ADDED, "incident: the chain does not have this one", records.ids[index], records.lines[index]
                )
        for index, conflicts in self._conflicts.items():
            if not all(matches and count >= least for count, matches, least in conflicts.values()):
                self._add_finding(
                    Code.CHANGED, "conflict differs from the chain", records.ids[index], records.lines[index]
                )

    def _claim(self, index: int, received: int, digest: str, required: bool) -> None:
        records = self._records
        if records.received[index] != received or records.claims[32 * index : 32 * index + 32] != bytes.fromhex(digest):
            self._changed(index, "the claim differs from the chain: content, time, sender or signature")
        self._seen[index] |= _CLAIMED | (_MUST_BE_CLAIMED if required else 0)

    def _attempt(self, index: int, attempt: int, lease: int, required: bool) -> None:
        if self._records.attempts[index] == attempt and self._records.leases[index] == lease:
            self._seen[index] |= _ATTEMPT
        if required and attempt > self._least_attempt[index]:
            self._least_attempt[index] = attempt

    def _outcome(self, index: int, digest: bytes, required: bool) -> None:
        own = self._outcome_digest(index)
        if own == _NONE:
            if required:
                self._add_finding_at(index, Code.DELETED, "its outcome was removed")
            return
        if own != digest:
            self._changed(index, "the outcome differs from the chain: answer, time, ids or balances")
        self._seen[index] |= _OUTCOME

    def _incident(self, index: int, digest: bytes, required: bool) -> None:
        own = self._incidents.get(index, {})
        if digest in own:
            own[digest] = True
        elif required and len(own) < _MOST_INCIDENTS:
            self._add_finding_at(index, Code.DELETED, "an incident was removed or changed")

    def _replayed(self, index: int, count: int, required: bool) -> None:
        if self._records.replays[index] == count:
            self._seen[index] |= _REPLAYS
        if required and count > self._least_replays[index]:
            self._least_replays[index] = count

    def _conflict(self, index: int, digest: bytes, count: int, required: bool) -> None:
        own = self._conflicts.get(index, {})
        if digest in own:
            shown, matches, least = own[digest]
            own[digest] = (shown, matches or shown == count, max(least, count) if required else least)
        elif required and len(own) < _MOST_INCIDENTS:
            self._add_finding_at(index, Code.DELETED, "a conflict was removed or changed")

    def _outcome_digest(self, index: int) -> bytes:
        return bytes(self._records.outcomes[32 * index : 32 * index + 32])

    def _changed(self, index: int, what: str) -> None:
        self._add_finding_at(index, Code.CHANGED, what)

    def _add_finding_at(self, index: int, code: Code, detail: str) -> None:
        self._add_finding(code, detail, self._records.ids[index], self._records.lines[index])

    def _add_finding(self, code: Code, detail: str, operation_id: str, line: int) -> None:
        self._findings.add(code, detail, operation_id=operation_id, line=line)
