"""Many watchers of one board: `python -m bench.watchers`, in its own process. It implements HTTP/2 itself to be fast.

It prints `ready` when each watcher has its first board, measures, and prints the result as one JSON line. The streams
stay open until its stdin is closed, so that the server's memory can be measured. The delay of a message is the time
from the upstream's sending of an update to its arrival here; see live_upstream.py.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import struct
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass

from bench import http2
from bench.boards import BOARD
from bench.live_upstream import moment_of
from gateway.v1 import leaderboards_pb2

PATH = "/phoenix.gateway.v1.LeaderboardService/WatchLeaderboard"
STREAMS_PER_CONNECTION = 100
WINDOW = 2**31 - 1
READY_WITHIN_S = 60.0
_SCORE = struct.Struct("<d")


@dataclass(slots=True, kw_only=True)
class WatchResult:
    """The result.

    `ended` counts the streams that ended, by gRPC status; none should. `busy` is this process's CPU time divided by
    elapsed time. Near 1, the delay may be its own.
    """

    watchers: int
    messages: int
    ended: dict[str, int]
    elapsed_s: float
    p50_ms: float
    p99_ms: float
    longest_ms: float
    busy: float


@dataclass(slots=True)
class _Stream:
    """One watcher. `missing` is the number of bytes to the end of its message. `head` is the start of a message."""

    missing: int = 0
    head: bytes = b""
    messages: int = 0


class Watchers:
    """All streams of some connections."""

    def __init__(self, port: int, number: int) -> None:
        self._sockets: dict[int, _Connection] = {}
        self._poll = select.epoll()
        self.streams = 0
        for first in range(0, number, STREAMS_PER_CONNECTION):
            connection = _Connection(port, min(STREAMS_PER_CONNECTION, number - first))
            self._sockets[connection.fileno()] = connection
            self._poll.register(connection.fileno(), select.EPOLLIN)
            self.streams += len(connection.streams)

    @property
    def ready(self) -> bool:
        """Whether each watcher has received a board."""
        return all(stream.messages for one in self._sockets.values() for stream in one.streams.values())

    @property
    def ended(self) -> Counter[str]:
        """The number of ended streams by gRPC status."""
        return sum((one.ended for one in self._sockets.values()), Counter())

    def receive_until(self, until: float) -> list[float]:
        """Receive until this time and return the delays in seconds."""
        lags: list[float] = []
        while (left := until - time.monotonic()) > 0:
            for number, _ in self._poll.poll(left):
                lags += self._sockets[number].receive()
        return lags


class _Connection:
    """One connection with open streams."""

    def __init__(self, port: int, number: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._incoming = bytearray()
        self._consumed = 0
        self._score_at: int | None = None
        self.streams: dict[int, _Stream] = {}
        self.ended: Counter[str] = Counter()
        ours = {http2.HEADER_TABLE_SIZE: 0, http2.INITIAL_WINDOW_SIZE: WINDOW}
        grow = http2.window_update(0, WINDOW - http2.DEFAULT_WINDOW)
        block = http2.request_headers(f"127.0.0.1:{port}", PATH)
        message = leaderboards_pb2.WatchLeaderboardRequest(leaderboard_id=BOARD).SerializeToString()
        parts = [http2.PREFACE, http2.settings(ours), grow]
        for index in range(number):
            stream = 2 * index + 1
            self.streams[stream] = _Stream()
            parts.append(http2.frame(http2.HEADERS, http2.END_HEADERS, stream, block))
            parts.append(http2.frame(http2.DATA, http2.END_STREAM, stream, http2.grpc_message(message)))
        self._socket.sendall(b"".join(parts))

    def fileno(self) -> int:
        """Return the socket's descriptor, for polling."""
        return self._socket.fileno()

    def receive(self) -> list[float]:
        """Read once and return the delays of the messages."""
        data = self._socket.recv(1 << 20)
        if not data:
            raise http2.Http2Error("the gateway closed the connection")
        now = time.monotonic()
        self._incoming += data
        lags: list[float] = []
        for kind, flags, number, payload, flow_bytes in http2.take_frames(self._incoming):
            if kind == http2.DATA:
                self._consumed += flow_bytes
                lags += self._read_messages(self.streams[number], payload, now)
            elif kind == http2.SETTINGS and not flags & http2.ACK:
                self._socket.sendall(http2.frame(http2.SETTINGS, http2.ACK, 0))
            elif kind == http2.PING and not flags & http2.ACK:
                self._socket.sendall(http2.frame(http2.PING, http2.ACK, 0, payload))
            elif kind == http2.HEADERS and flags & http2.END_STREAM:
                self.ended[f"{http2.grpc_status(payload)} {http2.status_text(payload)}"] += 1
            elif kind == http2.RST_STREAM:
                self.ended["reset"] += 1
        if self._consumed > WINDOW // 2:
            self._socket.sendall(http2.window_update(0, self._consumed))
            self._consumed = 0
        return lags

    def _read_messages(self, stream: _Stream, payload: bytes, now: float) -> list[float]:
        lags: list[float] = []
        data = stream.head + payload if stream.head else payload
        stream.head = b""
        at = min(stream.missing, len(data))
        stream.missing -= at
        while at < len(data):
            rest = len(data) - at
            length = int.from_bytes(data[at + 1 : at + 5], "big") if rest >= http2.GRPC_PREFIX_BYTES else 0
            if self._score_at is None and rest >= http2.GRPC_PREFIX_BYTES + length > http2.GRPC_PREFIX_BYTES:
                self._score_at = _offset_of_score(data[at + 5 : at + 5 + length])
            if self._score_at is None or rest < http2.GRPC_PREFIX_BYTES + self._score_at + _SCORE.size:
                stream.head = data[at:]
                return lags
            (score,) = _SCORE.unpack_from(data, at + http2.GRPC_PREFIX_BYTES + self._score_at)
            stream.messages += 1
            if stream.messages > 1:  # the first board may be old
                lags.append(now - moment_of(score))
            whole = http2.GRPC_PREFIX_BYTES + length
            stream.missing = max(0, whole - rest)
            at += whole
        return lags


def _offset_of_score(message: bytes) -> int:
    """Return the offset of the first entry's score. It is the same in all messages."""
    shown = leaderboards_pb2.WatchLeaderboardResponse.FromString(message)
    return message.index(_SCORE.pack(shown.leaderboard.entries[0].score))


def _run(port: int, number: int, seconds: float) -> WatchResult:
    watchers = Watchers(port, number)
    until = time.monotonic() + READY_WITHIN_S
    while not watchers.ready and time.monotonic() < until:
        watchers.receive_until(time.monotonic() + 0.05)
    sys.stdout.write("ready\n" if watchers.ready else "not ready\n")
    sys.stdout.flush()
    watchers.receive_until(time.monotonic() + 1.0)
    began, used = time.monotonic(), time.process_time()
    lags = sorted(watchers.receive_until(began + seconds))
    elapsed = time.monotonic() - began
    return WatchResult(
        watchers=watchers.streams,
        messages=len(lags),
        ended=dict(watchers.ended),
        elapsed_s=elapsed,
        p50_ms=_percentile(lags, 0.5) * 1000,
        p99_ms=_percentile(lags, 0.99) * 1000,
        longest_ms=lags[-1] * 1000 if lags else 0.0,
        busy=(time.process_time() - used) / elapsed,
    )


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def main() -> None:
    """Watch and print the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.watchers", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--watchers", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    watched = _run(options.port, options.watchers, options.seconds)
    sys.stdout.write(json.dumps(asdict(watched)) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
