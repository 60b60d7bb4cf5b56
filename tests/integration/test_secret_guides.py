"""The guides docs/secrets-*.md: every command runs, and a gateway with their settings uses and rotates the secrets."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.deploy.document_lines import ROOT, texts
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.test_store_rotations import TAKEN_OVER_WITHIN_S, in_use
from tests.keys.stores.gcp_emulator import GcpEmulator
from tests.moto_process import INSTALL_WITHIN_S, MotoProcess
from tests.openbao_process import SERVER_PARAMS, SERVERS
from tests.sandbox_process import SandboxProcess
from tests.vault_process import BUILD_WITHIN_S
from tools.go_tools import NotBuilt

T = TypeVar("T")
pytestmark = pytest.mark.timeout(BUILD_WITHIN_S + INSTALL_WITHIN_S + 180)


def follow(page: str, sandbox: SandboxProcess, folder: Path, shell: dict[str, str], settings: dict[str, str]) -> None:
    """Run the commands of a guide in order. The last ones rotate; a gateway must use what they wrote."""
    commands, (settings_file,) = (texts(ROOT / "docs" / page, kind) for kind in ("sh", "ini"))
    environ = dict(sandbox.environ)
    values = {"API_KEY": environ.pop("ADMIN_API_KEY"), "HMAC_SECRET": environ.pop("INGESTION_HMAC_SECRET")}
    new = {"API_KEY": f"pk_{secrets.token_hex(16)}", "HMAC_SECRET": secrets.token_hex(32)}
    shell = {
        "PATH": os.environ["PATH"], **shell, **values, **{f"NEW_{name}": value for name, value in new.items()}
    }  # fmt: skip

    def run(text: str) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], env=shell, cwd=folder, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"

    for text in commands[:-1]:
        run(text)
    given = dict(line.split("=", 1) for line in settings_file.splitlines())
    if (folder / "role-id").exists():
        given["VAULT_ROLE_ID"] = (folder / "role-id").read_text().strip()
        given["VAULT_SECRET_ID_FILE"] = str(folder / given["VAULT_SECRET_ID_FILE"])
    wanted = {**of_sandbox(sandbox.urls, environ), **settings, **given, "GATEWAY_SECRET_POLL": "0.5"}
    with GatewayProcess(wanted) as gateway:
        before = in_use(gateway)
        assert {source for source, _, _ in before} == {text for name, text in given.items() if name.endswith("_REF")}
        credentials = {"tenant_id": environ["TENANT_ID"], "api_key": new["API_KEY"], "hmac_secret": new["HMAC_SECRET"]}
        sandbox.control("POST", "/credentials/add", credentials)
        run(commands[-1])
        until = time.monotonic() + TAKEN_OVER_WITHIN_S
        while not before.isdisjoint(in_use(gateway)):
            assert time.monotonic() < until, gateway.log_text[-3000:]
            time.sleep(0.1)


def or_skip(make: Callable[[], T]) -> T:
    """Make it, or skip the test if its program is missing."""
    try:
        return make()
    except NotBuilt as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("kind", SERVER_PARAMS)
def test_the_guide_of_vault(kind: str, sandbox: SandboxProcess, tmp_path: Path) -> None:
    """With AppRole."""
    (tmp_path / "state").mkdir()
    server = or_skip(lambda: SERVERS[kind](tmp_path / "state"))
    try:
        server.start()
        shell = {"ADMIN": server.root_token, "VAULT_ADDR": server.address}
        follow("secrets-vault.md", sandbox, tmp_path, shell, {"VAULT_ADDR": server.address})
    finally:
        server.close()


def test_the_guide_of_aws(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """With Amazon's own command line."""
    server = or_skip(MotoProcess)
    try:
        server.start()
        shell = {**server.environ, "PATH": f"{server.programs}:{os.environ['PATH']}"}
        follow("secrets-aws.md", sandbox, tmp_path, shell, server.environ)
    finally:
        server.stop()


def test_the_guide_of_google_cloud(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Against the emulator."""
    emulator = GcpEmulator()
    try:
        settings = {
            "GCP_SECRET_MANAGER_URL": emulator.url,
            "GOOGLE_APPLICATION_CREDENTIALS": str(emulator.credentials(tmp_path)),
        }
        follow("secrets-gcp.md", sandbox, tmp_path, {"GCP": f"{emulator.url}/v1", "TOKEN": "administrator"}, settings)
    finally:
        emulator.close()
