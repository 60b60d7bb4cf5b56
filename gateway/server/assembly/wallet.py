"""Wallet calls: verification, the evidence of each operation, and the chain that makes the evidence tamper-evident."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.actions.shared.contexts import OperatorContext
from gateway.actions.shared.directory import OperatorDirectory
from gateway.actions.wallet.export_chain import ExportChain
from gateway.actions.wallet.list_evidence import ListEvidence
from gateway.actions.wallet.record_outcome import RecordWalletOutcomes
from gateway.actions.wallet.settle_unreadable import SettleUnreadable
from gateway.actions.wallet.unreadable_calls import UnreadableCalls
from gateway.actions.wallet.verify_wallet import VerifyWallet
from gateway.config import Config
from gateway.core.encoding import b64url_encode
from gateway.core.wallet import same_move
from gateway.errors import DeadlineTooShort, StoreFault
from gateway.evidence.chain.archive import ChainArchive
from gateway.evidence.chain.blocks import BlockSigner
from gateway.evidence.chain.sequencer import Sequencer
from gateway.evidence.durable import DurableWalletStore
from gateway.evidence.unreadable import UnreadableWebhooks
from gateway.keys.own.evidence_key import EvidenceKey
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.server.assembly.platform_keys import PlatformKeyRegistry
from gateway.services.wallet import WalletService
from gateway.services.wallet_chain import published_heads
from gateway.store.database import Database
from gateway.telemetry.metrics import Metrics

_HEAD_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """The service, and what runs beside it. `read_head` answers /evidence/head of the admin port."""

    service: WalletService
    store: DurableWalletStore
    sequencer: Sequencer
    read_head: Callable[[], Awaitable[bytes | None]]


def build_wallet(
    config: Config,
    operators: OperatorDirectory[OperatorContext],
    platform_keys: PlatformKeyRegistry,
    database: Database,
    clock: Clock,
    metrics: Metrics,
) -> Wallet:
    """Return everything for wallet calls, not started yet."""
    hash_only = (one.keys for one in config.operators if not one.keeps_response_bodies)
    store = DurableWalletStore(
        database,
        same_move=same_move,
        clock=clock,
        observer=metrics,
        hash_only=frozenset((keys.operator_code, keys.environment) for keys in hash_only),
        public_key_of=platform_keys.public_key,
    )
    archive, listing = ChainArchive(database), ListEvidence(operators, store, clock)
    unreadable = UnreadableWebhooks(database, clock)
    return Wallet(
        service=WalletService(
            VerifyWallet(operators, store, UnreadableCalls(unreadable, store, clock), clock),
            RecordWalletOutcomes(operators, store),
            listing,
            ExportChain(operators, listing, archive, clock),
            SettleUnreadable(operators, unreadable),
        ),
        store=store,
        sequencer=_sequencer(config, database, clock, metrics),
        read_head=_head_reader(archive, clock),
    )


def _sequencer(config: Config, database: Database, clock: Clock, metrics: Metrics) -> Sequencer:
    """With PostgreSQL the signing key is configured; with SQLite it is made if none is configured."""
    data_dir = None if config.database_url is not None else config.data_dir
    key = EvidenceKey(config.evidence_key, data_dir, clock, metrics.key_event)

    def signer() -> BlockSigner | None:
        current = key.current()
        if current is None:
            return None
        return BlockSigner(
            key_id=current.key_id,
            public_key=current.public.raw,
            sign=lambda header: b64url_encode(current.sign(header)),
        )

    return Sequencer(database, clock, signer, observer=metrics)


def _head_reader(archive: ChainArchive, clock: Clock) -> Callable[[], Awaitable[bytes | None]]:
    """Return what reads the heads of the chain: None while the store is not reachable."""

    async def read() -> bytes | None:
        try:
            return published_heads(*await archive.heads(Deadline.after(_HEAD_WITHIN_S, clock)))
        except (StoreFault, DeadlineTooShort):
            return None

    return read
