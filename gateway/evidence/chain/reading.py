"""Read the chain: heads to publish, and the part for an export.

An export of everything has every block. An export of a time range has all blocks from shortly before the range to an
hour after it, with lines only where they are about moves of the range, and the later blocks that are about such moves.
Each block is signed separately, so a later block can be verified without the blocks in between.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from gateway.evidence.chain.blocks import Block
from gateway.evidence.chain.steps import HEADER, block_of, head_of
from gateway.evidence.chain.tables import blocks, journal
from gateway.evidence.tables import operations

MARGIN_US = 600_000_000
"""A move is chained after its receipt. The clocks of gateways and database differ by less than this."""
HORIZON_US = 3_600_000_000
"""How long after the end of a range the export has all blocks, because outcomes of its moves are expected then."""
_CHARS = 1 << 20
_LINE_CHARS = 192
_HEADERS = 2000
_SCANNED = 20_000
_b = blocks.c


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRange:
    """One chain, and the moves received from `start_us` and before `end_us`; None: no limit."""

    operator_code: str
    environment: str
    start_us: int | None
    end_us: int | None

    @property
    def scope(self) -> tuple[str, str]:
        """The operator and environment of the chain."""
        return (self.operator_code, self.environment)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainPart:
    """Some blocks in their order. `after`: where to continue; None: these were the last."""

    blocks: tuple[Block, ...]
    after: int | None


def heads(connection: sa.Connection) -> list[Block]:
    """Return the head of every chain. Each chain costs one look-up, independent of its length."""
    found: list[Block] = []
    scope = ("", "")
    place = sa.tuple_(_b.operator_code, _b.environment)
    while True:
        row = connection.execute(
            sa.select(_b.operator_code, _b.environment)
            .where(place > sa.tuple_(sa.literal(scope[0]), sa.literal(scope[1])))
            .order_by(_b.operator_code, _b.environment)
            .limit(1)
        ).one_or_none()
        if row is None:
            return found
        scope = (row.operator_code, row.environment)
        if (head := head_of(connection, scope)) is not None:
            found.append(head)


def head_number(connection: sa.Connection, wanted: ChainRange) -> int:
    """Return the number of the newest block; 0 if there is none."""
    head = head_of(connection, wanted.scope)
    return 0 if head is None else head.header.number


def unchained(connection: sa.Connection, wanted: ChainRange, rows: frozenset[int] | None) -> frozenset[int] | None:
    """Return the rows of the journal that are not chained yet.

    Args: `rows`: the rows that waited at the first check; None: this is the first check.
    Returns: those that still wait; None while moves without a line are being added.
    """
    missed = sa.select(
        sa.exists().where(
            operations.c.journaled.is_(None),
            operations.c.operator_code == wanted.operator_code,
            operations.c.environment == wanted.environment,
        )
    )
    if connection.execute(missed).scalar_one():
        return None
    waiting = connection.execute(
        sa.select(journal.c.id).where(
            journal.c.operator_code == wanted.operator_code, journal.c.environment == wanted.environment
        )
    ).scalars()
    found = frozenset(waiting)
    return found if rows is None else found & rows


def chain_part(connection: sa.Connection, wanted: ChainRange, after: int) -> ChainPart:
    """Return the next blocks after number `after` (0: from the first block of the range)."""
    newest = head_number(connection, wanted)
    if after == 0 and wanted.start_us is not None:
        # One more block before the range shows that nothing is left out at the beginning.
        after = max(_first_since(connection, wanted, wanted.start_us - MARGIN_US, newest) - 2, 0)
    whole_until = newest
    if wanted.end_us is not None:
        whole_until = min(_first_since(connection, wanted, wanted.end_us + HORIZON_US, newest), newest)
    if after < whole_until:
        return _all_blocks(connection, wanted, after, whole_until, newest)
    return _matching_blocks(connection, wanted, after, newest)


def _all_blocks(connection: sa.Connection, wanted: ChainRange, after: int, until: int, newest: int) -> ChainPart:
    rows = connection.execute(
        _blocks_of(wanted).where(_b.number > after, _b.number <= until).order_by(_b.number).limit(_HEADERS)
    ).all()
    return _fit_message(connection, wanted, [block_of(row) for row in rows], newest)


def _matching_blocks(connection: sa.Connection, wanted: ChainRange, after: int, newest: int) -> ChainPart:
    until = min(after + _SCANNED, newest)
    rows = connection.execute(
        _blocks_of(wanted)
        .where(_b.number > after, _b.number <= until, *_about(wanted))
        .order_by(_b.number)
        .limit(_HEADERS)
    ).all()
    found = [block_of(row) for row in rows]
    part = _fit_message(connection, wanted, found, newest)
    if len(part.blocks) < len(found) or len(found) == _HEADERS:
        return part
    return ChainPart(blocks=part.blocks, after=until if until < newest else None)


def _fit_message(connection: sa.Connection, wanted: ChainRange, found: list[Block], newest: int) -> ChainPart:
    """Return as many blocks as fit into a message, with their lines if these are about the range."""
    chosen: list[Block] = []
    size = 0
    for block in found:
        size += 512 + (_LINE_CHARS * block.header.entry_count if _is_about(block, wanted) else 0)
        if chosen and size > _CHARS:
            break
        chosen.append(block)
    numbers = [block.header.number for block in chosen if _is_about(block, wanted)]
    lines: dict[int, str] = {}
    if numbers:
        lines = {
            row.number: row.entries
            for row in connection.execute(
                sa.select(_b.number, _b.entries).where(
                    _b.operator_code == wanted.operator_code,
                    _b.environment == wanted.environment,
                    _b.number.between(numbers[0], numbers[-1]),
                    *_about(wanted),
                )
            )
        }
    with_lines = tuple(
        Block(
            header=block.header,
            hash=block.hash,
            signature=block.signature,
            entries=lines.get(block.header.number),
        )
        for block in chosen
    )
    last = with_lines[-1].header.number if with_lines else newest
    return ChainPart(blocks=with_lines, after=last if last < newest else None)


def _blocks_of(wanted: ChainRange) -> sa.Select[*tuple[object, ...]]:
    return sa.select(*HEADER).where(_b.operator_code == wanted.operator_code, _b.environment == wanted.environment)


def _about(wanted: ChainRange) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.start_us is not None:
        conditions.append(_b.newest_received_us >= wanted.start_us)
    if wanted.end_us is not None:
        conditions.append(_b.oldest_received_us < wanted.end_us)
    return conditions


def _is_about(block: Block, wanted: ChainRange) -> bool:
    header = block.header
    return (wanted.start_us is None or header.newest_received_us >= wanted.start_us) and (
        wanted.end_us is None or header.oldest_received_us < wanted.end_us
    )


def _first_since(connection: sa.Connection, wanted: ChainRange, at_us: int, newest: int) -> int:
    """Return the number of the first block chained at this time or later, or one more than the newest.

    Times never decrease along the chain, so a binary search finds it.
    """
    low, high = 1, newest + 1
    while low < high:
        middle = (low + high) // 2
        chained_at_us = connection.execute(
            sa.select(_b.chained_at_us).where(
                _b.operator_code == wanted.operator_code,
                _b.environment == wanted.environment,
                _b.number == middle,
            )
        ).scalar_one()
        if chained_at_us >= at_us:
            high = middle
        else:
            low = middle + 1
    return low
