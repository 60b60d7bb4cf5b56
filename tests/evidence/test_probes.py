"""Status probes: they ask, they are remembered, they never claim."""

from __future__ import annotations

import asyncio

from gateway.core.types import Environment
from gateway.core.wallet_verdict import Disposition, OriginalState
from gateway.evidence.durable import DurableWalletStore
from gateway.evidence.record import ProbeResult
from tests.evidence.conftest import MakeStore
from tests.evidence.wallet_factory import OPERATOR, RECEIVED_AT_US, claim_of, outcome_of, soon


async def probe(store: DurableWalletStore, key: str = "key-1", original: str | None = None) -> ProbeResult:
    return await store.probe(OPERATOR, Environment.PROD, key, original, RECEIVED_AT_US, soon())


async def test_unknown_move_is_not_seen(make_store: MakeStore) -> None:
    """A probe of an unknown key answers so and claims nothing: the operation after it is NEW."""
    store = await make_store()
    assert await probe(store) == ProbeResult(state=OriginalState.NOT_SEEN, operation_id="", recorded=None)
    claimed = await store.claim(claim_of(), soon())
    assert (claimed.disposition, claimed.probed_before) == (Disposition.NEW, True)


async def test_probed_before_is_kept(make_store: MakeStore) -> None:
    """The mark stays with the move: repeats and evidence show it."""
    store = await make_store()
    await probe(store)
    await probe(store)
    claimed = await store.claim(claim_of(), soon())
    assert (await store.claim(claim_of(), soon())).probed_before is True
    assert (await store.evidence_by_id(claimed.operation_id, soon())).probed_before is True


async def test_probe_after_the_move_marks_nothing(make_store: MakeStore) -> None:
    """Only a probe that came before the move counts."""
    store = await make_store()
    await store.claim(claim_of(), soon())
    await probe(store)
    assert (await store.claim(claim_of(), soon())).probed_before is False


async def test_probe_of_a_move_at_work(make_store: MakeStore) -> None:
    """A claimed operation without an outcome is IN_PROGRESS, also after its lease: its outcome is unknown."""
    store = await make_store()
    claimed = await store.claim(claim_of(lease_s=0), soon())
    found = await probe(store)
    assert found == ProbeResult(state=OriginalState.IN_PROGRESS, operation_id=claimed.operation_id, recorded=None)


async def test_probe_of_a_finished_move(make_store: MakeStore) -> None:
    """A finished move answers its recorded response, byte for byte."""
    store = await make_store()
    claimed = await store.claim(claim_of(), soon())
    await store.record_outcome(outcome_of(claimed.operation_id, body=b"\x00\xff"), soon())
    found = await probe(store, original="reserve_cash")
    assert found.state is OriginalState.FINISHED
    assert found.operation_id == claimed.operation_id
    assert found.recorded is not None
    assert found.recorded.body == b"\x00\xff"


async def test_probe_of_two_moves_under_one_key(make_store: MakeStore) -> None:
    """Two operations under one key: the one that the probe names, else AMBIGUOUS."""
    store = await make_store()
    await store.claim(claim_of(operation="reserve_cash"), soon())
    captured = await store.claim(claim_of(operation="capture_cash"), soon())
    assert (await probe(store)).state is OriginalState.AMBIGUOUS
    named = await probe(store, original="capture_cash")
    assert (named.state, named.operation_id) == (OriginalState.IN_PROGRESS, captured.operation_id)


async def test_probe_that_names_another_operation_is_a_doubt(make_store: MakeStore) -> None:
    """The key is known under another operation than the named one: a doubt, not NOT_SEEN."""
    store = await make_store()
    await store.claim(claim_of(operation="reserve_cash"), soon())
    assert (await probe(store, original="capture_cash")).state is OriginalState.AMBIGUOUS


async def test_probe_looks_only_into_its_environment(make_store: MakeStore) -> None:
    """A move of the sandbox answers no probe of prod, and marks none."""
    store = await make_store()
    await store.claim(claim_of(environment=Environment.SANDBOX), soon())
    assert (await probe(store)).state is OriginalState.NOT_SEEN
    other = await store.claim(claim_of(operation="release_cash", environment=Environment.SANDBOX), soon())
    assert other.probed_before is False


async def test_probe_and_move_never_miss_each_other(make_store: MakeStore) -> None:
    """A probe and its operation at the same time on two stores: if the probe is NOT_SEEN, the operation is marked."""
    stores = [await make_store(), await make_store()]
    for store in stores:
        await store.check(soon())
    for index in range(40):
        found, claimed = await asyncio.gather(
            probe(stores[0], f"key-{index}"), stores[1].claim(claim_of(f"key-{index}"), soon())
        )
        assert claimed.probed_before is (found.state is OriginalState.NOT_SEEN)
