"""Runs h2load (Debian: nghttp2-client) and parses its output.

h2load does not know gRPC: it sees a gRPC error as a 200 without DATA. So the number of DATA bytes is compared with the
size of correct answers. A sample with `load_generator` checks the answers themselves.
"""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.http2 import GRPC_PREFIX_BYTES

_RATE = re.compile(r"finished in ([0-9.]+)(us|ms|s|m), ([0-9.]+) req/s")
_COUNTS = re.compile(
    r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout"
)
_DATA = re.compile(r"traffic: .*\((\d+)\) total, .*\((\d+)\) headers .*\((\d+)\) data")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class H2loadUnreadable(Exception):
    """h2load failed, or its output has an unknown format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """h2load's report of one load, and the CPU seconds that h2load used."""

    per_s: float
    elapsed_s: float
    done: int
    succeeded: int
    unsuccessful: int
    data_bytes: int
    cpu_s: float = 0.0


def path_of_h2load() -> str | None:
    """Return the path of h2load, or None if it is not installed."""
    return shutil.which("h2load")


def read_report(text: str) -> Report:
    """Parse h2load's output. Raises: H2loadUnreadable."""
    rate, counts, data = _RATE.search(text), _COUNTS.search(text), _DATA.search(text)
    if rate is None or counts is None or data is None:
        raise H2loadUnreadable(text[-2000:])
    return Report(
        per_s=float(rate[3]),
        elapsed_s=float(rate[1]) * _UNITS[rate[2]],
        done=int(counts[3]),
        succeeded=int(counts[4]),
        unsuccessful=int(counts[5]) + int(counts[6]) + int(counts[7]),
        data_bytes=int(data[3]),
    )


def data_fault(report: Report, shortest: int, longest: int) -> str | None:
    """Return a fault if the DATA bytes do not match answers of `shortest` to `longest` bytes.

    A failed call has no DATA. If all answers have one length, one failure is always found. If they differ by d of n
    bytes, failures are found when their share exceeds d/n.
    """
    least = report.done * (shortest + GRPC_PREFIX_BYTES)
    most = report.done * (longest + GRPC_PREFIX_BYTES)
    if report.done == 0:
        return "no call was answered"
    if not least <= report.data_bytes <= most:
        return f"{report.data_bytes} bytes of answers, not {least} to {most}"
    return None


def run(
    *, program: str, port: int, path: str, body: Path, seconds: float, connections: int = 5, streams: int = 10
) -> Report:
    """Send one request repeatedly. The file `body` holds the message with its gRPC prefix. Raises: H2loadUnreadable."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    arguments = [
        *(
            program,
            "-D",
            f"{round(seconds * 1000)}ms",
            "-c",
            str(connections),
            "-m",
            str(streams),
            "-t",
            "1",
            "-d",
            str(body),
        ),
        *("-H", "content-type: application/grpc", "-H", "te: trailers", f"http://127.0.0.1:{port}{path}"),
    ]
    try:
        ended = subprocess.run(  # noqa: S603 - h2load with our own arguments
            arguments, capture_output=True, text=True, timeout=seconds + 30, check=False
        )
    except subprocess.TimeoutExpired:
        raise H2loadUnreadable("h2load did not end") from None
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = read_report(ended.stdout + ended.stderr)
    used = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return Report(
        per_s=report.per_s,
        elapsed_s=report.elapsed_s,
        done=report.done,
        succeeded=report.succeeded,
        unsuccessful=report.unsuccessful,
        data_bytes=report.data_bytes,
        cpu_s=used,
    )
