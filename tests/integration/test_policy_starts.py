"""Starts that are refused, or warned of, because of who would be let in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.gateway_process import GatewayProcess
from tests.integration.identity_calls import POLICY, listed, plain
from tests.policy_setup import PolicySetup, caller, start_policy_setup

pytestmark = pytest.mark.timeout(180)  # gateways are started, on a machine that may be busy


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicySetup]:
    with start_policy_setup(tmp_path_factory.mktemp("identity")) as made:
        yield made


PLAINTEXT = {"GATEWAY_LISTEN": "0.0.0.0:0"}


def test_plaintext_on_a_public_address_is_no_start(setup: PolicySetup) -> None:
    """The process ends at once and names the setting."""
    gateway = GatewayProcess({**PLAINTEXT, "GATEWAY_CONFIG": str(setup.policy_file("", "public.toml"))})
    assert 2 == gateway.spawn().wait(timeout=60)
    assert "GATEWAY_LISTEN: is plaintext on an address that others reach" in gateway.log_text


def test_certificates_without_a_policy_are_no_start(setup: PolicySetup) -> None:
    """Certificates without a policy must not open everything to every caller."""
    problem = "callers: are missing while GATEWAY_TLS_CLIENT_CA_FILE is set"
    with pytest.raises(RuntimeError, match=problem), setup.gateway("", name="without.toml"):
        pass


def test_a_policy_of_unknown_names_is_no_start_and_names_all(setup: PolicySetup) -> None:
    """Check method, right, tenant, operator and role, and the caller of a socket, each by its own rule."""
    policy = caller(
        "reader", allow=["keys.reed", "KeyService/ListLocks"], tenants=["three"], operators=["acme/test"], roles=["r"]
    )
    places = (
        *("callers[0].allow[0]", "callers[0].allow[1]", "callers[0].tenants[0]", "callers[0].operators[0]"),
        *("callers[0].roles[0]", "GATEWAY_SOCKETS"),
    )
    settings = {"GATEWAY_SOCKETS": "writer=writer.sock"}
    with pytest.raises(RuntimeError) as refused, setup.gateway(policy, settings, name="unknown.toml"):
        pass
    assert [] == [one for one in places if f"{one}: " not in str(refused.value)]


def test_a_socket_in_a_directory_of_others_is_no_start(setup: PolicySetup, tmp_path: Path) -> None:
    """The mode of the socket cannot stop another user from replacing it."""
    tmp_path.chmod(0o755)
    gateway = plain(setup, "open.toml", POLICY, GATEWAY_SOCKETS=f"reader={tmp_path}/reader.sock")
    assert 1 == gateway.spawn().wait(timeout=60)
    assert "other users can reach its directory" in gateway.log_text


def test_a_gateway_without_a_policy_says_so_at_its_start(setup: PolicySetup) -> None:
    """Development on loopback works with a warning."""
    with plain(setup, "none.toml", "") as gateway, grpc.insecure_channel(gateway.address) as channel:
        assert "OK" == listed(channel)
        assert "no policy: every process on this machine may do everything" in gateway.log_text
