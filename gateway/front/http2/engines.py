"""Which HTTP/2 engine this machine has: libnghttp2's, else the one in Python. Imports neither grpc nor an engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gateway.front.http2.engine import Engine, EngineSettings

MAX_STREAMS = 4096

MakeEngine = Callable[[], Engine]


def find_engine() -> tuple[MakeEngine | None, str]:
    """Return what makes an engine, None where none is installed; and what is wrong with it, "" for nothing."""
    try:
        from gateway.front.http2.nghttp2_engine import Nghttp2Engine

        return partial(Nghttp2Engine, EngineSettings(max_streams=MAX_STREAMS)), ""
    except ImportError:
        pass
    try:
        from gateway.front.http2.h2_engine import H2Engine
    except ImportError:
        return None, "neither ngh2 nor h2 can be imported, so grpc serves the calls"
    # Fewer streams: it counts all of them at each new one.
    return partial(H2Engine, EngineSettings()), "ngh2 cannot be imported, so h2 serves the calls, many times slower"
