"""Unreadable webhooks on both databases: kept once, settled once, and never claimed as if nothing had happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.core.types import Environment, KeyId
from gateway.core.wallet_operation import OperationKind
from gateway.core.wallet_verdict import Disposition
from gateway.errors import OutcomeDiffers, PhoenixNotFound
from gateway.evidence.record import RecordedResponse
from gateway.evidence.unreadable import MOST_KEYS, UnreadableWebhooks
from gateway.evidence.unreadable_webhook import Settlement, UnreadableCall, UnreadableWebhook
from gateway.store.database import Database
from tests.evidence.conftest import MakeStore
from tests.evidence.wallet_factory import OPERATOR, RECEIVED_AT_US, claim_of, sha256, soon
from tests.manual_clock import ManualClock

BODY = b"\x00\xff unreadable"
SETTLED = Settlement(
    response=RecordedResponse(status=200, body_sha256=sha256(b"ok"), body=b"ok", recorded_at_us=0), note="n", caller="c"
)


def call_of(key: str = "key-1", body: bytes = BODY) -> UnreadableCall:
    return UnreadableCall(
        operator_code=OPERATOR,
        environment=Environment.PROD,
        idempotency_key=key,
        body_sha256=sha256(body),
        body=body,
        route=OperationKind.MOVE,
        trouble="t",
        signature="A" * 86,
        key_id=KeyId("c" * 64),
        request_id="r",
        received_at_us=RECEIVED_AT_US,
    )


class OneOperator:
    """The webhooks of one operator environment, each call a second after the last."""

    def __init__(self, database: Database) -> None:
        self._clock = ManualClock()
        self.webhooks = UnreadableWebhooks(database, self._clock)

    async def keep(self, call: UnreadableCall) -> bool:
        self._clock.advance(1.0)
        return await self.webhooks.keep(call, soon())

    async def listed(self, *, include_settled: bool = False) -> tuple[UnreadableWebhook, ...]:
        page = await self.webhooks.page(
            OPERATOR, Environment.PROD, include_settled=include_settled, after=0, limit=200, deadline=soon()
        )
        return page.webhooks

    async def settle(self, webhook: UnreadableWebhook) -> UnreadableWebhook:
        return await self.webhooks.settle(
            OPERATOR, Environment.PROD, webhook.webhook_id, webhook.call.body_sha256, SETTLED, soon()
        )


@pytest.fixture
async def kept(make_database: Callable[[], Database], make_store: MakeStore) -> OneOperator:
    await make_store()
    return OneOperator(make_database())


async def test_repeats_are_counted_and_keys_are_bounded(kept: OneOperator) -> None:
    """One row per body and key, exactly as it came, and at most 100 keys of one body."""
    assert [True, False, False] == [await kept.keep(call_of()) for _ in range(3)]
    (only,) = await kept.listed()
    assert (call_of(), 3, None) == (only.call, only.count, only.settlement)
    for number in range(MOST_KEYS + 5):
        await kept.keep(call_of(f"other-{number}"))
    assert MOST_KEYS == len(await kept.listed())


async def test_a_page_begins_after_the_last_one(kept: OneOperator) -> None:
    """In the order of their first arrival."""
    for number in range(5):
        await kept.keep(call_of(body=b"%d" % number))
    found, after = [], 0
    while True:
        page = await kept.webhooks.page(
            OPERATOR, Environment.PROD, include_settled=False, after=after, limit=2, deadline=soon()
        )
        found += [webhook.call.body for webhook in page.webhooks]
        if page.after is None:
            break
        after = page.after
    assert [b"0", b"1", b"2", b"3", b"4"] == found


async def test_a_settlement_marks_the_body_for_later_claims(kept: OneOperator, make_store: MakeStore) -> None:
    """A claim of the same body is flagged in its own transaction."""
    await kept.keep(call_of())
    settled = await kept.settle((await kept.listed())[0])
    assert (SETTLED.response.body, SETTLED.note) == (settled.settlement and settled.settlement.response.body, "n")
    assert settled == await kept.settle(settled)
    assert ((), 1) == (await kept.listed(), len(await kept.listed(include_settled=True)))
    claimed = await (await make_store()).claim(claim_of(body=BODY), soon())
    assert (Disposition.NEW, True) == (claimed.disposition, claimed.suspect_replay)


@pytest.mark.parametrize("holds", [False, True], ids=["claimed", "held"])
async def test_every_claim_of_a_settled_call_gets_the_settlement(
    kept: OneOperator, make_store: MakeStore, clock: ManualClock, holds: bool
) -> None:
    """New, in progress or held, and taken over; a call with the same body under another key does not."""
    await kept.keep(call_of())
    await kept.settle((await kept.listed())[0])
    store, claim = await make_store(), replace(claim_of(body=BODY), holds_suspects=holds)
    first, second = [await store.claim(claim, soon()) for _ in range(2)]
    clock.advance(100)
    third = await store.claim(replace(claim, holds_suspects=False), soon())
    other = await store.claim(claim_of("key-2", body=BODY), soon())
    assert third.disposition is Disposition.RECLAIMED
    assert [each.suspect_replay for each in (first, second, third, other)] == [True] * 4
    assert [each.settled and each.settled.body for each in (first, second, third, other)] == [b"ok"] * 3 + [None]


async def test_what_was_claimed_cannot_be_settled(kept: OneOperator, make_store: MakeStore) -> None:
    """Nor is it listed any more; another body or id is not found."""
    await kept.keep(call_of())
    (webhook,) = await kept.listed()
    with pytest.raises(PhoenixNotFound):
        await kept.webhooks.settle(OPERATOR, Environment.SANDBOX, webhook.webhook_id, sha256(BODY), SETTLED, soon())
    await (await make_store()).claim(claim_of(body=BODY), soon())
    assert () == await kept.listed()
    with pytest.raises(OutcomeDiffers):
        await kept.settle(webhook)


async def test_a_claim_and_a_settlement_at_the_same_time_never_both_win(
    kept: OneOperator, make_store: MakeStore
) -> None:
    """Either the settlement is refused, or the claim is flagged."""
    store = await make_store()
    for number in range(10):
        body = b"race %d" % number
        await kept.keep(call_of(f"race-{number}", body))
        (webhook,) = await kept.listed()
        claimed, settled = await asyncio.gather(
            store.claim(claim_of(f"race-{number}", body=body), soon()), kept.settle(webhook), return_exceptions=True
        )
        assert not isinstance(claimed, BaseException)
        assert isinstance(settled, OutcomeDiffers) or claimed.suspect_replay
