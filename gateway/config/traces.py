"""Reads where traces go and which calls are sampled: OpenTelemetry's own settings, as far as the gateway has its say.

The SDK reads further ones by itself from the environment; docs/traces.md lists them.
"""

from __future__ import annotations

import enum
import importlib.util
from urllib.parse import urlsplit

from gateway.config.model import TraceConfig, is_loopback
from gateway.config.values import Reader
from gateway.core.secret import Secret, SecretRefused
from gateway.core.trace_context import Sampler, Sampling
from gateway.telemetry.trace_settings import BATCH, EVERY_MS, MAX_WAITING, HeadersRefused, TraceSettings, parse_headers

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
_LIBRARIES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


class _Protocol(enum.Enum):
    HTTP = "http/protobuf"


def read_traces(reader: Reader) -> TraceConfig | None:
    """Return how traces are made; None without an endpoint, and then no other setting is read."""
    endpoint = reader.optional_text(ENDPOINT, max_chars=2048)
    if endpoint is None or reader.flag("OTEL_SDK_DISABLED", False):
        return None
    missing = next((one for one in _LIBRARIES if not _is_installed(one)), None)
    if missing is not None:
        remedy = "install it with: pip install 'phoenix-gateway[otel]'"
        reader.fault(ENDPOINT, f"needs the Python package {missing}, which is not installed", remedy)
    reader.choice("OTEL_EXPORTER_OTLP_PROTOCOL", _Protocol.HTTP, _Protocol)
    _check_endpoint(reader, endpoint)
    try:
        if (headers := reader.secret(HEADERS)) is not None:
            check_headers(headers)
    except SecretRefused as refused:
        reader.fault(HEADERS, str(refused))
    return TraceConfig(
        settings=TraceSettings(
            endpoint=endpoint,
            service_name=reader.optional_text("OTEL_SERVICE_NAME") or "",
            sampling=Sampling(
                sampler=reader.choice("OTEL_TRACES_SAMPLER", Sampler.PARENT_ON, Sampler),
                ratio=reader.share("OTEL_TRACES_SAMPLER_ARG", 1.0),
            ),
            max_waiting=reader.whole("OTEL_BSP_MAX_QUEUE_SIZE", MAX_WAITING, least=1, most=1_000_000),
            batch=reader.whole("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH, least=1, most=100_000),
            every_ms=reader.whole("OTEL_BSP_SCHEDULE_DELAY", EVERY_MS, least=1, most=600_000),
        ),
        headers=reader.secret_source(HEADERS),
    )


def check_headers(headers: Secret) -> Secret:
    """Return the headers of the export if they can be sent. Raises: SecretRefused."""
    try:
        parse_headers(headers.reveal_text())
    except HeadersRefused as refused:
        raise SecretRefused(str(refused)) from None
    return headers


def _check_endpoint(reader: Reader, endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or not host:
        reader.fault(ENDPOINT, "is not the URL of a collector", "write it as https://collector.internal:4318")
    elif parts.username is not None or parts.query or parts.fragment:
        reader.fault(ENDPOINT, "holds a user, a query or a fragment", f"remove it; a token goes into {HEADERS}")
    elif parts.scheme == "http" and not is_loopback(host):
        if reader.given(HEADERS):
            reader.fault(ENDPOINT, f"is plaintext (http://) to another machine, and {HEADERS} is set", "use https://")
        else:
            reader.faults.warn(ENDPOINT, "is plaintext (http://) to another machine", "use https:// where you can")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
