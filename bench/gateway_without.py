"""`python -m bench.gateway_without NAME`: run `phoenix-gateway serve` without one of its process settings."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Mapping

from gateway.cli.entry import main


def _without_frozen_start() -> None:
    gc.freeze = lambda: None


def _without_patient_collector() -> None:
    gc.set_threshold = lambda *thresholds: None


def _without_uvloop() -> None:
    sys.modules["uvloop"] = None  # type: ignore[assignment]  # how Python marks a module that cannot be imported


def _without_one_poller() -> None:
    os.environ["GRPC_EXPERIMENTS"] = ""  # a value that the user has set stays


def _without_patient_threads() -> None:
    del os.SCHED_BATCH  # as on a system that has no such policy


FROZEN_START = "frozen start"
PATIENT_COLLECTOR = "patient collector"
WITHOUT: Mapping[str, Callable[[], None]] = {
    FROZEN_START: _without_frozen_start,
    PATIENT_COLLECTOR: _without_patient_collector,
    "uvloop": _without_uvloop,
    "one poller": _without_one_poller,
    "patient threads": _without_patient_threads,
}
"""What takes each setting away, by its name."""

if __name__ == "__main__":
    WITHOUT[sys.argv[1]]()
    sys.argv = ["phoenix-gateway", "serve"]
    main()
