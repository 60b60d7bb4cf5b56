"""One `events send` as users run it, the file that it sends, and what Phoenix got of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.gateway_process import ROOT, GatewayProcess
from tests.sandbox_process import SandboxProcess

COUNT = 3000
NO_DEDUPLICATION = {"PHOENIX_DEDUPLICATES_EVENTS": "false"}


class Run:
    """One `events send`."""

    def __init__(self, gateway: GatewayProcess, file: Path | str, *options: str, stdin: Any = None) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        command = [sys.executable, "-m", "gateway", "events", "send", str(file), "--target", gateway.address, "--json"]
        self.process = subprocess.Popen(
            [*command, *options],
            cwd=file.parent if isinstance(file, Path) else None,
            env={**kept, "PYTHONPATH": str(ROOT)},
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.messages = ""

    def end(self) -> tuple[int, dict[str, Any]]:
        """Wait; return exit code and summary."""
        out, reported = self.process.communicate(timeout=100)
        self.messages = reported.decode()
        return self.process.returncode, json.loads(out) if out else {}

    def kill(self, number: int) -> None:
        self.process.send_signal(number)


def lines_in(folder: Path, count: int = COUNT) -> Path:
    """A file of events, users in turn."""
    path = folder / "events.jsonl"
    run = uuid.uuid4().hex  # the gateway of other tests remembers ids, which follow from the lines
    events = (
        {"leaderboard_id": "xp", "user_id": f"u{n % 50}", "score_delta": n + 1, "metadata": {"run": run}}
        for n in range(count)
    )
    path.write_text("".join(json.dumps(one) + "\n" for one in events))
    return path


def failed_lines(path: Path) -> list[dict[str, Any]]:
    file = path.with_name(path.name + ".failed.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def taken(sandbox: SandboxProcess) -> int:
    return int(sandbox.control("POST", "/effects", {})["total"])


def assert_each_once(sandbox: SandboxProcess, count: int = COUNT) -> None:
    counted = sandbox.control("POST", "/effects", {})
    assert ([], count, count) == (counted["more_than_once"], counted["event_ids"], counted["total"])


def wait_for(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)
