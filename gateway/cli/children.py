"""Starts a gateway or a sandbox as a child process, waits until it serves, and stops it.

It stops only the processes that it started. A child has its own session, so that Ctrl-C reaches only the parent, which
then stops its children in order.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

START_WITHIN_S = 30.0
STOP_WITHIN_S = 15.0
_POLL_S = 0.02


class ChildFailed(Exception):
    """A child did not start; the text holds the end of its output. `code`: its exit code; None while it runs."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class Child:
    """One process. Always call `stop` in the end."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        log_path: Path,
        folder: Path | None = None,
    ) -> None:
        """Start `python -m gateway ARGUMENTS` in `folder` (None: the current one). Its output goes to `log_path`."""
        self.name = name
        self._log_path = log_path
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                [sys.executable, "-m", "gateway", *arguments],
                cwd=folder,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def tail(self, characters: int = 3000) -> str:
        """Return the end of its output."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")[-characters:]

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready`. Raises: ChildFailed when the process ends before, or takes too long."""
        until = time.monotonic() + START_WITHIN_S
        while not ready():
            if not self.running:
                code = self._process.returncode
                raise ChildFailed(f"the {self.name} ended with exit code {code}:\n{self.tail()}", code)
            if time.monotonic() > until:
                raise ChildFailed(f"the {self.name} is not ready after {START_WITHIN_S:g} s:\n{self.tail()}")
            time.sleep(_POLL_S)

    def stop(self) -> int:
        """Send SIGTERM, and SIGKILL after STOP_WITHIN_S; return the exit code."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout=STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Return whether a process can listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def start_gateway(environ: Mapping[str, str], log_path: Path, folder: Path | None = None) -> Child:
    """Start a gateway on the GATEWAY_LISTEN of `environ` (host:port) and wait until it serves.

    Args: `folder` is its working directory, where it looks for `.env`. Raises: ChildFailed.
    """
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from gateway.cli.connect import own_token, plaintext_channel

    child = Child("gateway", ["serve"], {**os.environ, **environ}, log_path, folder)
    try:
        with plaintext_channel(environ["GATEWAY_LISTEN"], environ.get("GATEWAY_DEV_TOKEN", own_token())) as channel:
            stub = health_pb2_grpc.HealthStub(channel)

            def serving() -> bool:
                try:
                    answer = stub.Check(  # type: ignore[attr-defined]  # the stubs leave the methods out
                        health_pb2.HealthCheckRequest(), timeout=1, wait_for_ready=True
                    )
                except grpc.RpcError:
                    return False
                return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

            child.wait_until(serving)
    except BaseException:
        child.stop()
        raise
    return child


def start_sandbox(environ: Mapping[str, str], ready_file: Path, log_path: Path) -> tuple[Child, dict[str, str]]:
    """Start a sandbox on free ports and wait until it serves; return it and its URLs. Raises: ChildFailed."""
    ready_file.unlink(missing_ok=True)
    child = Child("sandbox", ["sandbox", "--ready-file", str(ready_file)], {**os.environ, **environ}, log_path)
    try:
        child.wait_until(ready_file.exists)
    except BaseException:
        child.stop()
        raise
    addresses = json.loads(ready_file.read_text(encoding="utf-8"))
    return child, {name: value for name, value in addresses.items() if isinstance(value, str)}
