"""How old a live board certainly is not."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from gateway.streams.freshness import FORGOTTEN_AFTER_S, Freshness
from tests.manual_clock import ManualClock


def fresh_board(clock: ManualClock) -> Freshness:
    """A connection that has shown its first board."""
    freshness = Freshness(clock)
    freshness.opened(clock.monotonic())
    freshness.answered(is_board=True, is_certain=True, is_whole=True)
    return freshness


def page(freshness: Freshness, *, certain: bool = True, whole: bool = True, board: bool = True) -> None:
    freshness.answered(is_board=board, is_certain=certain, is_whole=whole)


def test_a_first_board_is_no_older_than_the_connection() -> None:
    """Nothing can have been on its way before."""
    clock = ManualClock()
    opened_at = clock.monotonic()
    freshness = Freshness(clock)
    freshness.opened(opened_at)
    clock.advance(1)
    page(freshness, certain=False)
    assert opened_at == freshness.as_of


def test_an_answer_proves_the_moment_of_its_question() -> None:
    """Not that of its arrival."""
    clock = ManualClock()
    freshness = fresh_board(clock)
    clock.advance(5)
    freshness.requested()
    requested_at = clock.monotonic()
    clock.advance(2)
    page(freshness)
    assert requested_at == freshness.as_of


def test_what_comes_by_itself_proves_nothing_new() -> None:
    """It may have been on its way when the question left."""
    clock = ManualClock()
    freshness = fresh_board(clock)
    first = freshness.as_of
    clock.advance(5)
    freshness.requested()
    page(freshness, certain=False)
    assert first == freshness.as_of


def test_a_doubt_lasts_until_a_page_has_come() -> None:
    """A page without the newest entries does not end it."""
    clock = ManualClock()
    freshness = fresh_board(clock)
    freshness.mark_uncertain()
    assert None is freshness.as_of
    page(freshness, whole=False)
    assert None is freshness.as_of
    page(freshness)
    assert freshness.as_of is not None


def test_an_answer_that_is_not_the_board_uses_up_its_question() -> None:
    """Else the next one would prove too little forever."""
    clock = ManualClock()
    freshness = fresh_board(clock)
    freshness.requested()
    page(freshness, board=False)
    clock.advance(1)
    freshness.requested()
    page(freshness)
    assert clock.monotonic() == freshness.as_of


def test_a_question_without_an_answer_is_forgotten_after_a_while() -> None:
    """Until then answers prove too little, never too much."""
    clock = ManualClock()
    freshness = fresh_board(clock)
    freshness.requested()
    lost_at = clock.monotonic()
    clock.advance(FORGOTTEN_AFTER_S / 2)
    freshness.requested()
    page(freshness)
    assert lost_at == freshness.as_of
    clock.advance(FORGOTTEN_AFTER_S + 1)
    freshness.requested()
    page(freshness)
    assert clock.monotonic() == freshness.as_of


def test_a_lost_connection_proves_nothing() -> None:
    """Though the board is still shown to those who watch."""
    freshness = fresh_board(ManualClock())
    freshness.closed()
    assert None is freshness.as_of


async def test_who_waits_is_woken_by_the_answer_and_by_the_end() -> None:
    """Otherwise it leaves at its deadline."""
    freshness = fresh_board(ManualClock())
    for is_end in (False, True):
        waiting = asyncio.ensure_future(freshness.wait_for_answer(30))
        await asyncio.sleep(0)
        freshness.closed() if is_end else page(freshness)
        await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(freshness.wait_for_answer(0.01), 5)


STEPS = st.lists(st.sampled_from(["ask", "take", "change", "push", "lose", "wait", "gap"]), max_size=80)


@given(STEPS)
def test_no_order_of_questions_answers_and_changes_proves_too_much(steps: list[str]) -> None:
    """Phoenix answers in order, changes in between, and leaves some questions unanswered."""
    clock = ManualClock()
    freshness = fresh_board(clock)
    questions = 0
    frames: list[tuple[bool, float]] = []  # on their way to us: whether an answer, and the moment of what they show
    for step in steps:
        match step:
            case "ask":
                freshness.requested()
                questions += 1
            case "take" if questions:
                questions -= 1
                frames.append((True, clock.monotonic()))
            case "lose" if questions:
                questions -= 1
            case "change":
                frames.append((False, clock.monotonic()))
            case "push" if frames:
                page(freshness, certain=frames.pop(0)[0])
            case "wait":
                clock.advance(1.5)
            case "gap":
                freshness.mark_uncertain()
        if freshness.as_of is not None:
            assert all(moment >= freshness.as_of for _, moment in frames), "a change that is proved has not come yet"
