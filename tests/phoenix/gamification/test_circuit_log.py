"""The log says once why a circuit opened, and once that it closed."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from gateway import errors
from gateway.core.types import TenantId
from gateway.phoenix.answers import Surface
from gateway.phoenix.gamification.client import GamificationClient
from gateway.phoenix.http_types import NotSent
from gateway.phoenix.retry import Idempotency, RetryingSender, RetryPolicy
from gateway.resilience.breaker import Breaker
from gateway.resilience.deadline import Deadline
from gateway.resilience.retry import RetrySettings
from tests.manual_clock import ManualClock
from tests.phoenix.scripted_sender import ScriptedSender


async def test_an_open_circuit_is_logged_once_with_its_cause() -> None:
    """The host, the kind of failure and what to do; then one line when Phoenix answers again."""
    clock = ManualClock()
    sender = ScriptedSender(*[NotSent("the host name could not be resolved")] * 8, 202, 202)
    client = GamificationClient(
        retrying=RetryingSender(sender=sender, clock=clock, settings=RetryPolicy(retry=RetrySettings(max_tries=1))),
        base_url="https://phoenix.example",
        tenant_id=TenantId("t"),
        surface=Surface.INGESTION,
        authorize=lambda method, path, body: {},
        breaker=Breaker(clock),
    )

    async def post() -> None:
        deadline = Deadline.after(5, clock)
        await client.post("/v1/events", b"{}", deadline, idempotency=Idempotency.NOT_IDEMPOTENT)

    with capture_logs() as lines:
        for _ in range(8):
            with pytest.raises(errors.PhoenixUnavailable):
                await post()
            clock.advance(31)
        await post()
        await post()
    assert [line["event"] for line in lines] == ["not available", "available again"]
    assert lines[0]["address"] == "https://phoenix.example"
    assert "the host name could not be resolved" in lines[0]["trouble"]
    assert lines[1]["count"] == 4  # from the fifth failure in a row on
