"""Certificates and authorities that are replaced while a gateway serves."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.certificates import Authority
from tests.gateway_process import GatewayProcess
from tests.integration.identity_calls import POLICY, counted, health, listed, shown
from tests.policy_setup import SERVER_NAMES, PolicySetup, identity, start_policy_setup

pytestmark = pytest.mark.timeout(180)  # gateways are started, on a machine that may be busy


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicySetup]:
    with start_policy_setup(tmp_path_factory.mktemp("identity")) as made:
        yield made


def test_a_renewed_certificate_is_met_by_new_connections_and_drops_no_old_one(setup: PolicySetup) -> None:
    """The pair is replaced file by file; while the two do not fit the old one stays, and is counted as refused."""
    with setup.gateway(POLICY, name="renewed.toml") as gateway:
        folder = setup.folder / "renewed"
        old, new = served_serial(setup, gateway), setup.authority.issue(*SERVER_NAMES)
        with setup.channel(gateway, identity("reader")) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            watching = stub.Watch(health_pb2.HealthCheckRequest(), timeout=50)
            next(watching)
            (folder / "server.pem").write_bytes(new.certificate)
            assert old == served_serial(setup, gateway)
            assert 1 <= counted(gateway, 'secret_file_events_total{event="refused"}')
            new.write(folder, "server")
            assert old != served_serial(setup, gateway)
            assert "OK" == listed(channel)
            assert watching.is_active()  # on the connection of before
            watching.cancel()
        expired = setup.authority.issue(*SERVER_NAMES, begins=timedelta(days=-2), ends=timedelta(days=-1))
        current = served_serial(setup, gateway)
        expired.write(folder, "server")
        assert current == served_serial(setup, gateway)


def test_a_changed_authority_is_asked_of_new_connections(setup: PolicySetup) -> None:
    """Callers of the old CA are not let in any more once the file holds another one."""
    with setup.gateway(POLICY, name="authority.toml") as gateway:
        second = Authority("Second CA")
        (setup.folder / "authority" / "ca.pem").write_bytes(second.certificate)
        pair = second.issue(identity("reader"))
        with grpc.secure_channel(gateway.address, shown(setup, pair)) as channel:
            assert "OK" == listed(channel)
        with setup.channel(gateway, identity("reader")) as channel:
            assert "UNAVAILABLE" == health(channel)


def served_serial(setup: PolicySetup, gateway: GatewayProcess) -> str:
    """Return the serial number of the certificate that a new connection meets."""
    pair = setup.authority.issue(identity("reader"))
    certificate, key = pair.write(setup.folder / "client", "serial")
    context = ssl.create_default_context(cadata=setup.authority.certificate.decode())
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    host, _, port = gateway.address.rpartition(":")
    raw = socket.create_connection((host, int(port)), timeout=10)
    with context.wrap_socket(raw, server_hostname="localhost") as wrapped:
        found: Any = wrapped.getpeercert()
        return str(found["serialNumber"])
