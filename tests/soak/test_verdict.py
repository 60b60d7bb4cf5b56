"""Each check of a soak fails on what it is for, and on nothing to judge."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.event_load import Report
from tests.soak import verdict
from tests.soak.load import CREATE, NOT_FOUND, UNARY, Ended
from tests.soak.verdict import Sample, Window

GOOD = [Ended(at=at / 10, method=UNARY[at % len(UNARY)], took_s=0.002 + at % 7 / 1000, reason="") for at in range(2000)]
FAULT = Window(name="fault", began_at=50.0, over_at=60.0)
ERROR = {"level": "error", "event": "not available", "error_type": "PhoenixUnavailable"}


def line(**fields: Any) -> str:
    return json.dumps(fields)


def samples(memory: Sequence[float], descriptors: Sequence[int]) -> list[Sample]:
    return [
        Sample(at=float(at), pid=1, memory_mib=mib, descriptors=count)
        for at, (mib, count) in enumerate(zip(memory, descriptors, strict=True))
    ]


def test_what_is_good_passes() -> None:
    """Otherwise the failures below would show nothing."""
    flat = samples([100.0] * 40, [50] * 40)
    holding = [
        verdict.failures(GOOD), verdict.methods(GOOD), verdict.own_faults(GOOD, [FAULT]), verdict.p99(GOOD, [FAULT]),
        verdict.watchers([20.0, 100.0], [FAULT], 0.0, 200.0), verdict.memory(flat), verdict.descriptors(flat),
        verdict.logs([line(**ERROR)]),
    ]  # fmt: skip
    assert [] == [check for check in holding if not check.holds]


def test_nothing_to_judge_is_no_success() -> None:
    """A load that never ran, or a sampler that died, is seen."""
    empty = [
        verdict.failures([]), verdict.methods([]), verdict.own_faults([], [FAULT]), verdict.p99([], [FAULT]),
        verdict.watchers([], [], 0.0, 0.0), verdict.memory([]), verdict.descriptors([]), verdict.logs(["", ""]),
    ]  # fmt: skip
    assert [] == [check for check in empty if check.holds]


@pytest.mark.parametrize(
    "reason", ["PHOENIX_UNAVAILABLE", "NOT_ALLOWED", "PHOENIX_NOT_FOUND", "PHOENIX_CONFLICT", "UNAVAILABLE"]
)
def test_a_call_that_fails_between_faults(reason: str) -> None:
    """Of a method whose request a healthy gateway answers."""
    failed = replace(GOOD[0], reason=reason)
    assert GOOD[0].method not in NOT_FOUND
    assert not verdict.failures([*GOOD, failed]).holds


def test_what_a_healthy_gateway_refuses() -> None:
    """A board that exists already is no failure; its method must have created one all the same."""
    refused = [replace(one, reason="PHOENIX_CONFLICT") if one.method == CREATE else one for one in GOOD]
    assert verdict.failures(refused).holds
    assert not verdict.methods(refused).holds


def test_a_method_that_is_not_called_or_never_works() -> None:
    """Also one that is refused as a healthy gateway never does."""
    name = UNARY[3]
    assert not verdict.methods([one for one in GOOD if one.method != name]).holds
    assert not verdict.methods([replace(one, reason="OVERLOADED") if one.method == name else one for one in GOOD]).holds


@pytest.mark.parametrize("reason", ["INTERNAL", "UNKNOWN", "CANCELLED"])
def test_a_fault_of_its_own(reason: str) -> None:
    """An unexpected exception, and an end without a reason."""
    found = verdict.own_faults([*GOOD, replace(GOOD[0], at=FAULT.began_at + 1.5, reason=reason)], [FAULT])
    assert not found.holds
    assert f"{reason} 1.5 s after {FAULT.name} began" in found.figure


def test_watchers_that_see_nothing_after_a_fault() -> None:
    """Updates before it do not count for later; a time too short to open a board is not judged."""
    later = Window(name="later", began_at=120.0, over_at=130.0)
    assert not verdict.watchers([20.0, 40.0], [FAULT], 0.0, 200.0).holds
    assert not verdict.watchers([20.0, 150.0], [FAULT, later], 0.0, 200.0).holds
    assert verdict.watchers([20.0, 100.0], [FAULT, replace(FAULT, began_at=195.0, over_at=196.0)], 0.0, 200.0).holds


def test_calls_that_are_slower_after_a_fault() -> None:
    """By more than a tenth, and more than they varied before."""
    slower = [replace(one, took_s=one.took_s * (2.0 if one.at > FAULT.over_at else 1.0)) for one in GOOD]
    assert not verdict.p99(slower, [FAULT]).holds


def test_memory_and_descriptors_that_grow() -> None:
    """From the second quarter of a process's life to the last."""
    growing = samples([100.0 + 2 * at for at in range(40)], [50 + 2 * at for at in range(40)])
    assert not verdict.memory(growing).holds
    assert not verdict.descriptors(growing).holds


@pytest.mark.parametrize(
    "wrong",
    [
        line(level="error", event="call", reason="INTERNAL"),
        line(level="critical", event="lost", count=3),
        line(event="without a level", trouble="x"),
        "Traceback (most recent call last):",
    ],
    ids=["reason", "count", "level", "text"],
)
def test_a_log_line_without_its_cause(wrong: str) -> None:
    """A reason says what the caller got, not why."""
    assert not verdict.logs([line(**ERROR), wrong]).holds


@pytest.mark.parametrize(
    "found",
    [
        {},
        {Report.QUEUED: Counter({1: 5, 0: 1})},
        {Report.QUEUED: Counter({1: 5, 2: 1})},
        {Report.QUEUED: Counter({1: 5}), Report.UNKNOWN: Counter({2: 1})},
        {Report.REFUSED: Counter({1: 5})},
    ],
    ids=["none", "lost", "doubled", "unknown-doubled", "none-acknowledged"],
)
def test_an_event_that_is_lost_or_doubled(found: dict[Report, Counter[int]]) -> None:
    """Acknowledged events arrive exactly once, others at most once."""
    assert not verdict.exactly_once(found, Report.QUEUED)
    assert verdict.exactly_once({Report.QUEUED: Counter({1: 5}), Report.LOST: Counter({0: 1, 1: 1})}, Report.QUEUED)
