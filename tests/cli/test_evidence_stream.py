"""Reading an export over streams that are cut off, from a server that cuts them on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from gateway.cli.evidence_stream import EvidenceStream, ExportOptions
from gateway.v1 import wallet_pb2

SETTLED_S = 100
OPTIONS = ExportOptions(
    operator_code="", environment="prod", start=None, end=datetime.fromtimestamp(SETTLED_S, UTC), omit_bodies=True
)


class Cutting:
    """Sends one scripted list of parts per stream, then cuts it off; the last stream ends well."""

    def __init__(self, streams: list[list[wallet_pb2.ExportWalletEvidenceResponse]]) -> None:
        self.streams = streams
        self.tokens: list[str] = []

    def export(self, request: Any, context: Any) -> Iterator[Any]:
        self.tokens.append(request.page_token)
        yield from self.streams.pop(0)
        if self.streams:
            context.abort(grpc.StatusCode.UNAVAILABLE, "cut off")


@contextmanager
def serving(servicer: Cutting) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.unary_stream_rpc_method_handler(
        servicer.export,
        request_deserializer=wallet_pb2.ExportWalletEvidenceRequest.FromString,
        response_serializer=wallet_pb2.ExportWalletEvidenceResponse.SerializeToString,
    )
    service = "phoenix.gateway.v1.WalletService"
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"ExportWalletEvidence": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def part(token: str, **received: int) -> wallet_pb2.ExportWalletEvidenceResponse:
    """A part with moves by id and second of receipt."""
    message = wallet_pb2.ExportWalletEvidenceResponse(next_page_token=token)
    message.settle_time.FromSeconds(SETTLED_S)
    for operation_id, at_s in received.items():
        message.evidence.add(operation_id=operation_id).receive_time.FromSeconds(at_s)
    return message


def test_an_interrupted_stream_continues_and_gives_each_operation_once() -> None:
    """With the token of the last part that came; a move that was not settled comes again and is left out."""
    cutting = Cutting([[part("one", a=1, b=2)], [part("two", c=3, d=SETTLED_S)], [part("three", d=SETTLED_S, e=101)]])
    with serving(cutting) as target:
        stream = EvidenceStream(options=OPTIONS, target=target, tls=(None, None, None))
        assert ["a", "b", "c", "d", "e"] == [one.operation_id for one in stream]
    assert ["", "one", "two"] == cutting.tokens
    assert (5, True) == (stream.count, stream.is_settled)


def test_a_stream_that_never_began_is_no_stream_cut_off() -> None:
    """A missing gateway is reported at once."""
    with serving(Cutting([[], [part("never", a=1)]])) as target, pytest.raises(grpc.RpcError):
        list(EvidenceStream(options=OPTIONS, target=target, tls=(None, None, None)))
