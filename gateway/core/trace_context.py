"""The place of a call in a trace that its caller began, and whether the call is sampled.

A header that is not exactly right is treated as absent, as the standard asks. Source: W3C Trace Context, level 2; the
names of samplers are those of OpenTelemetry's OTEL_TRACES_SAMPLER.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import NamedTuple

MAX_STATE_CHARS = 512
"""Longest `tracestate` that is kept. A longer one is dropped whole: a part of it could mean something else."""

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_STATE = re.compile(r"[\x20-\x7e\t]*")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_CHARS = 55
_SAMPLED = 1


class TraceParent(NamedTuple):
    """The span of another process that caused something here. The ids are in lower-case hexadecimal."""

    trace_id: str
    span_id: str
    is_sampled: bool


def parse_traceparent(text: str) -> TraceParent | None:
    """Return what the header says; None if it is not valid."""
    # A later version may add fields behind a dash. Version 00 has none.
    if len(text) != _CHARS and (text.startswith("00") or text[_CHARS : _CHARS + 1] != "-"):
        return None
    found = _PARENT.fullmatch(text, 0, _CHARS)
    if found is None:
        return None
    version, trace_id, span_id, flags = found.groups()
    if version == "ff" or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceParent(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def bounded_state(text: str | None) -> str:
    """Return the header `tracestate`; empty if there is none, or it is too long or no header text."""
    return text if text is not None and len(text) <= MAX_STATE_CHARS and _STATE.fullmatch(text) else ""


class Sampler(enum.Enum):
    """Which calls are sampled. `parentbased_*`: as the caller decided; the rest applies to calls without a caller's."""

    ALWAYS_ON = "always_on"
    ALWAYS_OFF = "always_off"
    RATIO = "traceidratio"
    PARENT_ON = "parentbased_always_on"
    PARENT_OFF = "parentbased_always_off"
    PARENT_RATIO = "parentbased_traceidratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The rule. `ratio`: the share of calls, for the samplers with a ratio."""

    sampler: Sampler = Sampler.PARENT_ON
    ratio: float = 1.0

    @property
    def share(self) -> float:
        """The share of the calls without a caller's trace that is sampled."""
        match self.sampler:
            case Sampler.ALWAYS_ON | Sampler.PARENT_ON:
                return 1.0
            case Sampler.ALWAYS_OFF | Sampler.PARENT_OFF:
                return 0.0
            case Sampler.RATIO | Sampler.PARENT_RATIO:
                return self.ratio

    def wants(self, parent: TraceParent) -> bool:
        """Tell whether a call in its caller's trace is sampled."""
        match self.sampler:
            case Sampler.PARENT_ON | Sampler.PARENT_OFF | Sampler.PARENT_RATIO:
                return parent.is_sampled
            case _:  # by the trace's id, so that every service of the trace decides alike
                return int(parent.trace_id[16:], 16) < round(self.share * (1 << 64))
