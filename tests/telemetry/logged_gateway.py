"""A real front on a real socket with one method, its log and its metrics."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.struct_pb2 import Struct
from prometheus_client import CollectorRegistry

from gateway.actions.shared.call import Call
from gateway.core.rights import open_to_local
from gateway.errors import (
    NotAllowed,
)
from gateway.front.endpoint import Endpoint, Handler
from gateway.front.grpc_aio import Front
from gateway.interceptors.call_log import CallLog, record_unexpected
from gateway.interceptors.call_metrics import CallMetrics
from gateway.interceptors.chain import ArrivalCheck, Chain, EndObserver
from gateway.interceptors.identity import Identity
from gateway.interceptors.policy import PolicyInForce
from gateway.resilience.clock import SystemClock
from gateway.telemetry.logs import configure
from gateway.telemetry.metrics import BuildInfo, Metrics

METHOD = "/t.T/M"


class Gate(ArrivalCheck):
    """Refuses when shut."""

    shut = False

    async def before(self, call: Call) -> None:
        if self.shut:
            raise NotAllowed


class Outermost(EndObserver):
    """Knows when a call has left every other link."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    def after(self, call: Call, error: BaseException | None) -> None:
        self.left.set()


@dataclass
class Gateway:
    """A front with one method, whose handler the test sets."""

    channel: grpc.aio.Channel
    metrics: Metrics
    out: io.StringIO
    gate: Gate
    outermost: Outermost
    log: CallLog
    handler: Handler

    @property
    def method(self) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
        return self.channel.unary_unary(METHOD)

    async def call(self, **options: Any) -> grpc.StatusCode:
        try:
            await self.method(b"", timeout=10, **options)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]

    def sample(self, start: str) -> float:
        """The value of the one sample whose line starts so."""
        found = [line for line in b"".join(self.metrics.page()).decode().splitlines() if line.startswith(start)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    out = io.StringIO()
    configure("info", "json", out)
    clock = SystemClock()
    metrics = Metrics(CollectorRegistry(), methods=[METHOD], build=BuildInfo(version="", revision="", python=""))

    async def fine(request: Struct, call: Call) -> Struct:
        return request

    async def handle(request: Struct, call: Call) -> Any:
        return await it.handler(request, call)

    gate = Gate()
    outermost = Outermost()
    identity = Identity(PolicyInForce(open_to_local([METHOD])), certificates_required=False)
    log = CallLog(clock)
    links = [outermost, CallMetrics(metrics, clock), log, gate, identity]
    endpoint = Endpoint(
        path=METHOD, handler=handle, request_class=Struct, client_streaming=False, server_streaming=False
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (Front([endpoint], Chain(links), clock, record_unexpected, reads_certificates=True),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        it = Gateway(channel=channel, metrics=metrics, out=out, gate=gate, outermost=outermost, log=log, handler=fine)
        yield it
    await server.stop(0)
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level
