"""The way into `phoenix-gateway`: straight to `serve`, by way of the command line's parser to everything else.

The parser and what it loads are 15 MiB that a gateway would keep for as long as it serves, and 0.2 s of its start.
"""

from __future__ import annotations

import sys

NOT_SERVED_WITH = ("httpx._main", "rich")
"""httpx's own command line and structlog's coloured tracebacks: 5 MiB that both libraries do without if they cannot be
imported. Nothing that serves prints in colour or with a traceback."""


def main() -> None:
    """Run the command that the arguments name; the console script."""
    if sys.argv[1:] == ["serve"]:
        _leave_out(NOT_SERVED_WITH)
        from gateway.cli.serve import run

        raise SystemExit(run(None))
    from gateway.cli.main import main as parse_and_run

    parse_and_run()


def _leave_out(names: tuple[str, ...]) -> None:
    """Make importing these modules fail in this process, as if they were not installed."""
    for name in names:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python itself marks a module that cannot be had
