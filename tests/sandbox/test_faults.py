"""Every fault kind as a client sees it, and what it leaves behind; the record and the counts."""

import asyncio
import base64
import json
import time
from typing import Any

import aiohttp
import pytest

from tests.sandbox.client import Answer, Client


def fault(client: Client, kind: str, surface: str = "ingestion", **members: Any) -> None:
    """Set a fault."""
    client.sandbox.control("POST", "/faults", {"surface": surface, "kind": kind, **members})


async def submit(client: Client, timeout_s: float = 10) -> Answer:
    """Send the event e-1."""
    body = json.dumps(client.event()).encode()
    headers = client.signed("POST", "/v1/events", body)
    return await client.call("ingestion", "POST", "/v1/events", body, headers, timeout_s)


async def test_status_answers_instead_of_acting(client: Client) -> None:
    """Status, headers and body as set; no effect; gone after its times."""
    fault(client, "status", status=429, headers={"Retry-After": "7"}, body={"error": "slow down"}, times=1)
    answer = await submit(client)
    assert (429, "7", {"error": "slow down"}) == (answer.status, answer.headers["Retry-After"], answer.json())
    assert ("true", 0) == (answer.headers["X-Phoenix-Sandbox"], client.effects("e-1")["effects"])
    assert 202 == (await submit(client)).status


async def test_status_can_act_first(client: Client) -> None:
    """A 500 after the effect: the uncertain case."""
    fault(client, "status", act=True)
    assert 500 == (await submit(client)).status
    assert 1 == client.effects("e-1")["effects"]


async def test_delay_waits_then_acts(client: Client) -> None:
    """The answer is the usual one, later."""
    fault(client, "delay", delay_ms=200)
    began = time.monotonic()
    assert 202 == (await submit(client)).status
    assert time.monotonic() - began >= 0.2


async def test_hang_never_answers_until_reset_cuts_it(client: Client) -> None:
    """The client times out without an effect; a reset ends what still hangs."""
    fault(client, "hang")
    with pytest.raises(TimeoutError):
        await submit(client, timeout_s=0.2)
    assert 0 == client.effects("e-1")["effects"]
    hanging = asyncio.create_task(submit(client))
    await hits(client, "fault:hang", 2)
    client.sandbox.control("POST", "/reset", {})
    with pytest.raises(aiohttp.ClientError):
        await hanging


@pytest.mark.parametrize(("kind", "effects"), [("cut", 0), ("lose_answer", 1), ("half", 1)])
@pytest.mark.parametrize("reset", [False, True])
async def test_cuts_come_before_or_after_the_effect(client: Client, kind: str, effects: int, reset: bool) -> None:
    """cut: nothing happened; lose_answer and half: it did, and the client cannot know."""
    fault(client, kind, reset=reset)
    with pytest.raises(aiohttp.ClientError):
        await submit(client)
    assert effects == client.effects("e-1")["effects"]


async def test_half_sends_the_head_and_half_of_the_body(client: Client) -> None:
    """What arrives is the beginning of the real answer."""
    fault(client, "half", surface="prediction")
    host, _, port = client.sandbox.urls["prediction"].removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /.well-known/signing-key.pem HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(10):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    pem = client.sandbox.control("GET", "/keys")["current"].encode()
    assert (b"HTTP/1.1 200 OK", pem[: len(pem) // 2]) == (head.split(b"\r\n")[0], body)


async def test_garbage_is_no_json(client: Client) -> None:
    """200 and JSON by its type, but unreadable; the effect is there."""
    fault(client, "garbage")
    answer = await submit(client)
    assert (200, "application/json") == (answer.status, answer.headers["Content-Type"])
    with pytest.raises(ValueError):
        answer.json()
    assert 1 == client.effects("e-1")["effects"]


@pytest.mark.parametrize("headers", [{}, {"Location": "https://elsewhere.invalid/"}])
async def test_redirect_points_elsewhere(client: Client, headers: dict[str, str]) -> None:
    """302 with a default or given Location."""
    fault(client, "redirect", headers=headers)
    answer = await submit(client)
    location = headers.get("Location", "https://redirected.invalid/v1/events")
    assert (302, location) == (answer.status, answer.headers["Location"])


async def test_huge_sends_megabytes(client: Client) -> None:
    """The requested number, also for the well-known key."""
    fault(client, "huge", surface="prediction", path_prefix="/.well-known", megabytes=3)
    answer = await client.call("prediction", "GET", "/.well-known/signing-key.pem")
    assert 3 * 1024 * 1024 == len(answer.body)


async def test_a_client_that_leaves_a_huge_answer_affects_no_other(client: Client) -> None:
    """The sandbox continues and logs nothing."""
    fault(client, "huge", surface="query", megabytes=500)
    host, _, port = client.sandbox.urls["query"].removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readexactly(100_000)
    writer.transport.abort()
    client.sandbox.control("DELETE", "/faults")
    assert 200 == (await client.call("query", "GET", "/health")).status
    assert "" == client.sandbox.log_path.read_text()


async def test_fault_hits_only_what_it_names(client: Client) -> None:
    """Surface, method and path prefix narrow it; probability 0 never hits."""
    fault(client, "status", method="get", path_prefix="/v1/events")
    fault(client, "status", surface="query")
    fault(client, "status", probability=0)
    assert 202 == (await submit(client)).status
    fault(client, "status", path_prefix="/v1/events", method="post")
    assert 500 == (await submit(client)).status
    assert 500 == (await client.board()).status


async def test_probability_hits_some(client: Client) -> None:
    """Half of many calls, roughly."""
    fault(client, "status", surface="query", path_prefix="/health", probability=0.5)
    statuses = [(await client.call("query", "GET", "/health")).status for _ in range(100)]
    assert 20 < statuses.count(500) < 80


async def test_faults_are_listed_and_lifted(client: Client) -> None:
    """By id and all at once."""
    ids = [client.sandbox.control("POST", "/faults", {"surface": "*", "kind": "cut"})["id"] for _ in range(3)]
    assert {"removed": 1} == client.sandbox.control("DELETE", f"/faults/{ids[0]}")
    assert ids[1:] == [each["id"] for each in client.sandbox.control("GET", "/faults")["faults"]]
    assert {"removed": 2} == client.sandbox.control("DELETE", "/faults")
    assert 202 == (await submit(client)).status


@pytest.mark.parametrize(
    "wish",
    [
        {"surface": "query", "kind": "explode"},
        {"surface": "control", "kind": "cut"},
        {"surface": "query", "kind": "status", "status": 99},
        {"surface": "query", "kind": "delay"},
        {"surface": "query", "kind": "cut", "time": 1},
        {"surface": "query", "kind": "cut", "times": 0},
        {"surface": "query", "kind": "status", "body_base64": "%"},
    ],
    ids=json.dumps,
)
async def test_fault_that_makes_no_sense_is_refused(client: Client, wish: dict[str, Any]) -> None:
    """A mistyped fault must not pass as none."""
    with pytest.raises(AssertionError, match="400"):
        client.sandbox.control("POST", "/faults", wish)


async def test_requests_are_kept_with_credentials_as_fingerprints(client: Client) -> None:
    """Method, raw path, query, headers, body and status. A key appears only as a fingerprint."""
    await submit(client)
    await client.board("?limit=3")
    sent, read = client.sandbox.control("GET", "/requests")["requests"]
    assert ("ingestion", "POST", "/v1/events", 202) == tuple(sent[n] for n in ("surface", "method", "path", "status"))
    assert client.event() == json.loads(base64.b64decode(sent["body_base64"]))
    headers = {name.lower(): value for name, value in read["headers"]}
    assert ("limit=3", True) == (read["query"], headers["x-api-key"].startswith("sha256:"))
    assert client.environ["ADMIN_API_KEY"] not in json.dumps(read)
    client.sandbox.control("DELETE", "/requests")
    assert [] == client.sandbox.control("GET", "/requests")["requests"]


async def test_requests_are_bounded(client: Client) -> None:
    """Of 2,100 the last 2,000 are kept; counts know all."""
    async with aiohttp.ClientSession() as session:
        for _ in range(2_100):
            async with session.get(client.sandbox.urls["query"] + "/health"):
                pass
    assert 2_000 == len(client.sandbox.control("GET", "/requests?surface=query")["requests"])
    counts = client.sandbox.control("GET", "/counts")["counts"]
    assert [2_100] == [each["count"] for each in counts if each["route"] == "GET /health"]


async def test_what_is_no_http_is_answered_and_marked(client: Client) -> None:
    """Even the parser's own 400 has the sandbox header."""
    host, _, port = client.sandbox.urls["admin"].removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"NONSENSE\r\n\r\n")
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.")
    assert b"X-Phoenix-Sandbox: true" in answer


async def hits(client: Client, route: str, count: int) -> None:
    """Wait until a route was counted so often."""
    async with asyncio.timeout(10):
        while True:
            counts = (await client.sandbox.control_async("GET", "/counts"))["counts"]
            if sum(each["count"] for each in counts if each["route"] == route) >= count:
                return
            await asyncio.sleep(0.01)
