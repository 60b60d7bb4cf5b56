"""Pytest plugin: the fixture `sandbox`. One process for each test session and worker, reset before each test.

Use it with `pytest_plugins = ["tests.fixtures_sandbox"]` in the top conftest, or import both fixtures.
"""

from collections.abc import Iterator

import pytest

from tests.sandbox_process import SandboxProcess


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[SandboxProcess]:
    """The process behind `sandbox`; take it only where state may outlive a test."""
    with SandboxProcess() as process:
        yield process


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> SandboxProcess:
    """A running sandbox without boards, faults, counts or changed settings."""
    sandbox_process.control("POST", "/reset", {})
    return sandbox_process
