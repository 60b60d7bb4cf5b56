"""`events send` is stopped at the one moment that no signal of a test meets by chance: while it begins a stream."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import grpc
import pytest

from gateway.cli.events_lines import read_lines
from gateway.cli.events_pace import Pace
from gateway.cli.events_progress import Journal
from gateway.cli.events_stream import EventSending, StreamOptions
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess

STOPS_WITHIN_S = 20.0


class StopAtStream(grpc.StreamStreamClientInterceptor):
    """Stops the run when its second stream begins, before the run waits for it."""

    def __init__(self) -> None:
        self.streams = 0
        self.sending: EventSending | None = None

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        self.streams += 1
        if self.streams == 2:
            assert self.sending is not None
            self.sending.stop()
        return continuation(client_call_details, request_iterator)


@pytest.mark.timeout(200)  # without the check the run waits for an answer for two minutes
def test_a_stop_while_a_stream_begins_is_heard(sandbox: SandboxProcess) -> None:
    """The gateway is gone and the run waits for it. It would not end before its wait does."""
    lines = b"".join(
        json.dumps({"leaderboard_id": "xp", "user_id": f"u{n}", "score_delta": 1}).encode() + b"\n" for n in range(5000)
    )
    at_stream = StopAtStream()
    with (
        GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as gateway,
        grpc.insecure_channel(gateway.address) as plain,
    ):
        stopped_at: list[float] = []

        def on_progress() -> None:
            if not stopped_at:
                gateway.stop()
                stopped_at.append(time.monotonic())

        sending = EventSending(
            grpc.intercept_channel(plain, at_stream),
            read_lines(io.BytesIO(lines), "", ""),
            Journal(),
            StreamOptions(durable=False, resend_unknown=False, patience_s=60),
            Pace(500),
            lambda failure: None,
            on_progress,
        )
        at_stream.sending = sending
        sending.run()
        assert time.monotonic() - stopped_at[0] < STOPS_WITHIN_S
    assert (2, False) == (at_stream.streams, sending.is_complete)
