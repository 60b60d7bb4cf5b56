"""Two gateways are restarted one after the other, again and again, under calls: no client sees it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.v1 import tokens_pb2, tokens_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of
from tests.sandbox_process import SandboxProcess

SERVICE_CONFIG = (Path(__file__).resolve().parents[2] / "clients" / "service_config.json").read_text()
NO_RETRIES = '{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}'
RATE_PER_S = 200
DELAY_S = 1.0
BACK_AFTER_S = 3.0
"""How long clients may take to find a gateway that is back: a rollout waits as long before it stops the next one."""


class Client:
    """Calls at a fixed rate from a thread of its own, and keeps what failed."""

    def __init__(self, target: str, service_config: str, calls_per_s: float) -> None:
        options = [("grpc.service_config", service_config), ("grpc.max_reconnect_backoff_ms", 1000)]
        self._channel = grpc.insecure_channel(target, options=options)
        self._interval_s = 1 / calls_per_s
        self._stopping = threading.Event()
        self.failures: Counter[str] = Counter()
        self.calls = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        stub = tokens_pb2_grpc.TokenServiceStub(self._channel)
        request = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())
        due = time.monotonic()
        pending: list[Any] = []
        while not self._stopping.is_set():
            call = stub.MintLaunchJWT.future(request, timeout=10)
            call.add_done_callback(self._ended)
            self.calls += 1
            pending = [each for each in [*pending, call] if not each.done()]
            due += self._interval_s
            time.sleep(max(0.0, due - time.monotonic()))
        for call in pending:
            call.exception(timeout=15)

    def _ended(self, call: Any) -> None:
        error: Any = call.exception()
        if error is not None:
            self.failures[f"{error.code().name} {reason_of(error)} {error.details()}"] += 1

    def stop(self) -> None:
        """End after the calls in flight."""
        self._stopping.set()
        self._thread.join(30)
        self._channel.close()


@contextmanager
def two_gateways(sandbox: SandboxProcess, front: str) -> Iterator[list[GatewayProcess]]:
    """Two gateways, each on a port that it keeps."""
    settings = {
        **of_sandbox(sandbox.urls, sandbox.environ),
        "GATEWAY_FRONT": front,
        "GATEWAY_DRAIN_DELAY": str(DELAY_S),
        "GATEWAY_DRAIN_TIMEOUT": "10",
    }
    with ExitStack() as stack:
        yield [stack.enter_context(GatewayProcess(settings)) for _ in range(2)]


@pytest.mark.faults
@pytest.mark.parametrize(("front", "restarts"), [("http2", 50), ("grpc", 10)])
def test_rolling_restarts_cost_no_call(sandbox: SandboxProcess, front: str, restarts: int) -> None:
    """Neither with the published service config nor without retries."""
    with two_gateways(sandbox, front) as gateways:
        with_config, without = _restart_under_calls(gateways, restarts)
    assert with_config.failures == Counter()
    assert without.failures == Counter()
    assert min(with_config.calls, without.calls) > 100 * restarts


def _restart_under_calls(gateways: list[GatewayProcess], restarts: int) -> list[Client]:
    """Restart the gateways in turns. Return a client with the published service config and one without retries."""
    target = "ipv4:" + ",".join(gateway.address for gateway in gateways)
    clients = [Client(target, SERVICE_CONFIG, RATE_PER_S / 2), Client(target, NO_RETRIES, RATE_PER_S / 2)]
    time.sleep(1)
    for number in range(restarts):
        gateway = gateways[number % len(gateways)]
        assert gateway.stop() == 0
        gateway.start()
        time.sleep(BACK_AFTER_S)
    for client in clients:
        client.stop()
    return clients
