"""A collector of the tests: takes traces over OTLP/HTTP on a free port, and keeps what arrived."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

WITHIN_S = 30.0
_FIRST = (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CONSUMER)


class Collector:
    """One collector; a context manager. `hang` makes it answer nothing, until it ends."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.raw = bytearray()
        self._goes_on = threading.Event()
        self._goes_on.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector._goes_on.wait()
                collector._take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def hang(self) -> None:
        """Answer no export from now on."""
        self._goes_on.clear()

    def wait(self, found: Callable[[list[Span]], bool]) -> list[Span]:
        """Return all spans as soon as `found` holds for them. Raises: AssertionError."""
        until = time.monotonic() + WITHIN_S
        while not found(self.spans):
            assert time.monotonic() < until, [(span.name, attributes(span)) for span in self.spans]
            time.sleep(0.02)
        return list(self.spans)

    def trace(self, trace_id: str) -> list[Span]:
        """Return the spans of a trace in the order of their beginning, once the first one, which ends last, is here."""
        wanted = bytes.fromhex(trace_id)
        self.wait(lambda spans: any(span.trace_id == wanted and span.kind in _FIRST for span in spans))
        return sorted((one for one in self.spans if one.trace_id == wanted), key=lambda one: one.start_time_unix_nano)

    def _take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        assert path == "/v1/traces"
        self.headers.append(headers)
        self.raw += body
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(_values(group.resource.attributes))
            for scope in group.scope_spans:
                self.spans += scope.spans

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._goes_on.set()
        self._server.shutdown()
        self._server.server_close()


def attributes(span: Span) -> dict[str, Any]:
    """Return a span's attributes."""
    return _values(span.attributes)


def tree(spans: list[Span]) -> list[tuple[str, str]]:
    """Return each span of a trace with the name of its parent; empty where that is not among them."""
    names = {span.span_id: span.name for span in spans}
    return [(span.name, names.get(span.parent_span_id, "")) for span in spans]


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> Any:
    kind = pair.value.WhichOneof("value")
    return None if kind is None else getattr(pair.value, kind)
