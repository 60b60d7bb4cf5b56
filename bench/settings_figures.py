"""What each unusual setting of the process wins: the smallest call with all of them and without each, side by side.

The smallest call shows most of it. A setting stays if it saves 5 % of that call's CPU time, or pauses of milliseconds.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping

from bench.cases import TOKEN_SERVICE
from bench.checks import Faults
from bench.figures import Figure, Measure
from bench.gateway_without import FROZEN_START, WITHOUT
from bench.loads import Measurement, with_frames
from bench.processes import ROOT
from bench.servers import Setup, start_gateway, start_upstream

BAR_PERCENT = 5.0
ROUNDS = 5
_ALL = "all settings"
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"
_PAUSE_BAR_MS = 5.0
_PAUSE = """
import gc, time
import gateway.server.run
gc.collect()
began = time.process_time()
gc.collect()
print((time.process_time() - began) * 1000)
"""


def process_settings(setup: Setup, seconds: float) -> list[Figure]:
    """What the smallest call costs with all process settings and without each; what a frozen start spares all calls."""
    upstream = start_upstream(setup)
    front = {"GATEWAY_FRONT": "grpc"}  # the only front that has all of them
    servers = {_ALL: start_gateway(setup, upstream, TOKEN_SERVICE, front)}
    for name in WITHOUT:
        arguments = ("-m", "bench.gateway_without", name)
        servers[name] = start_gateway(setup, upstream, TOKEN_SERVICE, front, arguments)
    measured: dict[str, list[Measurement]] = {name: [] for name in servers}
    faults: Faults = Counter()
    for number in range(ROUNDS + 1):
        for name, server in servers.items():
            one, _ = with_frames(setup, server, _HEALTH_CHECK, [b""], seconds, cycle=True, keep=False)
            faults += one.faults
            if number:  # the first round warms up
                measured[name].append(one)
    cpu_us = {name: statistics.median(one.cpu_us for one in found) for name, found in measured.items()}
    saved = {name: 100 * (cpu_us[name] / cpu_us[_ALL] - 1) for name in WITHOUT}
    return [
        *(_saving(name, saved[name], cpu_us, faults) for name in WITHOUT if name != FROZEN_START),
        _frozen_start(saved[FROZEN_START]),
    ]


def _saving(name: str, saved_percent: float, cpu_us: Mapping[str, float], faults: Faults) -> Figure:
    """Return what one setting saves of the smallest call's CPU time."""
    found = faults.copy()
    if saved_percent < BAR_PERCENT:
        found[f"saves less than {BAR_PERCENT:g} %"] += 1
    return Figure(
        name=f"setting_{name.replace(' ', '_')}",
        value=saved_percent,
        unit="% of CPU",
        about=f"CPU time of a health check that {name} saves",
        limit=BAR_PERCENT,
        details={"cpu_us": round(cpu_us[_ALL], 1), "cpu_us_without": round(cpu_us[name], 1)},
        faults=found,
    )


def _frozen_start(saved_percent: float) -> Figure:
    """Return how long a full collection walks what the start has made; frozen, it walks none of it."""
    ended = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", _PAUSE], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    pause_ms = float(ended.stdout)
    return Figure(
        name="setting_frozen_start",
        value=pause_ms,
        unit="ms",
        about="pause of all calls by a full garbage collection that a frozen start avoids",
        limit=_PAUSE_BAR_MS,
        details={"saved_cpu_percent": round(saved_percent, 1)},
        faults=Counter() if pause_ms >= _PAUSE_BAR_MS else Counter({f"shorter than {_PAUSE_BAR_MS:g} ms": 1}),
    )


FIGURES: dict[str, Measure] = {"process_settings": process_settings}
