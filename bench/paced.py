"""Durable batches at a fixed rate, from many callers: `python -m bench.paced`, a process of its own.

Each call has a time at which it is due, whatever became of those before it, and its latency counts from then: a server
that falls behind is seen. Prints one JSON line.
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

from bench import prepared
from gateway.v1 import events_pb2

USERS = 10_000
PREPARED = 200


@dataclass(slots=True, kw_only=True)
class Paced:
    """What came of it. Latencies in milliseconds; `failures` by what was wrong."""

    events: int = 0
    elapsed_s: float = 0.0
    per_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    worst_ms: float = 0.0
    busy: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)


def batch(chance: random.Random) -> bytes:
    """Return a serialised batch of durable events of many users, without ids."""
    return events_pb2.SubmitEventsRequest(
        delivery=events_pb2.DELIVERY_DURABLE,
        events=[
            events_pb2.Event(
                leaderboard_id="xp-weekly",
                user_id=f"player-{chance.randrange(USERS)}",
                score_delta=50,
                metadata_json=prepared.METADATA_JSON,
            )
            for _ in range(prepared.BATCH)
        ],
    ).SerializeToString()


async def run(port: int, per_s: float, callers: int, seconds: float) -> Paced:
    """Send batches so that `per_s` events a second are due; 0: each caller as fast as it is answered."""
    chance = random.Random(4711)  # noqa: S311 - the same load every time
    batches = [batch(chance) for _ in range(PREPARED)]
    latencies: list[float] = []
    failures: Counter[str] = Counter()
    accepted = 0
    began_at = time.perf_counter()
    cpu = time.process_time()
    gap_s = prepared.BATCH * callers / per_s if per_s else 0.0

    async def caller(number: int, call: Any) -> None:
        nonlocal accepted
        due = began_at + gap_s * number / callers
        turn = number
        while due < began_at + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due = due if gap_s else time.perf_counter()
            try:
                answer = events_pb2.SubmitEventsResponse.FromString(await call(batches[turn % PREPARED], timeout=20))
            except grpc.aio.AioRpcError as error:
                failures[error.code().name] += 1
            else:
                latencies.append(time.perf_counter() - due)
                queued = sum(one.status == events_pb2.EVENT_STATUS_QUEUED for one in answer.results)
                accepted += queued
                if queued != prepared.BATCH:
                    failures["events not queued"] += prepared.BATCH - queued
            turn += callers
            due = due + gap_s if gap_s else time.perf_counter()

    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=(("grpc.use_local_subchannel_pool", 1),))
        for _ in range(5)
    ]
    method = f"/{events_pb2.DESCRIPTOR.services_by_name['EventService'].full_name}/SubmitEvents"
    # Bytes in and out: a stub would parse and serialise anew each time.
    calls: list[Any] = [channel.unary_unary(method) for channel in channels]
    await asyncio.gather(*(caller(number, calls[number % len(calls)]) for number in range(callers)))
    elapsed = time.perf_counter() - began_at
    for channel in channels:
        await channel.close()
    latencies.sort()
    return Paced(
        events=accepted,
        elapsed_s=elapsed,
        per_s=accepted / elapsed,
        p50_ms=_at(latencies, 0.5),
        p99_ms=_at(latencies, 0.99),
        worst_ms=_at(latencies, 1.0),
        busy=(time.process_time() - cpu) / elapsed,
        failures=dict(failures),
    )


def _at(latencies: list[float], share: float) -> float:
    return latencies[min(int(len(latencies) * share), len(latencies) - 1)] * 1000 if latencies else 0.0


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.paced", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--per-s", type=float, default=0.0)
    parser.add_argument("--callers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    outcome = asyncio.run(run(options.port, options.per_s, options.callers, options.seconds))
    print(json.dumps(asdict(outcome)))  # noqa: T201 - what this program is for


if __name__ == "__main__":
    main()
