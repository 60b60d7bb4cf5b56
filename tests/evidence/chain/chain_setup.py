"""Signed moves, a sequencer with a key, and exports, for tests of the chain on either database."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.actions.wallet.export_chain import Exported, Extent
from gateway.actions.wallet.list_evidence import Listed
from gateway.cli.evidence_files import _writer
from gateway.core.ed25519 import SigningKey, generate_signing_key
from gateway.core.encoding import b64url_encode
from gateway.core.types import Environment, KeyId
from gateway.errors import GatewayError
from gateway.evidence.chain.archive import ChainArchive
from gateway.evidence.chain.blocks import BlockSigner
from gateway.evidence.chain.reading import ChainRange
from gateway.evidence.chain.sequencer import Sequencer, SequencerSettings
from gateway.evidence.durable import DurableWalletStore
from gateway.evidence.record import EvidenceQuery, MoveClaim
from gateway.evidence_verify.command import to_json
from gateway.evidence_verify.verification import verify_export
from gateway.resilience.clock import Clock, SystemClock
from gateway.services.exported_evidence import ChainLines
from gateway.services.wallet_chain import exported_message, published_heads
from gateway.store.database import Database
from tests.evidence.wallet_factory import OPERATOR, claim_of, outcome_of, soon

GATEWAY_KEY: SigningKey = generate_signing_key()[0]
PLATFORM_KEY: SigningKey = generate_signing_key()[0]
ALL = ChainRange(operator_code=OPERATOR, environment="prod", start_us=None, end_us=None)


def public_key_of(key_id: KeyId) -> bytes | None:
    """What a store is given to keep the platform's key."""
    return PLATFORM_KEY.public.raw if key_id == PLATFORM_KEY.key_id else None


def signed(claim: MoveClaim) -> MoveClaim:
    """The claim with Phoenix's signature over its body."""
    signature = b64url_encode(PLATFORM_KEY.sign(claim.body))
    return replace(claim, signature=signature, key_id=PLATFORM_KEY.key_id)


def signed_claim(key: str, *, received_at_us: int | None = None, **more: object) -> MoveClaim:
    """A claim whose signature verifies."""
    claim = signed(claim_of(key, **more))  # type: ignore[arg-type]
    return claim if received_at_us is None else replace(claim, received_at_us=received_at_us)


def signer(key: SigningKey | None = GATEWAY_KEY) -> BlockSigner | None:
    """What a sequencer signs with."""
    if key is None:
        return None
    return BlockSigner(
        key_id=key.key_id, public_key=key.public.raw, sign=lambda header: b64url_encode(key.sign(header))
    )


def sequencer(
    database: Database,
    clock: Clock | None = None,
    key: SigningKey | None = GATEWAY_KEY,
    settings: SequencerSettings | None = None,
) -> Sequencer:
    """One process's sequencer."""
    return Sequencer(database, clock or SystemClock(), lambda: signer(key), settings=settings)


async def moved(store: DurableWalletStore, key: str, **more: object) -> str:
    """Claim a move and record its outcome; return its id."""
    claimed = await store.claim(signed_claim(key, **more), soon())  # type: ignore[arg-type]
    await store.record_outcome(outcome_of(claimed.operation_id, transaction_id=f"tx-{key}"), soon())
    return claimed.operation_id


async def replays_counted(store: DurableWalletStore, operation_id: str, count: int) -> None:
    """Wait until the store has this many replays of a move. They are counted soon after their answers."""
    while (await store.evidence_by_id(operation_id, soon())).replay_count < count:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.02)


async def refused(store: DurableWalletStore, operation_id: str, **more: object) -> None:
    with pytest.raises(GatewayError):
        await store.record_outcome(outcome_of(operation_id, **more), soon())  # type: ignore[arg-type]


class Exporter:
    """Writes exports of one database as the command does, with a hook between its steps."""

    def __init__(self, store: DurableWalletStore, database: Database) -> None:
        self._store = store
        self._archive = ChainArchive(database)

    async def begin(self, about: ChainRange = ALL) -> Extent:
        """The first lines of an export."""
        return Extent(wanted=about, as_of=await self._archive.head_number(about, soon()))

    async def write(self, path: Path, extent: Extent | None = None) -> Path:
        """Write the current evidence, then the current chain."""
        extent = extent or await self.begin()
        about = extent.wanted
        with path.open("w", encoding="utf-8") as sink:
            lines, write = ChainLines(sink), _writer(sink, "jsonl")
            query = EvidenceQuery(
                operator_code=OPERATOR,
                environment=Environment(about.environment),
                start_us=about.start_us,
                end_us=about.end_us,
            )
            more = True
            while more:
                page = await self._store.list_evidence(query, soon())
                keys = await self._archive.keys({one.key_id for one in page.evidence}, soon())
                listed = Listed(evidence=page.evidence, next_page_token="", settled_us=page.settled_us)
                part = exported_message(
                    Exported(next_page_token="", extent=extent, listed=listed, public_keys=tuple(sorted(keys.items()))),
                    omit_bodies=False,
                )
                lines.take(part)
                for evidence in part.evidence:
                    write(evidence)
                query, more = replace(query, after=page.position), page.more
            after: int | None = 0
            while after is not None:
                found = await self._archive.part(about, after, soon())
                keys = await self._archive.keys({block.header.key_id for block in found.blocks}, soon())
                lines.take(
                    exported_message(
                        Exported(next_page_token="", blocks=found.blocks, public_keys=tuple(sorted(keys.items()))),
                        omit_bodies=False,
                    )
                )
                after = found.after
        return path

    async def head(self) -> bytes:
        """What the admin port publishes."""
        return published_heads(*await self._archive.heads(soon()))


def verdict(path: Path, head: bytes | None = None, **more: object) -> dict[str, object]:
    """Verify an export; return the result as JSON members."""
    return to_json(verify_export(path, heads=[] if head is None else [head], processes=1, **more))  # type: ignore[arg-type]


def codes(path: Path, head: bytes | None = None, **more: object) -> set[str]:
    """Return the codes of the findings."""
    findings = verify_export(path, heads=[] if head is None else [head], processes=1, **more).findings  # type: ignore[arg-type]
    return {finding.code.value for finding in findings.kept}
