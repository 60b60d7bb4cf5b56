"""Requests that left and got no whole answer: Phoenix may have acted."""

import asyncio
from typing import Any

import pytest

from gateway.phoenix.connections import ConnectionSettings
from gateway.phoenix.http_types import AnswerLost, Request, TimedOut
from gateway.phoenix.idle_time import IdleSettings
from gateway.phoenix.transport import Transport
from tests.phoenix.raw_server import Peer, always, http, raw_server
from tests.phoenix.transport_requests import CLOCK, failure_of, get, post, soon


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


async def test_a_body_that_becomes_garbled_is_no_hang(transport: Transport) -> None:
    """The library drops such a body without a word to whom reads it. The place for another call is given back."""

    async def garble(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"HTTP/1.1 202 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
        await asyncio.sleep(0.1)
        await peer.answer(b"zz\r\n")
        await peer.until_gone()

    async with raw_server(garble) as server:
        async with asyncio.timeout(5):
            failure = await failure_of(transport, post(server.url), 0.5)
        assert isinstance(failure, TimedOut)
        assert failure.sent is True
        assert [0] == [host.in_use for host in transport._hosts.values()]


async def test_a_call_whose_body_is_under_way_ends_although_the_transport_closes() -> None:
    """By its deadline at the latest."""

    async def half(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nab")
        await peer.until_gone()

    transport = Transport()
    async with raw_server(half) as server, asyncio.timeout(5):
        call = asyncio.create_task(failure_of(transport, post(server.url), 0.5))
        await asyncio.sleep(0.2)
        await transport.close()
        assert isinstance(await call, TimedOut | AnswerLost)


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
