"""Spans of this process: what they may say, where they belong, and what a collector costs that takes none."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from gateway.errors import InvalidField, StoreUnavailable
from gateway.telemetry.spans import CURRENT, MAX_CHILDREN, OWN, REDIS, REQUEST, child, link, trace_fields, traced
from gateway.telemetry.trace_settings import BATCH, MAX_WAITING, TraceSettings
from gateway.telemetry.tracing import Tracing
from tests.otlp_collector import Collector, attributes

METHOD = "/phoenix.gateway.v1.TokenService/MintLaunchJWT"
Make = Callable[..., Tracing]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as one:
        yield one


@pytest.fixture
def counted() -> Counter[str]:
    return Counter()


@pytest.fixture(autouse=True)
def _no_current_span() -> Iterator[None]:
    token = CURRENT.set(None)
    yield
    CURRENT.reset(token)


@pytest.fixture
def make(collector: Collector, counted: Counter[str]) -> Make:
    def made(max_waiting: int = MAX_WAITING, batch: int = BATCH) -> Tracing:
        settings = TraceSettings(endpoint=collector.endpoint, max_waiting=max_waiting, batch=batch, every_ms=20)
        return Tracing(settings, version="1", on_spans=lambda result, count: counted.update({result: count}))

    return made


def begun(tracing: Tracing, sent: str = "") -> str:
    """Begin a sampled call; return its trace."""
    trace_id = secrets.token_hex(16)
    call = tracing.begin(METHOD, {"traceparent": sent or f"00-{trace_id}-{secrets.token_hex(8)}-01"})
    assert call is not None
    return call.trace_id


def end() -> None:
    current = CURRENT.get()
    assert current is not None
    current.end()  # type: ignore[attr-defined] # the span of a call


def test_an_attribute_that_is_not_listed_is_dropped(make: Make, collector: Collector) -> None:
    """And a long value is cut."""
    trace_id = begun(make())
    call = CURRENT.get()
    assert call is not None
    call.set("user_id", "ada")
    call.set(OWN + "caller", "x" * 1000)
    end()
    (span,) = collector.trace(trace_id)
    assert "user_id" not in attributes(span)
    assert len(attributes(span)[OWN + "caller"]) == 256


async def test_work_belongs_to_the_span_around_it(make: Make, collector: Collector) -> None:
    """Also in a task that it starts."""

    async def nested() -> None:
        with child(REQUEST, "GET"):
            pass

    async def work() -> None:
        await asyncio.create_task(nested())

    trace_id = begun(make())
    await traced(REDIS, {"server.address": "r:1"}, work())
    end()
    call, redis, request = collector.trace(trace_id)
    assert (redis.parent_span_id, request.parent_span_id) == (call.span_id, redis.span_id)
    assert attributes(redis) == {"db.system.name": "redis", "server.address": "r:1"}


def test_an_error_is_named_by_its_class_or_reason(make: Make, collector: Collector) -> None:
    """A refusal that is the caller's own fault is no error of what refused it; no text is in a span."""
    trace_id = begun(make())
    for error in (KeyError("secret-1"), StoreUnavailable("secret-2"), InvalidField([])):
        with pytest.raises(type(error)), child(REDIS):
            raise error
    end()
    _, *found = collector.trace(trace_id)
    assert ["KeyError", "STORE_UNAVAILABLE", None] == [attributes(span).get("error.type") for span in found]
    assert b"secret-" not in collector.raw


def test_what_outlives_its_call_is_in_no_trace(make: Make, collector: Collector) -> None:
    """A task of a call may go on for hours."""
    trace_id = begun(make())
    end()
    with child(REDIS) as span:
        assert span is None
    assert (link(), trace_fields()) == (None, {})
    assert len(collector.trace(trace_id)) == 1


def test_a_call_that_is_not_sampled_inherits_no_span(make: Make) -> None:
    """The front starts calls from the tasks of others."""
    tracing = make()
    begun(tracing)
    call = tracing.begin(METHOD, {"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"})
    assert call is not None
    assert (call.trace_id, call.span, CURRENT.get()) == ("a" * 32, None, None)


def test_probes_begin_no_trace(make: Make) -> None:
    """Unless their caller began it."""
    tracing = make()
    assert tracing.begin("/grpc.health.v1.Health/Check", {}) is None
    assert tracing.begin("/grpc.health.v1.Health/Check", {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}) is not None


def test_a_call_has_a_bounded_number_of_spans(make: Make, collector: Collector) -> None:
    """A stream may last for hours."""
    trace_id = begun(make())
    for _ in range(MAX_CHILDREN + 10):
        with child(REDIS):
            pass
    end()
    assert len(collector.trace(trace_id)) == MAX_CHILDREN + 1


def test_a_delivery_is_sampled_with_one_of_its_events(make: Make, collector: Collector) -> None:
    """Each call is linked once; what is stored and cannot be read is left out."""
    tracing = make()
    queued = f"00-{'a' * 32}-{'b' * 16}-01"
    with tracing.delivery([None, "garbage"]) as none:
        assert none is None
    with tracing.delivery([None, queued, queued]) as span:
        assert span is not None
        trace_id = span.trace_id
    (delivery,) = collector.trace(trace_id)
    assert ["b" * 16] == [one.span_id.hex() for one in delivery.links]


def test_new_headers_are_sent_with_the_next_batch(make: Make, collector: Collector) -> None:
    """A token is replaced while the gateway runs."""
    tracing = make()
    for token in ("one", "two"):
        tracing.use_headers(f"x-api-key={token}")
        trace_id = begun(tracing)
        end()
        collector.trace(trace_id)
    assert ["one", "two"] == [headers["x-api-key"] for headers in collector.headers]


async def test_a_collector_that_hangs_delays_nothing(make: Make, collector: Collector, counted: Counter[str]) -> None:
    """The queue is bounded, the rest is counted, and the end waits for two seconds at most."""
    collector.hang()
    tracing = make(max_waiting=10)
    began = time.monotonic()
    for _ in range(50):
        begun(tracing)
        end()
    assert counted["dropped"] >= 30
    await tracing.stop()
    assert time.monotonic() - began < 20  # without a bound: as long as the export's own limits, several times


def test_without_a_collector_nothing_of_opentelemetry_is_imported() -> None:
    """By the gateway. The client of Redis does, where it is installed."""
    code = (
        "import sys, sqlalchemy.ext.asyncio, gateway.server.run, gateway.store.postgres\n"
        "import gateway.store.sqlite, gateway.config.traces\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "[]\n"


async def test_the_end_sends_what_waits(make: Make, collector: Collector, counted: Counter[str]) -> None:
    """Nothing is lost at a stop."""
    tracing = make(batch=500)
    trace_id = begun(tracing)
    end()
    await tracing.stop()
    assert len(collector.trace(trace_id)) == 1
    assert counted == {"exported": 1}
