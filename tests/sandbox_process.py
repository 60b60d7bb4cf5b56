"""Starts the sandbox as its own process, with fresh secrets, for tests that need a Phoenix.

Ends only the process it started. The environment it gave the sandbox is `environ`: a gateway under test takes the
same names.
"""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ROOT = Path(__file__).resolve().parents[1]
START_WITHIN_S = 20.0


class SandboxProcess:
    """One sandbox process; a context manager, or `start` and `stop`.

    Args: `environ` overrides the generated secrets ("" leaves a name out); `arguments` are further flags.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, arguments: Sequence[str] = ()) -> None:
        self.environ = {name: value for name, value in {**fresh_secrets(), **(environ or {})}.items() if value}
        self.urls: dict[str, str] = {}
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._opener = build_opener(ProxyHandler({}))  # loopback never goes through a proxy

    @property
    def pid(self) -> int:
        """Return the id of the running process."""
        assert self._process is not None
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """Return the file that holds the process's stderr."""
        assert self._directory is not None
        return Path(self._directory.name) / "stderr.log"

    def start(self) -> Self:
        """Start and wait until it serves; raises RuntimeError with its stderr when it does not."""
        self._directory = tempfile.TemporaryDirectory(prefix="sandbox-")
        ready = Path(self._directory.name) / "ready.json"
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SYSTEMROOT") if name in os.environ}
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway.sandbox", "--ready-file", str(ready), *self._arguments],
                cwd=ROOT,
                env={**kept, **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        until = time.monotonic() + START_WITHIN_S
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > until:
                reported = self.log_path.read_text(errors="replace")[-2000:]
                self.stop()
                raise RuntimeError(f"the sandbox did not start: {reported}")
            time.sleep(0.01)
        told_urls = json.loads(ready.read_text())
        self.urls = {name: value for name, value in told_urls.items() if isinstance(value, str)}
        return self

    def stop(self, number: int = signal.SIGTERM) -> int | None:
        """Signal the process, wait for its end, return its exit code; None when none was running."""
        process, self._process = self._process, None
        code = None
        if process is not None:
            if process.poll() is None:
                process.send_signal(number)
            try:
                code = process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait(timeout=10)
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None
        return code

    def control(self, method: str, path: str, value: Any = None) -> Any:
        """Call the control listener and return its JSON; raises AssertionError with its text when it refuses."""
        data = None if value is None else json.dumps(value).encode()
        request = Request(self.urls["control"] + path, data=data, method=method)
        request.add_header("content-type", "application/json")
        try:
            with self._opener.open(request, timeout=60) as response:
                return json.loads(response.read())
        except HTTPError as refused:
            raise AssertionError(f"{method} {path}: {refused.code} {refused.read().decode()}") from None

    async def control_async(self, method: str, path: str, value: Any = None) -> Any:
        """Do the same without holding up the event loop: for sends that come back to a server in the test."""
        return await asyncio.to_thread(self.control, method, path, value)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def fresh_secrets() -> dict[str, str]:
    """Return a new environment with one tenant and one operator."""
    launch_key = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "TENANT_ID": "tenant-test-001",
        "ADMIN_API_KEY": f"pk_{secrets.token_hex(16)}",
        "ADMIN_API_KEY_ID": str(uuid.uuid4()),
        "INGESTION_HMAC_SECRET": secrets.token_hex(32),
        "PREDICTION_OPERATOR_CODE": "acme",
        "PREDICTION_ENVIRONMENT": "sandbox",
        "PREDICTION_OPERATOR_ID": "op-acme",
        "PREDICTION_LAUNCH_KEY": launch_key.decode(),
    }
