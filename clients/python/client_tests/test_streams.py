"""Streams that survive a restart of the gateway: boards continue, and no event is lost or counted twice."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import phoenix_gateway_client as client
from phoenix_gateway_client import AsyncGateway, Gateway, v1
from phoenix_gateway_client.streams import Reconnects, Unacknowledged, error_for
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.ports import free_port
from tests.sandbox_process import SandboxProcess

TENANT, BOARD = "tenant-test-001", "streams"


@pytest.fixture
def own(sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway that a test may stop and kill."""
    sandbox.control("POST", f"/boards/{TENANT}/{BOARD}", {"scores": {"ada": 1}})
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as process:
        yield process


def score(sandbox: SandboxProcess, value: int) -> None:
    """Change the board."""
    sandbox.control("POST", f"/boards/{TENANT}/{BOARD}", {"scores": {"ada": value}})


def event(number: int = 0) -> v1.Event:
    """One event of a user."""
    return v1.Event(leaderboard_id=BOARD, user_id=f"user-{number}", score_delta=1)


def submit(gateway: Gateway) -> None:
    """Change the board by an event."""
    gateway.events.submit_event(v1.SubmitEventRequest(event=event()), timeout=20)


def test_a_watch_continues_over_a_restart(own: GatewayProcess) -> None:
    """After the restart comes the whole board again, in another epoch."""
    with Gateway(own.address) as gateway:
        boards = gateway.watch_leaderboard(BOARD)
        first = next(boards)
        own.stop()
        restarted = threading.Thread(target=own.start)
        restarted.start()
        again = next(boards)
        restarted.join()
        assert (first.leaderboard.entries[0].user_id, again.leaderboard.entries[0].user_id) == ("ada", "ada")
        assert first.epoch != again.epoch
        submit(gateway)
        found = next(boards)
        while len(found.leaderboard.entries) < 2:
            found = next(boards)
        assert {one.user_id for one in found.leaderboard.entries} == {"ada", "user-0"}


async def test_a_watch_of_asyncio_continues_over_a_kill(own: GatewayProcess) -> None:
    """The same, when the gateway could not say goodbye."""
    async with AsyncGateway(own.address) as gateway:
        boards = gateway.watch_leaderboard(BOARD)
        first = await anext(boards)
        await asyncio.to_thread(own.stop, signal.SIGKILL)
        restarting = asyncio.create_task(asyncio.to_thread(own.start))
        again = await anext(boards)
        await restarting
        assert first.epoch != again.epoch
        await boards.aclose()


def test_a_watch_without_a_gateway_fails_at_once() -> None:
    """Nobody waits for ever for a wrong address; after the first board, a lost gateway is waited for."""
    with Gateway(f"127.0.0.1:{free_port()}") as gateway, pytest.raises(client.GatewayUnreachable):
        next(gateway.watch_leaderboard(BOARD))


def test_a_watch_of_nothing_is_refused(own: GatewayProcess) -> None:
    """A refusal is not repeated."""
    with Gateway(own.address) as gateway, pytest.raises(client.InvalidField):
        next(gateway.watch_leaderboard(""))


def effects(sandbox: SandboxProcess) -> tuple[int, list[str]]:
    """How many events count, and which count more than once."""
    found = sandbox.control("POST", "/effects", {})
    return found["event_ids"], found["more_than_once"]


def test_durable_events_survive_a_kill(own: GatewayProcess, sandbox: SandboxProcess) -> None:
    """Every message that had no answer is sent again; the ids keep each event from counting twice."""
    with Gateway(own.address) as gateway, gateway.event_stream() as stream:
        results = [stream.send(event(number)) for number in range(20)]
        own.stop(signal.SIGKILL)
        restarted = threading.Thread(target=own.start)
        restarted.start()
        results += [stream.send(event(number)) for number in range(20, 40)]
        stream.flush(timeout=50)
        restarted.join()
        statuses = {one.status for result in results for one in result.result()}
    assert statuses <= {v1.EVENT_STATUS_QUEUED, v1.EVENT_STATUS_DUPLICATE}
    _wait_until(lambda: effects(sandbox)[0] == 40)
    assert effects(sandbox) == (40, [])


async def test_durable_events_of_asyncio_survive_a_kill(own: GatewayProcess, sandbox: SandboxProcess) -> None:
    """The same for asyncio."""
    async with AsyncGateway(own.address) as gateway, gateway.event_stream() as stream:
        results = [await stream.send(event(number)) for number in range(20)]
        await asyncio.to_thread(own.stop, signal.SIGKILL)
        restarting = asyncio.create_task(asyncio.to_thread(own.start))
        results += [await stream.send(event(number)) for number in range(20, 40)]
        await asyncio.wait_for(stream.flush(), 50)
        await restarting
        statuses = {one.status for result in results for one in await result}
    assert statuses <= {v1.EVENT_STATUS_QUEUED, v1.EVENT_STATUS_DUPLICATE}
    await asyncio.to_thread(_wait_until, lambda: effects(sandbox)[0] == 40)
    assert effects(sandbox) == (40, [])


def test_direct_events_of_a_killed_gateway_are_not_sent_again(own: GatewayProcess, sandbox: SandboxProcess) -> None:
    """Another process does not remember their ids: the outcome is unknown, and later events are sent."""
    sandbox.control("POST", "/faults", {"surface": "ingestion", "kind": "hang", "act": True})
    with Gateway(own.address) as gateway, gateway.event_stream(durable=False) as stream:
        lost = stream.send(event(1))
        _wait_until(lambda: effects(sandbox)[0] == 1)
        own.stop(signal.SIGKILL)
        sandbox.control("DELETE", "/faults")
        own.start()
        with pytest.raises(client.OutcomeUnknown):
            lost.result(timeout=50)
        assert stream.send(event(2)).result(timeout=50)[0].status == v1.EVENT_STATUS_ACCEPTED
    assert effects(sandbox) == (2, [])


def test_a_call_whose_gateway_was_killed_may_have_counted(own: GatewayProcess, sandbox: SandboxProcess) -> None:
    """Nobody listens when the cause is looked for, but the call had left: the effect is not `none`."""
    sandbox.control("POST", "/faults", {"surface": "ingestion", "kind": "hang", "act": True})
    failures: list[client.GatewayError] = []

    def call() -> None:
        try:
            submit(gateway)
        except client.GatewayError as error:
            failures.append(error)

    with Gateway(own.address) as gateway:
        calling = threading.Thread(target=call)
        calling.start()
        _wait_until(lambda: effects(sandbox)[0] == 1)
        own.stop(signal.SIGKILL)
        calling.join(50)
    assert [(type(one), one.effect, one.retry_after) for one in failures] == [
        (client.GatewayUnreachable, "maybe", None)
    ]


def test_a_refused_stream_fails_its_messages() -> None:
    """The caller gets the failure from the message, from the next `send`, and on leaving."""
    with Gateway(f"127.0.0.1:{free_port()}") as gateway:
        stream = gateway.event_stream()
        with pytest.raises(client.GatewayUnreachable):
            stream.send(event()).result(timeout=50)
        with pytest.raises(client.GatewayUnreachable):
            stream.send(event())
        with pytest.raises(client.GatewayUnreachable):
            stream.close()


def test_a_cancelled_stream_leaves_no_message_without_an_answer(own: GatewayProcess, sandbox: SandboxProcess) -> None:
    """An exception in the `with` block ends the stream at once."""
    sandbox.control("POST", "/faults", {"surface": "ingestion", "kind": "hang"})
    with Gateway(own.address) as gateway:
        stream = gateway.event_stream(durable=False)
        waiting = stream.send(event())
        stream.__exit__(KeyError)
    with pytest.raises(client.OutcomeUnknown):
        waiting.result(timeout=0)
    sandbox.control("DELETE", "/faults")


def _wait_until(holds: Callable[[], Any]) -> None:
    done = threading.Event()
    for _ in range(300):
        if holds():
            return
        done.wait(0.1)
    raise AssertionError("it did not happen within 30 s")


class Clock:
    """Time that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def pending(delivery: Any = v1.DELIVERY_DIRECT, clock: Clock | None = None, **more: Any) -> Unacknowledged[str]:
    """Two messages, of which the first was sent to process p1."""
    made: Unacknowledged[str] = Unacknowledged("t", delivery, now=clock or Clock(), **more)
    made.add([event()], "first")
    made.add([event()], "second")
    made.begin("p1")
    made.next_request()
    return made


def test_what_was_never_sent_is_sent() -> None:
    """Over a new stream to another process, only the message that was sent is in doubt."""
    assert [one.result for one in pending().begin("p2")] == ["first"]
    assert pending().begin("p1") == []
    assert [one.result for one in pending().begin("")] == ["first"]
    assert pending(v1.DELIVERY_DURABLE).begin("p2") == []
    assert pending(resend_unknown=True).begin("p2") == []


def test_a_message_stays_in_doubt_of_the_first_process_that_had_it() -> None:
    """That it was sent again to the same process does not make a third one remember it."""
    made = pending(v1.DELIVERY_DURABLE)
    made.begin("p2")
    assert made.next_request().sequence == 1
    assert made._messages[0].had_by == "p1"


def test_ids_are_remembered_for_a_day_only() -> None:
    """After 23 hours a durable message may count twice."""
    clock = Clock()
    made = pending(v1.DELIVERY_DURABLE, clock)
    clock.now = 23 * 3600.0
    assert [one.result for one in made.begin("p1")] == ["first"]


def test_a_gateway_that_refuses_has_begun_nothing_more() -> None:
    """After an error of effect `none`, the messages without an answer were not begun."""
    made = pending()
    made.refused()
    assert made.begin("p2") == []


def test_a_refusal_says_nothing_of_what_an_earlier_stream_brought() -> None:
    """The process may have begun it then; another process would count it a second time."""
    made = pending()
    made.ended()
    made.begin("p1")
    made.next_request()
    made.refused()
    made.ended()
    assert [one.result for one in made.begin("p2")] == ["first"]
    never_begun = pending()
    never_begun.ended()
    never_begun.refused()  # the next stream was refused before it began
    assert [one.result for one in never_begun.begin("p2")] == ["first"]


def test_a_failure_leaves_in_doubt_what_a_gateway_may_have() -> None:
    """Only what was never sent is certainly not done."""
    failure = client.GatewayUnreachable("gone", code="UNAVAILABLE", effect="none")
    first, second = pending().take_all()
    assert isinstance(error_for(first, failure), client.OutcomeUnknown)
    assert error_for(second, failure) is failure


def test_an_answer_to_another_message_is_ignored() -> None:
    """Only the oldest message can be answered."""
    made = pending()
    assert made.acknowledge(2) is None
    answered = made.acknowledge(1)
    assert answered is not None
    assert (answered.result, len(made), made.has_unsent) == ("first", 1, True)


def test_waits_grow_and_follow_the_gateway() -> None:
    """The wait doubles to 5 s, is at least what the gateway asks for, and starts again after a success."""
    made = Reconnects(lambda: 1.0)
    lost = client.ConnectionLost("lost", code="UNAVAILABLE")
    with pytest.raises(client.ConnectionLost):
        made.wait_after(lost)
    made.worked()
    assert [made.wait_after(lost) for _ in range(6)] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0])
    assert made.wait_after(client.Overloaded("full", code="RESOURCE_EXHAUSTED", retry_after=9.0)) == 9.0
    made.worked()
    assert made.wait_after(None) == pytest.approx(0.2)


@pytest.mark.parametrize("final", [client.NotAllowed("no", code="PERMISSION_DENIED"), client.VersionMismatch("old")])
def test_a_refusal_ends_a_stream(final: client.GatewayError) -> None:
    """Also after it has worked."""
    made = Reconnects()
    made.worked()
    with pytest.raises(type(final)):
        made.wait_after(final)
