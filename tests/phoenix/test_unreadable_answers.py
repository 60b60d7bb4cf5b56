"""Answers that came and cannot be used: not HTTP, too large, or compressed in a wrong way."""

import gzip
import zlib

import pytest

from gateway.phoenix.http_types import DEFAULT_MAX_ANSWER_BYTES, AnswerGarbled, AnswerOversized
from gateway.phoenix.transport import Transport
from tests.phoenix.raw_server import Peer, always, http, raw_server
from tests.phoenix.transport_requests import failure_of, get, post, soon


@pytest.mark.parametrize("raw", [b"SSH-2.0-x\r\n\r\n", b"\x00\x01\x02garbage\r\n\r\n", b"HTTP/1.1 abc X\r\n\r\n"])
async def test_what_is_not_http_is_garbled(transport: Transport, raw: bytes) -> None:
    """Something answered, but nothing that can be understood."""

    async def garbage(peer: Peer) -> None:
        await peer.request()
        await peer.answer(raw)

    async with raw_server(garbage) as server:
        failure = await failure_of(transport, post(server.url))
        assert type(failure) is AnswerGarbled


@pytest.mark.parametrize("announced", [True, False])
async def test_an_answer_over_the_cap_is_cut(transport: Transport, announced: bool) -> None:
    """A huge answer costs at most the limit, with or without a declared size."""
    sent = 0

    async def flood(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        head = b"Content-Length: 1000000000\r\n\r\n" if announced else b"Connection: close\r\n\r\n"
        await peer.answer(b"HTTP/1.1 200 X\r\n" + head)
        while True:
            await peer.answer(b"x" * 65536)
            sent += 65536

    async with raw_server(flood) as server:
        with pytest.raises(AnswerGarbled):
            await transport.send(get(server.url), soon(), 100_000)
        assert sent < 20_000_000


async def test_an_answer_of_exactly_the_cap_is_whole(transport: Transport) -> None:
    """The cap is inclusive."""
    async with raw_server(always(http(200, b"x" * 1000))) as server:
        answer = await transport.send(get(server.url), soon(), 1000)
        assert len(answer.body) == 1000


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZIP "])
async def test_a_compressed_answer_is_read(transport: Transport, encoding: str) -> None:
    """A proxy may compress although the request asks it not to."""
    body = b'{"a":1}' * 100
    packed = zlib.compress(body) if encoding == "deflate" else gzip.compress(body)
    async with raw_server(always(http(200, packed, Content_Encoding=encoding))) as server:
        assert (await transport.send(get(server.url), soon())).body == body
        assert (await transport.send(get(server.url), soon())).body == body
        assert server.connections == 1


@pytest.mark.parametrize(
    ("packed", "encoding"),
    [
        (b"\x1f\x8b", "gzip"),
        (b"plain", "gzip"),
        (gzip.compress(b"whole")[:-4], "gzip"),
        (b"?", "br"),
    ],
    ids=["half", "plain", "without its end", "unknown"],
)
async def test_a_compressed_answer_that_cannot_be_read_is_garbled(
    transport: Transport, packed: bytes, encoding: str
) -> None:
    """Whatever is wrong with it."""
    async with raw_server(always(http(200, packed, Content_Encoding=encoding))) as server:
        failure = await failure_of(transport, get(server.url))
        assert type(failure) is AnswerGarbled


@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
@pytest.mark.parametrize(
    ("limit", "kind"),
    [(DEFAULT_MAX_ANSWER_BYTES, AnswerOversized), (1000, AnswerGarbled)],
    ids=["the sender's", "a smaller one"],
)
async def test_an_answer_over_the_limit_is_the_same_failure_compressed_and_plain(
    transport: Transport, encoding: str, limit: int, kind: type[AnswerGarbled]
) -> None:
    """A compressed answer is measured by what comes out of it; no more than the limit is unpacked."""
    body = b"0" * (limit + 1)
    packed = {"identity": body, "gzip": gzip.compress(body), "deflate": zlib.compress(body)}[encoding]
    async with raw_server(always(http(200, packed, Content_Encoding=encoding))) as server:
        with pytest.raises(AnswerGarbled, match=f"larger than {limit} bytes") as failure:
            await transport.send(get(server.url), soon(), limit)
        assert type(failure.value) is kind


async def test_a_compressed_answer_of_huge_size_is_oversized(transport: Transport) -> None:
    """A bomb: 100 MB of zeros."""
    packed = gzip.compress(b"0" * 100_000_000)
    async with raw_server(always(http(200, packed, Content_Encoding="gzip"))) as server:
        assert type(await failure_of(transport, get(server.url))) is AnswerOversized


async def test_an_early_refusal_is_read(transport: Transport) -> None:
    """A server that refuses before it has read the body is understood."""

    async def refuse(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.answer(http(413, Connection="close"))
        await peer.until_gone()

    async with raw_server(refuse) as server:
        answer = await transport.send(post(server.url, b"x" * 1_000_000), soon())
        assert answer.status == 413
