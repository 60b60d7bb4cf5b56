"""LeaderboardService: messages to reads and back."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from gateway.actions.call import Call
from gateway.actions.read_leaderboard import ReadLeaderboard
from gateway.services.structs import dict_to_struct
from gateway.v1 import common_pb2, leaderboards_pb2

_LIVE = common_pb2.Freshness(source=common_pb2.FRESHNESS_SOURCE_LIVE, age=Duration())


class LeaderboardService:
    """Serves phoenix.gateway.v1.LeaderboardService. Every read is a fresh one, so `max_staleness` always holds."""

    def __init__(self, read: ReadLeaderboard) -> None:
        self._read = read

    async def GetLeaderboard(
        self, request: leaderboards_pb2.GetLeaderboardRequest, call: Call
    ) -> leaderboards_pb2.GetLeaderboardResponse:
        """Return one page of a board."""
        answer = await self._read.page(
            tenant_id=request.tenant_id,
            leaderboard_id=request.leaderboard_id,
            window_key=request.window_key,
            page_size=request.page_size if request.HasField("page_size") else None,
            page_token=request.page_token,
            call=call,
        )
        board = leaderboards_pb2.Leaderboard(window_key=answer.page.window_key)
        for entry in answer.page.entries:
            board.entries.add(
                rank=entry.rank,
                user_id=entry.user_id,
                score=entry.score,
                extra=dict_to_struct(entry.extra) if entry.extra else None,
            )
        return leaderboards_pb2.GetLeaderboardResponse(
            leaderboard=board, next_page_token=answer.next_page_token, freshness=_LIVE
        )

    async def GetUserRank(
        self, request: leaderboards_pb2.GetUserRankRequest, call: Call
    ) -> leaderboards_pb2.GetUserRankResponse:
        """Return one user's rank."""
        answer = await self._read.rank(
            tenant_id=request.tenant_id, leaderboard_id=request.leaderboard_id, user_id=request.user_id, call=call
        )
        return leaderboards_pb2.GetUserRankResponse(
            ranked=answer.ranked, rank=answer.rank or 0, score=answer.score, freshness=_LIVE
        )

    async def GetUserScore(
        self, request: leaderboards_pb2.GetUserScoreRequest, call: Call
    ) -> leaderboards_pb2.GetUserScoreResponse:
        """Return one user's score."""
        answer = await self._read.score(
            tenant_id=request.tenant_id, leaderboard_id=request.leaderboard_id, user_id=request.user_id, call=call
        )
        return leaderboards_pb2.GetUserScoreResponse(
            ranked=answer.ranked, rank=answer.rank, score=answer.score or 0.0, freshness=_LIVE
        )
