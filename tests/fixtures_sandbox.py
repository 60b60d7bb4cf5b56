"""Pytest plugin: the fixture `sandbox`. One process for each test session and worker, reset before and after each test.

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
def sandbox(sandbox_process: SandboxProcess) -> Iterator[SandboxProcess]:
    """A running sandbox without boards, faults, counts or changed settings.

    What a test leaves would meet gateways of a whole file: where secrets were replaced, each of their calls is a 401.
    """
    sandbox_process.control("POST", "/reset", {})
    yield sandbox_process
    sandbox_process.control("POST", "/reset", {})
