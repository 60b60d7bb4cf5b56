"""Short words for the transport's tests: requests, deadlines, and the failure that a send ends with."""

import pytest

from gateway.phoenix.http_types import ExchangeFailed, Request
from gateway.phoenix.transport import Transport
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline

CLOCK = SystemClock()


def soon(seconds: float = 5.0) -> Deadline:
    return Deadline.after(seconds, CLOCK)


def post(url: str, body: bytes = b'{"a":1}', path: str = "/v1/events") -> Request:
    return Request(method="POST", url_base=url, raw_path=path, headers={"content-type": "application/json"}, body=body)


def get(url: str, path: str = "/health") -> Request:
    return Request(method="GET", url_base=url, raw_path=path)


async def failure_of(transport: Transport, request: Request, seconds: float = 5.0) -> ExchangeFailed:
    with pytest.raises(ExchangeFailed) as caught:
        await transport.send(request, soon(seconds))
    return caught.value
