"""The front on real sockets: four shapes, links in their order, request ids and deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct, Value

from gateway.actions.shared.call import Call
from gateway.errors import (
    StoreUnavailable,
)
from gateway.interceptors.chain import ArrivalCheck, EndObserver, StreamCheck
from tests.front.conftest import Open, endpoint
from tests.front.struct_calls import HELLO, echo, failure
from tests.gateway_process import reason_of


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
