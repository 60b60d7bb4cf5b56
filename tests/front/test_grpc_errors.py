"""Errors on real sockets: turned into statuses once, nothing of ours leaking."""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2, status_pb2

from gateway.actions.shared.call import Call
from gateway.errors import (
    Effect,
    FieldFault,
    GatewayError,
    InvalidField,
    OutcomeUnknown,
    PhoenixRateLimited,
    PhoenixUnavailable,
)
from gateway.front.dispatch import ending_of
from tests.front.conftest import Open, endpoint
from tests.front.struct_calls import HELLO, echo, failure
from tests.gateway_process import reason_of

PUBLISHED = Path(__file__).resolve().parents[2] / "clients" / "service_config.json"


def every_error() -> list[GatewayError]:
    """Each kind of error that needs no arguments, with each effect that it may have, and with a wait of its own."""
    kinds, found = [GatewayError], list[GatewayError]()
    for kind in kinds:
        kinds += kind.__subclasses__()
        if kind.__init__ is GatewayError.__init__:
            effects = [Effect.NONE] if kind.code == "UNAVAILABLE" else list(Effect)
            found += [kind(effect=effect) for effect in effects]
            found += [kind(effect=effect, retry_after_s=2.5) for effect in effects]
    return found


def details_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    trailing = dict(error.trailing_metadata() or ())
    return status_pb2.Status.FromString(trailing["grpc-status-details-bin"])


async def test_unexpected_exception_leaves_as_fixed_text(serve: Open) -> None:
    """The text of an exception never reaches the caller; the log gets the exception."""

    async def broken(request: Struct, call: Call) -> Struct:
        raise RuntimeError("password=hunter2")

    served = await serve([endpoint("/t.T/Broken", broken)])
    error = await failure(served.unary("/t.T/Broken"))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "hunter2" not in f"{error.details()}{error.trailing_metadata()}{error.debug_error_string()}"
    assert [str(noted) for noted in served.unexpected] == ["password=hunter2"]


async def test_unexpected_exception_in_a_stream_leaves_as_fixed_text(serve: Open) -> None:
    """The same holds after the first message of a stream."""

    async def broken(request: Struct, call: Call) -> AsyncIterator[Struct]:
        yield HELLO
        raise RuntimeError("password=hunter2")

    served = await serve([endpoint("/t.T/Broken", broken, server=True)])
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in served.channel.unary_stream("/t.T/Broken")(b""):
            pass
    assert raised.value.code() == grpc.StatusCode.INTERNAL
    assert "hunter2" not in f"{raised.value.details()}{raised.value.trailing_metadata()}"


async def test_refusal_carries_reason_and_retry_info(serve: Open) -> None:
    """A GatewayError becomes its status with ErrorInfo, and RetryInfo where a retry can help."""

    async def limited(request: Struct, call: Call) -> Struct:
        raise PhoenixRateLimited(retry_after_s=2.5, metadata={"surface": "query"})

    served = await serve([endpoint("/t.T/Limited", limited)])
    error = await failure(served.unary("/t.T/Limited"))
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    details = details_of(error).details
    assert details[0].Unpack(info)
    assert details[1].Unpack(retry)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (
        info.reason,
        info.domain,
        dict(info.metadata),
    ) == ("PHOENIX_RATE_LIMITED", "gateway.phoenix", {"surface": "query", "effect": "none"})
    assert retry.retry_delay.ToNanoseconds() == 2_500_000_000


async def test_a_retry_policy_waits_as_it_is_told_and_only_within_the_deadline(serve: Open) -> None:
    """With the published one: it comes back after the wait, or gives the reason at once."""
    arrivals: list[float] = []

    async def unavailable(request: Struct, call: Call) -> Struct:
        arrivals.append(time.monotonic())
        if len(arrivals) == 2:
            return request
        raise PhoenixUnavailable(retry_after_s=0.5 if len(arrivals) == 1 else 60.0)

    policy = json.loads(PUBLISHED.read_text())["methodConfig"][0]
    served = await serve([endpoint("/t.T/Down", unavailable)], service_config=json.dumps({"methodConfig": [policy]}))
    await served.unary("/t.T/Down")(b"", timeout=10)
    assert 0.45 <= arrivals[1] - arrivals[0]
    began = time.monotonic()
    error = await failure(served.unary("/t.T/Down"), timeout=20)
    assert time.monotonic() - began < 5
    assert ("PHOENIX_UNAVAILABLE", 3) == (reason_of(error), len(arrivals))


@pytest.mark.parametrize("left_s", [math.inf, 60.0, 0.05])
def test_retry_info_and_pushback_agree(left_s: float) -> None:
    """Of every error, the same wait in both; neither where nobody may send again, and then -1 stops every policy."""
    for error in every_error():
        trailing: dict[str, Any] = dict(ending_of(error, [], left_s).trailing)
        waits_ms = [
            retry.retry_delay.ToNanoseconds() / 1e6
            for detail in status_pb2.Status.FromString(trailing["grpc-status-details-bin"]).details
            if detail.Unpack(retry := error_details_pb2.RetryInfo())
        ]
        reported = [float(trailing["grpc-retry-pushback-ms"])] if "grpc-retry-pushback-ms" in trailing else []
        if error.effect is not Effect.NONE:
            assert ([], [-1.0]) == (waits_ms, reported), error.reason
        else:
            assert reported == [-1.0 if wait_ms / 1000 >= left_s else wait_ms for wait_ms in waits_ms], error.reason


async def test_outcome_unknown_invites_no_retry(serve: Open) -> None:
    """Where sending again may double something: no RetryInfo, and a trailer that stops the client's own retries."""

    async def lost(request: Struct, call: Call) -> Struct:
        raise OutcomeUnknown

    served = await serve([endpoint("/t.T/Lost", lost)])
    error = await failure(served.unary("/t.T/Lost"))
    assert error.code() == grpc.StatusCode.UNKNOWN
    assert ("grpc-retry-pushback-ms", "-1") in [tuple(pair) for pair in error.trailing_metadata()]
    details = details_of(error).details
    assert [error_details_pb2.ErrorInfo.DESCRIPTOR.full_name] == [detail.TypeName() for detail in details]


async def test_bad_input_names_every_field(serve: Open) -> None:
    """InvalidField becomes BadRequest with all paths."""

    async def picky(request: Struct, call: Call) -> Struct:
        raise InvalidField(
            [FieldFault(field="event.user_id", description="required"), FieldFault(field="ttl", description="too long")]
        )

    served = await serve([endpoint("/t.T/Picky", picky)])
    error = await failure(served.unary("/t.T/Picky"))
    bad = error_details_pb2.BadRequest()
    assert details_of(error).details[1].Unpack(bad)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in bad.field_violations] == ["event.user_id", "ttl"]


async def test_unreadable_message_is_invalid_argument(serve: Open) -> None:
    """Bytes that are no such message are the caller's fault, and say so."""
    served = await serve([endpoint("/t.T/Echo", echo)])
    error = await failure(served.unary("/t.T/Echo"), b"\xff\xff\xff")
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "google.protobuf.Struct" in str(error.details())


async def test_unknown_method_is_unimplemented(serve: Open) -> None:
    """What is not served is refused before the chain, with the caller's request id as in every answer."""
    served = await serve([endpoint("/t.T/Echo", echo)])
    error = await failure(served.unary("/t.T/Nothing"), metadata=(("x-request-id", "r-7"),))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED
    assert dict(error.trailing_metadata() or ())["x-request-id"] == "r-7"
