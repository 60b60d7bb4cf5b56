"""Export evidence with its proof: first the evidence, then, when all of it is chained, the blocks.

An interrupted export continues with the token of either half. list_evidence.py reads the evidence; the owner of the
export verifies it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from gateway.actions.shared.call import Call
from gateway.actions.shared.contexts import OperatorContext
from gateway.actions.shared.directory import OperatorDirectory
from gateway.actions.shared.page_token import PageToken, decode_page_token, encode_page_token
from gateway.actions.wallet.list_evidence import Listed, ListEvidence, Wanted
from gateway.errors import InvalidField
from gateway.evidence.chain.archive import ChainArchive
from gateway.evidence.chain.blocks import Block
from gateway.evidence.chain.reading import ChainRange
from gateway.evidence.record import Evidence
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

_CHAIN = "ExportWalletEvidence/chain"
_PART_WITHIN_S = 5.0
_CHAINED_WITHIN_S = 10.0
"""Ten times as long as chaining takes while a sequencer runs. After its death, the lease must expire first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The range of the chain in an export. `as_of`: number of the newest block before the evidence was read."""

    wanted: ChainRange
    as_of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """One part of an export. `public_keys`: the keys that no earlier part had, by id."""

    next_page_token: str
    extent: Extent | None = None
    listed: Listed | None = None
    blocks: tuple[Block, ...] = ()
    public_keys: tuple[tuple[str, bytes], ...] = ()


class ExportChain:
    """The action behind ExportWalletEvidence with `include_chain`."""

    def __init__(
        self, operators: OperatorDirectory[OperatorContext], listing: ListEvidence, archive: ChainArchive, clock: Clock
    ) -> None:
        self._operators = operators
        self._listing = listing
        self._archive = archive
        self._clock = clock

    async def __call__(self, wanted: Wanted, page_token: str, call: Call) -> AsyncIterator[Exported]:
        """Yield all parts. Each part is read after the previous one was consumed.

        Raises: InvalidField, OperatorUnknown; StoreUnavailable, also in the middle, and if the chain does not grow.
        """
        context = self._operators.resolve(wanted.operator_code, wanted.environment, call)
        about = ChainRange(
            operator_code=context.operator_code,
            environment=context.environment.value,
            start_us=wanted.start_us,
            end_us=wanted.end_us,
        )
        keys = _NewKeys(self._archive)
        after = _block_of(page_token, about)
        as_of = await self._archive.head_number(about, self._within(_PART_WITHIN_S, call))
        extent: Extent | None = Extent(wanted=about, as_of=as_of)
        if after is None:
            async for listed in self._listing.export(wanted, page_token, call):
                named = await keys.new(_key_ids(listed.evidence), self._within(_PART_WITHIN_S, call))
                yield Exported(next_page_token=listed.next_page_token, extent=extent, listed=listed, public_keys=named)
                extent = None
        await self._archive.wait_chained(about, self._within(_CHAINED_WITHIN_S, call))
        place: int | None = after or 0
        while place is not None:
            within = self._within(_PART_WITHIN_S, call)
            part = await self._archive.part(about, place, within)
            named = await keys.new((block.header.key_id for block in part.blocks), within)
            if part.blocks:
                place = part.blocks[-1].header.number
            token = _token(about, place if part.after is None else part.after)
            yield Exported(next_page_token=token, extent=extent, blocks=part.blocks, public_keys=named)
            extent = None
            place = part.after

    def _within(self, seconds: float, call: Call) -> Deadline:
        return Deadline.after(seconds, self._clock).earlier(call.deadline)


class _NewKeys:
    """Looks up each key once per stream."""

    def __init__(self, archive: ChainArchive) -> None:
        self._archive = archive
        self._named: set[str] = set()

    async def new(self, key_ids: Iterable[str], deadline: Deadline) -> tuple[tuple[str, bytes], ...]:
        """Return those of these keys that were not returned before. Keys that are not stored are left out."""
        wanted = set(key_ids) - self._named
        self._named |= wanted
        if not wanted:
            return ()
        return tuple(sorted((await self._archive.keys(wanted, deadline)).items()))


def _key_ids(evidence: Iterable[Evidence]) -> Iterable[str]:
    for one in evidence:
        yield one.key_id
        for conflict in one.conflicts:
            yield conflict.key_id


def _asked(about: ChainRange) -> str:
    return json.dumps([about.operator_code, about.environment, about.start_us, about.end_us], separators=(",", ":"))


def _token(about: ChainRange, number: int) -> str:
    return encode_page_token(PageToken(of=_CHAIN, tenant_id="", place=_asked(about), after=str(number)))


def _block_of(page_token: str, about: ChainRange) -> int | None:
    """Return the block number after which to continue; None if the token is empty or is about evidence."""
    if not page_token:
        return None
    try:
        token = decode_page_token(page_token, of=_CHAIN, tenant_id="")
    except InvalidField:
        return None  # a token of the evidence half, which also refuses an invalid one
    if token.place != _asked(about) or not token.after.isdecimal() or len(token.after) > 18:
        return None
    return int(token.after)
