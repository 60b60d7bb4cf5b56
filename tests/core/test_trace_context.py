"""Trace contexts of callers: what is taken from them, what is treated as absent, which calls are sampled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import sampling
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.core.trace_context import (
    MAX_STATE_CHARS,
    Sampler,
    Sampling,
    TraceParent,
    bounded_state,
    parse_traceparent,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"
TEXTS = st.one_of(
    st.text(alphabet="0123456789abcdef-", max_size=60),
    st.from_regex(r"(00|01|cc|ff)-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-x)?", fullmatch=True),
)


def test_a_valid_header_is_read() -> None:
    """The ids and the sampled flag; other flags are ignored."""
    assert TraceParent(TRACE, SPAN, True) == parse_traceparent(GOOD)
    assert TraceParent(TRACE, SPAN, False) == parse_traceparent(f"00-{TRACE}-{SPAN}-02")


def test_a_later_version_may_say_more() -> None:
    """Behind a dash."""
    assert TraceParent(TRACE, SPAN, True) == parse_traceparent(f"01-{TRACE}-{SPAN}-01-what-the-future-brings")


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD.upper(),
        GOOD + "-more",
        GOOD + "\n",
        GOOD[:-1],
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"01-{TRACE}-{SPAN}-01.more",
        GOOD * 1000,
    ],
)
def test_any_other_header_is_treated_as_absent(text: str) -> None:
    """A call is never refused for it."""
    assert parse_traceparent(text) is None


@given(TEXTS)
def test_opentelemetry_reads_the_same(text: str) -> None:
    """Whatever a caller sends."""
    context = TraceContextTextMapPropagator().extract({"traceparent": text})
    spans = [one for one in context.values() if isinstance(one, NonRecordingSpan)]
    theirs = spans[0].get_span_context() if spans else None
    ours = parse_traceparent(text)
    assert (theirs is None) == (ours is None)
    if theirs is not None and ours is not None:
        found = (int(ours.trace_id, 16), int(ours.span_id, 16), ours.is_sampled)
        assert (theirs.trace_id, theirs.span_id, theirs.trace_flags.sampled) == found


def test_a_state_is_bounded() -> None:
    """A longer one is dropped whole, and so is one that is no header text."""
    longest = "a" * MAX_STATE_CHARS
    assert (longest, "", "", "") == tuple(map(bounded_state, (longest, longest + "a", "a=\x00", None)))


@given(
    st.sampled_from(list(Sampler)),
    st.floats(min_value=0, max_value=1),
    st.integers(min_value=1, max_value=(1 << 128) - 1),
    st.booleans(),
)
def test_the_samplers_decide_as_those_of_the_sdk(sampler: Sampler, ratio: float, trace_id: int, sampled: bool) -> None:
    """For calls with a caller's trace, by every rule."""
    theirs = {
        Sampler.ALWAYS_ON: sampling.ALWAYS_ON,
        Sampler.ALWAYS_OFF: sampling.ALWAYS_OFF,
        Sampler.RATIO: sampling.TraceIdRatioBased(ratio),
        Sampler.PARENT_ON: sampling.DEFAULT_ON,
        Sampler.PARENT_OFF: sampling.DEFAULT_OFF,
        Sampler.PARENT_RATIO: sampling.ParentBasedTraceIdRatio(ratio),
    }[sampler]
    parent = SpanContext(trace_id, 1, is_remote=True, trace_flags=TraceFlags(int(sampled)))
    result = theirs.should_sample(set_span_in_context(NonRecordingSpan(parent)), trace_id, "call")
    ours = Sampling(sampler=sampler, ratio=ratio).wants(TraceParent(f"{trace_id:032x}", f"{1:016x}", sampled))
    assert (result.decision is sampling.Decision.RECORD_AND_SAMPLE) == ours


def test_without_a_callers_trace_a_share_is_sampled() -> None:
    """All, none, or the ratio."""
    shares = [Sampling(sampler=sampler, ratio=0.25).share for sampler in Sampler]
    assert shares == [1.0, 0.0, 0.25, 1.0, 0.0, 0.25]
