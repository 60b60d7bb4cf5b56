"""The time to reload a policy of 1,000 callers, and its effect on calls. Both have a bar."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from bench import payloads
from bench.cases import TOKEN_SERVICE
from bench.credentials import OPERATOR_CODE, TENANT_ID
from bench.figures import Figure, Measure
from bench.servers import Server, Setup, start_gateway, start_upstream

CALLERS = 1000
RELOAD_BAR_MS = 100.0
STALL_BAR_MS = 25.0
"""A call during a reload may take this much longer than the longest call without one."""
RELOADS = 5
WITHIN_S = 20.0


def policy(version: int) -> str:
    """Return a policy in which every caller differs from the version before. The caller `local` makes the calls."""
    tables = [
        "\n".join(
            [
                "[[callers]]",
                f'name = "service-{number}"',
                f'ids = ["spiffe://prod.internal/ns/games/sa/service-{number}", "service-{number}.games.internal"]',
                'allow = ["events.write", "boards.read", "tokens.mint.launch"]',
                f'tenants = ["{TENANT_ID}"]',
                f'operators = ["{OPERATOR_CODE}/sandbox"]',
                f"limits = {{requests_per_s = {100 + version}, events_per_s = 1000, concurrent = 50}}",
            ]
        )
        for number in range(CALLERS - 1)
    ]
    local = '[[callers]]\nname = "local"\nallow = ["*"]\ntenants = ["*"]\noperators = ["*"]'
    return "\n\n".join([*tables, local]) + "\n"


def policy_reload(setup: Setup, seconds: float) -> list[Figure]:
    """The median of five reloads while calls follow one another, and the longest of these calls."""
    upstream = start_upstream(setup)
    file = setup.workspace.new_path("policy.toml")
    _replace(file, policy(0))
    gateway = start_gateway(setup, upstream, TOKEN_SERVICE, {"GATEWAY_CONFIG": str(file)})
    request = payloads.mint_launch_jwt(setup.credentials, 1)[0]
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        mint: Callable[..., Any] = channel.unary_unary(f"/{TOKEN_SERVICE}/MintLaunchJWT")
        until = time.perf_counter() + seconds
        quiet = _calls(lambda: mint(request, timeout=10), lambda: time.perf_counter() >= until)
        busy: list[float] = []
        for version in range(1, RELOADS + 1):
            _replace(file, policy(version))
            busy += _calls(lambda: mint(request, timeout=10), _reload_done(gateway, version))
    reloads = [float(one["elapsed_ms"]) for one in _reloads(gateway)]
    faults: Counter[str] = Counter()
    if len(reloads) != RELOADS:
        faults[f"{len(reloads)} reloads instead of {RELOADS}"] += 1
    if reloads and statistics.median(reloads) >= RELOAD_BAR_MS:
        faults[f"a reload takes {statistics.median(reloads):.0f} ms"] += 1
    if max(busy) > max(quiet) + STALL_BAR_MS:
        faults[f"a call took {max(busy):.0f} ms during a reload"] += 1
    return [
        Figure(
            name="policy_reload",
            value=statistics.median(reloads) if reloads else 0.0,
            unit="ms",
            about=f"reload a policy of {CALLERS} callers, all changed, during calls; median of {RELOADS}",
            limit=RELOAD_BAR_MS,
            details={
                "reloads_ms": reloads,
                "quiet_longest_ms": round(max(quiet), 2),
                "busy_longest_ms": round(max(busy), 2),
                "quiet_p99_ms": round(_p99(quiet), 3),
                "busy_p99_ms": round(_p99(busy), 3),
            },
            faults=faults,
        )
    ]


def _calls(call: Callable[[], Any], ends: Callable[[], bool]) -> list[float]:
    """Make one call after another. Return the time of each in ms."""
    took = []
    while not ends():
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1000)
    return took


def _reload_done(gateway: Server, version: int) -> Callable[[], bool]:
    """Return a function that tells whether this version is loaded or the time is over. It reads the log every 50 ms."""
    until = time.perf_counter() + WITHIN_S
    looked = 0.0

    def is_done() -> bool:
        nonlocal looked
        if time.perf_counter() < looked + 0.05:
            return False
        looked = time.perf_counter()
        return len(_reloads(gateway)) >= version or looked > until

    return is_done


def _reloads(gateway: Server) -> list[dict[str, Any]]:
    found = []
    for line in gateway.process.log.read_text(encoding="utf-8", errors="replace").splitlines():
        if '"policy reloaded"' in line:
            found.append(json.loads(line))
    return found


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


FIGURES: dict[str, Measure] = {"policy_reload": policy_reload}
