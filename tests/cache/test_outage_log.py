"""What an outage of Redis leaves in the log: its cause with host, code and advice, few lines, and its end."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from gateway.cache.outage_log import MOST_LINES, OutageLog
from gateway.cache.redis_faults import FaultKind, RedisFault
from gateway.telemetry.redis_series import RedisSeries


def test_an_outage_is_a_few_lines_and_its_end_is_one() -> None:
    """Also if its cause changes with each probe. Failures are counted, not logged."""
    registry = CollectorRegistry()
    report = OutageLog(RedisSeries(registry), "redis.example:6379")
    with capture_logs() as lines:
        for number in range(10):
            kind = FaultKind.CUT if number % 2 else FaultKind.READ_ONLY
            fault = RedisFault(kind=kind, error_type="ReadOnlyError", code="READONLY")
            report.changed(fault, 0.0)
            for _ in range(100):
                report.failed(fault)
        report.changed(None, 1.5)
    assert [line["event"] for line in lines[MOST_LINES:]] == ["Redis is used again"]
    first = lines[0]
    assert (first["address"], first["kind"], first["error_type"], first["status"]) == (
        "redis.example:6379",
        "read_only",
        "ReadOnlyError",
        "READONLY",
    )
    assert "REDIS_URL" in first["advice"]
    assert registry.get_sample_value("phoenix_gateway_redis_failures_total", {"fault": "cut"}) == 500
    assert registry.get_sample_value("phoenix_gateway_redis_down", {"fault": "cut"}) == 0
