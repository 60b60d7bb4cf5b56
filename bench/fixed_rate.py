"""Durable batches at a fixed rate from many callers: `python -m bench.fixed_rate`, in its own process.

Each call has a due time that does not depend on earlier calls. Its latency counts from the due time, so delays of
a slow server are included. It prints the result as one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc

from bench import payloads
from gateway.v1 import events_pb2

USERS = 10_000
DISTINCT_BATCHES = 200


@dataclass(slots=True, kw_only=True)
class FixedRateResult:
    """The result. `failures` counts failures by kind."""

    events: int = 0
    elapsed_s: float = 0.0
    per_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    worst_ms: float = 0.0
    busy: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)


def batch(rng: random.Random) -> bytes:
    """Return a serialised batch of durable events of many users. The events have no ids."""
    return events_pb2.SubmitEventsRequest(
        delivery=events_pb2.DELIVERY_DURABLE,
        events=[
            events_pb2.Event(
                leaderboard_id="xp-weekly",
                user_id=f"player-{rng.randrange(USERS)}",
                score_delta=50,
                metadata_json=payloads.METADATA_JSON,
            )
            for _ in range(payloads.BATCH)
        ],
    ).SerializeToString()


async def run(port: int, per_s: float, callers: int, seconds: float) -> FixedRateResult:
    """Send `per_s` events per second in batches. With 0, each caller sends the next batch when the last is answered."""
    rng = random.Random(4711)  # noqa: S311 - the same load every time
    batches = [batch(rng) for _ in range(DISTINCT_BATCHES)]
    latencies: list[float] = []
    failures: Counter[str] = Counter()
    accepted = 0
    began_at = time.perf_counter()
    cpu = time.process_time()
    gap_s = payloads.BATCH * callers / per_s if per_s else 0.0

    async def caller(number: int, call: Any) -> None:
        nonlocal accepted
        due = began_at + gap_s * number / callers
        index = number
        while due < began_at + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due = due if gap_s else time.perf_counter()
            try:
                answer = events_pb2.SubmitEventsResponse.FromString(
                    await call(batches[index % DISTINCT_BATCHES], timeout=20)
                )
            except grpc.aio.AioRpcError as error:
                failures[error.code().name] += 1
            else:
                latencies.append(time.perf_counter() - due)
                queued = sum(one.status == events_pb2.EVENT_STATUS_QUEUED for one in answer.results)
                accepted += queued
                if queued != payloads.BATCH:
                    failures["events not queued"] += payloads.BATCH - queued
            index += callers
            due = due + gap_s if gap_s else time.perf_counter()

    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=(("grpc.use_local_subchannel_pool", 1),))
        for _ in range(5)
    ]
    method = f"/{events_pb2.DESCRIPTOR.services_by_name['EventService'].full_name}/SubmitEvents"
    # Use bytes, because a stub would serialise the batch for each call.
    calls: list[Any] = [channel.unary_unary(method) for channel in channels]
    await asyncio.gather(*(caller(number, calls[number % len(calls)]) for number in range(callers)))
    elapsed = time.perf_counter() - began_at
    for channel in channels:
        await channel.close()
    latencies.sort()
    return FixedRateResult(
        events=accepted,
        elapsed_s=elapsed,
        per_s=accepted / elapsed,
        p50_ms=_percentile(latencies, 0.5),
        p99_ms=_percentile(latencies, 0.99),
        worst_ms=_percentile(latencies, 1.0),
        busy=(time.process_time() - cpu) / elapsed,
        failures=dict(failures),
    )


def _percentile(latencies: list[float], share: float) -> float:
    return latencies[min(int(len(latencies) * share), len(latencies) - 1)] * 1000 if latencies else 0.0


def main() -> None:
    """Run the load and print the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.fixed_rate", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--per-s", type=float, default=0.0)
    parser.add_argument("--callers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    outcome = asyncio.run(run(options.port, options.per_s, options.callers, options.seconds))
    print(json.dumps(asdict(outcome)))  # noqa: T201 - the output of this program


if __name__ == "__main__":
    main()
