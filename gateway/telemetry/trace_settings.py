"""How traces are made and where they go. Imports nothing of OpenTelemetry, which may not be installed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from gateway.core.trace_context import Sampling

SERVICE_NAME = "phoenix-gateway"
MAX_WAITING, EVERY_MS = 2048, 5000
"""As in OpenTelemetry. So many spans have some MiB."""
BATCH = 128
"""A quarter of OpenTelemetry's: to encode a span takes 36 µs, and a call may wait for 5 ms of it."""
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSettings:
    """`endpoint`: the collector's base URL; `service_name`: empty for the default.

    `max_waiting`: spans that may wait for the exporter; those beyond it are lost, and counted. They are sent every
    `every_ms`, or as soon as there are `batch`.
    """

    endpoint: str
    service_name: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    max_waiting: int = MAX_WAITING
    batch: int = BATCH
    every_ms: int = EVERY_MS


class HeadersRefused(ValueError):
    """OTEL_EXPORTER_OTLP_HEADERS cannot be read. The message does not repeat it."""


def parse_headers(text: str) -> dict[str, str]:
    """Return the headers of `name=value,name=value`; values may be percent-encoded. Raises: HeadersRefused."""
    headers: dict[str, str] = {}
    for at, part in enumerate(filter(None, (one.strip() for one in text.split(","))), start=1):
        name, equals, value = part.partition("=")
        name, value = name.strip().lower(), unquote(value.strip())
        if not equals or not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise HeadersRefused(f"header {at} is not name=value; write it as api-key=VALUE, separated by commas")
        headers[name] = value
    return headers
