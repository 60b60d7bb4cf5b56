"""Proves the evidence of a running gateway as its owner would: head from the admin port, export, verify."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.gateway_command import evidence_command
from tests.gateway_process import GatewayProcess


def published_head(gateway: GatewayProcess) -> dict[str, Any]:
    """Return the heads from the admin port."""
    with urllib.request.urlopen(f"http://{gateway.admin_address}/evidence/head", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def wait_head(gateway: GatewayProcess, entries: int, within_s: float = 30.0) -> dict[str, Any]:
    """Wait until so many changes are chained in all chains together; return the heads."""
    until = time.monotonic() + within_s
    while True:
        head = published_head(gateway)
        chained = sum(int(one["first_sequence"]) + one["entry_count"] - 1 for one in head["heads"])
        if chained >= entries:
            return head
        assert time.monotonic() < until, f"{chained} changes chained, not {entries}"
        time.sleep(0.05)


def assert_chain_holds(gateway: GatewayProcess, folder: Path) -> dict[str, Any]:
    """Keep the head, export everything, verify; return the result. For the end of a test, whatever was killed in it."""
    head, export = folder / "head.json", folder / "export.jsonl"
    head.write_text(json.dumps(published_head(gateway)))
    done = evidence_command("export", "--target", gateway.address, "--out", str(export))
    assert 0 == done.returncode, done.stderr
    arguments = [str(export)]
    if json.loads(head.read_text())["heads"]:
        arguments += ["--head", str(head)]
    done = evidence_command("verify", *arguments, "--json")
    reported: dict[str, Any] = json.loads(done.stdout)
    assert (0, "proven", []) == (done.returncode, reported["verdict"], reported["findings"]), done.stdout
    return reported
