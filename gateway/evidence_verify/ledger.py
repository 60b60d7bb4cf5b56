"""Holds records against what the chain says of them: nothing changed, nothing missing, nothing more.

Blocks up to the one that was the newest when the export began must be in the records; later ones may be, since
evidence went on while it was read. Pure.
"""

from __future__ import annotations

from array import array
from typing import Any

from gateway.evidence_verify.blocks import Extent
from gateway.evidence_verify.findings import Code, Findings
from gateway.evidence_verify.records import Records

_CLAIMED, _MUST_BE_CLAIMED, _ATTEMPT, _OUTCOME, _REPLAYS = 1, 2, 4, 8, 16
_MOST_INCIDENTS = 100
"""An export shows so many incidents of a record, and so many conflicts."""
_NONE = bytes(32)


class Ledger:
    """Takes all records, then all lines of good blocks, in their orders."""

    def __init__(self, extent: Extent, findings: Findings) -> None:
        self._extent = extent
        self._findings = findings
        self._of: dict[str, int] = {}
        self._all = Records()
        self._seen = bytearray()
        self._least_attempt = array("q")
        self._least_replays = array("q")
        self._incidents: dict[int, dict[bytes, bool]] = {}
        self._conflicts: dict[int, dict[bytes, tuple[int, bool, int]]] = {}
        self._told_deleted: set[str] = set()

    def __len__(self) -> int:
        return len(self._all.ids)

    @property
    def line_count(self) -> int:
        """How many lines of the export were read."""
        return self._all.line_count

    def take_records(self, records: Records) -> None:
        """Add a part of the export. The part's lines are counted on from those before."""
        kept, first_line, first = self._all, self._all.line_count, len(self._all.ids)
        for place, operation_id in enumerate(records.ids):
            line = first_line + records.lines[place]
            if operation_id in self._of:
                self._wrong(Code.REPEATED, "the record is there twice", operation_id, line)
            self._of[operation_id] = first + place
            kept.lines.append(line)
            if not self._extent.holds(records.received[place]):
                self._wrong(Code.CHANGED, "received outside of the export's time", operation_id, line)
        kept.ids += records.ids
        kept.received += records.received
        kept.leases += records.leases
        kept.attempts += records.attempts
        kept.replays += records.replays
        kept.claims += records.claims
        kept.outcomes += records.outcomes
        count = len(records.ids)
        self._seen += bytes(count)
        self._least_attempt.extend([-1] * count)
        self._least_replays.extend([0] * count)
        for place, digest in records.incidents:
            self._incidents.setdefault(first + place, {})[digest] = False
        for place, digest, conflicts in records.conflicts:
            self._conflicts.setdefault(first + place, {})[digest] = (conflicts, False, 0)
        kept.line_count += records.line_count

    def take_entry(self, entry: list[Any], *, must: bool) -> None:
        """Hold one line of the chain against its record. Raises: ValueError, TypeError, IndexError: no such line."""
        kind, operation_id, received = entry[0], entry[1], entry[2]
        index = self._of.get(operation_id)
        if index is None:
            if must and self._extent.holds(received) and operation_id not in self._told_deleted:
                self._told_deleted.add(operation_id)
                self._wrong(Code.DELETED, "the chain has this record, the export has not", operation_id, 0)
            return
        if kind == "claim":
            self._claim(index, received, entry[5], must)
            self._attempt(index, entry[3], entry[4], must)
        elif kind == "reclaim":
            self._attempt(index, entry[3], entry[4], must)
        elif kind == "outcome":
            self._outcome(index, bytes.fromhex(entry[3]), must)
        elif kind == "incident":
            self._incident(index, bytes.fromhex(entry[3]), must)
        elif kind == "replays":
            self._replayed(index, entry[3], must)
        elif kind == "conflict":
            self._conflict(index, bytes.fromhex(entry[3]), entry[4], must)
        else:
            raise ValueError("an unknown kind of line")

    def finish(self) -> None:
        """Name what the chain does not say, and records that stand in another order."""
        kept = self._all
        before: tuple[int, str] | None = None
        for index, operation_id in enumerate(kept.ids):
            seen, line = self._seen[index], kept.lines[index]
            if not seen & _CLAIMED:
                self._wrong(Code.ADDED, "the chain has no such record", operation_id, line)
                continue
            if not seen & _ATTEMPT or kept.attempts[index] < self._least_attempt[index]:
                self._wrong(Code.CHANGED, "attempt or lease: the chain says another", operation_id, line)
            if not seen & _OUTCOME and self._outcome_of(index) != _NONE:
                self._wrong(Code.ADDED, "outcome: the chain has none", operation_id, line)
            replays = kept.replays[index]
            if (replays and not seen & _REPLAYS) or replays < self._least_replays[index]:
                self._wrong(Code.CHANGED, "replay count: the chain says another", operation_id, line)
            if seen & _MUST_BE_CLAIMED:  # one that came while the export was read may stand behind
                place = (kept.received[index], operation_id)
                if before is not None and place < before:
                    self._wrong(Code.REORDERED, "stands behind a newer record", operation_id, line)
                before = place
        for index, incidents in self._incidents.items():
            if not all(incidents.values()):
                self._wrong(Code.ADDED, "incident: the chain has no such one", kept.ids[index], kept.lines[index])
        for index, conflicts in self._conflicts.items():
            if not all(matches and count >= least for count, matches, least in conflicts.values()):
                self._wrong(Code.CHANGED, "conflict: the chain says another", kept.ids[index], kept.lines[index])

    def _claim(self, index: int, received: int, digest: str, must: bool) -> None:
        kept = self._all
        if kept.received[index] != received or kept.claims[32 * index : 32 * index + 32] != bytes.fromhex(digest):
            self._changed(index, "the claim: what came, when, from whom or how it was signed")
        self._seen[index] |= _CLAIMED | (_MUST_BE_CLAIMED if must else 0)

    def _attempt(self, index: int, attempt: int, lease: int, must: bool) -> None:
        if self._all.attempts[index] == attempt and self._all.leases[index] == lease:
            self._seen[index] |= _ATTEMPT
        if must and attempt > self._least_attempt[index]:
            self._least_attempt[index] = attempt

    def _outcome(self, index: int, digest: bytes, must: bool) -> None:
        own = self._outcome_of(index)
        if own == _NONE:
            if must:
                self._wrong_at(index, Code.DELETED, "its outcome was taken out")
            return
        if own != digest:
            self._changed(index, "the outcome: what was answered, when, ids or balances")
        self._seen[index] |= _OUTCOME

    def _incident(self, index: int, digest: bytes, must: bool) -> None:
        own = self._incidents.get(index, {})
        if digest in own:
            own[digest] = True
        elif must and len(own) < _MOST_INCIDENTS:
            self._wrong_at(index, Code.DELETED, "an incident was taken out or changed")

    def _replayed(self, index: int, count: int, must: bool) -> None:
        if self._all.replays[index] == count:
            self._seen[index] |= _REPLAYS
        if must and count > self._least_replays[index]:
            self._least_replays[index] = count

    def _conflict(self, index: int, digest: bytes, count: int, must: bool) -> None:
        own = self._conflicts.get(index, {})
        if digest in own:
            shown, matches, least = own[digest]
            own[digest] = (shown, matches or shown == count, max(least, count) if must else least)
        elif must and len(own) < _MOST_INCIDENTS:
            self._wrong_at(index, Code.DELETED, "a conflict was taken out or changed")

    def _outcome_of(self, index: int) -> bytes:
        return bytes(self._all.outcomes[32 * index : 32 * index + 32])

    def _changed(self, index: int, what: str) -> None:
        self._wrong_at(index, Code.CHANGED, what)

    def _wrong_at(self, index: int, code: Code, detail: str) -> None:
        self._wrong(code, detail, self._all.ids[index], self._all.lines[index])

    def _wrong(self, code: Code, detail: str, operation_id: str, line: int) -> None:
        self._findings.add(code, detail, operation_id=operation_id, line=line)
