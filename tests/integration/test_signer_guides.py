"""The guides docs/signers-*.md: every command runs, and a gateway with their reference signs, and sees the rotation."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.v1 import keys_pb2, keys_pb2_grpc, tokens_pb2, tokens_pb2_grpc
from tests import moto_process, openbao_process
from tests.deploy.document_lines import ROOT, texts
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.test_store_rotations import doctor_of
from tests.kms_emulators import AwsKms, GcpKms
from tests.openbao_process import INSTALL_WITHIN_S, SERVER_PARAMS, SERVERS
from tests.sandbox_process import SandboxProcess
from tests.softhsm import PIN, SO_PIN, SoftHsm
from tests.vault_process import BUILD_WITHIN_S
from tools.go_tools import NotBuilt

pytestmark = pytest.mark.timeout(BUILD_WITHIN_S + INSTALL_WITHIN_S + 180)
NOTICED_WITHIN_S = 30.0


def follow(
    page: str,
    sandbox: SandboxProcess,
    folder: Path,
    shell: dict[str, str],
    settings: Callable[[], dict[str, str]],
    change: Callable[[str], str] = lambda text: text,
    look: Callable[[GatewayProcess], object] = lambda gateway: None,
) -> None:
    """Run the commands of a guide in order, the last ones beside a gateway.

    Args: `settings`: of the gateway, once the first commands ran; `change`: what is another here than in the
    guide; `look`: at the gateway before the last commands.
    """
    commands, (setting, *_) = ([change(text) for text in texts(ROOT / "docs" / page, kind)] for kind in ("sh", ""))
    name, _, reference = setting.partition("=")

    def run(text: str) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=folder, capture_output=True, text=True, timeout=120,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **shell},
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"

    for text in commands[:-1]:
        run(text)
    environ = {one: value for one, value in sandbox.environ.items() if one != "PREDICTION_LAUNCH_KEY"}
    wanted = {**of_sandbox(sandbox.urls, environ), **settings(), name: reference, "GATEWAY_SECRET_POLL": "0.2"}
    with GatewayProcess(wanted) as gateway, gateway.open_channel() as channel:
        minted = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())
        first = tokens_pb2_grpc.TokenServiceStub(channel).MintLaunchJWT(minted, timeout=20).key_id
        look(gateway)
        run(commands[-1])
        until = time.monotonic() + NOTICED_WITHIN_S
        while True:
            rows = keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest(), timeout=20).keys
            states = {one.key_id: one.state for one in rows if one.kind == keys_pb2.KEY_KIND_OPERATOR}
            if len(states) == 2:
                break
            assert time.monotonic() < until, gateway.log_text[-3000:]
            time.sleep(0.05)
        assert states.pop(first) == keys_pb2.KEY_STATE_ACTIVE
        assert [*states.values()] == [keys_pb2.KEY_STATE_ANNOUNCED]


@pytest.mark.parametrize("kind", SERVER_PARAMS)
def test_the_guide_of_transit(kind: str, sandbox: SandboxProcess, tmp_path: Path) -> None:
    """With `bao` under the name of `vault`; the guide's policy gives no right too many."""
    state, programs = tmp_path / "state", tmp_path / "bin"
    state.mkdir()
    programs.mkdir()
    try:
        (programs / "vault").symlink_to(openbao_process.command_line())
        server = SERVERS[kind](state)
    except NotBuilt as reason:
        pytest.skip(str(reason))
    server.start()
    try:
        shell = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "BAO_ADDR": server.address, "BAO_TOKEN": server.root_token,
        }  # fmt: skip

        def settings() -> dict[str, str]:
            return {"VAULT_ADDR": server.address, "VAULT_TOKEN": server.token("phoenix-launch")}

        def look(gateway: GatewayProcess) -> None:
            assert "signs, and the gateway may do no more than that" in doctor_of(gateway)

        follow("signers-transit.md", sandbox, tmp_path, shell, settings, look=look)
    finally:
        server.close()


def test_the_guide_of_aws_kms(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """With Amazon's own command line, against the emulator."""
    try:
        programs = moto_process.program().parent
    except NotBuilt as reason:
        pytest.skip(str(reason))
    with AwsKms() as emulator:
        environ = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL_KMS": emulator.url,
        }
        shell = {**environ, "PATH": f"{programs}:{os.environ['PATH']}"}
        follow("signers-aws.md", sandbox, tmp_path, shell, lambda: environ)


def test_the_guide_of_google_cloud_kms(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Against the emulator."""
    with GcpKms() as emulator:
        emulator.key_name = "projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/phoenix-launch"
        account = tmp_path / "account.json"
        account.write_text(json.dumps(emulator.service_account()))
        ring = emulator.key_name.removesuffix("/cryptoKeys/phoenix-launch")
        settings = {"GOOGLE_APPLICATION_CREDENTIALS": str(account), "GCP_KMS_URL": emulator.url}
        shell = {"KMS": f"{emulator.url}/v1/{ring}", "TOKEN": "administrator"}
        follow("signers-gcp.md", sandbox, tmp_path, shell, lambda: settings)


def test_the_guide_of_pkcs11(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """With SoftHSM."""
    hsm = SoftHsm(tmp_path)
    if shutil.which("pkcs11-tool") is None:
        pytest.skip("pkcs11-tool is not on this machine; install the package opensc")

    def change(text: str) -> str:
        text = text.replace("/usr/lib/softhsm/libsofthsm2.so", str(hsm.module))
        return text.replace("/run/secrets/pin", str(tmp_path / "pin"))

    shell = {**hsm.environ, "PIN": PIN, "SO_PIN": SO_PIN}
    follow("signers-pkcs11.md", sandbox, tmp_path, shell, lambda: hsm.environ, change)


def test_every_guide_is_followed_here() -> None:
    """A new one needs a test."""
    here = Path(__file__).read_text() + Path(__file__).with_name("test_secret_guides.py").read_text()
    pages = [one.name for kind in ("signers-*.md", "secrets-*.md") for one in (ROOT / "docs").glob(kind)]
    assert [] == [name for name in pages if not re.search(rf'follow\("{name}"', here)]
    assert len(pages) == 7
