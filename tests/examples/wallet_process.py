"""Starts the example wallet as its own process, as its users do. Ends only the process it started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from examples.wallet.ledger import Ledger
from tests.gateway_process import ROOT
from tests.ports import free_port

START_WITHIN_S = 20.0
POINTS = ("received", "verified", "moved", "committed", "recorded")
"""Where crashing_wallet.py can fail."""


class WalletProcess:
    """One wallet with a ledger of its own, which survives `stop` and `start`; a context manager."""

    def __init__(self, gateway_address: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="wallet-")
        self._gateway_address = gateway_address
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        self.ledger_path = Path(self._directory.name) / "wallet.sqlite3"
        self.log_path = Path(self._directory.name) / "wallet.log"
        self.ledger = Ledger(self.ledger_path)

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_text(self) -> str:
        """Return everything the process has written so far."""
        return self.log_path.read_text(errors="replace")

    def start(self, program: str = "examples.wallet", first: Sequence[str] = (), more: Sequence[str] = ()) -> Self:
        """Start and wait until it listens. `program`: a module that takes `first`, then the wallet's own options."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        own = ["--port", str(self._port), "--ledger", str(self.ledger_path), "--gateway", self._gateway_address]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", program, *first, *own, *more],
                cwd=ROOT,
                env=kept,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + START_WITHIN_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
                return self
            except OSError:
                if self._process.poll() is not None or time.monotonic() > until:
                    reported = self.log_text[-2000:]
                    self.stop(signal.SIGKILL)
                    raise RuntimeError(f"the wallet did not start: {reported}") from None
                time.sleep(0.02)

    def wait_end(self, within_s: float = 20.0) -> int:
        """Wait until the process ends by itself; return its exit code, -9 when it was killed."""
        assert self._process is not None
        return self._process.wait(timeout=within_s)

    def stop(self, number: int = signal.SIGTERM) -> int | None:
        """Signal the process, wait for its end, return its exit code; None when none was running."""
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(timeout=10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._directory.cleanup()
