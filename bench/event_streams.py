"""Streams of events: `python -m bench.event_streams`, a process of its own.

Some streams, each with a few messages of 100 events in flight; prints one JSON line of what was acknowledged. A message
of 100 costs a server so much that grpc's own client keeps up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc

from bench.prepared import BATCH, METADATA_JSON
from gateway.v1 import events_pb2

PATH = "/phoenix.gateway.v1.EventService/StreamEvents"
IN_FLIGHT = 4
"""Messages of one stream that are not acknowledged yet."""
DRAIN_S = 30.0
"""How long what is on its way may take when the time is up."""


@dataclass(slots=True, kw_only=True)
class Streamed:
    """What came back. `failures` counts what was wrong with acknowledgements; `busy`: CPU time over elapsed time."""

    events: int = 0
    per_s: float = 0.0
    busy: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)


def _message() -> events_pb2.StreamEventsRequest:
    return events_pb2.StreamEventsRequest(
        events=[
            events_pb2.Event(
                leaderboard_id="xp-weekly", user_id=f"player-{number}", score_delta=50, metadata_json=METADATA_JSON
            )
            for number in range(BATCH)
        ]
    )


class _Stream:
    """One stream, until the time is up and all that was sent is acknowledged."""

    def __init__(self, channel: grpc.aio.Channel, body: bytes, until: float) -> None:
        self._call: Any = channel.stream_stream(PATH)
        self._body = body
        self._until = until
        self._timeout_s = until - time.monotonic() + DRAIN_S
        self._free = asyncio.Semaphore(IN_FLIGHT)
        self.acknowledged = 0
        self.failures: Counter[str] = Counter()

    async def run(self) -> None:
        """Send and check."""
        expected = 0
        async for data in self._call(self._requests(), timeout=self._timeout_s):
            answer = events_pb2.StreamEventsResponse.FromString(data)
            expected += 1
            if answer.sequence != expected:
                self.failures["acknowledged out of order"] += 1
            if len({result.event_id for result in answer.results}) != BATCH:
                self.failures["event ids not unique"] += 1
            if any(result.status != events_pb2.EVENT_STATUS_ACCEPTED for result in answer.results):
                self.failures["not accepted"] += 1
            if time.monotonic() < self._until:
                self.acknowledged += BATCH
            self._free.release()

    async def _requests(self) -> AsyncIterator[bytes]:
        sequence = 0
        while time.monotonic() < self._until:
            await self._free.acquire()
            sequence += 1
            # Serialised messages that are joined are merged: the events are serialised once for all.
            yield self._body + events_pb2.StreamEventsRequest(sequence=sequence).SerializeToString()


async def _run(port: int, streams: int, seconds: float) -> Streamed:
    body = _message().SerializeToString()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.channel_ready()
        began, used = time.monotonic(), time.process_time()
        running = [_Stream(channel, body, began + seconds) for _ in range(streams)]
        results = await asyncio.gather(*(stream.run() for stream in running), return_exceptions=True)
        busy = (time.process_time() - used) / (time.monotonic() - began)
    failures: Counter[str] = Counter()
    for stream, result in zip(running, results, strict=True):
        failures += stream.failures
        if isinstance(result, BaseException):
            failures[type(result).__name__] += 1
    events = sum(stream.acknowledged for stream in running)
    return Streamed(events=events, per_s=events / seconds, busy=busy, failures=dict(failures))


def main() -> None:
    """Stream and report."""
    parser = argparse.ArgumentParser(prog="python -m bench.event_streams", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--streams", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    streamed = asyncio.run(_run(options.port, options.streams, options.seconds))
    sys.stdout.write(json.dumps(asdict(streamed)) + "\n")


if __name__ == "__main__":
    main()
