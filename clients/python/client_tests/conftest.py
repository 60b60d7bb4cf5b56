"""Fixtures of the client's tests: a real gateway before a real sandbox, and the client with threads and with asyncio.

They run in a process of their own: the gateway's generated code and the client's are two copies of one contract.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from phoenix_gateway_client import AsyncGateway, Gateway
from tests.fixtures_gateway import gateway, gateway_process  # noqa: F401
from tests.fixtures_sandbox import sandbox, sandbox_process  # noqa: F401

Run = Callable[..., Any]


@pytest.fixture(params=["threads", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    """`run(call, target, **options)` gives a client to `call` and returns its result, with threads or with asyncio."""

    def with_threads(call: Callable[[Any], Any], target: str, **options: Any) -> Any:
        with Gateway(target, **options) as client:
            return call(client)

    def with_asyncio(call: Callable[[Any], Any], target: str, **options: Any) -> Any:
        async def main() -> Any:
            async with AsyncGateway(target, **options) as client:
                return await call(client)

        return asyncio.run(main())

    return with_threads if request.param == "threads" else with_asyncio
