"""A 2xx to an event is acceptance, whatever the rest of the answer looks like; other requests need it whole."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import replace

import pytest

from gateway.phoenix.http_types import AnswerLost, ExchangeFailed
from gateway.phoenix.transport import Transport
from tests.phoenix.raw_server import Behaviour, Peer, http, raw_server
from tests.phoenix.transport_requests import get, post, soon

HEAD = b"HTTP/1.1 202 Accepted\r\n"
HINTS = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
PACKED = gzip.compress(b'{"status":"ok"}')

READABLE: dict[str, bytes] = {
    "a header of 9,000 bytes": http(202, b"{}", Set_Cookie="x" * 9000),
    "a header of 64 KB": http(202, b"{}", Set_Cookie="x" * 65536),
    "1,000 headers": HEAD + b"".join(b"X-%d: 1\r\n" % n for n in range(1000)) + b"Content-Length: 2\r\n\r\n{}",
    "close behind keep-alive": http(202, b"{}", Keep_Alive="timeout=60", Connection="close"),
    "no length": HEAD + b"Connection: close\r\n\r\n{}",
    "no body": HEAD + b"Content-Length: 0\r\n\r\n",
    "a long status line": b"HTTP/1.1 202 " + b"x" * 9000 + b"\r\nContent-Length: 0\r\n\r\n",
    "a compressed body": http(202, PACKED, Content_Encoding="gzip"),
    "hints before": HINTS + HEAD + b"Content-Length: 2\r\n\r\n{}",
    "HTTP/1.0": b"HTTP/1.0 202 Accepted\r\n\r\n{}",
}
"""Answers that any request can use."""

BROKEN: dict[str, bytes] = {
    "half a compressed body": http(202, PACKED[:-3], Content_Encoding="gzip"),
    "an unknown encoding": http(202, b"?", Content_Encoding="br"),
    "half a body": HEAD + b'Content-Length: 50\r\n\r\n{"status":',
    "half a head": HEAD + b"Content-Le",
    "a header that is none": HEAD + b"this is no header\r\nContent-Length: 0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a broken chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
    "hints before half a body": HINTS + HEAD + b'Content-Length: 50\r\n\r\n{"status":',
    "hints before a header that is none": HINTS + HEAD + b"this is no header\r\nContent-Length: 0\r\n\r\n",
    "a header of 1 MB": http(202, b"{}", Set_Cookie="x" * 1_000_000),
    "a body over the limit": http(202, b"x" * 100_000),
}


def once(raw: bytes) -> Behaviour:
    """Answer one request with these bytes and close."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.answer(raw)

    return behave


@pytest.mark.parametrize("name", [*READABLE, *BROKEN])
async def test_an_accepted_event_is_accepted(transport: Transport, name: str) -> None:
    """The next event gets a connection of its own where this one cannot be used again."""
    raw = {**READABLE, **BROKEN}[name]
    async with raw_server(once(raw)) as server:
        for _ in range(2):
            event = replace(post(server.url), status_suffices=True)
            assert (await transport.send(event, soon(), 50_000)).status == 202
        assert len(server.requests) == 2


@pytest.mark.parametrize("name", list(READABLE))
async def test_long_but_whole_answers_are_for_everybody(transport: Transport, name: str) -> None:
    """A read too."""
    async with raw_server(once(READABLE[name])) as server:
        assert (await transport.send(get(server.url), soon())).status == 202


@pytest.mark.parametrize("name", list(BROKEN))
async def test_a_broken_answer_is_none_where_its_body_counts(transport: Transport, name: str) -> None:
    """A read, or a change whose result is in the body."""
    async with raw_server(once(BROKEN[name])) as server:
        for request in (get(server.url), post(server.url)):
            with pytest.raises(ExchangeFailed):
                await transport.send(request, soon(), 50_000)


async def test_an_accepted_event_whose_answer_does_not_end_is_accepted_at_the_deadline(transport: Transport) -> None:
    """The rest of the answer is waited for as long as the caller has time: the connection may then be kept."""

    async def hang(peer: Peer) -> None:
        await peer.request()
        await peer.answer(HEAD + b"Content-Length: 50\r\n\r\n{")
        await peer.until_gone()

    async with raw_server(hang) as server:
        event = replace(post(server.url), status_suffices=True)
        assert (await transport.send(event, soon(0.3))).status == 202


@pytest.mark.parametrize("status", [199, 300, 400, 409, 429, 500, 503])
async def test_no_other_status_suffices(transport: Transport, status: int) -> None:
    """A refusal is read whole, because its code and its wait are needed; a broken one says nothing."""
    raw = b"HTTP/1.1 %d X\r\nContent-Length: 50\r\n\r\n{" % status
    async with raw_server(once(raw)) as server:
        with pytest.raises(ExchangeFailed):
            await transport.send(replace(post(server.url), status_suffices=True), soon(2))


async def test_an_early_status_does_not_suffice(transport: Transport) -> None:
    """103 Early Hints is no answer, but it proves that the request was read: it must not be sent again."""

    async def hints(peer: Peer) -> None:
        await peer.request()
        await peer.answer(http(202, b"{}", Connection="keep-alive"))
        await peer.request()
        await peer.answer(HINTS)
        await asyncio.sleep(0.05)

    async with raw_server(hints) as server:
        repeatable = replace(get(server.url), status_suffices=True)  # else a connection is not used again so soon
        assert (await transport.send(repeatable, soon())).status == 202
        with pytest.raises(AnswerLost) as lost:
            await transport.send(repeatable, soon())
        assert not lost.value.was_stale
        assert len(server.requests) == 2


@pytest.mark.parametrize("size", [1, 7, 12, 40])
async def test_an_answer_behind_hints_may_come_in_pieces(transport: Transport, size: int) -> None:
    """However the network divides it."""

    async def pieces(peer: Peer) -> None:
        await peer.request()
        raw = HINTS + HEAD + b"Content-Length: x\r\n\r\n"
        for place in range(0, len(raw), size):
            await peer.answer(raw[place : place + size])
            await asyncio.sleep(0.001)

    async with raw_server(pieces) as server:
        event = replace(post(server.url), status_suffices=True)
        assert (await transport.send(event, soon())).status == 202
