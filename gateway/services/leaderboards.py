"""LeaderboardService: messages to reads and back. Answers leave as the bytes that the cache holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.actions.boards.read_leaderboard import PageRead, ReadLeaderboard, UserRead
from gateway.actions.boards.read_snapshots import EARLIEST_US, LATEST_US, ReadSnapshots, SnapshotRead
from gateway.actions.boards.read_values import ReadAnswer
from gateway.actions.boards.watch_leaderboard import Watch, WatchLeaderboard
from gateway.actions.shared.call import Call
from gateway.actions.shared.gather_bounded import gather_bounded
from gateway.core.answer_size import AnswerBudget
from gateway.errors import FieldFault, InvalidField
from gateway.services.board_messages import Fresh, batch_of, delivered, with_freshness
from gateway.services.convert import seconds, timestamp_to_us
from gateway.v1 import leaderboards_pb2 as boards_pb2

Validate = Callable[[Message], Sequence[FieldFault]]


class LeaderboardService:
    """Serves phoenix.gateway.v1.LeaderboardService. Every method returns its response serialised."""

    def __init__(
        self, read: ReadLeaderboard, snapshots: ReadSnapshots, watch: WatchLeaderboard, validate: Validate
    ) -> None:
        """Take the actions, and the contract's rules for items of a batch, which are refused one by one."""
        self._read = read
        self._snapshots = snapshots
        self._watch = watch
        self._validate = validate

    async def GetLeaderboard(self, request: boards_pb2.GetLeaderboardRequest, call: Call) -> bytes:
        """Return one page of a board."""
        answer = await self._read.page(_page_read(request, request.tenant_id), call)
        return _recorded(answer, boards_pb2.GetLeaderboardResponse, call)

    async def GetUserNeighbors(self, request: boards_pb2.GetUserNeighborsRequest, call: Call) -> bytes:
        """Return the entries around a user."""
        answer = await self._read.neighbors(
            _user_read(request, request.tenant_id), call, window_key=request.window_key, size=_size(request)
        )
        return _recorded(answer, boards_pb2.GetUserNeighborsResponse, call)

    async def GetUserRank(self, request: boards_pb2.GetUserRankRequest, call: Call) -> bytes:
        """Return one user's rank."""
        answer = await self._read.rank(_user_read(request, request.tenant_id), call)
        return _recorded(answer, boards_pb2.GetUserRankResponse, call)

    async def GetUserScore(self, request: boards_pb2.GetUserScoreRequest, call: Call) -> bytes:
        """Return one user's score."""
        answer = await self._read.score(_user_read(request, request.tenant_id), call)
        return _recorded(answer, boards_pb2.GetUserScoreResponse, call)

    async def BatchGetLeaderboards(self, request: boards_pb2.BatchGetLeaderboardsRequest, call: Call) -> bytes:
        """Return the pages of many boards, an error in place of each that fails."""

        budget = AnswerBudget(len(request.requests))

        async def one(item: boards_pb2.GetLeaderboardRequest) -> bytes:
            self._check_item(item, request.tenant_id)
            budget.check()
            answer = await self._read.page(_page_read(item, request.tenant_id or item.tenant_id), call)
            return budget.take(with_freshness(answer, boards_pb2.GetLeaderboardResponse))

        self._read.check_tenant(request.tenant_id, call)
        return batch_of(await gather_bounded(request.requests, one, request_id=call.request_id))

    async def BatchGetUserRanks(self, request: boards_pb2.BatchGetUserRanksRequest, call: Call) -> bytes:
        """Return many ranks, an error in place of each that fails."""

        budget = AnswerBudget(len(request.requests))

        async def one(item: boards_pb2.GetUserRankRequest) -> bytes:
            self._check_item(item, request.tenant_id)
            budget.check()
            answer = await self._read.rank(_user_read(item, request.tenant_id or item.tenant_id), call)
            return budget.take(with_freshness(answer, boards_pb2.GetUserRankResponse))

        self._read.check_tenant(request.tenant_id, call)
        return batch_of(await gather_bounded(request.requests, one, request_id=call.request_id))

    async def ListSnapshots(self, request: boards_pb2.ListSnapshotsRequest, call: Call) -> bytes:
        """Return which snapshots there are."""
        answer = await self._snapshots.listed(
            _snapshot_read(request),
            call,
            since_us=_microseconds(request.start_time, "start_time") if request.HasField("start_time") else None,
            until_us=_microseconds(request.end_time, "end_time") if request.HasField("end_time") else None,
            page_size=_size(request),
            page_token=request.page_token,
        )
        return _recorded(answer, boards_pb2.ListSnapshotsResponse, call)

    async def GetSnapshot(self, request: boards_pb2.GetSnapshotRequest, call: Call) -> bytes:
        """Return one page of a snapshot."""
        answer = await self._snapshots.page(
            _snapshot_read(request),
            call,
            taken_at_us=_microseconds(request.snapshot_time, "snapshot_time"),
            page_size=_size(request),
            page_token=request.page_token,
        )
        return _recorded(answer, boards_pb2.GetSnapshotResponse, call)

    async def GetUserSnapshot(self, request: boards_pb2.GetUserSnapshotRequest, call: Call) -> bytes:
        """Return one user's place in a snapshot."""
        taken_at_us = _microseconds(request.snapshot_time, "snapshot_time")
        answer = await self._snapshots.user(
            _snapshot_read(request), call, taken_at_us=taken_at_us, user_id=request.user_id
        )
        return _recorded(answer, boards_pb2.GetUserSnapshotResponse, call)

    async def WatchLeaderboard(self, request: boards_pb2.WatchLeaderboardRequest, call: Call) -> AsyncIterator[bytes]:
        """Send a board, then each of its changes."""
        watch = Watch(
            tenant_id=request.tenant_id,
            leaderboard_id=request.leaderboard_id,
            window_key=request.window_key,
            page_size=_size(request),
            top_n=request.filter.top_n if request.HasField("filter") else None,
        )
        async with aclosing(self._watch.watch(watch, call)) as deliveries:
            async for delivery in deliveries:
                yield delivered(delivery)

    def _check_item(self, item: boards_pb2.GetLeaderboardRequest | boards_pb2.GetUserRankRequest, tenant: str) -> None:
        """Raises: InvalidField, its paths relative to the item."""
        faults = list(self._validate(item))
        if item.tenant_id and tenant and item.tenant_id != tenant:
            faults.append(FieldFault(field="tenant_id", description="must be empty or the batch's"))
        if faults:
            raise InvalidField(faults)


_Sized = (
    boards_pb2.GetLeaderboardRequest
    | boards_pb2.GetUserNeighborsRequest
    | boards_pb2.ListSnapshotsRequest
    | boards_pb2.GetSnapshotRequest
    | boards_pb2.WatchLeaderboardRequest
)
_OfUser = boards_pb2.GetUserNeighborsRequest | boards_pb2.GetUserRankRequest | boards_pb2.GetUserScoreRequest
_OfSnapshot = boards_pb2.ListSnapshotsRequest | boards_pb2.GetSnapshotRequest | boards_pb2.GetUserSnapshotRequest


def _recorded(answer: ReadAnswer, response: Fresh, call: Call) -> bytes:
    """Return the response, and record where its value is from."""
    call.record.source = answer.source.text
    return with_freshness(answer, response)


def _page_read(request: boards_pb2.GetLeaderboardRequest, tenant_id: str) -> PageRead:
    return PageRead(
        tenant_id=tenant_id,
        leaderboard_id=request.leaderboard_id,
        window_key=request.window_key,
        page_size=_size(request),
        page_token=request.page_token,
        max_staleness_s=_staleness(request.max_staleness) if request.HasField("max_staleness") else None,
    )


def _user_read(request: _OfUser, tenant_id: str) -> UserRead:
    return UserRead(
        tenant_id=tenant_id,
        leaderboard_id=request.leaderboard_id,
        user_id=request.user_id,
        max_staleness_s=_staleness(request.max_staleness) if request.HasField("max_staleness") else None,
    )


def _snapshot_read(request: _OfSnapshot) -> SnapshotRead:
    return SnapshotRead(
        tenant_id=request.tenant_id,
        leaderboard_id=request.leaderboard_id,
        max_staleness_s=_staleness(request.max_staleness) if request.HasField("max_staleness") else None,
    )


def _size(request: _Sized) -> int | None:
    return request.page_size if request.HasField("page_size") else None


def _staleness(value: Duration) -> float:
    return max(0.0, seconds(value))


def _microseconds(value: Timestamp, field: str) -> int:
    at_us = timestamp_to_us(value)
    if not EARLIEST_US <= at_us <= LATEST_US:
        raise InvalidField([FieldFault(field=field, description="must be a time in the years 1 to 9999")])
    return at_us
