"""Starts the gateway as its own process, as its users do, and talks to it over a real channel.

Ends only the process it started. Everything it writes goes into a folder that is removed with it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.config.model import DEFAULT_FRONT, FrontKind
from gateway.telemetry.log_fields import faults_of
from tests.ports import free_port
from tests.secret_scanner import SecretScanner

ROOT = Path(__file__).resolve().parents[1]
_OTHER_FRONT = next(one for one in FrontKind if one is not DEFAULT_FRONT)
FRONT = {"": DEFAULT_FRONT.value, "other": _OTHER_FRONT.value}.get(named := os.environ.get("TEST_FRONT", ""), named)
"""The front that the suite runs over: the gateway's default, or what TEST_FRONT says: grpc, http2, other."""
TOO_LARGE = grpc.StatusCode.INVALID_ARGUMENT if FRONT == "http2" else grpc.StatusCode.RESOURCE_EXHAUSTED
"""For a message or metadata over the limit: HTTP/2 names it; grpc refuses by itself, without a reason of ours."""
START_WITHIN_S = 45.0
_SOON = (
    ("grpc.initial_reconnect_backoff_ms", 100),  # the least that grpc takes
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.use_local_subchannel_pool", 1),
)
"""A channel with these tries again at once what does not listen yet, and leaves the waits of other channels alone."""


class GatewayProcess:
    """One gateway process. Use it as a context manager, or call `start` and `stop`.

    Args: `environ`: settings of docs/configuration.md. Listeners get free ports, and the data gets its own folder.
    `credentials`: of the health check, if the gateway uses TLS.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        arguments: Sequence[str] = (),
        *,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._credentials = credentials
        self._directory = tempfile.TemporaryDirectory(prefix="gateway-")
        self.data_dir = Path(self._directory.name) / "data"
        self.address = f"127.0.0.1:{free_port()}"
        self.admin_address = f"127.0.0.1:{free_port()}"
        self.environ = {
            "GATEWAY_FRONT": FRONT,
            "GATEWAY_LISTEN": self.address,
            "GATEWAY_ADMIN_LISTEN": self.admin_address,
            "GATEWAY_DATA_DIR": str(self.data_dir),
            "GATEWAY_LOG_FORMAT": "json",
            "GATEWAY_DRAIN_DELAY": "0",  # no balancer has to notice
            **environ,
        }
        self._owns_ports = environ.keys().isdisjoint({"GATEWAY_LISTEN", "GATEWAY_ADMIN_LISTEN"})
        self.starts_ready = True
        """False for a gateway that begins with a fault: `start` returns once it answers, ready or not."""
        self.module = "gateway"
        """The program; another one may put something around the same command."""
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self.log_path = Path(self._directory.name) / "gateway.log"

    @property
    def pid(self) -> int:
        """Return the id of the running process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_text(self) -> str:
        """Return everything the process has written so far."""
        return self.log_path.read_text(errors="replace")

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process and return at once; for starts that are to fail."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with self.log_path.open("ab") as log:
            if log.tell() and not self.log_path.read_bytes().endswith(b"\n"):
                log.write(b"\n")  # the process before was killed within a line
                log.flush()
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, "serve", *self._arguments],
                cwd=self._directory.name,
                env={**kept, "PYTHONPATH": str(ROOT), **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self._process

    def start(self) -> Self:
        """Start and wait until the process serves. Raises: RuntimeError with what it wrote when it does not."""
        process = self.spawn()
        until = time.monotonic() + START_WITHIN_S
        with self.open_channel(_SOON) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            while True:
                try:
                    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1, wait_for_ready=True)
                    serves = answer.status == health_pb2.HealthCheckResponse.SERVING or not self.starts_ready
                    if serves and process.poll() is None:  # else another process has the port, and answered
                        return self
                    time.sleep(0.02)
                except grpc.RpcError:
                    pass
                if process.poll() is not None and self._owns_ports and "in use" in self.log_text:
                    break  # another process took a port since it was chosen
                if process.poll() is not None or time.monotonic() > until:
                    reported = self.log_text[-4000:]
                    self.stop(signal.SIGKILL)
                    raise RuntimeError(f"the gateway did not start: {reported}")
        self._choose_ports()
        return self.start()

    def _choose_ports(self) -> None:
        self.log_path.unlink()
        self.address, self.admin_address = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.environ |= {"GATEWAY_LISTEN": self.address, "GATEWAY_ADMIN_LISTEN": self.admin_address}

    def open_channel(self, options: Sequence[tuple[str, Any]] = ()) -> grpc.Channel:
        """Return a channel, with the credentials that were given."""
        if self._credentials is None:
            return grpc.insecure_channel(self.address, options)
        return grpc.secure_channel(self.address, self._credentials, options)

    def readiness(self) -> dict[str, Any]:
        """Return what /readyz says; it is 200 exactly if it says `ready`. Raises: OSError if it does not answer."""
        try:
            with urlopen(f"http://{self.admin_address}/readyz", timeout=5) as answer:
                status, body = answer.status, answer.read()
        except HTTPError as refused:
            status, body = refused.code, refused.read()
        report: dict[str, Any] = json.loads(body)
        assert status == (200 if report["ready"] else 503)
        return report

    def wait_ready(self, *, ready: bool = True, within_s: float = 20.0) -> dict[str, Any]:
        """Wait until /readyz says so, and return what it says then. Raises: AssertionError."""
        until = time.monotonic() + within_s
        while (report := self.readiness())["ready"] != ready:
            assert time.monotonic() < until, f"ready is {not ready} after {within_s} s: {report}"
            time.sleep(0.05)
        return report

    def wait_serving(self, service: str, *, serving: bool = True, within_s: float = 15.0) -> None:
        """Wait until a service reports that it serves, or that it does not. Raises: AssertionError."""
        wanted = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        with self.open_channel() as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            for answer in stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=within_s):
                if answer.status == wanted:
                    return
        raise AssertionError(f"{service} did not change within {within_s} s")

    def stop(self, number: int = signal.SIGTERM) -> int | None:
        """Signal the process, wait for its end, return its exit code; None when none was running."""
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(timeout=10)

    def wait_end(self, within_s: float = 20.0) -> int:
        """Wait until the process ends without a signal of ours; return its exit code."""
        assert self._process is not None
        return self._process.wait(within_s)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop()
        leaked = self._leaked() if kind is None else set()
        wrong = self._wrong_lines() if kind is None else []
        self._directory.cleanup()
        assert leaked == set(), "a secret of the gateway's was written down"
        assert wrong == [], "a line of the log breaks its schema (gateway/telemetry/log_fields.py)"

    def _wrong_lines(self) -> list[str]:
        """Return what is wrong with the lines of its log by the schema, with the line."""
        if not self.log_path.exists():
            return []
        lines = (line for line in self.log_text.splitlines() if line.startswith("{") and line.endswith("}"))
        return [f"{fault}: {line}" for line in lines for fault in faults_of(json.loads(line))]

    def _leaked(self) -> set[str]:
        """Return the secrets that are in its log, its database or any other file of it."""
        given = [Path(value) for name, value in self.environ.items() if name.endswith("_FILE")]
        return SecretScanner(self.environ).found_below(Path(self._directory.name), but=given)


def of_sandbox(urls: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a gateway before this sandbox: its secrets, and its addresses."""
    return {
        **environ,
        "INGESTION_BASE_URL": urls["ingestion"],
        "ADMIN_BASE_URL": urls["admin"],
        "QUERY_BASE_URL": urls["query"],
        "WEBSOCKET_URL": urls["websocket"],
        "PREDICTION_BASE_URL": urls["prediction"],
        "PREDICTION_EMBED_URL": urls["embed"],
        "PHOENIX_DEDUPLICATES_EVENTS": "true",
        "PHOENIX_BULK_EVENTS": "events",
    }


def reason_of(error: grpc.RpcError) -> str:
    """Return the ErrorInfo reason of a failed call; empty where there is none."""
    info = error_details_pb2.ErrorInfo()
    return str(info.reason) if _unpacked(error, info) else ""


def fields_of(error: grpc.RpcError) -> list[str]:
    """Return the field paths that a failed call names."""
    bad = error_details_pb2.BadRequest()
    return [violation.field for violation in bad.field_violations] if _unpacked(error, bad) else []


def retry_after_s(error: grpc.RpcError) -> float:
    """Return the wait that RetryInfo of a failed call names; 0 if there is none."""
    retry = error_details_pb2.RetryInfo()
    return retry.retry_delay.ToTimedelta().total_seconds() if _unpacked(error, retry) else 0.0


def _unpacked(error: Any, detail: Any) -> bool:
    """Fill `detail` from the status details of that type. Return False if there are none."""
    trailing = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailing.get("grpc-status-details-bin", b""))
    return any(packed.Unpack(detail) for packed in status.details)


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024
