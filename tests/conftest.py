"""Fixtures that more than one folder of tests needs."""

import os

# Before grpc is loaded: its handlers crash in a child that is forked while calls are under way, as one is that changes
# its user (PostgreSQL refuses root).
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

pytest_plugins = ["tests.fixtures_sandbox", "tests.fixtures_gateway", "tests.fixtures_postgres"]
