"""Comparator N's leaderboard reads: one httpx request to Phoenix for each call."""

from __future__ import annotations

import os
from typing import Any

import grpc
import httpx

from gateway.v1 import common_pb2, leaderboards_pb2, leaderboards_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class Leaderboards(leaderboards_pb2_grpc.LeaderboardServiceServicer):
    """Reads pages and ranks."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient()
        self._boards = f"{os.environ['QUERY_BASE_URL']}/v1/leaderboards/{os.environ['TENANT_ID']}"
        self._headers = {"X-API-Key": os.environ["ADMIN_API_KEY"]}

    async def GetLeaderboard(  # noqa: N802 - RPC name
        self, request: leaderboards_pb2.GetLeaderboardRequest, context: Context
    ) -> leaderboards_pb2.GetLeaderboardResponse:
        """Read a page."""
        size = request.page_size if request.HasField("page_size") else 100
        found = await self._read(f"/{request.leaderboard_id}?limit={size}&offset=0", context)
        answer = leaderboards_pb2.GetLeaderboardResponse()
        answer.leaderboard.window_key = found["window_key"]
        for entry in found["entries"]:
            answer.leaderboard.entries.add(rank=entry["rank"], user_id=entry["user_id"], score=entry["score"])
        answer.freshness.source = common_pb2.FRESHNESS_SOURCE_LIVE
        return answer

    async def GetUserRank(  # noqa: N802 - RPC name
        self, request: leaderboards_pb2.GetUserRankRequest, context: Context
    ) -> leaderboards_pb2.GetUserRankResponse:
        """Read a rank."""
        found = await self._read(f"/{request.leaderboard_id}/rank/{request.user_id}", context)
        answer = leaderboards_pb2.GetUserRankResponse(ranked=True, rank=found["rank"], score=found["score"])
        answer.freshness.source = common_pb2.FRESHNESS_SOURCE_LIVE
        return answer

    async def _read(self, path: str, context: Context) -> Any:
        answer = await self._client.get(self._boards + path, headers=self._headers)
        if answer.status_code != 200:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"Phoenix answered {answer.status_code}")
        return answer.json()
