"""Chain the journal in one transaction: check the lease, append blocks, delete the chained rows.

The process that chains keeps the row of the lease locked until its commit, so two processes cannot chain at once,
whatever their clocks say. Constraints of the table also refuse a fork. Each step chains the rows that are in the
journal at that moment. A row that commits later, with any number, is chained by the next step.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from gateway.core.types import KeyId
from gateway.evidence.chain.blocks import NO_BLOCK, Block, BlockSigner, Header, JournalRow, next_block
from gateway.evidence.chain.journal import journal_missed
from gateway.evidence.chain.public_keys import store_keys
from gateway.evidence.chain.tables import blocks, journal, sequencer
from gateway.evidence.tables import operations
from gateway.store.pipeline import steady_us_of
from gateway.store.schema import insert_into, pad_in_list

_NAME = "chain"
_ROWS = 512
"""Maximum rows of the journal in one transaction."""
_MISSED = 200
_BLOCK_CHARS = 1 << 20
"""A block is far smaller than a gRPC message may be, and a row of the journal is far smaller than a block."""

_b = blocks.c
HEADER = (
    *(_b.operator_code, _b.environment, _b.number, _b.hash, _b.previous_hash, _b.chained_at_us, _b.first_sequence),
    *(_b.entry_count, _b.oldest_received_us, _b.newest_received_us, _b.entries_sha256, _b.key_id, _b.signature),
)
"""All columns of a block except its lines."""


class Duty(enum.Enum):
    """Which process has to chain."""

    NONE = "none"
    """No line waits."""
    OTHER = "other"
    """Lines wait, and another process has the lease."""
    OWN = "own"
    """Lines wait, and this process may chain them: it has the lease, or the lease has expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainStatus:
    """The state of the chain for one process. `oldest`: number of the journal's first row, if any."""

    duty: Duty
    oldest: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chained:
    """The result of one step. `heads`: the newest block of each chain that grew, without its lines."""

    is_holder: bool
    entries: int = 0
    more: bool = False
    """Whether lines still wait."""
    heads: tuple[Block, ...] = field(default=())


_OLDEST = sa.select(sa.func.min(journal.c.id))
_MISSING = sa.select(sa.exists().where(operations.c.journaled.is_(None)))
_LEASE = sa.select(sequencer).where(sequencer.c.name == _NAME)
_WAITING = sa.select(journal).order_by(journal.c.id).limit(_ROWS)


def chain_status(connection: sa.Connection, holder: str, lease_us: int) -> ChainStatus:
    """Return the state of the chain for `holder`. Changes nothing."""
    oldest = connection.execute(_OLDEST).scalar_one()
    if oldest is None and not connection.execute(_MISSING).scalar_one():
        return ChainStatus(duty=Duty.NONE, oldest=None)
    lease = connection.execute(_LEASE).one_or_none()
    may = lease is None or lease.holder == holder or not _is_valid(lease, steady_us_of(connection), lease_us)
    return ChainStatus(duty=Duty.OWN if may else Duty.OTHER, oldest=oldest)


def chain_once(
    connection: sa.Connection,
    now_us: int,
    *,
    holder: str,
    lease_us: int,
    signer: BlockSigner | None,
    is_key_stored: bool = False,
) -> Chained:
    """Take or renew the lease and chain the waiting lines. Do nothing if another process has the lease.

    Args: `is_key_stored`: the signer's public key is already in the database.
    """
    if not _take_lease(connection, holder, lease_us):
        return Chained(is_holder=False)
    missed = journal_missed(connection, _MISSED)
    rows = connection.execute(_WAITING).all()
    if not rows:
        return Chained(is_holder=True)
    if signer is not None and not is_key_stored:
        store_keys(connection, {KeyId(signer.key_id): signer.public_key})
    scopes: dict[tuple[str, str], list[JournalRow]] = {}
    for row in rows:
        scopes.setdefault((row.operator_code, row.environment), []).append(_waiting(row))
    made: list[Block] = []
    heads: list[Block] = []
    for scope, waiting in scopes.items():
        head = head_of(connection, scope)
        for part in _parts(waiting):
            previous, previous_hash = (None, NO_BLOCK) if head is None else (head.header, head.hash)
            head = next_block(scope, previous, previous_hash, part, now_us, signer)
            made.append(head)
        if head is not None:
            heads.append(head)
    connection.execute(sa.insert(blocks), [_row(block) for block in made])
    connection.execute(sa.delete(journal).where(journal.c.id.in_(pad_in_list(row.id for row in rows))))
    return Chained(
        is_holder=True,
        entries=sum(row.entry_count for row in rows),
        more=len(rows) == _ROWS or missed == _MISSED,
        heads=tuple(heads),
    )


def release(connection: sa.Connection, _now_us: int, holder: str) -> None:
    """Release the lease, so that no process has to wait for its expiry."""
    connection.execute(
        sa.update(sequencer).where(sequencer.c.name == _NAME, sequencer.c.holder == holder).values(expires_at_us=0)
    )


def head_of(connection: sa.Connection, scope: tuple[str, str]) -> Block | None:
    """Return the newest block of one operator's chain in one environment, without its lines."""
    row = connection.execute(
        sa.select(*HEADER)
        .where(_b.operator_code == scope[0], _b.environment == scope[1])
        .order_by(_b.number.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else block_of(row)


def block_of(row: sa.Row[*tuple[Any, ...]], entries: str | None = None) -> Block:
    """Return the block of a row with the columns of HEADER."""
    header = Header(
        operator_code=row.operator_code,
        environment=row.environment,
        number=row.number,
        previous_hash=row.previous_hash,
        chained_at_us=row.chained_at_us,
        first_sequence=row.first_sequence,
        entry_count=row.entry_count,
        oldest_received_us=row.oldest_received_us,
        newest_received_us=row.newest_received_us,
        entries_sha256=row.entries_sha256,
        key_id=row.key_id,
    )
    return Block(header=header, hash=row.hash, signature=row.signature, entries=entries)


def _is_valid(lease: sa.Row[*tuple[Any, ...]], now_us: int, lease_us: int) -> bool:
    """Whether the lease has not ended. One that lasts longer than any was made before the clock went back."""
    return bool(0 < lease.expires_at_us - now_us <= lease_us)


def _take_lease(connection: sa.Connection, holder: str, lease_us: int) -> bool:
    now_us = steady_us_of(connection)
    lease = connection.execute(_LEASE.with_for_update()).one_or_none()
    if lease is None:
        insert = insert_into(connection, sequencer).on_conflict_do_nothing(index_elements=("name",))
        first = {"name": _NAME, "holder": holder, "fence": 1, "expires_at_us": now_us + lease_us}
        connection.execute(insert, first)
        lease = connection.execute(_LEASE.with_for_update()).one()
        return bool(lease.holder == holder)
    is_own = lease.holder == holder
    if not is_own and _is_valid(lease, now_us, lease_us):
        return False
    connection.execute(
        sa.update(sequencer)
        .where(sequencer.c.name == _NAME, sequencer.c.fence == lease.fence)
        .values(holder=holder, fence=lease.fence + (not is_own), expires_at_us=now_us + lease_us)
    )
    return True


def _waiting(row: sa.Row[*tuple[Any, ...]]) -> JournalRow:
    return JournalRow(
        id=row.id,
        entry_count=row.entry_count,
        oldest_received_us=row.oldest_received_us,
        newest_received_us=row.newest_received_us,
        entries=row.entries,
    )


def _parts(waiting: Sequence[JournalRow]) -> list[list[JournalRow]]:
    """Split the waiting rows into blocks that are not too long."""
    parts: list[list[JournalRow]] = []
    size = _BLOCK_CHARS
    for one in waiting:
        if size + len(one.entries) > _BLOCK_CHARS:
            parts.append([])
            size = 0
        parts[-1].append(one)
        size += len(one.entries)
    return parts


def _row(block: Block) -> dict[str, Any]:
    header = block.header
    return {
        "operator_code": header.operator_code,
        "environment": header.environment,
        "number": header.number,
        "hash": block.hash,
        "previous_hash": header.previous_hash,
        "chained_at_us": header.chained_at_us,
        "first_sequence": header.first_sequence,
        "entry_count": header.entry_count,
        "oldest_received_us": header.oldest_received_us,
        "newest_received_us": header.newest_received_us,
        "entries_sha256": header.entries_sha256,
        "key_id": header.key_id,
        "signature": block.signature,
        "entries": block.entries,
    }
