"""What h2load prints, and what its bytes prove."""

from dataclasses import replace

import pytest

from bench.h2load import H2loadUnreadable, Report, data_fault, read_report

PRINTED = """starting benchmark...
finished in 2.00s, 6706.50 req/s, 4.21MB/s
requests: 13413 total, 13463 started, 13413 done, 13412 succeeded, 1 failed, 0 errored, 0 timeout
status codes: 13412 2xx, 0 3xx, 0 4xx, 1 5xx
traffic: 8.43MB (8837148) total, 39.66KB (40614) headers (space savings 96.26%), 7.74MB (8114865) data
                     min         max         mean         sd        +/- sd
time for request:     3.29ms     16.74ms      7.41ms      1.04ms    78.96%
"""
REPORT = Report(per_s=6706.5, elapsed_s=2.0, done=13413, succeeded=13412, unsuccessful=1, data_bytes=8114865)


def test_a_report_is_read() -> None:
    """Rate, time, counts and bytes of DATA."""
    assert read_report(PRINTED) == REPORT


@pytest.mark.parametrize(("reported", "seconds"), [("997.90ms", 0.9979), ("1.50s", 1.5), ("812us", 0.000812)])
def test_times_have_units(reported: str, seconds: float) -> None:
    """h2load picks the unit by size."""
    assert read_report(PRINTED.replace("2.00s", reported)).elapsed_s == pytest.approx(seconds)


def test_another_text_is_refused() -> None:
    """A version that prints otherwise must not become a figure."""
    with pytest.raises(H2loadUnreadable):
        read_report("h2load: unknown option")


def test_exact_bytes_are_right_answers() -> None:
    """13,413 answers of 600 bytes with a prefix of 5."""
    assert data_fault(REPORT, 600, 600) is None


def test_one_answer_less_is_seen() -> None:
    """A gRPC error is a 200 without DATA."""
    assert data_fault(replace(REPORT, data_bytes=8114865 - 605), 600, 600) is not None


def test_no_answers_are_no_right_answers() -> None:
    """Nothing of nothing is not a success."""
    assert data_fault(replace(REPORT, done=0, data_bytes=0), 600, 600) is not None
