"""What no honest client does to a connection: each is ended or refused, and the others are served meanwhile."""

from __future__ import annotations

import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from bench.http2 import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    read_settings,
    request_headers,
)
from gateway.server.listener.listen import MAX_METADATA_BYTES, MAX_REQUEST_BYTES
from gateway.v1 import tokens_pb2, tokens_pb2_grpc
from tests.gateway_process import TOO_LARGE, GatewayProcess, of_sandbox, resident_mib
from tests.raw_http2 import RawConnection, ping, reset
from tests.sandbox_process import SandboxProcess

MINT = "/phoenix.gateway.v1.TokenService/MintLaunchJWT"
VISITOR = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())
BOMB_MIB = 4096


@pytest.fixture(scope="module")
def attacked(sandbox_process: SandboxProcess) -> Iterator[GatewayProcess]:
    """A separate gateway, because the test's effects stay in its memory for some time."""
    settings = of_sandbox(sandbox_process.urls, sandbox_process.environ)
    with GatewayProcess({**settings, "GATEWAY_LOG_LEVEL": "warning"}) as process:
        yield process


@pytest.fixture
def others(attacked: GatewayProcess) -> Iterator[Callable[[], None]]:
    """Make a call as another client, also after the test."""
    with grpc.insecure_channel(attacked.address) as channel:
        stub = tokens_pb2_grpc.TokenServiceStub(channel)

        def call() -> None:
            assert stub.MintLaunchJWT(VISITOR, timeout=15).token != ""

        call()
        yield call
        call()


def raw(channel: Any, path: str) -> Any:
    """A method of bytes, of either kind of channel."""
    return channel.unary_unary(path)


def test_a_message_that_is_too_large_is_refused_before_it_is_taken_in(
    attacked: GatewayProcess, others: Callable[[], None]
) -> None:
    """By its announced length: not a byte more than that is waited for. Just below, it is read."""
    with RawConnection(attacked.address) as connection:
        prefix = b"\x00" + struct.pack(">I", MAX_REQUEST_BYTES + 1)
        connection.send(frame(HEADERS, END_HEADERS, 1, request_headers(attacked.address, MINT)))
        connection.send(frame(0, 0, 1, prefix))
        connection.read(lambda: connection.status(1) is not None)
        assert connection.status(1) == TOO_LARGE.value[0]
    with grpc.insecure_channel(attacked.address) as channel, pytest.raises(grpc.RpcError) as read:
        raw(channel, MINT)(b"\xff" * (MAX_REQUEST_BYTES - 10))
    assert read.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_metadata_that_is_too_large_is_refused(attacked: GatewayProcess, others: Callable[[], None]) -> None:
    """Above the bound always, below it never."""
    with grpc.insecure_channel(attacked.address) as channel:
        method = tokens_pb2_grpc.TokenServiceStub(channel).MintLaunchJWT
        for _ in range(5):
            with pytest.raises(grpc.RpcError) as refused:
                method(VISITOR, metadata=(("x-much", "y" * MAX_METADATA_BYTES),))
            assert refused.value.code() is TOO_LARGE
            assert method(VISITOR, metadata=(("x-less", "y" * (MAX_METADATA_BYTES - 2048)),)).token != ""


def test_headers_without_end_take_no_memory(attacked: GatewayProcess, others: Callable[[], None]) -> None:
    """CONTINUATION after CONTINUATION: 60 MiB of them leave nothing behind."""
    before = resident_mib(attacked.pid)
    with RawConnection(attacked.address) as connection:
        connection.send(frame(HEADERS, 0, 1, request_headers(attacked.address, MINT)))
        one = b"\x00\x04x-ab\x7f\x81\x7c" + b"y" * 16_000
        for _ in range(4000):
            if not connection.send(frame(CONTINUATION, 0, 1, one)):
                break
        others()
    assert resident_mib(attacked.pid) < before + 40


@pytest.mark.timeout(120)
def test_a_compressed_bomb_is_refused_before_it_goes_off(attacked: GatewayProcess, others: Callable[[], None]) -> None:
    """4 GiB of zeros in 4 MB of gzip: refused as too large, in no time and with no memory to speak of."""
    # One block of 16 MiB, flushed so that it can be repeated.
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb = b"\x1f\x8b\x08" + bytes(6) + b"\xff" + block * (BOMB_MIB // 16)
    assert len(bomb) < MAX_REQUEST_BYTES
    before = resident_mib(attacked.pid)
    with RawConnection(attacked.address) as connection:
        further = [("grpc-encoding", "gzip")]
        connection.send(frame(HEADERS, END_HEADERS, 1, request_headers(attacked.address, MINT, further)))
        rest = b"\x01" + struct.pack(">I", len(bomb)) + bomb
        _send_all(connection, rest)
        connection.read(lambda: connection.status(1) is not None)
        assert connection.status(1) == TOO_LARGE.value[0]
    assert resident_mib(attacked.pid) < before + 40


def test_an_honest_compressed_message_is_read(attacked: GatewayProcess) -> None:
    """Clients may compress."""
    with grpc.insecure_channel(attacked.address, compression=grpc.Compression.Gzip) as channel:
        assert tokens_pb2_grpc.TokenServiceStub(channel).MintLaunchJWT(VISITOR).token != ""


def _send_all(connection: RawConnection, data: bytes) -> None:
    """Send on stream 1 as a client does that keeps to the windows, until all is sent or the call has ended."""
    windows = {0: 65_535, 1: 65_535}
    at = taken = 0
    until = time.monotonic() + 30
    while at < len(data) and connection.status(1) is None and not connection.is_closed and time.monotonic() < until:
        connection.read(lambda: True, within_s=0.05)  # what is there
        for one in connection.seen[taken:]:
            if one.kind == WINDOW_UPDATE:
                windows[one.stream] += struct.unpack(">I", one.payload)[0]
            elif one.kind == SETTINGS:
                windows[1] += read_settings(one.payload).get(INITIAL_WINDOW_SIZE, 65_535) - 65_535
        taken = len(connection.seen)
        while (room := min(*windows.values(), 16_384, len(data) - at)) > 0:
            connection.send(frame(0, END_STREAM if at + room == len(data) else 0, 1, data[at : at + room]))
            at += room
            windows = {stream: left - room for stream, left in windows.items()}
        if at < len(data):
            connection.read(within_s=0.05)


def test_a_flood_of_pings_ends_the_connection(attacked: GatewayProcess, others: Callable[[], None]) -> None:
    """ENHANCE_YOUR_CALM after a few; other clients are not affected."""
    with RawConnection(attacked.address) as connection:
        for number in range(2000):
            if not connection.send(ping(number)) or connection.gone_away:
                break
            if number % 20 == 0:
                others()
                connection.read(lambda: connection.gone_away, within_s=0.01)
        connection.read(lambda: connection.gone_away)
        last = [one.payload for one in connection.seen if one.kind == GOAWAY]
    assert connection.gone_away
    assert last == [] or struct.unpack(">I", last[0][4:8]) == (11,)


def test_pings_between_calls_are_no_flood(attacked: GatewayProcess) -> None:
    """A client that looks after its connection now and then, while it has calls, keeps it."""
    with RawConnection(attacked.address) as connection:
        for stream in range(1, 21, 2):
            connection.send(connection.call(stream, MINT, VISITOR.SerializeToString()) + ping(stream))
            connection.read(lambda stream=stream: connection.status(stream) is not None)
            assert connection.status(stream) == 0
        assert not connection.gone_away


@pytest.mark.timeout(120)
def test_rapid_resets_leave_the_others_served_and_memory_bounded(
    attacked: GatewayProcess, others: Callable[[], None]
) -> None:
    """CVE-2023-44487: tens of thousands of calls a second, each reset at once. Others wait, and none fails."""
    before = resident_mib(attacked.pid)
    connection = RawConnection(attacked.address)
    is_over = threading.Event()

    def flood() -> None:
        stream = 1
        while not is_over.is_set():
            calls = (
                connection.call(one, MINT, VISITOR.SerializeToString()) + reset(one)
                for one in range(stream, stream + 100, 2)
            )
            if not connection.send(b"".join(calls)):
                return
            stream += 100

    attacker = threading.Thread(target=flood)
    attacker.start()
    try:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            others()
    finally:
        is_over.set()
        attacker.join(10)
        connection.close()
    assert resident_mib(attacked.pid) < before + 250
    began = time.monotonic()
    others()
    assert time.monotonic() - began < 5


def test_what_is_no_http2_is_hung_up_on(attacked: GatewayProcess, others: Callable[[], None]) -> None:
    """HTTP/1, TLS on a plain port, noise."""
    host, _, port = attacked.address.rpartition(":")
    for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00" * 4096):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(data)
            while connection.recv(4096):
                pass
