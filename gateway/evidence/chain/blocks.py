"""Blocks of the chain: lines in their order, bound to the block before and signed. Pure.

There is one chain for each operator and environment. A block's header names the lines by their hash; its own hash is
over the header alone, so that a block whose lines are left out still links the blocks around it. `evidence_verify` has
its own code for the same form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

import orjson

FORM = "phoenix-gateway evidence block 1"
"""Stands in each header, so that a signature over one is good for nothing else."""
NO_BLOCK = "0" * 64
"""The hash before the first block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a block's hash and signature are over. Times in microseconds."""

    operator_code: str
    environment: str
    number: int
    """From 1, without a gap."""
    previous_hash: str
    chained_at_us: int
    """Never before that of the block before."""
    first_sequence: int
    """Of its first line, counted from 1 over the whole chain."""
    entry_count: int
    oldest_received_us: int
    """Of all moves that its lines are about."""
    newest_received_us: int
    entries_sha256: str
    key_id: str
    """Of the key that signs; "" where none is configured."""

    def to_bytes(self) -> bytes:
        """Return the bytes that are hashed and signed: a JSON array in this order, UTF-8, no blanks."""
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
    """A header with its hash, its signature (base64url; "" for none) and its lines."""

    header: Header
    hash: str
    signature: str
    entries: str | None = field(repr=False)
    """The lines, joined by newlines; None where they were left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSigner:
    """The gateway's evidence key, as far as blocks need it. `sign` returns base64url."""

    key_id: str
    public_key: bytes
    sign: Callable[[bytes], str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Lines that one transaction left to be chained."""

    id: int
    entry_count: int
    oldest_received_us: int
    newest_received_us: int
    entries: str = field(repr=False)


def next_block(
    scope: tuple[str, str],
    previous: Header | None,
    previous_hash: str,
    waiting: list[Waiting],
    now_us: int,
    signer: BlockSigner | None,
) -> Block:
    """Return the block that follows `previous` and holds what waits. Args: `scope`: operator and environment."""
    entries = "\n".join(one.entries for one in waiting)
    header = Header(
        operator_code=scope[0],
        environment=scope[1],
        number=1 if previous is None else previous.number + 1,
        previous_hash=previous_hash,
        # A clock that was set back must not make the chain's times go back.
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
