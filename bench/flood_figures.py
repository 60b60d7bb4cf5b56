"""The effect of one caller's flood on another caller: p99 with the flood divided by p99 without.

The flooding caller has a limit of 50 calls per second and keeps 200 calls in flight. The other caller makes a call
every few milliseconds. Its p99 may grow by a fifth. Rounds alternate.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from typing import Any

import grpc

from bench import payloads
from bench.chain_server import METHOD
from bench.credentials import OPERATOR_CODE
from bench.figures import Figure, Measure
from bench.processes import ROOT
from bench.servers import Setup, start_gateway, start_upstream

BAR = 1.2
ROUNDS = 5
AT_ONCE = 200
LIMIT_PER_S = 50
PAUSE_S = 0.004
POLICY = f"""
[[callers]]
name = "local"
allow = ["*"]
tenants = ["*"]
operators = ["*"]

[[callers]]
name = "flood"
allow = ["tokens.mint.launch"]
operators = ["{OPERATOR_CODE}/sandbox"]
limits = {{requests_per_s = {LIMIT_PER_S}, concurrent = 20}}
"""


def flood(setup: Setup, seconds: float) -> list[Figure]:
    """p99 of a caller during another caller's flood, divided by its p99 alone; at most 1.2."""
    upstream = start_upstream(setup)
    file = setup.workspace.new_path("policy.toml")
    file.touch(mode=0o600)
    file.write_text(POLICY, encoding="utf-8")
    # A short path, because a socket name has about 100 bytes. Other users cannot access the folder.
    socket = f"{tempfile.mkdtemp(prefix='pgw-flood-')}/flood.sock"
    settings = {"GATEWAY_CONFIG": str(file), "GATEWAY_SOCKETS": f"flood={socket}"}
    gateway = start_gateway(setup, upstream, "phoenix.gateway.v1.TokenService", settings)
    request = payloads.mint_launch_jwt(setup.credentials, 1)[0]
    alone: list[float] = []
    beside: list[float] = []
    counts: Counter[str] = Counter()
    took = 0.0
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        mint: Any = channel.unary_unary(METHOD)
        _p99(mint, request, 0.5)
        for _ in range(ROUNDS):
            alone.append(_p99(mint, request, seconds))
            flooding = _start(f"unix:{socket}", seconds + 2)
            time.sleep(1)  # the first refusals come at once
            beside.append(_p99(mint, request, seconds))
            output, _ = flooding.communicate(timeout=60)
            counts.update(json.loads(output))
            took += seconds + 2
    ratio = statistics.median(beside) / statistics.median(alone)
    faults: Counter[str] = Counter()
    if ratio > BAR:
        faults[f"above {BAR:g}"] += 1
    if set(counts) - {"OK", "RESOURCE_EXHAUSTED RATE_LIMITED"}:
        faults["the flood got an unexpected answer"] += 1
    if counts["OK"] > LIMIT_PER_S * (took + ROUNDS) * 1.1:
        faults["more calls of the flood were accepted than its limit allows"] += 1
    details = {
        "alone_ms": [round(one, 2) for one in alone],
        "beside_ms": [round(one, 2) for one in beside],
        "flood": dict(counts),
        "flood_s": took,
    }
    about = f"p99 of a caller while another has {AT_ONCE} calls in flight, divided by p99 alone; at most {BAR:g}"
    return [Figure(name="flood", value=ratio, unit="", about=about, details=details, faults=faults)]


def _start(target: str, seconds: float) -> subprocess.Popen[str]:
    arguments = ["--target", target, "--at-once", str(AT_ONCE), "--seconds", str(seconds)]
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "bench.flood_client", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def _p99(mint: Any, request: bytes, seconds: float) -> float:
    """Make calls with a pause between them for `seconds`. Return the p99 in milliseconds."""
    took: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        mint(request, timeout=10)
        took.append((time.perf_counter() - began) * 1000)
        time.sleep(PAUSE_S)
    return sorted(took)[int(len(took) * 0.99)]


FIGURES: dict[str, Measure] = {"flood": flood}
