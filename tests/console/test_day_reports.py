"""Days are read in the background: short ones at once, long ones with their progress, none without an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from gateway.console import day_reports
from gateway.console.calls import Refused
from gateway.console.day_reports import DayReport, DayReports, Key
from gateway.core.rights import Grant
from gateway.core.types import Environment, OperatorCode
from gateway.v1 import common_pb2, wallet_pb2
from tests.manual_clock import ManualClock

START = datetime(2026, 3, 1, tzinfo=UTC)
Part = wallet_pb2.ExportWalletEvidenceResponse


def key(caller: str = "finance") -> Key:
    return Grant(caller=caller, methods=frozenset()), (OperatorCode("op"), Environment.PROD), START


def move(hour: int) -> Part:
    """A part with one credit of 2.50, received at this hour."""
    one = wallet_pb2.WalletEvidence(
        operator_code="op", environment=common_pb2.PHOENIX_ENVIRONMENT_PROD, operation_id=f"id-{hour}", attempt=1
    )
    one.operation.operation, one.operation.currency_code, one.operation.amount.amount = "credit_cash", "EUR", "2.50"
    one.response.status = 200
    one.receive_time.FromDatetime(START + timedelta(hours=hour))
    return Part(evidence=[one])


class Export:
    """A stream of two parts; the second comes when it is let. `reads`: how often it was begun."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.waits = asyncio.Event()
        self.reads = self.closed = 0
        self.refused: Refused | None = None

    async def __call__(self) -> AsyncGenerator[Part]:
        self.reads += 1
        try:
            yield move(12)
            self.waits.set()
            await self.go.wait()
            if self.refused is not None:
                raise self.refused
            yield move(18)
        finally:
            self.closed += 1


SOON = 0.05
"""For days that are not read to their end meanwhile."""


async def ask(days: DayReports, export: Export, caller: str = "finance", within_s: float = 5.0) -> DayReport:
    return await days.of(key(caller), export, within_s=within_s)


async def test_a_short_day_is_shown_at_once_and_read_again_next_time() -> None:
    """What a person has just settled is in the next table."""
    days, export = DayReports(ManualClock()), Export()
    export.go.set()
    for reads in (1, 2):
        day = await ask(days, export)
        assert day.report is not None
        assert [(line.moved, line.total) for line in day.report.lines] == [(2, Decimal("5.00"))]
        assert export.reads == reads


async def test_a_long_day_tells_its_progress_and_is_kept_for_a_minute() -> None:
    """It is read once, however often its page is loaded meanwhile; loading it again keeps no old table alive."""
    clock = ManualClock()
    days, export = DayReports(clock), Export()
    for _ in range(3):
        day = await ask(days, export, within_s=SOON)
        await asyncio.wait_for(export.waits.wait(), 5)
        assert (day.report, day.moves, day.share) == (None, 1, 0.5)
    export.go.set()
    for _ in range(2):
        day = await ask(days, export)
        assert day.report is not None
        assert day.report.moves == 2
        assert export.reads == 1
    clock.advance(day_reports.KEPT_S - 1)
    await ask(days, export)
    assert export.reads == 1
    clock.advance(2)
    assert (await ask(days, export)).report is not None
    assert export.reads == 2


async def test_a_day_that_nobody_asks_for_is_read_no_further() -> None:
    """Its stream is closed; whoever comes back is told, and the next load begins it again."""
    clock = ManualClock()
    days, export = DayReports(clock), Export()
    day = await ask(days, export, within_s=SOON)
    await asyncio.wait_for(export.waits.wait(), 5)
    clock.advance(day_reports.ABANDONED_AFTER_S + 1)
    export.go.set()
    await asyncio.wait_for(day.task, 5)
    assert export.closed == 1
    with pytest.raises(Refused, match="Nobody asked"):
        await ask(days, export)
    assert (await ask(days, export)).report is not None


async def test_a_refusal_is_told_and_not_kept() -> None:
    days, export = DayReports(ManualClock()), Export()
    export.refused = Refused("STORE_UNAVAILABLE", "The store does not answer.", "request")
    export.go.set()
    for reads in (1, 2):
        with pytest.raises(Refused, match="does not answer"):
            await ask(days, export)
        assert export.reads == reads


async def test_another_policy_shows_nothing_that_was_read_under_the_old_one() -> None:
    days, export = DayReports(ManualClock()), Export()
    caller, scope, start = key()
    await days.of((caller, scope, start), export, within_s=SOON)
    await days.of((replace(caller, methods=frozenset({"/other"})), scope, start), export, within_s=SOON)
    assert export.reads == 2
    await days.stop()


async def test_days_are_bounded_and_each_caller_has_their_own() -> None:
    days, export = DayReports(ManualClock()), Export()
    for number in range(day_reports.MOST):
        await ask(days, export, f"caller-{number}", within_s=SOON)
    assert export.reads == day_reports.MOST
    with pytest.raises(Refused, match="Try again in a minute"):
        await ask(days, export, "one-more")
    await days.stop()
    assert export.closed == day_reports.MOST
