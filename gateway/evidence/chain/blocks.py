"""Blocks of the chain: ordered lines, linked to the previous block and signed. Pure.

Each operator and environment has one chain. The header of a block contains the hash of its lines; the hash of the block
covers the header only, so that a block without its lines still links its neighbours. `evidence_verify` has independent
code for the same format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

import orjson

FORM = "phoenix-gateway evidence block 1"
"""Part of each header, so that a header's signature is valid for nothing else."""
NO_BLOCK = "0" * 64
"""The previous hash of the first block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The content that a block's hash and signature cover. Times in microseconds."""

    operator_code: str
    environment: str
    number: int
    """Counts from 1, without gaps."""
    previous_hash: str
    chained_at_us: int
    """Never earlier than that of the previous block."""
    first_sequence: int
    """Number of its first line, counted from 1 over the whole chain."""
    entry_count: int
    oldest_received_us: int
    """The oldest of all moves that its lines are about."""
    newest_received_us: int
    entries_sha256: str
    key_id: str
    """The id of the signing key; "" if none is configured."""

    def to_bytes(self) -> bytes:
        """Return the bytes to hash and sign: a JSON array in this order, UTF-8, without blanks."""
        return orjson.dumps(
            [
                FORM,
                self.operator_code,
                self.environment,
                self.number,
                self.previous_hash,
                self.chained_at_us,
                self.first_sequence,
                self.entry_count,
                self.oldest_received_us,
                self.newest_received_us,
                self.entries_sha256,
                self.key_id,
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A header with its hash, its signature (base64url; "" if none) and its lines."""

    header: Header
    hash: str
    signature: str
    entries: str | None = field(repr=False)
    """The lines, joined by newlines; None if they are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSigner:
    """The gateway's evidence key, as blocks use it. `sign` returns base64url."""

    key_id: str
    public_key: bytes
    sign: Callable[[bytes], str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """The lines of one transaction that are not chained yet."""

    id: int
    entry_count: int
    oldest_received_us: int
    newest_received_us: int
    entries: str = field(repr=False)


def next_block(
    scope: tuple[str, str],
    previous: Header | None,
    previous_hash: str,
    waiting: list[JournalRow],
    now_us: int,
    signer: BlockSigner | None,
) -> Block:
    """Return the block after `previous` with the waiting lines. Args: `scope`: operator and environment."""
    entries = "\n".join(one.entries for one in waiting)
    header = Header(
        operator_code=scope[0],
        environment=scope[1],
        number=1 if previous is None else previous.number + 1,
        previous_hash=previous_hash,
        # If a clock was set back, the times of the chain must still not decrease.
        chained_at_us=now_us if previous is None else max(now_us, previous.chained_at_us),
        first_sequence=1 if previous is None else previous.first_sequence + previous.entry_count,
        entry_count=sum(one.entry_count for one in waiting),
        oldest_received_us=min(one.oldest_received_us for one in waiting),
        newest_received_us=max(one.newest_received_us for one in waiting),
        entries_sha256=sha256(entries.encode()).hexdigest(),
        key_id="" if signer is None else signer.key_id,
    )
    signed = header.to_bytes()
    return Block(
        header=header,
        hash=sha256(signed).hexdigest(),
        signature="" if signer is None else signer.sign(signed),
        entries=entries,
    )
