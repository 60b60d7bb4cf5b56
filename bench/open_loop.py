"""An open load in phases: `python -m bench.open_loop`, in its own process. It implements HTTP/2 itself to be fast.

Calls are due at a fixed rate, whatever happens to earlier ones, and their time counts from when they were due. A call
that the server's limits on streams and windows do not admit yet waits here, as in any client. Every call has a deadline
of 2 s. It prints the outcome of each phase as one JSON line.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import select
import socket
import struct
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

from google.rpc import error_details_pb2, status_pb2
from hpack import Encoder

from bench import http2
from bench.processes import cpu_s

DEADLINE_S = 2.0
TICK_S = 0.0005
_SETTLE_S = 0.5
_WINDOW = 2**31 - 1
_KEY_BYTES = 96
"""So many bytes of the trailers of a refusal tell its kind: its request id comes behind them."""


@dataclass(slots=True, kw_only=True)
class Phase:
    """The outcome of the calls that were due in one phase.

    ok: answered with status 0 within the deadline. per_s: the same per second.
    refused: answered OVERLOADED. failed: every other end, by status and reason; "no answer" is one of them.
    last_bad_s: when the last call was due that was not answered within `slow_ms`, in seconds from the phase's begin.
    server_cpu_s: CPU seconds of the server during the phase, if its process id is known.
    """

    rate: float
    seconds: float
    due: int = 0
    ok: int = 0
    refused: int = 0
    per_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    refused_p50_ms: float = 0.0
    refused_p99_ms: float = 0.0
    last_bad_s: float = 0.0
    server_cpu_s: float = 0.0
    failed: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class OpenLoad:
    """The outcome of all phases. `busy` is the CPU time of this process divided by elapsed time."""

    phases: list[Phase]
    busy: float


class _Line:
    """One connection. `waiting` holds the due times of calls not sent yet, `expired` of those that were not in time."""

    def __init__(self, target: str, path: str, message: bytes) -> None:
        family = socket.AF_UNIX if target.startswith("/") else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.connect(target if family == socket.AF_UNIX else ("127.0.0.1", int(target)))
        if family == socket.AF_INET:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        encoder = Encoder()  # as clients do: the first request fills the server's table, the next ones refer to it
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
        fields += [("te", "trailers"), ("content-type", "application/grpc"), ("grpc-timeout", f"{DEADLINE_S:.0f}S")]
        self._blocks = [encoder.encode(fields), encoder.encode(fields)]
        body = http2.grpc_message(message)
        self._size = len(body)
        self._data_head = http2.frame(http2.DATA, http2.END_STREAM, 0, body)[:5]
        self._body = body
        self._next = 1
        self._window = http2.DEFAULT_WINDOW
        self._max_streams = 100
        self._consumed = 0
        self._incoming = bytearray()
        grow = http2.window_update(0, _WINDOW - http2.DEFAULT_WINDOW)
        ours = {http2.HEADER_TABLE_SIZE: 0, http2.INITIAL_WINDOW_SIZE: _WINDOW}
        self._outgoing = bytearray(http2.PREFACE + http2.settings(ours) + grow)
        self.waiting: deque[float] = deque()
        self.expired: list[float] = []
        self.pending: dict[int, float] = {}
        self.is_open = True

    def fileno(self) -> int:
        """Return the socket's descriptor, for polling."""
        return self._socket.fileno()

    def send(self, now: float) -> None:
        """Send the calls that may be sent, as far as the socket takes them."""
        waiting, pending, size = self.waiting, self.pending, self._size
        while waiting and len(pending) < self._max_streams and self._window >= size and len(self._outgoing) < 65_536:
            due = waiting.popleft()
            if now - due > DEADLINE_S:
                self.expired.append(due)
                continue
            number = struct.pack(">I", self._next)
            block = self._blocks[self._next > 1]
            head = struct.pack(">HBBB", len(block) >> 8, len(block) & 0xFF, http2.HEADERS, http2.END_HEADERS)
            self._outgoing += b"".join((head, number, block, self._data_head, number, self._body))
            pending[self._next] = due
            self._next += 2
            self._window -= size
        if self._outgoing:
            with contextlib.suppress(BlockingIOError):
                sent = self._socket.send(self._outgoing)
                del self._outgoing[:sent]

    def receive(self) -> list[tuple[float, bytes | None]]:
        """Read once. Return the due times of the calls that ended, with their trailers; None after a reset."""
        ended: list[tuple[float, bytes | None]] = []
        try:
            data = self._socket.recv(262_144)
        except BlockingIOError:
            return ended
        except OSError:
            data = b""
        if not data:
            self.is_open = False
            return ended
        self._incoming += data
        for kind, flags, stream, payload, flow_bytes in http2.take_frames(self._incoming):
            if kind == http2.DATA:
                self._consumed += flow_bytes
            elif kind == http2.HEADERS or kind == http2.RST_STREAM:
                if kind == http2.RST_STREAM or flags & http2.END_STREAM:
                    due = self.pending.pop(stream, None)
                    if due is not None:
                        ended.append((due, payload if kind == http2.HEADERS else None))
            elif kind == http2.WINDOW_UPDATE and stream == 0:
                self._window += int.from_bytes(payload, "big")
            elif kind == http2.SETTINGS and not flags & http2.ACK:
                self._max_streams = http2.read_settings(payload).get(http2.MAX_CONCURRENT_STREAMS, self._max_streams)
                self._outgoing += http2.frame(http2.SETTINGS, http2.ACK, 0)
            elif kind == http2.PING and not flags & http2.ACK:
                self._outgoing += http2.frame(http2.PING, http2.ACK, 0, payload)
        if self._consumed > _WINDOW // 2:
            self._outgoing += http2.window_update(0, self._consumed)
            self._consumed = 0
        return ended

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def run(
    target: str, path: str, message: bytes, phases: list[Phase], connections: int, slow_ms: float, pid: int = 0
) -> OpenLoad:
    """Run the phases one after the other. `target` is a port of loopback or the path of a Unix socket."""
    lines = [_Line(target, path, message) for _ in range(connections)]
    poll = select.epoll()
    by_number = {line.fileno(): line for line in lines}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    _turn(poll, by_number, lines, time.perf_counter() + _SETTLE_S, [])
    began, used = time.perf_counter(), time.process_time()
    ended: list[tuple[float, float, bytes | None]] = []
    starts: list[float] = []
    at = began
    for phase in phases:
        starts.append(at)
        given, end = 0, at + phase.seconds
        spent_s = cpu_s(pid) if pid else 0.0
        while (now := time.perf_counter()) < end:
            given = _give(lines, phase, at, given, now - at)
            _turn(poll, by_number, lines, min(now + TICK_S, end), ended)
        _give(lines, phase, at, given, phase.seconds)  # this process may not have run when they were due
        phase.server_cpu_s = cpu_s(pid) - spent_s if pid else 0.0
        at = end
    busy = (time.process_time() - used) / (time.perf_counter() - began)
    until = time.perf_counter() + DEADLINE_S
    while time.perf_counter() < until and any(line.pending or line.waiting for line in lines):
        _turn(poll, by_number, lines, time.perf_counter() + TICK_S, ended)
    unanswered = [due for line in lines for due in (*line.waiting, *line.expired, *line.pending.values())]
    for line in lines:
        line.close()
    _fill(phases, starts, ended, unanswered, slow_ms)
    return OpenLoad(phases=phases, busy=busy)


def _give(lines: list[_Line], phase: Phase, at: float, given: int, elapsed_s: float) -> int:
    """Let the calls wait that are due so long after the phase's begin. Return how many of it have been given."""
    while given / phase.rate <= elapsed_s and given / phase.rate < phase.seconds:
        lines[given % len(lines)].waiting.append(at + given / phase.rate)
        given += 1
    return given


def _turn(
    poll: select.epoll,
    by_number: dict[int, _Line],
    lines: list[_Line],
    until: float,
    ended: list[tuple[float, float, bytes | None]],
) -> None:
    """Send and receive until this time, at least once."""
    while True:
        now = time.perf_counter()
        for line in lines:
            if line.is_open:
                line.send(now)
        left = until - time.perf_counter()
        for number, _ in poll.poll(max(0.0, min(left, TICK_S))):
            line = by_number[number]
            now = time.perf_counter()
            ended += [(due, now, block) for due, block in line.receive()]
            if not line.is_open:
                poll.unregister(number)
        if time.perf_counter() >= until:
            return


def _fill(
    phases: list[Phase],
    starts: list[float],
    ended: list[tuple[float, float, bytes | None]],
    unanswered: list[float],
    slow_ms: float,
) -> None:
    """Sort the calls into their phases and compute the outcomes."""
    kinds: dict[bytes, str] = {}
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in phases]
    failed: list[Counter[str]] = [Counter() for _ in phases]

    def phase_of(due: float) -> int:
        return max(number for number, start in enumerate(starts) if due >= start - 1e-9)

    for due, now, block in ended:
        number = phase_of(due)
        took_ms = (now - due) * 1000
        status = None if block is None else http2.grpc_status(block)
        is_bad = True
        if status == 0 and took_ms <= DEADLINE_S * 1000:
            times[number][0].append(took_ms)
            is_bad = took_ms > slow_ms
        else:
            kind = "late" if status == 0 else _kind(block, kinds)
            if kind == "8 OVERLOADED":
                times[number][1].append(took_ms)
            else:
                failed[number][kind] += 1
        if is_bad:
            phases[number].last_bad_s = max(phases[number].last_bad_s, due - starts[number])
    for due in unanswered:
        number = phase_of(due)
        failed[number]["no answer"] += 1
        phases[number].last_bad_s = max(phases[number].last_bad_s, due - starts[number])
    for phase, (served, refused), others in zip(phases, times, failed, strict=True):
        phase.ok, phase.refused, phase.failed = len(served), len(refused), dict(others)
        phase.due = len(served) + len(refused) + others.total()
        phase.per_s = len(served) / phase.seconds
        phase.p50_ms, phase.p99_ms = _percentile(served, 0.5), _percentile(served, 0.99)
        phase.refused_p50_ms, phase.refused_p99_ms = _percentile(refused, 0.5), _percentile(refused, 0.99)


def _kind(block: bytes | None, kinds: dict[bytes, str]) -> str:
    """Return status and reason of a failure, such as "8 OVERLOADED"."""
    if block is None:
        return "reset"
    kind = kinds.get(block[:_KEY_BYTES])
    if kind is None:
        fields = http2.trailers(block)
        details = fields.get("grpc-status-details-bin", "")
        info = error_details_pb2.ErrorInfo()
        for detail in status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4))).details:
            detail.Unpack(info)  # details of other types leave it as it is
        kind = kinds[block[:_KEY_BYTES]] = f"{fields.get('grpc-status')} {info.reason}"
    return kind


def _percentile(values: list[float], share: float) -> float:
    values.sort()
    return values[min(int(len(values) * share), len(values) - 1)] if values else 0.0


def main() -> None:
    """Read the flags, run the load and print the outcome."""
    parser = argparse.ArgumentParser(prog="python -m bench.open_loop", description=__doc__)
    parser.add_argument("--target", required=True, help="a port, or the path of a Unix socket")
    parser.add_argument("--path", required=True, help="such as /package.Service/Method")
    parser.add_argument("--request", type=Path, required=True, help="file with the serialised request")
    parser.add_argument("--phase", action="append", required=True, metavar="RATE:SECONDS")
    parser.add_argument("--connections", type=int, default=5)
    parser.add_argument("--pid", type=int, default=0, help="process id of the server, to read its CPU time")
    parser.add_argument("--slow-ms", type=float, default=DEADLINE_S * 1000)
    options = parser.parse_args()
    phases = [Phase(rate=float(rate), seconds=float(s)) for rate, s in (each.split(":") for each in options.phase)]
    load = run(
        options.target,
        options.path,
        options.request.read_bytes(),
        phases,
        options.connections,
        options.slow_ms,
        options.pid,
    )
    sys.stdout.write(json.dumps(asdict(load)) + "\n")


if __name__ == "__main__":
    main()
