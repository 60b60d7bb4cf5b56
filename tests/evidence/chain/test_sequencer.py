"""The chain on both databases: every commit is chained once, without a fork, and an export of it is proven."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.core.types import Environment
from gateway.core.wallet_verdict import Disposition
from gateway.errors import GatewayError
from gateway.evidence.chain.archive import ChainArchive
from gateway.evidence.chain.reading import ChainRange
from gateway.evidence.chain.sequencer import Sequencer
from gateway.evidence.chain.steps import chain_once
from gateway.evidence.chain.tables import blocks, journal
from gateway.evidence.chain.tables import sequencer as leases
from gateway.evidence.durable import DurableWalletStore
from gateway.evidence.tables import operations
from gateway.store.database import Database
from tests.evidence.chain.chain_setup import (
    ALL,
    GATEWAY_KEY,
    Exporter,
    codes,
    moved,
    refused,
    replays_counted,
    sequencer,
    signed_claim,
    signer,
    verdict,
)
from tests.evidence.wallet_factory import OPERATOR, RECEIVED_AT_US, outcome_of, soon
from tests.manual_clock import ManualClock


async def count(database: Database, table: sa.Table) -> int:
    asked = sa.select(sa.func.count()).select_from(table)
    return await database.read(lambda connection, _now: int(connection.execute(asked).scalar_one()), 10)


async def test_every_kind_of_change_is_proven(
    store: DurableWalletStore, chain: Sequencer, exporter: Exporter, clock: ManualClock, tmp_path: Path
) -> None:
    """Claims, reclaims, outcomes, refused outcomes, replays, conflicts, held and probed moves: all are in the chain."""
    finished = await moved(store, "finished")
    await refused(store, finished, transaction_id="other")
    await refused(store, finished, transaction_id="other")  # the same again is kept once
    assert (await store.claim(signed_claim("finished"), soon())).disposition is Disposition.REPLAY
    assert (await store.claim(signed_claim("finished"), soon())).disposition is Disposition.REPLAY
    for amount in ("1", "2", "2"):
        differing = await store.claim(signed_claim("finished", amount=amount), soon())
        assert differing.disposition is Disposition.CONFLICT
    await store.claim(signed_claim("reclaimed", lease_s=1), soon())
    clock.advance(2)
    again = await store.claim(signed_claim("reclaimed"), soon())
    assert again.disposition is Disposition.RECLAIMED
    await refused(store, again.operation_id, attempt=1)
    await store.record_outcome(outcome_of(again.operation_id, attempt=2, keep_body=False), soon())
    held = replace(signed_claim("suspect", body=signed_claim("finished").body), holds_suspects=True)
    assert (await store.claim(held, soon())).disposition is None
    assert (await store.claim(held, soon())).disposition is None
    await store.probe(OPERATOR, Environment.PROD, "probed", "reserve_cash", RECEIVED_AT_US, soon())
    assert (await store.claim(signed_claim("probed"), soon())).probed_before
    await replays_counted(store, finished, 2)
    assert await chain.step()
    reported = verdict(await exporter.write(tmp_path / "export"), await exporter.head())
    assert [] == reported["findings"]
    assert ("proven", 4, 6) == (reported["verdict"], reported["records"], reported["signatures"])


async def test_what_comes_while_an_export_is_read_is_no_tampering(
    store: DurableWalletStore, chain: Sequencer, exporter: Exporter, tmp_path: Path
) -> None:
    """Outcomes and moves after its beginning are in it or not; both are proven once they are chained."""
    first = (await store.claim(signed_claim("first"), soon())).operation_id
    await store.claim(signed_claim("second"), soon())
    await chain.step()
    extent = await exporter.begin()
    await store.record_outcome(outcome_of(first), soon())
    await store.claim(signed_claim("third"), soon())
    await chain.step()
    before = await exporter.write(tmp_path / "before", extent)
    await store.record_outcome(outcome_of(first, transaction_id="tx-1"), soon())
    await store.claim(signed_claim("fourth"), soon())
    await chain.step()
    # The evidence of before with the chain of now.
    lines = (tmp_path / "before").read_text().splitlines(keepends=True)
    now = (await exporter.write(tmp_path / "now", extent)).read_text().splitlines(keepends=True)
    mixed = [line for line in lines if '{"chain_block"' not in line] + [
        line for line in now if '{"chain_block"' in line
    ]
    (tmp_path / "mixed").write_text("".join(mixed))
    assert [set(), set(), set()] == [codes(before), codes(tmp_path / "now"), codes(tmp_path / "mixed")]


async def test_what_is_not_chained_is_not_proven(
    store: DurableWalletStore, chain: Sequencer, exporter: Exporter, tmp_path: Path
) -> None:
    """A record beside the chain counts as added: an export waits until all of it is chained."""
    await moved(store, "first")
    await chain.step()
    await moved(store, "second")
    assert {"added"} == codes(await exporter.write(tmp_path / "export"))


async def test_one_chains_and_another_takes_over_when_its_lease_is_over(
    store: DurableWalletStore, database: Database, chain: Sequencer, clock: ManualClock, tmp_path: Path
) -> None:
    """The fence counts the holders."""
    other = sequencer(database, clock)
    await moved(store, "first")
    assert (True, False) == (await chain.step(), await other.step())
    await moved(store, "second")
    assert (False, 1) == (await other.step(), await count(database, blocks))
    clock.advance(2.9)
    assert not await other.step()
    clock.advance(0.2)
    assert await other.step()
    await moved(store, "third")
    assert (False, True) == (await chain.step(), await other.step())
    lease = await database.read(lambda connection, _now: connection.execute(sa.select(leases)).one(), 10)
    assert (2, 3, 0) == (lease.fence, await count(database, blocks), await count(database, journal))
    assert set() == codes(await Exporter(store, database).write(tmp_path / "export"))


async def test_a_holder_that_stops_gives_the_lease_back(
    store: DurableWalletStore, database: Database, chain: Sequencer, clock: ManualClock
) -> None:
    """And has chained what waited."""
    await moved(store, "first")
    await chain.stop()
    assert 0 == await count(database, journal)
    await moved(store, "second")
    assert await sequencer(database, clock).step()


async def test_many_that_try_at_once_make_one_chain(
    store: DurableWalletStore, make_database: Callable[[], Database], clock: ManualClock, tmp_path: Path
) -> None:
    """Six sequencers with separate connections and expired leases: every line is chained once, without a fork."""
    databases = [make_database() for _ in range(6)]

    async def chaining(database: Database, name: str) -> None:
        for _ in range(12):
            await database.write(
                lambda connection, now_us: chain_once(connection, now_us, holder=name, lease_us=0, signer=signer()), 20
            )

    async def moving() -> None:
        for number in range(30):
            await moved(store, f"key-{number}")

    await asyncio.gather(moving(), *(chaining(one, str(number)) for number, one in enumerate(databases)))
    await sequencer(databases[0], clock).step()
    reported = verdict(await Exporter(store, databases[0]).write(tmp_path / "export"))
    assert ("proven", 30, 60) == (reported["verdict"], reported["records"], reported["changes"])
    for database in databases:
        await database.stop()


async def test_a_fork_is_refused_by_the_database(
    store: DurableWalletStore, database: Database, chain: Sequencer
) -> None:
    """A second block after the same one cannot be written, whatever its number."""
    await moved(store, "first")
    await chain.step()

    def fork(connection: sa.Connection, _now: int) -> None:
        row = connection.execute(sa.select(blocks)).one()
        connection.execute(sa.insert(blocks), [{**row._mapping, "number": 7, "hash": "f" * 64}])

    with pytest.raises(sa.exc.IntegrityError):
        await database.write(fork, 10)


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
async def test_lines_that_commit_late_under_lower_numbers_are_chained(
    store: DurableWalletStore,
    database: Database,
    make_database: Callable[[], Database],
    chain: Sequencer,
    tmp_path: Path,
) -> None:
    """PostgreSQL gives numbers before it commits: a line of number 1 that is seen after that of number 2 gets in."""
    await store.check(soon())
    slow = make_database()
    numbered, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def late(connection: sa.Connection, _now: int) -> None:
        row = {
            "operator_code": OPERATOR,
            "environment": "prod",
            "entry_count": 1,
            "entries": '["claim","late",1,1,1,""]',
        }
        connection.execute(sa.insert(journal), [{**row, "oldest_received_us": 1, "newest_received_us": 1}])
        loop.call_soon_threadsafe(numbered.set)
        for _ in range(400):
            connection.execute(sa.text("SELECT pg_sleep(0.02)"))
            if go_on.is_set():
                return

    writing = asyncio.create_task(slow.write(late, 20))
    await numbered.wait()
    await moved(store, "second")
    assert await chain.step()
    assert 1 == await count(database, blocks)
    go_on.set()
    await writing
    assert await chain.step()
    texts = await database.read(
        lambda connection, _now: list(
            connection.execute(sa.select(blocks.c.entries).order_by(blocks.c.number)).scalars()
        ),
        10,
    )
    assert ([False, True], 0) == (["late" in text for text in texts], await count(database, journal))
    await slow.stop()


async def test_moves_of_a_gateway_older_than_the_chain_are_chained(
    store: DurableWalletStore, database: Database, chain: Sequencer, exporter: Exporter, tmp_path: Path
) -> None:
    """It leaves no line and no mark; the sequencer adds both, however many there are."""
    await asyncio.gather(*(store.claim(signed_claim(f"key-{number}"), soon()) for number in range(230)))
    finished = await moved(store, "finished")
    await refused(store, finished, transaction_id="other")
    await store.claim(signed_claim("finished"), soon())
    await store.claim(signed_claim("finished", amount="1"), soon())
    await replays_counted(store, finished, 1)

    def forget(connection: sa.Connection, _now: int) -> None:
        connection.execute(sa.delete(journal))
        connection.execute(sa.update(operations).values(journaled=None))

    await database.write(forget, 10)
    await chain.step()
    reported = verdict(await exporter.write(tmp_path / "export"), await exporter.head())
    assert ([], "proven", 231) == (reported["findings"], reported["verdict"], reported["records"])


async def test_a_chain_for_each_operator_and_environment(
    store: DurableWalletStore, database: Database, chain: Sequencer, exporter: Exporter, tmp_path: Path
) -> None:
    """What came to one is not seen in the export of another, and each has its head."""
    await moved(store, "first")
    await moved(store, "first", environment=Environment.SANDBOX)
    await store.claim(replace(signed_claim("first"), operator_code="another"), soon())  # type: ignore[arg-type]
    await chain.step()
    heads, keys = await ChainArchive(database).heads(soon())
    assert [("acme", "prod", 2), ("acme", "sandbox", 2), ("another", "prod", 1)] == [
        (head.header.operator_code, head.header.environment, head.header.entry_count) for head in heads
    ]
    assert {GATEWAY_KEY.key_id: GATEWAY_KEY.public.raw} == keys
    reported = verdict(await exporter.write(tmp_path / "export"), await exporter.head())
    assert ("proven", 1, 2) == (reported["verdict"], reported["records"], reported["changes"])


async def test_a_range_of_time_is_proven_as_a_range(
    store: DurableWalletStore,
    database: Database,
    chain: Sequencer,
    exporter: Exporter,
    clock: ManualClock,
    tmp_path: Path,
) -> None:
    """Several hours in one chain: an export of the middle hour with a late outcome is proven, with the open points."""
    hour = 3_600_000_000
    start = round(clock.now() * 1_000_000)
    late = ""
    for number in range(30):
        key = f"key-{number}"
        claimed = await store.claim(
            signed_claim(key, received_at_us=start + number * hour // 6, lease_s=86_400), soon()
        )
        if number == 13:
            late = claimed.operation_id
        else:
            await store.record_outcome(outcome_of(claimed.operation_id), soon())
        await chain.step()
        clock.advance(600)
    await store.record_outcome(outcome_of(late), soon())
    await chain.step()
    about = ChainRange(operator_code=OPERATOR, environment="prod", start_us=start + 2 * hour, end_us=start + 3 * hour)
    path = await exporter.write(tmp_path / "range", await exporter.begin(about))
    reported = verdict(path, await exporter.head())
    assert ([], "proven", 6) == (reported["findings"], reported["verdict"], reported["records"])
    assert 20 > int(str(reported["blocks"]))  # not the chain of all hours
    not_proven = " ".join(reported["not_proven"])  # type: ignore[arg-type]
    assert "before the range" in not_proven
    assert "no change of these records is missing" in not_proven
    lines = path.read_text().splitlines(keepends=True)
    for number, line in enumerate(lines):
        path.write_text("".join(lines[:number] + lines[number + 1 :]))
        if '"as_of"' in line or '"chain_key"' in line:
            continue
        is_last = number == len(lines) - 1  # the late outcome's block, or a record
        assert codes(path, await exporter.head()), f"line {number} of {len(lines)}, last: {is_last}"


async def test_an_unsigned_chain_is_compared_with_a_head(
    store: DurableWalletStore, database: Database, clock: ManualClock, exporter: Exporter, tmp_path: Path
) -> None:
    """With PostgreSQL and no key heads are hashes: enough when they are kept elsewhere."""
    unsigned = sequencer(database, clock, key=None)
    await moved(store, "first")
    await unsigned.step()
    head = await exporter.head()
    reported = verdict(await exporter.write(tmp_path / "export"), head)
    assert ("proven", []) == (reported["verdict"], reported["gateway_keys"])
    await moved(store, "second")
    await unsigned.step()
    reported = verdict(await exporter.write(tmp_path / "export"), head)
    assert "nothing is missing after block 1" in " ".join(reported["not_proven"])  # type: ignore[arg-type]


async def test_waiting_ends_when_all_is_chained(
    store: DurableWalletStore, database: Database, chain: Sequencer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It raises if the chain does not advance."""
    archive = ChainArchive(database)
    await archive.wait_chained(ALL, soon())
    await moved(store, "first")
    with monkeypatch.context() as patched:
        patched.setattr("gateway.evidence.chain.archive._CHECK_EVERY_S", 30)  # it has the time to look once
        with pytest.raises(GatewayError, match="not chained yet"):
            await archive.wait_chained(ALL, soon())
    waiting = asyncio.create_task(archive.wait_chained(ALL, soon()))
    await chain.step()
    await waiting
