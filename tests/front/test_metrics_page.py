"""/metrics over HTTP in the format that the scraper takes, of one process and of several workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gateway.front.admin import AdminServer
from gateway.front.worker_peers import WorkerPeers
from gateway.telemetry.metric_names import CALL_SECONDS
from gateway.telemetry.metrics import BuildInfo, Metrics
from gateway.telemetry.page_format import OPEN_END, PageFormat
from tests.client_model import ACCEPT, families, labels_of

METHOD = "/a.B/C"
TEXT = PageFormat.TEXT.value
OLD = b"# HELP up Whether it is up.\n# TYPE up gauge\nup 1.0\n"


async def serve(listen: str, *, peers: WorkerPeers | None = None, has_traces: bool = False) -> AdminServer:
    metrics = Metrics(CollectorRegistry(), methods=[METHOD], build=BuildInfo(version="", revision="", python=""))
    metrics.call_began(METHOD)
    metrics.call_ended(METHOD, "OK", "", 0.0002)
    readiness = {"ready": True, "services": {"a.B": True}}
    server = AdminServer(listen, metrics, lambda: True, lambda: readiness, peers=peers, has_traces=has_traces)
    await server.start()
    return server


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as servers:
        yield servers


async def scrape(server: AdminServer, *accept: bytes) -> tuple[str, bytes]:
    """Send these Accept headers. Return the Content-Type and the body."""
    host, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = b"".join([b"Accept: " + one + b"\r\n" for one in accept])
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *rest = head.decode().split("\r\n")
    assert status.startswith("HTTP/1.1 200")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
    return headers["content-type"], body


async def test_each_format_is_answered(stack: AsyncExitStack) -> None:
    """With its Content-Type; OpenMetrics with its end, once."""
    server = await serve("127.0.0.1:0", has_traces=True)
    stack.push_async_callback(server.stop)
    kind, body = await scrape(server, ACCEPT.encode())
    assert (kind, labels_of(families(body)[CALL_SECONDS.name].metric[0])) == (
        PageFormat.PROTOBUF.value,
        {"method": METHOD},
    )
    kind, body = await scrape(server, b"application/openmetrics-text;version=1.0.0")
    assert (kind, body.count(OPEN_END), body.endswith(OPEN_END)) == (PageFormat.OPEN.value, 1, True)
    kind, body = await scrape(server)
    assert (kind, body.count(OPEN_END)) == (TEXT, 0)


async def test_accept_may_be_several_headers(stack: AsyncExitStack) -> None:
    """They are one list."""
    server = await serve("127.0.0.1:0")
    stack.push_async_callback(server.stop)
    assert (await scrape(server, b"text/plain;q=0.1", ACCEPT.encode()))[0] == PageFormat.PROTOBUF.value


@pytest.mark.parametrize("accept", [b"\xff\xfe", b"\xed\xb3\xbf", b"a/b;q=\xd9\xa1,;=,", b"*/*" + b"," * 1900])
async def test_a_broken_header_gets_text_from_workers_too(stack: AsyncExitStack, tmp_path: Path, accept: bytes) -> None:
    """It is not passed on to them."""
    for number in "01":
        stack.push_async_callback((await serve(f"unix:{tmp_path}/{number}.0.sock")).stop)
    server = await serve("127.0.0.1:0", peers=WorkerPeers(tmp_path))
    stack.push_async_callback(server.stop)
    kind, body = await scrape(server, accept)
    assert kind == TEXT
    assert [body.count(f'{CALL_SECONDS.name}_sum{{worker="{number}"'.encode()) for number in "01"] == [1, 1]


async def test_a_worker_that_answers_in_another_format_is_left_out(stack: AsyncExitStack, tmp_path: Path) -> None:
    """One of the version before, while workers are replaced: its text would break the page."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {TEXT}\r\nContent-Length: {len(OLD)}\r\n\r\n"
        writer.write(head.encode() + OLD)
        await writer.drain()
        writer.close()

    old = await asyncio.start_unix_server(answer, f"{tmp_path}/0.0.sock")
    stack.callback(old.close)
    stack.push_async_callback((await serve(f"unix:{tmp_path}/1.0.sock")).stop)
    server = await serve("127.0.0.1:0", peers=WorkerPeers(tmp_path))
    stack.push_async_callback(server.stop)
    kind, body = await scrape(server, ACCEPT.encode())
    assert kind == PageFormat.PROTOBUF.value
    page = families(body)
    assert [labels_of(metric)["worker"] for metric in page[CALL_SECONDS.name].metric] == ["1"]
    assert "up" not in page
    assert b'up{worker="0"} 1.0' in (await scrape(server))[1]
