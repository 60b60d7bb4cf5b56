"""Whose port it is: a gateway's own, or that of all its workers."""

from __future__ import annotations

import time

from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess


def test_a_second_gateway_on_the_same_port_does_not_start(sandbox: SandboxProcess) -> None:
    """It would get half of the calls, without anyone noticing."""
    environ = of_sandbox(sandbox.urls, sandbox.environ)
    with GatewayProcess(environ) as first:
        second = GatewayProcess({**environ, "GATEWAY_LISTEN": first.address})
        try:
            assert second.spawn().wait(timeout=30) == 1
        finally:
            second.stop()
        assert "GATEWAY_LISTEN" in second.log_text


def test_workers_share_their_port(sandbox: SandboxProcess) -> None:
    """Both serve, and end together when asked."""
    process = GatewayProcess({**of_sandbox(sandbox.urls, sandbox.environ), "GATEWAY_WORKERS": "2"}).start()
    try:
        until = time.monotonic() + 20
        while process.log_text.count('"event":"serving"') < 2 and time.monotonic() < until:
            time.sleep(0.05)
        assert process.log_text.count('"event":"serving"') == 2
    finally:
        assert process.stop() == 0
