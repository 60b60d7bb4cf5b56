"""A policy of two callers, and calls that say whether a client is let in and by which name."""

from __future__ import annotations

from typing import Any
from urllib.request import ProxyHandler, build_opener

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.v1 import keys_pb2, keys_pb2_grpc
from tests.certificates import Authority, Pair
from tests.gateway_process import GatewayProcess, reason_of
from tests.policy_setup import PolicySetup, caller, identity

READER = caller(
    "reader", ids=[identity("reader"), "reader.test.internal"], allow=["keys.read"], tenants=["one"], reflection=True
)
OTHER = caller("other", ids=[identity("other"), "other.test.internal"], allow=["keys.read"])
POLICY = READER + OTHER


def listed(channel: grpc.Channel, **options: Any) -> str:
    """Ask for the keys; return the reason of the refusal, "OK" without one."""
    try:
        keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest(), timeout=10, **options)
    except grpc.RpcError as error:
        return reason_of(error) or error.code().name
    return "OK"


def owners(channel: grpc.Channel) -> set[str]:
    """Return whose keys are listed."""
    answer = keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest(), timeout=10)
    return {key.owner for key in answer.keys}


def health(channel: grpc.Channel, **options: Any) -> str:
    """Ask for the health; return the status code's name. With `wait_for_ready` the gateway may still be starting."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    try:
        stub.Check(health_pb2.HealthCheckRequest(), timeout=60 if options.get("wait_for_ready") else 15, **options)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def shown(setup: PolicySetup, pair: Pair | None, trusted: Authority | None = None) -> grpc.ChannelCredentials:
    """Credentials of a client who trusts the gateway's CA, or another one."""
    own = (trusted or setup.authority).certificate
    return grpc.ssl_channel_credentials(own, pair.key if pair else None, pair.certificate if pair else None)


def forwarded(value: str) -> dict[str, Any]:
    return {"metadata": (("x-forwarded-client-cert", value),)}


def plain(setup: PolicySetup, name: str, policy: str, **settings: str) -> GatewayProcess:
    """A gateway on loopback without TLS, not started yet."""
    return GatewayProcess({"GATEWAY_CONFIG": str(setup.policy_file(policy, name)), **settings})


def counted(gateway: GatewayProcess, sample: str) -> float:
    """Return the sum of the samples that begin so in the gateway's metrics."""
    with build_opener(ProxyHandler({})).open(f"http://{gateway.admin_address}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"phoenix_gateway_{sample}")]
    assert found, f"no sample {sample}"
    return sum(found)
