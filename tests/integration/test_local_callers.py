"""Callers without a certificate: sockets, the development token, and commands of the same machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.gateway_command import gateway_command
from tests.gateway_process import FRONT
from tests.integration.identity_calls import POLICY, health, listed, plain
from tests.policy_setup import SERVER_NAMES, PolicySetup, caller, start_policy_setup

pytestmark = pytest.mark.timeout(180)  # gateways are started, on a machine that may be busy


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicySetup]:
    with start_policy_setup(tmp_path_factory.mktemp("identity")) as made:
        yield made


def test_each_socket_is_one_caller(setup: PolicySetup, tmp_path: Path) -> None:
    """Every process that can open it is that caller. Its mode is 0600 in a 0700 directory. Plaintext TCP is refused."""
    folder = tmp_path / "run"
    sockets = f"reader={folder}/reader.sock, idle={folder}/idle.sock"
    policy = POLICY + caller("idle")
    gateway = plain(setup, "sockets.toml", policy, GATEWAY_SOCKETS=sockets)
    gateway.spawn()
    try:
        came = {}
        for name in ("reader", "idle"):
            with grpc.insecure_channel(f"unix:{folder}/{name}.sock") as channel:
                came[name] = (health(channel, wait_for_ready=True), listed(channel))
        with grpc.insecure_channel(gateway.address) as channel:
            came["tcp"] = (health(channel), listed(channel))
        modes = [oct((folder / name).stat().st_mode & 0o777) for name in (".", "reader.sock", "idle.sock")]
    finally:
        gateway.stop()
    assert {"reader": ("OK", "OK"), "idle": ("OK", "NOT_ALLOWED"), "tcp": ("PERMISSION_DENIED", "NOT_ALLOWED")} == came
    assert ["0o700", "0o600", "0o600"] == modes


def test_a_listening_socket_is_private_and_its_caller_is_local(setup: PolicySetup, tmp_path: Path) -> None:
    """GATEWAY_LISTEN on a socket, too."""
    gateway = plain(
        setup, "local.toml", caller("local", ids=[], allow=["keys.read"]), GATEWAY_LISTEN=f"unix:{tmp_path}/run/g.sock"
    )
    gateway.spawn()
    try:
        with grpc.insecure_channel(f"unix:{tmp_path}/run/g.sock") as channel:
            assert ("OK", "OK") == (health(channel, wait_for_ready=True), listed(channel))
        assert 0o600 == (tmp_path / "run" / "g.sock").stat().st_mode & 0o777
    finally:
        gateway.stop()


def test_the_development_token_is_asked_for(setup: PolicySetup) -> None:
    """Without the token, or with a wrong one, even the health service refuses. The token is not in the log."""
    token = "development-token-4f1dd27c"
    gateway = plain(setup, "token.toml", "", GATEWAY_DEV_TOKEN=token)
    gateway.spawn()
    try:
        with grpc.insecure_channel(gateway.address) as channel:
            right = {"metadata": (("authorization", f"Bearer {token}"),)}
            assert "OK" == health(channel, wait_for_ready=True, **right)
            assert "OK" == listed(channel, **right)
            wrong: list[dict[str, Any]] = [{}] + [
                {"metadata": (("authorization", value),)}
                for value in (f"Bearer {token}x", f"Basic {token}", "Bearer", token)
            ]
            assert ["PERMISSION_DENIED"] * 5 == [health(channel, **one) for one in wrong]
            # RFC 9113, 8.2.1: a value that ends with a blank is malformed, and its stream is reset; grpc takes it.
            blank = "INTERNAL" if FRONT == "http2" else "PERMISSION_DENIED"
            assert blank == health(channel, metadata=(("authorization", "Bearer "),))
        assert token not in gateway.log_text
    finally:
        gateway.stop()


def test_commands_show_the_token_of_the_environment(setup: PolicySetup) -> None:
    """Only on loopback. Without a policy, the log says what to do."""
    token = "development-token-4f1dd27c"
    gateway = plain(setup, "command.toml", "", GATEWAY_DEV_TOKEN=token)
    gateway.spawn()
    try:
        with grpc.insecure_channel(gateway.address) as channel:
            assert "PERMISSION_DENIED" == health(channel, wait_for_ready=True)
        done = {}
        for name, environ in {"with": {"GATEWAY_DEV_TOKEN": token}, "without": {}}.items():
            done[name] = command(["keys", "list", "--target", gateway.address, "--json"], environ)
        assert (0, True) == (done["with"].returncode, '"owner": "one"' in done["with"].stdout)
        assert (1, True) == (done["without"].returncode, "Show the development token" in done["without"].stderr)
    finally:
        gateway.stop()


def test_a_smoke_run_needs_no_callers_certificate(setup: PolicySetup, tmp_path: Path) -> None:
    """The settings of a gateway in service, with its policy and TLS, are tried by one that is not open."""
    certificate, key = setup.authority.issue(*SERVER_NAMES).write(tmp_path, "server")
    (tmp_path / "ca.pem").write_bytes(setup.authority.certificate)
    tls = {"cert": certificate, "key": key, "client_ca": tmp_path / "ca.pem"}
    policy = setup.policy_file(caller("game", allow=["tokens.*"], tenants=["one"], operators=["*"]), "smoke.toml")
    named = "".join(f'gateway_tls_{name}_file = "{path}"\n' for name, path in tls.items())
    policy.write_text(named + policy.read_text())
    arguments = ["smoke", "--config", str(policy), "--tenant", "one", "--operator", "zeta", "--environment", "sandbox"]
    done = command(
        arguments, {"GATEWAY_SOCKETS": "game=/nonexistent/game.sock", "DATABASE_URL": "postgresql://x@[::1]/x"}
    )
    assert 0 == done.returncode, done.stdout + done.stderr


def command(arguments: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command of ours away from any `.env`."""
    return gateway_command(*arguments, environ={"NO_COLOR": "1", **environ}, folder=Path("/"), timeout_s=120)
