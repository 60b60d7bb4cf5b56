"""The way into `phoenix-gateway`: straight to `serve`, by way of the command line's parser to everything else.

The parser and what it loads are 15 MiB that a gateway would keep for as long as it serves, and 0.2 s of its start.
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
