"""What the planner switches of PostgreSQL sessions win: claims of a store that began with empty tables.

A plan that a connection prepares while the tables are empty reads whole tables until PostgreSQL has new statistics. It
gathers them once a minute; here it does not, so that each run shows the first minute. Left out without PostgreSQL.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter

from bench.figures import Figure, Measure
from bench.servers import Setup
from gateway.core.wallet_operation import same_move
from gateway.evidence.durable import DurableWalletStore
from gateway.resilience.clock import SystemClock
from gateway.store import postgres_attempt
from gateway.store.postgres import PostgresDatabase
from tests.evidence.wallet_factory import claim_of, soon
from tests.postgres_process import PostgresMissing, PostgresProcess

BAR_PERCENT = 5.0
CLAIMS = 12_000
CALLERS = 32
LAST = 2_000
"""Claims at the end, when the tables are largest: their rate counts."""
SWITCHES = " set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true),"


def planner_switches(setup: Setup, seconds: float) -> list[Figure]:
    """Time of a claim that the switches save; at least 5 %."""
    server = PostgresProcess()
    try:
        server.start()
    except PostgresMissing:
        return []
    try:
        with_switches = asyncio.run(_claims(server.url))
        server.stop()
        server.start()
        whole = postgres_attempt._BOUND
        assert SWITCHES in whole
        postgres_attempt._BOUND = whole.replace(SWITCHES, "")
        try:
            without = asyncio.run(_claims(server.url))
        finally:
            postgres_attempt._BOUND = whole
    finally:
        server.stop()
    saved = 100 * (1 - with_switches / without)
    return [
        Figure(
            name="planner_switches",
            value=saved,
            unit="% of time",
            about=f"time of a claim after {CLAIMS:,} others that enable_seqscan=off and jit=off save",
            limit=BAR_PERCENT,
            details={"ms": round(with_switches, 2), "ms_without": round(without, 2)},
            faults=Counter() if saved >= BAR_PERCENT else Counter({f"saves less than {BAR_PERCENT:g} %": 1}),
        )
    ]


async def _claims(url: str) -> float:
    """Return the median time of the last claims in milliseconds."""
    store = DurableWalletStore(PostgresDatabase(url), same_move=same_move, clock=SystemClock())
    await store.start()
    keys = iter(range(CLAIMS))
    times: list[float] = []

    async def caller() -> None:
        for key in keys:
            began = time.perf_counter()
            await store.claim(claim_of(f"key-{key}"), soon())
            times.append((time.perf_counter() - began) * 1000)

    try:
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
    finally:
        await store.stop()
    return statistics.median(times[-LAST:])


FIGURES: dict[str, Measure] = {"planner_switches": planner_switches}
