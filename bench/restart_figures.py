"""Rolling restarts: what clients see while two gateways are restarted in turns, as in a deploy at noon."""

from __future__ import annotations

import time

from bench.figures import Figure, Measure
from bench.servers import Setup
from tests.rolling_restarts import RATE_PER_S, SteadyCalls, restart_under_calls, two_gateways
from tests.sandbox_process import SandboxProcess

RESTARTS = 50
QUICK_RESTARTS = 2
BAR = 0


def rolling_restarts(setup: Setup, seconds: float) -> list[Figure]:
    """Calls that fail over 50 rolling restarts of two gateways under 200 calls/s, with and without retries; none."""
    restarts = RESTARTS if seconds > 1 else QUICK_RESTARTS
    began = time.monotonic()
    with SandboxProcess() as sandbox, two_gateways(sandbox, setup.front) as gateways:
        with_config, without = restart_under_calls(gateways, restarts)
    took_s = time.monotonic() - began
    about = f"failed calls of {{calls:,}}, {restarts} restarts, {RATE_PER_S} calls/s: "
    return [
        _figure("rolling_restarts", with_config, about + "with the published service config", restarts, took_s),
        _figure("rolling_restarts_no_retries", without, about + "without retries", restarts, took_s),
    ]


def _figure(name: str, client: SteadyCalls, about: str, restarts: int, took_s: float) -> Figure:
    return Figure(
        name=name,
        value=client.failures.total(),
        unit="calls",
        about=about.format(calls=client.calls),
        limit=BAR,
        details={"calls": client.calls, "restarts": restarts, "took_s": round(took_s, 1)},
        faults=client.failures,
    )


FIGURES: dict[str, Measure] = {"rolling_restarts": rolling_restarts}
