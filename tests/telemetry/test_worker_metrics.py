"""The metrics of several workers on one page."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.worker_metrics import merged

ONE = """# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{method="/a",reason="x{y} z"} 3.0
calls_total{method="/b",reason=""} 1.0
# HELP empty_total Nothing yet.
# TYPE empty_total counter
# HELP up Whether it is up.
# TYPE up gauge
up 1.0
"""
OTHER = """# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{method="/a",reason="x{y} z"} 4.0
# HELP up Whether it is up.
# TYPE up gauge
up 0.0
"""


def test_each_metric_is_described_once_and_each_sample_names_its_worker() -> None:
    """Prometheus refuses a page that describes a metric twice."""
    text = "".join(merged({"0": ONE, "1": OTHER}))
    assert (text.count("# TYPE calls_total"), text.count("# HELP up"), text.count("# TYPE empty_total")) == (1, 1, 1)
    samples = {
        (sample.name, sample.labels["worker"], sample.labels.get("method")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples == {
        ("calls_total", "0", "/a"): 3.0,
        ("calls_total", "0", "/b"): 1.0,
        ("calls_total", "1", "/a"): 4.0,
        ("up", "0", None): 1.0,
        ("up", "1", None): 0.0,
    }


def test_an_exemplar_stays_with_its_sample() -> None:
    """In OpenMetrics' format, whose end is marked once, by whoever puts the page together."""
    line = 'seconds_bucket{le="1.0"} 3.0 # {trace_id="ab"} 0.5 1.0'
    text = f"# HELP seconds Time.\n# TYPE seconds histogram\n{line}\n# EOF\n"
    page = "".join(merged({"0": text, "1": text}))
    assert page.splitlines()[2:] == [line.replace("{le", f'{{worker="{number}",le') for number in "01"]
