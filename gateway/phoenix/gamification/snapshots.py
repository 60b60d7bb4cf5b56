"""Reads snapshots of completed windows at the query host. Their paths contain the time of the snapshot.

Source: gamification.md 2.2, the paths of the older generation.
"""

from gateway.core.canonical import encode_segment
from gateway.core.types import TenantId
from gateway.core.wire import (
    Page,
    RankAnswer,
    SnapshotInfo,
    decode_leaderboard,
    decode_snapshots,
    decode_user_snapshot,
    snapshot_time_text,
)
from gateway.phoenix.answers import Surface
from gateway.phoenix.auth.authorize import Authorize
from gateway.phoenix.gamification.client import GamificationClient, path
from gateway.phoenix.gamification.leaderboards import read_of_user
from gateway.phoenix.retry import RetryingSender
from gateway.resilience.deadline import Deadline


class SnapshotsClient:
    """One tenant's snapshots. Times are Unix microseconds."""

    def __init__(self, *, retrying: RetryingSender, base_url: str, tenant_id: TenantId, authorize: Authorize) -> None:
        """Read from `QUERY_BASE_URL` with the credentials of `QUERY_AUTH`."""
        self._client = GamificationClient(
            retrying=retrying, base_url=base_url, tenant_id=tenant_id, surface=Surface.QUERY, authorize=authorize
        )

    async def listed(
        self, leaderboard_id: str, deadline: Deadline, *, limit: int, since_us: int | None, until_us: int | None
    ) -> tuple[SnapshotInfo, ...]:
        """List the snapshots of a time span in Phoenix's order. Phoenix decides whether the span includes its ends.

        Raises: as `RetryingSender.deliver`; PhoenixAnswerUnreadable.
        """
        ends = (("from", since_us), ("to", until_us))
        span = tuple((name, snapshot_time_text(end)) for name, end in ends if end is not None)
        answer = await self._client.read(
            self._snapshots(leaderboard_id), deadline, query=(*span, ("limit", str(limit)))
        )
        return decode_snapshots(answer.body)

    async def page(self, leaderboard_id: str, taken_at_us: int, deadline: Deadline, *, limit: int, offset: int) -> Page:
        """Read entries of a snapshot from a zero-based offset. Raises: as `listed`."""
        query = (("limit", str(limit)), ("offset", str(offset)))
        answer = await self._client.read(self._snapshot(leaderboard_id, taken_at_us), deadline, query=query)
        return decode_leaderboard(answer.body)

    async def user(self, leaderboard_id: str, taken_at_us: int, user_id: str, deadline: Deadline) -> RankAnswer:
        """Read a user's place in a snapshot; a 404 means the same as in `LeaderboardsClient.rank`."""
        raw_path = f"{self._snapshot(leaderboard_id, taken_at_us)}/user/{encode_segment(user_id)}"
        answer = await read_of_user(self._client, raw_path, deadline)
        return RankAnswer(ranked=False, rank=None, score=None) if answer is None else decode_user_snapshot(answer.body)

    def _snapshots(self, leaderboard_id: str) -> str:
        return path("v1", "snapshots", self._client.tenant_id, leaderboard_id)

    def _snapshot(self, leaderboard_id: str, taken_at_us: int) -> str:
        return f"{self._snapshots(leaderboard_id)}/{encode_segment(snapshot_time_text(taken_at_us))}"
