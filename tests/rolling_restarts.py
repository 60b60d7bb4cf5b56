"""Calls at a fixed rate, and two gateways that are restarted in turns meanwhile. The bench measures with it too."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from gateway.v1 import tokens_pb2, tokens_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of
from tests.sandbox_process import SandboxProcess

SERVICE_CONFIG = (Path(__file__).resolve().parents[1] / "clients" / "service_config.json").read_text()
NO_RETRIES = '{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}'
RATE_PER_S = 200
DELAY_S = 1.0
BACK_AFTER_S = 3.0
"""How long clients may take to find a gateway that is back: a rollout waits as long before it stops the next one."""


class SteadyCalls:
    """Mints at a fixed rate from a thread of its own, over its connections in turns, and keeps what failed.

    Args: `connections`: channels, each with a connection of its own to every address.
    """

    def __init__(self, target: str, service_config: str, calls_per_s: float, connections: int = 1) -> None:
        options = [
            ("grpc.service_config", service_config),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self._channels = [grpc.insecure_channel(target, options=options) for _ in range(connections)]
        self._interval_s = 1 / calls_per_s
        self._stopping = threading.Event()
        self.failures: Counter[str] = Counter()
        self.failed_at: list[float] = []
        """When the calls that failed began (monotonic)."""
        self.calls = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        stubs = itertools.cycle([tokens_pb2_grpc.TokenServiceStub(channel) for channel in self._channels])
        request = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())
        due = time.monotonic()
        pending: list[Any] = []
        while not self._stopping.is_set():
            began_at = time.monotonic()
            call = next(stubs).MintLaunchJWT.future(request, timeout=10)
            call.add_done_callback(partial(self._ended, began_at))
            self.calls += 1
            pending = [each for each in [*pending, call] if not each.done()]
            due += self._interval_s
            time.sleep(max(0.0, due - time.monotonic()))
        for call in pending:
            call.exception(timeout=15)

    def _ended(self, began_at: float, call: Any) -> None:
        error: Any = call.exception()
        if error is not None:
            self.failures[f"{error.code().name} {reason_of(error)} {error.details()}"] += 1
            self.failed_at.append(began_at)

    def stop(self) -> None:
        """End after the calls in flight."""
        self._stopping.set()
        self._thread.join(30)
        for channel in self._channels:
            channel.close()


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


def restart_under_calls(gateways: Sequence[GatewayProcess], restarts: int) -> list[SteadyCalls]:
    """Restart the gateways in turns. Return a client with the published service config and one without retries.

    Raises: AssertionError if a gateway does not stop with 0.
    """
    target = "ipv4:" + ",".join(gateway.address for gateway in gateways)
    clients = [SteadyCalls(target, config, RATE_PER_S / 2) for config in (SERVICE_CONFIG, NO_RETRIES)]
    time.sleep(1)
    for number in range(restarts):
        gateway = gateways[number % len(gateways)]
        code = gateway.stop()
        assert code == 0, f"a gateway stopped with {code}"
        gateway.start()
        time.sleep(BACK_AFTER_S)
    for client in clients:
        client.stop()
    return clients
