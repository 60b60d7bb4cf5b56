"""The log says once that a host of Phoenix does not answer, and once that it does again."""

from __future__ import annotations

from structlog.testing import capture_logs

from gateway import errors
from gateway.phoenix.host_log import PATIENCE_S, QUIET_S, HostLog
from tests.manual_clock import ManualClock

HOST = "https://phoenix.example"
PART = "Phoenix query"


def test_one_line_per_change_of_state() -> None:
    """Failures between are counted; a success just after one is not yet the end."""
    clock = ManualClock()
    hosts = HostLog(clock)
    with capture_logs() as lines:
        hosts.answered(PART, HOST)
        for _ in range(5):
            hosts.failed(PART, HOST, errors.PhoenixUnavailable(), 0.1)
            clock.advance(QUIET_S - 1)
            hosts.answered(PART, HOST)
        clock.advance(1)
        hosts.answered(PART, HOST)
        hosts.answered(PART, HOST)
    assert [(line["event"], line["part"], line["address"]) for line in lines] == [
        ("not available", PART, HOST),
        ("available again", PART, HOST),
    ]
    assert (lines[0]["error_type"], lines[1]["count"], bool(lines[0]["advice"])) == ("PhoenixUnavailable", 5, True)


def test_hosts_and_causes_are_told_apart() -> None:
    """Each host has its own state, and another cause is another line."""
    hosts = HostLog(ManualClock())
    with capture_logs() as lines:
        hosts.failed(PART, HOST, errors.PhoenixUnavailable(metadata={"phoenix_status": "503"}), 0.1)
        hosts.failed(PART, "https://other.example", errors.PhoenixUnavailable(metadata={"phoenix_status": "503"}), 0.1)
        hosts.failed(PART, HOST, errors.PhoenixUnavailable(metadata={"phoenix_status": "502"}), 0.1)
    assert [line["code"] for line in lines] == ["503", "503", "502"]


def test_refusals_and_short_deadlines_say_nothing_about_the_host() -> None:
    """The host answers, or had no time to."""
    hosts = HostLog(ManualClock())
    with capture_logs() as lines:
        hosts.failed(PART, HOST, errors.PhoenixNotFound(), 0.1)
        hosts.failed(PART, HOST, errors.PhoenixTimeout(), PATIENCE_S / 2)
        assert lines == []
        hosts.failed(PART, HOST, errors.PhoenixTimeout(), PATIENCE_S * 2)
    assert [line["error_type"] for line in lines] == ["PhoenixTimeout"]
