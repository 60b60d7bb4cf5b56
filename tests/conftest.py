"""Fixtures that more than one folder of tests needs."""

pytest_plugins = ["tests.fixtures_sandbox", "tests.fixtures_gateway", "tests.fixtures_postgres"]
