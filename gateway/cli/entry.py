"""The entry point of `phoenix-gateway`: `serve` starts directly, every other command goes through the parser.

The parser loads 15 MiB that a gateway would keep for as long as it serves, and takes 0.2 s of its start.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the arguments name; the console script."""
    if sys.argv[1:] == ["serve"]:
        from gateway.cli.serve import run

        raise SystemExit(run(None))
    from gateway.cli.main import main as parse_and_run

    parse_and_run()
