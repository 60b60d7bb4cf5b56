"""A real layer 7 proxy in front of a gateway: who calls, streams in both directions, and the gateway's end."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.v1 import events_pb2, events_pb2_grpc, leaderboards_pb2, leaderboards_pb2_grpc
from tests.gateway_process import GatewayProcess
from tests.integration.identity_calls import forwarded, listed, owners
from tests.layer7_proxies import ProxyMissing, envoy, nginx
from tests.policy_setup import PolicySetup, caller, identity, start_policy_setup

pytestmark = pytest.mark.timeout(240)  # a proxy may be downloaded, on a machine that may be busy
RIGHTS = ["keys.read", "events.write", "boards.read"]
POLICY = caller("reader", allow=RIGHTS, tenants=["one"]) + caller("other", allow=["keys.read"])
NO_SIGNAL = 0
PROXIES = {"nginx": nginx, "envoy": envoy}


@dataclass(frozen=True, kw_only=True)
class Proxied:
    """A gateway behind a proxy."""

    setup: PolicySetup
    gateway: GatewayProcess
    address: str

    def channel(self, *names: str) -> grpc.Channel:
        """A channel to the proxy, of a client whose certificate has these names."""
        return grpc.secure_channel(self.address, self.setup.authority.credentials(self.setup.authority.issue(*names)))


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicySetup]:
    with start_policy_setup(tmp_path_factory.mktemp("proxied")) as made:
        yield made


@contextmanager
def started(setup: PolicySetup, folder: Path, kind: str, front: str, **options: Any) -> Iterator[Proxied]:
    settings = {
        "GATEWAY_TRUSTED_PROXIES": identity("proxy"),
        "GATEWAY_FRONT": front,
        "GATEWAY_DRAIN_DELAY": "0.5",
    }
    with setup.gateway(POLICY, settings, name=f"{folder.name}.toml") as gateway:
        try:
            with PROXIES[kind](folder, setup.authority, gateway.address, identity("proxy"), **options) as address:
                yield Proxied(setup=setup, gateway=gateway, address=address)
        except ProxyMissing as missing:
            pytest.skip(str(missing))


@pytest.fixture(
    scope="module",
    params=[
        "nginx-grpc",
        "envoy-http2",
        *(pytest.param(name, marks=pytest.mark.faults) for name in ("nginx-http2", "envoy-grpc")),
    ],
)
def proxied(
    setup: PolicySetup, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxied]:
    kind, _, front = request.param.partition("-")
    with started(setup, tmp_path_factory.mktemp(request.param), kind, front) as made:
        yield made


def test_the_client_of_the_proxy_is_the_caller(proxied: Proxied) -> None:
    """By the names in its certificate; whatever it says in a header of its own, also twice."""
    reader, stranger = identity("reader"), identity("stranger")
    with proxied.channel(reader) as channel:
        assert owners(channel) == {"one"}
        assert listed(channel, **forwarded(f"URI={stranger}")) == "OK"
    with proxied.channel(stranger) as channel:
        assert listed(channel) == "NOT_ALLOWED"
        twice = (("x-forwarded-client-cert", f"URI={reader}"),) * 2
        assert listed(channel, metadata=twice) == "NOT_ALLOWED"
        assert listed(channel, **forwarded(f'URI={reader};Subject="')) == "NOT_ALLOWED"


def test_a_stream_in_both_directions_passes(proxied: Proxied) -> None:
    """Each message is acknowledged before the next is sent: nothing is held back on the way."""
    go_on = threading.Semaphore(1)

    def messages() -> Iterator[events_pb2.StreamEventsRequest]:
        for number in range(1, 6):
            assert go_on.acquire(timeout=20)
            event = events_pb2.Event(leaderboard_id="proxied", user_id="ada", score_delta=1)
            yield events_pb2.StreamEventsRequest(sequence=number, events=[event])

    with proxied.channel(identity("reader")) as channel:
        stub = events_pb2_grpc.EventServiceStub(channel)
        seen = []
        for answer in stub.StreamEvents(messages(), timeout=60):
            seen.append(answer.sequence)
            go_on.release()
    assert seen == [1, 2, 3, 4, 5]


def test_a_live_stream_passes_and_ends_with_its_client(proxied: Proxied) -> None:
    """A message arrives when it is sent, and a client that leaves ends the stream at the gateway."""
    with proxied.channel(identity("reader")) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watched = stub.Watch(health_pb2.HealthCheckRequest(service="phoenix.gateway.v1.TokenService"), timeout=60)
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        assert watching(proxied.gateway) == 1
        watched.cancel()
        until = time.monotonic() + 20
        while watching(proxied.gateway):
            assert time.monotonic() < until, "the gateway still serves a client that left"
            time.sleep(0.05)


def watching(gateway: GatewayProcess) -> int:
    """How many health watches the gateway serves."""
    with urlopen(f"http://{gateway.admin_address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(r'calls_in_flight\{method="/grpc.health.v1.Health/Watch"\} (\S+)', text)
    return round(sum(map(float, found)))


@pytest.mark.faults
@pytest.mark.parametrize("front", ["grpc", "http2"])
@pytest.mark.parametrize("kind", ["nginx", "envoy"])
def test_a_stop_of_the_gateway_loses_no_call(setup: PolicySetup, kind: str, front: str, tmp_path: Path) -> None:
    """The call in flight is answered through the proxy; then the gateway ends by itself with exit code 0."""
    with started(setup, tmp_path / f"stop-{kind}-{front}", kind, front) as proxied:
        with proxied.channel(identity("reader")) as channel:
            assert listed(channel) == "OK"
            setup.sandbox.control("POST", "/faults", {"surface": "query", "kind": "delay", "delay_ms": 2000})
            boards: Any = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
            rank = leaderboards_pb2.GetUserRankRequest(leaderboard_id="proxied-board", user_id="nobody")
            in_flight = boards.GetUserRank.future(rank, timeout=30)
            time.sleep(0.5)
            os.kill(proxied.gateway.pid, signal.SIGTERM)
            error = in_flight.exception(timeout=30)
            # The board does not exist, so the answer is Phoenix's; what counts is that it is an answer.
            assert error is None or error.code() is grpc.StatusCode.NOT_FOUND, error
        setup.sandbox.control("DELETE", "/faults")
        assert proxied.gateway.stop(NO_SIGNAL) == 0  # a second one would end it at once


@pytest.mark.faults
def test_envoy_may_append_to_what_clients_send(setup: PolicySetup, tmp_path: Path) -> None:
    """Behind another proxy Envoy appends its own client: the last entry counts, the others come from anyone."""
    reader, stranger = identity("reader"), identity("stranger")
    with started(setup, tmp_path / "append", "envoy", "grpc", mode="APPEND_FORWARD") as proxied:
        with proxied.channel(stranger) as channel:
            assert listed(channel, **forwarded(f"URI={reader}")) == "NOT_ALLOWED"
        with proxied.channel(reader) as channel:
            assert listed(channel, **forwarded(f"URI={stranger}")) == "OK"
