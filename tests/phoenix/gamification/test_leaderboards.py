"""Reading boards: paths that cannot be bent, and users without an entry."""

import pytest

from gateway import errors
from gateway.core.types import TenantId
from gateway.phoenix.gamification.leaderboards import LeaderboardsClient
from gateway.resilience.deadline import Deadline
from tests.phoenix.fake_phoenix import CLOCK, FakePhoenix, fake_phoenix

PAGE = b'{"window_key":"2025-W47","entries":[{"user_id":"u","score":5,"rank":1}]}'


def of(phoenix: FakePhoenix, tenant: str = "t") -> LeaderboardsClient:
    return LeaderboardsClient(
        retrying=phoenix.retrying,
        base_url=phoenix.url,
        tenant_id=TenantId(tenant),
        authorize=lambda method, raw_path, body: {"x-api-key": f"{method} {raw_path} {len(body)}"},
    )


def soon() -> Deadline:
    return Deadline.after(5.0, CLOCK)


async def test_a_page_is_read() -> None:
    """Limit, offset and window are in the query, which is not signed."""
    async with fake_phoenix(**{"GET /v1/leaderboards/t/xp": [(200, PAGE)]}) as phoenix:
        page = await of(phoenix).page("xp", soon(), limit=10, offset=20, window_key="2025-W47")
        assert (page.window_key, page.entries[0].user_id) == ("2025-W47", "u")
        seen = phoenix.seen[0]
        assert seen.path == "/v1/leaderboards/t/xp?limit=10&offset=20&window_key=2025-W47"
        assert seen.headers["x-api-key"] == "GET /v1/leaderboards/t/xp 0"


async def test_without_a_window_none_is_sent() -> None:
    """Phoenix chooses the window and names it."""
    async with fake_phoenix(**{"GET /v1/leaderboards/t/xp": [(200, PAGE)]}) as phoenix:
        await of(phoenix).page("xp", soon(), limit=100)
        assert phoenix.seen[0].path == "/v1/leaderboards/t/xp?limit=100&offset=0"


@pytest.mark.parametrize(
    ("board", "user", "path"),
    [
        ("xp", "u", "/v1/leaderboards/t/xp/rank/u"),
        ("..", "../../admin", "/v1/leaderboards/t/%2E%2E/rank/..%2F..%2Fadmin"),
        ("a/b", "%2f", "/v1/leaderboards/t/a%2Fb/rank/%252f"),
        ("é", "a b?c#d", "/v1/leaderboards/t/%C3%A9/rank/a%20b%3Fc%23d"),
    ],
)
async def test_an_id_cannot_change_the_path(board: str, user: str, path: str) -> None:
    """Path tricks arrive as text, and are signed as they arrive."""
    async with fake_phoenix(**{f"GET {path}": [(200, b'{"rank":3,"score":7}')]}) as phoenix:
        answer = await of(phoenix).rank(board, user, soon())
        assert (answer.ranked, answer.rank) == (True, 3)
        assert phoenix.seen[0].headers["x-api-key"] == f"GET {path} 0"


async def test_a_score_is_read() -> None:
    """From its own route."""
    async with fake_phoenix(**{"GET /v1/leaderboards/t/xp/score/u": [(200, b'{"score":7.5}')]}) as phoenix:
        answer = await of(phoenix).score("xp", "u", soon())
        assert (answer.ranked, answer.score) == (True, 7.5)


@pytest.mark.parametrize(
    "body", [b'{"code":"USER_NOT_FOUND"}', b'{"error":"not_ranked"}', b'{"error":{"code":"no-entry"}}']
)
async def test_a_404_that_can_only_mean_no_entry_is_unranked(body: bytes) -> None:
    """The code shows that the user is missing."""
    routes = {f"GET /v1/leaderboards/t/xp/{what}/u": [(404, body)] for what in ("rank", "score")}
    async with fake_phoenix(**routes) as phoenix:
        rank, score = await of(phoenix).rank("xp", "u", soon()), await of(phoenix).score("xp", "u", soon())
        assert (rank.ranked, score.ranked) == (False, False)


@pytest.mark.parametrize("body", [b"", b"not found", b'{"code":"NOT_FOUND"}', b'{"code":"LEADERBOARD_NOT_FOUND"}'])
async def test_any_other_404_is_not_found(body: bytes) -> None:
    """A mistyped board must not look like an empty one."""
    routes = {f"GET /v1/leaderboards/t/xp/{what}/u": [(404, body)] for what in ("rank", "score")}
    async with fake_phoenix(**routes) as phoenix:
        with pytest.raises(errors.PhoenixNotFound):
            await of(phoenix).rank("xp", "u", soon())
        with pytest.raises(errors.PhoenixNotFound):
            await of(phoenix).score("xp", "u", soon())


async def test_an_unreadable_page_is_reported_as_such() -> None:
    """Its essence is missing; nothing is guessed."""
    async with fake_phoenix(**{"GET /v1/leaderboards/t/xp": [(200, b"<html>")]}) as phoenix:
        with pytest.raises(errors.PhoenixAnswerUnreadable):
            await of(phoenix).page("xp", soon(), limit=1)


@pytest.mark.parametrize(("rank", "ranked"), [(b'{"rank":null}', False), (b'{"rank":4}', True)])
async def test_a_bare_zero_is_a_score_only_of_a_ranked_user(rank: bytes, ranked: bool) -> None:
    """Phoenix may say zero of a user without an entry, so the rank decides."""
    routes = {
        "GET /v1/leaderboards/t/xp/score/u": [(200, b'{"score":0}')],
        "GET /v1/leaderboards/t/xp/rank/u": [(200, rank)],
    }
    async with fake_phoenix(**routes) as phoenix:
        assert (await of(phoenix).score("xp", "u", soon())).ranked is ranked


async def test_neighbours_are_read() -> None:
    """With a limit, and a window where one is named."""
    async with fake_phoenix(**{"GET /v1/leaderboards/t/xp/user/..%2Fu": [(200, PAGE)]}) as phoenix:
        found = await of(phoenix).neighbors("xp", "../u", soon(), limit=5, window_key="w")
        assert (found.ranked, found.page.entries[0].user_id) == (True, "u")
        assert phoenix.seen[0].path == "/v1/leaderboards/t/xp/user/..%2Fu?limit=5&window_key=w"
        assert phoenix.seen[0].headers["x-api-key"] == "GET /v1/leaderboards/t/xp/user/..%2Fu 0"
