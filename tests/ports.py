"""Free ports for the servers of tests."""

from __future__ import annotations

import random
import socket

_FIRST, _END = 12_000, 22_000
"""Below the ports that Linux and macOS give to outgoing connections, which could take the port of a server that a test
kills before it starts again. A Redis cluster uses the port 10,000 above, too."""
_random = random.SystemRandom()  # a test may seed the shared one


def free_port() -> int:
    """Return a free port of 127.0.0.1. Two processes that ask at one time get different ones, nearly always."""
    while True:
        port = _random.randrange(_FIRST, _END)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
