"""The calls of the last hour by method, in steps of 30 s, for plots; Prometheus keeps what is older.

A step holds the calls that ended in it, how many failed, and how long they took, by the buckets of the histogram. Steps
are numbered by the time of day, so that those of several workers add up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gateway.telemetry.metric_names import CALL_BUCKETS

STEP_S = 30
STEPS = 120

Totals = Mapping[str, tuple[int, int, Sequence[int]]]
"""By method since the start: calls that ended, those that failed, and the calls by bucket."""


class CallHistory:
    """The steps of this process."""

    def __init__(
        self, totals: Callable[[], Totals], gauges: Callable[[], Mapping[str, float]], time_s: Callable[[], float]
    ) -> None:
        """Args: `gauges`: values of now by name; `time_s`: the time of day."""
        self._totals = totals
        self._gauges = gauges
        self._time_s = time_s
        self._before: Totals = {}
        self._steps: deque[dict[str, Any]] = deque(maxlen=STEPS)

    async def run(self) -> None:
        """Add a step every 30 s, until cancelled."""
        self._before = dict(self._totals())
        while True:
            await asyncio.sleep(STEP_S - self._time_s() % STEP_S)
            self.add_step()

    def add_step(self) -> None:
        """Add what happened since the last step."""
        totals = {method: (ended, failed, tuple(counts)) for method, (ended, failed, counts) in self._totals().items()}
        calls = {}
        for method, (ended, failed, counts) in totals.items():
            before = self._before.get(method, (0, 0, (0,) * len(counts)))
            if ended > before[0]:
                calls[method] = [
                    ended - before[0],
                    failed - before[1],
                    [new - old for new, old in zip(counts, before[2], strict=True)],
                ]
        self._before = totals
        number = round(self._time_s() / STEP_S)
        self._steps.append({"number": number, "calls": calls, "gauges": dict(self._gauges())})

    def report(self) -> dict[str, Any]:
        """Return the steps, the oldest first, as JSON."""
        return {"steps": list(self._steps)}


def added(reports: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps of several workers as one list. Gauges are of what they share: the largest counts."""
    found: dict[int, dict[str, Any]] = {}
    for report in reports:
        for step in report["steps"]:
            into = found.setdefault(step["number"], {"number": step["number"], "calls": {}, "gauges": {}})
            for method, (ended, failed, counts) in step["calls"].items():
                old = into["calls"].get(method, [0, 0, [0] * len(counts)])
                into["calls"][method] = [
                    old[0] + ended,
                    old[1] + failed,
                    [one + other for one, other in zip(old[2], counts, strict=True)],
                ]
            for name, value in step["gauges"].items():
                into["gauges"][name] = max(value, into["gauges"].get(name, value))
    return [found[number] for number in sorted(found)][-STEPS:]


def quantile_s(share: float, counts: Sequence[int]) -> float | None:
    """Return the time within which this share of the calls ended, as Prometheus estimates it; None without calls."""
    total = sum(counts)
    if not total:
        return None
    wanted, seen, lower = share * total, 0, 0.0
    for count, upper in zip(counts, CALL_BUCKETS, strict=False):
        if count and seen + count >= wanted:
            return lower + (upper - lower) * (wanted - seen) / count
        seen, lower = seen + count, upper
    return lower
