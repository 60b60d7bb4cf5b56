"""The entry point of `phoenix-gateway`: `serve` starts directly, every other command goes through the parser.

The parser loads 15 MiB that a gateway would keep for as long as it serves, and takes 0.2 s of its start.
"""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the command that the arguments name; the console script."""
    _hold_standard_descriptors()
    if sys.argv[1:] == ["serve"]:
        gc.disable()  # until everything is imported, which leaves no garbage: the start takes an eighth less
        from gateway.cli.serve import run

        raise SystemExit(run(None))
    from gateway.cli.main import main as parse_and_run
    from gateway.server.process.threads import silence_grpc

    silence_grpc()

    parse_and_run()


def _hold_standard_descriptors() -> None:
    """Fill descriptors 0 to 2 where whoever started this process closed them.

    A socket of ours would get the number, and with it what is written to standard output. The log of a closed standard
    error is dropped. The two others can only be read, so that an audit log there is refused.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY), True)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  open as long as the process
