"""SIGKILL of the sequencer between any two of its steps: the next one continues, nothing is chained twice or lost."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.core.ed25519 import generate_signing_key
from gateway.core.wallet_operation import same_move
from gateway.evidence.durable import DurableWalletStore
from gateway.store.database import Database
from tests.evidence.chain.chain_setup import Exporter, public_key_of, sequencer, verdict

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(180)  # some thirty processes, one after the other
async def test_killed_at_every_point(place: str, make_database: Callable[[], Database], tmp_path: Path) -> None:
    """Before and after each statement, before and after the commit: one chain, each line in it once, proven."""
    key, pem = generate_signing_key()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.evidence.chain.killed_sequencer", place),
        cwd=ROOT,
        env={**os.environ, "CHAIN_KEY": pem.decode()},
        stdout=asyncio.subprocess.PIPE,
    )
    told_by_process, _ = await process.communicate()
    deaths, code = map(int, told_by_process.decode().splitlines()[-1].split())
    assert 0 == code
    assert deaths >= 15
    database = make_database()
    store = DurableWalletStore(make_database(), same_move=same_move, public_key_of=public_key_of)
    await sequencer(database, key=key).step()
    exporter = Exporter(store, database)
    reported = verdict(await exporter.write(tmp_path / "export"), await exporter.head())
    moves = 2 * (deaths + 1)
    assert ([], moves, 2 * moves) == (reported["findings"], reported["records"], reported["changes"])
    assert [key.key_id] == reported["gateway_keys"]
    await store.stop()
    await database.stop()
