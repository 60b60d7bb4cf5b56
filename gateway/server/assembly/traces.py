"""Traces, if OTEL_EXPORTER_OTLP_ENDPOINT is set. OpenTelemetry is imported only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config import Config, ConfigInvalid
from gateway.config.faults import Fault
from gateway.config.traces import check_headers
from gateway.server.secret_watch import SecretWatch
from gateway.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from gateway.telemetry.tracing import Tracing


def build_tracing(config: Config, secrets: SecretWatch, version: str, metrics: Metrics) -> Tracing | None:
    """Return the traces of this process, whose exporting thread runs; None without traces.

    Raises: SecretRefused; ConfigInvalid for what the SDK refuses of its settings in the environment.
    """
    if config.traces is None:
        return None
    from gateway.telemetry.tracing import Tracing

    try:
        tracing = Tracing(config.traces.settings, version=version, on_spans=metrics.spans)
    except (ValueError, OSError):  # the text may repeat a value
        problem = "OpenTelemetry refuses one of its variables in the environment"
        raise ConfigInvalid([Fault(setting="OTEL_*", problem=problem, remedy="see docs/traces.md")]) from None
    source = config.traces.headers
    if source is not None:
        headers = secrets.follow(source, check_headers, lambda new: tracing.use_headers(new.reveal_text()))
        tracing.use_headers(headers.current().reveal_text())
    return tracing
