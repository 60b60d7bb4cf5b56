"""The health probe that Kubernetes users know, against a gateway with mutual TLS."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway_process import GatewayProcess
from tests.policy_setup import PolicySetup, caller, identity, start_policy_setup
from tools.go_tools import BUILD_WITHIN_S, NotBuilt, installed

MODULE, VERSION = "github.com/grpc-ecosystem/grpc-health-probe", "v0.4.42"
pytestmark = pytest.mark.timeout(BUILD_WITHIN_S + 120)
UNHEALTHY, NO_CONNECTION, RPC_FAILED = 4, 2, 3


@pytest.fixture(scope="module")
def probe() -> Path:
    try:
        return installed(MODULE, VERSION, slow=True)
    except NotBuilt as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicySetup]:
    with start_policy_setup(tmp_path_factory.mktemp("probed")) as made:
        yield made


@pytest.mark.parametrize("front", ["grpc", pytest.param("http2", marks=pytest.mark.faults)])
def test_the_probe_works_with_a_certificate_of_the_callers_ca(
    probe: Path, setup: PolicySetup, front: str, tmp_path: Path
) -> None:
    """Any certificate of that CA may ask for the process and for a service; without one there is no connection."""
    certificate, key = setup.authority.issue(identity("kubelet")).write(tmp_path, "kubelet")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(setup.authority.certificate)

    def asked(gateway: GatewayProcess, *options: str) -> int:
        command = [str(probe), f"-addr={gateway.address}", "-tls", f"-tls-ca-cert={ca}", "-rpc-timeout=10s"]
        return subprocess.run([*command, "-connect-timeout=10s", *options], capture_output=True, check=False).returncode

    shown = (f"-tls-client-cert={certificate}", f"-tls-client-key={key}")
    policy = caller("reader", allow=["keys.read"])
    with setup.gateway(policy, {"GATEWAY_FRONT": front}, name=f"probed-{front}.toml") as gateway:
        assert asked(gateway, *shown) == 0
        assert asked(gateway, *shown, "-service=phoenix.gateway.v1.TokenService") == 0
        assert asked(gateway, *shown, "-service=unknown.Service") in (RPC_FAILED, UNHEALTHY)
        assert asked(gateway) in (NO_CONNECTION, RPC_FAILED)
