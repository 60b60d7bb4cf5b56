"""What an engine gives to be written at once, however much its peer would take; both engines."""

from __future__ import annotations

from collections.abc import Sequence

from bench.http2 import (
    DATA,
    END_STREAM,
    INITIAL_WINDOW_SIZE,
    PREFACE,
    frame,
    grpc_message,
    request_headers,
    settings,
    take_frames,
    window_update,
)
from gateway.front.http2.engine import EngineSettings
from gateway.front.http2.wire import RESPONSE_HEADERS, Header
from tests.front.http2.handlers import MakeEngine

MOST = 100_000
BODY = bytes(90_000)
STREAMS = (1, 3, 5, 7)


class _Receiver:
    def __init__(self) -> None:
        self.closed: list[int] = []

    def on_request(self, stream_id: int, headers: Sequence[Header], *, end: bool) -> None: ...

    def on_data(self, stream_id: int, data: bytes, *, end: bool) -> None: ...

    def on_stream_closed(self, stream_id: int, error_code: int) -> None:
        self.closed.append(stream_id)

    def on_ping(self) -> None: ...

    def on_ping_acknowledged(self, data: bytes) -> None: ...


def test_no_more_is_taken_than_may_be_written(engine: MakeEngine) -> None:
    """The rest follows, with every byte and every end."""
    made, receiver = engine(EngineSettings()), _Receiver()
    made.start()
    calls = b"".join(
        frame(1, 4, one, request_headers("front", "/t/Empty")) + frame(DATA, END_STREAM, one, grpc_message(b""))
        for one in STREAMS
    )
    widest = 2**31 - 1
    made.receive(
        PREFACE + settings({INITIAL_WINDOW_SIZE: widest}) + window_update(0, widest - 65_535) + calls, receiver
    )
    made.take(receiver)
    for one in STREAMS:
        made.respond(one, RESPONSE_HEADERS)
        made.send(one, BODY)
        made.finish(one, [(b"grpc-status", b"0")])
    written: list[bytes] = []
    while not written or written[-1]:
        written.append(made.take(receiver, MOST))
    assert max(map(len, written)) < MOST + 2 * 16_384
    assert len(written) > 4
    sent = bytearray(b"".join(written))
    assert len(STREAMS) * len(BODY) == sum(one[4] for one in take_frames(sent) if one[0] == DATA)
    assert sorted(receiver.closed) == list(STREAMS)
    assert 0 == made.queued_in_all()
