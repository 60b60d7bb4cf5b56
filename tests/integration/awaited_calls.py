"""Calls that are refused, and answers that take a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest


def eventually(look: Callable[[], Any], within_s: float = 5.0) -> Any:
    """Return the first answer that is true; the last one when time is over."""
    until = time.monotonic() + within_s
    while not (found := look()) and time.monotonic() < until:
        time.sleep(0.02)
    return found


def refused(call: Callable[[], Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value
