"""The front on real sockets: four shapes, errors turned into statuses once, nothing of ours leaking."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct, Value
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
    StoreUnavailable,
)
from gateway.front.dispatch import ending_of
from gateway.interceptors.chain import ArrivalCheck, EndObserver, StreamCheck
from tests.front.conftest import Open, endpoint
from tests.gateway_process import reason_of

HELLO = Struct(fields={"hello": Value(string_value="there")})


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


async def echo(request: Struct, call: Call) -> Struct:
    return request


async def failure(multicallable: Any, request: bytes = b"", **options: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await multicallable(request, **options)
    return raised.value


def details_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    trailing = dict(error.trailing_metadata() or ())
    return status_pb2.Status.FromString(trailing["grpc-status-details-bin"])


async def test_unary_call_is_answered(serve: Open) -> None:
    """A unary handler gets the parsed request and its answer comes back."""
    served = await serve([endpoint("/t.T/Echo", echo)])
    assert HELLO.SerializeToString() == await served.unary("/t.T/Echo")(HELLO.SerializeToString())


async def test_bytes_answer_goes_out_as_it_is(serve: Open) -> None:
    """A handler may answer a message that is serialised already."""

    async def cached(request: Struct, call: Call) -> bytes:
        return b"\x0a\x00"

    served = await serve([endpoint("/t.T/Cached", cached)])
    assert await served.unary("/t.T/Cached")(b"") == b"\x0a\x00"


async def test_server_stream_sends_every_message(serve: Open) -> None:
    """A generator's messages arrive in order."""

    async def count(request: Struct, call: Call) -> AsyncIterator[Struct]:
        for number in range(3):
            yield Struct(fields={"n": Value(number_value=number)})

    served = await serve([endpoint("/t.T/Count", count, server=True)])
    answers = [Struct.FromString(data) async for data in served.channel.unary_stream("/t.T/Count")(b"")]
    assert [answer.fields["n"].number_value for answer in answers] == [0, 1, 2]


async def test_client_stream_is_read_to_its_end(serve: Open) -> None:
    """A handler of a client stream gets every parsed message."""

    async def total(requests: AsyncIterator[Struct], call: Call) -> Struct:
        return Struct(fields={"n": Value(number_value=len([one async for one in requests]))})

    served = await serve([endpoint("/t.T/Total", total, client=True)])
    answer = await served.channel.stream_unary("/t.T/Total")(iter([HELLO.SerializeToString()] * 4))
    assert Struct.FromString(answer).fields["n"].number_value == 4


async def test_bidi_stream_answers_message_by_message(serve: Open) -> None:
    """Both directions stream at once."""

    async def each(requests: AsyncIterator[Struct], call: Call) -> AsyncIterator[Struct]:
        async for request in requests:
            yield request

    served = await serve([endpoint("/t.T/Each", each, client=True, server=True)])
    stream = served.channel.stream_stream("/t.T/Each")()
    await stream.write(HELLO.SerializeToString())
    assert HELLO.SerializeToString() == await stream.read()
    await stream.done_writing()
    assert await stream.read() == grpc.aio.EOF


async def test_what_was_done_is_acknowledged_before_the_stream_is_ended(serve: Open) -> None:
    """A message that was let in is answered, also when the caller may send no further one."""
    is_off = False

    class Switch(StreamCheck):
        def on_message(self, call: Call) -> None:
            if is_off:
                raise StoreUnavailable

    async def each(requests: AsyncIterator[Struct], call: Call) -> AsyncIterator[Struct]:
        nonlocal is_off
        async for request in requests:
            is_off = True  # while the message is at work
            yield request

    served = await serve([endpoint("/t.T/Each", each, client=True, server=True)], [Switch()])
    stream = served.channel.stream_stream("/t.T/Each")()
    await stream.write(HELLO.SerializeToString())
    assert HELLO.SerializeToString() == await stream.read()
    await stream.write(HELLO.SerializeToString())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert "STORE_UNAVAILABLE" == reason_of(caught.value)


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
        raise PhoenixUnavailable(retry_after_s=0.5)

    policy = json.loads(PUBLISHED.read_text())["methodConfig"][0]
    served = await serve([endpoint("/t.T/Down", unavailable)], service_config=json.dumps({"methodConfig": [policy]}))
    await served.unary("/t.T/Down")(b"", timeout=10)
    assert 0.45 <= arrivals[1] - arrivals[0]
    began = time.monotonic()
    error = await failure(served.unary("/t.T/Down"), timeout=0.4)
    assert time.monotonic() - began < 0.35
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


@pytest.mark.parametrize("fails", [False, True])
async def test_request_id_of_the_caller_comes_back(serve: Open, fails: bool) -> None:
    """A caller's x-request-id is kept, on answers and on errors."""

    async def handler(request: Struct, call: Call) -> Struct:
        if fails:
            raise StoreUnavailable
        return request

    served = await serve([endpoint("/t.T/Echo", handler)])
    call = served.unary("/t.T/Echo")(b"", metadata=(("x-request-id", "order-17"),))
    assert dict(await call.trailing_metadata())["x-request-id"] == "order-17"


async def test_request_id_is_made_where_none_or_a_forged_one_came(serve: Open) -> None:
    """Without one, or with one that could forge a log line, a new id is made."""
    served = await serve([endpoint("/t.T/Echo", echo)])
    for given in ((), (("x-request-id", "a b{}"),)):
        made = dict(await served.unary("/t.T/Echo")(b"", metadata=given).trailing_metadata())["x-request-id"]
        assert len(made) == 36


async def test_links_enter_in_order_and_leave_backwards_with_the_error(serve: Open) -> None:
    """Every link sees how the call ended, the last one first, refused calls included."""
    seen: list[str] = []

    class Noting(ArrivalCheck, EndObserver):
        def __init__(self, name: str, refuses: bool = False) -> None:
            self._name, self._refuses = name, refuses

        async def before(self, call: Call) -> None:
            seen.append(f"{self._name} in")
            if self._refuses:
                raise StoreUnavailable

        def after(self, call: Call, error: BaseException | None) -> None:
            seen.append(f"{self._name} out {type(error).__name__}")

    served = await serve([endpoint("/t.T/Echo", echo)], [Noting("a"), Noting("b", refuses=True)])
    await failure(served.unary("/t.T/Echo"))
    assert seen == ["a in", "b in", "b out StoreUnavailable", "a out StoreUnavailable"]


async def test_deadline_of_the_caller_is_in_the_call(serve: Open) -> None:
    """The time that the caller leaves arrives with the call."""
    left: list[float] = []

    async def note(request: Struct, call: Call) -> Struct:
        left.append(call.deadline.remaining())
        return request

    served = await serve([endpoint("/t.T/Note", note)])
    await served.unary("/t.T/Note")(b"", timeout=7)
    assert 6 < left[0] < 7.5


async def test_a_caller_that_leaves_cancels_its_handler(serve: Open) -> None:
    """A handler that waits is cancelled when its caller goes away."""
    cancelled = asyncio.Event()
    begun = asyncio.Event()

    async def wait(request: Struct, call: Call) -> Struct:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return request

    served = await serve([endpoint("/t.T/Wait", wait)])
    call = served.unary("/t.T/Wait")(b"")
    running = asyncio.ensure_future(call.code())  # a call starts when something waits for it
    await asyncio.wait_for(begun.wait(), 5)
    call.cancel()
    await asyncio.wait_for(cancelled.wait(), 5)
    assert await running == grpc.StatusCode.CANCELLED
