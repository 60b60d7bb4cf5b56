"""What is known when no whole answer comes back: nothing left, or Phoenix may have acted."""

import asyncio
import gzip
import socket
import ssl
import zlib
from pathlib import Path
from typing import Any

import pytest

from gateway.phoenix.connections import ConnectionSettings
from gateway.phoenix.http_types import (
    DEFAULT_MAX_ANSWER_BYTES,
    AnswerGarbled,
    AnswerLost,
    AnswerOversized,
    NotSent,
    Request,
    TimedOut,
)
from gateway.phoenix.idle_time import IdleSettings
from gateway.phoenix.transport import Transport
from gateway.resilience.deadline import Deadline
from tests.phoenix.raw_server import Peer, always, http, raw_server
from tests.phoenix.transport_requests import CLOCK, failure_of, get, post, soon


async def test_a_refused_connection_is_not_sent(transport: Transport) -> None:
    """Nobody listens: certainly nothing left."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        failure = await failure_of(transport, post(f"http://127.0.0.1:{held.getsockname()[1]}"))
    assert type(failure) is NotSent


async def test_an_unknown_host_is_not_sent(transport: Transport) -> None:
    """No address: certainly nothing left."""
    failure = await failure_of(transport, post("http://no-such-host.invalid"))
    assert type(failure) is NotSent


async def test_an_untrusted_certificate_is_not_sent(transport: Transport, server_tls: ssl.SSLContext) -> None:
    """TLS fails before the request; the credentials never leave."""
    async with raw_server(always(http(200)), tls=server_tls) as server:
        failure = await failure_of(transport, post(server.url))
        assert (type(failure), server.requests) == (NotSent, [])


async def test_a_certificate_of_another_name_is_not_sent(ca_file: Path, server_tls: ssl.SSLContext) -> None:
    """The name is checked as well as the authority."""
    transport = Transport(ca_file=ca_file)
    async with raw_server(always(http(200)), tls=server_tls) as server:
        failure = await failure_of(transport, post(server.url.replace("127.0.0.1", "localhost")))
        assert (type(failure), server.requests) == (NotSent, [])
    await transport.close()


async def test_a_further_authority_is_trusted(ca_file: Path, server_tls: ssl.SSLContext) -> None:
    """GATEWAY_UPSTREAM_CA_FILE makes a private server reachable, still verified."""
    transport = Transport(ca_file=ca_file)
    async with raw_server(always(http(200, b"ok")), tls=server_tls) as server:
        answer = await transport.send(get(server.url), soon())
        assert answer.body == b"ok"
    await transport.close()


async def test_a_peer_that_speaks_no_tls_is_not_sent(transport: Transport) -> None:
    """The handshake breaks: certainly nothing left."""

    async def not_tls(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 400 no\r\n\r\n")

    async with raw_server(not_tls) as server:
        failure = await failure_of(transport, post(server.url.replace("http:", "https:")))
        assert type(failure) is NotSent


async def test_a_handshake_that_hangs_is_timed_out_unsent(transport: Transport) -> None:
    """The deadline passed before TLS stood: certainly nothing left."""
    async with raw_server(Peer.until_gone) as server:
        failure = await failure_of(transport, post(server.url.replace("http:", "https:")), 0.3)
        assert isinstance(failure, TimedOut)
        assert failure.sent is False


async def test_a_handshake_that_hangs_past_the_connect_limit_is_not_sent() -> None:
    """The connect limit is shorter than the deadline, so that there is time to try again."""
    transport = Transport(settings=ConnectionSettings(connect_timeout_s=0.2))
    async with raw_server(Peer.until_gone) as server:
        failure = await failure_of(transport, post(server.url.replace("http:", "https:")))
        assert type(failure) is NotSent
    await transport.close()


async def test_a_call_that_found_no_free_connection_in_time_is_unsent() -> None:
    """Waiting for a connection is not sending; and one host that hangs does not hold another back."""
    transport = Transport(settings=ConnectionSettings(max_connections_per_host=1))

    async def hang(peer: Peer) -> None:
        await peer.request()
        await peer.until_gone()

    async with raw_server(hang) as server:
        first = asyncio.create_task(transport.send(post(server.url), soon()))
        await asyncio.wait_for(server.arrived.wait(), 5)
        failure = await failure_of(transport, post(server.url), 0.2)
        assert isinstance(failure, TimedOut)
        assert failure.sent is False
        async with raw_server(always(http(200))) as other:
            assert (await transport.send(get(other.url), soon())).status == 200
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    await transport.close()


async def test_an_expired_deadline_sends_nothing(transport: Transport) -> None:
    """No connection is made for a call that is already over."""
    async with raw_server(always(http(200))) as server:
        failure = await failure_of(transport, post(server.url), -1.0)
        assert isinstance(failure, TimedOut)
        assert (failure.sent, server.connections) == (False, 0)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_reset_after_the_request_is_a_lost_answer_and_nothing_is_sent_again(
    transport: Transport, method: str
) -> None:
    """Phoenix may have acted. aiohttp's automatic retry of GET, PUT and DELETE is disabled."""

    async def reset(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async with raw_server(reset) as server:
        failure = await failure_of(transport, Request(method=method, url_base=server.url, raw_path="/x"))
        assert (type(failure), len(server.requests)) == (AnswerLost, 1)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
async def test_a_kept_connection_that_closes_under_the_request_is_a_lost_answer_and_sent_once(
    method: str,
) -> None:
    """The server reads the second request of a kept connection and closes without a word: it may have acted."""

    async def one_then_close(peer: Peer) -> None:
        await peer.request()
        await peer.answer(http(200, b"x"))
        await peer.request()

    trusting = Transport(settings=ConnectionSettings(idle=IdleSettings(margin_s=float("-inf"))))
    async with raw_server(one_then_close, always(http(200))) as server:
        request = Request(method=method, url_base=server.url, raw_path="/x")
        await trusting.send(request, soon())
        failure = await failure_of(trusting, request)
        assert (type(failure), len(server.requests), server.connections) == (AnswerLost, 2, 1)
        assert isinstance(failure, AnswerLost)
        assert failure.was_stale
    await trusting.close()


async def test_a_kept_connection_that_was_closed_before_is_not_used(transport: Transport) -> None:
    """A connection known to be closed is replaced without a word: nothing had left on it."""

    async def one_then_close(peer: Peer) -> None:
        await peer.request()
        await peer.answer(http(200, b"x"))

    async with raw_server(one_then_close, always(http(200, b"y"))) as server:
        await transport.send(post(server.url), soon())
        for _ in range(500):
            if transport_idle(transport) == 0:
                break
            await asyncio.sleep(0.01)
        answer = await transport.send(post(server.url), soon())
        assert (answer.body, server.connections, len(server.requests)) == (b"y", 2, 2)


async def test_bytes_that_no_call_waits_for_cost_their_connection(transport: Transport) -> None:
    """A second answer to one request must not become the answer to the next one."""

    async def answer_twice(peer: Peer) -> None:
        await peer.request()
        await peer.answer(http(200, b"mine"))
        await answered.wait()
        await peer.answer(http(200, b"nobody's"))
        await peer.until_gone()

    answered = asyncio.Event()
    async with raw_server(answer_twice, always(http(200, b"also mine"))) as server:
        first = await transport.send(post(server.url), soon())
        answered.set()
        for _ in range(500):
            if any(protocol.should_close for protocol in kept(transport)):
                break
            await asyncio.sleep(0.01)
        second = await transport.send(post(server.url), soon())
        assert (first.body, second.body, len(server.requests)) == (b"mine", b"also mine", 2)


def kept(transport: Transport) -> list[Any]:
    """The protocols of the kept connections."""
    return [channel for host in transport._hosts.values() for channel in host.idle]


def transport_idle(transport: Transport) -> int:
    """How many kept connections are still open, as their sockets know."""
    return sum(protocol.is_connected() for protocol in kept(transport))


async def test_half_a_body_is_a_lost_answer(transport: Transport) -> None:
    """A cut answer is no answer, even under a good status: the message was not complete."""

    async def half(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b'HTTP/1.1 202 X\r\nContent-Length: 50\r\n\r\n{"status":')

    async with raw_server(half) as server:
        failure = await failure_of(transport, post(server.url))
        assert type(failure) is AnswerLost


async def test_half_a_head_is_a_lost_answer(transport: Transport) -> None:
    """A truncated header proves nothing."""

    async def half(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"HTTP/1.1 202 X\r\nContent-Le")

    async with raw_server(half) as server:
        failure = await failure_of(transport, post(server.url))
        assert type(failure) is AnswerLost


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 X\r\n", b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nab"])
async def test_a_hang_after_the_request_is_timed_out_sent(transport: Transport, beginning: bytes) -> None:
    """Before the head, within it or within the body: Phoenix may have acted."""

    async def hang(peer: Peer) -> None:
        await peer.request()
        await peer.answer(beginning)
        await peer.until_gone()

    async with raw_server(hang) as server:
        failure = await failure_of(transport, post(server.url), 0.3)
        assert isinstance(failure, TimedOut)
        assert failure.sent is True


async def test_an_endless_trickle_ends_at_the_deadline(transport: Transport) -> None:
    """The deadline bounds the whole exchange, not the gaps between bytes."""

    async def trickle(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n")
        while True:
            await peer.answer(b"x")
            await asyncio.sleep(0.01)

    async with raw_server(trickle) as server:
        started = CLOCK.monotonic()
        failure = await failure_of(transport, get(server.url), 0.3)
        assert isinstance(failure, TimedOut)
        assert CLOCK.monotonic() - started < 2.0


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


async def test_a_cancelled_call_closes_its_connection(transport: Transport) -> None:
    """An answer without a waiting caller cannot reach the next call."""

    async def hang(peer: Peer) -> None:
        await peer.request()
        await peer.until_gone()
        gone.set()

    gone = asyncio.Event()
    async with raw_server(hang, always(http(200, b"mine"))) as server:
        first = asyncio.create_task(transport.send(post(server.url), soon()))
        await asyncio.wait_for(server.arrived.wait(), 5)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await asyncio.wait_for(gone.wait(), 5)
        answer = await transport.send(post(server.url), soon())
        assert answer.body == b"mine"


async def test_an_early_refusal_is_read(transport: Transport) -> None:
    """A server that refuses before it has read the body is understood."""

    async def refuse(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.answer(http(413, Connection="close"))
        await peer.until_gone()

    async with raw_server(refuse) as server:
        answer = await transport.send(post(server.url, b"x" * 1_000_000), soon())
        assert answer.status == 413


async def test_no_failure_shows_a_secret(transport: Transport) -> None:
    """Neither requests nor failures show a credential."""
    request = Request(
        method="POST",
        url_base="http://no-such-host.invalid",
        raw_path="/",
        headers={"x-api-key": "s3cret"},
        body=b"s3cret",
    )
    failure = await failure_of(transport, request)
    assert "s3cret" not in repr(request) + repr(failure) + str(failure)
    assert failure.__cause__ is None
    assert failure.__suppress_context__


async def test_three_hundred_calls_at_once_all_get_their_own_answer() -> None:
    """Answers are never mixed up under load; more calls than connections wait for one."""
    transport = Transport(settings=ConnectionSettings(connect_timeout_s=20))

    async def echo(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await peer.answer(http(200, request.partition(b"\r\n\r\n")[2]))

    async with raw_server(echo) as server:
        bodies = [f"{number}".encode() for number in range(1, 301)]
        answers = await asyncio.gather(*(transport.send(post(server.url, body), soon(30)) for body in bodies))
        assert [answer.body for answer in answers] == bodies
    await transport.close()


async def test_nothing_is_written_once_the_deadline_has_passed(transport: Transport) -> None:
    """Not even on a connection that was just made, as when the process was paused meanwhile."""

    class Paused(Deadline):
        """Has time left when the connection is asked for, and none when there is one."""

        @property
        def expired(self) -> bool:
            return True

    async with raw_server(always(http(200))) as server:
        with pytest.raises(TimedOut) as caught:
            await transport.send(post(server.url), Paused.after(5.0, CLOCK))
        assert not caught.value.sent
        await transport.send(get(server.url), soon())
        assert ["GET /health HTTP/1.1"] == server.request_lines
