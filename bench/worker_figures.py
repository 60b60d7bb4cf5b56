"""The price of several workers, and what the death of one costs.

The price is CPU time for a call with two workers, divided by that with one. Rounds alternate, and all processes of a
gateway count, its parent included. Each worker has a core of its own: on one core, two gateways that share nothing cost
as much more as two workers do, because they take the caches from each other.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from bench import payloads
from bench.cases import TOKEN_SERVICE
from bench.checks import Faults
from bench.figures import Figure, Measure
from bench.loads import with_frames
from bench.processes import cpu_s
from bench.servers import Server, Setup, start_gateway, start_upstream
from tests.rolling_restarts import NO_RETRIES, SERVICE_CONFIG, SteadyCalls

BAR = 1.15
RESTART_MUST_S = 1.0
ROUNDS = 7
CONNECTIONS, STREAMS = 10, 5
"""Enough connections that the kernel gives some to each worker."""
KILLS = 4
CALLS_PER_S = 50
"""Of each of two clients, while workers are killed."""
CUT_WITHIN_S = 0.1
"""A call that began so shortly before or after the kill may have been on a connection of the worker that was killed."""
_READY_WITHIN_S = 60.0
_PATH = f"/{TOKEN_SERVICE}/MintLaunchJWT"


def workers(setup: Setup, seconds: float) -> list[Figure]:
    """CPU time for a call with two workers, at most 1.15 of one's; a killed one is started again within 1 s."""
    upstream = start_upstream(setup)
    one, two = (start_gateway(setup, upstream, TOKEN_SERVICE, {"GATEWAY_WORKERS": str(count)}) for count in (1, 2))
    _wait(lambda: _is_ready(two))
    return [_price(setup, one, two, seconds), *_kills(setup, two)]


def _price(setup: Setup, one: Server, two: Server, seconds: float) -> Figure:
    requests = payloads.mint_launch_jwt(setup.credentials, 1)
    cpu_us: dict[Server, list[float]] = {one: [], two: []}
    least_busy: list[float] = []
    faults: Faults = Counter()
    _spread(setup, two)
    for number in range(ROUNDS + 1):
        for gateway, found in cpu_us.items():
            before = _cpu_by_process(gateway)
            load, _ = with_frames(
                setup, gateway, _PATH, requests, seconds,
                cycle=True, keep=False, connections=CONNECTIONS, streams=STREAMS,
            )  # fmt: skip
            used = {pid: cpu - before.get(pid, 0.0) for pid, cpu in _cpu_by_process(gateway).items()}
            faults += load.faults
            if number and load.calls:  # the first round warms up
                found.append(sum(used.values()) / load.calls * 1e6)
                if gateway is two:
                    least_busy.append(min(cpu for pid, cpu in used.items() if pid != gateway.process.pid))
    # Compare rounds that follow each other: other users of the machine change what a call costs.
    ratios = [both / alone for alone, both in zip(cpu_us[one], cpu_us[two], strict=False)]
    ratio = statistics.median(ratios) if ratios else 0.0
    if not ratios or ratio > BAR:
        faults[f"above {BAR:g}"] += 1
    if not least_busy or max(least_busy) <= 0:
        faults["one worker got no calls"] += 1
    return Figure(
        name="workers",
        value=ratio,
        unit="of one",
        about="CPU time for a call with two workers, divided by that with one; median of pairs of rounds",
        limit=BAR,
        details={
            "one_worker_us": [round(each, 1) for each in cpu_us[one]],
            "two_workers_us": [round(each, 1) for each in cpu_us[two]],
            "least_busy_worker_s": [round(each, 2) for each in least_busy],
        },
        faults=faults,
    )


def _kills(setup: Setup, gateway: Server) -> list[Figure]:
    """Kill workers in turns under calls."""
    address = f"127.0.0.1:{gateway.port}"
    clients = [SteadyCalls(address, config, CALLS_PER_S, connections=8) for config in (SERVICE_CONFIG, NO_RETRIES)]
    started_s, ready_s, killed_at = [], [], []
    for number in range(KILLS):
        time.sleep(1.0)
        before = _workers_of(gateway)
        at = time.monotonic()
        os.kill(before[number % len(before)], signal.SIGKILL)
        killed_at.append(at)
        _wait(partial(_has_replaced, gateway, before))
        started_s.append(time.monotonic() - at)
        _wait(lambda: _is_ready(gateway))
        ready_s.append(time.monotonic() - at)
        time.sleep(10.0)  # a worker that lived so long is started again after the first wait
    for client in clients:
        client.stop()
    with_config, without = clients
    later = [at for at in without.failed_at if not any(abs(at - kill) < CUT_WITHIN_S for kill in killed_at)]
    restart = Figure(
        name="workers_restart",
        value=max(started_s),
        unit="s",
        about=f"from SIGKILL to its next process, longest of {KILLS}; ready after {max(ready_s):.1f} s at most",
        limit=RESTART_MUST_S,
        details={
            "started_s": [round(each, 2) for each in started_s],
            "ready_s": [round(each, 2) for each in ready_s],
        },
    )
    if restart.value > RESTART_MUST_S:
        restart.faults["bar missed"] += 1
    failed = Figure(
        name="workers_killed_failures",
        value=with_config.failures.total() + len(later),
        unit="calls",
        about=f"failed with the published service config ({with_config.calls:,} calls), and without retries after the "
        f"kills ({without.calls:,}); {len(without.failed_at) - len(later)} were cut by the kills",
        limit=0,
        details={"with_config": dict(with_config.failures), "without_retries": dict(without.failures)},
    )
    if failed.value:
        failed.faults["calls failed"] += int(failed.value)
    return [restart, failed]


def _workers_of(gateway: Server) -> list[int]:
    """Return the process ids of the workers; none if the gateway has no parent."""
    pid = gateway.process.pid
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def _has_replaced(gateway: Server, before: list[int]) -> bool:
    """Tell whether one worker is another process than before."""
    return len(set(_workers_of(gateway)) - set(before)) == 1


def _spread(setup: Setup, gateway: Server) -> None:
    """Give each worker a core of its own. The second shares the load's: only CPU time is compared."""
    if setup.server_core is None or setup.load_core is None:
        return
    for core, pid in zip((setup.server_core, setup.load_core), _workers_of(gateway), strict=True):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})


def _is_ready(gateway: Server) -> bool:
    """Tell whether the page of the group says that every worker is."""
    try:
        with build_opener(ProxyHandler({})).open(f"http://{gateway.admin}/readyz", timeout=5) as answer:
            return dict(json.loads(answer.read())).get("workers") == {"0": True, "1": True}
    except (HTTPError, OSError, ValueError):
        return False


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _READY_WITHIN_S
    while not condition():
        assert time.monotonic() < until, "the workers did not recover"
        time.sleep(0.01)


def _cpu_by_process(gateway: Server) -> dict[int, float]:
    """Return the CPU seconds so far of the gateway's process and, if it is a parent, of each worker."""
    return {each: cpu_s(each) for each in (gateway.process.pid, *_workers_of(gateway))}


FIGURES: dict[str, Measure] = {"workers": workers}
