"""Exports of a real store to be altered: one of 240 records in many blocks, one of 10,000."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.core.wallet_operation import same_move
from gateway.errors import GatewayError
from gateway.evidence.durable import DurableWalletStore
from gateway.resilience.clock import SystemClock
from gateway.store.sqlite import SqliteDatabase
from tests.evidence.chain.chain_setup import Exporter, public_key_of, sequencer, signed_claim
from tests.evidence.wallet_factory import RECEIVED_AT_US, outcome_of, soon


@dataclass(frozen=True)
class Exported:
    """An export and the head that was published then."""

    path: Path
    text: bytes
    head: bytes


async def _export(folder: Path, records: int, rounds: int) -> Exported:
    """Make moves of most kinds, chained in `rounds` blocks, no record in two of them."""
    database = SqliteDatabase(folder / "evidence.sqlite3", SystemClock())
    store = DurableWalletStore(database, same_move=same_move, public_key_of=public_key_of)
    await store.start()
    chain = sequencer(database)

    replayed: list[str] = []

    async def move(number: int) -> None:
        key, received = f"key-{number}", RECEIVED_AT_US + number * 1000
        claimed = await store.claim(signed_claim(key, received_at_us=received, amount=f"{number}.25"), soon(60))
        if number % 10 == 0:
            return
        outcome = outcome_of(claimed.operation_id, transaction_id=f"tx-{number}", keep_body=number % 7 != 0)
        await store.record_outcome(outcome, soon(60))
        if number % 5 == 0:
            try:
                await store.record_outcome(outcome_of(claimed.operation_id, transaction_id="other"), soon(60))
            except GatewayError:
                pass
        if number % 6 == 0:
            await store.claim(signed_claim(key, received_at_us=received, amount=f"{number}.25"), soon(60))
            replayed.append(claimed.operation_id)
            await store.claim(signed_claim(key, received_at_us=received + 1, amount="7"), soon(60))

    each = records // rounds
    for begin in range(0, records, each):
        await asyncio.gather(*(move(number) for number in range(begin, begin + each)))
        while replayed:  # they are counted soon after their answers
            if (await store.evidence_by_id(replayed[-1], soon(60))).replay_count:
                replayed.pop()
            else:
                await asyncio.sleep(0.02)
        await chain.step()
    exporter = Exporter(store, database)
    path = await exporter.write(folder / "export.jsonl")
    head = await exporter.head()
    await store.stop()
    return Exported(path=path, text=path.read_bytes(), head=head)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """240 records in 12 blocks."""
    return asyncio.run(_export(tmp_path_factory.mktemp("small"), 240, 12))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """10,000 records in 20 blocks."""
    return asyncio.run(_export(tmp_path_factory.mktemp("large"), 10_000, 20))
