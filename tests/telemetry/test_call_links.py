"""What a call leaves in the log and in the metrics, through a real front on a real socket."""

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
from gateway.actions.shared.call_record import WalletRecord
from gateway.core.rights import open_to_local
from gateway.core.wallet import Disposition, HeaderAnomaly, Verdict
from gateway.errors import (
    CircuitOpen,
    Disabled,
    FieldFault,
    GatewayError,
    InvalidField,
    NotAllowed,
    OutcomeUnknown,
    Overloaded,
    PhoenixNotFound,
    PhoenixRejectedCredentials,
    PhoenixUnavailable,
    RateLimited,
    StoreUnavailable,
)
from gateway.front.endpoint import Endpoint, Handler
from gateway.front.grpc_aio import Front
from gateway.interceptors.call_log import CallLog, record_unexpected
from gateway.interceptors.call_metrics import CallMetrics
from gateway.interceptors.chain import ArrivalCheck, Chain, EndObserver
from gateway.interceptors.identity import Identity
from gateway.interceptors.policy import PolicyInForce
from gateway.resilience.clock import SystemClock
from gateway.telemetry.log_fields import faults_of
from gateway.telemetry.logs import configure
from gateway.telemetry.metrics import BuildInfo, Metrics

METHOD = "/t.T/M"
SECRET = "pk_live_4f1dd27c9b"


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


async def test_the_line_describes_the_call(gateway: Gateway) -> None:
    """The one line of a call has its method, request id, caller, tenant, operator, environment, verdict and time."""

    async def decided(request: Struct, call: Call) -> Struct:
        record = call.record
        record.tenant, record.operator, record.environment = "t1", "acme", "sandbox"
        record.wallet = WalletRecord(verdict=Verdict.VERIFIED, disposition=Disposition.NEW)
        return request

    gateway.handler = decided
    await gateway.call(metadata=(("x-request-id", "r-1"),))
    (line,) = gateway.lines()
    duration_ms = line.pop("duration_ms")
    line.pop("timestamp")
    assert 0 < duration_ms < 10_000
    assert line == {
        "level": "info",
        "event": "call",
        "method": METHOD,
        "request_id": "r-1",
        "status": "OK",
        "caller": "local",
        "tenant": "t1",
        "operator": "acme",
        "environment": "sandbox",
        "verdict": "VERIFIED",
        "disposition": "NEW",
    }


async def test_refused_caller_is_reported_by_address(gateway: Gateway) -> None:
    """A call that is refused before its caller is known is logged with its address."""
    gateway.gate.shut = True
    assert await gateway.call() is grpc.StatusCode.PERMISSION_DENIED
    (line,) = gateway.lines()
    assert (line["level"], line["reason"], line["peer"].split(":")[0]) == ("info", "NOT_ALLOWED", "ipv4")


async def test_unexpected_error_is_logged_once_without_its_text(gateway: Gateway) -> None:
    """A foreign exception gives one error line with its type and position, without its text."""

    async def broken(request: Struct, call: Call) -> Struct:
        raise KeyError(SECRET)

    gateway.handler = broken
    assert await gateway.call() is grpc.StatusCode.INTERNAL
    (line,) = gateway.lines()
    assert (line["level"], line["reason"], line["error_type"]) == ("error", "INTERNAL", "KeyError")
    assert line["error_at"].startswith("test_call_links.py:")
    assert SECRET not in gateway.out.getvalue()


async def test_store_fault_is_reported_with_its_cause(gateway: Gateway) -> None:
    """Trouble of the store is an error with the type that it was raised from."""

    async def no_store(request: Struct, call: Call) -> Struct:
        raise StoreUnavailable from ConnectionRefusedError(SECRET)

    gateway.handler = no_store
    await gateway.call()
    (line,) = gateway.lines()
    assert (line["level"], line["reason"], line["error_causes"]) == (
        "error",
        "STORE_UNAVAILABLE",
        "ConnectionRefusedError",
    )


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (PhoenixUnavailable(), "warning"),
        (OutcomeUnknown(), "warning"),
        (CircuitOpen(), "warning"),
        (Overloaded(), "warning"),
        (PhoenixNotFound(), "info"),
        (RateLimited(), "info"),
        (Disabled(), "info"),
        (StoreUnavailable(), "error"),
    ],
    ids=lambda value: getattr(value, "reason", value),
)
async def test_levels_say_who_must_act(gateway: Gateway, error: GatewayError, level: str) -> None:
    """The operators, nobody at once, or only the caller. The line has the message that the caller got."""

    async def failing(request: Struct, call: Call) -> Struct:
        raise error

    gateway.handler = failing
    await gateway.call()
    (line,) = gateway.lines()
    assert (line["level"], line["status_message"], faults_of(line)) == (level, error.message, [])


async def test_a_refused_webhook_is_a_warning_with_the_reply(gateway: Gateway) -> None:
    """The call itself succeeds."""

    async def forged(request: Struct, call: Call) -> Struct:
        call.record.wallet = WalletRecord(verdict=Verdict.BAD_SIGNATURE, reply_status=401)
        return request

    gateway.handler = forged
    await gateway.call()
    (line,) = gateway.lines()
    assert (line["level"], line["status"], line["reply_status"]) == ("warning", "OK", 401)


async def test_of_an_invalid_request_only_the_fields_are_logged(gateway: Gateway) -> None:
    """Keys below metadata are the caller's own, and may be payload."""

    async def invalid(request: Struct, call: Call) -> Struct:
        faults = ["events[2].user_id", f"events[3].metadata.{SECRET}"]
        raise InvalidField([FieldFault(field=one, description=SECRET) for one in faults])

    gateway.handler = invalid
    await gateway.call()
    (line,) = gateway.lines()
    assert (line["level"], line["fields"]) == ("info", "events[2].user_id, events[3].metadata")
    assert SECRET not in gateway.out.getvalue()


async def test_a_sample_of_the_successes_and_every_failure_is_logged(gateway: Gateway) -> None:
    """The same request id is always decided alike; a line says of which share it is."""
    gateway.log.use_sample(0.25)
    for number in range(200):
        await gateway.call(metadata=(("x-request-id", f"r-{number}"),))
    fine = gateway.lines()
    assert 20 < len(fine) < 80
    assert {line["sample"] for line in fine} == {0.25}
    gateway.gate.shut = True
    for number in range(20):
        await gateway.call(metadata=(("x-request-id", f"r-{number}"),))
    assert len(gateway.lines()) == len(fine) + 20


async def test_rejected_credentials_are_an_error(gateway: Gateway) -> None:
    """Credentials that Phoenix rejects concern the operators and are logged as an error."""

    async def rejected(request: Struct, call: Call) -> Struct:
        raise PhoenixRejectedCredentials

    gateway.handler = rejected
    await gateway.call()
    assert [(line["level"], line["reason"]) for line in gateway.lines()] == [("error", "PHOENIX_REJECTED_CREDENTIALS")]


async def test_a_field_that_the_record_does_not_declare_cannot_be_recorded(gateway: Gateway) -> None:
    """An action that tries fails, and the value does not reach the log."""

    async def careless(request: Struct, call: Call) -> Struct:
        call.record.signature = SECRET  # type: ignore[attr-defined]
        return request

    gateway.handler = careless
    assert await gateway.call() is grpc.StatusCode.INTERNAL
    assert (SECRET in gateway.out.getvalue(), gateway.lines()[0]["error_type"]) == (False, "AttributeError")


async def test_call_is_counted_by_how_it_ended(gateway: Gateway) -> None:
    """Calls count under status and reason, refused ones too, and none stays in flight."""
    await gateway.call()
    await gateway.call()
    gateway.gate.shut = True
    await gateway.call()
    assert [
        gateway.sample(f'phoenix_gateway_calls_total{{method="{METHOD}",reason="",status="OK"}}'),
        gateway.sample(f'phoenix_gateway_calls_total{{method="{METHOD}",reason="NOT_ALLOWED"'),
        gateway.sample(f'phoenix_gateway_call_seconds_count{{method="{METHOD}"}}'),
        gateway.sample(f'phoenix_gateway_calls_in_flight{{method="{METHOD}"}}'),
    ] == [2, 1, 3, 0]


async def test_call_that_is_cancelled_leaves_no_flight(gateway: Gateway) -> None:
    """A call whose caller leaves counts as CANCELLED and is no longer in flight."""
    entered = asyncio.Event()

    async def waits(request: Struct, call: Call) -> Struct:
        entered.set()
        await asyncio.Event().wait()
        return request

    gateway.handler = waits
    call = gateway.method(b"")
    async with asyncio.timeout(10):
        await entered.wait()
        during = gateway.sample("phoenix_gateway_calls_in_flight")
        call.cancel()
        await gateway.outermost.left.wait()
    assert (during, gateway.sample(f'phoenix_gateway_calls_in_flight{{method="{METHOD}"}}')) == (1, 0)
    assert gateway.sample(f'phoenix_gateway_calls_total{{method="{METHOD}",reason="CANCELLED"') == 1


async def test_a_wallet_decision_is_counted_from_the_record(gateway: Gateway) -> None:
    """Verdict, disposition, a suspected replay and odd headers are counted from what the action recorded."""

    async def decided(request: Struct, call: Call) -> Struct:
        record = call.record
        record.environment = "prod"
        record.wallet = WalletRecord(
            verdict=Verdict.VERIFIED,
            disposition=Disposition.NEW,
            suspect_replay=True,
            odd_headers=(HeaderAnomaly.PROVIDER, HeaderAnomaly.REQUEST_ID),
        )
        return request

    gateway.handler = decided
    await gateway.call()
    name = "phoenix_gateway_"
    assert [
        gateway.sample(name + 'wallet_decisions_total{disposition="NEW",environment="prod",verdict="VERIFIED"}'),
        gateway.sample(name + 'suspect_replays_total{environment="prod"}'),
        gateway.sample(name + "odd_headers_total{"),
    ] == [1, 1, 2]
