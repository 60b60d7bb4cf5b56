"""A caller's own path: what goes out, and which methods are sent again."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError
from gateway.phoenix.answers import Surface
from gateway.phoenix.any_path import PathClient
from gateway.phoenix.http_types import AnswerLost, NotSent
from gateway.phoenix.retry import RetryingSender
from gateway.resilience.deadline import Deadline
from tests.manual_clock import ManualClock
from tests.phoenix.scripted_sender import ScriptedSender, Step


def client(*steps: Step) -> tuple[PathClient, ScriptedSender, Deadline]:
    """A client whose sends play the script, with no pause between tries; each try is signed with its number."""
    clock, sender = ManualClock(), ScriptedSender(*steps)

    async def pause(seconds: float) -> None:
        clock.advance(seconds)

    made = PathClient(
        retrying=RetryingSender(sender=sender, clock=clock, pause=pause, random=lambda: 0.0),
        base_url="https://query.example",
        surface=Surface.QUERY,
        authorize=lambda method, path, body: {"x-signature": f"{method} {path} {body!r} {len(sender.sent)}"},
    )
    return made, sender, Deadline.after(60, clock)


async def test_what_was_signed_is_what_goes_out() -> None:
    """Path and body as they are, the query beside them, the caller's key as a header."""
    made, sender, deadline = client(200)
    await made.call("POST", "/v1/a%20b", deadline, query=(("q", "ä&b"),), body=b"{}", idempotency_key="k-1")
    sent = sender.sent[0]
    assert ("https://query.example", "/v1/a%20b", "q=%C3%A4%26b", b"{}") == (
        sent.url_base,
        sent.raw_path,
        sent.raw_query,
        sent.body,
    )
    assert {
        "accept": "application/json",
        "content-type": "application/json",
        "idempotency-key": "k-1",
        "x-signature": "POST /v1/a%20b b'{}' 0",
    } == sent.headers


@pytest.mark.parametrize(
    ("method", "trouble", "sends"),
    [
        ("GET", AnswerLost("x"), 2),
        ("PUT", AnswerLost("x"), 2),
        ("DELETE", AnswerLost("x"), 2),
        ("POST", AnswerLost("x"), 1),
        ("PATCH", AnswerLost("x"), 1),
        ("GET", 503, 2),
        ("PUT", 503, 2),
        ("POST", 503, 1),
        ("PATCH", 500, 1),
        ("POST", NotSent("x"), 2),
        ("PATCH", NotSent("x"), 2),
    ],
)
async def test_only_what_is_safe_is_sent_again(method: str, trouble: Step, sends: int) -> None:
    """Idempotent methods; the others only where certainly nothing had left."""
    made, sender, deadline = client(trouble, 200)
    try:
        await made.call(method, "/v1/a", deadline)
    except GatewayError:
        pass
    assert sends == len(sender.sent)


@pytest.mark.parametrize(("method", "reason"), [("POST", "OUTCOME_UNKNOWN"), ("PATCH", "OUTCOME_UNKNOWN")])
async def test_a_lost_answer_to_a_change_is_an_unknown_outcome(method: str, reason: str) -> None:
    """No caller learns that nothing happened."""
    made, _, deadline = client(AnswerLost("x"))
    with pytest.raises(GatewayError) as error:
        await made.call(method, "/v1/a", deadline)
    assert reason == error.value.reason


async def test_a_redirect_is_not_followed() -> None:
    """One request went out, and its answer is unreadable."""
    made, sender, deadline = client(302)
    with pytest.raises(GatewayError) as error:
        await made.call("GET", "/v1/a", deadline)
    assert ("PHOENIX_ANSWER_UNREADABLE", 1) == (error.value.reason, len(sender.sent))
