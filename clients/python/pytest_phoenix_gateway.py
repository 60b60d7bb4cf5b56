"""A pytest plugin: the fixture `phoenix_gateway` is a gateway before a local Phoenix, which a test can make fail.

It starts `phoenix-gateway dev` once for each test session and worker, and resets the local Phoenix before each test.
The ini option `phoenix_gateway_command` names another command, such as one of another environment. Control routes:
docs/sandbox.md of the gateway.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

if TYPE_CHECKING:
    import grpc

    from phoenix_gateway_client import AsyncGateway, Gateway, Webhook

_OPTION = "phoenix_gateway_command"


class ControlRefused(Exception):
    """The local Phoenix refused a control request. The text says why."""


class PhoenixGateway:
    """A running gateway, and the control of the Phoenix behind it."""

    def __init__(self, addresses: dict[str, Any], stack: ExitStack) -> None:
        self.address: str = addresses["gateway"]
        """host:port of the gateway, without TLS and for every caller of this machine."""
        self.control_url: str = addresses["control"]
        self.tenant_id: str = addresses["tenant_id"]
        self.operator_code: str = addresses["operator_code"]
        self._stack = stack
        self._opener = build_opener(ProxyHandler({}))

    def client(self, **options: Any) -> Gateway:
        """Return a client; the fixture closes it after the test."""
        from phoenix_gateway_client import Gateway

        return self._stack.enter_context(Gateway(self.address, **options))

    def async_client(self, **options: Any) -> AsyncGateway:
        """Return a client for asyncio. Close it in the test: `async with phoenix_gateway.async_client() as gateway`."""
        from phoenix_gateway_client import AsyncGateway

        return AsyncGateway(self.address, **options)

    @property
    def channel(self) -> grpc.Channel:
        """A new channel for stubs of your own; the fixture closes it after the test."""
        import grpc

        return self._stack.enter_context(grpc.insecure_channel(self.address))

    def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call a control route of the local Phoenix and return its JSON. Raises: ControlRefused."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.control_url + path, data=data, method=method)  # noqa: S310 - the URL of the process
        request.add_header("content-type", "application/json")
        try:
            with self._opener.open(request, timeout=60) as answer:
                return json.loads(answer.read())
        except HTTPError as refused:
            raise ControlRefused(f"{method} {path}: {refused.code} {refused.read().decode(errors='replace')}") from None

    def create_board(self, leaderboard_id: str, scores: dict[str, float] | None = None) -> None:
        """Create or replace a board of the tenant."""
        self.control("POST", f"/boards/{self.tenant_id}/{leaderboard_id}", {"scores": scores or {}})

    def fail_next_event(self, kind: str = "status", *, times: int = 1, **members: Any) -> None:
        """Make the next event fail at Phoenix. The default, status 400, is a refusal: PhoenixRefusedInput.

        Args: `kind`: such as `lose_answer`, after which the outcome is unknown. `members`: such as `status=429`,
        `headers={"Retry-After": "3"}`. `times`: how many requests; a batch is one.
        """
        if kind == "status":
            members.setdefault("status", 400)
        members.setdefault("path_prefix", "/v1/events")  # the gateway's health checks go to the same surface
        self.fail("ingestion", kind, times=times, **members)

    def fail(self, surface: str, kind: str, *, times: int | None = 1, **members: Any) -> None:
        """Make requests to a surface of Phoenix fail: ingestion, admin, query, prediction or `*`. None: all of them."""
        self.control("POST", "/faults", {"surface": surface, "kind": kind, "times": times, **members})

    def counted(self, event_id: str) -> int:
        """Return how often Phoenix has counted an event."""
        found: int = self.control("GET", f"/effects?event_id={event_id}")["effects"]
        return found

    def sign_webhook(self, operation: str = "reserve_cash", **members: Any) -> Webhook:
        """Return a signed wallet webhook. `forge="body"` returns one with a wrong signature."""
        from phoenix_gateway_client import Webhook

        found = self.control("POST", "/wallet/sign", {"operation": operation, **members})
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in found["headers"]]
        return Webhook(found["method"], found["path"], headers, b64decode(found["body_base64"]))

    def send_webhook(self, target: str, operation: str = "reserve_cash", **members: Any) -> dict[str, Any]:
        """Have Phoenix send a webhook to the URL of your wallet; return its attempts and the answers that it got."""
        found: dict[str, Any] = self.control(
            "POST", "/wallet/send", {"target": target, "operation": operation, **members}
        )
        return found


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini option."""
    parser.addini(_OPTION, "command that starts phoenix-gateway; default: that of this environment", default="")


def _command(config: pytest.Config) -> list[str]:
    given = shlex.split(str(config.getini(_OPTION)))
    if given:
        return given
    own = Path(sys.executable).with_name("phoenix-gateway")
    found = str(own) if own.exists() else shutil.which("phoenix-gateway")
    if found is None:
        pytest.fail(
            "phoenix-gateway is not installed here: pip install 'phoenix-gateway-client[testing]', or name its command "
            f"in the ini option {_OPTION}",
            pytrace=False,
        )
    return [found]


@pytest.fixture(scope="session")
def phoenix_gateway_process(pytestconfig: pytest.Config) -> Iterator[dict[str, Any]]:
    """The addresses of the process behind `phoenix_gateway`."""
    command = [*_command(pytestconfig), "dev", "--port", "0", "--json", "--with-parent"]
    with subprocess.Popen(  # noqa: S603 - the command of the test's owner
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        if not line:
            pytest.fail(f"{shlex.join(command)} did not start: {process.stderr.read()[-2000:]}", pytrace=False)
        yield json.loads(line)
        process.stdin.close()  # it stops when its parent is gone


@pytest.fixture
def phoenix_gateway(phoenix_gateway_process: dict[str, Any]) -> Iterator[PhoenixGateway]:
    """A gateway before a local Phoenix without boards, faults and counts."""
    with ExitStack() as stack:
        made = PhoenixGateway(phoenix_gateway_process, stack)
        made.control("POST", "/reset", {})
        yield made
