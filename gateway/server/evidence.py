"""Makes what keeps evidence provable: the sequencer with its key, and what the store needs of Phoenix's keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gateway.config import Config
from gateway.core.encoding import b64url_encode
from gateway.core.types import KeyId
from gateway.errors import DeadlineTooShort, StoreFault
from gateway.evidence.chain.archive import ChainArchive
from gateway.evidence.chain.blocks import BlockSigner
from gateway.evidence.chain.public_keys import PublicKeyOf
from gateway.evidence.chain.sequencer import Sequencer
from gateway.keys.own.evidence_key import EvidenceKey
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.server.clients import PlatformKeyRegistry
from gateway.services.wallet_chain import published_heads
from gateway.store.database import Database
from gateway.telemetry.metrics import Metrics

_HEAD_WITHIN_S = 2.0


def sequencer(config: Config, database: Database, clock: Clock, metrics: Metrics) -> Sequencer:
    """Return the one that chains. With PostgreSQL its key is configured; with SQLite it is made where none is."""
    key = EvidenceKey(
        config.evidence_key, None if config.database_url is not None else config.data_dir, clock, metrics.key_event
    )
    return Sequencer(database, clock, _signer_of(key), observer=metrics)


def evidence_head(archive: ChainArchive, clock: Clock) -> Callable[[], Awaitable[bytes | None]]:
    """Return what reads the heads for the admin port; it gives None while the store is not there."""

    async def read() -> bytes | None:
        try:
            return published_heads(*await archive.heads(Deadline.after(_HEAD_WITHIN_S, clock)))
        except (StoreFault, DeadlineTooShort):
            return None

    return read


def _signer_of(key: EvidenceKey) -> Callable[[], BlockSigner | None]:
    def signer() -> BlockSigner | None:
        current = key.current()
        if current is None:
            return None
        return BlockSigner(
            key_id=current.key_id,
            public_key=current.public.raw,
            sign=lambda header: b64url_encode(current.sign(header)),
        )

    return signer


def public_key_of(shelf: PlatformKeyRegistry) -> PublicKeyOf:
    """Return what finds a platform key that is or was in use a short while ago."""

    def find(key_id: KeyId) -> bytes | None:
        for keys in shelf.all():
            known = list(keys.retired())
            if (current := keys.current()) is not None:
                known.append(current.key)
            for key in known:
                if key.key_id == key_id:
                    return key.raw
        return None

    return find
