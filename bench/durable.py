"""Durable events on SQLite: the rate while delivery keeps up, and the latency of a batch until its commit."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter

from bench.cases import BULK, EVENT_SERVICE
from bench.figures import Figure, Measure
from bench.fixed_rate import FixedRateResult
from bench.processes import ROOT
from bench.servers import Server, Setup, start_gateway, start_upstream, upstream_counts

LEAST_PER_S = 12_000.0
AIM_PER_S = 20_000.0
MOST_P99_MS = 50.0
CALLERS = 50
FEW_CALLERS = 4
"""Enough callers that the next batch is ready when a commit ends."""
DELIVERED_WITHIN_S = 60.0


def submit_events_durable(setup: Setup, seconds: float) -> list[Figure]:
    """Batches of 100 durable events: events per second, and the p99 of 50 callers at 12,000 events per second."""
    upstream = start_upstream(setup)
    gateway = start_gateway(setup, upstream, EVENT_SERVICE, dict(BULK))
    accepted = _load(gateway, 0.0, FEW_CALLERS, 1.0).events
    most = _load(gateway, 0.0, FEW_CALLERS, seconds)
    accepted += most.events
    drained_s = _wait_delivered(upstream, accepted)
    paced = _load(gateway, LEAST_PER_S, CALLERS, max(seconds, 5.0))
    accepted += paced.events
    drained_paced_s = _wait_delivered(upstream, accepted)
    delivered = upstream_counts(upstream).get("accepted", 0)
    rate = Figure(
        name="submit_events_durable",
        value=most.per_s,
        unit="events/s",
        about=f"batches of 100 committed to SQLite and delivered at the same time, {FEW_CALLERS} callers",
        limit=LEAST_PER_S,
        aim=AIM_PER_S,
        details={**_details(most), "delivered_after_s": drained_s},
        faults=Counter(most.failures),
    )
    latency = Figure(
        name="submit_events_durable_p99",
        value=paced.p99_ms,
        unit="ms",
        about=f"p99 of {CALLERS} callers at {LEAST_PER_S:,.0f} events/s in batches of 100, delivered at the same time",
        limit=MOST_P99_MS,
        details={**_details(paced), "delivered_after_s": drained_paced_s},
        faults=Counter(paced.failures),
    )
    if delivered != accepted:
        rate.faults[f"{delivered} events arrived of {accepted} accepted events"] += 1
    if most.per_s < LEAST_PER_S:
        rate.faults["bar missed"] += 1
    if paced.p99_ms > MOST_P99_MS or paced.per_s < 0.95 * LEAST_PER_S:
        latency.faults["bar missed"] += 1
    return [rate, latency]


def _load(gateway: Server, per_s: float, callers: int, seconds: float) -> FixedRateResult:
    arguments = ["--port", gateway.port, "--per-s", per_s, "--callers", callers, "--seconds", seconds]
    ended = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "bench.fixed_rate", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds + 90,
        check=True,
    )
    return FixedRateResult(**json.loads(ended.stdout))


def _wait_delivered(upstream: Server, events: int) -> float:
    """Wait until this many events arrived, at most DELIVERED_WITHIN_S. Return the time it took."""
    began_at = time.perf_counter()
    while upstream_counts(upstream).get("accepted", 0) < events:
        if time.perf_counter() - began_at > DELIVERED_WITHIN_S:
            break
        time.sleep(0.05)
    return time.perf_counter() - began_at


def _details(paced: FixedRateResult) -> dict[str, float]:
    return {
        "per_s": paced.per_s,
        "p50_ms": paced.p50_ms,
        "p99_ms": paced.p99_ms,
        "worst_ms": paced.worst_ms,
        "load_busy": paced.busy,
    }


FIGURES: dict[str, Measure] = {"submit_events_durable": submit_events_durable}
