"""Begins the span of a call that is sampled, and says at its end how the call ended and what it was about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from google.rpc import code_pb2

from gateway.actions.shared.call import Call
from gateway.interceptors.call_log import status_and_reason
from gateway.interceptors.chain import ArrivalCheck, EndObserver
from gateway.telemetry.spans import OWN, CallTrace, Value

_FAULTS_HERE = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Statuses that make a server's span an error, as OpenTelemetry lists them. The others are the caller's doing."""


class Tracer(Protocol):
    """Makes spans; `telemetry.tracing.Tracing` in the gateway."""

    def begin(self, method: str, metadata: Mapping[str, str]) -> CallTrace | None:
        """Begin the span of a call."""
        ...


class CallTraces(ArrivalCheck, EndObserver):
    """Traces calls. In the chain only if traces are on."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def before(self, call: Call) -> None:
        """Begin the span."""
        call.trace = self._tracer.begin(call.method, call.metadata)

    def after(self, call: Call, error: BaseException | None) -> None:
        """End the span."""
        span = None if call.trace is None else call.trace.span
        if span is None:
            return
        status, reason = status_and_reason(error)
        span.set("rpc.grpc.status_code", code_pb2.Code.Value(status))
        for name, value in _about(call):
            if value is not None and value != "":
                span.set(OWN + name, value)
        if status in _FAULTS_HERE:
            span.failed(reason)
        elif reason:
            span.set("error.type", reason)
        span.end()


def _about(call: Call) -> tuple[tuple[str, Value | None], ...]:
    record, wallet = call.record, call.record.wallet
    return (
        ("request_id", call.request_id),
        ("caller", call.caller),
        ("tenant", record.tenant),
        ("operator", record.operator),
        ("environment", record.environment),
        ("surface", record.surface),
        ("events", record.events),
        ("delivery", record.delivery),
        ("count", record.count),
        ("verdict", None if wallet is None or wallet.verdict is None else wallet.verdict.value),
        ("disposition", None if wallet is None or wallet.disposition is None else wallet.disposition.value),
        ("suspect_replay", True if wallet is not None and wallet.suspect_replay else None),
    )
