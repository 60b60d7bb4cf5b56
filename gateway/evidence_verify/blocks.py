"""The blocks of an export: checks the hash, the lines and the signature of each block, and that no block is missing.

An export of a time range has all blocks from shortly before the range to one hour after it. Later blocks are included
only if they concern operations of the range; there, only their signatures protect them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson

from gateway.evidence_verify.export_format import BLOCK, first_invalid_member, to_microseconds
from gateway.evidence_verify.findings import Code, Findings
from gateway.evidence_verify.signatures import verify_ed25519

FORM = "phoenix-gateway evidence block 1"
NO_BLOCK = "0" * 64
MARGIN_US = 600_000_000
HORIZON_US = 3_600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The scope that the export states. A bound of None is open. `as_of` is the newest block when the export began."""

    operator_code: str
    environment: str
    start_us: int | None
    end_us: int | None
    as_of: int

    def holds(self, received_us: int) -> bool:
        """Tell whether an operation received at this time is in scope."""
        return (self.start_us is None or received_us >= self.start_us) and (
            self.end_us is None or received_us < self.end_us
        )

    def may_hold(self, oldest_us: int, newest_us: int) -> bool:
        """Tell whether any operation received between these times can be in scope."""
        return (self.start_us is None or newest_us >= self.start_us) and (
            self.end_us is None or oldest_us < self.end_us
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block as it was read. `entries` is None if the export omits them because none of them is in scope."""

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
        """Return the bytes that the hash and the signature cover."""
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
    """Return a block of an export. Raises: ValueError if it does not have the format of an export."""
    try:
        if (fault := first_invalid_member(members, BLOCK)) is not None:
            raise ValueError(f"member {fault[:40]!r}")
        return Block(
            number=int(members["number"]),
            previous_hash=members["previous_hash"],
            hash=members["hash"],
            chained_at_us=to_microseconds(members["chain_time"]),
            first_sequence=int(members["first_sequence"]),
            entry_count=members["entry_count"],
            oldest_us=to_microseconds(members["oldest_receive_time"]),
            newest_us=to_microseconds(members["newest_receive_time"]),
            entries_sha256=members["entries_sha256"],
            key_id=members.get("key_id", ""),
            signature=members.get("signature", ""),
            entries=members.get("entries"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("a member is missing or invalid") from error


@dataclass(slots=True, kw_only=True)
class ChainChecker:
    """Checks the blocks in the order of the file. Keeps the hashes of the blocks in `head_numbers`."""

    extent: Extent
    keys: Mapping[str, bytes]
    findings: Findings
    head_numbers: frozenset[int]
    hashes: dict[int, str] = field(default_factory=dict)
    signed_by: dict[str, int] = field(default_factory=dict)
    """The newest block by signing key. The key of unsigned blocks is ""."""
    count: int = 0
    changes: int = 0
    first: Block | None = None
    last: Block | None = None
    contiguous_until: Block | None = None
    """The newest block before the first gap."""
    _is_contiguous: bool = True

    def add_block(self, block: Block, line: int) -> bool:
        """Check a block and its position. Return True if its entries are authentic."""
        is_good = self.check_header(block, line)
        is_good = self._check_lines(block, line) and is_good
        self._check_position(block, line)
        self.signed_by[block.key_id] = block.number
        self.count += 1
        self.changes += block.entry_count
        self.last = block
        if self._is_contiguous:
            self.contiguous_until = block
        if block.number in self.head_numbers:
            self.hashes[block.number] = block.hash
        return is_good

    @property
    def reaches_horizon(self) -> bool:
        """Whether no block is missing up to one hour after the range, when its outcomes are expected."""
        end_us = self.extent.end_us
        return end_us is not None and self.contiguous_until is not None and _is_past(self.contiguous_until, end_us)

    def finish(self) -> None:
        """Check that the last block of the stated scope is present."""
        newest = 0 if self.last is None else self.last.number
        if newest < self.extent.as_of and not self.reaches_horizon:
            detail = f"the export says that the chain had block {self.extent.as_of}, but it ends at block {newest}"
            self.findings.add(Code.CUT_OFF, detail)

    def check_header(self, block: Block, line: int = 0) -> bool:
        """Check hash and signature of a block. Return True if both are valid."""
        before = self.findings.count
        header = block.header(self.extent)
        key = self.keys.get(block.key_id)
        if sha256(header).hexdigest() != block.hash:
            self._add_finding(Code.BLOCK_CHANGED, block, "its hash does not match", line)
        if block.key_id and key is None:
            self._add_finding(Code.BLOCK_NOT_SIGNED, block, f"the public key {block.key_id} is missing", line)
        elif key is not None and not verify_ed25519(key, header, block.signature):
            self._add_finding(Code.BLOCK_CHANGED, block, "its signature does not verify", line)
        elif not block.key_id and block.signature:
            self._add_finding(Code.BLOCK_CHANGED, block, "it has a signature but no key id", line)
        return self.findings.count == before

    def _check_lines(self, block: Block, line: int) -> bool:
        fault = None
        if block.entries is None:
            if self.extent.may_hold(block.oldest_us, block.newest_us):
                fault = "its entries are missing"
        elif sha256(block.entries.encode()).hexdigest() != block.entries_sha256:
            fault = "the hash of its entries does not match"
        elif block.entries.count("\n") + 1 != block.entry_count:
            fault = "the number of its entries does not match"
        if fault is not None:
            self._add_finding(Code.BLOCK_CHANGED, block, fault, line)
        return fault is None

    def _add_finding(self, code: Code, block: Block, what: str, line: int) -> None:
        self.findings.add(code, f"block {block.number}: {what}", line=line)

    def _check_position(self, block: Block, line: int) -> None:
        def wrong(code: Code, what: str) -> None:
            self.findings.add(code, what, line=line)

        if self.last is None:
            self.first = block
            start_us = self.extent.start_us
            if block.number == 1:
                if (block.previous_hash, block.first_sequence) != (NO_BLOCK, 1):
                    wrong(Code.BLOCK_CHANGED, "block 1 is not the start of a chain")
            elif start_us is None or block.chained_at_us >= start_us - MARGIN_US:
                wrong(Code.BLOCK_MISSING, f"blocks before number {block.number} are missing")
            return
        last = self.last
        if block.number <= last.number:
            wrong(Code.REORDERED, f"block {block.number} comes after block {last.number}")
        elif block.number == last.number + 1:
            if block.previous_hash != last.hash:
                wrong(Code.BLOCK_CHANGED, f"block {block.number} does not hold the hash of block {last.number}")
            if block.first_sequence != last.first_sequence + last.entry_count:
                wrong(
                    Code.BLOCK_CHANGED,
                    f"the entry numbers of block {block.number} do not follow those of block {last.number}",
                )
            if block.chained_at_us < last.chained_at_us:
                wrong(Code.BLOCK_CHANGED, f"block {block.number} is older than block {last.number}")
        elif self._is_contiguous and not self.reaches_horizon:
            wrong(Code.BLOCK_MISSING, f"blocks between numbers {last.number} and {block.number} are missing")
        else:
            self._is_contiguous = False
            if not self.extent.may_hold(block.oldest_us, block.newest_us):
                wrong(Code.BLOCK_CHANGED, f"block {block.number} is not in the scope of the export")
        if not self._is_contiguous and not block.key_id:
            wrong(Code.BLOCK_NOT_SIGNED, f"block {block.number} comes after a gap and is not signed")


def _is_past(block: Block, end_us: int) -> bool:
    return block.chained_at_us >= end_us + HORIZON_US


def entries_of(block: Block) -> Iterable[list[Any]]:
    """Yield the entries of an authentic block. Raises: ValueError for an entry that cannot be read."""
    for line in (block.entries or "").split("\n"):
        entry = orjson.loads(line)
        if not isinstance(entry, list) or len(entry) < 4:
            raise ValueError("not a chain entry")
        yield entry
