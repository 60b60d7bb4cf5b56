"""The blocks of an export: each one's hash, lines and signature, and that they follow one another.

Where an export is of a range of time, blocks are whole from shortly before it to an hour after it; later ones, that
are about moves of the range, stand alone and are believed by their signatures. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson

from gateway.evidence_verify.findings import Code, Findings
from gateway.evidence_verify.record_form import BLOCK, first_fault, micros
from gateway.evidence_verify.signatures import verifies

FORM = "phoenix-gateway evidence block 1"
NO_BLOCK = "0" * 64
MARGIN_US = 600_000_000
HORIZON_US = 3_600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What the export says that it is about. Bounds None: without one. `as_of`: newest block when it began."""

    operator_code: str
    environment: str
    start_us: int | None
    end_us: int | None
    as_of: int

    def holds(self, received_us: int) -> bool:
        """Tell whether a move received then belongs to it."""
        return (self.start_us is None or received_us >= self.start_us) and (
            self.end_us is None or received_us < self.end_us
        )

    def may_hold(self, oldest_us: int, newest_us: int) -> bool:
        """Tell whether any of some moves may belong to it."""
        return (self.start_us is None or newest_us >= self.start_us) and (
            self.end_us is None or oldest_us < self.end_us
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block as read. `entries` None: left out, for nothing in it is about the export."""

    number: int
    previous_hash: str
    hash: str
    chained_at_us: int
    first_sequence: int
    entry_count: int
    oldest_us: int
    newest_us: int
    entries_sha256: str
    key_id: str
    signature: str
    entries: str | None

    def header(self, extent: Extent) -> bytes:
        """Return the bytes that its hash and its signature are over."""
        return orjson.dumps(
            [
                FORM,
                extent.operator_code,
                extent.environment,
                self.number,
                self.previous_hash,
                self.chained_at_us,
                self.first_sequence,
                self.entry_count,
                self.oldest_us,
                self.newest_us,
                self.entries_sha256,
                self.key_id,
            ]
        )


def read_block(members: dict[str, Any]) -> Block:
    """Return a block of an export. Raises: ValueError for one that is not as an export writes it."""
    try:
        if (fault := first_fault(members, BLOCK)) is not None:
            raise ValueError(f"member {fault[:40]!r}")
        return Block(
            number=int(members["number"]),
            previous_hash=members["previous_hash"],
            hash=members["hash"],
            chained_at_us=micros(members["chain_time"]),
            first_sequence=int(members["first_sequence"]),
            entry_count=members["entry_count"],
            oldest_us=micros(members["oldest_receive_time"]),
            newest_us=micros(members["newest_receive_time"]),
            entries_sha256=members["entries_sha256"],
            key_id=members.get("key_id", ""),
            signature=members.get("signature", ""),
            entries=members.get("entries"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("members are missing or are not what they should be") from error


@dataclass(slots=True, kw_only=True)
class Chain:
    """Takes the blocks in the order of the file. Hashes of `asked` numbers are kept, for heads."""

    extent: Extent
    keys: Mapping[str, bytes]
    findings: Findings
    asked: frozenset[int]
    hashes: dict[int, str] = field(default_factory=dict)
    signed_by: dict[str, int] = field(default_factory=dict)
    """Newest block of each key that signed; "": of those that nobody signed."""
    count: int = 0
    changes: int = 0
    first: Block | None = None
    last: Block | None = None
    whole_until: Block | None = None
    """The newest block without a gap from the first one."""
    _is_whole: bool = True

    def take(self, block: Block, line: int) -> bool:
        """Check a block and its place; tell whether its lines can be believed."""
        is_good = self.check_header(block, line)
        is_good = self._check_lines(block, line) and is_good
        self._place(block, line)
        self.signed_by[block.key_id] = block.number
        self.count += 1
        self.changes += block.entry_count
        self.last = block
        if self._is_whole:
            self.whole_until = block
        if block.number in self.asked:
            self.hashes[block.number] = block.hash
        return is_good

    @property
    def reaches_horizon(self) -> bool:
        """Whether the blocks are whole for as long after the range as its outcomes are expected."""
        end_us = self.extent.end_us
        return end_us is not None and self.whole_until is not None and _is_past(self.whole_until, end_us)

    def finish(self) -> None:
        """Check that the end is there, as far as the export itself says where it was."""
        newest = 0 if self.last is None else self.last.number
        if newest < self.extent.as_of and not self.reaches_horizon:
            detail = f"the chain had block {self.extent.as_of} when the export began; it has {newest}"
            self.findings.add(Code.CUT_OFF, detail)

    def check_header(self, block: Block, line: int = 0) -> bool:
        """Check hash and signature of a block, wherever it stands; tell whether they are good."""
        before = self.findings.count
        header = block.header(self.extent)
        key = self.keys.get(block.key_id)
        if sha256(header).hexdigest() != block.hash:
            self._wrong(Code.BLOCK_CHANGED, block, "its hash is another", line)
        if block.key_id and key is None:
            self._wrong(Code.BLOCK_NOT_SIGNED, block, f"no public key {block.key_id}", line)
        elif key is not None and not verifies(key, header, block.signature):
            self._wrong(Code.BLOCK_CHANGED, block, "its signature does not verify", line)
        elif not block.key_id and block.signature:
            self._wrong(Code.BLOCK_CHANGED, block, "it is signed without a key", line)
        return self.findings.count == before

    def _check_lines(self, block: Block, line: int) -> bool:
        fault = None
        if block.entries is None:
            if self.extent.may_hold(block.oldest_us, block.newest_us):
                fault = "its lines were taken out"
        elif sha256(block.entries.encode()).hexdigest() != block.entries_sha256:
            fault = "its lines are others"
        elif block.entries.count("\n") + 1 != block.entry_count:
            fault = "it has another number of lines"
        if fault is not None:
            self._wrong(Code.BLOCK_CHANGED, block, fault, line)
        return fault is None

    def _wrong(self, code: Code, block: Block, what: str, line: int) -> None:
        self.findings.add(code, f"block {block.number}: {what}", line=line)

    def _place(self, block: Block, line: int) -> None:
        def wrong(code: Code, what: str) -> None:
            self.findings.add(code, what, line=line)

        if self.last is None:
            self.first = block
            start_us = self.extent.start_us
            if block.number == 1:
                if (block.previous_hash, block.first_sequence) != (NO_BLOCK, 1):
                    wrong(Code.BLOCK_CHANGED, "block 1 does not begin the chain")
            elif start_us is None or block.chained_at_us >= start_us - MARGIN_US:
                wrong(Code.BLOCK_MISSING, f"blocks before number {block.number} are missing")
            return
        last = self.last
        if block.number <= last.number:
            wrong(Code.REORDERED, f"block {block.number} stands after block {last.number}")
        elif block.number == last.number + 1:
            if block.previous_hash != last.hash:
                wrong(Code.BLOCK_CHANGED, f"block {block.number} does not follow block {last.number}: other hash")
            if block.first_sequence != last.first_sequence + last.entry_count:
                wrong(Code.BLOCK_CHANGED, f"block {block.number} does not count on from block {last.number}")
            if block.chained_at_us < last.chained_at_us:
                wrong(Code.BLOCK_CHANGED, f"block {block.number} is older than block {last.number}")
        elif self._is_whole and not self.reaches_horizon:
            wrong(Code.BLOCK_MISSING, f"blocks between numbers {last.number} and {block.number} are missing")
        else:
            self._is_whole = False
            if not self.extent.may_hold(block.oldest_us, block.newest_us):
                wrong(Code.BLOCK_CHANGED, f"block {block.number} does not belong to the export")
        if not self._is_whole and not block.key_id:
            wrong(Code.BLOCK_NOT_SIGNED, f"block {block.number} stands alone and is not signed")


def _is_past(block: Block, end_us: int) -> bool:
    return block.chained_at_us >= end_us + HORIZON_US


def entries_of(block: Block) -> Iterable[list[Any]]:
    """Yield the lines of a block that was found good. Raises: ValueError for a line that cannot be read."""
    for line in (block.entries or "").split("\n"):
        entry = orjson.loads(line)
        if not isinstance(entry, list) or len(entry) < 4:
            raise ValueError("no line of a chain")
        yield entry
