"""Settings of traces: off by default, refused by name where they cannot work."""

from __future__ import annotations

import sys

import pytest

from gateway.core.trace_context import Sampler, Sampling
from tests.config.valid_settings import WHOLE, loaded
from tests.config.valid_settings import refused as refusal

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
ON = {**WHOLE, ENDPOINT: "http://127.0.0.1:4318"}


def refused(environ: dict[str, str]) -> list[tuple[str, str]]:
    return [(fault.setting, f"{fault.problem}; {fault.remedy}") for fault in refusal(environ).faults]


def test_without_an_endpoint_there_are_no_traces() -> None:
    """Whatever else is set, which may be meant for other programs."""
    assert loaded(WHOLE).traces is None
    assert loaded({**ON, "OTEL_SDK_DISABLED": "true"}).traces is None


def test_the_settings_are_taken() -> None:
    """Those of OpenTelemetry's names."""
    traces = loaded(
        {
            **ON,
            "OTEL_SERVICE_NAME": "edge",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.01",
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b, x=y",
        }
    ).traces
    assert traces is not None
    assert Sampling(sampler=Sampler.PARENT_RATIO, ratio=0.01) == traces.settings.sampling
    assert ("edge", ON[ENDPOINT]) == (traces.settings.service_name, traces.settings.endpoint)
    assert traces.headers is not None


def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    ((setting, text),) = refused(ON)
    assert (setting, "pip install 'phoenix-gateway[otel]'" in text) == (ENDPOINT, True)


def test_headers_do_not_travel_in_plaintext() -> None:
    """To another machine."""
    ((setting, _),) = refused({**ON, ENDPOINT: "http://collector:4318", "OTEL_EXPORTER_OTLP_HEADERS": "a=b"})
    assert setting == ENDPOINT


def test_a_plaintext_collector_elsewhere_is_a_warning() -> None:
    """Many run beside the gateway's machine; without headers, no secret travels."""
    warnings = loaded({**ON, ENDPOINT: "http://collector:4318"}).warnings
    assert ENDPOINT in [one.setting for one in warnings]
