"""The container of the Helm chart runs with the files that a pod gets."""

from __future__ import annotations

import base64
import os
import shutil
import ssl
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from ruamel.yaml import YAML

from gateway.v1 import keys_pb2, keys_pb2_grpc
from tests.deploy.helm_chart import manifests
from tests.deploy.kubernetes_pod import Pod
from tests.gateway_process import of_sandbox
from tests.ports import free_port
from tests.postgres_process import PostgresProcess
from tests.redis_process import RedisProcess
from tests.sandbox_process import SandboxProcess
from tools import dev_ca
from tools.go_tools import BUILD_WITHIN_S

pytestmark = pytest.mark.timeout(2 * BUILD_WITHIN_S + 120)  # the first run builds the tools


@pytest.fixture(params=["with Redis"])
def pod(
    request: pytest.FixtureRequest,
    helm: Path,
    sandbox: SandboxProcess,
    postgres_server: PostgresProcess,
    redis_server: RedisProcess,
) -> Iterator[tuple[Pod, Path, Mapping[str, str]]]:
    """The container of the chart, its files written, not started; the folder of its CA; its secrets."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can give files to another user; setpriv is in util-linux")
    settings = of_sandbox(sandbox.urls, sandbox.environ)
    with tempfile.TemporaryDirectory(prefix="pgw-pod-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        ca_folder = folder / "ca"
        ca_folder.mkdir()
        dev_ca.make(ca_folder, datetime.now(UTC))
        secrets = {
            "INGESTION_HMAC_SECRET": settings.pop("INGESTION_HMAC_SECRET"),
            "ADMIN_API_KEY": settings.pop("ADMIN_API_KEY"),
            "PREDICTION_LAUNCH_KEY": settings.pop("PREDICTION_LAUNCH_KEY"),
            "DATABASE_URL": postgres_server.create_database(f"pod_{uuid.uuid4().hex}"),
            "REDIS_URL": redis_server.url,
            "GATEWAY_CACHE_KEYS": base64.b64encode(os.urandom(32)).decode(),
        }
        given = {"secrets.files.GATEWAY_EVIDENCE_KEY": "null"}
        if request.param == "with a volume":
            given |= {f"secrets.files.{name}": "null" for name in ("REDIS_URL", "GATEWAY_CACHE_KEYS")}
            given["data.existingClaim"] = "gateway-data"
            del secrets["REDIS_URL"], secrets["GATEWAY_CACHE_KEYS"]
        ports = {"service.port": str(free_port()), "admin.port": str(free_port())}
        values = folder / "values.yaml"
        with values.open("w") as file:
            YAML().dump({"policy": {"toml": POLICY}, "settings": settings}, file)
        (deployment,) = [
            each for each in manifests(helm, {**ports, **given}, "-f", str(values)) if each["kind"] == "Deployment"
        ]
        with Pod(deployment, folder) as made:
            made.volumes["secrets"].swap(**{key.lower(): value for key, value in secrets.items()})
            made.volumes["tls"].swap(
                tls__crt=(ca_folder / "gateway.pem").read_text(),
                tls__key=(ca_folder / "gateway.key").read_text(),
                ca__crt=(ca_folder / "ca.pem").read_text(),
            )
            made.volumes["policy"].swap(policy__toml=POLICY)
            yield made, ca_folder, secrets


POLICY = """
[[callers]]
name = "operations"
ids = ["spiffe://dev.internal/operations"]
allow = ["keys.read", "keys.revoke"]
tenants = ["*"]
operators = ["*"]
"""


def test_the_container_serves_with_the_files_of_a_pod(pod: tuple[Pod, Path, Mapping[str, str]]) -> None:
    """Files of root and the pod's group, read by user 1000; probes without a certificate; a rotated secret; SIGTERM."""
    running, ca_folder, secrets = pod
    running.start()
    _wait_until_ready(running)
    assert _answer(running, "liveness") == 200
    with _channel(running, ca_folder) as channel:
        keys: Any = keys_pb2_grpc.KeyServiceStub(channel)
        before = _secret_fingerprints(keys)
        running.volumes["secrets"].swap(
            **{key.lower(): value for key, value in {**secrets, "ADMIN_API_KEY": "another-key-0123456789"}.items()}
        )
        until = time.monotonic() + 20
        while _secret_fingerprints(keys) == before:
            assert time.monotonic() < until, "the new file is not read"
            time.sleep(0.2)
    code, took_s = running.end()
    assert code == 0
    assert took_s < running.grace_s


@pytest.mark.parametrize("pod", ["with a volume"], indirect=True)
def test_without_redis_the_volume_keeps_revocations(pod: tuple[Pod, Path, Mapping[str, str]]) -> None:
    """The pod may write its folder, which belongs to root and its group; the revoked key is in a file there."""
    running, ca_folder, _ = pod
    revoked = keys_pb2.RevokePlatformKeyRequest(key_id="0" * 64)
    running.start()
    _wait_until_ready(running)
    with _channel(running, ca_folder) as channel:
        keys: Any = keys_pb2_grpc.KeyServiceStub(channel)
        keys.RevokePlatformKey(revoked, timeout=10)  # STORE_UNAVAILABLE if it would be forgotten
    running.end()
    kept = Path(running.environment["GATEWAY_DATA_DIR"])
    assert any("0" * 64 in path.read_text(errors="replace") for path in kept.iterdir() if path.is_file())


def _secret_fingerprints(keys: Any) -> Sequence[str]:
    answer = keys.ListKeys(keys_pb2.ListKeysRequest(), timeout=5)
    return sorted(key.key_id for key in answer.keys)


def _wait_until_ready(pod: Pod) -> None:
    until = time.monotonic() + 40
    while (status := _answer(pod, "readiness")) != 200:
        assert pod.is_running, pod.log_path.read_text()[-3000:]
        assert time.monotonic() < until, f"{status}: {pod.log_path.read_text()[-3000:]}"
        time.sleep(0.1)


def _answer(pod: Pod, probe: str) -> int:
    """Ask as the kubelet does: TLS, the certificate not verified, none of its own. 0: no answer."""
    scheme, port, path = pod.probe(probe)
    assert (scheme, port) == ("HTTPS", "admin")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = pod.environment["GATEWAY_ADMIN_LISTEN"].replace("0.0.0.0", "127.0.0.1")
    try:
        with urllib.request.urlopen(f"https://{address}{path}", timeout=5, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code
    except OSError:
        return 0


def _channel(pod: Pod, ca_folder: Path) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(
        (ca_folder / "ca.pem").read_bytes(),
        (ca_folder / "operations.key").read_bytes(),
        (ca_folder / "operations.pem").read_bytes(),
    )
    return grpc.secure_channel(pod.environment["GATEWAY_LISTEN"].replace("0.0.0.0", "127.0.0.1"), credentials)
