"""Limits through a front on a real socket: what is refused, with what advice, what is given back, how floods fare."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2, status_pb2

from gateway.actions.shared.call import Call
from gateway.core.rights import CallLimits
from gateway.core.switches import TargetKind
from gateway.errors import RateLimited
from gateway.interceptors.chain import ArrivalCheck
from gateway.interceptors.limits import EVENTS_OF, Limits
from gateway.resilience.clock import SystemClock
from gateway.resilience.limiter import REFUSALS_PER_S, Limiter
from tests.front.conftest import Open, Served, endpoint

CLOCK = SystemClock()
METHOD = "/t.T/M"
EVENTS = "/phoenix.gateway.v1.EventService/SubmitEvents"


class Named(ArrivalCheck):
    """Names the caller as the call says."""

    async def before(self, call: Call) -> None:
        call.caller = call.metadata.get("caller", "anybody")


def limits(
    callers: dict[str, CallLimits] | None = None, tenants: dict[str, CallLimits] | None = None, **more: int
) -> Limits:
    return Limits(
        Limiter("caller", lambda name: (callers or {}).get(name, CallLimits())),
        Limiter("tenant", lambda name: (tenants or {}).get(name, CallLimits())),
        CLOCK,
        **more,
    )


class BlockingHandler:
    """A handler that keeps calls until `go_on` is set."""

    def __init__(self) -> None:
        self.inside = 0
        self.changed = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, request: Struct, call: Call) -> Struct:
        self._count(1)
        try:
            await self.go_on.wait()
        finally:
            self._count(-1)
        return Struct()

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.inside != count:
                self.changed.clear()
                await self.changed.wait()

    def _count(self, change: int) -> None:
        self.inside += change
        self.changed.set()


async def nothing(request: Struct, call: Call) -> Struct:
    return Struct()


async def code_of(
    served: Served, caller: str, path: str = METHOD, data: bytes = b"", timeout_s: float = 20
) -> grpc.StatusCode:
    try:
        await served.unary(path)(data, metadata=(("caller", caller),), timeout=timeout_s)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def details_of(error: Any) -> tuple[str, float, dict[str, str]]:
    trailing = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert any(one.Unpack(info) for one in status.details)
    assert any(one.Unpack(retry) for one in status.details)
    return info.reason, retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9, dict(info.metadata)


async def test_above_the_rate_a_call_learns_the_limit_and_when_to_retry(serve: Open) -> None:
    """RESOURCE_EXHAUSTED, RATE_LIMITED, RetryInfo of the time that it takes; the request is not even read."""
    served = await serve(
        [endpoint(METHOD, nothing)], [Named(), limits({"a": CallLimits(requests_per_s=0.01, concurrent=100)})]
    )
    assert await code_of(served, "a") is grpc.StatusCode.OK
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.unary(METHOD)(b"\xff no message", metadata=(("caller", "a"),))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    reason, wait_s, metadata = details_of(refused.value)
    assert (reason, metadata) == ("RATE_LIMITED", {"limit": "requests_per_s", "whose": "caller", "effect": "none"})
    assert 50 < wait_s <= 100
    assert await code_of(served, "b") is grpc.StatusCode.OK


async def test_calls_at_once_are_bounded_and_each_gives_its_place_back(serve: Open) -> None:
    """Whether it ends well, is refused by a later link or its caller leaves."""
    handler = BlockingHandler()
    served = await serve([endpoint(METHOD, handler)], [Named(), limits({"a": CallLimits(concurrent=2)})])
    running = [asyncio.ensure_future(code_of(served, "a")) for _ in range(2)]
    await handler.reach(2)
    assert await code_of(served, "a") is grpc.StatusCode.RESOURCE_EXHAUSTED
    running[0].cancel()  # its caller leaves
    await handler.reach(1)
    again = asyncio.ensure_future(code_of(served, "a"))
    await handler.reach(2)
    handler.go_on.set()
    assert await running[1] is grpc.StatusCode.OK
    assert await again is grpc.StatusCode.OK
    assert await code_of(served, "a") is grpc.StatusCode.OK


async def test_a_call_that_a_later_link_refuses_gives_its_place_back(serve: Open) -> None:
    """Ten refused in a row leave the one place free."""

    class Shut(ArrivalCheck):
        async def before(self, call: Call) -> None:
            raise RateLimited

    link = limits({"a": CallLimits(concurrent=1)})
    served = await serve([endpoint(METHOD, nothing)], [Named(), link, Shut()])
    assert {await code_of(served, "a") for _ in range(10)} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    usage = link._callers.of("a")
    assert usage is not None
    assert usage.in_flight == 0


async def test_events_are_counted_to_the_caller_and_to_the_tenant(serve: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """By how many a message brings, whatever its number of calls."""
    monkeypatch.setattr("gateway.interceptors.limits.EVENTS_OF", {EVENTS: lambda request: len(request.fields)})
    link = limits({"a": CallLimits(events_per_s=0.01)}, {"t": CallLimits(events_per_s=0.01)})

    async def submit(request: Struct, call: Call) -> Struct:
        link.on_target(call, TargetKind.TENANT, call.metadata["caller"][-1])
        return Struct()

    served = await serve([endpoint(EVENTS, submit)], [Named(), link])

    def events(count: int) -> bytes:
        request = Struct()
        request.update({str(number): number for number in range(count)})
        return request.SerializeToString()

    refused = grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await code_of(served, "a", EVENTS, events(0)) is grpc.StatusCode.OK
    assert await code_of(served, "a", EVENTS, events(9)) is grpc.StatusCode.OK
    assert await code_of(served, "a", EVENTS, events(1)) is refused
    assert await code_of(served, "b to t", EVENTS, events(9)) is grpc.StatusCode.OK
    assert await code_of(served, "c to t", EVENTS, events(1)) is refused
    assert await code_of(served, "c to u", EVENTS, events(1)) is grpc.StatusCode.OK


async def test_a_tenants_limit_holds_over_its_callers(serve: Open) -> None:
    """Two callers share the tenant's two calls at once; another tenant has its own."""
    link = limits(None, {"t": CallLimits(concurrent=2), "u": CallLimits(concurrent=2)})
    held = BlockingHandler()

    async def handler(request: Struct, call: Call) -> Struct:
        tenant = call.metadata["caller"][-1]
        link.on_target(call, TargetKind.TENANT, tenant)
        link.on_target(call, TargetKind.TENANT, tenant)  # the same again, as items of a batch: counted once
        return await held(request, call)

    served = await serve([endpoint(METHOD, handler)], [Named(), link])
    running = [asyncio.ensure_future(code_of(served, caller)) for caller in ("a t", "b t")]
    await held.reach(2)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.unary(METHOD)(b"", metadata=(("caller", "c t"),))
    assert details_of(refused.value)[2] == {"limit": "concurrent", "whose": "tenant", "effect": "none"}
    other = asyncio.ensure_future(code_of(served, "c u"))
    await held.reach(3)
    held.go_on.set()
    assert [await one for one in (*running, other)] == [grpc.StatusCode.OK] * 3


async def test_a_stream_takes_one_place_and_its_events_are_counted_message_by_message(
    serve: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second message is above the limit and ends the stream; the place is free again."""
    path = "/phoenix.gateway.v1.EventService/StreamEvents"
    monkeypatch.setattr("gateway.interceptors.limits.EVENTS_OF", {path: lambda request: 4})
    link = limits({"a": CallLimits(events_per_s=0.01, concurrent=1)})

    async def echo(requests: AsyncIterator[Struct], call: Call) -> AsyncIterator[Struct]:
        async for request in requests:
            yield request

    served = await serve([endpoint(path, echo, client=True, server=True)], [Named(), link])
    stream = served.channel.stream_stream(path)(metadata=(("caller", "a"),))
    await stream.write(b"")
    assert await stream.read() == b""
    await stream.write(b"")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream.read()
    assert details_of(refused.value)[0] == "RATE_LIMITED"
    usage = link._callers.of("a")
    assert usage is not None
    assert usage.in_flight == 0


async def test_the_process_takes_no_more_calls_than_it_can_hold(serve: Open) -> None:
    """OVERLOADED, whoever calls; nobody's own limit."""
    handler = BlockingHandler()
    served = await serve([endpoint(METHOD, handler)], [Named(), limits(max_in_flight=3)])
    running = [asyncio.ensure_future(code_of(served, str(number))) for number in range(3)]
    await handler.reach(3)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.unary(METHOD)(b"")
    assert details_of(refused.value)[0] == "OVERLOADED"
    handler.go_on.set()
    assert [await one for one in running] == [grpc.StatusCode.OK] * 3


async def test_a_flood_is_refused_at_our_pace_and_within_its_deadlines(serve: Open) -> None:
    """100 that call again at once are answered as often as we choose, and none is left to run into its deadline."""
    link = limits({"flood": CallLimits(requests_per_s=0.01)})
    served = await serve([endpoint(METHOD, nothing)], [Named(), link])
    codes: Counter[grpc.StatusCode] = Counter()
    began = time.monotonic()

    async def flood() -> None:
        while time.monotonic() - began < 2.0:
            codes[await code_of(served, "flood")] += 1

    await asyncio.gather(*(flood() for _ in range(100)))
    took_s = time.monotonic() - began
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert codes[grpc.StatusCode.OK] <= 2
    assert codes[grpc.StatusCode.RESOURCE_EXHAUSTED] <= 60 + REFUSALS_PER_S * took_s + 100
    usage = link._callers.of("flood")
    assert usage is not None
    while usage.pace_refusal(CLOCK.monotonic()) < 10.0:
        pass  # our pace alone would answer the next one long after its deadline
    code = grpc.StatusCode.DEADLINE_EXCEEDED
    for _ in range(20):
        code = await code_of(served, "flood", timeout_s=0.2)
        if code is not grpc.StatusCode.DEADLINE_EXCEEDED:
            break  # otherwise the machine may have stood still
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def until_idle() -> None:
    """Return when the loop, which serves and calls, has had nothing to do for a moment: all that came has been read."""
    in_time = 0
    while in_time < 5:
        began = time.monotonic()
        await asyncio.sleep(0.02)
        in_time = in_time + 1 if time.monotonic() - began < 0.03 else 0


async def test_refusals_that_wait_for_their_turn_hold_no_place_of_other_callers(serve: Open) -> None:
    """Hundreds of them wait; another caller's calls do not wait behind them, and none of them is refused."""
    served = await serve([endpoint(METHOD, nothing)], [Named(), limits({"flood": CallLimits(requests_per_s=0.1)})])
    flood = [asyncio.ensure_future(code_of(served, "flood")) for _ in range(600)]
    await until_idle()
    waiting = sum(not one.done() for one in flood)
    assert waiting > 200
    assert {await code_of(served, "quiet") for _ in range(20)} == {grpc.StatusCode.OK}
    assert not all(one.done() for one in flood)
    for one in flood:
        one.cancel()


def test_events_of_every_method_that_brings_them_are_counted() -> None:
    """A request message of the contract with events, or an event, has its row."""
    from gateway.v1 import events_pb2

    bringing = set()
    for service in events_pb2.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            if {"event", "events"} & set(method.input_type.fields_by_name):
                bringing.add(f"/{service.full_name}/{method.name}")
    assert bringing == set(EVENTS_OF)
