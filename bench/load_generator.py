"""A load generator for requests that all differ: `python -m bench.load_generator`, in its own process.

It keeps a fixed number of calls in flight for a fixed time and prints the outcome as one JSON line. A call counts only
if a complete message and `grpc-status` 0 arrive in time. Where all requests may be the same, h2load is used.
"""

from __future__ import annotations

import argparse
import json
import select
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.http2 import Http2Error, grpc_message
from bench.http2_connection import Connection, Finished
from bench.messages import read_messages, write_messages

DRAIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A load. `cycle`: start again when the requests run out; otherwise stop early."""

    port: int
    path: str
    requests: list[bytes]
    seconds: float
    connections: int = 5
    streams: int = 10
    cycle: bool = False
    keep_answers: bool = False


@dataclass(slots=True, kw_only=True)
class Outcome:
    """The outcome of a load.

    answered, late: calls with an answer within `elapsed_s`, and after it.
    failures: the other calls, by kind of failure.
    busy: CPU time of this process divided by elapsed time. Near 1, the generator may be the limit.
    answers_per_receive: answers that arrive together. Near 1, calls come one by one. If it is much higher, calls travel
        in groups, and the server needs less CPU for each.
    """

    answered: int = 0
    late: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    elapsed_s: float = 0.0
    per_s: float = 0.0
    busy: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    answers_per_receive: float = 0.0
    ran_out: bool = False


def drive(load: Load) -> tuple[Outcome, list[bytes]]:
    """Run one load. Return its outcome and, with `keep_answers`, the answers in order of arrival."""
    prefixed = [grpc_message(request) for request in load.requests]
    connections = [Connection("127.0.0.1", load.port, load.path) for _ in range(load.connections)]
    try:
        for connection in connections:
            connection.open()
        return _run(load, prefixed, connections)
    finally:
        for connection in connections:
            connection.close()


def _run(load: Load, prefixed: list[bytes], connections: list[Connection]) -> tuple[Outcome, list[bytes]]:
    poll = select.epoll()
    by_number = {connection.fileno(): connection for connection in connections}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    finished: list[Finished] = []
    faults: Counter[str] = Counter()
    used_before, start = time.process_time(), time.perf_counter()
    until = start + load.seconds
    next_request = _supply(prefixed, load.cycle, until)
    for connection in connections:
        _fill(connection, load.streams, next_request, prefixed)
    busy_until: float | None = None
    receives = 0
    last = start
    while by_number and any(connection.in_flight for connection in by_number.values()):
        ready = poll.poll(0.5)
        now = time.perf_counter()
        if busy_until is None and now >= until:
            busy_until = time.process_time()
        if now > until + DRAIN_S:
            break
        for number, _ in ready:
            connection = by_number[number]
            try:
                ended = connection.receive()
                finished += ended
                if ended:
                    receives += 1
                    last = ended[-1].ended
                _fill(connection, load.streams, next_request, prefixed)
            except (Http2Error, OSError) as fault:
                faults[f"connection lost: {fault}"] += connection.in_flight
                poll.unregister(number)
                del by_number[number]
    hanging = sum(connection.in_flight for connection in by_number.values())
    if hanging:
        faults["no answer in time"] += hanging
    poll.close()
    ran_out = not load.cycle and last < until and not faults
    elapsed = (last if ran_out else until) - start
    used = (busy_until if busy_until is not None else time.process_time()) - used_before
    outcome = _outcome(finished, faults, start + elapsed, elapsed, used, ran_out)
    outcome.answers_per_receive = len(finished) / receives if receives else 0.0
    return outcome, [each.answer for each in finished if each.answer is not None] if load.keep_answers else []


def _supply(prefixed: list[bytes], cycle: bool, until: float) -> Callable[[], int | None]:
    """Return a function that returns the number of the next request, or None at the end."""
    given = 0

    def following() -> int | None:
        nonlocal given
        if time.perf_counter() >= until or (not cycle and given >= len(prefixed)):
            return None
        given += 1
        return (given - 1) % len(prefixed)

    return following


def _fill(connection: Connection, streams: int, following: Callable[[], int | None], prefixed: list[bytes]) -> None:
    places = min(streams, connection.max_streams) - connection.in_flight
    for _ in range(places if not connection.is_closing else 0):
        index = following()
        if index is None:
            break
        connection.begin(index, prefixed[index])
    connection.flush()


def _outcome(
    finished: list[Finished], faults: Counter[str], end: float, elapsed: float, used: float, ran_out: bool
) -> Outcome:
    outcome = Outcome(elapsed_s=elapsed, busy=used / elapsed if elapsed else 0.0, ran_out=ran_out)
    times: list[float] = []
    for each in finished:
        if each.status != 0:
            faults[f"grpc-status {each.status}: {each.text}"] += 1
        elif each.answer is None:
            faults["status 0 without a complete message"] += 1
        elif each.ended > end:
            outcome.late += 1
        else:
            outcome.answered += 1
            times.append(each.ended - each.began)
    times.sort()
    if times:
        outcome.p50_ms = times[len(times) // 2] * 1000
        outcome.p99_ms = times[len(times) * 99 // 100] * 1000
    outcome.per_s = outcome.answered / elapsed if elapsed else 0.0
    outcome.failures = dict(faults)
    return outcome


def main(arguments: list[str] | None = None) -> int:
    """Read the flags and run the load."""
    parser = argparse.ArgumentParser(prog="python -m bench.load_generator", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True, help="such as /package.Service/Method")
    parser.add_argument("--requests", type=Path, required=True, help="file in the format of bench.messages")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=5)
    parser.add_argument("--streams", type=int, default=10, help="calls in flight per connection")
    parser.add_argument("--cycle", action="store_true", help="start again when the requests run out")
    parser.add_argument("--answers", type=Path, help="write the answers to this file")
    options = parser.parse_args(arguments)
    load = Load(
        port=options.port,
        path=options.path,
        requests=list(read_messages(options.requests)),
        seconds=options.seconds,
        connections=options.connections,
        streams=options.streams,
        cycle=options.cycle,
        keep_answers=options.answers is not None,
    )
    outcome, answers = drive(load)
    if options.answers is not None:
        write_messages(options.answers, answers)
    sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
