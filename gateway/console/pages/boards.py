"""*Boards*: a leaderboard that reloads itself, its age and source, and who gained most since it is watched here."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway.console.visit import Page, Visit
from gateway.v1 import common_pb2, leaderboards_pb2

SHOWN = 20
MOVERS = 5
_BASE_AGE = timedelta(minutes=10)
_BASES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The scores with which later ones are compared."""

    at: datetime
    window: str
    scores: dict[str, float]


class _Bases:
    """The first scores seen of each board that is watched; after 10 minutes they are taken again."""

    def __init__(self) -> None:
        self._bases: OrderedDict[tuple[str, str], Base] = OrderedDict()

    def of(self, key: tuple[str, str], board: leaderboards_pb2.Leaderboard, now: datetime) -> Base:
        found = self._bases.get(key)
        if found is None or found.window != board.window_key or now - found.at > _BASE_AGE:
            scores = {entry.user_id: entry.score for entry in board.entries}
            found = self._bases[key] = Base(at=now, window=board.window_key, scores=scores)
            if len(self._bases) > _BASES:
                self._bases.popitem(last=False)
        return found


_bases = _Bases()


async def show(visit: Visit) -> Page:
    """Show the form, and the board where one is named."""
    return Page(template="boards.html", values=await _values(visit))


async def entries(visit: Visit) -> Page:
    """Show the board alone: what the page replaces by itself."""
    return Page(template="board_entries.html", values=await _values(visit))


async def _values(visit: Visit) -> dict[str, Any]:
    tenant = visit.field("tenant", visit.tenants[0] if visit.tenants else "")
    board_id = visit.field("board")
    values: dict[str, Any] = {"tenant": tenant, "board_id": board_id, "board": None}
    if not board_id:
        return values
    request = leaderboards_pb2.GetLeaderboardRequest(tenant_id=tenant, leaderboard_id=board_id, page_size=SHOWN)
    answer = await visit.calls(
        visit.visitor, "LeaderboardService/GetLeaderboard", request, leaderboards_pb2.GetLeaderboardResponse
    )
    base = _bases.of((tenant, board_id), answer.leaderboard, visit.now)
    gains = [
        (entry.user_id, entry.score - base.scores[entry.user_id])
        for entry in answer.leaderboard.entries
        if entry.user_id in base.scores
    ]
    movers = sorted((gain for gain in gains if gain[1]), key=lambda gain: -abs(gain[1]))[:MOVERS]
    source = common_pb2.FreshnessSource.Name(answer.freshness.source)
    return values | {
        "board": answer.leaderboard,
        "source": source.removeprefix("FRESHNESS_SOURCE_").lower(),
        "age_s": answer.freshness.age.ToTimedelta().total_seconds(),
        "movers": movers,
        "since": base.at,
    }
