"""A real redis-server for one test, with its own port and socket. Tests can kill, freeze, empty and fill it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port

START_WITHIN_S = 10.0


class RedisMissing(RuntimeError):
    """There is no redis-server on this machine."""


class RedisProcess:
    """One redis-server without persistence. `port` and `socket_path` stay the same over restarts."""

    def __init__(self, directory: Path, *options: str) -> None:
        """Use this directory for the socket; `options` go to the command line. Nothing runs before `start`."""
        binary = shutil.which("redis-server")
        if binary is None:
            raise RedisMissing("redis-server is not on this machine; `make test` installs it")
        self._binary = binary
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.socket_path = directory / "redis.sock"
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers; another port is taken if this one was snatched before the first start."""
        for attempt in range(5):
            self.spawn()
            if self._answers_in_time():
                return
            self.kill()
            if attempt < 4:
                self.port = free_port()
        raise RuntimeError("redis-server does not start")

    def spawn(self) -> None:
        """Start it and return at once."""
        self._process = subprocess.Popen(
            [
                self._binary,
                *("--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket_path)),
                *("--save", "", "--appendonly", "no", "--dir", str(self._directory)),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        """End it gently, frozen or not; fine if it is gone already."""
        if self._process is not None:
            self._signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def restart(self) -> None:
        """Kill it and start it again on the same port, empty."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue it with all waiting requests."""
        self._signal(signal.SIGCONT)

    def flush(self) -> None:
        """Remove every key."""
        self.command("FLUSHALL")

    def command(self, *words: str | bytes, password: str = "") -> bytes:
        """Send one command as a stranger with access would; returns the raw beginning of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            if password:
                connection.sendall(b"AUTH %s\r\n" % password.encode())
                connection.recv(1 << 10)
            parts = [word.encode() if isinstance(word, str) else word for word in words]
            body = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
            connection.sendall(b"*%d\r\n%s" % (len(parts), body))
            return connection.recv(1 << 20)

    def _answers_in_time(self) -> bool:
        assert self._process is not None
        until = time.monotonic() + START_WITHIN_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if self.command("PING").startswith(b"+PONG"):
                    return self._process.poll() is None
            except OSError:
                time.sleep(0.01)
        return False

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)


@contextmanager
def two_nodes(directory: Path) -> Iterator[list[RedisProcess]]:
    """A cluster of two nodes with half of the slots each."""
    (directory / "a").mkdir()
    (directory / "b").mkdir()
    nodes = [RedisProcess(directory / name, "--cluster-enabled", "yes") for name in "ab"]
    for node in nodes:
        node.start()
    try:
        nodes[0].command("CLUSTER", "MEET", "127.0.0.1", str(nodes[1].port))
        nodes[0].command("CLUSTER", "ADDSLOTSRANGE", "0", "8191")
        nodes[1].command("CLUSTER", "ADDSLOTSRANGE", "8192", "16383")
        until = time.monotonic() + 10
        while not all(b"cluster_state:ok" in node.command("CLUSTER", "INFO") for node in nodes):
            assert time.monotonic() < until
            time.sleep(0.05)
        yield nodes
    finally:
        for node in nodes:
            node.stop()
