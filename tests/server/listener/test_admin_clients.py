"""The admin port over TLS with the clients that operators have: curl with HTTP/2, a kubelet's probe, Prometheus."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway.config.model import AdminClientAuth, TlsFiles
from gateway.front.admin import AdminServer
from gateway.interceptors.policy import METHODS
from gateway.resilience.clock import SystemClock
from gateway.server.listener.tls import AdminTls
from gateway.telemetry.metrics import BuildInfo, Metrics
from tests.certificates import Authority

PAGES = ("/healthz", "/readyz", "/metrics", "/channelz/GetServers", "/nothing", "/explain?id=x")
SHOWN = ["200", "200", "200", "200", "404"]
"""What everyone may see of all but the last."""


class Port:
    """An admin port on loopback with TLS, as one that others reach has it."""

    def __init__(self, folder: Path, client_auth: AdminClientAuth) -> None:
        self.folder, self.authority = folder, Authority()
        certificate, key = self.authority.issue("localhost").write(folder, "server")
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self.authority.certificate)
        self.client = self.authority.issue("client").write(folder, "client")
        files = TlsFiles(cert_file=certificate, key_file=key, client_ca_file=self.ca)
        metrics = Metrics(CollectorRegistry(), methods=METHODS, build=BuildInfo(version="1", revision="a", python="3"))
        self.server = AdminServer(
            "127.0.0.1:0",
            metrics,
            lambda: True,
            lambda: {"ready": True, "services": {}},
            tls=AdminTls(files, SystemClock(), client_auth).context,
            asks_certificates=client_auth is not AdminClientAuth.NONE,
            explain=self._explain,
        )

    async def _explain(self, wanted: str) -> Mapping[str, Any]:
        return {"id": wanted}

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server.address.rpartition(':')[2]}"

    async def curl(self, path: str, *options: str, certificate: bool) -> tuple[str, str]:
        """Return the status (000: no answer) and HTTP version that curl gets with its defaults."""
        shown = ["--cert", str(self.client[0]), "--key", str(self.client[1])] if certificate else []
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", "--cacert", str(self.ca)]
        done = await asyncio.create_subprocess_exec(
            *command, *shown, *options, self.url + path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        status, _, version = (await done.communicate())[0].decode().partition(" ")
        return status, version


Start = Callable[[AdminClientAuth], Awaitable[Port]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    ports: list[Port] = []

    async def begin(client_auth: AdminClientAuth) -> Port:
        port = Port(tmp_path, client_auth)
        await port.server.start()
        ports.append(port)
        return port

    yield begin
    for port in ports:
        await port.server.stop()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
@pytest.mark.parametrize(
    ("client_auth", "with_certificate", "without"),
    [
        (AdminClientAuth.METRICS, [*SHOWN, "200"], ["200", "200", "403", "403", "403", "403"]),
        (AdminClientAuth.REQUIRED, [*SHOWN, "200"], ["000"] * 6),
        (AdminClientAuth.NONE, [*SHOWN, "403"], [*SHOWN, "403"]),
    ],
    ids=lambda value: value.value if isinstance(value, AdminClientAuth) else "",
)
async def test_curl_gets_each_page_as_the_operator_chose(
    start: Start, client_auth: AdminClientAuth, with_certificate: list[str], without: list[str]
) -> None:
    """It offers HTTP/2 by ALPN, and gets HTTP/1.1, which the port speaks. Nobody gets stories where anyone may ask."""
    port = await start(client_auth)
    shown = [await port.curl(page, certificate=True) for page in PAGES]
    assert shown == [(status, "1.1") for status in with_certificate]
    assert [(await port.curl(page, certificate=False))[0] for page in PAGES] == without


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
async def test_head_is_answered_like_get(start: Start) -> None:
    """With the length and without the body."""
    port = await start(AdminClientAuth.METRICS)
    assert await port.curl("/healthz", "--head", certificate=False) == ("200", "1.1")
    assert await port.curl("/metrics", "--head", certificate=True) == ("200", "1.1")
    lengths = []
    for method, version in ((b"GET", b"1.1"), (b"HEAD", b"1.1"), (b"HEAD", b"1.0")):
        reader, writer = await asyncio.open_connection(
            "localhost", int(port.url.rpartition(":")[2]), ssl=ssl.create_default_context(cafile=port.ca)
        )
        writer.write(b"%b /readyz HTTP/%b\r\nHost: x\r\n\r\n" % (method, version))
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert bool(body) == (method == b"GET")
        lengths += [line for line in head.lower().splitlines() if line.startswith(b"content-length:")]
    assert len(lengths) == 3
    assert len(set(lengths)) == 1


async def test_no_protocol_is_offered_that_the_port_does_not_speak(start: Start) -> None:
    """A client that speaks only HTTP/2 gets no protocol, instead of an answer that it cannot read."""
    port = await start(AdminClientAuth.METRICS)
    for offered, chosen in ((["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), (["h2"], None)):
        context = ssl.create_default_context(cafile=port.ca)
        context.set_alpn_protocols(offered)
        host, _, number = port.server.address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(number), ssl=context, server_hostname="localhost")
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == chosen
        writer.close()


async def test_promtool_finds_nothing_in_the_metrics(start: Start) -> None:
    """Names, units and help texts are as Prometheus wants them."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool: apt-get install prometheus")
    port = await start(AdminClientAuth.NONE)
    reader, writer = await asyncio.open_connection(
        "localhost",
        int(port.url.rpartition(":")[2]),
        ssl=ssl.create_default_context(cafile=port.ca),
    )
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    text = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    assert b"# TYPE" in text
    checked = await asyncio.create_subprocess_exec(
        promtool, "check", "metrics", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said = (await checked.communicate(text))[0].decode()
    assert (checked.returncode, said) == (0, "")


_SCRAPE = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: gateway
    scheme: https
    tls_config: {{ca_file: {ca}, cert_file: {cert}, key_file: {key}, server_name: localhost}}
    static_configs: [{{targets: ["{target}"]}}]
"""


@pytest.mark.timeout(90)
async def test_prometheus_scrapes_with_its_defaults(start: Start, tmp_path: Path) -> None:
    """It speaks HTTP/2 where that is offered."""
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("needs prometheus: apt-get install prometheus")
    from tests.ports import free_port

    port, web = await start(AdminClientAuth.METRICS), free_port()
    config = tmp_path / "prometheus.yml"
    target = port.url.removeprefix("https://")
    config.write_text(_SCRAPE.format(ca=port.ca, cert=port.client[0], key=port.client[1], target=target))
    arguments = [f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
    scraper = await asyncio.create_subprocess_exec(
        prometheus, *arguments, f"--web.listen-address=127.0.0.1:{web}", stderr=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            while '"health":"up"' not in await asyncio.to_thread(_targets, web):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.3)
    finally:
        scraper.terminate()
        await scraper.wait()


def _targets(web: int) -> str:
    done = subprocess.run(
        ["curl", "-s", f"http://127.0.0.1:{web}/api/v1/targets"], capture_output=True, text=True, check=False
    )
    return done.stdout
