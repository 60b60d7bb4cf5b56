"""Drives the TypeScript client in a Node process of its own: see clients/typescript/test/driver.ts."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any, Self

ANSWER_WITHIN_S = 90.0


class ClientError(Exception):
    """What the client threw: `reason`, `details`, `effect` and so on."""

    def __init__(self, found: dict[str, Any]) -> None:
        super().__init__(f"{found.get('reason')}: {found.get('details')}{found.get('text', '')}")
        self.found = found

    @property
    def reason(self) -> str:
        """The reason, which decides."""
        return str(self.found.get("reason"))


class TypeScriptClient:
    """One client, connected to a gateway. Args: `built`: the folder of the package; `options`: of `Gateway`."""

    def __init__(self, built: Path, target: str, **options: Any) -> None:
        self._process = subprocess.Popen(
            ["node", str(built / "build" / "test" / "driver.js")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
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
