"""What each unusual setting of the process wins: the smallest call with all of them and without each, side by side.

The smallest call shows most of it. A setting stays if it saves 5 % of that call's CPU time, or pauses of milliseconds.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping

from bench import boards
from bench.cases import BOARD_SERVICE, TOKEN_SERVICE
from bench.checks import Faults
from bench.figures import Figure, Measure
from bench.gateway_without import FROZEN_START, PATIENT_COLLECTOR, WITHOUT
from bench.loads import Measurement, with_frames
from bench.processes import ROOT
from bench.servers import Server, Setup, start_gateway, start_upstream

BAR_PERCENT = 5.0
ROUNDS = 5
_ALL = "all settings"
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"
_GET_RANK = f"/{BOARD_SERVICE}/GetUserRank"
_RANKS_PER_S = 15_000  # more than any machine has answered
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
    """What a call costs with all process settings and without each; what a frozen start spares all calls."""
    upstream = start_upstream(setup)
    front = {"GATEWAY_FRONT": "grpc"}  # the only front that has all of them
    servers = {_ALL: start_gateway(setup, upstream, TOKEN_SERVICE, front)}
    for name in WITHOUT.keys() - {PATIENT_COLLECTOR}:
        servers[name] = start_gateway(setup, upstream, TOKEN_SERVICE, front, _without(name))

    def check_health(server: Server) -> Measurement:
        return with_frames(setup, server, _HEALTH_CHECK, [b""], seconds, cycle=True, keep=False)[0]

    cpu_us, faults = _side_by_side(servers, check_health)
    saved = {name: 100 * (cpu_us[name] / cpu_us[_ALL] - 1) for name in servers}
    return [
        *(_saving(name, saved[name], cpu_us, faults) for name in WITHOUT if name in servers and name != FROZEN_START),
        _frozen_start(saved[FROZEN_START]),
        _patient_collector(setup, seconds),
    ]


def _without(name: str) -> tuple[str, ...]:
    return ("-m", "bench.gateway_without", name)


def _side_by_side(
    servers: Mapping[str, Server], load: Callable[[Server], Measurement]
) -> tuple[dict[str, float], Faults]:
    """Load the servers in turns. Return the median CPU time of a call on each, in microseconds, and all faults."""
    measured: dict[str, list[Measurement]] = {name: [] for name in servers}
    faults: Faults = Counter()
    for number in range(ROUNDS + 1):
        for name, server in servers.items():
            one = load(server)
            faults += one.faults
            if number:  # the first round warms up
                measured[name].append(one)
    return {name: statistics.median(one.cpu_us for one in found) for name, found in measured.items()}, faults


def _patient_collector(setup: Setup, seconds: float) -> Figure:
    """Return what the collector's threshold saves where each call leaves something in a cache: uncached ranks."""
    upstream = start_upstream(setup)
    servers = {
        _ALL: start_gateway(setup, upstream, BOARD_SERVICE),
        PATIENT_COLLECTOR: start_gateway(setup, upstream, BOARD_SERVICE, None, _without(PATIENT_COLLECTOR)),
    }

    def read_ranks(server: Server) -> Measurement:
        requests = boards.read_ranks(setup.credentials, int(_RANKS_PER_S * seconds))
        return with_frames(setup, server, _GET_RANK, requests, seconds, cycle=False, keep=False)[0]

    cpu_us, faults = _side_by_side(servers, read_ranks)
    saved = 100 * (cpu_us[PATIENT_COLLECTOR] / cpu_us[_ALL] - 1)
    return _saving(PATIENT_COLLECTOR, saved, cpu_us, faults, "an uncached rank")


def _saving(
    name: str, saved_percent: float, cpu_us: Mapping[str, float], faults: Faults, call: str = "a health check"
) -> Figure:
    """Return what one setting saves of a call's CPU time; of the smallest call's unless named."""
    found = faults.copy()
    if saved_percent < BAR_PERCENT:
        found[f"saves less than {BAR_PERCENT:g} %"] += 1
    return Figure(
        name=f"setting_{name.replace(' ', '_')}",
        value=saved_percent,
        unit="% of CPU",
        about=f"CPU time of {call} that {name} saves",
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
