"""A server that answers each HTTP/2 call with the same prebuilt frames, to measure the load generators' capacity.

It has no HPACK, only a large flow control window, and no error handling. It prints its port when it serves.
"""

from __future__ import annotations

import argparse
import select
import socket
import struct
import sys

from bench import http2

_STATUS_200 = b"\x88"  # ":status: 200" of HPACK's static table
_TRAILERS = b"\x00\x0bgrpc-status\x010"


class Peer:
    """One accepted connection."""

    def __init__(self, accepted: socket.socket, answer: bytes) -> None:
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = accepted
        self._incoming = bytearray()
        self._has_preface = False
        self._parts = (
            http2.frame(http2.HEADERS, http2.END_HEADERS, 0, _STATUS_200),
            http2.frame(http2.DATA, 0, 0, http2.grpc_message(answer)),
            http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 0, _TRAILERS),
        )
        grow = http2.window_update(0, 2**31 - 1 - http2.DEFAULT_WINDOW)
        accepted.sendall(http2.settings({http2.INITIAL_WINDOW_SIZE: 2**31 - 1}) + grow)

    def serve(self) -> bool:
        """Read and answer. Return False if the client is gone."""
        try:
            data = self._socket.recv(262_144)
        except OSError:
            data = b""
        if not data:
            self._socket.close()
            return False
        self._incoming += data
        if not self._has_preface:
            if len(self._incoming) < len(http2.PREFACE):
                return True
            del self._incoming[: len(http2.PREFACE)]
            self._has_preface = True
        out: list[bytes] = []
        for kind, flags, stream, _, _ in http2.take_frames(self._incoming):
            if kind == http2.DATA and flags & http2.END_STREAM:
                name = struct.pack(">I", stream)
                for part in self._parts:
                    out += (part[:5], name, part[9:])
            elif kind == http2.SETTINGS and not flags & http2.ACK:
                out.append(http2.frame(http2.SETTINGS, http2.ACK, 0))
        try:
            self._socket.sendall(b"".join(out))
        except OSError:
            self._socket.close()
            return False
        return True


def main() -> None:
    """Serve until the process ends."""
    parser = argparse.ArgumentParser(prog="python -m bench.fixed_response_server", description=__doc__)
    parser.add_argument("--answer-bytes", type=int, default=600)
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    peers: dict[int, Peer] = {}
    while True:
        for number, _ in poll.poll():
            if number == listener.fileno():
                accepted, _ = listener.accept()
                peers[accepted.fileno()] = Peer(accepted, bytes(options.answer_bytes))
                poll.register(accepted.fileno(), select.EPOLLIN)
            elif not peers[number].serve():
                del peers[number]


if __name__ == "__main__":
    main()
