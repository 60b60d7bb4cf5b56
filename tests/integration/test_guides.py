"""The commands of the guides in docs/, run as they are printed against a gateway, in the order of each page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest

from tests.deploy.document_lines import ROOT, SHELL, texts
from tests.gateway_process import GatewayProcess
from tests.sandbox_process import SandboxProcess
from tools.local import write_webhook

WITHIN_S = 60
PROGRAMS = Path(sys.executable).parent
NEVER_ENDS = ("phoenix-gateway serve",)
"""What runs until Ctrl-C. Every test with a gateway starts it by that command."""
PLACEHOLDERS = {"TARGET": "MintLaunchJWT", "TEXT": "'a try'"}
pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(6 * WITHIN_S),
]  # each command starts a Python: many seconds in all


def shell(gateway: GatewayProcess) -> dict[str, str]:
    """The environment of a person on the gateway's machine, with its settings."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    path = f"{PROGRAMS}:{os.environ['PATH']}"
    return {**kept, **gateway.environ, "PATH": path, "GATEWAY_TARGET": gateway.address}


def run(text: str, folder: Path, environ: dict[str, str]) -> str:
    """Run the lines of a block. Returns what they print."""
    lines = [line for line in text.splitlines() if not line.startswith(NEVER_ENDS)]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        env=environ, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN_S,
    )  # fmt: skip
    assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}{done.stderr[-2000:]}"
    return done.stdout


def commands(page: str) -> list[str]:
    """The shell blocks of a page that are not marked as not run."""
    return texts(ROOT / page, *SHELL)


def head_of_a_move(gateway: GatewayProcess, sandbox: SandboxProcess, folder: Path) -> bytes:
    """Make a move, and wait until a block has it. Returns the head."""
    write_webhook(folder / "webhook.json", sandbox.urls["control"])
    run(f"phoenix-gateway call WalletService/VerifyWallet @{folder}/webhook.json", folder, shell(gateway))
    until = time.monotonic() + WITHIN_S
    while True:
        with build_opener(ProxyHandler({})).open(f"http://{gateway.admin_address}/evidence/head", timeout=10) as answer:
            head: bytes = answer.read()
        if json.loads(head)["heads"]:
            return head
        assert time.monotonic() < until, head
        time.sleep(0.1)


@pytest.mark.parametrize(
    "page",
    ["calling", "evidence", "incidents", "kill-switches", "operating", "production", "reconcile", "upgrade", "wallet"],
)
def test_a_guide(page: str, gateway: GatewayProcess, sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Each command ends with exit code 0."""
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    if page == "evidence":
        (tmp_path / "head.json").write_bytes(head_of_a_move(gateway, sandbox, tmp_path))
    found = commands(f"docs/{page}.md")
    assert found
    for text in found:
        for name, value in PLACEHOLDERS.items():
            text = text.replace(name, value)
        run(text.replace("127.0.0.1:50051", gateway.address), tmp_path, shell(gateway))


def test_the_alert_rules_are_copied(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Every link of the copy begins with the address of the pages."""
    (text,) = commands("deploy/prometheus/README.md")
    (tmp_path / "rules.yml").symlink_to(ROOT / "deploy" / "prometheus" / "rules.yml")
    run(text, tmp_path, shell(gateway))
    copied = (tmp_path / "phoenix-gateway.yml").read_text()
    assert copied.count("runbook_url: ") == copied.count("runbook_url: https://wiki.example/phoenix-gateway/docs/") > 0


def test_what_dev_prints(tmp_path: Path) -> None:
    """The line of JSON has the members that docs/sandbox.md shows."""
    (command,) = commands("docs/sandbox.md")
    (example,) = texts(ROOT / "docs" / "sandbox.md", "json")
    quoted = json.loads(example)
    environ = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    with subprocess.Popen(
        ["bash", "-c", f"exec {command} --with-parent"],
        env=environ, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        printed = json.loads(process.stdout.readline())
        process.stdin.close()
        process.wait(WITHIN_S)
    assert printed.keys() == quoted.keys()
    assert quoted["sandbox"].keys() - {"…"} <= printed["sandbox"].keys()
