"""Evidence and its chain are changed by an attacker with all database rights. The export shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.evidence.chain.sequencer import Sequencer
from gateway.evidence.durable import DurableWalletStore
from gateway.store.database import Database
from tests.evidence.chain.chain_setup import Exporter, codes, moved, refused, replays_counted, signed_claim
from tests.evidence.wallet_factory import soon

TAMPERED = {
    "an amount": ("UPDATE wallet_operations SET amount = '99.00' WHERE idempotency_key = 'key-1'", {"changed"}),
    "a player": ("UPDATE wallet_operations SET player_id = 'x' WHERE idempotency_key = 'key-1'", {"changed"}),
    "a time": ("UPDATE wallet_operations SET received_at_us = received_at_us + 1", {"changed"}),
    "a flag": ("UPDATE wallet_operations SET suspect_replay = NOT suspect_replay", {"changed"}),
    "an outcome": ("UPDATE wallet_operations SET response_status = 500", {"changed"}),
    "an outcome taken out": (
        "UPDATE wallet_operations SET response_status = NULL WHERE idempotency_key = 'key-1'",
        {"deleted"},
    ),
    "an attempt": ("UPDATE wallet_operations SET attempt = 2 WHERE idempotency_key = 'key-1'", {"changed"}),
    "a move taken out": ("DELETE FROM wallet_operations WHERE idempotency_key = 'key-1'", {"deleted"}),
    "an incident taken out": ("DELETE FROM wallet_incidents", {"deleted"}),
    "a count of replays": ("DELETE FROM wallet_repeats", {"changed"}),
    "lines": ("UPDATE wallet_chain SET entries = replace(entries, 'claim', 'klaim')", {"block_changed", "added"}),
    "a block taken out": ("DELETE FROM wallet_chain WHERE number = 2", {"block_missing", "added"}),
    "the beginning taken out": ("DELETE FROM wallet_chain WHERE number = 1", {"block_missing", "added"}),
    "a key": ("UPDATE wallet_keys SET key_id = 'x' || key_id", {"block_not_signed"}),
}


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)  # the proof knows of no database
@pytest.mark.parametrize("what", TAMPERED)
async def test_what_is_altered_in_the_database_is_found(
    store: DurableWalletStore, database: Database, chain: Sequencer, exporter: Exporter, tmp_path: Path, what: str
) -> None:
    """Moves, outcomes, flags, counts, lines, blocks and keys."""
    first = await moved(store, "key-1")
    await refused(store, first, transaction_id="other")
    await store.claim(signed_claim("key-1"), soon())
    await replays_counted(store, first, 1)
    await chain.step()
    for key in ("key-2", "key-3"):
        await moved(store, key)
        await chain.step()
    head = await exporter.head()
    assert set() == codes(await exporter.write(tmp_path / "before"), head)
    statement, expected = TAMPERED[what]
    await database.write(lambda connection, _now: connection.execute(sa.text(statement)), 10)
    found = codes(await exporter.write(tmp_path / "after"), head)
    assert expected <= found


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_an_end_removed_from_the_database_is_found_by_a_head(
    store: DurableWalletStore, database: Database, chain: Sequencer, exporter: Exporter, tmp_path: Path
) -> None:
    """The rest is consistent. Only a stored head shows the change."""
    for key in ("key-1", "key-2"):
        await moved(store, key)
        await chain.step()
    head = await exporter.head()

    def cut_off(connection: sa.Connection, _now: int) -> None:
        connection.execute(sa.text("DELETE FROM wallet_chain WHERE number = 2"))
        connection.execute(sa.text("DELETE FROM wallet_operations WHERE idempotency_key = 'key-2'"))

    await database.write(cut_off, 10)
    path = await exporter.write(tmp_path / "export")
    assert (set(), {"cut_off"}) == (codes(path), codes(path, head))
