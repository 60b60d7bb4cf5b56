"""Fixtures that more than one folder of tests needs."""

import os

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
