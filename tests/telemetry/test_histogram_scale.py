"""Exponential buckets: every value has one, halving keeps all counts, and spans say the same as the counts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.histogram_scale import (
    LEAST_SCHEMA,
    SCHEMA,
    Exponential,
    bounded,
    bucket_of,
    halved,
    spans_of,
    upper_bound,
)

SCHEMAS = st.integers(LEAST_SCHEMA, 8)
VALUES = st.floats(1e-300, 1e300)
COUNTS = st.dictionaries(st.integers(-400, 400), st.integers(1, 10**9))


def test_bounds_are_those_of_the_specification() -> None:
    """The table of client_golang for schema 3 (nativeHistogramBounds), from one half to one."""
    expected = [
        0.5, 0.5452538663326288, 0.5946035575013605, 0.6484197773255048,
        0.7071067811865475, 0.7711054127039704, 0.8408964152537144, 0.9170040432046711, 1.0,
    ]  # fmt: skip
    assert [upper_bound(bucket, SCHEMA) for bucket in range(-8, 1)] == pytest.approx(expected, rel=1e-15)
    assert [upper_bound(bucket, 0) for bucket in (-2, 0, 1, 10)] == [0.25, 1.0, 2.0, 1024.0]
    assert [upper_bound(bucket, -4) for bucket in (-1, 0, 1, 64)] == [2.0**-16, 1.0, 2.0**16, math.inf]


@given(VALUES, SCHEMAS)
def test_a_value_is_in_its_bucket(value: float, schema: int) -> None:
    """Above the bound of the bucket before, and not above its own."""
    bucket = bucket_of(value, schema)
    assert upper_bound(bucket - 1, schema) < value <= upper_bound(bucket, schema)


@given(st.integers(-2000, 2000), st.integers(0, 8))
def test_a_bound_belongs_to_the_bucket_that_it_ends(bucket: int, schema: int) -> None:
    """And the next float to the next bucket, although a logarithm cannot tell them apart."""
    bound = upper_bound(bucket, schema)
    if 0 < bound < math.inf:
        assert (bucket_of(bound, schema), bucket_of(math.nextafter(bound, math.inf), schema)) == (bucket, bucket + 1)


@given(st.lists(VALUES, min_size=1), st.integers(LEAST_SCHEMA + 1, 8))
def test_halving_is_counting_in_the_schema_below(values: list[float], schema: int) -> None:
    """Whatever was counted."""

    def counted(at: int) -> dict[int, int]:
        found: dict[int, int] = {}
        for value in values:
            found[bucket_of(value, at)] = found.get(bucket_of(value, at), 0) + 1
        return found

    assert halved(counted(schema)) == counted(schema - 1)


@given(COUNTS, st.integers(1, 50))
def test_a_series_is_bounded_by_halving(counts: dict[int, int], most: int) -> None:
    """Nothing is lost, the resolution is the best that fits, and what fits already is not changed."""
    series = Exponential(schema=SCHEMA, zero_threshold=0.5, zeros=7, counts=counts)
    found = bounded(series, most)
    assert (sum(found.counts.values()), found.zeros, found.zero_threshold) == (sum(counts.values()), 7, 0.5)
    assert len(found.counts) <= most or found.schema == LEAST_SCHEMA
    again, schema = dict(counts), SCHEMA
    while schema > found.schema:
        assert len(again) > most
        again, schema = halved(again), schema - 1
    assert found.counts == again


@given(COUNTS)
def test_spans_and_deltas_say_the_same_as_the_counts(counts: dict[int, int]) -> None:
    """Read as the specification says; runs that touch are one span."""
    found = spans_of(counts)
    read, bucket, count, deltas = {}, 0, 0, iter(found.deltas)
    for offset, length in found.spans:
        bucket += offset
        for _ in range(length):
            count += next(deltas)
            read[bucket] = count
            bucket += 1
    assert read == counts
    assert next(deltas, None) is None
    assert all(length > 0 for _, length in found.spans)
    assert all(offset > 0 for offset, _ in found.spans[1:])
