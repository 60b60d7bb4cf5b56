"""Traces: makes the spans of spans.py with OpenTelemetry's SDK, and exports them in a thread of their own.

The only module that imports OpenTelemetry; it is imported only if OTEL_EXPORTER_OTLP_ENDPOINT is set. Whether a call is
sampled is decided before the SDK sees it: most calls are not, and cost a microsecond. The queue to the exporter is
bounded. A collector that hangs or is gone costs spans, which are counted, and no call.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import Token
from types import TracebackType

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from gateway.core.trace_context import TraceParent, bounded_state, parse_traceparent
from gateway.errors import CallerFault, GatewayError
from gateway.telemetry import trace_settings
from gateway.telemetry.spans import (
    CALL,
    CURRENT,
    DELIVERY,
    MAX_CHILDREN,
    MAX_VALUE_CHARS,
    NO_SPAN,
    CallTrace,
    OpenSpan,
    Span,
    SpanType,
    Value,
)
from gateway.telemetry.trace_settings import TraceSettings, parse_headers
from gateway.telemetry.trouble import TroubleLog

MAX_LINKS = 128
"""As many as the SDK keeps."""
STOP_WITHIN_S = 2.0
"""How long the end of the process waits for the last spans to be sent."""
_STANDARD = "/grpc."
"""Probes and reflection begin no trace: they would be most of what a collector gets from an idle gateway."""
_ADVICE = "look at the collector at OTEL_EXPORTER_OTLP_ENDPOINT; spans are lost until it takes them, calls are not"


class Tracing:
    """The traces of this process."""

    def __init__(self, settings: TraceSettings, *, version: str, on_spans: Callable[[str, int], None]) -> None:
        """Start the exporting thread.

        Args: `on_spans` receives the counts of `exported`, `failed` and `dropped` spans, from any thread.
        """
        # Its loggers write texts of errors, with addresses and headers, for every batch.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._sampling, self._share = settings.sampling, settings.sampling.share
        self._exporter = _CountingExporter(settings.endpoint, on_spans)
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # what reaches the SDK is sampled
            resource=_resource(settings.service_name, version),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(_BoundedProcessor(self._exporter, settings, on_spans))
        self._tracer = self._provider.get_tracer("phoenix-gateway", version)

    def begin(self, method: str, metadata: Mapping[str, str]) -> CallTrace | None:
        """Begin the span of a call if it is sampled, and make it current for the task.

        Returns: None if the call belongs to no trace.
        """
        sent = metadata.get("traceparent")
        parent = None if sent is None else parse_traceparent(sent)
        if parent is None:
            is_sampled = random.random() < self._share and not method.startswith(_STANDARD)  # noqa: S311 - no secret
        else:
            is_sampled = self._sampling.wants(parent)
        if not is_sampled:
            if CURRENT.get() is not None:
                CURRENT.set(None)  # the front may start a call from the task of another one
            return None if parent is None else CallTrace(parent.trace_id, None)
        context = None if parent is None else _context_of(parent, bounded_state(metadata.get("tracestate")))
        call = _OpenSpan(self._tracer, CALL, method[1:], context or Context())
        call.begin()
        service, _, name = method[1:].rpartition("/")
        call.set("rpc.service", service)
        call.set("rpc.method", name)
        CURRENT.set(call)
        return CallTrace(call.trace_id, call)

    def delivery(self, links: Sequence[str | None]) -> OpenSpan:
        """Return the span of a delivery of durable events; None for events of calls that were not sampled."""
        parents = [parent for text in dict.fromkeys(links) if text and (parent := parse_traceparent(text)) is not None]
        if not parents:
            return NO_SPAN
        linked = [Link(_span_context(parent)) for parent in parents[:MAX_LINKS]]
        return _OpenSpan(self._tracer, DELIVERY, DELIVERY.name, Context(), links=linked)

    def use_headers(self, headers: str) -> None:
        """Send these with each batch from now on. Args: as `name=value,name=value`. Raises: HeadersRefused."""
        self._exporter.use_headers(headers)

    async def stop(self) -> None:
        """Send the last spans, if the collector takes them in time."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            try:
                loop.call_soon_threadsafe(done.set)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

        threading.Thread(target=shut_down, name="traces-stop", daemon=True).start()
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await done.wait()
        except TimeoutError:
            pass


class _OpenSpan:
    """A span that begins when it is entered. Below one that has ended, no span is made."""

    __slots__ = (
        "_attributes", "_children", "_context", "_kind", "_links", "_name", "_root", "_span", "_token", "_tracer",
        "is_open", "span_id", "trace_id",
    )  # fmt: skip

    def __init__(
        self,
        tracer: Tracer,
        kind: SpanType,
        name: str,
        context: Context,
        *,
        root: _OpenSpan | None = None,
        links: Sequence[Link] = (),
        attributes: Mapping[str, Value] | None = None,
    ) -> None:
        self._tracer, self._kind, self._name, self._context, self._links = tracer, kind, name, context, links
        self._root = root or self
        self._attributes = attributes or {}
        self._children = 0
        self.is_open = False
        self._span: SdkSpan | None = None
        self._token: Token[Span | None] | None = None
        self.trace_id = self.span_id = ""

    def begin(self) -> None:
        """Begin it."""
        span = self._tracer.start_span(
            self._name,
            self._context,
            SpanKind(self._kind.kind.value),
            attributes={**self._kind.fixed, **self._attributes},
            links=self._links,
        )
        assert isinstance(span, SdkSpan), "the SDK samples all that it is given"
        self._span, self.is_open = span, True
        ids = span.get_span_context()
        self.trace_id, self.span_id = format_trace_id(ids.trace_id), format_span_id(ids.span_id)

    def end(self) -> None:
        """End it."""
        self.is_open = False
        if self._span is not None:
            self._span.end()

    def set(self, name: str, value: Value) -> None:
        """Set an attribute, if it is allowed."""
        if name not in self._kind.allowed or self._span is None:
            return
        if isinstance(value, bool | int):
            self._span.set_attribute(name, value)
        else:
            self._span.set_attribute(name, str(value)[:MAX_VALUE_CHARS])

    def failed(self, error_type: str) -> None:
        """Mark it as failed."""
        if self._span is not None:
            self.set("error.type", error_type)
            self._span.set_status(StatusCode.ERROR)

    def child(self, kind: SpanType, name: str, attributes: Mapping[str, Value] | None = None) -> OpenSpan:
        """Return a span below it; none if it has ended, or has too many."""
        root = self._root
        if not self.is_open or self._span is None or root._children >= MAX_CHILDREN:
            return NO_SPAN
        root._children += 1
        context = set_span_in_context(self._span, Context())
        return _OpenSpan(self._tracer, kind, name, context, root=root, attributes=attributes)

    def __enter__(self) -> Span:
        self.begin()
        self._token = CURRENT.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _where: TracebackType | None
    ) -> None:
        if self._token is not None:
            CURRENT.reset(self._token)
        if error is not None and not isinstance(error, CallerFault):
            # By its class: the text of an error may hold anything.
            self.failed(error.reason if isinstance(error, GatewayError) else type(error).__name__)
        self.end()


class _CountingExporter(SpanExporter):
    """OTLP over HTTP. Counts what was sent, and logs once that a collector fails. Lives in the exporting thread."""

    def __init__(self, endpoint: str, on_spans: Callable[[str, int], None]) -> None:
        self._url = f"{endpoint.rstrip('/')}/v1/traces"
        self._on_spans = on_spans
        self._trouble = TroubleLog("traces", address=endpoint, advice=_ADVICE)
        self._otlp = OTLPSpanExporter(endpoint=self._url)
        self.taken = 0
        """How many spans have left the queue."""

    def use_headers(self, headers: str) -> None:
        """Send these from the next batch on."""
        self._otlp = OTLPSpanExporter(endpoint=self._url, headers=parse_headers(headers))

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch. Never raises."""
        self.taken += len(spans)
        error: Exception = _NotTaken("the collector did not take a batch of spans")
        try:
            result = self._otlp.export(spans)
        except Exception as raised:  # noqa: BLE001 - whatever the library raises, the thread goes on
            result, error = SpanExportResult.FAILURE, raised
        if result is SpanExportResult.SUCCESS:
            self._trouble.works()
            self._on_spans("exported", len(spans))
        else:
            self._trouble.failed(error)
            self._on_spans("failed", len(spans))
        return result

    def shutdown(self) -> None:
        """Try no more."""
        self._otlp.shutdown()  # type: ignore[no-untyped-call]


class _NotTaken(Exception):
    """The library reports a failure without its cause."""

    @property
    def trouble(self) -> str:
        """The message, which may be logged."""
        return str(self)


class _BoundedProcessor(SpanProcessor):
    """Gives ended spans to the exporting thread. Those for which there is no room are counted and dropped."""

    def __init__(
        self, exporter: _CountingExporter, settings: TraceSettings, on_spans: Callable[[str, int], None]
    ) -> None:
        self._exporter = exporter
        self._max_waiting = settings.max_waiting
        self._on_spans = on_spans
        # One more than ever wait: the SDK drops without telling.
        self._batches = BatchSpanProcessor(
            exporter,
            max_queue_size=settings.max_waiting + 1,
            max_export_batch_size=min(settings.batch, settings.max_waiting),
            schedule_delay_millis=settings.every_ms,
        )
        self._given = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span. In the event loop's thread only."""
        if self._given - self._exporter.taken >= self._max_waiting:
            self._on_spans("dropped", 1)
            return
        self._given += 1
        self._batches.on_end(span)

    def shutdown(self) -> None:
        """Send what waits."""
        self._batches.shutdown()  # type: ignore[no-untyped-call]


def _resource(service_name: str, version: str) -> Resource:
    """Return what the process says of itself: OTEL_RESOURCE_ATTRIBUTES, and its name and version."""
    found = Resource.create({SERVICE_VERSION: version})
    if service_name:
        return found.merge(Resource({SERVICE_NAME: service_name}))
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        return found.merge(Resource({SERVICE_NAME: trace_settings.SERVICE_NAME}))
    return found


def _context_of(parent: TraceParent, state: str) -> Context:
    return set_span_in_context(NonRecordingSpan(_span_context(parent, state)), Context())


def _span_context(parent: TraceParent, state: str = "") -> SpanContext:
    return SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT),
        trace_state=TraceState.from_header([state]) if state else None,
    )
