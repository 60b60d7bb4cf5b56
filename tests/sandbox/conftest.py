"""Gives these tests the sandbox process and a client that speaks to it as a tenant."""

from collections.abc import AsyncIterator

import pytest

from tests.fixtures_sandbox import sandbox, sandbox_process
from tests.sandbox.client import Client
from tests.sandbox_process import SandboxProcess

__all__ = ["client", "sandbox", "sandbox_process"]


@pytest.fixture
async def client(sandbox: SandboxProcess) -> AsyncIterator[Client]:
    """A client of the running sandbox; one board, `xp`, exists."""
    sandbox.control("POST", f"/boards/{sandbox.environ['TENANT_ID']}/xp", {})
    async with Client(sandbox) as made:
        yield made
