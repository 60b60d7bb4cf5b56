"""The price of several workers: CPU time for a call with two workers divided by that with one. Rounds alternate.

All processes of a gateway count, its parent included. They share the server's core, so that only CPU time is compared.
"""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path

from bench import payloads
from bench.cases import TOKEN_SERVICE
from bench.checks import Faults
from bench.figures import Figure, Measure
from bench.loads import with_frames
from bench.processes import cpu_s
from bench.servers import Server, Setup, start_gateway, start_upstream

BAR = 1.15
ROUNDS = 5
CONNECTIONS, STREAMS = 10, 5
"""Enough connections that the kernel gives some to each worker."""
_PATH = f"/{TOKEN_SERVICE}/MintLaunchJWT"


def workers(setup: Setup, seconds: float) -> list[Figure]:
    """CPU time for a call with two workers, divided by that with one; at most 1.15."""
    upstream = start_upstream(setup)
    gateways = {
        count: start_gateway(setup, upstream, TOKEN_SERVICE, {"GATEWAY_WORKERS": str(count)}) for count in (1, 2)
    }
    requests = payloads.mint_launch_jwt(setup.credentials, 1)
    cpu_us: dict[int, list[float]] = {count: [] for count in gateways}
    least_busy: list[float] = []
    faults: Faults = Counter()
    for number in range(ROUNDS + 1):
        for count, gateway in gateways.items():
            before = _cpu_by_process(gateway)
            one, _ = with_frames(
                setup, gateway, _PATH, requests, seconds,
                cycle=True, keep=False, connections=CONNECTIONS, streams=STREAMS,
            )  # fmt: skip
            used = {pid: cpu - before.get(pid, 0.0) for pid, cpu in _cpu_by_process(gateway).items()}
            faults += one.faults
            if number and one.calls:  # the first round warms up
                cpu_us[count].append(sum(used.values()) / one.calls * 1e6)
                if count > 1:
                    least_busy.append(min(cpu for pid, cpu in used.items() if pid != gateway.process.pid))
    ratio = _median(cpu_us[2]) / _median(cpu_us[1]) if cpu_us[1] else 0.0
    if not cpu_us[1] or ratio > BAR:
        faults[f"above {BAR:g}"] += 1
    if not least_busy or max(least_busy) <= 0:
        faults["one worker got no calls"] += 1
    return [
        Figure(
            name="workers",
            value=ratio,
            unit="",
            about=f"CPU time for a call with two workers, divided by that with one; at most {BAR:g}",
            limit=BAR,
            details={
                "one_worker_us": [round(each, 1) for each in cpu_us[1]],
                "two_workers_us": [round(each, 1) for each in cpu_us[2]],
                "least_busy_worker_s": [round(each, 2) for each in least_busy],
            },
            faults=faults,
        )
    ]


def _cpu_by_process(gateway: Server) -> dict[int, float]:
    """Return the CPU seconds so far of the gateway's process and, if it is a parent, of each worker."""
    pid = gateway.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return {each: cpu_s(each) for each in (pid, *map(int, children))}


def _median(values: list[float]) -> float:
    return statistics.median(values) if values else 0.0


FIGURES: dict[str, Measure] = {"workers": workers}
