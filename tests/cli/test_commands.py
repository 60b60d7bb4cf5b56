"""The commands as their users start them: processes, exit codes, what they print."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.cli.children import free_port
from gateway.core.ed25519 import load_signing_key
from tests.config.valid_settings import OPERATOR, TENANT, WHOLE, rsa_pem
from tests.gateway_command import gateway_command

ROOT = Path(__file__).resolve().parents[2]
CANARY = "canary-4f1d9a7e"


def test_a_wrong_configuration_ends_the_start_with_all_faults(tmp_path: Path) -> None:
    """Exit code 2, one line a fault on standard error, no value and no traceback."""
    settings = {
        **WHOLE,
        "PREDICTION_LAUNCH_KEY": rsa_pem(),
        "GATEWAY_LISTEN": "0.0.0.0:50051",
        "QUERY_BASE_URL": "http://query.example",
        "ADMIN_API_KEY": f"{CANARY} {CANARY}",
    }
    done = gateway_command("serve", environ=settings, folder=tmp_path)
    reported = done.stderr.splitlines()
    assert done.returncode == 2
    assert reported[0] == "The configuration cannot be used (4 faults):"
    named = {line.split(":")[0].strip() for line in reported[1:]}
    assert named == {"PREDICTION_LAUNCH_KEY", "GATEWAY_LISTEN", "QUERY_BASE_URL", "ADMIN_API_KEY"}
    assert CANARY not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_in_use_is_reported_without_a_traceback(tmp_path: Path) -> None:
    """Exit code 1 and one line that names the setting."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = {**WHOLE, "GATEWAY_LISTEN": listen, "GATEWAY_ADMIN_LISTEN": f"127.0.0.1:{free_port()}"}
        done = gateway_command("serve", environ={**settings, "GATEWAY_DATA_DIR": str(tmp_path)}, folder=tmp_path)
    assert done.returncode == 1
    assert "GATEWAY_LISTEN" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.faults  # it waits 15 s for a gateway
def test_smoke_against_nothing_fails_at_the_first_step(tmp_path: Path) -> None:
    """The report names the failed step and the steps that did not run. The exit code is not zero."""
    target = f"127.0.0.1:{free_port()}"
    done = gateway_command("smoke", "--target", target, "--json", folder=tmp_path)
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (1, False)
    assert [step["result"] for step in report["steps"]] == ["failed"] + ["not run"] * (len(report["steps"]) - 1)
    assert "FAILED at 'gateway'" in done.stderr
    assert report["steps"][0]["next"] in done.stderr


def test_smoke_with_a_wrong_configuration_shows_its_faults(tmp_path: Path) -> None:
    """Without --target, the command starts a gateway and shows its output."""
    done = gateway_command("smoke", environ={**WHOLE, "ADMIN_AUTH": "basic"}, folder=tmp_path)
    assert done.returncode == 2
    assert "FAILED at 'start the gateway'" in done.stderr
    assert "ADMIN_AUTH" in done.stderr
    assert "name it by --target" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--environment", "production"], "--environment"),
        (["--control", "file:///etc/passwd"], "--control"),
        (["--target", "127.0.0.1:1", "--cert-file", "x"], "--ca-file"),
        (["--target", "127.0.0.1:1", "--ca-file", "/nonexistent"], "TLS file"),
    ],
)
def test_smoke_refuses_wrong_options(arguments: list[str], named: str, tmp_path: Path) -> None:
    """Exit code 2, and the option is named."""
    done = gateway_command("smoke", *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert named in done.stderr


def test_keys_generate_makes_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    """The public key is printed, the private key is only in the file, and no file is overwritten."""
    path = tmp_path / "launch.pem"
    done = gateway_command("keys", "generate", "--out", str(path), folder=tmp_path)
    key = load_signing_key(path.read_bytes())
    assert done.returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert done.stdout == f"{key.public.spki_pem.decode()}key id: {key.key_id}\n"
    assert "PRIVATE" not in done.stdout + done.stderr

    again = gateway_command("keys", "generate", "--out", str(path), folder=tmp_path)
    assert again.returncode == 1
    assert load_signing_key(path.read_bytes()).key_id == key.key_id


def test_the_sandbox_refuses_to_start_without_anyone_to_serve(tmp_path: Path) -> None:
    """Exit code 2 and the names of the missing settings."""
    done = gateway_command("sandbox", folder=tmp_path)
    assert done.returncode == 2
    assert "TENANT_ID" in done.stderr


def test_the_local_smoke_run_holds() -> None:
    """`make smoke`: sandbox and gateway on free ports, every step ok, exit code 0, nothing left running."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.local", "smoke"],
        cwd=ROOT,
        env={**os.environ, **TENANT, **OPERATOR, "GATEWAY_LISTEN": "0.0.0.0:1"},  # a developer's own must not leak in
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("│ ok ") == 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_make_run_stays_up_and_ends_both_children(number: int, tmp_path: Path) -> None:
    """The four calls are printed, Ctrl-C or SIGTERM ends everything, and secrets are in files of mode 0600.

    The test starts it with SIGINT ignored, as a shell starts a background job.
    """
    log = tmp_path / "run.log"
    run = [sys.executable, "-m", "tools.local", "run", "--folder", str(tmp_path / "run")]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *run],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    try:
        until = time.monotonic() + 40
        while "Ctrl-C stops both." not in log.read_text() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert process.poll() is None, log.read_text()
        assert log.read_text().count("\n  .venv/bin/phoenix-gateway call ") == 4
        control = json.loads((tmp_path / "run" / "sandbox.json").read_text())
        secret_files = list((tmp_path / "run" / "secrets").iterdir())
        assert {stat.S_IMODE(path.stat().st_mode) for path in secret_files} == {0o600}
        assert stat.S_IMODE((tmp_path / "run" / "secrets").stat().st_mode) == 0o700
    finally:
        process.send_signal(number)
        process.wait(timeout=40)
    assert not Path(f"/proc/{control['pid']}").exists()
