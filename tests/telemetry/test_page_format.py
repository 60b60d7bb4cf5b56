"""The Accept header decides on the format; whatever is broken gets text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.page_format import PageFormat, format_of
from tests.client_model import ACCEPT

PROTO = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
OPEN = "application/openmetrics-text;version=1.0.0"
WITHOUT = (  # Prometheus 2.42 without the feature
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
NEWER = (  # Prometheus 3 with scrape_native_histograms
    f"{PROTO};q=0.6,{OPEN};escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", PageFormat.TEXT),
        ("*/*", PageFormat.TEXT),
        ("text/plain", PageFormat.TEXT),
        (WITHOUT, PageFormat.OPEN),
        (ACCEPT, PageFormat.PROTOBUF),
        (NEWER, PageFormat.PROTOBUF),
        (PROTO, PageFormat.PROTOBUF),
        (PROTO.replace(";", " ; ").replace("delimited", '"delimited"'), PageFormat.PROTOBUF),
        (f"{PROTO};q=0.4,text/plain;q=0.5", PageFormat.TEXT),
        (f"text/plain;q=0.4,{PROTO};q=0.5", PageFormat.PROTOBUF),
        (f"text/plain,{PROTO}", PageFormat.TEXT),
        (f"{PROTO},text/plain", PageFormat.PROTOBUF),
        (f"{OPEN};q=0.2,text/plain;q=0.9", PageFormat.TEXT),
        (f"{PROTO};q=0", PageFormat.TEXT),
        (f"{PROTO};q=0.000,{OPEN};q=0.001", PageFormat.OPEN),
        (f"{PROTO};q=2", PageFormat.TEXT),
        (f"{PROTO};q=1e9", PageFormat.TEXT),
        (f"{PROTO};q=nan", PageFormat.TEXT),
        (f"{PROTO};q=-1", PageFormat.TEXT),
        (f"{PROTO};q=", PageFormat.TEXT),
        (f"{PROTO};q=\N{ARABIC-INDIC DIGIT ONE}", PageFormat.TEXT),
        (PROTO.replace("delimited", "text"), PageFormat.TEXT),
        (PROTO.replace("delimited", "compact-text"), PageFormat.TEXT),
        (PROTO.replace("MetricFamily", "Metric"), PageFormat.TEXT),
        ("application/vnd.google.protobuf", PageFormat.TEXT),
        ("application/json", PageFormat.TEXT),
        (";;;,,,===", PageFormat.TEXT),
        ("\udcff\x00," * 10, PageFormat.TEXT),
        ("*/*;q=0.1," * 100 + PROTO, PageFormat.TEXT),
    ],
)
def test_a_header_has_its_format(accept: str, expected: PageFormat) -> None:
    """The headers of scrapers, and broken ones."""
    assert format_of(accept, has_exemplars=True) is expected


@pytest.mark.parametrize(("accept", "expected"), [(WITHOUT, PageFormat.TEXT), (ACCEPT, PageFormat.PROTOBUF)])
def test_without_exemplars_there_is_no_openmetrics(accept: str, expected: PageFormat) -> None:
    """A scraper without native histograms gets text, as ever."""
    assert format_of(accept, has_exemplars=False) is expected


@given(st.text(), st.booleans())
def test_any_header_has_a_format(accept: str, has_exemplars: bool) -> None:
    """Noise never fails, and gets text."""
    assert format_of(accept, has_exemplars=has_exemplars) is PageFormat.TEXT


@given(st.lists(st.tuples(st.sampled_from([PROTO, OPEN, "text/plain", "a/b"]), st.integers(0, 1000)), max_size=8))
def test_the_highest_weight_wins(ranges: list[tuple[str, int]]) -> None:
    """And of equal ones the first."""
    accept = ", ".join([f"{kind};q={weight / 1000:.3f}" for kind, weight in ranges])
    known = {PROTO: PageFormat.PROTOBUF, OPEN: PageFormat.OPEN, "text/plain": PageFormat.TEXT}
    asked = [(known[kind], weight) for kind, weight in ranges if kind in known and weight]
    expected = max(asked, key=lambda one: one[1])[0] if asked else PageFormat.TEXT
    assert format_of(accept, has_exemplars=True) is expected
