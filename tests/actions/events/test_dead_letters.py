"""The action of ListDeadLetters and RedriveDeadLetters: pages, owners and answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.actions.events.dead_letters import DeadLetterPage, DeadLetters
from gateway.actions.shared.directory import TenantDirectory
from gateway.actions.shared.page_token import PageToken, encode_page_token
from gateway.errors import InvalidField, TenantUnknown
from gateway.outbox.store import EventQueue
from gateway.phoenix.gamification.pending_event import Failed, Submitted
from gateway.store.sqlite import SqliteDatabase
from tests.actions.events.gated_phoenix import CLOCK, TENANT, GatedPhoenix, call, room_of
from tests.outbox.event_factory import admit, dead, new_event, settle, take


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[EventQueue]:
    """A queue with five dead letters: u0 to u3 refused, u4 of unknown outcome."""
    database = SqliteDatabase(tmp_path / "data" / "evidence.sqlite3", CLOCK)
    queue = EventQueue(database)
    queue.start()
    await admit(queue, *(new_event(f"e{n}", f"u{n}") for n in range(5)), tenant=TENANT)
    lease, taken = await take(queue, tenant=TENANT)
    *refused, in_doubt = taken.events
    unknown = dead(in_doubt, "OUTCOME_UNKNOWN", first_sent_at_us=taken.now_us)
    await settle(queue, lease, *map(dead, refused), unknown)
    yield queue
    await queue.stop()
    await database.stop()


@pytest.fixture
def letters(queue: EventQueue) -> DeadLetters:
    return DeadLetters(TenantDirectory({TENANT: room_of(GatedPhoenix())}), queue, CLOCK)


async def page(letters: DeadLetters, size: int = 0, token: str = "", **more: str) -> DeadLetterPage:
    wanted = {"leaderboard_id": "", "reason": "", **more}
    return await letters.page("", page_size=size, page_token=token, call=call(30.0), **wanted)


async def redrive(letters: DeadLetters, *ids: str, may_count_twice: bool = False, reason: str = "") -> list[str]:
    results = await letters.redrive(
        "", event_ids=ids, leaderboard_id="", reason=reason, may_count_twice=may_count_twice, call=call(30.0)
    )
    return [f"{one.event_id} {said(one)}" for one in results]


def said(result: Submitted | Failed) -> str:
    return result.error.reason if isinstance(result, Failed) else "queued" if result.queued else "?"


async def test_pages_hold_each_letter_once(letters: DeadLetters) -> None:
    """The last one has no token."""
    seen: list[str] = []
    token = ""
    while True:
        found = await page(letters, 2, token)
        seen += [one.event_id for one in found.letters]
        token = found.next_page_token
        if not token:
            break
    assert ["e0", "e1", "e2", "e3", "e4"] == seen


async def test_a_token_holds_for_its_own_filters_only(letters: DeadLetters) -> None:
    """Another reason, board, method or a made-up place is refused by name."""
    token = (await page(letters, 2)).next_page_token
    made_up = encode_page_token(PageToken(of="ListDeadLetters", tenant_id=TENANT, after="first"))
    other = encode_page_token(PageToken(of="ListSnapshots", tenant_id=TENANT, after="1"))
    for wrong, filters in (
        (token, {"reason": "OUTCOME_UNKNOWN"}),
        (token, {"leaderboard_id": "xp"}),
        (token[:-1], {}),
        (made_up, {}),
        (other, {}),
    ):
        with pytest.raises(InvalidField) as refusal:
            await page(letters, 2, wrong, **filters)
        assert ["page_token"] == [fault.field for fault in refusal.value.faults]


async def test_an_unknown_tenant_is_refused(letters: DeadLetters) -> None:
    """Before anything is read."""
    with pytest.raises(TenantUnknown):
        await letters.page("nobody", leaderboard_id="", reason="", page_size=0, page_token="", call=call(30.0))


async def test_redriving_answers_for_each_id_once_and_in_order(letters: DeadLetters) -> None:
    """Also for those that are not there, or need the word that they may count twice."""
    assert ["e4 INVALID_FIELD", "nowhere PHOENIX_NOT_FOUND", "e1 queued"] == await redrive(
        letters, "e4", "nowhere", "e1", "e4"
    )
    assert ["e1 PHOENIX_NOT_FOUND", "e4 queued"] == await redrive(letters, "e1", "e4", may_count_twice=True)


async def test_redriving_by_filter_answers_for_what_was_found(letters: DeadLetters) -> None:
    """Until only dead letters of unknown outcome are left."""
    assert [f"e{n} queued" for n in range(4)] == await redrive(letters, reason="PHOENIX_REFUSED_INPUT")
    assert [] == await redrive(letters)
    assert ["e4"] == [one.event_id for one in (await page(letters)).letters]
