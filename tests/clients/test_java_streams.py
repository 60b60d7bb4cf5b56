"""The Java client over killed gateways, and its streams: what is sent again, and what nobody knows."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.driver import LIST_KEYS, ClientError, DrivenClient, until, works
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.ports import free_port
from tests.sandbox_process import SandboxProcess

# A new machine gets Maven's plugins and compiles first.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

TENANT, BOARD = "tenant-test-001", "java"


@pytest.fixture
def own(sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway that a test may stop and kill."""
    sandbox.control("POST", f"/boards/{TENANT}/{BOARD}", {"scores": {"ada": 1}})
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as process:
        yield process


def events(numbers: range) -> list[dict[str, Any]]:
    """One event for each user."""
    return [{"leaderboardId": BOARD, "userId": f"user-{number}", "scoreDelta": 1} for number in numbers]


def effects(sandbox: SandboxProcess) -> tuple[int, list[str]]:
    """How many events count, and which count more than once."""
    found = sandbox.control("POST", "/effects", {})
    return found["event_ids"], found["more_than_once"]


def test_a_killed_gateway_is_named(client: DrivenClient, own: GatewayProcess) -> None:
    """And a call succeeds as soon as it is back, without the minutes that gRPC waits."""
    client.connect(own.address)
    assert client.do(*LIST_KEYS)["keys"]
    own.stop(signal.SIGKILL)
    with pytest.raises(ClientError) as failed:
        client.do(*LIST_KEYS)
    assert (failed.value.reason, failed.value.found["kind"]) == ("GATEWAY_UNREACHABLE", "NotConnected")
    assert "Check the address, and whether the gateway runs" in failed.value.found["details"]
    own.start()
    until(lambda: works(client))


def test_a_direct_event_of_a_killed_gateway_is_not_repeated(
    client: DrivenClient, own: GatewayProcess, sandbox: SandboxProcess
) -> None:
    """gRPC would send it to the next process, which does not know its id: nobody knows, and it counts once."""
    client.connect(own.address)
    sandbox.control("POST", "/faults", {"surface": "ingestion", "kind": "hang", "act": True})
    (event,) = events(range(1))
    client.start("call", "events", "submitEvent", {"event": {**event, "eventId": "cut"}})
    until(lambda: effects(sandbox)[0] == 1)
    own.stop(signal.SIGKILL)
    sandbox.control("DELETE", "/faults")
    own.start()
    with pytest.raises(ClientError) as failed:
        client.finish()
    assert (failed.value.found["kind"], failed.value.found["effect"]) == ("NotConnected", "MAYBE")
    assert effects(sandbox) == (1, [])


def test_durable_events_survive_a_kill(client: DrivenClient, own: GatewayProcess, sandbox: SandboxProcess) -> None:
    """Every message without an answer is sent again; the ids keep each event from counting twice."""
    client.connect(own.address)
    client.do("stream", {})
    client.do("send", *events(range(20)))
    own.stop(signal.SIGKILL)
    client.start("send", *events(range(20, 40)))
    own.start()
    client.finish()
    client.do("flush")
    statuses = client.do("statuses")
    client.do("closeStream")
    assert (len(statuses), set(statuses) <= {"QUEUED", "DUPLICATE"}) == (40, True)
    until(lambda: effects(sandbox)[0] == 40)
    assert effects(sandbox) == (40, [])


def test_direct_events_of_a_killed_gateway_are_not_sent_again(
    client: DrivenClient, own: GatewayProcess, sandbox: SandboxProcess
) -> None:
    """Another process does not remember their ids: the outcome is unknown, and later events are sent."""
    client.connect(own.address)
    sandbox.control("POST", "/faults", {"surface": "ingestion", "kind": "hang", "act": True})
    client.do("stream", {"durable": False})
    client.do("send", *events(range(1)))
    until(lambda: effects(sandbox)[0] == 1)
    own.stop(signal.SIGKILL)
    sandbox.control("DELETE", "/faults")
    own.start()
    client.do("send", *events(range(1, 2)))
    assert client.do("statuses") == ["OUTCOME_UNKNOWN", "ACCEPTED"]
    client.do("closeStream")
    assert effects(sandbox) == (2, [])


def test_a_cancelled_stream_does_not_know(client: DrivenClient, own: GatewayProcess, sandbox: SandboxProcess) -> None:
    """What was sent may count; what was not sent does not."""
    client.connect(own.address)
    sandbox.control("POST", "/faults", {"surface": "ingestion", "kind": "hang", "act": True})
    client.do("stream", {"durable": False})
    client.do("send", *events(range(1)))
    until(lambda: effects(sandbox)[0] == 1)
    client.do("cancelStream")
    assert client.do("statuses") == ["OUTCOME_UNKNOWN"]
    with pytest.raises(ClientError, match="CLIENT_CLOSED"):
        client.do("send", *events(range(1, 2)))
    sandbox.control("DELETE", "/faults")


def test_a_watch_continues_over_a_kill(client: DrivenClient, own: GatewayProcess) -> None:
    """After it comes the whole board again, in another epoch."""
    client.connect(own.address)
    client.do("watch", BOARD)
    first = client.do("nextBoard")
    own.stop(signal.SIGKILL)
    client.start("nextBoard")
    own.start()
    again = client.finish()
    assert (first["users"], again["users"]) == (["ada"], ["ada"])
    assert first["epoch"] != again["epoch"]


def test_a_stream_that_cannot_begin_fails_at_once(client: DrivenClient, gateway: GatewayProcess) -> None:
    """Nobody waits for ever for a wrong address, or for a board without a name."""
    client.connect(f"127.0.0.1:{free_port()}")
    client.do("watch", BOARD)
    with pytest.raises(ClientError, match="GATEWAY_UNREACHABLE"):
        client.do("nextBoard")
    client.do("stream", {})
    with pytest.raises(ClientError, match="GATEWAY_UNREACHABLE"):
        _send_and_flush(client)
    client.connect(gateway.address)
    client.do("watch", "")
    with pytest.raises(ClientError, match="INVALID_FIELD"):
        client.do("nextBoard")


def _send_and_flush(client: DrivenClient) -> None:
    client.do("send", *events(range(1)))
    client.do("flush")
