"""The authorities of Phoenix's certificates, from a file that a platform replaces while the gateway runs."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.phoenix.http_types import NotSent, Request
from gateway.phoenix.transport import Transport
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from gateway.telemetry import logs
from tests.certificates import Authority
from tests.other_user import Mount


@asynccontextmanager
async def served_by(authority: Authority, folder: Path) -> AsyncIterator[str]:
    """A host with a certificate of this authority that answers every request with 204 and closes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("localhost").write(folder, "host"))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"


async def asked(transport: Transport, url: str) -> str:
    request = Request(method="GET", url_base=url, raw_path="/")
    try:
        return str((await transport.send(request, Deadline.after(10, SystemClock()))).status)
    except NotSent as failure:
        return str(failure)


async def test_a_changed_file_is_used_for_new_connections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also behind the links of a mount. A CA that was removed is not trusted; an unusable file changes nothing."""
    old, new, mount = Authority("Old CA"), Authority("New CA"), Mount(tmp_path / "ca", group=0, mode=0o644)
    untrusted = "the server's certificate is not trusted"
    mount.swap(ca__pem=old.certificate)
    transport = Transport(ca_file=Path(mount.path("ca.pem")))
    logs.configure("info", "json")
    async with served_by(old, tmp_path / "old") as by_old, served_by(new, tmp_path / "new") as by_new:
        assert [await asked(transport, url) for url in (by_old, by_new)] == ["204", untrusted]
        mount.swap(ca__pem=new.certificate)
        assert [await asked(transport, url) for url in (by_old, by_new)] == [untrusted, "204"]
        mount.swap(ca__pem="no PEM")
        assert [await asked(transport, by_new) for _ in range(2)] == ["204", "204"]
        mount.swap(ca__pem=old.certificate)
        assert await asked(transport, by_old) == "204"
    await transport.close()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["part"]) for line in lines] == [
        ("not available", "CA of Phoenix"),
        ("available again", "CA of Phoenix"),
    ]
    assert lines[1]["count"] == 2
