"""Reads pages, neighbours, ranks and scores of a board at the query host.

`core.wire` reads the bodies; `snapshots.py` reads completed windows. Source: gamification.md 2.2, the paths of the
older generation.
"""

from gateway.core.canonical import encode_segment
from gateway.core.types import TenantId
from gateway.core.wire import (
    Neighbors,
    Page,
    RankAnswer,
    ScoreAnswer,
    decode_leaderboard,
    decode_neighbors,
    decode_rank,
    decode_score,
    refused_code,
)
from gateway.errors import PhoenixNotFound
from gateway.phoenix.answers import Surface
from gateway.phoenix.auth.authorize import Authorize
from gateway.phoenix.gamification.client import GamificationClient, path
from gateway.phoenix.http_types import Answer
from gateway.phoenix.retry import RetryingSender
from gateway.resilience.deadline import Deadline

_NO_ENTRY_CODES = frozenset(
    {
        "entry_not_found",
        "no_entry",
        "not_ranked",
        "player_not_found",
        "rank_not_found",
        "score_not_found",
        "unranked",
        "user_not_found",
        "user_not_in_leaderboard",
        "user_not_ranked",
        "user_unranked",
    }
)
"""Inferred: codes with which a 404 can only mean that the board exists and the user is not on it."""


class LeaderboardsClient:
    """One tenant's boards."""

    def __init__(self, *, retrying: RetryingSender, base_url: str, tenant_id: TenantId, authorize: Authorize) -> None:
        """Read from `QUERY_BASE_URL` with the credentials of `QUERY_AUTH`."""
        self._client = GamificationClient(
            retrying=retrying, base_url=base_url, tenant_id=tenant_id, surface=Surface.QUERY, authorize=authorize
        )

    async def page(
        self, leaderboard_id: str, deadline: Deadline, *, limit: int, offset: int = 0, window_key: str = ""
    ) -> Page:
        """Read entries from a zero-based offset.

        Without a window key Phoenix shows the active window, or the last completed one while that is empty. Only the
        page's own window key says which. Raises: as `RetryingSender.deliver`; PhoenixAnswerUnreadable.
        """
        window = (("window_key", window_key),) if window_key else ()
        query = (("limit", str(limit)), ("offset", str(offset)), *window)
        answer = await self._client.read(self._board(leaderboard_id), deadline, query=query)
        return decode_leaderboard(answer.body)

    async def neighbors(
        self, leaderboard_id: str, user_id: str, deadline: Deadline, *, limit: int, window_key: str = ""
    ) -> Neighbors:
        """Read the entries around a user, `limit` in all; a 404 means the same as in `rank`."""
        window = (("window_key", window_key),) if window_key else ()
        raw_path = f"{self._board(leaderboard_id)}/user/{encode_segment(user_id)}"
        answer = await read_of_user(self._client, raw_path, deadline, query=(("limit", str(limit)), *window))
        if answer is None:
            return Neighbors(ranked=False, page=Page(window_key="", entries=(), total=None))
        return decode_neighbors(answer.body)

    async def rank(self, leaderboard_id: str, user_id: str, deadline: Deadline) -> RankAnswer:
        """Read a user's rank in the latest window; a user without an entry is not ranked.

        A 404 can mean an unknown board or a user without an entry, and Phoenix does not document its body. It counts as
        "not ranked" only if its error code can mean nothing else. Any other 404 is PhoenixNotFound: "not ranked" would
        hide a mistyped board from the caller.
        """
        answer = await self._of_user(leaderboard_id, "rank", user_id, deadline)
        return RankAnswer(ranked=False, rank=None, score=None) if answer is None else decode_rank(answer.body)

    async def score(self, leaderboard_id: str, user_id: str, deadline: Deadline) -> ScoreAnswer:
        """Read a user's score in the latest window; a 404 means the same as in `rank`.

        Phoenix may also answer a bare zero for a user without an entry: then the rank decides.
        """
        answer = await self._of_user(leaderboard_id, "score", user_id, deadline)
        if answer is None:
            return ScoreAnswer(ranked=False, rank=None, score=None)
        found = decode_score(answer.body)
        if found.ranked and found.score == 0 and found.rank is None:
            rank = await self.rank(leaderboard_id, user_id, deadline)
            return ScoreAnswer(ranked=rank.ranked, rank=rank.rank, score=0.0 if rank.ranked else None)
        return found

    def _board(self, leaderboard_id: str) -> str:
        return path("v1", "leaderboards", self._client.tenant_id, leaderboard_id)

    async def _of_user(self, leaderboard_id: str, what: str, user_id: str, deadline: Deadline) -> Answer | None:
        """Return the answer, or None if the user certainly has no entry."""
        raw_path = f"{self._board(leaderboard_id)}/{what}/{encode_segment(user_id)}"
        return await read_of_user(self._client, raw_path, deadline)


async def read_of_user(
    client: GamificationClient, raw_path: str, deadline: Deadline, *, query: tuple[tuple[str, str], ...] = ()
) -> Answer | None:
    """Read about one user; return None if a 404 says that the user certainly has no entry.

    Raises: PhoenixNotFound for any other 404; otherwise as `GamificationClient.read`.
    """
    answer = await client.read(raw_path, deadline, query=query, accepted_statuses=frozenset({404}))
    if answer.status != 404:
        return answer
    code = refused_code(answer.body)
    if code is not None and code.lower().replace("-", "_") in _NO_ENTRY_CODES:
        return None
    metadata = {"surface": Surface.QUERY.value, "phoenix_status": "404"}
    raise PhoenixNotFound(metadata=metadata if code is None else {**metadata, "phoenix_code": code})
