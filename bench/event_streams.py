"""Client of event streams: `python -m bench.event_streams`, in its own process.

It opens some streams, each with a few messages of 100 events in flight, and prints the acknowledged events as one JSON
line. grpc's own client is fast enough here, because a message of 100 events costs the server much more.
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

from bench.payloads import BATCH, METADATA_JSON
from gateway.v1 import events_pb2

PATH = "/phoenix.gateway.v1.EventService/StreamEvents"
IN_FLIGHT = 4
"""Unacknowledged messages of one stream."""
DRAIN_S = 30.0
"""The time for outstanding acknowledgements after the end of the load."""


@dataclass(slots=True, kw_only=True)
class StreamResult:
    """The result. `failures` counts wrong acknowledgements. `busy` is CPU time divided by elapsed time."""

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
    """One stream. It ends when the time is over and every message is acknowledged."""

    def __init__(self, channel: grpc.aio.Channel, body: bytes, until: float) -> None:
        self._call: Any = channel.stream_stream(PATH)
        self._body = body
        self._until = until
        self._timeout_s = until - time.monotonic() + DRAIN_S
        self._free = asyncio.Semaphore(IN_FLIGHT)
        self.acknowledged = 0
        self.failures: Counter[str] = Counter()

    async def run(self) -> None:
        """Send messages and check the acknowledgements."""
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
            # Joined serialised messages are merged on parsing, so the events are serialised only once.
            yield self._body + events_pb2.StreamEventsRequest(sequence=sequence).SerializeToString()


async def _run(port: int, streams: int, seconds: float) -> StreamResult:
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
    return StreamResult(events=events, per_s=events / seconds, busy=busy, failures=dict(failures))


def main() -> None:
    """Run the streams and print the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.event_streams", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--streams", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    streamed = asyncio.run(_run(options.port, options.streams, options.seconds))
    sys.stdout.write(json.dumps(asdict(streamed)) + "\n")


if __name__ == "__main__":
    main()
