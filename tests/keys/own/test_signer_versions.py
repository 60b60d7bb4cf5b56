"""Versions of a launch key in a store: announced when noticed, published before they sign, kept without the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from gateway.core.ed25519 import SigningKey, generate_signing_key
from gateway.core.key_trial import TrialResult
from gateway.core.types import Environment, KeyId, OperatorCode, TenantId
from gateway.keys.descriptions import KeyKind, KeyState
from gateway.keys.own.keyring import Keyring, KeyringRefused, OperatorEntry
from gateway.keys.own.signing import SigningKeys
from gateway.keys.signers.signing_queue import RemoteKey
from tests.keys.signers.scripted_store import ScriptedStore
from tests.manual_clock import ManualClock

OPERATOR, SANDBOX = OperatorCode("acme"), Environment.SANDBOX
LEAD_S, RETIRE_S = 300.0, 3900.0


class Phoenix:
    """Accepts the given keys."""

    def __init__(self) -> None:
        self.takes: set[KeyId] = set()

    async def tenant(
        self, tenant_id: TenantId, kind: KeyKind, candidate: SigningKeys, current: SigningKeys
    ) -> TrialResult:
        raise AssertionError("there is no tenant")

    async def operator(
        self, operator_code: OperatorCode, environment: Environment, candidate: SigningKeys, current: SigningKeys
    ) -> TrialResult:
        key = candidate.operator(operator_code, environment).signing_key
        assert key is not None
        return TrialResult.ACCEPTED if key.key_id in self.takes else TrialResult.REFUSED


class Bench:
    """A keyring whose only key is in a store."""

    def __init__(self, phoenix: Phoenix | None = None) -> None:
        self.clock = ManualClock()
        self.store = ScriptedStore()
        self.events: Counter[str] = Counter()
        self.phoenix = phoenix
        self.first = self.store.add(self.clock.now() - 7200)
        self.keyring = self.begin()

    def begin(self) -> Keyring:
        """A process: the first one, or another that begins later."""
        self.keyring = Keyring(
            tenants=[],
            operators=[
                OperatorEntry(
                    operator_code=OPERATOR,
                    environment=SANDBOX,
                    key_store=self.store,
                    lead_s=LEAD_S,
                    retire_s=RETIRE_S,
                )
            ],
            clock=self.clock,
            on_event=lambda name: self.events.update([name]),
            trial=self.phoenix,
        )
        return self.keyring

    async def ask_after(self, seconds: float) -> None:
        """Advance the clock and ask the store, as the gateway does every half minute."""
        self.clock.advance(seconds)
        await self.keyring.ask_stores()
        await self.keyring.settle()
        self.keyring.check_files()

    def now(self) -> KeyId:
        key = self.keyring.operator(OPERATOR, SANDBOX).signing_key
        assert key is not None
        return key.key_id

    def published(self) -> list[KeyId]:
        return [one.key.key_id for one in self.keyring.published()]

    def states(self) -> list[KeyState]:
        return [row.state for row in self.keyring.describe()]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """With one version, two hours old."""
    made = Bench()
    yield made
    await made.keyring.stop()


def ids(*keys: SigningKey) -> list[KeyId]:
    return [key.key_id for key in keys]


async def test_a_new_version_is_published_before_it_signs(bench: Bench) -> None:
    """Announced, then active after the lead, and the old one stays published until its last token has expired."""
    bench.clock.advance(20)
    second = bench.store.add(bench.clock.now() - 20)
    await bench.ask_after(0)
    assert bench.first.key_id == bench.now()
    assert ids(bench.first, second) == bench.published()
    assert [KeyState.ANNOUNCED, KeyState.ACTIVE] == bench.states()
    await bench.ask_after(LEAD_S - 21)
    assert bench.first.key_id == bench.now()
    await bench.ask_after(1)
    assert second.key_id == bench.now()
    assert ids(second, bench.first) == bench.published()
    await bench.ask_after(RETIRE_S)
    assert ids(second) == bench.published()
    assert {"secret_file_announced": 1, "secret_file_reloaded": 1, "secret_file_retired": 1} == bench.events


async def test_a_version_that_was_noticed_late_is_still_published_for_the_whole_lead(bench: Bench) -> None:
    """Its time of creation is no publication: nobody could see it."""
    second = bench.store.add(bench.clock.now())
    await bench.ask_after(LEAD_S + 100)
    assert bench.first.key_id == bench.now()
    await bench.ask_after(LEAD_S)
    assert second.key_id == bench.now()


async def test_a_process_that_starts_later_arrives_at_the_same_state(bench: Bench) -> None:
    """From the store's list alone."""
    second = bench.store.add(bench.clock.now())
    bench.clock.advance(100)
    bench.begin()
    assert bench.first.key_id == bench.now()
    bench.clock.advance(LEAD_S - 100)
    bench.begin()
    assert second.key_id == bench.now()
    assert ids(second, bench.first) == bench.published()


async def test_a_store_that_is_away_keeps_its_known_versions(bench: Bench) -> None:
    """In use, published, and the list says why no newer one is seen."""
    bench.store.down = True
    await bench.ask_after(30)
    assert bench.first.key_id == bench.now()
    (row,) = bench.keyring.describe()
    assert "the known versions stay in use: it is down" in row.note
    bench.store.down = False
    await bench.ask_after(30)
    (row,) = bench.keyring.describe()
    assert ("", "scripted:launch") == (row.note, row.source)
    assert {"signer_unlisted": 1} == bench.events


async def test_a_store_that_is_away_at_the_start_stops_it_and_is_named() -> None:
    """The message names the setting, the reference and the cause."""
    bench = Bench()
    bench.store.down = True
    with pytest.raises(KeyringRefused) as refused:
        bench.begin()
    assert "PREDICTION_LAUNCH_KEY_REF: scripted:launch: it is down" == str(refused.value)


async def test_a_version_that_phoenix_refuses_does_not_take_over() -> None:
    """It is tried as a key of a file is: with a signature of the store."""
    phoenix = Phoenix()
    bench = Bench(phoenix)
    phoenix.takes = {bench.first.key_id}
    second = bench.store.add(bench.clock.now())
    await bench.ask_after(1)
    await bench.ask_after(LEAD_S + 100)
    assert bench.first.key_id == bench.now()
    phoenix.takes.add(second.key_id)
    await bench.ask_after(10)
    assert second.key_id == bench.now()
    await bench.keyring.stop()


async def test_a_version_that_the_store_takes_back_before_its_time_goes(bench: Bench) -> None:
    """It is no longer announced, and never signs."""
    bench.store.add(bench.clock.now())
    await bench.ask_after(1)
    del bench.store.keys["2"]
    await bench.ask_after(LEAD_S)
    assert ids(bench.first) == bench.published()


async def test_a_version_whose_key_was_replaced_in_the_store_is_reported(bench: Bench) -> None:
    """Its old key can sign no more, and the new one was never published: neither signs."""
    bench.store.keys["1"] = generate_signing_key()[0]
    await bench.ask_after(30)
    (row,) = bench.keyring.describe()
    assert "version 1 has another key in the store" in row.note
    key = bench.keyring.operator(OPERATOR, SANDBOX).signing_key
    assert isinstance(key, RemoteKey)
    (result,) = await key.sign([b"x"], 20)
    assert not isinstance(result, bytes)


async def test_an_active_version_that_the_store_takes_back_is_never_replaced_by_another_key(bench: Bench) -> None:
    """Its calls are refused; what a newer version may do is decided by its lead alone."""
    second = bench.store.add(bench.clock.now())
    await bench.ask_after(1)
    await bench.ask_after(LEAD_S)
    assert second.key_id == bench.now()
    del bench.store.keys["2"]
    await bench.ask_after(1)
    assert second.key_id == bench.now()
