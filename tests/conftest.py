"""Fixtures that more than one folder of tests needs."""

import os
import signal
import sys

import pytest
from hypothesis import settings

# Before grpc is loaded: its handlers crash in a child that is forked while calls are under way, as one is that changes
# its user (PostgreSQL refuses root).
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

# An example may take its time: the machine may be busy, and pytest's own limit holds for each test.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

pytest_plugins = [
    "tests.fixtures_sandbox",
    "tests.fixtures_gateway",
    "tests.fixtures_postgres",
    "tests.fixtures_redis",
    "tests.fixtures_database",
]


def pytest_configure(config: pytest.Config) -> None:
    """Print the summary also when a time limit ends the run."""
    if not hasattr(config, "workerinput"):
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name a failure at once: a run that is killed prints no summary."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        text = f"\n{report.when} of {report.nodeid} failed after {report.duration:.1f} s"
        print(text, file=sys.__stderr__, flush=True)
