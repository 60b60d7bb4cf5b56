"""The processes of a measurement: starts them on one core, reads their CPU time from /proc and ends them by their id.

The measured server gets the first usable core; load generator and upstream get the second. Without a second core or
without Linux, no process is pinned, and the report says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

ROOT = Path(__file__).resolve().parents[1]
START_WITHIN_S = 30.0
_KEPT = ("PATH", "HOME", "LANG", "VIRTUAL_ENV")


class StartFailed(Exception):
    """A process did not start to serve. The text holds the end of its log."""


def cores() -> tuple[int, int] | None:
    """Return (server's core, load's core), or None if two cores cannot be used."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else None


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of all threads of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Process:
    """One running process. `stop` ends it. Its stdout and stderr go to `log`."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self._popen = popen
        self.log = log

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def has_ended(self) -> bool:
        """Tell whether the process is gone."""
        return self._popen.poll() is not None

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its threads so far, user and system."""
        return cpu_s(self.pid)

    def rss_mib(self) -> float:
        """Return its resident memory in MiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def stop(self) -> None:
        """Terminate the process. Kill it after 10 s."""
        if self._popen.poll() is None:
            self._popen.terminate()
        try:
            self._popen.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(timeout=10)

    def log_end(self) -> str:
        """Return the last lines of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-600:]


class Workspace:
    """The processes and files of one run. A context manager that ends the processes and removes the files."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        build = ROOT / "build"
        build.mkdir(exist_ok=True)
        # Use build/, because the system's temporary directory may be in memory, where a disk sync costs nothing.
        self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=build)))
        self._number = 0

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def new_path(self, name: str) -> Path:
        """Return an unused path of this run."""
        self._number += 1
        return self.directory / f"{self._number:03d}-{name}"

    def start(
        self,
        name: str,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        core: int | None,
        program: str = sys.executable,
    ) -> tuple[Process, float]:
        """Start `program ARGUMENTS`, Python if not named, in its own directory. Return process and start time."""
        log = self.new_path(f"{name}.log")
        place = self.new_path(name)
        place.mkdir()
        kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
        began = time.perf_counter()
        with log.open("wb") as output, Pinned(core):
            popen = subprocess.Popen(  # noqa: S603 - our own programs
                [program, *arguments],
                cwd=place,  # not the project, because its .env belongs to the developer
                env={**kept, "PYTHONPATH": str(ROOT), **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        process = Process(popen, log)
        self._stack.callback(process.stop)
        return process, began


class Pinned:
    """Pins this thread and the processes that it starts to a core. With None, it does nothing.

    Children inherit the pinning, so no code runs between fork and exec.
    """

    def __init__(self, core: int | None) -> None:
        self._core = core
        self._before: set[int] = set()

    def __enter__(self) -> None:
        if self._core is not None:
            self._before = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {self._core})

    def __exit__(self, *_: object) -> None:
        if self._core is not None:
            os.sched_setaffinity(0, self._before)


def wait_for(process: Process, what: str, condition: Callable[[], bool], step_s: float = 0.002) -> None:
    """Wait until the condition holds. Raises: StartFailed if the process ends or the time is over."""
    until = time.monotonic() + START_WITHIN_S
    while not condition():
        if process.has_ended() or time.monotonic() > until:
            raise StartFailed(f"{what} did not start to serve: {process.log_end()}")
        time.sleep(step_s)


def printed_port(process: Process, what: str) -> int:
    """Return the port that a process prints as its first line."""

    def is_printed() -> bool:
        return process.log.read_bytes().split(b"\n", 1)[0].isdigit() and b"\n" in process.log.read_bytes()

    wait_for(process, what, is_printed, 0.01)
    return int(process.log.read_bytes().split(b"\n", 1)[0])


def is_serving(port: int, service: str) -> bool:
    """Tell whether the health service answers SERVING."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = ask(health_pb2.HealthCheckRequest(service=service), timeout=2.0)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
