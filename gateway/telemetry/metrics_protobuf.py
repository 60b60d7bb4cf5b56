"""A family of metrics in Prometheus's protobuf format, the only one that has native histograms. Pure.

prometheus_client cannot write it (ADR 0061). Fixed buckets stay beside the exponential ones. Source: metrics.proto of
github.com/prometheus/client_model, whose numbers of fields are here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Exemplar

from gateway.telemetry.histogram_cells import CellFamily
from gateway.telemetry.histogram_scale import Exponential, spans_of
from gateway.telemetry.protobuf_wire import (
    bytes_field,
    delimited,
    double_field,
    number_field,
    text_field,
    varint,
    zigzag,
)

FAMILY_NAME, FAMILY_METRIC = 1, 4
"""Fields that a merger of pages reads and writes."""
_FAMILY_HELP, _FAMILY_TYPE = 2, 3
_TYPES = {"counter": 0, "gauge": 1, "histogram": 4}
_UNTYPED = 3
_VALUES = {"counter": 3, "gauge": 2}
_UNTYPED_VALUE, _HISTOGRAM_VALUE = 5, 7
"""Fields of a Metric."""
_COUNT, _SUM, _BUCKET, _SCHEMA, _ZERO_THRESHOLD, _ZERO_COUNT, _SPAN, _DELTA = 1, 2, 3, 5, 6, 7, 12, 13
"""Fields of a Histogram."""
_DELTA_TAG = varint(_DELTA << 3)
_SERIES_A_TURN = 8


@dataclass(slots=True)
class _Histogram:
    """What the samples of one histogram say."""

    count: float = 0
    total: float = 0.0
    buckets: list[bytes] = field(default_factory=list)


def family_parts(family: Family) -> Iterator[bytes]:
    """Yield a family as a MetricFamily with its length in front, after empty parts; nothing for one without series.

    The caller can do something else between two parts: one histogram of all methods takes milliseconds.
    """
    name = family.name + ("_total" if family.type == "counter" else "")
    parts = [
        text_field(FAMILY_NAME, name),
        text_field(_FAMILY_HELP, family.documentation),
        number_field(_FAMILY_TYPE, _TYPES.get(family.type, _UNTYPED)),
    ]
    head = len(parts)
    for metric in _metrics(family):
        parts.append(bytes_field(FAMILY_METRIC, metric))
        if len(parts) % _SERIES_A_TURN == 0:
            yield b""
    if len(parts) > head:
        yield delimited(b"".join(parts))


def label_pair(name: str, value: str) -> bytes:
    """Return a LabelPair as the first field of a Metric or an Exemplar."""
    return bytes_field(1, text_field(1, name) + text_field(2, value))


def _metrics(family: Family) -> Iterator[bytes]:
    if isinstance(family, CellFamily):
        return _of_cells(family)
    return _of_samples(family) if family.type == "histogram" else _numbers(family)


def _numbers(family: Family) -> Iterator[bytes]:
    kind = _VALUES.get(family.type, _UNTYPED_VALUE)
    for sample in family.samples:
        yield _labels(sample.labels) + bytes_field(kind, double_field(1, sample.value))


def _of_samples(family: Family) -> Iterator[bytes]:
    """Yield the series of a histogram of the library. Its samples have the same labels but for `le`."""
    found: dict[tuple[tuple[str, str], ...], _Histogram] = {}
    for sample in family.samples:
        one = found.setdefault(tuple([pair for pair in sample.labels.items() if pair[0] != "le"]), _Histogram())
        if sample.name.endswith("_bucket"):
            bound = double_field(2, float(sample.labels["le"]))
            one.buckets.append(_bucket(bound, int(sample.value), sample.exemplar))
        elif sample.name.endswith("_count"):
            one.count = sample.value
        elif sample.name.endswith("_sum"):
            one.total = sample.value
    for labels, one in found.items():
        yield _labels(dict(labels)) + _histogram(int(one.count), one.total, one.buckets)


def _of_cells(family: CellFamily) -> Iterator[bytes]:
    """Yield the series of a histogram of ours."""
    cells = family.cells
    bounds = [double_field(2, bound) for bound in (*family.metric.buckets, math.inf)]
    for series in family.series:
        count = 0
        parts = []
        for at, (bound, own) in enumerate(zip(bounds, cells.classic(series.counts), strict=True)):
            count += own
            parts.append(_bucket(bound, count, series.exemplars.get(at)))
        if cells.is_native:
            parts.append(_exponential(cells.exponential(series.counts)))
        labels = dict(zip(family.metric.labels, series.labels, strict=True))
        yield _labels(labels) + _histogram(count, series.total, parts)


def _histogram(count: int, total: float, parts: list[bytes]) -> bytes:
    return bytes_field(_HISTOGRAM_VALUE, b"".join([number_field(_COUNT, count), double_field(_SUM, total), *parts]))


def _bucket(bound: bytes, count: int, exemplar: Exemplar | None) -> bytes:
    content = number_field(1, count) + bound
    if exemplar is not None:
        content += bytes_field(3, _exemplar(exemplar))
    return bytes_field(_BUCKET, content)


def _exponential(series: Exponential) -> bytes:
    """Return the fields of the exponential buckets. The threshold, which is not 0, tells Prometheus that they exist."""
    positive = spans_of(series.counts)
    parts = [
        number_field(_SCHEMA, zigzag(series.schema)),
        double_field(_ZERO_THRESHOLD, series.zero_threshold),
        number_field(_ZERO_COUNT, series.zeros),
    ]
    for offset, length in positive.spans:
        parts.append(bytes_field(_SPAN, number_field(1, zigzag(offset)) + number_field(2, length)))
    parts += [_DELTA_TAG + varint(zigzag(delta)) for delta in positive.deltas]
    return b"".join(parts)


def _exemplar(exemplar: Exemplar) -> bytes:
    seen_at = b""
    if exemplar.timestamp is not None:
        part, whole = math.modf(float(exemplar.timestamp))
        seen_at = bytes_field(3, number_field(1, int(whole)) + number_field(2, int(part * 1e9)))
    return _labels(exemplar.labels) + double_field(2, exemplar.value) + seen_at


def _labels(labels: Mapping[str, str]) -> bytes:
    return b"".join([label_pair(name, value) for name, value in labels.items()])
