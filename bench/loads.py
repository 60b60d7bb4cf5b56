"""One load on one server, with either generator, and the faults of the answers."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import h2load
from bench.cases import Case
from bench.checks import Faults
from bench.http2 import grpc_message
from bench.load_generator import Outcome
from bench.messages import read_messages, write_messages
from bench.processes import ROOT
from bench.servers import Server, Setup

CONNECTIONS, STREAMS = 5, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The measurement of one load.

    The `busy` fields are CPU time divided by elapsed time. `cpu_us` is the server's CPU time per call. Generator and
    upstream share a core, so they are the limit if the sum of their `busy` is near 1.
    """

    per_s: float
    calls: int
    server_busy: float
    load_busy: float
    cpu_us: float
    p50_ms: float | None
    p99_ms: float | None
    faults: Faults
    upstream_busy: float = 0.0
    answers_per_receive: float | None = None


def with_frames(
    setup: Setup,
    server: Server,
    path: str,
    requests: Sequence[bytes],
    seconds: float,
    *,
    cycle: bool,
    keep: bool,
    connections: int = CONNECTIONS,
    streams: int = STREAMS,
) -> tuple[Measurement, list[bytes]]:
    """Send the requests with the project's generator. Return the measurement and, with `keep`, the answers."""
    held, answers = setup.workspace.new_path("requests"), setup.workspace.new_path("answers")
    write_messages(held, requests)
    arguments = ["--port", str(server.port), "--path", path, "--requests", str(held), "--seconds", str(seconds)]
    arguments += ["--connections", str(connections), "--streams", str(streams)]
    arguments += ["--cycle"] if cycle else []
    arguments += ["--answers", str(answers)] if keep else []
    before = server.process.cpu_s()
    ended = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "bench.load_generator", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds + 90,
        check=True,
    )
    used = server.process.cpu_s() - before
    outcome = Outcome(**json.loads(ended.stdout))
    kept = list(read_messages(answers)) if keep else []
    for file in (held, answers):
        file.unlink(missing_ok=True)
    calls = outcome.answered + outcome.late
    measured = Measurement(
        per_s=outcome.per_s,
        calls=calls,
        server_busy=used / outcome.elapsed_s if outcome.elapsed_s else 0.0,
        load_busy=outcome.busy,
        cpu_us=used / calls * 1e6 if calls else 0.0,
        p50_ms=outcome.p50_ms,
        p99_ms=outcome.p99_ms,
        faults=Counter(outcome.failures),
        answers_per_receive=outcome.answers_per_receive,
    )
    return measured, kept


def with_h2load(
    setup: Setup,
    server: Server,
    path: str,
    request: bytes,
    seconds: float,
    sizes: tuple[int, int],
    streams: int = STREAMS,
) -> Measurement:
    """Send one request repeatedly with h2load. `sizes` are the sizes of the shortest and longest correct answer."""
    program = h2load.path_of_h2load()
    assert program is not None, "__main__ checks that h2load exists"
    body = setup.workspace.new_path("body")
    Path(body).write_bytes(grpc_message(request))
    before = server.process.cpu_s()
    report = h2load.run(
        program=program, port=server.port, path=path, body=body, seconds=seconds,
        connections=CONNECTIONS, streams=streams,
    )  # fmt: skip
    used = server.process.cpu_s() - before
    body.unlink()
    faults: Faults = Counter()
    if report.unsuccessful:
        faults["h2load: calls failed"] += report.unsuccessful
    wrong = h2load.data_fault(report, *sizes)
    if wrong is not None:
        faults[f"h2load: {wrong}"] += 1
    return Measurement(
        per_s=report.per_s,
        calls=report.done,
        server_busy=used / report.elapsed_s if report.elapsed_s else 0.0,
        load_busy=report.cpu_s / report.elapsed_s if report.elapsed_s else 0.0,
        cpu_us=used / report.done * 1e6 if report.done else 0.0,
        p50_ms=None,
        p99_ms=None,
        faults=faults,
    )


def median_of(loads: Sequence[Measurement]) -> float:
    """Return the median rate."""
    return statistics.median(each.per_s for each in loads)


def needed(case: Case, per_s: float, seconds: float) -> int:
    """Return how many requests to prepare for a round that may be 1.5 times as fast as expected."""
    return 1 if case.all_alike else int(per_s * seconds * 1.5) + 500
