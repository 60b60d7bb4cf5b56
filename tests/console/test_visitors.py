"""Who is let in over TLS: a caller of the policy. Whoever is none learns nothing, not even that there is a console."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway.config.model import AdminClientAuth, TlsFiles
from gateway.console.app import Console
from gateway.console.calls import ConsoleCalls
from gateway.console.day_reports import DayReports
from gateway.console.visit import Sources
from gateway.console.visitors import Visitors
from gateway.core.rights import Callers, Grant
from gateway.front.admin import AdminServer
from gateway.front.dispatch import Dispatch
from gateway.interceptors.chain import Chain
from gateway.interceptors.policy import METHODS
from gateway.resilience.clock import SystemClock
from gateway.server.listener.tls import AdminTls
from gateway.telemetry.metrics import BuildInfo, Metrics
from tests.certificates import Authority

CLOCK = SystemClock()
CALLERS = Callers([Grant(caller="operations", methods=frozenset())], ids={"operations.test": "operations"})


class Port:
    """An admin port on loopback with TLS and a console."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.authority = folder, Authority()
        certificate, key = self.authority.issue("localhost").write(folder, "server")
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self.authority.certificate)
        files = TlsFiles(cert_file=certificate, key_file=key, client_ca_file=self.ca)
        metrics = Metrics(CollectorRegistry(), methods=METHODS, build=BuildInfo(version="1", revision="a", python="3"))
        dispatch = Dispatch(Chain([]), CLOCK, lambda call, error: None)
        self.server = AdminServer(
            "127.0.0.1:0",
            metrics,
            lambda: True,
            lambda: {"ready": True, "services": {}},
            tls=AdminTls(files, CLOCK, AdminClientAuth.METRICS).context,
            asks_certificates=True,
            console=Console(ConsoleCalls({}, dispatch, CLOCK), sources(), Visitors(lambda: CALLERS, has_tls=True)),
        )

    async def ask(self, path: str, name: str = "") -> tuple[int, bytes]:
        """Return status and body for a client whose certificate has this name; "": one without a certificate."""
        context = ssl.create_default_context(cafile=self.ca)
        if name:
            context.load_cert_chain(*self.authority.issue(name).write(self.folder, name))
        port = int(self.server.address.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: gateway.internal\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return int(head.split()[1]), body


def sources() -> Sources:
    async def ready() -> Mapping[str, Any]:
        return {"ready": True, "services": {}}

    async def history() -> Sequence[Mapping[str, Any]]:
        return []

    async def explain(wanted: str) -> Mapping[str, Any]:
        return {"id": wanted, "stories": [], "searched": []}

    days = DayReports(SystemClock())
    return Sources(readiness=ready, history=history, limits=list, explain=explain, days=days, tenants=[], operators=[])


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    made = Port(tmp_path)
    await made.server.start()
    yield made
    await made.server.stop()


async def test_a_caller_of_the_policy_is_let_in(port: Port) -> None:
    """By whatever name the browser asks: its certificate counts."""
    status, body = await port.ask("/console", "operations.test")
    assert status == 200
    assert b"caller <b>operations</b>" in body


@pytest.mark.parametrize("name", ["", "stranger.test"])
@pytest.mark.parametrize("path", ["/console", "/console/wallet", "/console/style.css"])
async def test_others_get_what_any_unknown_path_gets(port: Port, name: str, path: str) -> None:
    """Without a certificate, and with one of the same authority that the policy does not list."""
    assert await port.ask(path, name) == await port.ask("/nothing", name)
