"""Exponential buckets, as in Prometheus's native histograms: which one holds a value, and how to make them fewer.

Pure. In schema s, bucket i holds the values above 2^((i-1)/2^s) and up to 2^(i/2^s); s is from -4 to 8. Only values
above 0 have a bucket. Source: the specification of native histograms (prometheus.io/docs/specs/native_histograms).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

SCHEMA = 3
"""The resolution here: 8 buckets from a number to its double, each 9 % wide."""
LEAST_SCHEMA = -4
"""The lowest that Prometheus takes."""
MAX_BUCKETS = 160
"""Of one series. With more, the resolution is halved. As OpenTelemetry and client_java have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponential:
    """The counts of one series. `counts`: by bucket, none is 0. `zeros`: the amounts up to `zero_threshold`."""

    schema: int
    zero_threshold: float
    zeros: int
    counts: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """Counts as the protocol wants them.

    `spans`: runs of buckets, each the distance from the end of the run before (the first: from 0) and its length.
    `deltas`: the count of each bucket, less that of the one before.
    """

    spans: tuple[tuple[int, int], ...]
    deltas: tuple[int, ...]


def upper_bound(bucket: int, schema: int) -> float:
    """Return the largest value in a bucket; infinity beyond the largest float."""
    if schema > 0:
        octave, part = divmod(bucket, 1 << schema)
        fraction = 2.0 ** (part / (1 << schema))
    else:
        octave, fraction = bucket << -schema, 1.0
    return math.ldexp(fraction, octave) if octave < 1024 else math.inf


def bucket_of(value: float, schema: int) -> int:
    """Return the bucket that holds a value. Args: `value` is above 0 and finite."""
    guess = math.ceil(math.ldexp(math.log2(value), schema))
    if value > upper_bound(guess, schema):  # log2 is rounded; the bounds decide
        return guess + 1
    return guess - 1 if value <= upper_bound(guess - 1, schema) else guess


def halved(counts: Mapping[int, int]) -> dict[int, int]:
    """Return the counts in the schema below, where two buckets become one."""
    found: dict[int, int] = {}
    for bucket, count in counts.items():
        wider = (bucket + 1) >> 1
        found[wider] = found.get(wider, 0) + count
    return found


def bounded(series: Exponential, max_buckets: int = MAX_BUCKETS) -> Exponential:
    """Return the series in the first schema, from its own downwards, that needs no more buckets than allowed."""
    schema, counts = series.schema, series.counts
    while len(counts) > max_buckets and schema > LEAST_SCHEMA:
        schema, counts = schema - 1, halved(counts)
    return Exponential(schema=schema, zero_threshold=series.zero_threshold, zeros=series.zeros, counts=counts)


def spans_of(counts: Mapping[int, int]) -> Spans:
    """Return the counts in spans and deltas."""
    spans: list[tuple[int, int]] = []
    deltas: list[int] = []
    end, before = 0, 0
    for bucket in sorted(counts):
        if spans and bucket == end:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((bucket - end, 1))
        deltas.append(counts[bucket] - before)
        end, before = bucket + 1, counts[bucket]
    return Spans(spans=tuple(spans), deltas=tuple(deltas))
