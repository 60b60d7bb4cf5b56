"""Background delivery when it fails: refused events, a Phoenix in trouble, unknown outcomes, crashed gateways."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.wire import BulkEnvelope
from gateway.phoenix.http_types import Answer, AnswerLost, NotSent, Request
from gateway.resilience.breaker import Breaker, BreakerSettings
from tests.actions.events.gated_phoenix import CLOCK, GatedPhoenix
from tests.outbox.durable_gateway import (
    BULK,
    DYING,
    DurableGateway,
    drained,
    eventually,
    gateway_at,
    orders,
    put,
)


async def test_a_refused_event_becomes_a_dead_letter_and_does_not_block_its_user(path: Path) -> None:
    """The reason is stored, and a repeat of the event gets it."""
    phoenix = GatedPhoenix(lambda request, ids: 422 if "a1" in ids else 202)
    async with gateway_at(path, phoenix, bulk=None) as gateway:
        await put(gateway, ("a1", "ada"), ("a2", "ada"), ("b1", "bob"))
        await drained(gateway)
        (letter,) = await gateway.dead_letters()
        assert ("a1", "PHOENIX_REFUSED_STATE", None) == (letter.event_id, letter.reason, letter.first_sent_at_us)
        assert ["PHOENIX_REFUSED_STATE"] == await put(gateway, ("a1", "ada"))
    assert {"ada": ["a1", "a2"], "bob": ["b1"]} == orders(phoenix)
    assert 1 == gateway.counts["PHOENIX_REFUSED_STATE"]


async def test_a_bulk_call_that_is_refused_is_divided_where_that_is_harmless(path: Path) -> None:
    """Only the invalid event becomes a dead letter."""
    phoenix = GatedPhoenix(lambda request, ids: 400 if "e3" in ids else 202)
    async with gateway_at(path, phoenix, deduplicates=True) as gateway:
        await put(gateway, *((f"e{n}", f"u{n}") for n in range(8)))
        await drained(gateway)
        assert ["e3"] == [letter.event_id for letter in await gateway.dead_letters()]
    assert 7 == gateway.counts["delivered"]


async def test_without_bulk_calls_at_phoenix_events_go_singly(path: Path) -> None:
    """After the first 404."""
    phoenix = GatedPhoenix(lambda request, ids: 404 if request.raw_path.endswith("bulk") else 202)
    async with gateway_at(path, phoenix) as gateway:
        await put(gateway, *((f"e{n}", f"u{n}") for n in range(5)))
        await drained(gateway)
    assert 5 == gateway.counts["delivered"]


@pytest.mark.parametrize("bulk", BULK)
async def test_a_phoenix_in_trouble_is_asked_with_one_event_until_it_is_back(
    path: Path, bulk: BulkEnvelope | None
) -> None:
    """Nothing is lost or doubled however long it takes, and the order stays."""
    is_down = True
    taken: list[str] = []

    def says(request: Request, ids: list[str]) -> int:
        if is_down:
            return 503
        taken.extend(ids)
        return 202

    phoenix = GatedPhoenix(says)
    async with gateway_at(path, phoenix, bulk=bulk) as gateway:
        await put(gateway, *((f"{n:02}", f"u{n % 5}") for n in range(50)))
        await eventually(lambda: len(phoenix.calls) >= 12)
        assert all(len(ids) == 1 for _, ids in phoenix.calls[8:])
        is_down = False
        await drained(gateway)
    assert sorted(taken) == [f"{n:02}" for n in range(50)]
    by_user = [[event_id for event_id in taken if int(event_id) % 5 == user] for user in range(5)]
    assert all(order == sorted(order) for order in by_user)
    assert 50 == gateway.counts["delivered"]
    assert not await_dead(gateway)


def await_dead(gateway: DurableGateway) -> list[str]:
    """Reasons of dead letters."""
    return [name for name in gateway.counts if name.isupper()]


async def test_while_the_circuit_is_open_nothing_is_sent_and_nothing_lost(path: Path) -> None:
    """The breaker's pauses are kept; a probe finds out."""
    is_down = True

    def says(request: Request, ids: list[str]) -> int | NotSent:
        return NotSent("refused") if is_down else 202

    phoenix = GatedPhoenix(says)
    breaker = Breaker(CLOCK, BreakerSettings(failures_to_open=2, first_open_s=0.1, longest_open_s=0.2))
    async with gateway_at(path, phoenix, breaker=breaker) as gateway:
        await put(gateway, *((f"e{n}", f"u{n}") for n in range(20)))
        await eventually(lambda: gateway.counts["retried"] >= 25)
        is_down = False
        await drained(gateway)
    assert 20 == gateway.counts["delivered"]
    assert sorted(set(phoenix.ids)) == sorted(f"e{n}" for n in range(20))


async def test_retry_after_is_respected(path: Path) -> None:
    """By all events of the tenant."""
    limited = Answer(status=429, headers={"retry-after": "1"})
    phoenix = GatedPhoenix(lambda request, ids: limited if len(phoenix.calls) == 1 else 202)
    async with gateway_at(path, phoenix, bulk=None) as gateway:
        began_at = CLOCK.monotonic()
        await put(gateway, ("a1", "ada"))
        await eventually(lambda: len(phoenix.calls) == 1)
        await put(gateway, ("b1", "bob"))
        await drained(gateway)
        assert CLOCK.monotonic() - began_at >= 1.0
    assert ["a1", "a1", "b1"] == sorted(phoenix.ids)


async def test_rejected_credentials_are_no_ones_dead_letter(path: Path) -> None:
    """They are faults of the gateway's configuration: the event is delivered when they are corrected."""
    is_wrong = True
    phoenix = GatedPhoenix(lambda request, ids: 401 if is_wrong else 202)
    async with gateway_at(path, phoenix) as gateway:
        await put(gateway, ("a1", "ada"))
        await eventually(lambda: gateway.counts["retried"] >= 2)
        is_wrong = False
        await drained(gateway)
    assert {"queued": 1, "delivered": 1} == {name: gateway.counts[name] for name in ("queued", "delivered")}


async def test_a_lost_answer_is_sent_again_where_phoenix_deduplicates(path: Path) -> None:
    """Under the same id, until it is known."""
    phoenix = GatedPhoenix(lambda request, ids: AnswerLost("cut") if len(phoenix.calls) < 3 else 409)
    async with gateway_at(path, phoenix, bulk=None, deduplicates=True) as gateway:
        await put(gateway, ("a1", "ada"))
        await drained(gateway)
    assert ["a1", "a1", "a1"] == phoenix.ids
    assert 1 == gateway.counts["delivered"]


@pytest.mark.parametrize("bulk", BULK)
async def test_a_lost_answer_is_never_sent_again_where_it_may_count_twice(
    path: Path, bulk: BulkEnvelope | None
) -> None:
    """It is a dead letter of unknown outcome. The user's next event is delivered."""
    phoenix = GatedPhoenix(lambda request, ids: AnswerLost("cut") if "a1" in ids else 202)
    async with gateway_at(path, phoenix, bulk=bulk) as gateway:
        await put(gateway, ("a1", "ada"), ("a2", "ada"))
        await drained(gateway)
        (letter,) = await gateway.dead_letters()
        assert ("a1", "OUTCOME_UNKNOWN") == (letter.event_id, letter.reason)
        assert letter.first_sent_at_us is not None
    assert ["a1", "a2"] == phoenix.ids


@pytest.mark.parametrize("deduplicates", [True, False])
async def test_a_gateway_that_dies_while_it_sends_leaves_a_doubt(path: Path, *, deduplicates: bool) -> None:
    """The next gateway sends the event again if a repeat is safe. Otherwise it becomes a dead letter."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    dying = DurableGateway(path, phoenix, bulk=None, deduplicates=deduplicates, settings=DYING)
    dying.start()
    await put(dying, ("a1", "ada"), ("a2", "ada"))
    await eventually(lambda: phoenix.ids == ["a1"])
    await dying.die()
    phoenix.let_go()
    async with gateway_at(path, phoenix, bulk=None, deduplicates=deduplicates) as gateway:
        await drained(gateway)
        letters = [(letter.event_id, letter.reason) for letter in await gateway.dead_letters()]
    assert (["a1", "a1", "a2"] if deduplicates else ["a1", "a2"]) == phoenix.ids
    assert ([] if deduplicates else [("a1", "OUTCOME_UNKNOWN")]) == letters


async def test_past_the_window_a_doubt_is_not_sent_again(path: Path) -> None:
    """Even where Phoenix deduplicates: it has forgotten the id."""
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    dying = DurableGateway(path, phoenix, bulk=None, deduplicates=True, settings=DYING)
    dying.start()
    await put(dying, ("a1", "ada"))
    await eventually(lambda: phoenix.ids == ["a1"])
    await dying.die()
    gateway = DurableGateway(path, phoenix, bulk=None, deduplicates=True)
    early = "UPDATE durable_events SET first_sent_at_us = first_sent_at_us - 290000000"
    await gateway.database.write(lambda connection, _now_us: connection.exec_driver_sql(early), 5.0)
    gateway.start()
    await drained(gateway)
    assert ["OUTCOME_UNKNOWN"] == [letter.reason for letter in await gateway.dead_letters()]
    assert ["a1"] == phoenix.ids
    await gateway.stop()
