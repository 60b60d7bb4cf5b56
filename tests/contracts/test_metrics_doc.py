"""docs/metrics.md and the metrics that are served say the same."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry import label_values, metric_names
from gateway.telemetry.metric_names import ALL, PREFIX
from gateway.telemetry.metrics import BuildInfo, Metrics
from gateway.telemetry.redis_series import REDIS_FAULTS

DOC = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| ([^|]+) \|$", re.MULTILINE)


def rows() -> list[tuple[str, str, tuple[str, ...], str]]:
    return [
        (name, kind, tuple(re.findall(r"`(\w+)`", labels)), meaning.strip())
        for name, kind, labels, meaning in ROW.findall(DOC)
    ]


def test_every_metric_is_described() -> None:
    """The table has each metric with its type, labels and help, in the order of the code."""
    assert rows() == [(metric.name, metric.kind.value, metric.labels, metric.help) for metric in ALL]


def test_every_metric_that_is_defined_is_listed() -> None:
    """A metric defined in metric_names.py cannot be forgotten in its list, and no name comes twice."""
    defined = [value for value in vars(metric_names).values() if isinstance(value, metric_names.Metric)]
    assert (len(defined), len({metric.name for metric in ALL})) == (len(ALL), len(ALL))


def test_what_is_served_is_what_is_described() -> None:
    """A scrape shows the metrics of the table with their types and help, and Prometheus's process metrics."""
    served = Metrics(CollectorRegistry(), methods=[], build=BuildInfo(version="", revision="", python=""))
    families = {
        (family.name + ("_total" if family.type == "counter" else ""), family.type, family.documentation)
        for family in text_string_to_metric_families(b"".join(served.page()).decode())
        if not family.name.startswith("process_")
    }
    assert families == {(metric.name, metric.kind.value, metric.help) for metric in ALL}


def test_names_follow_prometheus() -> None:
    """Names have the prefix, counters end in _total, and times are in seconds."""
    assert [
        metric.name
        for metric in ALL
        if not metric.name.startswith(PREFIX) or (metric.kind.value == "counter") != metric.name.endswith("_total")
    ] == []


def test_label_values_are_described() -> None:
    """Every value of our labels, except those of the contract, is in the document."""
    values = {
        *label_values.SURFACES,
        *label_values.UNANSWERED,
        *label_values.PLATFORM_KEY_EVENTS,
        *label_values.SECRET_FILE_EVENTS,
        *label_values.LIVE_BOARD_EVENTS,
        *label_values.CACHE_PURPOSES,
        *label_values.CACHE_RESULTS,
        *label_values.STORE_ERROR_KINDS,
        *REDIS_FAULTS,
    }
    assert [value for value in sorted(values) if f"`{value}`" not in DOC] == []


def test_alerts_name_metrics_that_exist() -> None:
    """Every metric that the document speaks of exists; a histogram also by its buckets."""
    known = {metric.name for metric in ALL} | {f"{metric.name}_bucket" for metric in ALL if metric.buckets}
    assert sorted(set(re.findall(PREFIX + r"\w+", DOC)) - known) == []
