"""Kept connections that the server closes: none is used when it may be about to close, and no event is lost by one."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yarl

from gateway import errors
from gateway.core.types import TenantId
from gateway.phoenix.answers import Surface
from gateway.phoenix.connections import Connections, ConnectionSettings, as_channel
from gateway.phoenix.gamification.client import GamificationClient
from gateway.phoenix.http_types import AnswerLost, ExchangeFailed
from gateway.phoenix.idle_time import IdleSettings, IdleTime
from gateway.phoenix.retry import Idempotency, RetryingSender
from gateway.phoenix.transport import Transport
from gateway.resilience.breaker import Breaker, Circuit
from tests.doctor.test_tls import Authority, tls_sandbox
from tests.phoenix.raw_server import Behaviour, Peer, always, http, raw_server
from tests.phoenix.scripted_sender import ScriptedSender
from tests.phoenix.transport_requests import CLOCK, get, post, soon
from tests.tcp_forwarder import Forwarder

OK = http(202, b"{}", Connection="keep-alive", Keep_Alive="timeout=60")


def closes_after(shortest_s: float, longest_s: float, chance: random.Random) -> Behaviour:
    """Answer, promise to keep the connection, and close it after a random idle time unless a request comes first."""

    async def behave(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(OK)
            idle_s = chance.uniform(shortest_s, longest_s)
            # What has not been read when the time is over is never read: the request is lost.
            try:
                await asyncio.wait_for(_readable(peer), idle_s)
            except TimeoutError:
                return

    return behave


async def _readable(peer: Peer) -> None:
    while not peer.reader._buffer and not peer.reader.at_eof():  # type: ignore[attr-defined]  # noqa: ASYNC110
        await asyncio.sleep(0.001)


@asynccontextmanager
async def late_closes(port: int, late_s: float) -> AsyncIterator[str]:
    """A way to the server on which everything takes so long to arrive, closes included, as over a WAN."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(65536):
                loop.call_later(late_s, writer.write, data)
        except OSError:
            pass
        loop.call_later(late_s, writer.close)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def results(transport: Transport, url: str, count: int, gap_s: tuple[float, float], seed: int) -> Counter[str]:
    """Send so many events one after the other, with random pauses; count how they end."""
    chance, found = random.Random(seed), Counter[str]()
    for _ in range(count):
        try:
            await transport.send(replace(post(url), status_suffices=True), soon())
            found["accepted"] += 1
        except ExchangeFailed as failure:
            found[type(failure).__name__] += 1
        await asyncio.sleep(chance.uniform(*gap_s))
    return found


async def test_a_server_that_closes_soon_after_each_answer_loses_nothing(transport: Transport) -> None:
    """It promises to keep connections and closes them 0 to 20 ms after the answer."""
    async with raw_server(closes_after(0.0, 0.02, random.Random(1))) as server:
        found = await results(transport, server.url, 200, (0.0, 0.02), 2)
    assert found == {"accepted": 200}


async def test_events_sent_when_the_server_closes_idle_connections_are_not_lost(transport: Transport) -> None:
    """Sends fall on the moment of the close, again and again."""
    async with raw_server(closes_after(0.5, 0.5, random.Random(1))) as server:
        found: Counter[str] = Counter()
        for lane in await asyncio.gather(
            *(results(transport, server.url, 7, (0.47, 0.52), seed) for seed in range(20))
        ):
            found.update(lane)
    assert found == {"accepted": 140}


async def test_closes_that_arrive_late_lose_nothing(transport: Transport) -> None:
    """Everything takes 20 ms on its way, as over a WAN."""
    async with (
        raw_server(closes_after(0.5, 0.5, random.Random(1))) as server,
        late_closes(int(server.url.rsplit(":", 1)[1]), 0.02) as url,
    ):
        found: Counter[str] = Counter()
        for lane in await asyncio.gather(*(results(transport, url, 7, (0.4, 0.52), seed) for seed in range(20))):
            found.update(lane)
    assert found == {"accepted": 140}


def answers_and_closes(listener: socket.socket, times: int) -> None:
    """A server in a thread: it answers one request on each connection, and closes a moment later."""
    for _ in range(times):
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(OK)
            time.sleep(0.05)


async def test_a_close_that_has_arrived_but_was_not_read_yet_is_seen() -> None:
    """This process was busy when it arrived: the socket is asked before a request is written."""
    trusting = Transport(settings=ConnectionSettings(idle=IdleSettings(margin_s=float("-inf"))))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answers_and_closes, args=(listener, 2), daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        await trusting.send(post(url), soon())
        time.sleep(0.2)  # noqa: ASYNC251 - this is the busy process
        assert (await trusting.send(post(url), soon())).status == 202
    await trusting.close()


async def test_a_close_that_was_not_read_yet_proves_no_long_life() -> None:
    """A connection that ended while the loop was busy did not stay open for that time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections = Connections(ssl.create_default_context())
        host = connections.host(yarl.URL(f"http://127.0.0.1:{server.getsockname()[1]}"))
        old, new = [await connections.take(host, is_repeatable=True) for _ in range(2)]
        peers = [server.accept()[0] for _ in range(2)]
        for connection in (old, new):
            connections.give_back(host, connection, is_whole=True)
        peers[0].close()
        time.sleep(2.0)  # noqa: ASYNC251 - the loop reads nothing meanwhile
        taken = await connections.take(host, is_repeatable=True)
        assert taken.transport is not None
        assert not host.idle_time.allows(0.5, time.monotonic(), is_repeatable=False)
        connections.give_back(host, taken, is_whole=False)
        await connections.close()
        peers[1].close()


async def test_connections_in_use_follow_their_name(transport: Transport) -> None:
    """A busy connection is replaced when it is old: the name leads somewhere else by then."""
    young = Transport(settings=ConnectionSettings(max_age_s=0.3))
    async with (
        raw_server(always(OK)) as old,
        raw_server(always(OK)) as new,
        Forwarder(int(old.url.rsplit(":", 1)[1])) as name,
    ):
        url = f"http://127.0.0.1:{name.port}"
        await young.send(post(url), soon())
        name.lead_to(int(new.url.rsplit(":", 1)[1]))
        until = time.monotonic() + 5
        while not new.requests:
            await young.send(post(url), soon())
            assert time.monotonic() < until
        await asyncio.sleep(0.35)
        before = len(old.requests)
        for _ in range(20):
            await young.send(post(url), soon())
        assert len(old.requests) == before
        await young.close()


async def test_old_connections_stay_while_no_new_one_can_be_made() -> None:
    """The name leads nowhere for a while: calls go on over the connections that exist."""
    young = Transport(settings=ConnectionSettings(max_age_s=0.2))
    async with raw_server(always(OK)) as server, Forwarder(int(server.url.rsplit(":", 1)[1])) as name:
        url = f"http://127.0.0.1:{name.port}"
        await young.send(get(url), soon())
        await asyncio.sleep(0.1)
        await young.send(post(url), soon())
        name.refuse()
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            assert (await young.send(post(url), soon())).status == 202
            await asyncio.sleep(0.01)
    await young.close()


async def test_a_busy_start_opens_a_bounded_number_of_connections(transport: Transport) -> None:
    """While nothing is known of the server each event gets a new connection; soon they are used again."""
    async with raw_server(always(OK)) as server:
        await results(transport, server.url, 5, (0.0, 0.0), 1)
        await asyncio.sleep(0.15)
        known = server.connections
        await results(transport, server.url, 100, (0.0, 0.002), 1)
        assert server.connections <= known + 1


async def test_many_calls_over_few_connections_all_end() -> None:
    """More calls than places, with nothing known of the server: each waits for its turn."""
    narrow = Transport(settings=ConnectionSettings(max_connections_per_host=3))
    async with raw_server(always(OK)) as server:
        answers = await asyncio.gather(*(narrow.send(post(server.url), soon(20)) for _ in range(60)))
        answers += await asyncio.gather(*(narrow.send(get(server.url), soon(20)) for _ in range(60)))
        assert {202} == {answer.status for answer in answers}
    await narrow.close()


async def test_many_connections_that_ended_are_passed_over(transport: Transport) -> None:
    """A restart of the server closes all of them at once."""
    gate = asyncio.Event()

    async def until_restart(peer: Peer) -> None:
        await peer.request()
        await peer.answer(OK)
        await gate.wait()

    async with raw_server(*[until_restart] * 8, always(OK)) as server:
        await asyncio.gather(*(transport.send(get(server.url), soon()) for _ in range(8)))
        gate.set()
        await asyncio.sleep(0.05)
        for _ in range(3):
            assert (await transport.send(post(server.url), soon())).status == 202


def test_idle_time_rules() -> None:
    """Nothing is allowed before it is known; a close, a promise and a long way there shorten what is allowed."""
    known = IdleTime(IdleSettings(longest_s=4.0, margin_s=0.05))
    known.connected(0.001)
    known.answered(0.01)
    assert not known.allows(0.0, 0.0, is_repeatable=False)
    assert known.allows(3.9, 0.0, is_repeatable=True)
    known.outlived(1.0)
    assert known.allows(0.9, 0.0, is_repeatable=False)
    assert not known.allows(0.95, 0.0, is_repeatable=False)
    known.ended(0.3, 0.0)
    assert not known.allows(0.3, 0.0, is_repeatable=False)
    assert known.allows(0.2, 0.0, is_repeatable=False)
    known.promised(0.2)
    assert not known.allows(0.15, 0.0, is_repeatable=True)
    assert not known.allows(4.1, 0.0, is_repeatable=True)


def test_a_habit_of_closing_counts_more_than_one_long_life() -> None:
    """A busy server closes late once; it goes on to close early. A restart closes many at once, and is no habit."""
    known = IdleTime()
    known.connected(0.001)
    known.answered(0.001)
    for now in (10.0, 10.001, 10.002):  # a restart
        known.ended(0.01, now)
    known.outlived(2.0)
    assert known.allows(1.0, 11.0, is_repeatable=False)
    for step in range(100):  # one every 10 ms
        known.ended(0.02, 20.0 + step / 100)
    known.outlived(2.0)
    assert not known.allows(0.0, 22.0, is_repeatable=False)
    assert known.allows(0.0, 32.0, is_repeatable=False)  # it has stopped
    for now in (40.0, 43.0, 46.0, 49.0):  # servers are replaced one by one
        known.ended(0.01, now)
        known.ended(2.0, now)
    known.outlived(2.0)
    assert known.allows(1.0, 50.0, is_repeatable=False)


@pytest.mark.parametrize("was_stale", [True, False])
async def test_a_stale_connection_is_no_failure_of_phoenix(was_stale: bool) -> None:
    """The circuit stays closed; it opens for connections that break otherwise."""
    breaker = Breaker(CLOCK)
    sender = ScriptedSender(*[AnswerLost("x", was_stale=was_stale)] * 10)
    client = GamificationClient(
        retrying=RetryingSender(sender=sender, clock=CLOCK),
        base_url="https://phoenix.example",
        tenant_id=TenantId("t"),
        surface=Surface.INGESTION,
        authorize=lambda method, path, body: {},
        breaker=breaker,
    )
    for _ in range(10):
        with pytest.raises(errors.GatewayError):
            await client.post("/v1/events", b"{}", soon(), idempotency=Idempotency.NOT_IDEMPOTENT)
    assert breaker.circuit is (Circuit.CLOSED if was_stale else Circuit.OPEN)


async def test_session_tickets_do_not_make_a_connection_unusable(tmp_path: Path) -> None:
    """With TLS 1.3 they arrive after the handshake, when the event loop may be busy with something else."""
    authority = Authority(tmp_path, "ca")
    with tls_sandbox(authority) as sandbox:
        connections = Connections(ssl.create_default_context(cafile=str(authority.file)))
        host = connections.host(yarl.URL(sandbox.urls["ingestion"]))
        try:
            connection = await connections.take(host, is_repeatable=True)
            channel = as_channel(connection)
            assert channel.transport is not None
            assert channel.transport.get_extra_info("ssl_object").version() == "TLSv1.3"
            time.sleep(0.2)  # noqa: ASYNC251 - the loop reads nothing meanwhile
            assert channel.is_usable
            connections.give_back(host, connection, is_whole=False)
        finally:
            await connections.close()
