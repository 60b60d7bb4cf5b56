"""The protobuf format, read by message classes of its published definition: it says what the text format says."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Exemplar

from gateway.telemetry.histogram_cells import CellFamily, Cells
from gateway.telemetry.histogram_scale import SCHEMA, bucket_of
from gateway.telemetry.metric_names import ALL, CALL_SECONDS, PREFIX
from gateway.telemetry.metrics import BuildInfo, Metrics
from gateway.telemetry.metrics_protobuf import family_parts
from gateway.telemetry.page_format import PageFormat
from gateway.telemetry.worker_metrics import merged, merged_messages
from tests.client_model import counts_of, families, labels_of

METHOD = "/phoenix.gateway.v1.TokenService/MintLaunchJWT"
TEXT_TYPES = ["counter", "gauge", "summary", "unknown", "histogram"]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics(CollectorRegistry(), methods=[METHOD], build=BuildInfo(version='1"2', revision="\n", python="é"))
    for seconds in (0.00001, 0.0002, 0.0002, 0.004, 0.7, 40.0):
        made.call_began(METHOD)
        made.call_ended(METHOD, "OK", "", seconds)
    made.upstream_answered("query", 200, 0.03)
    made.upstream_settled("query", "", 2)
    made.evidence_committed(50, 0.002)
    return made


def protobuf(metrics: Metrics) -> bytes:
    return b"".join(metrics.page(PageFormat.PROTOBUF))


def text_samples(text: str) -> Samples:
    """Without the process's own, which change between two pages."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(PREFIX)
    }


def protobuf_samples(page: bytes) -> Samples:
    """The samples of the text format, from messages."""
    found: Samples = {}
    for name, family in families(page).items():
        for metric in family.metric:
            labels = labels_of(metric)
            if metric.HasField("histogram"):
                for bucket in metric.histogram.bucket:
                    bound = "+Inf" if math.isinf(bucket.upper_bound) else str(bucket.upper_bound)
                    own = frozenset({**labels, "le": bound}.items())
                    found[f"{name}_bucket", own] = bucket.cumulative_count
                found[f"{name}_count", frozenset(labels.items())] = metric.histogram.sample_count
                found[f"{name}_sum", frozenset(labels.items())] = metric.histogram.sample_sum
            else:
                value = (metric.counter if metric.HasField("counter") else metric.gauge).value
                found[name, frozenset(labels.items())] = value
    return {key: value for key, value in found.items() if key[0].startswith(PREFIX)}


def test_both_formats_have_the_same_samples(metrics: Metrics) -> None:
    """Names, labels and values of all, the classic buckets included."""
    text = b"".join(metrics.page()).decode()
    assert protobuf_samples(protobuf(metrics)) == text_samples(text)
    assert len(text_samples(text)) > 300


@pytest.mark.parametrize("kind", [PageFormat.TEXT, PageFormat.PROTOBUF])
def test_calls_that_end_between_two_parts_change_no_series_in_half(metrics: Metrics, kind: PageFormat) -> None:
    """The count, the sum and the calls of one page are of one moment."""
    parts = []
    for part in metrics.page(kind):
        parts.append(part)
        metrics.call_began(METHOD)
        metrics.call_ended(METHOD, "OK", "", 3600.0)
    page = b"".join(parts)
    found = protobuf_samples(page) if kind is PageFormat.PROTOBUF else text_samples(page.decode())
    method = ("method", METHOD)
    calls = found[PREFIX + "calls_total", frozenset({method, ("status", "OK"), ("reason", "")})]
    assert found[CALL_SECONDS.name + "_count", frozenset({method})] == calls
    assert found[CALL_SECONDS.name + "_bucket", frozenset({method, ("le", "+Inf")})] == calls
    assert found[CALL_SECONDS.name + "_sum", frozenset({method})] == pytest.approx((calls - 6) * 3600 + 40.70441)


def test_each_family_has_its_type_and_help(metrics: Metrics) -> None:
    """Those of the table of metrics. A family without series is left out."""
    page = families(protobuf(metrics))
    shown = {name: (TEXT_TYPES[family.type], family.help) for name, family in page.items() if name.startswith(PREFIX)}
    known = {metric.name: (metric.kind.value, metric.help) for metric in ALL}
    assert shown == {name: known[name] for name in shown}
    assert len(known) - len(shown) < 8
    assert [name for name in page if not name.startswith((PREFIX, "process_"))] == []


def series(page: bytes, name: str, **labels: str) -> Any:
    found = [metric.histogram for metric in families(page)[name].metric if labels.items() <= labels_of(metric).items()]
    assert len(found) == 1
    return found[0]


def test_latencies_have_exponential_buckets(metrics: Metrics) -> None:
    """Each value in its own; the fastest is below the threshold."""
    found = series(protobuf(metrics), CALL_SECONDS.name, method=METHOD)
    assert (found.schema, found.zero_threshold, found.zero_count) == (SCHEMA, 2.0**-15, 1)
    assert counts_of(found) == {
        bucket_of(value, SCHEMA): n for value, n in ((0.0002, 2), (0.004, 1), (0.7, 1), (40.0, 1))
    }
    assert (found.sample_count, found.sample_sum) == (6, pytest.approx(40.70441))


def test_a_latency_without_calls_is_native_too(metrics: Metrics) -> None:
    """Otherwise Prometheus would begin with classic buckets and change over at the first call."""
    found = series(protobuf(metrics), PREFIX + "upstream_seconds", surface="admin")
    assert (found.sample_count, found.zero_threshold) == (0, 2.0**-15)
    assert counts_of(found) == {}


@pytest.mark.parametrize("name", ["upstream_tries", "evidence_batch_size"])
def test_other_histograms_have_classic_buckets_only(metrics: Metrics, name: str) -> None:
    """Prometheus takes them for what they were."""
    for metric in families(protobuf(metrics))[PREFIX + name].metric:
        assert not metric.histogram.HasField("schema")
        assert not metric.histogram.HasField("zero_threshold")
        assert not metric.histogram.positive_span


@given(st.lists(st.floats(0, 1e7), max_size=40))
def test_the_definition_reads_any_counts(values: list[float]) -> None:
    """As they were put into buckets here."""
    cells = Cells(CALL_SECONDS)
    counts = cells.empty()
    for value in values:
        counts[sum(bound < value for bound in cells.bounds)] += 1
    family = CellFamily(CALL_SECONDS, cells)
    family.add(("/a",), counts, sum(values), {})
    found = series(b"".join(family_parts(family)), CALL_SECONDS.name)
    expected = cells.exponential(counts)
    assert (counts_of(found), found.zero_count, found.schema) == (expected.counts, expected.zeros, expected.schema)
    assert found.zero_count + sum(counts_of(found).values()) == found.sample_count == len(values)


def test_a_histogram_of_the_library_is_written() -> None:
    """One series after the other, whatever its labels."""
    registry = CollectorRegistry()
    histogram = Histogram("sizes", "Some sizes.", ("kind",), buckets=(1.0, 2.0), registry=registry)
    histogram.labels("a").observe(1.5)
    histogram.labels("b").observe(3)
    page = b"".join([part for family in registry.collect() for part in family_parts(family) if family.name == "sizes"])
    for kind, counts, total in (("a", [0, 1, 1], 1.5), ("b", [0, 0, 1], 3.0)):
        found = series(page, "sizes", kind=kind)
        assert ([bucket.cumulative_count for bucket in found.bucket], found.sample_sum) == (counts, total)


def test_an_exemplar_names_its_trace() -> None:
    """In its classic bucket, from which Prometheus takes it for the native histogram too."""
    cells = Cells(CALL_SECONDS)
    counts = cells.empty()
    counts[5] = 1
    family = CellFamily(CALL_SECONDS, cells)
    family.add((METHOD,), counts, 0.0002, {0: Exemplar({"trace_id": "01", "span_id": "02"}, 0.0002, 1796000000.25)})
    buckets = series(b"".join(family_parts(family)), CALL_SECONDS.name).bucket
    assert [bucket.HasField("exemplar") for bucket in buckets] == [True] + [False] * (len(buckets) - 1)
    exemplar = buckets[0].exemplar
    assert (labels_of(exemplar), exemplar.value) == ({"trace_id": "01", "span_id": "02"}, 0.0002)
    assert (exemplar.timestamp.seconds, exemplar.timestamp.nanos) == (1796000000, 250_000_000)


def test_pages_of_workers_are_merged_as_text_is(metrics: Metrics) -> None:
    """Each family once, and each series of each worker with its number."""
    other = Metrics(CollectorRegistry(), methods=[METHOD], build=BuildInfo(version="", revision="", python=""))
    pages = {"0": protobuf(metrics), "1": protobuf(other)}
    texts = {number: b"".join(one.page()).decode() for number, one in (("0", metrics), ("1", other))}
    page = b"".join(merged_messages(pages))
    assert protobuf_samples(page) == text_samples("".join(merged(texts)))
    assert counts_of(series(page, CALL_SECONDS.name, method=METHOD, worker="0")) != {}
    assert counts_of(series(page, CALL_SECONDS.name, method=METHOD, worker="1")) == {}


def test_a_page_that_is_no_such_format_is_refused() -> None:
    """And not merged into one that a scraper would not understand."""
    with pytest.raises(ValueError, match="cut off"):
        list(merged_messages({"0": b"# HELP a_text A text.\n"}))
