"""Starts what is measured: the subject and its comparators, each a process of its own on the server's core."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.request import ProxyHandler, build_opener

from bench.processes import Bench, Process, is_serving, printed_port, wait_for
from bench.world import World

SUBJECTS = ("gateway", "obvious")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A serving process; `started_in_s` from its start until it served."""

    name: str
    process: Process
    port: int
    started_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What the contenders of one case share. Cores None: nothing is pinned."""

    bench: Bench
    world: World
    server_core: int | None
    load_core: int | None


def start_upstream(stage: Stage) -> Contender:
    """Start the small Phoenix on the load's core."""
    process, began = stage.bench.start(
        "upstream", ["-m", "bench.upstream"], stage.world.upstream_environ(), stage.load_core
    )
    port = printed_port(process, "the upstream")
    return Contender(name="upstream", process=process, port=port, started_in_s=time.perf_counter() - began)


def start_live_upstream(stage: Stage) -> Contender:
    """Start the Phoenix whose board changes, on the load's core."""
    process, began = stage.bench.start(
        "live-upstream", ["-m", "bench.live_upstream"], stage.world.upstream_environ(), stage.load_core
    )
    port = printed_port(process, "the live upstream")
    return Contender(name="live upstream", process=process, port=port, started_in_s=time.perf_counter() - began)


def upstream_counts(upstream: Contender) -> Mapping[str, int]:
    """Return what the small Phoenix has counted so far."""
    opener = build_opener(ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{upstream.port}/counts", timeout=5) as answer:
        counts: dict[str, int] = json.loads(answer.read())
    return counts


def start_gateway(
    stage: Stage, upstream: Contender, service: str, changes: Mapping[str, str | None] | None = None
) -> Contender:
    """Start `python -m gateway serve` with embedded defaults; `changes` sets further settings, None unsets one."""
    data = stage.bench.new_path("data")
    data.mkdir(mode=0o700)
    port = _free_port()
    environ: dict[str, str | None] = {
        **stage.world.gateway_environ(upstream.port, str(data)),
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "GATEWAY_ADMIN_LISTEN": f"127.0.0.1:{_free_port()}",
        **(changes or {}),
    }
    kept = {name: value for name, value in environ.items() if value is not None}
    process, began = stage.bench.start("gateway", ["-m", "gateway", "serve"], kept, stage.server_core)
    # The port first: a channel that found nobody waits a second before it tries again.
    wait_for(process, "the gateway's port", lambda: _is_open(port))
    wait_for(process, "the gateway", lambda: is_serving(port, service), 0.01)
    return Contender(name="gateway", process=process, port=port, started_in_s=time.perf_counter() - began)


def start_obvious(stage: Stage, upstream: Contender, name: str = "N") -> Contender:
    """Start comparator N, or the same under another name as a stand-in for the gateway."""
    data = stage.bench.new_path("data")
    data.mkdir(mode=0o700)
    environ = stage.world.gateway_environ(upstream.port, str(data))
    return start_printing(stage, name, ["-m", "bench.obvious_gateway"], environ)


def start_empty(stage: Stage, answer_bytes: int, loop: str) -> Contender:
    """Start comparator E, on asyncio's loop or uvloop."""
    name = "E" if loop == "asyncio" else f"E_{loop}"
    arguments = ["-m", "bench.empty_server", "--answer-bytes", str(answer_bytes), "--loop", loop]
    return start_printing(stage, name, arguments, {})


def start_mirror(stage: Stage, answer_bytes: int) -> Contender:
    """Start the fastest target."""
    return start_printing(stage, "mirror", ["-m", "bench.mirror", "--answer-bytes", str(answer_bytes)], {})


def start_printing(stage: Stage, name: str, arguments: list[str], environ: Mapping[str, str]) -> Contender:
    """Start `python ARGUMENTS`, which prints its port as its first line, on the server's core."""
    process, began = stage.bench.start(name, arguments, environ, stage.server_core)
    port = printed_port(process, name)
    return Contender(name=name, process=process, port=port, started_in_s=time.perf_counter() - began)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
