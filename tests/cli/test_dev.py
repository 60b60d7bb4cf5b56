"""`phoenix-gateway dev`: how soon it serves, and what it prints. What it serves: the tests of the Python client."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRIES = 5


class Started(NamedTuple):
    """What it printed, and its processor time until then."""

    printed: dict[str, Any]
    cpu_s: float


def start() -> Started:
    """Start it, read its line, ask its sandbox and stop it by closing its standard input."""
    command = [sys.executable, "-m", "gateway", "dev", "--port", "0", "--json", "--with-parent"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        printed = json.loads(process.stdout.readline())
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        cpu_s = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
        with build_opener(ProxyHandler({})).open(f"{printed['control']}/health", timeout=10) as answer:
            assert answer.status == 200
        process.stdin.close()
        assert process.wait(30) == 0
    return Started(printed, cpu_s)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processor times are read from /proc")
def test_it_serves_in_less_than_two_seconds_from_one_process_with_a_port_each() -> None:
    """Of a processor, so that a busy machine does not count. The best of some tries: caches may be cold."""
    found: list[Started] = []
    while not found or (min(one.cpu_s for one in found) >= 2.0 and len(found) < TRIES):
        found.append(start())
    assert min(one.cpu_s for one in found) < 2.0
    printed = found[0].printed
    assert (printed["tenant_id"], printed["operator_code"], printed["environment"]) == (
        "dev-tenant", "dev-operator", "sandbox",
    )  # fmt: skip
    hosts = {f"{printed['gateway']}", *(urlsplit(printed[name]).netloc for name in ("admin", "control"))}
    hosts |= {urlsplit(printed["sandbox"][name]).netloc for name in ("ingestion", "admin", "query", "prediction")}
    assert len(hosts) == 7
    assert {host.rpartition(":")[0] for host in hosts} == {"127.0.0.1"}


def test_a_port_in_use_is_named_with_a_way_out() -> None:
    """Exit code 1, one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "gateway", "dev", "--port", str(port)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"127.0.0.1:{port}; is the port in use? --port 0 takes a free one." in done.stderr
