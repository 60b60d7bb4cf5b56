"""Cells: both forms of a histogram follow from them, as if each value had been put into a bucket of each."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry import metric_names as names
from gateway.telemetry.histogram_cells import LAST_OCTAVE, LEAST_OCTAVE, Cells
from gateway.telemetry.histogram_scale import MAX_BUCKETS, SCHEMA, bounded, bucket_of, upper_bound
from gateway.telemetry.metric_names import ALL, Metric

NATIVE = [metric for metric in ALL if metric.is_native]
CELLS = {metric.name: Cells(metric) for metric in NATIVE}
BOUNDS = sorted({bound for metric in NATIVE for bound in metric.buckets})
VALUES = st.lists(st.one_of(st.floats(0, 2.0**LAST_OCTAVE), st.floats(0, 1), st.sampled_from(BOUNDS)), max_size=50)


def counted(cells: Cells, values: list[float]) -> list[int]:
    counts = cells.empty()
    for value in values:
        counts[bisect_left(cells.bounds, value)] += 1
    return counts


def test_the_latencies_are_native() -> None:
    """And no other histogram: one of tries or sizes has few values, which its classic buckets name."""
    histograms = {metric.name for metric in ALL if metric.buckets}
    assert {metric.name for metric in NATIVE} == {name for name in histograms if name.endswith("_seconds")}


@pytest.mark.parametrize("metric", NATIVE, ids=lambda metric: metric.name)
@given(values=VALUES)
def test_both_forms_follow_from_cells(metric: Metric, values: list[float]) -> None:
    """The classic buckets, the exponential ones, and the values up to the threshold."""
    cells = CELLS[metric.name]
    counts = counted(cells, values)
    classic = [0] * (len(metric.buckets) + 1)
    for value in values:
        classic[bisect_left(metric.buckets, value)] += 1
    assert cells.classic(counts) == classic
    found = cells.exponential(counts)
    expected: dict[int, int] = {}
    for value in values:
        if value > 2.0**LEAST_OCTAVE:
            bucket = bucket_of(value, SCHEMA)
            expected[bucket] = expected.get(bucket, 0) + 1
    assert (found.schema, found.zero_threshold, found.counts) == (SCHEMA, 2.0**LEAST_OCTAVE, expected)
    assert found.zeros == len(values) - sum(expected.values())


def test_what_exceeds_all_cells_counts_in_the_bucket_behind_the_last() -> None:
    """A stream of a year; and it is in no classic bucket but the last."""
    cells = CELLS[names.CALL_SECONDS.name]
    counts = counted(cells, [365 * 86400.0])
    assert cells.exponential(counts).counts == {(LAST_OCTAVE << SCHEMA) + 1: 1}
    assert cells.classic(counts) == [0] * len(names.CALL_BUCKETS) + [1]


def test_a_series_with_values_everywhere_stays_bounded() -> None:
    """One in each bucket: the resolution is halved, so that 160 are enough."""
    cells = CELLS[names.CALL_SECONDS.name]
    every = range((LEAST_OCTAVE << SCHEMA) + 1, (LAST_OCTAVE << SCHEMA) + 1)
    found = cells.exponential(counted(cells, [upper_bound(bucket, SCHEMA) for bucket in every]))
    assert (found.schema, sum(found.counts.values())) == (SCHEMA - 1, len(every))
    assert len(found.counts) <= MAX_BUCKETS < len(every)
    assert bounded(found) == found


def test_a_histogram_that_is_not_native_has_its_buckets_as_cells() -> None:
    """It costs what it did."""
    assert Cells(names.UPSTREAM_TRIES).bounds == names.UPSTREAM_TRIES.buckets
