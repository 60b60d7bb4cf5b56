"""Requests that certainly did not leave: no connection, no TLS, no time."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from gateway.phoenix.connections import ConnectionSettings
from gateway.phoenix.http_types import NotSent, Request, TimedOut
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
