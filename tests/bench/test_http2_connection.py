"""What the load generator sends never exceeds the peer's windows."""

import socket
from collections.abc import Iterator

import pytest

from bench import http2
from bench.http2_connection import Connection

Pair = tuple[Connection, "Peer"]


class Peer:
    """The other end of the connection: receives frames and sends what the test wants."""

    def __init__(self, accepted: socket.socket) -> None:
        self._socket = accepted
        self._socket.settimeout(10)
        self._incoming = bytearray()

    def say(self, *frames: bytes) -> None:
        self._socket.sendall(b"".join(frames))

    def skip_preface(self) -> None:
        while len(self._incoming) < len(http2.PREFACE):
            self._incoming += self._socket.recv(65_536)
        del self._incoming[: len(http2.PREFACE)]

    def data_after(self, connection: Connection, *frames: bytes) -> int:
        """Say the frames and a PING in one segment; return the bytes of DATA until its answer: all that may be sent."""
        self.say(*frames, http2.frame(http2.PING, 0, 0, bytes(8)))
        connection.receive()
        connection.flush()
        data = 0
        while True:
            for frame in http2.take_frames(self._incoming):
                data += frame.flow_bytes
                if frame.kind == http2.PING:
                    assert frame.flags & http2.ACK
                    return data
            self._incoming += self._socket.recv(65_536)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A connection whose peer allows 1,000 bytes a stream."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = Connection("127.0.0.1", listener.getsockname()[1], "/a.B/C")
        peer = Peer(listener.accept()[0])
        peer.say(http2.settings({http2.INITIAL_WINDOW_SIZE: 1000}))
        connection.open()
        peer.skip_preface()
        yield connection, peer
        connection.close()
        peer.close()


def test_a_stream_waits_for_its_window(pair: Pair) -> None:
    """1,000 bytes first, then exactly what each update allows."""
    connection, peer = pair
    connection.begin(0, bytes(5000))
    connection.flush()
    assert peer.data_after(connection) == 1000
    assert peer.data_after(connection, http2.window_update(1, 500)) == 500


def test_all_streams_together_wait_for_the_connections_window(pair: Pair) -> None:
    """A larger stream window does not enlarge the connection window: 65,535 bytes until the peer's update."""
    connection, peer = pair
    connection.begin(0, bytes(100_000))
    connection.flush()
    assert peer.data_after(connection, http2.window_update(1, 1_000_000)) == 65_535
    assert peer.data_after(connection, http2.window_update(0, 1_000_000)) == 100_000 - 65_535


def test_a_smaller_setting_takes_back_what_it_gave(pair: Pair) -> None:
    """RFC 9113 6.9.2: a window may become negative, and then has to grow past zero first."""
    connection, peer = pair
    connection.begin(0, bytes(5000))
    connection.flush()
    assert peer.data_after(connection) == 1000
    assert (
        peer.data_after(connection, http2.settings({http2.INITIAL_WINDOW_SIZE: 400}), http2.window_update(1, 600)) == 0
    )
    assert peer.data_after(connection, http2.window_update(1, 10)) == 10
