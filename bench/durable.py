"""Durable events on SQLite: what is taken in while as much is delivered, and how long a batch waits for its commit."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter

from bench.cases import BULK, EVENT_SERVICE
from bench.contenders import Contender, Stage, start_gateway, start_upstream, upstream_counts
from bench.figures import Figure, Measure
from bench.paced import Paced
from bench.processes import ROOT

LEAST_PER_S = 8000.0
MOST_P99_MS = 50.0
CALLERS = 50
FEW_CALLERS = 4
"""Enough that the next batch is there when a commit ends."""
DELIVERED_WITHIN_S = 60.0


def submit_events_durable(stage: Stage, seconds: float) -> list[Figure]:
    """Batches of 100 durable events: events a second, and p99 of 50 callers at 8,000 events a second."""
    upstream = start_upstream(stage)
    gateway = start_gateway(stage, upstream, EVENT_SERVICE, dict(BULK))
    taken = _load(gateway, 0.0, FEW_CALLERS, 1.0).events
    most = _load(gateway, 0.0, FEW_CALLERS, seconds)
    taken += most.events
    drained_s = _wait_delivered(upstream, taken)
    paced = _load(gateway, LEAST_PER_S, CALLERS, max(seconds, 5.0))
    taken += paced.events
    drained_paced_s = _wait_delivered(upstream, taken)
    delivered = upstream_counts(upstream).get("accepted", 0)
    rate = Figure(
        name="submit_events_durable",
        value=most.per_s,
        unit="events/s",
        about=f"batches of 100 committed to SQLite and delivered meanwhile, {FEW_CALLERS} callers",
        limit=LEAST_PER_S,
        told={**_told(most), "delivered_after_s": drained_s},
        faults=Counter(most.failures),
    )
    latency = Figure(
        name="submit_events_durable_p99",
        value=paced.p99_ms,
        unit="ms",
        about=f"p99 of {CALLERS} callers at {LEAST_PER_S:,.0f} events/s in batches of 100, delivered meanwhile",
        limit=MOST_P99_MS,
        told={**_told(paced), "delivered_after_s": drained_paced_s},
        faults=Counter(paced.failures),
    )
    if delivered != taken:
        rate.faults[f"{delivered} events arrived of {taken} that were taken in"] += 1
    if most.per_s < LEAST_PER_S:
        rate.faults["bar missed"] += 1
    if paced.p99_ms > MOST_P99_MS or paced.per_s < 0.95 * LEAST_PER_S:
        latency.faults["bar missed"] += 1
    return [rate, latency]


def _load(gateway: Contender, per_s: float, callers: int, seconds: float) -> Paced:
    arguments = ["--port", gateway.port, "--per-s", per_s, "--callers", callers, "--seconds", seconds]
    ended = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "bench.paced", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds + 90,
        check=True,
    )
    return Paced(**json.loads(ended.stdout))


def _wait_delivered(upstream: Contender, events: int) -> float:
    """Wait until so many arrived, within a bound; return how long that took."""
    began_at = time.perf_counter()
    while upstream_counts(upstream).get("accepted", 0) < events:
        if time.perf_counter() - began_at > DELIVERED_WITHIN_S:
            break
        time.sleep(0.05)
    return time.perf_counter() - began_at


def _told(paced: Paced) -> dict[str, float]:
    return {
        "per_s": paced.per_s,
        "p50_ms": paced.p50_ms,
        "p99_ms": paced.p99_ms,
        "worst_ms": paced.worst_ms,
        "load_busy": paced.busy,
    }


FIGURES: dict[str, Measure] = {"submit_events_durable": submit_events_durable}
