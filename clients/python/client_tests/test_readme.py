"""The README's code runs as it is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.ports import free_port
from tests.sandbox_process import SandboxProcess

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
POLICY = """
[[callers]]
name = "own"
ids = ["spiffe://test/own"]
allow = ["keys.read"]
tenants = ["*"]
operators = ["*"]
"""


def block(word: str, *replaced: tuple[str, str]) -> list[str]:
    """The command that runs the only block with this word."""
    (code,) = (one for one in BLOCKS if word in one)
    for old, new in replaced:
        assert old in code
        code = code.replace(old, new)
    return [sys.executable, "-c", code]


def run(command: list[str]) -> str:
    """Run to the end and return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def here(gateway: GatewayProcess) -> tuple[str, str]:
    """The README's gateway is that of the test."""
    run(block("ensure_leaderboard", ("127.0.0.1:50051", gateway.address)))
    return "127.0.0.1:50051", gateway.address


def test_the_first_calls(gateway: GatewayProcess) -> None:
    """An event id; the board may not have the event yet."""
    printed = run(block("ensure_leaderboard", ("127.0.0.1:50051", gateway.address)))
    assert re.match(r"[0-9a-f-]{36}\n", printed)


@pytest.mark.parametrize(
    ("word", "printed"),
    [
        ("mint_launch_jwt", r"http.*token=.*\n"),
        ("EventIdReused", ""),
        ("watch_leaderboard", r"ada\n"),
        ("event_stream", r"100 sent, 0 failed\n"),
    ],
)
def test_the_blocks_for_a_gateway_here(here: tuple[str, str], word: str, printed: str) -> None:
    """Each prints what it says."""
    until = time.monotonic() + 20
    while True:
        try:
            assert re.fullmatch(printed, run(block(word, here)))
            return
        except AssertionError:  # the board shows an event a little later
            if word != "watch_leaderboard" or time.monotonic() > until:
                raise


def test_the_block_for_mutual_tls(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """With the files of a caller."""
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    authority.issue("spiffe://test/own").write(tmp_path, "own")
    certificate, key = authority.issue("127.0.0.1", for_clients=False).write(tmp_path, "server")
    (tmp_path / "policy.toml").write_text(POLICY)
    settings = {
        **of_sandbox(sandbox.urls, sandbox.environ),
        "GATEWAY_TLS_CERT_FILE": str(certificate),
        "GATEWAY_TLS_KEY_FILE": str(key),
        "GATEWAY_TLS_CLIENT_CA_FILE": str(tmp_path / "ca.pem"),
        "GATEWAY_CONFIG": str(tmp_path / "policy.toml"),
    }
    credentials = authority.credentials(authority.issue("spiffe://test/own"))
    with GatewayProcess(settings, credentials=credentials) as process:
        replaced = [("/run/secrets/gateway", str(tmp_path)), ("gateway.internal:50051", process.address)]
        assert int(run(block("Tls(", *replaced))) > 0


def test_the_wallet(here: tuple[str, str], sandbox: SandboxProcess) -> None:
    """It answers one webhook."""
    port = free_port()
    command = block("verify_wallet", here, ("8443", str(port)))
    with subprocess.Popen(command, env={**os.environ, "PYTHONUNBUFFERED": "1"}, stderr=subprocess.PIPE) as process:
        move = {"operation": "reserve_cash", "player": "p", "currency": "EUR", "amount": "1.00"}
        target = {"target": f"http://127.0.0.1:{port}", "retries": 200, "pause_ms": 100, "probe": False}
        found = sandbox.control("POST", "/wallet/send", {**move, **target})
        process.wait(30)
    assert found["attempts"][-1]["status"] == 200


def test_the_test_of_the_plugin(tmp_path: Path) -> None:
    """It passes with the plugin."""
    (code,) = (one for one in BLOCKS if "def test_a_refused_event" in one)
    (tmp_path / "test_it.py").write_text(code)
    assert "1 passed" in run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)])


def test_every_block_is_tested() -> None:
    """A new one needs a line here."""
    words = ["ensure_leaderboard", "mint_launch", "EventIdReused", "watch_leaderboard", "event_stream", "Tls("]
    words += ["verify_wallet", "def test_a_refused_event"]
    assert sum(any(word in one for word in words) for one in BLOCKS) == len(BLOCKS) == len(words)
