"""The leaderboard of the read cases: its data as Phoenix sends it, the requests, and the checks of the answers.

It has 100 entries, about 9 kB of protobuf.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Any

from bench.credentials import Credentials
from gateway.v1 import common_pb2, leaderboards_pb2

BOARD = "xp-weekly"
WINDOW = "2025-11-18T12"
ENTRIES = 100
_USERS = [f"player-{number:04}-{'x' * 58}" for number in range(ENTRIES)]
_numbers = count(1)


def entries(top_score: float = 1e9) -> list[dict[str, Any]]:
    """Return the entries as Phoenix sends them, with `top_score` for the first one."""
    scores = [top_score, *(float(10_000 - number) for number in range(1, ENTRIES))]
    return [
        {"rank": place, "user_id": user, "score": score}
        for place, (user, score) in enumerate(zip(_USERS, scores, strict=True), start=1)
    ]


def page_body() -> bytes:
    """Return the body of a page."""
    return json.dumps({"window_key": WINDOW, "total": ENTRIES, "entries": entries()}).encode()


def rank_body(user_id: str) -> bytes:
    """Return the body of a user's rank, which is the number in the user id."""
    rank = int(user_id.rpartition("-")[2])
    return json.dumps({"window_key": WINDOW, "user_id": user_id, "rank": rank, "score": 10.5}).encode()


def read_board(credentials: Credentials, number: int) -> list[bytes]:
    """Return one read of the board. All calls may be the same."""
    return [leaderboards_pb2.GetLeaderboardRequest(leaderboard_id=BOARD).SerializeToString()]


def read_ranks(credentials: Credentials, number: int) -> list[bytes]:
    """Return `number` reads of ranks, each of a user that no read asked for before."""
    return [
        leaderboards_pb2.GetUserRankRequest(leaderboard_id=BOARD, user_id=f"user-{next(_numbers)}").SerializeToString()
        for _ in range(number)
    ]


def whole_boards(credentials: Credentials, answers: Sequence[bytes]) -> Counter[str]:
    """Check that each answer is the whole board and not older than the cache allows."""
    faults: Counter[str] = Counter()
    for answer in answers:
        response = leaderboards_pb2.GetLeaderboardResponse.FromString(answer)
        board = response.leaderboard
        if board.window_key != WINDOW or [entry.user_id for entry in board.entries] != _USERS:
            faults["not the board"] += 1
        if board.entries[0].score != 1e9 or board.entries[99].rank != ENTRIES:
            faults["not the board's values"] += 1
        if response.freshness.source == common_pb2.FRESHNESS_SOURCE_UNSPECIFIED:
            faults["no freshness"] += 1
        elif response.freshness.age.ToNanoseconds() > 5_000_000_000:
            faults["older than the board's setting allows"] += 1
    return faults


def different_ranks(credentials: Credentials, answers: Sequence[bytes]) -> Counter[str]:
    """Check that each answer is a different rank and comes from Phoenix."""
    faults: Counter[str] = Counter()
    ranks: set[int] = set()
    for answer in answers:
        response = leaderboards_pb2.GetUserRankResponse.FromString(answer)
        if not response.ranked or response.score != 10.5:
            faults["not a rank"] += 1
        if response.freshness.source != common_pb2.FRESHNESS_SOURCE_LIVE:
            faults["not from Phoenix"] += 1
        ranks.add(response.rank)
    if len(ranks) != len(answers):
        faults["ranks mixed up"] += 1
    return faults
