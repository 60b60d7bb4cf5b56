"""Commits of the queue whose answer is lost: nothing is sent in doubt, doubled or forgotten for it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.errors import Effect, StoreUnavailable
from gateway.phoenix.gamification.pending_event import Failed
from gateway.store.database import T, Work
from gateway.store.sqlite import SqliteDatabase
from tests.actions.events.gated_phoenix import CLOCK, GatedPhoenix, call, event, until
from tests.outbox.durable_gateway import DurableGateway

eventually = functools.partial(until, within_s=30.0)


class ForgetfulDatabase(SqliteDatabase):
    """The real one. `forgets`: whether the answer of the next commit is lost; `is_away`: whether there is one."""

    def __init__(
        self, path: Path, forgets: Callable[[], bool] = lambda: False, is_away: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__(path, CLOCK)
        self._forgets = forgets
        self._is_away = is_away

    async def write(self, work: Work[T], limit_s: float, *, exclusive: bool = False) -> T:
        if self._is_away():
            raise StoreUnavailable
        lost = self._forgets()
        result = await super().write(work, limit_s, exclusive=exclusive)
        if lost:
            raise StoreUnavailable
        return result


@pytest.mark.parametrize("lost", range(1, 9))
async def test_whichever_answer_is_lost_each_event_is_delivered_once(tmp_path: Path, lost: int) -> None:
    """The n-th commit's: of taking in (the caller asks again under the ids), of a lease, of a settlement."""
    count = 0

    def forgets() -> bool:
        nonlocal count
        count += 1
        return count == lost

    phoenix = GatedPhoenix()
    path = tmp_path / "data" / "evidence.sqlite3"
    gateway = DurableGateway(path, phoenix, bulk=None, database=ForgetfulDatabase(path, forgets=forgets))
    gateway.start()
    wanted = [event(f"e{n}", f"u{n % 2}") for n in range(4)]
    for _ in range(20):
        results = await gateway.submit.many("", wanted, set(range(4)), call(30.0), durable=True)
        if not any(isinstance(result, Failed) for result in results):
            break
    async with asyncio.timeout(30):
        while await gateway.waiting():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
    assert [] == await gateway.dead_letters()
    assert ["e0", "e1", "e2", "e3"] == sorted(phoenix.ids)
    await gateway.stop()


async def test_a_store_that_is_away_for_a_while_costs_nothing(tmp_path: Path) -> None:
    """What was sent is written down when it is back, and not sent again."""
    away = False
    path = tmp_path / "data" / "evidence.sqlite3"
    phoenix = GatedPhoenix()
    phoenix.is_open = False
    gateway = DurableGateway(path, phoenix, bulk=None, database=ForgetfulDatabase(path, is_away=lambda: away))
    gateway.start()
    await gateway.submit.many("", [event("a1"), event("a2")], {0, 1}, call(30.0), durable=True)
    await eventually(lambda: phoenix.ids == ["a1"])
    away = True
    phoenix.let_go()
    await asyncio.sleep(0.2)
    assert ["a1"] == phoenix.ids
    away = False
    await eventually(lambda: phoenix.ids == ["a1", "a2"])
    await eventually(lambda: gateway.counts["delivered"] == 2)
    assert [] == await gateway.dead_letters()
    await gateway.stop()


@pytest.mark.parametrize(("is_id_given", "reason"), [(True, "STORE_UNAVAILABLE"), (False, "OUTCOME_UNKNOWN")])
async def test_a_lost_commit_is_unavailable_only_where_a_repeat_is_safe(
    tmp_path: Path, is_id_given: bool, reason: str
) -> None:
    """The store knows the caller's id; a client that repeats an event without one would have it counted twice."""
    lost = iter([False, True])
    path = tmp_path / "data" / "evidence.sqlite3"
    phoenix = GatedPhoenix()
    database = ForgetfulDatabase(path, forgets=lambda: next(lost, False))
    gateway = DurableGateway(path, phoenix, bulk=None, database=database)
    gateway.start(delivers=False)
    await gateway.submit.many("", [event("before")], {0}, call(30.0), durable=True)
    given = {0} if is_id_given else frozenset[int]()
    (result,) = await gateway.submit.many("", [event("e")], given, call(30.0), durable=True)
    assert isinstance(result, Failed)
    assert reason == result.error.reason
    await gateway.stop()


async def test_a_store_that_cannot_be_reached_is_unavailable_for_every_event(tmp_path: Path) -> None:
    """Certainly nothing is committed."""
    path = tmp_path / "a-file"
    path.write_text("no folder")
    gateway = DurableGateway(path / "evidence.sqlite3", GatedPhoenix(), bulk=None)
    gateway.start(delivers=False)
    (result,) = await gateway.submit.many("", [event("e")], frozenset(), call(5.0), durable=True)
    assert isinstance(result, Failed)
    assert ("STORE_UNAVAILABLE", Effect.NONE) == (result.error.reason, result.error.effect)
    await gateway.stop()
