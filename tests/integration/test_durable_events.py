"""Durable events end to end: committed, delivered once and in order, given up with a reason, redriven."""

from __future__ import annotations

import base64
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from gateway.v1 import events_pb2, events_pb2_grpc
from tests.fixtures_postgres import postgres_server, postgres_url
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.test_events import INGESTION, event, metric, once_each, reason_in, received, refused, told
from tests.sandbox_process import SandboxProcess

__all__ = ["postgres_server", "postgres_url"]

Stub = events_pb2_grpc.EventServiceStub
QUEUED, DUPLICATE = events_pb2.EVENT_STATUS_QUEUED, events_pb2.EVENT_STATUS_DUPLICATE
DURABLE = events_pb2.DELIVERY_DURABLE


@pytest.fixture
def events(channel: grpc.Channel) -> Stub:
    return Stub(channel)


def until(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    """Wait until it holds. Raises: AssertionError."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def submit(events: Stub, *sent: events_pb2.Event) -> list[events_pb2.EventResult]:
    request = events_pb2.SubmitEventsRequest(events=sent, delivery=DURABLE)
    return list(events.SubmitEvents(request, timeout=20).results)


def test_a_durable_event_is_answered_queued_and_delivered_once(events: Stub, sandbox: SandboxProcess) -> None:
    """By SubmitEvent; its repeat is a duplicate."""
    request = events_pb2.SubmitEventRequest(event=event("ada", "durable-1"), delivery=DURABLE)
    first = events.SubmitEvent(request, timeout=10)
    assert ("durable-1", QUEUED) == (first.event_id, first.status)
    assert DUPLICATE == events.SubmitEvent(request, timeout=10).status
    until(lambda: once_each(sandbox, ["durable-1"]))
    assert DUPLICATE == events.SubmitEvent(request, timeout=10).status
    assert 1 == received(sandbox, "durable-1")
