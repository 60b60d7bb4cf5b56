"""`python -m bench.gateway_without NAME`: run `phoenix-gateway serve` without one of its process settings."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping

from gateway.cli.entry import main


def _without_frozen_start() -> None:
    gc.freeze = lambda: None


def _without_uvloop() -> None:
    sys.modules["uvloop"] = None  # type: ignore[assignment]  # how Python marks a module that cannot be imported


WITHOUT: Mapping[str, Callable[[], None]] = {"frozen start": _without_frozen_start, "uvloop": _without_uvloop}
"""What takes each setting away, by its name."""

if __name__ == "__main__":
    WITHOUT[sys.argv[1]]()
    sys.argv = ["phoenix-gateway", "serve"]
    main()
