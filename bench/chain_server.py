"""The gateway's server with an empty handler and the selected middlewares, to measure what each of them costs.

It prints its port when it serves. The middlewares are the gateway's own, in the same order. The limits are so high that
no call is refused. The audit log is a file in the working directory.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import grpc
from prometheus_client import CollectorRegistry

from bench.empty_server import runner
from gateway.actions.shared.call import Call
from gateway.core.rights import CallLimits, open_to_local
from gateway.core.switches import Switches, TargetKind
from gateway.front.endpoint import Endpoint
from gateway.front.grpc_aio import Front
from gateway.interceptors.audit import Audit
from gateway.interceptors.call_metrics import CallMetrics
from gateway.interceptors.chain import Chain, Middleware
from gateway.interceptors.identity import Identity
from gateway.interceptors.kill_switch import KillSwitch
from gateway.interceptors.limits import Limits
from gateway.interceptors.policy import METHODS, Policy, PolicyInForce
from gateway.resilience.clock import SystemClock
from gateway.resilience.limiter import Limiter
from gateway.resilience.supervision import SupervisedThread
from gateway.server.listener.listen import OPTIONS
from gateway.server.process.collector import set_up_collector
from gateway.telemetry.audit import AuditTrail
from gateway.telemetry.audit_file import AuditFile
from gateway.telemetry.metrics import BuildInfo, Metrics
from gateway.v1 import tokens_pb2

METHOD = "/phoenix.gateway.v1.TokenService/MintLaunchJWT"
PARTS = ("metrics", "policy", "limits", "audit")
AUDIT_FILE = "audit.jsonl"
_UNREACHED_LIMITS = CallLimits(requests_per_s=10_000_000, events_per_s=10_000_000, concurrent=1_000_000)


class Backend:
    """The selected middlewares and an empty handler."""

    def __init__(self, parts: set[str], *, audit_required: bool) -> None:
        clock = SystemClock()
        self.trail = (
            AuditTrail(AuditFile(Path(AUDIT_FILE), durable=audit_required), SupervisedThread)
            if "audit" in parts
            else None
        )
        self._limits: Limits | None = None
        links: list[Middleware] = []
        if "metrics" in parts:
            build = BuildInfo(version="", revision="", python="")
            links.append(CallMetrics(Metrics(CollectorRegistry(), methods=METHODS, build=build), clock))
        if "policy" in parts:
            policy = PolicyInForce(open_to_local(METHODS))
            links.append(Identity(policy, certificates_required=False, trusted_proxies=frozenset(), dev_token=None))
        if self.trail is not None:
            links.append(Audit(self.trail, required=audit_required))
        if "policy" in parts:
            switched = KillSwitch(METHODS)
            switched.take_over(Switches())
            links += [Policy(), switched]
        if "limits" in parts:
            self._limits = Limits(
                Limiter("caller", lambda name: _UNREACHED_LIMITS),
                Limiter("tenant", lambda name: _UNREACHED_LIMITS),
                clock,
            )
            links.append(self._limits)
        endpoint = Endpoint(
            path=METHOD,
            handler=self._empty,
            request_class=tokens_pb2.MintLaunchJWTRequest,
            client_streaming=False,
            server_streaming=False,
        )
        self.front = Front([endpoint], Chain(links), clock, lambda call, error: None)

    async def _empty(self, request: Any, call: Call) -> bytes:
        if self._limits is not None:
            self._limits.on_target(call, TargetKind.TENANT, "tenant")  # the gateway does this when it looks up a tenant
        return b""


async def serve(parts: set[str], port: int, *, audit_required: bool) -> None:
    """Serve until the process ends."""
    backend = Backend(parts, audit_required=audit_required)
    if backend.trail is not None:
        backend.trail.start()
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((backend.front,))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    set_up_collector()  # as the gateway does after its start
    sys.stdout.write(f"{bound}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


def main() -> None:
    """Read the flags and serve."""
    parser = argparse.ArgumentParser(prog="python -m bench.chain_server", description=__doc__)
    parser.add_argument(
        "--part", action="append", choices=PARTS, default=[], help="a middleware to enable; may be repeated"
    )
    parser.add_argument(
        "--audit-required", action="store_true", help="sync each audit record to disk before the answer"
    )
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    runner("uvloop")(serve(set(options.part), options.port, audit_required=options.audit_required))


if __name__ == "__main__":
    main()
