"""Drives a client of another language in a process of its own: see clients/typescript/test/driver.ts and
clients/java/src/test/java/phoenix/gateway/client/Driver.java."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

ANSWER_WITHIN_S = 90.0
LIST_KEYS: tuple[Any, ...] = ("call", "keys", "listKeys", {})
"""A command that every caller may give."""


class ClientError(Exception):
    """What the client threw: `reason`, `details`, `effect` and so on."""

    def __init__(self, found: dict[str, Any]) -> None:
        super().__init__(f"{found.get('reason')}: {found.get('details')}{found.get('text', '')}")
        self.found = found

    @property
    def reason(self) -> str:
        """The reason, which decides."""
        return str(self.found.get("reason"))


class DrivenClient:
    """One client, connected to a gateway with `connect`. Args: `command`: starts the driver."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def connect(self, target: str, **options: Any) -> None:
        """Connect to a gateway, or to another one. Args: `options`: of the client. Raises: ClientError."""
        self.do("connect", target, options)

    def do(self, *command: Any) -> Any:
        """Run one command and return its value. Raises: ClientError; AssertionError if no answer comes."""
        self.start(*command)
        return self.finish()

    def start(self, *command: Any) -> None:
        """Begin a command; `finish` returns its value."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def finish(self) -> Any:
        """Wait for the oldest command. Raises: ClientError; AssertionError if no answer comes."""
        try:
            line = self._lines.get(timeout=ANSWER_WITHIN_S)
        except queue.Empty:
            raise AssertionError(f"the client did not answer within {ANSWER_WITHIN_S} s") from None
        assert line, "the client's process has ended"
        answer = json.loads(line)
        if "error" in answer:
            raise ClientError(answer["error"])
        return answer["value"]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)


class TypeScriptClient(DrivenClient):
    """A client in Node. Args: `built`: the folder of the package; `options`: of `Gateway`."""

    def __init__(self, built: Path, target: str, **options: Any) -> None:
        super().__init__(["node", str(built / "build" / "test" / "driver.js")])
        self.connect(target, **options)


def works(client: DrivenClient) -> bool:
    """Whether a call succeeds."""
    try:
        return bool(client.do(*LIST_KEYS)["keys"])
    except ClientError:
        return False


def until(holds: Callable[[], Any]) -> None:
    """Wait until it holds. Raises: AssertionError."""
    latest = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < latest, "it did not happen within 60 s"
        time.sleep(0.1)
