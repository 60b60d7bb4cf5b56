"""Requests on the wire and their answers."""

import asyncio

import pytest

from gateway.phoenix.http_types import Answer, Request
from gateway.phoenix.transport import Transport
from tests.phoenix.raw_server import always, http, raw_server
from tests.phoenix.transport_requests import get, post, soon


@pytest.mark.parametrize(
    "path",
    [
        "/v1/leaderboards/t/a%2Fb/rank/u",
        "/v1/leaderboards/t/%2E%2E/rank/%2E",
        "/v1/leaderboards/t/b/../rank/./u",
        "/v1/leaderboards/t/%C3%A9%E2%82%AC/rank/%7Eu%2d",
        "/v1/snapshots/t/b/2025-11-18T12%3A00%3A00Z",
        "/v1/x/%25%32%46//y/",
    ],
)
async def test_the_path_goes_out_byte_for_byte(transport: Transport, path: str) -> None:
    """The signed path is sent unchanged: nothing is decoded, re-encoded or resolved."""
    async with raw_server(always(http(200))) as server:
        await transport.send(get(server.url, path), soon())
        assert server.request_lines == [f"GET {path} HTTP/1.1"]


async def test_the_query_is_percent_encoded(transport: Transport) -> None:
    """Reserved characters in a value cannot become structure."""
    async with raw_server(always(http(200))) as server:
        request = Request(
            method="GET",
            url_base=server.url,
            raw_path="/p",
            query=(("window_key", "2025-11-18T12:00+01&limit=9#é"), ("limit", "100")),
        )
        await transport.send(request, soon())
        assert server.request_lines == [
            "GET /p?window_key=2025-11-18T12%3A00%2B01%26limit%3D9%23%C3%A9&limit=100 HTTP/1.1"
        ]


async def test_the_body_and_headers_go_out_and_nothing_else(transport: Transport) -> None:
    """The exact body, the given headers and the few that HTTP needs. No compressed answer is requested."""
    async with raw_server(always(http(202, b"{}"))) as server:
        await transport.send(post(server.url, b'{ "a" :\n1}'), soon())
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        names = {line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:]}
        assert body == b'{ "a" :\n1}'
        assert names == {b"host", b"accept", b"accept-encoding", b"user-agent", b"content-type", b"content-length"}
        assert b"accept-encoding: identity" in head.lower()


async def test_a_change_without_a_body_says_so(transport: Transport) -> None:
    """Some servers wait for a body, or answer 411, when a POST has no length. A GET has none."""
    async with raw_server(always(http(200))) as server:
        await transport.send(post(server.url, b""), soon())
        await transport.send(get(server.url), soon())
        assert [b"content-length: 0\r\n" in request for request in server.requests] == [True, False]


async def test_answers_that_announce_another_are_passed_over(transport: Transport) -> None:
    """100 and 103 come before the answer."""
    raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + http(202, b"it")
    async with raw_server(always(raw)) as server:
        answer = await transport.send(post(server.url), soon())
        assert (answer.status, answer.body) == (202, b"it")
        assert (await transport.send(post(server.url), soon())).body == b"it"


@pytest.mark.parametrize("name", ["traceparent", "X-Request-Id", "cookie", "x-forwarded-for", "baggage"])
async def test_an_internal_header_stops_the_send(transport: Transport, name: str) -> None:
    """Only headers that Phoenix's documentation names may leave."""
    async with raw_server(always(http(200))) as server:
        request = Request(method="GET", url_base=server.url, raw_path="/", headers={name: "x"})
        with pytest.raises(ValueError, match="must not leave"):
            await transport.send(request, soon())
        assert server.connections == 0


@pytest.mark.parametrize("path", ["", "v1", "/a b", "/a\r\nX: y", "/a?b=c", "/a#b", "/é", "/a\x00"])
async def test_a_path_that_is_not_wire_text_stops_the_send(transport: Transport, path: str) -> None:
    """A second request cannot be smuggled through a path."""
    with pytest.raises(ValueError, match="not in the form"):
        await transport.send(get("http://127.0.0.1:1", path), soon())


async def test_a_header_value_cannot_add_a_header(transport: Transport) -> None:
    """A newline in a header's value is refused before anything leaves."""
    async with raw_server(always(http(200))) as server:
        request = Request(method="GET", url_base=server.url, raw_path="/", headers={"x-api-key": "k\r\nX-Evil: 1"})
        with pytest.raises(ValueError):
            await transport.send(request, soon())
        assert server.requests == []


@pytest.mark.parametrize("base", ["http://127.0.0.1/prefix", "ftp://127.0.0.1", "http://u:p@127.0.0.1", "127.0.0.1"])
async def test_a_base_with_more_than_an_address_is_refused(transport: Transport, base: str) -> None:
    """A prefix would be sent but not signed."""
    with pytest.raises(ValueError, match="base URL"):
        await transport.send(get(base), soon())


async def test_an_answer_comes_back_whole_with_the_useful_headers(transport: Transport) -> None:
    """Any status is an answer; header names come in lower case, cookies not at all."""
    raw = http(429, b"slow", Retry_After="7", Set_Cookie="a=b", Server="x")
    async with raw_server(always(raw)) as server:
        answer = await transport.send(get(server.url), soon())
        assert answer == Answer(status=429, headers={"retry-after": "7"}, body=b"slow")


async def test_no_cookie_is_kept(transport: Transport) -> None:
    """One tenant's answer cannot colour another's request."""
    async with raw_server(always(http(200, Set_Cookie="session=1; Path=/"))) as server:
        await transport.send(get(server.url), soon())
        await transport.send(get(server.url), soon())
        assert b"cookie" not in server.requests[1].lower()


async def test_a_redirect_is_an_answer_like_any_other(transport: Transport) -> None:
    """Credentials are never carried to where an answer points."""
    async with (
        raw_server(always(http(200))) as elsewhere,
        raw_server(always(http(307, Location=elsewhere.url))) as server,
    ):
        answer = await transport.send(post(server.url), soon())
        assert (answer.status, elsewhere.connections) == (307, 0)


async def test_connections_are_used_again(transport: Transport) -> None:
    """Calls in a row need one connection, once another one has outlived the pauses between them."""
    async with raw_server(always(http(200, b"x"))) as server:
        await transport.send(get(server.url), soon())
        await asyncio.sleep(0.2)
        for _ in range(20):
            await transport.send(post(server.url), soon())
        assert (server.connections <= 2, len(server.requests)) == (True, 21)
