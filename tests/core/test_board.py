"""A live board: pages, changes, and what may never be guessed."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.board import ApplyResult, Board, Change, FullPage, Topic, apply
from gateway.core.types import TenantId
from gateway.core.wire import Entry, Page
from gateway.core.wire_socket import decode_frame
from gateway.errors import PhoenixAnswerUnreadable

TOPIC = Topic(TenantId("t"), "xp")


def entry(rank: int, user: str, score: float) -> Entry:
    return Entry(rank=rank, user_id=user, score=score, extra={})


def page(scores: dict[str, int], limit: int = 100, window: str = "w1") -> Page:
    order = sorted(scores, key=lambda user: (-scores[user], user))
    entries = tuple(entry(place + 1, user, scores[user]) for place, user in enumerate(order[:limit]))
    return Page(window_key=window, entries=entries, total=len(scores))


def change(before: Page, now: Page, sequence: int) -> Change:
    old = {each.user_id: each for each in before.entries}
    return Change(
        window_key=now.window_key,
        entries=tuple(each for each in now.entries if old.get(each.user_id) != each),
        removed=frozenset(old) - {each.user_id for each in now.entries},
        total=now.total,
        sequence=sequence,
    )


def shown(topic: Topic, scores: dict[str, int], sequence: int | None = 1) -> Board:
    return apply(Board(topic=topic, pages_seen=1), FullPage(page=page(scores), sequence=sequence)).board


def test_a_page_is_the_board() -> None:
    """The first page is shown unchanged."""
    applied = apply(Board(topic=TOPIC), FullPage(page=page({"a": 2, "b": 1})))
    assert (page({"a": 2, "b": 1}), True, False) == (applied.board.page, applied.changed, applied.needs_page)


def test_the_same_page_again_changes_nothing() -> None:
    """A duplicate is no update."""
    board = shown(TOPIC, {"a": 2})
    assert not apply(board, FullPage(page=page({"a": 2}), sequence=1)).changed


def test_an_older_page_is_not_shown() -> None:
    """A frame that comes late does not turn the board back."""
    board = shown(TOPIC, {"a": 3}, sequence=5)
    assert page({"a": 3}) == apply(board, FullPage(page=page({"a": 2}), sequence=4)).board.page


def test_a_missing_change_asks_for_a_page() -> None:
    """A gap in the sequence does not change the board."""
    board = shown(TOPIC, {"a": 3, "b": 1})
    applied = apply(board, change(page({"a": 3, "b": 1}), page({"a": 3, "b": 2}), 3))
    assert ApplyResult(board=board, needs_page=True) == applied


@pytest.mark.parametrize(
    "moved",
    [
        Change(window_key="", entries=(entry(1, "b", 9),), removed=frozenset()),  # the first user is unknown
        Change(window_key="", entries=(entry(5, "c", 0),), removed=frozenset()),  # ranks 3 and 4 are unknown
        Change(window_key="", entries=(), removed=frozenset({"a"})),  # ranks would begin at 2
        Change(window_key="w2", entries=(entry(1, "a", 1),), removed=frozenset()),  # another window
        Change(window_key="", entries=(entry(1, "a", 1),), removed=frozenset(), ranked=False),
    ],
)
def test_what_is_not_certain_is_not_guessed(moved: Change) -> None:
    """Incomplete changes request a page."""
    board = shown(TOPIC, {"a": 3, "b": 1})
    assert ApplyResult(board=board, needs_page=True) == apply(board, moved)


def test_only_what_was_asked_for_is_shown() -> None:
    """A page of Phoenix's own size is cut to the topic's."""
    board = apply(Board(topic=TOPIC, size=2), FullPage(page=page({"a": 3, "b": 2, "c": 1}))).board
    assert ("a", "b") == tuple(each.user_id for each in board.page.entries) if board.page else ()


def test_the_first_page_of_another_window_is_not_the_board() -> None:
    """Phoenix first sends the active window, then the requested one."""
    topic = Topic(TenantId("t"), "xp", "w0")
    first = apply(Board(topic=topic), FullPage(page=page({"a": 1}, window="w1")))
    second = apply(first.board, FullPage(page=page({"a": 7}, window="w0")))
    assert (None, page({"a": 7}, window="w0")) == (first.board.page, second.board.page)


MOVES = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 5)), min_size=1, max_size=25)


@given(MOVES, st.sampled_from([3, 100]), st.booleans(), st.data())
def test_any_duplicates_losses_and_disorder_end_at_the_same_board(
    moves: list[tuple[str, int]], limit: int, as_changes: bool, data: st.DataObject
) -> None:
    """For any order of frames, a board that requests pages when needed ends with the correct entries."""
    scores: dict[str, int] = {"a": 1, "b": 1}
    pages = [page(scores, limit)]
    for user, points in moves:
        scores[user] = scores.get(user, 0) + points
        pages.append(page(scores, limit))
    frames: list[FullPage | Change] = [
        change(pages[number - 1], now, number) if as_changes else FullPage(page=now, sequence=number)
        for number, now in enumerate(pages)
        if number
    ]
    sent = data.draw(st.lists(st.sampled_from(frames), max_size=40))
    order = data.draw(st.permutations(frames[:-1])) if frames else []
    board = apply(Board(topic=TOPIC, size=limit, pages_seen=1), FullPage(page=pages[0], sequence=0)).board
    lost = False
    for frame in [*sent, *order, frames[-1]]:
        applied = apply(board, frame)
        board, lost = applied.board, (lost or applied.needs_page) and not applied.is_page
        at = board.sequence
        assert at is not None
        assert pages[at] == board.page
    if lost:
        board = apply(board, FullPage(page=pages[-1], sequence=len(pages) - 1)).board
    assert pages[-1] == board.page


@pytest.mark.parametrize(
    "message",
    [
        {"type": "snapshot", "entries": [{"rank": 1, "user_id": "a", "score": 2}], "window_key": "w1", "total": 1},
        {"type": "LeaderboardUpdate", "data": {"entries": [{"rank": 1, "userId": "a", "points": 2}]}},
        {"event": "leaderboard.update", "data": [{"position": 1, "player_id": "a", "total_score": "2"}]},
        {"leaderboard": {"entries": [{"rank": 1, "user_id": "a", "score": 2}]}},
    ],
)
def test_pages_of_many_shapes_are_read(message: dict[str, object]) -> None:
    """Common names and one level of nesting."""
    frame = decode_frame(orjson.dumps(message))
    assert isinstance(frame, FullPage)
    assert [(1, "a", 2.0)] == [(each.rank, each.user_id, each.score) for each in frame.page.entries]


def test_a_change_differs_from_a_page() -> None:
    """By its members."""
    frame = decode_frame(
        b'{"type":"update","sequence":7,"changes":[{"rank":1,"user_id":"a","score":2}],"removed":["b"]}'
    )
    assert Change(window_key="", entries=(entry(1, "a", 2),), removed=frozenset({"b"}), sequence=7) == frame


def test_a_difference_without_a_rank_is_a_change_that_needs_a_page() -> None:
    """A score alone gives no rank."""
    frame = decode_frame(b'{"type":"score_update","changes":[{"user_id":"a","score_delta":5}]}')
    assert isinstance(frame, Change)
    assert not frame.ranked


@pytest.mark.parametrize("message", [b"", b"{", b"\x00\xff", b"[]", b"7", b'{"type":"snapshot"}'])
def test_what_is_unreadable_is_refused(message: bytes) -> None:
    """Garbage and messages without their essence."""
    with pytest.raises(PhoenixAnswerUnreadable):
        decode_frame(message)


@pytest.mark.parametrize("message", [b"{}", b'{"type":"confetti","entries":[]}', b'{"type":7}'])
def test_unknown_types_are_ignored(message: bytes) -> None:
    """Whatever they hold."""
    assert "Ignored" == type(decode_frame(message)).__name__


@given(st.binary(max_size=200))
def test_no_bytes_break_the_decoder(message: bytes) -> None:
    """A frame, or the one error."""
    try:
        decode_frame(message)
    except PhoenixAnswerUnreadable:
        pass
