"""The last hour in steps of 30 s: what each holds, how those of workers add up, and what a plot reads from it."""

from __future__ import annotations

from typing import Any

from gateway.telemetry.call_history import STEP_S, STEPS, CallHistory, added, quantile_s
from gateway.telemetry.metric_names import CALL_BUCKETS

MINT, BOARD = "/phoenix.gateway.v1.TokenService/MintLaunchJWT", "/phoenix.gateway.v1.LeaderboardService/GetLeaderboard"


class Process:
    """The counters of one process, and a clock that is set by hand."""

    def __init__(self, number: int = 1000) -> None:
        self.time_s = float(number * STEP_S)
        self.waiting = 0.0
        self.counts: dict[str, tuple[int, int, list[int]]] = {}
        self.history = CallHistory(lambda: self.counts, lambda: {"queue_events": self.waiting}, lambda: self.time_s)

    def call(self, method: str, *, failed: bool = False, bucket: int = 0) -> None:
        ended, failures, counts = self.counts.get(method, (0, 0, [0] * (len(CALL_BUCKETS) + 1)))
        counts[bucket] += 1
        self.counts[method] = (ended + 1, failures + failed, counts)

    def step(self) -> None:
        self.time_s += STEP_S
        self.history.add_step()


def test_a_step_holds_what_ended_in_it() -> None:
    """Not what ended before; a method without a call in it is absent."""
    process = Process()
    process.call(MINT)
    process.call(BOARD)
    process.step()
    process.call(MINT, failed=True, bucket=3)
    process.waiting = 7
    process.step()
    first, second = process.history.report()["steps"]
    assert {name: cell[:2] for name, cell in first["calls"].items()} == {MINT: [1, 0], BOARD: [1, 0]}
    assert second["calls"] == {MINT: [1, 1, [0, 0, 0, 1, *[0] * (len(CALL_BUCKETS) - 3)]]}
    assert (first["gauges"], second["gauges"]) == ({"queue_events": 0.0}, {"queue_events": 7})
    assert second["number"] == first["number"] + 1


def test_only_the_last_hour_is_kept() -> None:
    process = Process()
    for _ in range(STEPS + 5):
        process.step()
    numbers = [step["number"] for step in process.history.report()["steps"]]
    assert numbers == list(range(1006, 1006 + STEPS))


def test_steps_of_workers_add_up_by_the_time_of_day() -> None:
    """Also when one began later: its first step is not added to the first of the other."""
    one, late = Process(1000), Process(1001)
    for _ in range(2):
        one.call(MINT)
        one.waiting = 3
        one.step()
    late.call(MINT, failed=True)
    late.call(BOARD)
    late.waiting = 5
    late.step()
    steps = added([one.history.report(), late.history.report()])
    assert [step["number"] for step in steps] == [1001, 1002]
    assert steps[0]["calls"][MINT][:2] == [1, 0]
    assert steps[1]["calls"][MINT][:2] == [2, 1]
    assert steps[1]["calls"][MINT][2][0] == 2
    assert steps[1]["calls"][BOARD][:2] == [1, 0]
    assert [step["gauges"] for step in steps] == [{"queue_events": 3}, {"queue_events": 5}]


def test_adding_changes_no_report() -> None:
    """They are asked for again at the next visit."""
    one = Process()
    one.call(MINT)
    one.step()
    before = repr(one.history.report())
    added([one.history.report(), one.history.report()])
    assert repr(one.history.report()) == before


def test_a_quantile_is_estimated_within_its_bucket() -> None:
    """As histogram_quantile does: evenly between the bounds; the last bound where a call was slower."""
    counts: list[Any] = [0] * (len(CALL_BUCKETS) + 1)
    assert quantile_s(0.5, counts) is None
    counts[1] = 4
    lower, upper = CALL_BUCKETS[0], CALL_BUCKETS[1]
    assert quantile_s(0.5, counts) == lower + (upper - lower) / 2
    counts[-1] = 100
    assert quantile_s(0.99, counts) == CALL_BUCKETS[-1]
