"""The whole store: what it cannot hold, what breaks one operation, what a cancelled caller leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.core.types import Environment
from gateway.core.wallet_operation import MoveContent, same_move
from gateway.core.wallet_verdict import Disposition
from gateway.errors import DeadlineTooShort, PhoenixNotFound, StoreUnavailable
from gateway.evidence.durable import DurableWalletStore
from gateway.resilience.clock import SystemClock
from gateway.store.database import DatabaseSettings
from gateway.store.open_database import open_database
from gateway.store.postgres import PostgresDatabase
from gateway.store.sqlite import SqliteDatabase
from tests.evidence.conftest import MakeStore
from tests.evidence.wallet_factory import OPERATOR, claim_of, outcome_of, soon


async def test_large_bodies_of_all_bytes(make_store: MakeStore) -> None:
    """A mebibyte of every byte value, NULs included, is kept exactly on both sides."""
    store = await make_store()
    body = bytes(range(256)) * 4096
    claimed = await store.claim(claim_of(body=body), soon())
    evidence = await store.record_outcome(outcome_of(claimed.operation_id, body=body[::-1]), soon())
    assert evidence.body == body
    assert evidence.response is not None
    assert evidence.response.body == body[::-1]


@pytest.mark.parametrize("text", ["nul\x00", "half \ud83d", "x" * 1025, "ü" * 513], ids=["nul", "surrogate", "a", "u"])
async def test_key_that_cannot_be_kept_is_a_doubt(make_store: MakeStore, text: str) -> None:
    """A key that a database could not hold exactly is unavailability, never a refusal, on both databases."""
    store = await make_store()
    with pytest.raises(StoreUnavailable):
        await store.claim(claim_of(text, body=b"{}"), soon())
    with pytest.raises(StoreUnavailable):
        await store.probe(OPERATOR, Environment.PROD, text, None, 0, soon())


async def test_longest_key(make_store: MakeStore) -> None:
    """Keys of 1,024 bytes that no compression shortens fit the index, together with a long operator."""
    store = await make_store()
    noise = "".join(chr(0x21 + (index * index * 31 + index * 7) % 90) for index in range(1024))
    assert (await store.claim(claim_of(noise), soon())).disposition is Disposition.NEW
    assert (await store.claim(claim_of(noise), soon())).disposition is Disposition.IN_PROGRESS


async def test_one_bad_operation_in_a_batch(make_store: MakeStore) -> None:
    """A claim whose comparison breaks is a doubt for its caller only; all others of the batch are claimed."""

    def breaks_on_bad(stored: MoveContent, new: MoveContent) -> bool:
        if new.player_id == "bad":
            raise RecursionError
        return same_move(stored, new)

    store = await make_store(same_move=breaks_on_bad)
    await store.claim(claim_of("key-0", player_id="bad"), soon())
    results = await asyncio.gather(
        *(
            store.claim(claim_of(f"key-{index}", player_id="bad" if index == 0 else "good"), soon())
            for index in range(9)
        ),
        return_exceptions=True,
    )
    assert isinstance(results[0], StoreUnavailable)
    assert [getattr(result, "disposition", None) for result in results[1:]] == [Disposition.NEW] * 8


async def test_value_that_only_one_database_refuses(make_store: MakeStore) -> None:
    """A number that is too large for the column does not affect the rest of its batch."""
    store = await make_store()
    claimed = await store.claim(claim_of(), soon())
    bad, good = await asyncio.gather(
        store.record_outcome(outcome_of(claimed.operation_id, attempt=1 << 70), soon()),
        store.record_outcome(outcome_of(claimed.operation_id), soon()),
        return_exceptions=True,
    )
    assert isinstance(bad, StoreUnavailable)
    assert getattr(good, "operation_id", None) == claimed.operation_id


async def test_work_of_one_batch_is_one_transaction(make_store: MakeStore) -> None:
    """Claims, probes and outcomes that arrive together are each answered by their own kind."""
    store = await make_store()
    first = await store.claim(claim_of(), soon())
    claimed, probed, recorded, unknown = await asyncio.gather(
        store.claim(claim_of("key-2"), soon()),
        store.probe(OPERATOR, Environment.PROD, "key-3", None, 0, soon()),
        store.record_outcome(outcome_of(first.operation_id), soon()),
        store.record_outcome(outcome_of("unknown"), soon()),
        return_exceptions=True,
    )
    assert getattr(claimed, "disposition", None) is Disposition.NEW
    assert getattr(probed, "operation_id", None) == ""
    assert getattr(recorded, "operation_id", None) == first.operation_id
    assert isinstance(unknown, PhoenixNotFound)


async def test_cancelled_caller_may_ask_again(make_store: MakeStore) -> None:
    """A caller that leaves during its claim finds the claim or makes it, but never a broken store."""
    store = await make_store()
    await store.check(soon())
    task = asyncio.create_task(store.claim(claim_of(), soon()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert (await store.claim(claim_of(), soon())).disposition in (Disposition.NEW, Disposition.IN_PROGRESS)
    assert (await store.claim(claim_of("key-2"), soon())).disposition is Disposition.NEW


async def test_no_time_left(make_store: MakeStore) -> None:
    """Nothing is begun without time."""
    store = await make_store()
    with pytest.raises(DeadlineTooShort):
        await store.claim(claim_of(), soon(0))
    with pytest.raises(DeadlineTooShort):
        await store.evidence_by_id("x", soon(0))
    with pytest.raises(DeadlineTooShort):
        await store.check(soon(-1))


async def test_stopped_store(make_store: MakeStore) -> None:
    """A store that was stopped is unavailable."""
    store = await make_store()
    await store.claim(claim_of(), soon())
    await store.stop()
    with pytest.raises(StoreUnavailable):
        await store.claim(claim_of(), soon())


async def test_reopened_store_knows_everything(make_store: MakeStore) -> None:
    """What one store claimed and recorded, the next one answers."""
    store = await make_store()
    claimed = await store.claim(claim_of(), soon())
    await store.record_outcome(outcome_of(claimed.operation_id), soon())
    await store.stop()
    again = await make_store()
    assert (await again.claim(claim_of(), soon())).disposition is Disposition.REPLAY


def test_database_is_chosen_by_the_url(tmp_path: Path) -> None:
    """No URL: SQLite in the data directory; a PostgreSQL URL in either spelling; no other kind."""
    clock = SystemClock()
    assert isinstance(open_database(DatabaseSettings(data_dir=tmp_path), clock), SqliteDatabase)
    for url in (
        "postgresql://h/db",
        "postgres://u:p%2F@h:5432/db",
        "postgresql://a:1,[::1]:2/db",
        "postgresql:///db?host=/run",
    ):
        assert isinstance(open_database(DatabaseSettings(url=url), clock), PostgresDatabase)
    for url in ("mysql://u:hunter2@h/db", "hunter2", "", "sqlite:///x"):
        with pytest.raises(ValueError, match="postgresql://") as refusal:
            open_database(DatabaseSettings(url=url), clock)
        assert "hunter2" not in str(refusal.value)
    for url in ("postgresql://u:hunter2/x@h/db", "postgresql://u:hunter2#x@h/db", "postgresql://u@h:hunter2/db"):
        with pytest.raises(ValueError, match="percent-encode") as refusal:
            open_database(DatabaseSettings(url=url), clock)
        assert "hunter2" not in str(refusal.value)


def test_nothing_personal_in_a_repr() -> None:
    """Bodies, signatures and the database's URL stay out of logs."""
    shown = repr((claim_of(body=b"secret-body"), outcome_of("id", body=b"secret-body"), DatabaseSettings(url="secret")))
    assert "secret" not in shown
    assert "AAAA" not in shown


async def test_store_that_is_not_there_does_not_tell_its_password() -> None:
    """A PostgreSQL that cannot be reached is unavailability; neither it nor its causes quote the URL."""
    store = DurableWalletStore(
        open_database(DatabaseSettings(url="postgresql://u:hunter2@127.0.0.1:1/db"), SystemClock()), same_move=same_move
    )
    await store.start()
    with pytest.raises(StoreUnavailable) as trouble:
        await store.claim(claim_of(), soon(2))
    reported: BaseException | None = trouble.value
    while reported is not None:
        assert "hunter2" not in f"{reported!r} {reported}"
        reported = reported.__cause__ or reported.__context__
    await store.stop()
