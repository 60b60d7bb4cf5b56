"""The spans of a trace: which there are, what they may say, and the one that the running code belongs to.

Where the gateway waits for something, the code says `with child(REQUEST) as span:`. That costs a look at a context
variable and gives None, unless the call is sampled. `tracing.py` makes the spans; nothing here imports OpenTelemetry.

Attributes are an allow-list for each span: what is not in its list is dropped. None of them holds an id of a user, a
payload, a path, a key or a text of an error. Names are those of OpenTelemetry's semantic conventions, or begin with
`phoenix_gateway.`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

T = TypeVar("T")
Value = str | int
OWN = "phoenix_gateway."
MAX_VALUE_CHARS = 256
MAX_CHILDREN = 128
"""Spans below one call or delivery. A stream may last for hours, and a trace of thousands of spans helps nobody."""


class Kind(enum.Enum):
    """The role of a span. The values are OpenTelemetry's."""

    INTERNAL = 0
    SERVER = 1
    CLIENT = 2
    CONSUMER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanType:
    """One sort of span. `allowed`: the attributes that it may have; `fixed`: those that all of them have."""

    name: str
    kind: Kind
    allowed: frozenset[str] = frozenset()
    fixed: Mapping[str, Value] = field(default_factory=dict)


CALL = SpanType(
    name="call",
    kind=Kind.SERVER,
    allowed=frozenset(
        {
            "rpc.service", "rpc.method", "rpc.grpc.status_code", "error.type",
            *(
                OWN + name
                for name in (
                    "request_id", "caller", "tenant", "operator", "environment", "surface", "events", "delivery",
                    "count", "verdict", "disposition", "suspect_replay",
                )
            ),
        }
    ),
    fixed={"rpc.system": "grpc"},
)  # fmt: skip
"""A call, named by its method."""
REQUEST = SpanType(
    name="HTTP",
    kind=Kind.CLIENT,
    allowed=frozenset(
        {
            "http.request.method",
            "http.response.status_code",
            "url.scheme",
            "server.address",
            "server.port",
            "error.type",
        }
    ),
)
"""One request to Phoenix, named by its HTTP method. Its path may hold the id of a user and is left out."""
REDIS = SpanType(
    name="redis",
    kind=Kind.CLIENT,
    allowed=frozenset({"server.address", "error.type"}),
    fixed={"db.system.name": "redis"},
)
"""One use of Redis, which may be several commands."""
DATABASE = SpanType(
    name="database",
    kind=Kind.CLIENT,
    allowed=frozenset({"db.system.name", "db.operation.name", "error.type"}),
)
"""One transaction; for a commit that is shared with other calls, the wait until it is durable."""
PLATFORM_KEY = SpanType(name="platform key", kind=Kind.INTERNAL, allowed=frozenset({"error.type"}))
"""The wait for Phoenix's public key. The request that fetches it belongs to the call that began the fetch."""
SHARED_REQUEST = SpanType(name="shared request", kind=Kind.INTERNAL, allowed=frozenset({"error.type"}))
"""The wait for a request to Phoenix that takes the events of several calls. It belongs to one of them."""
DELIVERY = SpanType(
    name="deliver events",
    kind=Kind.CONSUMER,
    allowed=frozenset({OWN + "tenant", OWN + "events", "error.type"}),
)
"""The delivery of durable events, linked to the calls that queued them."""


class Span(Protocol):
    """An open span of a sampled call."""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        ...

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether it has begun and not ended. Tasks may outlive the call that started them."""
        ...

    def set(self, name: str, value: Value) -> None:
        """Set an attribute, if it is allowed."""
        ...

    def failed(self, error_type: str) -> None:
        """Mark the span as failed. Args: `error_type`: a reason or the name of a class, never a text."""
        ...

    def child(
        self, kind: SpanType, name: str, attributes: Mapping[str, Value] | None = None
    ) -> AbstractContextManager[Span | None]:
        """Return a span below this one, which begins when it is entered."""
        ...


class CallSpan(Span, Protocol):
    """The span of a call."""

    def end(self) -> None:
        """End it."""
        ...


class CallTrace(NamedTuple):
    """The trace that a call belongs to. `span`: None if the call is not sampled, and only its caller named a trace."""

    trace_id: str
    span: CallSpan | None


OpenSpan = AbstractContextManager[Span | None]
Linked = Callable[[Sequence[str | None]], OpenSpan]
"""Makes the span of a delivery. Args: what `link` returned in each of the calls."""

CURRENT: ContextVar[Span | None] = ContextVar("span", default=None)
"""The span that the running code belongs to. Tasks that the code starts inherit it, so it may have ended."""


class _NoSpan(AbstractContextManager[None]):
    """What code gets that belongs to no sampled call."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


NO_SPAN = _NoSpan()


def child(kind: SpanType, name: str = "", attributes: Mapping[str, Value] | None = None) -> OpenSpan:
    """Return a span below the current one; one that is None if there is no current one.

    Args: `name`: by default its kind's.
    """
    current = CURRENT.get()
    return NO_SPAN if current is None else current.child(kind, name or kind.name, attributes)


def traced(kind: SpanType, attributes: Mapping[str, Value], work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """Return the work in a span below the current one; the work itself, which costs nothing, if there is no current
    one.
    """
    current = CURRENT.get()
    return work if current is None else _within(current.child(kind, kind.name, attributes), work)


async def _within(span: OpenSpan, work: Coroutine[Any, Any, T]) -> T:
    with span:
        return await work


def unlinked(_links: Sequence[str | None]) -> OpenSpan:
    """Make no span: a `Linked` for a gateway without traces."""
    return NO_SPAN


def link() -> str | None:
    """Return what a later delivery needs to name the current call: its `traceparent`. None if it is not sampled."""
    current = CURRENT.get()
    return None if current is None or not current.is_open else f"00-{current.trace_id}-{current.span_id}-01"


def trace_fields() -> dict[str, str]:
    """Return the fields of a log line that name the current span; empty if there is none."""
    current = CURRENT.get()
    return {} if current is None or not current.is_open else ids_of(current)


def ids_of(span: Span) -> dict[str, str]:
    """Return the ids of a span, as log lines and exemplars name them."""
    return {"trace_id": span.trace_id, "span_id": span.span_id}
