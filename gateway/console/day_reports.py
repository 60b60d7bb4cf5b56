"""Reconciles days in the background, so that no page waits for a day of a million moves.

A day that is read within `ANSWERS_WITHIN_S` is shown at once and not kept. A longer one goes on while its page shows
how far it is, is kept for a minute, and stops when nobody asks for it any more. Belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from gateway.console.calls import Refused
from gateway.core.rights import Grant, OperatorScope
from gateway.evidence.report import Reconciliation, Report
from gateway.resilience.clock import Clock
from gateway.resilience.supervision import run_job
from gateway.services.exported_evidence import move_of
from gateway.v1 import wallet_pb2

ANSWERS_WITHIN_S = 0.1
READ_WITHIN_S = 600.0
KEPT_S = 60.0
ABANDONED_AFTER_S = 30.0
MOST = 4
"""Days that are read or kept at a time. Each holds a few numbers for each of its orders."""

Key = tuple[Grant, OperatorScope, datetime]
"""Whoever looks, the operator environment and the day. Another policy is another grant: nothing read under the old one
is shown."""
Parts = Callable[[], AsyncGenerator[wallet_pb2.ExportWalletEvidenceResponse]]


@dataclass(slots=True, kw_only=True)
class DayReport:
    """One day. `report` None: it is still read; then `share` tells how much of the day's time, 0 to 1."""

    share: float = 0.0
    moves: int = 0
    report: Report | None = None
    settled: datetime | None = None
    read_at: datetime | None = None
    refused: Refused | None = None
    asked_at: float = 0.0
    ended_at: float = 0.0
    task: asyncio.Task[None] = field(init=False, repr=False)


class DayReports:
    """Reads days, a few at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._days: dict[Key, DayReport] = {}

    async def of(self, key: Key, parts: Parts, within_s: float = ANSWERS_WITHIN_S) -> DayReport:
        """Return the day as far as it is read after `within_s`. Raises: Refused."""
        began = self._clock.monotonic()
        for other, one in list(self._days.items()):
            if one.task.done() and began - one.ended_at > KEPT_S:
                del self._days[other]
        is_new = key not in self._days
        if is_new:
            if len(self._days) >= MOST:
                raise Refused("OVERLOADED", f"{MOST} days are being read or were just read. Try again in a minute.", "")
            self._days[key] = DayReport()
            self._days[key].task = run_job("reconcile-day", self._read(self._days[key], key, parts))
        day = self._days[key]
        day.asked_at = began
        await asyncio.wait((day.task,), timeout=within_s)
        if day.task.done() and (is_new or day.report is None):
            self._days.pop(key, None)
        if day.refused is not None:
            raise day.refused
        if day.task.done() and day.report is None:
            raise Refused("INTERNAL", "The day could not be read. The log has the cause.", "")
        return day

    async def stop(self) -> None:
        """Stop what is still read."""
        for day in self._days.values():
            day.task.cancel()
        await asyncio.gather(*(day.task for day in self._days.values()), return_exceptions=True)
        self._days.clear()

    async def _read(self, day: DayReport, key: Key, parts: Parts) -> None:
        try:
            day.report = await self._reconcile(day, key[2], parts)
        except Refused as refused:
            day.refused = refused
        finally:
            day.read_at, day.ended_at = datetime.now(UTC), self._clock.monotonic()

    async def _reconcile(self, day: DayReport, start: datetime, parts: Parts) -> Report:
        reconciliation = Reconciliation()
        length = min(timedelta(days=1), max(datetime.now(UTC) - start, timedelta(seconds=1)))
        async with aclosing(parts()) as all_parts:
            async for part in all_parts:
                for evidence in part.evidence:
                    reconciliation.add(move_of(evidence))
                day.moves += len(part.evidence)
                if part.evidence:
                    at = part.evidence[-1].receive_time.ToDatetime(tzinfo=UTC)
                    day.share = max(0.0, min((at - start) / length, 1.0))
                if part.HasField("settle_time"):
                    day.settled = part.settle_time.ToDatetime(tzinfo=UTC)
                if self._clock.monotonic() - day.asked_at > ABANDONED_AFTER_S:
                    raise Refused("CANCELLED", "Nobody asked for this day for a while. Load the page again.", "")
                await asyncio.sleep(0)  # calls of others go first
        return reconciliation.report()
