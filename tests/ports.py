"""Free ports for the servers of tests."""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Iterator

_FIRST, _END = 12_000, 22_000
"""Below the ports that Linux and macOS give to outgoing connections, which could take the port of a server that a test
kills before it starts again. A Redis cluster uses the port 10,000 above, too."""


def own_ports(worker: str, workers: int) -> range:
    """Return the ports of one test worker ("gw0" and so on; "": the only one): no two workers share one."""
    number = int(worker.removeprefix("gw") or 0)
    each = (_END - _FIRST) // workers
    return range(_FIRST + number * each, _FIRST + (number + 1) * each)


def _in_turn() -> Iterator[int]:
    """Yield the ports of this worker, from a random one on: one that was given comes again after all others."""
    ports = own_ports(os.environ.get("PYTEST_XDIST_WORKER", ""), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    begin = random.SystemRandom().randrange(len(ports))  # a test may seed the shared one
    return itertools.cycle([*ports[begin:], *ports[:begin]])


_ports = _in_turn()


def free_port() -> int:
    """Return a free port of 127.0.0.1. Its server binds it later: until then nobody else gets it from here."""
    while True:
        port = next(_ports)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
