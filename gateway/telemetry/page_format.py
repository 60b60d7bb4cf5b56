"""Which format of the metrics a scraper asks for. Pure.

Its Accept header decides: the highest `q`, and of equal ones the first. Without a header, with a broken one, and when
it asks for nothing that there is, the answer is the text format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

OPEN_END = b"# EOF\n"
"""The mark of the end of OpenMetrics' format."""


class PageFormat(Enum):
    """The formats, each by its Content-Type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    """Prometheus's text format."""
    OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    """OpenMetrics, which has exemplars."""
    PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
    """It has exemplars and native histograms."""


_PROTOBUF_FORM = {"proto": "io.prometheus.client.MetricFamily", "encoding": "delimited"}
_MAX_RANGES = 32
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def format_of(accept: str, *, has_exemplars: bool) -> PageFormat:
    """Return the format for an Accept header. Args: `has_exemplars`: without them nobody gets OpenMetrics."""
    best, best_weight = PageFormat.TEXT, 0.0
    for format_, weight in _asked(accept):
        if weight > best_weight and (has_exemplars or format_ is not PageFormat.OPEN):
            best, best_weight = format_, weight
    return best


def _asked(accept: str) -> Iterator[tuple[PageFormat, float]]:
    """Yield each known format that the header names, in its order, with its weight. What is unreadable is left out."""
    for media_range in accept.split(",", _MAX_RANGES)[:_MAX_RANGES]:
        kind, *rest = media_range.split(";")
        pairs = [part.partition("=") for part in rest]
        parameters = {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
        weight = parameters.get("q", "1")
        format_ = _named(kind.strip().lower(), parameters)
        if format_ is not None and _WEIGHT.fullmatch(weight):
            yield format_, float(weight)


def _named(kind: str, parameters: dict[str, str]) -> PageFormat | None:
    if kind in ("text/plain", "text/*", "*/*"):
        return PageFormat.TEXT
    if kind == "application/openmetrics-text":
        return PageFormat.OPEN
    is_protobuf = kind == "application/vnd.google.protobuf"
    if is_protobuf and all(parameters.get(name) == value for name, value in _PROTOBUF_FORM.items()):
        return PageFormat.PROTOBUF
    return None
