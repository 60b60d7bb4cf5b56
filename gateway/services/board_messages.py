"""Answers of LeaderboardService as bytes: made once when fetched, then only put together.

Serialised messages that are joined are merged when read, so an answer is its cached part followed by its freshness.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from gateway.actions.boards.read_values import ReadAnswer, Source
from gateway.core.wire import Neighbors, Page, RankAnswer, ScoreAnswer, SnapshotInfo
from gateway.errors import GatewayError
from gateway.services.convert import timestamp, timestamp_us
from gateway.services.status import status_of
from gateway.services.structs import dict_to_struct
from gateway.streams.subscriber import Delivery, Resync
from gateway.v1 import common_pb2, leaderboards_pb2

_SOURCES = {
    Source.LIVE: common_pb2.FRESHNESS_SOURCE_LIVE,
    Source.CACHE: common_pb2.FRESHNESS_SOURCE_CACHE,
    Source.STALE: common_pb2.FRESHNESS_SOURCE_STALE,
    Source.SOCKET: common_pb2.FRESHNESS_SOURCE_SOCKET,
}
_RESYNCS = {
    Resync.SUBSCRIBED: leaderboards_pb2.RESYNC_REASON_SUBSCRIBED,
    Resync.CUT: leaderboards_pb2.RESYNC_REASON_CONNECTION_LOST,
    Resync.SILENT: leaderboards_pb2.RESYNC_REASON_SILENCE,
    Resync.UNREADABLE: leaderboards_pb2.RESYNC_REASON_UNREADABLE,
}
_LENGTH_DELIMITED = 2


class Fresh(Protocol):
    """A message class with a freshness."""

    def __call__(self, *, freshness: common_pb2.Freshness) -> Message: ...


class _Tail:
    """Makes the end of answers of one class, their freshness. It refills one message, because a new one is slow."""

    __slots__ = ("_age", "_freshness", "_message")

    def __init__(self, response: Fresh) -> None:
        freshness = common_pb2.Freshness(age=Duration())
        self._message = response(freshness=freshness)
        self._freshness: common_pb2.Freshness = self._message.freshness  # type: ignore[attr-defined]
        self._age = self._freshness.age

    def of(self, source: Source, age_s: float) -> bytes:
        """Return it serialised."""
        microseconds = int(age_s * 1_000_000) + 1  # never less than it is
        self._freshness.source = _SOURCES[source]
        self._age.seconds, rest = divmod(microseconds, 1_000_000)
        self._age.nanos = rest * 1000
        return self._message.SerializeToString()


_TAILS: dict[Fresh, _Tail] = {}


class BoardMessages:
    """Makes the serialised answers, freshness left out."""

    def page(self, page: Page, next_page_token: str) -> bytes:
        """Return a GetLeaderboardResponse."""
        return leaderboards_pb2.GetLeaderboardResponse(
            leaderboard=_board(page), next_page_token=next_page_token
        ).SerializeToString()

    def neighbors(self, neighbors: Neighbors) -> bytes:
        """Return a GetUserNeighborsResponse."""
        return leaderboards_pb2.GetUserNeighborsResponse(
            ranked=neighbors.ranked, leaderboard=_board(neighbors.page)
        ).SerializeToString()

    def rank(self, answer: RankAnswer) -> bytes:
        """Return a GetUserRankResponse."""
        return leaderboards_pb2.GetUserRankResponse(
            ranked=answer.ranked, rank=answer.rank or 0, score=answer.score
        ).SerializeToString()

    def score(self, answer: ScoreAnswer) -> bytes:
        """Return a GetUserScoreResponse."""
        return leaderboards_pb2.GetUserScoreResponse(
            ranked=answer.ranked, rank=answer.rank, score=answer.score or 0.0
        ).SerializeToString()

    def snapshots(self, snapshots: Sequence[SnapshotInfo], next_page_token: str) -> bytes:
        """Return a ListSnapshotsResponse."""
        message = leaderboards_pb2.ListSnapshotsResponse(next_page_token=next_page_token)
        for snapshot in snapshots:
            message.snapshots.add(
                snapshot_time=timestamp_us(snapshot.taken_at_us),
                window_key=snapshot.window_key,
                total_entries=snapshot.total,
                extra=dict_to_struct(snapshot.extra) if snapshot.extra else None,
            )
        return message.SerializeToString()

    def snapshot_page(self, page: Page, next_page_token: str) -> bytes:
        """Return a GetSnapshotResponse."""
        return leaderboards_pb2.GetSnapshotResponse(
            leaderboard=_board(page), next_page_token=next_page_token
        ).SerializeToString()

    def snapshot_user(self, answer: RankAnswer) -> bytes:
        """Return a GetUserSnapshotResponse."""
        return leaderboards_pb2.GetUserSnapshotResponse(
            ranked=answer.ranked, rank=answer.rank, score=answer.score if answer.ranked else None
        ).SerializeToString()

    def watched(self, page: Page, epoch: str, sequence: int, received_at: float) -> bytes:
        """Return a WatchLeaderboardResponse as all watchers share it. `received_at`: Unix seconds."""
        return leaderboards_pb2.WatchLeaderboardResponse(
            leaderboard=_board(page), epoch=epoch, sequence=sequence, receive_time=timestamp(received_at)
        ).SerializeToString()


def delivered(delivery: Delivery) -> bytes:
    """Return a WatchLeaderboardResponse for one watcher: the shared bytes, then the watcher's own fields, if any."""
    if not delivery.skipped and delivery.resync is None:
        return delivery.update.payload
    own = leaderboards_pb2.WatchLeaderboardResponse(skipped=delivery.skipped)
    if delivery.resync is not None:
        own.resync_reason = _RESYNCS[delivery.resync]
    return delivery.update.payload + own.SerializeToString()


def with_freshness(answer: ReadAnswer, response: Fresh) -> bytes:
    """Return the whole answer, a serialised `response`."""
    tail = _TAILS.get(response)
    if tail is None:
        tail = _TAILS[response] = _Tail(response)
    return answer.payload + tail.of(answer.source, answer.age_s)


def batch_of(results: Sequence[bytes | GatewayError]) -> bytes:
    """Return a BatchGet...Response: field 1 repeats the results, of which field 1 is an answer and field 2 an error."""
    parts: list[bytes] = []
    for result in results:
        if isinstance(result, GatewayError):
            parts.append(_field(1, _field(2, status_of(result).SerializeToString())))
        else:
            parts.append(_field(1, _field(1, result)))
    return b"".join(parts)


def _field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field of a serialised message. `number` below 16."""
    length, tail = len(content), bytearray([number << 3 | _LENGTH_DELIMITED])
    while length >= 0x80:
        tail.append(length & 0x7F | 0x80)
        length >>= 7
    tail.append(length)
    return bytes(tail) + content


def _board(page: Page) -> leaderboards_pb2.Leaderboard:
    board = leaderboards_pb2.Leaderboard(window_key=page.window_key)
    for entry in page.entries:
        board.entries.add(
            rank=entry.rank,
            user_id=entry.user_id,
            score=entry.score,
            extra=dict_to_struct(entry.extra) if entry.extra else None,
        )
    return board
