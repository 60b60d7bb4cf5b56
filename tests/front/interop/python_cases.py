"""gRPC's interop cases over grpcio: its synchronous and its asyncio client."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc

from tests.front.interop.protos import message
from tests.front.interop.service import NAME, PROTO

REQUESTS, ANSWERS = (27182, 8, 1828, 45904), (31415, 9, 2653, 58979)
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"
INITIAL, TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
ECHOED = ((INITIAL, "test_initial_metadata_value"), (TRAILING, b"\n\x0b\n\x0b\n\x0b"))
WITHIN_S = 10.0

Empty = message(PROTO, "grpc.testing.Empty")
Simple = message(PROTO, "grpc.testing.SimpleRequest")
SimpleAnswer = message(PROTO, "grpc.testing.SimpleResponse")
Input = message(PROTO, "grpc.testing.StreamingInputCallRequest")
InputAnswer = message(PROTO, "grpc.testing.StreamingInputCallResponse")
Output = message(PROTO, "grpc.testing.StreamingOutputCallRequest")
OutputAnswer = message(PROTO, "grpc.testing.StreamingOutputCallResponse")


class Methods:
    """The methods of TestService on a channel of either client."""

    def __init__(self, channel: Any) -> None:
        def method(shape: Any, name: str, request: Any, answer: Any) -> Any:
            return shape(
                f"/{NAME}/{name}", request_serializer=request.SerializeToString, response_deserializer=answer.FromString
            )

        self.empty = method(channel.unary_unary, "EmptyCall", Empty, Empty)
        self.unary = method(channel.unary_unary, "UnaryCall", Simple, SimpleAnswer)
        self.output = method(channel.unary_stream, "StreamingOutputCall", Output, OutputAnswer)
        self.input = method(channel.stream_unary, "StreamingInputCall", Input, InputAnswer)
        self.duplex = method(channel.stream_stream, "FullDuplexCall", Output, OutputAnswer)
        self.no_method = method(channel.unary_unary, "UnimplementedCall", Empty, Empty)
        self.no_service = channel.unary_unary("/grpc.testing.UnimplementedService/UnimplementedCall")


def large() -> Any:
    return Simple(response_size=3_141_590, payload={"body": bytes(2_718_280)})


def outputs() -> Any:
    return Output(response_parameters=[{"size": size} for size in ANSWERS])


def pings() -> list[Any]:
    return [
        Output(response_parameters=[{"size": answer}], payload={"body": bytes(request)})
        for request, answer in zip(REQUESTS, ANSWERS, strict=True)
    ]


def inputs() -> list[Any]:
    return [Input(payload={"body": bytes(size)}) for size in REQUESTS]


def wanting(code: int, text: str) -> dict[str, Any]:
    return {"response_status": {"code": code, "message": text}}


def sizes(answers: list[Any]) -> tuple[int, ...]:
    return tuple(len(one.payload.body) for one in answers)


def code_of(run: Any) -> tuple[grpc.StatusCode, str]:
    """Return how a call ends that has to fail."""
    try:
        run()
    except grpc.RpcError as error:
        failed: Any = error
        return failed.code(), failed.details()
    raise AssertionError("the call succeeded")


def run_sync(channel: grpc.Channel, *, echoes: bool) -> None:
    """Run every case; `echoes`: whether the server sends the two headers back."""
    methods, options = Methods(channel), {"timeout": WITHIN_S}
    assert Empty() == methods.empty(Empty(), **options)
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate):
        assert 3_141_590 == len(methods.unary(large(), compression=compression, **options).payload.body)
    assert 74922 == methods.input(iter(inputs()), **options).aggregated_payload_size
    assert ANSWERS == sizes(list(methods.output(outputs(), **options)))
    assert [] == list(methods.duplex(iter([]), **options))

    answers: list[Any] = []

    def alternately() -> Iterator[Any]:
        for number, ping in enumerate(pings()):
            while len(answers) < number:
                time.sleep(0.001)
            yield ping

    for answer in methods.duplex(alternately(), **options):
        answers.append(answer)
    assert ANSWERS == sizes(answers)
    assert grpc.StatusCode.DEADLINE_EXCEEDED == code_of(lambda: list(methods.duplex(_held(), timeout=0.001)))[0]
    begun = methods.input.future(_held(), **options)
    begun.cancel()
    assert begun.cancelled()
    stream = methods.duplex(_held(pings()[0]), **options)
    assert ANSWERS[0] == len(next(stream).payload.body)
    stream.cancel()
    assert grpc.StatusCode.CANCELLED == code_of(lambda: list(stream))[0]
    for text in ("test status message", SPECIAL):
        wanted = (grpc.StatusCode.UNKNOWN, text)
        assert wanted == code_of(lambda: methods.unary(Simple(**wanting(2, text)), **options))  # noqa: B023
        assert wanted == code_of(lambda: list(methods.duplex(iter([Output(**wanting(2, text))]), **options)))  # noqa: B023
    assert grpc.StatusCode.UNIMPLEMENTED == code_of(lambda: methods.no_method(Empty(), **options))[0]
    assert grpc.StatusCode.UNIMPLEMENTED == code_of(lambda: methods.no_service(b"", **options))[0]
    if echoes:
        _, call = methods.unary.with_call(Simple(response_size=1), metadata=ECHOED, **options)
        assert set(ECHOED) <= {*call.initial_metadata(), *call.trailing_metadata()}
        stream = methods.duplex(iter([Output(response_parameters=[{"size": 1}])]), metadata=ECHOED, **options)
        assert 1 == len(list(stream))
        assert set(ECHOED) <= {*stream.initial_metadata(), *stream.trailing_metadata()}


def _held(*messages: Any) -> Iterator[Any]:
    """Send these and keep the stream open."""
    yield from messages
    time.sleep(0.3)


async def run_aio(channel: grpc.aio.Channel, *, echoes: bool) -> None:
    """As `run_sync`."""
    methods, options = Methods(channel), {"timeout": WITHIN_S}
    assert Empty() == await methods.empty(Empty(), **options)
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate):
        assert 3_141_590 == len((await methods.unary(large(), compression=compression, **options)).payload.body)
    assert 74922 == (await methods.input(iter(inputs()), **options)).aggregated_payload_size
    assert ANSWERS == sizes([one async for one in methods.output(outputs(), **options)])
    assert [] == [one async for one in methods.duplex(iter([]), **options)]
    stream = methods.duplex(**options)
    for ping, size in zip(pings(), ANSWERS, strict=True):
        await stream.write(ping)
        assert size == len((await stream.read()).payload.body)
    await stream.done_writing()
    assert grpc.aio.EOF == await stream.read()
    assert grpc.StatusCode.OK == await stream.code()
    assert grpc.StatusCode.DEADLINE_EXCEEDED == await methods.duplex(timeout=0.001).code()
    begun = methods.input(**options)
    begun.cancel()
    assert grpc.StatusCode.CANCELLED == await begun.code()
    stream = methods.duplex(**options)
    await stream.write(pings()[0])
    assert ANSWERS[0] == len((await stream.read()).payload.body)
    stream.cancel()
    assert grpc.StatusCode.CANCELLED == await stream.code()
    for text in ("test status message", SPECIAL):
        for call in (
            methods.unary(Simple(**wanting(2, text)), **options),
            methods.duplex(iter([Output(**wanting(2, text))]), **options),
        ):
            assert (grpc.StatusCode.UNKNOWN, text) == (await call.code(), await call.details())
    assert grpc.StatusCode.UNIMPLEMENTED == await methods.no_method(Empty(), **options).code()
    assert grpc.StatusCode.UNIMPLEMENTED == await methods.no_service(b"", **options).code()
    if echoes:
        stream = methods.duplex(_async(Output(response_parameters=[{"size": 1}])), metadata=ECHOED, **options)
        assert 1 == len([one async for one in stream])
        for call in (methods.unary(Simple(response_size=1), metadata=ECHOED, **options), stream):
            assert set(ECHOED) <= {*(await call.initial_metadata()), *(await call.trailing_metadata())}


async def _async(*messages: Any) -> AsyncIterator[Any]:
    for one in messages:
        yield one
