"""What a call leaves in the log, through a real front on a real socket."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from gateway.actions.shared.call import Call
from gateway.actions.shared.call_record import WalletRecord
from gateway.core.wallet import Disposition, Verdict
from gateway.errors import (
    CircuitOpen,
    Disabled,
    FieldFault,
    GatewayError,
    InvalidField,
    OutcomeUnknown,
    Overloaded,
    PhoenixNotFound,
    PhoenixRejectedCredentials,
    PhoenixUnavailable,
    RateLimited,
    StoreUnavailable,
)
from gateway.telemetry.log_fields import faults_of
from tests.telemetry.logged_gateway import METHOD, Gateway, gateway

__all__ = ["gateway"]

SECRET = "pk_live_4f1dd27c9b"


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
