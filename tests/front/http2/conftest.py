"""Each test with `engine` runs on both engines."""

from __future__ import annotations

import pytest

from gateway.front.http2.h2_engine import H2Engine
from gateway.front.http2.nghttp2_engine import Nghttp2Engine
from tests.front.http2.handlers import MakeEngine


@pytest.fixture(params=[Nghttp2Engine, H2Engine], ids=["nghttp2", "h2"])
def engine(request: pytest.FixtureRequest) -> MakeEngine:
    """An engine of a connection."""
    made: MakeEngine = request.param
    return made
