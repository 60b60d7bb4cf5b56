"""`phoenix-gateway doctor` as its users start it: exit codes, JSON, table, and no secret in any of them."""

from __future__ import annotations

import base64
import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.core.ed25519 import generate_signing_key
from tests.config.valid_settings import rsa_pem
from tests.doctor.diagnosis import canary, settings_of
from tests.ports import free_port
from tests.sandbox_process import ROOT, SandboxProcess


def command(
    settings: Mapping[str, str], folder: Path, arguments: Sequence[str] = (), **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run `python -m gateway doctor` with only these settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "gateway", "doctor", *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), **settings},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=not options,
        text=True,
        timeout=50,
        check=False,
        **options,
    )


def test_fine(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Exit code 0, one line for each finding, and nothing on standard error."""
    ended = command(settings_of(sandbox, tmp_path), tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert all(line.startswith("ok ") for line in lines)
    assert any("hmac (tenant-test-001): accepted" in line for line in lines)


def test_fault_as_json(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Exit code 1; JSON has the code, counts, and each finding with name, subject, state, what, fix."""
    settings = {**settings_of(sandbox, tmp_path), "INGESTION_HMAC_SECRET": "0" * 64}
    ended = command(settings, tmp_path, ["--json"])
    report = json.loads(ended.stdout)
    assert (ended.returncode, report["exit_code"], report["counts"]["fault"]) == (1, 1, 1)
    (fault,) = [finding for finding in report["findings"] if finding["state"] == "fault"]
    assert fault["name"] == "hmac"
    assert set(fault) == {"name", "subject", "state", "what", "fix"}


def test_configuration_that_cannot_be_read(tmp_path: Path) -> None:
    """Exit code 2, every fault by name."""
    ended = command({"TENANT_ID": "acme", "GATEWAY_WORKERS": "none"}, tmp_path, ["--json"])
    report = json.loads(ended.stdout)
    assert (ended.returncode, report["exit_code"]) == (2, 2)
    faults = {finding["subject"]: finding for finding in report["findings"] if finding["state"] == "fault"}
    assert {"ADMIN_API_KEY", "INGESTION_HMAC_SECRET", "GATEWAY_WORKERS", "QUERY_BASE_URL"} <= set(faults)
    assert faults["QUERY_BASE_URL"]["what"] == "is missing"
    assert faults["QUERY_BASE_URL"]["fix"] == "set it to Phoenix's https:// address"


def test_key_file_that_others_can_read(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A key file of mode 0644 is reported with the command that repairs it."""
    settings = settings_of(sandbox, tmp_path)
    file = tmp_path / "launch.pem"
    file.write_text(settings.pop("PREDICTION_LAUNCH_KEY"))
    file.chmod(0o644)
    ended = command({**settings, "PREDICTION_LAUNCH_KEY_FILE": str(file)}, tmp_path, ["--json"])
    (fault,) = json.loads(ended.stdout)["findings"]
    assert (ended.returncode, fault["subject"]) == (2, "PREDICTION_LAUNCH_KEY_FILE")
    assert fault["fix"].startswith("run chmod 600 on it, or mount it")


def test_key_file_that_is_right(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A key file of mode 0600 is reported as valid, with its fingerprint."""
    settings = settings_of(sandbox, tmp_path)
    file = tmp_path / "launch.pem"
    file.write_text(settings.pop("PREDICTION_LAUNCH_KEY"))
    file.chmod(0o600)
    ended = command({**settings, "PREDICTION_LAUNCH_KEY_FILE": str(file)}, tmp_path)
    assert ended.returncode == 0
    assert "key (acme/sandbox: PREDICTION_LAUNCH_KEY_FILE): Ed25519, pair proven by signing" in ended.stdout


def test_rsa_key(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """An RSA launch key is called one, with the command that makes the right kind."""
    ended = command({**settings_of(sandbox, tmp_path), "PREDICTION_LAUNCH_KEY": rsa_pem()}, tmp_path)
    assert ended.returncode == 2
    assert "RSA" in ended.stdout
    assert "openssl genpkey -algorithm ed25519" in ended.stdout


def test_secret_with_a_blank(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A secret with a copied blank is found before Phoenix refuses it without a visible reason."""
    settings = settings_of(sandbox, tmp_path)
    secret = tmp_path / "hmac-secret"
    secret.touch(0o600)
    secret.write_text(settings.pop("INGESTION_HMAC_SECRET") + " ")
    ended = command({**settings, "INGESTION_HMAC_SECRET_FILE": str(secret)}, tmp_path)
    assert ended.returncode == 2
    assert "begins or ends with a blank" in ended.stdout


def test_prove_events_prints_settings(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """The settings come last, ready to be copied; as JSON they are a member."""
    ended = command(settings_of(sandbox, tmp_path), tmp_path, ["--prove-events", "prove-events-1"])
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[-3:] == [
        "PHOENIX_SEND_EVENT_ID=true",
        "PHOENIX_DEDUPLICATES_EVENTS=true",
        "PHOENIX_BULK_EVENTS=events",
    ]


def test_prove_events_refuses_a_board(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A refusal is exit code 1, with no settings."""
    ended = command(settings_of(sandbox, tmp_path), tmp_path, ["--prove-events", "weekly", "--json"])
    assert (ended.returncode, json.loads(ended.stdout)["settings"]) == (1, {})


def test_table_on_a_terminal(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """On a terminal there is a table with a head, and progress before it; nothing is cut off."""
    ours, theirs = pty.openpty()
    try:
        settings = {**settings_of(sandbox, tmp_path), "COLUMNS": "160", "TERM": "xterm"}
        ended = command(settings, tmp_path, stdout=theirs, stderr=theirs)
        os.close(theirs)
        reported = b""
        while chunk := _read(ours):
            reported += chunk
    finally:
        os.close(ours)
    text = reported.decode(errors="replace")
    assert ended.returncode == 0
    assert all(word in text for word in ("what to do", "hmac", "checks done", "│"))
    assert "…" not in text


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # Linux raises this when the other end is closed
        return b""


def secret_settings() -> dict[str, str]:
    """Every secret that there is, each of a value that nothing else holds."""
    return {
        "ADMIN_API_KEY": canary(),
        "INGESTION_HMAC_SECRET": canary(),
        "PREDICTION_LAUNCH_KEY": generate_signing_key()[1].decode(),
        "REDIS_URL": f"redis://user:{canary()}@127.0.0.1:{free_port()}/0",
        "GATEWAY_CACHE_KEYS": base64.b64encode(os.urandom(32)).decode(),
        "DATABASE_URL": f"postgresql://user:{canary()}@127.0.0.1:{free_port()}/evidence",
    }


def pieces_of(secret: str) -> list[str]:
    """The texts that must not appear: the secret and its secret parts."""
    inner = [line for line in secret.splitlines() if line and "-----" not in line]
    return [secret, *inner, *([secret.split(":")[2].split("@")[0]] if "://" in secret else [])]


@pytest.mark.parametrize(
    "arguments", [[], ["--json"], ["--prove-events", "prove-1"], ["--prove-events", "x", "--json"]]
)
@pytest.mark.parametrize("broken", ["", "PREDICTION_LAUNCH_KEY", "GATEWAY_CACHE_KEYS", "REDIS_URL", "DATABASE_URL"])
def test_no_secret_is_shown(sandbox: SandboxProcess, tmp_path: Path, arguments: list[str], broken: str) -> None:
    """Whatever is wrong, and however it is printed, no secret is in it: every one of them is wrong here."""
    secrets = secret_settings()
    if broken:
        secrets[broken] = f"{canary()}://{canary()}:{canary()}@\x01{canary()}"
    ended = command({**settings_of(sandbox, tmp_path), **secrets}, tmp_path, arguments)
    assert ended.returncode in (1, 2)
    reported = ended.stdout + ended.stderr
    assert "Traceback" not in reported
    assert [name for name, secret in secrets.items() for piece in pieces_of(secret) if piece in reported] == []
    assert "CANARY" not in reported
