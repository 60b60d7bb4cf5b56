"""Figures that are not single calls: a cache stampede, thousands of watchers, event streams. All have bars."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import grpc

from bench.boards import read_board, whole_boards
from bench.cases import BOARD_SERVICE, BULK, EVENT_SERVICE, SINGLE_EVENTS
from bench.event_streams import StreamResult
from bench.figures import Figure, Measure
from bench.go_programs import GoMissing
from bench.live_upstream import UPDATES_PER_S
from bench.loads import with_frames
from bench.processes import ROOT
from bench.servers import (
    Server,
    Setup,
    start_baseline,
    start_gateway,
    start_go_gateway,
    start_live_upstream,
    start_upstream,
    upstream_counts,
)
from bench.watchers import WatchResult

READERS = 1000
WATCHERS = 2000
LAG_BAR_MS = 150.0
MEMORY_BAR_KB = 25.0
STREAM_BAR = 35.0
STREAM_BAR_G, STREAM_AIM_G = 0.5, 1.0
ROUNDS = 3
STREAMS = 10
LEAST_DELIVERED = 0.99


def stampede(setup: Setup, seconds: float) -> list[Figure]:
    """Calls to Phoenix when 1,000 callers read an uncached board at once."""
    upstream = start_upstream(setup)
    gateway = start_gateway(setup, upstream, BOARD_SERVICE)
    before = upstream_counts(upstream).get("reads", 0)
    began = time.perf_counter()
    answers = asyncio.run(_read_at_once(gateway.port, read_board(setup.credentials, 1)[0]))
    elapsed = time.perf_counter() - began
    asked = upstream_counts(upstream).get("reads", 0) - before
    faults = whole_boards(setup.credentials, answers)
    if len(answers) != READERS:
        faults["answers missing"] += 1
    if asked != 1:
        faults[f"{asked} calls to Phoenix instead of 1"] += 1
    return [
        Figure(
            name="stampede",
            value=float(asked),
            unit="calls",
            about=f"calls to Phoenix for {READERS:,} concurrent reads of one uncached board",
            limit=1.0,
            details={"readers": READERS, "all_answered_in_s": elapsed},
            faults=faults,
        )
    ]


async def _read_at_once(port: int, request: bytes) -> list[bytes]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.channel_ready()
        read: Any = channel.unary_unary(f"/{BOARD_SERVICE}/GetLeaderboard")
        return list(await asyncio.gather(*(read(request, timeout=15) for _ in range(READERS))))


def watch_fanout(setup: Setup, seconds: float) -> list[Figure]:
    """Delay and memory with 2,000 watchers of a 9 kB board that changes ten times a second."""
    upstream = start_live_upstream(setup)
    live = {
        "QUERY_BASE_URL": f"http://127.0.0.1:{upstream.port}",
        "WEBSOCKET_URL": f"ws://127.0.0.1:{upstream.port}/ws",
    }
    gateway = start_gateway(setup, upstream, BOARD_SERVICE, live)
    before_kb = gateway.process.rss_mib() * 1024
    seconds = max(seconds, 5.0)
    arguments = ["--port", str(gateway.port), "--watchers", str(WATCHERS), "--seconds", str(seconds)]
    with subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "bench.watchers", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None
        is_ready = client.stdout.readline() == "ready\n"
        used, began = gateway.process.cpu_s(), time.perf_counter()
        watched = WatchResult(**json.loads(client.stdout.readline()))
        busy = (gateway.process.cpu_s() - used) / (time.perf_counter() - began)
        each_kb = (gateway.process.rss_mib() * 1024 - before_kb) / WATCHERS
        opened = upstream_counts(upstream)["opened"]
        client.communicate()
    faults: Counter[str] = Counter()
    expected = WATCHERS * UPDATES_PER_S * watched.elapsed_s
    faults.update({f"a watcher's stream ended: {status}": count for status, count in watched.ended.items()})
    if not is_ready:
        faults["some watchers got no board"] += 1
    if opened != 1:
        faults[f"{opened} upstream sockets instead of 1"] += 1
    if watched.messages < LEAST_DELIVERED * expected:
        faults[f"{1 - watched.messages / expected:.0%} of the updates were skipped"] += 1
    if watched.p99_ms > LAG_BAR_MS:
        faults[f"p99 lag of {watched.p99_ms:.0f} ms"] += 1
    memory: Counter[str] = Counter()
    if each_kb > MEMORY_BAR_KB:
        memory[f"{each_kb:.0f} kB a watcher"] += 1
    return [
        Figure(
            name="watch_fanout_lag",
            value=watched.p99_ms,
            unit="ms",
            about=f"p99 from Phoenix's update to {WATCHERS:,} watchers, 9 kB boards, {UPDATES_PER_S} updates a second",
            limit=LAG_BAR_MS,
            details={
                "p50_ms": watched.p50_ms,
                "longest_ms": watched.longest_ms,
                "messages_per_s": watched.messages / watched.elapsed_s,
                "server_busy": busy,
                "load_busy": watched.busy,
            },
            faults=faults,
        ),
        Figure(
            name="watch_fanout_memory",
            value=each_kb,
            unit="kB",
            about=f"resident memory a watcher, {WATCHERS:,} of them, after {seconds:.0f} s of updates",
            limit=MEMORY_BAR_KB,
            faults=memory,
        ),
    ]


def stream_events(setup: Setup, seconds: float) -> list[Figure]:
    """Events per second over StreamEvents in messages of 100, divided by the rate of G, and by the best rate of N."""
    upstream = start_upstream(setup)
    gateway = start_gateway(setup, upstream, EVENT_SERVICE, dict(BULK))
    baseline = start_baseline(setup, upstream)
    servers = [gateway, baseline]
    try:
        servers.append(start_go_gateway(setup, upstream, BULK))
        missing = ""
    except GoMissing as fault:
        missing = f"skipped: {fault}"
    single = SINGLE_EVENTS.requests(setup.credentials, 1)
    faults: Counter[str] = Counter()
    rates: dict[str, list[float]] = {"gateway": [], "N": [], "N_single": [], "G": []}
    busy: list[float] = []
    cpu_us: dict[str, list[float]] = {server.name: [] for server in servers}
    for _ in range(ROUNDS):
        for server in servers:
            before = upstream_counts(upstream).get("accepted", 0)
            used, began = server.process.cpu_s(), time.perf_counter()
            # N's client has at most 100 connections and fails with many concurrent messages, so N gets one stream.
            streamed = _stream(server, seconds, streams=1 if server is baseline else STREAMS)
            used = server.process.cpu_s() - used
            cpu_us[server.name].append(used / max(streamed.events, 1) * 1e6)
            if server is gateway:
                busy.append(used / (time.perf_counter() - began))
            arrived = upstream_counts(upstream).get("accepted", 0) - before
            faults.update({f"{server.name}: {fault}": count for fault, count in streamed.failures.items()})
            if arrived < streamed.events:
                faults[f"{server.name}: {arrived} events arrived of {streamed.events}"] += 1
            rates[server.name].append(streamed.per_s)
        measured, _ = with_frames(setup, baseline, SINGLE_EVENTS.path, single, seconds, cycle=True, keep=False)
        rates["N_single"].append(measured.per_s)
    medians = {name: statistics.median(each or [0.0]) for name, each in rates.items()}
    by_cpu = {name: statistics.median(each) for name, each in cpu_us.items()}
    best = max(medians["N"], medians["N_single"])
    ratio = medians["gateway"] / best if best else 0.0
    if ratio < STREAM_BAR:
        faults[f"{ratio:.1f} times N instead of {STREAM_BAR:g}"] += 1
    return [
        Figure(
            name="stream_events",
            value=ratio,
            unit="times N",
            about="events per second in messages of 100 over ten streams, divided by N's best (streamed or single)",
            limit=STREAM_BAR,
            details={"events_per_s": medians, "rounds": rates, "server_busy": busy, "settings": dict(BULK)},
            faults=faults,
        ),
        _against_go(medians, by_cpu, missing),
    ]


def _against_go(per_s: dict[str, float], cpu_us: dict[str, float], missing: str) -> Figure:
    """Compare by CPU time per event: the load's core may be the limit of G's rate."""
    figure = Figure(
        name="stream_events_g",
        value=0.0,
        unit="G",
        about=missing
        or f"CPU time of an event over ten streams: G {cpu_us['G']:.1f} µs, gateway {cpu_us['gateway']:.1f} µs",
        limit=STREAM_BAR_G,
        aim=STREAM_AIM_G,
        details={"events_per_s": per_s, "cpu_us": cpu_us},
    )
    if not missing:
        figure.value = cpu_us["G"] / cpu_us["gateway"]
        if figure.value < STREAM_BAR_G:
            figure.faults["bar missed"] += 1
    return figure


def _stream(server: Server, seconds: float, streams: int) -> StreamResult:
    arguments = ["--port", str(server.port), "--seconds", str(seconds), "--streams", str(streams)]
    ended = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "bench.event_streams", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds + 130,
        check=True,
    )
    return StreamResult(**json.loads(ended.stdout))


FIGURES: dict[str, Measure] = {"stampede": stampede, "watch_fanout": watch_fanout, "stream_events": stream_events}
